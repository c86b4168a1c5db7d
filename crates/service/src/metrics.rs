//! Measures as Prometheus reads them: the text file of the node exporter's collector.
//!
//! By the [text format](https://prometheus.io/docs/instrumenting/exposition_formats/) and the
//! [names](https://prometheus.io/docs/practices/naming/) that its `promtool check metrics` asks for. An instance is told by the
//! label `name`: `instance` is Prometheus' own word for the host that it asks.

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use jiff::Timestamp;

use crate::files::replace;
use crate::measures::{BackupMeasure, Measures, TaskMeasure};

/// Everybody may read it: the exporter is another user.
const MODE: u32 = 0o644;

/// Writes the file, which takes the place of the old one as a whole.
///
/// # Errors
/// Those of the file system; the old one stays.
pub fn write(file: &Path, measures: &Measures) -> io::Result<()> {
    replace(file, render(measures).as_bytes(), MODE)
}

/// The text of the file. All are gauges: each says what was last.
pub fn render(measures: &Measures) -> String {
    let mut page = Page { text: String::new(), repository: &measures.repository };
    page.run(measures);
    page.tasks(measures);
    page.backups(measures);
    page.text
}

struct Page<'a> {
    text: String,
    repository: &'a str,
}

/// Labels beside the repository.
type Labels<'a> = Vec<(&'static str, &'a str)>;

impl Page<'_> {
    /// A metric with its series; nothing without one.
    fn gauge<'s>(&mut self, name: &str, help: &str, series: impl IntoIterator<Item = (Labels<'s>, f64)>) {
        let mut series = series.into_iter().peekable();
        if series.peek().is_none() {
            return;
        }
        let _ = writeln!(self.text, "# HELP icecore_{name} {help}\n# TYPE icecore_{name} gauge");
        for (labels, value) in series {
            let _ = write!(self.text, "icecore_{name}{{repository=\"{}\"", escaped(self.repository));
            for (label, value) in labels {
                let _ = write!(self.text, ",{label}=\"{}\"", escaped(value));
            }
            let _ = writeln!(self.text, "}} {value}");
        }
    }

    fn run(&mut self, measures: &Measures) {
        let one = |value: Option<f64>| value.map(|value| (Labels::new(), value));
        let run = measures.run.as_ref();
        self.gauge(
            "run_last_timestamp_seconds",
            "When the last run that had something to do ended.",
            one(run.map(|run| unix(run.finished))),
        );
        self.gauge("run_duration_seconds", "How long it took.", one(run.map(|run| run.seconds)));
        self.gauge("run_exit_code", "Its exit code; 0 is well.", one(run.map(|run| run.code.into())));
        self.gauge("run_failed_tasks", "Tasks of it that failed.", one(run.map(|run| run.failed as f64)));
        self.gauge("run_warnings", "Warnings of it.", one(run.map(|run| run.warnings as f64)));
        self.gauge(
            "repository_size_bytes",
            "What the packs of the repository occupy.",
            one(measures.stored_bytes.map(|bytes| bytes as f64)),
        );
    }

    fn tasks(&mut self, measures: &Measures) {
        let mut each = |name, help, value: fn(&TaskMeasure) -> Option<f64>| {
            let series = measures.tasks.values().filter_map(|task| {
                let instance = task.instance.as_deref().map(|instance| ("name", instance));
                Some(([("task", task.word.as_str())].into_iter().chain(instance).collect(), value(task)?))
            });
            self.gauge(name, help, series);
        };
        each("task_last_success_timestamp_seconds", "When the task last succeeded.", |task| task.success.map(unix));
        each("task_last_attempt_timestamp_seconds", "When a run last began the task.", |task| task.attempt.map(unix));
        each("task_duration_seconds", "How long that took, hooks included.", |task| task.attempt.map(|_| task.seconds));
        each("task_exit_code", "The exit code of that; 0 is well.", |task| task.attempt.map(|_| task.code.into()));
    }

    fn backups(&mut self, measures: &Measures) {
        let mut each = |name, help, value: fn(&BackupMeasure) -> Option<f64>| {
            let series = measures.backups.iter();
            self.gauge(name, help, series.filter_map(|(name, backup)| Some((named(name), value(backup)?))));
        };
        each("backup_window_seconds", "How long the instance was frozen.", |backup| backup.window_seconds);
        each("backup_read_bytes", "Bytes that were read for the last snapshot.", |backup| {
            Some(backup.read_bytes as f64)
        });
        each("backup_added_bytes", "Bytes that it added to the repository.", |backup| Some(backup.added_bytes as f64));
        each("backup_content_bytes", "Bytes of its content.", |backup| Some(backup.content_bytes as f64));
        each("backup_entries", "Entries in it.", |backup| Some(backup.entries as f64));
        each("backup_errors", "Entries that could not be read as they should.", |backup| Some(backup.problems as f64));
        self.gauge(
            "backup_proved_timestamp_seconds",
            "When the newest snapshot was taken that a drill restored and a program found sound.",
            measures.proved.iter().map(|(name, taken)| (named(name), unix(*taken))),
        );
    }
}

fn named(name: &str) -> Labels<'_> {
    vec![("name", name)]
}

fn unix(time: Timestamp) -> f64 {
    time.as_millisecond() as f64 / 1000.0
}

/// The value of a label.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests;
