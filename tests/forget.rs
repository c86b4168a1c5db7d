//! `forget` through the program: what goes, what stays, what is said before.

use std::fs;

use serde_json::Value;

use crate::common::{Home, noise, number};

/// A repository with a snapshot of each of these contents of one file.
fn nights(contents: &[&[u8]], more: &[&str]) -> (Home, Vec<String>) {
    let home = Home::with_repository();
    let live = home.make_dir("live");
    let mut ids = Vec::new();
    for content in contents {
        fs::write(live.join("file"), content).unwrap();
        let report = home.backup(&live, &[&["--name", "wiki"], more].concat());
        ids.push(report["snapshot"]["id"].as_str().unwrap().to_owned());
    }
    (home, ids)
}

fn listed(home: &Home) -> Vec<String> {
    let snapshots = home.json(["snapshots"])["snapshots"].clone();
    snapshots.as_array().unwrap().iter().map(|snapshot| snapshot["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn what_a_dry_run_says_is_what_happens_and_the_rest_stays_whole() {
    let [a, b, c] = [1, 2, 3].map(|seed| noise(seed, 40_000));
    let (home, ids) = nights(&[&a, &b, &a, &c], &[]);
    let dry = home.json(["forget", "--keep-last", "2", "--dry-run"]);
    assert_eq!(listed(&home), ids);
    let fate: Vec<_> = dry["snapshots"].as_array().unwrap().iter().map(|snapshot| snapshot["keep"].clone()).collect();
    assert_eq!(fate, [false, false, true, true]);
    assert_eq!(dry["snapshots"][3]["reasons"], Value::from(vec!["last 1"]));
    // `a` stands in a later night too; `b` does not.
    let unneeded = &dry["unneeded"];
    assert_eq!((number(&unneeded["chunks"]), unneeded["exact"].as_bool()), (1, Some(true)));
    assert!(number(&unneeded["plain_bytes"]) >= 40_000 && number(&unneeded["plain_bytes"]) < 45_000, "{unneeded}");
    assert!(number(&unneeded["stored_bytes"]) >= 40_000, "{unneeded}");

    let done = home.json(["forget", "--keep-last", "2"]);
    assert_eq!((&done["unneeded"], number(&done["forgotten"])), (unneeded, 2));
    assert_eq!(listed(&home), ids[2..]);
    home.check(&["--read-data"]);
    assert_eq!(fs::read(home.restore(&ids[2][..12], "back").join("file")).unwrap(), a);
    home.run(["show", &ids[0]]).expect(1).said(&[&ids[0]]);

    // Asked again it has nothing to do, and says so.
    home.ok(["forget", "--keep-last", "2"]).said(&[]);
    let again = home.json(["forget", "--keep-last", "2"]);
    assert_eq!((number(&again["forgotten"]), number(&again["unneeded"]["plain_bytes"])), (0, 0));
}

#[test]
fn a_snapshot_that_is_named_goes_unless_it_is_protected() {
    let (home, ids) = nights(&[b"one", b"two"], &["--keep-until", "2200-01-01"]);
    let refused = home.run(["forget", &ids[0][..12], "wiki"]).expect(1);
    refused.said(&["nothing was forgotten", "protected until 2200-01-01"]);
    let kept = home.json(["forget", "--keep-last", "1"]);
    assert_eq!(number(&kept["forgotten"]), 0);
    home.run(["forget", "wiki", "--force"]).expect(1);
    assert_eq!(listed(&home), ids);

    let (home, ids) = nights(&[b"one", b"two"], &["--keep-until", "2001-01-01"]);
    home.ok(["forget", &ids[0][..12]]);
    assert_eq!(listed(&home), ids[1..]);
    home.run(["forget", "nothing"]).expect(1).said(&["nothing"]);
    home.run(["backup", "--keep-until", "soon", "."]).expect(2).said(&["soon", "2027-12-31"]);
}

#[test]
fn only_what_the_filters_mean_is_judged() {
    let (home, _) = nights(&[b"one", b"two"], &["--tag", "nightly"]);
    let other = home.make_dir("other");
    for tag in ["nightly", "release"] {
        home.backup(&other, &["--name", "site", "--tag", tag]);
    }
    let plan = |arguments: &[&str]| {
        let plan = home.json([&["forget", "--dry-run"], arguments].concat());
        (number(&plan["forgotten"]), number(&plan["kept"]))
    };
    assert_eq!(plan(&["--keep-last", "1"]), (2, 2));
    assert_eq!(plan(&["--keep-last", "1", "--instance", "wiki"]), (1, 1));
    assert_eq!(plan(&["--keep-last", "1", "--tag", "nightly"]), (1, 2));
    assert_eq!(plan(&["--keep-last", "1", "--keep-tag", "nightly"]), (0, 4));
    assert_eq!(plan(&["--keep-last", "1", "--host", "elsewhere"]), (0, 0));
    assert_eq!(plan(&["--keep-within", "1h"]), (0, 4));
}

#[test]
fn without_a_rule_nothing_goes() {
    let (home, ids) = nights(&[b"one", b"two"], &[]);
    home.run(["forget"]).expect(2).said(&["--keep-daily"]);
    home.run(["forget", "--keep-last", "0"]).expect(2).said(&["keep nothing"]);
    home.run(["forget", "--keep-within", "6 months"]).expect(2).said(&["6 months", "6m"]);
    home.run(["forget", "wiki", "--keep-last", "1"]).expect(2);
    assert_eq!(listed(&home), ids);

    let roots = home.path("live");
    let file = |keep: &str| {
        let text = format!("[[instance]]\nname = \"wiki\"\nroots = {{ base = {roots:?} }}\n{keep}\n");
        fs::write(home.path("icecore.toml"), text).unwrap();
        home.path("icecore.toml")
    };
    let config = file("").into_os_string().into_string().unwrap();
    home.run(["forget", "--config", &config]).expect(2).said(&["keep"]);
    file("keep = { last = 1 }");
    let table = home.ok(["forget", "--config", &config]).out();
    assert!(table.contains("forget") && table.contains("last 1") && table.contains("1 snapshot forgotten"), "{table}");
    assert_eq!(listed(&home), ids[1..]);
}

/// What nobody can tell is not promised: with a part of a manifest gone, the figure is said to be what is known.
#[test]
fn a_damaged_manifest_makes_the_figure_uncertain() {
    let (home, ids) = nights(&[b"one", b"two"], &[]);
    let mut uncertain = 0;
    for pack in home.objects("packs") {
        let bytes = fs::read(&pack).unwrap();
        fs::remove_file(&pack).unwrap();
        let plan = home.json(["forget", "--keep-last", "1", "--dry-run"]);
        let damaged = plan["damaged"].as_array().unwrap();
        assert_eq!(plan["unneeded"]["exact"].as_bool(), Some(damaged.is_empty()), "{plan}");
        if !damaged.is_empty() {
            uncertain += 1;
            let told = home.ok(["forget", "--keep-last", "1", "--dry-run"]).said(&["manifest block"]);
            assert!(told.out().contains("as far as can be told"), "{told}");
        }
        fs::write(&pack, bytes).unwrap();
    }
    assert!(uncertain > 0);
    // It can still go: that may be the cure.
    fs::remove_file(&home.objects("packs")[0]).unwrap();
    home.ok(["forget", "--keep-last", "1"]);
    assert_eq!(listed(&home), ids[1..]);
}

#[test]
fn a_key_that_only_writes_may_not_judge() {
    let (home, ids) = nights(&[b"one", b"two"], &[]);
    let key = home.path("writer.key").into_os_string().into_string().unwrap();
    home.ok(["key", "add", "--role", "writer", "--generate-password", &key]);
    home.run(["forget", "--keep-last", "1", "--password-file", &key]).expect(1).said(&["reader"]);
    assert_eq!(listed(&home), ids);
}
