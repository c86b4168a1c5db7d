//! When each task last succeeded and failed on this host, for one repository.
//!
//! ```text
//! DIRECTORY/NAME.json   { "version": 1, "only_writes": false,
//!                         "tasks": { "backup wiki": { "success": TIME, "failure": TIME, "bad": TIME,
//!                                                  "put_off": TIME }, … } }
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
    /// The key of this host can only write, and it was told what that makes impossible.
    pub only_writes: bool,
    tasks: BTreeMap<String, Last>,
}

impl History {
    /// When a task was last done.
    pub fn last(&self, task: &Task) -> Last {
        self.tasks.get(&task.to_string()).copied().unwrap_or_default()
    }

    /// A task succeeded at a time.
    pub fn succeeded(&mut self, task: &Task, at: Timestamp) {
        let last = self.tasks.entry(task.to_string()).or_default();
        (last.success, last.put_off) = (Some(at), None);
    }

    /// A task was done at a time, but what it tried is not well.
    pub fn went_badly(&mut self, task: &Task, at: Timestamp) {
        let last = self.tasks.entry(task.to_string()).or_default();
        (last.bad, last.put_off) = (Some(at), None);
    }

    /// A task failed at a time.
    pub fn failed(&mut self, task: &Task, at: Timestamp) {
        self.tasks.entry(task.to_string()).or_default().failure = Some(at);
    }

    /// A task was due at a time, and was put off. The first time counts; not one in the future, where a clock that was
    /// set back left it.
    pub fn put_off(&mut self, task: &Task, at: Timestamp) {
        let last = self.tasks.entry(task.to_string()).or_default();
        last.put_off = last.past(at).put_off.or(Some(at));
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
    #[serde(default)]
    only_writes: bool,
    tasks: BTreeMap<String, Last>,
}

impl Records {
    /// Those of a name, which must make a file name, in a directory that is made when something is noted.
    pub fn new(directory: &Path, name: &str) -> Self {
        Self { file: directory.join(format!("{name}.json")) }
    }

    /// Reads what was noted; nothing if it cannot be read.
    pub fn load(&self) -> History {
        let document = fs::read(&self.file).ok().and_then(|bytes| serde_json::from_slice::<Document>(&bytes).ok());
        let document = document.filter(|document| document.version == VERSION);
        document.map_or_else(History::default, |Document { only_writes, tasks, .. }| History { only_writes, tasks })
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
        let History { only_writes, tasks } = history;
        let mut file = NamedTempFile::new_in(directory)?;
        file.write_all(&serde_json::to_vec_pretty(&Document { version: VERSION, only_writes, tasks })?)?;
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
        assert_eq!(history.last(&wiki), Last { success: Some(time(10)), failure: Some(time(20)), ..Last::default() });
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
        // What an earlier version wrote.
        fs::write(&file, r#"{ "version": 1, "tasks": { "check": { "failure": null } } }"#).unwrap();
        assert_eq!((records.load().last(&Task::Check), records.load().only_writes), (Last::default(), false));
    }

    #[test]
    fn what_is_put_off_is_so_since_the_first_time() {
        let mut history = History::default();
        let put_off = |history: &History| history.last(&Task::Prune).put_off;
        history.put_off(&Task::Prune, time(10));
        history.put_off(&Task::Prune, time(20));
        assert_eq!(put_off(&history), Some(time(10)));
        // The clock was set back.
        history.put_off(&Task::Prune, time(5));
        assert_eq!(put_off(&history), Some(time(5)));
        history.succeeded(&Task::Prune, time(30));
        assert_eq!(put_off(&history), None);
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
