//! What restoring over something that stands asks of Unix: replacing, exchanging, cloning, reading back, room.
//!
//! As in `unix_target`: names are single components, and no call follows a symbolic link in one.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, FallocateFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::linux as native;
use super::unix::Dir;
use super::unix_target::Subject;
use crate::os::NameList;
use crate::stat::Kind;

/// What an owner needs to change the content of a directory.
const OWN_DIR: u32 = 0o700;
/// What an owner needs to change a file.
const OWN_FILE: u32 = 0o600;
/// File systems of `linux/magic.h` that store what they are given, without compression: their free bytes say what fits.
/// ext2 to ext4, XFS, tmpfs.
const PLAIN: [u32; 3] = [0xef53, 0x5846_5342, 0x0102_1994];

impl Dir {
    /// Gives the entry `old` the name `new` in one step; what had that name is gone, unless it is a directory.
    pub(crate) fn rename(&self, old: &[u8], new: &[u8]) -> io::Result<()> {
        Ok(rustix::fs::renameat(self, old, self, new)?)
    }

    /// Moves the entry `old` to the directory `to`, where nothing of the name `new` may stand.
    pub(crate) fn move_to_new(&self, old: &[u8], to: &Self, new: &[u8]) -> io::Result<()> {
        match rustix::fs::renameat_with(self, old, to, new, RenameFlags::NOREPLACE) {
            // The file system does not know the flag.
            Err(Errno::INVAL) => match to.stat(OsStr::from_bytes(new)) {
                Ok(_) => Err(Errno::EXIST.into()),
                Err(_) => Ok(rustix::fs::renameat(self, old, to, new)?),
            },
            moved => Ok(moved?),
        }
    }

    /// Exchanges two entries, of this and of another directory of the file system, in one step.
    pub(crate) fn exchange(&self, mine: &[u8], other: &Self, theirs: &[u8]) -> io::Result<()> {
        Ok(rustix::fs::renameat_with(self, mine, other, theirs, RenameFlags::EXCHANGE)?)
    }

    /// The letter of a flag (`chattr`) of the entry `name`, or of the directory itself if the name is empty, for which
    /// nobody may change it, not even root.
    pub(crate) fn held(&self, name: &[u8]) -> Option<char> {
        native::held(self, name)
    }

    /// Removes an empty directory.
    pub(crate) fn remove_dir(&self, name: &[u8]) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(self, name, AtFlags::REMOVEDIR)?)
    }

    /// Lets the owner change what is in the directory or file `name`, where the mode forbids it; it forbids root nothing.
    pub(crate) fn unlock(&self, name: &[u8]) -> io::Result<()> {
        if rustix::process::geteuid().is_root() {
            return Ok(());
        }
        let stat = self.stat(OsStr::from_bytes(name))?;
        let wanted = if stat.kind == Kind::Directory { OWN_DIR } else { OWN_FILE };
        if matches!(stat.kind, Kind::Symlink) || stat.mode & wanted == wanted {
            return Ok(());
        }
        Subject::Named(self, name).set_mode(stat.mode | wanted)
    }

    /// Whether nothing is in this directory but, perhaps, an entry of this name.
    pub(crate) fn holds_only(&self, allowed: &[u8]) -> io::Result<bool> {
        let (mut names, mut buffer) = (NameList::default(), Vec::new());
        self.open_readable(b"")?.read_names(&mut buffer, &mut names)?;
        Ok(names.iter().all(|name| name.to_bytes() == allowed))
    }

    /// The names in this directory that begin with `prefix`.
    pub(crate) fn names_with(&self, prefix: &[u8]) -> io::Result<Vec<Vec<u8>>> {
        let (mut names, mut buffer) = (NameList::default(), Vec::new());
        self.open_readable(b"")?.read_names(&mut buffer, &mut names)?;
        Ok(names.iter().map(|name| name.to_bytes()).filter(|name| name.starts_with(prefix)).map(Vec::from).collect())
    }

    /// Opens the regular file `name` for reading from the medium, past the page cache; `None` where that is not to be had.
    pub(crate) fn open_uncached(&self, name: &[u8]) -> io::Result<Option<File>> {
        if self.stat(OsStr::from_bytes(name))?.kind != Kind::File {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "it is not a regular file"));
        }
        let flags = OFlags::RDONLY | OFlags::DIRECT | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        match rustix::fs::openat(self, name, flags, Mode::empty()) {
            Ok(file) => Ok(Some(file.into())),
            Err(Errno::INVAL) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns when everything that was written to the directory's file system is durable.
    pub(crate) fn sync_file_system(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(self.open_readable(b"")?)?)
    }

    /// Returns when the directory's own entries are durable.
    pub(crate) fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(self.open_readable(b"")?)?)
    }

    /// Bytes that may still be written to the directory's file system; `None` where nobody can say, because it compresses.
    pub(crate) fn free(&self) -> io::Result<Option<u64>> {
        let dir = self.open_readable(b"")?;
        if !PLAIN.contains(&(rustix::fs::fstatfs(&dir)?.f_type as u32)) {
            return Ok(None);
        }
        let found = rustix::fs::fstatvfs(&dir)?;
        Ok(Some(found.f_bavail.saturating_mul(found.f_frsize)))
    }

    /// Bytes that the directory's file system says to have left, which compression may make more of; `None` where it does not
    /// say.
    pub(crate) fn free_at_least(&self) -> io::Result<Option<u64>> {
        let found = rustix::fs::fstatvfs(self.open_readable(b"")?)?;
        // Those without blocks count nothing.
        Ok((found.f_blocks > 0).then(|| found.f_bavail.saturating_mul(found.f_frsize)))
    }

    /// An empty file on the directory's file system that has no name.
    fn unnamed(&self) -> io::Result<File> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(self, ".", flags, Mode::RUSR | Mode::WUSR)?.into())
    }

    /// Whether files of the directory's file system can share their bytes until one of them is changed.
    pub(crate) fn can_clone(&self) -> bool {
        let tried = self.unnamed().and_then(|from| {
            super::write_all_at(&from, &[1; 4096], 0)?;
            clone_file(&from, &self.unnamed()?)
        });
        tried.is_ok()
    }
}

/// Lets `to` share all bytes of `from`; a change of one does not show in the other.
pub(crate) fn clone_file(from: &File, to: &File) -> io::Result<()> {
    Ok(rustix::fs::ioctl_ficlone(to, from)?)
}

/// Makes a hole of a range that is within the file.
pub(crate) fn punch_hole(file: &File, offset: u64, len: u64) -> io::Result<()> {
    Ok(rustix::fs::fallocate(file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, offset, len)?)
}

/// Whether a call was refused for more than permissions: whoever asks.
pub(crate) fn is_forbidden(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::PERM)
}

/// What tells this start of the machine from every other; empty if nothing does.
pub(crate) fn boot() -> String {
    native::boot_id().unwrap_or_default()
}
