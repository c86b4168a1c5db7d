//! What every command does first: thaws what an interrupted run left frozen, and destroys the snapshots that it left.

use std::time::Duration;

use icecore_source::capture;
use icecore_source::window::{RecoverFailure, Recovered, Retry, recover};

use crate::args::{Cli, Command, InstanceCommand};
use crate::exit::Code;
use crate::output::{Output, human, json};
use crate::settings::{self, Settings};
use crate::time;
use crate::world::World;

/// How long a command that was asked for something else tries to thaw, or to destroy one snapshot. Who wants to restore must not wait for a server
/// that may be gone for ever.
const PATIENCE: Duration = Duration::from_secs(30);

/// What came of it.
#[derive(Debug)]
pub struct Recovery {
    /// The windows that were closed.
    pub recovered: Vec<Recovered>,
    /// What may still be frozen or could not be looked at, in sentences.
    pub warnings: Vec<String>,
    /// [`Code::Done`] unless something may still be frozen or could not be looked at.
    pub code: Code,
}

impl Recovery {
    /// Thaws and clears away what is left, and says so. The command goes on whatever comes of it.
    pub fn begin(cli: &Cli, world: &World, output: &Output) -> Self {
        let state = Settings::state_directory(&cli.global, world);
        let Some(state) = state.filter(|_| cli.command.recovers()) else {
            return Self { recovered: Vec::new(), warnings: Vec::new(), code: Code::Done };
        };
        let retry = match cli.command {
            Command::Instance(InstanceCommand::Thaw(_)) => Retry::default(),
            _ => Retry { patience: PATIENCE, ..Retry::default() },
        };
        let mut log = |line: &str| output.note(line);
        let (recovered, failures) = match recover(&settings::windows(&state), &time::now, &retry, &mut log) {
            Ok(recovered) => (recovered, Vec::new()),
            Err(error) => (error.recovered, error.failures),
        };
        for Recovered { instance, by, at } in &recovered {
            let (instance, by) = (human::printable(instance), json::thawed_by(*by));
            output.always(format_args!(
                "instance {instance} was in the freeze window of an interrupted run: thawed by its {by} at {}",
                time::local(*at)
            ));
        }
        let mut code = Code::Done;
        let warnings: Vec<String> = failures.iter().map(|failure| sentence(failure)).collect();
        warnings.iter().for_each(|warning| output.warn(warning));
        for failure in &failures {
            code = code.worst(code_of(failure));
        }
        // A snapshot that stays takes room, and harms nobody: the code does not tell of it.
        for cleared in capture::recover(&settings::captures(&state), PATIENCE) {
            match cleared {
                Ok(leftover) => output.always(format_args!(
                    "{}, which an interrupted run had left, is destroyed",
                    human::printable(&leftover.what)
                )),
                Err(failure) => output.warn(sentence(&failure)),
            }
        }
        Self { recovered, warnings, code }
    }
}

fn code_of(failure: &RecoverFailure) -> Code {
    match failure {
        RecoverFailure::Thaw(_) | RecoverFailure::GuardianStillTries { .. } => Code::Unthawed,
        RecoverFailure::Io { .. } => Code::Failed,
    }
}

/// The failure and its cause.
fn sentence(failure: &dyn std::error::Error) -> String {
    let cause = failure.source().map(ToString::to_string);
    match (failure.to_string(), cause) {
        (said, Some(cause)) if !said.contains(&cause) => format!("{said}: {cause}"),
        (said, _) => said,
    }
}
