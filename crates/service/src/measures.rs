//! What is measured of runs, for one repository, from one run to the next: what was not done this time keeps its values.
//!
//! ```text
//! DIRECTORY/NAME.measures.lock   held by whoever changes the other
//! DIRECTORY/NAME.measures.json   { "version": 1, "repository": …, "tasks": { "backup wiki": { … }, … }, … }
//! ```
//! What is lost or damaged is measured anew by the next runs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::agenda::Task;
use crate::files::replace;
use crate::records::History;
use crate::report::{Outcome, RunReport, Taken, TaskReport, Work};

const VERSION: u32 = 1;

/// Everything that is measured.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Measures {
    version: u32,
    /// Where the repository is.
    pub repository: String,
    /// The last run that had something to do.
    pub run: Option<RunMeasure>,
    /// Bytes of all packs of the repository.
    pub stored_bytes: Option<u64>,
    /// By the names of tasks, as in `backup wiki`.
    pub tasks: BTreeMap<String, TaskMeasure>,
    /// The last snapshots that were taken, by instance.
    pub backups: BTreeMap<String, BackupMeasure>,
    /// When the newest snapshot was taken that was restored and that a program found sound, by instance.
    pub proved: BTreeMap<String, Timestamp>,
}

/// A run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunMeasure {
    /// When it ended.
    pub finished: Timestamp,
    /// How long it took.
    pub seconds: f64,
    /// Its exit code.
    pub code: u8,
    /// Tasks that failed.
    pub failed: u64,
    /// Warnings, those of tasks included.
    pub warnings: u64,
}

/// The last time that a task was tried.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskMeasure {
    /// What is done, in one word.
    pub word: String,
    /// The instance that it is for.
    pub instance: Option<String>,
    /// When it began.
    pub attempt: Option<Timestamp>,
    /// When it last succeeded.
    pub success: Option<Timestamp>,
    /// How long it took, hooks included.
    pub seconds: f64,
    /// The exit code that it would have had alone.
    pub code: u8,
}

/// A snapshot that was taken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BackupMeasure {
    /// How long the instance was frozen, if it was.
    pub window_seconds: Option<f64>,
    /// Bytes that were read.
    pub read_bytes: u64,
    /// Bytes that were added to the repository.
    pub added_bytes: u64,
    /// Bytes of its content.
    pub content_bytes: u64,
    /// Entries in it.
    pub entries: u64,
    /// Entries that could not be read as they should.
    pub problems: u64,
}

/// What is known of the repository beside what was done.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observed {
    /// As in [`Measures`].
    pub stored_bytes: u64,
    /// As in [`Measures`].
    pub proved: BTreeMap<String, Timestamp>,
}

impl Measures {
    /// Takes in a run that has ended. `observed` is what was seen of the repository, if it could be opened; `history` knows
    /// successes of tasks that were done by hand, too; nothing is kept but of `tasks`, which are configured.
    pub fn take(&mut self, report: &RunReport, observed: Option<Observed>, history: &History, tasks: &[Task]) {
        self.repository.clone_from(&report.repository);
        let warnings = report.warnings.len() + report.tasks.iter().map(|task| task.warnings.len()).sum::<usize>();
        self.run = Some(RunMeasure {
            finished: report.finished,
            seconds: report.seconds,
            code: report.code,
            failed: report.tasks.iter().filter(|task| task.result == Outcome::Failed).count() as u64,
            warnings: warnings as u64,
        });
        report.tasks.iter().for_each(|task| self.take_task(task));
        for task in tasks {
            if let Some(success) = history.last(task).success {
                self.task(task).success = Some(success);
            }
        }
        let is_wanted = |instance: &str| tasks.iter().any(|task| task.instance() == Some(instance));
        let names: BTreeSet<String> = tasks.iter().map(ToString::to_string).collect();
        // What is forgotten of an instance has no schedule of its own.
        let is_forgetting =
            |task: &TaskMeasure| task.word == "forget" && task.instance.as_deref().is_some_and(is_wanted);
        self.tasks.retain(|name, task| names.contains(name) || is_forgetting(task));
        self.backups.retain(|instance, _| is_wanted(instance));
        if let Some(Observed { stored_bytes, proved }) = observed {
            self.stored_bytes = Some(stored_bytes);
            self.proved = proved;
        }
    }

    fn task(&mut self, task: &Task) -> &mut TaskMeasure {
        self.tasks.entry(task.to_string()).or_insert_with(|| TaskMeasure {
            word: task.word().to_owned(),
            instance: task.instance().map(str::to_owned),
            attempt: None,
            success: None,
            seconds: 0.0,
            code: 0,
        })
    }

    fn take_task(&mut self, report: &TaskReport) {
        // Who was busy has not tried.
        if report.result == Outcome::Busy {
            return;
        }
        let measure = self.task(&report.task);
        (measure.attempt, measure.seconds, measure.code) = (Some(report.started), report.seconds, report.code);
        if report.work.is_some() && matches!(report.result, Outcome::Done | Outcome::Partial) {
            measure.success = Some(report.started);
        }
        if let (Some(Work::Backup(taken)), Some(instance)) = (&report.work, report.task.instance()) {
            self.backups.insert(instance.to_owned(), backup(taken));
        }
    }
}

fn backup(taken: &Taken) -> BackupMeasure {
    BackupMeasure {
        window_seconds: taken.window_ms.map(|ms| ms as f64 / 1000.0),
        read_bytes: taken.bytes_read,
        added_bytes: taken.bytes_added,
        content_bytes: taken.bytes,
        entries: taken.entries,
        problems: taken.problems,
    }
}

/// Where the measures of one repository are kept.
#[derive(Debug, Clone)]
pub struct MeasuresFile {
    file: PathBuf,
}

impl MeasuresFile {
    /// That of a name, which must make a file name, in a directory that is made when something is kept.
    pub fn new(directory: &Path, name: &str) -> Self {
        Self { file: directory.join(format!("{name}.measures.json")) }
    }

    /// Reads what was kept; nothing if it cannot be read.
    pub fn load(&self) -> Measures {
        let found = fs::read(&self.file).ok().and_then(|bytes| serde_json::from_slice::<Measures>(&bytes).ok());
        found.filter(|measures| measures.version == VERSION).unwrap_or_default()
    }

    /// Keeps other runs from changing it as long as the result lives.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn lock(&self) -> io::Result<File> {
        let directory = self.file.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(directory)?;
        let lock = OpenOptions::new().create(true).append(true).open(self.file.with_extension("lock"))?;
        lock.lock()?;
        Ok(lock)
    }

    /// Keeps measures for the next run.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn keep(&self, measures: &Measures) -> io::Result<()> {
        let directory = self.file.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(directory)?;
        let measures = Measures { version: VERSION, ..measures.clone() };
        replace(&self.file, &serde_json::to_vec_pretty(&measures)?, 0o600)
    }
}
