//! Fragments as this host knows them: those that count, and those that stand in the store still although others replace them.

use std::collections::{BTreeSet, HashSet};

use icecore_format::fragment::Fragment;
use icecore_format::id::{FragmentId, PackId};
use icecore_format::pack::PackInfo;
use icecore_store::Key;
use rusqlite::{OptionalExtension, Transaction, params};

use super::sync::drop_packs;
use super::{ChunkRow, Index, id, insert_chunks, insert_pack};
use crate::error::{Error, Result};
use crate::repository::Repository;
use crate::{layout, objects};

/// A fragment is put when this many packs wait for one: at 16 MiB a pack a crash leaves at most half a GiB to adopt.
pub(crate) const PACKS_PER_FRAGMENT: usize = 32;

/// Chunks of fragments that are read in a row and inserted together: 130 MiB of memory.
const CHUNKS_PER_BATCH: usize = 2_000_000;

/// Puts a fragment that names durable packs, and records it.
pub(crate) fn publish(index: &Index, repository: &Repository, packs: &[PackInfo]) -> Result<u64> {
    if packs.is_empty() {
        return Ok(0);
    }
    put(index, repository, &Fragment::of(packs.to_vec()))
}

/// Puts a fragment and records it; gives its bytes.
pub(crate) fn put(index: &Index, repository: &Repository, fragment: &Fragment) -> Result<u64> {
    let (id, size) = objects::put_fragment(repository, &fragment.encode())?;
    index.insert_fragment(&id, size, fragment)?;
    index.drop_fragments(fragment.replaced())?;
    Ok(size)
}

/// Reads a fragment from the store, verified.
pub(crate) fn read_fragment(repository: &Repository, id: &FragmentId) -> Result<Fragment> {
    let plain = objects::get_fragment(repository, id)?;
    Fragment::decode(&plain)
        .map_err(|error| Error::Damaged { object: layout::fragment(id).to_string(), reason: error.to_string() })
}

/// The fragments of the store with their sizes, the largest first: so a merged one comes before those that it replaces, which
/// then need not be read. Objects there that are no fragments are `foreign`.
pub(crate) fn list_fragments(repository: &Repository, foreign: &mut dyn FnMut(&Key)) -> Result<Vec<(FragmentId, u64)>> {
    let mut listed = Vec::new();
    repository.store().list(layout::FRAGMENTS, &mut |object| {
        match layout::id_of::<FragmentId>(&object.key).filter(|id| layout::fragment(id) == object.key) {
            Some(id) => listed.push((id, object.size)),
            None => foreign(&object.key),
        }
        Ok(())
    })?;
    listed.sort_unstable_by_key(|(id, size)| (std::cmp::Reverse(*size), *id));
    Ok(listed)
}

impl Index {
    /// The fragments that count.
    pub(crate) fn fragments(&self) -> Result<HashSet<FragmentId>> {
        self.read(|connection| {
            let mut statement = connection.prepare("SELECT id FROM fragments")?;
            statement.query_map([], |row| id(row, 0, FragmentId::from_slice))?.collect()
        })
    }

    /// Records a durable fragment of so many bytes: its packs, and what it replaces, which counts until it is dropped. Packs that were
    /// dropped stay so: a fragment that was written anew says nothing about what stands in the store.
    pub(crate) fn insert_fragment(&self, fragment: &FragmentId, size: u64, content: &Fragment) -> Result<()> {
        self.write(|transaction| {
            let mut chunks = Vec::new();
            insert_fragment(transaction, fragment, size, content, &mut chunks)?;
            insert_chunks(transaction, chunks)
        })
    }

    /// Records several in their order, as [`insert_fragment`](Self::insert_fragment) does: their chunks, which belong all over the
    /// table, meet each of its pages once.
    pub(super) fn insert_fragments(&self, batch: &mut Batch) -> Result<()> {
        let Batch { fragments, chunks: count } = std::mem::take(batch);
        if fragments.is_empty() {
            return Ok(());
        }
        self.write(|transaction| {
            let mut chunks = Vec::with_capacity(count);
            for (id, size, content) in fragments {
                insert_fragment(transaction, &id, size, &content, &mut chunks)?;
            }
            insert_chunks(transaction, chunks)
        })
    }

    /// Drops fragments that are gone, and the packs that only they named; gives how many.
    pub(crate) fn drop_fragments(&self, gone: &[FragmentId]) -> Result<u64> {
        self.write(|transaction| drop_fragments(transaction, gone))
    }

    /// Fragments that may be merged, with their sizes: those that replace nothing that still stands.
    pub(crate) fn settled(&self) -> Result<Vec<(FragmentId, u64)>> {
        self.read(|connection| {
            let sql = "SELECT id, size FROM fragments WHERE fragment NOT IN (SELECT fragment FROM replaced)";
            let mut statement = connection.prepare(sql)?;
            let rows = statement.query_map([], |row| Ok((id(row, 0, FragmentId::from_slice)?, row.get(1)?)))?;
            rows.collect()
        })
    }

    /// Fragments that stand in the store and that one of those replaces which are chosen.
    pub(crate) fn replaced_by(&self, is_chosen: impl Fn(&FragmentId) -> bool) -> Result<HashSet<FragmentId>> {
        self.read(|connection| {
            let sql = "SELECT replaced.id, fragments.id FROM replaced JOIN fragments USING(fragment)";
            let mut statement = connection.prepare(sql)?;
            let mut rows = statement.query([])?;
            let mut found = HashSet::new();
            while let Some(row) = rows.next()? {
                if is_chosen(&id(row, 1, FragmentId::from_slice)?) {
                    found.insert(id(row, 0, FragmentId::from_slice)?);
                }
            }
            Ok(found)
        })
    }

    /// Fragments that replace something that still stands, and were made in that second or before.
    pub(crate) fn replacing(&self, latest: i64) -> Result<Vec<FragmentId>> {
        self.read(|connection| {
            let sql = "SELECT id FROM fragments WHERE made <= ? AND fragment IN (SELECT fragment FROM replaced)";
            let mut statement = connection.prepare(sql)?;
            statement.query_map([latest], |row| id(row, 0, FragmentId::from_slice))?.collect()
        })
    }

    /// Forgets replaced fragments that do not stand in the store any more.
    pub(crate) fn forget_replaced(&self, is_gone: impl Fn(&FragmentId) -> bool) -> Result<()> {
        let gone: Vec<FragmentId> = self.replaced_by(|_| true)?.into_iter().filter(|id| is_gone(id)).collect();
        if gone.is_empty() {
            return Ok(());
        }
        self.write(|transaction| {
            let mut forget = transaction.prepare_cached("DELETE FROM replaced WHERE id = ?")?;
            gone.iter().try_for_each(|id| forget.execute([id.as_bytes()]).map(drop))
        })
    }

    /// The fragments that name any of these packs.
    pub(crate) fn fragments_of(&self, packs: &BTreeSet<PackId>) -> Result<BTreeSet<FragmentId>> {
        self.read(|connection| {
            let sql = "SELECT fragments.id FROM packs JOIN listed ON listed.pack = packs.pack
                JOIN fragments ON fragments.fragment = listed.fragment WHERE packs.id = ?1
                UNION SELECT fragments.id FROM dropped JOIN fragments ON fragments.fragment = dropped.fragment
                WHERE dropped.pack = ?1";
            let mut statement = connection.prepare(sql)?;
            let mut found = BTreeSet::new();
            for pack in packs {
                for fragment in statement.query_map([pack.as_bytes()], |row| id(row, 0, FragmentId::from_slice))? {
                    found.insert(fragment?);
                }
            }
            Ok(found)
        })
    }

    /// The packs that a fragment names.
    pub(crate) fn packs_of(&self, fragment: &FragmentId) -> Result<Vec<PackId>> {
        self.read(|connection| {
            let sql = "SELECT packs.id FROM fragments JOIN listed ON listed.fragment = fragments.fragment
                JOIN packs ON packs.pack = listed.pack WHERE fragments.id = ?";
            let mut statement = connection.prepare(sql)?;
            statement.query_map([fragment.as_bytes()], |row| id(row, 0, PackId::from_slice))?.collect()
        })
    }
}

/// Fragments that were read and are to be inserted together.
#[derive(Default)]
pub(super) struct Batch {
    fragments: Vec<(FragmentId, u64, Fragment)>,
    chunks: usize,
}

impl Batch {
    /// Adds one; whether it is time to insert them.
    pub(super) fn add(&mut self, id: FragmentId, size: u64, content: Fragment) -> bool {
        self.chunks +=
            content.packs.iter().flat_map(|pack| &pack.frames).map(|frame| frame.chunks.len()).sum::<usize>();
        self.fragments.push((id, size, content));
        self.chunks >= CHUNKS_PER_BATCH
    }
}

fn insert_fragment(
    transaction: &Transaction<'_>,
    fragment: &FragmentId,
    size: u64,
    content: &Fragment,
    chunks: &mut Vec<ChunkRow>,
) -> rusqlite::Result<()> {
    let find = "SELECT fragment FROM fragments WHERE id = ?";
    let found = transaction.query_row(find, [fragment.as_bytes()], |row| row.get(0)).optional()?;
    let row: i64 = match found {
        Some(row) => row,
        None => {
            let made = content.made.map(|made| made.seconds);
            let sql = "INSERT INTO fragments(id, size, made) VALUES(?, ?, ?)";
            transaction.prepare_cached(sql)?.insert(params![fragment.as_bytes(), size, made])?
        }
    };
    let mut dropped = transaction.prepare_cached("SELECT 1 FROM dropped WHERE pack = ?")?;
    let mut still = transaction.prepare_cached("INSERT OR IGNORE INTO dropped VALUES(?, ?)")?;
    let mut list = transaction.prepare_cached("INSERT OR IGNORE INTO listed VALUES(?, ?)")?;
    for info in &content.packs {
        if dropped.exists([info.id.as_bytes()])? {
            still.execute(params![info.id.as_bytes(), row])?;
        } else {
            list.execute([row, insert_pack(transaction, info, chunks)?])?;
        }
    }
    let mut replace = transaction.prepare_cached("INSERT OR IGNORE INTO replaced VALUES(?, ?)")?;
    content.replaced().iter().try_for_each(|old| replace.execute(params![old.as_bytes(), row]).map(drop))
}

fn drop_fragments(transaction: &Transaction<'_>, gone: &[FragmentId]) -> rusqlite::Result<u64> {
    let mut orphans = Vec::new();
    for fragment in gone {
        let find = "SELECT fragment FROM fragments WHERE id = ?";
        // Another process of this host may have been faster.
        let row: Option<i64> = transaction.query_row(find, [fragment.as_bytes()], |row| row.get(0)).optional()?;
        let Some(row) = row else { continue };
        let mut named = transaction.prepare_cached("SELECT pack FROM listed WHERE fragment = ?")?;
        orphans.extend(named.query_map([row], |row| row.get::<_, i64>(0))?.collect::<rusqlite::Result<Vec<_>>>()?);
        transaction.execute("INSERT OR IGNORE INTO dropped SELECT pack, 0 FROM dropped WHERE fragment = ?", [row])?;
        for table in ["listed", "replaced", "dropped", "fragments"] {
            transaction.prepare_cached(&format!("DELETE FROM {table} WHERE fragment = ?"))?.execute([row])?;
        }
    }
    orphans.sort_unstable();
    orphans.dedup();
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
