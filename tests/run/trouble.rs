//! What fails keeps nothing else from being done, and is told.

use std::fs;

use icecore_testkit::SmallDisk;
use icecore_testkit::live::eventually;
use icecore_testkit::spe::{Instance, Options, Simulator};
use rustix::process::Signal;

use super::{Site, result, tasks};
use crate::common::{Running, args, noise, number, write};

#[test]
fn one_of_three_fails_and_the_others_do_not() {
    let site = Site::new("", &[("a", ""), ("b", ""), ("c", "")]);
    fs::rename(site.home.path("live/b"), site.home.path("live/aside")).unwrap();
    let outcome = site.home.run(["run", "--json"]).expect(2).said(&["instance b", "is missing: mount it"]);
    let report = outcome.json();
    assert_eq!(result(&report, "backup b").0, "failed");
    assert_eq!((result(&report, "backup a").1, result(&report, "backup c").1, result(&report, "check").1), (0, 0, 0));
    assert_eq!(number(&report["code"]), 2);
    // It is not tried again at once; the plan says when, and why.
    site.home.ok(["run"]).said(&["nothing is due; next: backup b"]);
    let plan = site.home.ok(["run", "--dry-run"]).out();
    assert!(plan.lines().any(|line| line.contains("backup b") && line.contains("failed at")), "{plan}");
    fs::rename(site.home.path("live/aside"), site.home.path("live/b")).unwrap();
    assert_eq!(tasks(&site.home.json(["run", "--now", "-i", "b"])), ["backup b"]);
    assert_eq!((site.snapshots("a"), site.snapshots("b"), site.snapshots("c")), (1, 1, 1));
}

#[test]
fn two_runs_at_once_do_not_do_the_same() {
    let site = Site::new("", &[("a", ""), ("b", "")]);
    let wait = format!("while [ -e {} ]; do sleep 0.01; done", site.home.path("wait").display());
    write(site.home.path("wait"), "");
    let hook = format!("[instance.hooks]\nbefore = {}", site.hook("before", "", &wait));
    site.configure("", &[("a", &hook), ("b", "")]);
    let first = Running::start(site.home.command(args!["run", "--json"]));
    eventually("the first run is at a", || site.log() == ["before"]);
    let second = site.home.run(["run", "--json"]).expect(11);
    let report = second.json();
    assert_eq!(result(&report, "backup a"), ("busy".to_owned(), 11), "{second}");
    assert_eq!(result(&report, "backup b"), ("done".to_owned(), 0), "{second}");
    second.said(&["icecore run: backup a"]);
    fs::remove_file(site.home.path("wait")).unwrap();
    let report = first.finish().expect(0).json();
    assert_eq!(result(&report, "backup a").0, "done");
    assert_eq!((site.log(), site.snapshots("a")), (vec!["before".to_owned()], 1));
    // What the other has done since it was decided upon is not done again.
    assert_eq!((tasks(&report).contains(&"backup b".to_owned()), site.snapshots("b")), (false, 1), "{report:#}");
}

#[test]
fn what_a_killed_run_did_not_do_the_next_one_does() {
    let site = Site::new("", &[("a", ""), ("b", ""), ("c", "")]);
    let wait = format!("while [ -e {} ]; do sleep 0.01; done", site.home.path("wait").display());
    write(site.home.path("wait"), "");
    let hook = format!("[instance.hooks]\nbefore = {}", site.hook("before", "", &wait));
    site.configure("", &[("a", ""), ("b", &hook), ("c", "")]);
    let night = Running::start(site.home.command(["run"]));
    eventually("the run is at b", || site.log() == ["before"]);
    night.signal(Signal::KILL);
    assert_eq!(night.finish().signal(), Some(9));
    fs::remove_file(site.home.path("wait")).unwrap();
    let report = site.home.json(["run"]);
    assert_eq!(tasks(&report), ["backup b", "backup c", "prune", "check"], "{report:#}");
    assert_eq!((site.snapshots("a"), site.snapshots("b"), site.snapshots("c")), (1, 1, 1));
}

#[test]
fn a_full_disk_fails_what_needs_room_and_the_next_run_goes_on() {
    let Some(disk) = SmallDisk::mount(8 << 20) else { return };
    let mut site = Site::new("", &[("a", ""), ("b", "")]);
    let (repository, password) = (disk.path().join("ice"), site.home.path("small-password"));
    site.home.ok(args!["init", "--repo", &repository, "--generate-password", &password]);
    site.home.set("ICECORE_REPOSITORY", repository);
    site.home.set("ICECORE_PASSWORD_FILE", password);
    write(site.home.path("live/a/large"), noise(1, 20 << 20));
    let outcome = site.home.run(["run", "--json"]).expect(1);
    let report = outcome.json();
    assert_eq!(result(&report, "backup a"), ("failed".to_owned(), 1), "{outcome}");
    // What it has stored is for the next attempt.
    assert!(!tasks(&report).contains(&"prune".to_owned()), "{outcome}");
    let hint = report["tasks"][0]["error"]["hint"].as_str().unwrap_or_default();
    assert!(hint.contains("make room"), "{outcome}");
    fs::remove_file(site.home.path("live/a/large")).unwrap();
    let report = site.home.json(["run", "--now", "-i", "a", "b"]);
    assert_eq!((result(&report, "backup a").0.as_str(), result(&report, "backup b").0.as_str()), ("done", "done"));
    assert_eq!(site.snapshots("a"), 1);
}

#[test]
fn a_server_that_does_not_answer_fails_its_instance_alone() {
    let simulator = Simulator::start(Options::new(vec![Instance::new("cust01")]));
    let (endpoint, certificate) = (simulator.endpoint(), simulator.certificate_sha256().to_owned());
    drop(simulator);
    let site = Site::new("", &[("a", ""), ("b", "")]);
    let password = site.home.path("api-password");
    write(&password, "secret\n");
    let freezer = format!(
        "[instance.freezer]\nkind = \"mailstore\"\nendpoint = {endpoint:?}\nuser = \"admin\"\ntimeout = \"2s\"\n\
         password-file = {password:?}\ninstance-id = \"cust01\"\ncertificate-sha256 = {certificate:?}\n"
    );
    site.configure("", &[("a", &freezer), ("b", "")]);
    let outcome = site.home.run(["run", "--json"]).expect(1).said(&["nothing was frozen"]);
    let report = outcome.json();
    assert_eq!((result(&report, "backup a").0.as_str(), result(&report, "backup b").0.as_str()), ("failed", "done"));
    assert_eq!((site.snapshots("a"), site.snapshots("b")), (0, 1));
}

#[test]
fn a_repository_that_cannot_be_opened_fails_everything_with_one_message_and_the_last_hooks() {
    let mut site = Site::new("", &[("a", ""), ("b", "")]);
    let top = format!("[hooks]\nfailed = {}", site.hook("failed", "$ICECORE_CODE", ""));
    let own = format!("[instance.hooks]\nfailed = {}", site.hook("failed", "$ICECORE_INSTANCE $ICECORE_CODE", ""));
    let own = format!("{own}\nfinally = {}", site.hook("finally", "$ICECORE_INSTANCE", ""));
    site.configure(&top, &[("a", &own), ("b", "")]);
    site.home.set("ICECORE_REPOSITORY", site.home.path("elsewhere"));
    let outcome = site.home.run(["run", "--json"]).expect(10);
    assert_eq!(outcome.err().matches("there is no repository").count(), 1, "{outcome}");
    let report = outcome.json();
    assert!(report["error"]["message"].as_str().unwrap().contains("there is no repository"), "{report:#}");
    assert_eq!(tasks(&report), ["backup a", "backup b", "prune", "check"]);
    assert_eq!(site.log(), ["failed a 10", "finally a", "failed 10"]);
}

#[test]
fn damage_that_a_check_finds_is_told_once_a_week_and_not_every_hour() {
    let site = Site::new("[check]\nread-data = \"100%\"", &[("a", "")]);
    write(site.home.path("live/a/noise"), noise(5, 300_000));
    site.home.ok(["run"]);
    for pack in site.home.objects("packs") {
        let mut bytes = fs::read(&pack).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0xff;
        fs::remove_file(&pack).unwrap();
        fs::write(&pack, bytes).unwrap();
    }
    // As after a week: nothing is known of the last check.
    for entry in fs::read_dir(site.state().join("runs")).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    let outcome = site.home.run(["run", "--json"]).expect(1).said(&["damage found", "`icecore check` says which"]);
    let report = outcome.json();
    assert_eq!(result(&report, "check"), ("failed".to_owned(), 1), "{outcome}");
    assert!(
        report["tasks"].as_array().unwrap().last().unwrap()["check"]["findings"].as_u64().unwrap() > 0,
        "{outcome}"
    );
    site.home.ok(["run"]).said(&["nothing is due"]);
}

#[test]
fn a_state_directory_that_cannot_be_written_keeps_no_hook_from_running() {
    let site = Site::new("", &[("a", "")]);
    let facts = "[$ICECORE_CODE,$ICECORE_REPORT]";
    let own = format!(
        "[instance.hooks]\nbefore = {}\nfailed = {}\nfinally = {}",
        site.hook("before", "", ""),
        site.hook("failed", facts, ""),
        site.hook("finally", "", "")
    );
    site.configure(&format!("[hooks]\nfailed = {}", site.hook("run-failed", facts, "")), &[("a", &own)]);
    // Files where directories must be.
    write(site.state().join("runs"), "");
    write(site.state().join("tasks"), "");
    let outcome = site.home.run(["run", "--json"]).expect(1).said(&["ran without its report"]);
    let report = outcome.json();
    assert_eq!(result(&report, "backup a"), ("failed".to_owned(), 1), "{outcome}");
    assert_eq!(site.log(), ["failed [1,]", "finally", "run-failed [1,]"]);
}

#[test]
fn what_may_still_be_frozen_since_an_earlier_run_is_in_the_report_and_the_last_hook() {
    let site = Site::new("", &[("a", "")]);
    let hooks = ["after", "failed"].map(|word| format!("{word} = {}\n", site.hook(word, "$ICECORE_CODE", "")));
    site.configure(&format!("[hooks]\n{}", hooks.concat()), &[("a", "")]);
    write(site.state().join("windows/gone.json"), "no journal\n");
    let outcome = site.home.run(["run", "--json"]);
    let report = outcome.json();
    let code = number(&report["code"]);
    assert_eq!((outcome.code(), site.log()), (Some(code as i32), vec![format!("failed {code}")]), "{outcome}");
    assert_eq!(report["warnings"].as_array().unwrap().len(), 1, "{outcome}");
    assert_eq!(result(&report, "backup a").0, "done");
    // With nothing to do as well.
    assert_eq!(number(&site.home.run(["run", "--json"]).expect(code as i32).json()["code"]), code);
}

/// A clock that was set back: what was done in its future was not done, and is done once.
#[test]
fn what_succeeded_in_the_future_is_done_again_once() {
    let site = Site::new("", &[("a", "")]);
    site.home.ok(["run"]);
    site.change_records(|tasks| {
        for (_, last) in tasks.iter_mut() {
            last["success"] = "2199-01-01T00:00:00Z".into();
        }
    });
    let plan = site.home.json(["run", "--dry-run"]);
    // Of the backup the snapshots tell.
    assert_eq!(
        plan["tasks"].as_array().unwrap().iter().map(|task| task["now"] == true).collect::<Vec<_>>(),
        [false, true, true]
    );
    assert_eq!(tasks(&site.home.json(["run"])), ["prune", "check"]);
    site.home.ok(["run"]).said(&["nothing is due"]);
    assert_eq!(site.snapshots("a"), 1);
}

/// A disk that is not mounted: what will be due stands in the records of this host. What else is wrong, is what a run
/// would meet.
#[test]
fn a_plan_needs_no_repository_that_is_away_and_refuses_one_that_it_cannot_open() {
    let mut site = Site::new("", &[("a", ""), ("b", "schedule = \"never\"")]);
    site.home.ok(["run", "-i", "a"]);
    let away = site.home.path("away");
    fs::rename(site.home.repository(), &away).unwrap();
    let standings = |plan: &serde_json::Value| -> Vec<(String, String)> {
        let standings =
            plan["tasks"].as_array().unwrap().iter().map(|task| task["standing"].as_str().unwrap().to_owned());
        tasks(plan).into_iter().zip(standings).collect()
    };
    let told = site
        .home
        .run(["run", "--dry-run", "--json"])
        .expect(0)
        .said(&["there is no repository", "records of this host"]);
    let expected = [("backup a", "waits"), ("backup b", "never"), ("prune", "due"), ("check", "due")];
    assert_eq!(standings(&told.json()), expected.map(|(task, standing)| (task.to_owned(), standing.to_owned())));
    fs::rename(&away, site.home.repository()).unwrap();
    write(site.home.path("other-password"), "wrong\n");
    site.home.set("ICECORE_PASSWORD_FILE", site.home.path("other-password"));
    site.home.run(["run", "--dry-run"]).expect(12);
}

/// An instance that never can be backed up does not keep the repository from being pruned for ever.
#[test]
fn a_prune_that_was_never_done_waits_for_a_failing_backup_for_a_week() {
    let site = Site::new("", &[("a", ""), ("b", "")]);
    fs::rename(site.home.path("live/b"), site.home.path("live/aside")).unwrap();
    let done = |outcome: crate::common::Outcome| tasks(&outcome.expect(2).json());
    assert_eq!(done(site.home.run(["run", "--json"])), ["backup a", "backup b", "check"]);
    let age = |days: i64| {
        site.change_records(|tasks| {
            let long_ago = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(days * 24);
            tasks["prune"]["put_off"] = long_ago.to_string().into();
        });
    };
    age(6);
    assert_eq!(done(site.home.run(["run", "--now", "--json"])), ["backup a", "backup b", "check"]);
    age(8);
    assert_eq!(done(site.home.run(["run", "--now", "--json"])), ["backup a", "backup b", "prune", "check"]);
    assert_eq!(done(site.home.run(["run", "--now", "--json"])), ["backup a", "backup b", "check"]);
}
