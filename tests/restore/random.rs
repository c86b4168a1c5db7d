//! Random trees in every mode, and targets that were damaged at random.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::common::{Home, args, differences, noise, text};

/// What is made of a path; paths are drawn from a few names, so that they meet.
#[derive(Debug, Clone)]
enum Make {
    File { seed: u64, len: usize },
    Sparse { len: u64, at: u64 },
    Directory,
    Symlink,
    Fifo,
    Socket,
    Device { minor: u32 },
    Holes { map: u32, tail: u16 },
    LinkTo { other: String },
    Mode { mode: u32 },
    Time { nanos: u32 },
    Attribute { value: u8 },
    Acl { user: u32, inherited: bool },
    Capability { bits: u8 },
    Owner { id: u32 },
    Overwrite { at: u64, len: usize },
    Resize { len: u64 },
    MoveTo { other: String },
    Remove,
}

fn path() -> impl Strategy<Value = String> {
    "[abc](/[abc]){0,2}"
}

fn make() -> impl Strategy<Value = Make> {
    let len = prop_oneof![4 => 0..5000usize, 2 => 60_000..200_000usize, 1 => 5_000_000..5_500_000usize];
    prop_oneof![
        6 => (0..5u64, len).prop_map(|(seed, len)| Make::File { seed, len }),
        1 => (1..3_000_000u64, 0..1_000_000u64).prop_map(|(len, at)| Make::Sparse { len, at }),
        1 => Just(Make::Directory),
        1 => Just(Make::Symlink),
        1 => Just(Make::Fifo),
        1 => Just(Make::Socket),
        1 => (0..300u32).prop_map(|minor| Make::Device { minor }),
        1 => (any::<u32>(), any::<u16>()).prop_map(|(map, tail)| Make::Holes { map, tail }),
        2 => path().prop_map(|other| Make::LinkTo { other }),
        1 => prop::sample::select(vec![0o600, 0o755, 0o500, 0o4755, 0o2755, 0o6711, 0o1777, 0]).prop_map(|mode| Make::Mode { mode }),
        1 => (0..1_000_000_000u32).prop_map(|nanos| Make::Time { nanos }),
        1 => (0..4u8).prop_map(|value| Make::Attribute { value }),
        1 => (0..3u32, any::<bool>()).prop_map(|(user, inherited)| Make::Acl { user, inherited }),
        1 => (1..8u8).prop_map(|bits| Make::Capability { bits }),
        1 => (0..4u32).prop_map(|id| Make::Owner { id }),
        3 => (0..6_000_000u64, 1..3000usize).prop_map(|(at, len)| Make::Overwrite { at, len }),
        1 => (0..6_000_000u64).prop_map(|len| Make::Resize { len }),
        2 => path().prop_map(|other| Make::MoveTo { other }),
        2 => Just(Make::Remove),
    ]
}

/// Makes it; what makes no sense there is left out.
fn apply(root: &Path, name: &str, make: &Make) {
    let path = root.join(name);
    let above = path.parent().unwrap();
    // Never through a link.
    if fs::create_dir_all(above).is_err() || !fs::canonicalize(above).is_ok_and(|above| above.starts_with(root)) {
        return;
    }
    let kind = fs::symlink_metadata(&path).ok();
    let is_file = kind.as_ref().is_some_and(|found| found.is_file());
    let is_link = kind.as_ref().is_some_and(|found| found.is_symlink());
    let is_root = rustix::process::geteuid().is_root();
    let open = || File::options().write(true).open(&path);
    let _ = match make {
        Make::File { .. } | Make::Sparse { .. } if kind.is_some() && !is_file => Ok(()),
        Make::File { seed, len } if seed % 2 == 0 => fs::write(&path, noise(*seed, *len)),
        Make::File { seed, len } => fs::write(&path, text(*seed, *len)),
        Make::Sparse { len, at } => File::create(&path).and_then(|file| {
            file.set_len(*len)?;
            file.write_all_at(b"island", *at)
        }),
        Make::Directory => fs::create_dir(&path),
        Make::Symlink => symlink("a/b", &path),
        Make::Fifo => mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o640), 0).map_err(Into::into),
        Make::LinkTo { other } if is_file || is_link => match root.join(other).parent() {
            Some(above) if fs::canonicalize(above).is_ok_and(|above| above.starts_with(root)) => {
                fs::hard_link(&path, root.join(other))
            }
            _ => Ok(()),
        },
        Make::Mode { mode } if !is_link => fs::set_permissions(&path, PermissionsExt::from_mode(*mode)),
        Make::Socket => mknodat(CWD, &path, FileType::Socket, Mode::from_raw_mode(0o600), 0).map_err(Into::into),
        Make::Device { minor } if is_root => {
            let kind = if minor % 2 == 0 { FileType::CharacterDevice } else { FileType::BlockDevice };
            mknodat(CWD, &path, kind, Mode::from_raw_mode(0o640), rustix::fs::makedev(7, *minor)).map_err(Into::into)
        }
        // Of 32 parts of 64 KiB those are data whose bit is set; the last is cut off.
        Make::Holes { map, tail } if kind.is_none() || is_file => File::create(&path).and_then(|file| {
            file.set_len((32 << 16) - u64::from(*tail))?;
            let data = (0..32u64).filter(|part| map >> part & 1 == 1);
            data.map(|part| file.write_all_at(&noise(part, 1000), (part << 16) + 500)).take(31).collect()
        }),
        // Of links too.
        Make::Time { nanos } if kind.is_some() => {
            let time = |nanos: u32| rustix::fs::Timespec { tv_sec: 1, tv_nsec: nanos.into() };
            let times = rustix::fs::Timestamps { last_access: time(0), last_modification: time(*nanos) };
            rustix::fs::utimensat(CWD, &path, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).map_err(Into::into)
        }
        Make::Acl { user, inherited } if is_root && kind.is_some() && !is_link => {
            set_acl(&path, *user, *inherited && kind.as_ref().is_some_and(|found| found.is_dir()))
        }
        Make::Capability { bits } if is_root && is_file => {
            // VFS_CAP_REVISION_2: permitted and inheritable, twice.
            let words = [0x0200_0001_u32, (*bits).into(), 0, 0, 0];
            let value: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            let flags = rustix::fs::XattrFlags::empty();
            rustix::fs::lsetxattr(&path, "security.capability", &value, flags).map_err(Into::into)
        }
        Make::Owner { id } if is_root && kind.is_some() => {
            std::os::unix::fs::lchown(&path, Some(40_000 + id), Some(40_000 + id / 2))
        }
        Make::Attribute { value } if is_file => {
            let flags = rustix::fs::XattrFlags::empty();
            rustix::fs::lsetxattr(&path, format!("user.{}", value % 2), &[*value], flags).map_err(Into::into)
        }
        Make::Overwrite { at, len } if is_file => {
            let at = at % fs::metadata(&path).unwrap().len().max(1);
            open().and_then(|file| file.write_all_at(&noise(at, *len), at))
        }
        Make::Resize { len } if is_file => open().and_then(|file| file.set_len(*len)),
        Make::MoveTo { other } if kind.is_some() => fs::rename(&path, root.join(other)),
        Make::Remove if kind.as_ref().is_some_and(|found| found.is_dir()) => fs::remove_dir_all(&path),
        Make::Remove => fs::remove_file(&path),
        _ => Ok(()),
    };
}

/// Lets a user read more than the group may; for what will be made in a directory, if `inherited`.
fn set_acl(path: &Path, user: u32, inherited: bool) -> std::io::Result<()> {
    const ANY: u32 = u32::MAX;
    let (owner, named, group, mask, others) = (0x01_u16, 0x02, 0x04, 0x10, 0x20);
    let entries = [(owner, 7, ANY), (named, 6, 40_000 + user), (group, 4, ANY), (mask, 6, ANY), (others, 0, ANY)];
    let mut value = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        value.extend(tag.to_le_bytes());
        value.extend(u16::to_le_bytes(permissions));
        value.extend(u32::to_le_bytes(id));
    }
    let name = if inherited { "system.posix_acl_default" } else { "system.posix_acl_access" };
    Ok(rustix::fs::lsetxattr(path, name, &value, rustix::fs::XattrFlags::empty())?)
}

fn steps(most: usize) -> impl Strategy<Value = Vec<(String, Make)>> {
    prop::collection::vec((path(), make()), 1..most)
}

fn apply_all(root: &Path, steps: &[(String, Make)]) {
    steps.iter().for_each(|(name, make)| apply(root, name, make));
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg("--sparse=always").arg(from).arg(to).output().unwrap();
    assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
}

#[test]
fn random_trees_come_back_in_every_mode_and_random_damage_is_undone() {
    let config = Config { cases: 24, max_shrink_iters: 40, failure_persistence: None, ..Config::default() };
    let tested = TestRunner::new(config).run(&(steps(30), steps(16), any::<bool>()), |(tree, damage, rehash)| {
        let home = Home::with_repository();
        let root = home.make_dir("root");
        apply_all(&root, &tree);
        let exact = home.path("exact");
        copy(&root, &exact);
        home.backup(&root, &["--name", "root"]);
        let same = |what: &str, path: &Path| {
            let found = differences(&exact, path);
            prop_assert!(found.is_empty(), "{what}: {found:#?}");
            Ok(())
        };
        same("new", &home.restore("root", "new"))?;
        same("new, into a directory of its own", &{
            let to = home.path("of its own");
            home.ok(args!["restore", "root", "--root", format!("root={}", to.display()), "--verify"]);
            to
        })?;

        // Both ways to bring the same damage back; the rehearsal knows what is fetched.
        let other = home.path("other");
        apply_all(&root, &damage);
        copy(&root, &other);
        let mut line = args!["restore", "root", "--in-place", "--delete", "--json"].to_vec();
        if rehash {
            line.push("--rehash".into());
        }
        let rehearsed = home.ok(line.iter().chain(&args!["--dry-run"])).json();
        let report = home.ok(&line).json();
        same("in place", &root)?;
        prop_assert_eq!(&report["actions_count"], &rehearsed["actions_count"]);
        prop_assert!(report["bytes_fetched"].as_u64() <= rehearsed["bytes_fetched"].as_u64() || !rehash);

        let report = home.json(args!["restore", "root", "--exchange", "--to", &other]);
        same("exchange", &other)?;
        prop_assert!(report["exchanged"][0]["old"].is_string());

        // Nothing is left to do, and nothing is left behind.
        let again = home.json(args!["restore", "root", "--in-place", "--delete", "--rehash", "--verify"]);
        prop_assert_eq!(&again["bytes_fetched"], 0);
        prop_assert_eq!(
            &again["actions_count"]["keep"].as_u64(),
            &again["files"].as_u64().map(|files| {
                let count = |name: &str| again[name].as_u64().unwrap();
                files + count("directories") + count("symlinks") + count("others") + count("links")
            })
        );
        same("again", &root)
    });
    tested.unwrap_or_else(|error| panic!("{error}"));
}
