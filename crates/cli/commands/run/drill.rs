//! Practised restores among the tasks of a run.

use icecore_engine::Archive;
use icecore_service::agenda::Wanted;
use icecore_service::report::{Work, Worth};
use icecore_service::{Item, Standing, Task};
use jiff::Timestamp;

use super::tasks::{Doing, Done, Noted, Tasks};
use super::{Night, Plan};
use crate::commands::drill::{Which, attempt};
use crate::config::Instance;
use crate::exit::{self, Code};
use crate::interrupt;
use crate::output::{Output, human};

impl Night<'_> {
    /// Practises what is due. A backup that comes due meanwhile does not wait for more than one drill.
    pub(super) fn drills(&mut self, items: &[Item], archive: &Archive, output: &Output) {
        for (number, item) in items.iter().enumerate() {
            if interrupt::is_raised() {
                return;
            }
            if let Some(backup) = self.due_backup().filter(|_| number > 0) {
                let (backup, left) = (human::printable(&backup.to_string()), items.len() - number);
                let drills = human::counted(left as u64, "drill that is left waits", "drills that are left wait");
                return self.warn_of(format!("{backup} is due by now: {drills} for the next run"), output);
            }
            self.tasks.due_drill(item, archive).into_iter().for_each(|done| self.add(done, output));
        }
    }

    /// A backup that is due at this time.
    fn due_backup(&self) -> Option<Task> {
        let plan = Plan { configuration: self.plan.configuration, wanted: Wanted::default(), now: Timestamp::now() };
        let items = plan.agenda(&self.tasks.records.load());
        items.into_iter().find(|item| item.task.is_backup() && item.standing.is_now()).map(|item| item.task)
    }
}

impl Tasks<'_> {
    /// Practises the restore of an instance that is due; `None` if another run has done it meanwhile.
    pub fn due_drill(&self, item: &Item, archive: &Archive) -> Option<Done<'static>> {
        if !archive.can_read() {
            return Some(self.cannot(item));
        }
        let instance = item.task.instance().and_then(|name| self.configuration.instance(name).ok())?;
        self.drill(instance, instance.drill.snapshot.into(), item.standing, archive, || self.was_done(item))
    }

    /// Practises the restore of an instance; `None` if `is_done` says, behind the lock, that there is no need.
    pub fn drill(
        &self,
        instance: &Instance,
        which: Which,
        standing: Standing,
        archive: &Archive,
        is_done: impl FnOnce() -> bool,
    ) -> Option<Done<'static>> {
        let task = Task::Drill { instance: instance.name.clone() };
        let lock = self.lock(&task);
        if lock.is_ok() && is_done() {
            return None;
        }
        let mut doing = Doing::begin(task, standing);
        let started = doing.report.started;
        // The lock is held until the result is noted.
        let tried = lock.and_then(|lock| Ok((attempt(instance, which, self.settings, archive, self.show)?, lock)));
        let (noted, _lock) = match tried {
            Ok((attempt, lock)) => {
                // A damaged record may be that of a newer snapshot.
                doing.code = Code::partial_if(!attempt.warnings.is_empty());
                let is_sound = attempt.drilled.result != Worth::Failed;
                doing.report.work = Some(Work::Drill(attempt.drilled));
                doing.report.warnings = attempt.warnings;
                attempt.failures.iter().for_each(|failure| doing.failed(failure));
                let noted = match (attempt.is_recorded, is_sound) {
                    (false, _) => Noted::Failed,
                    (true, true) => Noted::Succeeded(started),
                    // To restore it again each hour helps nobody.
                    (true, false) => Noted::WentBadly(started),
                };
                (noted, Some(lock))
            }
            Err(error) => {
                doing.failed(&exit::sort(&error));
                (Noted::Failed, None)
            }
        };
        self.note(&mut doing, noted);
        Some(doing.end(None))
    }
}
