//! `icecore run`: everything that is due, with one report and one exit code.
//!
//! ```text
//! records ─▶ agenda: nothing due? that is all, and the repository stays closed
//!         ─▶ hook before ─▶ open ─▶ snapshots correct the records ─▶ agenda
//!         ─▶ instances: hook before ─▶ backup ─▶ hooks after or failed, finally
//!         ─▶ forget what each `keep` does not keep ─▶ prune ─▶ check ─▶ drills
//!         ─▶ hooks after or failed, finally ─▶ metrics ─▶ webhook, dead man's switch, mail ─▶ table or document, exit code
//! ```
//! What fails keeps nothing else from being done. A run that is killed has noted no failure, so the next one goes on at once.

mod drill;
mod hooks;
mod measure;
mod notify;
mod only_writes;
mod others;
mod tasks;
mod tell;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Instant;

use icecore_engine::Archive;
use icecore_service::agenda::Wanted;
use icecore_service::measures::Observed;
use icecore_service::notify::Notifier;
use icecore_service::{History, Item, Records, RunReport, Schedule, Standing, Task, TaskReport, agenda};
use jiff::Timestamp;

use self::hooks::Hooked;
use self::tasks::Done;
pub use self::tasks::Tasks;
use super::drill::clear_away;
use crate::args::RunArgs;
use crate::config::{Configuration, Instance};
use crate::error::{Error, Result};
use crate::exit::{self, Code, Sorted};
use crate::interrupt;
use crate::output::{Output, human, say};
use crate::recovery::Recovery;
use crate::repository::{self, Opened};
use crate::settings::Settings;
use crate::{time, world};

/// Runs the command.
pub fn run(args: &RunArgs, settings: &Settings, recovery: &Recovery, output: &mut Output) -> Result<Code> {
    let configuration = settings.configuration()?;
    // A slip in a name must not look like a night without work.
    configuration.chosen(&args.instances, false)?;
    let wanted = Wanted { instances: args.instances.clone(), now: args.now };
    let plan = Plan { configuration, wanted, now: Timestamp::now() };
    let mut history = records(settings).load();
    if args.dry_run {
        match repository::open(settings) {
            // What will be done stands in the records, too.
            Err(Error::NoRepository { place, .. }) => output.warn(format_args!(
                "there is no repository at {}: this is what the records of this host tell",
                place.display()
            )),
            opened => {
                let Opened { archive, warnings } = opened?;
                warnings.iter().for_each(|warning| output.warn(warning));
                plan.correct(&mut history, &archive)?;
            }
        }
        tell::agenda(&plan.agenda(&history), output)?;
        return Ok(Code::Done);
    }
    let left = clear_away(settings, output);
    let items = plan.agenda(&history);
    if !items.iter().any(|item| item.standing.is_now()) {
        left.iter().for_each(|warning| output.warn(warning));
        others::renew(settings, configuration);
        if recovery.code != Code::Done {
            // Nothing is done, but an instance may be frozen: somebody must hear of it.
            let night = Night::begin(args, settings, plan, recovery, output);
            drop(night.end_idle(output));
        }
        tell::nothing_due(&items, recovery.code, output)?;
        return Ok(Code::Done);
    }
    interrupt::install()?;
    let due = items.iter().filter(|item| item.standing.is_now()).count();
    tracing::info!(due, "run begins");
    let mut night = Night::begin(args, settings, plan, recovery, output);
    left.into_iter().for_each(|warning| night.warn_of(warning, output));
    night.spend(items, history, output);
    let (report, code) = night.end(output);
    tracing::info!(code = report.code, tasks = report.tasks.len(), seconds = report.seconds, "run ends");
    tell::report(&report, output)?;
    Ok(code)
}

/// Those of this repository on this host.
fn records(settings: &Settings) -> Records {
    let (directory, name) = kept(settings);
    Records::new(&directory, &name)
}

/// The directory and the name by which this host keeps what it knows of runs of this repository.
fn kept(settings: &Settings) -> (PathBuf, String) {
    let place = settings.place.directory();
    let name = blake3::hash(place.as_os_str().as_encoded_bytes()).to_hex();
    (settings.state.join("runs"), name[..16].to_owned())
}

/// What the configuration wants, at one moment.
struct Plan<'a> {
    configuration: &'a Configuration,
    wanted: Wanted,
    now: Timestamp,
}

impl Plan<'_> {
    /// Everything that is configured, and when it is done.
    fn tasks(&self) -> impl Iterator<Item = (Task, &Schedule)> {
        let backup = |instance: &Instance| Task::Backup { instance: instance.name.clone() };
        let backups = self.configuration.instances.iter().map(move |instance| (backup(instance), &instance.schedule));
        let care: [(Task, &Schedule); 2] =
            [(Task::Prune, &self.configuration.prune.schedule), (Task::Check, &self.configuration.check.schedule)];
        let drill = |instance: &Instance| Task::Drill { instance: instance.name.clone() };
        let drills = self.configuration.instances.iter().filter(|instance| !instance.drill.schedule.is_never());
        let drills = drills.map(move |instance| (drill(instance), &instance.drill.schedule));
        backups.chain(care).chain(drills)
    }

    fn agenda(&self, history: &History) -> Vec<Item> {
        let mut items = agenda(self.tasks(), history, &self.wanted, self.now, &time::zone());
        // What the configuration asks for is due all the same, and fails.
        let is_left_out =
            |item: &&mut Item| item.task.needs_reader() && self.configuration.asks_for(&item.task).is_none();
        if history.only_writes {
            items.iter_mut().filter(is_left_out).for_each(|item| item.standing = Standing::Impossible);
        }
        items
    }

    /// Puts what the snapshots of this host tell in place of what was noted of backups, and what the key can do.
    fn correct(&self, history: &mut History, archive: &Archive) -> Result<()> {
        let (host, catalogue) = (world::host_name(), archive.known_snapshots()?);
        history.only_writes &= !archive.can_read();
        for instance in &self.configuration.instances {
            let own = catalogue.snapshots.iter().filter(|stored| {
                let snapshot = &stored.snapshot;
                // A corrected or damaged past is no new night.
                snapshot.instance == instance.name && snapshot.host == host && snapshot.corrects.is_none()
            });
            // What a clock that was set back left in the future counts for nothing.
            let times =
                own.filter_map(|stored| time::to_jiff(stored.snapshot.taken)).filter(|taken| *taken <= self.now);
            let task = Task::Backup { instance: instance.name.clone() };
            // Who cannot read every record may know less of the snapshots than what was noted.
            let noted = history.last(&task).success.filter(|_| !archive.can_read());
            history.correct(&task, times.max().max(noted));
        }
        Ok(())
    }
}

/// A run that has something to do.
struct Night<'a> {
    plan: Plan<'a>,
    tasks: Tasks<'a>,
    parallel: usize,
    begun: Instant,
    report: RunReport,
    code: Code,
    /// What was seen of the repository, if that is to be told.
    observed: Option<Observed>,
    notifier: Option<Notifier>,
}

impl<'a> Night<'a> {
    fn begin(args: &RunArgs, settings: &'a Settings, plan: Plan<'a>, recovery: &Recovery, output: &Output) -> Self {
        let parallel = args.parallel.map_or(plan.configuration.run.instances, usize::from);
        // Several bars would write over each other.
        let show = output.manner().progress && parallel == 1;
        let repository = settings.place.directory().display().to_string();
        let report = RunReport {
            host: world::host_name(),
            repository,
            started: plan.now,
            finished: plan.now,
            seconds: 0.0,
            code: recovery.code as u8,
            error: None,
            warnings: recovery.warnings.clone(),
            tasks: Vec::new(),
        };
        let tasks = Tasks::new(settings, plan.configuration, show);
        let notifier = notify::begin(&plan.configuration.tell.notify);
        Self { plan, tasks, parallel, begun: Instant::now(), report, code: recovery.code, observed: None, notifier }
    }

    /// Does everything between the hooks of the run.
    fn spend(&mut self, items: Vec<Item>, mut history: History, output: &Output) {
        let hooked = self.tasks.run_hook("before", &self.plan.configuration.hooks.before, &self.report);
        self.tell_of(&hooked, output);
        if let Some(failure) = &hooked.failure {
            // Nothing that is due is done, and each of it is told to have failed.
            return self.fail(items, failure, output);
        }
        let opened = repository::open(self.tasks.settings).and_then(|opened| {
            self.plan.correct(&mut history, &opened.archive)?;
            Ok(opened)
        });
        match opened {
            Err(error) => self.fail(items, &exit::sort(&error), output),
            Ok(Opened { archive, warnings }) => {
                warnings.into_iter().for_each(|warning| self.warn_of(warning, output));
                // Lest the repository is opened again only to find this out.
                let known = self.tasks.records.note(|noted| {
                    noted.only_writes &= !archive.can_read();
                    for item in &items {
                        // What another run has noted meanwhile is newer than what was read here.
                        let is_same = noted.last(&item.task).past(self.plan.now).success == item.last.success;
                        if item.task.is_backup() && is_same {
                            noted.correct(&item.task, history.last(&item.task).success);
                        }
                    }
                });
                if let Err(error) = known {
                    self.warn_of(format!("what was done last cannot be noted in the state directory: {error}"), output);
                }
                self.work(self.plan.agenda(&history), &archive, output);
                self.observe(&archive, output);
            }
        }
    }

    /// What is due fails for one reason.
    fn fail(&mut self, items: Vec<Item>, failure: &Sorted, output: &Output) {
        tracing::error!(code = failure.code as u8, "{}", failure.message);
        say(format_args!("icecore: {}", failure.message));
        if let Some(hint) = &failure.hint {
            say(format_args!("  {hint}"));
        }
        self.report.error = Some(tasks::failure(failure));
        self.code = self.code.worst(failure.code);
        for item in items.into_iter().filter(|item| item.standing.is_now()) {
            let done = self.tasks.fail(&item, failure);
            self.add(done, output);
        }
    }

    fn work(&mut self, items: Vec<Item>, archive: &Archive, output: &Output) {
        items.iter().filter(|item| item.is_put_off).for_each(|item| self.put_off(item, output));
        let (backups, care): (Vec<_>, Vec<_>) =
            items.into_iter().filter(|item| item.standing.is_now()).partition(|item| item.task.is_backup());
        let (drills, care): (Vec<_>, Vec<_>) =
            care.into_iter().partition(|item| matches!(item.task, Task::Drill { .. }));
        let stored = self.backups(&backups, archive, output);
        for name in stored {
            if !interrupt::is_raised()
                && let Ok(instance) = self.plan.configuration.instance(&name)
                && !instance.keep.rules.is_empty()
            {
                let done = self.tasks.forget(instance, archive);
                self.add(done, output);
            }
        }
        for item in care {
            // It would mark what a backup that was cut short has stored, and goes on from the next time.
            let waits = item.task == Task::Prune && self.lacks_backup() && !item.is_urgent(self.plan.now);
            if waits {
                output.detail("the prune waits until every backup has succeeded");
                self.put_off(&item, output);
            } else if !interrupt::is_raised() {
                self.tasks.care(&item, archive).into_iter().for_each(|done| self.add(done, output));
            }
        }
        self.drills(&drills, archive, output);
        if interrupt::is_raised() {
            self.code = self.code.worst(Code::Interrupted);
        }
    }

    /// Notes that something is due and not done, so that it is not put off for ever.
    fn put_off(&mut self, item: &Item, output: &Output) {
        if let Err(error) = self.tasks.records.note(|history| history.put_off(&item.task, self.plan.now)) {
            let task = &item.task;
            self.warn_of(format!("that {task} is put off cannot be noted in the state directory: {error}"), output);
        }
    }

    /// Whether a backup of this run left no snapshot.
    fn lacks_backup(&self) -> bool {
        let backups = self.report.tasks.iter().filter(|report| matches!(report.task, Task::Backup { .. }));
        backups.into_iter().any(|report| report.work.is_none())
    }

    /// Backs up instances, several at a time; gives the names of those that have a new snapshot.
    fn backups(&mut self, items: &[Item], archive: &Archive, output: &Output) -> Vec<String> {
        let waiting: Mutex<VecDeque<(usize, &Item)>> = Mutex::new(items.iter().enumerate().collect());
        let next = || {
            let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.pop_front().filter(|_| !interrupt::is_raised())
        };
        let (tasks, configuration) = (&self.tasks, self.plan.configuration);
        let mut done: Vec<(usize, Done<'_>)> = thread::scope(|scope| {
            let (send, receive) = mpsc::channel();
            for _ in 0..self.parallel.min(items.len()) {
                let (send, next) = (send.clone(), &next);
                scope.spawn(move || {
                    while let Some((number, item)) = next() {
                        let instance = item.task.instance().and_then(|name| configuration.instance(name).ok());
                        let Some(instance) = instance else { continue };
                        let Some(done) = tasks.backup(item, instance, archive) else { continue };
                        // Nobody listens any more only if this thread's scope has panicked.
                        let _ = send.send((number, done));
                    }
                });
            }
            drop(send);
            let tell = |(_, done): &(usize, Done<'_>)| {
                others::log(&done.report);
                done.tell(output);
            };
            receive.into_iter().inspect(tell).collect()
        });
        done.sort_by_key(|(number, _)| *number);
        let stored = |done: &Done<'_>| done.report.work.is_some();
        let names = done.iter().filter(|(_, done)| stored(done));
        let names = names.filter_map(|(_, done)| done.report.task.instance().map(str::to_owned)).collect();
        let done: Vec<_> = done.into_iter().map(|(_, done)| (done.code, done.report)).collect();
        done.into_iter().for_each(|(code, report)| self.count(code, report));
        names
    }

    fn add(&mut self, done: Done<'_>, output: &Output) {
        others::log(&done.report);
        // What failed for all was said once.
        if self.report.error.is_none() {
            done.tell(output);
        }
        self.count(done.code, done.report);
    }

    fn count(&mut self, code: Code, report: TaskReport) {
        self.code = self.code.worst(code);
        self.report.tasks.push(report);
    }

    /// Runs the last hooks, and gives what is to be told.
    fn end(mut self, output: &Output) -> (RunReport, Code) {
        let hooks = &self.plan.configuration.hooks;
        let verdict = match self.code {
            Code::Done | Code::Partial => ("after", &hooks.after),
            _ => ("failed", &hooks.failed),
        };
        for (moment, program) in [verdict, ("finally", &hooks.finally)] {
            self.close();
            let hooked = self.tasks.run_hook(moment, program, &self.report);
            self.tell_of(&hooked, output);
            if let Some(failure) = hooked.failure {
                self.code = self.code.worst(failure.code);
                self.report.error.get_or_insert_with(|| tasks::failure(&failure));
                self.warn_of(failure.message, output);
            }
        }
        self.tell_others(output);
        (self.report, self.code)
    }

    fn close(&mut self) {
        self.report.finished = Timestamp::now();
        self.report.seconds = self.begun.elapsed().as_secs_f64();
        self.report.code = self.code as u8;
    }

    /// Tells what a hook said, and of its report; not that it failed.
    fn tell_of(&mut self, hooked: &Hooked, output: &Output) {
        hooked.said.iter().for_each(|said| output.detail(human::printable(said)));
        hooked.warning.iter().for_each(|warning| self.warn_of(warning.clone(), output));
    }

    fn warn_of(&mut self, message: String, output: &Output) {
        output.warn(&message);
        self.report.warnings.push(message);
    }
}
