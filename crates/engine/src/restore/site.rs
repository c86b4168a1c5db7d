//! What all threads share that restore to one target, and the questions that they ask of it.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use icecore_format::chunk::IdKey;
use icecore_format::entry::{Entry, Node, PathBytes};
use icecore_source::target::{Owners, Target, TargetFile};
use icecore_source::{Kind, Stat};

use super::converge::owners;
use super::file::OpenFiles;
use super::ground::Ground;
use super::selection::Selection;
use super::survey::SeedTree;
use super::tally::Tally;
use super::{Mode, RestoreJob};
use crate::archive::Archive;
use crate::error::{Error, Result};
use crate::progress::Progress;

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
    /// The targets that were restored before this one.
    earlier: Vec<Earlier<'a>>,
    pub tally: &'a Tally,
    pub open: OpenFiles,
    pub progress: &'a Progress,
    stop: AtomicBool,
    failure: Mutex<Option<Error>>,
}

/// A target that was restored before this one: names of files there may go on here.
struct Earlier<'a> {
    target: &'a Target,
    selection: Selection<'a>,
    /// Whether its files can be given names here, once that was tried.
    links: OnceLock<bool>,
}

impl<'a> Earlier<'a> {
    fn new(ground: &'a Ground, job: &'a RestoreJob<'_>) -> Self {
        let selection = Selection::new(&ground.errand.base, None, &job.filter);
        Self { target: &ground.target, selection, links: OnceLock::new() }
    }
}

impl<'a> Site<'a> {
    #[allow(clippy::too_many_arguments, reason = "it gathers what all of them share")]
    pub fn new(
        archive: &'a Archive,
        job: &'a RestoreJob<'_>,
        grounds: &'a [Ground],
        number: usize,
        selection: &'a Selection<'a>,
        trees: &[Option<SeedTree<'_>>],
        tally: &'a Tally,
        progress: &'a Progress,
        rehearsal: bool,
    ) -> Self {
        let ground = &grounds[number];
        Self {
            target: &ground.target,
            trees: trees.iter().map(|tree| tree.as_ref().map(|tree| Arc::clone(&tree.target))).collect(),
            number,
            key: archive.repository.id_key(),
            owners: owners(job),
            selection,
            mode: job.mode,
            rehash: job.rehash || ground.uncertain,
            rehearsal,
            can_clone: job.mode != Mode::New && ground.target.can_clone(),
            word: Ground::word(job),
            temporaries: AtomicU64::new(0),
            earlier: grounds[..number].iter().map(|ground| Earlier::new(ground, job)).collect(),
            tally,
            open: OpenFiles::default(),
            progress,
            stop: AtomicBool::new(false),
            failure: Mutex::new(None),
        }
    }

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

    /// What stands where this target will be exchanged.
    pub fn old_tree(&self) -> Option<&Target> {
        self.trees.get(self.number).filter(|_| !self.is_in_place())?.as_deref()
    }

    /// Ends a thread: the first failure counts, and stops the others.
    pub fn run(&self, result: Result<()>) {
        if let Err(error) = result {
            self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            self.stop.store(true, Ordering::Relaxed);
        }
    }

    /// The first failure, if there was one.
    pub fn failed(&self) -> Result<()> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(()), Err)
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
        self.run(self.tally.lose(path).map_err(Error::Spill));
        self.tally.missing(path, 1, why);
    }

    /// Whether an entry was [lost](Self::lose).
    pub fn is_lost(&self, path: &[u8]) -> bool {
        self.tally.is_lost(path).unwrap_or_else(|error| {
            self.run(Err(Error::Spill(error)));
            true
        })
    }

    /// Whether an entry is restored here, or to another target whose files can be given names here.
    pub fn links_to(&self, path: &[u8]) -> bool {
        self.selection.restores(path) || self.elsewhere(path).is_some_and(|other| self.links_from(other, path))
    }

    /// As [`links_to`](Self::links_to), before anything is tried.
    pub fn may_link_to(&self, path: &[u8]) -> bool {
        let other = || self.elsewhere(path).is_some_and(|other| self.target.is_beside(other.target));
        self.selection.restores(path) || other()
    }

    /// Whether an entry was restored to another target.
    pub fn is_elsewhere(&self, path: &[u8]) -> bool {
        self.elsewhere(path).is_some()
    }

    fn elsewhere(&self, path: &[u8]) -> Option<&Earlier<'a>> {
        self.earlier.iter().find(|other| other.selection.restores(path))
    }

    /// Tried with the first name that is asked for: a file system that is mounted twice is one, and still refuses.
    fn links_from(&self, other: &Earlier<'_>, path: &[u8]) -> bool {
        if self.rehearsal || self.is_lost(path) {
            return self.target.is_beside(other.target);
        }
        *other.links.get_or_init(|| {
            let link = |name: &[u8]| self.target.make_hard_link_from(other.target, other.selection.place(path), name);
            match self.make_beside(b"", link) {
                Ok((name, ())) => self.target.remove_file(&name).is_ok(),
                // What refuses this one alone is told when it is linked.
                Err(error) => error.kind() != io::ErrorKind::CrossesDevices,
            }
        })
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
    pub fn link(&self, existing: &[u8], entry: &Entry, stands: bool) -> Result<()> {
        self.progress.done(entry.size());
        let (from, target) = match self.elsewhere(existing) {
            Some(other) => (other.selection.place(existing), other.target),
            None => (self.place(existing), self.target),
        };
        let place = self.place(&entry.path);
        let shown = String::from_utf8_lossy(existing);
        if self.is_lost(existing) {
            self.lose(&entry.path, format!("it is the same file as {shown}, which is missing"));
            return Ok(());
        }
        let linked = if stands {
            self.make_beside(place, |name| self.target.make_hard_link_from(target, from, name)).and_then(
                |(name, ())| {
                    self.target.replace(&name, place)?;
                    // Two names of one file are left as they are.
                    match self.target.remove_file(&name) {
                        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                        _ => Ok(()),
                    }
                },
            )
        } else {
            self.target.make_hard_link_from(target, from, place)
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

    pub fn unusable(&self, ground: &Ground, source: io::Error) -> Error {
        Error::Write { path: ground.errand.directory.display().to_string(), source }
    }
}
