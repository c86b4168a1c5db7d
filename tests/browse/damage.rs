//! What browsing reads, and what it says of a repository that has lost something.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use super::{Nights, packs, put};
use crate::common::{Home, args, settle};

/// Everything that looks at manifests.
const LOOKS: [&[&str]; 6] = [
    &["ls", "-R", "wiki"],
    &["find", "*"],
    &["history", "wiki:a.txt"],
    &["history", "wiki:large.bin"],
    &["diff", "wiki~3", "wiki"],
    &["diff", "wiki", "--live"],
];

#[test]
fn no_pack_of_content_is_read() {
    let nights = Nights::new();
    let look = || LOOKS.map(|look| nights.home.ok(look).out());
    let whole = look();
    for pack in packs(&nights.home, 1) {
        fs::remove_file(pack).unwrap();
    }
    assert_eq!(look(), whole);
}

#[test]
fn a_file_with_a_lost_part_is_printed_up_to_it() {
    let nights = Nights::new();
    let whole = fs::read(nights.live.join("large.bin")).unwrap();
    assert_eq!(nights.home.ok(["cat", "wiki:large.bin"]).stdout, whole);
    let pack = packs(&nights.home, 1).into_iter().max_by_key(|pack| fs::metadata(pack).unwrap().len()).unwrap();
    // A byte in the middle of the pack: a frame behind the first may be what is damaged.
    let mut bytes = fs::read(&pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&pack, bytes).unwrap();
    let outcome = nights.home.run(["cat", "wiki:large.bin"]).expect(3);
    assert!(outcome.stdout.len() < whole.len() && whole.starts_with(&outcome.stdout), "{outcome}");
    outcome.said(&["bytes were printed", "icecore history"]);
    // What stands elsewhere is whole.
    fs::remove_file(&pack).unwrap();
    assert!(nights.home.run(["cat", "wiki:large.bin"]).expect(3).stdout.is_empty());
}

#[test]
fn holes_are_printed_as_zeros() {
    let nights = Nights::new();
    let path = nights.live.join("sparse");
    put(&path, b"begin", 9);
    fs::File::options().write(true).open(&path).unwrap().set_len(3 << 20).unwrap();
    nights.night();
    let printed = nights.home.ok(["cat", "wiki:sparse"]).stdout;
    assert_eq!(printed, fs::read(&path).unwrap());
    nights.home.ok(["diff", "wiki", "--live", "--rehash"]);
    put(&path, b"begin", 9);
    settle();
    let changes = nights.home.json(["diff", "wiki", "--live", "--rehash"]);
    assert_eq!(changes["stat"]["content"], 1);
}

/// A change that leaves size and time as they were is found only by content.
#[test]
fn rehashing_finds_what_size_and_time_hide() {
    let nights = Nights::new();
    put(&nights.live.join("a.txt"), b"TWO!\n", 5);
    assert_eq!(nights.home.json(["diff", "wiki", "--live"])["stat"]["content"], 0);
    let found = nights.home.json(["diff", "wiki", "--live", "--rehash"]);
    assert_eq!(found["changes"][0]["path"], "a.txt");
    assert_eq!(found["changes"][0]["fields"], Value::from(vec!["content"]));
    assert_eq!(found["changes"].as_array().unwrap().len(), 1);
}

#[test]
fn a_lost_manifest_is_told_and_nothing_is_called_removed() {
    let nights = Nights::new();
    let all = packs(&nights.home, 2);
    let newest = all.iter().max_by_key(|pack| fs::metadata(pack).unwrap().modified().unwrap()).unwrap();
    fs::remove_file(newest).unwrap();
    let diff = nights.home.run(args!["diff", "wiki~1", "wiki", "--json"]).expect(3);
    let document = diff.json();
    assert_eq!((document["stat"]["removed"].as_u64(), document["complete"].as_bool()), (Some(0), Some(false)));
    assert_eq!(document["damaged"].as_array().unwrap().len(), 1);
    // The other nights answer.
    let found = nights.home.run(args!["find", "a.txt", "--json"]).expect(3).json();
    let file = &found["files"][0];
    assert_eq!((file["nights_unknown"].as_u64(), file["versions"].as_array().unwrap().len()), (Some(1), 2));
    assert_eq!(file["versions"][1]["nights"], 1);
    nights.home.run(["history", "wiki:a.txt"]).expect(3).said(&["cannot be told"]);
}

/// Two nights of so many files in one directory that their manifest has many leaves; the second changed one file in the middle,
/// and what both nights share is lost.
fn mostly_lost() -> (Home, PathBuf) {
    const FILES: u32 = 3_000;
    let home = Home::with_repository();
    let live = home.make_dir("live");
    (0..FILES).for_each(|number| put(&live.join(format!("dir/{number:05}")), b"same", 1));
    settle();
    home.backup(&live, &["--name", "wiki"]);
    put(&live.join("dir/01500"), b"changed", 2);
    settle();
    let known = packs(&home, 2);
    home.backup(&live, &["--name", "wiki"]);
    known.iter().for_each(|pack| fs::remove_file(pack).unwrap());
    (home, live)
}

/// The entries that sentences say cannot be told.
fn untold(sentences: &Value) -> u64 {
    let number = |sentence: &Value| -> u64 {
        let sentence = sentence.as_str().unwrap();
        let words: Vec<_> = sentence.split(' ').collect();
        let at = words.iter().position(|word| word.starts_with("entries")).unwrap_or_else(|| panic!("{sentence}"));
        words[at - 1].parse().unwrap()
    };
    sentences.as_array().unwrap().iter().map(number).sum()
}

#[test]
fn every_loss_is_told_and_what_is_left_is_shown() {
    let (home, _live) = mostly_lost();
    let entries = home.json(["show", "wiki"])["snapshot"]["totals"]["entries"].as_u64().unwrap();
    let list = home.run(["ls", "-R", "wiki", "--json"]).expect(3).json();
    let shown = list["entries"].as_array().unwrap();
    assert!(shown.iter().any(|entry| entry["path"] == "dir/01500"), "{list:#}");
    assert!(list["damaged"].as_array().unwrap().len() > 2 && list["complete"] == false, "{list:#}");
    // The top entry is not in the list; it is in the block that is lost first.
    assert_eq!(shown.len() as u64 + untold(&list["damaged"]), entries);
    home.run(["ls", "wiki:dir"]).expect(3).said(&["cannot be told", "from \"dir/"]);
    // What is asked for is whole, whatever is lost elsewhere.
    let one = home.ok(["ls", "wiki:dir/01500"]);
    assert_eq!((one.out().as_str(), one.err().as_str()), ("dir/01500\n", ""));
    assert_eq!(home.ok(["cat", "wiki:dir/01500"]).out(), "changed");
    home.ok(["history", "wiki:dir/01500", "--last", "1"]);

    let found = home.run(["find", "0150*", "--snapshot", "wiki", "--json"]).expect(3).json();
    assert!(found["files"].as_array().unwrap().iter().any(|file| file["path"] == "dir/01500"));
    assert_eq!(found["damaged"], list["damaged"]);
    for line in [["cat", "wiki:dir/00001"], ["ls", "wiki:dir/00001"], ["history", "wiki:dir/00001"]] {
        let lost = home.run(line).expect(3);
        assert_eq!(lost.out(), "", "{lost}");
    }
    home.run(["cat", "wiki:dir/00001"]).expect(3).said(&["nothing was printed", "manifest"]);
    home.run(["ls", "wiki:nowhere"]).expect(3);
    // Of the first night nothing is left, not even what it shares: that is one more loss, and nothing is called added.
    let diff = home.run(["diff", "wiki~1", "wiki", "--json"]).expect(3).json();
    let losses = |document: &Value| document["damaged"].as_array().unwrap().len();
    assert_eq!((losses(&diff), &diff["stat"]["added"]), (losses(&list) + 1, &0.into()));
    let live = home.run(["diff", "wiki", "--live", "--json"]).expect(3).json();
    assert_eq!((&live["stat"]["added"], &live["stat"]["removed"]), (&0.into(), &0.into()), "{live:#}");
    assert_eq!(untold(&live["damaged"]), untold(&list["damaged"]));
}

#[test]
fn tags_that_may_be_missing_are_told() {
    let nights = Nights::new();
    nights.home.ok(["tag", "wiki", "--add", "release"]);
    nights.home.ok(["snapshots"]);
    let annotation = nights.home.objects("annotations").remove(0);
    let mut bytes = fs::read(&annotation).unwrap();
    bytes[70] ^= 1;
    fs::write(&annotation, bytes).unwrap();
    let whole = nights.home.json(["snapshots"]);
    assert_eq!(whole["unclear"].as_array().unwrap().len(), 0, "this host has read it when it was whole");
    fs::remove_dir_all(nights.home.path("home/.local/state/icecore")).unwrap();
    let damaged = nights.home.run(["snapshots", "--json"]).expect(3);
    let document = damaged.clone().said(&["tags may be missing"]).json();
    assert_eq!(
        (document["unclear"].as_array().unwrap().len(), document["snapshots"].as_array().unwrap().len()),
        (1, 4)
    );
}

#[test]
fn names_and_content_that_are_no_text() {
    let nights = Nights::new();
    let odd = std::ffi::OsString::from("odd\n\u{1b}[31m");
    put(&nights.live.join(&odd), b"\x1b]0;x\x07", 8);
    nights.night();
    let found = nights.home.ok(["find", "odd*"]).out();
    assert!(found.contains("odd\\n\\u{1b}[31m") && !found.contains('\u{1b}'), "{found}");
    // A pipe gets the bytes as they are.
    let mut target = std::ffi::OsString::from("wiki:");
    target.push(&odd);
    assert_eq!(nights.home.ok(args!["cat", target]).stdout, b"\x1b]0;x\x07");
}

/// What a name meant may be the night whose record is damaged: an older one in its place is no whole answer.
#[test]
fn a_name_that_may_mean_a_damaged_night_is_not_answered_as_if_it_did_not() {
    let nights = Nights::new();
    let snapshots = nights.home.json(["snapshots"]);
    let all = snapshots["snapshots"].as_array().unwrap();
    let ids: Vec<&str> = all.iter().map(|snapshot| snapshot["id"].as_str().unwrap()).collect();
    let [.., before, newest] = &ids[..] else { panic!("{ids:?}") };
    let record = nights.home.repository().join("snapshots").join(newest);
    let mut bytes = fs::read(&record).unwrap();
    bytes[40] ^= 1;
    fs::write(&record, bytes).unwrap();
    let state = nights.home.path("another-state");
    let run = |words: &[&str]| nights.home.run([&["--state-dir", state.to_str().unwrap()], words].concat());
    for words in [
        &["ls", "latest"][..],
        &["ls", "wiki"],
        &["show", "wiki"],
        &["cat", "wiki:a.txt"],
        &["diff", "wiki", "--live"],
        &["diff", before, "wiki"],
    ] {
        run(words).expect(3);
    }
    assert_eq!(run(&["ls", "latest", "--json"]).expect(3).json()["complete"], false);
    // Who names a night gets it.
    run(&["ls", before]).expect(0);
    run(&["cat", &format!("{before}:a.txt")]).expect(0);
}

#[test]
fn a_path_that_neither_side_has_is_no_answer() {
    let nights = Nights::new();
    let live = nights.live.join("a.txt");
    for words in [&["diff", "wiki~1", "wiki", "nowhere"][..], &["diff", "wiki", "--live", live.to_str().unwrap()]] {
        nights.home.run(words).expect(1).said(&["holds no"]);
    }
    nights.home.ok(["diff", "wiki~1", "wiki", "docs"]);
    nights.home.ok(["diff", "wiki", "--live", "docs"]);
}
