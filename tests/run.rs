//! `icecore run` and `icecore config` through the program: a configuration, real hooks, real freezers.

mod config;
mod drill;
mod hooks;
mod nights;
mod only_writes;
mod tell;
mod thirty_nights;
mod trouble;

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::common::{Home, text, write};

/// A user with a repository, and instances that nothing freezes unless a test says so.
struct Site {
    home: Home,
}

impl Site {
    /// With these lines above the instances, and these instances, each with more lines of its own.
    fn new(top: &str, instances: &[(&str, &str)]) -> Self {
        let mut home = Home::with_repository();
        home.set("ICECORE_CONFIG", home.path("config.toml"));
        for (seed, (name, _)) in (1..).zip(instances) {
            write(home.path("live").join(name).join("file"), text(seed, 20_000));
        }
        let site = Self { home };
        site.configure(top, instances);
        site
    }

    fn configure(&self, top: &str, instances: &[(&str, &str)]) {
        let mut text = format!("{top}\n");
        for (name, more) in instances {
            let root = self.home.path("live").join(name);
            text.push_str(&format!("[[instance]]\nname = {name:?}\nroots = {{ r = {root:?} }}\n{more}\n"));
        }
        write(self.home.path("config.toml"), text);
    }

    /// A hook that writes a word and what `print` says into the log, then does `then`.
    fn hook(&self, word: &str, print: &str, then: &str) -> String {
        let log = self.home.path("log");
        format!("[\"/bin/sh\", \"-c\", {:?}]", format!("echo {word} {print} >> {}; {then}", log.display()))
    }

    /// What the hooks wrote, line by line.
    fn log(&self) -> Vec<String> {
        let log = fs::read_to_string(self.home.path("log")).unwrap_or_default();
        log.lines().map(|line| line.trim_end().to_owned()).collect()
    }

    /// Where the state directory stands.
    fn state(&self) -> PathBuf {
        self.home.path("home/.local/state/icecore")
    }

    /// Changes what is noted of tasks on this host, by their names.
    fn change_records(&self, change: impl FnOnce(&mut serde_json::Map<String, Value>)) {
        let records = fs::read_dir(self.state().join("runs")).unwrap().map(|entry| entry.unwrap().path());
        let mut records = records.filter(|path| path.extension().is_some_and(|kind| kind == "json"));
        let (Some(path), None) = (records.next(), records.next()) else { panic!("one repository has records") };
        let mut document: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        change(document["tasks"].as_object_mut().unwrap());
        write(path, document.to_string());
    }

    /// How many snapshots an instance has.
    fn snapshots(&self, instance: &str) -> usize {
        let all = self.home.json(["snapshots"]);
        let all = all["snapshots"].as_array().unwrap();
        all.iter().filter(|snapshot| snapshot["instance"] == instance).count()
    }
}

/// What became of a task, such as `backup a`, in a report: its word, and its exit code.
#[track_caller]
fn result(report: &Value, task: &str) -> (String, u64) {
    let found = tasks(report).iter().position(|name| name == task);
    let task = &report["tasks"][found.unwrap_or_else(|| panic!("no {task} in {report:#}"))];
    (task["result"].as_str().unwrap().to_owned(), task["code"].as_u64().unwrap())
}

/// The tasks of a report, in order.
fn tasks(report: &Value) -> Vec<String> {
    let name = |task: &Value| match task["instance"].as_str() {
        Some(instance) => format!("{} {instance}", task["task"].as_str().unwrap()),
        None => task["task"].as_str().unwrap().to_owned(),
    };
    report["tasks"].as_array().unwrap().iter().map(name).collect()
}
