//! Writing to a repository: workers store chunks, one decision says which are new, and a closed session commits.
//!
//! Order of durability, which nothing may change: packs, then the fragment that names them, then the snapshot record
//! (I2).

use std::collections::HashSet;
use std::hash::BuildHasherDefault;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use icecore_format::cut::looks_incompressible;
use icecore_format::entry::Timestamp;
use icecore_format::frame::{Encoder, Frame, FrameChunk};
use icecore_format::id::{ChunkId, SnapshotId};
use icecore_format::manifest::BlockSink;
use icecore_format::pack::{PackInfo, PackKind};
use icecore_format::snapshot::Snapshot;

use crate::error::{Error, Result};
use crate::index::{IdHasher, Index, Lookup};
use crate::objects;
use crate::pack_writer::{Filled, PackWriter};
use crate::parking::{Parked, Parking};
use crate::repository::Repository;
use crate::sign::{Sign, Who};
use crate::{layout, marks, merge, rescue};

/// Plain bytes of a frame of manifest blocks: small, because they are read one by one.
const MANIFEST_FRAME: usize = 256 << 10;

/// Claimed ids kept in memory; beyond it, those that the index holds are forgotten (about 60 MiB).
const CLAIMS_KEPT: usize = 1 << 20;

const SHARDS: usize = 64;

/// What a session wrote.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    /// Chunks of files that were not there before; blocks of manifests are not among them.
    pub chunks: u64,
    /// Their plain bytes.
    pub plain_bytes: u64,
    /// Bytes put into the store: packs of both kinds, and fragments.
    pub stored_bytes: u64,
    /// Packs put.
    pub packs: u64,
}

/// Buffers that are used again: fresh memory costs more than most of the work done in it.
#[derive(Debug, Default)]
pub(crate) struct Pool(Mutex<Vec<Vec<u8>>>);

impl Pool {
    pub(crate) fn take(&self) -> Vec<u8> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    pub(crate) fn give(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
    }
}

type Ids = HashSet<ChunkId, BuildHasherDefault<IdHasher>>;

/// What all threads of a session see.
pub(crate) struct Shared {
    pub(crate) repository: Arc<Repository>,
    pub(crate) index: Arc<Index>,
    pub(crate) frame_buffers: Pool,
    pub(crate) pack_buffers: Pool,
    /// Goes with the session.
    _sign: Option<Sign>,
    claimed: [Mutex<Ids>; SHARDS],
    claims: AtomicU64,
    /// The index was empty at the start and no claim was forgotten: the claims alone answer.
    claims_are_all: AtomicBool,
    /// A writer went away with chunks that never reached a pack: their claims are lies, nothing may be committed.
    broken: Arc<AtomicBool>,
    chunks: AtomicU64,
    plain_bytes: AtomicU64,
    stored_bytes: AtomicU64,
    packs: AtomicU64,
}

impl Shared {
    fn shard(&self, id: &ChunkId) -> &Mutex<Ids> {
        &self.claimed[id.as_bytes()[0] as usize % SHARDS]
    }

    /// The one place where deduplication is decided: true for exactly one caller for each id that is not stored yet,
    /// who then must store it. (Two callers may both get true when an id is forgotten between the two questions: that
    /// stores a chunk twice and harms nothing.)
    fn claim(&self, lookup: &Lookup, id: &ChunkId) -> Result<bool> {
        let lock = || self.shard(id).lock().unwrap_or_else(PoisonError::into_inner);
        if !self.claims_are_all.load(Relaxed) && (lock().contains(id) || lookup.contains(id)?) {
            return Ok(false);
        }
        let new = lock().insert(*id);
        if new {
            self.claims.fetch_add(1, Relaxed);
        }
        Ok(new)
    }

    /// A pack is durable and in the index.
    pub(crate) fn stored(&self, info: &PackInfo) {
        self.packs.fetch_add(1, Relaxed);
        self.stored_bytes.fetch_add(info.size, Relaxed);
        if self.claims.load(Relaxed) as usize <= CLAIMS_KEPT {
            return;
        }
        self.claims_are_all.store(false, Relaxed);
        for chunk in info.frames.iter().flat_map(|frame| &frame.chunks) {
            if self.shard(&chunk.id).lock().unwrap_or_else(PoisonError::into_inner).remove(&chunk.id) {
                self.claims.fetch_sub(1, Relaxed);
            }
        }
    }

    pub(crate) fn written(&self) -> Written {
        Written {
            chunks: self.chunks.load(Relaxed),
            plain_bytes: self.plain_bytes.load(Relaxed),
            stored_bytes: self.stored_bytes.load(Relaxed),
            packs: self.packs.load(Relaxed),
        }
    }
}

/// A running session.
pub struct Session {
    shared: Arc<Shared>,
    writer: PackWriter,
    level: i32,
    knowledge: Knowledge,
}

/// What a session relies on: packs that the index named and no mark did.
#[derive(Debug, Clone, Copy)]
struct Knowledge {
    generation: i64,
    /// When the fragments were listed; the marks were after that. `None`: nobody told.
    at: Option<Timestamp>,
    /// There are marks that this key cannot open.
    closed: bool,
}

impl Knowledge {
    fn of(index: &Index, repository: &Repository) -> Result<Self> {
        let at = index.known();
        let closed = index.learn_new_marks(repository)?.closed;
        Ok(Self { generation: index.generation()?, at, closed })
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("written", &self.written()).finish_non_exhaustive()
    }
}

impl Session {
    /// Begins a session on a synchronised index. `level` is zstd's.
    pub fn begin(repository: Arc<Repository>, index: Arc<Index>, level: i32) -> Result<Self> {
        Self::begin_as(repository, index, level, None)
    }

    /// The same, with a record that lets others know.
    pub fn begin_as(repository: Arc<Repository>, index: Arc<Index>, level: i32, who: Option<&Who>) -> Result<Self> {
        // Before the marks are listed: whoever marks packs and then finds no session was seen by this one.
        let sign = who.map(|who| Sign::put(&repository, who));
        // What was known when the archive was opened may be of yesterday.
        if let Some(who) = who
            && !marks::is_young(index.known(), who.now)
        {
            index.sync_at(&repository, who.now)?;
        }
        let knowledge = Knowledge::of(&index, &repository)?;
        let leftover = index.unpublished(&repository)?;
        let shared = Arc::new(Shared {
            claims_are_all: AtomicBool::new(index.is_empty()?),
            _sign: sign,
            repository,
            index,
            frame_buffers: Pool::default(),
            pack_buffers: Pool::default(),
            claimed: std::array::from_fn(|_| Mutex::default()),
            claims: AtomicU64::new(0),
            broken: Arc::default(),
            chunks: AtomicU64::new(0),
            plain_bytes: AtomicU64::new(0),
            stored_bytes: AtomicU64::new(0),
            packs: AtomicU64::new(0),
        });
        let writer = PackWriter::start(&shared, leftover);
        Ok(Self { shared, writer, level, knowledge })
    }

    /// A place where frames wait, in memory up to `limit` bytes, then in an unnamed file in `directory`.
    pub fn parking(&self, limit: u64, directory: &Path) -> Arc<Parking> {
        Arc::new(Parking::new(limit, directory, Arc::clone(&self.shared.broken)))
    }

    /// A writer for one thread whose frames wait in `parking`.
    pub fn parked_writer(&self, parking: &Arc<Parking>) -> Result<ChunkWriter> {
        let mut writer = self.writer()?;
        writer.parking = Some(Arc::clone(parking));
        Ok(writer)
    }

    /// Compresses and stores what waits, by several threads.
    pub fn unpark(&self, parking: &Parking, threads: usize) -> Result<()> {
        let workers = (0..threads.max(1)).map(|_| self.writer()).collect::<Result<Vec<_>>>()?;
        parking.release(workers, |writer, parked| writer.send(parked).map(drop))
    }

    /// A writer for one thread.
    pub fn writer(&self) -> Result<ChunkWriter> {
        ChunkWriter::new(&self.shared, &self.writer, self.level)
    }

    /// The index's generation when the session began.
    pub fn generation(&self) -> i64 {
        self.knowledge.generation
    }

    /// What was written so far.
    pub fn written(&self) -> Written {
        self.shared.written()
    }

    /// Waits until everything that the (finished) writers stored is durable and named by a fragment.
    pub fn close(self) -> Result<Closed> {
        let fragments = self.writer.finish()?;
        if self.shared.broken.load(Relaxed) {
            return Err(Error::WriterStopped);
        }
        let mut written = self.shared.written();
        written.stored_bytes += fragments;
        Ok(Closed { shared: self.shared, level: self.level, knowledge: self.knowledge, written })
    }
}

/// A session whose every chunk is durable: only such a one can commit.
pub struct Closed {
    shared: Arc<Shared>,
    level: i32,
    knowledge: Knowledge,
    /// What the session wrote.
    pub written: Written,
}

impl std::fmt::Debug for Closed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Closed").field("written", &self.written).finish_non_exhaustive()
    }
}

impl Closed {
    /// The index's generation when the session began: everything that it wrote or found was there since.
    pub fn generation(&self) -> i64 {
        self.knowledge.generation
    }

    /// Puts the snapshot record: from its return on the backup exists. `clock` gives the time now.
    ///
    /// # Errors
    /// [`Error::Overtaken`] if a prune deleted what the session relied on, which takes a session of hours.
    pub fn commit(mut self, snapshot: &Snapshot, clock: &dyn Fn() -> Timestamp) -> Result<SnapshotId> {
        self.shared.repository.expect_present()?;
        self.renew(&snapshot.manifest.id, clock)?;
        let plain = snapshot.encode().map_err(Error::Record)?;
        let id = objects::put_snapshot(&self.shared.repository, &plain)?;
        self.shared.repository.expect_present()?;
        // The call may have hung, or the machine slept.
        if let Err(error) = self.renew(&snapshot.manifest.id, clock) {
            self.shared.repository.store().delete(&layout::snapshot(&id))?;
            return Err(error);
        }
        // The backup exists: what the index remembers of it only saves time, and may fail.
        let _ = self.shared.index.cache_snapshots(&[(id, plain)], &[]);
        // Every chunk of this manifest was found or stored since the generation was read.
        let _ = self.shared.index.mark_intact(&snapshot.manifest.id, self.knowledge.generation);
        // The same: repositories that nobody prunes keep few fragments too.
        let _ = merge::tidy(&self.shared.repository, &self.shared.index, clock);
        let _ = self.shared.index.sweep_if_many();
        Ok(id)
    }

    /// Makes the session's knowledge young enough to rely on for a commit: looks at what is marked or gone by now, and if
    /// something is, stores again what the manifest needs of it.
    fn renew(&mut self, root: &ChunkId, clock: &dyn Fn() -> Timestamp) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        let Shared { repository, index, .. } = &*shared;
        #[cfg(test)]
        if index.weak.no_recheck {
            return Ok(());
        }
        loop {
            if self.knowledge.closed {
                return Err(Error::MarksClosed);
            }
            if marks::is_young(self.knowledge.at, clock()) {
                return Ok(());
            }
            let before = self.knowledge.generation;
            index.sync_at(repository, clock())?;
            self.knowledge = Knowledge::of(index, repository)?;
            if !self.knowledge.closed && self.knowledge.generation != before {
                self.rescue(root)?;
            }
        }
    }

    /// Copies what a manifest needs and stands in marked packs alone. Whoever names in it what was found somewhere, without
    /// asking whether that counts as stored, does this before the commit.
    ///
    /// # Errors
    /// [`Error::Overtaken`] if something cannot be had any more.
    pub(crate) fn rescue(&mut self, root: &ChunkId) -> Result<()> {
        let packs = PackWriter::start(&self.shared, Vec::new());
        let writer = ChunkWriter::new(&self.shared, &packs, self.level)?;
        // Waited for in any case: its threads hold what was stored.
        let rescued = rescue::manifest(&self.shared.repository, &self.shared.index, root, writer);
        let fragments = packs.finish();
        rescued?;
        self.written.stored_bytes += fragments?;
        Ok(())
    }
}

/// Chunks on their way into one frame.
struct Fill {
    kind: PackKind,
    compress: bool,
    limit: usize,
    plain: Vec<u8>,
    chunks: Vec<FrameChunk>,
}

impl Fill {
    fn new(kind: PackKind, compress: bool, limit: usize) -> Self {
        Self { kind, compress, limit, plain: Vec::new(), chunks: Vec::new() }
    }
}

/// Stores chunks; one for each thread. It must be finished: a writer that is dropped with chunks in its hands makes the
/// session fail instead of committing a snapshot that names them.
pub struct ChunkWriter {
    shared: Arc<Shared>,
    lookup: Lookup,
    encoder: Encoder,
    sender: Sender<Filled>,
    fills: [Fill; 3],
    /// Where frames wait, if they are not to be compressed now.
    parking: Option<Arc<Parking>>,
    /// What compressing frames and sending them on their way has taken.
    sending: Duration,
}

impl std::fmt::Debug for ChunkWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChunkWriter").finish_non_exhaustive()
    }
}

const DATA: usize = 0;
const DATA_RAW: usize = 1;
const MANIFEST: usize = 2;

impl ChunkWriter {
    fn new(shared: &Arc<Shared>, packs: &PackWriter, level: i32) -> Result<Self> {
        let frame_size = shared.repository.config().frame_size as usize;
        Ok(Self {
            lookup: shared.index.lookup()?,
            encoder: Encoder::new(level)?,
            sender: packs.sender(),
            fills: [
                Fill::new(PackKind::Data, true, frame_size),
                Fill::new(PackKind::Data, false, frame_size),
                Fill::new(PackKind::Manifest, true, MANIFEST_FRAME),
            ],
            shared: Arc::clone(shared),
            parking: None,
            sending: Duration::ZERO,
        })
    }

    /// Stores a chunk, whose id was verified, wherever else it stands.
    pub(crate) fn put_again(&mut self, kind: PackKind, id: ChunkId, bytes: &[u8]) -> Result<()> {
        let fill = match kind {
            PackKind::Manifest => MANIFEST,
            PackKind::Data if looks_incompressible(bytes) => DATA_RAW,
            PackKind::Data => DATA,
        };
        self.add(fill, id, bytes)
    }

    /// Stores a frame as it is, whose chunks were verified.
    pub(crate) fn copy_frame(&mut self, kind: PackKind, frame: Frame) -> Result<()> {
        self.sender.send(Filled { kind, frame }).map_err(|_| Error::WriterStopped)
    }

    /// Stores a chunk of a file unless it is there; gives its id. `bytes` is at least 1 byte.
    pub fn store(&mut self, bytes: &[u8]) -> Result<ChunkId> {
        let id = self.id(bytes);
        self.store_hashed(id, bytes)?;
        Ok(id)
    }

    /// The id of a chunk, which is not stored by that.
    pub fn id(&self, bytes: &[u8]) -> ChunkId {
        self.shared.repository.id_key().id(bytes)
    }

    /// Stores a chunk of a file, whose id [`id`](Self::id) gave, unless it is there.
    pub fn store_hashed(&mut self, id: ChunkId, bytes: &[u8]) -> Result<()> {
        debug_assert_eq!(id, self.id(bytes), "a chunk is stored under the id of its bytes");
        if self.shared.claim(&self.lookup, &id)? {
            let fill = if looks_incompressible(bytes) { DATA_RAW } else { DATA };
            self.add(fill, id, bytes)?;
        }
        Ok(())
    }

    /// Whether some pack in the index holds the chunk.
    pub fn contains(&self, id: &ChunkId) -> Result<bool> {
        self.lookup.contains(id)
    }

    /// What it took so far to compress frames and to wait for those who store them; a writer whose frames are parked does
    /// neither.
    pub fn sending(&self) -> Duration {
        self.sending
    }

    /// Sends what is left on its way.
    pub fn finish(mut self) -> Result<()> {
        (0..self.fills.len()).try_for_each(|fill| self.flush(fill))
    }

    fn add(&mut self, fill: usize, id: ChunkId, bytes: &[u8]) -> Result<()> {
        if self.fills[fill].plain.len() + bytes.len() > self.fills[fill].limit {
            self.flush(fill)?;
        }
        let fill = &mut self.fills[fill];
        fill.plain.extend_from_slice(bytes);
        fill.chunks.push(FrameChunk { id, len: bytes.len() as u32 });
        if fill.kind == PackKind::Data {
            self.shared.chunks.fetch_add(1, Relaxed);
            self.shared.plain_bytes.fetch_add(bytes.len() as u64, Relaxed);
        }
        Ok(())
    }

    fn flush(&mut self, index: usize) -> Result<()> {
        let fill = &mut self.fills[index];
        if fill.chunks.is_empty() {
            return Ok(());
        }
        let plain = std::mem::take(&mut fill.plain);
        let parked = Parked { kind: fill.kind, compress: fill.compress, plain, chunks: fill.chunks.clone() };
        let mut plain = match &self.parking {
            Some(parking) => parking.park(parked)?,
            None => self.send(parked)?,
        };
        plain.clear();
        let fill = &mut self.fills[index];
        fill.plain = plain;
        // Emptied only when the frame is on its way: a failure leaves the chunks here, and `drop` tells.
        fill.chunks.clear();
        Ok(())
    }

    /// Compresses a frame and sends it on its way; gives the buffer of its plain bytes back.
    fn send(&mut self, parked: Parked) -> Result<Vec<u8>> {
        let Parked { kind, compress, plain, chunks } = parked;
        let began = Instant::now();
        let buffer = self.shared.frame_buffers.take();
        let (encoding, stored) = self.encoder.encode(&plain, compress, buffer);
        let frame = Frame { encoding, plain_len: plain.len() as u32, stored, chunks };
        self.sender.send(Filled { kind, frame }).map_err(|_| Error::WriterStopped)?;
        self.sending += began.elapsed();
        Ok(plain)
    }
}

impl Drop for ChunkWriter {
    fn drop(&mut self) {
        if self.fills.iter().any(|fill| !fill.chunks.is_empty()) {
            self.shared.broken.store(true, Relaxed);
        }
    }
}

impl BlockSink for ChunkWriter {
    type Error = Error;

    fn put_block(&mut self, bytes: &[u8]) -> Result<ChunkId> {
        let id = self.shared.repository.id_key().id(bytes);
        if self.shared.claim(&self.lookup, &id)? {
            self.add(MANIFEST, id, bytes)?;
        }
        Ok(id)
    }
}
