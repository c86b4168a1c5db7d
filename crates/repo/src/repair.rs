//! Mending a repository: what can still be read is made whole again, and what is lost is told. Nothing is destroyed.
//!
//! ```text
//! survey     fragments first, then packs: whatever a listed fragment names was durable before
//!              each pack: hash, frames, chunks ─▶ sound | damaged | missing | in no fragment
//!            slots, records, names of objects
//! plan       a scratch index says what will be readable ─▶ what each snapshot will lack        (no effect on the store)
//! ── perform ──
//! index      made anew, without what is missing or damaged
//! salvage    whole chunks of damaged packs ─▶ new packs ─▶ fragment; packs in no fragment ─▶ the same fragment
//! fragments  those that name what is missing or damaged: written without it, which replaces the old ones
//! aside      damaged objects: a copy below `damaged/` is durable before the object goes
//! snapshots  beside each that lacks something, a corrected one that names what is missing
//! ```
//! An interruption at any point leaves more than there was before: every step is one that the next repair finds done, or
//! does. A chunk is compared with its id before it is stored again, so a damaged or exchanged pack can give nothing wrong.

mod packs;
mod perform;
mod snapshots;
mod survey;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use icecore_format::entry::Timestamp;
use icecore_format::id::{FragmentId, PackId, SnapshotId};
use icecore_format::snapshot::Problem;

use crate::catalogue::Catalogue;
use crate::check::manifests::Manifests;
use crate::check::{CheckReport, CheckStep, Finding, Watch};
use crate::error::Result;
use crate::index::Index;
use crate::reader::ChunkReader;
use crate::repository::Repository;
use crate::session::Session;
use crate::sign::Who;

/// zstd's level for chunks that are stored again.
const LEVEL: i32 = 3;

pub use perform::{Corrected, Repaired, perform};

/// How thoroughly to look, and who mends.
#[derive(Debug, Clone, Copy)]
pub struct RepairOptions<'a> {
    /// Every pack is read whole. If not: those whose size is wrong and those that no fragment names.
    pub read_data: bool,
    /// Threads that read packs; at least one does.
    pub threads: usize,
    /// Name of this host, for the records of sessions.
    pub host: &'a str,
    /// The time now.
    pub clock: fn() -> Timestamp,
}

impl RepairOptions<'_> {
    /// Begins to store something of an instance.
    fn session(&self, repository: &Arc<Repository>, index: &Arc<Index>, instance: &str) -> Result<Session> {
        let who = Who { host: self.host.to_owned(), instance: instance.to_owned(), now: (self.clock)() };
        Session::begin_as(Arc::clone(repository), Arc::clone(index), LEVEL, Some(&who))
    }
}

/// A pack whose bytes are not what its name says, or of which something cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedPack {
    /// Its name.
    pub id: PackId,
    /// Its bytes, as the store says.
    pub size: u64,
    /// What is wrong with it as a whole, a sentence.
    pub reason: String,
    /// Frames that it has, by its own footer or by a fragment; 0 if neither can be read.
    pub frames: u32,
    /// Frames of which nothing can be read.
    pub frames_lost: u32,
    /// Chunks that were compared with their ids and are whole: they will be stored again.
    pub chunks_whole: u64,
    /// Chunks that are lost here; another pack may hold them.
    pub chunks_lost: u64,
}

/// A snapshot of which something is lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lacking {
    /// The snapshot.
    pub id: SnapshotId,
    /// Its series.
    pub instance: String,
    /// When it was taken.
    pub taken: Timestamp,
    /// Entries that will be missing.
    pub missing: u64,
    /// Which, and why: the first of them.
    pub problems: Vec<Problem>,
    /// Nothing of it can be had: no corrected snapshot can be made.
    pub hopeless: bool,
    /// The corrected snapshot that stands beside it already.
    pub corrected_by: Option<SnapshotId>,
}

/// A snapshot record whose object is damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedRecord {
    /// Its name.
    pub id: SnapshotId,
    /// What is wrong with it, a sentence.
    pub reason: String,
    /// What this host read of it when it was whole.
    pub(crate) kept: Option<Vec<u8>>,
}

impl DamagedRecord {
    /// Whether this host has read it when it was whole, so that it can be written again.
    pub fn is_known(&self) -> bool {
        self.kept.is_some()
    }
}

/// What a repair will do, and what it cannot mend.
#[derive(Debug, Default)]
pub struct Plan {
    /// Packs in the store, and how many of them were read whole.
    pub packs: u64,
    /// How many of them were read whole.
    pub packs_read: u64,
    /// Whole packs that no readable fragment names: a fragment will.
    pub adopted: Vec<PackId>,
    /// Packs that fragments name and the store does not have: fragments will not name them any more.
    pub missing: Vec<PackId>,
    /// The same of packs that a mark names: the next prune sees to their fragments.
    pub(crate) pruned: Vec<PackId>,
    /// Packs whose whole chunks will be stored again, and which will be set aside.
    pub damaged: Vec<DamagedPack>,
    /// Fragments that cannot be read, a sentence each: they will be set aside.
    pub damaged_fragments: Vec<(FragmentId, String)>,
    /// Fragments that name what is missing or damaged: they will be written anew.
    pub fragments: Vec<FragmentId>,
    /// Damaged snapshot records.
    pub records: Vec<DamagedRecord>,
    /// Snapshots of which something is lost.
    pub lacking: Vec<Lacking>,
    /// What repair does not mend, with what can be done.
    pub left: Vec<Finding>,
}

impl Plan {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        !self.changes() && self.records.is_empty() && self.lacking.is_empty() && self.left.is_empty()
    }

    /// Whether something will be put into the store.
    pub fn changes(&self) -> bool {
        let objects = self.adopted.len() + self.missing.len() + self.damaged.len() + self.damaged_fragments.len();
        objects > 0
            || self.records.iter().any(DamagedRecord::is_known)
            || self.lacking.iter().any(Lacking::will_be_corrected)
    }

    /// Whether something is lost, or left as it is.
    pub fn leaves_damage(&self) -> bool {
        !self.left.is_empty() || !self.lacking.is_empty() || self.records.iter().any(|record| !record.is_known())
    }
}

impl Lacking {
    /// Whether a corrected snapshot will be written.
    pub fn will_be_corrected(&self) -> bool {
        !self.hopeless && self.corrected_by.is_none()
    }
}

/// Looks at everything and says what [`perform`] would do. The store is not changed, nor is `index`.
///
/// # Errors
/// What keeps it from looking: a store that does not answer is no damage. What `watch` says.
pub fn plan(repository: &Arc<Repository>, index: &Index, options: RepairOptions<'_>, watch: Watch<'_>) -> Result<Plan> {
    let mut plan = Plan::default();
    // Listed before packs: whatever a listed snapshot names was durable and named by fragments before.
    let listed = survey::records(repository, index, &mut plan)?;
    survey::slots(repository, &mut plan)?;
    let scratch = Scratch::beside(index, repository)?;
    survey::objects(repository, &scratch.index, options, watch, &mut plan)?;
    // Packs may have been read for hours: what prunes copied and took out of the fragments meanwhile.
    scratch.index.sync(repository)?;
    let catalogue = Catalogue::load(repository, &scratch.index)?;
    // A snapshot that came meanwhile may need packs that were not listed.
    let judged: Vec<_> = catalogue.snapshots.iter().filter(|stored| listed.contains(&stored.id)).collect();
    watch(CheckStep::Snapshots(judged.len() as u64))?;
    let reader = ChunkReader::new(repository, &scratch.index)?;
    let mut manifests = Manifests::new(&reader, false, watch)?;
    let mut report = CheckReport::default();
    for stored in judged {
        let before = (report.finding_count, report.damaged_count);
        manifests.check(&stored.id, &stored.snapshot, &mut report)?;
        if before != (report.finding_count, report.damaged_count) {
            let losses = snapshots::walk(&reader, &stored.snapshot, watch, &mut |_| Ok(()))?;
            let correction = catalogue.snapshots.iter().find(|other| other.snapshot.corrects == Some(stored.id));
            plan.lacking.extend(losses.lacking(stored, correction.map(|other| other.id)));
        }
        watch(CheckStep::Snapshot)?;
    }
    Ok(plan)
}

/// An index of its own that says what will be readable once a repair is done. It may say more than the fragments do, so it
/// must not be the one that backups of this host ask.
struct Scratch {
    index: Index,
    _directory: tempfile::TempDir,
    /// Held for as long as the directory may be in use.
    _lock: File,
}

/// Directories of scratch indexes begin with this.
const SCRATCH: &str = "repair-";

impl Scratch {
    fn beside(index: &Index, repository: &Repository) -> Result<Self> {
        let beside = index.path().parent().unwrap_or(index.path());
        let fail = |source| crate::Error::State { path: beside.to_owned(), source };
        let lock = lock_and_clear(beside).map_err(fail)?;
        let directory = tempfile::Builder::new().prefix(SCRATCH).tempdir_in(beside).map_err(fail)?;
        Ok(Self { index: Index::open(directory.path(), repository.id())?, _directory: directory, _lock: lock })
    }
}

/// Takes part in the lock of all repairs of this host. Whoever finds nobody else in it removes what killed ones left.
fn lock_and_clear(beside: &Path) -> io::Result<File> {
    let lock = File::options().create(true).append(true).open(beside.join("repair.lock"))?;
    if lock.try_lock().is_ok() {
        for entry in beside.read_dir()? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(SCRATCH) {
                std::fs::remove_dir_all(entry.path())?;
            }
        }
        lock.unlock()?;
    }
    // A directory is made only under it, so nobody clears it away.
    lock.lock_shared()?;
    Ok(lock)
}
