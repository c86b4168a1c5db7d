//! Snapshots into another repository, sealed for its keys.
//!
//! ```text
//! manifest ─┐
//!           ├─ lock-step ─▶ unchanged: what the copy of the base says
//! base ─────┤              changed:   pieces ─▶ batches ─▶ workers: read, verify, name anew, store unless it is there
//! its copy ─┘                                                            │
//!             snapshot record ◀── manifest ◀── entries, in order again ◀─┘
//! ```
//! The other repository has another id key, so every chunk gets another name, and only its bytes tell which. What a base
//! that was copied before has is not read again: its manifest and that of its copy, which both are authenticated, say the
//! same of the same content piece by piece. So nothing has to be remembered on the side, and a copy of a night costs what
//! changed. Chunks go into new frames; those are compressed again, because deduplication leaves holes in the old ones.

mod base;
mod entries;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use icecore_format::entry::Timestamp;
use icecore_format::id::{RepositoryId, SnapshotId};
use icecore_format::snapshot::{Origin, PROBLEMS_NAMED, Problem, Snapshot, Totals, Verdict};
use icecore_repo::session::Written;
use icecore_repo::sign::Who;
use icecore_repo::{Catalogue, Notes, Session, Stored};

use crate::archive::Archive;
use crate::backup::close;
use crate::error::{Error, Result};
use crate::progress::{Phase, Progress};

/// How to copy.
#[derive(Debug, Clone, Copy)]
pub struct CopyJob<'a> {
    /// zstd's level.
    pub level: i32,
    /// Threads that read, verify and compress; at least one does.
    pub threads: usize,
    /// Name of this host, for the record of the session.
    pub host: &'a str,
    /// The time now.
    pub clock: fn() -> Timestamp,
}

/// A snapshot that was copied.
#[derive(Debug, Clone)]
pub struct Copied {
    /// Its name where it came from.
    pub source: SnapshotId,
    /// Its name here.
    pub id: SnapshotId,
    /// Its record here.
    pub snapshot: Snapshot,
    /// Entries that could not be copied.
    pub missing_count: u64,
    /// The first of them.
    pub missing: Vec<Problem>,
    /// What was stored for it.
    pub written: Written,
}

/// Where a snapshot comes from: a copy of a copy names the first.
fn origin_of(repository: RepositoryId, stored: &Stored) -> Origin {
    stored.snapshot.origin.unwrap_or(Origin { repository, snapshot: stored.id })
}

/// Two repositories, and what stands in them.
#[derive(Debug)]
pub struct Copying<'a> {
    from: &'a Archive,
    to: &'a Archive,
    source: &'a Catalogue,
    target: Catalogue,
    /// Where each snapshot stands in `target`.
    places: HashMap<Origin, usize>,
}

impl<'a> Copying<'a> {
    /// Begins to copy from one repository, whose `catalogue` is known, to another.
    ///
    /// # Errors
    /// If both are the same, or one of the keys cannot read.
    pub fn begin(from: &'a Archive, catalogue: &'a Catalogue, to: &'a Archive) -> Result<Self> {
        if from.id() == to.id() {
            return Err(Error::NotFound(format!(
                "{} and {} are the same repository: of one, its files are copied",
                from.location(),
                to.location()
            )));
        }
        from.repository.open_key()?;
        to.repository.open_key()?;
        let target = to.catalogue()?;
        let places = target.snapshots.iter().map(|stored| origin_of(to.id(), stored)).zip(0..).collect();
        Ok(Self { from, to, source: catalogue, target, places })
    }

    /// Records of the other repository that cannot be read, a sentence each.
    pub fn damaged(&self) -> &[String] {
        &self.target.damaged
    }

    /// The copy of a snapshot, if it is there.
    pub fn copy_of(&self, stored: &Stored) -> Option<&Stored> {
        self.of_origin(&origin_of(self.from.id(), stored))
    }

    /// The copy of a snapshot that only its name is known of.
    fn copy_of_id(&self, id: SnapshotId) -> Option<SnapshotId> {
        let known = self.source.snapshots.iter().find(|stored| stored.id == id);
        let unknown = Origin { repository: self.from.id(), snapshot: id };
        let origin = known.map_or(unknown, |stored| origin_of(self.from.id(), stored));
        self.of_origin(&origin).map(|copy| copy.id)
    }

    fn of_origin(&self, origin: &Origin) -> Option<&Stored> {
        self.target.snapshots.get(*self.places.get(origin)?)
    }

    /// The snapshot of the same series that is nearest and was copied before, with its copy.
    fn base(&self, stored: &Stored) -> Option<(&'a Stored, &Stored)> {
        let of_series = |other: &&Stored| {
            let (one, two) = (&stored.snapshot, &other.snapshot);
            one.instance == two.instance && one.host == two.host && other.id != stored.id
        };
        let copied = self.source.snapshots.iter().filter(of_series);
        let copied = copied.filter_map(|other| Some((other, self.copy_of(other)?)));
        copied.min_by_key(|(other, _)| stored.snapshot.taken.seconds.abs_diff(other.snapshot.taken.seconds))
    }

    /// Copies a snapshot; `None` if it is there already. What was stored when it is interrupted is found by the next run.
    ///
    /// # Errors
    /// What keeps it from going on. What is lost in the source is no error: the copy says so.
    pub fn copy(&mut self, stored: &Stored, job: CopyJob<'_>, progress: &Progress) -> Result<Option<Copied>> {
        if self.copy_of(stored).is_some() {
            return Ok(None);
        }
        progress.enter(Phase::Copying);
        progress.expect(stored.snapshot.totals.entries, stored.snapshot.totals.bytes);
        let Archive { repository, index } = self.to;
        let instance = stored.snapshot.instance.clone();
        let who = Who { host: job.host.to_owned(), instance, now: (job.clock)() };
        let session = Session::begin_as(Arc::clone(repository), Arc::clone(index), job.level, Some(&who))?;
        let known = self.from.index.generation()?;
        let base = self.base(stored);
        let moved = entries::copy(self.from, self.to, stored, base, &session, job.threads, progress);
        progress.enter(Phase::Committing);
        let (moved, closed) = close(session, moved)?;
        // A prune of the source may have moved what was looked for: then it is not lost.
        if moved.missing_count > 0 {
            self.from.index.sync(&self.from.repository)?;
            if self.from.index.generation()? != known {
                return Err(Error::SourceMoved);
            }
        }
        let original = &stored.snapshot;
        // What happened that night stays; what is new is told of this repository.
        let Totals { entries, files, directories, others, bytes, .. } = moved.totals;
        let Written { chunks: chunks_new, plain_bytes: bytes_new, stored_bytes: bytes_added, .. } = closed.written;
        let night = original.totals;
        let totals = Totals { entries, files, directories, others, bytes, chunks_new, bytes_new, bytes_added, ..night };
        let mut problems = moved.missing.clone();
        problems.extend(original.problems.iter().cloned());
        problems.truncate(PROBLEMS_NAMED);
        let snapshot = Snapshot {
            manifest: moved.root,
            parent: original.parent.and_then(|id| self.copy_of_id(id)),
            corrects: original.corrects.and_then(|id| self.copy_of_id(id)),
            totals,
            verdict: if moved.missing_count > 0 { Verdict::Fuzzy } else { original.verdict },
            problems,
            problem_count: original.problem_count + moved.missing_count,
            origin: Some(origin_of(self.from.id(), stored)),
            ..original.clone()
        };
        let written = closed.written;
        let id = closed.commit(&snapshot, &job.clock)?;
        progress.stored.fetch_add(written.stored_bytes, Relaxed);
        self.places.insert(origin_of(self.from.id(), stored), self.target.snapshots.len());
        self.target.snapshots.push(Stored { id, snapshot: snapshot.clone(), notes: Notes::default() });
        let (missing, missing_count) = (moved.missing, moved.missing_count);
        Ok(Some(Copied { source: stored.id, id, snapshot, missing_count, missing, written }))
    }
}
