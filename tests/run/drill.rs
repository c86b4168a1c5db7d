//! Restores that are practised: what they prove, what they record, when they are due.

mod ends;
mod firebird;
mod places;

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use super::tell::metric;
use super::{Site, result, tasks};
use crate::common::{Outcome, noise, number, write};

/// The program of an instance that tests a copy: lines of a shell script, which finds the copy of the root at `$1`.
fn verify(script: &str) -> String {
    format!("verify = [\"/bin/sh\", \"-c\", {script:?}, \"verify\", \"{{r}}\"]\n")
}

/// What the last drill of an instance's newest snapshot proved; null if there was none.
fn proof(site: &Site, snapshot: &str) -> Value {
    site.home.json(["show", snapshot])["snapshot"]["proof"].clone()
}

/// What became of the drill of an instance, in the document of a drill or a run.
#[track_caller]
fn drilled(report: &Value, instance: &str) -> Value {
    let found = tasks(report).iter().position(|name| *name == format!("drill {instance}"));
    report["tasks"][found.unwrap_or_else(|| panic!("no drill of {instance} in {report:#}"))].clone()
}

/// Scratch directories below the state directory, and records of some.
fn left(site: &Site) -> Vec<PathBuf> {
    let mut places: Vec<_> = fs::read_dir(site.state()).unwrap().map(|entry| entry.unwrap().path()).collect();
    places.iter_mut().filter(|place| place.file_name().is_some_and(|name| name != "scratch")).for_each(|place| {
        place.push("scratch");
    });
    let entries = places.iter().filter_map(|place| fs::read_dir(place).ok()).flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// Fails if a drill has left anything behind.
#[track_caller]
fn expect_nothing_left(site: &Site) {
    let left = left(site);
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn what_is_found_sound_is_verified_what_nothing_tests_is_restored_and_the_rest_fails() {
    let site = Site::new("", &[]);
    let (live, log) = (site.home.path("live"), site.home.path("log"));
    let sound = verify(&format!("cmp $1/file {}/a/file && echo $1 >> {}", live.display(), log.display()));
    let torn = verify("echo page 7 is torn; exit 3");
    let instances = [("a", torn.as_str()), ("b", sound.as_str()), ("c", "")];
    ["a", "b", "c"].iter().for_each(|name| write(live.join(name).join("file"), "content"));
    site.configure("", &instances);
    site.home.ok(["backup", "--all"]);
    let records = site.home.objects("snapshots");
    assert_eq!(proof(&site, "a"), Value::Null);
    assert!(!site.home.ok(["snapshots"]).out().contains("proved"));

    let outcome = site.home.run(["drill", "--all", "--json"]).expect(1);
    let outcome = outcome.said(&["icecore: drill a: snapshot ", "page 7 is torn", "brings it back to be looked at"]);
    let report = outcome.json();
    assert_eq!(number(&report["code"]), 1, "{outcome}");
    for (name, worth, code) in [("a", "failed", 1), ("b", "verified", 0), ("c", "restored", 0)] {
        let task = drilled(&report, name);
        assert_eq!((&task["drill"]["result"], number(&task["code"])), (&worth.into(), code), "{outcome}");
        assert_eq!((number(&task["drill"]["files"]), number(&task["drill"]["bytes"])), (1, 7), "{outcome}");
        let proof = proof(&site, name);
        assert_eq!((&proof["result"], &proof["message"]), (&worth.into(), &task["drill"]["message"]), "{proof:#}");
        assert_eq!(proof["verdict"], if worth == "failed" { "failed" } else { "ok" });
        assert_eq!(proof["test_seconds"].is_null(), name == "c", "{proof:#}");
    }
    assert!(proof(&site, "b")["message"].as_str().unwrap().contains("`/bin/sh -c cmp"), "{outcome}");
    assert!(proof(&site, "c")["message"].as_str().unwrap().contains("the instance has no `verify`"), "{outcome}");
    // It was the copy that was tested, once.
    let tested = site.log();
    let [copy] = &tested[..] else { panic!("{tested:?}") };
    assert!(copy.contains("/scratch/icecore-scratch-") && copy.starts_with(site.state().to_str().unwrap()), "{copy}");
    expect_nothing_left(&site);
    // Snapshots never change: what came of them stands beside.
    assert_eq!((site.home.objects("snapshots"), site.home.objects("annotations").len()), (records, 3));
    let table = site.home.ok(["snapshots"]).out();
    assert!(table.contains("proved") && table.matches("failed 20").count() == 1, "{table}");
    assert_eq!(table.matches("restored 20").count(), 1, "{table}");
    assert!(site.home.ok(["show", "b"]).out().contains("verified on "));
    site.home.check(&["--read-data"]);

    // The last attempt counts.
    site.configure("", &[("a", &verify("true")), ("b", ""), ("c", "")]);
    let table = site.home.ok(["drill", "-i", "a", "b"]).out();
    assert!(table.contains("a         verified") && table.contains("b         restored"), "{table}");
    assert_eq!((&proof(&site, "a")["result"], &proof(&site, "b")["result"]), (&"verified".into(), &"restored".into()));
}

#[test]
fn what_cannot_be_restored_fails_with_the_loss_named() {
    let site = Site::new("", &[("a", &verify("true"))]);
    write(site.home.path("live/a/noise"), noise(5, 300_000));
    site.home.ok(["backup", "-i", "a"]);
    let size = |pack: &PathBuf| fs::metadata(pack).unwrap().len();
    let pack = site.home.objects("packs").into_iter().max_by_key(size).unwrap();
    let mut bytes = fs::read(&pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    fs::remove_file(&pack).unwrap();
    fs::write(&pack, bytes).unwrap();
    let outcome = site.home.run(["drill", "-i", "a", "--json"]).expect(1);
    let outcome = outcome.said(&["not restored: 1 entry, the first: noise: ", "icecore check --read-data"]);
    let task = drilled(&outcome.json(), "a");
    assert_eq!((&task["drill"]["result"], number(&task["drill"]["missing"])), (&"failed".into(), 1), "{outcome}");
    let proof = proof(&site, "a");
    assert!(proof["message"].as_str().unwrap().contains("noise"), "{proof:#}");
    // What is not whole is not tested.
    assert_eq!((&proof["verdict"], &proof["test_seconds"]), (&"failed".into(), &Value::Null));
    expect_nothing_left(&site);
}

fn expect_verified(outcome: &Outcome, instance: &str) -> Value {
    let task = drilled(&outcome.json(), instance);
    assert_eq!(task["drill"]["result"], "verified", "{outcome}");
    task
}

#[test]
fn a_run_does_what_is_due_once_and_goes_on_after_a_failure() {
    let site = Site::new("", &[("a", ""), ("b", ""), ("c", "")]);
    let count = |name: &str, end: &str| verify(&format!("echo {name} >> {}; {end}", site.home.path("log").display()));
    let never = [&count("c", "true"), "[instance.drill]\nschedule = \"never\"\n"].concat();
    let instances = [("a", &*count("a", "exit 1")), ("b", &*count("b", "true")), ("c", &*never)];
    site.configure("[drill]\nschedule = \"daily 02:00\"\nsnapshot = \"random\"", &instances);
    let plan = site.home.ok(["run", "--dry-run"]).out();
    let line = plan.lines().find(|line| line.contains("drill a")).unwrap_or_else(|| panic!("{plan}"));
    assert!(line.contains("was never done") && line.contains("daily 02:00") && !plan.contains("drill c"), "{plan}");

    let outcome = site.home.run(["run", "--json"]).expect(1).said(&["icecore: drill a: "]);
    let report = outcome.json();
    let all = ["backup a", "backup b", "backup c", "prune", "check", "drill a", "drill b"];
    assert_eq!(tasks(&report), all, "{outcome}");
    assert_eq!(result(&report, "drill a"), ("failed".to_owned(), 1), "{outcome}");
    assert_eq!(drilled(&report, "a")["drill"]["result"], "failed");
    expect_verified(&outcome, "b");
    assert_eq!(site.log(), ["a", "b"]);
    // A failure is told once, and not each quarter of an hour.
    site.home.ok(["run"]).said(&["nothing is due"]);
    let waiting = site.home.json(["run", "--dry-run"]);
    assert_eq!(drilled(&waiting, "a")["standing"], "waits", "{waiting:#}");
    // The backup alone is what is named.
    assert_eq!(tasks(&site.home.json(["run", "--now", "-i", "a"])), ["backup a"]);
    assert_eq!(site.log(), ["a", "b"]);
    let table = site.home.run(["run", "--now"]).expect(1).out();
    assert!(table.contains("drill b   done") && table.contains(" verified\n"), "{table}");
    assert_eq!(site.log(), ["a", "b", "a", "b"]);
}

#[test]
fn a_snapshot_that_failed_is_no_success_until_a_drill_succeeds() {
    let site = Site::new("", &[]);
    let file = site.home.path("icecore.prom");
    let top = format!("[metrics]\nfile = {file:?}\n[drill]\nschedule = \"daily 02:00\"");
    let names = ["a", "b", "c"];
    names.iter().for_each(|name| write(site.home.path("live").join(name).join("file"), "content"));
    site.configure(&top, &[("a", &verify("exit 1")), ("b", &verify("true")), ("c", "")]);
    site.home.run(["run"]).expect(1);
    let metrics = |name: &str| {
        let text = fs::read_to_string(&file).unwrap();
        names.map(|instance| metric(&text, name, &[&format!("name=\"{instance}\"")]))
    };
    let drills = |name: &str| {
        let text = fs::read_to_string(&file).unwrap();
        names.map(|instance| metric(&text, name, &["\"drill\"", &format!("name=\"{instance}\"")]))
    };
    let told = |what: [Option<f64>; 3]| what.map(|value| value.is_some());
    assert_eq!(told(drills("task_last_success_timestamp_seconds")), [false, true, true]);
    assert_eq!(drills("task_exit_code"), [Some(1.0), Some(0.0), Some(0.0)]);
    // Of the third nobody knows whether it can be used.
    assert_eq!(told(metrics("backup_proved_timestamp_seconds")), [false, true, false]);
    let plan = || site.home.ok(["run", "--dry-run"]).out();
    let line = |plan: &str| plan.lines().find(|line| line.contains("drill a")).unwrap().to_owned();
    let waits = line(&plan());
    assert!(waits.starts_with('-') && waits.contains("failed at"), "{waits}");
    // What runs meanwhile and goes well does not hide it.
    site.home.ok(["run", "--now", "-i", "a"]);
    assert!(line(&plan()).contains("failed at"));
    assert_eq!(told(drills("task_last_success_timestamp_seconds")), [false, true, true]);
    site.configure(&top, &[("a", &verify("true")), ("b", ""), ("c", "")]);
    site.home.ok(["run", "--now"]);
    assert!(!line(&plan()).contains("failed at"));
    assert_eq!(told(drills("task_last_success_timestamp_seconds")), [true; 3]);
    assert_eq!(told(metrics("backup_proved_timestamp_seconds")), [true, true, false]);
}

#[test]
fn a_backup_that_is_due_comes_before_the_drills_that_are_left() {
    let site = Site::new("", &[("a", ""), ("b", "")]);
    // What is not noted was never done.
    let forget = verify(&format!("rm {}/runs/*.json", site.state().display()));
    site.configure("[drill]\nschedule = \"daily 02:00\"", &[("a", &forget), ("b", &verify("true"))]);
    let outcome = site.home.run(["run", "--json"]).expect(0);
    let report = outcome.json();
    assert_eq!(tasks(&report), ["backup a", "backup b", "prune", "check", "drill a"], "{outcome}");
    assert!(report["warnings"].to_string().contains("1 drill that is left waits for the next run"), "{outcome}");
    let next = site.home.json(["run"]);
    assert!(tasks(&next).contains(&"drill b".to_owned()), "{next:#}");
}

#[test]
fn a_drill_that_could_not_be_tried_is_tried_again_later_and_says_nothing_of_the_snapshot() {
    let site = Site::new("", &[("a", "verify = [\"/no/such/program\", \"{r}\"]\ndrill = { schedule = \"hourly\" }")]);
    let outcome = site.home.run(["run", "--json"]).expect(1).said(&["/no/such/program cannot be found"]);
    assert_eq!(drilled(&outcome.json(), "a")["drill"], Value::Null, "{outcome}");
    assert_eq!(proof(&site, "a"), Value::Null);
    let plan = site.home.ok(["run", "--dry-run"]).out();
    assert!(plan.lines().any(|line| line.contains("drill a") && line.contains("failed at")), "{plan}");
}

#[test]
fn forgotten_snapshots_take_their_proofs_along() {
    let site = Site::new("", &[("a", &verify("true"))]);
    for night in ["first", "second"] {
        write(site.home.path("live/a/night"), night);
        site.home.ok(["backup", "-i", "a"]);
        site.home.ok(["drill", "-i", "a"]);
    }
    let (old, new) = (proof(&site, "a~1"), proof(&site, "a"));
    assert_eq!((&old["result"], &new["result"]), (&"verified".into(), &"verified".into()));
    assert_eq!(site.home.objects("annotations").len(), 2);
    let old = site.home.json(["show", "a~1"])["snapshot"]["id"].as_str().unwrap().to_owned();
    site.home.ok(["forget", &old]);
    site.home.ok(["prune"]);
    assert_eq!(site.home.objects("annotations").len(), 1);
    assert_eq!(proof(&site, "a"), new);
    site.home.check(&[]);
}

#[test]
fn a_snapshot_is_named_or_any_is_taken() {
    let site = Site::new("", &[("a", &verify("cat $1/night")), ("b", "")]);
    for night in ["1", "2", "3"] {
        write(site.home.path("live/a/night"), night);
        site.home.ok(["backup", "--all"]);
    }
    let id = |text: &str| site.home.json(["show", text])["snapshot"]["id"].clone();
    let drilled = |arguments: &[&str]| {
        let report = site.home.json(["drill"].iter().chain(arguments));
        drilled(&report, "a")["drill"]["snapshot"].clone()
    };
    assert_eq!((drilled(&["-i", "a"]), drilled(&["--snapshot", "a~2"])), (id("a"), id("a~2")));
    assert_eq!(drilled(&["--snapshot", "a~1", "-i", "a"]), id("a~1"));
    site.home.run(["drill", "--snapshot", "a~1", "-i", "b"]).expect(2).said(&["is one of \"a\", and not of \"b\""]);
    site.home.run(["drill", "-i", "x"]).expect(2).said(&["no instance \"x\" is configured"]);
    let mut seen = Vec::new();
    for _ in 0..40 {
        let id = drilled(&["-i", "a", "--random"]);
        if !seen.contains(&id) {
            seen.push(id);
        }
        if seen.len() == 3 {
            return;
        }
    }
    // Once in ten million times.
    panic!("of three snapshots, forty drills at random took {seen:?}");
}
