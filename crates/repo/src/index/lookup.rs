//! Looking chunks up, as many threads at once as like, each on a connection of its own.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use icecore_format::id::{ChunkId, PackId};
use rusqlite::{Connection, params};

use super::{FrameLocation, Location, encoding, id, kind};
use crate::error::{Error, Result};

/// How long a look may see what was the newest state: what other processes of this host write is seen that much later.
const MOMENT: Duration = Duration::from_millis(100);

/// Ids are hashes already.
#[derive(Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        // The last bytes: the first ones choose the shard.
        if let Some(tail) = bytes.last_chunk::<8>() {
            self.0 = u64::from_le_bytes(*tail);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Chunks with their lengths.
pub(crate) type ChunkSet = HashSet<(ChunkId, u32), BuildHasherDefault<IdHasher>>;

/// Looks chunks up; one for each thread.
#[derive(Debug)]
pub struct Lookup {
    view: Arc<Mutex<View>>,
    path: PathBuf,
}

/// A connection that may hold one state of the index while it is looked at several times: to look at the newest one each time costs
/// three calls to the system.
#[derive(Debug)]
pub(super) struct View {
    connection: Connection,
    /// When the state that it holds was the newest.
    since: Option<Instant>,
}

fn lock(view: &Mutex<View>) -> MutexGuard<'_, View> {
    // Whoever panicked was reading.
    view.lock().unwrap_or_else(PoisonError::into_inner)
}

impl View {
    /// Looks at a state that was the newest a moment ago; always at what this process wrote.
    fn look(&mut self) -> rusqlite::Result<&Connection> {
        if self.since.is_none_or(|since| since.elapsed() > MOMENT) {
            self.leave()?;
            self.connection.prepare_cached("BEGIN")?.execute([])?;
            self.since = Some(Instant::now());
        }
        Ok(&self.connection)
    }

    /// Lets go of the state: the next look is at the newest one.
    fn leave(&mut self) -> rusqlite::Result<()> {
        self.since = None;
        if !self.connection.is_autocommit() {
            self.connection.prepare_cached("COMMIT")?.execute([])?;
        }
        Ok(())
    }
}

/// Lets go of the state that a look-up holds.
pub(super) fn leave(view: &Mutex<View>) -> rusqlite::Result<()> {
    lock(view).leave()
}

impl Lookup {
    /// One on a connection of its own, and the way to what it holds.
    pub(super) fn new(connection: Connection, path: PathBuf) -> (Self, Weak<Mutex<View>>) {
        let view = Arc::new(Mutex::new(View { connection, since: None }));
        let weak = Arc::downgrade(&view);
        (Self { view, path }, weak)
    }

    /// Whether some pack that no mark names holds the chunk: only then it counts as stored. What this process wrote is seen at once,
    /// what others of this host wrote a moment later.
    pub fn contains(&self, chunk: &ChunkId) -> Result<bool> {
        let run = || {
            let sql = "SELECT 1 FROM chunks c JOIN frames f ON f.frame = c.frame WHERE c.id = ?
                AND (NOT EXISTS(SELECT 1 FROM marked) OR EXISTS(SELECT 1 FROM packs p WHERE p.pack = f.pack
                AND NOT EXISTS(SELECT 1 FROM marked WHERE marked.pack = p.id))) LIMIT 1";
            lock(&self.view).look()?.prepare_cached(sql)?.exists([chunk.as_bytes()])
        };
        run().map_err(|source| self.fail(source))
    }

    /// Whether some pack, marked or not, holds the chunk with this length. Seen as by [`contains`](Self::contains).
    pub(crate) fn holds(&self, chunk: &ChunkId, len: u32) -> Result<bool> {
        let run = || {
            let sql = "SELECT 1 FROM chunks JOIN frames USING(frame) WHERE id = ? AND len = ?";
            lock(&self.view).look()?.prepare_cached(sql)?.exists(params![chunk.as_bytes(), len])
        };
        run().map_err(|source| self.fail(source))
    }

    /// All chunks of packs that the index names, with their lengths, if those are not more than `most`.
    pub(crate) fn all(&self, most: u64) -> Result<Option<ChunkSet>> {
        let run = || {
            let view = lock(&self.view);
            let count: u64 = view.connection.query_row("SELECT count(*) FROM chunks", [], |row| row.get(0))?;
            if count > most {
                return Ok(None);
            }
            let mut all = ChunkSet::with_capacity_and_hasher(count as usize, Default::default());
            let mut statement = view.connection.prepare("SELECT id, len FROM chunks JOIN frames USING(frame)")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                all.insert((id(row, 0, ChunkId::from_slice)?, row.get(1)?));
            }
            Ok(Some(all))
        };
        run().map_err(|source| self.fail(source))
    }

    /// The SQLite file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Every place where the chunk stands, those in marked packs last: they may be gone soon. The newest state answers, because
    /// who asks again does so after others may have written.
    pub fn locate(&self, chunk: &ChunkId) -> Result<Vec<Location>> {
        let run = || {
            let mut view = lock(&self.view);
            view.leave()?;
            let sql = "SELECT packs.id, packs.kind, f.ordinal, f.offset, f.stored, f.plain, f.encoding, c.offset, c.len
                FROM chunks c JOIN frames f ON f.frame = c.frame JOIN packs ON packs.pack = f.pack WHERE c.id = ?
                ORDER BY EXISTS(SELECT 1 FROM marked WHERE marked.pack = packs.id)";
            let mut statement = view.connection.prepare_cached(sql)?;
            let rows = statement.query_map([chunk.as_bytes()], |row| {
                Ok(Location {
                    frame: FrameLocation {
                        pack: id(row, 0, PackId::from_slice)?,
                        kind: kind(row, 1)?,
                        ordinal: row.get(2)?,
                        offset: row.get(3)?,
                        stored: row.get(4)?,
                        plain: row.get(5)?,
                        encoding: encoding(row, 6)?,
                    },
                    offset: row.get(7)?,
                    len: row.get(8)?,
                })
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        run().map_err(|source| self.fail(source))
    }

    fn fail(&self, source: rusqlite::Error) -> Error {
        Error::Index { path: self.path.clone(), source }
    }
}
