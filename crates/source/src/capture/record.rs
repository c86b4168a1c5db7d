//! What is known of a snapshot as long as it may exist.
//!
//! `captures/NAME.TOKEN.json`, one for each snapshot: durable before it is made, removed when it is destroyed, and
//! locked by the run that made it. A lock goes with its process, however it ends; so a record that can be locked is
//! that of a dead run, and [`recover`] destroys its snapshot. Nothing tells whether the snapshot was ever made: to
//! destroy one that is not there is a success.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use icecore_format::entry::Timestamp;
use serde::{Deserialize, Serialize};

use super::programs::{self, SNAPSHOT};
use super::{CaptureError, btrfs};
use crate::freezer::program::end_orphans;
use crate::os::window as os;
use crate::window::place;

/// The version of the record. It outlives the program that wrote it.
const VERSION: u32 = 1;

/// What there is to destroy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(super) enum Made {
    /// Subvolumes.
    Btrfs { snapshots: Vec<PathBuf> },
    /// Whatever a program of the user destroys.
    #[serde(rename_all = "kebab-case")]
    Programs { destroy: Vec<String>, timeout_ms: u64 },
}

impl Made {
    /// Destroys it; that it is gone, or was never made, is a success.
    fn destroy(&self, instance: &str, token: &str, limit: Duration) -> Result<(), (String, String)> {
        match self {
            Self::Btrfs { snapshots } => snapshots.iter().try_for_each(|snapshot| {
                let by_hand = || format!("btrfs subvolume delete {}", snapshot.display());
                btrfs::destroy(snapshot).map_err(|error| (error.to_string(), by_hand()))
            }),
            Self::Programs { destroy, timeout_ms } => {
                let limit = limit.min(Duration::from_millis(*timeout_ms));
                let by_hand = || format!("{SNAPSHOT}={token} {}", programs::line(destroy));
                programs::destroy(destroy, instance, token, limit).map_err(|error| (error.to_string(), by_hand()))
            }
        }
    }

    /// Names it, for people.
    fn describe(&self, instance: &str, token: &str) -> String {
        match self {
            Self::Btrfs { snapshots } => {
                let names: Vec<_> = snapshots.iter().map(|path| path.display().to_string()).collect();
                format!("the btrfs snapshot {} of instance {instance}", names.join(", "))
            }
            Self::Programs { .. } => format!("the snapshot {token} of instance {instance}"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Content {
    version: u32,
    instance: String,
    token: String,
    made: Made,
    /// For people: whether it lives is told by the lock.
    engine_pid: u32,
    /// For people: Unix, in seconds.
    written: i64,
}

/// A record that stands.
#[derive(Debug)]
pub(super) struct Record {
    path: PathBuf,
    content: Content,
    /// Tells others that this run lives.
    _alive: File,
}

impl Record {
    /// Writes one, durably.
    pub(super) fn write(
        directory: &Path,
        instance: &str,
        token: &str,
        made: Made,
        now: Timestamp,
    ) -> Result<Self, CaptureError> {
        let path = directory.join(format!("{}.{token}.json", place::file_name(instance)));
        let failed = |source| CaptureError::Record { path: path.clone(), source };
        let (instance, token) = (instance.to_owned(), token.to_owned());
        let engine_pid = std::process::id();
        let content = Content { version: VERSION, instance, token, made, engine_pid, written: now.seconds };
        let write = || -> io::Result<File> {
            os::create_private_directory(directory)?;
            let new = path.with_extension("new");
            let mut file = OpenOptions::new().create(true).truncate(true).write(true).open(&new)?;
            // Before it has its name: nobody ever finds the record of a living run unlocked.
            file.lock()?;
            serde_json::to_writer(&mut file, &content)?;
            file.write_all(b"\n")?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            os::sync_directory(directory)?;
            Ok(file)
        };
        let alive = write().map_err(failed)?;
        Ok(Self { path, content, _alive: alive })
    }

    /// Takes over the record of a run that is gone; `None` if it lives, or the record is gone.
    fn take_over(path: &Path) -> Result<Option<Self>, CaptureError> {
        let failed = |source| CaptureError::Record { path: path.to_owned(), source };
        let mut file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(failed)?,
        };
        if !place::lock_within(&file, Duration::ZERO).map_err(failed)? || !path.exists() {
            return Ok(None);
        }
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(failed)?;
        let damaged = |why: String| CaptureError::Damaged { path: path.to_owned(), why };
        let content: Content = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
        if content.version > VERSION {
            return Err(damaged("it was written by a newer icecore; use that one".to_owned()));
        }
        Ok(Some(Self { path: path.to_owned(), content, _alive: file }))
    }

    /// Destroys what it names, and with that the record. If that fails, the record stays.
    pub(super) fn destroy(self, limit: Duration) -> Result<(), CaptureError> {
        let Content { instance, token, made, .. } = &self.content;
        made.destroy(instance, token, limit).map_err(|(cause, by_hand)| {
            let what = made.describe(instance, token);
            CaptureError::Destroy { what, by_hand, cause, record: self.path.clone() }
        })?;
        self.forget();
        Ok(())
    }

    /// Removes it: there is nothing to destroy.
    pub(super) fn forget(self) {
        // One that stays makes the next command destroy what is gone, which is a success.
        let _ = fs::remove_file(&self.path);
    }
}

/// A snapshot that a dead run had left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// The snapshot, for people.
    pub what: String,
}

/// Destroys the snapshots recorded in `directory` whose runs are gone, spending at most `limit` on the program of each.
/// Costs next to nothing if there is none.
///
/// Gives for each what came of it: one that could not be destroyed stays recorded, and is tried again the next time.
pub fn recover(directory: &Path, limit: Duration) -> Vec<Result<Leftover, CaptureError>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
        Err(source) => return vec![Err(CaptureError::Record { path: directory.to_owned(), source })],
        Ok(entries) => entries,
    };
    let records =
        entries.flatten().map(|entry| entry.path()).filter(|path| path.extension() == Some(OsStr::new("json")));
    let mut records: Vec<_> = records.collect();
    records.sort();
    records.iter().filter_map(|path| clear(path, limit).transpose()).collect()
}

fn clear(path: &Path, limit: Duration) -> Result<Option<Leftover>, CaptureError> {
    let Some(record) = Record::take_over(path)? else { return Ok(None) };
    if matches!(record.content.made, Made::Programs { .. }) {
        // One of them could make the snapshot after it was destroyed.
        end_orphans(SNAPSHOT, &record.content.token);
    }
    let what = record.content.made.describe(&record.content.instance, &record.content.token);
    record.destroy(limit)?;
    Ok(Some(Leftover { what }))
}

#[cfg(all(test, target_os = "linux"))]
mod tests;
