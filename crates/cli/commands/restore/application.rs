//! The applications whose directories a restore writes to: none may be at work meanwhile.
//!
//! ```text
//! find (configured instances that the targets meet) → admit (states; a running one is refused)
//!   → stop (--stop-start) → …restore… → finish: nobody has started one meanwhile → verify program → start → verify
//! ```
//! A restore that fails starts nothing: it says what stands, and which command goes on.

mod one;

use std::ffi::OsString;
use std::path::PathBuf;

use icecore_source::claim::{Use, meet};
use icecore_source::freezer::{FreezeError, FreezeErrorKind, Status};
use icecore_source::target::identity;
use serde_json::Value;

use self::one::Application;
use super::command_line::quoted;
use crate::args::RestoreArgs;
use crate::error::{Error, Result};
use crate::exit::Code;
use crate::output::{Output, human};
use crate::settings::Settings;
use crate::world;

/// The applications, and what was done with them.
pub struct Applications<'a> {
    all: Vec<Application<'a>>,
    /// The targets of an exchange, and which directories stood there; of the other modes, nothing.
    exchanged: Vec<(PathBuf, Option<(u64, u64)>)>,
    is_exchange: bool,
    /// Whether they could be stopped for it: not for a new directory.
    may_stop: bool,
    stop_start: bool,
}

impl<'a> Applications<'a> {
    /// Those whose roots are, or are in, or hold one of the targets.
    pub fn find(args: &RestoreArgs, settings: &'a Settings, targets: &[PathBuf]) -> Result<Self> {
        let mut all = Vec::new();
        for instance in settings.configuration.iter().flat_map(|configuration| &configuration.instances) {
            let mut meets = false;
            for target in targets {
                for root in &instance.roots {
                    meets |= meet(target, &root.path).map_err(Error::file("look at", target))?;
                }
            }
            if meets {
                all.push(Application::of(instance, &args.roots)?);
            }
        }
        if args.stop_start && all.is_empty() {
            let message = "--stop-start: no configured instance has its directories where this restore writes; leave it \
                           out, or name the configuration with --config FILE";
            return Err(Error::Misuse(message.to_owned()));
        }
        let stood = |path: &PathBuf| (path.clone(), identity(path).ok());
        let exchanged = if args.exchange { targets.iter().map(stood).collect() } else { Vec::new() };
        let may_stop = args.in_place || args.exchange;
        Ok(Self { all, exchanged, is_exchange: args.exchange, may_stop, stop_start: args.stop_start })
    }

    /// What the restore claims: what it writes, and all that belongs to what it stops.
    pub fn claims(&self, targets: &[PathBuf]) -> Vec<(PathBuf, Use)> {
        let stopped = self.all.iter().filter(|_| self.stop_start).flat_map(|one| &one.instance.roots);
        targets.iter().cloned().chain(stopped.map(|root| root.path.clone())).map(|path| (path, Use::Write)).collect()
    }

    /// Asks for the states, and says what would be asked of the applications.
    pub fn rehearse(&mut self, output: &Output) {
        for one in self.all.iter_mut().filter(|one| one.service.is_some()) {
            let name = human::printable(&one.instance.name);
            let said = match one.ask() {
                Ok(state) => state.word().to_owned(),
                Err(error) => format!("in a state that is not known ({error})"),
            };
            let then = match (one.state, self.stop_start) {
                (Status::Frozen, _) => "the restore would be refused: thaw it first",
                (Status::Stopped, false) => "nothing would be asked of it",
                (Status::Stopped, true) => "it would be started after the restore, and verified",
                (_, true) => "it would be stopped before the restore, started after it, and verified",
                (_, false) => "the restore would be refused: stop it, or add --stop-start",
            };
            let sentence = format!("instance {name} is {said}: {then}");
            if then.contains("refused") { output.warn(sentence) } else { output.note(format_args!("{sentence}")) }
        }
    }

    /// Refuses to touch the directories of an application that is, or may be, at work, unless it will be stopped.
    pub fn admit(&mut self, output: &Output) -> Result<()> {
        for one in &mut self.all {
            let name = &one.instance.name;
            if self.stop_start {
                one.check()?;
            }
            if one.service.is_none() {
                let name = human::printable(name);
                output
                    .warn(format_args!("instance {name} cannot be asked whether it runs: make sure that it does not"));
                continue;
            }
            let state = match one.ask() {
                Ok(Status::Stopped) => continue,
                Ok(Status::Running | Status::Unknown) if self.stop_start => continue,
                Ok(Status::Running) => "is running".to_owned(),
                Ok(Status::Frozen) => {
                    let why = format!("is frozen: `icecore instance thaw {}` wakes it", human::printable(name));
                    return Err(Error::AtWork { instance: name.clone(), state: why, stopping: None });
                }
                Ok(Status::Unknown) => "is in a state that is not known".to_owned(),
                Err(error) => format!("cannot be asked whether it runs ({error})"),
            };
            let option = [OsString::from("--stop-start")];
            let stopping = self.may_stop.then(|| quoted(&[&world::command_line(), &option[..]].concat()));
            return Err(Error::AtWork { instance: name.clone(), state, stopping });
        }
        Ok(())
    }

    /// Stops everything that runs, if that was asked for.
    pub fn stop(&mut self, output: &Output) -> Result<()> {
        if !self.stop_start {
            return Ok(());
        }
        if self.all.iter().any(|one| one.state != Status::Stopped) {
            output.warn(format_args!(
                "the application is stopped now; should this run be ended by force, it stays so, and `{}` goes on",
                quoted(&world::command_line())
            ));
        }
        for number in 0..self.all.len() {
            if let Some(one) = self.all.get_mut(number)
                && let Err(source) = one.stop(output)
            {
                let instance = one.instance.name.clone();
                let before = self.all.iter().take(number).map(|one| one.instance.name.clone()).collect();
                return Err(Error::NotStopped { instance, before, source: source.into() });
            }
        }
        Ok(())
    }

    /// Starts what was stopped, after everything was restored.
    ///
    /// # Errors
    /// What stands in the way, with what stands and the command that goes on.
    pub fn finish(&mut self, output: &Output) -> Result<Code> {
        let mut code = Code::Done;
        for number in 0..self.all.len() {
            let Some(one) = self.all.get_mut(number).filter(|one| one.service.is_some()) else { continue };
            match one.ask() {
                Ok(Status::Stopped) => {}
                Ok(Status::Running) => {
                    let name = one.instance.name.clone();
                    return Err(self.failed(Error::Restarted(name)));
                }
                Ok(_) | Err(_) if !self.stop_start => {
                    let name = human::printable(&one.instance.name);
                    output.warn(format_args!("instance {name} could not be asked whether it was stopped all the time"));
                }
                Ok(state) => {
                    let sentence = format!("it is {} now, although it was stopped for the restore", state.word());
                    let error = FreezeError::new(FreezeErrorKind::Failed, sentence);
                    return Err(self.halted(number, error));
                }
                Err(error) => return Err(self.halted(number, error)),
            }
            if self.stop_start {
                match one.bring_back(output) {
                    Ok(true) => {}
                    Ok(false) => code = Code::Failed,
                    Err(error) => return Err(self.halted(number, error)),
                }
            }
        }
        Ok(code)
    }

    /// After a failure: says that what was stopped is left so, and how to go on.
    pub fn failed(&mut self, cause: Error) -> Error {
        let next = format!("`{}`, run again, goes on where this run stopped", quoted(&world::command_line()));
        match self.left() {
            Some(stands) => Error::Left { stands, next, cause: Box::new(cause) },
            None => cause,
        }
    }

    /// After a restore to which something is missing: says what is left stopped. That it failed is known.
    pub fn give_up(&mut self, output: &Output) -> Code {
        if let Some(stands) = self.left() {
            output.warn(format_args!(
                "{stands}, because not everything could be restored: restore another snapshot, or this one again when \
                 what is missing is there (`{}`), or start it by hand",
                quoted(&world::command_line())
            ));
        }
        if self.stop_start { Code::Failed } else { Code::Done }
    }

    /// Says what was stopped and does not run again, and what stands in its directories.
    pub fn left(&mut self) -> Option<String> {
        let stop_start = self.stop_start;
        let stopped = self.all.iter_mut().filter(|one| stop_start && one.service.is_some());
        let stopped: Vec<_> = stopped.filter(|one| one.state != Status::Running).collect();
        let said = stopped.into_iter().map(|one| {
            let name = human::printable(&one.instance.name);
            // What failed may have been the start.
            match one.ask() {
                Ok(Status::Stopped) => format!("instance {name} is left stopped"),
                Ok(state) => format!("instance {name} is left in state {}", state.word()),
                Err(_) => format!("instance {name} is left, and does not tell whether it is stopped"),
            }
        });
        let said: Vec<_> = said.collect();
        (!said.is_empty()).then(|| format!("{}, with {}", said.join(", "), self.data()))
    }

    fn halted(&mut self, number: usize, error: FreezeError) -> Error {
        let instance = self.all.get(number).map(|one| one.instance.name.clone()).unwrap_or_default();
        self.failed(Error::Freezer { instance, source: error.into() })
    }

    /// What stands in the directories after a failure.
    fn data(&self) -> &'static str {
        if !self.is_exchange {
            return "its directories partly or wholly restored";
        }
        let is_new = |(path, stood): &&(PathBuf, Option<(u64, u64)>)| identity(path).ok() != *stood;
        match self.exchanged.iter().filter(is_new).count() {
            0 => "its old data",
            some if some < self.exchanged.len() => "some directories wholly restored, and the others wholly old",
            _ => "the restored data",
        }
    }

    /// What was done, as programs read it.
    pub fn document(&self) -> Value {
        self.all.iter().filter(|one| one.service.is_some()).map(Application::document).collect()
    }
}
