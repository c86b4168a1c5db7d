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

mod known;
mod sequence;

use std::sync::atomic::Ordering::Relaxed;

use icecore_format::entry::{Entry, Node, PathBytes, Timestamp};
use icecore_format::id::SnapshotId;
use icecore_format::manifest::{ManifestWriter, Root as ManifestRoot};
use icecore_format::snapshot::{PROBLEMS_NAMED, Problem, Root as RecordedRoot, Snapshot, Totals, Verdict};
use icecore_repo::{ChunkReader, Session, Stored};
use icecore_source::{Kind, ListProgress, Listed, Listing, Names, Root, Rules, Tree};

use crate::archive::Archive;
use crate::error::{Error, Result};
use crate::progress::{Phase, Progress};
use crate::store_file::{FileStorer, meta};
use known::{Parent, Trust, is_stored, same_file, same_metadata};
use sequence::{Batch, Finisher, Item, Known, Pipeline, Results};

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
    /// The time now.
    pub clock: &'a (dyn Fn() -> Timestamp + Sync),
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
    let started = (job.clock)();
    Snapshot::check_instance(&job.instance).map_err(|error| Error::NotFound(error.to_string()))?;
    progress.enter(Phase::Opening);
    let catalogue = archive.catalogue()?;
    let parent = catalogue.newest(&job.instance, &job.host);
    let mut warnings = catalogue.damaged.clone();
    let tree = Tree::open(job.roots.clone())?;
    progress.enter(Phase::Listing);
    let counters = ListProgress::default();
    let listing = tree.list(&job.rules, &counters)?;
    let taken = (job.clock)();
    progress.check()?;
    progress.entries_total.store(listing.entries(), Relaxed);
    progress.bytes_total.store(listing.bytes(), Relaxed);
    progress.enter(Phase::Storing);
    let session = Session::begin(archive.repository.clone(), archive.index.clone(), job.level)?;
    let stored = store(archive, job, parent, &tree, &listing, &session, progress);
    // Also after a failure: what was stored is made durable and named, so that the next run does not store it again. The
    // writer's own failure is the cause of what the workers saw.
    progress.enter(Phase::Committing);
    let closed = session.close();
    let (finished_entries, parent_failure) = match (stored, &closed) {
        (Err(Error::Repository(icecore_repo::Error::WriterStopped)), Err(_)) => {
            return Err(closed.err().map_or(Error::WorkerPanicked, Error::Repository));
        }
        (stored, _) => stored?,
    };
    let closed = closed?;
    warnings.extend(parent_failure);
    let Finished { root, mut totals, mut problems, problem_count, users, groups, changed } = finished_entries;
    totals.chunks_new = closed.written.chunks;
    totals.bytes_new = closed.written.plain_bytes;
    totals.bytes_added = closed.written.stored_bytes;
    problems.truncate(PROBLEMS_NAMED);
    let names = Names::new();
    let snapshot = Snapshot {
        instance: job.instance.clone(),
        host: job.host.clone(),
        user: job.user.clone(),
        program: job.program.clone(),
        tags: job.tags.clone(),
        roots: tree.roots().iter().map(recorded_root).collect(),
        started,
        taken,
        finished: (job.clock)(),
        manifest: root,
        parent: parent.map(|stored| stored.id),
        users: users.into_iter().filter_map(|uid| Some((uid, names.user(uid)?))).collect(),
        groups: groups.into_iter().filter_map(|gid| Some((gid, names.group(gid)?))).collect(),
        totals,
        verdict: if changed { Verdict::Fuzzy } else { Verdict::Stable },
        receipt: None,
        problems,
        problem_count,
        excludes: job.excludes.clone(),
        protected_until: None,
    };
    let id = closed.commit(&snapshot)?;
    progress.enter(Phase::Done);
    Ok(Report { id, snapshot, left_out: listing.left_out().to_vec(), warnings })
}

fn recorded_root(root: &Root) -> RecordedRoot {
    RecordedRoot { name: root.name.clone(), path: root.path.as_os_str().as_encoded_bytes().to_vec() }
}

/// What is known when every entry is in the manifest.
struct Finished {
    root: ManifestRoot,
    totals: Totals,
    problems: Vec<Problem>,
    problem_count: u64,
    users: std::collections::BTreeSet<u32>,
    groups: std::collections::BTreeSet<u32>,
    /// Some entry was not what the listing says.
    changed: bool,
}

fn store(
    archive: &Archive,
    job: &Job<'_>,
    parent: Option<&Stored>,
    tree: &Tree,
    listing: &Listing,
    session: &Session,
    progress: &Progress,
) -> Result<(Finished, Option<String>)> {
    let params = archive.repository.config().cut;
    let reader = match parent {
        Some(_) => archive.reader().ok(),
        None => None,
    };
    let intact = match parent {
        Some(stored) => archive.index.is_intact(&stored.snapshot.manifest.id)?,
        None => true,
    };
    let mut merge = Merge {
        parent: reader
            .as_ref()
            .zip(parent)
            .map(|(reader, stored)| Parent::new(&archive.index, reader, stored.snapshot.manifest)),
        reader: reader.as_ref(),
        intact,
        trust: Trust { inode: !job.ignore_inode, ctime: !job.ignore_ctime, nothing: job.rehash },
        links: Default::default(),
    };
    let mut finisher = Finisher::new(session.writer()?, listing);
    std::thread::scope(|scope| {
        let mut pipeline = Pipeline::default();
        let mut workers = Vec::new();
        for _ in 0..job.threads.max(1) {
            let storer = FileStorer::new(tree, &params, job.clock, progress, session.writer()?);
            let (work, results) = pipeline.ends();
            workers.push(scope.spawn(move || work_off(storer, &work, results)));
        }
        let filled = fill(&mut pipeline, listing, &mut merge, &mut finisher, progress);
        pipeline.close();
        let mut worked = Ok(());
        for worker in workers {
            worked = worked.and(worker.join().unwrap_or(Err(Error::WorkerPanicked)));
        }
        // A worker's failure is the cause of a pipeline that ended early.
        worked.and(filled)
    })?;
    if let Some(parent) = &mut merge.parent {
        parent.finish();
        finisher.totals.entries_removed = parent.removed;
    }
    let failure = merge.parent.and_then(|parent| parent.failure);
    let failure = failure.map(|why| format!("the parent's manifest could not be read, files were read again: {why}"));
    Ok((finisher.finish()?, failure))
}

/// Sends every entry of the listing through the pipeline.
fn fill(
    pipeline: &mut Pipeline,
    listing: &Listing,
    merge: &mut Merge<'_>,
    finisher: &mut Finisher,
    progress: &Progress,
) -> Result<()> {
    let mut batch = Batch::default();
    for listed in listing.iter() {
        batch.push(merge.decide(listed.map_err(Error::Listing)?));
        if batch.is_full() {
            progress.check()?;
            pipeline.send(std::mem::take(&mut batch), finisher, progress)?;
        }
    }
    pipeline.send(batch, finisher, progress)?;
    pipeline.drain(finisher, progress)
}

/// One worker: turns the hot entries of its batches into stored ones.
fn work_off(
    mut storer: FileStorer<'_>,
    work: &crossbeam_channel::Receiver<(u64, Batch)>,
    results: Results,
) -> Result<()> {
    for (number, mut batch) in work {
        for item in &mut batch.items {
            if let Item::Hot { listed, parent } = item {
                // A file that was hardly begun may have become something else since.
                let class = parent.as_ref().and_then(|entry| match &entry.node {
                    Node::File(file) if file.size >= CLASS_KEPT_FROM => Some(file.class),
                    _ => None,
                });
                let outcome = storer.store(listed, class)?;
                *item = Item::Stored { outcome, parent: parent.take() };
            }
        }
        results.send(number, batch);
    }
    storer.finish()?;
    results.end_well();
    Ok(())
}

/// Files of at least this many bytes keep the class they were first cut by.
const CLASS_KEPT_FROM: u64 = 64 << 10;

/// Decides for each listed entry whether it is known.
struct Merge<'r> {
    parent: Option<Parent<'r>>,
    reader: Option<&'r ChunkReader>,
    /// Every chunk of the parent was found since the index last lost something.
    intact: bool,
    trust: Trust,
    /// First path of each inode with several links: (device, inode) → path and links still to come.
    links: std::collections::HashMap<(u64, u64), (PathBytes, u32)>,
}

impl Merge<'_> {
    fn decide(&mut self, listed: Listed) -> Item {
        let before = self.parent.as_mut().and_then(|parent| parent.at(&listed.path));
        if listed.stat.kind != Kind::Directory && listed.stat.links > 1 {
            let inode = (listed.stat.device, listed.stat.inode);
            if let Some((first, left)) = self.links.get_mut(&inode) {
                let first = first.clone();
                *left -= 1;
                if *left == 0 {
                    self.links.remove(&inode);
                }
                return Item::Link { listed, first, parent: before };
            }
            self.links.insert(inode, (listed.path.clone(), listed.stat.links - 1));
        }
        if let Some(entry) = &before
            && let Some(known) = self.carried(entry, &listed)
        {
            return Item::Known { entry: known, how: Known::Unchanged };
        }
        let renamed = match (&before, &mut self.parent) {
            (None, Some(parent)) if !self.trust.nothing => parent.renamed(&listed.stat),
            _ => None,
        };
        if let Some(entry) = renamed
            && let Some(known) = self.carried(&entry, &listed)
        {
            return Item::Known { entry: known, how: Known::Renamed };
        }
        Item::Hot { listed, parent: before }
    }

    /// The entry with the parent's content and the listing's stat, if nothing has to be read for it.
    fn carried(&self, entry: &Entry, listed: &Listed) -> Option<Entry> {
        if !same_metadata_or_trusted(entry, listed, self.trust) {
            return None;
        }
        if let Node::File(file) = &entry.node {
            let known = same_file(entry, &listed.stat, self.trust);
            if !known || !(self.intact || self.reader.is_some_and(|reader| is_stored(reader, &file.content))) {
                return None;
            }
        }
        let mut meta = meta(&listed.stat);
        meta.xattrs.clone_from(&entry.meta.xattrs);
        Some(Entry { path: listed.path.clone(), meta, node: entry.node.clone(), link_of: None })
    }
}

/// Extended attributes are carried over where the ctime proves them, or where the user said that it means nothing here.
fn same_metadata_or_trusted(entry: &Entry, listed: &Listed, trust: Trust) -> bool {
    same_metadata(entry, &listed.stat)
        || (listed.stat.kind == Kind::File && (!trust.ctime || !trust.inode) && same_file(entry, &listed.stat, trust))
}
