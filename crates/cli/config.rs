//! The configuration file: which repository, which instances, how each is frozen.
//!
//! | module | what it holds |
//! |---|---|
//! | [`error`] | what is wrong, with file, line and key |
//! | [`section`] | TOML values read by key and type; every problem is noted |
//! | [`mod@file`] | all tables and their keys; the repository, the instances |
//! | [`terms`] | what instances share under `[defaults]` |
//! | [`hooks`] | `[hooks]`, `[instance.hooks]` |
//! | [`jobs`] | `[limits]`, `[run]`, `[prune]`, `[check]` |
//! | [`drill`] | `[drill]`, `[instance.drill]` |
//! | [`tell`] | `[metrics]`, `[notify]`, `[log]` |
//! | [`freezer`] | those of `[instance.freezer]` |
//! | [`capture`] | `capture` and `[instance.snapshot]` |
//! | [`verify`] | the program that tests a restored copy |
//! | [`check`] | whether the roots stand where the file says |
//! | [`show`] | all of it as it is understood, in TOML or JSON |
//!
//! What the file says is judged as soon as it is read; what stands on the disk only for the instance that is used, so that
//! a lost disk keeps nobody from restoring.

mod capture;
mod check;
mod drill;
mod error;
mod file;
mod freezer;
mod hooks;
mod jobs;
mod section;
mod show;
mod tell;
mod terms;
mod verify;

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use icecore_engine::backup::OnWindowFailure;
use icecore_service::{Schedule, Task};
use icecore_source::capture::{Choice, SnapshotPrograms};
use icecore_source::freezer::FreezerConfig;

pub use self::check::Ours;
pub use self::drill::{Choice as DrillChoice, DrillJob};
pub use self::error::{ConfigError, ConfigErrors, Mark};
pub use self::hooks::Hooks;
pub use self::jobs::{CheckJob, Limits, Parallel, PruneJob};
pub use self::section::Reference;
use self::section::nearest;
pub use self::tell::{Log, Mail, Notify, Tell};
use crate::error::{Error, Result};

/// What a configuration file says.
#[derive(Debug, Clone)]
pub struct Configuration {
    /// The file.
    pub file: Arc<Path>,
    /// The repository, if it is named there.
    pub repository: Option<Repository>,
    /// The instances, in the order of the file.
    pub instances: Vec<Instance>,
    /// What is run around a run of everything that is due.
    pub hooks: Hooks,
    /// How much of the machine is used.
    pub limits: Limits,
    /// How a run goes about the instances.
    pub run: Parallel,
    /// When and how the repository is pruned.
    pub prune: PruneJob,
    /// When and how it is checked.
    pub check: CheckJob,
    /// When and how restores are practised, of instances that say nothing else.
    pub drill: DrillJob,
    /// Who is told of runs.
    pub tell: Tell,
    /// What the file names on the disk.
    pub references: Vec<Reference>,
}

/// A commented file with every key and its default.
pub const EXAMPLE: &str = include_str!("config/example.toml");

/// `[repository]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    /// Where it is, as it was written.
    pub url: String,
    /// What opens it.
    pub password_file: Option<PathBuf>,
}

/// `[[instance]]`.
#[derive(Debug, Clone)]
pub struct Instance {
    /// Its name, and that of its series.
    pub name: String,
    /// Its directories; at least one.
    pub roots: Vec<InstanceRoot>,
    /// What is left out, as it was written.
    pub exclude: Vec<String>,
    /// How it is frozen.
    pub freezing: Freezing,
    /// When it is backed up.
    pub schedule: Schedule,
    /// Which of its snapshots are kept.
    pub keep: Keep,
    /// What is run around its backup.
    pub hooks: Hooks,
    /// The program, with its arguments, that tests a restored copy.
    pub verify: Option<Vec<String>>,
    /// When and how its restore is practised.
    pub drill: DrillJob,
}

/// A directory of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceRoot {
    /// Its name in snapshots.
    pub name: String,
    /// Where it stands; absolute.
    pub path: PathBuf,
    /// Where that is written.
    pub at: Mark,
}

/// How an instance is frozen and captured.
#[derive(Debug, Clone)]
pub struct Freezing {
    /// What makes it quiet.
    pub freezer: FreezerConfig,
    /// How hot content is secured.
    pub capture: Choice,
    /// What makes snapshots, if not the file system.
    pub snapshot: Option<SnapshotPrograms>,
    /// How long the window may be.
    pub max_freeze: Duration,
    /// How many passes over the live files may come before it.
    pub warm_rounds: u8,
    /// What is read in the window whatever its times say, as it was written.
    pub always_read: Vec<String>,
    /// What becomes of a run whose window failed.
    pub on_failure: OnWindowFailure,
}

/// How many snapshots of each kind are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keep {
    /// Kind and number, such as `daily` and 14, in the order of [`terms::KEEP_KINDS`].
    pub rules: Vec<(&'static str, u32)>,
}

impl Configuration {
    /// Reads the file that the user named, or else the first of `places` that is there.
    pub fn find(named: Option<&Path>, places: &[PathBuf]) -> Result<Option<Self>> {
        match find_text(named, places)? {
            Some((file, bytes)) => Ok(Some(Self::parse(&file, &bytes)?)),
            None => Ok(None),
        }
    }

    /// The instance of a name.
    pub fn instance(&self, name: &str) -> Result<&Instance> {
        self.instances.iter().find(|instance| instance.name == name).ok_or_else(|| {
            let names: Vec<_> = self.instances.iter().map(|instance| instance.name.as_str()).collect();
            let next = match nearest(name, &names) {
                Some(near) => format!("did you mean {near:?}?"),
                None if names.is_empty() => "it configures none".to_owned(),
                None => format!("it configures {}", names.join(", ")),
            };
            Error::Misuse(format!("no instance {name:?} is configured in {}: {next}", self.file.display()))
        })
    }

    /// Where the file gives a task of the repository's care a schedule; `None`: it has the one that it has by default.
    pub fn asks_for(&self, task: &Task) -> Option<&Mark> {
        match task {
            Task::Prune => self.prune.asked.as_ref(),
            Task::Check => self.check.asked.as_ref(),
            Task::Drill { instance } => self.instance(instance).ok()?.drill.asked.as_ref(),
            Task::Backup { .. } | Task::Forget { .. } => None,
        }
    }

    /// The instances of these names, each once; all of them if `all`.
    pub fn chosen(&self, names: &[String], all: bool) -> Result<Vec<&Instance>> {
        if all && self.instances.is_empty() {
            return Err(Error::Misuse(format!("no instance is configured in {}", self.file.display())));
        }
        if all {
            return Ok(self.instances.iter().collect());
        }
        let mut chosen: Vec<&Instance> = Vec::with_capacity(names.len());
        for name in names {
            let instance = self.instance(name)?;
            if !chosen.iter().any(|other| other.name == instance.name) {
                chosen.push(instance);
            }
        }
        Ok(chosen)
    }
}

/// The file that the user named, or else the first of `places` that is there, and what stands in it.
pub fn find_text(named: Option<&Path>, places: &[PathBuf]) -> Result<Option<(PathBuf, Vec<u8>)>> {
    let read = |file: &Path| fs::read(file).map_err(Error::file("read the configuration", file));
    if let Some(file) = named {
        return Ok(Some((file.to_owned(), read(file)?)));
    }
    for file in places {
        match read(file) {
            Err(Error::File { source, .. }) if is_absence(source.kind()) => {}
            bytes => return Ok(Some((file.clone(), bytes?))),
        }
    }
    Ok(None)
}

/// A place without a configuration, as against one that cannot be read.
fn is_absence(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::NotFound | ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests;
