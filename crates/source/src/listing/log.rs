//! Where listings of directories are kept: appended to memory, and beyond a limit to a temporary file.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::os;

/// A chunk is put away once it is this long; a reader holds a few of them.
const CHUNK_LEN: usize = 256 * 1024;

/// The place of the first record of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) chunk: ChunkId,
    pub(super) offset: u32,
}

/// The chunks of a log follow one another, and so do the records across them; no record is split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ChunkId {
    pub(super) log: u32,
    pub(super) index: u32,
}

/// Bytes of a log that are final.
#[derive(Debug)]
pub(super) enum Chunk {
    Memory(Vec<u8>),
    Spooled { offset: u64, len: usize },
}

/// What one thread appends to.
#[derive(Debug)]
pub(super) struct Log<'s> {
    spool: &'s Spool,
    number: u32,
    chunks: Vec<Chunk>,
    open: Vec<u8>,
}

impl<'s> Log<'s> {
    pub(super) fn new(spool: &'s Spool, number: u32) -> Self {
        Self { spool, number, chunks: Vec::new(), open: Vec::new() }
    }

    /// Where the next record will stand.
    pub(super) fn position(&self) -> Position {
        let chunk = ChunkId { log: self.number, index: self.chunks.len() as u32 };
        Position { chunk, offset: self.open.len() as u32 }
    }

    /// Appends one record.
    pub(super) fn append(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        write(&mut self.open);
        if self.open.len() >= CHUNK_LEN { self.put_away() } else { Ok(()) }
    }

    /// The chunks, in order.
    pub(super) fn finish(mut self) -> io::Result<Vec<Chunk>> {
        self.put_away()?;
        Ok(self.chunks)
    }

    fn put_away(&mut self) -> io::Result<()> {
        let chunk = match self.spool.put(&self.open)? {
            Some(offset) => Chunk::Spooled { offset, len: self.open.len() },
            None => Chunk::Memory(self.open.clone()),
        };
        self.chunks.push(chunk);
        self.open.clear();
        Ok(())
    }
}

/// Decides what stays in memory, and holds the rest in a file without a name, which is gone when
/// the process is.
#[derive(Debug)]
pub(super) struct Spool {
    directory: Option<PathBuf>,
    limit: u64,
    held: AtomicU64,
    file: Mutex<Option<(Arc<File>, u64)>>,
}

impl Spool {
    /// Keeps about `limit` bytes in memory, and everything if there is no `directory`.
    pub(super) fn new(directory: Option<PathBuf>, limit: u64) -> Self {
        Self { directory, limit, held: AtomicU64::new(0), file: Mutex::new(None) }
    }

    /// Writes `bytes` to the file and says where; `None` if they may stay in memory.
    fn put(&self, bytes: &[u8]) -> io::Result<Option<u64>> {
        let Some(directory) = &self.directory else { return Ok(None) };
        let len = bytes.len() as u64;
        if self.held.fetch_add(len, Ordering::Relaxed) + len <= self.limit {
            return Ok(None);
        }
        let (file, offset) = {
            let mut guard = self.file.lock().unwrap_or_else(PoisonError::into_inner);
            let (file, end) = match guard.take() {
                Some(opened) => opened,
                None => (Arc::new(tempfile::tempfile_in(directory)?), 0),
            };
            *guard = Some((Arc::clone(&file), end + len));
            (file, end)
        };
        os::write_all_at(&file, bytes, offset)?;
        Ok(Some(offset))
    }

    /// Reads back what [`put`](Self::put) wrote.
    pub(super) fn get(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let opened = self.file.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (file, _) = opened.ok_or(io::ErrorKind::NotFound)?;
        let mut bytes = vec![0; len];
        let mut filled = 0;
        while filled < len {
            match os::read_at(&file, offset + filled as u64, &mut bytes[filled..])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => filled += read,
            }
        }
        Ok(bytes)
    }
}
