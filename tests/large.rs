//! Files that are large enough to be read by several threads: whoever reads them, and whatever was known of them, the
//! same snapshot comes of it.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::common::{Home, args, assert_same, noise, number, settle, text, write};

const MIB: usize = 1 << 20;

/// Larger than what several threads share, and no whole number of anything.
const LARGE: usize = 70 * MIB + 12_345;

/// One large file for each way of cutting, and one with holes.
fn make_large_files(home: &Home) -> PathBuf {
    let tree = home.make_dir("tree");
    write(tree.join("container"), noise(1, LARGE));
    write(tree.join("dump"), text(2, LARGE));
    let mut database = b"SQLite format 3\0\x10\x00".to_vec();
    database.extend(text(3, LARGE - database.len()));
    write(tree.join("database"), database);
    write(tree.join("image"), "");
    let image = OpenOptions::new().write(true).open(tree.join("image")).unwrap();
    for (number, offset) in [3, 4, 20, 40, 70, 100].into_iter().enumerate() {
        image.write_all_at(&noise(10 + number as u64, 9 * MIB + 5), (offset * MIB) as u64).unwrap();
    }
    image.set_len(120 << 20).unwrap();
    tree
}

/// A snapshot of the series `name` by so many threads.
fn backup(home: &Home, tree: &Path, name: &str, threads: &str) -> Value {
    settle();
    let report = home.backup(tree, &["--name", name, "--threads", threads]);
    assert_eq!(report["snapshot"]["problem_count"], 0, "{report:#}");
    report["snapshot"].clone()
}

#[track_caller]
fn assert_same_manifest(one: &Value, other: &Value) {
    assert_eq!(one["manifest"], other["manifest"], "{one:#} {other:#}");
    assert_eq!(one["totals"]["bytes_read"], other["totals"]["bytes_read"]);
    assert_eq!(other["totals"]["bytes_new"], 0, "{other:#}");
}

#[test]
fn large_files_are_stored_the_same_by_one_thread_and_by_many() {
    let home = Home::with_repository();
    let tree = make_large_files(&home);
    let many = backup(&home, &tree, "many", "4");
    assert_same_manifest(&many, &backup(&home, &tree, "one", "1"));
    assert_same(&tree, &home.restore("many", "restored"));

    // Overwritten, grown at the end, and in the middle; a hole is filled.
    for (name, offset) in [("container", 30 * MIB + 7), ("database", 50 * MIB), ("image", 60 * MIB), ("dump", LARGE)] {
        let file = OpenOptions::new().write(true).open(tree.join(name)).unwrap();
        file.write_all_at(&noise(20, 200_000), offset as u64).unwrap();
    }
    let mut dump = fs::read(tree.join("dump")).unwrap();
    dump.splice(40 * MIB..40 * MIB, text(30, 1000));
    write(tree.join("dump"), dump);

    let again = backup(&home, &tree, "many", "4");
    let new = number(&again["totals"]["bytes_new"]);
    assert!((800_000..20 << 20).contains(&new), "what was there before is stored again: {new}");
    assert_same_manifest(&again, &backup(&home, &tree, "one", "1"));
    // Of these nothing is known that could prove a cut.
    assert_same_manifest(&again, &backup(&home, &tree, "first sight, many", "4"));
    assert_same_manifest(&again, &backup(&home, &tree, "first sight, one", "1"));
    assert_same(&tree, &home.restore("many", "restored again"));
    home.check(&["--read-data"]);
}

#[test]
fn a_large_file_that_is_cut_short_while_many_read_it_is_kept_up_to_there() {
    let home = Home::with_repository();
    let live = home.make_dir("live");
    let bytes = noise(1, 256 * MIB);
    write(live.join("container"), &bytes);
    write(live.join("still"), "still");
    settle();
    let outcome = thread::scope(|scope| {
        let run = scope.spawn(|| home.run(args!["backup", &live, "--name", "live", "--threads", "4", "--json"]));
        // The first pack holds 16 MiB; the last bytes are read after many more.
        while home.objects("packs").is_empty() && !run.is_finished() {
            thread::sleep(Duration::from_millis(1));
        }
        OpenOptions::new().write(true).open(live.join("container")).unwrap().set_len(160 << 20).unwrap();
        run.join().unwrap()
    });
    let outcome = outcome.expect(3).said(&["container"]);
    let snapshot = &outcome.json()["snapshot"];
    assert_eq!(snapshot["verdict"], "fuzzy");
    assert_eq!(snapshot["problem_count"], 1);
    assert_eq!(snapshot["problems"][0]["path"], "container");
    assert_eq!(snapshot["problems"][0]["kind"], "changed");
    home.check(&["--read-data"]);
    let restored = fs::read(home.restore("live", "fuzzy").join("container")).unwrap();
    assert!((160 * MIB..256 * MIB).contains(&restored.len()), "{}", restored.len());
    assert!(restored == bytes[..restored.len()], "it holds what was never in it");

    let again = backup(&home, &live, "live", "4");
    assert_eq!(again["verdict"], "stable");
    assert_same(&live, &home.restore("live", "exact"));
}
