//! Snapshot → directory.
//!
//! ```text
//! walk     manifest → directories, links, devices made at once; files → segments of bounded size
//! plan     a segment's chunks by pack and frame, each frame once, with every place where its bytes go
//! workers  each frame: read, open, verify chunks, write; a file's last frame finishes the file
//! after    a segment is done: hard links, then the directories that the walk has left, deepest first
//! ```
//! The walk is at most two segments ahead of the workers; everything in memory is bounded by segments, but for the first
//! names of hard links that are not restored themselves.
//!
//! Not guaranteed: an order among files; durability (nothing is synced); anything about a target that others change.
//! What is in the target under its name is exact, also when the restore fails: a file is finished when all of its bytes
//! were verified and written, and removed when they could not be. After an interruption unfinished files stay behind,
//! recognisable by mode 0600 and their fresh times.

mod file;
mod plan;
mod segment;
mod tally;
#[cfg(test)]
mod tests;
mod walk;
mod worker;

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, ScopedJoinHandle};

use crossbeam_channel::{Receiver, bounded, unbounded};
use icecore_format::entry::{Entry, Node, PathBytes};
use icecore_format::manifest::{ManifestReader, ReadError, ReadFault};
use icecore_format::snapshot::Problem;
use icecore_repo::Error as RepoError;
use icecore_source::names::Names;
use icecore_source::target::{Owners, Target};

use self::file::OpenFiles;
use self::segment::{After, Draft};
use self::tally::Tally;
use crate::Stored;
use crate::archive::Archive;
use crate::browse;
use crate::error::{Error, Result};
use crate::progress::{Phase, Progress};

/// What to restore, and where to.
#[derive(Debug)]
pub struct RestoreJob<'a> {
    /// The snapshot.
    pub stored: &'a Stored,
    /// A directory, whose content goes into the target, or one entry, which goes into it under its name.
    pub path: PathBytes,
    /// A new or empty directory.
    pub target: PathBuf,
    /// Keep user and group numbers, instead of following the names that the snapshot recorded.
    pub numeric_ids: bool,
    /// Threads that read, verify and write; at least one runs.
    pub threads: usize,
}

/// What a restore did.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct RestoreReport {
    /// Regular files that are exact.
    pub files: u64,
    /// Directories made.
    pub directories: u64,
    /// Symbolic links made.
    pub symlinks: u64,
    /// Named pipes, sockets and devices made.
    pub others: u64,
    /// Further names given to files.
    pub links: u64,
    /// Bytes of the files, holes included.
    pub bytes: u64,
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

/// Restores a snapshot or a part of it into an empty directory. What cannot be restored is named in the report, and the
/// rest is restored.
///
/// # Errors
/// No such path; a target that cannot be used or has no room left; an index that fails; an interruption.
pub fn restore(archive: &Archive, job: &RestoreJob<'_>, progress: &Progress) -> Result<RestoreReport> {
    progress.enter(Phase::Restoring);
    let snapshot = &job.stored.snapshot;
    let reader = archive.reader()?;
    // Before the target is touched, unless the manifest is so damaged that nobody can tell.
    let top = match browse::find(&ManifestReader::new(&reader, &snapshot.manifest), job.stored, &job.path) {
        Err(Error::Manifest { source, .. }) => {
            survive_block(source)?;
            None
        }
        found => found?,
    };
    if job.path.is_empty() {
        progress.entries_total.store(snapshot.totals.entries, Ordering::Relaxed);
        progress.bytes_total.store(snapshot.totals.bytes, Ordering::Relaxed);
    }
    let site = Site {
        target: Target::create(&job.target)?,
        owners: owners(job),
        skip: skipped(&job.path, top.as_ref()),
        tally: Tally::default(),
        open: OpenFiles::default(),
        progress,
        stop: AtomicBool::new(false),
        failure: Mutex::new(None),
    };
    let finished = thread::scope(|scope| {
        let (task_sender, tasks) = unbounded();
        let (after_sender, afters) = bounded(1);
        let mut threads: Vec<ScopedJoinHandle<'_, ()>> = Vec::new();
        for _ in 0..job.threads.max(1) {
            let (site, tasks) = (&site, tasks.clone());
            threads.push(scope.spawn(move || site.run(worker::work(archive, site, &tasks))));
        }
        drop(tasks);
        let site = &site;
        threads.push(scope.spawn(move || {
            let planned = archive.reader().and_then(|reader| {
                let draft = Draft::new(site, &reader, task_sender, after_sender);
                walk::walk(site, &reader, &snapshot.manifest, &job.path, draft)
            });
            site.run(planned);
        }));
        site.run(finish(site, &afters));
        drop(afters);
        // Every thread is waited for before one of them counts.
        let ends: Vec<_> = threads.into_iter().map(ScopedJoinHandle::join).collect();
        ends.into_iter().collect::<thread::Result<()>>()
    });
    finished.map_err(|_| Error::WorkerPanicked)?;
    match site.failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(site.tally.into_report()),
    }
}

/// Does what has to wait for whole segments.
fn finish(site: &Site<'_>, afters: &Receiver<After>) -> Result<()> {
    for After { done, links, left } in afters {
        // Nothing is ever sent: the end tells.
        let _ = done.recv();
        for (existing, entry) in links {
            site.check()?;
            site.link(&existing, &entry)?;
        }
        for directory in left {
            site.check()?;
            site.tally.faults(site.target.finish(site.place(&directory.path), &directory, &site.owners));
        }
    }
    Ok(())
}

fn owners(job: &RestoreJob<'_>) -> Owners {
    if job.numeric_ids {
        return Owners::numeric();
    }
    let (snapshot, names) = (&job.stored.snapshot, Names::new());
    Owners::by_name(&snapshot.users, &snapshot.groups, |name| names.uid(name), |name| names.gid(name))
}

/// The bytes of a snapshot's path that the paths in the target do not have.
fn skipped(base: &[u8], top: Option<&Entry>) -> usize {
    match top {
        Some(top) if top.node != Node::Directory => base.len() - top.name().len(),
        _ if base.is_empty() => 0,
        _ => base.len() + 1,
    }
}

/// What all threads of a restore share.
struct Site<'a> {
    target: Target,
    owners: Owners,
    /// See [`skipped`].
    skip: usize,
    tally: Tally,
    open: OpenFiles,
    progress: &'a Progress,
    stop: AtomicBool,
    failure: Mutex<Option<Error>>,
}

impl Site<'_> {
    /// Where a path of the snapshot stands in the target.
    fn place<'p>(&self, path: &'p [u8]) -> &'p [u8] {
        path.get(self.skip..).unwrap_or_default()
    }

    /// Ends a thread: the first failure counts, and stops the others.
    fn run(&self, result: Result<()>) {
        if let Err(error) = result {
            self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            self.stop.store(true, Ordering::Relaxed);
        }
    }

    /// [`Error::Interrupted`] when the restore was asked to end or has failed.
    fn check(&self) -> Result<()> {
        if self.stop.load(Ordering::Relaxed) { Err(Error::Interrupted) } else { self.progress.check() }
    }

    /// Lets the restore go on after an entry could not be written, unless the next ones could not either.
    fn survive(&self, path: &[u8], error: io::Error) -> Result<()> {
        use io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
        match error.kind() {
            StorageFull | QuotaExceeded | ReadOnlyFilesystem => {
                Err(Error::Write { path: String::from_utf8_lossy(path).into_owned(), source: error })
            }
            _ => Ok(()),
        }
    }

    fn link(&self, existing: &[u8], entry: &Entry) -> Result<()> {
        self.progress.done(entry.size());
        match self.target.make_hard_link(self.place(existing), self.place(&entry.path)) {
            Ok(()) => {
                self.tally.linked();
                Ok(())
            }
            Err(error) => {
                let existing = String::from_utf8_lossy(existing);
                let why = match error.kind() {
                    io::ErrorKind::NotFound => format!("it is the same file as {existing}, which is missing"),
                    _ => format!("it could not be linked to {existing}: {error}"),
                };
                self.tally.missing(&entry.path, 1, why);
                self.survive(&entry.path, error)
            }
        }
    }
}

/// Lets the restore go on after a block of a manifest could not be read, unless no other could be either.
fn survive_block(error: ReadError<RepoError>) -> Result<()> {
    match *error.fault {
        ReadFault::Source(error) if !error.is_damage() => Err(error.into()),
        _ => Ok(()),
    }
}
