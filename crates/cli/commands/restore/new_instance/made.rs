//! The instance from its making on.

use std::fs;
use std::path::{Path, PathBuf};
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
        self.instance.create(&plan.like.instance_id, &plan.base).map_err(|error| plan.failed(error))?;
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
    pub fn start(&mut self, job: &RestoreJob<'_>, output: &Output) -> Result<Code> {
        let plan = self.plan;
        output.note(format_args!("instance {}: starting", plan.id));
        let begun = Instant::now();
        let mut service = self.service().map_err(|error| self.left(plan.failed(error)))?;
        service.start().map_err(|error| self.left(plan.failed(error)))?;
        self.done("start", begun);
        output.note(format_args!("instance {} is running", plan.id));
        // Two instances on one store would ruin it.
        let strays = self.strays(job).map_err(|error| self.left(plan.failed(error)))?;
        if !strays.is_empty() {
            let stopped = service.stop().map_err(|error| self.left(plan.failed(error)));
            let what = format!(
                "instance {} looks for the stores {} in directories of the old instance, and was stopped at once: give them \
                 their paths (SetStorePath) while the old one is stopped",
                plan.id,
                human::printable(&strays.join(", "))
            );
            return Err(self.left(stopped.err().unwrap_or(Error::Refused(what))));
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

    /// Stores that the instance looks for where the old one has its own: databases may hold whole paths.
    fn strays(&mut self, job: &RestoreJob<'_>) -> std::result::Result<Vec<String>, FreezeError> {
        let recorded = job.stored.snapshot.roots.iter();
        let old: Vec<_> = recorded.map(|root| PathBuf::from(&*String::from_utf8_lossy(&root.path))).collect();
        let new = self.plan.others.iter().map(|(_, path)| path.as_path());
        let new: Vec<_> = new.chain([Path::new(&self.plan.base), &self.directory]).collect();
        let strays = |path: &String| {
            let path = Path::new(path);
            old.iter().any(|old| path.starts_with(old)) && !new.iter().any(|new| path.starts_with(new))
        };
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
        Error::Left {
            stands: format!(
                "instance {id} was made, and is {state}; its base directory is {}",
                self.directory.display()
            ),
            next: format!(
                "stop it if it runs, go on with `{}`, and start it; or delete the instance, and run the same command \
                 again",
                self.plan.next(&self.directory)
            ),
            cause: Box::new(cause),
        }
    }
}

/// A path without the separators at its end.
fn trimmed(path: &str) -> &str {
    path.trim_end_matches(['/', '\\'])
}
