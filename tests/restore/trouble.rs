//! Damage, full disks, and users who may not do everything.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use icecore_testkit::SmallDisk;

use super::backed_up;
use crate::common::{Home, Running, args, assert_same, differences, noise, number, settle, text, write};

const MIB: usize = 1 << 20;

/// Forty small files, and a large one.
fn fill(tree: &Path) {
    for n in 0..40 {
        write(tree.join(format!("{n:02}")), noise(n, 100_000));
    }
    write(tree.join("large"), noise(99, 9 * MIB));
}

/// Flips a bit in the first frame of the largest pack.
fn damage(home: &Home) {
    let mut packs = home.objects("packs");
    packs.sort_by_key(|pack| fs::metadata(pack).unwrap().len());
    let largest = packs.last().unwrap();
    let mut bytes = fs::read(largest).unwrap();
    bytes[100] ^= 1;
    fs::remove_file(largest).unwrap();
    fs::write(largest, bytes).unwrap();
}

#[test]
fn a_damaged_frame_costs_exactly_its_files_and_nothing_is_deleted() {
    let (home, tree) = backed_up("tree", fill);
    damage(&home);
    let changed: Vec<String> = (0..40).map(|n| format!("{n:02}")).chain(["large".to_owned()]).collect();
    for name in &changed {
        let bytes = fs::read(tree.join(name)).unwrap();
        write(tree.join(name), [&b"changed"[..], &bytes[7..]].concat());
    }
    write(tree.join("extra"), "the last copy of something");
    let report = home.run(["restore", "tree", "--in-place", "--delete", "--json"]).expect(3).json();
    let lost: Vec<_> = report["missing"].as_array().unwrap().iter().map(|one| one["path"].as_str().unwrap()).collect();
    assert!((1..20).contains(&lost.len()), "{lost:?}");
    for n in 0..40_u64 {
        let name = format!("{n:02}");
        let bytes = fs::read(tree.join(&name)).unwrap();
        let old = [&b"changed"[..], &noise(n, 100_000)[7..]].concat();
        // Wholly new, or, where that cannot be had, wholly old.
        assert!(bytes == if lost.contains(&&*name) { old } else { noise(n, 100_000) }, "{name}");
    }
    assert!(tree.join("extra").exists(), "nothing is deleted while anything is missing");
    assert_eq!(number(&report["actions_count"]["extra"]), 1, "{report:#}");
}

#[test]
fn damage_costs_the_same_files_in_every_mode_and_a_half_is_never_left() {
    let (home, tree) = backed_up("tree", |tree| {
        fill(tree);
        fs::hard_link(tree.join("05"), tree.join("zz")).unwrap();
    });
    let exact = home.path("exact");
    assert!(Command::new("cp").arg("-a").arg(&tree).arg(&exact).status().unwrap().success());
    // One frame of the small files, one of the large one.
    damage(&home);
    let mut packs = home.objects("packs");
    packs.sort_by_key(|pack| fs::metadata(pack).unwrap().len());
    let mut bytes = fs::read(packs.last().unwrap()).unwrap();
    let late = bytes.len() / 4 * 3;
    bytes[late] ^= 1;
    fs::remove_file(packs.last().unwrap()).unwrap();
    fs::write(packs.last().unwrap(), bytes).unwrap();

    let lost = |report: &serde_json::Value| -> Vec<String> {
        let missing = report["missing"].as_array().unwrap().iter();
        let mut paths: Vec<_> = missing.map(|one| one["path"].as_str().unwrap().to_owned()).collect();
        paths.sort();
        paths
    };
    let names: Vec<String> =
        fs::read_dir(&exact).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    let is_exact = |to: &Path, name: &str| fs::read(to.join(name)).ok() == fs::read(exact.join(name)).ok();
    let to = home.path("to");
    let expected = lost(&home.run(args!["restore", "tree", "--to", &to, "--json"]).expect(3).json());
    assert!(expected.contains(&"large".to_owned()) && (3..20).contains(&expected.len()), "{expected:?}");
    for name in &names {
        assert_eq!(to.join(name).exists(), !expected.contains(name), "{name}");
        assert!(expected.contains(name) || is_exact(&to, name), "{name}");
    }

    // Every file is changed at its beginning and at its end: the large one would be poured into.
    for name in names.iter().filter(|name| **name != "zz") {
        let bytes = fs::read(tree.join(name)).unwrap();
        write(tree.join(name), [&b"changed"[..], &bytes[7..bytes.len() - 7], b"changed"].concat());
    }
    let old = home.path("old");
    assert!(Command::new("cp").arg("-a").arg(&tree).arg(&old).status().unwrap().success());
    let all = |report: &serde_json::Value| {
        // What is right in its place need not be fetched: the frame of the large file's middle may not be needed.
        let found = lost(report);
        assert!(found.iter().all(|name| expected.contains(name)), "{found:?} is more than {expected:?}");
        found
    };
    let report = home.run(["restore", "tree", "--exchange", "--json"]).expect(1).json();
    let missing = all(&report);
    assert_eq!(number(&report["missing_count"]), missing.len() as u64);
    assert_eq!(differences(&old, &tree), [""; 0], "nothing was exchanged");
    home.ok(args!["restore", "--drop-old", &tree]);

    for more in [&["--delete"][..], &["--delete", "--rehash"], &["--verify"]] {
        let line = ["restore", "tree", "--in-place", "--json"].iter().chain(more);
        let missing = all(&home.run(line).expect(3).json());
        assert!(!missing.is_empty());
        for name in &names {
            let side = if missing.contains(name) { &old } else { &exact };
            assert!(fs::read(tree.join(name)).unwrap() == fs::read(side.join(name)).unwrap(), "{name} with {more:?}");
            let time = |to: &Path| fs::metadata(to.join(name)).unwrap().modified().unwrap();
            assert!(!missing.contains(name) || time(&tree) != time(&exact), "{name} looks exact with {more:?}");
        }
    }
    // What is lost and stands under another name is taken from there.
    for name in expected.iter().filter(|name| *name != "zz") {
        fs::copy(exact.join(name), tree.join(format!("saved {name}"))).unwrap();
    }
    home.ok(["restore", "tree", "--in-place", "--delete"]);
    assert_same(&exact, &tree);
}

#[test]
fn a_disk_that_is_too_small_is_told_beforehand() {
    let (home, _) = backed_up("tree", |tree| {
        for n in 0..12 {
            write(tree.join(format!("{n:02}")), noise(n, MIB));
        }
    });
    for disk in [SmallDisk::mount(8 * MIB as u64), SmallDisk::of_kind("ext4", 14 * MIB as u64)] {
        let Some(disk) = disk else { return };
        too_small(&home, &disk.path().join("to"));
    }
}

fn too_small(home: &Home, to: &Path) {
    for more in [&[][..], &["--dry-run"], &["--in-place"], &["--exchange"]] {
        let line = args!["restore", "tree", "--to", to].into_iter().chain(more.iter().map(Into::into));
        home.run(line).expect(1).said(&["No space left", "12582912"]);
        assert!(
            fs::read_dir(to)
                .into_iter()
                .flatten()
                .all(|entry| !entry.unwrap().path().is_file() || more == ["--in-place"])
        );
    }
}

#[test]
fn a_disk_that_fills_up_leaves_the_old_tree_and_the_run_goes_on_when_there_is_room() {
    let (home, tree) = backed_up("tree", |tree| {
        // Many small files: their inodes and the ends of their last pages are not foreseen.
        for n in 0..2500 {
            write(tree.join(format!("{n:04}")), text(n, 500));
        }
    });
    let Some(disk) = SmallDisk::mount(5 * MIB as u64) else { return };
    let to = disk.path().join("to");
    write(to.join("old"), "old");
    home.run(args!["restore", "tree", "--exchange", "--to", &to]).expect(1).said(&["No space left"]);
    assert_eq!(fs::read_dir(&to).unwrap().count(), 1);
    assert_eq!(fs::read(to.join("old")).unwrap(), b"old");
    let remount = |size: usize| {
        let options = format!("remount,size={}", size * MIB);
        assert!(Command::new("mount").args(["-o", &options]).arg(disk.path()).status().unwrap().success());
    };
    remount(40);
    home.ok(args!["restore", "tree", "--exchange", "--to", &to]);
    assert_same(&tree, &to);

    // The same in a new directory.
    home.ok(args!["restore", "--drop-old", &to]);
    fs::remove_dir_all(&to).unwrap();
    remount(5);
    home.run(args!["restore", "tree", "--to", &to]).expect(1).said(&["No space left"]);
    assert!(fs::read_dir(&to).unwrap().count() > 100);
    remount(40);
    let report = home.json(args!["restore", "tree", "--to", &to]);
    assert!(number(&report["actions_count"]["keep"]) > 100, "{report:#}");
    assert_same(&tree, &to);
}

#[test]
fn a_real_disk_that_fills_up_leaves_the_old_tree_and_what_stands_in_place() {
    let home = Home::with_repository();
    let Some(disk) = SmallDisk::of_kind("ext4", 12 * MIB as u64) else { return };
    let tree = disk.path().join("tree");
    write(tree.join("large"), noise(1, 2 * MIB));
    for n in 0..1800 {
        write(tree.join(format!("{n:04}")), text(n, 300));
    }
    settle();
    home.backup(&tree, &["--name", "tree"]);
    write(tree.join("large"), noise(2, 2 * MIB));
    fs::remove_file(tree.join("0000")).unwrap();
    let old = home.path("old");
    assert!(Command::new("cp").arg("-a").arg(&tree).arg(&old).status().unwrap().success());
    // There are bytes enough for a second tree, but not inodes, which nobody counts beforehand.
    let outcome = home.run(["restore", "tree", "--exchange"]).expect(1).said(&["No space left"]);
    assert!(!outcome.err().contains("are needed at least"), "{outcome}");
    assert_eq!(differences(&old, &tree), [""; 0]);
    // What was begun is in the way of nothing.
    home.ok(args!["restore", "--drop-old", &tree]);
    let filler = disk.path().join("filler");
    let free = rustix::fs::statvfs(disk.path()).unwrap();
    write(&filler, noise(3, (free.f_bavail * free.f_frsize) as usize - MIB));
    // The large file is rewritten beside; there is no room for that.
    home.run(["restore", "tree", "--in-place"]).expect(1).said(&["No space left"]);
    assert!(fs::read(tree.join("large")).unwrap() == noise(2, 2 * MIB), "what stood stands");
    fs::remove_file(&filler).unwrap();
    home.ok(["restore", "tree", "--in-place"]);
    assert!(fs::read(tree.join("large")).unwrap() == noise(1, 2 * MIB));
    home.ok(["restore", "tree", "--in-place", "--rehash", "--verify"]);
}

#[test]
fn an_interrupted_restore_of_something_else_is_not_mixed_with() {
    let (home, tree) = backed_up("tree", |tree| {
        for n in 0..2500 {
            write(tree.join(format!("a/{n:04}")), text(n, 500));
        }
    });
    write(tree.join("a/0000"), "changed");
    home.backup(&tree, &["--name", "tree"]);
    let Some(disk) = SmallDisk::mount(5 * MIB as u64) else { return };
    let to = disk.path().join("to");
    home.run(args!["restore", "tree", "--to", &to]).expect(1).said(&["No space left"]);
    let options = format!("remount,size={}", 40 * MIB);
    assert!(Command::new("mount").args(["-o", &options]).arg(disk.path()).status().unwrap().success());
    for other in ["tree~1", "tree:a"] {
        home.run(args!["restore", other, "--to", &to]).expect(1).said(&["interrupted restore", "--in-place"]);
    }
    // In place it is used, and what it left is cleared away.
    let digits = &home.json(["show", "tree"])["snapshot"]["id"].as_str().unwrap()[..16].to_owned();
    write(to.join(format!("a/.icecore-restore-{digits}.7")), "half a file");
    write(to.join(".icecore-restore-mine"), "of somebody");
    let report = home.json(args!["restore", "tree~1", "--in-place", "--to", &to]);
    assert!(number(&report["actions_count"]["keep"]) > 100, "{report:#}");
    assert_eq!(number(&report["actions_count"]["extra"]), 1, "{report:#}");
    fs::remove_file(to.join(".icecore-restore-mine")).unwrap();
    let report = home.json(args!["restore", "tree", "--in-place", "--to", &to]);
    assert_eq!(number(&report["actions_count"]["rewrite"]), 1, "{report:#}");
    assert_same(&tree, &to);
    // It has ended: another one into it is refused as into any directory.
    home.run(args!["restore", "tree", "--to", &to]).expect(1).said(&["not empty"]);
}

/// Says that the machine was started since the text in this file was written.
fn start_anew(file: &Path, boot: &str) {
    let text = fs::read(file).unwrap();
    let at = text.windows(boot.len()).position(|window| window == boot.as_bytes()).expect("the start is recorded");
    let changed = [&text[..at], &b"x".repeat(boot.len()), &text[at + boot.len()..]].concat();
    fs::write(file, changed).unwrap();
}

fn files_below(directory: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

#[test]
fn what_was_written_before_a_power_cut_is_not_taken_for_its_time() {
    let (home, tree) = backed_up("tree", |tree| {
        for n in 0..2500 {
            write(tree.join(format!("{n:04}")), text(n, 500));
        }
    });
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    for exchange in [false, true] {
        let Some(disk) = SmallDisk::mount(5 * MIB as u64) else { return };
        let to = disk.path().join("to");
        let mut line = args!["restore", "tree", "--to", &to].to_vec();
        line.extend(exchange.then(|| "--exchange".into()));
        home.run(&line).expect(1).said(&["No space left"]);
        // As file systems do that write names and times before content.
        let restored = files_below(disk.path());
        let lost: Vec<_> = restored.iter().filter(|path| path.to_str().unwrap().ends_with("00")).take(3).collect();
        assert_eq!(lost.len(), 3);
        for path in lost {
            let found = fs::metadata(path).unwrap();
            fs::write(path, vec![0; found.len() as usize]).unwrap();
            fs::File::options().write(true).open(path).unwrap().set_modified(found.modified().unwrap()).unwrap();
        }
        let records = files_below(&home.path("home/.local/state")).into_iter().chain(restored);
        let is_record =
            |path: &std::path::PathBuf| path.ends_with("journal") || path.parent().unwrap().ends_with("restores");
        let records: Vec<_> = records.filter(is_record).collect();
        assert_eq!(records.len(), 1, "{records:?}");
        start_anew(&records[0], boot.trim());
        let options = format!("remount,size={}", 40 * MIB);
        assert!(Command::new("mount").args(["-o", &options]).arg(disk.path()).status().unwrap().success());
        let report = home.json(line.iter());
        assert_same(&tree, &to);
        assert!(number(&report["actions_count"]["rewrite"]) >= 3, "{report:#}");
        assert!(number(&report["actions_count"]["keep"]) > 100, "{report:#}");
    }
}

/// Runs the program as the user `nobody`.
fn as_nobody(home: &Home, line: &[std::ffi::OsString]) -> crate::common::Outcome {
    let command = home.command(line);
    let mut wrapped = Command::new("setpriv");
    wrapped.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"]);
    wrapped.arg(command.get_program()).args(command.get_args()).env_clear();
    wrapped.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    wrapped.current_dir(command.get_current_dir().unwrap());
    Running::start(wrapped).finish()
}

#[test]
fn a_normal_user_is_told_once_what_could_not_be_set_and_changes_what_is_read_only() {
    if !icecore_testkit::may_act_as_root("becoming another user needs root") {
        return;
    }
    let (home, tree) = backed_up("tree", |tree| {
        for n in 0..5 {
            write(tree.join(format!("{n}")), text(n, 3000));
        }
        write(tree.join("locked/inside"), "inside");
    });
    let give = |path: &Path| {
        let given = Command::new("chown").arg("-R").arg("65534:65534").arg(path).status().unwrap();
        assert!(given.success());
    };
    give(&home.path(""));
    let to = home.path("to");
    let outcome = as_nobody(&home, &args!["restore", "tree", "--to", &to]).expect(3).said(&["the owner of 8 entries"]);
    assert_eq!(outcome.err().matches("the owner").count(), 1, "{outcome}");

    // Files and directories that their owner made read-only.
    for (name, mode) in [("0", 0o444), ("locked/inside", 0o400), ("locked", 0o555)] {
        write(to.join(name).with_extension("").parent().unwrap().join("unused"), "");
        fs::set_permissions(to.join(name), PermissionsExt::from_mode(mode)).unwrap();
    }
    give(&to);
    as_nobody(&home, &args!["restore", "tree", "--in-place", "--delete", "--rehash", "--to", &to]).expect(3);
    assert_eq!(fs::read(to.join("0")).unwrap(), text(0, 3000));
    let found = differences(&tree, &to);
    assert!(found.iter().all(|line| line.contains("owner")), "{found:#?}");
    assert_eq!(fs::metadata(to.join("locked")).unwrap().mode(), fs::metadata(tree.join("locked")).unwrap().mode());
}
