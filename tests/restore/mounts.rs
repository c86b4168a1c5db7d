//! What is mounted below a target is nobody's to move or to delete.

use std::fs;
use std::process::Command;

use icecore_testkit::SmallDisk;

use crate::common::{Home, args, settle, write};

/// A tree that was backed up as `tree` without what is mounted at `uploads`, and holds more than the snapshot by now.
fn scene() -> Option<(SmallDisk, Home)> {
    let disk = SmallDisk::of_kind("ext4", 16 << 20)?;
    let home = Home::with_repository();
    write(home.path("tree/file"), "file");
    let uploads = home.make_dir("tree/uploads");
    write(disk.path().join("photo"), "the only one");
    assert!(Command::new("mount").arg("--bind").arg(disk.path()).arg(&uploads).status().unwrap().success());
    settle();
    home.ok(args!["backup", "--one-file-system", "--name", "tree", home.path("tree")]);
    write(home.path("tree/extra"), "one too many");
    Some((disk, home))
}

fn unmount(home: &Home) {
    assert!(Command::new("umount").arg(home.path("tree/uploads")).status().unwrap().success());
}

#[test]
fn in_place_deletes_nothing_of_it() {
    let Some((disk, home)) = scene() else { return };
    home.ok(["restore", "tree", "--in-place", "--delete"]);
    unmount(&home);
    assert!(!home.path("tree/extra").exists());
    assert_eq!(fs::read(disk.path().join("photo")).unwrap(), b"the only one");
}

#[test]
fn an_exchange_is_refused() {
    let Some((disk, home)) = scene() else { return };
    home.run(["restore", "tree", "--exchange"]).expect(1).said(&["another file system", "--in-place"]);
    unmount(&home);
    assert!(home.path("tree/extra").exists());
    assert_eq!(fs::read(disk.path().join("photo")).unwrap(), b"the only one");
    home.ok(["restore", "tree", "--exchange"]);
    // Mounted where the old tree stands now, it survives that tree.
    let old = fs::read_dir(home.path("")).unwrap().map(|entry| entry.unwrap().path());
    let old =
        old.into_iter().find(|path| path.display().to_string().contains(".before-restore-")).expect("an old tree");
    let uploads = old.join("uploads");
    assert!(Command::new("mount").arg("--bind").arg(disk.path()).arg(&uploads).status().unwrap().success());
    let outcome = home.run(args!["restore", "--drop-old", home.path("tree")]);
    assert!(Command::new("umount").arg(&uploads).status().unwrap().success());
    outcome.expect(3).said(&["uploads", "another file system"]);
    assert_eq!(fs::read(disk.path().join("photo")).unwrap(), b"the only one");
}
