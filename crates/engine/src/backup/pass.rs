//! One pass over a listing: into a manifest, or, in a freeze window, only what is hot.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, select_biased};
use icecore_format::cut::CutParams;
use icecore_format::entry::{Entry, File, Node, PathBytes, Timestamp};
use icecore_format::manifest::Root as ManifestRoot;
use icecore_format::snapshot::{Problem, Totals};
use icecore_repo::{ChunkReader, ChunkWriter, Session};
use icecore_source::capture::Cloner;
use icecore_source::{Excludes, Kind, Listed, Listing, Tree};

use super::Job;
use super::known::{Parent, Trust};
use super::merge::Merge;
use super::night::Night;
use super::sequence::{Batch, Finisher, Item, Pipeline, Results, Sink};
use crate::archive::Archive;
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::store_file::{Cloned, FileStorer, Outcome, Team};

/// Files of at least this many bytes keep the class they were first cut by.
const CLASS_KEPT_FROM: u64 = 64 << 10;

/// How long is read to know how fast that is: enough for a rate, too short to fill a disk with what waits.
const SAMPLE: Duration = Duration::from_millis(250);

/// What is hot is read to know how fast that is only behind so many bytes of it: fewer take no longer than what a prediction adds for
/// requests to the freezer anyway.
const AT_ONCE: u64 = 1 << 20;

/// The manifest that a listing is compared with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Base {
    pub(super) root: ManifestRoot,
    /// The index's generation at which every chunk of it was found.
    pub(super) intact_at: Option<i64>,
}

impl Base {
    pub(super) fn new(archive: &Archive, root: ManifestRoot) -> Result<Self> {
        Ok(Self { root, intact_at: archive.index.intact_at(&root.id)? })
    }
}

/// What is known when every entry is in the manifest.
pub(super) struct Finished {
    pub(super) root: ManifestRoot,
    /// Entries and bytes; what is new among them stands in `night`.
    pub(super) totals: Totals,
    pub(super) night: Night,
    pub(super) problems: Vec<Problem>,
    pub(super) problem_count: u64,
    pub(super) users: BTreeSet<u32>,
    pub(super) groups: BTreeSet<u32>,
    /// Some entry was not what the listing says.
    pub(super) changed: bool,
    /// Regular files that were read, and their bytes.
    pub(super) hot: (u64, u64),
    /// Entries of the listing, by number from 0 on, of which the same stat does not say that they are still the same.
    pub(super) unsure: Vec<u64>,
    pub(super) effort: Effort,
}

/// What the base's manifest was made of. What a later listing has with the same stat is known.
pub(super) struct Calm {
    pub(super) listing: Listing,
    /// As in [`Finished`].
    pub(super) unsure: Vec<u64>,
}

/// Regular files that are hot.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Hot {
    pub(super) files: u64,
    pub(super) bytes: u64,
    /// Bytes of those on other devices than the roots.
    pub(super) elsewhere: u64,
    /// Bytes that were read by one thread to know how fast that is, and how long it took.
    sampled: u64,
    sampling: Duration,
}

impl Hot {
    /// How long was read.
    pub(super) fn sampling(&self) -> Duration {
        self.sampling
    }

    /// Bytes a second that so many threads would read, cut, hash and look up; `None` if none were read.
    pub(super) fn rate(&self, threads: usize) -> Option<u64> {
        let seconds = self.sampling.as_secs_f64();
        (self.sampled > 0 && seconds > 0.0).then(|| (self.sampled as f64 / seconds * threads.max(1) as f64) as u64)
    }
}

/// What a pass took, without what a freeze window would not do: compressing and storing.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Effort {
    /// Telling what is hot.
    pub(super) deciding: Duration,
    /// Reading, cutting and hashing, by all threads together.
    pub(super) reading: Duration,
    /// The part of it for files on other devices than the roots: other file systems below them.
    pub(super) elsewhere: Duration,
}

/// What was secured in the freeze window, in manifest order.
#[derive(Default)]
pub(super) struct Captured {
    pub(super) entries: VecDeque<(PathBytes, Secured)>,
    /// Regular files among them.
    pub(super) files: u64,
    /// Their bytes.
    pub(super) bytes: u64,
}

/// How an entry was secured.
pub(super) enum Secured {
    Read(Box<Outcome>),
    Cloned(Box<Cloned>),
}

/// What a pass works on.
pub(super) struct Pass<'a> {
    pub(super) archive: &'a Archive,
    pub(super) job: &'a Job<'a>,
    pub(super) tree: &'a Tree,
    pub(super) listing: &'a Listing,
    pub(super) session: &'a Session,
    pub(super) base: Option<Base>,
    /// The listing that the base was made of, if a capture may pass over what is the same.
    pub(super) calm: Option<&'a Calm>,
    pub(super) always_read: Option<&'a Excludes>,
    /// When everything stopped changing, as in a snapshot; `None`: what is read is alive.
    pub(super) fixed: Option<Timestamp>,
    pub(super) progress: &'a Progress,
}

impl Pass<'_> {
    /// Writes the manifest. What is hot is read now, unless it was read when it was `captured`.
    pub(super) fn store(&self, captured: Option<Captured>, night: Night) -> Result<Finished> {
        let mut finisher = Finisher::new(self.session.writer()?, self.listing, night);
        let writers = (0..self.job.threads.max(1)).map(|_| self.session.writer());
        let writers = writers.collect::<std::result::Result<Vec<_>, _>>()?;
        let Ran { removed, failure, effort } = self.run(&mut finisher, without_cloners(writers), captured, None)?;
        finisher.night.entries_removed += removed;
        if let Some(why) = failure {
            let sentence = format!("the parent's manifest could not be read, files were read again: {why}");
            finisher.night.failure.get_or_insert(sentence);
        }
        Ok(Finished { effort, ..finisher.finish()? })
    }

    /// Secures what is hot: by a clone, or else by reading it, and then new content goes where the writers put it. Ends with
    /// [`Error::WindowExceeded`] at the deadline.
    pub(super) fn capture(&self, workers: Vec<(ChunkWriter, Option<Cloner>)>, deadline: Instant) -> Result<Captured> {
        let mut captured = Captured::default();
        self.run(&mut captured, workers, None, Some(deadline))?;
        Ok(captured)
    }

    /// What is hot. Reads it with `sampler`, if there is one, for as long as `SAMPLE`, to know how fast that is; what that finds
    /// new is not stored.
    pub(super) fn count_hot(&self, sampler: Option<ChunkWriter>) -> Result<Hot> {
        let reader = self.reader();
        let mut merge = self.merge(reader.as_ref());
        let home = self.tree.devices();
        let params = self.archive.repository.config().cut;
        let mut storer = sampler.map(|writer| self.storer(&params, writer, merge.intact));
        let mut hot = Hot::default();
        for listed in self.listing.iter() {
            let Item::Hot { listed, parent, .. } = merge.decide(listed.map_err(Error::Listing)?) else { continue };
            if listed.stat.kind != Kind::File {
                continue;
            }
            hot.files += 1;
            hot.bytes += listed.stat.size;
            hot.elsewhere += if home.contains(&listed.stat.device) { 0 } else { listed.stat.size };
            if let Some(used) = &mut storer
                && hot.bytes >= AT_ONCE
                && SAMPLE > used.reading()
            {
                let read = self.progress.bytes.load(Relaxed);
                let deadline = Instant::now() + (SAMPLE - used.reading());
                used.set_deadline(deadline);
                match used.store(&listed, before(parent.as_ref()), None) {
                    Ok(_) | Err(Error::WindowExceeded) => {}
                    Err(error) => return Err(error),
                }
                hot.sampled += self.progress.bytes.load(Relaxed) - read;
            }
        }
        hot.sampling = storer.map_or(Duration::ZERO, |storer| storer.reading());
        Ok(hot)
    }

    fn reader(&self) -> Option<ChunkReader> {
        // A writer cannot read the base: everything is hot, and deduplicated.
        self.base.and_then(|_| self.archive.reader().ok())
    }

    fn merge<'r>(&'r self, reader: Option<&'r ChunkReader>) -> Merge<'r> {
        let job = self.job;
        Merge {
            index: &self.archive.index,
            parent: reader.zip(self.base).map(|(reader, base)| Parent::new(&self.archive.index, reader, base.root)),
            reader,
            // What was lost since must be looked up again, also when it was lost a moment ago.
            intact: self.base.is_none_or(|base| base.intact_at == Some(self.session.generation())),
            trust: Trust { inode: !job.ignore_inode, ctime: !job.ignore_ctime, nothing: job.rehash },
            always_read: self.always_read,
            links: Default::default(),
        }
    }

    fn storer<'s>(&'s self, params: &'s CutParams, writer: ChunkWriter, old_is_stored: bool) -> FileStorer<'s> {
        FileStorer::new(self.tree, params, self.job.clock, self.progress, writer)
            .paced_by(self.job.pace.as_deref())
            .fixed_at(self.fixed)
            .proving_with(self.base.map(|_| self.archive), old_is_stored)
    }

    /// Sends every entry through the pipeline into the sink.
    fn run<S: Sink>(
        &self,
        sink: &mut S,
        workers: Vec<(ChunkWriter, Option<Cloner>)>,
        captured: Option<Captured>,
        deadline: Option<Instant>,
    ) -> Result<Ran> {
        let params = self.archive.repository.config().cut;
        let reader = self.reader();
        let mut merge = self.merge(reader.as_ref());
        // In the freeze window every entry costs: only what is not the same as a moment ago is looked at.
        let calm = self.calm.filter(|_| deadline.is_some() && merge.passes_over());
        merge.parent = merge.parent.map(|parent| if calm.is_some() { parent.sparse() } else { parent });
        let old_is_stored = merge.intact;
        let home = self.tree.devices();
        let effort = std::thread::scope(|scope| {
            let mut pipeline = Pipeline::default();
            let team = Team::new(workers.len());
            let mut running = Vec::new();
            for (writer, cloner) in workers {
                let storer = self.storer(&params, writer, old_is_stored).until(deadline).member_of(team.clone());
                let (work, results) = pipeline.ends();
                let home = &home;
                let priority = self.job.priority;
                running.push(scope.spawn(move || {
                    // In a freeze window nobody gives way. What the system refuses was told at the beginning.
                    if deadline.is_none() {
                        let _ = priority.take();
                    }
                    work_off(storer, cloner, home, &work, results)
                }));
            }
            // From here on only the members keep the team together.
            drop(team);
            let filled = self.fill(&mut pipeline, &mut merge, sink, captured, calm);
            pipeline.close();
            let mut worked: Result<Effort> = Ok(Effort::default());
            for worker in running {
                let one = worker.join().unwrap_or(Err(Error::WorkerPanicked));
                worked = worked.and_then(|all: Effort| Ok(all.with(one?)));
            }
            // A worker's failure is the cause of a pipeline that ended early.
            worked.and_then(|worked| Ok(Effort { deciding: filled?, ..worked }))
        })?;
        let Some(mut parent) = merge.parent else { return Ok(Ran { removed: 0, failure: None, effort }) };
        parent.finish();
        Ok(Ran { removed: parent.removed, failure: parent.failure, effort })
    }

    /// Gives how long it took to tell what is hot.
    fn fill<S: Sink>(
        &self,
        pipeline: &mut Pipeline,
        merge: &mut Merge<'_>,
        sink: &mut S,
        mut captured: Option<Captured>,
        calm: Option<&Calm>,
    ) -> Result<Duration> {
        let (mut deciding, mut began) = (Duration::ZERO, Instant::now());
        let mut batch = Batch::default();
        let entries: Box<dyn Iterator<Item = io::Result<Listed>>> = match calm {
            Some(Calm { listing, unsure }) => {
                Box::new(self.listing.changes_since(listing, unsure).map_err(Error::Listing)?)
            }
            None => Box::new(self.listing.iter()),
        };
        for listed in entries {
            let mut item = merge.decide(listed.map_err(Error::Listing)?);
            if let Some(captured) = &mut captured {
                item = captured.instead_of(item)?;
            }
            batch.push(item);
            if batch.is_full() {
                deciding += began.elapsed();
                self.progress.check()?;
                pipeline.send(std::mem::take(&mut batch), sink, self.progress)?;
                began = Instant::now();
            }
        }
        deciding += began.elapsed();
        pipeline.send(batch, sink, self.progress)?;
        pipeline.drain(sink, self.progress)?;
        Ok(deciding)
    }
}

impl Effort {
    fn with(self, other: Self) -> Self {
        Self {
            deciding: self.deciding + other.deciding,
            reading: self.reading + other.reading,
            elsewhere: self.elsewhere + other.elsewhere,
        }
    }
}

/// What a run gives besides what the sink took.
struct Ran {
    /// Entries that the base had and the listing has not.
    removed: u64,
    /// Why the base stopped being of use.
    failure: Option<String>,
    effort: Effort,
}

fn without_cloners(writers: Vec<ChunkWriter>) -> Vec<(ChunkWriter, Option<Cloner>)> {
    writers.into_iter().map(|writer| (writer, None)).collect()
}

impl Captured {
    /// What the window secured of an entry stands for it, whatever is decided now; nothing alive is read after the thaw.
    fn instead_of(&mut self, item: Item) -> Result<Item> {
        let path = match &item {
            // A link to a first that the window passed over was a first there.
            Item::Hot { listed, .. } | Item::Link { listed, .. } => &listed.path,
            Item::Known { entry, .. } => &entry.path,
            Item::Stored { .. } => return Ok(item),
        };
        let is_next = self.entries.front().is_some_and(|(secured, _)| secured == path);
        let secured = if is_next { self.entries.pop_front() } else { None };
        match (secured, item) {
            (Some((path, Secured::Read(outcome))), Item::Hot { parent, .. }) => {
                Ok(Item::Stored { path, outcome: *outcome, parent })
            }
            (Some((path, Secured::Read(outcome))), Item::Known { entry, .. }) => {
                Ok(Item::Stored { path, outcome: *outcome, parent: Some(entry) })
            }
            (Some((_, Secured::Cloned(cloned))), Item::Hot { listed, parent, .. }) => {
                Ok(Item::Hot { listed, parent, cloned: Some(cloned) })
            }
            (None, Item::Hot { listed, .. }) => Err(Error::NotCaptured(listed.path)),
            (_, item) => Ok(item),
        }
    }
}

impl Sink for Captured {
    fn take(&mut self, item: Item, _: &Progress) -> Result<()> {
        let (path, secured, size) = match item {
            Item::Stored { path, outcome, .. } => {
                let size = match outcome.entry.as_ref().map(|entry| &entry.node) {
                    Some(Node::File(file)) => Some(file.size),
                    _ => None,
                };
                (path, Secured::Read(Box::new(outcome)), size)
            }
            Item::Hot { listed, cloned: Some(cloned), .. } => {
                (listed.path, Secured::Cloned(cloned), Some(listed.stat.size))
            }
            // Workers read what they do not clone.
            Item::Hot { cloned: None, .. } => return Err(Error::WorkerPanicked),
            Item::Known { .. } | Item::Link { .. } => return Ok(()),
        };
        self.files += u64::from(size.is_some());
        self.bytes += size.unwrap_or_default();
        self.entries.push_back((path, secured));
        Ok(())
    }
}

/// One worker: turns the hot entries of its batches into stored ones, or into cloned ones, and helps others with large files.
/// `home` are the devices of the roots.
fn work_off(
    mut storer: FileStorer<'_>,
    mut cloner: Option<Cloner>,
    home: &[u64],
    work: &Receiver<(u64, Batch)>,
    results: Results,
) -> Result<Effort> {
    let stretches = storer.stretches();
    let mut effort = Effort::default();
    loop {
        // Parts of files come first: their batches are the ones that the manifest waits for.
        select_biased! {
            recv(stretches) -> stretch => if let Ok(stretch) = stretch {
                storer.help(stretch);
            },
            recv(work) -> batch => match batch {
                Ok((number, batch)) => {
                    results.send(number, store_batch(&mut storer, cloner.as_mut(), home, &mut effort, batch)?);
                }
                Err(_) => break,
            },
        }
    }
    storer.help_to_the_end();
    effort.reading = storer.reading();
    storer.finish()?;
    results.end_well();
    Ok(effort)
}

fn store_batch(
    storer: &mut FileStorer<'_>,
    mut cloner: Option<&mut Cloner>,
    home: &[u64],
    effort: &mut Effort,
    mut batch: Batch,
) -> Result<Batch> {
    for item in &mut batch.items {
        let Item::Hot { listed, parent, cloned } = item else { continue };
        if let Some(cloner) = &mut cloner {
            *cloned = storer.clone_file(listed, cloner)?;
            if cloned.is_some() {
                continue;
            }
        }
        let before = before(parent.as_ref());
        let already = storer.reading();
        let outcome = storer.store(listed, before, cloned.take())?;
        if !home.contains(&listed.stat.device) {
            effort.elsewhere += storer.reading() - already;
        }
        let path = std::mem::take(&mut listed.path);
        *item = Item::Stored { path, outcome, parent: parent.take() };
    }
    Ok(batch)
}

/// How a file was cut before. One that was hardly begun may have become something else since.
fn before(parent: Option<&Entry>) -> Option<&File> {
    match &parent?.node {
        Node::File(file) if file.size >= CLASS_KEPT_FROM => Some(file),
        _ => None,
    }
}
