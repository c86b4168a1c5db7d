//! The user's wish to end: the first signal asks, the second does not wait.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::exit::Code;

/// Raised by the first signal. Signals are of the process, and so is this.
static RAISED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Takes over SIGINT, SIGTERM and, unless it is ignored, SIGHUP for the rest of the process. Not called while a password is asked for, where the
/// first signal must end the program.
pub fn install() -> io::Result<()> {
    let raised = Arc::new(AtomicBool::new(false));
    if RAISED.set(Arc::clone(&raised)).is_err() {
        return Ok(());
    }
    for signal in [SIGINT, SIGTERM] {
        // In this order: the second signal finds the flag raised by the first.
        flag::register_conditional_shutdown(signal, Code::Interrupted as i32, Arc::clone(&raised))?;
        flag::register(signal, Arc::clone(&raised))?;
    }
    hang_up(raised)
}

/// A session that is closed asks to end, too. It never ends at once: a shell and the system may both send the signal. Who started
/// this with the signal ignored (nohup) wants it to go on.
#[cfg(target_os = "linux")]
fn hang_up(raised: Arc<AtomicBool>) -> io::Result<()> {
    use signal_hook::consts::SIGHUP;

    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // Bit n - 1 stands for signal n. What cannot be known is left as it is.
    if ignored.is_some_and(|mask| mask & (1 << (SIGHUP - 1)) == 0) {
        flag::register(SIGHUP, raised)?;
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn hang_up(_: Arc<AtomicBool>) -> io::Result<()> {
    Ok(())
}

/// Whether the user wants to end.
pub fn is_raised() -> bool {
    RAISED.get().is_some_and(|raised| raised.load(Ordering::Relaxed))
}
