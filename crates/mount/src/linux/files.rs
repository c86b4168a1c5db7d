//! Open files: reading, holes, extended attributes, links.

use std::sync::Arc;

use fuser::Errno;
use icecore_engine::access::Shown as Seen;
use icecore_engine::entry::{Content, File, Node};
use icecore_engine::{Error, Result};

use super::ahead::Run;
use super::snapshots::{Answer, Found, Snapshots};
use crate::tree::Shown;

/// Attributes with names that begin so are shown to root alone, as elsewhere.
const TRUSTED: &[u8] = b"trusted.";

/// An open file.
#[derive(Debug)]
pub struct OpenFile {
    snapshot: Arc<Shown>,
    seen: Arc<Seen>,
    run: Run,
}

/// What is looked for in a sparse file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whence {
    /// `SEEK_DATA`.
    Data,
    /// `SEEK_HOLE`.
    Hole,
}

impl Snapshots {
    /// Opens a file. One without content is refused at once: a size of 0 would make it look empty.
    pub fn open_file(&self, inode: u64) -> Answer<OpenFile> {
        let found = self.resolve(inode)?;
        let (snapshot, seen) = found.entry().ok_or(Errno::EISDIR)?;
        match &seen.entry.node {
            Node::File(File { content: Content::Missing, .. }) => {
                Err(self.complaints.tell(snapshot, &seen.entry.path, &Error::NoContent))
            }
            Node::File(_) => {
                Ok(OpenFile { snapshot: Arc::clone(snapshot), seen: Arc::clone(seen), run: Run::default() })
            }
            Node::Directory => Err(Errno::EISDIR),
            // The kernel opens the others itself.
            _ => Err(Errno::EINVAL),
        }
    }

    /// At most `len` bytes from `offset` on.
    pub fn read(&self, open: &OpenFile, offset: u64, len: usize) -> Answer<Vec<u8>> {
        self.ahead.note(&open.run, &open.seen, offset, len as u64);
        self.try_to(open, |file| self.access.read(file, offset, len))
    }

    /// The next data or hole at or after `offset`.
    pub fn seek(&self, open: &OpenFile, offset: u64, whence: Whence) -> Answer<u64> {
        if offset >= open.seen.entry.size() {
            return Err(Errno::ENXIO);
        }
        match whence {
            Whence::Data => self.try_to(open, |file| self.access.next_data(file, offset))?.ok_or(Errno::ENXIO),
            Whence::Hole => self.try_to(open, |file| self.access.next_hole(file, offset)),
        }
    }

    fn try_to<T>(&self, open: &OpenFile, act: impl FnOnce(&File) -> Result<T>) -> Answer<T> {
        let entry = &open.seen.entry;
        let Node::File(file) = &entry.node else { return Err(Errno::EINVAL) };
        act(file).map_err(|error| self.complaints.tell(&open.snapshot, &entry.path, &error))
    }

    /// Where a symbolic link leads.
    pub fn target(&self, inode: u64) -> Answer<Vec<u8>> {
        let found = self.resolve(inode)?;
        if let Found::Above(inode) = found {
            return self.tree().target(inode).map(String::into_bytes).ok_or(Errno::ENOENT);
        }
        match found.entry().map(|(_, seen)| &seen.entry.node) {
            Some(Node::Symlink { target }) => Ok(target.clone()),
            _ => Err(Errno::EINVAL),
        }
    }

    /// The value of an extended attribute.
    pub fn xattr(&self, inode: u64, name: &[u8]) -> Answer<Vec<u8>> {
        let found = self.resolve(inode)?;
        let xattrs = found.entry().map_or(&[][..], |(_, seen)| &seen.entry.meta.xattrs);
        let found = xattrs.binary_search_by(|xattr| xattr.name.as_slice().cmp(name));
        found.map(|at| xattrs[at].value.clone()).map_err(|_| Errno::ENODATA)
    }

    /// The names of the extended attributes, each with a NUL byte behind it.
    pub fn xattrs(&self, inode: u64, is_root: bool) -> Answer<Vec<u8>> {
        let found = self.resolve(inode)?;
        let xattrs = found.entry().map_or(&[][..], |(_, seen)| &seen.entry.meta.xattrs);
        let names = xattrs.iter().map(|xattr| &xattr.name).filter(|name| is_root || !name.starts_with(TRUSTED));
        Ok(names.flat_map(|name| name.iter().chain(b"\0")).copied().collect())
    }
}
