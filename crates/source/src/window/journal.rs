//! The journal of one window: what must be known to thaw, wherever everybody else went.
//!
//! JSON, one record a line. The first, the intent, is durable under the journal's name before the first
//! freeze request; a journal comes into being with it or not at all. Later records are appended, and a
//! last line without an end (a power cut) counts as not written. The journal is removed after the
//! confirmed thaw, so that **a journal without a `thawed` record is an instance that may be frozen**.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use icecore_format::entry::Timestamp;
use icecore_format::snapshot::ThawedBy;
use serde::{Deserialize, Serialize};

use super::Thaw;
use super::place::lock_within;
use super::retry::Retry;
use crate::freezer::FreezerConfig;
use crate::os::window as os;

/// The version of the journal's records. A journal outlives the program that wrote it.
const VERSION: u32 = 1;

/// Why a journal could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The OS refused.
    #[error("cannot {operation} the window's journal {path}")]
    Io {
        /// What was to be done with it.
        operation: &'static str,
        /// The journal.
        path: PathBuf,
        /// What the OS said.
        source: io::Error,
    },
    /// It is not what this program writes.
    #[error("the window's journal {path} cannot be read; thaw the instance by hand, then delete it")]
    Damaged {
        /// The journal.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// It was written by a later version.
    #[error("the window's journal {path} was written by a newer icecore; use that one")]
    Newer {
        /// The journal.
        path: PathBuf,
    },
}

impl JournalError {
    /// Tells whether there is no such journal: the window was closed.
    pub(super) fn is_gone(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// What is about to be done, and all that it takes to undo it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Intent {
    version: u32,
    pub(super) instance: String,
    pub(super) freezer: FreezerConfig,
    pub(super) max_freeze: Duration,
    pub(super) retry: Retry,
    /// For people: whether it lives is told by its lock.
    pub(super) engine_pid: u32,
    #[serde(with = "Time")]
    pub(super) written: Timestamp,
}

impl Intent {
    pub(super) fn new(
        instance: &str,
        freezer: &FreezerConfig,
        max_freeze: Duration,
        retry: &Retry,
        written: Timestamp,
    ) -> Self {
        let (instance, freezer, retry) = (instance.to_owned(), freezer.clone(), retry.clone());
        Self { version: VERSION, instance, freezer, max_freeze, retry, engine_pid: std::process::id(), written }
    }
}

/// One line of a journal after the first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "kebab-case")]
pub(super) enum Record {
    /// The guardian is ready.
    Guardian { pid: u32 },
    /// The freeze was confirmed: it cannot take effect later any more.
    Frozen,
    /// Somebody is about to thaw; what is read from now on may have been written after the thaw.
    Thawing {
        #[serde(with = "By")]
        by: ThawedBy,
    },
    /// The thaw was confirmed.
    Thawed {
        #[serde(with = "By")]
        by: ThawedBy,
        #[serde(with = "Time")]
        at: Timestamp,
        attempts: u32,
    },
}

/// What a journal says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Story {
    pub(super) intent: Intent,
    pub(super) guardian: Option<u32>,
    pub(super) frozen: bool,
    /// Who was the first to thaw.
    pub(super) thawing: Option<ThawedBy>,
    /// The first confirmed thaw.
    pub(super) thawed: Option<Thaw>,
}

/// An open journal.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
}

impl Journal {
    /// Writes a journal, durably. The caller holds the instance's lock, so nobody else is writing one.
    pub(super) fn create(path: &Path, intent: &Intent) -> Result<Self, JournalError> {
        let failed = |source| JournalError::Io { operation: "write", path: path.to_owned(), source };
        let line = line_of(intent).map_err(failed)?;
        let written = path.with_extension("new");
        let write = || -> io::Result<()> {
            let mut file = File::create(&written)?;
            file.write_all(&line)?;
            file.sync_all()?;
            fs::rename(&written, path)?;
            path.parent().map_or(Ok(()), os::sync_directory)
        };
        write().map_err(failed)?;
        Self::open(path)
    }

    pub(super) fn open(path: &Path) -> Result<Self, JournalError> {
        let opened = OpenOptions::new().read(true).append(true).open(path);
        match opened {
            Ok(file) => Ok(Self { path: path.to_owned(), file }),
            Err(source) => Err(JournalError::Io { operation: "open", path: path.to_owned(), source }),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the right to thaw, which a process loses when it dies; false if whoever has it still has it
    /// after `limit`.
    pub(super) fn lock_within(&self, limit: Duration) -> Result<bool, JournalError> {
        lock_within(&self.file, limit).map_err(|source| self.failed("lock", source))
    }

    pub(super) fn unlock(&self) {
        // Fails only if it was not locked.
        let _ = self.file.unlock();
    }

    pub(super) fn read(&mut self) -> Result<Story, JournalError> {
        let mut text = Vec::new();
        let read = self.file.seek(SeekFrom::Start(0)).and_then(|_| self.file.read_to_end(&mut text));
        read.map_err(|source| self.failed("read", source))?;
        parse(&text, &self.path)
    }

    /// Adds a record; a power cut may lose it.
    pub(super) fn append(&mut self, record: &Record) -> Result<(), JournalError> {
        line_of(record).and_then(|line| self.file.write_all(&line)).map_err(|source| self.failed("write to", source))
    }

    /// Makes the records durable.
    pub(super) fn sync(&self) -> Result<(), JournalError> {
        self.file.sync_data().map_err(|source| self.failed("write to", source))
    }

    /// Removes it: the window is closed.
    pub(super) fn remove(&self) -> Result<(), JournalError> {
        let removed = match fs::remove_file(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.and_then(|()| self.path.parent().map_or(Ok(()), os::sync_directory)),
        };
        removed.map_err(|source| self.failed("remove", source))
    }

    fn failed(&self, operation: &'static str, source: io::Error) -> JournalError {
        JournalError::Io { operation, path: self.path.clone(), source }
    }
}

/// In one write, so that a line is there with its end or counts as not there.
fn line_of(value: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    Ok(line)
}

fn parse(text: &[u8], path: &Path) -> Result<Story, JournalError> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    let damaged = |source| JournalError::Damaged { path: path.to_owned(), source };
    let mut lines = text.split_inclusive(|&byte| byte == b'\n');
    let first = lines.next().unwrap_or_default();
    // The version first: a newer intent may hold what this program cannot read.
    if serde_json::from_slice::<Versioned>(first).map_err(damaged)?.version > VERSION {
        return Err(JournalError::Newer { path: path.to_owned() });
    }
    let intent = serde_json::from_slice(first).map_err(damaged)?;
    let mut story = Story { intent, guardian: None, frozen: false, thawing: None, thawed: None };
    for line in lines {
        // What a power cut or a full disk left of a record says nothing; that is the safe side.
        match serde_json::from_slice(line) {
            Ok(Record::Guardian { pid }) => story.guardian = Some(pid),
            Ok(Record::Frozen) => story.frozen = true,
            Ok(Record::Thawing { by }) => story.thawing = story.thawing.or(Some(by)),
            Ok(Record::Thawed { by, at, attempts }) if line.ends_with(b"\n") => {
                story.thawed = story.thawed.or(Some(Thaw { by, at, attempts }));
            }
            Ok(Record::Thawed { .. }) | Err(_) => {}
        }
    }
    Ok(story)
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Timestamp")]
struct Time {
    seconds: i64,
    nanos: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "ThawedBy", rename_all = "kebab-case")]
enum By {
    Engine,
    Guardian,
    Recovery,
}

#[cfg(test)]
mod tests;
