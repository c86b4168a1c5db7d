//! What was backed up comes back, whatever it is.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, Timespec, Timestamps, XattrFlags, lsetxattr, makedev, mkdirat, mknodat,
    openat, symlinkat, utimensat,
};
use rustix::io::Errno;

use crate::common::{Home, args, assert_same, differences, noise, number, text, write};

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Sets the modification time, of a link itself too.
fn set_time(path: &Path, seconds: i64, nanos: i64) {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanos as _ };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// Makes one of each kind of entry in a new directory.
fn make_zoo(zoo: &Path) {
    write(zoo.join("file"), text(1, 300_000));
    write(zoo.join("opaque"), noise(2, 700_000));
    write(zoo.join("empty"), "");
    fs::create_dir_all(zoo.join("empty directory")).unwrap();
    write(zoo.join("a/b/c/deep"), "deep");
    make_links(zoo);
    make_special_files(zoo);
    make_holes(&zoo.join("sparse"), 8 << 20, &[(1 << 20, b"island"), ((8 << 20) - 3, b"end")]);
    make_modes(zoo);
    make_owners(zoo);
    make_attributes(zoo);
    make_times(zoo);
}

fn make_links(zoo: &Path) {
    symlink("file", zoo.join("link")).unwrap();
    symlink("no/such/../place", zoo.join("dangling")).unwrap();
    symlink(OsStr::from_bytes(b"\xff\n"), zoo.join("link to no text")).unwrap();
    symlink("x".repeat(4000), zoo.join("long link")).unwrap();
    write(zoo.join("z/first"), text(3, 50_000));
    for name in ["a/second", "a/b/third", "fourth"] {
        fs::hard_link(zoo.join("z/first"), zoo.join(name)).unwrap();
    }
    write(zoo.join("empty one"), "");
    fs::hard_link(zoo.join("empty one"), zoo.join("a/empty two")).unwrap();
    // This does not follow the link: it gives it another name.
    fs::hard_link(zoo.join("link"), zoo.join("z/link")).unwrap();
}

fn make_special_files(zoo: &Path) {
    let make = |name, kind, mode, device| mknodat(CWD, zoo.join(name), kind, Mode::from_raw_mode(mode), device);
    make("fifo", FileType::Fifo, 0o620, 0).unwrap();
    fs::hard_link(zoo.join("fifo"), zoo.join("a/fifo")).unwrap();
    UnixListener::bind(zoo.join("socket")).unwrap();
    let made = make("character", FileType::CharacterDevice, 0o600, makedev(1, 3))
        .and_then(|()| make("block", FileType::BlockDevice, 0o640, makedev(259, 70_000)));
    match made {
        Ok(()) => fs::hard_link(zoo.join("block"), zoo.join("z/block")).unwrap(),
        Err(Errno::PERM) => icecore_testkit::skip("devices cannot be made here"),
        Err(error) => panic!("{error}"),
    }
}

/// Makes a file of holes but for these pieces.
fn make_holes(path: &Path, size: u64, pieces: &[(u64, &[u8])]) {
    let file = File::create(path).unwrap();
    file.set_len(size).unwrap();
    pieces.iter().for_each(|(offset, bytes)| file.write_all_at(bytes, *offset).unwrap());
}

fn make_modes(zoo: &Path) {
    for (name, mode) in [("setuid", 0o4755), ("setgid", 0o2711), ("forbidden", 0o000), ("read only", 0o444)] {
        write(zoo.join(name), name);
        fs::set_permissions(zoo.join(name), PermissionsExt::from_mode(mode)).unwrap();
    }
    for (name, mode) in [("sticky", 0o1777), ("group", 0o2750), ("locked", 0o555)] {
        write(zoo.join(name).join("inside"), name);
        fs::set_permissions(zoo.join(name), PermissionsExt::from_mode(mode)).unwrap();
    }
    if !is_root() {
        // Its owner could not read it either, which is another test's matter.
        fs::remove_file(zoo.join("forbidden")).unwrap();
    }
}

fn make_owners(zoo: &Path) {
    if !is_root() {
        icecore_testkit::skip("only root gives files away");
        return;
    }
    // One with a name on every system, one that surely has none, and setuid of another.
    for (name, uid, gid, mode) in [
        ("of daemon", 1, 1, 0o644),
        ("of nobody", 3_000_000_001, 3_000_000_002, 0o600),
        ("setuid of daemon", 1, 0, 0o4711),
    ] {
        write(zoo.join(name), name);
        std::os::unix::fs::chown(zoo.join(name), Some(uid), Some(gid)).unwrap();
        fs::set_permissions(zoo.join(name), PermissionsExt::from_mode(mode)).unwrap();
    }
    std::os::unix::fs::lchown(zoo.join("dangling"), Some(1), Some(3_000_000_002)).unwrap();
    std::os::unix::fs::lchown(zoo.join("fifo"), Some(1), Some(1)).unwrap();
}

/// A POSIX ACL as the kernel takes it: version 2, then tag, permissions and id of each entry, sorted.
fn acl(group: u16) -> Vec<u8> {
    const NOBODY: u32 = u32::MAX;
    let entries = [(0x01, 7, NOBODY), (0x02, 4, 1), (0x04, group, NOBODY), (0x10, 7, NOBODY), (0x20, 0, NOBODY)];
    let mut bytes = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        bytes.extend_from_slice(&u16::to_le_bytes(tag));
        bytes.extend_from_slice(&u16::to_le_bytes(permissions));
        bytes.extend_from_slice(&u32::to_le_bytes(id));
    }
    bytes
}

fn make_attributes(zoo: &Path) {
    let set = |path: &str, name: &str, value: &[u8]| match lsetxattr(zoo.join(path), name, value, XattrFlags::empty()) {
        Ok(()) => {}
        Err(Errno::NOTSUP | Errno::PERM) => icecore_testkit::skip(&format!("no {name} can be set here")),
        Err(error) => panic!("{name} of {path}: {error}"),
    };
    for path in ["file", "empty directory", "z/first", ""] {
        set(path, "user.note", b"\0binary\xff");
        set(path, "user.empty", b"");
    }
    set("opaque", "user.large", &noise(9, 2000));
    set("file", "system.posix_acl_access", &acl(5));
    set("a", "system.posix_acl_access", &acl(7));
    set("a", "system.posix_acl_default", &acl(4));
    if is_root() {
        // Cleared by a change of owner, so that the order of a restore matters.
        let capability = [&0x0200_0000u32.to_le_bytes()[..], &0x0400u32.to_le_bytes(), &[0; 12]].concat();
        set("setuid", "security.capability", &capability);
        for path in ["link", "dangling"] {
            set(path, "trusted.note", b"of a link");
        }
    }
}

fn make_times(zoo: &Path) {
    set_time(&zoo.join("file"), 1_234_567_890, 123_456_789);
    set_time(&zoo.join("empty"), -86_400, 1); // 1969
    set_time(&zoo.join("opaque"), 0, 0);
    set_time(&zoo.join("sparse"), 4_102_444_800, 999_999_999); // 2100
    for (nanos, path) in (1..).zip(["link", "dangling", "fifo", "a/b/c", "a/b", "a", "empty directory", "locked", ""]) {
        set_time(&zoo.join(path), 1_600_000_000, nanos);
    }
}

#[test]
fn every_kind_of_entry_comes_back() {
    let home = Home::with_repository();
    let zoo = home.make_dir("zoo");
    make_zoo(&zoo);
    let report = home.backup(&zoo, &[]);
    assert_eq!(report["snapshot"]["problem_count"], 0, "{report:#}");
    assert_eq!(report["snapshot"]["verdict"], "stable");
    let restored = home.restore("latest", "restored");
    assert_same(&zoo, &restored);
    let blocks = |path: PathBuf| fs::metadata(path).unwrap().blocks();
    assert_eq!(blocks(restored.join("sparse")), blocks(zoo.join("sparse")), "holes stay holes");

    // What was restored is as good as what was backed up.
    home.backup(&restored, &[]);
    assert_same(&zoo, &home.restore("latest", "again"));
    home.check(&["--read-data"]);
}

#[test]
fn the_comparison_sees_each_difference() {
    let home = Home::new();
    let (left, right) = (home.make_dir("left"), home.make_dir("right"));
    let both = |name: &str, bytes: &[u8]| [&left, &right].map(|side| write(side.join(name), bytes));
    both("content", b"one");
    both("mode", b"");
    both("time", b"");
    both("x/link", b"l");
    both("attribute", b"");
    write(left.join("more"), "");
    write(right.join("content"), "two");
    fs::set_permissions(right.join("mode"), PermissionsExt::from_mode(0o601)).unwrap();
    fs::hard_link(left.join("x/link"), left.join("x/link2")).unwrap();
    write(right.join("x/link2"), "l");
    lsetxattr(left.join("attribute"), "user.a", b"b", XattrFlags::empty()).unwrap();
    for side in [&left, &right] {
        for name in ["content", "mode", "time", "x/link", "x/link2", "attribute", "x", ""] {
            set_time(&side.join(name), 1, 0);
        }
    }
    set_time(&right.join("time"), 1, 1);
    let found = differences(&left, &right);
    let words = ["content from byte", "mode", "modified", "hard link of", "extended attributes", "exists"];
    assert_eq!(found.len(), words.len(), "{found:#?}");
    for word in words {
        assert!(found.iter().any(|line| line.contains(word)), "{word}: {found:#?}");
    }
}

/// A chain of directories deeper than a path can name: made step by step.
fn make_chain(top: &Path, names: &[Vec<u8>]) {
    let mut directory = File::open(top).unwrap();
    for name in names {
        let name = OsStr::from_bytes(name);
        mkdirat(&directory, name, Mode::from_raw_mode(0o755)).unwrap();
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        directory = openat(&directory, name, flags, Mode::empty()).unwrap().into();
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
    let file = File::from(openat(&directory, "the last", flags, Mode::from_raw_mode(0o640)).unwrap());
    file.write_all_at(&text(7, 100_000), 0).unwrap();
    symlinkat("the last", &directory, "link").unwrap();
    mknodat(&directory, "fifo", FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
}

#[test]
fn odd_names_and_deep_paths_come_back() {
    let home = Home::with_repository();
    let tree = home.make_dir("tree");
    let odd: [&[u8]; 12] = [
        b"\xff\xfe not UTF-8",
        "\u{e4}\u{308} \u{1f9ca}".as_bytes(),
        b"new\nline",
        b" ",
        b"-rf",
        b"*?[a]",
        b"back\\slash",
        b"'\"$`;&|",
        b"\x01\x1b[31m\x7f",
        b"colon:path",
        b"...",
        b"~",
    ];
    for name in odd {
        write(tree.join(OsStr::from_bytes(name)), name);
        write(tree.join("below").join(OsStr::from_bytes(name)).join(OsStr::from_bytes(name)), name);
    }
    // Sorting must take the separator into account: "a/x" stands before "a.b".
    for name in ["sorted/a/x", "sorted/a.b", "sorted/a b/y", "sorted/a0"] {
        write(tree.join(name), name);
    }
    write(tree.join("n".repeat(255)), "as long as a name can be");
    write(tree.join(OsStr::from_bytes(&[0xfe; 255])), "and no text");
    make_chain(&tree, &vec![b"d".to_vec(); 300]);
    let report = home.backup(&tree, &[]);
    assert_eq!(report["snapshot"]["problem_count"], 0, "{report:#}");
    assert_same(&tree, &home.restore("latest", "restored"));

    // rsync cannot follow to here.
    let long = home.make_dir("long");
    make_chain(&long, &(0..40).map(|n| vec![b'a' + n % 26; 255]).collect::<Vec<_>>());
    let report = home.backup(&long, &[]);
    assert_eq!(report["snapshot"]["problem_count"], 0, "{report:#}");
    assert_eq!(report["snapshot"]["totals"]["entries"], 44);
    assert_eq!(differences(&long, &home.restore("latest", "restored long")), [""; 0]);
    let listed = home.json(args!["ls", "-R", "latest"]);
    let depth = listed["entries"].as_array().unwrap().iter().map(|entry| entry["path"].as_str().unwrap().len()).max();
    assert_eq!(depth, Some(40 * 256 + "the last".len()));

    // By a path that is no text, from the command line.
    let target = [format!("{}:", tree.display()).as_bytes(), odd[0]].concat();
    let restored = home.restore(OsStr::from_bytes(&target), "one");
    assert_eq!(fs::read(restored.join(OsStr::from_bytes(odd[0]))).unwrap(), odd[0]);
}

#[test]
fn a_huge_sparse_file_costs_what_it_holds() {
    const SIZE: u64 = 20 << 30;
    let home = Home::with_repository();
    let tree = home.make_dir("tree");
    let islands: [(u64, &[u8]); 4] =
        [(0, b"begin"), (7 << 30, b"island"), ((7 << 30) + 70_000, b"reef"), (SIZE - 1, b"!")];
    make_holes(&tree.join("islands"), SIZE, &islands);
    make_holes(&tree.join("only a hole"), SIZE, &[]);
    make_holes(&tree.join("hole at the end"), 1 << 20, &[(5, b"x")]);
    let begun = Instant::now();
    let report = home.backup(&tree, &[]);
    assert!(number(&report["snapshot"]["totals"]["bytes_new"]) < 4 << 20, "{report:#}");
    assert_eq!(number(&report["snapshot"]["totals"]["bytes"]), 2 * SIZE + (1 << 20));
    let restored = home.restore("latest", "restored");
    // Neither reads nor writes 40 GiB of nothing.
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    for name in ["islands", "only a hole", "hole at the end"] {
        let (before, after) = (fs::metadata(tree.join(name)).unwrap(), fs::metadata(restored.join(name)).unwrap());
        assert!(after.blocks() <= before.blocks() + 64, "{name}: {} blocks, were {}", after.blocks(), before.blocks());
    }
    assert_eq!(differences(&tree, &restored), [""; 0]);
    home.check(&["--read-data"]);
}

/// The head of an SQLite database with pages of 16 KiB, which is cut at every page.
fn database(pages: u64) -> Vec<u8> {
    const PAGE: usize = 16 << 10;
    let mut bytes = vec![0; pages as usize * PAGE];
    for (number, page) in (0u64..).zip(bytes.chunks_exact_mut(PAGE)) {
        page[100..164].copy_from_slice(&noise(number, 64));
    }
    bytes[..16].copy_from_slice(b"SQLite format 3\0");
    bytes[16..18].copy_from_slice(&(PAGE as u16).to_be_bytes());
    bytes
}

#[test]
fn a_file_of_many_chunks_comes_back_and_a_changed_page_costs_a_page() {
    const PAGES: u64 = 20_000;
    let home = Home::with_repository();
    let tree = home.make_dir("tree");
    write(tree.join("database"), database(PAGES));
    let report = home.backup(&tree, &[]);
    assert_eq!(number(&report["snapshot"]["totals"]["files_new"]), 1);
    assert!(number(&report["snapshot"]["totals"]["chunks_new"]) >= PAGES, "{report:#}");

    let file = File::options().write(true).open(tree.join("database")).unwrap();
    file.write_all_at(&noise(77, 500), (12_345 << 14) + 1000).unwrap();
    drop(file);
    let report = home.backup(&tree, &[]);
    let totals = &report["snapshot"]["totals"];
    assert_eq!(number(&totals["files_changed"]), 1);
    // The page, and the blocks of the manifest on the way to it.
    assert!(number(&totals["bytes_new"]) < 128 << 10, "{totals:#}");
    assert_same(&tree, &home.restore("latest", "restored"));
}

#[test]
fn a_directory_of_fifty_thousand_entries_comes_back() {
    let home = Home::with_repository();
    let tree = home.make_dir("tree/wide");
    for number in 0..50_000 {
        let path = tree.join(format!("{number:x}"));
        match number % 5 {
            0 => fs::write(path, "some").unwrap(),
            1 => fs::write(path, "").unwrap(),
            // Names are what counts here, and links are made fast.
            _ => fs::hard_link(tree.join(format!("{:x}", number / 5 * 5)), path).unwrap(),
        }
    }
    let report = home.backup(&tree, &[]);
    assert_eq!(number(&report["snapshot"]["totals"]["entries"]), 50_001);
    assert_eq!(differences(&tree, &home.restore("latest", "restored")), [""; 0]);
    let listed = home.json(args!["ls", format!("{}:", tree.display())]);
    assert_eq!(listed["entries"].as_array().unwrap().len(), 50_000);
}

#[test]
fn a_part_comes_back_alone() {
    let home = Home::with_repository();
    let tree = home.make_dir("tree");
    write(tree.join("a/first"), text(1, 30_000));
    write(tree.join("b/c/own"), "own");
    fs::hard_link(tree.join("a/first"), tree.join("b/second")).unwrap();
    fs::hard_link(tree.join("a/first"), tree.join("b/c/third")).unwrap();
    write(tree.join("b.not"), "");
    write(tree.join("a/colon: 12:30"), "odd");
    symlink("nowhere", tree.join("link")).unwrap();
    home.backup(&tree, &["--name", "parts"]);

    // The content of a directory; links hold together although their first name is not among them.
    assert_same(&tree.join("b"), &home.restore("parts:b", "b"));
    assert_same(&tree.join("b/c"), &home.restore("parts:b/c/", "c"));
    // A file, a link, each under its name.
    for (path, name) in [("a/first", "first"), ("b/second", "second"), ("a/colon: 12:30", "colon: 12:30")] {
        let to = home.restore(format!("parts:{path}"), &format!("to {name}"));
        assert_eq!(fs::read(to.join(name)).unwrap(), fs::read(tree.join(path)).unwrap());
        assert_eq!(fs::read_dir(&to).unwrap().count(), 1);
        assert_eq!(fs::metadata(to.join(name)).unwrap().mtime(), fs::metadata(tree.join(path)).unwrap().mtime());
    }
    let link = home.restore("parts:link", "to link").join("link");
    assert_eq!(fs::read_link(link).unwrap(), Path::new("nowhere"));

    let missing = home.path("missing");
    home.run(args!["restore", "parts:b/none", "--to", &missing]).expect(1).said(&["b/none"]);
    assert!(!missing.exists(), "a slip of the finger leaves nothing behind");
}

#[test]
fn several_roots_come_back_side_by_side() {
    let home = Home::with_repository();
    let (wiki, mail) = (home.make_dir("srv/wiki"), home.make_dir("var/mail"));
    make_zoo(&wiki);
    write(mail.join("inbox"), noise(5, 100_000));
    fs::hard_link(mail.join("inbox"), mail.join("copy")).unwrap();
    fs::hard_link(wiki.join("file"), mail.join("across roots")).unwrap();
    let report = home.json(args!["backup", &wiki, &mail, "--name", "both"]);
    assert_eq!(report["snapshot"]["roots"].as_array().unwrap().len(), 2);
    let restored = home.restore("both", "restored");
    assert_same(&wiki, &restored.join("wiki"));
    assert_same(&mail, &restored.join("mail"));
    let inode = |path| fs::metadata(restored.join(path)).unwrap().ino();
    assert_eq!(inode("wiki/file"), inode("mail/across roots"));
    assert_same(&mail, &home.restore("both:mail", "mail alone"));

    let home = Home::with_repository();
    let (one, other) = (home.make_dir("one/same"), home.make_dir("other/same"));
    home.run(args!["backup", &one, &other]).expect(1).said(&["same"]);
    home.run(args!["backup", home.path("one"), &one]).expect(1);
}

mod histories {
    //! Random trees that change at random, against plain copies.

    use proptest::prelude::*;
    use proptest::test_runner::{Config, TestRunner};

    use super::*;

    /// One change; paths are drawn from a few names, so that changes meet.
    #[derive(Debug, Clone)]
    enum Change {
        Write { path: String, seed: u64, len: usize },
        Append { path: String, seed: u64, len: usize },
        Overwrite { path: String, offset: u64, len: usize },
        Truncate { path: String, len: u64 },
        Touch { path: String, nanos: i64 },
        Mode { path: String, mode: u32 },
        Link { from: String, to: String },
        Symlink { path: String, target: String },
        Directory { path: String },
        Rename { from: String, to: String },
        Remove { path: String },
    }

    fn path() -> impl Strategy<Value = String> {
        prop::collection::vec(prop::sample::select(vec!["a", "b", "a.", "c\n"]), 1..4).prop_map(|names| names.join("/"))
    }

    fn change() -> impl Strategy<Value = Change> {
        // Around the sizes where chunks, frames and inline lists of pieces begin and end.
        let len = prop_oneof![3 => 0usize..100, 2 => 10_000usize..80_000, 1 => 200_000usize..2_000_000];
        let small = 1usize..5000;
        prop_oneof![
            6 => (path(), any::<u64>(), len).prop_map(|(path, seed, len)| Change::Write { path, seed, len }),
            2 => (path(), any::<u64>(), small.clone()).prop_map(|(path, seed, len)| Change::Append { path, seed, len }),
            2 => (path(), 0u64..300_000, small).prop_map(|(path, offset, len)| Change::Overwrite { path, offset, len }),
            1 => (path(), 0u64..400_000).prop_map(|(path, len)| Change::Truncate { path, len }),
            1 => (path(), 0i64..1_000_000_000).prop_map(|(path, nanos)| Change::Touch { path, nanos }),
            1 => (path(), 0u32..0o10000).prop_map(|(path, mode)| Change::Mode { path, mode: mode | 0o700 }),
            2 => (path(), path()).prop_map(|(from, to)| Change::Link { from, to }),
            1 => (path(), path()).prop_map(|(path, target)| Change::Symlink { path, target }),
            1 => path().prop_map(|path| Change::Directory { path }),
            3 => (path(), path()).prop_map(|(from, to)| Change::Rename { from, to }),
            2 => path().prop_map(|path| Change::Remove { path }),
        ]
    }

    impl Change {
        /// Makes the change; one that makes no sense there is none.
        fn apply(&self, root: &Path) {
            let at = |path: &str| {
                let path = root.join(path);
                let _ = fs::create_dir_all(path.parent().unwrap());
                path
            };
            let open = |path: &str| File::options().write(true).open(at(path)).ok();
            // A write must not follow a link out of the tree, or into another place of it.
            let is_file = |path: &str| fs::symlink_metadata(at(path)).is_ok_and(|found| found.is_file());
            let _ = match self {
                Self::Write { path, .. } | Self::Append { path, .. } if at(path).is_symlink() => Ok(()),
                Self::Write { path, seed, len } if seed % 2 == 0 => fs::write(at(path), noise(*seed, *len)),
                Self::Write { path, seed, len } => fs::write(at(path), text(*seed, *len)),
                Self::Append { path, seed, len } if is_file(path) => {
                    let end = fs::metadata(at(path)).unwrap().len();
                    open(path).map_or(Ok(()), |file| file.write_all_at(&text(*seed, *len), end))
                }
                Self::Overwrite { path, offset, len } if is_file(path) => {
                    open(path).map_or(Ok(()), |file| file.write_all_at(&noise(*offset, *len), *offset))
                }
                Self::Truncate { path, len } if is_file(path) => open(path).map_or(Ok(()), |file| file.set_len(*len)),
                Self::Touch { path, nanos } if at(path).symlink_metadata().is_ok() => {
                    set_time(&at(path), 1_700_000_000, *nanos);
                    Ok(())
                }
                Self::Mode { path, mode } if !at(path).is_symlink() => {
                    fs::set_permissions(at(path), PermissionsExt::from_mode(*mode))
                }
                Self::Link { from, to } if is_file(from) => fs::hard_link(at(from), at(to)),
                Self::Symlink { path, target } => symlink(target, at(path)),
                Self::Directory { path } => fs::create_dir(at(path)),
                Self::Rename { from, to } => fs::rename(at(from), at(to)),
                Self::Remove { path } if at(path).is_dir() && !at(path).is_symlink() => fs::remove_dir_all(at(path)),
                Self::Remove { path } => fs::remove_file(at(path)),
                _ => Ok(()),
            };
        }
    }

    fn copy(from: &Path, to: &Path) {
        let copied = Command::new("cp").arg("-a").arg(from).arg(to).output().unwrap();
        assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
    }

    #[test]
    fn every_night_of_a_random_history_comes_back() {
        let nights = prop::collection::vec(prop::collection::vec(change(), 1..12), 2..5);
        let config = Config { cases: 20, max_shrink_iters: 60, failure_persistence: None, ..Config::default() };
        let mut runner = TestRunner::new(config);
        let tested = runner.run(&nights, |nights| {
            let home = Home::with_repository();
            let root = home.make_dir("root");
            for (night, changes) in nights.iter().enumerate() {
                changes.iter().for_each(|change| change.apply(&root));
                // With no pause: what is racy must be found to be.
                home.backup(&root, &[]);
                copy(&root, &home.path(format!("night {night}")));
            }
            for night in 0..nights.len() {
                let back = nights.len() - 1 - night;
                let restored = home.restore(format!("latest~{back}"), &format!("restored {night}"));
                let found = differences(&home.path(format!("night {night}")), &restored);
                prop_assert!(found.is_empty(), "night {night}: {found:#?}");
            }
            home.check(&["--read-data"]);
            Ok(())
        });
        tested.unwrap_or_else(|error| panic!("{error}"));
    }
}
