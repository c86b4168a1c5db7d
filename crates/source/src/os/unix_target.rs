//! What restoring asks of Unix: making entries in an opened directory and setting their metadata.
//!
//! Names are single components, and no call follows a symbolic link in one.

use std::ffi::OsStr;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};

use icecore_format::entry::{Timestamp, Xattr};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags};
use rustix::io::Errno;

use super::linux as native;
use super::unix::{Dir, fd_xattrs, link_xattrs};
use crate::stat::{Kind, Stat};

const PRIVATE_DIR: Mode = Mode::RWXU;
const PRIVATE_FILE: Mode = Mode::RUSR.union(Mode::WUSR);
const ACCESS_ACL: &str = "system.posix_acl_access";
/// A directory's list for what will be made in it.
const DEFAULT_ACL: &str = "system.posix_acl_default";
/// Linux keeps 12 bits of a major and 20 bits of a minor device number.
const MAX_MAJOR: u32 = 0xfff;
const MAX_MINOR: u32 = 0xf_ffff;

/// Makes a directory that only its owner may enter, and its parents; one that exists is left as it is.
pub(crate) fn make_private_dir(path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    match DirBuilder::new().mode(PRIVATE_DIR.bits()).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

/// Writes all of `bytes` at `offset`.
pub(crate) fn write_all_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    file.write_all_at(bytes, offset)
}

impl Dir {
    /// Makes a directory that only its owner may enter; one that exists is left as it is.
    pub(crate) fn make_dir(&self, name: &[u8]) -> io::Result<()> {
        match rustix::fs::mkdirat(self, name, PRIVATE_DIR) {
            Err(Errno::EXIST) if self.stat(name)?.kind == Kind::Directory => Ok(()),
            made => Ok(made?),
        }
    }

    /// Makes a regular file that only its owner may read, opened for reading and writing.
    pub(crate) fn create_file(&self, name: &[u8]) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(self, name, flags, PRIVATE_FILE)?.into())
    }

    /// Opens a regular file for reading and writing; whatever else stands there is not opened. A file whose mode forbids
    /// its owner to write is unlocked.
    pub(crate) fn reopen_file(&self, name: &[u8]) -> io::Result<File> {
        if self.stat(name)?.kind != Kind::File {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "it is not a regular file"));
        }
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        match rustix::fs::openat(self, name, flags, Mode::empty()) {
            Err(Errno::ACCESS) => {
                self.unlock(name)?;
                Ok(rustix::fs::openat(self, name, flags, Mode::empty())?.into())
            }
            opened => Ok(opened?.into()),
        }
    }

    /// Removes anything but a directory.
    pub(crate) fn remove_file(&self, name: &[u8]) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(self, name, AtFlags::empty())?)
    }

    /// Makes a symbolic link that says `target`.
    pub(crate) fn make_symlink(&self, name: &[u8], target: &[u8]) -> io::Result<()> {
        Ok(rustix::fs::symlinkat(target, self, name)?)
    }

    /// Gives the entry `existing` of the directory `parent` a further name in this one.
    pub(crate) fn make_hard_link(&self, name: &[u8], parent: &Self, existing: &[u8]) -> io::Result<()> {
        Ok(rustix::fs::linkat(parent, existing, self, name, AtFlags::empty())?)
    }

    /// Makes a named pipe, a socket or a device, whose numbers only the last looks at.
    pub(crate) fn make_special(&self, name: &[u8], kind: Kind, (major, minor): (u32, u32)) -> io::Result<()> {
        let file_type = match kind {
            Kind::Fifo => FileType::Fifo,
            Kind::Socket => FileType::Socket,
            Kind::CharDevice => FileType::CharacterDevice,
            Kind::BlockDevice => FileType::BlockDevice,
            Kind::Directory | Kind::File | Kind::Symlink => {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a special file"));
            }
        };
        // The kernel would silently make another device of a number that it cannot hold.
        if major > MAX_MAJOR || minor > MAX_MINOR {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the device number is out of range"));
        }
        Ok(rustix::fs::mknodat(self, name, file_type, PRIVATE_FILE, rustix::fs::makedev(major, minor))?)
    }

    /// Tells whether this directory passes an access control list on to what is made in it.
    pub(crate) fn passes_acl_on(&self) -> bool {
        rustix::fs::fgetxattr(self, DEFAULT_ACL, &mut [0; 0]).is_ok()
    }
}

/// An entry whose metadata is looked at and set.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Subject<'a> {
    /// An open file or directory.
    Open(BorrowedFd<'a>),
    /// An entry of a directory that is not opened: a link cannot be, and a device may do anything.
    Named(&'a Dir, &'a [u8]),
}

impl<'a> Subject<'a> {
    pub(crate) fn of_file(file: &'a File) -> Self {
        Self::Open(file.as_fd())
    }

    /// A directory that was opened for listing.
    pub(crate) fn of_dir(dir: &'a Dir) -> Self {
        Self::Open(dir.as_fd())
    }

    pub(crate) fn stat(self) -> io::Result<Stat> {
        match self {
            Self::Open(fd) => native::stat(fd, ""),
            Self::Named(dir, name) => dir.stat(name),
        }
    }

    /// Sets user and group; `None` leaves one as it is.
    pub(crate) fn set_owner(self, uid: Option<u32>, gid: Option<u32>) -> io::Result<()> {
        // To the kernel this number means "leave as it is".
        if uid == Some(u32::MAX) || gid == Some(u32::MAX) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the number stands for no user or group"));
        }
        let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
        match self {
            Self::Open(fd) => Ok(rustix::fs::fchown(fd, uid, gid)?),
            Self::Named(dir, name) => Ok(rustix::fs::chownat(dir, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?),
        }
    }

    /// Sets permission bits (`0o7777`).
    pub(crate) fn set_mode(self, mode: u32) -> io::Result<()> {
        let mode = Mode::from_raw_mode(mode);
        match self {
            Self::Open(fd) => Ok(rustix::fs::fchmod(fd, mode)?),
            Self::Named(dir, name) => Ok(rustix::fs::chmod(pin(dir, name)?.path(), mode)?),
        }
    }

    /// The extended attributes, sorted by name; none where the file system has none.
    pub(crate) fn xattrs(self) -> io::Result<Vec<Xattr>> {
        match self {
            Self::Open(fd) => fd_xattrs(fd),
            Self::Named(dir, name) => link_xattrs(&path_in(dir, name)),
        }
    }

    /// Removes an extended attribute.
    pub(crate) fn remove_xattr(self, name: &[u8]) -> io::Result<()> {
        match self {
            Self::Open(fd) => Ok(rustix::fs::fremovexattr(fd, name)?),
            Self::Named(dir, entry) => Ok(rustix::fs::lremovexattr(path_in(dir, entry), name)?),
        }
    }

    /// Sets an extended attribute, whether or not it is there.
    pub(crate) fn set_xattr(self, name: &[u8], value: &[u8]) -> io::Result<()> {
        match self {
            Self::Open(fd) => Ok(rustix::fs::fsetxattr(fd, name, value, XattrFlags::empty())?),
            Self::Named(dir, entry) => {
                Ok(rustix::fs::lsetxattr(path_in(dir, entry), name, value, XattrFlags::empty())?)
            }
        }
    }

    /// Removes the access control lists that an entry inherited from its directory.
    pub(crate) fn remove_acls(self) -> io::Result<()> {
        for acl in [ACCESS_ACL, DEFAULT_ACL] {
            let removed = match self {
                Self::Open(fd) => rustix::fs::fremovexattr(fd, acl),
                Self::Named(dir, name) => rustix::fs::lremovexattr(path_in(dir, name), acl),
            };
            match removed {
                Ok(()) | Err(Errno::NODATA | Errno::NOTSUP) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Sets the time of the last change of content, and leaves that of the last access.
    pub(crate) fn set_mtime(self, mtime: Timestamp) -> io::Result<()> {
        // Beyond a second stand the kernel's codes for "now" and "leave".
        if mtime.nanos >= 1_000_000_000 {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the nanoseconds are more than a second"));
        }
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: Timespec { tv_sec: mtime.seconds, tv_nsec: mtime.nanos.into() },
        };
        match self {
            Self::Open(fd) => Ok(rustix::fs::futimens(fd, &times)?),
            Self::Named(dir, name) => Ok(rustix::fs::utimensat(dir, name, &times, AtFlags::SYMLINK_NOFOLLOW)?),
        }
    }
}

/// A path to an entry of an opened directory, for calls that take no directory and leave a link in the last component alone.
fn path_in(dir: &Dir, name: &[u8]) -> PathBuf {
    let fd = dir.as_fd().as_raw_fd();
    Path::new("/proc/self/fd").join(fd.to_string()).join(OsStr::from_bytes(name))
}

/// An entry held without being opened, for the calls that know no way to leave links alone.
struct Pinned(OwnedFd);

fn pin(dir: &Dir, name: &[u8]) -> io::Result<Pinned> {
    let flags = native::PASS | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(Pinned(rustix::fs::openat(dir, name, flags, Mode::empty())?))
}

impl Pinned {
    /// Leads to the entry itself, even if that is a symbolic link.
    fn path(&self) -> String {
        format!("/proc/self/fd/{}", self.0.as_raw_fd())
    }
}
