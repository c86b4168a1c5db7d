//! Drills that hang, are killed or interrupted, and what runs beside them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use icecore_testkit::live::eventually;
use icecore_testkit::may_act_as_root;
use rustix::process::Signal;
use serde_json::Value;

use super::{drilled, expect_nothing_left, expect_verified, left, proof, verify};
use crate::common::{Running, args, noise, write};
use crate::run::Site;

/// A site with instances `a`, whose test of a copy writes down its process and the copy and then waits, and `b`.
fn waiting(top: &str, more: &str) -> Site {
    let site = Site::new("", &[("a", ""), ("b", "")]);
    write(site.home.path("wait"), "");
    let (log, wait) = (site.home.path("log"), site.home.path("wait"));
    let script = format!("echo $$ $1 >> {}; while [ -e {} ]; do sleep 0.01; done", log.display(), wait.display());
    site.configure(top, &[("a", &format!("{}{more}", verify(&script))), ("b", &verify("true"))]);
    site.home.ok(["backup", "--all"]);
    site
}

/// Starts a drill of `a`; when it waits, its copy and the process that tests it.
fn begin(site: &Site) -> (Running, PathBuf, PathBuf) {
    let drill = Running::start(site.home.command(["drill", "-i", "a", "--json"]));
    eventually("the copy is tested", || !site.log().is_empty());
    let log = site.log();
    let (process, copy) = log[0].split_once(' ').unwrap();
    let (process, copy) = (Path::new("/proc").join(process), PathBuf::from(copy));
    assert!(copy.join("file").exists() && process.exists());
    (drill, copy, process)
}

/// Whether nobody runs there any more; one that nobody has waited for yet does not.
fn has_ended(process: &Path) -> bool {
    fs::read_to_string(process.join("stat")).map_or(true, |stat| stat.contains(") Z "))
}

#[test]
fn a_test_that_hangs_is_ended_and_fails() {
    let site = waiting("", "[instance.drill]\ntimeout = \"1s\"\n");
    let outcome = site.home.run(["drill", "-i", "a", "b", "--json"]).expect(1);
    let outcome = outcome.said(&["took longer than 1.0 s and was killed"]);
    assert_eq!(drilled(&outcome.json(), "a")["drill"]["result"], "failed", "{outcome}");
    expect_verified(&outcome, "b");
    assert!(proof(&site, "a")["message"].as_str().unwrap().contains("took longer"), "{outcome}");
    expect_nothing_left(&site);
}

#[test]
fn what_a_killed_drill_leaves_the_next_drill_or_run_removes() {
    let site = waiting("[prune]\nschedule = \"never\"\n[check]\nschedule = \"never\"", "");
    for next in [&["run"][..], &["drill", "-i", "b"]] {
        let (drill, copy, process) = begin(&site);
        drill.signal(Signal::KILL);
        assert_eq!(drill.finish().signal(), Some(9));
        assert!(copy.join("file").exists() && !has_ended(&process));
        // Who only looks leaves it alone.
        site.home.ok(["snapshots"]);
        site.home.ok(["run", "--dry-run"]);
        assert!(copy.exists());
        site.home.ok(next).said(&["which an interrupted drill had left, is removed"]);
        assert!(!copy.exists() && has_ended(&process), "{next:?}");
        expect_nothing_left(&site);
        assert_eq!(proof(&site, "a"), Value::Null);
        fs::remove_file(site.home.path("log")).unwrap();
    }
    fs::remove_file(site.home.path("wait")).unwrap();
    expect_verified(&site.home.run(["drill", "-i", "a", "--json"]).expect(0), "a");
}

#[test]
fn a_signal_ends_a_drill_and_leaves_nothing() {
    let site = waiting("[drill]\nschedule = \"daily 02:00\"", "");
    for signal in [Signal::INT, Signal::TERM] {
        let (drill, copy, process) = begin(&site);
        drill.signal(signal);
        let outcome = drill.finish().expect(130);
        assert_eq!(drilled(&outcome.json(), "a")["result"], "interrupted", "{outcome}");
        assert!(!copy.exists() && has_ended(&process), "{outcome}");
        expect_nothing_left(&site);
        assert_eq!(proof(&site, "a"), Value::Null);
        fs::remove_file(site.home.path("log")).unwrap();
    }
    // It has not failed: a run does it at once.
    fs::remove_file(site.home.path("wait")).unwrap();
    let outcome = site.home.run(["run", "--json"]).expect(0);
    expect_verified(&outcome, "a");
}

#[test]
fn a_restore_that_is_ended_midway_leaves_nothing_either() {
    let site = Site::new("", &[("a", "")]);
    write(site.home.path("live/a/large"), noise(1, 64 << 20));
    site.home.ok(["backup", "-i", "a"]);
    for signal in [Signal::INT, Signal::KILL] {
        let drill = Running::start(site.home.command(["drill", "-i", "a", "--json"]));
        eventually("there is a directory", || left(&site).iter().any(|path| path.join("restored").exists()));
        drill.signal(signal);
        let outcome = drill.finish();
        // It may have been done by then.
        assert!(matches!((outcome.code(), outcome.signal()), (Some(130 | 0), None) | (None, Some(9))), "{outcome}");
        if signal == Signal::INT {
            expect_nothing_left(&site);
            assert_eq!(proof(&site, "a").is_null(), outcome.code() == Some(130), "{outcome}");
        }
    }
    site.home.ok(["drill", "-i", "a"]);
    expect_nothing_left(&site);
    // Nor is any restore remembered that somebody could go on with.
    let state = fs::read_dir(site.state()).unwrap().map(|entry| entry.unwrap().path().join("restores"));
    let remembered: usize = state.filter_map(|records| fs::read_dir(records).ok()).map(Iterator::count).sum();
    assert_eq!(remembered, 0);
}

#[test]
fn what_is_mounted_in_a_copy_is_not_touched_and_keeps_it_until_the_next_run() {
    if !may_act_as_root("a file system is mounted") {
        return;
    }
    let site = Site::new("", &[("a", "")]);
    let log = site.home.path("log");
    let script = format!("mkdir $1/m && mount -t tmpfs none $1/m && echo x > $1/m/x && echo $1 >> {}", log.display());
    site.configure("", &[("a", &verify(&script))]);
    site.home.ok(["backup", "-i", "a"]);
    let outcome = site.home.run(["drill", "-i", "a", "--json"]);
    let mounted = site.log().first().map(|copy| Path::new(copy).join("m"));
    let held = mounted.as_ref().map(|mounted| (mounted.join("x").exists(), mounted.with_file_name("file").exists()));
    if let Some(mounted) = &mounted {
        Command::new("umount").arg(mounted).output().unwrap();
    }
    let outcome = outcome.expect(3).said(&["cannot be deleted", "another file system is mounted there"]);
    assert_eq!(held, Some((true, false)), "{outcome}");
    expect_verified(&outcome, "a");
    site.home.ok(["run"]).said(&["which an interrupted drill had left, is removed"]);
    expect_nothing_left(&site);
}

/// Of the same file system, so that no number of a device tells it from the copy.
#[test]
fn live_data_that_is_bound_into_a_copy_is_not_deleted() {
    if !may_act_as_root("a directory is mounted") {
        return;
    }
    let site = Site::new("", &[("a", "")]);
    let (log, live) = (site.home.path("log"), site.home.path("live/a"));
    let script = format!("mkdir $1/m && mount --bind {} $1/m && echo $1 >> {}", live.display(), log.display());
    site.configure("", &[("a", &verify(&script))]);
    site.home.ok(["backup", "-i", "a"]);
    let outcome = site.home.run(["drill", "-i", "a", "--json"]);
    let mounted = site.log().first().map(|copy| Path::new(copy).join("m"));
    if let Some(mounted) = &mounted {
        Command::new("umount").arg(mounted).output().unwrap();
    }
    assert!(mounted.is_some() && live.join("file").exists(), "{outcome}");
    let outcome = outcome.expect(3).said(&["cannot be deleted", "m: another directory is mounted there"]);
    expect_verified(&outcome, "a");
    site.home.ok(["run"]).said(&["which an interrupted drill had left, is removed"]);
    expect_nothing_left(&site);
}

/// One that cannot be deleted is told in the report of each run.
#[test]
fn what_a_run_cannot_remove_stands_in_its_report() {
    if !may_act_as_root("a file system is mounted") {
        return;
    }
    let site = Site::new("", &[("a", "")]);
    let log = site.home.path("log");
    let script = format!("mkdir $1/m && mount -t tmpfs none $1/m && echo $1 >> {}", log.display());
    site.configure("", &[("a", &verify(&script))]);
    site.home.ok(["backup", "-i", "a"]);
    let drill = site.home.run(["drill", "-i", "a"]);
    let outcome = site.home.run(["run", "--now", "--json"]);
    if let Some(copy) = site.log().first() {
        Command::new("umount").arg(Path::new(copy).join("m")).output().unwrap();
    }
    drill.expect(3);
    let warnings = outcome.json()["warnings"].to_string();
    assert!(warnings.contains("cannot be deleted") && warnings.contains("icecore-scratch-"), "{outcome}");
}

#[test]
fn programs_that_a_test_leaves_running_are_ended_also_in_sessions_of_their_own() {
    let site = Site::new("", &[("a", ""), ("b", "")]);
    let log = site.home.path("log");
    let script =
        |end: &str| verify(&format!("setsid sleep 600 > /dev/null 2>&1 & echo $! >> {}; {end}", log.display()));
    let slow = format!("{}[instance.drill]\ntimeout = \"2s\"\n", script("sleep 600"));
    site.configure("", &[("a", &script("true")), ("b", &slow)]);
    site.home.ok(["backup", "--all"]);
    site.home.run(["drill", "--all"]).expect(1).said(&["took longer than 2.0 s"]);
    let log = site.log();
    assert_eq!(log.len(), 2, "{log:?}");
    assert!(log.iter().all(|process| has_ended(&Path::new("/proc").join(process))), "{log:?}");
    expect_nothing_left(&site);
}

#[test]
fn drills_beside_each_other_leave_each_other_alone() {
    let site = waiting("", "");
    let (drill, copy, process) = begin(&site);
    expect_verified(&site.home.run(["drill", "-i", "b", "--json"]).expect(0), "b");
    site.home.run(["drill", "-i", "a"]).expect(11).said(&["is in use: a drill of a"]);
    site.home.ok(["run"]);
    assert!(copy.join("file").exists() && !has_ended(&process));
    fs::remove_file(site.home.path("wait")).unwrap();
    expect_verified(&drill.finish().expect(0), "a");
    expect_nothing_left(&site);
}

#[test]
fn a_snapshot_may_be_forgotten_and_pruned_beside_its_drill() {
    let site = waiting("", "");
    let id = site.home.json(["show", "a"])["snapshot"]["id"].as_str().unwrap().to_owned();
    write(site.home.path("live/a/file"), noise(2, 100_000));
    site.home.ok(["backup", "-i", "a"]);
    let drill = Running::start(site.home.command(args!["drill", "--snapshot", &id, "--json"]));
    eventually("the copy is tested", || !site.log().is_empty());
    site.home.ok(["forget", &id]);
    site.home.ok(["prune", "--now"]);
    fs::remove_file(site.home.path("wait")).unwrap();
    expect_verified(&drill.finish().expect(0), "a");
    // What it says is of nothing any more, and goes with the next prune.
    site.home.check(&[]);
    site.home.ok(["prune"]);
    assert!(site.home.objects("annotations").is_empty());
    assert_eq!(proof(&site, "a"), Value::Null);
}
