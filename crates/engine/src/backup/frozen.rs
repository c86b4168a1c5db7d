//! A backup of a frozen instance.
//!
//! ```text
//! hold, clone:  warm rounds: store what changed since the base; its manifest is the next base   (live, as long as it pays)
//!               freeze ─▶ list ─▶ read what is hot (new content waits in the parking), or clone it ─▶ look again ─▶ thaw
//!               store what waits ─▶ read clones ─▶ manifest ─▶ snapshot with receipt
//! snapshot:     list (live): everything below the roots will be in it
//!               freeze ─▶ make it ─▶ thaw
//!               list, read and store what stands in it ─▶ manifest ─▶ snapshot with receipt ─▶ destroy it
//! ```
//! A warm round is a whole pass without a commit, so that an entry is known in the window by the same rule as ever, and
//! what a killed run stored is found by the next one. What the window secured is matched with the second walk over the
//! same listing.

mod reading;
mod rehearsal;
mod snapshot;
mod warm;

use std::time::{Duration, Instant};

use icecore_format::entry::Timestamp;
use icecore_format::snapshot::{Problem, Receipt, Verdict};
use icecore_source::capture::{CaptureError, CapturePlan, Cloner};
use icecore_source::window::{Closed as ClosedWindow, Window, WindowError};

use self::snapshot::Prepared;
use self::warm::{Warm, warm};
use super::night::Night;
use super::pass::{Base, Calm, Finished};
use super::{Freeze, OnWindowFailure, Report, Story};
use crate::error::{Error, Result};
use crate::progress::Phase;

pub use self::rehearsal::{Rehearsal, rehearse};

/// Requests to the freezer and the guardian's start: what a window takes with nothing to do, for the prediction.
const OVERHEAD: Duration = Duration::from_millis(50);

/// What it takes a thread to clone a file, or to read a small one, for the prediction; as measured on XFS and btrfs.
const CLONE: Duration = Duration::from_micros(250);

/// Takes a snapshot of an instance that is frozen for as short as possible.
pub(super) fn backup(story: &Story<'_>, freeze: &Freeze) -> Result<Report> {
    let mut base = story.base;
    let mut again = true;
    // Without a parent every file is new, and none has to be remembered.
    let mut night = Night { counted: base.map(|_| Default::default()), ..Night::default() };
    let mut plan = freeze.capture.clone();
    let mut stopped = None;
    loop {
        let ready = Ready::make(story, freeze, &plan, base, &mut night)?;
        base = ready.base;
        if ready.predicted > freeze.plan.max_freeze {
            return Err(Error::Predicted {
                predicted_ms: millis(ready.predicted),
                max_ms: millis(freeze.plan.max_freeze),
                entries: ready.entries,
                hot_bytes: ready.hot_bytes,
            });
        }
        let keep = !again && freeze.on_failure == OnWindowFailure::KeepFuzzy;
        let calm = ready.calm.as_ref();
        let attempt = Attempt { story, freeze, base, calm, predicted: ready.predicted, keep };
        let done = match ready.means {
            Means::Reading(cloners) => attempt.by_reading(cloners, &mut night),
            Means::Snapshot(snapshot) => attempt.by_snapshot(*snapshot, &mut night),
        };
        match done {
            // The machine was slower than predicted: what changed meanwhile is warmed once more, then it is tried
            // again.
            Err(Error::WindowExceeded) if again => again = false,
            Err(Error::Capture(error)) if plan.is_overtaken_by(&error) => {
                plan.filesystem_is_frozen = true;
                stopped = Some(format!("{error}, which saves the instance a second freeze"));
            }
            done => {
                return done.map(|mut report| {
                    report.warnings.extend(stopped);
                    report
                });
            }
        }
    }
}

/// How hot content is secured.
enum Means {
    /// It is read, or cloned if there are cloners.
    Reading(Option<Vec<Cloner>>),
    Snapshot(Box<Prepared>),
}

/// Everything that can be done before the freeze is.
struct Ready {
    means: Means,
    base: Option<Base>,
    /// What the base was made of a moment ago.
    calm: Option<Calm>,
    predicted: Duration,
    entries: u64,
    /// Bytes that the window will have to read.
    hot_bytes: u64,
}

impl Ready {
    fn make(
        story: &Story<'_>,
        freeze: &Freeze,
        plan: &CapturePlan,
        base: Option<Base>,
        night: &mut Night,
    ) -> Result<Self> {
        if let Some(prepared) = Prepared::choose(story, plan)? {
            let (predicted, entries) = (OVERHEAD + prepared.takes, prepared.entries);
            let means = Means::Snapshot(Box::new(prepared));
            return Ok(Self { means, base, calm: None, predicted, entries, hot_bytes: 0 });
        }
        let cloners = plan.cloners(&story.tree, story.job.threads).map_err(capture)?;
        let warm = warm(story, freeze, base, cloners.is_some(), night)?;
        let threads = story.job.threads.max(1) as f64;
        let (securing, hot_bytes) = match &cloners {
            Some(_) => (CLONE.mul_f64(warm.hot_files as f64) + warm.effort.elsewhere, 0),
            None => (warm.effort.reading, warm.hot_bytes),
        };
        let predicted = OVERHEAD + warm.listing + warm.effort.deciding + securing.div_f64(threads);
        let Warm { base, calm, entries, .. } = warm;
        Ok(Self { means: Means::Reading(cloners), base, calm, predicted, entries, hot_bytes })
    }
}

/// One window, and what is made of it.
struct Attempt<'a> {
    story: &'a Story<'a>,
    freeze: &'a Freeze,
    base: Option<Base>,
    calm: Option<&'a Calm>,
    predicted: Duration,
    /// What was secured is kept even if the window was too long.
    keep: bool,
}

/// What the receipt tells of the capture.
struct Capture {
    name: &'static str,
    /// The instant that the snapshot shows.
    taken: Timestamp,
    /// Files that were hot, and their bytes.
    hot: (u64, u64),
    violations: Vec<Problem>,
}

impl Attempt<'_> {
    /// Does something while the instance is frozen, within the time that it is told. Without a confirmed thaw that
    /// alone is the result.
    fn in_window<T>(&self, work: impl FnOnce(Duration) -> Result<T>) -> Result<(Result<T>, ClosedWindow)> {
        let Self { story, freeze, .. } = self;
        story.progress.check()?;
        story.progress.enter(Phase::Frozen);
        let clock = || (story.job.clock)();
        let window = Window::freeze(&freeze.plan, &clock, &|| story.progress.is_stopped()).map_err(failed)?;
        // When what was secured is to be kept whatever happens, the guardian's deadline thaws, and the work goes on.
        let limit = if self.keep { Duration::MAX } else { window.remaining() };
        let done = work(limit);
        let window = window.thaw().map_err(failed)?;
        // Not before: a log on what is frozen would hang, and with it an end of this process that the guardian waits for.
        let (instance, freezer) = (story.job.instance.as_str(), freeze.plan.freezer.name());
        tracing::info!(instance, freezer, at = window.frozen.seconds, "backup frozen");
        let (window_ms, by) = (millis(window.window), window.by);
        tracing::info!(instance, window_ms, by = ?by, in_time = window.in_time, "backup thawed");
        let in_time = window.in_time || self.keep;
        Ok((done.and_then(|done| if in_time { Ok(done) } else { Err(Error::WindowExceeded) }), window))
    }

    /// What the snapshot can claim, and why.
    fn judge(&self, window: &ClosedWindow, capture: Capture, finished: &Finished) -> (Verdict, Receipt) {
        let Capture { name, taken, hot: (hot_files, hot_bytes), violations } = capture;
        let receipt = Receipt {
            freezer: self.freeze.plan.freezer.name().to_owned(),
            requested: window.requested,
            frozen: window.frozen,
            listed: taken,
            thawed: window.thawed,
            window_ms: millis(window.window),
            predicted_ms: Some(millis(self.predicted)),
            hot_files,
            hot_bytes,
            capture: name.to_owned(),
            thawed_by: window.by,
            violations,
            awake: window.awake.clone(),
        };
        let quiet = receipt.violations.is_empty() && receipt.awake.is_none();
        let sound = window.in_time && quiet && !finished.changed;
        (if sound { Verdict::Application } else { Verdict::Fuzzy }, receipt)
    }
}

/// The instant at which a time that begins now ends; far away if it has no end.
fn until(limit: Duration) -> Instant {
    Instant::now().checked_add(limit).unwrap_or_else(|| Instant::now() + Duration::from_secs(86_400 * 365))
}

fn failed(error: WindowError) -> Error {
    match error {
        WindowError::GivenUp => Error::Interrupted,
        error => Error::Window(Box::new(error)),
    }
}

fn capture(error: CaptureError) -> Error {
    Error::Capture(Box::new(error))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
