//! Trying again what may pass, ever more slowly.

use std::time::{Duration, Instant};

/// How long one try may take.
const TRY: Duration = Duration::from_secs(10);

/// The first pause; each is twice as long as the one before.
const PAUSE: Duration = Duration::from_millis(500);

/// The longest.
const LONGEST: Duration = Duration::from_secs(30);

/// Why a try failed.
#[derive(Debug)]
pub(super) enum Failed {
    /// It may succeed later.
    ForNow(String),
    /// It will fail again.
    ForGood(String),
}

/// Tries, each time until the instant that `attempt` is given, until it succeeds, can never succeed, `deadline` has come, or
/// `pause` says that there is no point any more. Gives the last reason.
pub(super) fn retry(
    deadline: Instant,
    mut pause: impl FnMut(Duration) -> bool,
    mut attempt: impl FnMut(Instant) -> Result<(), Failed>,
) -> Result<(), String> {
    let mut wait = PAUSE;
    loop {
        let reason = match attempt(deadline.min(Instant::now() + TRY)) {
            Ok(()) => return Ok(()),
            Err(Failed::ForGood(reason)) => return Err(reason),
            Err(Failed::ForNow(reason)) => reason,
        };
        let left = deadline.saturating_duration_since(Instant::now());
        if left <= wait || !pause(wait) {
            return Err(reason);
        }
        wait = (wait * 2).min(LONGEST);
    }
}

/// Pauses, and goes on in any case.
pub(super) fn sleep(pause: Duration) -> bool {
    std::thread::sleep(pause);
    true
}
