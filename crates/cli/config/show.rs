//! A configuration as it is understood, with everything filled in that the file leaves out. Read as a file again, it means the
//! same, but that every schedule then counts as asked for.
//!
//! Secrets stand in files of their own, which are named; a password in an address is left out.

use std::num::NonZero;
use std::path::Path;
use std::time::Duration;

use icecore_engine::prune::MaxUnused;
use icecore_source::IoPriority;
use icecore_source::capture::{SnapshotPath, SnapshotPrograms};
use icecore_source::freezer::FreezerConfig;
use serde_json::{Map, Value};

use super::jobs::RATES;
use super::terms::FAILURES;
use super::{Configuration, DrillJob, Hooks, Instance};

/// A table; what has no value is left out, because TOML knows no null.
#[derive(Default)]
pub struct Table(Map<String, Value>);

impl Table {
    pub fn put(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.0.insert(key.to_owned(), value.into());
        self
    }

    pub fn maybe(self, key: &str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.put(key, value),
            None => self,
        }
    }

    pub fn end(self) -> Value {
        Value::Object(self.0)
    }
}

impl Configuration {
    /// All of it, by the keys of the file.
    pub fn show(&self) -> Value {
        let repository = self.repository.as_ref().map(|repository| {
            let file = repository.password_file.as_deref().map(path);
            Table::default().put("url", without_password(&repository.url)).maybe("password-file", file).end()
        });
        let limits = Table::default()
            .maybe("threads", self.limits.threads)
            .maybe("read-rate", self.limits.read_rate.map(rate))
            .maybe("upload-rate", self.limits.upload_rate.map(rate))
            .maybe("nice", self.limits.priority.nice)
            .maybe("io-priority", self.limits.priority.io.map(io_priority));
        let run = Table::default().put("parallel", self.run.instances).put("parallel-windows", self.run.windows);
        let prune = Table::default()
            .put("schedule", self.prune.schedule.to_string())
            .maybe("max-unused", self.prune.max_unused.map(unused))
            .maybe("max-repack", self.prune.max_repack.map(|bytes| bytes.to_string()))
            .maybe("time-limit", self.prune.time_limit.map(limit));
        let check = Table::default()
            .put("schedule", self.check.schedule.to_string())
            .put("read-data", format!("{}%", self.check.read_data))
            .put("time-limit", limit(self.check.time_limit));
        let table = Table::default()
            .maybe("repository", repository)
            .put("limits", limits.end())
            .put("run", run.end())
            .put("prune", prune.end())
            .put("check", check.end())
            .put("drill", drill(&self.drill))
            .put("hooks", hooks(&self.hooks));
        let table =
            super::tell::show(&self.tell).into_iter().fold(table, |table, (name, shown)| table.put(name, shown));
        table.put("instance", self.instances.iter().map(instance).collect::<Value>()).end()
    }
}

fn instance(instance: &Instance) -> Value {
    let roots: Map<_, _> = instance.roots.iter().map(|root| (root.name.clone(), path(&root.path))).collect();
    let keep: Map<_, _> =
        instance.keep.rules.iter().map(|(kind, number)| ((*kind).to_owned(), (*number).into())).collect();
    let freezing = &instance.freezing;
    let on_failure = FAILURES.iter().find(|(_, meaning)| *meaning == freezing.on_failure).map(|(word, _)| *word);
    Table::default()
        .put("name", instance.name.clone())
        .put("schedule", instance.schedule.to_string())
        .put("exclude", instance.exclude.clone())
        .put("always-read", freezing.always_read.clone())
        .put("capture", freezing.capture.name())
        .put("max-freeze", span(freezing.max_freeze))
        .put("warm-rounds", freezing.warm_rounds)
        .maybe("on-window-failure", on_failure)
        .maybe("verify", instance.verify.clone())
        .put("roots", roots)
        .put("keep", keep)
        .put("freezer", freezer(&freezing.freezer))
        .maybe("snapshot", freezing.snapshot.as_ref().map(snapshot))
        .put("hooks", hooks(&instance.hooks))
        .put("drill", drill(&instance.drill))
        .end()
}

fn drill(job: &DrillJob) -> Value {
    Table::default()
        .put("schedule", job.schedule.to_string())
        .put("snapshot", job.snapshot.word())
        .maybe("scratch", job.scratch.as_deref().map(path))
        .put("timeout", span(job.timeout))
        .end()
}

fn hooks(hooks: &Hooks) -> Value {
    Table::default()
        .maybe("before", hooks.before.clone())
        .maybe("after", hooks.after.clone())
        .maybe("failed", hooks.failed.clone())
        .maybe("finally", hooks.finally.clone())
        .put("timeout", span(hooks.timeout))
        .end()
}

fn snapshot(programs: &SnapshotPrograms) -> Value {
    let place: Value = match &programs.path {
        SnapshotPath::Template(template) => template.clone().into(),
        SnapshotPath::Program(program) => program.clone().into(),
    };
    Table::default()
        .put("create", programs.create.clone())
        .put("destroy", programs.destroy.clone())
        .put("path", place)
        .put("timeout", milliseconds(programs.timeout_ms))
        .end()
}

fn freezer(freezer: &FreezerConfig) -> Value {
    match freezer {
        FreezerConfig::None => Table::default().put("kind", "none"),
        FreezerConfig::Command(config) => Table::default()
            .put("kind", "command")
            .put("freeze", config.freeze.clone())
            .put("thaw", config.thaw.clone())
            .maybe("status", config.status.clone())
            .maybe("stop", config.stop.clone())
            .maybe("start", config.start.clone())
            .put("timeout", milliseconds(config.timeout_ms)),
        FreezerConfig::Fsfreeze(config) => Table::default().put("kind", "fsfreeze").put("mount", path(&config.mount)),
        FreezerConfig::Mailstore(config) => Table::default()
            .put("kind", "mailstore")
            .put("endpoint", without_password(&config.endpoint))
            .put("user", config.user.clone())
            .put("password-file", path(&config.password_file))
            .put("instance-id", config.instance_id.clone())
            .maybe("certificate-sha256", config.certificate_sha256.clone())
            .maybe("ca-file", config.ca_file.as_deref().map(path))
            .put("timeout", milliseconds(config.timeout_ms))
            .put("restart-after-failed-thaw", config.restart_after_failed_thaw),
    }
    .end()
}

pub fn path(path: &Path) -> Value {
    // It was read from text.
    path.to_string_lossy().into()
}

fn milliseconds(milliseconds: u64) -> String {
    span(Duration::from_millis(milliseconds))
}

/// As jiff reads it again.
pub fn span(duration: Duration) -> String {
    jiff::SignedDuration::try_from(duration)
        .map_or_else(|_| format!("{duration:?}"), |duration| format!("{duration:#}"))
}

/// As the command line reads it again.
fn limit(duration: Duration) -> String {
    match duration.as_secs() {
        seconds if seconds % 3600 == 0 => format!("{}h", seconds / 3600),
        seconds if seconds % 60 == 0 => format!("{}m", seconds / 60),
        seconds => format!("{seconds}s"),
    }
}

fn rate(rate: NonZero<u64>) -> String {
    let bytes = rate.get();
    let (unit, size) = RATES.into_iter().find(|(_, size)| bytes.is_multiple_of(*size)).unwrap_or(RATES[2]);
    format!("{}{unit}", bytes / size)
}

fn io_priority(priority: IoPriority) -> String {
    match priority {
        IoPriority::Idle => "idle".to_owned(),
        IoPriority::BestEffort(level) => format!("best-effort:{level}"),
    }
}

fn unused(share: MaxUnused) -> String {
    match share {
        MaxUnused::Percent(percent) => format!("{percent}%"),
        MaxUnused::Bytes(bytes) => bytes.to_string(),
    }
}

/// An address as it was written, but for a password in it: `scheme://user:password@host`.
fn without_password(address: &str) -> String {
    let parts = address.split_once("://").and_then(|(scheme, rest)| {
        let end = rest.find('/').unwrap_or(rest.len());
        let (user, host) = rest[..end].rsplit_once('@')?;
        let (user, _) = user.split_once(':')?;
        Some(format!("{scheme}://{user}:***@{host}{}", &rest[end..]))
    });
    parts.unwrap_or_else(|| address.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_an_address_is_left_out() {
        assert_eq!(without_password("sftp://ann:se@cret@host:22/a@b:c"), "sftp://ann:***@host:22/a@b:c");
        for address in ["/srv/ice", "s3://bucket/a:b@c", "sftp://ann@host/x", "https://host:8474"] {
            assert_eq!(without_password(address), address);
        }
    }
}
