//! The instance from its making on.

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use icecore_engine::restore::RestoreJob;
use icecore_source::claim::real_path;
use icecore_source::freezer::mailstore::{self, NewInstance};
use icecore_source::freezer::service::Service;
use icecore_source::freezer::{FreezeError, Status};
use icecore_source::target::identity;
use serde_json::{Value, json};

use super::plan::Plan;
use crate::error::{Error, Result};
use crate::exit::Code;
use crate::output::{Output, human};

/// The instance from its making on.
pub struct Made<'a> {
    plan: &'a Plan<'a>,
    instance: NewInstance,
    /// What was done, as programs read it.
    pub steps: Vec<Value>,
    /// Its base directory on this host.
    pub directory: PathBuf,
}

impl<'a> Made<'a> {
    /// Nothing is made yet.
    pub fn plan(plan: &'a Plan<'a>, instance: NewInstance) -> Self {
        Self { plan, instance, steps: Vec::new(), directory: plan.directory.clone() }
    }

    /// Makes it, stops it, and empties its base directory.
    pub fn create(&mut self, job: &RestoreJob<'_>, output: &Output) -> Result<()> {
        let plan = self.plan;
        output.note(format_args!("instance {}: making it with the base directory {}", plan.id, plan.base));
        let begun = Instant::now();
        if let Err(error) = self.instance.create(&plan.like.instance_id, &plan.base) {
            let error = plan.failed(error);
            // The answer may have been lost, and not the request.
            let stands = !matches!(self.instance.standing(), Ok(None));
            return Err(if stands { self.left(error) } else { error });
        }
        self.done("create", begun);
        let told = self.instance.base_directory().map_err(|error| self.left(plan.failed(error)))?;
        if trimmed(&told) != trimmed(&plan.base) {
            let what = format!(
                "the server made instance {} in {told}, and not in {}: nothing was deleted there",
                plan.id, plan.base
            );
            self.directory = PathBuf::from(told);
            return Err(self.left(Error::Refused(what)));
        }
        let begun = Instant::now();
        let stopped = self.service().and_then(|mut service| match service.state() {
            Ok(Status::Stopped) => Ok(()),
            Ok(_) => service.stop(),
            Err(error) => Err(error),
        });
        stopped.map_err(|error| self.left(plan.failed(error)))?;
        self.done("stop", begun);
        output.note(format_args!("instance {} is made, and stopped", plan.id));
        let begun = Instant::now();
        self.empty(job).map_err(|error| self.left(error))?;
        self.done("empty", begun);
        Ok(())
    }

    /// Deletes what the making put into the base directory, which was empty or missing before.
    fn empty(&self, job: &RestoreJob<'_>) -> Result<()> {
        let failed =
            |source| Error::File { doing: "empty the new base directory", path: self.directory.clone(), source };
        let real = real_path(&self.directory).map_err(failed)?;
        if !real.is_dir() {
            return Err(Error::Refused(format!(
                "the base directory of the new instance is not at {} on this host: name where it stands here with \
                 --root {}=DIR",
                self.directory.display(),
                self.plan.root
            )));
        }
        for entry in fs::read_dir(&real).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if identity(&entry.path()).ok().is_some_and(|identity| job.leave_out.contains(&identity)) {
                let message = format!("{} is the repository or its index", entry.path().display());
                return Err(Error::Refused(message));
            }
            // What is behind a link stays.
            let is_directory = entry.file_type().map_err(failed)?.is_dir();
            let path = entry.path();
            let removed = if is_directory { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.map_err(failed)?;
        }
        Ok(())
    }

    /// Starts it and lets it verify itself.
    pub fn start(&mut self, output: &Output) -> Result<Code> {
        let plan = self.plan;
        output.note(format_args!("instance {}: starting", plan.id));
        let begun = Instant::now();
        let mut service = self.service().map_err(|error| self.left(plan.failed(error)))?;
        service.start().map_err(|error| self.left(plan.failed(error)))?;
        self.done("start", begun);
        output.note(format_args!("instance {} is running", plan.id));
        // Two instances on one store would ruin it.
        let problem = match self.strays() {
            Ok(strays) if strays.is_empty() => None,
            Ok(strays) => Some(Error::Refused(format!(
                "instance {} looks for the stores {} outside of what was restored, perhaps where the old instance has them, and \
                 was stopped at once: give them their paths (SetStorePath) while the old one is stopped",
                plan.id,
                human::printable(&strays.join(", "))
            ))),
            Err(error) => Some(plan.failed(error)),
        };
        if let Some(problem) = problem {
            // What does not tell where its stores are may be at work on those of another.
            let stopped = service.stop().map_err(|error| plan.failed(error));
            return Err(self.left(stopped.err().unwrap_or(problem)));
        }
        let begun = Instant::now();
        let findings = match service.verify() {
            Ok(findings) => findings.unwrap_or_default(),
            Err(error) => vec![error.to_string()],
        };
        for finding in &findings {
            let finding = human::printable(finding);
            output.warn(format_args!("instance {} runs with the restored data, but: {finding}", plan.id));
        }
        let seconds = begun.elapsed().as_secs_f64();
        self.steps.push(json!({ "step": "verify", "done": true, "seconds": seconds, "findings": findings }));
        Ok(if findings.is_empty() { Code::Done } else { Code::Failed })
    }

    /// Stores that the instance looks for elsewhere than where it was restored: databases may hold whole paths, as those of the
    /// old instance. A path that is not whole is below the base directory.
    fn strays(&mut self) -> std::result::Result<Vec<String>, FreezeError> {
        let new = self.plan.others.iter().map(|(_, path)| path.to_string_lossy());
        let new: Vec<_> = new.chain([self.plan.base.as_str().into(), self.directory.to_string_lossy()]).collect();
        let strays = |path: &String| is_whole(path) && !new.iter().any(|new| is_below(path, new));
        let stores = self.instance.stores()?.into_iter();
        let strays = stores.filter(|store| {
            [&store.database_path, &store.content_path, &store.index_path].into_iter().flatten().any(strays)
        });
        Ok(strays.map(|store| store.name).collect())
    }

    fn service(&self) -> std::result::Result<Box<dyn Service>, FreezeError> {
        mailstore::service(&self.plan.config)
    }

    fn done(&mut self, step: &str, begun: Instant) {
        self.steps.push(json!({ "step": step, "done": true, "seconds": begun.elapsed().as_secs_f64() }));
    }

    /// After a failure: what stands, and what goes on.
    pub fn left(&self, cause: Error) -> Error {
        let id = self.plan.id;
        let state = self.service().and_then(|mut service| service.state());
        let state = state.map_or("in a state that it does not tell", Status::word);
        // Without a first step that was done, an answer was lost.
        let made = if self.steps.is_empty() { "may have been made" } else { "was made" };
        Error::Left {
            stands: format!("instance {id} {made}, and is {state}; its base directory is {}", self.directory.display()),
            next: format!(
                "stop it if it runs, go on with `{}`, and start it; or delete the instance, and run the same command \
                 again",
                self.plan.next(&self.directory)
            ),
            cause: Box::new(cause),
        }
    }
}

/// Whether a path of the server, on whichever system it runs, begins at a root or a drive.
fn is_whole(path: &str) -> bool {
    path.starts_with(['/', '\\']) || path.as_bytes().get(1) == Some(&b':')
}

/// Whether a path of the server is a directory or below it, whatever its separators and, as on Windows, its case.
fn is_below(path: &str, directory: &str) -> bool {
    let plain = |path: &str| path.replace('\\', "/").to_lowercase();
    let (path, directory) = (plain(path), plain(trimmed(directory)));
    path.strip_prefix(&directory).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A path without the separators at its end.
fn trimmed(path: &str) -> &str {
    path.trim_end_matches(['/', '\\'])
}
