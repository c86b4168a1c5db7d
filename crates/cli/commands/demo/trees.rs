//! Comparing directories, with nothing in common with the engine: it is what the engine is compared with.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{lgetxattr, llistxattr};

/// Bytes that are read at a time.
const BLOCK: usize = 64 * 1024;
/// Differences that are told; more would not say more.
const TOLD: usize = 20;

/// Compares two directories byte for byte, metadata included; tells the first differences.
pub fn compare(one: &Path, other: &Path) -> io::Result<Comparison> {
    let mut comparison = Comparison::default();
    comparison.entry(one, other)?;
    Ok(comparison)
}

/// What a comparison has found.
#[derive(Debug, Default)]
pub struct Comparison {
    /// Entries that were compared.
    pub entries: u64,
    /// Bytes that were compared.
    pub bytes: u64,
    /// Differences, a sentence each.
    pub differences: Vec<String>,
    /// Inodes that belong together: of the one directory to the other.
    inodes: HashMap<u64, u64>,
}

impl Comparison {
    fn entry(&mut self, one: &Path, other: &Path) -> io::Result<()> {
        let (a, b) = (fs::symlink_metadata(one)?, fs::symlink_metadata(other)?);
        self.entries += 1;
        self.metadata(one, &a, &b);
        if attributes(one)? != attributes(other)? {
            self.differ(one, "extended attributes");
        }
        if a.file_type() != b.file_type() {
            self.differ(one, "kind");
        } else if a.is_dir() {
            return self.directory(one, other);
        } else if a.is_symlink() {
            if fs::read_link(one)? != fs::read_link(other)? {
                self.differ(one, "target");
            }
        } else if *self.inodes.entry(a.ino()).or_insert(b.ino()) != b.ino() {
            self.differ(one, "hard links");
        } else if !self.same_content(one, other)? {
            self.differ(one, "content");
        }
        Ok(())
    }

    fn directory(&mut self, one: &Path, other: &Path) -> io::Result<()> {
        let (names, others) = (names(one)?, names(other)?);
        for name in names.symmetric_difference(&others) {
            self.differ(&one.join(name), "only one directory has it");
        }
        names.intersection(&others).try_for_each(|name| self.entry(&one.join(name), &other.join(name)))
    }

    fn metadata(&mut self, path: &Path, a: &Metadata, b: &Metadata) {
        let facts = [
            ("permissions", a.mode() == b.mode()),
            ("owner", (a.uid(), a.gid()) == (b.uid(), b.gid())),
            ("modification time", (a.mtime(), a.mtime_nsec()) == (b.mtime(), b.mtime_nsec())),
            ("number of links", a.is_dir() || a.nlink() == b.nlink()),
            ("size", a.is_dir() || a.len() == b.len()),
            // A file system may give some blocks more or less; a hole that was filled is not "some".
            ("holes", a.blocks().abs_diff(b.blocks()) <= a.blocks() / 2 + 256),
        ];
        for (what, same) in facts {
            if !same {
                self.differ(path, what);
            }
        }
    }

    fn same_content(&mut self, one: &Path, other: &Path) -> io::Result<bool> {
        let (mut one, mut other) = (File::open(one)?, File::open(other)?);
        let (mut a, mut b) = (vec![0; BLOCK], vec![0; BLOCK]);
        loop {
            let read = fill(&mut one, &mut a)?;
            if fill(&mut other, &mut b)? != read || a[..read] != b[..read] {
                return Ok(false);
            }
            self.bytes += read as u64;
            if read < BLOCK {
                return Ok(true);
            }
        }
    }

    fn differ(&mut self, path: &Path, what: &str) {
        if self.differences.len() < TOLD {
            self.differences.push(format!("{}: {what}", path.display()));
        }
    }
}

fn names(directory: &Path) -> io::Result<BTreeSet<OsString>> {
    fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name())).collect()
}

/// Extended attributes of users; those of the system are its own.
fn attributes(path: &Path) -> io::Result<BTreeMap<OsString, Vec<u8>>> {
    use std::os::unix::ffi::OsStringExt;
    let mut list = vec![0; BLOCK];
    let len = match llistxattr(path, list.as_mut_slice()) {
        Err(rustix::io::Errno::NOTSUP) => 0,
        listed => listed?,
    };
    let of_users = list[..len].split(|byte| *byte == 0).filter(|name| name.starts_with(b"user."));
    of_users
        .map(|name| {
            let mut value = vec![0; BLOCK];
            let len = lgetxattr(path, name, value.as_mut_slice())?;
            value.truncate(len);
            Ok((OsString::from_vec(name.to_vec()), value))
        })
        .collect()
}

/// Reads until the buffer is full or the file ends.
fn fill(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
    use std::path::PathBuf;

    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, XattrFlags, lsetxattr, utimensat};

    use super::*;

    /// Copies a directory with its metadata.
    pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
        copy_entry(from, to, &mut HashMap::new())
    }

    fn copy_entry(from: &Path, to: &Path, seen: &mut HashMap<u64, PathBuf>) -> io::Result<()> {
        let found = fs::symlink_metadata(from)?;
        if found.is_dir() {
            fs::create_dir(to)?;
            for name in names(from)? {
                copy_entry(&from.join(&name), &to.join(&name), seen)?;
            }
        } else if found.is_symlink() {
            symlink(fs::read_link(from)?, to)?;
        } else if let Some(first) = seen.get(&found.ino()) {
            return fs::hard_link(first, to);
        } else {
            copy_content(from, to, found.len())?;
            seen.insert(found.ino(), to.to_owned());
        }
        for (name, value) in attributes(from)? {
            lsetxattr(to, name, &value, XattrFlags::empty())?;
        }
        if !found.is_symlink() {
            fs::set_permissions(to, Permissions::from_mode(found.mode() & 0o7777))?;
        }
        let mtime = Timespec { tv_sec: found.mtime(), tv_nsec: found.mtime_nsec() };
        let times = Timestamps { last_access: mtime, last_modification: mtime };
        Ok(utimensat(CWD, to, &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    fn copy_content(from: &Path, to: &Path, len: u64) -> io::Result<()> {
        let (mut from, to) = (File::open(from)?, File::create_new(to)?);
        to.set_len(len)?;
        let mut block = vec![0; BLOCK];
        let mut offset = 0;
        loop {
            let read = fill(&mut from, &mut block)?;
            if block[..read].iter().any(|byte| *byte != 0) {
                to.write_all_at(&block[..read], offset)?;
            }
            offset += read as u64;
            if read < BLOCK {
                return Ok(());
            }
        }
    }

    fn tree(at: &Path) {
        fs::create_dir_all(at.join("a/b")).unwrap();
        fs::write(at.join("a/file"), vec![7; 100_000]).unwrap();
        fs::hard_link(at.join("a/file"), at.join("a/same")).unwrap();
        symlink("file", at.join("a/link")).unwrap();
        File::create(at.join("sparse")).unwrap().set_len(8 << 20).unwrap();
    }

    #[test]
    fn a_copy_does_not_differ() {
        let directory = tempfile::tempdir().unwrap();
        let (one, other) = (directory.path().join("one"), directory.path().join("other"));
        tree(&one);
        copy(&one, &other).unwrap();
        let comparison = compare(&one, &other).unwrap();
        assert_eq!(comparison.differences, Vec::<String>::new());
        assert_eq!(comparison.entries, 7);
    }

    #[test]
    fn every_difference_is_seen() {
        type Change = fn(&Path);
        let changes: [(&str, Change); 8] = [
            ("content", |at| {
                File::options().write(true).open(at.join("a/file")).unwrap().write_all_at(b"x", 9).unwrap()
            }),
            ("modification time", |at| fs::write(at.join("a/file"), vec![7; 100_000]).unwrap()),
            ("permissions", |at| fs::set_permissions(at.join("a/b"), Permissions::from_mode(0o700)).unwrap()),
            ("only one", |at| fs::remove_file(at.join("a/link")).unwrap()),
            ("only one", |at| fs::write(at.join("a/more"), "").unwrap()),
            ("target", |at| {
                fs::remove_file(at.join("a/link")).unwrap();
                symlink("elsewhere", at.join("a/link")).unwrap();
            }),
            ("number of links", |at| {
                fs::remove_file(at.join("a/same")).unwrap();
                fs::copy(at.join("a/file"), at.join("a/same")).unwrap();
            }),
            ("holes", |at| fs::write(at.join("sparse"), vec![0; 8 << 20]).unwrap()),
        ];
        for (what, change) in changes {
            let directory = tempfile::tempdir().unwrap();
            let (one, other) = (directory.path().join("one"), directory.path().join("other"));
            tree(&one);
            copy(&one, &other).unwrap();
            change(&other);
            let differences = compare(&one, &other).unwrap().differences;
            assert!(differences.iter().any(|found| found.contains(what)), "{what}: {differences:?}");
        }
    }
}
