//! `copy` through the program: what comes back from the other repository is what went in, and nothing is done twice.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::common::{Home, Outcome, args, assert_same, differences, noise, number, settle, text, write};

/// A repository with nights of a tree, copies of the tree, and another repository that is empty.
struct Two {
    home: Home,
    ids: Vec<String>,
    trees: Vec<PathBuf>,
}

fn two(nights: u64) -> Two {
    let home = Home::with_repository();
    home.ok(args!["init", "--repo", home.path("other"), "--generate-password", home.path("other-password")]);
    let live = home.make_dir("live");
    let (mut ids, mut trees) = (Vec::new(), Vec::new());
    for night in 0..nights {
        write(live.join(format!("night{night}/noise")), noise(night, 700_000));
        write(live.join(format!("night{night}/text")), text(night, 200_000));
        // Of several pieces, most of which stay.
        let large: Vec<u8> = [noise(77, 9 << 20), noise(100 + night, 300_000)].concat();
        write(live.join("large"), &large);
        if night == 0 {
            fs::create_dir(live.join("empty")).unwrap();
            fs::hard_link(live.join("night0/text"), live.join("linked")).unwrap();
            std::os::unix::fs::symlink("large", live.join("symlink")).unwrap();
        }
        settle();
        let tag = if night % 2 == 0 { "even" } else { "odd" };
        let report = home.backup(&live, &["--name", "wiki", "--tag", tag, "--keep-until", "2200-01-01"]);
        ids.push(report["snapshot"]["id"].as_str().unwrap().to_owned());
        let tree = home.path(format!("tree{night}"));
        assert!(std::process::Command::new("cp").arg("-a").args([&live, &tree]).status().unwrap().success());
        trees.push(tree);
    }
    Two { home, ids, trees }
}

impl Two {
    fn copy(&self, more: &[&str]) -> Outcome {
        let known =
            args!["copy", "--to", self.home.path("other"), "--to-password-file", self.home.path("other-password")];
        self.home.run(known.into_iter().chain(more.iter().map(OsString::from)))
    }

    fn copied(&self, more: &[&str]) -> Value {
        self.copy(&[more, &["--json"]].concat()).expect(0).json()
    }

    /// Runs a command on the other repository.
    fn there<const N: usize>(&self, arguments: [OsString; N]) -> Outcome {
        let place = args!["--repo", self.home.path("other"), "--password-file", self.home.path("other-password")];
        self.home.run(arguments.into_iter().chain(place))
    }

    fn snapshots_there(&self) -> Vec<Value> {
        self.there(args!["snapshots", "--json"]).expect(0).json()["snapshots"].as_array().unwrap().clone()
    }

    fn objects_there(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut pending = vec![self.home.path("other")];
        while let Some(directory) = pending.pop() {
            for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
                if entry.file_type().unwrap().is_dir() { pending.push(entry.path()) } else { found.push(entry.path()) }
            }
        }
        found.sort();
        found
    }

    fn expect_there(&self, snapshot: &str, tree: &Path) {
        let to = self.home.path(format!("back-{snapshot}"));
        self.there(args!["restore", snapshot, "--to", &to]).expect(0);
        assert_same(tree, &to);
    }
}

fn shown(outcome: &Outcome) -> Value {
    outcome.json()["snapshot"].clone()
}

#[test]
fn what_is_copied_comes_back_and_is_copied_once() {
    let two = two(3);
    let planned = two.copied(&["--dry-run"]);
    assert_eq!((planned["planned"].as_array().unwrap().len(), two.snapshots_there().len()), (3, 0));
    let copied = two.copied(&[]);
    assert_eq!((copied["copied"].as_array().unwrap().len(), number(&copied["missing_count"])), (3, 0));
    // The second and third night cost what changed.
    let added: Vec<_> = copied["copied"].as_array().unwrap().iter().map(|copy| number(&copy["stored_bytes"])).collect();
    assert!(added[1] < added[0] / 4 && added[2] < added[0] / 4, "{added:?}");

    let there = two.snapshots_there();
    for (night, (id, tree)) in two.ids.iter().zip(&two.trees).enumerate() {
        let name = there[night]["id"].as_str().unwrap();
        two.expect_there(name, tree);
        let mut here = shown(&two.home.ok(args!["show", id, "--json"]));
        let mut copy = shown(&two.there(args!["show", name, "--json"]));
        assert_eq!(copy["origin"]["snapshot"], **id);
        let parent = if night > 0 { there[night - 1]["id"].clone() } else { Value::Null };
        assert_eq!(copy["parent"], parent, "the parent is the parent's copy");
        for field in ["id", "parent", "manifest", "origin"] {
            here[field] = Value::Null;
            copy[field] = Value::Null;
        }
        for field in ["chunks_new", "bytes_new", "bytes_added"] {
            here["totals"][field] = 0.into();
            copy["totals"][field] = 0.into();
        }
        assert_eq!(here, copy, "time, receipt, verdict, tags and protection are kept");
    }
    two.there(args!["check", "--read-data"]).expect(0);

    let before = two.objects_there();
    let again = two.copied(&[]);
    assert_eq!((again["copied"].as_array().unwrap().len(), number(&again["standing"])), (0, 3));
    assert_eq!(two.objects_there(), before, "copied twice writes nothing");
    // Nor does copying back: the originals are there.
    let back = args![
        "copy",
        "--repo",
        two.home.path("other"),
        "--password-file",
        two.home.path("other-password"),
        "--to",
        two.home.repository(),
        "--to-password-file",
        two.home.path("password"),
        "--json"
    ];
    assert_eq!(number(&two.home.ok(back).json()["standing"]), 3);
}

#[test]
fn the_state_directory_is_not_what_remembers() {
    let two = two(2);
    two.copied(&["-i", "wiki", "--tag", "even"]);
    assert_eq!(two.snapshots_there().len(), 1);
    fs::remove_dir_all(two.home.path("home/.local/state")).unwrap();
    let copied = two.copied(&["latest"]);
    assert_eq!(copied["copied"].as_array().unwrap().len(), 1);
    two.expect_there("latest", &two.trees[1]);
    assert_eq!(two.copied(&["-i", "nothing"])["copied"].as_array().unwrap().len(), 0);
}

#[test]
fn a_backup_there_goes_on_from_the_copy() {
    let two = two(1);
    two.copied(&[]);
    let backup = two.there(args!["backup", two.home.path("live"), "--name", "wiki", "--json"]).expect(0).json();
    assert_eq!(number(&backup["snapshot"]["totals"]["bytes_read"]), 0, "{backup}");
    two.expect_there("latest", &two.trees[0]);
}

#[test]
fn what_is_lost_in_the_source_is_named_in_the_copy() {
    let two = two(1);
    // One bit of the pack of data: a few files, or the large one.
    let pack = two.home.objects("packs").into_iter().max_by_key(|pack| fs::metadata(pack).unwrap().len()).unwrap();
    let mut bytes = fs::read(&pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&pack, bytes).unwrap();
    let copied = two.copy(&["--json"]).expect(3).json();
    let copy = &copied["copied"][0];
    let named: Vec<_> =
        copy["missing"].as_array().unwrap().iter().map(|problem| problem["path"].as_str().unwrap()).collect();
    assert!(!named.is_empty() && number(&copy["missing_count"]) == named.len() as u64, "{copied}");
    let name = copy["id"].as_str().unwrap();
    assert_eq!(shown(&two.there(args!["show", name, "--json"]))["verdict"], "fuzzy");
    two.there(args!["check", "--read-data"]).expect(0);

    // What is named is missing, and everything else is exact.
    let [here, there] = ["here", "there"].map(|name| two.home.path(name));
    two.home.run(args!["restore", &two.ids[0], "--to", &here]).expect(3);
    two.there(args!["restore", name, "--to", &there]).expect(3);
    for path in &named {
        assert!(!there.join(path).exists(), "{path}");
    }
    let found = differences(&here, &there);
    assert!(found.is_empty(), "exactly what the source has lost: {found:?}");
    two.copy(&[]).expect(0);
}

#[test]
fn a_corrected_snapshot_still_names_what_it_corrects() {
    let two = two(1);
    let pack = two.home.objects("packs").into_iter().max_by_key(|pack| fs::metadata(pack).unwrap().len()).unwrap();
    let mut bytes = fs::read(&pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&pack, bytes).unwrap();
    two.home.run(args!["repair"]).expect(3);
    let copied = two.copy(&["--json"]).expect(3).json();
    assert_eq!(copied["copied"].as_array().unwrap().len(), 2);
    let [correction, original] = &two.snapshots_there()[..] else { panic!("{copied}") };
    let shown = shown(&two.there(args!["show", correction["id"].as_str().unwrap(), "--json"]));
    assert_eq!(shown["corrects"], original["id"]);
    assert_eq!(two.copied(&[])["standing"], 2);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let two = two(1);
    let itself = args!["copy", "--to", two.home.repository(), "--to-password-file", two.home.path("password")];
    two.home.run(itself).expect(1).said(&["same repository"]);
    two.home.run(args!["copy", "--to", two.home.path("other")]).expect(2).said(&["--to-password-file"]);
    let nowhere = args!["copy", "--to", two.home.path("none"), "--to-password-file", two.home.path("password")];
    two.home.run(nowhere).expect(10).said(&["init --repo"]);
    let wrong = args!["copy", "--to", two.home.path("other"), "--to-password-file", two.home.path("password")];
    two.home.run(wrong).expect(12);
    two.copy(&["wiki~7"]).expect(1).said(&["wiki~7"]);
    let key = two.home.path("writer.key");
    two.there(args!["key", "add", "--role", "writer", "--generate-password", &key]).expect(0);
    two.home.run(args!["copy", "--to", two.home.path("other"), "--to-password-file", key]).expect(1).said(&["reader"]);
}
