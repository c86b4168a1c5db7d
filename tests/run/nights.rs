//! What is due is done, once, in order, and what came of it is told.

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use super::{Site, tasks};
use crate::common::{number, write};

#[test]
fn a_night_does_everything_and_the_next_run_nothing() {
    let site = Site::new(
        "[defaults.keep]\nlast = 1",
        &[("a", ""), ("b", "keep = { last = 2 }"), ("c", "schedule = \"never\"")],
    );
    let plan = site.home.json(["run", "--dry-run"]);
    assert_eq!(tasks(&plan), ["backup a", "backup b", "backup c", "prune", "check"]);
    let standings: Vec<_> = plan["tasks"].as_array().unwrap().iter().map(|task| task["standing"].clone()).collect();
    assert_eq!(standings, ["due", "due", "never", "due", "due"]);
    assert!(site.home.objects("snapshots").is_empty(), "a dry run does nothing");

    let report = site.home.json(["run"]);
    assert_eq!(tasks(&report), ["backup a", "backup b", "forget a", "forget b", "prune", "check"], "{report:#}");
    assert_eq!((number(&report["code"]), &report["error"]), (0, &serde_json::Value::Null));
    let taken = &report["tasks"][0]["backup"];
    assert_eq!((taken["verdict"].as_str(), number(&taken["bytes"])), (Some("stable"), 20_000), "{report:#}");
    assert!(taken["snapshot"].as_str().unwrap() == site.home.json(["show", "a"])["snapshot"]["id"].as_str().unwrap());
    assert!(number(&report["tasks"][5]["check"]["bytes_read"]) > 0, "{report:#}");

    let second = site.home.json(["run"]);
    assert!(tasks(&second).is_empty(), "{second:#}");
    site.home.ok(["run"]).said(&["nothing is due; next: "]);
    let plan = site.home.ok(["run", "--dry-run"]).out();
    assert!(!plan.contains("now ") && plan.matches("due at").count() == 4, "{plan}");

    // Asked for: the same again, and what `keep` does not keep goes.
    let third = site.home.json(["run", "--now"]);
    assert_eq!(tasks(&third), tasks(&report));
    assert_eq!((site.snapshots("a"), site.snapshots("b"), site.snapshots("c")), (1, 2, 0));
    assert_eq!(third["tasks"][2]["forget"], serde_json::json!({ "forgotten": 1, "kept": 1 }));
    let named = site.home.json(["run", "--now", "-i", "c"]);
    assert_eq!(tasks(&named), ["backup c", "forget c"]);
    site.home.run(["run", "-i", "aa"]).expect(2).said(&["no instance \"aa\" is configured"]);

    let table = site.home.ok(["run", "--now"]).out();
    assert!(
        table.starts_with("task") && table.contains("backup b  done") && table.contains("1 forgotten, 2 kept"),
        "{table}"
    );
    site.home.check(&["--read-data"]);
}

#[test]
fn an_interval_comes_round() {
    let care = "[prune]\nschedule = \"never\"\n[check]\nschedule = \"never\"";
    let site = Site::new(care, &[("a", "schedule = \"every 1s\""), ("b", "")]);
    assert_eq!(tasks(&site.home.json(["run"])), ["backup a", "backup b"]);
    sleep(Duration::from_millis(1100));
    let report = site.home.json(["run"]);
    assert_eq!(tasks(&report), ["backup a"]);
    assert!(report["tasks"][0]["due_since"].is_string(), "{report:#}");
    assert_eq!((site.snapshots("a"), site.snapshots("b")), (2, 1));
}

#[test]
fn snapshots_tell_what_was_done_and_damaged_records_cost_nothing() {
    let site = Site::new("", &[("a", "")]);
    // By hand: the run finds it in the repository, and notes it.
    site.home.ok(["backup", "-i", "a"]);
    let report = site.home.json(["run"]);
    assert_eq!(tasks(&report), ["prune", "check"], "{report:#}");
    for entry in fs::read_dir(site.state().join("runs")).unwrap() {
        write(entry.unwrap().path(), "torn {");
    }
    // Prune and check are known only there: they are done once too often.
    assert_eq!(tasks(&site.home.json(["run"])), ["prune", "check"]);
    site.home.ok(["run"]).said(&["nothing is due"]);
    assert_eq!(site.snapshots("a"), 1);
}

#[test]
fn the_limits_hold_back_reading_and_storing() {
    let limits = "[limits]\nthreads = 2\nread-rate = \"1GiB/s\"\nupload-rate = \"64KiB/s\"";
    let site = Site::new(limits, &[("a", "")]);
    // What cannot be compressed: at this rate it takes two seconds and more.
    write(site.home.path("live/a/noise"), crate::common::noise(3, 160 << 10));
    let report = site.home.json(["run", "-i", "a"]);
    assert!(report["tasks"][0]["seconds"].as_f64().unwrap() >= 2.0, "{report:#}");
    site.home.check(&["--read-data"]);
    let restored = site.home.restore("a", "back");
    assert_eq!(fs::read(restored.join("noise")).unwrap(), crate::common::noise(3, 160 << 10));
}

/// The state directory stands in the root, and the locks of a run in that: they do not meet.
#[test]
fn a_root_may_hold_the_state_directory() {
    let site = Site::new("", &[]);
    let home = site.home.path("home");
    write(home.join("letter"), "content");
    write(site.home.path("config.toml"), format!("[[instance]]\nname = \"home/a%b\"\nroots = {{ r = {home:?} }}\n"));
    let report = site.home.run(["run", "--json"]).json();
    assert_ne!(super::result(&report, "backup home/a%b").0, "busy", "{report:#}");
    assert_eq!(site.snapshots("home/a%b"), 1);
}

/// Three instances that are frozen for a while: at no time two, although they are backed up side by side.
#[test]
fn one_window_at_a_time() {
    let site = Site::new("", &[]);
    let freezer = |name: &str| {
        let log = site.home.path("log");
        let program = |word: &str, rest: &str| {
            format!("[\"/bin/sh\", \"-c\", {:?}]", format!("echo {word} {name} >> {}; {rest}", log.display()))
        };
        let (freeze, thaw) = (program("freeze", "sleep 0.4"), program("thaw", ""));
        format!("[instance.freezer]\nkind = \"command\"\nfreeze = {freeze}\nthaw = {thaw}\n")
    };
    let names = ["a", "b", "c"];
    let freezers = names.map(freezer);
    let instances: Vec<_> = names.iter().zip(&freezers).map(|(name, freezer)| (*name, freezer.as_str())).collect();
    names.iter().for_each(|name| write(site.home.path("live").join(name).join("file"), "content"));
    site.configure("[run]\nparallel = 3", &instances);
    let report = site.home.json(["run"]);
    assert_eq!(number(&report["code"]), 0, "{report:#}");
    assert_eq!(tasks(&report)[..3], ["backup a", "backup b", "backup c"]);
    let log = site.log();
    assert_eq!(log.len(), 6, "{log:?}");
    for window in log.chunks(2) {
        let [freeze, thaw] = window else { panic!("{log:?}") };
        let name = freeze.strip_prefix("freeze ").unwrap_or_else(|| panic!("{log:?}"));
        assert_eq!(thaw.strip_prefix("thaw "), Some(name), "{log:?}");
    }
    // Where the configuration allows it, they are.
    site.configure("[run]\nparallel = 3\nparallel-windows = true", &instances);
    fs::remove_file(site.home.path("log")).unwrap();
    for _ in 0..5 {
        site.home.ok(["run", "--now", "-i", "a", "b", "c"]);
        let overlap = |window: &[String]| window.iter().all(|line| line.starts_with("freeze"));
        if site.log().windows(2).any(overlap) {
            return;
        }
    }
    panic!("five runs, and never were two frozen at once: {:?}", site.log());
}
