//! A window as a backup's, of which nothing is stored.

use std::time::Duration;

use icecore_format::snapshot::ThawedBy;

use super::super::pass::Pass;
use super::super::{Freeze, Job, Story};
use super::snapshot::Prepared;
use super::warm::{count_hot, timed};
use super::{Attempt, CLONE, capture};
use crate::archive::Archive;
use crate::error::{Error, Result};
use crate::progress::Progress;

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
    let attempt =
        Attempt { story: &story, freeze, base: story.base, calm: None, predicted: Duration::ZERO, keep: true };
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
        let hot = count_hot(&story.pass(&listing, &session, self.base), freeze)?;
        let threads = story.job.threads.max(1) as f64;
        let (capture, cloning, bytes) = match cloners {
            Some(_) => ("clone", CLONE.mul_f64(hot.files as f64 / threads), hot.elsewhere),
            None => ("hold", Duration::ZERO, hot.bytes),
        };
        let rate = hot.rate(story.job.threads).filter(|_| bytes > 0);
        let reading = rate.map_or(0.0, |rate| bytes as f64 / rate.max(1) as f64);
        let securing = cloning + Duration::from_secs_f64(reading);
        // What was read is dropped unstored, which spoils the session: nothing can be committed, and nothing is to be.
        let _ = session.close();
        Ok(Rehearsal {
            capture,
            entries: listing.entries(),
            hot: (hot.files, hot.bytes),
            window: window.window,
            listing: took,
            rate,
            securing,
            thawed_by: window.by,
            in_time: window.in_time,
            warnings: Vec::new(),
        })
    }

    fn rehearse_snapshot(&self, mut prepared: Prepared) -> Result<Rehearsal> {
        let story = self.story;
        let (created, window) = self.in_window(|limit| prepared.create(story, limit))?;
        let (fixed, _) = created?;
        let ((view, listing), took) = timed(|| prepared.view(story))?;
        let session = story.session()?;
        let pass = Pass { tree: &view, fixed: Some(fixed), ..story.pass(&listing, &session, self.base) };
        let hot = pass.count_hot(None)?;
        session.close()?;
        drop(view);
        Ok(Rehearsal {
            capture: "snapshot",
            entries: listing.entries(),
            hot: (hot.files, hot.bytes),
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
