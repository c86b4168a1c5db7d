//! Programs that freeze and thaw.

mod service;

use std::time::{Duration, Instant};

pub(super) use self::service::CommandService;
use super::{CommandConfig, FreezeError, FreezeErrorKind, Freezer, Status};
use crate::freezer::program::{self, Exit};
use crate::os::window as os;

/// The exit status by which the status program says "frozen". (0 says "running".)
pub const FROZEN: i32 = 3;

/// The exit status by which the status program says "stopped". None that `systemctl status` or an init script uses for
/// anything else, so that a program that only passes theirs on does not say it by mistake.
pub const STOPPED: i32 = 5;

/// Marks the programs that freeze and thaw in their environment, so that whoever thaws for a dead engine
/// finds the one that it left running. The value is the freeze program and its arguments.
const MARK: &str = "ICECORE_FREEZER";

/// How long the status program may take before the thaw.
const ASK_LIMIT: Duration = Duration::from_secs(1);

/// How long a killed program may take to be gone.
const END_LIMIT: Duration = Duration::from_secs(5);

/// Freezes and thaws by running programs.
#[derive(Debug)]
pub(super) struct CommandFreezer {
    config: CommandConfig,
    /// This very object froze, or has ended what others left running: nobody else's program runs.
    alone: bool,
    /// This very object froze, and has not thawed yet.
    frozen: bool,
    /// The status program said, before the thaw, that the instance was at work.
    awake: bool,
}

impl CommandFreezer {
    pub(super) fn open(config: &CommandConfig) -> Self {
        Self { config: config.clone(), alone: false, frozen: false, awake: false }
    }

    fn limit(&self, limit: Duration) -> Duration {
        limit.min(Duration::from_millis(self.config.timeout_ms))
    }

    fn mark(&self) -> String {
        self.config.freeze.join("\u{1f}")
    }

    /// Ends the program that an engine which is gone has left running: it could freeze after the thaw, or
    /// thaw a second time.
    fn end_orphans(&mut self) {
        let mark = self.mark();
        let given_up = Instant::now() + END_LIMIT;
        while !self.alone && Instant::now() < given_up {
            let orphans = os::groups_with_environment(MARK, &mark);
            self.alone = orphans.is_empty();
            for leader in orphans {
                // Gone already, or somebody else's: nothing more can be done about it.
                let _ = os::end_group(leader);
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }

    fn run_marked(&self, argv: &[String], limit: Duration) -> Result<(), FreezeError> {
        let mark = self.mark();
        program::run(argv, &[(MARK, mark.as_ref())], self.limit(limit))?.expect_success(argv).map(drop)
    }
}

impl Freezer for CommandFreezer {
    fn check(&mut self) -> Result<(), FreezeError> {
        for program in [Some(&self.config.freeze), Some(&self.config.thaw), self.config.status.as_ref()] {
            program.map_or(Ok(()), |program| program::check(program))?;
        }
        match self.status(Duration::MAX)? {
            Status::Frozen => Err(FreezeError::new(
                FreezeErrorKind::Refused,
                format!("{} is frozen already, and not by this run; thaw it first", self.describe()),
            )),
            Status::Running | Status::Stopped | Status::Unknown => Ok(()),
        }
    }

    fn freeze(&mut self, limit: Duration) -> Result<(), FreezeError> {
        self.alone = true;
        self.run_marked(&self.config.freeze, limit)?;
        self.frozen = true;
        Ok(())
    }

    fn thaw(&mut self, limit: Duration) -> Result<(), FreezeError> {
        self.end_orphans();
        if std::mem::take(&mut self.frozen) {
            self.awake = self.status(limit.min(ASK_LIMIT)) == Ok(Status::Running);
        }
        self.run_marked(&self.config.thaw, limit)?;
        match self.status(limit) {
            Ok(Status::Frozen) => Err(FreezeError::new(
                FreezeErrorKind::Failed,
                format!("`{}` succeeded, but {} is still frozen", self.config.thaw.join(" "), self.describe()),
            )),
            // The program's own success is the confirmation if nothing contradicts it.
            Ok(Status::Running | Status::Stopped | Status::Unknown) | Err(_) => Ok(()),
        }
    }

    fn status(&mut self, limit: Duration) -> Result<Status, FreezeError> {
        match &self.config.status {
            Some(status) => ask(status, self.limit(limit)),
            None => Ok(Status::Unknown),
        }
    }

    fn was_awake(&mut self, _: Duration) -> Option<String> {
        self.awake.then(|| "its status program said, before the thaw, that it was at work".to_owned())
    }

    fn last_resort(&mut self, _: Duration) -> Option<Result<(), FreezeError>> {
        None
    }

    fn describe(&self) -> String {
        format!("the application of `{}`", self.config.freeze.join(" "))
    }
}

/// Asks a status program.
fn ask(status: &[String], limit: Duration) -> Result<Status, FreezeError> {
    Ok(match program::run(status, &[], limit)? {
        Exit { code: Some(0), .. } => Status::Running,
        Exit { code: Some(FROZEN), .. } => Status::Frozen,
        Exit { code: Some(STOPPED), .. } => Status::Stopped,
        Exit { .. } => Status::Unknown,
    })
}

#[cfg(test)]
mod tests;
