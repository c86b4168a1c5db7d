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

mod dead;
#[cfg(test)]
mod tests;
mod usage;
mod walk;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use icecore_format::id::SnapshotId;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};

use crate::catalogue::Stored;
use crate::error::{Error, Result};
use crate::index::Index;
use crate::reader::ChunkReader;

use self::walk::{Change, Walk};

pub use usage::{PackUse, Usage};

/// The schema's number; a file with another number is made anew.
const SCHEMA: i64 = 2;

/// `opened` tells whether what the block names is counted. `notes` and what belongs to them are the survey's: see `usage`; what is touched
/// is of interest only while there are notes.
const TABLES: &str = "
CREATE TABLE snapshots(id BLOB PRIMARY KEY, root BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE blocks(id BLOB PRIMARY KEY, refs INTEGER NOT NULL, opened INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE chunks(id BLOB PRIMARY KEY, refs INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE surveyed(identity BLOB NOT NULL, frame INTEGER NOT NULL);
CREATE TABLE notes(id BLOB NOT NULL, frame INTEGER NOT NULL, offset INTEGER NOT NULL, len INTEGER NOT NULL, needed INTEGER NOT NULL,
  PRIMARY KEY(id, frame, offset)) WITHOUT ROWID;
CREATE TABLE touched(id BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TRIGGER block_came AFTER INSERT ON blocks WHEN EXISTS(SELECT 1 FROM surveyed)
  BEGIN INSERT OR IGNORE INTO touched VALUES(new.id); END;
CREATE TRIGGER block_went AFTER DELETE ON blocks WHEN EXISTS(SELECT 1 FROM surveyed)
  BEGIN INSERT OR IGNORE INTO touched VALUES(old.id); END;
CREATE TRIGGER chunk_came AFTER INSERT ON chunks WHEN EXISTS(SELECT 1 FROM surveyed)
  BEGIN INSERT OR IGNORE INTO touched VALUES(new.id); END;
CREATE TRIGGER chunk_went AFTER DELETE ON chunks WHEN EXISTS(SELECT 1 FROM surveyed)
  BEGIN INSERT OR IGNORE INTO touched VALUES(old.id); END;
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
    pub fn update<'s>(
        &mut self,
        reader: &ChunkReader,
        present: impl IntoIterator<Item = &'s Stored> + Clone,
        step: &mut dyn FnMut() -> Result<()>,
    ) -> Result<Vec<String>> {
        match self.bring(reader, present.clone(), step) {
            // What was counted can no longer be read, so it cannot be taken back one by one.
            Err(error) if error.is_loss() => {
                self.write(|transaction| {
                    // Row by row, because of the triggers, it would take memory for each.
                    let tables = ["snapshots", "blocks", "chunks", "surveyed", "notes", "touched"];
                    tables.iter().try_for_each(|table| transaction.execute_batch(&format!("DROP TABLE {table}")))?;
                    transaction.execute_batch(TABLES)
                })?;
                self.bring(reader, present, step)
            }
            brought => brought,
        }
    }

    fn bring<'s>(
        &mut self,
        reader: &ChunkReader,
        present: impl IntoIterator<Item = &'s Stored> + Clone,
        step: &mut dyn FnMut() -> Result<()>,
    ) -> Result<Vec<String>> {
        let path = self.path.clone();
        let fail = fail_at(&path);
        let mut damaged = Vec::new();
        let wanted: BTreeSet<SnapshotId> = present.clone().into_iter().map(|stored| stored.id).collect();
        self.in_transaction(|transaction| {
            let mut walk = Walk::new(transaction, reader, step, &fail, &mut damaged);
            for (id, root) in walk.counted()? {
                if !wanted.contains(&id) {
                    walk.remove_snapshot(&id, root)?;
                }
            }
            // What nobody names any more need not be read.
            walk.retry()?;
            walk.settle()
        })?;
        // As many at once as can be counted in memory: an interrupted run goes on where the last transaction ended.
        let mut waiting = present.into_iter();
        let mut more = true;
        while more {
            more = false;
            self.in_transaction(|transaction| {
                let mut walk = Walk::new(transaction, reader, step, &fail, &mut damaged);
                for stored in waiting.by_ref() {
                    walk.add_snapshot(stored)?;
                    if walk.is_full() {
                        more = true;
                        break;
                    }
                }
                walk.settle()
            })?;
        }
        self.write(usage::give_up_if_too_much)?;
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
        self.try_out(reader, Change::Remove, gone, step)
    }

    /// What only these snapshots need, none of which is counted, beside those that are; the rest as in [`Reach::would_free`].
    /// To know what goes with many snapshots, this is quicker than to count them first.
    pub fn needed_beside(
        &mut self,
        reader: &ChunkReader,
        others: &[&Stored],
        step: &mut dyn FnMut() -> Result<()>,
    ) -> Result<(Freed, Vec<String>)> {
        self.try_out(reader, Change::Add, others, step)
    }

    fn try_out(
        &mut self,
        reader: &ChunkReader,
        change: Change,
        snapshots: &[&Stored],
        step: &mut dyn FnMut() -> Result<()>,
    ) -> Result<(Freed, Vec<String>)> {
        let path = self.path.clone();
        let fail = fail_at(&path);
        // Never committed: it is taken back when it is dropped.
        let transaction = begin(&mut self.connection).map_err(&fail)?;
        let mut damaged = Vec::new();
        let mut walk = Walk::new(&transaction, reader, step, &fail, &mut damaged);
        let all_read = walk.unopened()?.is_empty();
        let mut freed = walk.try_out(change, snapshots)?;
        freed.exact = all_read && damaged.is_empty();
        Ok((freed, damaged))
    }

    /// Holds the counts as they are for as long as this lives, whatever other processes of this host change meanwhile. Not if they are not
    /// exactly those of `present`, every block of them read: somebody was faster, and [`Reach::update`] helps.
    pub(crate) fn hold(&mut self, present: &[Stored]) -> Result<bool> {
        self.release()?;
        let fail = fail_at(&self.path);
        self.connection.execute_batch("BEGIN DEFERRED").map_err(&fail)?;
        // The first of its reads is where the counts stand still.
        let is_exact = is_exact(&self.connection, present).map_err(&fail)?;
        if !is_exact {
            self.release()?;
        }
        Ok(is_exact)
    }

    /// Lets go of what is held.
    fn release(&mut self) -> Result<()> {
        if self.connection.is_autocommit() {
            return Ok(());
        }
        self.connection.execute_batch("ROLLBACK").map_err(fail_at(&self.path))
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

/// Whether the counts are exactly those of `present`, every block of them read.
fn is_exact(connection: &Connection, present: &[Stored]) -> rusqlite::Result<bool> {
    let count = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, u64>(0));
    if count("SELECT count(*) FROM main.blocks WHERE opened = 0")? > 0
        || count("SELECT count(*) FROM main.snapshots")? != present.len() as u64
    {
        return Ok(false);
    }
    let mut find = connection.prepare("SELECT 1 FROM main.snapshots WHERE id = ?")?;
    for stored in present {
        if !find.exists([stored.id.as_bytes()])? {
            return Ok(false);
        }
    }
    Ok(true)
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
