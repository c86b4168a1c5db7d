//! When each task last succeeded and failed on this host, for one repository.
//!
//! ```text
//! DIRECTORY/NAME.json   { "version": 1, "tasks": { "backup wiki": { "success": TIME, "failure": TIME }, … } }
//! DIRECTORY/NAME.lock   held by whoever writes the other
//! ```
//! For backups the repository's snapshots tell the truth. Here it stands so that nobody opens a repository only to find that
//! nothing is due, and for tasks that leave no snapshot. What is lost or damaged counts as never: too much is done once.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use crate::agenda::Task;
use crate::schedule::Last;

const VERSION: u32 = 1;

/// When tasks were last done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    tasks: BTreeMap<String, Last>,
}

impl History {
    /// When a task was last done.
    pub fn last(&self, task: &Task) -> Last {
        self.tasks.get(&task.to_string()).copied().unwrap_or_default()
    }

    /// A task succeeded at a time.
    pub fn succeeded(&mut self, task: &Task, at: Timestamp) {
        self.tasks.entry(task.to_string()).or_default().success = Some(at);
    }

    /// A task failed at a time.
    pub fn failed(&mut self, task: &Task, at: Timestamp) {
        self.tasks.entry(task.to_string()).or_default().failure = Some(at);
    }

    /// What is known better than by records: when a task last succeeded.
    pub fn correct(&mut self, task: &Task, success: Option<Timestamp>) {
        self.tasks.entry(task.to_string()).or_default().success = success;
    }
}

/// Where the history of one repository's tasks is kept.
#[derive(Debug, Clone)]
pub struct Records {
    file: PathBuf,
}

#[derive(Debug, Serialize, Deserialize)]
struct Document {
    version: u32,
    tasks: BTreeMap<String, Entry>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    #[serde(default)]
    success: Option<Timestamp>,
    #[serde(default)]
    failure: Option<Timestamp>,
}

impl Records {
    /// Those of a name, which must make a file name, in a directory that is made when something is noted.
    pub fn new(directory: &Path, name: &str) -> Self {
        Self { file: directory.join(format!("{name}.json")) }
    }

    /// Reads what was noted; nothing if it cannot be read.
    pub fn load(&self) -> History {
        let document = fs::read(&self.file).ok().and_then(|bytes| serde_json::from_slice::<Document>(&bytes).ok());
        let tasks = document.filter(|document| document.version == VERSION).map(|document| document.tasks);
        let last = |entry: Entry| Last { success: entry.success, failure: entry.failure };
        History { tasks: tasks.into_iter().flatten().map(|(task, entry)| (task, last(entry))).collect() }
    }

    /// Notes something, durably; others that note at the same time lose nothing.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn note(&self, change: impl FnOnce(&mut History)) -> io::Result<()> {
        let directory = self.file.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(directory)?;
        let lock = OpenOptions::new().create(true).append(true).open(self.file.with_extension("lock"))?;
        lock.lock()?;
        let mut history = self.load();
        change(&mut history);
        let entry = |last: Last| Entry { success: last.success, failure: last.failure };
        let tasks = history.tasks.into_iter().map(|(task, last)| (task, entry(last))).collect();
        let mut file = NamedTempFile::new_in(directory)?;
        file.write_all(&serde_json::to_vec_pretty(&Document { version: VERSION, tasks })?)?;
        file.as_file().sync_all()?;
        file.persist(&self.file)?;
        sync_directory(directory)
    }
}

/// Makes a new name durable, where directories can be opened.
fn sync_directory(directory: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(directory)?.sync_all() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    #[test]
    fn what_was_noted_is_read_and_damage_counts_as_never() {
        let directory = tempfile::tempdir().unwrap();
        let records = Records::new(&directory.path().join("runs"), "abc");
        assert_eq!(records.load(), History::default());
        let wiki = Task::Backup { instance: "wiki".into() };
        records.note(|history| history.succeeded(&wiki, time(10))).unwrap();
        records.note(|history| history.failed(&wiki, time(20))).unwrap();
        records.note(|history| history.succeeded(&Task::Prune, time(30))).unwrap();
        let history = records.load();
        assert_eq!(history.last(&wiki), Last { success: Some(time(10)), failure: Some(time(20)) });
        assert_eq!(history.last(&Task::Prune).success, Some(time(30)));
        assert_eq!(history.last(&Task::Check), Last::default());
        let file = directory.path().join("runs/abc.json");
        let whole = fs::read(&file).unwrap();
        for len in 0..whole.len() {
            fs::write(&file, &whole[..len]).unwrap();
            assert_eq!(records.load(), History::default());
        }
        records.note(|history| history.succeeded(&Task::Check, time(40))).unwrap();
        assert_eq!(records.load().last(&Task::Check).success, Some(time(40)));
    }

    #[test]
    fn those_who_note_at_once_lose_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let records = Records::new(directory.path(), "abc");
        let task = |number: i64| Task::Backup { instance: number.to_string() };
        std::thread::scope(|scope| {
            for number in 0..16 {
                let records = &records;
                scope.spawn(move || records.note(|history| history.succeeded(&task(number), time(number))).unwrap());
            }
        });
        let history = records.load();
        assert!((0..16).all(|number| history.last(&task(number)).success == Some(time(number))));
    }
}
