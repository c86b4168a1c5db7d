use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::AtomicBool;

use icecore_format::entry::is_valid_path;
use rustix::fs::{CWD, FileType, Mode, OFlags};
use tempfile::TempDir;

use super::*;
use crate::live_file::ReadAt;
use crate::skip;
use crate::stat::Kind;
use crate::tree::Root;

fn temp() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn tree(path: &Path) -> Tree {
    Tree::open(vec![Root { name: "root".into(), path: path.into() }]).unwrap()
}

fn rules() -> Rules {
    Rules { threads: 3, ..Rules::default() }
}

fn list(path: &Path, rules: &Rules) -> Listing {
    tree(path).list(rules, &ListProgress::default()).unwrap()
}

fn all(listing: &Listing) -> Vec<Listed> {
    listing.iter().map(Result::unwrap).collect()
}

fn paths(listing: &Listing) -> Vec<String> {
    all(listing).into_iter().map(|listed| String::from_utf8(listed.path).unwrap()).collect()
}

/// Makes files (and the directories that they need) with their own path as content.
fn fill(root: &Path, files: &[&str]) {
    for file in files {
        let path = root.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, file).unwrap();
    }
}

/// What the standard library finds, sorted by the rule of manifests.
fn model(root: &Path) -> Vec<(PathBytes, fs::Metadata)> {
    fn add(at: &Path, path: &[u8], found: &mut Vec<(PathBytes, fs::Metadata)>) {
        let metadata = fs::symlink_metadata(at).unwrap();
        let is_dir = metadata.is_dir();
        found.push((path.to_vec(), metadata));
        if is_dir {
            for child in fs::read_dir(at).unwrap() {
                let name = child.unwrap().file_name();
                let path = if path.is_empty() { Vec::new() } else { [path, b"/"].concat() };
                add(&at.join(&name), &[&path, name.as_bytes()].concat(), found);
            }
        }
    }
    let mut found = Vec::new();
    add(root, b"", &mut found);
    found.sort_by(|a, b| compare_paths(&a.0, &b.0));
    found
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Runs `test` on a thread that has no privileges, whoever runs the tests.
fn as_normal_user(test: impl FnOnce() + Send) {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            if is_root() {
                let (uid, gid) = (rustix::fs::Uid::from_raw(65_534), rustix::fs::Gid::from_raw(65_534));
                rustix::thread::set_thread_groups(&[]).unwrap();
                rustix::thread::set_thread_res_gid(gid, gid, gid).unwrap();
                rustix::thread::set_thread_res_uid(uid, uid, uid).unwrap();
            }
            test();
        });
        thread.join().unwrap();
    });
}

#[test]
fn every_entry_stands_where_the_manifest_wants_it_with_its_stat() {
    let dir = temp();
    fill(dir.path(), &["a/b/c", "a/bc", "a-", "a.txt", "b", "a/new\nline", "empty-next/x", "a/\u{1}"]);
    fs::create_dir(dir.path().join("empty")).unwrap();
    fs::write(dir.path().join(OsStr::from_bytes(b"\xff\xfe not text")), b"12345").unwrap();
    fs::write(dir.path().join("n".repeat(255)), b"long").unwrap();
    fs::create_dir(dir.path().join("d".repeat(255))).unwrap();
    fs::hard_link(dir.path().join("b"), dir.path().join("b2")).unwrap();
    symlink("nowhere/at all", dir.path().join("link")).unwrap();
    fs::set_permissions(dir.path().join("b"), fs::Permissions::from_mode(0o4751)).unwrap();

    let progress = ListProgress::default();
    let listing = tree(dir.path()).list(&rules(), &progress).unwrap();
    let found = all(&listing);
    let expected = model(dir.path());
    assert_eq!(
        found.iter().map(|listed| listed.path.clone()).collect::<Vec<_>>(),
        expected.iter().map(|(path, _)| path.clone()).collect::<Vec<_>>()
    );
    for (Listed { path, stat }, (_, metadata)) in found.iter().zip(&expected) {
        assert!(is_valid_path(path));
        let kind = match metadata.file_type() {
            kind if kind.is_dir() => Kind::Directory,
            kind if kind.is_symlink() => Kind::Symlink,
            _ => Kind::File,
        };
        assert_eq!(stat.kind, kind);
        assert_eq!(stat.mode, metadata.mode() & 0o7777);
        assert_eq!((stat.uid, stat.gid), (metadata.uid(), metadata.gid()));
        assert_eq!((stat.inode, stat.device), (metadata.ino(), metadata.dev()));
        assert_eq!((stat.size, stat.blocks), (metadata.size(), metadata.blocks()));
        assert_eq!(u64::from(stat.links), metadata.nlink());
        assert_eq!((stat.mtime.seconds, i64::from(stat.mtime.nanos)), (metadata.mtime(), metadata.mtime_nsec()));
        assert_eq!((stat.ctime.seconds, i64::from(stat.ctime.nanos)), (metadata.ctime(), metadata.ctime_nsec()));
    }
    let bytes = expected.iter().filter(|(_, metadata)| metadata.is_file()).map(|(_, metadata)| metadata.len()).sum();
    assert_eq!((listing.entries(), listing.bytes()), (expected.len() as u64, bytes));
    assert_eq!(progress.entries.into_inner(), listing.entries());
    assert_eq!(progress.bytes.into_inner(), listing.bytes());
    assert_eq!((listing.problems(), listing.problem_count(), listing.left_out()), (&[][..], 0, &[][..]));
}

#[test]
fn an_empty_root_is_one_entry() {
    let dir = temp();
    assert_eq!(paths(&list(dir.path(), &rules())), [""]);
}

#[test]
fn a_root_that_is_gone_is_a_problem() {
    let dir = temp();
    let root = dir.path().join("root");
    fill(&root, &["x"]);
    let tree = tree(&root);
    fs::remove_dir_all(&root).unwrap();
    let listing = tree.list(&rules(), &ListProgress::default()).unwrap();
    assert_eq!((listing.problem_count(), listing.problems()[0].path.as_slice()), (1, &b""[..]));
}

/// 300 levels, of which every parent stays open for a second subdirectory: more than are held open, and
/// paths beyond what the kernel takes at once.
#[test]
fn depth_has_no_limit() {
    const LEVELS: usize = 300;
    let dir = temp();
    let name = "level-of-about-twenty";
    let mut at = rustix::fs::open(dir.path(), OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
    for _ in 0..LEVELS {
        rustix::fs::mkdirat(&at, name, Mode::RWXU).unwrap();
        rustix::fs::mkdirat(&at, "z", Mode::RWXU).unwrap();
        rustix::fs::mknodat(&at, "z/file", FileType::RegularFile, Mode::RUSR | Mode::WUSR, 0).unwrap();
        at = rustix::fs::openat(&at, name, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
    }
    let deepest = rustix::fs::openat(&at, "file", OFlags::CREATE | OFlags::WRONLY, Mode::RUSR).unwrap();
    rustix::io::write(&deepest, b"here").unwrap();
    rustix::fs::symlinkat("there", &at, "link").unwrap();

    for threads in [1, 4] {
        let tree = tree(dir.path());
        let listing = tree.list(&Rules { threads, ..rules() }, &ListProgress::default()).unwrap();
        assert_eq!(listing.problems(), &[]);
        let found = all(&listing);
        assert_eq!(found.len(), 1 + 3 * LEVELS + 2);
        assert!(found.is_sorted_by(|a, b| compare_paths(&a.path, &b.path).is_lt()));
        let file = found.iter().find(|listed| listed.stat.size == 4 && listed.stat.kind == Kind::File).unwrap();
        assert!(file.path.len() > 4_096);

        let mut content = [0; 8];
        let opened = tree.open_file(&file.path).unwrap();
        assert_eq!(opened.read_at(0, &mut content).unwrap(), 4);
        assert_eq!(&content[..4], b"here");
        assert_eq!(opened.stat().unwrap(), file.stat);
        let parent = &file.path[..file.path.len() - "/file".len()];
        assert_eq!(tree.read_link(&[parent, b"/link"].concat()).unwrap(), b"there");
        assert_eq!(tree.xattrs(parent, Kind::Directory).unwrap(), []);
    }
}

#[test]
fn what_may_not_be_read_is_named_and_the_rest_is_listed() {
    let dir = temp();
    fill(dir.path(), &["a/x", "closed/x", "names-only/x", "z"]);
    for (name, mode) in [("", 0o755), ("closed", 0o700), ("names-only", 0o744), ("z", 0o000)] {
        fs::set_permissions(dir.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    if !is_root() {
        fs::set_permissions(dir.path().join("closed"), fs::Permissions::from_mode(0o000)).unwrap();
        fs::set_permissions(dir.path().join("names-only"), fs::Permissions::from_mode(0o400)).unwrap();
    }
    as_normal_user(|| {
        let tree = tree(dir.path());
        let listing = tree.list(&rules(), &ListProgress::default()).unwrap();
        assert_eq!(paths(&listing), ["", "a", "a/x", "closed", "names-only", "z"]);
        let problems: Vec<_> = listing.problems().iter().map(|problem| problem.path.as_slice()).collect();
        assert_eq!(problems, [&b"closed"[..], b"names-only/x"]);
        assert_eq!(listing.problem_count(), 2);
        assert!(listing.problems()[0].message.contains("denied"), "{:?}", listing.problems());
        assert_eq!(tree.open_file(b"z").unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    });
    fs::set_permissions(dir.path().join("closed"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::set_permissions(dir.path().join("names-only"), fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn problems_beyond_the_limit_are_counted() {
    let dir = temp();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let closed = if is_root() { 0o700 } else { 0 };
    for number in 0..NAMED + 5 {
        fs::DirBuilder::new().mode(closed).create(dir.path().join(format!("{number:05}"))).unwrap();
    }
    as_normal_user(|| {
        let listing = list(dir.path(), &rules());
        assert_eq!(listing.problem_count(), NAMED as u64 + 5);
        assert_eq!(listing.problems().len(), NAMED);
        assert_eq!(listing.entries(), NAMED as u64 + 6);
    });
}

#[test]
fn entries_that_vanish_are_absent_and_no_problem() {
    let dir = temp();
    fill(dir.path(), &["stays"]);
    let over = AtomicBool::new(false);
    let listings: Vec<_> = thread::scope(|scope| {
        scope.spawn(|| {
            let names: Vec<String> = (0..50).map(|number| format!("{number}/file")).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            while !over.load(Ordering::Relaxed) {
                fill(dir.path(), &names);
                for name in 0..50 {
                    fs::remove_dir_all(dir.path().join(name.to_string())).unwrap();
                }
            }
        });
        let listings = (0..100).map(|_| list(dir.path(), &rules())).collect();
        over.store(true, Ordering::Relaxed);
        listings
    });
    for listing in listings {
        assert_eq!(listing.problems(), &[]);
        let found = paths(&listing);
        assert_eq!(found.last().map(String::as_str), Some("stays"));
        assert!(found.is_sorted_by(|a, b| compare_paths(a.as_bytes(), b.as_bytes()).is_lt()));
    }
}

#[test]
fn what_is_no_file_is_listed_and_never_opened() {
    use rustix::fs::inotify;

    let dir = temp();
    rustix::fs::mkfifoat(CWD, dir.path().join("fifo"), Mode::RWXU).unwrap();
    let _listener = UnixListener::bind(dir.path().join("socket")).unwrap();
    let mut expected = vec![("fifo", Kind::Fifo), ("socket", Kind::Socket)];
    let zero = rustix::fs::makedev(1, 5);
    if rustix::fs::mknodat(CWD, dir.path().join("char"), FileType::CharacterDevice, Mode::RWXU, zero).is_ok() {
        let disk = rustix::fs::makedev(7, 200);
        rustix::fs::mknodat(CWD, dir.path().join("block"), FileType::BlockDevice, Mode::RWXU, disk).unwrap();
        expected.splice(0..0, [("block", Kind::BlockDevice), ("char", Kind::CharDevice)]);
    } else {
        skip("device nodes need privileges");
    }

    let watch = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
    inotify::add_watch(&watch, dir.path(), inotify::WatchFlags::OPEN).unwrap();
    let tree = tree(dir.path());
    let listing = tree.list(&rules(), &ListProgress::default()).unwrap();
    let found: Vec<_> = all(&listing).into_iter().skip(1).map(|listed| (listed.path, listed.stat)).collect();
    for (name, kind) in &expected {
        let path = name.as_bytes();
        assert_eq!(tree.open_file(path).unwrap_err().kind(), io::ErrorKind::Unsupported, "{name}");
        assert!(tree.xattrs(path, *kind).is_ok(), "{name}");
    }
    let kinds: Vec<_> = found.iter().map(|(path, stat)| (str::from_utf8(path).unwrap(), stat.kind)).collect();
    assert_eq!(kinds, expected);
    if let Some((_, device)) = found.iter().find(|(path, _)| path == b"char") {
        assert_eq!(device.rdev, (1, 5));
    }

    // The watch does see what is opened.
    fill(dir.path(), &["control"]);
    let mut buffer = Vec::with_capacity(4_096);
    let mut events = inotify::Reader::new(&watch, buffer.spare_capacity_mut());
    let mut opened = Vec::new();
    while let Ok(event) = events.next() {
        opened.extend(event.file_name().map(ToOwned::to_owned));
    }
    assert_eq!(opened, [c"control".to_owned()]);
}

#[test]
fn caches_keep_their_directory_only() {
    const TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n# by a test\n";
    let dir = temp();
    fill(dir.path(), &["a/cache/deep/x", "b/x", "c/CACHEDIR.TAG"]);
    fs::write(dir.path().join("a/cache/CACHEDIR.TAG"), TAG).unwrap();
    fs::write(dir.path().join("CACHEDIR.TAG"), TAG).unwrap();
    fs::create_dir(dir.path().join("b/CACHEDIR.TAG")).unwrap();

    let listing = list(dir.path(), &Rules { exclude_caches: true, ..rules() });
    let expected = ["", "CACHEDIR.TAG", "a", "a/cache", "b", "b/CACHEDIR.TAG", "b/x", "c", "c/CACHEDIR.TAG"];
    assert_eq!(paths(&listing), expected);
    assert_eq!(listing.left_out(), [b"a/cache".to_vec()]);
    assert_eq!(list(dir.path(), &rules()).entries(), 12);
}

#[test]
fn one_file_system_stops_at_what_is_mounted() {
    let dir = temp();
    fill(dir.path(), &["a/x", "m/below", "z"]);
    let mounted = dir.path().join("m");
    let is_mounted = Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(&mounted).output();
    if !is_mounted.is_ok_and(|output| output.status.success()) {
        return skip("mounting needs privileges");
    }
    fill(&mounted, &["on-it"]);
    let on_one = list(dir.path(), &Rules { one_file_system: true, ..rules() });
    let on_all = list(dir.path(), &rules());
    let output = Command::new("umount").arg(&mounted).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(paths(&on_one), ["", "a", "a/x", "m", "z"]);
    assert_eq!(on_one.left_out(), [b"m".to_vec()]);
    assert_eq!(paths(&on_all), ["", "a", "a/x", "m", "m/on-it", "z"]);
}

#[test]
fn excluded_directories_are_not_gone_into() {
    let dir = temp();
    fill(dir.path(), &["a.tmp", "keep.tmp", "logs/1", "sub/logs/keep.tmp", "sub/x.tmp", "sub/y", "top/x", "sub/top/x"]);
    let patterns = ["*.tmp", "!keep.tmp", "logs/", "/top"].map(str::to_owned);
    let excludes = Excludes::new(&patterns, &[]).unwrap();
    let listing = list(dir.path(), &Rules { excludes, ..rules() });
    assert_eq!(paths(&listing), ["", "keep.tmp", "sub", "sub/top", "sub/top/x", "sub/y"]);
    assert_eq!((listing.problems(), listing.left_out()), (&[][..], &[][..]));
}

#[test]
fn the_repository_leaves_itself_out() {
    let dir = temp();
    fill(dir.path(), &["a", "backup/repository/packs/x", "state.db", "z"]);
    let identity = |name: &str| {
        let metadata = fs::metadata(dir.path().join(name)).unwrap();
        (metadata.dev(), metadata.ino())
    };
    let leave_out = vec![identity("backup/repository"), identity("state.db")];
    let listing = list(dir.path(), &Rules { leave_out, ..rules() });
    assert_eq!(paths(&listing), ["", "a", "backup", "z"]);
    assert_eq!(listing.left_out(), [b"backup/repository".to_vec(), b"state.db".to_vec()]);

    let listing = list(dir.path(), &Rules { leave_out: vec![identity("")], ..rules() });
    assert_eq!(paths(&listing), [""]);
    assert_eq!(listing.left_out(), [b"".to_vec()]);
}

#[test]
fn several_roots_stand_under_their_names() {
    let dir = temp();
    fill(dir.path(), &["one/x", "one/sub/y", "two/x", "three"]);
    let root = |name: &str, path: &str| Root { name: name.into(), path: dir.path().join(path) };
    let tree = Tree::open(vec![root("base-2", "two"), root("base", "one")]).unwrap();
    let excludes = Excludes::new(&["/base/x".into()], &[]).unwrap();
    let listing = tree.list(&Rules { excludes, ..rules() }, &ListProgress::default()).unwrap();
    assert_eq!(paths(&listing), ["base", "base/sub", "base/sub/y", "base-2", "base-2/x"]);
    assert!(tree.open_file(b"base/sub/y").is_ok());
    assert_eq!(tree.open_file(b"base/sub").unwrap_err().kind(), io::ErrorKind::Unsupported);
    for stranger in [&b"other/x"[..], b"", b"base-3", b"x"] {
        assert_eq!(tree.open_file(stranger).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}

#[test]
fn a_listing_that_was_put_aside_is_the_same() {
    let dir = temp();
    for number in 0..9_000 {
        let directory = dir.path().join(format!("{}", number % 7)).join(format!("{}", number % 61));
        if number < 7 * 61 {
            fs::create_dir_all(&directory).unwrap();
        }
        let name = format!("a name of some length, so that there are several chunks {number}");
        fs::write(directory.join(name), "").unwrap();
    }
    let spool = temp();
    let held = list(dir.path(), &rules());
    let aside = list(dir.path(), &Rules { spool: Some(spool.path().into()), memory: 0, ..rules() });
    let partly = list(dir.path(), &Rules { spool: Some(spool.path().into()), memory: 400_000, ..rules() });
    let spooled = |listing: &Listing| {
        let chunks: Vec<_> =
            listing.chunks.iter().flatten().map(|chunk| matches!(chunk, Chunk::Spooled { .. })).collect();
        (chunks.iter().any(|&spooled| spooled), chunks.iter().all(|&spooled| spooled))
    };
    assert_eq!((spooled(&held), spooled(&aside), spooled(&partly)), ((false, false), (true, true), (true, false)));
    assert!(aside.chunks.iter().flatten().count() > 3);
    assert_eq!(held.entries(), 1 + 7 + 7 * 61 + 9_000);
    let expected = all(&held);
    assert_eq!(expected.len() as u64, held.entries());
    assert!(all(&aside) == expected);
    assert!(all(&partly) == expected);
    assert_eq!(fs::read_dir(spool.path()).unwrap().count(), 0);
}

#[test]
fn a_spool_that_fails_is_an_error() {
    let dir = temp();
    fill(dir.path(), &["a", "b/c"]);
    let missing = dir.path().join("missing");
    let rules = Rules { spool: Some(missing.clone()), memory: 0, ..rules() };
    let error = tree(dir.path()).list(&rules, &ListProgress::default()).unwrap_err();
    assert!(matches!(error, SourceError::Spool { directory, .. } if directory == missing));
}

/// Random trees, written and listed over and over, against the standard library.
#[test]
fn random_trees_are_listed_in_order() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    for _ in 0..20 {
        let dir = temp();
        let mut directories = vec![dir.path().to_owned()];
        let mut made = 0;
        for _ in 0..200 {
            let parent = directories[random(directories.len() as u64) as usize].clone();
            let name: Vec<u8> = (0..=random(10)).map(|_| b"ab-.\x01\xff0 "[random(8) as usize]).collect();
            let path = parent.join(OsStr::from_bytes(&name));
            if name == b"." || name == b".." || path.symlink_metadata().is_ok() {
                continue;
            }
            if random(3) == 0 {
                fs::create_dir(&path).unwrap();
                directories.push(path);
            } else {
                fs::write(&path, vec![0; random(100) as usize]).unwrap();
            }
            made += 1;
        }
        let found: Vec<_> = all(&list(dir.path(), &rules())).into_iter().map(|listed| listed.path).collect();
        let expected: Vec<_> = model(dir.path()).into_iter().map(|(path, _)| path).collect();
        assert_eq!(found, expected);
        assert_eq!(found.len(), made + 1);
    }
}

#[test]
fn listing_leaves_access_times_alone() {
    let dir = temp();
    fill(dir.path(), &["sub/x"]);
    let sub = dir.path().join("sub");
    let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    let times = fs::FileTimes::new().set_accessed(old);
    let atime = || fs::metadata(&sub).unwrap().accessed().unwrap();
    fs::File::open(&sub).unwrap().set_times(times).unwrap();
    assert_eq!(atime(), old);
    assert_eq!(list(dir.path(), &rules()).entries(), 3);
    assert_eq!(atime(), old);
    assert_eq!(fs::read_dir(&sub).unwrap().count(), 1);
    if atime() == old {
        skip("this file system keeps no access times: the test shows nothing");
    }
}

#[test]
fn changes_are_what_an_earlier_listing_does_not_have() {
    let temp = temp();
    let root = temp.path();
    fill(root, &["a/1", "a/2", "b/c/3", "b/c/4", "b-", "d/5", "gone/6", "kept/7", "z"]);
    for rules in [rules(), Rules { spool: Some(std::env::temp_dir()), memory: 0, ..rules() }] {
        let before = list(root, &rules);
        assert_eq!(before.changes_since(&before, &[]).unwrap().count(), 0);
        let every: Vec<u64> = (0..before.entries()).collect();
        let given: Vec<_> = before.changes_since(&before, &every).unwrap().map(Result::unwrap).collect();
        assert_eq!(given, all(&before));

        fs::write(root.join("a/2"), "longer than it was").unwrap();
        fs::remove_file(root.join("b/c/3")).unwrap();
        fs::remove_dir_all(root.join("gone")).unwrap();
        fill(root, &["a/1a", "b/new/dir/8", "zz"]);
        let now = list(root, &rules);
        let known = all(&before);
        // Number 0 is the root itself, which has changed anyway; the last one stands for a file that has not.
        let also = [known.len() as u64 - 1];
        let expected: Vec<_> =
            all(&now).into_iter().filter(|listed| !known[..known.len() - 1].contains(listed)).collect();
        assert!(expected.iter().any(|listed| listed.path == b"z") && !expected.iter().any(|it| it.path == b"kept/7"));
        let given: Vec<_> = now.changes_since(&before, &also).unwrap().map(Result::unwrap).collect();
        assert_eq!(given, expected);

        let empty = TempDir::new().unwrap();
        let nothing = list(empty.path(), &rules);
        assert_eq!(now.changes_since(&nothing, &[]).unwrap().count() as u64, now.entries());
        fill(root, &["b/c/3", "gone/6"]);
        fs::remove_file(root.join("a/1a")).unwrap();
        fs::remove_dir_all(root.join("b/new")).unwrap();
        fs::remove_file(root.join("zz")).unwrap();
    }
}
