//! The index: chunk id → pack, frame, range, in one SQLite file per repository.
//!
//! It is derived: fragments and pack footers hold the same facts, so deleting the file costs time and no data (I9).
//! A pack's rows are inserted only after the pack is durable (I3) and deleted before the pack is (I4). A chunk may stand
//! in several packs.
//!
//! ```text
//! meta(key, value)                        repository, generation; unswept: there may be chunks of frames that are gone; identity:
//!                                         another one with each survey, and whenever rows of chunks go without a trace
//! fragments(fragment, id, size, made)     fragments that count: they were read, and none that was read replaces them;
//!                                         made: when one that replaces others was, in seconds since 1970
//! replaced(id, fragment)                  fragments that stand in the store still although this one replaces them
//! listed(fragment, pack)                  which fragment names which pack; a pack of ours without a row is unpublished
//! packs(pack, id, kind, size, seen)       seen: when a prune met it first, in seconds since 1970
//! frames(frame, pack, ordinal, offset, stored, plain, encoding)
//! chunks(id, frame, offset, len)          a chunk counts only if its frame is there; those of lost frames are swept later
//! snapshots(id, record)                   opened records, for instant listing
//! annotations(id, record)                 opened annotations
//! marks(id, record)                       prune marks that were read
//! marked(pack, mark)                      packs that they name: nothing in them counts as stored
//! dropped(pack, fragment)                 packs whose rows went although a fragment names them: lost or damaged ones; they stay so
//!                                         until somebody sees them in the store, or no fragment names them; fragment 0: one may
//! intact(root, generation)                manifests whose every chunk was found at that generation
//! verified(id, at)                        when a pack was last read whole and found sound, in seconds since 1970
//! ```

mod adopt;
mod care;
mod fragments;
mod lookup;
mod marks;
pub(crate) mod peek;
mod sync;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use icecore_format::entry::Timestamp;
use icecore_format::frame::Encoding;
use icecore_format::id::{AnnotationId, ChunkId, PackId, RepositoryId, SnapshotId};
use icecore_format::pack::{PackInfo, PackKind};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};

use crate::error::{Error, Result};

pub(crate) use care::Held;
pub(crate) use fragments::{PACKS_PER_FRAGMENT, list_fragments, publish, put, read_fragment};
pub use lookup::Lookup;
pub(crate) use lookup::{ChunkSet, IdHasher};
pub use sync::{Rebuilt, Synced, Watched};

/// The schema's number; a file with another number is deleted and made anew.
const SCHEMA: i64 = 6;

/// How long a process waits for another one on this host that writes to the index.
const BUSY: Duration = Duration::from_secs(120);

/// The page cache of one connection in KiB: the index's memory is bounded whatever its size.
const CACHE_KIB: i64 = 16 << 10;

/// Bytes that the write-ahead log keeps on disk when it has been written back.
const LOG_LIMIT: i64 = 64 << 20;

const TABLES: &str = "
CREATE TABLE meta(key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE fragments(fragment INTEGER PRIMARY KEY AUTOINCREMENT, id BLOB NOT NULL UNIQUE, size INTEGER NOT NULL, made INTEGER);
CREATE TABLE replaced(id BLOB NOT NULL, fragment INTEGER NOT NULL, PRIMARY KEY(id, fragment)) WITHOUT ROWID;
CREATE TABLE listed(fragment INTEGER NOT NULL, pack INTEGER NOT NULL, PRIMARY KEY(fragment, pack)) WITHOUT ROWID;
CREATE INDEX listed_pack ON listed(pack);
CREATE TABLE packs(pack INTEGER PRIMARY KEY AUTOINCREMENT, id BLOB NOT NULL UNIQUE, kind INTEGER NOT NULL, size INTEGER NOT NULL,
  seen INTEGER);
CREATE TABLE frames(frame INTEGER PRIMARY KEY AUTOINCREMENT, pack INTEGER NOT NULL, ordinal INTEGER NOT NULL, offset INTEGER NOT NULL,
  stored INTEGER NOT NULL, plain INTEGER NOT NULL, encoding INTEGER NOT NULL);
CREATE INDEX frames_pack ON frames(pack);
CREATE TABLE chunks(id BLOB NOT NULL, frame INTEGER NOT NULL, offset INTEGER NOT NULL, len INTEGER NOT NULL,
  PRIMARY KEY(id, frame, offset)) WITHOUT ROWID;
CREATE TABLE snapshots(id BLOB PRIMARY KEY, record BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE annotations(id BLOB PRIMARY KEY, record BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE marks(id BLOB PRIMARY KEY, record BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE marked(pack BLOB NOT NULL, mark BLOB NOT NULL, PRIMARY KEY(pack, mark)) WITHOUT ROWID;
CREATE TABLE dropped(pack BLOB NOT NULL, fragment INTEGER NOT NULL, PRIMARY KEY(pack, fragment)) WITHOUT ROWID;
CREATE TABLE intact(root BLOB PRIMARY KEY, generation INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE verified(id BLOB PRIMARY KEY, at INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO meta VALUES('generation', 0), ('identity', randomblob(16));
";

/// Where a chunk stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Location {
    /// The frame.
    pub frame: FrameLocation,
    /// First byte of the chunk in the plain frame.
    pub offset: u32,
    /// Bytes of the chunk.
    pub len: u32,
}

/// Where a frame stands and how it is encoded. Ordered as a reader meets frames: by pack, then by position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameLocation {
    /// The pack.
    pub pack: PackId,
    /// The frame's number in the pack.
    pub ordinal: u32,
    /// Data or manifest.
    pub kind: PackKind,
    /// First byte of the sealed frame in the pack.
    pub offset: u64,
    /// Bytes of the sealed frame.
    pub stored: u32,
    /// Bytes of the plain frame.
    pub plain: u32,
    /// How the plain bytes are encoded.
    pub encoding: Encoding,
}

impl FrameLocation {
    fn place(&self) -> (PackId, u32) {
        (self.pack, self.ordinal)
    }
}

impl PartialOrd for FrameLocation {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for FrameLocation {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.place().cmp(&other.place())
    }
}

impl std::hash::Hash for FrameLocation {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.place().hash(state);
    }
}

/// Totals of what the index knows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IndexTotals {
    /// Packs of data.
    pub data_packs: u64,
    /// Packs of manifest blocks.
    pub manifest_packs: u64,
    /// Bytes of all packs.
    pub pack_bytes: u64,
    /// Plain bytes of all frames.
    pub plain_bytes: u64,
    /// Frames.
    pub frames: u64,
    /// Chunks, copies counted.
    pub chunks: u64,
}

/// The one connection that writes, and the way to more that read.
#[derive(Debug)]
pub struct Index {
    path: PathBuf,
    writer: Mutex<Connection>,
    /// What look-ups of this process see: of yesterday, when something was written.
    views: Mutex<Vec<Weak<Mutex<lookup::View>>>>,
    /// When the fragments were last listed by this process.
    known: Mutex<Option<Timestamp>>,
    #[cfg(test)]
    pub(crate) weak: crate::prune::Weak,
}

impl Index {
    /// Opens the index of a repository below `state` (a directory of this host, never a network share), creating it when it
    /// is absent, of another schema, of another repository, or not an SQLite file.
    pub fn open(state: &Path, repository: RepositoryId) -> Result<Self> {
        let directory = state.join(repository.to_string());
        make_private(&directory).map_err(|source| Error::State { path: directory.clone(), source })?;
        let path = directory.join("index.sqlite");
        let fail = |source| Error::Index { path: path.clone(), source };
        let connection = match open_connection(&path).and_then(|c| judge(&c, repository).map(|state| (c, state))) {
            Ok((connection, State::Ours)) => connection,
            // New, or being made by another process at this moment.
            Ok((mut connection, State::Empty)) => {
                create(&mut connection, repository).map_err(fail)?;
                connection
            }
            Err(error) if is_transient(&error) => return Err(fail(error)),
            // Anything else is no index of ours, or a damaged one: it is derived, so it goes.
            Ok((_, State::Foreign)) | Err(_) => {
                remove(&path).map_err(|source| Error::State { path: path.clone(), source })?;
                let mut connection = open_connection(&path).map_err(fail)?;
                create(&mut connection, repository).map_err(fail)?;
                connection
            }
        };
        Ok(Self {
            path,
            writer: Mutex::new(connection),
            views: Mutex::default(),
            known: Mutex::new(None),
            #[cfg(test)]
            weak: crate::prune::Weak::default(),
        })
    }

    /// The SQLite file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A further connection, for a thread that looks chunks up.
    pub fn lookup(&self) -> Result<Lookup> {
        let connection = open_connection(&self.path).map_err(|source| self.fail(source))?;
        let (lookup, view) = Lookup::new(connection, self.path.clone());
        let mut views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        views.retain(|view| view.strong_count() > 0);
        views.push(view);
        Ok(lookup)
    }

    /// Records a durable pack, which the caller put or saw in the store.
    pub fn insert_pack(&self, info: &PackInfo) -> Result<()> {
        self.write(|transaction| {
            let mut chunks = Vec::new();
            let pack = insert_pack(transaction, info, &mut chunks)?;
            // The fragments that name it name it again.
            let named =
                "INSERT OR IGNORE INTO listed SELECT fragment, ?2 FROM dropped WHERE pack = ?1 AND fragment > 0";
            transaction.execute(named, params![info.id.as_bytes(), pack])?;
            transaction.execute("DELETE FROM dropped WHERE pack = ?", [info.id.as_bytes()])?;
            insert_chunks(transaction, chunks)
        })
    }

    /// The number that grows whenever the index loses packs or learns that some are marked: what was found at a generation may
    /// be relied on while it lasts.
    pub fn generation(&self) -> Result<i64> {
        self.read(generation)
    }

    /// The generation at which every chunk below a manifest root was found, if that is the present one.
    pub fn intact_at(&self, root: &ChunkId) -> Result<Option<i64>> {
        self.read(|connection| {
            let sql = "SELECT generation FROM intact WHERE root = ? AND generation = (SELECT value FROM meta WHERE key = 'generation')";
            connection.query_row(sql, [root.as_bytes()], |row| row.get(0)).optional()
        })
    }

    /// Remembers that every chunk below a manifest root was found at `generation`.
    pub fn mark_intact(&self, root: &ChunkId, at: i64) -> Result<()> {
        self.write(|transaction| {
            transaction.execute("DELETE FROM intact WHERE generation < ?", [at])?;
            transaction.execute("INSERT OR REPLACE INTO intact VALUES(?, ?)", params![root.as_bytes(), at]).map(drop)
        })
    }

    /// Whether the index names any chunk.
    pub fn is_empty(&self) -> Result<bool> {
        self.read(|connection| connection.query_row("SELECT NOT EXISTS(SELECT 1 FROM packs)", [], |row| row.get(0)))
    }

    /// Totals over everything.
    pub fn totals(&self) -> Result<IndexTotals> {
        self.read(|connection| {
            let mut totals = IndexTotals::default();
            let sql = "SELECT kind, count(*), sum(size) FROM packs GROUP BY kind";
            let mut statement = connection.prepare(sql)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let (kind, count, size): (i64, u64, u64) = (row.get(0)?, row.get(1)?, row.get(2)?);
                totals.pack_bytes += size;
                match kind {
                    0 => totals.data_packs = count,
                    _ => totals.manifest_packs = count,
                }
            }
            let sql = "SELECT count(*), ifnull(sum(plain), 0) FROM frames";
            (totals.frames, totals.plain_bytes) =
                connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
            totals.chunks =
                connection.query_row("SELECT count(*) FROM chunks JOIN frames USING(frame)", [], |row| row.get(0))?;
            Ok(totals)
        })
    }

    /// Bytes of all packs, without the rest of [`totals`](Self::totals), which reads every row.
    pub fn pack_bytes(&self) -> Result<u64> {
        self.read(|connection| {
            let sql = "SELECT ifnull(sum(size), 0) FROM packs";
            connection.query_row(sql, [], |row| row.get(0))
        })
    }

    /// Every pack with its size, in the order of insertion.
    pub fn packs(&self) -> Result<Vec<(PackId, PackKind, u64)>> {
        self.read(|connection| {
            let mut statement = connection.prepare("SELECT id, kind, size FROM packs ORDER BY pack")?;
            let rows =
                statement.query_map([], |row| Ok((id(row, 0, PackId::from_slice)?, kind(row, 1)?, row.get(2)?)))?;
            rows.collect()
        })
    }

    /// Opened snapshot records.
    pub fn cached_snapshots(&self) -> Result<Vec<(SnapshotId, Vec<u8>)>> {
        self.read(|connection| {
            let mut statement = connection.prepare("SELECT id, record FROM snapshots")?;
            let rows = statement.query_map([], |row| Ok((id(row, 0, SnapshotId::from_slice)?, row.get(1)?)))?;
            rows.collect()
        })
    }

    /// Adds opened snapshot records and drops others.
    pub fn cache_snapshots(&self, add: &[(SnapshotId, Vec<u8>)], drop: &[SnapshotId]) -> Result<()> {
        self.write(|transaction| {
            for (id, record) in add {
                transaction.execute("INSERT OR REPLACE INTO snapshots VALUES(?, ?)", params![id.as_bytes(), record])?;
            }
            for id in drop {
                transaction.execute("DELETE FROM snapshots WHERE id = ?", [id.as_bytes()])?;
            }
            Ok(())
        })
    }

    /// Opened annotations.
    pub(crate) fn cached_annotations(&self) -> Result<Vec<(AnnotationId, Vec<u8>)>> {
        self.read(|connection| {
            let mut statement = connection.prepare("SELECT id, record FROM annotations")?;
            let rows = statement.query_map([], |row| Ok((id(row, 0, AnnotationId::from_slice)?, row.get(1)?)))?;
            rows.collect()
        })
    }

    /// Adds opened annotations and drops others.
    pub(crate) fn cache_annotations(&self, add: &[(AnnotationId, Vec<u8>)], drop: &[AnnotationId]) -> Result<()> {
        self.write(|transaction| {
            for (id, record) in add {
                transaction
                    .execute("INSERT OR REPLACE INTO annotations VALUES(?, ?)", params![id.as_bytes(), record])?;
            }
            for id in drop {
                transaction.execute("DELETE FROM annotations WHERE id = ?", [id.as_bytes()])?;
            }
            Ok(())
        })
    }

    fn fail(&self, source: rusqlite::Error) -> Error {
        Error::Index { path: self.path.clone(), source }
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        // A panic of another thread rolled its transaction back: the connection itself stays good.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        work(&self.connection()).map_err(|source| self.fail(source))
    }

    fn write<T>(&self, work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>) -> Result<T> {
        let mut connection = self.connection();
        let run = || {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let result = work(&transaction)?;
            transaction.commit()?;
            Ok(result)
        };
        let result = run().map_err(|source| self.fail(source))?;
        drop(connection);
        // From here on every look sees it, and views of threads that wait do not keep the log from being written back.
        let views = self.views.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for view in views.iter().filter_map(Weak::upgrade) {
            lookup::leave(&view).map_err(|source| self.fail(source))?;
        }
        Ok(result)
    }
}

pub(crate) fn open_connection(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    // A power cut may cost the last transactions, never the file: what they held stands in footers and fragments.
    connection.pragma_update(None, "synchronous", "normal")?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    connection.pragma_update(None, "temp_store", "memory")?;
    // The log of a large change does not stay as large.
    connection.pragma_update(None, "journal_size_limit", LOG_LIMIT)?;
    Ok(connection)
}

/// What an SQLite file is to us.
enum State {
    Ours,
    Empty,
    Foreign,
}

fn judge(connection: &Connection, repository: RepositoryId) -> rusqlite::Result<State> {
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let schema: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    match (schema, tables) {
        (0, 0) => return Ok(State::Empty),
        (SCHEMA, _) => {}
        _ => return Ok(State::Foreign),
    }
    let id: Vec<u8> = connection.query_row("SELECT value FROM meta WHERE key = 'repository'", [], |row| row.get(0))?;
    Ok(if id == repository.as_bytes() { State::Ours } else { State::Foreign })
}

fn create(connection: &mut Connection, repository: RepositoryId) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Another process may have been faster.
    if transaction.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0))? != SCHEMA {
        transaction.execute_batch(TABLES)?;
        transaction.execute("INSERT INTO meta VALUES('repository', ?)", [repository.as_bytes()])?;
        transaction.pragma_update(None, "user_version", SCHEMA)?;
    }
    transaction.commit()
}

/// Whether trying again later may help, so that the file must not be thrown away.
fn is_transient(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode as C;
    let code = error.sqlite_error_code();
    matches!(
        code,
        Some(
            C::DatabaseBusy
                | C::DatabaseLocked
                | C::CannotOpen
                | C::DiskFull
                | C::PermissionDenied
                | C::ReadOnly
                | C::OutOfMemory
                | C::SystemIoFailure
        )
    )
}

fn remove(path: &Path) -> std::io::Result<()> {
    for suffix in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        match std::fs::remove_file(&name) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Makes a directory that only its owner may enter: the index holds opened records.
fn make_private(directory: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)
}

fn generation(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("SELECT value FROM meta WHERE key = 'generation'", [], |row| row.get(0))
}

/// A row of the table of chunks: id, frame, offset, length.
type ChunkRow = (ChunkId, i64, u32, u32);

/// Inserts a pack with its frames unless it is there; gives its row number, and its chunks, which are still to be inserted.
fn insert_pack(transaction: &Transaction<'_>, info: &PackInfo, chunks: &mut Vec<ChunkRow>) -> rusqlite::Result<i64> {
    let mut find = transaction.prepare_cached("SELECT pack FROM packs WHERE id = ?")?;
    if let Some(pack) = find.query_row([info.id.as_bytes()], |row| row.get(0)).optional()? {
        return Ok(pack);
    }
    let kind = match info.kind {
        PackKind::Data => 0,
        PackKind::Manifest => 1,
    };
    let mut add_pack = transaction.prepare_cached("INSERT INTO packs(id, kind, size) VALUES(?, ?, ?)")?;
    let pack = add_pack.insert(params![info.id.as_bytes(), kind, info.size])?;
    let sql = "INSERT INTO frames(pack, ordinal, offset, stored, plain, encoding) VALUES(?, ?, ?, ?, ?, ?)";
    let mut add_frame = transaction.prepare_cached(sql)?;
    let mut frame_offset = info.frame_offset(0);
    for (ordinal, frame) in info.frames.iter().enumerate() {
        let encoding = frame.encoding as u8;
        let row =
            add_frame.insert(params![pack, ordinal, frame_offset, frame.stored_len, frame.plain_len, encoding])?;
        frame_offset += u64::from(frame.stored_len);
        let mut offset = 0;
        for chunk in &frame.chunks {
            chunks.push((chunk.id, row, offset, chunk.len));
            offset += chunk.len;
        }
    }
    Ok(pack)
}

/// Inserts chunks in the order of their keys, so that neighbouring rows meet the same page.
fn insert_chunks(transaction: &Transaction<'_>, mut chunks: Vec<ChunkRow>) -> rusqlite::Result<()> {
    chunks.sort_unstable();
    let mut add = transaction.prepare_cached("INSERT OR IGNORE INTO chunks VALUES(?, ?, ?, ?)")?;
    chunks
        .iter()
        .try_for_each(|(id, frame, offset, len)| add.execute(params![id.as_bytes(), frame, offset, len]).map(drop))
}

pub(crate) fn id<I>(row: &Row<'_>, column: usize, make: fn(&[u8]) -> Option<I>) -> rusqlite::Result<I> {
    make(row.get_ref(column)?.as_blob()?).ok_or(rusqlite::Error::IntegralValueOutOfRange(column, 32))
}

pub(crate) fn kind(row: &Row<'_>, column: usize) -> rusqlite::Result<PackKind> {
    Ok(if row.get::<_, i64>(column)? == 0 { PackKind::Data } else { PackKind::Manifest })
}

fn encoding(row: &Row<'_>, column: usize) -> rusqlite::Result<Encoding> {
    match row.get::<_, i64>(column)? {
        0 => Ok(Encoding::Raw),
        1 => Ok(Encoding::Zstd),
        other => Err(rusqlite::Error::IntegralValueOutOfRange(column, other)),
    }
}
