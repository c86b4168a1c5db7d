//! Snapshots that the user's programs make: of volumes, of storage, of file systems that nobody here knows.
//!
//! ```text
//! create    in the window; makes one snapshot of all roots
//! path      after the thaw, for each root: where it stands in the snapshot
//! destroy   when everything is stored, or when a dead run has left the snapshot; that there is none must be a success
//! ```
//! They run as the programs of the `command` freezer do: no shell, no input, in `/`, with a time limit. The environment
//! tells them what is meant.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Duration;

use super::CaptureError;
use crate::freezer::program;
use crate::tree::Root;

/// The instance's name.
const INSTANCE: &str = "ICECORE_INSTANCE";

/// What tells this snapshot from every other: letters and digits. It also marks the programs for whoever comes after a
/// crash.
pub(super) const SNAPSHOT: &str = "ICECORE_SNAPSHOT";

/// The name of the root that is asked for.
const ROOT_NAME: &str = "ICECORE_ROOT_NAME";

/// Where that root stands.
const ROOT_PATH: &str = "ICECORE_ROOT_PATH";

/// `[instance.snapshot]`. Programs are an absolute path and arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotPrograms {
    /// Makes the snapshot, and exits with 0 once it stands.
    pub create: Vec<String>,
    /// Destroys it. Must take one that is gone for a success.
    pub destroy: Vec<String>,
    /// Where a root stands in it.
    pub path: SnapshotPath,
    /// How long one program may run, in milliseconds.
    pub timeout_ms: u64,
}

/// Where a root stands in a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SnapshotPath {
    /// A path in which `{root}` stands for the root's absolute path and `{name}` for its name.
    Template(String),
    /// A program whose last line of output it is.
    Program(Vec<String>),
}

impl SnapshotPrograms {
    /// Finds out whether the programs could be run at all.
    pub(super) fn check(&self) -> Result<(), CaptureError> {
        let path = match &self.path {
            SnapshotPath::Program(argv) => Some(("path", argv)),
            SnapshotPath::Template(_) => None,
        };
        let programs = [Some(("create", &self.create)), Some(("destroy", &self.destroy)), path];
        programs.into_iter().flatten().try_for_each(|(key, argv)| {
            program::check(argv).map_err(|error| CaptureError::Program { key, error: Box::new(error) })
        })
    }

    pub(super) fn create(&self, instance: &str, token: &str, limit: Duration) -> Result<(), CaptureError> {
        let limit = limit.min(Duration::from_millis(self.timeout_ms));
        run("create", &self.create, instance, token, &[], limit).map(drop)
    }

    /// The directory in the snapshot that was a root.
    pub(super) fn path_of(&self, root: &Root, instance: &str, token: &str) -> Result<PathBuf, CaptureError> {
        let wrong = |why: String| CaptureError::View { root: root.path.clone(), why };
        let found = match &self.path {
            SnapshotPath::Template(template) => {
                let path = root.path.to_str().ok_or_else(|| wrong("its path is not UTF-8 text".to_owned()))?;
                PathBuf::from(template.replace("{root}", path).replace("{name}", &root.name))
            }
            SnapshotPath::Program(argv) => {
                let limit = Duration::from_millis(self.timeout_ms);
                let which = [(ROOT_NAME, OsStr::new(&root.name)), (ROOT_PATH, root.path.as_os_str())];
                let said = run("path", argv, instance, token, &which, limit)?;
                PathBuf::from(said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default())
            }
        };
        match found.is_absolute() && found.is_dir() {
            true => Ok(found),
            false => Err(wrong(format!("instance.snapshot.path says {:?}, which is no directory", found.display()))),
        }
    }
}

/// Destroys a snapshot.
pub(super) fn destroy(argv: &[String], instance: &str, token: &str, limit: Duration) -> Result<(), CaptureError> {
    run("destroy", argv, instance, token, &[], limit).map(drop)
}

fn run(
    key: &'static str,
    argv: &[String],
    instance: &str,
    token: &str,
    more: &[(&str, &OsStr)],
    limit: Duration,
) -> Result<String, CaptureError> {
    let environment = [&[(INSTANCE, OsStr::new(instance)), (SNAPSHOT, OsStr::new(token))], more].concat();
    program::run(argv, &environment, limit)
        .and_then(|exit| exit.expect_success(argv))
        .map_err(|error| CaptureError::Program { key, error: Box::new(error) })
}

/// The names of programs and their arguments in one line, for people.
pub(super) fn line(argv: &[String]) -> String {
    argv.join(" ")
}
