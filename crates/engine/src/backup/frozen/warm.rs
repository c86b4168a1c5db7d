//! Warm rounds: what changes is stored while the instance is alive, so that little is left for the window.

use std::time::{Duration, Instant};

use super::super::night::Night;
use super::super::pass::{Base, Calm, Effort, Hot, Pass};
use super::super::{Freeze, Story, close};
use crate::error::Result;
use crate::progress::Phase;

/// With more entries than this that are not sure, the window looks at all of them (8 MiB of their numbers).
const UNSURE: usize = 1 << 20;

/// What it takes to compare an entry of one listing with that of another, for the prediction; measured on the machine of
/// docs/benchmarks.md.
const COMPARING: Duration = Duration::from_nanos(150);

/// A further warm round pays while it leaves at most this share (in percent) of what the one before found hot.
const PAYS: u64 = 70;

/// What the warm rounds found.
#[derive(Default)]
pub(super) struct Warm {
    pub(super) base: Option<Base>,
    pub(super) entries: u64,
    /// What one listing took.
    pub(super) listing: Duration,
    /// Files that the last round found changed: so many will have changed again when the window opens.
    pub(super) hot_files: u64,
    /// Their bytes.
    pub(super) hot_bytes: u64,
    /// What the base was made of.
    pub(super) calm: Option<Calm>,
    /// What it took to tell and to read them, and what else a window would not do left out.
    pub(super) effort: Effort,
}

/// Does the rounds that are allowed, as long as they pay. Without a base the first of them stores everything, and only
/// a second one tells what is hot. If none is allowed, one look tells what the window will meet: all of that will be read,
/// or, if it will be `cloned`, what stands on other devices.
pub(super) fn warm(
    story: &Story<'_>,
    freeze: &Freeze,
    base: Option<Base>,
    cloned: bool,
    night: &mut Night,
) -> Result<Warm> {
    if base.is_some() && freeze.warm_rounds == 0 {
        return look(story, freeze, base, cloned);
    }
    let mut warm = Warm { base, ..Warm::default() };
    let needed = if base.is_none() { 2 } else { 0 };
    let mut before = None;
    for _ in 0..freeze.warm_rounds.max(needed) {
        let began = Instant::now();
        story.progress.enter(Phase::Warming);
        let listing = story.list()?;
        let listed = began.elapsed();
        let session = story.session()?;
        let already = night.bytes_read;
        let stored = story.pass(&listing, &session, warm.base).store(None, std::mem::take(night));
        let (finished, closed) = close(session, stored)?;
        *night = finished.night;
        night.add(closed.written);
        // Everything in it was found or stored since the session began.
        let base = Some(Base { root: finished.root, intact_at: Some(closed.generation()) });
        let (hot_files, hot_bytes) = (finished.hot.0, night.bytes_read - already);
        let (entries, mut effort, unsure) = (listing.entries(), finished.effort, finished.unsure);
        let calm = (unsure.len() <= UNSURE).then_some(Calm { listing, unsure });
        if calm.is_some() && freeze.always_read.is_empty() && !story.job.rehash {
            effort.deciding = effort.deciding.min(COMPARING.mul_f64(entries as f64));
        }
        warm = Warm { base, entries, listing: listed, hot_files, hot_bytes, calm, effort };
        let pays = before.is_none_or(|before: u64| hot_bytes.saturating_mul(100) <= before.saturating_mul(PAYS));
        if hot_bytes == 0 || !pays {
            break;
        }
        before = Some(hot_bytes);
    }
    Ok(warm)
}

/// Lists and counts, and reads a little of what is hot to know how fast that is.
fn look(story: &Story<'_>, freeze: &Freeze, base: Option<Base>, cloned: bool) -> Result<Warm> {
    story.progress.enter(Phase::Warming);
    let (listing, listed) = timed(|| story.list())?;
    let session = story.session()?;
    let (hot, looking) = timed(|| count_hot(&story.pass(&listing, &session, base), freeze))?;
    // What was read is dropped unstored, which spoils the session: nothing can be committed, and nothing is to be.
    let _ = session.close();
    let bytes = if cloned { hot.elsewhere } else { hot.bytes };
    let reading = Duration::from_secs_f64(hot.rate(1).map_or(0.0, |rate| bytes as f64 / rate.max(1) as f64));
    let deciding = looking.saturating_sub(hot.sampling());
    let effort = Effort { deciding, reading, elsewhere: if cloned { reading } else { Duration::ZERO } };
    let (entries, hot_files, hot_bytes) = (listing.entries(), hot.files, hot.bytes);
    Ok(Warm { base, entries, listing: listed, hot_files, hot_bytes, calm: None, effort })
}

/// Counts what is hot, and reads some of it as the window does: new content waits, and is not compressed. The pass's session can
/// store nothing after that.
pub(super) fn count_hot(pass: &Pass<'_>, freeze: &Freeze) -> Result<Hot> {
    let parking = pass.session.parking(freeze.hold_memory, &freeze.spool);
    pass.count_hot(Some(pass.session.parked_writer(&parking)?))
}

/// What something gives, and how long it took.
pub(super) fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<(T, Duration)> {
    let began = Instant::now();
    Ok((work()?, began.elapsed()))
}
