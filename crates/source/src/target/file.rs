//! A regular file of a target while its content is written.

use std::fs::File;
use std::io;
use std::ops::Range;

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

    /// Makes the file share all bytes of another one of its file system; later changes of one do not show in the other.
    pub fn clone_from(&self, other: &Self) -> io::Result<()> {
        os::clone_file(&other.0, &self.0)
    }

    /// Makes a hole of `range`, so that it reads as zeros.
    pub fn punch_hole(&self, range: Range<u64>) -> io::Result<()> {
        os::punch_hole(&self.0, range.start, range.end.saturating_sub(range.start))
    }

    /// Whether the bytes of `range` are zeros, those of holes among them. `buffer` is scratch space.
    pub fn is_zero(&self, range: Range<u64>, buffer: &mut [u8]) -> io::Result<bool> {
        let mut at = range.start;
        while let Some(data) = os::next_data(&self.0, at, range.end)? {
            at = data.start.max(at);
            while at < data.end {
                let len = usize::try_from(data.end - at).unwrap_or(buffer.len()).min(buffer.len());
                match self.read_at(at, &mut buffer[..len])? {
                    0 => return Ok(true),
                    read if buffer[..read].iter().any(|byte| *byte != 0) => return Ok(false),
                    read => at += read as u64,
                }
            }
        }
        Ok(true)
    }

    /// The first range at or after `offset` that is no hole, within the first `size` bytes.
    pub fn next_data(&self, offset: u64, size: u64) -> io::Result<Option<Range<u64>>> {
        os::next_data(&self.0, offset, size)
    }

    /// Tells the kernel that what it keeps of the file is not needed: what is read next comes from the medium.
    pub fn forget_cached(&self) {
        os::drop_cache(&self.0);
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
