//! Bringing the index up to date: from fragments always, from pack footers when they are asked for.

use std::collections::{BTreeSet, HashMap, HashSet};

use icecore_format::entry::Timestamp;
use icecore_format::frame::FrameChunk;
use icecore_format::id::{ChunkId, FragmentId, PackId};
use icecore_format::pack::{FrameInfo, PackInfo};
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::care::RENEW;
use super::fragments::{Batch, list_fragments, read_fragment};
use super::{Index, encoding, id, kind};
use crate::error::{Error, Result};
use crate::layout;
use crate::reader::read_footer;
use crate::repository::Repository;

/// What a synchronisation did.
#[derive(Debug, Default)]
pub struct Synced {
    /// Fragments that were new here.
    pub fragments: u64,
    /// Packs whose rows were dropped because no fragment names them any more, or for a writer, because they are gone.
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

/// How often the fragments are listed at most because one vanished before it was read: each time somebody merged or pruned.
const LISTINGS: usize = 8;

/// Is told how many fragments have been read, and of how many.
pub type Watched<'a> = &'a mut dyn FnMut(u64, u64) -> Result<()>;

impl Index {
    /// Reads the fragments that are new since the last call and drops what gone ones alone named, before anything is
    /// answered. A writer cannot open fragments: its index holds what this host stored itself, as far as the store has it.
    pub fn sync(&self, repository: &Repository) -> Result<Synced> {
        self.bring(repository, None, &mut |_, _| Ok(()))
    }

    /// The same, `now`: so a session knows how old its knowledge is, and need not synchronise again before it commits.
    pub fn sync_at(&self, repository: &Repository, now: Timestamp) -> Result<Synced> {
        self.bring(repository, Some(now), &mut |_, _| Ok(()))
    }

    /// The same, where somebody watches: `watch` is told how many of the fragments that are new have been read, and of how many, and
    /// may end it with an error.
    pub fn sync_watched(&self, repository: &Repository, now: Timestamp, watch: Watched<'_>) -> Result<Synced> {
        self.bring(repository, Some(now), watch)
    }

    fn bring(&self, repository: &Repository, now: Option<Timestamp>, watch: Watched<'_>) -> Result<Synced> {
        self.date(None);
        let mut synced = Synced::default();
        if repository.open_key().is_err() {
            synced.dropped = self.follow_packs(repository)?;
        } else {
            // What was listed and is gone when it is to be read was replaced by something that the next listing has.
            for _ in 0..LISTINGS {
                if self.follow_fragments(repository, watch, &mut synced)? {
                    break;
                }
            }
        }
        self.date(now);
        Ok(synced)
    }

    /// Brings the index to what the fragments that stand say, without those that others replace; false if one vanished
    /// before it was read.
    fn follow_fragments(&self, repository: &Repository, watch: Watched<'_>, synced: &mut Synced) -> Result<bool> {
        let mut damaged: Vec<(FragmentId, String)> = Vec::new();
        let generation = self.generation()?;
        // What is known now was durable before the listing begins: if it is not listed, it is gone.
        let known = self.fragments()?;
        let listed = list_fragments(repository, &mut |_| ())?;
        let present: HashSet<FragmentId> = listed.iter().map(|(id, _)| *id).collect();
        let gone: Vec<FragmentId> = known.iter().filter(|id| !present.contains(id)).copied().collect();
        let mut replaced = self.replaced_by(|by| present.contains(by))?;
        let mut is_complete = true;
        let mut batch = Batch::default();
        let new: Vec<_> = listed.into_iter().filter(|(id, _)| !known.contains(id) && !replaced.contains(id)).collect();
        for (number, (id, size)) in new.iter().copied().enumerate() {
            if let Err(error) = watch(number as u64, new.len() as u64) {
                self.insert_fragments(&mut batch)?;
                return Err(error);
            }
            if replaced.contains(&id) {
                continue;
            }
            match read_fragment(repository, &id) {
                Ok(fragment) => {
                    replaced.extend(fragment.replaced());
                    synced.fragments += 1;
                    if batch.add(id, size, fragment) {
                        self.insert_fragments(&mut batch)?;
                    }
                }
                Err(Error::Store(error)) if error.is_not_found() => is_complete = false,
                Err(error @ Error::Damaged { .. }) => damaged.push((id, error.to_string())),
                Err(error) => {
                    // What was read is not read again.
                    self.insert_fragments(&mut batch)?;
                    return Err(error);
                }
            }
        }
        self.insert_fragments(&mut batch)?;
        // Only after all the new ones are in: a merged fragment keeps the packs of those it replaces, and what was copied out of a
        // pack that it does not name stands in another. Asked anew, because other processes of this host read fragments too.
        let over = self.replaced_by(|by| present.contains(by))?;
        damaged.retain(|(id, _)| !over.contains(id));
        let leaving = |id: &FragmentId| gone.contains(id) || is_complete && over.contains(id);
        let leaving: Vec<FragmentId> = self.fragments()?.into_iter().filter(leaving).collect();
        if is_complete && damaged.is_empty() && leaving.is_empty() {
            self.forget_unnamed(generation)?;
        }
        if !leaving.is_empty() {
            synced.dropped += self.drop_fragments(&leaving)?;
        }
        synced.damaged = damaged.into_iter().map(|(_, sentence)| sentence).collect();
        self.forget_replaced(|id| !present.contains(id))?;
        Ok(is_complete)
    }

    /// Drops packs that the store does not have any more. That is what a host without the key to fragments can tell: its index
    /// holds what it stored itself, whichever fragments name that by now. Whether packs will go, it learns from there being marks.
    fn follow_packs(&self, repository: &Repository) -> Result<u64> {
        let mut known: HashMap<PackId, u64> = self.packs()?.into_iter().map(|(id, _, size)| (id, size)).collect();
        if known.is_empty() {
            return Ok(0);
        }
        repository.store().list(layout::PACKS, &mut |listed| {
            if let Some(id) = layout::id_of::<PackId>(&listed.key)
                && known.get(&id) == Some(&listed.size)
            {
                known.remove(&id);
            }
            Ok(())
        })?;
        let gone: Vec<PackId> = known.into_keys().collect();
        self.forget_packs(&gone)?;
        Ok(gone.len() as u64)
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
                 DELETE FROM replaced; DELETE FROM intact; UPDATE meta SET value = value + 1 WHERE key = 'generation';
                 INSERT OR IGNORE INTO dropped SELECT pack, 0 FROM dropped; DELETE FROM dropped WHERE fragment > 0;",
            )?;
            transaction.execute(RENEW, []).map(drop)
        })
    }

    /// Lets go of dropped packs that no fragment named when all were read, this time and the last: of a fragment that was written
    /// anew one listing may miss both. Not if the index was cleared since `generation`, which forgets who names them.
    fn forget_unnamed(&self, generation: i64) -> Result<()> {
        let any = "SELECT EXISTS(SELECT 1 FROM dropped WHERE fragment = 0)";
        if self.read(|connection| connection.query_row(any, [], |row| row.get(0)))? {
            let sql =
                "DELETE FROM dropped WHERE fragment = 0 AND (SELECT value FROM meta WHERE key = 'generation') = ?";
            self.write(|transaction| transaction.execute(sql, [generation]).map(drop))?;
        }
        Ok(())
    }

    /// Dropped packs that a fragment names and the store does not have.
    pub(crate) fn lost(&self, repository: &Repository) -> Result<BTreeSet<PackId>> {
        let named: Vec<PackId> = self.read(|connection| {
            let mut statement = connection.prepare("SELECT DISTINCT pack FROM dropped WHERE fragment > 0")?;
            statement.query_map([], |row| id(row, 0, PackId::from_slice))?.collect()
        })?;
        let mut lost = BTreeSet::new();
        for pack in named {
            if repository.store().size(&layout::pack(&pack))?.is_none() {
                lost.insert(pack);
            }
        }
        Ok(lost)
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
    pub fn rebuild(&self, repository: &Repository, progress: impl FnMut(u64, u64)) -> Result<Rebuilt> {
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
        let (adopted, damaged) = self.adopt(repository, &unnamed, progress)?;
        rebuilt.adopted = adopted;
        rebuilt.packs = total - (damaged.len() as u64).min(total);
        rebuilt.damaged.extend(damaged);
        for id in named.keys() {
            self.drop_pack(id)?;
        }
        let lost = self.lost(repository)?;
        rebuilt.missing = named.into_keys().chain(lost).filter(|id| !going.contains(id)).collect();
        rebuilt.missing.sort();
        rebuilt.missing.dedup();
        Ok(rebuilt)
    }
}

/// Deletes packs with their frames and begins a new generation. Their chunks, which stand all over the table, do not count from
/// then on, and are swept by the next prune: to forget costs what is forgotten.
pub(super) fn drop_packs(transaction: &Transaction<'_>, packs: &[i64]) -> rusqlite::Result<()> {
    if packs.is_empty() {
        return Ok(());
    }
    let mut frames = 0;
    let mut remember = transaction.prepare_cached(
        "INSERT OR IGNORE INTO dropped SELECT packs.id, listed.fragment FROM packs JOIN listed ON listed.pack = packs.pack
            WHERE packs.pack = ?",
    )?;
    for pack in packs {
        remember.execute([pack])?;
        frames += transaction.prepare_cached("DELETE FROM frames WHERE pack = ?")?.execute([pack])?;
        for table in ["listed", "packs"] {
            transaction.prepare_cached(&format!("DELETE FROM {table} WHERE pack = ?"))?.execute([pack])?;
        }
    }
    lose_frames(transaction, frames)
}

/// So many frames are gone: a new generation, and their chunks are still to be swept.
pub(super) fn lose_frames(transaction: &Transaction<'_>, frames: usize) -> rusqlite::Result<()> {
    transaction.execute("UPDATE meta SET value = value + 1 WHERE key = 'generation'", [])?;
    let sql = "INSERT INTO meta VALUES('unswept', ?1) ON CONFLICT(key) DO UPDATE SET value = value + ?1";
    transaction.execute(sql, [frames]).map(drop)
}

/// The packs without a fragment, rebuilt from the rows.
fn unlisted(connection: &Connection) -> rusqlite::Result<Vec<(i64, PackInfo)>> {
    let sql = "SELECT pack, id, kind, size FROM packs
        WHERE NOT EXISTS(SELECT 1 FROM listed WHERE listed.pack = packs.pack) ORDER BY pack";
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
        (SELECT frame FROM frames WHERE NOT EXISTS(SELECT 1 FROM listed WHERE listed.pack = frames.pack))";
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
