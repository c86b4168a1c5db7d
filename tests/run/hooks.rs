//! Programs around a run and around each of its instances.

use std::ffi::OsStr;
use std::fs;
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;

use super::{Site, result, tasks};
use crate::common::{Running, args};
use icecore_testkit::live::eventually;

/// Hooks for each moment that write down their place; `before` then does something more.
fn hooks(site: &Site, table: &str, name: &str, then: &str) -> String {
    let hook = |word: &str, then: &str| site.hook(&format!("{name}-{word}"), "$ICECORE_INSTANCE", then);
    format!(
        "[{table}]\nbefore = {}\nafter = {}\nfailed = {}\nfinally = {}\ntimeout = \"1s\"\n",
        hook("before", then),
        hook("after", ""),
        hook("failed", ""),
        hook("finally", "")
    )
}

#[test]
fn hooks_run_in_order_with_the_facts() {
    let site = Site::new("", &[]);
    let copy = site.home.path("report.json");
    let facts = "$ICECORE_HOOK,$ICECORE_CODE,$ICECORE_SNAPSHOT,$ICECORE_REPOSITORY,$ICECORE_ERROR";
    let top = format!(
        "{}[defaults.hooks]\nbefore = {}\nafter = {}\nfinally = {}\n",
        hooks(&site, "hooks", "run", ""),
        site.hook("before", "$ICECORE_INSTANCE", ""),
        site.hook("after", facts, ""),
        site.hook("finally", "", &format!("cp $ICECORE_REPORT {}", copy.display())),
    );
    crate::common::write(site.home.path("live/a/file"), "content");
    site.configure(&top, &[("a", "")]);
    let report = site.home.json(["run"]);
    let snapshot = report["tasks"][0]["backup"]["snapshot"].as_str().unwrap();
    let after = format!("after after,0,{snapshot},{},", site.home.repository().display());
    assert_eq!(site.log(), ["run-before", "before a", &after, "finally", "run-after", "run-finally"]);
    let seen: Value = serde_json::from_slice(&fs::read(&copy).unwrap()).unwrap();
    assert_eq!(
        (&seen["version"], &seen["task"], &seen["backup"]),
        (&1.into(), &"backup".into(), &report["tasks"][0]["backup"])
    );
    let names = fs::read_dir(site.state().join("runs")).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(!names.into_iter().any(|name| name.to_string_lossy().starts_with("report-")), "a report was left");
    // Without work there are no hooks.
    site.home.ok(["run"]);
    assert_eq!(site.log().len(), 6);
}

#[test]
fn a_before_that_fails_or_hangs_fails_its_instance_alone() {
    let site = Site::new("", &[("a", ""), ("b", ""), ("c", "")]);
    let (bad, slow, good) = (
        hooks(&site, "instance.hooks", "a", "echo no disk; exit 3"),
        hooks(&site, "instance.hooks", "b", "sleep 60"),
        hooks(&site, "instance.hooks", "c", ""),
    );
    site.configure("", &[("a", &bad), ("b", &slow), ("c", &good)]);
    let outcome = site.home.run(["run", "--json"]).expect(1);
    let report = outcome.json();
    for (task, expected) in [("backup a", ("failed", 1)), ("backup b", ("failed", 1)), ("backup c", ("done", 0))] {
        assert_eq!(result(&report, task), (expected.0.to_owned(), expected.1), "{outcome}");
    }
    let expected: Vec<String> = [("a", "failed"), ("b", "failed"), ("c", "after")]
        .iter()
        .flat_map(|(name, end)| ["before", *end, "finally"].map(|word| format!("{name}-{word} {name}")))
        .collect();
    assert_eq!(site.log(), expected);
    outcome.said(&["the hook `before`", "no disk", "took longer than 1.0 s and was killed"]);
    assert_eq!((site.snapshots("a"), site.snapshots("b"), site.snapshots("c")), (0, 0, 1));
}

#[test]
fn an_after_that_fails_keeps_the_snapshot_and_is_told() {
    let site = Site::new("", &[("a", "[instance.hooks]\nafter = [\"/bin/false\"]"), ("b", "")]);
    let report = site.home.run(["run", "--json"]).expect(1).said(&["instance a: the hook `after`"]).json();
    assert_eq!((result(&report, "backup a").0.as_str(), site.snapshots("a")), ("failed", 1));
    assert!(report["tasks"][0]["backup"]["snapshot"].is_string(), "{report:#}");
    // The snapshot stands: it is not due again.
    assert!(tasks(&site.home.json(["run"])).is_empty());
}

#[test]
fn a_run_whose_before_fails_does_nothing_and_says_so() {
    let site = Site::new("", &[("a", "")]);
    let top = hooks(&site, "hooks", "run", "exit 1");
    let own = hooks(&site, "instance.hooks", "a", "");
    site.configure(&top, &[("a", &own)]);
    let report = site.home.run(["run", "--json"]).expect(1).said(&["the hook `before`"]).json();
    assert!(report["error"]["message"].as_str().unwrap().contains("the hook `before`"), "{report:#}");
    assert_eq!(result(&report, "backup a").0, "failed");
    assert_eq!(site.log(), ["run-before", "a-failed a", "a-finally a", "run-failed", "run-finally"]);
    assert!(site.home.objects("snapshots").is_empty());
}

#[test]
fn a_signal_ends_it_in_order() {
    let site = Site::new("", &[("a", ""), ("b", "")]);
    let wait = format!("while [ -e {} ]; do sleep 0.01; done", site.home.path("wait").display());
    let mut first = hooks(&site, "instance.hooks", "a", &wait);
    first = first.replace("timeout = \"1s\"", "timeout = \"5m\"");
    let run = hooks(&site, "hooks", "run", "");
    crate::common::write(site.home.path("wait"), "");
    site.configure(&run, &[("a", &first), ("b", "")]);
    let night = Running::start(site.home.command(args!["run", "--json"]));
    eventually("the first hook runs", || site.log().len() == 2);
    night.signal(Signal::INT);
    fs::remove_file(site.home.path("wait")).unwrap();
    let outcome = night.finish().expect(130);
    let report = outcome.json();
    assert_eq!(tasks(&report), ["backup a"], "{outcome}");
    assert_eq!(result(&report, "backup a"), ("interrupted".to_owned(), 130), "{outcome}");
    assert_eq!(site.log(), ["run-before", "a-before a", "a-failed a", "a-finally a", "run-failed", "run-finally"]);
    // It is no failure: the next run does all of it.
    let next = site.home.json(["run"]);
    assert_eq!(tasks(&next)[..2], ["backup a", "backup b"], "{next:#}");
}

/// A session that is closed ends a run in order, and does nothing to one that was started to outlive it.
#[test]
fn a_closed_session_ends_it_in_order_unless_it_was_told_to_outlive_that() {
    // Whatever the tests were started with.
    let plain: &[&str] = &["env", "--default-signal=HUP"];
    for (before, code) in [(plain, 130), (&["nohup"][..], 0)] {
        let site = Site::new("", &[("a", ""), ("b", "")]);
        let wait = format!("while [ -e {} ]; do sleep 0.01; done", site.home.path("wait").display());
        let own = format!("[instance.hooks]\nbefore = {}", site.hook("before", "", &wait));
        crate::common::write(site.home.path("wait"), "");
        site.configure(
            &format!("[hooks]\nfinally = {}", site.hook("finally", "$ICECORE_CODE", "")),
            &[("a", &own), ("b", "")],
        );
        let night = Running::start(under(before, &site.home.command(args!["run", "--json"])));
        eventually("the first hook runs", || site.log().len() == 1);
        night.signal(Signal::HUP);
        night.signal(Signal::HUP);
        fs::remove_file(site.home.path("wait")).unwrap();
        let outcome = night.finish().expect(code);
        // The signal may come to the program only when it is at the first instance; not a whole backup later.
        let expected: &[&str] = if code == 0 { &["backup a", "backup b", "prune", "check"] } else { &["backup a"] };
        assert_eq!(tasks(&outcome.json()), expected, "{outcome}");
        assert_eq!(
            (site.log()[1].as_str(), site.snapshots("b")),
            (&*format!("finally {code}"), usize::from(code == 0))
        );
    }
}

/// The same command, begun by another program.
fn under(program: &[&str], command: &Command) -> Command {
    let mut words = program.iter().map(OsStr::new).chain([command.get_program()]).chain(command.get_args());
    let mut begun = Command::new(words.next().unwrap());
    begun.args(words).env_clear().current_dir(command.get_current_dir().unwrap());
    begun.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    begun
}
