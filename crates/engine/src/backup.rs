//! One backup: live roots → snapshot.
//!
//! ```text
//! listing ─┐
//!          ├─ lock-step ─▶ batches ─▶ workers: read, cut, hash, claim ─▶ frames ─▶ packs
//! parent ──┘                 │                      │
//!                            └── in order again ◀───┘ ─▶ manifest blocks ─▶ snapshot record
//! ```
//! Batches hold consecutive entries. A batch without a hot entry skips the workers; the others come back in any order and
//! are put in order before the manifest is written. The number of batches on their way is bounded, and so is memory.

mod frozen;
pub(crate) mod known;
mod merge;
mod night;
mod pass;
mod sequence;

use std::path::PathBuf;
use std::sync::Arc;

use icecore_format::entry::{PathBytes, Timestamp};
use icecore_format::id::SnapshotId;
use icecore_format::snapshot::{PROBLEMS_NAMED, Receipt, Root as RecordedRoot, Snapshot, Verdict};
use icecore_repo::Session;
use icecore_repo::session::Closed;
use icecore_repo::sign::Who;
use icecore_source::capture::CapturePlan;
use icecore_source::freezer::FreezerConfig;
use icecore_source::window::WindowPlan;
use icecore_source::{Excludes, ListProgress, Listing, Names, Priority, Root, Rules, Tree};

use crate::archive::Archive;
use crate::error::{Error, Result};
use crate::pace::Pace;
use crate::progress::{Phase, Progress};
pub use frozen::{Rehearsal, rehearse};
use night::Night;
use pass::{Base, Finished, Pass};

/// What to back up and how.
pub struct Job<'a> {
    /// Name of the series.
    pub instance: String,
    /// Name of this host.
    pub host: String,
    /// Who runs this.
    pub user: String,
    /// Name and version of this program.
    pub program: String,
    /// Labels.
    pub tags: Vec<String>,
    /// Until when nothing may forget the snapshot.
    pub protected_until: Option<Timestamp>,
    /// Directories.
    pub roots: Vec<Root>,
    /// What of them is listed.
    pub rules: Rules,
    /// The exclude patterns as typed, for the record.
    pub excludes: Vec<String>,
    /// Inode numbers do not tell files apart (network file systems).
    pub ignore_inode: bool,
    /// The ctime changes without reason (network file systems, hard-link farms).
    pub ignore_ctime: bool,
    /// Read every file, whatever its times say.
    pub rehash: bool,
    /// zstd level.
    pub level: i32,
    /// Threads that read, cut and hash; at least 1.
    pub threads: usize,
    /// How fast content is read outside of freeze windows; `None`: as fast as can be.
    pub pace: Option<Arc<Pace>>,
    /// How much threads give way that read and compress outside of freeze windows.
    pub priority: Priority,
    /// The time now.
    pub clock: &'a (dyn Fn() -> Timestamp + Sync),
    /// How the instance is frozen; `None`: what stands there is read as it is.
    pub freeze: Option<Freeze>,
}

/// How an instance is frozen, and what is done with the window.
#[derive(Debug)]
pub struct Freeze {
    /// The freezer, the deadline, the guardian.
    pub plan: WindowPlan,
    /// How hot content is secured.
    pub capture: CapturePlan,
    /// Rounds before the window that store what changes, so that little is hot in it; at most.
    pub warm_rounds: u8,
    /// Files that are read in every window, whatever their times say: those written through memory maps.
    pub always_read: Excludes,
    /// What becomes of a run whose window was too long twice.
    pub on_failure: OnWindowFailure,
    /// Bytes of new content that may wait in memory for the thaw.
    pub hold_memory: u64,
    /// The directory where more of it waits.
    pub spool: PathBuf,
}

/// What becomes of a run whose window was too long twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnWindowFailure {
    /// It fails.
    Fail,
    /// What was read is kept, with the verdict that it deserves.
    KeepFuzzy,
}

impl std::fmt::Debug for Job<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Job").field("instance", &self.instance).field("roots", &self.roots).finish_non_exhaustive()
    }
}

/// What a backup did.
#[derive(Debug)]
pub struct Report {
    /// The new snapshot.
    pub id: SnapshotId,
    /// Its record with totals, verdict and problems.
    pub snapshot: Snapshot,
    /// What the rules left out: the repository, the state directory, other file systems, caches.
    pub left_out: Vec<PathBytes>,
    /// What went wrong without touching the snapshot.
    pub warnings: Vec<String>,
}

/// Takes a snapshot.
pub fn backup(archive: &Archive, job: &Job<'_>, progress: &Progress) -> Result<Report> {
    Snapshot::check_instance(&job.instance).map_err(|error| Error::NotFound(error.to_string()))?;
    progress.enter(Phase::Opening);
    let story = Story::begin(archive, job, progress)?;
    tracing::info!(instance = job.instance, parent = story.parent.map(|id| id.short()), "backup begins");
    match &job.freeze {
        Some(freeze) if freeze.plan.freezer != FreezerConfig::None => frozen::backup(&story, freeze),
        _ => live(&story),
    }
}

/// What a backup knows from its beginning to its end.
struct Story<'a> {
    archive: &'a Archive,
    job: &'a Job<'a>,
    progress: &'a Progress,
    started: Timestamp,
    tree: Tree,
    parent: Option<SnapshotId>,
    base: Option<Base>,
    warnings: Vec<String>,
}

impl<'a> Story<'a> {
    fn begin(archive: &'a Archive, job: &'a Job<'a>, progress: &'a Progress) -> Result<Self> {
        let started = (job.clock)();
        let catalogue = archive.known_snapshots()?;
        let parent = catalogue.newest(&job.instance, &job.host);
        let base = parent.map(|stored| Base::new(archive, stored.snapshot.manifest)).transpose()?;
        let tree = Tree::open(job.roots.clone())?;
        let parent = parent.map(|stored| stored.id);
        let mut warnings = catalogue.damaged;
        if !job.priority.is_ordinary()
            && let Err(error) = job.priority.probe()
        {
            warnings.push(format!("the priority that [limits] asks for cannot be set: {error}"));
        }
        Ok(Self { archive, job, progress, started, tree, parent, base, warnings })
    }

    fn session(&self) -> Result<Session> {
        let Archive { repository, index } = self.archive;
        let who = Who { host: self.job.host.clone(), instance: self.job.instance.clone(), now: (self.job.clock)() };
        Ok(Session::begin_as(Arc::clone(repository), Arc::clone(index), self.job.level, Some(&who))?)
    }

    /// Lists the roots as they are now.
    fn list(&self) -> Result<Listing> {
        let listing = self.tree.list(&self.job.rules, &ListProgress::default())?;
        self.progress.check()?;
        self.progress.expect(listing.entries(), listing.bytes());
        Ok(listing)
    }

    fn pass<'p>(&'p self, listing: &'p Listing, session: &'p Session, base: Option<Base>) -> Pass<'p> {
        Pass {
            archive: self.archive,
            job: self.job,
            tree: &self.tree,
            listing,
            session,
            base,
            calm: None,
            always_read: self.job.freeze.as_ref().map(|freeze| &freeze.always_read),
            fixed: None,
            progress: self.progress,
        }
    }

    /// Commits what a pass wrote.
    fn commit(&self, closed: Closed, written: Written) -> Result<Report> {
        let job = self.job;
        let Written { finished, taken, verdict, receipt, left_out } = written;
        let Finished { root, totals, mut night, mut problems, problem_count, users, groups, .. } = finished;
        night.add(closed.written);
        let totals = night.totals(totals, self.parent.is_some());
        problems.truncate(PROBLEMS_NAMED);
        let names = Names::new();
        let snapshot = Snapshot {
            instance: job.instance.clone(),
            host: job.host.clone(),
            user: job.user.clone(),
            program: job.program.clone(),
            tags: job.tags.clone(),
            roots: self.tree.roots().iter().map(recorded_root).collect(),
            started: self.started,
            taken,
            finished: (job.clock)(),
            manifest: root,
            parent: self.parent,
            users: users.into_iter().filter_map(|uid| Some((uid, names.user(uid)?))).collect(),
            groups: groups.into_iter().filter_map(|gid| Some((gid, names.group(gid)?))).collect(),
            totals,
            verdict,
            receipt,
            problems,
            problem_count,
            excludes: job.excludes.clone(),
            protected_until: job.protected_until,
            corrects: None,
            origin: None,
            exclude_caches: job.rules.exclude_caches,
            one_file_system: job.rules.one_file_system,
        };
        let id = closed.commit(&snapshot, job.clock)?;
        let (bytes, bytes_added) = (snapshot.totals.bytes, snapshot.totals.bytes_added);
        tracing::info!(instance = job.instance, snapshot = %id, bytes, bytes_added, "backup committed");
        self.progress.enter(Phase::Done);
        let warnings = self.warnings.iter().cloned().chain(night.failure).collect();
        Ok(Report { id, snapshot, left_out, warnings })
    }
}

/// What is to be committed.
struct Written {
    finished: Finished,
    taken: Timestamp,
    verdict: Verdict,
    receipt: Option<Receipt>,
    left_out: Vec<PathBytes>,
}

/// Without a freeze: what stands there while it is read.
fn live(story: &Story<'_>) -> Result<Report> {
    story.progress.enter(Phase::Listing);
    let listing = story.list()?;
    let taken = (story.job.clock)();
    story.progress.enter(Phase::Storing);
    let session = story.session()?;
    let stored = story.pass(&listing, &session, story.base).store(None, Night::default());
    story.progress.enter(Phase::Committing);
    let (finished, closed) = close(session, stored)?;
    let verdict = if finished.changed { Verdict::Fuzzy } else { Verdict::Stable };
    let left_out = listing.left_out().to_vec();
    story.commit(closed, Written { finished, taken, verdict, receipt: None, left_out })
}

/// Closes a session, also after a failure: what was stored is made durable and named, so that the next run does not store it
/// again. The pack writer's own failure is the cause of what the workers saw.
pub(crate) fn close<T>(session: Session, stored: Result<T>) -> Result<(T, Closed)> {
    let closed = session.close();
    match (stored, closed) {
        (Err(Error::Repository(icecore_repo::Error::WriterStopped)), Err(cause)) => Err(cause.into()),
        (stored, closed) => Ok((stored?, closed?)),
    }
}

fn recorded_root(root: &Root) -> RecordedRoot {
    RecordedRoot { name: root.name.clone(), path: root.path.as_os_str().as_encoded_bytes().to_vec() }
}
