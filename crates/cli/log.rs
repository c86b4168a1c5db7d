//! The log of this process: `--log-file`, or else `[log]` of the configuration.
//!
//! What happens before the configuration is read waits until it is known where to write.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use icecore_service::log::{Log, Target, set_global_default};
use jiff::Timestamp;

use crate::args::{Cli, Command};
use crate::config::{self, Configuration};
use crate::output::say;

/// How long the end of the program waits for a file that hangs.
const PATIENCE: Duration = Duration::from_secs(5);

/// The log, and what it was begun with.
pub struct Logging {
    /// `None`: nobody may be told, or nobody can be.
    log: Option<Log>,
    named: Option<PathBuf>,
    command: &'static str,
    begun: Instant,
}

impl Logging {
    /// Begins to gather what happens. What is started by icecore itself keeps none: its parent tells.
    pub fn begin(cli: &Cli) -> Self {
        let (named, command, begun) = (cli.global.log_file.clone(), cli.command.name(), Instant::now());
        if matches!(cli.command, Command::Guardian(_) | Command::DemoPart(_)) {
            return Self { log: None, named, command, begun };
        }
        let (log, collector) = Log::begin(Timestamp::now);
        let log = set_global_default(collector).is_ok().then_some(log);
        tracing::info!(command, "command begins");
        Self { log, named, command, begun }
    }

    /// Begins to write, if there is a file; the configuration says how, and where if the command line does not. Only the first
    /// call counts.
    pub fn open(&self, configuration: Option<&Configuration>) {
        let Some(log) = &self.log else { return };
        let config::Log { file, format, level } =
            configuration.map(|configuration| configuration.tell.log.clone()).unwrap_or_default();
        match self.named.clone().or(file) {
            Some(file) => log.open(Target { file, format, level }, |why| say(format_args!("warning: {why}"))),
            None => log.discard(),
        }
    }

    /// Tells how the command ended, and waits until that is written.
    pub fn end(&self, code: u8) {
        let seconds = self.begun.elapsed().as_secs_f64();
        tracing::info!(command = self.command, code, seconds, "command ends");
        // Of a command without a configuration, or one that cannot be read.
        self.open(None);
        if self.log.as_ref().is_some_and(|log| !log.end(PATIENCE)) {
            say("warning: the log was not written to its end in time: its last lines may be lost");
        }
    }
}
