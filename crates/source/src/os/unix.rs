//! Directories, files and attributes as Unix has them. `linux.rs` stands in where Linux does better.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use icecore_format::entry::{Xattr, is_valid_path};
use rustix::fs::{Advice, CWD, Mode, OFlags, SeekFrom};
use rustix::io::Errno;
use rustix::path::Arg;

use super::linux as native;
use crate::os::NameList;
use crate::stat::{Kind, Stat};

/// The kernel takes paths up to 4,096 bytes (`PATH_MAX`) with the terminating NUL; longer ones are
/// walked in steps of at most this many.
const STEP_LEN: usize = 4_000;

/// An open directory below which relative paths are resolved, without ever following a link.
///
/// A directory from [`open`](Self::open) or [`open_readable`](Self::open_readable) can be listed; one
/// from [`open_beneath`](Self::open_beneath) or [`parent_of`](Self::parent_of) serves only to reach
/// what is in it (on Linux it is an `O_PATH` descriptor), so that search permission is enough.
#[derive(Debug)]
pub struct Dir(OwnedFd);

impl Dir {
    /// Opens a directory that a person named: links in `path` are followed.
    ///
    /// # Errors
    /// As the OS says, among them "not a directory" and missing read permission.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(rustix::fs::openat(CWD, path, flags, Mode::empty())?))
    }

    /// Another handle on the same directory.
    ///
    /// # Errors
    /// As the OS says: too many are open.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self(self.0.try_clone()?))
    }

    /// Opens the directory at `rel`, to go through it; the empty path is this directory itself.
    ///
    /// # Errors
    /// "Invalid input" for a path that may not stand in a manifest; otherwise as the OS says. A link
    /// on the way, or in place of the directory, is an error.
    pub fn open_beneath(&self, rel: &[u8]) -> io::Result<Self> {
        self.open_at(rel, native::PASS | OFlags::DIRECTORY).map(Self)
    }

    /// Opens the directory at `rel` for listing, fsync and attributes; access times stay where
    /// the OS permits.
    ///
    /// # Errors
    /// As [`open_beneath`](Self::open_beneath), and missing read permission.
    pub fn open_readable(&self, rel: &[u8]) -> io::Result<Self> {
        without_atime(|flags| self.open_at(rel, OFlags::RDONLY | OFlags::DIRECTORY | flags)).map(Self)
    }

    /// Opens the directory that holds `rel`, and tells the name of `rel` in it.
    ///
    /// # Errors
    /// As [`open_beneath`](Self::open_beneath); the empty path has no parent ("invalid input").
    pub fn parent_of<'p>(&self, rel: &'p [u8]) -> io::Result<(Self, &'p OsStr)> {
        let (parent, name) = match rel.iter().rposition(|&b| b == b'/') {
            Some(slash) => (&rel[..slash], &rel[slash + 1..]),
            None => (&b""[..], rel),
        };
        if rel.is_empty() || !is_valid_path(rel) {
            return Err(invalid_path());
        }
        Ok((self.open_beneath(parent)?, OsStr::from_bytes(name)))
    }

    /// The stat of the entry `name` in this directory, of the directory itself if the name is empty.
    ///
    /// # Errors
    /// As the OS says.
    pub fn stat(&self, name: impl Arg) -> io::Result<Stat> {
        native::stat(self, name)
    }

    /// Whether something is mounted at `name` in this directory; `None` where the system does not say.
    pub(crate) fn is_mount_point(&self, name: impl Arg) -> io::Result<Option<bool>> {
        native::is_mount_point(self, name)
    }

    /// The stat of the entry at `rel`, of the directory itself if that is empty.
    ///
    /// # Errors
    /// As [`open_beneath`](Self::open_beneath).
    pub fn stat_beneath(&self, rel: &[u8]) -> io::Result<Stat> {
        if rel.is_empty() {
            return self.stat("");
        }
        let (parent, name) = self.parent_of(rel)?;
        parent.stat(name)
    }

    /// Appends the names in this directory; `buffer` is scratch space worth keeping between calls.
    pub(crate) fn read_names(&self, buffer: &mut Vec<u8>, names: &mut NameList) -> io::Result<()> {
        native::read_names(self, buffer, names)
    }

    /// Opens the regular file at `rel` for reading; access times stay where the OS permits.
    ///
    /// Whatever else stands there is not opened: opening a FIFO wakes its writer, opening a device
    /// may do anything.
    ///
    /// # Errors
    /// "Unsupported" if it is no regular file; otherwise as [`open_beneath`](Self::open_beneath).
    pub fn open_file(&self, rel: &[u8]) -> io::Result<File> {
        let (parent, name) = self.parent_of(rel)?;
        expect_file(parent.stat(name)?)?;
        // It may have become something else by now: do not block, and look again.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = without_atime(|extra| Ok(rustix::fs::openat(&parent, name, flags | extra, Mode::empty())?))?;
        expect_file(native::stat(&file, "")?)?;
        Ok(file.into())
    }

    /// The bytes of the link at `rel`.
    ///
    /// # Errors
    /// As the OS says, "invalid input" if it is no link.
    pub fn read_link(&self, rel: &[u8]) -> io::Result<Vec<u8>> {
        let (parent, name) = self.parent_of(rel)?;
        Ok(rustix::fs::readlinkat(&parent, name, Vec::new())?.into_bytes())
    }

    /// The extended attributes of the entry at `rel`, sorted by name. Devices, FIFOs and sockets are
    /// not opened for it.
    ///
    /// # Errors
    /// As the OS says; a file system without attributes has none.
    pub fn xattrs(&self, rel: &[u8], kind: Kind) -> io::Result<Vec<Xattr>> {
        match kind {
            Kind::Directory => fd_xattrs(self.open_readable(rel)?),
            Kind::File => file_xattrs(&self.open_file(rel)?),
            _ => {
                let handle = self.open_at(rel, native::PASS)?;
                path_xattrs(&format!("/proc/self/fd/{}", handle.as_raw_fd()))
            }
        }
    }

    fn open_at(&self, rel: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
        if !is_valid_path(rel) {
            return Err(invalid_path());
        }
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        if rel.is_empty() {
            return Ok(rustix::fs::openat(self, ".", flags, Mode::empty())?);
        }
        let mut at = None;
        let mut rest = rel;
        while rest.len() > STEP_LEN
            && let Some(cut) = rest[..STEP_LEN].iter().rposition(|&b| b == b'/')
        {
            let from = at.as_ref().map_or(self.as_fd(), OwnedFd::as_fd);
            at = Some(open_step(
                from,
                &rest[..cut],
                native::PASS | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            )?);
            rest = &rest[cut + 1..];
        }
        open_step(at.as_ref().map_or(self.as_fd(), OwnedFd::as_fd), rest, flags)
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn open_step(from: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
    native::open_beneath(from, OsStr::from_bytes(path), flags).unwrap_or_else(|| open_by_component(from, path, flags))
}

/// What `openat2` does in one call: every component opened by itself, none of them a link.
fn open_by_component(from: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
    let through = native::PASS | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut at: Option<OwnedFd> = None;
    let mut components = path.split(|&b| b == b'/').peekable();
    loop {
        let Some(name) = components.next() else { return Err(invalid_path()) };
        let flags = if components.peek().is_some() { through } else { flags };
        let from = at.as_ref().map_or(from, OwnedFd::as_fd);
        let next = rustix::fs::openat(from, OsStr::from_bytes(name), flags, Mode::empty())?;
        if components.peek().is_none() {
            return Ok(next);
        }
        at = Some(next);
    }
}

/// Opens without touching the access time, or with it where that is not permitted.
fn without_atime<T>(open: impl Fn(OFlags) -> io::Result<T>) -> io::Result<T> {
    match open(native::NOATIME) {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::PERM) => open(OFlags::empty()),
        opened => opened,
    }
}

fn expect_file(stat: Stat) -> io::Result<()> {
    match stat.kind {
        Kind::File => Ok(()),
        _ => Err(io::Error::new(io::ErrorKind::Unsupported, "it is not a regular file")),
    }
}

fn invalid_path() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "not a path that may stand in a snapshot")
}

/// The stat of an open file.
pub(crate) fn file_stat(file: &File) -> io::Result<Stat> {
    native::stat(file, "")
}

/// Reads at an offset without moving anything.
pub(crate) fn read_at(file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
    Ok(rustix::io::retry_on_intr(|| rustix::io::pread(file, &mut *buffer, offset))?)
}

/// The first range at or after `offset` that is not a hole.
pub(crate) fn next_data(file: &File, offset: u64, size: u64) -> io::Result<Option<Range<u64>>> {
    if offset >= size {
        return Ok(None);
    }
    let start = match rustix::fs::seek(file, SeekFrom::Data(offset)) {
        Ok(start) if start < size => start,
        Ok(_) | Err(Errno::NXIO) => return Ok(None),
        // A file system that knows no holes: all of it is data.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(Some(offset..size)),
        Err(error) => return Err(error.into()),
    };
    match rustix::fs::seek(file, SeekFrom::Hole(start)) {
        Ok(end) => Ok(Some(start..end.min(size))),
        // The file was cut shorter in between; reading will tell.
        Err(Errno::NXIO) => Ok(Some(start..size)),
        Err(error) => Err(error.into()),
    }
}

/// Tells the kernel that the file will be read from front to back. Only a hint: failure is ignored.
pub(crate) fn advise_sequential(file: &File) {
    let _ = rustix::fs::fadvise(file, 0, None, Advice::Sequential);
}

/// Tells the kernel that the file's pages are not needed again. Only a hint: failure is ignored.
pub(crate) fn drop_cache(file: &File) {
    let _ = rustix::fs::fadvise(file, 0, None, Advice::DontNeed);
}

/// The extended attributes of an open file.
pub(crate) fn file_xattrs(file: &File) -> io::Result<Vec<Xattr>> {
    fd_xattrs(file)
}

pub(super) fn fd_xattrs(fd: impl AsFd) -> io::Result<Vec<Xattr>> {
    collect_xattrs(
        |buffer| rustix::fs::flistxattr(&fd, buffer),
        |name, buffer| rustix::fs::fgetxattr(&fd, name, buffer),
    )
}

pub(super) fn path_xattrs(path: &str) -> io::Result<Vec<Xattr>> {
    collect_xattrs(
        |buffer| rustix::fs::listxattr(path, buffer),
        |name, buffer| rustix::fs::getxattr(path, name, buffer),
    )
}

/// Those of an entry itself, also if it is a link.
pub(super) fn link_xattrs(path: &Path) -> io::Result<Vec<Xattr>> {
    collect_xattrs(
        |buffer| rustix::fs::llistxattr(path, buffer),
        |name, buffer| rustix::fs::lgetxattr(path, name, buffer),
    )
}

fn collect_xattrs(
    list: impl Fn(&mut [u8]) -> rustix::io::Result<usize>,
    get: impl Fn(&OsStr, &mut [u8]) -> rustix::io::Result<usize>,
) -> io::Result<Vec<Xattr>> {
    let names = match read_growing(list) {
        Ok(names) => names,
        Err(Errno::NOTSUP | Errno::NOSYS) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let mut found = Vec::new();
    for name in names.split(|&b| b == 0).filter(|name| !name.is_empty()) {
        match read_growing(|buffer| get(OsStr::from_bytes(name), buffer)) {
            Ok(value) => found.push(Xattr { name: name.to_vec(), value }),
            // Removed since the names were read, or (on some file systems) listed but not kept.
            Err(Errno::NODATA | Errno::NOTSUP) => {}
            Err(error) => return Err(error.into()),
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// Calls `read` with a larger buffer until the answer fits. Most answers are tiny.
fn read_growing(read: impl Fn(&mut [u8]) -> rustix::io::Result<usize>) -> rustix::io::Result<Vec<u8>> {
    let mut small = [0; 256];
    match read(&mut small) {
        Ok(len) => return Ok(small[..len].to_vec()),
        Err(Errno::RANGE) => {}
        Err(error) => return Err(error),
    }
    // XATTR_LIST_MAX and XATTR_SIZE_MAX of Linux; other file systems may go beyond.
    let mut len = 64 * 1024;
    loop {
        let mut buffer = vec![0; len];
        match read(&mut buffer) {
            Ok(len) => {
                buffer.truncate(len);
                return Ok(buffer);
            }
            Err(Errno::RANGE) if len < 16 * 1024 * 1024 => len *= 4,
            Err(error) => return Err(error),
        }
    }
}

/// The name of the user with a number.
pub(crate) fn user_name(uid: u32) -> Option<String> {
    uzers::get_user_by_uid(uid)?.name().to_str().map(str::to_owned)
}

/// The name of the group with a number.
pub(crate) fn group_name(gid: u32) -> Option<String> {
    uzers::get_group_by_gid(gid)?.name().to_str().map(str::to_owned)
}

/// The number of the user with a name.
pub(crate) fn uid_of(name: &str) -> Option<u32> {
    // A name with NUL is nobody's; the library would panic.
    (!name.contains('\0')).then(|| uzers::get_user_by_name(name))?.map(|user| user.uid())
}

/// The number of the group with a name.
pub(crate) fn gid_of(name: &str) -> Option<u32> {
    (!name.contains('\0')).then(|| uzers::get_group_by_name(name))?.map(|group| group.gid())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// The way without `openat2` must be as strict as the way with it.
    #[test]
    fn opening_by_component_resolves_as_the_kernel_does() {
        let temp = tempfile::tempdir().unwrap();
        fs::create_dir_all(temp.path().join("a/b/c")).unwrap();
        fs::write(temp.path().join("a/b/file"), "").unwrap();
        symlink("b", temp.path().join("a/link")).unwrap();
        symlink(temp.path(), temp.path().join("a/b/absolute")).unwrap();
        let dir = Dir::open(temp.path()).unwrap();
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        for good in ["a", "a/b", "a/b/c"] {
            let opened = open_by_component(dir.as_fd(), good.as_bytes(), flags).unwrap();
            assert_eq!(
                native::stat(&opened, "").unwrap(),
                dir.open_beneath(good.as_bytes()).unwrap().stat("").unwrap()
            );
        }
        for bad in ["a/link", "a/link/c", "a/b/absolute/a", "a/b/file", "a/b/file/x", "none", "a/none/c"] {
            assert!(open_by_component(dir.as_fd(), bad.as_bytes(), flags).is_err(), "{bad}");
            assert!(dir.open_beneath(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_parent_comes_with_the_name_in_it() {
        let temp = tempfile::tempdir().unwrap();
        fs::create_dir_all(temp.path().join("a/b")).unwrap();
        let dir = Dir::open(temp.path()).unwrap();
        for (path, parent, name) in [("a/b/new", "a/b", "new"), ("a/b", "a", "b"), ("new", "", "new")] {
            let (found, last) = dir.parent_of(path.as_bytes()).unwrap();
            assert_eq!(last, name);
            assert_eq!(
                found.stat("").unwrap().inode,
                dir.open_beneath(parent.as_bytes()).unwrap().stat("").unwrap().inode
            );
        }
        for bad in ["", "/", "a/", "a/..", "..", "/a", "a//b", "./a", "a/b\0"] {
            assert_eq!(dir.parent_of(bad.as_bytes()).unwrap_err().kind(), io::ErrorKind::InvalidInput, "{bad}");
        }
        let long = vec!["x".repeat(255); 20].join("/");
        assert_eq!(dir.open_beneath(long.as_bytes()).unwrap_err().kind(), io::ErrorKind::NotFound);
        let no_name = "x".repeat(5_000);
        assert_eq!(dir.open_beneath(no_name.as_bytes()).unwrap_err().kind(), io::ErrorKind::InvalidFilename);
    }
}
