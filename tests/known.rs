//! What is known is not read again, what may have changed is, and what was not asked for is left out.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::common::{Home, args, assert_same, noise, number, settle, text, write};

/// A small tree of several kinds that nothing is racy in.
fn make_tree(home: &Home) -> PathBuf {
    let tree = home.make_dir("tree");
    for number in 0..40 {
        write(tree.join(format!("mail/{}/{number}", number % 4)), text(number, 3000 + number as usize * 100));
    }
    write(tree.join("large"), noise(1, 900_000));
    write(tree.join("empty"), "");
    std::os::unix::fs::symlink("large", tree.join("link")).unwrap();
    fs::hard_link(tree.join("large"), tree.join("mail/same")).unwrap();
    settle();
    tree
}

const FILES: u64 = 40 + 3;

/// The totals of a new snapshot.
fn totals(home: &Home, tree: &Path, options: &[&str]) -> Value {
    let report = home.backup(tree, options);
    assert_eq!(report["snapshot"]["problem_count"], 0, "{report:#}");
    report["snapshot"]["totals"].clone()
}

#[track_caller]
fn assert_totals(totals: &Value, expected: &[(&str, u64)]) {
    for (name, value) in expected {
        assert_eq!(totals[name], *value, "{name} in {totals:#}");
    }
}

/// Puts the times of a file back that a change moved.
fn keeping_times(path: &Path, change: impl FnOnce()) {
    let modified = fs::metadata(path).unwrap().modified().unwrap();
    change();
    File::options().write(true).open(path).unwrap().set_modified(modified).unwrap();
}

#[test]
fn an_unchanged_second_backup_reads_nothing_and_writes_no_pack() {
    let home = Home::with_repository();
    let tree = make_tree(&home);
    let first = totals(&home, &tree, &[]);
    let size: u64 = number(&first["bytes"]) - 900_000;
    assert_totals(&first, &[("files_new", FILES), ("bytes_read", size)]);
    let packs = home.objects("packs");
    assert!(!packs.is_empty());

    let second = totals(&home, &tree, &[]);
    assert_totals(
        &second,
        &[("files_unchanged", FILES), ("files_new", 0), ("files_changed", 0), ("entries_removed", 0)],
    );
    assert_totals(&second, &[("bytes_read", 0), ("chunks_new", 0), ("bytes_added", 0)]);
    assert_eq!(home.objects("packs"), packs);
    assert_eq!(home.objects("snapshots").len(), 2);
    assert_same(&tree, &home.restore("latest", "restored"));

    // The same for who has lost the index.
    fs::remove_dir_all(home.path("home")).unwrap();
    home.make_dir("home");
    assert_totals(&totals(&home, &tree, &[]), &[("files_unchanged", FILES), ("bytes_read", 0), ("bytes_added", 0)]);
    assert_eq!(home.objects("packs"), packs);
}

#[test]
fn a_touched_file_is_read_and_stored_once() {
    let home = Home::with_repository();
    let tree = make_tree(&home);
    totals(&home, &tree, &[]);
    let touched = tree.join("mail/0/0");
    File::options().write(true).open(&touched).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    let touched = totals(&home, &tree, &[]);
    assert_totals(&touched, &[("bytes_read", 3000), ("files_unchanged", FILES), ("files_changed", 0)]);
    // Only what the manifest says of it is new.
    assert!(number(&touched["bytes_new"]) < 64 << 10, "{touched:#}");
    assert_same(&tree, &home.restore("latest", "restored"));
}

#[test]
fn only_the_ctime_tells_and_that_is_enough() {
    let home = Home::with_repository();
    let tree = make_tree(&home);
    totals(&home, &tree, &[]);
    let file = tree.join("mail/1/1");
    let changed = text(99, fs::metadata(&file).unwrap().len() as usize);
    let before = fs::metadata(&file).unwrap();
    keeping_times(&file, || write(&file, &changed));
    let after = fs::metadata(&file).unwrap();
    let stat = |found: &fs::Metadata| (found.len(), found.mtime(), found.mtime_nsec(), found.ino());
    assert_eq!(stat(&before), stat(&after), "the test is about this");
    assert_totals(&totals(&home, &tree, &[]), &[("files_changed", 1), ("bytes_read", before.len())]);
    assert_eq!(fs::read(home.restore("latest", "restored").join("mail/1/1")).unwrap(), changed);
}

#[test]
fn a_change_within_the_tick_after_reading_is_found() {
    let home = Home::with_repository();
    let tree = home.make_dir("tree");
    let (racy, calm) = (tree.join("racy"), tree.join("calm"));
    write(&racy, "night 1");
    write(&calm, "night 1");
    #[expect(clippy::disallowed_methods, reason = "the file must be young by the program's clock")]
    let in_an_hour = SystemTime::now() + Duration::from_secs(3600);
    // As if the clock stood still from the writing to the next backup: the file is as young as can be when it is read.
    File::options().write(true).open(&racy).unwrap().set_modified(in_an_hour).unwrap();
    settle();
    totals(&home, &tree, &[]);
    for file in [&racy, &calm] {
        keeping_times(file, || write(file, "night 2"));
    }
    // Without the ctime nothing but that youth can tell: the calm file shows that this test can fail.
    totals(&home, &tree, &["--ignore-ctime"]);
    let restored = home.restore("latest", "restored");
    assert_eq!(fs::read_to_string(restored.join("racy")).unwrap(), "night 2");
    assert_eq!(fs::read_to_string(restored.join("calm")).unwrap(), "night 1");
    totals(&home, &tree, &["--rehash"]);
    assert_eq!(fs::read_to_string(home.restore("latest", "rehashed").join("calm")).unwrap(), "night 2");
}

#[test]
fn the_last_of_many_quick_changes_is_kept() {
    let home = Home::with_repository();
    let tree = home.make_dir("tree");
    let file = tree.join("counter");
    for round in 0..5 {
        write(&file, format!("{:020}", 0));
        let stop = AtomicBool::new(false);
        let last = thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let file = File::options().write(true).open(&file).unwrap();
                let mut count = 0u64;
                while !stop.load(Ordering::Relaxed) {
                    count += 1;
                    file.write_all_at(format!("{count:020}").as_bytes(), 0).unwrap();
                }
                count
            });
            let outcome = home.run(args!["backup", &tree]);
            stop.store(true, Ordering::Relaxed);
            assert!(matches!(outcome.code(), Some(0 | 3)), "{outcome}");
            writer.join().unwrap()
        });
        totals(&home, &tree, &[]);
        let restored = home.restore("latest", &format!("restored {round}"));
        assert_eq!(fs::read_to_string(restored.join("counter")).unwrap(), format!("{last:020}"));
    }
}

#[test]
fn a_renamed_directory_is_not_read() {
    let home = Home::with_repository();
    let tree = make_tree(&home);
    let first = totals(&home, &tree, &[]);
    fs::rename(tree.join("mail"), tree.join("a new name")).unwrap();
    let second = totals(&home, &tree, &[]);
    assert_totals(&second, &[("bytes_read", 0), ("files_new", 0), ("files_changed", 0)]);
    assert!(number(&second["files_renamed"]) >= 40, "{second:#}");
    assert!(number(&second["bytes_new"]) < number(&first["bytes"]) / 10, "{second:#}");
    assert_same(&tree, &home.restore("latest", "restored"));

    // Its old place is taken by something else of the same names.
    write(tree.join("mail/0/0"), "another");
    settle();
    assert_totals(&totals(&home, &tree, &[]), &[("bytes_read", 7), ("files_new", 1)]);
    assert_same(&tree, &home.restore("latest", "restored again"));
}

#[test]
fn file_systems_that_lie_can_be_told_apart() {
    let home = Home::with_repository();
    let tree = make_tree(&home);
    let first = totals(&home, &tree, &[]);
    let bytes_once = number(&first["bytes_read"]);

    // Another ctime: a change of mode, which is kept.
    for number in 0..4 {
        fs::set_permissions(tree.join(format!("mail/0/{}", number * 4)), PermissionsExt::from_mode(0o640)).unwrap();
    }
    settle();
    assert_totals(&totals(&home, &tree, &["--ignore-ctime"]), &[("bytes_read", 0), ("files_changed", 0)]);
    assert_same(&tree, &home.restore("latest", "modes"));

    // Another inode too: every file replaced by a copy.
    let moved = home.path("moved");
    fs::rename(&tree, &moved).unwrap();
    let copied = Command::new("cp").arg("-a").arg(&moved).arg(&tree).status().unwrap();
    assert!(copied.success());
    settle();
    let both = totals(&home, &tree, &["--ignore-ctime", "--ignore-inode"]);
    assert_totals(&both, &[("bytes_read", 0), ("files_unchanged", FILES)]);
    assert_same(&tree, &home.restore("latest", "inodes"));

    let rehashed = totals(&home, &tree, &["--rehash"]);
    assert_totals(&rehashed, &[("bytes_read", bytes_once), ("files_unchanged", FILES), ("files_changed", 0)]);

    // And without any of it, a copy is read, and stored only once all the same.
    fs::remove_dir_all(&moved).unwrap();
    fs::rename(&tree, &moved).unwrap();
    assert!(Command::new("cp").arg("-a").arg(&moved).arg(&tree).status().unwrap().success());
    let plain = totals(&home, &tree, &[]);
    assert_totals(&plain, &[("bytes_read", bytes_once), ("files_unchanged", FILES)]);
    assert!(number(&plain["bytes_new"]) < 64 << 10, "{plain:#}");
}

#[test]
fn lost_chunks_are_stored_again() {
    let home = Home::with_repository();
    let tree = make_tree(&home);
    totals(&home, &tree, &[]);
    let packs = home.objects("packs");
    assert!(packs.len() >= 2, "one of data, one of manifests");
    for (round, pack) in packs.iter().enumerate() {
        fs::remove_file(pack).unwrap();
        let id = pack.file_name().unwrap().to_str().unwrap();
        home.run(["check"]).expect(1);
        home.run(["rebuild-index"]).expect(1).said(&[id]);
        totals(&home, &tree, &[]);
        assert_same(&tree, &home.restore("latest", &format!("restored {round}")));
        // What was stored again is also what the older snapshots miss.
        assert_same(&tree, &home.restore(format!("latest~{}", round + 1), &format!("older {round}")));
        home.check(&["--read-data"]);
    }
    assert_totals(&totals(&home, &tree, &[]), &[("bytes_read", 0), ("bytes_added", 0)]);
}

/// The paths of a snapshot, without its root.
fn listed(home: &Home, snapshot: &str) -> Vec<String> {
    let document = home.json(args!["ls", "-R", snapshot]);
    let entries = document["entries"].as_array().unwrap();
    entries.iter().map(|entry| entry["path"].as_str().unwrap().to_owned()).filter(|path| !path.is_empty()).collect()
}

fn left_out(report: &Value) -> Vec<&str> {
    report["left_out"].as_array().unwrap().iter().map(|entry| entry["path"].as_str().unwrap()).collect()
}

#[test]
fn excludes_are_left_out() {
    let home = Home::with_repository();
    let tree = home.make_dir("tree");
    for path in
        ["keep.txt", "drop.tmp", "sub/drop.tmp", "sub/keep.tmp", "sub/build/object", "build/object", "deep/er/x"]
    {
        write(tree.join(path), path);
    }
    let list = home.path("list");
    write(&list, "# a comment\n\n/build\n!keep.tmp\n");
    let report =
        home.json(args!["backup", &tree, "--exclude", "*.tmp", "--exclude", "deep/*/x", "--exclude-file", &list]);
    assert_eq!(
        listed(&home, "latest"),
        ["deep", "deep/er", "keep.txt", "sub", "sub/build", "sub/build/object", "sub/keep.tmp"]
    );
    let excludes = &report["snapshot"]["excludes"];
    assert_eq!(*excludes, serde_json::json!(["*.tmp", "deep/*/x", "/build", "!keep.tmp"]));
    assert_eq!(report["snapshot"]["problem_count"], 0);

    home.run(args!["backup", &tree, "--exclude", "[z-a]"]).expect(2).said(&["[z-a]"]);
    home.run(args!["backup", &tree, "--exclude-file", home.path("none")]).expect(1).said(&["none"]);
}

#[test]
fn caches_keep_their_directory_only() {
    let home = Home::with_repository();
    let tree = home.make_dir("tree");
    write(tree.join("cache/CACHEDIR.TAG"), "Signature: 8a477f597d28d172789f06886806bc55\n# made by a test");
    write(tree.join("cache/large"), noise(1, 10_000));
    write(tree.join("no cache/CACHEDIR.TAG"), "Signature: something else");
    home.backup(&tree, &[]);
    assert_eq!(listed(&home, "latest").len(), 5);
    let report = home.backup(&tree, &["--exclude-caches"]);
    let kept = listed(&home, "latest");
    assert!(kept.contains(&"cache".to_owned()) && kept.contains(&"no cache/CACHEDIR.TAG".to_owned()), "{kept:?}");
    assert!(!kept.contains(&"cache/large".to_owned()), "{kept:?}");
    assert_eq!(left_out(&report), ["cache"]);
}

/// A file system mounted below a tree.
struct Mount(PathBuf);

impl Mount {
    fn new(at: PathBuf) -> Option<Self> {
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "none"]).arg(&at).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self(at));
        }
        icecore_testkit::skip("no file system can be mounted here");
        None
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

#[test]
fn other_file_systems_are_left_out_when_asked() {
    let home = Home::with_repository();
    let tree = home.make_dir("tree");
    write(tree.join("here"), "here");
    let mount = home.make_dir("tree/mount");
    let Some(mount) = Mount::new(mount) else { return };
    write(mount.0.join("there"), "there");
    let report = home.backup(&tree, &["--one-file-system"]);
    assert_eq!(listed(&home, "latest"), ["here", "mount"]);
    assert_eq!(left_out(&report), ["mount"]);
    home.backup(&tree, &[]);
    assert_eq!(listed(&home, "latest"), ["here", "mount", "mount/there"]);
    assert_same(&tree, &home.restore("latest", "restored"));
}

#[test]
fn the_repository_and_the_index_are_left_out_of_the_tree_that_holds_them() {
    let home = Home::new();
    write(home.path("home/diary"), "dear diary");
    let first = home.ok(args!["backup", home.path("home")]).said(&["left out: ", "icecore/repository"]);
    assert!(first.err().contains(".local/state/icecore"), "{first}");
    for _ in 0..2 {
        thread::sleep(Duration::from_millis(10));
        let report = home.backup(&home.path("home"), &[]);
        assert!(left_out(&report).contains(&".local/share/icecore/repository"), "{report:#}");
        assert_eq!(left_out(&report).len(), 2, "{report:#}");
        assert_eq!(report["snapshot"]["verdict"], "stable");
    }
    let kept = listed(&home, "latest");
    assert!(kept.contains(&"diary".to_owned()), "{kept:?}");
    assert!(!kept.iter().any(|path| path.contains("/packs")), "{kept:?}");

    home.run(args!["backup", home.path("home/.local/share/icecore/repository")]).expect(2);
}
