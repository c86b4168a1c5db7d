//! A regular file of a target while its content is written.

use std::fs::File;
use std::io;

use crate::os;
use crate::stat::Stat;

/// An opened regular file. Several threads may write it at once, each at its own place.
#[derive(Debug)]
pub struct TargetFile(File);

impl TargetFile {
    pub(super) fn new(file: File) -> Self {
        Self(file)
    }

    pub(super) fn as_file(&self) -> &File {
        &self.0
    }

    /// Writes all of `bytes` at `offset` (bytes from the start); the file grows where it must.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        os::write_all_at(&self.0, bytes, offset)
    }

    /// Reads into `buffer` from `offset` on and tells how many bytes; 0 only at the end.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        os::read_at(&self.0, offset, buffer)
    }

    /// Makes the file `size` bytes long. What was not written is a hole: set the size first and
    /// write only the data, and the file is as sparse as it was.
    pub fn set_len(&self, size: u64) -> io::Result<()> {
        self.0.set_len(size)
    }

    /// The file's stat as of now.
    pub fn stat(&self) -> io::Result<Stat> {
        os::file_stat(&self.0)
    }

    /// Returns when the content would survive a power cut.
    pub fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}
