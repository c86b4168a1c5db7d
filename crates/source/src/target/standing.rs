//! What stands in a target already: looked at, replaced, removed.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;

use icecore_format::entry::{Entry, PathBytes, Xattr};

use super::{FaultKind, Owners, Target, TargetFile, metadata, split};
use crate::os::{self, Subject};
use crate::stat::Stat;

impl Target {
    /// The stat of what stands at `path`, links not followed; `None` if nothing does.
    pub fn stat(&self, path: &[u8]) -> io::Result<Option<Stat>> {
        let stat = match path {
            b"" => self.parents.open(b"").and_then(|root| root.stat(OsStr::new(""))),
            _ => self.at(path, |parent, name| parent.stat(OsStr::from_bytes(name))),
        };
        match stat {
            Ok(stat) => Ok(Some(stat)),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The bytes of the symbolic link at `path`.
    pub fn read_link(&self, path: &[u8]) -> io::Result<Vec<u8>> {
        self.at(path, |parent, name| parent.read_link(name))
    }

    /// The extended attributes of what stands at `path`, sorted by name.
    pub fn xattrs(&self, path: &[u8]) -> io::Result<Vec<Xattr>> {
        match path {
            b"" => Subject::of_dir(&self.open_dir(b"")?).xattrs(),
            _ => self.at(path, |parent, name| Subject::Named(parent, name).xattrs()),
        }
    }

    /// What [`finish`](Self::finish) would change of what stands at `path` with this stat.
    pub fn differences(&self, path: &[u8], stat: &Stat, entry: &Entry, owners: &Owners) -> io::Result<Vec<FaultKind>> {
        match path {
            b"" => Ok(metadata::differences(Subject::of_dir(&self.open_dir(b"")?), stat, entry, owners)),
            _ => self
                .at(path, |parent, name| Ok(metadata::differences(Subject::Named(parent, name), stat, entry, owners))),
        }
    }

    /// Opens the regular file at `path` for reading only.
    pub fn open_standing(&self, path: &[u8]) -> io::Result<TargetFile> {
        self.at(path, |parent, name| parent.open_file(name)).map(TargetFile::new)
    }

    /// Opens the regular file at `path` for reading what the medium holds: past the page cache where that is possible, which
    /// the second value tells; otherwise after the kernel was asked to forget it.
    pub fn open_uncached(&self, path: &[u8]) -> io::Result<(TargetFile, bool)> {
        let direct = self.at(path, |parent, name| parent.open_uncached(name))?;
        match direct {
            Some(file) => Ok((TargetFile::new(file), true)),
            None => {
                let file = self.open_standing(path)?;
                file.forget_cached();
                Ok((file, false))
            }
        }
    }

    /// Lets the owner change the file or what is in the directory at `path`, where the mode forbids it.
    pub fn unlock(&self, path: &[u8]) -> io::Result<()> {
        match path {
            // The root has no name in a directory of ours; its owner restores into it, or cannot.
            b"" => Ok(()),
            _ => self.at(path, |parent, name| parent.unlock(name)),
        }
    }

    /// Puts the entry `from`, which was made beside, in the place of `to`, in one step. Both stand in one directory.
    pub fn replace(&self, from: &[u8], to: &[u8]) -> io::Result<()> {
        let (_, old) = split(from);
        self.at(to, |parent, name| parent.rename(old, name))
    }

    /// Removes an empty directory.
    pub fn remove_dir(&self, path: &[u8]) -> io::Result<()> {
        self.at(path, |parent, name| parent.remove_dir(name))?;
        self.parents.forget(path);
        Ok(())
    }

    /// The names directly in the target that begin with `prefix`.
    pub fn names_with(&self, prefix: &[u8]) -> io::Result<Vec<PathBytes>> {
        self.parents.open(b"")?.names_with(prefix)
    }

    /// Bytes that may still be written; `None` where nobody can say, because the file system compresses.
    pub fn free(&self) -> io::Result<Option<u64>> {
        self.parents.open(b"")?.free()
    }

    /// Whether its files can share their bytes until one of them is changed.
    pub fn can_clone(&self) -> bool {
        self.parents.open(b"").is_ok_and(|root| root.can_clone())
    }

    /// Returns when everything that was written to its file system is durable.
    pub fn sync(&self) -> io::Result<()> {
        self.parents.open(b"")?.sync_file_system()
    }

    /// Returns when the target's own entries are durable.
    pub fn sync_top(&self) -> io::Result<()> {
        self.parents.open(b"")?.sync()
    }
}

/// What tells this start of the machine from every other: what was written since then is there, whoever was killed. Empty
/// where nothing tells.
pub fn this_boot() -> String {
    os::boot()
}
