//! Comparison of two trees by everything that a backup keeps: an own one, and rsync's where it is installed.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::process::Command;
use std::sync::Once;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, SeekFrom, Stat, openat, readlinkat, seek, statat};
use rustix::io::{Errno, pread};

/// Bytes compared at once.
const BLOCK: usize = 1 << 20;

/// Fails the test unless both trees hold the same; in two opinions where rsync is installed.
#[track_caller]
pub fn assert_same(left: &Path, right: &Path) {
    let found = differences(left, right);
    let shown: Vec<_> = found.iter().take(20).collect();
    assert!(found.is_empty(), "{} and {} differ {} times: {shown:#?}", left.display(), right.display(), found.len());
    if let Some(printed) = rsync_differences(left, right) {
        assert_eq!(printed, "", "rsync finds differences");
    }
}

/// What `rsync` would do to make `right` what `left` is. `None` where it is not installed, which has then been said.
pub fn rsync_differences(left: &Path, right: &Path) -> Option<String> {
    let slash = |path: &Path| path.join("");
    let options = ["-aHAXn", "--delete", "--checksum", "--itemize-changes"];
    match Command::new("rsync").args(options).arg(slash(left)).arg(slash(right)).output() {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "rsync failed: {said}");
            Some(String::from_utf8_lossy(&output.stdout).into_owned())
        }
        Err(error) => {
            icecore_testkit::skip(&format!("rsync's opinion is not to be had: {error}"));
            None
        }
    }
}

/// Everything in which two trees differ, a sentence each: names, kinds, modes, owners, sizes, modification times,
/// targets, device numbers, extended attributes (with them ACLs), groups of hard links, and content.
pub fn differences(left: &Path, right: &Path) -> Vec<String> {
    raise_file_limit();
    let open = |path: &Path| {
        rustix::fs::open(path, DIRECTORY, Mode::empty()).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let mut comparison = Comparison::default();
    let (left, right) = (open(left), open(right));
    comparison.entry(Entry::itself(&left), Entry::itself(&right));
    comparison.directory(&left, &right);
    comparison.found
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// One directory is open for each level of both trees.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let maximum = getrlimit(Resource::Nofile).maximum;
        setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    });
}

/// A walk over two trees in lock-step.
#[derive(Debug, Default)]
struct Comparison {
    found: Vec<String>,
    path: Vec<u8>,
    /// The first path of each group of hard links, by device and inode, in each tree.
    links: [BTreeMap<(u64, u64), Vec<u8>>; 2],
}

/// An entry by its directory and name, so that no path is too long.
#[derive(Debug, Clone, Copy)]
struct Entry<'a> {
    directory: &'a OwnedFd,
    name: &'a CStr,
}

impl Comparison {
    fn differ(&mut self, what: &str, left: impl std::fmt::Debug, right: impl std::fmt::Debug) {
        self.found.push(format!("{}: {what}: {left:?}, {right:?}", self.path.escape_ascii()));
    }

    fn same<T: PartialEq + std::fmt::Debug>(&mut self, what: &str, left: T, right: T) {
        if left != right {
            self.differ(what, left, right);
        }
    }

    fn directory(&mut self, left: &OwnedFd, right: &OwnedFd) {
        let (left_names, right_names) = (names(left), names(right));
        for name in left_names.union(&right_names) {
            let length = self.path.len();
            self.path.extend_from_slice(b"/");
            self.path.extend_from_slice(name.to_bytes());
            match (left_names.contains(name), right_names.contains(name)) {
                (true, true) => self.named(Entry { directory: left, name }, Entry { directory: right, name }),
                (there, also) => self.differ("exists", there, also),
            }
            self.path.truncate(length);
        }
    }

    fn named(&mut self, left: Entry<'_>, right: Entry<'_>) {
        match self.entry(left, right) {
            Some(FileType::Directory) => self.directory(&left.open(DIRECTORY), &right.open(DIRECTORY)),
            Some(FileType::RegularFile) => self.content(left, right),
            Some(FileType::Symlink) => self.same("target", left.target(), right.target()),
            _ => {}
        }
    }

    /// Compares metadata; the kind, if it is the same.
    fn entry(&mut self, left: Entry<'_>, right: Entry<'_>) -> Option<FileType> {
        let (a, b) = (left.stat(), right.stat());
        let kind = FileType::from_raw_mode(a.st_mode);
        if kind != FileType::from_raw_mode(b.st_mode) {
            self.differ("kind", kind, FileType::from_raw_mode(b.st_mode));
            return None;
        }
        self.same("mode", a.st_mode & 0o7777, b.st_mode & 0o7777);
        self.same("owner", (a.st_uid, a.st_gid), (b.st_uid, b.st_gid));
        self.same("modified", (a.st_mtime, a.st_mtime_nsec), (b.st_mtime, b.st_mtime_nsec));
        if matches!(kind, FileType::CharacterDevice | FileType::BlockDevice) {
            self.same("device", a.st_rdev, b.st_rdev);
        }
        if kind != FileType::Directory {
            self.same("size", a.st_size, b.st_size);
            let first = [(0, &a), (1, &b)].map(|(side, stat)| {
                let group = self.links[side].entry((stat.st_dev, stat.st_ino));
                group.or_insert_with(|| self.path.clone()).escape_ascii().to_string()
            });
            self.same("hard link of", &first[0], &first[1]);
            if first[0] == first[1] && first[0] != self.path.escape_ascii().to_string() {
                // Both were compared under their first name.
                return None;
            }
        }
        self.same("extended attributes", left.xattrs(), right.xattrs());
        Some(kind)
    }

    fn content(&mut self, left: Entry<'_>, right: Entry<'_>) {
        let (a, b) = (left.open(OFlags::RDONLY), right.open(OFlags::RDONLY));
        let (mut ours, mut theirs) = (vec![0; BLOCK], vec![0; BLOCK]);
        let mut offset = 0;
        // What is a hole in both is the same; where only one has data, both are read.
        while let Some(from) = next_data(&a, offset).into_iter().chain(next_data(&b, offset)).min() {
            let (some, others) = (fill(&a, &mut ours, from), fill(&b, &mut theirs, from));
            if ours[..some] != theirs[..others] {
                self.differ("content from byte", from, from);
                return;
            }
            offset = from + some as u64;
            if some < BLOCK {
                return;
            }
        }
    }
}

impl<'a> Entry<'a> {
    fn itself(directory: &'a OwnedFd) -> Self {
        Self { directory, name: c"." }
    }

    fn stat(&self) -> Stat {
        statat(self.directory, self.name, AtFlags::SYMLINK_NOFOLLOW).unwrap_or_else(|error| panic!("{self:?}: {error}"))
    }

    fn open(&self, flags: OFlags) -> OwnedFd {
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(self.directory, self.name, flags, Mode::empty()).unwrap_or_else(|error| panic!("{self:?}: {error}"))
    }

    fn target(&self) -> CString {
        readlinkat(self.directory, self.name, Vec::new()).unwrap()
    }

    fn xattrs(&self) -> BTreeMap<String, Vec<u8>> {
        // No call takes a directory and a name; the directory's entry in /proc keeps the path short.
        let mut path = format!("/proc/self/fd/{}/", self.directory.as_raw_fd()).into_bytes();
        path.extend_from_slice(self.name.to_bytes());
        let mut buffer = vec![0; 1 << 16];
        let names = match rustix::fs::llistxattr(path.as_slice(), &mut buffer) {
            Ok(length) => buffer[..length].to_vec(),
            Err(Errno::NOTSUP) => Vec::new(),
            Err(error) => panic!("{self:?}: {error}"),
        };
        let names = names.split(|byte| *byte == 0).filter(|name| !name.is_empty());
        names
            .map(|name| {
                let length = rustix::fs::lgetxattr(path.as_slice(), name, &mut buffer).unwrap();
                (name.escape_ascii().to_string(), buffer[..length].to_vec())
            })
            .collect()
    }
}

fn names(directory: &OwnedFd) -> BTreeSet<CString> {
    let entries = Dir::read_from(directory).unwrap().map(|entry| entry.unwrap().file_name().to_owned());
    entries.filter(|name| ![c".", c".."].contains(&name.as_c_str())).collect()
}

/// The offset of the first data at or after `offset`.
fn next_data(file: impl AsFd, offset: u64) -> Option<u64> {
    match seek(file, SeekFrom::Data(offset)) {
        Ok(found) => Some(found),
        Err(Errno::NXIO) => None,
        Err(error) => panic!("{error}"),
    }
}

/// Reads until the buffer is full or the file ends.
fn fill(file: impl AsFd, buffer: &mut [u8], offset: u64) -> usize {
    let mut filled = 0;
    while filled < buffer.len() {
        match pread(&file, &mut buffer[filled..], offset + filled as u64).unwrap() {
            0 => break,
            read => filled += read,
        }
    }
    filled
}
