//! The user's wish to end: the first signal asks, the second does not wait.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::exit::Code;

/// Raised by the first signal. Signals are of the process, and so is this.
static RAISED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Takes over SIGINT and SIGTERM for the rest of the process. Not called while a password is asked for, where the
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
    Ok(())
}

/// Whether the user wants to end.
pub fn is_raised() -> bool {
    RAISED.get().is_some_and(|raised| raised.load(Ordering::Relaxed))
}
