//! Warm rounds: what changes is stored while the instance is alive, so that little is left for the window.

use std::time::{Duration, Instant};

use super::super::night::Night;
use super::super::pass::Base;
use super::super::{Freeze, Story, close};
use crate::error::Result;
use crate::progress::Phase;

/// A further warm round pays while it leaves at most this share (in percent) of what the one before found hot.
const PAYS: u64 = 70;

/// What the warm rounds found.
pub(super) struct Warm {
    pub(super) base: Option<Base>,
    pub(super) entries: u64,
    /// What one listing took.
    pub(super) listing: Duration,
    /// Files that the last round found changed: so many will have changed again when the window opens.
    pub(super) hot_files: u64,
    /// Their bytes.
    pub(super) hot_bytes: u64,
    /// What it took to read and store them.
    pub(super) reading: Duration,
}

/// Does the rounds that are allowed, as long as they pay. Without a base the first of them stores everything, and only
/// a second one tells what is hot.
pub(super) fn warm(story: &Story<'_>, freeze: &Freeze, base: Option<Base>, night: &mut Night) -> Result<Warm> {
    let (listing, reading) = (Duration::ZERO, Duration::ZERO);
    let mut warm = Warm { base, entries: 0, listing, hot_files: 0, hot_bytes: 0, reading };
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
        let reading = began.elapsed() - listed;
        let (finished, closed) = close(session, stored)?;
        *night = finished.night;
        night.add(closed.written);
        // Everything in it was found or stored since the session began.
        let base = Some(Base { root: finished.root, intact_at: Some(closed.generation()) });
        let (hot_files, hot_bytes) = (finished.hot.0, night.bytes_read - already);
        warm = Warm { base, entries: listing.entries(), listing: listed, hot_files, hot_bytes, reading };
        let pays = before.is_none_or(|before: u64| hot_bytes.saturating_mul(100) <= before.saturating_mul(PAYS));
        if hot_bytes == 0 || !pays {
            break;
        }
        before = Some(hot_bytes);
    }
    Ok(warm)
}
