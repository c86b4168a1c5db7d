//! A window as a backup's, of which nothing is stored.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use icecore_format::snapshot::ThawedBy;
use icecore_repo::Session;
use icecore_source::Listing;

use super::super::pass::Pass;
use super::super::{Freeze, Job, Story};
use super::snapshot::Prepared;
use super::{Attempt, CLONE, capture};
use crate::archive::Archive;
use crate::error::{Error, Result};
use crate::progress::Progress;

/// How long a rehearsal reads, after the thaw, to know how fast it is: enough for a rate, too short to fill a disk with what
/// waits.
const SAMPLE: Duration = Duration::from_millis(250);

/// What a rehearsal found.
#[derive(Debug)]
pub struct Rehearsal {
    /// How a real night would secure what is hot.
    pub capture: &'static str,
    /// Entries listed.
    pub entries: u64,
    /// Files that a real night would read, before the window or because of it, and their bytes.
    pub hot: (u64, u64),
    /// How long the instance was frozen, with what a real night does in it at least.
    pub window: Duration,
    /// How long the listing took: in the window, or, with a snapshot, after it.
    pub listing: Duration,
    /// Bytes a second that were read, cut, hashed and looked up after the thaw; `None` if there was nothing to read, or a
    /// real night does not read in the window.
    pub rate: Option<u64>,
    /// How long it would take to secure all that is hot.
    pub securing: Duration,
    /// Who thawed.
    pub thawed_by: ThawedBy,
    /// Whether the deadline was kept.
    pub in_time: bool,
    /// What went wrong without touching the result.
    pub warnings: Vec<String>,
}

impl Rehearsal {
    /// What the window took besides the listing: requests to the freezer, the guardian's start and end, or the snapshot.
    pub fn overhead(&self) -> Duration {
        if self.capture == "snapshot" { self.window } else { self.window.saturating_sub(self.listing) }
    }

    /// How long a window would take in which all that is hot is secured. A real one is shorter: warm rounds leave it little.
    pub fn longest(&self) -> Duration {
        self.window + self.securing
    }
}

/// Freezes, lists or makes a snapshot, thaws, and stores nothing.
pub fn rehearse(archive: &Archive, job: &Job<'_>, progress: &Progress) -> Result<Rehearsal> {
    let story = Story::begin(archive, job, progress)?;
    let Some(freeze) = &job.freeze else {
        return Err(Error::Nothing("this instance has no freezer: there is nothing to rehearse".to_owned()));
    };
    let attempt = Attempt { story: &story, freeze, base: story.base, predicted: Duration::ZERO, keep: true };
    match Prepared::choose(&story, &freeze.capture)? {
        Some(prepared) => attempt.rehearse_snapshot(prepared),
        None => attempt.rehearse_listing(freeze),
    }
}

impl Attempt<'_> {
    fn rehearse_listing(&self, freeze: &Freeze) -> Result<Rehearsal> {
        let story = self.story;
        let cloners = freeze.capture.cloners(&story.tree, 1).map_err(capture)?;
        let (listed, window) = self.in_window(|_| timed(|| story.list()))?;
        let (listing, took) = listed?;
        let session = story.session()?;
        let hot = story.pass(&listing, &session, self.base).count_hot()?;
        let threads = story.job.threads.max(1) as f64;
        let (capture, rate, securing) = if cloners.is_some() {
            ("clone", None, CLONE.mul_f64(hot.0 as f64 / threads))
        } else {
            let rate = self.sample(&listing, &session)?;
            let seconds = rate.map_or(0.0, |rate| hot.1 as f64 / rate.max(1) as f64);
            ("hold", rate, Duration::from_secs_f64(seconds))
        };
        // What was read is dropped unstored, which spoils the session: nothing can be committed, and nothing is to be.
        let _ = session.close();
        Ok(Rehearsal {
            capture,
            entries: listing.entries(),
            hot,
            window: window.window,
            listing: took,
            rate,
            securing,
            thawed_by: window.by,
            in_time: window.in_time,
            warnings: Vec::new(),
        })
    }

    /// Reads for a moment what is hot, by the same ways as the window does.
    fn sample(&self, listing: &Listing, session: &Session) -> Result<Option<u64>> {
        let Self { story, freeze, .. } = self;
        let parking = session.parking(freeze.hold_memory, &freeze.spool);
        let workers = (0..story.job.threads.max(1)).map(|_| Ok((session.parked_writer(&parking)?, None)));
        let workers = workers.collect::<Result<Vec<_>>>()?;
        let read_before = story.progress.bytes.load(Relaxed);
        let began = Instant::now();
        match story.pass(listing, session, self.base).capture(workers, began + SAMPLE) {
            Ok(_) | Err(Error::WindowExceeded) => {}
            Err(error) => return Err(error),
        }
        let read = story.progress.bytes.load(Relaxed) - read_before;
        Ok((read > 0).then(|| (read as f64 / began.elapsed().as_secs_f64()) as u64))
    }

    fn rehearse_snapshot(&self, mut prepared: Prepared) -> Result<Rehearsal> {
        let story = self.story;
        let (created, window) = self.in_window(|limit| prepared.create(story, limit))?;
        let (fixed, _) = created?;
        let ((view, listing), took) = timed(|| prepared.view(story))?;
        let session = story.session()?;
        let pass = Pass { tree: &view, fixed: Some(fixed), ..story.pass(&listing, &session, self.base) };
        let hot = pass.count_hot()?;
        session.close()?;
        drop(view);
        Ok(Rehearsal {
            capture: "snapshot",
            entries: listing.entries(),
            hot,
            window: window.window,
            listing: took,
            rate: None,
            securing: Duration::ZERO,
            thawed_by: window.by,
            in_time: window.in_time,
            warnings: prepared.destroy().err().map(|error| error.to_string()).into_iter().collect(),
        })
    }
}

fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<(T, Duration)> {
    let began = Instant::now();
    Ok((work()?, began.elapsed()))
}
