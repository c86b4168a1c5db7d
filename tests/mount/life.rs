//! From the mount to its end: whoever ends it, nothing is left.

use std::fs::{self, File};
use std::io::{Read, Seek};
use std::os::unix::fs::FileExt;

use rustix::process::Signal;

use super::{Mount, can_mount, is_mounted, until};
use crate::common::{Home, args, noise, settle, write};

/// Names in a directory, sorted.
fn names(path: std::path::PathBuf) -> Vec<String> {
    let entries = fs::read_dir(path).into_iter().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn snapshots_appear_and_vanish_while_it_is_mounted() {
    if !can_mount() {
        return;
    }
    let home = Home::with_repository();
    let tree = home.make_dir("tree");
    write(tree.join("file"), noise(1, 3 << 20));
    settle();
    home.backup(&tree, &["--name", "tree"]);
    let mount = Mount::new(&home, &["--refresh", "1s"]);
    let first = names(mount.path("instances/tree"))[0].clone();
    let mut open = File::open(mount.path("instances/tree").join(&first).join("file")).unwrap();
    let mut head = [0; 1000];
    open.read_exact(&mut head).unwrap();

    write(tree.join("file"), noise(2, 3 << 20));
    settle();
    home.backup(&tree, &["--name", "tree"]);
    home.backup(&tree, &["--name", "new"]);
    until("the snapshots appear", || names(mount.path("instances/tree")).len() == 3);
    until("the instance appears", || names(mount.path("instances")) == ["new", "tree"]);
    assert!(fs::read(mount.path("instances/tree/latest/file")).unwrap() == noise(2, 3 << 20));

    home.ok(["forget", "tree~1", "new"]);
    until("the snapshot vanishes", || !mount.path("instances/tree").join(&first).exists());
    until("the instance vanishes", || names(mount.path("instances")) == ["tree"]);
    assert_eq!(names(mount.path("snapshots")).len(), 1);
    // What is open stays readable as long as its content stands; afterwards it is an error, or what the kernel remembers.
    open.rewind().unwrap();
    let mut bytes = Vec::new();
    open.read_to_end(&mut bytes).unwrap();
    assert!(bytes == noise(1, 3 << 20));
    home.ok(["prune", "--now", "--max-unused", "0"]);
    let mut tail = vec![0; 1000];
    if open.read_exact_at(&mut tail, 2 << 20).is_ok() {
        assert!(tail == noise(1, 3 << 20)[2 << 20..][..1000]);
    }
    // What is still needed was moved by the prune, and is found.
    assert!(fs::read(mount.path("instances/tree/latest/file")).unwrap() == noise(2, 3 << 20));
    drop(open);
    mount.end();
}

#[test]
fn whoever_ends_it_leaves_no_mount_behind() {
    if !can_mount() {
        return;
    }
    let home = Home::with_repository();
    let tree = home.make_dir("tree");
    write(tree.join("file"), noise(1, 3 << 20));
    home.backup(&tree, &["--name", "tree"]);

    let mut mount = Mount::new(&home, &["--snapshot", "tree"]);
    mount.signal(Signal::TERM);
    assert_eq!(mount.wait(), Some(0));
    assert!(!is_mounted(&mount.directory));

    // Somebody else takes it away.
    let mut mount = Mount::new(&home, &["--snapshot", "tree"]);
    rustix::mount::unmount(&mount.directory, rustix::mount::UnmountFlags::empty()).unwrap();
    assert_eq!(mount.wait(), Some(0));

    // In use: it is gone from its directory, and served until it is closed.
    let mut mount = Mount::new(&home, &["--snapshot", "tree"]);
    let mut open = File::open(mount.path("file")).unwrap();
    mount.signal(Signal::INT);
    until("it is unmounted", || !is_mounted(&mount.directory));
    let mut bytes = Vec::new();
    open.read_to_end(&mut bytes).unwrap();
    assert!(bytes == noise(1, 3 << 20));
    drop(open);
    assert_eq!(mount.wait(), Some(0));
    assert!(mount.said().contains("still uses"));

    // In use, and the user does not wait.
    let mut mount = Mount::new(&home, &["--snapshot", "tree"]);
    let open = File::open(mount.path("file")).unwrap();
    mount.signal(Signal::INT);
    until("it is unmounted", || !is_mounted(&mount.directory));
    mount.signal(Signal::INT);
    assert_eq!(mount.wait(), Some(130));
    assert!(!is_mounted(&mount.directory));
    drop(open);

    // Killed: the next one clears it up.
    let mut mount = Mount::new(&home, &["--snapshot", "tree"]);
    mount.signal(Signal::KILL);
    assert_eq!(mount.wait(), None);
    assert!(is_mounted(&mount.directory));
    let again = Mount::new(&home, &["--snapshot", "tree"]);
    assert!(fs::read(again.path("file")).unwrap() == noise(1, 3 << 20));
    again.end();
}

#[test]
fn what_cannot_be_mounted_at_is_told() {
    if !can_mount() {
        return;
    }
    let home = Home::with_repository();
    let tree = home.make_dir("tree");
    write(tree.join("file"), "x");
    home.backup(&tree, &["--name", "tree"]);
    home.run(args!["mount", &tree]).expect(1).said(&["not an empty directory", "name an empty directory"]);
    home.run(args!["mount", home.path("nowhere")]).expect(1).said(&["nowhere", "No such file"]);
    home.run(args!["mount", tree.join("file")]).expect(1).said(&["Not a directory"]);
    home.run(args!["mount", home.make_dir("empty"), "-i", "other"]).expect(1).said(&["no snapshot of other"]);
    home.run(args!["mount", home.path("empty"), "--snapshot", "nothing"]).expect(1).said(&["nothing"]);
    let mount = Mount::new(&home, &[]);
    home.run(args!["mount", &mount.directory]).expect(1).said(&["not an empty directory"]);
    mount.end();
}
