//! What happened in a window, for people who look into it afterwards.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

use icecore_format::entry::Timestamp;

/// Writes lines that begin with the time (Unix, in seconds) and with who is speaking.
///
/// A log that cannot be written keeps nobody from thawing: such lines are lost.
pub(super) fn logger(path: PathBuf, who: &'static str, clock: &dyn Fn() -> Timestamp) -> impl FnMut(&str) {
    move |line| {
        let Timestamp { seconds, nanos } = clock();
        let line = format!("{seconds}.{:03} {who}: {line}\n", nanos / 1_000_000);
        let _ = OpenOptions::new()
            .append(true)
            .create(true)
            .open(&path)
            .and_then(|mut file| file.write_all(line.as_bytes()));
    }
}
