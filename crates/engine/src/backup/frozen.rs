//! A backup of a frozen instance.
//!
//! ```text
//! warm rounds: store what changed since the base; its manifest is the next base      (live, as long as it pays)
//! freeze ─▶ list ─▶ read what is hot, new content waits in the parking ─▶ look again ─▶ thaw
//! store what waits ─▶ manifest ─▶ snapshot with receipt
//! ```
//! A warm round is a whole pass without a commit, so that an entry is known in the window by the same rule as ever, and what
//! a killed run stored is found by the next one. What the window read is matched with the second walk over the same listing.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use icecore_format::entry::{Node, Timestamp};
use icecore_format::snapshot::{Problem, ProblemKind, Receipt, ThawedBy, Verdict};
use icecore_repo::{ChunkWriter, Session};
use icecore_source::window::{Closed as ClosedWindow, Window, WindowError};
use icecore_source::{Kind, Listing};

use super::night::Night;
use super::pass::{Base, Captured};
use super::{Freeze, Job, OnWindowFailure, Report, Story, Written, close};
use crate::archive::Archive;
use crate::error::{Error, Result};
use crate::progress::{Phase, Progress};

/// A further warm round pays while it leaves at most this share (in percent) of what the one before found hot.
const PAYS: u64 = 70;

/// Requests to the freezer and the guardian's start: what a window takes with nothing to do, for the prediction.
const OVERHEAD: Duration = Duration::from_millis(50);

/// Takes a snapshot of an instance that is frozen for as short as possible.
pub(super) fn backup(story: &Story<'_>, freeze: &Freeze) -> Result<Report> {
    let mut base = story.base;
    let mut again = true;
    // Without a parent every file is new, and none has to be remembered.
    let mut night = Night { counted: base.map(|_| Default::default()), ..Night::default() };
    loop {
        let warm = warm(story, freeze, base, night)?;
        base = warm.base;
        let predicted = warm.predict();
        let (entries, hot_bytes) = (warm.entries, warm.hot_bytes);
        night = warm.night;
        if predicted > freeze.plan.max_freeze {
            return Err(Error::Predicted {
                predicted_ms: millis(predicted),
                max_ms: millis(freeze.plan.max_freeze),
                entries,
                hot_bytes,
            });
        }
        let keep = !again && freeze.on_failure == OnWindowFailure::KeepFuzzy;
        match frozen(story, freeze, base, predicted, keep, &mut night) {
            // The machine was slower than predicted: what changed meanwhile is warmed once more, then it is tried again.
            Err(Error::WindowExceeded) if again => again = false,
            done => return done,
        }
    }
}

/// What the warm rounds found.
struct Warm {
    base: Option<Base>,
    entries: u64,
    listing: Duration,
    /// Bytes that the last round found changed.
    hot_bytes: u64,
    /// What it took to read and store them.
    reading: Duration,
    night: Night,
}

impl Warm {
    /// How long the window will take: one listing, and what changes in the time of a round.
    fn predict(&self) -> Duration {
        OVERHEAD + self.listing + self.reading
    }
}

fn warm(story: &Story<'_>, freeze: &Freeze, base: Option<Base>, night: Night) -> Result<Warm> {
    let (listing, reading) = (Duration::ZERO, Duration::ZERO);
    let mut warm = Warm { base, entries: 0, listing, hot_bytes: u64::MAX, reading, night };
    let mut read_before = warm.night.bytes_read;
    for _ in 0..freeze.warm_rounds.max(u8::from(base.is_none())) {
        let began = Instant::now();
        story.progress.enter(Phase::Warming);
        let listing = story.list()?;
        let listed = began.elapsed();
        let session = story.session()?;
        let stored = story.pass(&listing, &session, warm.base).store(None, std::mem::take(&mut warm.night));
        let reading = began.elapsed() - listed;
        let (finished, closed) = close(session, stored)?;
        let already = read_before;
        read_before = finished.night.bytes_read;
        warm.night = finished.night;
        warm.night.add(closed.written);
        // Everything in it was found or stored since the session began.
        warm.base = Some(Base { root: finished.root, intact_at: Some(closed.generation()) });
        let before = warm.hot_bytes;
        let hot_bytes = read_before - already;
        (warm.entries, warm.listing, warm.hot_bytes, warm.reading) = (listing.entries(), listed, hot_bytes, reading);
        if hot_bytes == 0 || before != u64::MAX && hot_bytes.saturating_mul(100) > before.saturating_mul(PAYS) {
            break;
        }
    }
    if warm.hot_bytes == u64::MAX {
        // No round was asked for: nothing is known, and the deadline alone decides.
        warm.hot_bytes = 0;
    }
    Ok(warm)
}

/// What the window gave.
struct Secured {
    listing: Listing,
    listed: Timestamp,
    captured: Captured,
    violations: Vec<Problem>,
}

fn frozen(
    story: &Story<'_>,
    freeze: &Freeze,
    base: Option<Base>,
    predicted: Duration,
    keep: bool,
    night: &mut Night,
) -> Result<Report> {
    let session = story.session()?;
    let parking = session.parking(freeze.hold_memory, &freeze.spool);
    // Whatever can be made ready before the window is.
    let writers = (0..story.job.threads.max(1)).map(|_| session.parked_writer(&parking));
    let writers = writers.collect::<std::result::Result<Vec<_>, _>>()?;
    story.progress.check()?;
    story.progress.enter(Phase::Frozen);
    let clock = || (story.job.clock)();
    let window = Window::freeze(&freeze.plan, &clock).map_err(failed)?;
    // When what was read is to be kept whatever happens, the guardian's deadline thaws, and reading goes on.
    let limit = if keep { Duration::MAX } else { window.remaining() };
    let deadline =
        Instant::now().checked_add(limit).unwrap_or_else(|| Instant::now() + Duration::from_secs(86_400 * 365));
    let secured = secure(story, &session, writers, base, deadline);
    let window = window.thaw().map_err(failed)?;
    story.progress.enter(Phase::Storing);
    let stored = secured.and_then(|secured| {
        if !window.in_time && !keep {
            return Err(Error::WindowExceeded);
        }
        session.unpark(&parking, story.job.threads)?;
        let Secured { listing, listed, captured, mut violations } = secured;
        if window.awake {
            let message = "the instance said that it was awake before it was thawed".to_owned();
            violations.push(Problem { path: Vec::new(), kind: ProblemKind::Changed, message });
        }
        let hot = (captured.files, captured.bytes);
        let finished = story.pass(&listing, &session, base).store(Some(captured), std::mem::take(night))?;
        Ok((finished, listing, listed, hot, violations))
    });
    drop(parking);
    story.progress.enter(Phase::Committing);
    let ((finished, listing, listed, hot, violations), closed) = close(session, stored)?;
    let receipt = receipt(freeze, &window, listed, predicted, hot, violations);
    let sound = window.in_time && receipt.violations.is_empty() && !finished.changed;
    let verdict = if sound { Verdict::Application } else { Verdict::Fuzzy };
    story.commit(&listing, closed, Written { finished, taken: listed, verdict, receipt: Some(receipt) })
}

/// In the window: the point-in-time list, and the content of what is hot.
fn secure(
    story: &Story<'_>,
    session: &Session,
    writers: Vec<ChunkWriter>,
    base: Option<Base>,
    deadline: Instant,
) -> Result<Secured> {
    let listing = story.list()?;
    let listed = (story.job.clock)();
    let captured = story.pass(&listing, session, base).capture(writers, deadline)?;
    let violations = look_again(story, &captured);
    Ok(Secured { listing, listed, captured, violations })
}

/// Compares what was read with what stands there now, still frozen: a difference means that somebody wrote.
fn look_again(story: &Story<'_>, captured: &Captured) -> Vec<Problem> {
    let mut violations: Vec<Problem> = Vec::new();
    for (path, outcome) in &captured.entries {
        if let Some(problem) = outcome.problem.as_ref().filter(|problem| problem.kind != ProblemKind::Unreadable) {
            violations.push(problem.clone());
            continue;
        }
        let Some(entry) = outcome.entry.as_ref().filter(|entry| matches!(entry.node, Node::File(_))) else {
            continue;
        };
        let now = story.tree.open_file(path).and_then(|file| file.stat());
        let same = now.is_ok_and(|stat| {
            let meta = &entry.meta;
            stat.kind == Kind::File
                && (stat.inode, stat.size, stat.mtime, stat.ctime) == (meta.inode, entry.size(), meta.mtime, meta.ctime)
        });
        let unreadable = outcome.problem.is_some();
        if !same && !unreadable {
            let message = "changed while the instance was frozen".to_owned();
            violations.push(Problem { path: path.clone(), kind: ProblemKind::Changed, message });
        }
    }
    violations
}

fn receipt(
    freeze: &Freeze,
    window: &ClosedWindow,
    listed: Timestamp,
    predicted: Duration,
    (hot_files, hot_bytes): (u64, u64),
    violations: Vec<Problem>,
) -> Receipt {
    Receipt {
        freezer: freeze.plan.freezer.name().to_owned(),
        requested: window.requested,
        frozen: window.frozen,
        listed,
        thawed: window.thawed,
        window_ms: millis(window.window),
        predicted_ms: Some(millis(predicted)),
        hot_files,
        hot_bytes,
        capture: "hold".to_owned(),
        thawed_by: window.by,
        violations,
    }
}

/// How long a rehearsal reads, after the thaw, to know how fast it is: enough for a rate, too short to fill a disk with what
/// waits.
const SAMPLE: Duration = Duration::from_millis(250);

/// What a rehearsal found.
#[derive(Debug)]
pub struct Rehearsal {
    /// Entries listed.
    pub entries: u64,
    /// Files that a real night would read before or in the window, and their bytes.
    pub hot: (u64, u64),
    /// How long the instance was frozen, with a listing in it.
    pub window: Duration,
    /// How long the listing took.
    pub listing: Duration,
    /// Bytes a second that were read, cut, hashed and looked up after the thaw; `None` if there was nothing to read.
    pub rate: Option<u64>,
    /// Who thawed.
    pub thawed_by: ThawedBy,
    /// Whether the deadline was kept.
    pub in_time: bool,
}

impl Rehearsal {
    /// What the window took besides the listing: requests to the freezer, the guardian's start and end.
    pub fn overhead(&self) -> Duration {
        self.window.saturating_sub(self.listing)
    }

    /// How long a window would take in which all that is hot is read. A real one is shorter: warm rounds leave it little.
    pub fn longest(&self) -> Duration {
        self.window + self.reading()
    }

    /// How long it would take to read all that is hot.
    pub fn reading(&self) -> Duration {
        let rate = self.rate.unwrap_or(u64::MAX).max(1);
        Duration::from_secs_f64(self.hot.1 as f64 / rate as f64)
    }
}

/// Freezes, lists, thaws, and stores nothing.
pub fn rehearse(archive: &Archive, job: &Job<'_>, progress: &Progress) -> Result<Rehearsal> {
    let story = Story::begin(archive, job, progress)?;
    let Some(freeze) = &job.freeze else {
        return Err(Error::Nothing("this instance has no freezer: there is nothing to rehearse".to_owned()));
    };
    let session = story.session()?;
    let clock = || (job.clock)();
    let window = Window::freeze(&freeze.plan, &clock).map_err(failed)?;
    let began = Instant::now();
    let listing = story.list();
    let took = began.elapsed();
    let window = window.thaw().map_err(failed)?;
    let listing = listing?;
    let hot = story.pass(&listing, &session, story.base).count_hot()?;
    let rate = sample(&story, freeze, &listing, &session)?;
    // What was read is dropped unstored, which spoils the session: nothing can be committed, and nothing is to be.
    let _ = session.close();
    Ok(Rehearsal {
        entries: listing.entries(),
        hot,
        window: window.window,
        listing: took,
        rate,
        thawed_by: window.by,
        in_time: window.in_time,
    })
}

/// Reads for a moment what is hot, by the same ways as the window does.
fn sample(story: &Story<'_>, freeze: &Freeze, listing: &Listing, session: &Session) -> Result<Option<u64>> {
    let parking = session.parking(freeze.hold_memory, &freeze.spool);
    let writers = (0..story.job.threads.max(1)).map(|_| session.parked_writer(&parking));
    let writers = writers.collect::<std::result::Result<Vec<_>, _>>()?;
    let read_before = story.progress.bytes.load(Relaxed);
    let began = Instant::now();
    match story.pass(listing, session, story.base).capture(writers, began + SAMPLE) {
        Ok(_) | Err(Error::WindowExceeded) => {}
        Err(error) => return Err(error),
    }
    let read = story.progress.bytes.load(Relaxed) - read_before;
    Ok((read > 0).then(|| (read as f64 / began.elapsed().as_secs_f64()) as u64))
}

fn failed(error: WindowError) -> Error {
    Error::Window(Box::new(error))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
