//! The restored side: a directory in which entries are made, and beneath which everything stays.
//!
//! | module | what it holds |
//! |---|---|
//! | here | making entries |
//! | `standing` | looking at, replacing and removing what stands |
//! | `beside` | a tree that is built beside a directory and exchanged for it |
//! | `metadata`, `owners` | owner, attributes, permissions, times |
//! | `held` | what may not be changed by anybody |
//! | [`scratch`] | a directory for what is restored only for a while |
//!
//! What stands already is replaced by an entry that was made beside it, in one step, or changed where it stands.
//!
//! A path of a manifest is untrusted. It is refused unless it is well formed, and it is resolved
//! below the target's own directory without following a symbolic link in any component, so that
//! neither `..`, nor an absolute path, nor a link that the same manifest planted leads outside.
//!
//! Entries are private to the restoring user until they are finished. Directories are finished
//! last, deepest first: what is made in a directory changes its times, and a read-only one would
//! refuse it.

mod beside;
mod file;
mod held;
mod metadata;
mod owners;
mod parents;
pub mod scratch;
mod standing;

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use icecore_format::entry::{Entry, Node, is_valid_path};

pub use self::beside::Beside;
pub use self::file::TargetFile;
pub use self::metadata::{Fault, FaultKind, finish_file};
pub use self::owners::Owners;
use self::parents::{Parents, split};
pub use self::standing::this_boot;
use crate::os::{self, Dir, Subject};
use crate::stat::Kind;

/// The one entry that a fresh file system brings with it; a restore onto one must be possible.
const ALLOWED_LEFTOVER: &[u8] = b"lost+found";

/// Why a directory cannot be restored into.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// There is something in it, which a restore would mix with what it writes.
    #[error(
        "{} is not empty: choose an empty or new directory, or change what stands there (--in-place), or swap it for \
         the restored one (--exchange)",
        path.display()
    )]
    NotEmpty {
        /// The directory.
        path: PathBuf,
    },
    /// It is there, but no directory.
    #[error("{} is not a directory", path.display())]
    NotADirectory {
        /// What was asked for.
        path: PathBuf,
    },
    /// It has no name or no directory above it in which another could be built.
    #[error("{} cannot be exchanged: {reason}; restore --in-place instead", path.display())]
    NotExchangeable {
        /// The directory.
        path: PathBuf,
        /// Why.
        reason: &'static str,
    },
    /// It could not be made, listed or opened.
    #[error("cannot use {} as the target of a restore", path.display())]
    Unusable {
        /// The directory.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
}

/// A directory that is being restored into. Shared by threads.
#[derive(Debug)]
pub struct Target {
    /// As it was named, for people.
    path: PathBuf,
    parents: Parents,
    /// The directory passes an access control list on to what is made in it, which no entry asked for.
    passes_acl_on: bool,
}

impl Target {
    /// Makes the directory with its parents, or takes an empty one. A new one is private (mode 0700)
    /// until its own entry, the one with the empty path, is finished.
    pub fn create(path: &Path) -> Result<Self, TargetError> {
        let target = Self::make(path)?;
        if target.is_empty().map_err(|source| TargetError::Unusable { path: path.into(), source })? {
            Ok(target)
        } else {
            Err(TargetError::NotEmpty { path: path.into() })
        }
    }

    /// Makes the directory as [`create`](Self::create) does, or takes what stands there.
    pub fn make(path: &Path) -> Result<Self, TargetError> {
        if fs::metadata(path).is_ok_and(|found| !found.is_dir()) {
            return Err(TargetError::NotADirectory { path: path.into() });
        }
        os::make_private_dir(path).map_err(|source| TargetError::Unusable { path: path.into(), source })?;
        Self::open(path)
    }

    /// Opens a directory that stands.
    pub fn open(path: &Path) -> Result<Self, TargetError> {
        let root = Dir::open(path).map_err(|source| match source.kind() {
            io::ErrorKind::NotADirectory => TargetError::NotADirectory { path: path.into() },
            _ => TargetError::Unusable { path: path.into(), source },
        })?;
        Ok(Self { path: path.to_owned(), passes_acl_on: root.passes_acl_on(), parents: Parents::new(root) })
    }

    /// Whether nothing is in it but what a fresh file system brings with it.
    pub fn is_empty(&self) -> io::Result<bool> {
        self.parents.open(b"")?.holds_only(ALLOWED_LEFTOVER)
    }

    /// Makes a directory, private until it is finished. One that exists is left as it is.
    pub fn make_dir(&self, path: &[u8]) -> io::Result<()> {
        if path.is_empty() {
            return Ok(());
        }
        self.at(path, |parent, name| {
            parent.make_dir(name)?;
            self.disinherit(Subject::Named(parent, name))
        })
    }

    /// Makes an empty regular file, private until it is finished; an entry that exists is an error.
    pub fn create_file(&self, path: &[u8]) -> io::Result<TargetFile> {
        let file = self.at(path, |parent, name| parent.create_file(name))?;
        self.disinherit(Subject::of_file(&file))?;
        Ok(TargetFile::new(file))
    }

    /// Opens a regular file for reading and writing; one whose mode forbids that is unlocked.
    pub fn open_file(&self, path: &[u8]) -> io::Result<TargetFile> {
        self.at(path, |parent, name| parent.reopen_file(name)).map(TargetFile::new)
    }

    /// Removes anything but a directory.
    pub fn remove_file(&self, path: &[u8]) -> io::Result<()> {
        self.at(path, |parent, name| parent.remove_file(name))
    }

    /// Makes a symbolic link to `target`, whatever that names: nothing here follows it.
    pub fn make_symlink(&self, path: &[u8], target: &[u8]) -> io::Result<()> {
        self.at(path, |parent, name| parent.make_symlink(name, target))
    }

    /// Gives `existing`, which this restore made, the further name `path`.
    pub fn make_hard_link(&self, existing: &[u8], path: &[u8]) -> io::Result<()> {
        self.make_hard_link_from(self, existing, path)
    }

    /// Gives `existing` of another target the further name `path`, which only file systems of both allow.
    pub fn make_hard_link_from(&self, other: &Self, existing: &[u8], path: &[u8]) -> io::Result<()> {
        other.at(existing, |from, old| self.at(path, |parent, name| parent.make_hard_link(name, from, old)))
    }

    /// Makes a named pipe, a socket or a device; any other node is an error.
    pub fn make_special(&self, path: &[u8], node: &Node) -> io::Result<()> {
        let device = match *node {
            Node::CharDevice { major, minor } | Node::BlockDevice { major, minor } => (major, minor),
            _ => (0, 0),
        };
        self.at(path, |parent, name| {
            parent.make_special(name, Kind::of(node), device)?;
            self.disinherit(Subject::Named(parent, name))
        })
    }

    /// Gives what stands at `path` the metadata of `entry`, and tells what could not be set.
    ///
    /// Never follows a symbolic link: a link gets the owner and the times itself. For regular files
    /// that are still open, [`finish_file`] does the same with fewer look-ups.
    pub fn finish(&self, path: &[u8], entry: &Entry, owners: &Owners) -> Vec<Fault> {
        let finished = match entry.node {
            Node::Directory => self.open_dir(path).map(|dir| metadata::apply(Subject::of_dir(&dir), entry, owners)),
            _ => self.at(path, |parent, name| Ok(metadata::apply(Subject::Named(parent, name), entry, owners))),
        };
        let explained = |fault: Fault| Fault { error: self.explain(path, fault.error), ..fault };
        match finished {
            Ok(faults) => faults.into_iter().map(explained).collect(),
            Err(error) => vec![Fault { path: entry.path.clone(), kind: FaultKind::Entry, error }],
        }
    }

    fn open_dir(&self, path: &[u8]) -> io::Result<Dir> {
        match path {
            b"" => self.parents.open(b"")?.open_readable(b""),
            _ => self.at(path, |parent, name| parent.open_readable(name)),
        }
    }

    /// Takes away from a new entry what it inherited and no snapshot asked for.
    fn disinherit(&self, made: Subject<'_>) -> io::Result<()> {
        if self.passes_acl_on { made.remove_acls() } else { Ok(()) }
    }

    /// Runs `action` in the parent directory of `path`, with the last component.
    fn at<T>(&self, path: &[u8], action: impl FnOnce(&Dir, &[u8]) -> io::Result<T>) -> io::Result<T> {
        if path.is_empty() || !is_valid_path(path) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a path beneath the target"));
        }
        let (parent, name) = split(path);
        action(&*self.parents.open(parent)?, name).map_err(|error| self.explain(path, error))
    }
}

/// What tells a file or directory from every other, whatever path leads to it: device and inode.
pub fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::metadata(path).map(|found| (found.dev(), found.ino()))
}

/// The place of a snapshot's path, well formed or as recorded, below a directory.
pub fn beneath(directory: &Path, path: &[u8]) -> PathBuf {
    if path.is_empty() { directory.to_owned() } else { directory.join(OsStr::from_bytes(path)) }
}

#[cfg(test)]
mod tests;
