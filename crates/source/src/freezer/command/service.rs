//! Programs that stop and start.

use std::thread;
use std::time::{Duration, Instant};

use super::ask;
use crate::freezer::service::Service;
use crate::freezer::{CommandConfig, FreezeError, FreezeErrorKind, Status, program};

/// Time between two questions for the state of an application that is about to change it.
const PAUSE: Duration = Duration::from_millis(50);

/// Stops and starts by running programs.
#[derive(Debug)]
pub(in crate::freezer) struct CommandService {
    config: CommandConfig,
    status: Vec<String>,
}

impl CommandService {
    /// `None` without a status program: then nobody knows whether the application runs.
    pub(in crate::freezer) fn open(config: &CommandConfig) -> Option<Self> {
        Some(Self { config: config.clone(), status: config.status.clone()? })
    }

    fn limit(&self) -> Duration {
        Duration::from_millis(self.config.timeout_ms)
    }

    /// The program under a key, which must be there.
    fn program(&self, key: &str) -> Result<&[String], FreezeError> {
        let program = if key == "stop" { &self.config.stop } else { &self.config.start };
        program.as_deref().ok_or_else(|| {
            let sentence = format!(
                "{} cannot be stopped and started: the key {key} is missing in [instance.freezer]; name a program \
                 there, as in {key} = [\"/usr/local/bin/app-{key}\"]",
                self.describe()
            );
            FreezeError::new(FreezeErrorKind::Refused, sentence)
        })
    }

    /// Runs a program, and waits within its time limit until the status program says what it was run for.
    fn run(&self, key: &str, wanted: Status) -> Result<(), FreezeError> {
        let given_up = Instant::now() + self.limit();
        let argv = self.program(key)?;
        program::run(argv, &[], self.limit())?.expect_success(argv)?;
        loop {
            let found = ask(&self.status, self.limit())?;
            if found == wanted {
                return Ok(());
            }
            if Instant::now() >= given_up {
                let sentence = format!(
                    "`{}` succeeded, but `{}` says that the application is {}",
                    argv.join(" "),
                    self.status.join(" "),
                    found.word()
                );
                return Err(FreezeError::new(FreezeErrorKind::TimedOut, sentence));
            }
            thread::sleep(PAUSE);
        }
    }
}

impl Service for CommandService {
    fn state(&mut self) -> Result<Status, FreezeError> {
        ask(&self.status, self.limit())
    }

    fn check(&mut self) -> Result<(), FreezeError> {
        program::check(&self.status)?;
        ["stop", "start"].into_iter().try_for_each(|key| program::check(self.program(key)?))
    }

    fn stop(&mut self) -> Result<(), FreezeError> {
        self.run("stop", Status::Stopped)
    }

    fn start(&mut self) -> Result<(), FreezeError> {
        self.run("start", Status::Running)
    }

    fn verify(&mut self) -> Result<Option<Vec<String>>, FreezeError> {
        Ok(None)
    }

    fn describe(&self) -> String {
        format!("the application of `{}`", self.status.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(status: &str, stop: Option<&str>, start: Option<&str>) -> CommandService {
        let shell = |script: &str| ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
        CommandService::open(&CommandConfig {
            freeze: shell("true"),
            thaw: shell("true"),
            status: Some(shell(status)),
            stop: stop.map(shell),
            start: start.map(shell),
            timeout_ms: 700,
        })
        .unwrap()
    }

    #[test]
    fn the_status_program_tells_four_states() {
        for (status, state) in [
            ("exit 0", Status::Running),
            ("exit 3", Status::Frozen),
            ("exit 5", Status::Stopped),
            ("exit 4", Status::Unknown),
            ("kill -9 $$", Status::Unknown),
        ] {
            assert_eq!(service(status, None, None).state(), Ok(state), "{status}");
        }
    }

    #[test]
    fn only_what_the_status_confirms_was_done() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("stopped").display().to_string();
        let status = format!("[ -e {file} ] && exit 5; exit 0");
        // It takes a moment, in the background.
        let slowly = format!("(sleep 0.2; touch {file}) >/dev/null 2>&1 &");
        let mut works = service(&status, Some(&slowly), Some(&format!("rm -f {file}")));
        works.check().unwrap();
        works.stop().unwrap();
        assert_eq!(works.state(), Ok(Status::Stopped));
        works.start().unwrap();
        assert_eq!((works.state(), works.verify()), (Ok(Status::Running), Ok(None)));
        let error = service(&status, Some("true"), None).stop().unwrap_err();
        assert!(error.kind == FreezeErrorKind::TimedOut && error.message.contains("is running"), "{error}");
        let error = service(&status, Some("sleep 60"), None).stop().unwrap_err();
        assert!(error.kind == FreezeErrorKind::TimedOut && error.message.contains("was killed"), "{error}");
        let error = service(&status, Some("echo busy; exit 1"), None).stop().unwrap_err();
        assert_eq!(error.output.as_deref(), Some("busy\n"));
        let error = service(&status, Some("true"), None).check().unwrap_err();
        assert!(error.message.contains("the key start is missing"), "{error}");
    }
}
