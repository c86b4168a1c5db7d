//! Batches on their way through the workers, and in order again into the manifest.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crossbeam_channel::{Receiver, Sender, unbounded};
use icecore_format::entry::{Content, Entry, File, Node, PathBytes, Xattr};
use icecore_format::manifest::ManifestWriter;
use icecore_format::snapshot::{PROBLEMS_NAMED, Problem, ProblemKind, Totals};
use icecore_repo::ChunkWriter;
use icecore_source::{Kind, Listed, Listing, Stat};

use super::night::Night;
use super::pass::Finished;
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::store_file::{Cloned, Outcome, meta};

/// A batch is sent when it holds this many entries,
const BATCH_ENTRIES: usize = 512;
/// or this many that must be read,
const BATCH_HOT: usize = 64;
/// or this many bytes to read.
const BATCH_BYTES: u64 = 4 << 20;
/// Batches on their way: at most 128 Ki entries, some 40 MiB.
const BATCHES: u64 = 256;

/// How an entry is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    Unchanged,
    Renamed,
}

/// An entry on its way.
pub(super) enum Item {
    /// Nothing has to be read.
    Known { entry: Entry, how: Known },
    /// Has to be read, from its clone if it has one.
    Hot { listed: Listed, parent: Option<Entry>, cloned: Option<Box<Cloned>> },
    /// Was read.
    Stored { path: PathBytes, outcome: Outcome, parent: Option<Entry> },
    /// A further link to the inode of `first`, which comes before it.
    Link { listed: Listed, first: PathBytes, parent: Option<Entry> },
}

/// Consecutive entries.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) items: Vec<Item>,
    hot: usize,
    bytes: u64,
}

impl Batch {
    pub(super) fn push(&mut self, item: Item) {
        if let Item::Hot { listed, .. } = &item {
            self.hot += 1;
            self.bytes += if listed.stat.kind == Kind::File { listed.stat.size } else { 0 };
        }
        self.items.push(item);
    }

    pub(super) fn is_full(&self) -> bool {
        self.items.len() >= BATCH_ENTRIES || self.hot >= BATCH_HOT || self.bytes >= BATCH_BYTES
    }
}

/// What a worker sends back: a finished batch, or nothing more because it failed.
pub(super) type Done = Option<(u64, Batch)>;

/// A worker's end of the results. Unless it is told that all went well, its end is announced when it goes away, by an
/// error or a panic: otherwise the pipeline would wait for ever for the batch that it held.
pub(super) struct Results {
    sender: Sender<Done>,
    ended_well: bool,
}

impl Results {
    pub(super) fn send(&self, number: u64, batch: Batch) {
        // Nobody listens any more when the pipeline gave up; the worker then finds its work gone.
        drop(self.sender.send(Some((number, batch))));
    }

    pub(super) fn end_well(mut self) {
        self.ended_well = true;
    }
}

impl Drop for Results {
    fn drop(&mut self) {
        if !self.ended_well {
            drop(self.sender.send(None));
        }
    }
}

/// Takes items in manifest order.
pub(super) trait Sink {
    fn take(&mut self, item: Item, progress: &Progress) -> Result<()>;
}

/// Numbers batches, hands those with work to the workers, and gives all of them on in order.
pub(super) struct Pipeline {
    work: Option<Sender<(u64, Batch)>>,
    work_end: Receiver<(u64, Batch)>,
    results: Receiver<Done>,
    results_end: Sender<Done>,
    sent: u64,
    finished: u64,
    waiting: BTreeMap<u64, Batch>,
}

impl Default for Pipeline {
    fn default() -> Self {
        let (work, work_end) = unbounded();
        let (results_end, results) = unbounded();
        Self { work: Some(work), work_end, results, results_end, sent: 0, finished: 0, waiting: BTreeMap::new() }
    }
}

impl Pipeline {
    /// The ends that one worker holds.
    pub(super) fn ends(&self) -> (Receiver<(u64, Batch)>, Results) {
        (self.work_end.clone(), Results { sender: self.results_end.clone(), ended_well: false })
    }

    pub(super) fn send(&mut self, batch: Batch, sink: &mut impl Sink, progress: &Progress) -> Result<()> {
        let number = self.sent;
        self.sent += 1;
        if batch.hot == 0 {
            self.waiting.insert(number, batch);
        } else if let Some(work) = &self.work {
            work.send((number, batch)).map_err(|_| Error::WorkerPanicked)?;
        }
        while let Ok(done) = self.results.try_recv() {
            self.accept(done)?;
        }
        self.advance(sink, progress)?;
        while self.sent - self.finished >= BATCHES {
            self.receive()?;
            self.advance(sink, progress)?;
        }
        Ok(())
    }

    /// Waits for the rest.
    pub(super) fn drain(&mut self, sink: &mut impl Sink, progress: &Progress) -> Result<()> {
        self.work = None;
        while self.finished < self.sent {
            self.advance(sink, progress)?;
            if self.finished < self.sent {
                self.receive()?;
            }
        }
        Ok(())
    }

    /// Lets the workers end. Batches that still wait are thrown away.
    pub(super) fn close(&mut self) {
        self.work = None;
        while self.work_end.try_recv().is_ok() {}
    }

    fn receive(&mut self) -> Result<()> {
        let done = self.results.recv().map_err(|_| Error::WorkerPanicked)?;
        self.accept(done)
    }

    fn accept(&mut self, done: Done) -> Result<()> {
        // The worker's own error says why; this one only ends the story.
        let (number, batch) = done.ok_or(Error::WorkerPanicked)?;
        self.waiting.insert(number, batch);
        Ok(())
    }

    fn advance(&mut self, sink: &mut impl Sink, progress: &Progress) -> Result<()> {
        while let Some(batch) = self.waiting.remove(&self.finished) {
            self.finished += 1;
            for item in batch.items {
                sink.take(item, progress)?;
            }
        }
        Ok(())
    }
}

/// What further links share.
#[derive(Clone)]
struct Linked {
    node: Node,
    xattrs: Vec<Xattr>,
    links_left: u32,
}

/// Takes entries in manifest order, counts them and writes the manifest.
pub(super) struct Finisher {
    manifest: ManifestWriter,
    writer: ChunkWriter,
    totals: Totals,
    pub(super) night: Night,
    problems: Vec<Problem>,
    problem_count: u64,
    users: BTreeSet<u32>,
    groups: BTreeSet<u32>,
    changed: bool,
    hot: (u64, u64),
    /// Items taken so far.
    taken: u64,
    unsure: Vec<u64>,
    listed_problems: HashSet<PathBytes>,
    /// What has further links to come, by its path.
    linked: HashMap<PathBytes, Linked>,
}

impl Finisher {
    pub(super) fn new(writer: ChunkWriter, listing: &Listing, night: Night) -> Self {
        Self {
            manifest: ManifestWriter::new(),
            writer,
            totals: Totals::default(),
            night,
            problem_count: listing.problem_count(),
            problems: listing.problems().to_vec(),
            users: BTreeSet::new(),
            groups: BTreeSet::new(),
            changed: false,
            hot: (0, 0),
            taken: 0,
            unsure: Vec::new(),
            listed_problems: listing.problems().iter().map(|problem| problem.path.clone()).collect(),
            linked: HashMap::new(),
        }
    }

    pub(super) fn finish(mut self) -> Result<Finished> {
        let root = self.manifest.finish(&mut self.writer).map_err(Error::WriteManifest)?;
        self.writer.finish()?;
        Ok(Finished {
            root,
            totals: self.totals,
            night: self.night,
            problems: self.problems,
            problem_count: self.problem_count,
            users: self.users,
            groups: self.groups,
            changed: self.changed,
            hot: self.hot,
            unsure: self.unsure,
            effort: Default::default(),
        })
    }

    /// What stands at `first`. If it vanished while this link to it stayed, a file's content cannot be told, and of
    /// anything else there is nothing to keep.
    fn linked(&mut self, first: &PathBytes, stat: &Stat) -> Option<Linked> {
        let Some(linked) = self.linked.get_mut(first) else {
            let file = File { size: stat.size, class: Default::default(), content: Content::Missing, racy: true };
            let missing = Linked { node: Node::File(file), xattrs: Vec::new(), links_left: 0 };
            return (stat.kind == Kind::File).then_some(missing);
        };
        linked.links_left = linked.links_left.saturating_sub(1);
        let copy = linked.clone();
        if copy.links_left == 0 {
            self.linked.remove(first);
        }
        Some(copy)
    }

    fn count_file(&mut self, entry: &Entry, parent: Option<&Entry>) {
        let Node::File(file) = &entry.node else { return };
        let before = parent.map(|parent| &parent.node);
        if matches!(before, Some(Node::File(before)) if before.content == file.content && before.size == file.size)
            || !self.night.is_first_sight(&entry.path)
        {
            return;
        }
        match before {
            Some(_) => self.night.files_changed += 1,
            None => self.night.files_new += 1,
        }
    }

    fn push(&mut self, entry: Entry) -> Result<()> {
        self.totals.entries += 1;
        self.users.insert(entry.meta.uid);
        self.groups.insert(entry.meta.gid);
        match &entry.node {
            Node::Directory => self.totals.directories += 1,
            Node::File(file) => {
                self.totals.files += 1;
                self.totals.bytes += file.size;
            }
            _ => self.totals.others += 1,
        }
        if entry.node != Node::Directory && entry.meta.links > 1 && entry.link_of.is_none() {
            let (node, xattrs) = (entry.node.clone(), entry.meta.xattrs.clone());
            self.linked.insert(entry.path.clone(), Linked { node, xattrs, links_left: entry.meta.links - 1 });
        }
        self.manifest.push(&entry, &mut self.writer).map_err(Error::WriteManifest)
    }

    fn note(&mut self, problem: Problem) {
        // The listing has named it already: a directory that cannot be listed, say, whose attributes cannot be read either.
        if self.listed_problems.contains(&problem.path) {
            return;
        }
        self.changed |= problem.kind != ProblemKind::Unreadable;
        self.problem_count += 1;
        if self.problems.len() < PROBLEMS_NAMED {
            self.problems.push(problem);
        }
    }
}

fn is_missing(node: &Node) -> bool {
    matches!(node, Node::File(file) if file.content == Content::Missing)
}

/// Whether the same stat will not do to call an entry known the next time.
fn is_unsure(item: &Item) -> bool {
    match item {
        Item::Known { .. } => false,
        Item::Stored { outcome, .. } => {
            let racy = |entry: &Entry| matches!(&entry.node, Node::File(file) if file.racy) || is_missing(&entry.node);
            outcome.problem.is_some() || outcome.entry.as_ref().is_none_or(racy)
        }
        // It is as sure as the first link, and that may have been read a moment ago.
        Item::Link { .. } | Item::Hot { .. } => true,
    }
}

impl Sink for Finisher {
    fn take(&mut self, item: Item, progress: &Progress) -> Result<()> {
        if is_unsure(&item) {
            self.unsure.push(self.taken);
        }
        self.taken += 1;
        match item {
            Item::Known { entry, how } => {
                progress.done(entry.size());
                self.night.files_renamed += u64::from(how == Known::Renamed);
                self.push(entry)
            }
            Item::Stored { outcome, parent, .. } => {
                let Outcome { entry, problem, bytes_read } = outcome;
                self.night.bytes_read += bytes_read;
                if let Some(problem) = problem {
                    self.note(problem);
                }
                let Some(entry) = entry else { return Ok(()) };
                if let Node::File(file) = &entry.node {
                    self.hot = (self.hot.0 + 1, self.hot.1 + file.size);
                }
                self.count_file(&entry, parent.as_ref());
                self.push(entry)
            }
            Item::Link { listed, first, parent } => {
                progress.done(if listed.stat.kind == Kind::File { listed.stat.size } else { 0 });
                let linked = self.linked(&first, &listed.stat);
                if linked.as_ref().is_none_or(|linked| is_missing(&linked.node)) {
                    self.note(Problem {
                        path: listed.path.clone(),
                        kind: ProblemKind::Unreadable,
                        message: "a hard link to what could not be read".to_owned(),
                    });
                }
                let Some(Linked { node, xattrs, .. }) = linked else { return Ok(()) };
                let mut meta = meta(&listed.stat);
                meta.xattrs = xattrs;
                let entry = Entry { path: listed.path, meta, node, link_of: Some(first) };
                self.count_file(&entry, parent.as_ref());
                self.push(entry)
            }
            // Workers that store turn every hot item into a stored one before they send a batch back.
            Item::Hot { .. } => Err(Error::WorkerPanicked),
        }
    }
}
