//! One change of the counts. What blocks name is added up in memory and goes to the file in the order of ids, so that a chunk that many
//! blocks name costs one row, and rows that stand beside each other are met together.

use std::collections::HashMap;

use icecore_format::id::{ChunkId, SnapshotId};
use icecore_format::manifest::{BlockSource, Links, block_links};
use rusqlite::{OptionalExtension, Transaction, params};

use super::Freed;
use crate::catalogue::Stored;
use crate::error::{Error, Result};
use crate::reader::ChunkReader;

/// So many chunks are added up in memory: about 16 MiB.
const ADDED_UP: usize = 1 << 18;

/// What is tried out.
#[derive(Debug, Clone, Copy)]
pub(super) enum Change {
    Add,
    Remove,
}

/// Adds and takes away names within one transaction; nothing of it counts before [`Walk::settle`].
pub(super) struct Walk<'a, 's> {
    transaction: &'a Transaction<'a>,
    reader: &'a ChunkReader,
    step: &'a mut (dyn FnMut() -> Result<()> + 's),
    fail: &'a dyn Fn(rusqlite::Error) -> Error,
    damaged: &'a mut Vec<String>,
    /// By how much chunks are named more often than their rows say.
    changes: HashMap<ChunkId, i64>,
    /// What something names for the first time, or nothing any more, if anybody wants to know.
    tallied: Option<Freed>,
}

impl<'a, 's> Walk<'a, 's> {
    pub(super) fn new(
        transaction: &'a Transaction<'a>,
        reader: &'a ChunkReader,
        step: &'a mut (dyn FnMut() -> Result<()> + 's),
        fail: &'a dyn Fn(rusqlite::Error) -> Error,
        damaged: &'a mut Vec<String>,
    ) -> Self {
        Self { transaction, reader, step, fail, damaged, changes: HashMap::new(), tallied: None }
    }

    /// Whether so much is in memory that the transaction had better end.
    pub(super) fn is_full(&self) -> bool {
        self.changes.len() >= ADDED_UP / 2
    }

    pub(super) fn add_snapshot(&mut self, stored: &Stored) -> Result<()> {
        let root = stored.snapshot.manifest.id;
        let sql = "INSERT OR IGNORE INTO snapshots VALUES(?, ?)";
        let is_new = self.transaction.prepare_cached(sql);
        let is_new = is_new.and_then(|mut add| add.execute(params![stored.id.as_bytes(), root.as_bytes()]));
        if is_new.map_err(self.fail)? == 1 {
            self.add(vec![root])?;
        }
        Ok(())
    }

    /// Takes a snapshot away; a block of it that cannot be read is an error.
    pub(super) fn remove_snapshot(&mut self, id: &SnapshotId, root: ChunkId) -> Result<()> {
        self.remove(root)?;
        self.execute("DELETE FROM snapshots WHERE id = ?", id.as_bytes())
    }

    /// Takes these snapshots away, or adds them, and tells what nothing names any more or nothing has named. Blocks that cannot be read are
    /// no error. For a transaction that is never committed.
    pub(super) fn try_out(&mut self, change: Change, snapshots: &[&Stored]) -> Result<Freed> {
        self.tallied = Some(Freed::default());
        for stored in snapshots {
            let root = stored.snapshot.manifest.id;
            match change {
                Change::Remove => self.remove(root)?,
                Change::Add => self.add(vec![root])?,
            }
        }
        self.settle()?;
        Ok(self.tallied.take().unwrap_or_default())
    }

    /// Brings the rows of the chunks to what was added up.
    pub(super) fn settle(&mut self) -> Result<()> {
        let mut changes: Vec<(ChunkId, i64)> = self.changes.drain().filter(|(_, by)| *by != 0).collect();
        changes.sort_unstable();
        let prepare = |sql| self.transaction.prepare_cached(sql).map_err(self.fail);
        let mut find = prepare("SELECT refs FROM chunks WHERE id = ?")?;
        let mut add = prepare("INSERT INTO chunks VALUES(?, ?)")?;
        let mut change = prepare("UPDATE chunks SET refs = refs + ?2 WHERE id = ?1")?;
        let mut delete = prepare("DELETE FROM chunks WHERE id = ?")?;
        for (chunk, by) in changes {
            let refs: Option<i64> =
                find.query_row([chunk.as_bytes()], |row| row.get(0)).optional().map_err(self.fail)?;
            match refs {
                Some(refs) if refs + by <= 0 => delete.execute([chunk.as_bytes()]).map_err(self.fail)?,
                Some(_) => change.execute(params![chunk.as_bytes(), by]).map_err(self.fail)?,
                None if by > 0 => add.execute(params![chunk.as_bytes(), by]).map_err(self.fail)?,
                None => continue,
            };
            // Told where its number leaves zero or comes to it.
            if refs.unwrap_or(0) * (refs.unwrap_or(0) + by) == 0
                && self.tallied.is_some()
                && !self.is_named("SELECT 1 FROM blocks WHERE id = ?", &chunk)?
            {
                self.tally(&chunk, |tallied| &mut tallied.chunks)?;
            }
        }
        Ok(())
    }

    /// One more block or snapshot names each of these blocks.
    fn add(&mut self, mut named: Vec<ChunkId>) -> Result<()> {
        let sql = "INSERT INTO blocks VALUES(?, 1, 0) ON CONFLICT(id) DO UPDATE SET refs = refs + 1 RETURNING refs";
        while let Some(block) = named.pop() {
            let refs = self.transaction.prepare_cached(sql);
            let refs: i64 =
                refs.and_then(|mut add| add.query_row([block.as_bytes()], |row| row.get(0))).map_err(self.fail)?;
            if refs == 1 {
                self.open(&block, &mut named)?;
                self.tally_block(&block)?;
            }
        }
        Ok(())
    }

    /// Counts what a block names, if it can be read.
    fn open(&mut self, block: &ChunkId, named: &mut Vec<ChunkId>) -> Result<()> {
        let links = match self.links(block) {
            Ok(links) => links,
            Err(error) if error.is_loss() => {
                self.damaged.push(format!("manifest block {block}: {error}"));
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        self.change(&links, 1)?;
        named.extend(links.blocks);
        self.execute("UPDATE blocks SET opened = 1 WHERE id = ?", block.as_bytes())
    }

    /// One block or snapshot less names this block. If it is only asked what would be freed, a block that cannot be read is no error.
    fn remove(&mut self, root: ChunkId) -> Result<()> {
        let mut named = vec![root];
        while let Some(block) = named.pop() {
            let sql = "UPDATE blocks SET refs = refs - 1 WHERE id = ? RETURNING refs, opened";
            let left = self.transaction.prepare_cached(sql).and_then(|mut take| {
                take.query_row([block.as_bytes()], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, bool>(1)?))).optional()
            });
            let Some((0, opened)) = left.map_err(self.fail)? else { continue };
            self.execute("DELETE FROM blocks WHERE id = ?", block.as_bytes())?;
            if opened {
                let links = match self.links(&block) {
                    Err(error) if self.tallied.is_some() && error.is_loss() => {
                        self.damaged.push(format!("manifest block {block}: {error}"));
                        Links::default()
                    }
                    links => links?,
                };
                self.change(&links, -1)?;
                named.extend(links.blocks);
            }
            self.tally_block(&block)?;
        }
        Ok(())
    }

    fn change(&mut self, links: &Links, by: i64) -> Result<()> {
        for (chunk, _) in &links.chunks {
            *self.changes.entry(*chunk).or_default() += by;
        }
        if self.changes.len() >= ADDED_UP { self.settle() } else { Ok(()) }
    }

    /// One that is named as content too is told with the content.
    fn tally_block(&mut self, block: &ChunkId) -> Result<()> {
        if self.tallied.is_none() || self.is_named("SELECT 1 FROM chunks WHERE id = ?", block)? {
            return Ok(());
        }
        self.tally(block, |tallied| &mut tallied.blocks)
    }

    /// Adds one to a number of what is told, and what the chunk or block takes, wherever it stands.
    fn tally(&mut self, chunk: &ChunkId, number: impl Fn(&mut Freed) -> &mut u64) -> Result<()> {
        let Some(tallied) = &mut self.tallied else { return Ok(()) };
        *number(tallied) += 1;
        let sql =
            "SELECT c.len, f.stored, f.plain FROM idx.chunks c JOIN idx.frames f ON f.frame = c.frame WHERE c.id = ?";
        let mut find = self.transaction.prepare_cached(sql).map_err(self.fail)?;
        let copies = find.query_map([chunk.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
        for copy in copies.map_err(self.fail)? {
            let (len, stored, plain): (u64, u64, u64) = copy.map_err(self.fail)?;
            tallied.plain_bytes += len;
            tallied.stored_bytes += (stored * len).checked_div(plain).unwrap_or(0);
        }
        Ok(())
    }

    /// Tries the blocks again that could not be read.
    pub(super) fn retry(&mut self) -> Result<()> {
        for block in self.unopened()? {
            let mut named = Vec::new();
            self.open(&block, &mut named)?;
            self.add(named)?;
        }
        Ok(())
    }

    pub(super) fn unopened(&self) -> Result<Vec<ChunkId>> {
        let ids = self.transaction.prepare_cached("SELECT id FROM blocks WHERE opened = 0").and_then(|mut find| {
            let rows = find.query_map([], |row| row.get::<_, Vec<u8>>(0))?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        });
        Ok(ids.map_err(self.fail)?.iter().filter_map(|id| ChunkId::from_slice(id)).collect())
    }

    pub(super) fn counted(&self) -> Result<Vec<(SnapshotId, ChunkId)>> {
        let rows = self.transaction.prepare_cached("SELECT id, root FROM snapshots").and_then(|mut find| {
            let rows = find.query_map([], |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, Vec<u8>>(1)?)))?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        });
        let ids = |(id, root): (Vec<u8>, Vec<u8>)| Some((SnapshotId::from_slice(&id)?, ChunkId::from_slice(&root)?));
        Ok(rows.map_err(self.fail)?.into_iter().filter_map(ids).collect())
    }

    fn links(&mut self, block: &ChunkId) -> Result<Links> {
        (self.step)()?;
        let bytes = self.reader.block(block)?;
        block_links(&bytes)
            .map_err(|error| Error::Damaged { object: "a manifest block".to_owned(), reason: error.to_string() })
    }

    fn is_named(&self, sql: &str, id: &ChunkId) -> Result<bool> {
        self.transaction.prepare_cached(sql).and_then(|mut find| find.exists([id.as_bytes()])).map_err(self.fail)
    }

    fn execute(&self, sql: &str, id: &[u8]) -> Result<()> {
        self.transaction.prepare_cached(sql).and_then(|mut run| run.execute([id])).map(drop).map_err(self.fail)
    }
}
