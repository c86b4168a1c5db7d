//! Freezers: how an instance is made quiet, and woken.
//!
//! A freezer is told by its [`FreezerConfig`], which stands in the journal of a window: the engine,
//! the guardian and any later run open the same freezer from it. Who thaws, and when, is decided in
//! [`window`](crate::window) alone.

pub mod command;
mod config;
mod error;
pub mod fsfreeze;
pub mod mailstore;
mod none;
pub(crate) mod program;
pub mod service;

use std::ffi::OsStr;
use std::time::Duration;

pub use config::{CommandConfig, FreezerConfig, FsfreezeConfig, MailstoreConfig};
pub use error::{FreezeError, FreezeErrorKind};

/// What makes one instance quiet, and wakes it.
///
/// All calls may be made in any order and from any process; a freezer keeps nothing that a freezer
/// opened elsewhere would miss.
pub trait Freezer: Send {
    /// Finds out whatever can be told before anything is frozen: programs exist and may be run, the
    /// API answers, exactly this instance is meant, nobody else has frozen it.
    ///
    /// # Errors
    /// The first thing that stands in the way.
    fn check(&mut self) -> Result<(), FreezeError>;

    /// Asks for the freeze, and returns once it is confirmed.
    ///
    /// # Errors
    /// After `limit` at the latest. A [`thaw`](Self::thaw) must follow every call, failed or not: a
    /// request that got no answer may have been heard.
    fn freeze(&mut self, limit: Duration) -> Result<(), FreezeError>;

    /// Tries once to wake the instance, and returns once that is confirmed. An instance that was not
    /// frozen is a success.
    ///
    /// # Errors
    /// After `limit` at the latest; the caller tries again.
    fn thaw(&mut self, limit: Duration) -> Result<(), FreezeError>;

    /// Asks what state the instance is in.
    ///
    /// # Errors
    /// If the question could not be asked; [`Status::Unknown`] if there is no way to ask.
    fn status(&mut self, limit: Duration) -> Result<Status, FreezeError>;

    /// Wakes the instance by stronger means, once [`thaw`](Self::thaw) has failed too often; `None`
    /// without such a means, or without permission to use it.
    fn last_resort(&mut self, limit: Duration) -> Option<Result<(), FreezeError>>;

    /// Why the instance must have been awake before this very object, which froze it, thawed it; `None` if nothing says so.
    /// Asked once, after the confirmed thaw.
    fn was_awake(&mut self, limit: Duration) -> Option<String> {
        let _ = limit;
        None
    }

    /// Names the freezer and its instance, for people.
    fn describe(&self) -> String;

    /// Tells whether a freeze that nobody waits for any more may still take effect *after* a confirmed
    /// thaw, because somebody else carries it out. After such a freeze one thaw is not the end: it is
    /// repeated until nothing late can come.
    fn may_freeze_late(&self) -> bool {
        false
    }
}

/// The state of an instance, as far as its freezer can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Quiet.
    Frozen,
    /// At work.
    Running,
    /// It has no process, and so no file open.
    Stopped,
    /// There is no way to tell.
    Unknown,
}

impl Status {
    /// The word for it, for people and programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Frozen => "frozen",
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Unknown => "unknown",
        }
    }
}

/// Runs a program of the user's as freezers run theirs: by its absolute path, without input, in a process group that is killed
/// after `limit`. Gives the end of what it said.
///
/// # Errors
/// If it cannot be run, takes too long, or ends with another status than 0; with the end of what it said.
pub fn run_program(argv: &[String], environment: &[(&str, &OsStr)], limit: Duration) -> Result<String, FreezeError> {
    program::run(argv, environment, limit)?.expect_success(argv)
}

/// The same with something to read.
///
/// # Errors
/// As [`run_program`].
pub fn feed_program(argv: &[String], input: &[u8], limit: Duration) -> Result<String, FreezeError> {
    program::run_fed(argv, &[], Some(input), limit)?.expect_success(argv)
}

impl FreezerConfig {
    /// Opens the freezer; asks nobody and freezes nothing.
    ///
    /// # Errors
    /// A configuration that can never work, such as an unreadable password file.
    pub fn open(&self) -> Result<Box<dyn Freezer>, FreezeError> {
        match self {
            Self::None => Ok(Box::new(none::Nothing)),
            Self::Command(config) => Ok(Box::new(command::CommandFreezer::open(config))),
            Self::Fsfreeze(config) => Ok(Box::new(fsfreeze::FilesystemFreezer::open(config))),
            Self::Mailstore(config) => mailstore::open(config),
        }
    }
}
