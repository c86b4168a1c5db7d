//! The application of an instance while its files are replaced: it is stopped before, and started again afterwards.
//!
//! ```text
//! state → (running) stop → state says stopped → …files are replaced… → start → state says running → verify
//! ```
//! What a freezer does for a blink, a service does for as long as it takes; nobody starts an application whose restore
//! failed. Which freezers have one: `mailstore`, and `command` with a status program.

use std::ffi::OsStr;
use std::time::Duration;

use super::command::CommandService;
use super::{FreezeError, FreezerConfig, Status, mailstore, program};

/// How long a program or a server may test restored data: a terabyte takes hours.
pub const TESTING: Duration = Duration::from_secs(24 * 60 * 60);

/// What stops and starts the application of one instance.
pub trait Service: Send {
    /// Asks what state it is in. [`Status::Unknown`]: the answer was none of the others, as while it starts.
    ///
    /// # Errors
    /// If the question could not be asked.
    fn state(&mut self) -> Result<Status, FreezeError>;

    /// Finds out, without stopping anything, whether it could be stopped and started.
    ///
    /// # Errors
    /// What is missing: a key of the configuration, a program, a function of the server.
    fn check(&mut self) -> Result<(), FreezeError>;

    /// Stops it, and returns once its state confirms that. One that is stopped is a success.
    ///
    /// # Errors
    /// After the time limits of the configuration. It may stop later.
    fn stop(&mut self) -> Result<(), FreezeError>;

    /// Starts it, and returns once its state confirms that. One that runs is a success.
    ///
    /// # Errors
    /// As [`stop`](Self::stop).
    fn start(&mut self) -> Result<(), FreezeError>;

    /// Lets the running application test its data: what it found wrong, a sentence each. `None` if it has no such
    /// test.
    ///
    /// # Errors
    /// If the test could not be made, or its outcome is not known.
    fn verify(&mut self) -> Result<Option<Vec<String>>, FreezeError>;

    /// Names it, for people.
    fn describe(&self) -> String;
}

impl FreezerConfig {
    /// Opens what stops and starts the instance's application; asks nobody. `None` if nobody could be asked for its
    /// state.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn service(&self) -> Result<Option<Box<dyn Service>>, FreezeError> {
        match self {
            Self::None | Self::Fsfreeze(_) => Ok(None),
            Self::Command(config) => {
                Ok(CommandService::open(config).map(|service| -> Box<dyn Service> { Box::new(service) }))
            }
            Self::Mailstore(config) => mailstore::service(config).map(Some),
        }
    }
}

/// Finds out whether a program (its absolute path and its arguments) could be run.
///
/// # Errors
/// If not.
pub fn check_program(argv: &[String]) -> Result<(), FreezeError> {
    program::check(argv)
}

/// Runs a program that tests restored files, for as long as `limit` and as somebody wants it to go on; it passes them by
/// exiting with 0.
///
/// # Errors
/// The end of what it said, if it does not.
pub fn run_test(
    argv: &[String],
    environment: &[(&str, &OsStr)],
    limit: Duration,
    go_on: &dyn Fn() -> bool,
) -> Result<(), FreezeError> {
    program::run_while(argv, environment, limit, go_on)?.expect_success(argv).map(drop)
}
