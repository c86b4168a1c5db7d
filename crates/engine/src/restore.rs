//! Snapshot → directories.
//!
//! ```text
//! errands  which part of the snapshot goes to which directory (pure)
//! survey   totals, room, and where content stands already that would otherwise be fetched
//! walk     lock-step of manifest and target → an action for each entry (the dry run shows them);
//!          directories, links, devices at once; files → segments of bounded size
//! plan     a segment's chunks by pack and frame, each frame once, with every place where its bytes go
//! workers  each frame: read, open, verify chunks, write; each seed: read, verify, write; a file's last part finishes it
//! after    a segment is done: hard links, then the directories that the walk has left, deepest first
//! sweep    when all targets are restored, what the snapshot does not have is deleted, if that was asked for and
//!          everything else stands
//! verify   everything is read back and compared, if that was asked for, and before every exchange
//! ```
//! The walk is at most two segments ahead of the workers. What stands is looked at by several threads, a bounded number of
//! entries ahead of the walk. Everything in memory is bounded by segments and by tables; what is known of hard links and of
//! what is missing goes to files when it gets large.
//!
//! | mode | what stands | a file is written | durable |
//! |---|---|---|---|
//! | new | nothing, or what an interrupted run left | under its name | no |
//! | in place | anything | beside, then renamed; or its differing ranges, gathered beside first | before it is called whole |
//! | exchange | is left alone, then swapped for what was built beside | under its name, beside | before the swap |
//!
//! Not guaranteed: an order among files; anything about a target that others change. What is in the target under its name
//! and with its time is exact, also when the restore fails. The state directory remembers an interrupted restore, which
//! goes on when it is run again.

mod ahead;
mod content;
mod converge;
mod errand;
mod examine;
mod exchange;
mod file;
mod ground;
mod links;
mod look;
mod merge;
mod plan;
mod pool;
mod record;
mod seeds;
mod segment;
mod selection;
mod site;
mod survey;
mod sweep;
mod table;
mod tally;
#[cfg(test)]
mod tests;
mod verify;
mod walk;
mod worker;

use std::path::PathBuf;

use icecore_format::entry::{Node, PathBytes, Timestamp};
use icecore_format::manifest::ManifestReader;
use icecore_format::snapshot::Problem;
pub use icecore_source::target::FaultKind;

pub use self::errand::Destination;
use self::errand::Errand;
pub use self::exchange::{OldTree, Undeleted, drop_old, old_trees};
use self::ground::Ground;
use self::links::Links;
pub use self::selection::Filter;
use self::tally::Tally;
use crate::Stored;
use crate::archive::Archive;
use crate::browse;
use crate::error::{Error, Result, survive_block};
use crate::progress::{Phase, Progress};

/// What to restore, where to, and how.
#[derive(Debug)]
pub struct RestoreJob<'a> {
    /// The snapshot.
    pub stored: &'a Stored,
    /// A directory, whose content goes into the target, or one entry, which goes into it under its name.
    pub path: PathBytes,
    /// Which entries of it.
    pub filter: Filter,
    /// Where it goes.
    pub destination: Destination,
    /// What may stand there.
    pub mode: Mode,
    /// Read every file that stands, whatever its time says.
    pub rehash: bool,
    /// Read back everything that was restored.
    pub verify: bool,
    /// Keep user and group numbers, instead of following the names that the snapshot recorded.
    pub numeric_ids: bool,
    /// Threads that read, verify and write; at least one runs.
    pub threads: usize,
    /// Where the list of what stands goes if it is large; without it, it stays in memory.
    pub spool: Option<PathBuf>,
    /// The target, a new directory, is only for a while: nobody goes on with an interrupted run, so it is not remembered, and
    /// room is left for others who write to the same disk.
    pub scratch: bool,
    /// Device and inode of what is never touched: the repository, the state directory.
    pub leave_out: Vec<(u64, u64)>,
    /// For the name of what stood before an exchange.
    pub now: Timestamp,
}

impl<'a> RestoreJob<'a> {
    /// Everything at and below `path` goes to a new or empty directory, by one thread.
    pub fn new(stored: &'a Stored, path: PathBytes, to: PathBuf) -> Self {
        Self {
            stored,
            path,
            filter: Filter::default(),
            destination: Destination { to: Some(to), roots: Vec::new() },
            mode: Mode::New,
            rehash: false,
            verify: false,
            numeric_ids: false,
            threads: 1,
            spool: None,
            scratch: false,
            leave_out: Vec::new(),
            now: Timestamp::default(),
        }
    }
}

/// What a restore does with what stands in its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Nothing may stand there, but for what an interrupted run of the same restore left.
    New,
    /// It is changed into what the snapshot has.
    InPlace {
        /// What the snapshot does not have goes.
        delete: bool,
    },
    /// A whole tree is built beside it and exchanged for it in one step.
    Exchange,
}

/// What is, or would be, done with one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    /// The entry's path in the snapshot, or the one that it would have.
    pub path: PathBytes,
    /// What is done.
    pub deed: Deed,
}

/// What is done with an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// It is made where nothing stands.
    Create {
        /// Bytes of a file.
        bytes: u64,
    },
    /// It takes the place of something of another kind, or with another target or number.
    Replace {
        /// Bytes of a file.
        bytes: u64,
    },
    /// A file's content is changed.
    Rewrite {
        /// Ranges that differ.
        ranges: u64,
        /// Bytes in them.
        bytes: u64,
    },
    /// It becomes a further name of an entry that is restored.
    Link,
    /// Only metadata is changed: this.
    Metadata(Vec<FaultKind>),
    /// It is as it should be.
    Keep,
    /// It is deleted, as the snapshot does not have it.
    Delete,
    /// It stays, although the snapshot does not have it.
    Extra,
}

/// How many entries were done what with.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Deeds {
    /// [`Deed::Create`].
    pub create: u64,
    /// [`Deed::Replace`].
    pub replace: u64,
    /// [`Deed::Rewrite`].
    pub rewrite: u64,
    /// [`Deed::Link`].
    pub link: u64,
    /// [`Deed::Metadata`].
    pub metadata: u64,
    /// [`Deed::Keep`].
    pub keep: u64,
    /// [`Deed::Delete`].
    pub delete: u64,
    /// [`Deed::Extra`].
    pub extra: u64,
}

/// What a restore did, or would do.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct RestoreReport {
    /// The directories that were restored into.
    pub targets: Vec<PathBuf>,
    /// Regular files that are exact.
    pub files: u64,
    /// Directories that stand.
    pub directories: u64,
    /// Symbolic links that stand.
    pub symlinks: u64,
    /// Named pipes, sockets and devices that stand.
    pub others: u64,
    /// Further names of files that stand.
    pub links: u64,
    /// Bytes of the files, holes included.
    pub bytes: u64,
    /// What was done with how many entries.
    pub deeds: Deeds,
    /// Bytes read from the repository's packs of data: each frame once for each segment that needs it.
    pub fetched: u64,
    /// Bytes that were found in the targets instead.
    pub reused: u64,
    /// Files that were read back and are exact, if that was asked for.
    pub verified: Option<u64>,
    /// Directories that were exchanged, and where what stood in their places is kept.
    pub exchanged: Vec<(PathBuf, Option<PathBuf>)>,
    /// Entries that do not stand in the target, with the reason; only the first 1000.
    pub missing: Vec<Problem>,
    /// How many there are.
    pub missing_count: u64,
    /// Metadata that could not be set.
    pub faults: Vec<FaultSummary>,
}

/// One kind of metadata that could not be set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultSummary {
    /// What, e.g. "the owner".
    pub kind: String,
    /// Of how many entries.
    pub count: u64,
    /// The first of them, and why.
    pub example: String,
}

/// Restores a snapshot or a part of it. What cannot be restored is named in the report, and the rest is restored; but
/// nothing is deleted, and nothing exchanged, while anything is missing.
///
/// # Errors
/// No such path; a target that cannot be used or has no room left; an index that fails; an interruption.
pub fn restore(archive: &Archive, job: &RestoreJob<'_>, progress: &Progress) -> Result<RestoreReport> {
    perform(archive, job, progress, None)
}

/// Shows each action that [`restore`] would take, in the order of paths, and changes nothing. The totals are those of the
/// restore; with files that are taken to be as recorded for their time, what is fetched is exact if they are.
///
/// # Errors
/// As [`restore`], and those of `each`.
pub fn rehearse(
    archive: &Archive,
    job: &RestoreJob<'_>,
    progress: &Progress,
    each: &mut dyn FnMut(&Action) -> Result<()>,
) -> Result<RestoreReport> {
    perform(archive, job, progress, Some(each))
}

/// The directories that [`restore`] would write to, into or beside; looks at none of them.
///
/// # Errors
/// No such path; nothing says where a root goes.
pub fn targets(archive: &Archive, job: &RestoreJob<'_>) -> Result<Vec<PathBuf>> {
    let (errands, _) = plan_errands(archive, job)?;
    Ok(errands.into_iter().map(|errand| errand.directory).collect())
}

/// Takes an action of a rehearsal.
type Observer<'o> = &'o mut dyn FnMut(&Action) -> Result<()>;

/// What goes where, and whether a directory is restored and not a single entry.
fn plan_errands(archive: &Archive, job: &RestoreJob<'_>) -> Result<(Vec<Errand>, bool)> {
    let reader = archive.reader()?;
    // Before a target is touched, unless the manifest is so damaged that nobody can tell.
    let top = match browse::find(&ManifestReader::new(&reader, &job.stored.snapshot.manifest), job.stored, &job.path) {
        Err(Error::Manifest { source, .. }) => {
            survive_block(source)?;
            None
        }
        found => found?,
    };
    let is_dir = top.as_ref().is_none_or(|top| top.node == Node::Directory);
    if job.mode == Mode::Exchange && !is_dir {
        let message = "only directories are exchanged; a file is replaced in one step with --in-place";
        return Err(Error::NotFound(message.to_owned()));
    }
    let errands = errand::errands(&job.stored.snapshot, &job.path, is_dir, &job.destination, job.mode)?;
    Ok((errands, is_dir))
}

fn perform(
    archive: &Archive,
    job: &RestoreJob<'_>,
    progress: &Progress,
    mut rehearsal: Option<Observer<'_>>,
) -> Result<RestoreReport> {
    progress.enter(Phase::Restoring);
    let (errands, is_dir) = plan_errands(archive, job)?;
    let tally = Tally::new(job.spool.as_deref());
    let mut links = Links::new(job.spool.as_deref());
    let grounds = Ground::prepare(archive, job, errands, is_dir, rehearsal.is_some())?;
    tally.targets(grounds.iter().map(|ground| ground.errand.directory.clone()).collect());
    for number in 0..grounds.len() {
        let observer: Option<Observer<'_>> = match &mut rehearsal {
            Some(each) => Some(&mut **each),
            None => None,
        };
        converge::converge(archive, job, &grounds, number, &tally, &mut links, progress, observer)?;
    }
    if rehearsal.is_none() {
        // Decided once, for all targets: an extra of one may be the last copy of what another lacks.
        let deletes = matches!(job.mode, Mode::InPlace { delete: true } | Mode::Exchange) && tally.is_whole();
        if !deletes {
            tally.spare();
        }
        for number in 0..grounds.len() {
            converge::conclude(archive, job, &grounds, number, &tally, deletes, progress)?;
        }
        exchange::finish(archive, job, &grounds, &tally)?;
    }
    Ok(tally.into_report())
}
