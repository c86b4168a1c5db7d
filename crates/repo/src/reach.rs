//! Who needs what: how often each manifest block and chunk is named, over all snapshots.
//!
//! ```text
//! snapshot ─▶ block ─▶ block … ─▶ chunk        a block's own names count once, however many snapshots share it
//! ```
//! So a snapshot that goes costs what only it held, and what would be freed is known before it goes. The counts stand in an
//! SQLite file of their own beside the index, so that nothing here keeps a backup waiting. They are derived: without the file,
//! or when it disagrees with the repository, everything is counted anew.
//!
//! A block that cannot be read is counted as naming nothing, and is tried again at the next [`Reach::update`]. What it names is
//! unknown, so while there is one, nothing may be taken for unneeded.

mod usage;

use std::fs;
use std::path::{Path, PathBuf};

use icecore_format::id::{ChunkId, SnapshotId};
use icecore_format::manifest::{BlockSource, Links, block_links};
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use crate::catalogue::Stored;
use crate::error::{Error, Result};
use crate::index::Index;
use crate::reader::ChunkReader;

pub use usage::{PackUse, Usage};

/// The schema's number; a file with another number is made anew.
const SCHEMA: i64 = 1;

/// `opened` tells whether what the block names is counted.
const TABLES: &str = "
CREATE TABLE snapshots(id BLOB PRIMARY KEY, root BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE blocks(id BLOB PRIMARY KEY, refs INTEGER NOT NULL, opened INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE chunks(id BLOB PRIMARY KEY, refs INTEGER NOT NULL) WITHOUT ROWID;
";

/// What nothing needs any more once some snapshots are gone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Freed {
    /// Manifest blocks.
    pub blocks: u64,
    /// Chunks of content.
    pub chunks: u64,
    /// Plain bytes of both.
    pub plain_bytes: u64,
    /// Their share, by plain bytes, in the frames that they stand in, in stored bytes.
    pub stored_bytes: u64,
    /// Whether every block could be read. If not, this is what is known: both more and less may be needed.
    pub exact: bool,
}

/// The counts.
#[derive(Debug)]
pub struct Reach {
    connection: Connection,
    path: PathBuf,
}

impl Reach {
    /// Opens the counts beside an index.
    pub fn open(index: &Index) -> Result<Self> {
        let path = index.path().with_file_name("reach.sqlite");
        let connection = match connect(&path, index) {
            Ok(connection) => connection,
            // Another schema, or no database at all: it is derived, so it goes.
            Err(error) if matches!(error.sqlite_error_code(), None | Some(rusqlite::ErrorCode::NotADatabase)) => {
                remove(&path)?;
                connect(&path, index).map_err(|source| Error::Index { path: path.clone(), source })?
            }
            Err(source) => return Err(Error::Index { path, source }),
        };
        Ok(Self { connection, path })
    }

    /// Brings the counts to exactly these snapshots; `step` is called for each block that is read. Gives a sentence for each
    /// block that could not be.
    pub fn update(
        &mut self,
        reader: &ChunkReader,
        present: &[Stored],
        step: &mut dyn FnMut() -> Result<()>,
    ) -> Result<Vec<String>> {
        match self.bring(reader, present, step) {
            // What was counted can no longer be read, so it cannot be taken back one by one.
            Err(error) if error.is_loss() => {
                self.write(|transaction| {
                    transaction.execute_batch("DELETE FROM snapshots; DELETE FROM blocks; DELETE FROM chunks;")
                })?;
                self.bring(reader, present, step)
            }
            brought => brought,
        }
    }

    fn bring(
        &mut self,
        reader: &ChunkReader,
        present: &[Stored],
        step: &mut dyn FnMut() -> Result<()>,
    ) -> Result<Vec<String>> {
        let path = self.path.clone();
        let mut damaged = Vec::new();
        self.in_transaction(|transaction| {
            let mut walk = Walk { transaction, reader, step, fail: &fail_at(&path), damaged: &mut damaged };
            for (id, root) in walk.counted()? {
                if !present.iter().any(|stored| stored.id == id) {
                    walk.remove(root, &mut Freed::default(), false)?;
                    walk.execute("DELETE FROM snapshots WHERE id = ?", id.as_bytes())?;
                }
            }
            // What nobody names any more need not be read.
            walk.retry()
        })?;
        for stored in present {
            self.in_transaction(|transaction| {
                let mut walk = Walk { transaction, reader, step, fail: &fail_at(&path), damaged: &mut damaged };
                walk.add_snapshot(stored)
            })?;
        }
        Ok(damaged)
    }

    /// What nothing would need any more without these snapshots, all of which are counted, and a sentence for each block of
    /// them that could not be read. Changes nothing.
    pub fn would_free(
        &mut self,
        reader: &ChunkReader,
        gone: &[&Stored],
        step: &mut dyn FnMut() -> Result<()>,
    ) -> Result<(Freed, Vec<String>)> {
        let path = self.path.clone();
        let fail = fail_at(&path);
        // Never committed: it is taken back when it is dropped.
        let transaction = begin(&mut self.connection).map_err(&fail)?;
        let mut damaged = Vec::new();
        let mut walk = Walk { transaction: &transaction, reader, step, fail: &fail, damaged: &mut damaged };
        let mut freed = Freed { exact: walk.unopened()?.is_empty(), ..Freed::default() };
        for stored in gone {
            walk.remove(stored.snapshot.manifest.id, &mut freed, true)?;
        }
        freed.exact &= damaged.is_empty();
        Ok((freed, damaged))
    }

    /// Holds the counts as they are for as long as this lives, whatever other processes of this host change meanwhile. Not if they are not exactly those of `present`, every block of them read: somebody was
    /// faster, and [`Reach::update`] helps.
    pub(crate) fn hold(&mut self, present: &[Stored]) -> Result<bool> {
        let fail = fail_at(&self.path);
        if !self.connection.is_autocommit() {
            self.connection.execute_batch("ROLLBACK").map_err(&fail)?;
        }
        // The index is held too from when it is read on.
        self.connection.execute_batch("BEGIN DEFERRED").map_err(&fail)?;
        let counts = |sql: &str| self.connection.query_row(sql, [], |row| row.get::<_, u64>(0)).map_err(&fail);
        // The first of these reads is where the counts stand still.
        let mut is_exact = counts("SELECT count(*) FROM main.blocks WHERE opened = 0")? == 0
            && counts("SELECT count(*) FROM main.snapshots")? == present.len() as u64;
        if is_exact {
            let mut find = self.connection.prepare("SELECT 1 FROM main.snapshots WHERE id = ?").map_err(&fail)?;
            for stored in present {
                is_exact &= find.exists([stored.id.as_bytes()]).map_err(&fail)?;
            }
        }
        if !is_exact {
            self.connection.execute_batch("ROLLBACK").map_err(&fail)?;
        }
        Ok(is_exact)
    }

    /// A snapshot with a block that could not be read, if there is one.
    pub(crate) fn closed_in(&self) -> Result<Option<SnapshotId>> {
        let sql = "SELECT s.id FROM snapshots s JOIN blocks b ON b.id = s.root WHERE b.opened = 0 LIMIT 1";
        let found = self.connection.query_row(sql, [], |row| row.get::<_, Vec<u8>>(0)).optional();
        Ok(found.map_err(fail_at(&self.path))?.and_then(|id| SnapshotId::from_slice(&id)))
    }

    fn write(&mut self, work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<()>) -> Result<()> {
        let path = self.path.clone();
        self.in_transaction(|transaction| work(transaction).map_err(fail_at(&path)))
    }

    fn in_transaction(&mut self, work: impl FnOnce(&Transaction<'_>) -> Result<()>) -> Result<()> {
        let fail = fail_at(&self.path);
        let transaction = begin(&mut self.connection).map_err(&fail)?;
        work(&transaction)?;
        transaction.commit().map_err(&fail)
    }
}

/// One change of the counts.
struct Walk<'a, 's> {
    transaction: &'a Transaction<'a>,
    reader: &'a ChunkReader,
    step: &'a mut (dyn FnMut() -> Result<()> + 's),
    fail: &'a dyn Fn(rusqlite::Error) -> Error,
    damaged: &'a mut Vec<String>,
}

impl Walk<'_, '_> {
    fn add_snapshot(&mut self, stored: &Stored) -> Result<()> {
        let root = stored.snapshot.manifest.id;
        let sql = "INSERT OR IGNORE INTO snapshots VALUES(?, ?)";
        let is_new = self.transaction.prepare_cached(sql);
        let is_new = is_new.and_then(|mut add| add.execute(params![stored.id.as_bytes(), root.as_bytes()]));
        if is_new.map_err(self.fail)? == 1 {
            self.add(vec![root])?;
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
        let sql = "INSERT INTO chunks VALUES(?, 1) ON CONFLICT(id) DO UPDATE SET refs = refs + 1";
        let mut add = self.transaction.prepare_cached(sql).map_err(self.fail)?;
        for (chunk, _) in &links.chunks {
            add.execute([chunk.as_bytes()]).map_err(self.fail)?;
        }
        named.extend(links.blocks);
        self.execute("UPDATE blocks SET opened = 1 WHERE id = ?", block.as_bytes())
    }

    /// One block or snapshot less names this block; `freed` takes what nothing names any more. A block that cannot be read is
    /// an error, unless it is only `asked` what would be.
    fn remove(&mut self, root: ChunkId, freed: &mut Freed, asked: bool) -> Result<()> {
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
                    Err(error) if asked && error.is_loss() => {
                        self.damaged.push(format!("manifest block {block}: {error}"));
                        Links::default()
                    }
                    links => links?,
                };
                for (chunk, _) in &links.chunks {
                    self.remove_chunk(chunk, freed)?;
                }
                named.extend(links.blocks);
            }
            if !self.is_named("SELECT 1 FROM chunks WHERE id = ?", &block)? {
                freed.blocks += 1;
                self.tally(&block, freed)?;
            }
        }
        Ok(())
    }

    fn remove_chunk(&mut self, chunk: &ChunkId, freed: &mut Freed) -> Result<()> {
        let sql = "UPDATE chunks SET refs = refs - 1 WHERE id = ? RETURNING refs";
        let left = self.transaction.prepare_cached(sql);
        let left = left.and_then(|mut take| take.query_row([chunk.as_bytes()], |row| row.get(0)).optional());
        if left.map_err(self.fail)? != Some(0_i64) {
            return Ok(());
        }
        self.execute("DELETE FROM chunks WHERE id = ?", chunk.as_bytes())?;
        if !self.is_named("SELECT 1 FROM blocks WHERE id = ?", chunk)? {
            freed.chunks += 1;
            self.tally(chunk, freed)?;
        }
        Ok(())
    }

    /// Adds what a chunk takes, wherever it stands.
    fn tally(&self, chunk: &ChunkId, freed: &mut Freed) -> Result<()> {
        let sql =
            "SELECT c.len, f.stored, f.plain FROM idx.chunks c JOIN idx.frames f ON f.frame = c.frame WHERE c.id = ?";
        let mut find = self.transaction.prepare_cached(sql).map_err(self.fail)?;
        let copies = find.query_map([chunk.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
        for copy in copies.map_err(self.fail)? {
            let (len, stored, plain): (u64, u64, u64) = copy.map_err(self.fail)?;
            freed.plain_bytes += len;
            freed.stored_bytes += (stored * len).checked_div(plain).unwrap_or(0);
        }
        Ok(())
    }

    /// Tries the blocks again that could not be read.
    fn retry(&mut self) -> Result<()> {
        for block in self.unopened()? {
            let mut named = Vec::new();
            self.open(&block, &mut named)?;
            self.add(named)?;
        }
        Ok(())
    }

    fn unopened(&self) -> Result<Vec<ChunkId>> {
        let ids = self.transaction.prepare_cached("SELECT id FROM blocks WHERE opened = 0").and_then(|mut find| {
            let rows = find.query_map([], |row| row.get::<_, Vec<u8>>(0))?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        });
        Ok(ids.map_err(self.fail)?.iter().filter_map(|id| ChunkId::from_slice(id)).collect())
    }

    fn counted(&self) -> Result<Vec<(SnapshotId, ChunkId)>> {
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

/// Begins to write to the counts, and to them alone: an immediate transaction would lock the attached index too, and
/// keep backups of this host waiting while blocks are read.
fn begin(connection: &mut Connection) -> rusqlite::Result<Transaction<'_>> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Deferred)?;
    transaction.pragma_update(Some("main"), "user_version", SCHEMA)?;
    Ok(transaction)
}

fn connect(path: &Path, index: &Index) -> rusqlite::Result<Connection> {
    let mut connection = crate::index::open_connection(path)?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    match transaction.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0))? {
        SCHEMA => {}
        0 => {
            transaction.execute_batch(TABLES)?;
            transaction.pragma_update(None, "user_version", SCHEMA)?;
        }
        other => return Err(rusqlite::Error::IntegralValueOutOfRange(0, other)),
    }
    transaction.commit()?;
    let index = ValueRef::Text(index.path().as_os_str().as_encoded_bytes());
    connection.execute("ATTACH ? AS idx", [ToSqlOutput::Borrowed(index)])?;
    Ok(connection)
}

fn remove(path: &Path) -> Result<()> {
    for suffix in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        match fs::remove_file(&name) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::State { path: path.to_owned(), source });
            }
            _ => {}
        }
    }
    Ok(())
}

fn fail_at(path: &Path) -> impl Fn(rusqlite::Error) -> Error + use<> {
    let path = path.to_owned();
    move |source| Error::Index { path: path.clone(), source }
}

mod dead;
#[cfg(test)]
mod tests;
