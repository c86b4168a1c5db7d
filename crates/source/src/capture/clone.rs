//! Hot files that are cloned: their content is shared in the window, and read after the thaw.
//!
//! ```text
//! before the freeze   each worker: one file without a name on the file system of each root
//! in the window       whole blocks of a hot file ──FICLONERANGE──▶ the end of that file
//!                     what is left behind them ──read──▶ memory, less than a block
//! after the thaw      content is read from both
//! ```
//! Nothing has a name, so nothing can be left behind, also by a kill or a power cut. Rejected: a staging directory of
//! clones. Rejected: to clone the last, partial block as well, which makes the kernel read it, and copy it to zero its
//! rest, before the next clone begins: three times the cost of a small clone, on XFS as on btrfs.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::CaptureError;
use crate::live_file::{LiveFile, ReadAt};
use crate::os::{self, capture};
use crate::stat::Stat;
use crate::tree::{Opened, Tree};

/// The content of a file as it was when it was cloned.
#[derive(Debug)]
pub struct ClonedFile {
    staging: Arc<File>,
    /// Where its whole blocks stand there.
    place: Range<u64>,
    /// What is behind them, less than a block; `None` if that is a hole.
    tail: Option<Vec<u8>>,
    /// Its length.
    size: u64,
}

impl ClonedFile {
    /// The length of its whole blocks.
    fn whole(&self) -> u64 {
        self.place.end - self.place.start
    }
}

impl ReadAt for ClonedFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let whole = self.whole();
        let end = if offset < whole { whole } else { self.size };
        let len = usize::try_from(end.saturating_sub(offset)).map_or(buffer.len(), |left| left.min(buffer.len()));
        let wanted = &mut buffer[..len];
        if offset < whole {
            return os::read_at(&self.staging, self.place.start + offset, wanted);
        }
        match &self.tail {
            Some(tail) if len > 0 => wanted.copy_from_slice(&tail[(offset - whole) as usize..][..len]),
            _ => wanted.fill(0),
        }
        Ok(len)
    }

    fn next_data(&self, offset: u64, size: u64) -> io::Result<Option<Range<u64>>> {
        let (base, whole, size) = (self.place.start, self.whole(), size.min(self.size));
        let tail = whole..if self.tail.is_some() { size } else { whole };
        let found = os::next_data(&self.staging, base.saturating_add(offset), base + whole.min(size))?;
        Ok(match found {
            Some(data) if data.end - base == whole => Some(data.start - base..tail.end.max(whole)),
            Some(data) => Some(data.start - base..data.end - base),
            None => Some(offset.max(tail.start)..tail.end).filter(|data| data.start < data.end),
        })
    }
}

/// Clones files; one for each thread.
#[derive(Debug)]
pub struct Cloner {
    stagings: Vec<Staging>,
    /// Which of them takes files of a device; `None`: none does.
    takers: Vec<(u64, Option<usize>)>,
}

impl Cloner {
    /// Makes one for each of `threads` threads. Proves that the file system of each root can clone.
    ///
    /// # Errors
    /// [`CaptureError::Clone`] for the first root whose file system cannot.
    pub(super) fn open(tree: &Tree, threads: usize) -> Result<Vec<Self>, CaptureError> {
        (0..threads.max(1)).map(|_| Self::on_roots(tree)).collect()
    }

    fn on_roots(tree: &Tree) -> Result<Self, CaptureError> {
        let mut cloner = Self { stagings: Vec::new(), takers: Vec::new() };
        for root in tree.opened() {
            let cannot = |source| CaptureError::Clone { root: root.path().to_owned(), source };
            let device = root.dir().stat(c"").map_err(cannot)?.device;
            if cloner.takers.iter().all(|(known, _)| *known != device) {
                let staging = Staging::make(root).map_err(cannot)?;
                cloner.takers.push((device, Some(cloner.stagings.len())));
                cloner.stagings.push(staging);
            }
        }
        Ok(cloner)
    }

    /// Writes out what waits on the file systems, so that cloning does not have to in the window.
    pub fn write_out(&self) {
        for staging in &self.stagings {
            // If that fails, cloning fails, or takes longer.
            let _ = capture::sync_filesystem(&staging.file);
        }
    }

    /// Clones a file that was listed with this stat, as it is at this instant.
    ///
    /// # Errors
    /// If no root's file system can share its content: it is on another one, or of a kind that cannot be shared, or
    /// shorter than it was listed.
    pub fn clone_file(&mut self, file: &LiveFile, stat: &Stat) -> io::Result<ClonedFile> {
        let known = self.takers.iter().find(|(known, _)| *known == stat.device).map(|(_, taker)| *taker);
        match known {
            Some(Some(taker)) => self.stagings[taker].take(file, stat.size),
            Some(None) => Err(io::ErrorKind::CrossesDevices.into()),
            // A subvolume has a device of its own, and shares content with the others of its file system.
            None => {
                let mut tried = self.stagings.iter_mut().map(|staging| staging.take(file, stat.size)).enumerate();
                let cloned = tried.find_map(|(taker, cloned)| Some((taker, cloned.ok()?)));
                // Without a whole block nothing was shared, and nothing is known.
                if cloned.as_ref().is_none_or(|(_, cloned)| cloned.whole() > 0) {
                    self.takers.push((stat.device, cloned.as_ref().map(|(taker, _)| *taker)));
                }
                cloned.map(|(_, cloned)| cloned).ok_or_else(|| io::ErrorKind::CrossesDevices.into())
            }
        }
    }
}

/// A file without a name.
#[derive(Debug)]
struct Staging {
    file: Arc<File>,
    /// A multiple of `block`.
    end: u64,
    /// The block size of its file system: what is shared begins and ends at multiples of it.
    block: u64,
}

impl Staging {
    /// Makes one beside a root's files, and proves that it can share content with another.
    fn make(root: &Opened) -> io::Result<Self> {
        let file = Arc::new(capture::unnamed_file(root.dir())?);
        let block = capture::block_size(&file)?;
        let mut staging = Self { file, end: 0, block };
        let probe = capture::unnamed_file(root.dir())?;
        let size = block + 1;
        os::write_all_at(&probe, &vec![1; size as usize], 0)?;
        staging.take(&LiveFile::new(probe), size)?;
        Ok(staging)
    }

    fn take(&mut self, file: &LiveFile, size: u64) -> io::Result<ClonedFile> {
        let whole = size - size % self.block;
        let place = self.end..self.end.checked_add(whole).ok_or(io::ErrorKind::FileTooLarge)?;
        if whole > 0
            && let Err(error) = capture::clone_start(file.file(), whole, &self.file, place.start)
        {
            // It may have left a part.
            self.end = os::file_stat(&self.file)?.size.next_multiple_of(self.block);
            return Err(error);
        }
        self.end = place.end;
        let tail = match file.next_data(whole, size)? {
            Some(_) => Some(read_tail(file, whole, (size - whole) as usize)?),
            None => None,
        };
        Ok(ClonedFile { staging: Arc::clone(&self.file), place, tail, size })
    }
}

/// Reads the `len` bytes from `offset` on.
fn read_tail(file: &LiveFile, offset: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut tail = vec![0; len];
    let mut done = 0;
    while done < len {
        match file.read_at(offset + done as u64, &mut tail[done..])? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => done += read,
        }
    }
    Ok(tail)
}

#[cfg(all(test, target_os = "linux"))]
mod tests;
