//! What is mounted is what was backed up.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::{Mount, can_mount};
use crate::common::{Home, args, assert_same, differences, noise, settle, text, write};

const MIB: usize = 1 << 20;

/// A tree with one of everything.
fn everything(tree: &Path) {
    write(tree.join("dir/plain"), text(1, 100_000));
    write(tree.join("large"), noise(2, 9 * MIB));
    write(tree.join("empty"), "");
    fs::hard_link(tree.join("dir/plain"), tree.join("another name")).unwrap();
    fs::hard_link(tree.join("dir/plain"), tree.join("zz")).unwrap();
    let sparse = File::create(tree.join("sparse")).unwrap();
    sparse.set_len(40 << 20).unwrap();
    sparse.write_all_at(&noise(3, 300_000), 7_000_001).unwrap();
    for odd in [&b"line\nbreak"[..], b"\xff\xfe", b"-dash", b" ", b"%41", &[b'n'; 255]] {
        write(tree.join("odd").join(OsStr::from_bytes(odd)), odd);
    }
    std::os::unix::fs::symlink("../nowhere", tree.join("link")).unwrap();
    fs::set_permissions(tree.join("empty"), fs::Permissions::from_mode(0o4751)).unwrap();
    let old = std::time::UNIX_EPOCH - std::time::Duration::from_millis(1500);
    File::options().write(true).open(tree.join("empty")).unwrap().set_modified(old).unwrap();
    for (program, arguments) in [
        ("mkfifo", &["fifo"][..]),
        ("mknod", &["device", "c", "1", "3"]),
        ("chown", &["12:34", "large"]),
        ("setfattr", &["-n", "user.note", "-v", "kept", "large"]),
        ("setfattr", &["-n", "trusted.note", "-v", "root's", "dir"]),
        ("setfacl", &["-m", "u:7:rw,g:8:-", "large"]),
        ("setfacl", &["-d", "-m", "u:7:rwx", "dir"]),
    ] {
        let status = Command::new(program).args(arguments).current_dir(tree).status();
        assert!(status.is_ok_and(|status| status.success()), "{program} {arguments:?}");
    }
}

#[test]
fn nothing_differs_from_what_was_backed_up() {
    if !can_mount() {
        return;
    }
    let home = Home::with_repository();
    let (one, other) = (home.make_dir("one"), home.make_dir("other"));
    everything(&one);
    write(other.join("file"), text(5, 5000));
    fs::hard_link(one.join("large"), other.join("shared with the other root")).unwrap();
    settle();
    home.backup(&one, &["--name", "one"]);
    home.json(args!["backup", &one, &other, "--name", "a/b"]);
    let mount = Mount::new(&home, &[]);
    assert_same(&one, &fs::canonicalize(mount.path("instances/one/latest")).unwrap());
    let both = mount.path("instances/a%2Fb/latest");
    assert_same(&one, &both.join("one"));
    assert_eq!(fs::metadata(both.join("other/file")).unwrap().nlink(), 1);
    assert_eq!(
        fs::metadata(both.join("other/shared with the other root")).unwrap().ino(),
        fs::metadata(both.join("one/large")).unwrap().ino()
    );

    // Ids lead to the same; every inode number stands for one inode.
    let mut inodes: HashMap<u64, (u64, u64)> = HashMap::new();
    for link in fs::read_dir(mount.path("snapshots")).unwrap() {
        let snapshot = fs::canonicalize(link.unwrap().path()).unwrap();
        let mut pending = vec![snapshot];
        while let Some(path) = pending.pop() {
            let stat = fs::symlink_metadata(&path).unwrap();
            let known = *inodes.entry(stat.ino()).or_insert((stat.size(), stat.nlink()));
            assert_eq!(known, (stat.size(), stat.nlink()), "{}", path.display());
            if stat.is_dir() {
                pending.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            }
        }
    }
    assert!(inodes.len() > 30, "{}", inodes.len());

    let (sparse, original) = (mount.path("instances/one/latest/sparse"), one.join("sparse"));
    let blocks = [&sparse, &original].map(|path| fs::metadata(path).unwrap().blocks());
    assert!(blocks[0].abs_diff(blocks[1]) <= 64, "{blocks:?}");
    assert!(fs::write(mount.path("instances/one/latest/empty"), "no").is_err(), "read-only");
    assert_eq!(mount.end(), "");
}

#[test]
fn one_snapshot_stands_at_the_top() {
    if !can_mount() {
        return;
    }
    let home = Home::with_repository();
    let tree = home.make_dir("tree");
    everything(&tree);
    settle();
    home.backup(&tree, &["--name", "tree"]);
    write(tree.join("later"), "x");
    home.backup(&tree, &["--name", "tree"]);
    home.backup(&tree, &["--name", "other"]);
    fs::remove_file(tree.join("later")).unwrap();
    // The directory's own time has changed with that.
    let mount = Mount::new(&home, &["--snapshot", "tree~1"]);
    let found = differences(&tree, &mount.directory);
    assert!(found.iter().all(|difference| difference.starts_with(": modified")), "{found:#?}");
    assert_eq!(mount.end(), "");
    let mount = Mount::new(&home, &["-i", "tree"]);
    let names: Vec<_> =
        fs::read_dir(mount.path("instances")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["tree"]);
    assert_eq!(fs::read_dir(mount.path("snapshots")).unwrap().count(), 2);
    assert!(mount.path("instances/tree/latest/later").exists());
    assert_eq!(mount.end(), "");
}

/// A cache that holds a frame or two, so that everything is read again and again.
#[test]
fn any_range_of_a_file_is_what_it_was() {
    if !can_mount() {
        return;
    }
    let home = Home::with_repository();
    let tree = home.make_dir("tree");
    write(tree.join("noise"), noise(1, 11 * MIB + 17));
    write(tree.join("text"), text(2, 5 * MIB + 1));
    let sparse = File::create(tree.join("sparse")).unwrap();
    for at in 0..60 {
        sparse.write_all_at(&noise(at, 30_000), at * 400_003).unwrap();
    }
    settle();
    home.backup(&tree, &["--name", "tree"]);
    for cache in ["1", "8M"] {
        let mount = Mount::new(&home, &["--snapshot", "tree", "--cache", cache]);
        for name in ["noise", "text", "sparse"] {
            let (exact, file) = (fs::read(tree.join(name)).unwrap(), File::open(mount.path(name)).unwrap());
            let ranges = (any::<prop::sample::Index>(), 1..700_000_usize);
            let mut runner =
                TestRunner::new(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(40) });
            runner
                .run(&ranges, |(at, len)| {
                    let at = at.index(exact.len());
                    let end = exact.len().min(at + len);
                    let mut bytes = vec![0; end - at];
                    file.read_exact_at(&mut bytes, at as u64).unwrap();
                    prop_assert!(bytes == exact[at..end], "{} bytes from {}", len, at);
                    Ok(())
                })
                .unwrap();
            assert!(fs::read(mount.path(name)).unwrap() == exact, "{name}");
        }
        assert_eq!(mount.end(), "");
    }
}

#[test]
fn a_directory_of_many_names_is_listed_from_wherever_it_is_left() {
    if !can_mount() {
        return;
    }
    const NAMES: usize = 20_000;
    let home = Home::with_repository();
    let tree = home.make_dir("tree");
    let many = home.make_dir("tree/many");
    for n in 0..NAMES {
        if n % 10 == 0 {
            write(many.join(format!("name {n}/below")), "");
        } else {
            File::create(many.join(format!("name {n}"))).unwrap();
        }
    }
    settle();
    home.backup(&tree, &["--name", "tree"]);
    let mount = Mount::new(&home, &["--snapshot", "tree"]);
    let read = fs::read_dir(mount.path("many")).unwrap().map(|entry| entry.unwrap().file_name());
    let names: HashSet<_> = read.collect();
    assert_eq!(names.len(), NAMES);
    // Two at once, one of which goes back to places that it was at.
    let directory = File::open(mount.path("many")).unwrap();
    let mut listed = rustix::fs::Dir::read_from(&directory).unwrap();
    let first: Vec<_> = listed.by_ref().map(|entry| entry.unwrap().file_name().to_owned()).collect();
    listed.rewind();
    let second: Vec<_> = listed.map(|entry| entry.unwrap().file_name().to_owned()).collect();
    assert_eq!((first.len(), &first), (NAMES + 2, &second));
    drop(directory);
    assert_eq!(mount.end(), "");
}
