//! Directories, files and attributes as Windows has them: enough to list and read.
//!
//! Not there yet: file ids (every inode is 0, so that renames and hard links are not followed), a
//! change time apart from the write time, resolution relative to an open directory (paths are checked for
//! links component by component instead), sparse ranges, alternate streams, owners and ACLs.

use std::ffi::{CStr, CString, OsStr};
use std::fs::{self, File, Metadata};
use std::io;
use std::ops::Range;
use std::os::windows::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use icecore_format::entry::{Timestamp, Xattr, is_valid_path};

use crate::os::NameList;
use crate::stat::{Kind, Stat};

/// A directory below which relative paths are resolved, without ever following a link.
#[derive(Debug)]
pub struct Dir(PathBuf);

impl Dir {
    /// Opens a directory that a person named: links in `path` are followed.
    ///
    /// # Errors
    /// As the OS says, among them "not a directory".
    pub fn open(path: &Path) -> io::Result<Self> {
        let path = fs::canonicalize(path)?;
        if fs::metadata(&path)?.is_dir() { Ok(Self(path)) } else { Err(io::ErrorKind::NotADirectory.into()) }
    }

    /// Another handle on the same directory.
    ///
    /// # Errors
    /// None.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self(self.0.clone()))
    }

    /// Opens the directory at `rel`; the empty path is this directory itself.
    ///
    /// # Errors
    /// "Invalid input" for a path that may not stand in a manifest; otherwise as the OS says. A link
    /// on the way, or in place of the directory, is an error.
    pub fn open_beneath(&self, rel: &[u8]) -> io::Result<Self> {
        if !is_valid_path(rel) {
            return Err(invalid_path());
        }
        let mut path = self.0.clone();
        for component in rel.split(|&b| b == b'/').filter(|component| !component.is_empty()) {
            path.push(component_of(component)?);
            if !fs::symlink_metadata(&path)?.is_dir() {
                return Err(io::ErrorKind::NotADirectory.into());
            }
        }
        Ok(Self(path))
    }

    /// Opens the directory at `rel` for listing.
    ///
    /// # Errors
    /// As [`open_beneath`](Self::open_beneath).
    pub fn open_readable(&self, rel: &[u8]) -> io::Result<Self> {
        self.open_beneath(rel)
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
        Ok((self.open_beneath(parent)?, component_of(name)?))
    }

    /// The stat of the entry `name` in this directory, of the directory itself if the name is empty.
    ///
    /// # Errors
    /// As the OS says.
    pub fn stat(&self, name: &CStr) -> io::Result<Stat> {
        let path = if name.is_empty() { self.0.clone() } else { self.0.join(component_of(name.to_bytes())?) };
        Ok(from_metadata(&fs::symlink_metadata(path)?))
    }

    /// The stat of the entry at `rel`, of the directory itself if that is empty.
    ///
    /// # Errors
    /// As [`open_beneath`](Self::open_beneath).
    pub fn stat_beneath(&self, rel: &[u8]) -> io::Result<Stat> {
        if rel.is_empty() {
            return self.stat(c"");
        }
        let (parent, name) = self.parent_of(rel)?;
        Ok(from_metadata(&fs::symlink_metadata(parent.0.join(name))?))
    }

    /// Appends the names in this directory.
    pub(crate) fn read_names(&self, _buffer: &mut Vec<u8>, names: &mut NameList) -> io::Result<()> {
        for entry in fs::read_dir(&self.0)? {
            // Names are WTF-8 here, and hold no NUL.
            names.push(&CString::new(entry?.file_name().into_encoded_bytes())?);
        }
        Ok(())
    }

    /// Opens the regular file at `rel` for reading.
    ///
    /// # Errors
    /// "Unsupported" if it is no regular file; otherwise as [`open_beneath`](Self::open_beneath).
    pub fn open_file(&self, rel: &[u8]) -> io::Result<File> {
        let (parent, name) = self.parent_of(rel)?;
        let path = parent.0.join(name);
        if from_metadata(&fs::symlink_metadata(&path)?).kind != Kind::File {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "it is not a regular file"));
        }
        File::open(path)
    }

    /// The text of the link at `rel`.
    ///
    /// # Errors
    /// As the OS says.
    pub fn read_link(&self, rel: &[u8]) -> io::Result<Vec<u8>> {
        let (parent, name) = self.parent_of(rel)?;
        Ok(fs::read_link(parent.0.join(name))?.into_os_string().into_encoded_bytes())
    }

    /// None: see the head of this file.
    ///
    /// # Errors
    /// Never.
    pub fn xattrs(&self, _rel: &[u8], _kind: Kind) -> io::Result<Vec<Xattr>> {
        Ok(Vec::new())
    }
}

/// A name that came from a snapshot. Names that are no Unicode cannot be turned back safely.
fn component_of(name: &[u8]) -> io::Result<&OsStr> {
    // Either character would make it more than one component, or another stream or drive.
    match str::from_utf8(name) {
        Ok(name) if !name.contains(['\\', ':']) => Ok(OsStr::new(name)),
        _ => Err(invalid_path()),
    }
}

fn invalid_path() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "not a path that can stand on Windows")
}

fn from_metadata(metadata: &Metadata) -> Stat {
    const READ_ONLY: u32 = 0x1;
    let kind = match metadata.file_type() {
        kind if kind.is_symlink() => Kind::Symlink,
        kind if kind.is_dir() => Kind::Directory,
        _ => Kind::File,
    };
    let mode = match (kind, metadata.file_attributes() & READ_ONLY != 0) {
        (Kind::Directory, _) => 0o755,
        (_, true) => 0o444,
        (_, false) => 0o644,
    };
    let written = timestamp(metadata.last_write_time());
    Stat {
        kind,
        mode,
        uid: 0,
        gid: 0,
        size: metadata.file_size(),
        mtime: written,
        ctime: written,
        inode: 0,
        device: 0,
        links: 1,
        rdev: (0, 0),
        blocks: metadata.file_size().div_ceil(512),
    }
}

/// From intervals of 100 ns since 1601-01-01.
fn timestamp(filetime: u64) -> Timestamp {
    /// From 1601-01-01 to 1970-01-01.
    const SECONDS_TO_1970: i64 = 11_644_473_600;
    let seconds = (filetime / 10_000_000).cast_signed() - SECONDS_TO_1970;
    Timestamp { seconds, nanos: (filetime % 10_000_000) as u32 * 100 }
}

/// The stat of an open file.
pub(crate) fn file_stat(file: &File) -> io::Result<Stat> {
    Ok(from_metadata(&file.metadata()?))
}

/// Reads at an offset.
pub(crate) fn read_at(file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
    file.seek_read(buffer, offset)
}

/// Writes all of `bytes` at an offset.
pub(crate) fn write_all_at(file: &File, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.seek_write(bytes, offset)? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => {
                bytes = &bytes[written..];
                offset += written as u64;
            }
        }
    }
    Ok(())
}

/// Everything counts as data.
pub(crate) fn next_data(_file: &File, offset: u64, size: u64) -> io::Result<Option<Range<u64>>> {
    Ok((offset < size).then_some(offset..size))
}

/// No such hint.
pub(crate) fn advise_sequential(_file: &File) {}

/// No such hint.
pub(crate) fn drop_cache(_file: &File) {}

/// None: see the head of this file.
pub(crate) fn file_xattrs(_file: &File) -> io::Result<Vec<Xattr>> {
    Ok(Vec::new())
}

/// Users have no numbers here.
pub(crate) fn user_name(_uid: u32) -> Option<String> {
    None
}

/// Groups have no numbers here.
pub(crate) fn group_name(_gid: u32) -> Option<String> {
    None
}

/// Users have no numbers here.
pub(crate) fn uid_of(_name: &str) -> Option<u32> {
    None
}

/// Groups have no numbers here.
pub(crate) fn gid_of(_name: &str) -> Option<u32> {
    None
}
