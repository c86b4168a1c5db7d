//! The application of one instance.

use std::path::PathBuf;
use std::time::Instant;

use icecore_source::freezer::service::{Service, TESTING, check_program, run_test};
use icecore_source::freezer::{FreezeError, FreezeErrorKind, FreezerConfig, Status};
use serde_json::{Value, json};

use crate::config::Instance;
use crate::error::{Error, Result};
use crate::output::{Output, human};

/// The application of one configured instance.
pub struct Application<'a> {
    pub instance: &'a Instance,
    /// What can be asked for its state.
    pub service: Option<Box<dyn Service>>,
    /// The program that tests what was restored.
    test: Option<Vec<String>>,
    /// As it was last known.
    pub state: Status,
    steps: Vec<Value>,
}

impl<'a> Application<'a> {
    /// Opens what can be asked; asks nobody. Roots named in `elsewhere` stand there.
    pub fn of(instance: &'a Instance, elsewhere: &[(String, PathBuf)]) -> Result<Self> {
        let opened = instance.freezing.freezer.service();
        let service = opened.map_err(|source| failed(instance, source))?;
        let named = |name: &str| elsewhere.iter().find(|(root, _)| root == name).map(|(_, path)| path.clone());
        let test = instance.test_program(|root| named(&root.name).unwrap_or_else(|| root.path.clone()));
        Ok(Self { instance, service, test, state: Status::Unknown, steps: Vec::new() })
    }

    /// Asks for the state.
    pub fn ask(&mut self) -> std::result::Result<Status, FreezeError> {
        self.state = Status::Unknown;
        if let Some(service) = &mut self.service {
            self.state = service.state()?;
        }
        Ok(self.state)
    }

    /// Refuses what could not be stopped, started or tested.
    pub fn check(&mut self) -> Result<()> {
        let checked = match (&mut self.service, &self.instance.freezing.freezer) {
            (Some(service), _) => service.check(),
            (None, FreezerConfig::Command(_)) => Err(unstoppable(
                "the keys status, stop and start are missing in [instance.freezer]; name programs there, or stop it by \
                 hand and leave out --stop-start",
            )),
            (None, other) => Err(unstoppable(&format!(
                "the freezer {} knows no way to stop it; stop it by hand and leave out --stop-start",
                other.name()
            ))),
        };
        let test = self.test.as_deref().filter(|_| !self.instance.is_test_in_a_root());
        let tested = checked.and_then(|()| test.map_or(Ok(()), check_program));
        tested.map_err(|source| failed(self.instance, source))
    }

    /// Stops it, unless it is stopped.
    pub fn stop(&mut self, output: &Output) -> std::result::Result<(), FreezeError> {
        let name = human::printable(&self.instance.name);
        if self.state == Status::Stopped {
            output.note(format_args!("instance {name} is stopped already"));
            self.steps.push(json!({ "step": "stop", "done": false }));
            return Ok(());
        }
        output.note(format_args!("instance {name}: stopping"));
        self.step("stop", |service| service.stop())?;
        self.state = Status::Stopped;
        output.note(format_args!("instance {name} is stopped"));
        Ok(())
    }

    /// Tests, starts, and lets it test itself; false if that found something.
    pub fn bring_back(&mut self, output: &Output) -> std::result::Result<bool, FreezeError> {
        let name = human::printable(&self.instance.name);
        if let Some(test) = self.test.clone() {
            output.note(format_args!("instance {name}: testing with `{}`", human::printable(&test.join(" "))));
            self.step("test", |_| run_test(&test, &[], TESTING, &|| true))?;
        }
        output.note(format_args!("instance {name}: starting"));
        self.step("start", |service| service.start())?;
        self.state = Status::Running;
        output.note(format_args!("instance {name} is running"));
        let begun = Instant::now();
        let verified = self.service.as_mut().map_or(Ok(None), |service| service.verify());
        let (findings, error) = match verified {
            Ok(None) => return Ok(true),
            Ok(Some(findings)) => (findings, None),
            Err(error) => (Vec::new(), Some(error.to_string())),
        };
        for finding in findings.iter().chain(&error) {
            output
                .warn(format_args!("instance {name} runs with the restored data, but: {}", human::printable(finding)));
        }
        let is_sound = findings.is_empty() && error.is_none();
        if is_sound {
            output.note(format_args!("instance {name} has verified its data: nothing found"));
        }
        let seconds = begun.elapsed().as_secs_f64();
        self.steps.push(json!({
            "step": "verify", "done": error.is_none(), "seconds": seconds, "findings": findings, "error": error,
        }));
        Ok(is_sound)
    }

    /// Does something with the service, and notes that it was done.
    fn step<T>(
        &mut self,
        name: &str,
        act: impl FnOnce(&mut dyn Service) -> std::result::Result<T, FreezeError>,
    ) -> std::result::Result<(), FreezeError> {
        let begun = Instant::now();
        if let Some(service) = &mut self.service {
            act(&mut **service)?;
        }
        self.steps.push(json!({ "step": name, "done": true, "seconds": begun.elapsed().as_secs_f64() }));
        Ok(())
    }

    /// What was done, as programs read it.
    pub fn document(&self) -> Value {
        json!({
            "instance": self.instance.name,
            "application": self.service.as_ref().map(|service| service.describe()),
            "state": self.state.word(),
            "steps": self.steps,
        })
    }
}

fn failed(instance: &Instance, source: FreezeError) -> Error {
    Error::Freezer { instance: instance.name.clone(), source: source.into() }
}

fn unstoppable(why: &str) -> FreezeError {
    FreezeError::new(FreezeErrorKind::Refused, format!("it cannot be stopped and started: {why}"))
}
