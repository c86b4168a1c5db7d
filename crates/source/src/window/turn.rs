//! The turn: windows that are to be alone are open one after the other, among those who share the directory of windows.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::journal::Journal;
use super::place::lock_file;

/// How long a window waits for its turn: several of the longest windows that people allow.
pub(super) const LIMIT: Duration = Duration::from_secs(30 * 60);

/// How often is looked whether something has changed.
const LOOK: Duration = Duration::from_millis(100);

/// The end of the name of the file beside the directory of windows that is locked by the one that is alone.
pub(super) const EXTENSION: &str = "turn";

/// Keeps others from freezing as long as it lives, or until somebody else has thawed: who reads on after that needs no turn.
/// If the engine dies it goes, and the guardian thaws at that moment.
pub(super) struct Turn {
    _held: Sender<()>,
}

/// Locks the file of the turn; `None` if that took longer than [`LIMIT`], or is over.
pub(super) fn wait(windows: &Path, is_over: &dyn Fn() -> bool) -> io::Result<Option<File>> {
    let (file, asked) = (windows.with_extension(EXTENSION), Instant::now());
    loop {
        if let Some(turn) = lock_file(&file, LOOK)? {
            return Ok(Some(turn));
        }
        if is_over() || asked.elapsed() >= LIMIT {
            return Ok(None);
        }
    }
}

impl Turn {
    /// Holds the locked file for the window of a journal that stands, whose guardian thaws after `max_freeze`.
    pub(super) fn hold(file: File, journal: &Path, max_freeze: Duration) -> io::Result<Self> {
        let (held, end) = channel();
        let (journal, mut pause) = (journal.to_owned(), max_freeze);
        thread::Builder::new().name("turn".to_owned()).spawn(move || {
            while end.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) && !is_thawed(&journal) {
                pause = LOOK;
            }
            drop(file);
        })?;
        Ok(Self { _held: held })
    }
}

/// Whether the thaw of a window is confirmed. What cannot be read says nothing.
fn is_thawed(journal: &Path) -> bool {
    match Journal::open(journal).and_then(|mut journal| journal.read()) {
        Ok(story) => story.thawed.is_some(),
        Err(error) => error.is_gone(),
    }
}
