//! Whether everything that was promised is there.
//!
//! ```text
//! snapshots   list them first: whatever a listed one names was durable and named by fragments before
//! annotations each can be read (I1)
//! fragments   each can be read (I1); then the index is synchronised
//! sessions    each can be read (I1)
//! marks       each can be read (I8); what is marked is not read, and may go while this runs
//! packs       what the index names stands in the store with the right size (I3)
//!   read data each pack hashes to its name (I1); unless it was once found to be so by this host, each frame opens, and each
//!             chunk hashes to its id (I5)
//! index       forgets what is missing or damaged, so that the next backup stores it again
//! manifests   each distinct block once: sorted (I6), every chunk in the index (I2)
//! files       only below damaged blocks: which files of which snapshots are not whole
//! ```
//! Because the index forgets before manifests are read, one question answers for every kind of damage: does some pack
//! still hold the chunk? A damaged frame costs nothing but what stands in it, and nothing if another pack has the same.

pub(crate) mod manifests;
pub mod names;
mod packs;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Instant;

use icecore_format::entry::{PathBytes, Timestamp};
use icecore_format::id::{AnnotationId, PackId, SnapshotId};
use icecore_store::ErrorKind;

use crate::error::{Error, Result};
use crate::index::{Index, list_fragments, read_fragment};
use crate::reader::ChunkReader;
use crate::repository::Repository;
use crate::{annotations, catalogue, layout, sign, slots};

/// Findings and damaged files named in a report at most; they are all counted.
const NAMED: usize = 1000;

/// How thoroughly to check.
#[derive(Debug, Clone, Copy)]
pub struct CheckOptions {
    /// How much of the packs is read whole, in percent of their bytes, instead of trusting the store that what is there is
    /// what was put. The longest-unverified come first.
    pub read_percent: u8,
    /// When the last pack may be begun.
    pub until: Option<Instant>,
    /// The time now, to remember when what was verified.
    pub now: Timestamp,
    /// Threads that read packs; at least one does.
    pub threads: usize,
}

/// What a check tells while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckStep {
    /// So many packs of so many bytes will be read.
    Packs {
        /// Packs.
        count: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// A pack was read.
    Pack {
        /// Its bytes.
        bytes: u64,
    },
    /// So many snapshots will be followed.
    Snapshots(u64),
    /// A block of a manifest was read.
    Block,
    /// A snapshot was followed to its last chunk.
    Snapshot,
}

/// A promise that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The invariant by its name, as `docs/invariants.md` lists them.
    pub invariant: &'static str,
    /// The object's key, or the name of what stands inside objects.
    pub object: String,
    /// What is wrong, a sentence.
    pub message: String,
    /// What can be done, a sentence.
    pub next: &'static str,
}

/// A file (or, below a lost block, several) that cannot be restored whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedFile {
    /// In which snapshot.
    pub snapshot: SnapshotId,
    /// Its path there.
    pub path: PathBytes,
    /// Why.
    pub reason: String,
}

/// What a check looked at and found.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct CheckReport {
    /// Snapshots followed.
    pub snapshots: u64,
    /// Distinct manifest blocks read.
    pub blocks: u64,
    /// Entries in them.
    pub entries: u64,
    /// Chunks that they name, as often as they name them.
    pub chunks: u64,
    /// Packs that the index names.
    pub packs: u64,
    /// Packs that were read whole.
    pub packs_read: u64,
    /// Their bytes.
    pub bytes_read: u64,
    /// Packs that were never verified by this host.
    pub never_verified: u64,
    /// When the longest-unverified of the others was, in seconds since 1970.
    pub verified_since: Option<i64>,
    /// Promises that do not hold; only the first 1000.
    pub findings: Vec<Finding>,
    /// How many there are.
    pub finding_count: u64,
    /// Files that cannot be restored whole; only the first 1000.
    pub damaged_files: Vec<DamagedFile>,
    /// How many there are.
    pub damaged_count: u64,
    /// Packs that the index does not name: of a session that runs or was interrupted on another host. No damage;
    /// `rebuild-index` adopts them.
    pub orphans: Vec<PackId>,
    /// Packs that a prune has marked and that still stand in the store, and their bytes.
    pub marked_packs: (u64, u64),
    /// How often snapshots name a chunk or block that stands in such packs alone. No damage: before they go, a prune copies it.
    pub needed_of_marked: u64,
    /// Missing packs that the index forgot.
    pub forgotten_packs: u64,
    /// Damaged frames that the index forgot: the next backup stores again what it still finds alive of them.
    pub forgotten_frames: u64,
}

impl CheckReport {
    /// Whether every promise holds.
    pub fn is_clean(&self) -> bool {
        self.finding_count == 0 && self.damaged_count == 0
    }

    fn find(&mut self, invariant: &'static str, object: impl ToString, message: String, next: &'static str) {
        self.finding_count += 1;
        if self.findings.len() < NAMED {
            self.findings.push(Finding { invariant, object: object.to_string(), message, next });
        }
    }

    /// Adds what following the snapshots showed.
    fn absorb(&mut self, followed: Self) {
        self.snapshots += followed.snapshots;
        self.blocks += followed.blocks;
        self.entries += followed.entries;
        self.chunks += followed.chunks;
        self.needed_of_marked += followed.needed_of_marked;
        self.finding_count += followed.finding_count;
        self.findings.extend(followed.findings);
        self.findings.truncate(NAMED);
        self.damaged_count += followed.damaged_count;
        self.damaged_files.extend(followed.damaged_files);
        self.damaged_files.truncate(NAMED);
    }

    fn damaged(&mut self, snapshot: SnapshotId, path: PathBytes, files: u64, reason: String) {
        self.damaged_count += files;
        if self.damaged_files.len() < NAMED {
            self.damaged_files.push(DamagedFile { snapshot, path, reason });
        }
    }
}

/// Hears of each step, from any thread; an error (such as [`Error::Interrupted`]) ends the check.
pub type Watch<'a> = &'a (dyn Fn(CheckStep) -> Result<()> + Sync);

/// Checks a repository. Nothing in the store is changed; the index forgets what is missing or damaged.
///
/// # Errors
/// What keeps the check from going on; damage is in the report.
pub fn check(
    repository: &Arc<Repository>,
    index: &Arc<Index>,
    options: CheckOptions,
    watch: Watch<'_>,
) -> Result<CheckReport> {
    let mut report = CheckReport::default();
    let snapshots = list_snapshots(repository, &mut report)?;
    check_slots(repository, &mut report)?;
    check_fragments(repository, &mut report)?;
    check_annotations(repository, &mut report)?;
    index.sync(repository)?;
    for damage in index.learn_marks(repository)?.damaged {
        let object = damage.split(' ').next().unwrap_or_default().to_owned();
        let next = "Nobody prunes by it. Remove the object when no prune is running.";
        report.find("I8", object, damage, next);
    }
    for (id, damage) in sign::all(repository)?.damaged {
        report.find("I1", layout::session(&id), damage, "Remove the object when no backup is running.");
    }
    let follow = |watch: Watch<'_>| follow(repository, index, &snapshots, watch);
    // What is read whole takes the disk and the hash most of the time: meanwhile the snapshots are followed, in the hope that nothing
    // that the packs show is news to the index.
    let is_over = AtomicBool::new(false);
    let unless_over = |step| if is_over.load(Relaxed) { Err(Error::Interrupted) } else { watch(step) };
    let silent = |step| if step == CheckStep::Block { unless_over(step) } else { Ok(()) };
    let or_over = |failed: bool| is_over.fetch_or(failed, Relaxed);
    let before = report.finding_count;
    let (packs, followed) = thread::scope(|scope| {
        let followed = (options.read_percent > 0).then(|| {
            scope.spawn(|| {
                let followed = follow(&silent);
                or_over(followed.is_err());
                followed
            })
        });
        let packs = packs::check(repository, index, options, &unless_over, &mut report);
        or_over(packs.is_err());
        (packs, followed.map(|thread| thread.join().unwrap_or(Err(Error::WorkerPanicked))))
    });
    // Of two failures the first one made the other an interruption.
    match (packs, &followed) {
        (Err(Error::Interrupted), Some(Err(_))) | (Ok(()), _) => {}
        (Err(error), _) => return Err(error),
    }
    let followed = followed.transpose()?.filter(|_| report.finding_count == before);
    watch(CheckStep::Snapshots(snapshots.len() as u64))?;
    match followed {
        Some(followed) => {
            report.absorb(followed);
            snapshots.iter().try_for_each(|_| watch(CheckStep::Snapshot))?;
        }
        None => report.absorb(follow(watch)?),
    }
    repository.expect_present()?;
    Ok(report)
}

/// Follows snapshots to their last chunk.
fn follow(
    repository: &Arc<Repository>,
    index: &Arc<Index>,
    snapshots: &[SnapshotId],
    watch: Watch<'_>,
) -> Result<CheckReport> {
    let mut report = CheckReport::default();
    // Reading may take longer than packs wait.
    let reader = ChunkReader::looking_again(repository, index)?;
    let mut manifests = manifests::Manifests::new(&reader, !index.marked()?.is_empty(), watch)?;
    for id in snapshots {
        match catalogue::read(repository, id) {
            Ok((snapshot, _)) => manifests.check(id, &snapshot, &mut report)?,
            // Forgotten meanwhile.
            Err(Error::Store(error)) if error.kind == ErrorKind::NotFound => continue,
            Err(error) if error.is_damage() => report.find(
                "I1",
                layout::snapshot(id),
                format!("the snapshot record cannot be read: {error}"),
                "Its files cannot be reached; if a copy of the repository has this object, put it back.",
            ),
            Err(error) => return Err(error),
        }
        watch(CheckStep::Snapshot)?;
    }
    Ok(report)
}

fn list_snapshots(repository: &Repository, report: &mut CheckReport) -> Result<Vec<SnapshotId>> {
    let mut ids = Vec::new();
    repository.store().list(layout::SNAPSHOTS, &mut |listed| {
        match layout::id_of::<SnapshotId>(&listed.key) {
            Some(id) => ids.push(id),
            None => foreign(report, &listed.key),
        }
        Ok(())
    })?;
    ids.sort();
    Ok(ids)
}

fn foreign(report: &mut CheckReport, key: &icecore_store::Key) {
    let message = "this object has no name that this program gives".to_owned();
    report.find("I1", key, message, "Remove it from the store if nothing else put it there on purpose.");
}

fn check_slots(repository: &Repository, report: &mut CheckReport) -> Result<()> {
    let (_, unusable) = slots::list(repository)?;
    for sentence in unusable {
        let object = sentence.split([' ', ':']).next().unwrap_or_default().to_owned();
        let next = "Whoever used this key needs a new one: icecore key add. Then remove the object.";
        report.find("I1", object, sentence, next);
    }
    Ok(())
}

fn check_annotations(repository: &Repository, report: &mut CheckReport) -> Result<()> {
    let mut ids = Vec::new();
    repository.store().list(layout::ANNOTATIONS, &mut |listed| {
        match layout::id_of::<AnnotationId>(&listed.key) {
            Some(id) => ids.push(id),
            None => foreign(report, &listed.key),
        }
        Ok(())
    })?;
    for id in ids {
        match annotations::read(repository, &id) {
            Ok(_) => {}
            // Of a snapshot that was forgotten, and pruned meanwhile.
            Err(Error::Store(error)) if error.kind == ErrorKind::NotFound => {}
            Err(error) if error.is_damage() => {
                let next = "Look at the tags (icecore snapshots), remove the object, and set again what is missing: icecore tag.";
                report.find("I1", layout::annotation(&id), format!("the annotation cannot be read: {error}"), next);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Those that others replace are of no use to anybody, whatever became of them.
fn check_fragments(repository: &Repository, report: &mut CheckReport) -> Result<()> {
    let (mut replaced, mut damaged) = (HashSet::new(), Vec::new());
    for (id, _) in list_fragments(repository, &mut |key| foreign(report, key))? {
        if replaced.contains(&id) {
            continue;
        }
        match read_fragment(repository, &id) {
            Ok(fragment) => replaced.extend(fragment.replaced().iter().copied()),
            // Merged meanwhile.
            Err(Error::Store(error)) if error.kind == ErrorKind::NotFound => {}
            Err(error) if error.is_damage() => damaged.push((id, error)),
            Err(error) => return Err(error),
        }
    }
    for (id, error) in damaged.into_iter().filter(|(id, _)| !replaced.contains(id)) {
        let next = "Run icecore rebuild-index: it reads the packs themselves instead.";
        report.find("I1", layout::fragment(&id), format!("the fragment cannot be read: {error}"), next);
    }
    Ok(())
}
