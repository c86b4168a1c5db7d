//! Where a drill restores to, and what it is told of that.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;

use icecore_testkit::SmallDisk;

use super::{drilled, expect_nothing_left, expect_verified, proof, verify};
use crate::common::{noise, number, text, write};
use crate::run::Site;

#[test]
fn a_drill_without_room_is_refused_before_it_restores() {
    let Some(disk) = SmallDisk::mount(8 << 20) else { return };
    let site = Site::new("", &[("a", ""), ("b", "")]);
    let counted = verify(&format!("echo tested >> {}", site.home.path("log").display()));
    write(site.home.path("live/a/large"), noise(1, 20 << 20));
    // Most of it takes no room.
    fs::File::create(site.home.path("live/b/sparse")).unwrap().set_len(1 << 30).unwrap();
    let top = format!("[drill]\nscratch = {:?}", disk.path());
    site.configure(&top, &[("a", &counted), ("b", &counted)]);
    site.home.ok(["backup", "--all"]);
    let outcome = site.home.run(["drill", "--all", "--json"]).expect(1);
    let outcome =
        outcome.said(&["no room to practise the restore of snapshot ", "are needed, and ", "`scratch` of [drill]"]);
    assert!(outcome.err().contains(disk.path().to_str().unwrap()), "{outcome}");
    let report = outcome.json();
    assert_eq!(drilled(&report, "a")["drill"], serde_json::Value::Null, "{outcome}");
    assert_eq!(number(&expect_verified(&outcome, "b")["drill"]["bytes"]), (1 << 30) + 20_000);
    // Of the one nothing was written, tested or recorded.
    assert_eq!((site.log(), proof(&site, "a")), (vec!["tested".to_owned()], serde_json::Value::Null));
    assert_eq!(fs::read_dir(disk.path()).unwrap().count(), 0);
    expect_nothing_left(&site);
}

#[test]
fn a_disk_that_compresses_needs_room_all_the_same() {
    let Some(disk) = SmallDisk::of_kind("btrfs", 128 << 20) else { return };
    let site = Site::new("", &[("a", "")]);
    write(site.home.path("live/a/large"), noise(1, 140 << 20));
    site.configure(&format!("[drill]\nscratch = {:?}", disk.path()), &[("a", &verify("true"))]);
    site.home.ok(["backup", "-i", "a"]);
    site.home.run(["drill", "-i", "a"]).expect(1).said(&["no room to practise the restore of snapshot "]);
    assert_eq!((proof(&site, "a"), fs::read_dir(disk.path()).unwrap().count()), (serde_json::Value::Null, 0));
    write(site.home.path("live/a/large"), "small");
    site.home.ok(["backup", "-i", "a"]);
    expect_verified(&site.home.run(["drill", "-i", "a", "--json"]).expect(0), "a");
}

#[test]
fn what_a_link_in_the_copy_leads_to_is_not_tested() {
    let site = Site::new("", &[]);
    let (live, log) = (site.home.path("live/a"), site.home.path("log"));
    let elsewhere = site.home.path("elsewhere");
    write(elsewhere.join("db"), "live");
    write(live.join("within/db"), "a copy");
    symlink(&elsewhere, live.join("current")).unwrap();
    symlink("within", live.join("beside")).unwrap();
    let touch = |place: &str| {
        let script = format!("echo tested >> {}; cat ${{1#--db=}}", log.display());
        format!("verify = [\"/bin/sh\", \"-c\", {script:?}, \"verify\", \"{place}\"]\n")
    };
    site.configure("", &[("a", "")]);
    site.home.ok(["backup", "-i", "a"]);
    for place in ["{r}/current/db", "--db={r}/current/db", "{r}/current/new", "{r}/current"] {
        site.configure("", &[("a", &touch(place))]);
        let outcome = site.home.run(["drill", "-i", "a"]).expect(1);
        outcome.said(&["`verify` of instance a would test something else", "current", "in the copy leads to"]);
    }
    assert_eq!((site.log().len(), proof(&site, "a")), (0, serde_json::Value::Null));
    expect_nothing_left(&site);
    for place in ["{r}/beside/db", "--db={r}/within/db"] {
        site.configure("", &[("a", &touch(place))]);
        expect_verified(&site.home.run(["drill", "-i", "a", "--json"]).expect(0), "a");
    }
}

#[test]
fn a_program_in_the_copy_tests_it() {
    let site = Site::new("", &[]);
    let program = site.home.path("live/a/bin/check");
    write(&program, "#!/bin/sh\ntest -e \"$1/bin/check\"\n");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    site.configure("", &[("a", "verify = [\"{r}/bin/check\", \"{r}\"]\n")]);
    site.home.ok(["backup", "-i", "a"]);
    expect_verified(&site.home.run(["drill", "-i", "a", "--json"]).expect(0), "a");
    site.configure("", &[("a", "verify = [\"{r}/bin/other\", \"{r}\"]\n")]);
    site.home.run(["drill", "-i", "a"]).expect(1).said(&["bin/other cannot be found"]);
    assert_eq!(proof(&site, "a")["result"], "verified");
}

#[test]
fn a_place_that_backups_read_or_that_is_not_there_is_refused() {
    let site = Site::new("", &[("a", ""), ("b", "")]);
    let refused = |place: PathBuf, says: &str| {
        site.configure(&format!("[drill]\nscratch = {place:?}"), &[("a", ""), ("b", "")]);
        site.home.run(["drill", "-i", "a"]).expect(1).said(&[says]);
        expect_nothing_left(&site);
    };
    site.home.ok(["backup", "--all"]);
    refused(site.home.make_dir("live/b/below"), "is in the root r of instance b");
    refused(site.home.path("missing"), "mount or make it");
    refused(site.home.repository(), "is the repository or its index, or in it");
    // Beside a root is not in it.
    site.configure(&format!("[drill]\nscratch = {:?}", site.home.path("live")), &[("a", ""), ("b", "")]);
    site.home.ok(["drill", "-i", "a"]);
    assert_eq!(fs::read_dir(site.home.path("live")).unwrap().count(), 2);
}

/// A root holds the state directory, with the copy in it: a backup that runs meanwhile does not take it for live.
#[test]
fn a_copy_below_a_root_is_not_backed_up() {
    let site = Site::new("", &[]);
    let home = site.home.path("home");
    write(home.join("letter"), "content");
    let command = format!("{} backup -i h", env!("CARGO_BIN_EXE_icecore"));
    let mut configuration = format!("[[instance]]\nname = \"h\"\nroots = {{ r = {home:?} }}\n");
    write(site.home.path("config.toml"), &configuration);
    site.home.run(["backup", "-i", "h"]);
    configuration.push_str(&verify(&format!("{command}; test -e $1/letter")));
    write(site.home.path("config.toml"), &configuration);
    expect_verified(&site.home.run(["drill", "-i", "h", "--json"]).expect(0), "h");
    assert_eq!(site.snapshots("h"), 2);
    let listed = site.home.ok(["ls", "h"]).out();
    assert!(listed.contains("letter") && !listed.contains("icecore-scratch-"), "{listed}");
}

#[test]
fn the_test_is_told_where_each_root_is() {
    let site = Site::new("", &[]);
    let configure = |roots: &[&str], verify: &str| {
        let root = |name: &&str| format!("{name} = {:?}", site.home.path("live").join(name));
        let roots: Vec<_> = roots.iter().map(root).collect();
        let text = format!("[[instance]]\nname = \"a\"\nroots = {{ {} }}\n{verify}\n", roots.join(", "));
        write(site.home.path("config.toml"), text);
    };
    for (seed, name) in (1..).zip(["one", "two", "new"]) {
        write(site.home.path("live").join(name).join(name), text(seed, 1000));
    }
    let both = "verify = [\"/bin/sh\", \"-c\", \"test -e $1/one && test -e $2\", \"verify\", \"{one}\", \"{two}/two\"]";
    configure(&["one", "two"], both);
    site.home.ok(["backup", "-i", "a"]);
    expect_verified(&site.home.run(["drill", "-i", "a", "--json"]).expect(0), "a");
    // It would test the live files.
    configure(&["one", "two"], "verify = [\"/bin/true\"]");
    site.home.run(["drill", "-i", "a"]).expect(1).said(&["is not told where the restored copy is", "{one} or {two}"]);
    configure(&["one", "new"], "verify = [\"/bin/true\", \"{new}\"]");
    site.home.run(["drill", "-i", "a"]).expect(1).said(&["tests the root new, which snapshot ", "does not have"]);
    assert_eq!(proof(&site, "a")["result"], "verified");
    expect_nothing_left(&site);
}
