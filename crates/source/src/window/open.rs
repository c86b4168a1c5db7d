//! The windows that are open, for whoever asks.

use std::path::{Path, PathBuf};

use icecore_format::entry::Timestamp;

use super::journal::Journal;
use super::place::Place;

/// A window whose journal stands: an instance that may be frozen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenWindow {
    /// The instance.
    pub instance: String,
    /// The journal.
    pub journal: PathBuf,
    /// The process that opened it; may be gone.
    pub engine_pid: u32,
    /// When it was opened.
    pub since: Timestamp,
    /// The thaw is confirmed: the window is about to be closed.
    pub thawed: bool,
}

/// The open windows in a directory, by the names of their journals. Those that cannot be read, also since they were just
/// closed, are left out: [`recover`](super::recover) tells of them.
pub fn open_windows(directory: &Path) -> Vec<OpenWindow> {
    let places = Place::with_journal(directory).unwrap_or_default();
    places.into_iter().filter_map(|place| read(place.journal)).collect()
}

fn read(journal: PathBuf) -> Option<OpenWindow> {
    let story = Journal::open(&journal).ok()?.read().ok()?;
    let intent = story.intent;
    Some(OpenWindow {
        instance: intent.instance,
        journal,
        engine_pid: intent.engine_pid,
        since: intent.written,
        thawed: story.thawed.is_some(),
    })
}
