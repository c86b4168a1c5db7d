//! Bringing the index up to date: from fragments always, from pack footers when they are asked for.

use std::collections::{BTreeSet, HashMap, HashSet};

use icecore_format::entry::Timestamp;
use icecore_format::fragment::Fragment;
use icecore_format::frame::FrameChunk;
use icecore_format::id::{ChunkId, FragmentId, PackId};
use icecore_format::pack::{FrameInfo, PackInfo};
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::{Index, encoding, fragment_row, id, insert_pack, kind};
use crate::error::{Error, Result};
use crate::layout;
use crate::objects;
use crate::reader::read_footer;
use crate::repository::Repository;

/// What a synchronisation did.
#[derive(Debug, Default)]
pub struct Synced {
    /// Fragments that were new here.
    pub fragments: u64,
    /// Packs whose rows were dropped because no fragment names them any more.
    pub dropped: u64,
    /// Fragments that could not be read, a sentence each; `rebuild-index` reads the packs instead.
    pub damaged: Vec<String>,
}

/// What a rebuild did.
#[derive(Debug, Default)]
pub struct Rebuilt {
    /// Fragments that were read.
    pub fragments: u64,
    /// Packs that the index now names.
    pub packs: u64,
    /// Packs whose footer was read because no fragment names them.
    pub adopted: u64,
    /// Packs that fragments name and the store does not have.
    pub missing: Vec<PackId>,
    /// Objects that could not be read, a sentence each.
    pub damaged: Vec<String>,
}

impl Index {
    /// Reads the fragments that are new since the last call and drops what gone ones alone named, before anything is
    /// answered. A writer cannot open fragments: its index holds what this host stored itself.
    pub fn sync(&self, repository: &Repository) -> Result<Synced> {
        self.bring(repository, None)
    }

    /// The same, `now`: so a session knows how old its knowledge is, and need not synchronise again before it commits.
    pub fn sync_at(&self, repository: &Repository, now: Timestamp) -> Result<Synced> {
        self.bring(repository, Some(now))
    }

    fn bring(&self, repository: &Repository, now: Option<Timestamp>) -> Result<Synced> {
        self.date(None);
        // What is known now was durable before the listing begins: if it is not listed, it is gone.
        let known: HashSet<FragmentId> = self.read(|connection| {
            let mut statement = connection.prepare("SELECT id FROM fragments")?;
            let rows = statement.query_map([], |row| id(row, 0, FragmentId::from_slice))?;
            rows.collect()
        })?;
        let mut present = BTreeSet::new();
        repository.store().list(layout::FRAGMENTS, &mut |listed| {
            present.extend(layout::id_of::<FragmentId>(&listed.key));
            Ok(())
        })?;
        let mut synced = Synced::default();
        if repository.open_key().is_ok() {
            for new in present.iter().filter(|id| !known.contains(id)) {
                match read_fragment(repository, new) {
                    Ok(fragment) => {
                        self.insert_fragment(new, &fragment.packs)?;
                        synced.fragments += 1;
                    }
                    // A merge or a prune on another host may have removed it since the listing.
                    Err(Error::Store(error)) if error.kind == icecore_store::ErrorKind::NotFound => {}
                    Err(error @ Error::Damaged { .. }) => synced.damaged.push(error.to_string()),
                    Err(error) => return Err(error),
                }
            }
        }
        // Only after the new ones are in: a merged fragment keeps the packs of those it replaces.
        let gone: Vec<FragmentId> = known.into_iter().filter(|id| !present.contains(id)).collect();
        if !gone.is_empty() {
            synced.dropped = self.write(|transaction| drop_fragments(transaction, &gone))?;
        }
        self.date(now);
        Ok(synced)
    }

    /// Records that a durable fragment names these packs. Those that were dropped stay so: a fragment that was written anew says
    /// nothing about what stands in the store.
    pub(crate) fn insert_fragment(&self, fragment: &FragmentId, packs: &[PackInfo]) -> Result<()> {
        self.write(|transaction| {
            let find = "SELECT fragment FROM fragments WHERE id = ?";
            let found = transaction.query_row(find, [fragment.as_bytes()], |row| row.get(0)).optional()?;
            let row = found.map_or_else(|| fragment_row(transaction, fragment), Ok)?;
            let mut dropped = transaction.prepare_cached("SELECT 1 FROM dropped WHERE pack = ?")?;
            for info in packs {
                if dropped.exists([info.id.as_bytes()])? {
                    continue;
                }
                let pack = insert_pack(transaction, info)?;
                transaction.execute("INSERT OR IGNORE INTO listed VALUES(?, ?)", [row, pack])?;
            }
            Ok(())
        })
    }

    /// Packs that stand in the index and in no fragment: what an interrupted session of this host stored. Those that the
    /// store does not have (any more) are dropped; those that are marked are nobody's any more.
    pub(crate) fn unpublished(&self, repository: &Repository) -> Result<Vec<PackInfo>> {
        let going = self.marked()?;
        let packs = self.read(unlisted)?.into_iter().filter(|(_, info)| !going.contains(&info.id));
        let mut kept = Vec::new();
        let mut lost = Vec::new();
        for (row, info) in packs {
            match repository.store().size(&layout::pack(&info.id))? {
                Some(size) if size == info.size => kept.push(info),
                _ => lost.push(row),
            }
        }
        if !lost.is_empty() {
            self.write(|transaction| drop_packs(transaction, &lost))?;
        }
        Ok(kept)
    }

    /// Drops a pack's rows, so that what stands in it counts as not stored.
    pub fn drop_pack(&self, pack: &PackId) -> Result<()> {
        self.write(|transaction| {
            let find = "SELECT pack FROM packs WHERE id = ?";
            match transaction.query_row(find, [pack.as_bytes()], |row| row.get::<_, i64>(0)).optional()? {
                Some(row) => drop_packs(transaction, &[row]),
                None => Ok(()),
            }
        })
    }

    /// Forgets what the fragments say, so that all of them are read again. What is about the store stays: when packs were
    /// verified, the marks (a session of this host that is running relies on them), packs that are lost, and records, of
    /// which this may be the only copy that is whole. Dropped packs that stand in the store again are dropped no more.
    pub(crate) fn clear(&self, repository: &Repository) -> Result<()> {
        let returned = self.returned(repository)?;
        self.write(|transaction| {
            // With the rest, because the fragments that name them are known only when all are read again.
            for pack in &returned {
                transaction.execute("DELETE FROM dropped WHERE pack = ?", [pack.as_bytes()])?;
            }
            transaction.execute_batch(
                "DELETE FROM chunks; DELETE FROM frames; DELETE FROM packs; DELETE FROM listed; DELETE FROM fragments;
                 DELETE FROM intact; UPDATE meta SET value = value + 1 WHERE key = 'generation';",
            )
        })
    }

    /// Dropped packs that the store does not have and a fragment names still.
    fn still_named(&self, repository: &Repository) -> Result<Vec<PackId>> {
        let mut dropped: HashSet<PackId> = HashSet::new();
        for id in self.dropped()? {
            if repository.store().size(&layout::pack(&id))?.is_none() {
                dropped.insert(id);
            }
        }
        if dropped.is_empty() {
            return Ok(Vec::new());
        }
        let mut fragments = Vec::new();
        repository.store().list(layout::FRAGMENTS, &mut |listed| {
            fragments.extend(layout::id_of::<FragmentId>(&listed.key));
            Ok(())
        })?;
        let mut named = Vec::new();
        for id in fragments {
            // What cannot be read is told elsewhere.
            let Ok(fragment) = read_fragment(repository, &id) else { continue };
            named.extend(fragment.packs.iter().map(|info| info.id).filter(|id| dropped.contains(id)));
        }
        Ok(named)
    }

    /// Dropped packs that the store has with the size that their own footers say.
    fn returned(&self, repository: &Repository) -> Result<Vec<PackId>> {
        let open_key = repository.open_key()?;
        let mut returned = Vec::new();
        for id in self.dropped()? {
            let Some(size) = repository.store().size(&layout::pack(&id))? else { continue };
            match read_footer(repository, &open_key, &id, size) {
                Ok(_) => returned.push(id),
                Err(error) if error.is_loss() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(returned)
    }

    /// Makes the index anew: from the fragments, from the footers of packs that no fragment names, without packs that the
    /// store does not have. Publishes a fragment for what it adopted.
    pub fn rebuild(&self, repository: &Repository, mut progress: impl FnMut(u64, u64)) -> Result<Rebuilt> {
        let open_key = repository.open_key()?;
        self.clear(repository)?;
        let synced = self.sync(repository)?;
        self.learn_marks(repository)?;
        let going = self.marked()?;
        let mut rebuilt = Rebuilt { fragments: synced.fragments, damaged: synced.damaged, ..Rebuilt::default() };
        let mut named: HashMap<PackId, u64> = self.packs()?.into_iter().map(|(id, _, size)| (id, size)).collect();
        let mut unnamed = Vec::new();
        let mut total = 0;
        repository.store().list(layout::PACKS, &mut |listed| {
            if let Some(id) = layout::id_of::<PackId>(&listed.key) {
                total += 1;
                // A pack of another size than its fragment says is damaged: its rows go, check tells the rest.
                if named.get(&id) == Some(&listed.size) {
                    named.remove(&id);
                } else if !named.contains_key(&id) && !going.contains(&id) {
                    unnamed.push((id, listed.size));
                }
            }
            Ok(())
        })?;
        let mut adopted = Vec::new();
        for (done, (id, size)) in unnamed.iter().enumerate() {
            progress(done as u64, unnamed.len() as u64);
            match read_footer(repository, &open_key, id, *size) {
                Ok(info) => {
                    self.insert_pack(&info)?;
                    adopted.push(info);
                }
                Err(error @ Error::Damaged { .. }) => rebuilt.damaged.push(error.to_string()),
                Err(error) => return Err(error),
            }
        }
        rebuilt.adopted = adopted.len() as u64;
        for batch in adopted.chunks(PACKS_PER_FRAGMENT) {
            publish(self, repository, batch)?;
        }
        for id in named.keys() {
            self.drop_pack(id)?;
        }
        let lost = self.still_named(repository)?;
        rebuilt.missing = named.into_keys().chain(lost).filter(|id| !going.contains(id)).collect();
        rebuilt.missing.sort();
        rebuilt.missing.dedup();
        rebuilt.packs = total - rebuilt.damaged.len().min(total as usize) as u64;
        Ok(rebuilt)
    }
}

/// A fragment is put when this many packs wait for one: at 16 MiB a pack a crash leaves at most half a GiB to adopt.
pub(crate) const PACKS_PER_FRAGMENT: usize = 32;

/// Puts a fragment that names durable packs, and records it.
pub(crate) fn publish(index: &Index, repository: &Repository, packs: &[PackInfo]) -> Result<u64> {
    if packs.is_empty() {
        return Ok(0);
    }
    let fragment = Fragment { packs: packs.to_vec(), supersedes: Vec::new() };
    let (id, size) = objects::put_fragment(repository, &fragment.encode())?;
    index.insert_fragment(&id, packs)?;
    Ok(size)
}

/// Reads a fragment from the store, verified.
pub(crate) fn read_fragment(repository: &Repository, id: &FragmentId) -> Result<Fragment> {
    let plain = objects::get_fragment(repository, id)?;
    Fragment::decode(&plain)
        .map_err(|error| Error::Damaged { object: layout::fragment(id).to_string(), reason: error.to_string() })
}

pub(super) fn drop_fragments(transaction: &Transaction<'_>, gone: &[FragmentId]) -> rusqlite::Result<u64> {
    let mut orphans = Vec::new();
    for fragment in gone {
        let find = "SELECT fragment FROM fragments WHERE id = ?";
        // Another process of this host may have been faster.
        let row: Option<i64> = transaction.query_row(find, [fragment.as_bytes()], |row| row.get(0)).optional()?;
        let Some(row) = row else { continue };
        let mut named = transaction.prepare_cached("SELECT pack FROM listed WHERE fragment = ?")?;
        let packs: Vec<i64> = named.query_map([row], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        transaction.execute("DELETE FROM listed WHERE fragment = ?", [row])?;
        transaction.execute("DELETE FROM fragments WHERE fragment = ?", [row])?;
        orphans.extend(packs);
    }
    let mut still = transaction.prepare_cached("SELECT 1 FROM listed WHERE pack = ? LIMIT 1")?;
    let mut lost = Vec::new();
    for pack in orphans {
        if !still.exists([pack])? {
            lost.push(pack);
        }
    }
    drop_packs(transaction, &lost)?;
    Ok(lost.len() as u64)
}

/// Deletes the rows of packs and begins a new generation. One scan over the chunks, however many packs go.
pub(super) fn drop_packs(transaction: &Transaction<'_>, packs: &[i64]) -> rusqlite::Result<()> {
    if packs.is_empty() {
        return Ok(());
    }
    transaction
        .execute_batch("CREATE TEMP TABLE IF NOT EXISTS lost(frame INTEGER PRIMARY KEY); DELETE FROM temp.lost;")?;
    for pack in packs {
        transaction.execute(
            "INSERT OR IGNORE INTO dropped SELECT id FROM packs WHERE pack = ?1
                AND EXISTS(SELECT 1 FROM listed WHERE listed.pack = ?1)",
            [pack],
        )?;
        transaction.execute("INSERT OR IGNORE INTO temp.lost SELECT frame FROM frames WHERE pack = ?", [pack])?;
        transaction.execute("DELETE FROM frames WHERE pack = ?", [pack])?;
        transaction.execute("DELETE FROM listed WHERE pack = ?", [pack])?;
        transaction.execute("DELETE FROM packs WHERE pack = ?", [pack])?;
    }
    transaction.execute_batch(
        "DELETE FROM chunks WHERE frame IN (SELECT frame FROM temp.lost); DELETE FROM temp.lost;
         UPDATE meta SET value = value + 1 WHERE key = 'generation';",
    )
}

/// The packs without a fragment, rebuilt from the rows.
fn unlisted(connection: &Connection) -> rusqlite::Result<Vec<(i64, PackInfo)>> {
    let sql = "SELECT pack, id, kind, size FROM packs WHERE pack NOT IN (SELECT pack FROM listed) ORDER BY pack";
    let mut statement = connection.prepare(sql)?;
    let rows = statement.query_map([], |row| {
        let info = PackInfo {
            id: id(row, 1, PackId::from_slice)?,
            kind: kind(row, 2)?,
            size: row.get(3)?,
            frames: Vec::new(),
        };
        Ok((row.get::<_, i64>(0)?, info))
    })?;
    let mut packs = rows.collect::<rusqlite::Result<Vec<_>>>()?;
    if packs.is_empty() {
        return Ok(packs);
    }
    let mut chunks: HashMap<i64, Vec<(u32, FrameChunk)>> = HashMap::new();
    let sql = "SELECT frame, offset, id, len FROM chunks WHERE frame IN
        (SELECT frame FROM frames WHERE pack NOT IN (SELECT pack FROM listed))";
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let chunk = FrameChunk { id: id(row, 2, ChunkId::from_slice)?, len: row.get(3)? };
        chunks.entry(row.get(0)?).or_default().push((row.get(1)?, chunk));
    }
    let mut frames =
        connection.prepare("SELECT frame, stored, plain, encoding FROM frames WHERE pack = ? ORDER BY ordinal")?;
    for (row, info) in &mut packs {
        let mut found = frames.query(params![*row])?;
        while let Some(row) = found.next()? {
            let mut held = chunks.remove(&row.get(0)?).unwrap_or_default();
            held.sort_unstable_by_key(|(offset, _)| *offset);
            info.frames.push(FrameInfo {
                encoding: encoding(row, 3)?,
                plain_len: row.get(2)?,
                stored_len: row.get(1)?,
                chunks: held.into_iter().map(|(_, chunk)| chunk).collect(),
            });
        }
    }
    Ok(packs)
}
