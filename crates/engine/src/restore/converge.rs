//! Makes one target what the snapshot has.

use std::collections::HashSet;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, ScopedJoinHandle};

use crossbeam_channel::{Receiver, bounded, unbounded};
use icecore_format::chunk::IdKey;
use icecore_format::entry::{Entry, Node, PathBytes};
use icecore_format::manifest::ManifestReader;
use icecore_source::names::Names;
use icecore_source::target::{Owners, Target, TargetFile};
use icecore_source::{Kind, Stat};

use super::file::OpenFiles;
use super::ground::Ground;
use super::seeds::Seeds;
use super::segment::{After, Draft};
use super::selection::Selection;
use super::tally::Tally;
use super::walk::Walk;
use super::{Mode, Observer, RestoreJob, survey, sweep, verify, worker};
use crate::archive::Archive;
use crate::error::{Error, Result};
use crate::progress::{Phase, Progress};

/// What all threads share that restore to one target.
pub(super) struct Site<'a> {
    pub target: &'a Target,
    /// Trees with seeds, by number; that of this target, or of what stands where it is exchanged, at `number`.
    pub trees: Vec<Option<Arc<Target>>>,
    pub number: usize,
    pub key: &'a IdKey,
    pub owners: Owners,
    pub selection: &'a Selection<'a>,
    pub mode: Mode,
    /// Every file that stands is read.
    rehash: bool,
    /// Nothing is changed.
    pub rehearsal: bool,
    /// Files of the target can share bytes.
    pub can_clone: bool,
    /// What the names of temporary files begin with.
    word: String,
    temporaries: AtomicU64,
    /// Entries that do not stand, of those that may have further names or are looked at again.
    lost: Mutex<HashSet<PathBytes>>,
    pub tally: &'a Tally,
    pub open: OpenFiles,
    pub progress: &'a Progress,
    stop: AtomicBool,
    failure: Mutex<Option<Error>>,
}

/// Restores to one target, or only shows what would be done.
pub(super) fn converge(
    archive: &Archive,
    job: &RestoreJob<'_>,
    grounds: &[Ground],
    number: usize,
    tally: &Tally,
    progress: &Progress,
    rehearsal: Option<Observer<'_>>,
) -> Result<()> {
    let ground = &grounds[number];
    if ground.is_exchanged() {
        return Ok(());
    }
    progress.enter(Phase::Restoring);
    let reader = archive.reader()?;
    let base = &ground.errand.base;
    // What is damaged here is met again, and told, by the walk.
    let top = ManifestReader::new(&reader, &job.stored.snapshot.manifest).get(base).unwrap_or_default();
    let selection = Selection::new(base, top.as_ref(), &job.filter);
    let trees = survey::seed_trees(job, grounds);
    let site = Site {
        target: &ground.target,
        trees: trees.iter().map(|tree| tree.as_ref().map(|tree| Arc::clone(&tree.target))).collect(),
        number,
        key: archive.repository.id_key(),
        owners: owners(job),
        selection: &selection,
        mode: job.mode,
        rehash: job.rehash || ground.uncertain,
        rehearsal: rehearsal.is_some(),
        can_clone: job.mode != Mode::New && ground.target.can_clone(),
        word: Ground::word(job),
        temporaries: AtomicU64::new(0),
        lost: Mutex::default(),
        tally,
        open: OpenFiles::default(),
        progress,
        stop: AtomicBool::new(false),
        failure: Mutex::new(None),
    };
    let seeds = survey::survey(archive, &reader, job, &site, grounds, number, progress)?;
    match rehearsal {
        Some(observer) => {
            let (tasks, afters) = (unbounded().0, unbounded().0);
            let draft = Draft::new(&site, &reader, &seeds, tasks, afters);
            return Walk::new(&site, ground, draft, Some(observer)).run(&reader, &job.stored.snapshot.manifest);
        }
        None => {
            ground.begin(archive)?;
            write(archive, job, ground, &site, &seeds)?;
        }
    }
    if matches!(job.mode, Mode::InPlace { delete: true } | Mode::Exchange) {
        if tally.is_whole() {
            sweep::sweep(&site, ground, &reader, &job.stored.snapshot.manifest)?;
        } else {
            tally.spare();
        }
    }
    if job.verify || job.mode == Mode::Exchange {
        progress.enter(Phase::Verifying);
        ground.target.sync().map_err(|source| site.unusable(ground, source))?;
        verify::verify(archive, job, &site)?;
    }
    ground.end(archive, job.mode)
}

fn write(archive: &Archive, job: &RestoreJob<'_>, ground: &Ground, site: &Site<'_>, seeds: &Seeds) -> Result<()> {
    let finished = thread::scope(|scope| {
        let (task_sender, tasks) = unbounded();
        let (after_sender, afters) = bounded(1);
        let mut threads: Vec<ScopedJoinHandle<'_, ()>> = Vec::new();
        for _ in 0..job.threads.max(1) {
            let tasks = tasks.clone();
            threads.push(scope.spawn(move || site.run(worker::work(archive, site, &tasks))));
        }
        drop(tasks);
        threads.push(scope.spawn(move || {
            let walked = archive.reader().and_then(|reader| {
                let draft = Draft::new(site, &reader, seeds, task_sender, after_sender);
                Walk::new(site, ground, draft, None).run(&reader, &job.stored.snapshot.manifest)
            });
            site.run(walked);
        }));
        site.run(finish(site, &afters));
        drop(afters);
        // Every thread is waited for before one of them counts.
        let ends: Vec<_> = threads.into_iter().map(ScopedJoinHandle::join).collect();
        ends.into_iter().collect::<thread::Result<()>>()
    });
    finished.map_err(|_| Error::WorkerPanicked)?;
    match site.failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// Does what has to wait for whole segments.
fn finish(site: &Site<'_>, afters: &Receiver<After>) -> Result<()> {
    for After { done, links, left } in afters {
        // Nothing is ever sent: the end tells.
        let _ = done.recv();
        for (existing, entry, stands) in links {
            site.check()?;
            site.link(&existing, &entry, stands)?;
        }
        for directory in left {
            site.check()?;
            site.tally.faults(site.target.finish(site.selection.place(&directory.path), &directory, &site.owners));
        }
    }
    Ok(())
}

/// Who owns what is restored.
pub(super) fn owners(job: &RestoreJob<'_>) -> Owners {
    if job.numeric_ids {
        return Owners::numeric();
    }
    let (snapshot, names) = (&job.stored.snapshot, Names::new());
    Owners::by_name(&snapshot.users, &snapshot.groups, |name| names.uid(name), |name| names.gid(name))
}

impl Site<'_> {
    /// Where a path of the snapshot stands in the target.
    pub fn place<'p>(&self, path: &'p [u8]) -> &'p [u8] {
        self.selection.place(path)
    }

    /// Whether a file that stands is taken to have the entry's content for its size and time.
    pub fn trusts(&self, entry: &Entry, stat: &Stat) -> bool {
        let same = (stat.kind, stat.size, stat.mtime) == (Kind::File, entry.size(), entry.meta.mtime);
        same && !self.rehash && matches!(entry.node, Node::File(_))
    }

    /// Whether what stands belongs to the user, who may look at it half done or never.
    pub fn is_in_place(&self) -> bool {
        matches!(self.mode, Mode::InPlace { .. })
    }

    /// Whether what the snapshot does not have goes.
    pub fn deletes(&self) -> bool {
        matches!(self.mode, Mode::InPlace { delete: true } | Mode::Exchange)
    }

    /// Ends a thread: the first failure counts, and stops the others.
    pub fn run(&self, result: Result<()>) {
        if let Err(error) = result {
            self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            self.stop.store(true, Ordering::Relaxed);
        }
    }

    /// [`Error::Interrupted`] when the restore was asked to end or has failed.
    pub fn check(&self) -> Result<()> {
        if self.stop.load(Ordering::Relaxed) { Err(Error::Interrupted) } else { self.progress.check() }
    }

    /// Lets the restore go on after an entry could not be written, unless the next ones could not either.
    pub fn survive(&self, path: &[u8], error: io::Error) -> Result<()> {
        use io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
        match error.kind() {
            StorageFull | QuotaExceeded | ReadOnlyFilesystem => {
                Err(Error::Write { path: String::from_utf8_lossy(path).into_owned(), source: error })
            }
            _ => Ok(()),
        }
    }

    /// An entry does not stand in the target.
    pub fn lose(&self, path: &[u8], why: String) {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_vec());
        self.tally.missing(path, 1, why);
    }

    /// Whether an entry was [lost](Self::lose).
    pub fn is_lost(&self, path: &[u8]) -> bool {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).contains(path)
    }

    /// Makes something beside `place` with `make`, which is given a name that nothing has.
    pub fn make_beside<T>(&self, place: &[u8], make: impl Fn(&[u8]) -> io::Result<T>) -> io::Result<(PathBytes, T)> {
        let above = place.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
        loop {
            let number = self.temporaries.fetch_add(1, Ordering::Relaxed);
            let name = [&place[..above], format!("{}.{number}", self.word).as_bytes()].concat();
            match make(&name) {
                // Left by an interrupted run; the walk comes to it.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => return Ok((name, made?)),
            }
        }
    }

    /// Makes an empty file beside `place`.
    pub fn create_beside(&self, place: &[u8]) -> io::Result<(PathBytes, TargetFile)> {
        self.make_beside(place, |name| self.target.create_file(name))
    }

    /// Makes `entry` a further name of what stands at `existing`, in the place of what `stands` there.
    fn link(&self, existing: &[u8], entry: &Entry, stands: bool) -> Result<()> {
        self.progress.done(entry.size());
        let (from, place) = (self.place(existing), self.place(&entry.path));
        let shown = String::from_utf8_lossy(existing);
        if self.is_lost(existing) {
            self.lose(&entry.path, format!("it is the same file as {shown}, which is missing"));
            return Ok(());
        }
        let linked = if stands {
            self.make_beside(place, |name| self.target.make_hard_link(from, name)).and_then(|(name, ())| {
                self.target.replace(&name, place)?;
                // Two names of one file are left as they are.
                match self.target.remove_file(&name) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                    _ => Ok(()),
                }
            })
        } else {
            self.target.make_hard_link(from, place)
        };
        match linked {
            Ok(()) => {
                self.tally.linked();
                Ok(())
            }
            Err(error) => {
                let why = match error.kind() {
                    io::ErrorKind::NotFound => format!("it is the same file as {shown}, which is missing"),
                    _ => format!("it could not be linked to {shown}: {error}"),
                };
                self.lose(&entry.path, why);
                self.survive(&entry.path, error)
            }
        }
    }

    fn unusable(&self, ground: &Ground, source: io::Error) -> Error {
        Error::Write { path: ground.errand.directory.display().to_string(), source }
    }
}
