//! Where the window of an instance leaves its traces.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The longest file name made of an instance's name; most file systems take 255 bytes.
const NAME_LEN: usize = 200;

/// The three files of an instance's windows, beside each other:
///
/// | file | what it is | locked by |
/// |---|---|---|
/// | `NAME.json` | the [journal](super::journal): there from before the freeze until after the thaw | whoever thaws |
/// | `NAME.lock` | empty, stays for ever | the engine during its window, a recovery |
/// | `NAME.log` | what happened in the last window | the guardian as long as it lives |
///
/// A lock goes with its process, however it ends: that is how the living are told from the dead. (A
/// process id in a file says less: it may be another process's by now, or one of another container.)
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) journal: PathBuf,
    pub(super) lock: PathBuf,
    pub(super) log: PathBuf,
}

impl Place {
    /// `None` for a name that makes no file name: an empty or much too long one.
    pub(super) fn of_instance(directory: &Path, instance: &str) -> Option<Self> {
        let name = file_name(instance);
        (!name.is_empty() && name.len() <= NAME_LEN).then(|| Self::at(&directory.join(name + ".json")))
    }

    pub(super) fn at(journal: &Path) -> Self {
        Self { journal: journal.to_owned(), lock: journal.with_extension("lock"), log: journal.with_extension("log") }
    }

    /// The places in `directory` that have a journal.
    pub(super) fn with_journal(directory: &Path) -> io::Result<Vec<Self>> {
        let mut places = Vec::new();
        let entries = match directory.read_dir() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(places),
            entries => entries?,
        };
        for entry in entries {
            let path = entry?.path();
            if path.extension() == Some(OsStr::new("json")) {
                places.push(Self::at(&path));
            }
        }
        places.sort_by(|a, b| a.journal.cmp(&b.journal));
        Ok(places)
    }
}

/// Everything but letters, digits, `-` and `_` as `%` and two digits, also `.`: what follows it is ours.
pub(crate) fn file_name(instance: &str) -> String {
    let mut name = String::new();
    for byte in instance.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => name.push(char::from(byte)),
            _ => name.push_str(&format!("%{byte:02x}")),
        }
    }
    name
}

/// Opens the file at `path`, created if need be, and locks it as soon as nobody else has; `None` if
/// somebody still has after `limit`.
pub(super) fn lock_file(path: &Path, limit: Duration) -> io::Result<Option<File>> {
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    Ok(lock_within(&file, limit)?.then_some(file))
}

/// Locks an open file; false if somebody else still has it locked after `limit`.
pub(crate) fn lock_within(file: &File, limit: Duration) -> io::Result<bool> {
    let asked = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::WouldBlock) if asked.elapsed() < limit => std::thread::sleep(Duration::from_millis(2)),
            Err(TryLockError::WouldBlock) => return Ok(false),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_instances_cannot_leave_the_directory_or_meet() {
        let directory = Path::new("/state/windows");
        let journal = |instance| Place::of_instance(directory, instance).map(|place| place.journal);
        assert_eq!(journal("cust01"), Some(directory.join("cust01.json")));
        assert_eq!(journal("../a.b"), Some(directory.join("%2e%2e%2fa%2eb.json")));
        assert_ne!(journal("a/b"), journal("a%2fb"));
        assert_eq!(journal(""), None);
        assert_eq!(journal(&"ä".repeat(100)), None);
    }

    #[test]
    fn a_lock_is_waited_for_no_longer_than_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.lock");
        let held = lock_file(&path, Duration::ZERO).unwrap().unwrap();
        assert!(lock_file(&path, Duration::from_millis(20)).unwrap().is_none());
        drop(held);
        assert!(lock_file(&path, Duration::ZERO).unwrap().is_some());
    }
}
