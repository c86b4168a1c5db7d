//! Everything that happened in one run of what was due. Tables, JSON documents and hooks are made of it, and of nothing else.
//!
//! Times are RFC 3339 in UTC, sizes bytes, ids 64 digits, codes those of the command line.

use jiff::Timestamp;
use serde::Serialize;

use crate::agenda::Task;

/// A whole run.
#[derive(Debug, Clone, Serialize)]
pub struct RunReport {
    /// The name of the host.
    pub host: String,
    /// Where the repository is.
    pub repository: String,
    /// When the run began.
    pub started: Timestamp,
    /// When it ended, or when this was written.
    pub finished: Timestamp,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// The exit code: the worst of all.
    pub code: u8,
    /// What failed for all of it, as a repository that cannot be opened.
    pub error: Option<Failure>,
    /// What went wrong without making anything fail.
    pub warnings: Vec<String>,
    /// What was done, in order.
    pub tasks: Vec<TaskReport>,
}

/// One task of a run.
#[derive(Debug, Clone, Serialize)]
pub struct TaskReport {
    /// Which.
    #[serde(flatten)]
    pub task: Task,
    /// In one word.
    pub result: Outcome,
    /// The exit code that it would have alone.
    pub code: u8,
    /// When it began.
    pub started: Timestamp,
    /// How long it took, in seconds, hooks included.
    pub seconds: f64,
    /// Since when it was due; `null` if it never was done, or was not due.
    pub due_since: Option<Timestamp>,
    /// What failed.
    pub error: Option<Failure>,
    /// What went wrong without making it fail.
    pub warnings: Vec<String>,
    /// What was done.
    #[serde(flatten)]
    pub work: Option<Work>,
}

/// How a task ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Well.
    Done,
    /// Done, but some entries could not be read.
    Partial,
    /// In vain, or damage was found.
    Failed,
    /// Somebody else is at it.
    Busy,
    /// The user ended it.
    Interrupted,
    /// It is not possible with the key of this host, and nobody asked for it; a warning says so.
    Skipped,
}

impl Outcome {
    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Partial => "partial",
            Self::Failed => "failed",
            Self::Busy => "busy",
            Self::Interrupted => "interrupted",
            Self::Skipped => "skipped",
        }
    }
}

/// What failed, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// What, with its causes.
    pub message: String,
    /// The next step, if there is a likely one.
    pub hint: Option<String>,
    /// The exit code.
    pub code: u8,
}

/// What a task did.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Work {
    /// A snapshot was taken.
    Backup(Taken),
    /// Snapshots were forgotten.
    Forget(Forgotten),
    /// Packs were marked and deleted.
    Prune(Pruned),
    /// The repository was checked.
    Check(Checked),
    /// A restore was practised.
    Drill(Drilled),
}

/// A snapshot that was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Taken {
    /// Its id.
    pub snapshot: String,
    /// Its verdict.
    pub verdict: String,
    /// How long the instance was frozen, in milliseconds; `null` if it was not.
    pub window_ms: Option<u64>,
    /// Entries in it.
    pub entries: u64,
    /// Bytes in it.
    pub bytes: u64,
    /// Bytes that were read for it.
    pub bytes_read: u64,
    /// Bytes that were added to the repository.
    pub bytes_added: u64,
    /// Entries that could not be read as they should.
    pub problems: u64,
}

/// Snapshots that were forgotten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Forgotten {
    /// How many.
    pub forgotten: u64,
    /// How many were kept.
    pub kept: u64,
}

/// What a prune did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pruned {
    /// Packs that were deleted.
    pub deleted_packs: u64,
    /// Their bytes.
    pub deleted_bytes: u64,
    /// Packs that were marked.
    pub marked_packs: u64,
    /// Their bytes.
    pub marked_bytes: u64,
    /// Its time was over before everything was copied.
    pub cut_short: bool,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// Bytes of data that were read and verified.
    pub bytes_read: u64,
    /// Packs that never were.
    pub never_verified: u64,
    /// Promises that do not hold.
    pub findings: u64,
    /// Files that cannot be restored whole.
    pub damaged_files: u64,
}

/// A snapshot whose restore was practised.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Drilled {
    /// Its id.
    pub snapshot: String,
    /// What it is worth.
    pub result: Worth,
    /// How long it took to restore it and to read it back, in seconds.
    pub restore_seconds: f64,
    /// How long its instance's program tested it, in seconds; `null` if it did not.
    pub test_seconds: Option<f64>,
    /// Files that were restored.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Entries that could not be restored.
    pub missing: u64,
    /// What was done and found, as it is recorded beside the snapshot.
    pub message: String,
}

/// What came of a practised restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Worth {
    /// Everything was restored, and a program of the instance's found it sound.
    Verified,
    /// Everything was restored; nothing tests it.
    Restored,
    /// Something could not be restored, or was found unsound.
    Failed,
}

impl Worth {
    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Restored => "restored",
            Self::Failed => "failed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_flat_where_people_look() {
        let work = Work::Forget(Forgotten { forgotten: 2, kept: 14 });
        let task = TaskReport {
            task: Task::Forget { instance: "wiki".into() },
            result: Outcome::Done,
            code: 0,
            started: Timestamp::UNIX_EPOCH,
            seconds: 1.5,
            due_since: None,
            error: None,
            warnings: Vec::new(),
            work: Some(work),
        };
        let expected = serde_json::json!({
            "task": "forget", "instance": "wiki", "result": "done", "code": 0, "started": "1970-01-01T00:00:00Z",
            "seconds": 1.5, "due_since": null, "error": null, "warnings": [], "forget": { "forgotten": 2, "kept": 14 },
        });
        assert_eq!(serde_json::to_value(&task).unwrap(), expected);
        let bare = TaskReport { task: Task::Prune, work: None, ..task };
        assert_eq!(serde_json::to_value(&bare).unwrap()["task"], "prune");
    }
}
