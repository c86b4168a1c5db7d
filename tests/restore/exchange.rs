//! `--exchange`: wholly old or wholly new, and what stood is kept.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use super::backed_up;
use crate::common::{Home, args, assert_same, differences, noise, number, settle, text, write};

fn make(tree: &Path) {
    write(tree.join("a/large"), noise(1, 2 << 20));
    write(tree.join("a/small"), text(2, 3000));
    write(tree.join("b"), "b");
    symlink("a/small", tree.join("link")).unwrap();
    fs::hard_link(tree.join("b"), tree.join("a/b")).unwrap();
}

fn copy(home: &Home, tree: &Path, name: &str) -> PathBuf {
    let to = home.path(name);
    let copied = std::process::Command::new("cp").arg("-a").arg(tree).arg(&to).output().unwrap();
    assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
    to
}

/// What stands beside the tree for its sake.
fn beside(tree: &Path) -> Vec<PathBuf> {
    let name = tree.file_name().unwrap().to_str().unwrap();
    let entries = fs::read_dir(tree.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = entries
        .filter(|path| path != tree && path.file_name().unwrap().to_str().unwrap().contains(&format!("{name}.")))
        .collect();
    found.sort();
    found
}

#[test]
fn a_tree_is_swapped_and_the_old_one_is_kept_until_it_is_dropped() {
    let (home, tree) = backed_up("srv/tree", make);
    let before = copy(&home, &tree, "before");
    write(tree.join("a/small"), "changed");
    write(tree.join("extra"), "extra");
    fs::remove_file(tree.join("b")).unwrap();
    let old = copy(&home, &tree, "old");
    let inode = fs::metadata(tree.join("a/large")).unwrap().ino();

    let rehearsed = home.json(["restore", "tree", "--exchange", "--dry-run"]);
    assert_same(&old, &tree);
    assert!(beside(&tree).is_empty(), "a rehearsal makes nothing");
    assert!(number(&rehearsed["bytes_reused"]) >= 2 << 20, "{rehearsed:#}");

    let report = home.json(["restore", "tree", "--exchange"]);
    assert_same(&before, &tree);
    let kept = PathBuf::from(report["exchanged"][0]["old"].as_str().unwrap());
    assert_eq!(beside(&tree), std::slice::from_ref(&kept));
    assert!(kept.file_name().unwrap().to_str().unwrap().starts_with("tree.before-restore-"));
    assert_same(&old, &kept);
    // What did not change came from the old tree, as a copy: nothing that is changed there shows here.
    assert!(number(&report["bytes_fetched"]) < 1 << 20, "{report:#}");
    assert_ne!(fs::metadata(tree.join("a/large")).unwrap().ino(), inode);
    assert_eq!(fs::metadata(kept.join("a/large")).unwrap().ino(), inode);
    assert_eq!(number(&report["verified"]), number(&report["files"]));

    // A second exchange in the same second has another name.
    home.ok(["restore", "tree", "--exchange"]);
    assert_eq!(beside(&tree).len(), 2);
    let named = home.ok(args!["restore", "--drop-old", &tree, "--dry-run"]).out();
    assert!(beside(&tree).iter().all(|path| named.contains(path.to_str().unwrap())), "{named}");
    assert_eq!(beside(&tree).len(), 2);
    write(home.path("srv/tree.before-restore-mine"), "of somebody");
    home.ok(args!["restore", "--drop-old", &tree]);
    assert_eq!(beside(&tree), [home.path("srv/tree.before-restore-mine")]);
    assert_same(&before, &tree);
}

#[test]
fn a_target_that_is_gone_is_made() {
    let (home, tree) = backed_up("srv/tree", make);
    let before = copy(&home, &tree, "before");
    fs::remove_dir_all(&tree).unwrap();
    let report = home.json(["restore", "tree", "--exchange"]);
    assert!(report["exchanged"][0]["old"].is_null());
    assert_same(&before, &tree);
    assert!(beside(&tree).is_empty());
}

#[test]
fn several_roots_are_swapped_one_after_another() {
    let home = Home::with_repository();
    let (base, mail) = (home.make_dir("srv/base"), home.make_dir("mnt/mail"));
    make(&base);
    write(mail.join("box"), text(9, 9000));
    settle();
    home.ok(args!["backup", &base, &mail, "--name", "app"]);
    let befores = [copy(&home, &base, "base before"), copy(&home, &mail, "mail before")];
    for root in [&base, &mail] {
        fs::remove_dir_all(root).unwrap();
        write(root.join("ruined"), "ruined");
    }
    home.ok(["restore", "app", "--exchange"]);
    for (before, root) in befores.iter().zip([&base, &mail]) {
        assert_same(before, root);
        assert_eq!(fs::read(beside(root)[0].join("ruined")).unwrap(), b"ruined");
    }
    // A directory of one root alone.
    write(base.join("a/small"), "ruined");
    home.ok(["restore", "app:base/a", "--exchange"]);
    assert_eq!(fs::read(base.join("a/small")).unwrap(), text(2, 3000));
    assert_eq!(beside(&base.join("a")).len(), 1);
    home.run(["restore", "app:base/b", "--exchange"]).expect(1).said(&["--in-place"]);
}

#[test]
fn damage_leaves_the_old_tree_where_it_is() {
    let (home, tree) = backed_up("srv/tree", make);
    write(tree.join("a/large"), noise(77, 2 << 20));
    let old = copy(&home, &tree, "old");
    let mut packs = home.objects("packs");
    packs.sort_by_key(|pack| fs::metadata(pack).unwrap().len());
    let largest = packs.last().unwrap();
    let mut bytes = fs::read(largest).unwrap();
    bytes[100] ^= 1;
    fs::remove_file(largest).unwrap();
    fs::write(largest, bytes).unwrap();
    home.run(["restore", "tree", "--exchange"]).expect(1).said(&["a/large", "nothing was exchanged"]);
    assert_same(&old, &tree);
    // What was begun is told and goes with the old trees.
    home.ok(args!["restore", "--drop-old", &tree]);
    assert!(beside(&tree).is_empty());
}

#[test]
fn what_cannot_be_exchanged_is_refused() {
    let home = Home::with_repository();
    let tree = home.make_dir("srv/tree");
    write(tree.join("file"), "file");
    home.backup(&tree, &["--name", "tree"]);
    let Some(disk) = icecore_testkit::SmallDisk::mount(4 << 20) else { return };
    home.run(args!["restore", "tree", "--exchange", "--to", disk.path()])
        .expect(1)
        .said(&["file system", "--in-place"]);
    home.run(args!["restore", "tree", "--exchange", "--to", "/"]).expect(1).said(&["--in-place"]);
    home.run(args!["restore", "tree", "--exchange", "--to", tree.join("file")]).expect(1).said(&["not a directory"]);
    // A link is followed: what it leads to is exchanged, and the link stays.
    symlink(&tree, home.path("link")).unwrap();
    write(tree.join("file"), "changed");
    home.ok(args!["restore", "tree", "--exchange", "--to", home.path("link")]);
    assert!(home.path("link").is_symlink());
    assert_eq!(fs::read(tree.join("file")).unwrap(), b"file");
    assert_eq!(differences(&tree, &home.path("link").join("")), [""; 0]);
}

/// A file system where files can share their bytes, with a tree of 24 MiB that was backed up as `tree`, and its copy.
fn sharing(kind: &str) -> Option<(icecore_testkit::SmallDisk, Home, PathBuf, PathBuf)> {
    let disk = icecore_testkit::SmallDisk::of_kind(kind, 400 << 20)?;
    let home = Home::with_repository();
    let tree = disk.path().join("srv/tree");
    fs::create_dir_all(&tree).unwrap();
    make(&tree);
    for n in 0..3 {
        write(tree.join(format!("large {n}")), noise(n, 8 << 20));
    }
    settle();
    home.backup(&tree, &["--name", "tree"]);
    let exact = copy(&home, &tree, "exact");
    let large = fs::File::options().write(true).open(tree.join("large 1")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&large, b"changed", 5 << 20).unwrap();
    write(tree.join("a/small"), "changed");
    Some((disk, home, tree, exact))
}

fn used(path: &Path) -> u64 {
    let found = rustix::fs::statvfs(path).unwrap();
    (found.f_blocks - found.f_bfree) * found.f_frsize
}

#[test]
fn what_is_the_same_is_shared_where_files_can_share_bytes() {
    for kind in ["xfs", "btrfs"] {
        let Some((disk, home, tree, exact)) = sharing(kind) else { return };
        rustix::fs::sync();
        let before = used(disk.path());
        let report = home.json(["restore", "tree", "--exchange"]);
        assert_same(&exact, &tree);
        let kept = PathBuf::from(report["exchanged"][0]["old"].as_str().unwrap());
        let grown = used(disk.path()) - before;
        assert!(grown < 10 << 20, "{kind}: {grown} more bytes are used for a second tree of 26 MiB");
        // Shared until one is changed, and not a byte longer.
        write(kept.join("large 0"), "changed later");
        assert_same(&exact, &tree);
        fs::remove_dir_all(&tree).unwrap();
        fs::rename(&kept, &tree).unwrap();
        write(tree.join("large 0"), noise(0, 8 << 20));

        // In place, a large file is replaced by its corrected clone, in one step.
        let inode = fs::metadata(tree.join("large 1")).unwrap().ino();
        let report = home.json(["restore", "tree", "--in-place"]);
        assert_same(&exact, &tree);
        assert_ne!(fs::metadata(tree.join("large 1")).unwrap().ino(), inode);
        assert!(number(&report["bytes_fetched"]) < 4 << 20, "{kind}: {report:#}");
    }
}

/// Kills, or fails, the exchange of two roots at each of its steps: two exchanges, then two names for what stood.
#[test]
fn a_crash_between_two_exchanges_is_finished_by_the_next_run() {
    if !icecore_testkit::may_act_as_root("the program is traced") {
        return;
    }
    if std::process::Command::new("strace").arg("-V").output().is_err() {
        return icecore_testkit::skip("strace is not installed");
    }
    let mut seen = Vec::new();
    for step in 1..=4 {
        for fault in ["signal=KILL", "error=EIO"] {
            let home = Home::with_repository();
            let roots = [home.make_dir("srv/base"), home.make_dir("mnt/mail")];
            roots.iter().for_each(|root| make(root));
            settle();
            home.ok(args!["backup", &roots[0], &roots[1], "--name", "app"]);
            let new = [copy(&home, &roots[0], "new 0"), copy(&home, &roots[1], "new 1")];
            for root in &roots {
                write(root.join("b"), "ruined");
                write(root.join("extra"), "extra");
            }
            let old = [copy(&home, &roots[0], "old 0"), copy(&home, &roots[1], "old 1")];
            let mut strace = std::process::Command::new("strace");
            let inject = format!("inject=renameat2:{fault}:when={step}");
            strace.args(["-f", "-o", "/dev/null", "-e", "trace=renameat2", "-e", &inject]);
            let program = home.command(["restore", "app", "--exchange"]);
            strace.arg(program.get_program()).args(program.get_args()).env_clear();
            strace.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
            strace.current_dir(home.path("home"));
            let outcome = crate::common::Running::start(strace).finish();
            assert_ne!(outcome.code(), Some(0), "{outcome}");
            let swapped = roots.iter().filter(|root| !root.join("extra").exists()).count();
            for (n, root) in roots.iter().enumerate() {
                let is = if root.join("extra").exists() { &old[n] } else { &new[n] };
                assert_eq!(differences(is, root), [""; 0], "{fault} at {step}");
            }
            seen.push(swapped);
            home.ok(["restore", "app", "--exchange"]);
            for (n, root) in roots.iter().enumerate() {
                assert_same(&new[n], root);
                let [kept] = &beside(root)[..] else { panic!("{fault} at {step}: {:?}", beside(root)) };
                assert_same(&old[n], kept);
            }
        }
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen, [0, 1, 2], "every step was met");
}
