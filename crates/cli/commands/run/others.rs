//! Others than whoever started the run are told of it: Prometheus, people elsewhere, the log.

use icecore_engine::Archive;
use icecore_service::measures::MeasuresFile;
use icecore_service::{RunReport, Task, TaskReport};

use super::measure::{self, Ended};
use super::{Night, kept, notify};
use crate::config::Configuration;
use crate::output::Output;
use crate::settings::Settings;

impl Night<'_> {
    /// Tells of a run that has nothing to do, and of what is wrong all the same.
    pub fn end_idle(mut self, output: &Output) -> RunReport {
        self.tell_others(output);
        self.report
    }

    /// Looks at what is measured of the repository.
    pub fn observe(&mut self, archive: &Archive, output: &Output) {
        if self.plan.configuration.tell.metrics.is_some() {
            match measure::observe(archive, self.plan.configuration) {
                Ok(observed) => self.observed = Some(observed),
                Err(error) => self.warn_of(format!("the repository cannot be measured: {error}"), output),
            }
        }
    }

    /// Writes metrics, then tells whoever is to know. What cannot be told is a warning.
    pub fn tell_others(&mut self, output: &Output) {
        self.close();
        let (history, configuration) = (self.tasks.records.load(), self.plan.configuration);
        if let Some(file) = configuration.tell.metrics.clone() {
            let ended = Ended {
                report: self.report.clone(),
                observed: self.observed.take(),
                history: history.clone(),
                tasks: self.plan.tasks().map(|(task, _)| task).collect(),
            };
            let warnings = measure::tell(file, measures(self.tasks.settings), ended);
            warnings.into_iter().for_each(|warning| self.warn_of(warning, output));
        }
        if let Some(notifier) = self.notifier.take() {
            let is_failing = |task: &Task| history.last(task).past(self.report.finished).trouble().is_some();
            let still_failing = self.plan.tasks().any(|(task, schedule)| !schedule.is_never() && is_failing(&task));
            let warnings = notifier.end(notify::ending(&self.report, self.code, still_failing));
            warnings.into_iter().for_each(|warning| self.warn_of(warning, output));
        }
        self.close();
    }
}

/// Writes the metrics again if they are gone.
pub fn renew(settings: &Settings, configuration: &Configuration) {
    if let Some(file) = &configuration.tell.metrics {
        measure::renew(file, measures(settings));
    }
}

fn measures(settings: &Settings) -> MeasuresFile {
    let (directory, name) = kept(settings);
    MeasuresFile::new(&directory, &name)
}

/// Tells the log what came of a task.
pub fn log(report: &TaskReport) {
    // What a task did stands in fields of its own for machines, and is told here as they are written.
    let work = report.work.as_ref().and_then(|work| serde_json::to_string(work).ok()).unwrap_or_default();
    let (task, result, code, seconds) = (report.task.word(), report.result.word(), report.code, report.seconds);
    tracing::info!(task, instance = report.task.instance(), result, code, seconds, work, "task ends");
}
