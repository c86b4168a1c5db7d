//! The tasks of a run, one at a time: each by what its command does, into a report.

use std::time::Instant;

use icecore_engine::Archive;
use icecore_engine::backup::Report;
use icecore_service::report::{Checked, Forgotten, Outcome, Pruned, Taken, Work};
use icecore_service::{Failure, Item, Records, RunReport, Standing, Task, TaskReport};
use icecore_source::claim::{Claim, ClaimError, Use};
use jiff::Timestamp;

use super::hooks::{Facts, Hooked};
use super::only_writes;
use crate::args::{BackupArgs, CheckArgs, PruneArgs};
use crate::commands::{backup, check, forget, prune};
use crate::config::{Configuration, Instance};
use crate::error::{Error, Result};
use crate::exit::{self, Code, Sorted};
use crate::interrupt;
use crate::output::{Output, human, json, say};
use crate::settings::Settings;
use crate::time;

/// What tasks are done with.
pub struct Tasks<'a> {
    pub settings: &'a Settings,
    pub configuration: &'a Configuration,
    pub records: Records,
    /// Progress is shown.
    pub show: bool,
}

/// A task that was done, well or not.
pub struct Done<'a> {
    pub code: Code,
    pub report: TaskReport,
    /// The backup, which has more to tell.
    night: Option<backup::Night<'a>>,
}

/// What is noted of a task for the runs that follow.
#[derive(Debug, Clone, Copy)]
pub(super) enum Noted {
    Succeeded(Timestamp),
    /// It was done, and waits for its next time; but what it tried is not well.
    WentBadly(Timestamp),
    /// It is tried again soon.
    Failed,
}

/// A task that is being done.
pub(super) struct Doing {
    pub report: TaskReport,
    pub code: Code,
    begun: Instant,
    is_skipped: bool,
}

impl Doing {
    pub fn begin(task: Task, standing: Standing) -> Self {
        let due_since = match standing {
            Standing::Due { since } => since,
            _ => None,
        };
        let report = TaskReport {
            task,
            result: Outcome::Done,
            code: 0,
            started: Timestamp::now(),
            seconds: 0.0,
            due_since,
            error: None,
            warnings: Vec::new(),
            work: None,
        };
        Self { report, code: Code::Done, begun: Instant::now(), is_skipped: false }
    }

    /// Something failed; the first failure is the task's.
    pub fn failed(&mut self, failure: &Sorted) {
        self.code = self.code.worst(failure.code);
        match self.report.error {
            None => self.report.error = Some(self::failure(failure)),
            Some(_) => self.report.warnings.push(failure.message.clone()),
        }
    }

    /// A hook ended.
    fn hooked(&mut self, hooked: Hooked) {
        if let Some(failure) = &hooked.failure {
            self.failed(failure);
        }
        self.report.warnings.extend(hooked.warning);
    }

    /// What is known so far.
    fn so_far(&mut self) -> &TaskReport {
        self.report.result = match self.code {
            Code::Done if self.is_skipped => Outcome::Skipped,
            Code::Done => Outcome::Done,
            Code::Partial => Outcome::Partial,
            Code::Busy => Outcome::Busy,
            Code::Interrupted => Outcome::Interrupted,
            _ => Outcome::Failed,
        };
        self.report.code = self.code as u8;
        self.report.seconds = self.begun.elapsed().as_secs_f64();
        &self.report
    }

    pub fn end<'a>(mut self, night: Option<backup::Night<'a>>) -> Done<'a> {
        self.so_far();
        Done { code: self.code, report: self.report, night }
    }
}

impl<'a> Tasks<'a> {
    /// Those of this host; `show`: progress is shown.
    pub fn new(settings: &'a Settings, configuration: &'a Configuration, show: bool) -> Self {
        Self { settings, configuration, records: super::records(settings), show }
    }
}

impl Tasks<'_> {
    /// Runs a hook of the whole run.
    pub fn run_hook(&self, moment: &str, program: &Option<Vec<String>>, report: &RunReport) -> Hooked {
        let facts = Facts { instance: None, snapshot: None, code: report.code, error: report.error.as_ref() };
        self.hook(moment, program, self.configuration.hooks.timeout, facts, report)
    }

    /// Backs up an instance, with its hooks; `None` if another run has done it meanwhile.
    pub fn backup<'i>(&'i self, item: &Item, instance: &'i Instance, archive: &Archive) -> Option<Done<'i>> {
        let mut doing = Doing::begin(item.task.clone(), item.standing);
        let lock = self.lock(&item.task);
        match &lock {
            Ok(_) if self.was_done(item) => return None,
            Ok(_) => {}
            Err(error) => {
                doing.failed(&exit::sort(error));
                if matches!(error, Error::Claim(ClaimError::Busy { .. })) {
                    // Whoever is at it runs the hooks.
                    return Some(doing.end(None));
                }
            }
        }
        let hook = |doing: &mut Doing, moment, program| self.instance_hook(instance, doing, moment, program);
        if lock.is_ok() {
            let before = hook(&mut doing, "before", &instance.hooks.before);
            doing.hooked(before);
        }
        if interrupt::is_raised() {
            doing.failed(&exit::sort(&Error::Interrupted));
        }
        let is_ready = doing.code == Code::Done;
        let night = is_ready.then(|| {
            let args = BackupArgs::default();
            backup::Night::spend(&args, instance, self.configuration, self.settings, archive, self.show)
        });
        match night.as_ref().map(|night| &night.outcome) {
            Some(Ok(report)) => {
                doing.report.work = Some(taken(report));
                doing.report.warnings.extend(report.warnings.iter().cloned());
            }
            Some(Err(failure)) => doing.failed(failure),
            None => {}
        }
        doing.code = night.as_ref().map_or(doing.code, |night| doing.code.worst(night.code()));
        let taken = night.as_ref().and_then(|night| night.outcome.as_ref().ok()).map(|report| report.snapshot.taken);
        let after = match taken {
            Some(_) => hook(&mut doing, "after", &instance.hooks.after),
            None => hook(&mut doing, "failed", &instance.hooks.failed),
        };
        doing.hooked(after);
        let finally = hook(&mut doing, "finally", &instance.hooks.finally);
        doing.hooked(finally);
        self.note(&mut doing, taken.and_then(time::to_jiff).map_or(Noted::Failed, Noted::Succeeded));
        Some(doing.end(night))
    }

    /// What was to be done fails for the reason for which everything does.
    pub fn fail(&self, item: &Item, failure: &Sorted) -> Done<'static> {
        let mut doing = Doing::begin(item.task.clone(), item.standing);
        doing.failed(failure);
        let instance = item.task.instance().filter(|_| item.task.is_backup());
        if let Some(instance) = instance.and_then(|name| self.configuration.instance(name).ok()) {
            for (moment, program) in [("failed", &instance.hooks.failed), ("finally", &instance.hooks.finally)] {
                let hooked = self.instance_hook(instance, &mut doing, moment, program);
                doing.hooked(hooked);
            }
        }
        self.note(&mut doing, Noted::Failed);
        doing.end(None)
    }

    /// Forgets what the configuration does not keep of an instance.
    pub fn forget(&self, instance: &Instance, archive: &Archive) -> Done<'static> {
        let mut doing = Doing::begin(Task::Forget { instance: instance.name.clone() }, Standing::Asked);
        if !archive.can_read() {
            doing.failed(&only_writes::keep(instance, self.configuration));
            return doing.end(None);
        }
        match forget::by_configuration(instance, archive, self.show) {
            Ok((forgotten, kept)) => doing.report.work = Some(Work::Forget(Forgotten { forgotten, kept })),
            Err(error) => doing.failed(&exit::sort(&error)),
        }
        doing.end(None)
    }

    /// A task that takes a key that can read, where the host's can only write.
    pub fn cannot(&self, item: &Item) -> Done<'static> {
        let mut doing = Doing::begin(item.task.clone(), item.standing);
        match self.configuration.asks_for(&item.task) {
            Some(asked) => {
                doing.failed(&only_writes::schedule(asked));
                self.note(&mut doing, Noted::Failed);
            }
            None => {
                doing.is_skipped = true;
                doing.report.warnings.extend(only_writes::skip(&item.task, &self.records));
            }
        }
        doing.end(None)
    }

    /// Prunes or checks the repository; `None` if another run has done it meanwhile.
    pub fn care(&self, item: &Item, archive: &Archive) -> Option<Done<'static>> {
        if !archive.can_read() {
            return Some(self.cannot(item));
        }
        let mut doing = Doing::begin(item.task.clone(), item.standing);
        let started = doing.report.started;
        let lock = self.lock(&item.task);
        if lock.is_ok() && self.was_done(item) {
            return None;
        }
        // The lock is held until the result is noted.
        let done = lock.and_then(|lock| {
            let (code, work) = match item.task {
                Task::Prune => self.prune(archive),
                _ => self.check(archive),
            }?;
            Ok((code, work, lock))
        });
        let (success, _lock) = match done {
            Ok((code, work, lock)) => {
                doing.code = code;
                doing.report.work = Some(work);
                // Also if damage was found: finding it each hour again helps nobody.
                (Some(started), Some(lock))
            }
            Err(error) => {
                doing.failed(&exit::sort(&error));
                (None, None)
            }
        };
        // A check that found damage was done, and all is not well until one finds none.
        let is_well = doing.code != Code::Failed;
        self.note(&mut doing, success.map_or(Noted::Failed, if is_well { Noted::Succeeded } else { Noted::WentBadly }));
        Some(doing.end(None))
    }

    fn prune(&self, archive: &Archive) -> Result<(Code, Work)> {
        let job = &self.configuration.prune;
        let options = prune::options(&PruneArgs {
            max_unused: job.max_unused,
            max_repack: job.max_repack,
            time_limit: job.time_limit,
            ..PruneArgs::default()
        });
        let report = prune::execute(&options, archive, self.show)?;
        let work = Pruned {
            deleted_packs: report.deleted,
            deleted_bytes: report.freed,
            marked_packs: report.marked,
            marked_bytes: report.marked_bytes,
            cut_short: report.cut_short,
        };
        Ok((prune::code(&report), Work::Prune(work)))
    }

    fn check(&self, archive: &Archive) -> Result<(Code, Work)> {
        let job = &self.configuration.check;
        let read_data = Some(job.read_data).filter(|share| *share > 0);
        let args = CheckArgs { read_data, time_limit: read_data.map(|_| job.time_limit), no_key: false };
        let report = check::perform(args, archive, self.show)?;
        let work = Checked {
            bytes_read: report.bytes_read,
            never_verified: report.never_verified,
            findings: report.finding_count,
            damaged_files: report.damaged_count,
        };
        Ok((if report.is_clean() { Code::Done } else { Code::Failed }, Work::Check(work)))
    }

    /// Keeps other runs of this host from the same task, as long as the result lives. The registry is one of its own: a root
    /// may hold the state directory.
    pub(super) fn lock(&self, task: &Task) -> Result<Claim> {
        let registry = self.settings.state.join("tasks");
        let place = registry.join(task.to_string().replace('%', "%25").replace('/', "%2f"));
        let purpose = match task {
            // It may be one that was asked for by name.
            Task::Drill { instance } => format!("a drill of {instance}"),
            _ => format!("icecore run: {task}"),
        };
        Ok(Claim::take(&registry, &[(place, Use::Write)], &purpose)?)
    }

    /// Whether somebody has done it since it was decided that this is to be done. Asked behind the lock.
    pub(super) fn was_done(&self, item: &Item) -> bool {
        self.records.load().last(&item.task).past(Timestamp::now()).done() > item.last.done()
    }

    fn instance_hook(
        &self,
        instance: &Instance,
        doing: &mut Doing,
        moment: &str,
        program: &Option<Vec<String>>,
    ) -> Hooked {
        let report = doing.so_far();
        let snapshot = match &report.work {
            Some(Work::Backup(taken)) => Some(taken.snapshot.as_str()),
            _ => None,
        };
        let error = report.error.as_ref();
        let facts = Facts { instance: Some(&instance.name), snapshot, code: report.code, error };
        self.hook(moment, program, instance.hooks.timeout, facts, report)
    }

    /// Notes what came of a task. Who was busy or interrupted has not failed.
    pub(super) fn note(&self, doing: &mut Doing, noted: Noted) {
        let task = doing.report.task.clone();
        let noted = match (noted, doing.code) {
            (Noted::Succeeded(at), _) => self.records.note(|history| history.succeeded(&task, at)),
            (Noted::WentBadly(at), _) => self.records.note(|history| history.went_badly(&task, at)),
            (Noted::Failed, Code::Busy | Code::Interrupted) => Ok(()),
            (Noted::Failed, _) => self.records.note(|history| history.failed(&task, Timestamp::now())),
        };
        if let Err(error) = noted {
            doing.report.warnings.push(format!("that {task} was done cannot be noted in the state directory: {error}"));
        }
    }
}

impl Done<'_> {
    /// Says at once what went wrong: the next may take hours.
    pub fn tell(&self, output: &Output) {
        let told = match &self.night {
            Some(night) => {
                night.tell(output);
                night.outcome.as_ref().err().map(|failure| &failure.message)
            }
            None => None,
        };
        let error = self.report.error.as_ref().filter(|error| Some(&error.message) != told);
        if let Some(error) = error {
            let (task, instance) = (self.report.task.word(), self.report.task.instance());
            tracing::error!(task, instance, code = error.code, "{}", error.message);
            say(format_args!("icecore: {}: {}", human::printable(&self.report.task.to_string()), error.message));
            if let Some(hint) = &error.hint {
                say(format_args!("  {hint}"));
            }
        }
        // Those of a backup are told with it.
        let known = self.night.as_ref().and_then(|night| night.outcome.as_ref().ok());
        let is_known = |warning: &&String| known.is_some_and(|report| report.warnings.contains(warning));
        self.report.warnings.iter().filter(|warning| !is_known(warning)).for_each(|warning| output.warn(warning));
        match &self.report.work {
            Some(Work::Check(check)) if check.findings > 0 || check.damaged_files > 0 => {
                let findings = human::counted(check.findings, "promise does", "promises do");
                let files = human::counted(check.damaged_files, "file cannot", "files cannot");
                output.warn(format_args!(
                    "damage found: {findings} not hold, {files} be restored whole: `icecore check` says which"
                ));
            }
            Some(Work::Prune(_)) if self.code == Code::Failed => {
                output.warn("some packs could not be copied because of damage, and stay: `icecore check --read-data` says which");
            }
            _ => {}
        }
    }
}

/// What everybody may know of a failure.
pub fn failure(sorted: &Sorted) -> Failure {
    Failure { message: sorted.message.clone(), hint: sorted.hint.clone(), code: sorted.code as u8 }
}

fn taken(report: &Report) -> Work {
    let snapshot = &report.snapshot;
    Work::Backup(Taken {
        snapshot: report.id.to_string(),
        verdict: json::verdict(snapshot.verdict).to_owned(),
        window_ms: snapshot.receipt.as_ref().map(|receipt| receipt.window_ms),
        entries: snapshot.totals.entries,
        bytes: snapshot.totals.bytes,
        bytes_read: snapshot.totals.bytes_read,
        bytes_added: snapshot.totals.bytes_added,
        problems: snapshot.problem_count,
    })
}
