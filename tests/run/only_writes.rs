//! A host whose key can only write: it backs up, beside others, and the rest is not for it.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Site, result, tasks};
use crate::common::{Outcome, args};

/// Gives the site's host a key that can only write; the password file of the reader who made the repository.
fn writer(site: &mut Site) -> PathBuf {
    let (reader, writer) = (site.home.path("password"), site.home.path("writer"));
    site.home.ok(args!["key", "add", "--role", "writer", "--generate-password", &writer]);
    site.home.set("ICECORE_PASSWORD_FILE", writer);
    reader
}

/// A command on another host with the reader's key.
fn elsewhere(site: &Site, reader: &Path, words: &[&str]) -> Outcome {
    let options = args!["--password-file", reader, "--state-dir", site.home.path("other")];
    site.home.run(words.iter().map(Into::into).chain(options)).expect(0)
}

#[test]
fn what_is_only_the_default_is_told_once_and_left_out() {
    let mut site = Site::new("", &[("a", "")]);
    let reader = writer(&mut site);
    let outcome =
        site.home.run(["run", "--json"]).expect(0).said(&["prune: left out", "check: left out", "can only write"]);
    let report = outcome.json();
    assert_eq!(tasks(&report), ["backup a", "prune", "check"]);
    for task in ["prune", "check"] {
        assert_eq!(result(&report, task), ("skipped".to_owned(), 0), "{outcome}");
    }
    assert!(report["tasks"][1]["warnings"][0].as_str().unwrap().contains("can only write"), "{outcome}");
    site.home.ok(["run"]).said(&["nothing is due; next: backup a"]);
    assert_eq!(tasks(&site.home.json(["run", "--now"])), ["backup a"]);
    let plan = site.home.json(["run", "--dry-run"]);
    let standings: Vec<_> = plan["tasks"].as_array().unwrap().iter().map(|task| task["standing"].clone()).collect();
    assert_eq!(standings, ["waits", "impossible", "impossible"]);
    let plan = site.home.ok(["run", "--dry-run"]).out();
    assert_eq!(plan.matches("can only write").count(), 2, "{plan}");
    // With another key they are due.
    site.home.set("ICECORE_PASSWORD_FILE", reader);
    assert_eq!(tasks(&site.home.json(["run", "--now"])), ["backup a", "prune", "check"]);
}

#[test]
fn what_the_configuration_asks_for_is_an_error_that_says_where() {
    let mut site = Site::new("", &[]);
    let top = "[prune]\nschedule = \"daily 04:00\"\n[check]\nschedule = \"never\"";
    site.configure(top, &[("a", "keep = { last = 1 }")]);
    crate::common::write(site.home.path("live/a/file"), "content");
    writer(&mut site);
    let file = site.home.path("config.toml");
    let place = format!("{}:2:1: prune.schedule: the key of this host can only write", file.display());
    let outcome = site.home.run(["run", "--json"]).expect(2).said(&[&place, "`keep` of instance a"]);
    let report = outcome.json();
    assert_eq!(tasks(&report), ["backup a", "forget a", "prune"]);
    assert_eq!(result(&report, "backup a").0, "done");
    for task in ["forget a", "prune"] {
        assert_eq!(result(&report, task), ("failed".to_owned(), 2), "{outcome}");
    }
    assert!(site.home.ok(["run", "--dry-run"]).out().contains("failed at"), "it is tried again, as what fails is");
}

/// What others store and say, and the loss of what this host knew, keeps it from nothing.
#[test]
fn it_backs_up_beside_others() {
    let mut site = Site::new("[prune]\nschedule = \"never\"\n[check]\nschedule = \"never\"", &[("a", "")]);
    let reader = writer(&mut site);
    let night = |site: &Site| {
        let report = site.home.json(["run", "--now"]);
        assert_eq!(result(&report, "backup a"), ("done".to_owned(), 0), "{report:#}");
    };
    night(&site);
    elsewhere(&site, &reader, &["backup", "-i", "a"]);
    elsewhere(&site, &reader, &["tag", "a", "--add", "told"]);
    night(&site);
    fs::remove_dir_all(site.state()).unwrap();
    night(&site);
    // By hand as well.
    site.home.ok(["backup", "-i", "a"]);
    assert_eq!(elsewhere(&site, &reader, &["snapshots", "--json"]).json()["snapshots"].as_array().unwrap().len(), 5);
    elsewhere(&site, &reader, &["check", "--read-data"]);
}
