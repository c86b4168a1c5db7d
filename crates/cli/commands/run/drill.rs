//! Practised restores among the tasks of a run.

use icecore_engine::Archive;
use icecore_service::report::Work;
use icecore_service::{Item, Standing, Task};

use super::tasks::{Doing, Done, Tasks};
use crate::commands::drill::{Which, attempt};
use crate::config::Instance;
use crate::exit::{self, Code};

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
        let (success, _lock) = match tried {
            Ok((attempt, lock)) => {
                // A damaged record may be that of a newer snapshot.
                doing.code = Code::partial_if(!attempt.warnings.is_empty());
                doing.report.work = Some(Work::Drill(attempt.drilled));
                doing.report.warnings = attempt.warnings;
                attempt.failures.iter().for_each(|failure| doing.failed(failure));
                // Also if the snapshot failed: to restore it again each hour helps nobody.
                (Some(started), Some(lock))
            }
            Err(error) => {
                doing.failed(&exit::sort(&error));
                (None, None)
            }
        };
        self.note(&mut doing, success);
        Some(doing.end(None))
    }
}
