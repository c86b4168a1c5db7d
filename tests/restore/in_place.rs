//! `--in-place`: only what differs is written, and what is there already is used.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use serde_json::Value;

use crate::common::{Home, Outcome, args, assert_same, differences, noise, number, settle, text, write};

const MIB: usize = 1 << 20;

/// A home with a tree that was backed up as `tree`, and an exact copy of it at `copy`.
fn home(make: impl FnOnce(&Path)) -> (Home, std::path::PathBuf) {
    let home = Home::with_repository();
    let tree = home.make_dir("tree");
    make(&tree);
    settle();
    home.backup(&tree, &["--name", "tree"]);
    (home, tree)
}

fn copy(home: &Home, tree: &Path, name: &str) -> std::path::PathBuf {
    let to = home.path(name);
    let copied = std::process::Command::new("cp").arg("-a").arg(tree).arg(&to).output().unwrap();
    assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
    to
}

fn in_place(home: &Home, more: &[&str]) -> Outcome {
    home.run(["restore", "tree", "--in-place", "--json"].iter().chain(more))
}

fn actions(document: &Value) -> Vec<String> {
    let one = |action: &Value| format!("{} {}", action["action"].as_str().unwrap(), action["path"].as_str().unwrap());
    document["actions"].as_array().unwrap().iter().map(one).collect()
}

#[test]
fn what_stands_right_is_not_touched() {
    let (home, tree) = home(|tree| {
        write(tree.join("a/large"), noise(1, MIB));
        write(tree.join("a/small"), "small");
        symlink("a/small", tree.join("link")).unwrap();
        fs::hard_link(tree.join("a/small"), tree.join("hard")).unwrap();
    });
    let before = copy(&home, &tree, "before");
    let changed = |path: &str| fs::symlink_metadata(tree.join(path)).unwrap().ctime_nsec();
    let times = ["a/large", "a/small", "a", "link"].map(changed);
    let report = in_place(&home, &["--delete"]).expect(0).json();
    assert_eq!(["a/large", "a/small", "a", "link"].map(changed), times);
    assert_eq!((number(&report["bytes_fetched"]), number(&report["actions_count"]["keep"])), (0, 6), "{report:#}");
    assert_same(&before, &tree);

    // Not even when all of it is hashed.
    let report = in_place(&home, &["--rehash"]).expect(0).json();
    assert_eq!(["a/large", "a/small", "a", "link"].map(changed), times);
    assert_eq!(number(&report["bytes_fetched"]), 0);
}

#[test]
fn every_change_is_undone_and_the_rehearsal_names_it() {
    let (home, tree) = home(|tree| {
        for name in ["bytes", "shorter", "longer", "mode", "becomes a link", "becomes a directory", "gone", "attribute"]
        {
            write(tree.join(name), text(7, 9000));
        }
        write(tree.join("directory/becomes a file/x"), "x");
        write(tree.join("directory/becomes a file/y"), "y");
        symlink("bytes", tree.join("link")).unwrap();
        fs::create_dir(tree.join("empty")).unwrap();
        write(tree.join("kept"), "kept");
    });
    let before = copy(&home, &tree, "before");
    write(tree.join("bytes"), text(8, 9000));
    write(tree.join("shorter"), text(7, 10));
    write(tree.join("longer"), text(7, 90_000));
    fs::set_permissions(tree.join("mode"), PermissionsExt::from_mode(0o4711)).unwrap();
    for name in ["becomes a link", "becomes a directory", "gone"] {
        fs::remove_file(tree.join(name)).unwrap();
    }
    symlink("/etc/passwd", tree.join("becomes a link")).unwrap();
    write(tree.join("becomes a directory/full/of"), "things");
    fs::remove_dir_all(tree.join("directory/becomes a file")).unwrap();
    write(tree.join("directory/becomes a file"), "file");
    fs::remove_file(tree.join("link")).unwrap();
    symlink("elsewhere", tree.join("link")).unwrap();
    fs::remove_dir(tree.join("empty")).unwrap();
    rustix::fs::lsetxattr(tree.join("attribute"), "user.more", b"x", rustix::fs::XattrFlags::empty()).unwrap();
    write(tree.join("extra/deep/file"), "extra");
    let touched = copy(&home, &tree, "touched");

    let rehearsed = in_place(&home, &["--delete", "--dry-run"]).expect(0).json();
    assert_same(&touched, &tree);
    assert_eq!(rehearsed["dry_run"], true);
    let told = actions(&rehearsed);
    for action in [
        "rewrite bytes",
        "rewrite shorter",
        "rewrite longer",
        "metadata mode",
        "metadata attribute",
        "create gone",
        "create empty",
        "replace becomes a link",
        "replace becomes a directory",
        "delete becomes a directory/full",
        "delete becomes a directory/full/of",
        "replace directory/becomes a file",
        "create directory/becomes a file/x",
        "replace link",
        "delete extra",
        "delete extra/deep",
        "delete extra/deep/file",
        "keep kept",
    ] {
        assert!(told.iter().any(|line| line == action), "{action:?} is not among {told:#?}");
    }

    // Without --delete, extras stay, and so does what stands in a directory that should be a file.
    let report = in_place(&home, &[]).expect(3).said(&["becomes a directory", "--delete"]).json();
    assert_eq!(number(&report["missing_count"]), 1, "{report:#}");
    assert!(tree.join("extra/deep/file").exists() && tree.join("becomes a directory/full/of").exists());
    assert_eq!(number(&report["actions_count"]["extra"]), 5, "{report:#}");

    let report = in_place(&home, &["--delete"]).expect(0).json();
    assert_eq!(number(&report["actions_count"]["delete"]), 5);
    assert_same(&before, &tree);
}

#[test]
fn a_rehearsal_knows_what_is_fetched_and_changed() {
    let (home, tree) = home(|tree| {
        for n in 0..20 {
            write(tree.join(format!("{n:02}")), noise(n, 200_000 + 1000 * n as usize));
        }
        write(tree.join("large"), noise(99, 20 * MIB));
    });
    for n in 0..7 {
        write(tree.join(format!("{n:02}")), noise(n + 100, 300_000));
    }
    fs::remove_file(tree.join("08")).unwrap();
    let file = File::options().write(true).open(tree.join("large")).unwrap();
    file.write_all_at(b"changed", 9 * MIB as u64).unwrap();
    drop(file);
    let rehearsed = in_place(&home, &["--dry-run"]).expect(0).json();
    let large = rehearsed["actions"].as_array().unwrap().iter().find(|action| action["path"] == "large").unwrap();
    assert_eq!((&large["action"], number(&large["ranges"])), (&Value::from("rewrite"), 1));
    assert!((1..2 * MIB as u64).contains(&number(&large["bytes"])), "{large}");
    let report = in_place(&home, &[]).expect(0).json();
    for field in ["bytes_fetched", "bytes_reused", "actions_count", "files", "bytes", "directories"] {
        assert_eq!(report[field], rehearsed[field], "{field}");
    }
    // The large file was never fetched, but for what differs.
    assert!(number(&report["bytes_fetched"]) < 8 * MIB as u64, "{report:#}");
    assert_same(&tree, &home.restore("tree", "fresh"));
}

#[test]
fn moved_content_is_found_and_not_fetched() {
    let (home, tree) = home(|tree| {
        write(tree.join("a log"), noise(1, 3 * MIB));
        write(tree.join("b log"), noise(2, 3 * MIB));
        write(tree.join("grows at its head"), noise(3, 6 * MIB));
        write(tree.join("kept"), noise(4, 3 * MIB));
        write(tree.join("lost copy"), noise(4, 3 * MIB));
    });
    // Rotated, renamed, shifted, removed.
    fs::rename(tree.join("b log"), tree.join("c log")).unwrap();
    fs::rename(tree.join("a log"), tree.join("b log")).unwrap();
    write(tree.join("a log"), noise(9, 1000));
    write(tree.join("grows at its head"), [noise(5, 4567), noise(3, 6 * MIB)].concat());
    fs::remove_file(tree.join("lost copy")).unwrap();
    let report = in_place(&home, &["--delete"]).expect(0).json();
    // At the places where the shift begins and ends, a chunk differs; and it comes in a whole frame.
    let (fetched, reused) = (number(&report["bytes_fetched"]), number(&report["bytes_reused"]));
    assert!(fetched < 5 * MIB as u64 && reused > 12 * MIB as u64, "{report:#}");
    assert_same(&tree, &home.restore("tree", "fresh"));
}

#[test]
fn another_name_outside_keeps_what_it_has() {
    let (home, tree) = home(|tree| {
        write(tree.join("changed"), noise(1, 6 * MIB));
        write(tree.join("touched"), "touched");
        write(tree.join("same"), "same");
    });
    for name in ["changed", "touched", "same"] {
        fs::hard_link(tree.join(name), home.path(format!("outside {name}"))).unwrap();
    }
    let file = File::options().write(true).open(tree.join("changed")).unwrap();
    file.write_all_at(b"other", 1000).unwrap();
    fs::set_permissions(tree.join("touched"), PermissionsExt::from_mode(0o600)).unwrap();
    let outside = fs::read(home.path("outside changed")).unwrap();
    in_place(&home, &[]).expect(0);
    assert!(fs::read(home.path("outside changed")).unwrap() == outside, "what stands outside was changed");
    assert_eq!(fs::metadata(home.path("outside touched")).unwrap().mode() & 0o777, 0o600);
    let inode = |path: std::path::PathBuf| fs::metadata(path).unwrap().ino();
    assert_ne!(inode(tree.join("changed")), inode(home.path("outside changed")));
    assert_eq!(inode(tree.join("same")), inode(home.path("outside same")), "what is right is left alone");
    assert_same(&tree, &home.restore("tree", "fresh"));
}

#[test]
fn hard_links_come_back_as_they_were() {
    let (home, tree) = home(|tree| {
        for (first, more) in [("a", ["b", "sub/c"]), ("d", ["e", "sub/f"])] {
            write(tree.join(first), text(first.len() as u64, 5000));
            fs::create_dir_all(tree.join("sub")).unwrap();
            more.iter().for_each(|name| fs::hard_link(tree.join(first), tree.join(name)).unwrap());
        }
        write(tree.join("x"), "one");
        write(tree.join("y"), "one");
        for name in ["x", "y"] {
            File::options().write(true).open(tree.join(name)).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
        }
    });
    let before = copy(&home, &tree, "before");
    // Taken apart, mixed up, and joined where they were two.
    fs::remove_file(tree.join("b")).unwrap();
    fs::copy(tree.join("a"), tree.join("b")).unwrap();
    fs::remove_file(tree.join("sub/c")).unwrap();
    fs::hard_link(tree.join("d"), tree.join("sub/c")).unwrap();
    fs::remove_file(tree.join("d")).unwrap();
    fs::remove_file(tree.join("y")).unwrap();
    fs::hard_link(tree.join("x"), tree.join("y")).unwrap();
    in_place(&home, &["--delete"]).expect(0);
    assert_same(&before, &tree);
}

#[test]
fn holes_and_databases_are_changed_where_they_differ() {
    let (home, tree) = home(|tree| {
        let sparse = File::create(tree.join("sparse")).unwrap();
        sparse.set_len(64 << 20).unwrap();
        sparse.write_all_at(&noise(1, 6 * MIB), 20 << 20).unwrap();
        let mut database = noise(2, 8 * MIB);
        database[..16].copy_from_slice(b"SQLite format 3\0");
        database[16..18].copy_from_slice(&4096u16.to_be_bytes());
        write(tree.join("database"), database);
    });
    let before = copy(&home, &tree, "before");
    for (name, at) in [("sparse", 5 << 20), ("sparse", 21 << 20), ("database", 100_000), ("database", 7_000_000)] {
        File::options().write(true).open(tree.join(name)).unwrap().write_all_at(b"other", at).unwrap();
    }
    let rehearsed = in_place(&home, &["--dry-run"]).expect(0).json();
    let database = rehearsed["actions"].as_array().unwrap().iter().find(|action| action["path"] == "database").unwrap();
    assert_eq!((number(&database["ranges"]), number(&database["bytes"])), (2, 2 * 16_384), "{database}");
    in_place(&home, &[]).expect(0);
    assert_same(&before, &tree);
    let blocks = |tree: &Path| fs::metadata(tree.join("sparse")).unwrap().blocks();
    assert!(blocks(&tree) <= blocks(&before) + 64, "holes stay holes");
}

#[test]
fn one_file_of_a_large_directory_is_restored_alone() {
    let (home, tree) = home(|tree| {
        write(tree.join("d/file"), text(1, 5000));
        write(tree.join("d/other"), "other");
    });
    write(tree.join("d/file"), "changed");
    write(tree.join("d/other"), "changed too");
    home.ok(["restore", "tree:d/file", "--in-place"]);
    assert_eq!(fs::read(tree.join("d/file")).unwrap(), text(1, 5000));
    assert_eq!(fs::read(tree.join("d/other")).unwrap(), b"changed too");
    assert_eq!(fs::read_dir(tree.join("d")).unwrap().count(), 2);

    // A directory: what is beside it is not touched, and never deleted.
    write(tree.join("beside"), "beside");
    write(tree.join("d/extra"), "extra");
    home.ok(["restore", "tree:d", "--in-place", "--delete"]);
    assert!(tree.join("beside").exists() && !tree.join("d/extra").exists());
    assert_eq!(fs::read(tree.join("d/other")).unwrap(), b"other");

    // Not through a link that has taken the directory's place.
    let elsewhere = home.make_dir("elsewhere");
    fs::remove_dir_all(tree.join("d")).unwrap();
    symlink(&elsewhere, tree.join("d")).unwrap();
    home.run(["restore", "tree:d", "--in-place"]).expect(1).said(&["symbolic link"]);
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
}

#[test]
fn rehash_finds_what_times_hide() {
    let (home, tree) = home(|tree| write(tree.join("file"), noise(1, 100_000)));
    let modified = fs::metadata(tree.join("file")).unwrap().modified().unwrap();
    let file = File::options().write(true).open(tree.join("file")).unwrap();
    file.write_all_at(b"rot", 50_000).unwrap();
    file.set_modified(modified).unwrap();
    in_place(&home, &[]).expect(0);
    assert!(fs::read(tree.join("file")).unwrap() != noise(1, 100_000), "its time says that it is right");
    in_place(&home, &["--verify"]).expect(3).said(&["file", "differs"]);
    in_place(&home, &["--rehash", "--verify"]).expect(0);
    assert!(fs::read(tree.join("file")).unwrap() == noise(1, 100_000));
}

#[test]
fn the_repository_is_never_a_target() {
    let home = Home::with_repository();
    let tree = home.make_dir("tree");
    write(tree.join("file"), "file");
    home.backup(&tree, &["--name", "tree"]);
    let repository = home.repository();
    for target in [repository.clone(), repository.join("packs")] {
        for mode in [&["--in-place", "--delete"][..], &["--exchange"]] {
            let line = args!["restore", "tree", "--to", &target].into_iter().chain(mode.iter().map(Into::into));
            home.run(line).expect(1).said(&["repository"]);
        }
    }
    // A directory that holds it: it is left out of what is deleted, and no exchange takes it away.
    let above = home.path("");
    home.run(args!["restore", "tree", "--to", &above, "--exchange"]).expect(1).said(&["repository"]);
    home.check(&["--read-data"]);
    assert!(differences(&tree, &home.restore("tree", "fresh")).is_empty());
}

#[test]
fn however_many_threads_look_they_see_the_same() {
    let (home, tree) = home(|tree| {
        for n in 0..200 {
            write(tree.join(format!("small/{n:03}")), noise(n, 20_000));
        }
        for n in 0..3 {
            write(tree.join(format!("large {n}")), noise(1000 + n, 20 * MIB));
        }
    });
    let before = copy(&home, &tree, "before");
    for n in (0..200).step_by(7) {
        write(tree.join(format!("small/{n:03}")), text(n, 20_000));
    }
    // Content that moves, within files and among them, stands at several places: the first one counts.
    fs::rename(tree.join("small/001"), tree.join("small/moved")).unwrap();
    fs::copy(tree.join("small/moved"), tree.join("small/moved too")).unwrap();
    let (a, b) = (fs::read(tree.join("large 0")).unwrap(), fs::read(tree.join("large 1")).unwrap());
    write(tree.join("large 0"), [&b[..9 * MIB], &b"between"[..], &a[9 * MIB..]].concat());
    let large = File::options().write(true).open(tree.join("large 2")).unwrap();
    (0..4).for_each(|n| large.write_all_at(b"changed", n * 5 * MIB as u64 + 9).unwrap());
    for more in [&[][..], &["--rehash"], &["--delete"]] {
        let seen = ["1", "2", "7"].map(|threads| {
            let mut seen = in_place(&home, &[&["--dry-run", "--threads", threads], more].concat()).expect(0).json();
            seen.as_object_mut().unwrap().remove("seconds");
            seen
        });
        assert!(actions(&seen[0]).iter().any(|action| action == "rewrite large 2"));
        assert_eq!(seen[0], seen[1]);
        assert_eq!(seen[0], seen[2]);
    }
    in_place(&home, &["--delete", "--threads", "7"]).expect(0);
    assert_same(&before, &tree);
}
