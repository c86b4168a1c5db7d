//! What browsing reads, and what it says of a repository that has lost something.

use std::fs;

use serde_json::Value;

use super::{Nights, packs, put};
use crate::common::{args, settle};

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
