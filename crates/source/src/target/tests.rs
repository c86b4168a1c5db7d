use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use icecore_format::entry::{Class, Content, File, Meta, Timestamp, Xattr};
use rustix::process::{Gid, Uid, geteuid};
use tempfile::TempDir;

use super::*;
use crate::stat::{Kind, Stat};

const NOBODY: u32 = 65_534;

struct Fixture {
    _temporary: TempDir,
    path: PathBuf,
    /// Beside the target: must never change.
    outside: PathBuf,
    target: Target,
}

fn fixture() -> Fixture {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("new/target");
    let outside = temporary.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), "old").unwrap();
    let target = Target::create(&path).unwrap();
    Fixture { _temporary: temporary, path, outside, target }
}

impl Fixture {
    fn dir(&self) -> Dir {
        Dir::open(&self.path).unwrap()
    }

    fn stat(&self, path: &[u8]) -> Stat {
        let (parent, name) = split(path);
        self.dir().open_beneath(parent).unwrap().stat(OsStr::from_bytes(name)).unwrap()
    }

    fn write(&self, path: &[u8], content: &[u8]) -> TargetFile {
        let file = self.target.create_file(path).unwrap();
        file.write_at(0, content).unwrap();
        file
    }

    fn finish(&self, entry: &Entry) -> Vec<FaultKind> {
        kinds(self.target.finish(&entry.path, entry, &Owners::numeric()))
    }
}

fn kinds(faults: Vec<Fault>) -> Vec<FaultKind> {
    faults.into_iter().map(|fault| fault.kind).collect()
}

/// Tells whether the tests may change owners, and says aloud that they leave something out if not.
#[expect(clippy::print_stderr, reason = "a test that checks less than it could must say so")]
fn is_root() -> bool {
    let root = geteuid().is_root();
    if !root {
        eprintln!("SKIPPED: only root can check owners, devices, capabilities and the loss of privileges");
    }
    root
}

/// Runs `action` as the user `nobody`, without any capability, in a thread of its own.
fn as_nobody<T: Send>(action: impl FnOnce() -> T + Send) -> T {
    let (uid, gid) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            rustix::thread::set_thread_groups(&[]).unwrap();
            rustix::thread::set_thread_res_gid(gid, gid, gid).unwrap();
            rustix::thread::set_thread_res_uid(uid, uid, uid).unwrap();
            action()
        });
        thread.join().unwrap()
    })
}

fn entry(path: &[u8], mode: u32, node: Node) -> Entry {
    // Far enough from each other that no two entries have the same time by chance.
    let mtime = Timestamp { seconds: 1_000_000_000 + i64::from(path.len() as u32), nanos: 123_456_789 };
    let (uid, gid) = (geteuid().as_raw(), rustix::process::getegid().as_raw());
    let meta = Meta { mode, uid, gid, mtime, links: 1, ..Meta::default() };
    Entry { path: path.to_vec(), meta, node, link_of: None }
}

fn file(size: u64) -> Node {
    Node::File(File { size, class: Class::Structured, content: Content::Missing, racy: false })
}

fn xattr(name: &str, value: &[u8]) -> Xattr {
    Xattr { name: name.into(), value: value.to_vec() }
}

/// An access control list as the kernel stores it: owner, user 1, group, mask, others.
fn acl(owner: u16, user: u16, group: u16, mask: u16, others: u16) -> Vec<u8> {
    let entries =
        [(1, owner, u32::MAX), (2, user, 1), (4, group, u32::MAX), (0x10, mask, u32::MAX), (0x20, others, u32::MAX)];
    let mut value = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        value.extend(u16::to_le_bytes(tag));
        value.extend(permissions.to_le_bytes());
        value.extend(id.to_le_bytes());
    }
    value
}

#[test]
fn every_kind_gets_its_exact_metadata() {
    let root = is_root();
    let fixture = fixture();
    let mut entries = vec![
        entry(b"", 0o3751, Node::Directory),
        entry(b"dir", 0o1775, Node::Directory),
        entry(b"dir/file", 0o4750, file(4)),
        entry(b"dir/plain", 0o644, file(0)),
        entry(b"dir/secret", 0o000, file(0)),
        entry(b"link", 0o777, Node::Symlink { target: b"/nowhere/\xff".to_vec() }),
        entry(b"fifo", 0o622, Node::Fifo),
        entry(b"socket", 0o700, Node::Socket),
    ];
    entries[3].meta.mtime = Timestamp { seconds: -86_400, nanos: 1 };
    entries[0].meta.xattrs = vec![xattr("user.of.the.root", b"\0\xff")];
    entries[1].meta.xattrs = vec![
        xattr("system.posix_acl_access", &acl(7, 7, 5, 7, 5)),
        xattr("system.posix_acl_default", &acl(7, 5, 0, 5, 0)),
    ];
    entries[2].meta.xattrs = vec![xattr("system.posix_acl_access", &acl(7, 4, 0, 5, 0)), xattr("user.a", b"")];
    if root {
        entries.push(entry(b"null", 0o666, Node::CharDevice { major: 1, minor: 3 }));
        entries.push(entry(b"disk", 0o660, Node::BlockDevice { major: 0xfff, minor: 0xf_ffff }));
        for (offset, entry) in (0..).zip(&mut entries) {
            (entry.meta.uid, entry.meta.gid) = (1_000 + offset, 2_000 + offset);
        }
        // CAP_NET_BIND_SERVICE as VFS_CAP_REVISION_2.
        let mut capability = 0x0200_0001_u32.to_le_bytes().to_vec();
        capability.extend([0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        entries[2].meta.xattrs.insert(0, xattr("security.capability", &capability));
        entries[5].meta.xattrs = vec![xattr("trusted.of.a.link", b"1")];
        entries[6].meta.xattrs = vec![xattr("trusted.of.a.fifo", b"2")];
    }

    for entry in &entries {
        match &entry.node {
            Node::Directory => fixture.target.make_dir(&entry.path).unwrap(),
            Node::File(_) => drop(fixture.target.create_file(&entry.path).unwrap()),
            Node::Symlink { target } => fixture.target.make_symlink(&entry.path, target).unwrap(),
            node => fixture.target.make_special(&entry.path, node).unwrap(),
        }
        let private = fixture.stat(&entry.path).mode & 0o077 == 0;
        assert!(private || matches!(entry.node, Node::Symlink { .. }), "{entry:?}");
    }
    let open = fixture.target.open_file(b"dir/file").unwrap();
    open.write_at(0, b"data").unwrap();
    assert!(finish_file(&open, &entries[2], &Owners::numeric()).is_empty());
    for entry in entries.iter().rev().filter(|entry| entry.path != b"dir/file") {
        assert!(fixture.finish(entry).is_empty(), "{entry:?}");
    }

    for Entry { path, meta, node, .. } in &entries {
        let stat = fixture.stat(path);
        assert_eq!(stat.kind, Kind::of(node), "{path:?}");
        assert_eq!((stat.uid, stat.gid, stat.mtime), (meta.uid, meta.gid, meta.mtime), "{path:?}");
        let mode = if stat.kind == Kind::Symlink { 0o777 } else { meta.mode };
        assert_eq!(format!("{:o}", stat.mode), format!("{mode:o}"), "{path:?}");
        if root || mode & 0o400 != 0 {
            assert_eq!(fixture.dir().xattrs(path, stat.kind).unwrap(), meta.xattrs, "{path:?}");
        }
    }
    assert_eq!(fs::read(fixture.path.join("dir/file")).unwrap(), b"data");
    assert_eq!(fixture.dir().read_link(b"link").unwrap(), b"/nowhere/\xff");
    if root {
        assert_eq!((fixture.stat(b"null").rdev, fixture.stat(b"disk").rdev), ((1, 3), (0xfff, 0xf_ffff)));
    }
}

#[test]
fn finishing_again_brings_back_what_a_change_of_owner_clears() {
    if !is_root() {
        return;
    }
    let fixture = fixture();
    drop(fixture.write(b"file", b""));
    let mut setuid = entry(b"file", 0o4755, file(0));
    for uid in [0, 1_000, 1_001] {
        setuid.meta.uid = uid;
        assert!(fixture.finish(&setuid).is_empty());
        let stat = fixture.stat(b"file");
        assert_eq!((stat.uid, stat.mode), (uid, 0o4755));
    }
}

#[test]
fn holes_stay_holes() {
    let fixture = fixture();
    let sparse = fixture.target.create_file(b"sparse").unwrap();
    sparse.set_len(64 << 20).unwrap();
    sparse.write_at(32 << 20, b"middle").unwrap();
    sparse.sync().unwrap();
    let stat = sparse.stat().unwrap();
    assert_eq!(stat.size, 64 << 20);
    assert!(stat.blocks * 512 < 1 << 20, "{} blocks", stat.blocks);
    let mut back = [1; 8];
    assert_eq!(sparse.read_at((32 << 20) - 1, &mut back).unwrap(), 8);
    assert_eq!(&back, b"\0middle\0");
}

#[test]
fn hard_links_share_one_inode() {
    let fixture = fixture();
    fixture.target.make_dir(b"a").unwrap();
    fixture.target.make_dir(b"b").unwrap();
    let first = fixture.write(b"a/first", b"x");
    fixture.target.make_hard_link(b"a/first", b"b/second").unwrap();
    fixture.target.make_symlink(b"link", b"a/first").unwrap();
    fixture.target.make_hard_link(b"link", b"b/link").unwrap();
    assert_eq!(fixture.stat(b"b/second").inode, first.stat().unwrap().inode);
    assert_eq!(first.stat().unwrap().links, 2);
    assert_eq!(fixture.stat(b"b/link").kind, Kind::Symlink);
}

#[test]
fn any_name_and_any_depth_is_restored() {
    let fixture = fixture();
    let longest = [b'n'; 255];
    for name in [&b"a\nb"[..], b"\xff\xfe", b" ", b"-rf", b"...", &longest] {
        let mut entry = entry(name, 0o640, file(1));
        entry.meta.mtime.nanos = 7;
        drop(fixture.write(name, b"x"));
        assert!(fixture.finish(&entry).is_empty());
        assert_eq!(fixture.stat(name).mtime, entry.meta.mtime);
    }

    let mut path = Vec::new();
    for level in 0..300 {
        path.extend(if level == 0 { &b""[..] } else { b"/" });
        path.extend(format!("level-{level:0>20}").bytes());
        fixture.target.make_dir(&path).unwrap();
    }
    assert!(path.len() > 4_096);
    let below = [&path[..], b"/file"].concat();
    drop(fixture.write(&below, b"deep"));
    assert!(fixture.finish(&entry(&below, 0o600, file(4))).is_empty());
    let directory = entry(&path, 0o755, Node::Directory);
    assert!(fixture.finish(&directory).is_empty());
    assert_eq!(fixture.stat(&path).mtime, directory.meta.mtime);
    fixture.target.make_hard_link(&below, b"short").unwrap();
    assert_eq!(fs::read(fixture.path.join("short")).unwrap(), b"deep");
}

#[test]
fn no_path_leads_outside() {
    let fixture = fixture();
    let target = &fixture.target;
    let outside = fixture.outside.as_os_str().as_bytes();
    target.make_symlink(b"link", outside).unwrap();
    target.make_symlink(b"up", b"../..").unwrap();
    target.make_symlink(b"here", b".").unwrap();
    target.make_dir(b"dir").unwrap();
    symlink("../../../outside", fixture.path.join("dir/link")).unwrap();
    drop(fixture.write(b"file", b""));
    let before = fs::metadata(fixture.outside.join("secret")).unwrap();

    let absolute = [outside, b"/new"].concat();
    let paths = [
        &b"link/new"[..],
        b"link/secret",
        b"link/dir/deeper",
        b"here/new",
        b"dir/link/secret",
        b"up/outside/new",
        b"../outside/new",
        b"dir/../../outside/new",
        b"dir/..",
        b"..",
        b".",
        b"./new",
        b"dir//new",
        b"dir/",
        b"a\0b",
        b"file/below",
        &absolute,
    ];
    for path in paths {
        let name = path.escape_ascii();
        assert!(target.make_dir(path).is_err(), "{name}");
        assert!(target.create_file(path).is_err(), "{name}");
        assert!(target.open_file(path).is_err(), "{name}");
        assert!(target.make_symlink(path, b"x").is_err(), "{name}");
        assert!(target.make_hard_link(b"file", path).is_err(), "{name}");
        assert!(target.make_hard_link(path, b"stolen").is_err(), "{name}");
        assert!(target.make_special(path, &Node::Fifo).is_err(), "{name}");
        for node in [file(0), Node::Directory, Node::Fifo] {
            assert_eq!(fixture.finish(&entry(path, 0o777, node)), [FaultKind::Entry], "{name}");
        }
    }
    // A link is never written through, nor finished as what it points at.
    target.make_symlink(b"to-file", &[outside, b"/secret"].concat()).unwrap();
    assert!(target.create_file(b"to-file").is_err());
    assert!(target.open_file(b"to-file").is_err());
    assert_eq!(fixture.finish(&entry(b"to-file", 0o777, file(3))), [FaultKind::Entry]);
    assert!(target.make_dir(b"link").is_err());
    assert_eq!(fixture.finish(&entry(b"link", 0o777, Node::Directory)), [FaultKind::Entry]);
    assert!(fixture.finish(&entry(b"link", 0o777, Node::Symlink { target: outside.to_vec() })).is_empty());

    let after = fs::metadata(fixture.outside.join("secret")).unwrap();
    assert_eq!((after.ctime(), after.ctime_nsec()), (before.ctime(), before.ctime_nsec()));
    assert_eq!(fs::read_dir(&fixture.outside).unwrap().count(), 1);
    assert!(!fixture.path.join("stolen").exists());
}

#[test]
fn nothing_that_exists_is_replaced_or_opened_as_something_else() {
    let fixture = fixture();
    drop(fixture.write(b"file", b"kept"));
    fixture.target.make_special(b"fifo", &Node::Fifo).unwrap();
    for taken in [&b"file"[..], b"fifo", b""] {
        assert!(fixture.target.create_file(taken).is_err());
        assert!(fixture.target.make_symlink(taken, b"x").is_err());
        assert!(fixture.target.make_special(taken, &Node::Socket).is_err());
    }
    assert!(fixture.target.make_dir(b"file").is_err());
    assert!(fixture.target.open_file(b"fifo").is_err());
    assert!(fixture.target.open_file(b"absent").is_err());
    assert!(fixture.target.make_special(b"dir", &Node::Directory).is_err());
    assert_eq!(fixture.finish(&entry(b"fifo", 0o600, file(0))), [FaultKind::Entry]);
    assert_eq!(fs::read(fixture.path.join("file")).unwrap(), b"kept");

    fixture.target.make_dir(b"dir").unwrap();
    fixture.target.make_dir(b"dir").unwrap();
    fixture.target.make_dir(b"").unwrap();
}

#[test]
fn only_an_empty_directory_is_a_target() {
    let fixture = fixture();
    assert_eq!(fs::metadata(&fixture.path).unwrap().mode() & 0o777, 0o700);
    assert!(Target::create(&fixture.path).is_ok());
    fs::create_dir(fixture.path.join("lost+found")).unwrap();
    assert!(Target::create(&fixture.path).is_ok());
    let error = Target::create(&fixture.outside).unwrap_err();
    assert!(matches!(&error, TargetError::NotEmpty { path } if *path == fixture.outside));
    assert!(error.to_string().contains("empty or new"), "{error}");
    let file = Target::create(&fixture.outside.join("secret")).unwrap_err();
    assert!(matches!(file, TargetError::NotADirectory { .. }));
    let below = Target::create(&fixture.outside.join("secret/below")).unwrap_err();
    assert!(matches!(below, TargetError::Unusable { .. }));
}

#[test]
fn what_the_target_passes_on_is_not_restored() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("target");
    fs::create_dir(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o2755)).unwrap();
    let opened = fs::File::open(&path).unwrap();
    Subject::of_file(&opened).set_xattr(b"system.posix_acl_default", &acl(7, 7, 7, 7, 7)).unwrap();
    if is_root() {
        Subject::of_file(&opened).set_owner(None, Some(50)).unwrap();
        Subject::of_file(&opened).set_mode(0o2755).unwrap();
    }

    let target = Target::create(&path).unwrap();
    target.make_dir(b"dir").unwrap();
    let entries = [
        entry(b"dir/file", 0o640, file(0)),
        entry(b"dir", 0o750, Node::Directory),
        entry(b"file", 0o600, file(0)),
        entry(b"fifo", 0o640, Node::Fifo),
    ];
    drop(target.create_file(b"dir/file").unwrap());
    drop(target.create_file(b"file").unwrap());
    target.make_special(b"fifo", &Node::Fifo).unwrap();
    for entry in &entries {
        assert!(target.finish(&entry.path, entry, &Owners::numeric()).is_empty());
        let dir = Dir::open(&path).unwrap();
        let kind = Kind::of(&entry.node);
        assert!(dir.xattrs(&entry.path, kind).unwrap().is_empty(), "{entry:?}");
        let stat = fs::symlink_metadata(path.join(OsStr::from_bytes(&entry.path))).unwrap();
        assert_eq!((stat.mode() & 0o7777, stat.gid()), (entry.meta.mode, entry.meta.gid), "{entry:?}");
    }
}

#[test]
fn a_normal_user_is_told_what_is_missing() {
    if !is_root() {
        return;
    }
    let temporary = tempfile::tempdir().unwrap();
    fs::set_permissions(temporary.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let path = temporary.path().join("target");
    let mut wanted = entry(b"file", 0o6555, file(1));
    (wanted.meta.uid, wanted.meta.gid) = (0, 0);
    wanted.meta.xattrs =
        vec![xattr("security.capability", b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0"), xattr("user.a", b"1")];
    let mut own = entry(b"own", 0o6444, file(1));
    (own.meta.uid, own.meta.gid) = (NOBODY, NOBODY);
    own.meta.xattrs = vec![xattr("user.a", b"1")];

    let (faults, none, device) = as_nobody(|| {
        let target = Target::create(&path).unwrap();
        let faults = finish_file(&target.create_file(b"file").unwrap(), &wanted, &Owners::numeric());
        drop(target.create_file(b"own").unwrap());
        let none = target.finish(b"own", &own, &Owners::numeric());
        (faults, none, target.make_special(b"null", &Node::CharDevice { major: 1, minor: 3 }))
    });
    let told = faults[0].to_string();
    let capability = FaultKind::Xattr(b"security.capability".to_vec());
    assert_eq!(kinds(faults), [FaultKind::Group, FaultKind::Owner, capability, FaultKind::Mode]);
    assert_eq!(told, "the group of file");
    assert!(none.is_empty(), "{none:?}");
    assert_eq!(device.unwrap_err().kind(), io::ErrorKind::PermissionDenied);

    // Without its owner, the file must not lend the identity of whoever restored it.
    let stat = fs::metadata(path.join("file")).unwrap();
    assert_eq!((stat.uid(), stat.gid(), stat.mode() & 0o7777), (NOBODY, NOBODY, 0o555));
    assert_eq!((stat.mtime(), stat.mtime_nsec()), (wanted.meta.mtime.seconds, 123_456_789));
    let own = fs::metadata(path.join("own")).unwrap();
    assert_eq!(own.mode() & 0o7777, 0o6444);
}

#[test]
fn impossible_metadata_is_a_fault() {
    let fixture = fixture();
    drop(fixture.write(b"file", b""));
    let mut odd = entry(b"file", 0xffff_ffff, file(0));
    odd.meta.mtime.nanos = 0x3fff_ffff;
    odd.meta.uid = u32::MAX;
    odd.meta.xattrs = vec![xattr("nul\0inside", b""), xattr("user.long", &[0; 70_000]), xattr("", b"")];
    let xattrs = odd.meta.xattrs.iter().map(|xattr| FaultKind::Xattr(xattr.name.clone()));
    let mut expected = vec![FaultKind::Owner];
    expected.extend(xattrs);
    expected.extend([FaultKind::Mode, FaultKind::Times]);
    assert_eq!(fixture.finish(&odd), expected);
    assert_eq!(fixture.stat(b"file").mode, 0o3777);

    let huge = Node::CharDevice { major: 0x1_0000, minor: 0 };
    assert_eq!(fixture.target.make_special(b"device", &huge).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    for target in [&b""[..], b"a\0b", &[b'x'; 5_000]] {
        assert!(fixture.target.make_symlink(b"link", target).is_err());
    }
}

#[test]
fn threads_share_a_target() {
    let fixture = fixture();
    let rounds: Vec<Vec<u8>> = (0..60).map(|n| format!("dir{n}").into_bytes()).collect();
    for dir in &rounds {
        fixture.target.make_dir(dir).unwrap();
    }
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (fixture, rounds) = (&fixture, &rounds);
            scope.spawn(move || {
                for n in 0..600 {
                    let dir = &rounds[(n * (thread + 1)) % rounds.len()];
                    let path = [dir, format!("/{thread}-{n}").as_bytes()].concat();
                    fixture.write(&path, &path);
                }
            });
        }
    });
    let mut files = 0;
    for dir in &rounds {
        for found in fs::read_dir(fixture.path.join(OsStr::from_bytes(dir))).unwrap() {
            let found = found.unwrap();
            let expected = [dir, &b"/"[..], found.file_name().as_bytes()].concat();
            assert_eq!(fs::read(found.path()).unwrap(), expected);
            files += 1;
        }
    }
    assert_eq!(files, 2_400);
}
