//! What a freeze window found new waits here, uncompressed: sealing and storing it is work for after the thaw.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use icecore_format::frame::FrameChunk;
use icecore_format::pack::PackKind;

use crate::error::{Error, Result};

/// The content of one frame to be.
pub(crate) struct Parked {
    pub(crate) kind: PackKind,
    pub(crate) compress: bool,
    pub(crate) plain: Vec<u8>,
    pub(crate) chunks: Vec<FrameChunk>,
}

/// Frames to be, in memory up to a limit, beyond it in an unnamed file.
#[derive(Debug)]
pub struct Parking {
    limit: u64,
    directory: PathBuf,
    held: Mutex<Held>,
    /// Tells the session when content goes away unstored: claims for it were given.
    pub(crate) broken: Arc<AtomicBool>,
}

#[derive(Debug, Default)]
struct Held {
    slots: Vec<Slot>,
    memory: u64,
    spool: Option<File>,
    spooled: u64,
}

#[derive(Debug)]
struct Slot {
    kind: PackKind,
    compress: bool,
    chunks: Vec<FrameChunk>,
    plain: Plain,
}

#[derive(Debug)]
enum Plain {
    Memory(Vec<u8>),
    Spool { offset: u64, len: usize },
    Taken,
}

impl Parking {
    pub(crate) fn new(limit: u64, directory: &Path, broken: Arc<AtomicBool>) -> Self {
        Self { limit, directory: directory.to_owned(), held: Mutex::default(), broken }
    }

    /// Takes the content over. Beyond the limit it is written to the spool file and the buffer goes back.
    pub(crate) fn park(&self, parked: Parked) -> Result<Vec<u8>> {
        let held = &mut *self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let Parked { kind, compress, plain, chunks } = parked;
        let len = plain.len() as u64;
        let (plain, back) = if held.memory + len <= self.limit {
            held.memory += len;
            (Plain::Memory(plain), Vec::new())
        } else {
            let fail = |source| Error::Spool { directory: self.directory.clone(), source };
            let spool = match &mut held.spool {
                Some(spool) => spool,
                none => none.insert(tempfile::tempfile_in(&self.directory).map_err(fail)?),
            };
            spool.seek(SeekFrom::Start(held.spooled)).and_then(|_| spool.write_all(&plain)).map_err(fail)?;
            let offset = held.spooled;
            held.spooled += len;
            (Plain::Spool { offset, len: plain.len() }, plain)
        };
        held.slots.push(Slot { kind, compress, chunks, plain });
        Ok(back)
    }

    /// Bytes that wait, in memory and in the spool file.
    pub fn bytes(&self) -> (u64, u64) {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        (held.memory, held.spooled)
    }

    /// Gives everything to `store`, by several threads, in the order in which it was parked (as far as threads keep it).
    pub(crate) fn release<W: Send>(
        &self,
        workers: Vec<W>,
        store: impl Fn(&mut W, Parked) -> Result<()> + Sync,
    ) -> Result<()> {
        let next = AtomicUsize::new(0);
        let work = |mut worker: W| -> Result<()> {
            while let Some(parked) = self.take(next.fetch_add(1, Relaxed))? {
                store(&mut worker, parked)?;
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let work = &work;
            let threads: Vec<_> = workers.into_iter().map(|worker| scope.spawn(move || work(worker))).collect();
            let mut all = Ok(());
            for thread in threads {
                all = all.and(thread.join().unwrap_or(Err(Error::WriterPanicked)));
            }
            all
        })
    }

    fn take(&self, slot: usize) -> Result<Option<Parked>> {
        let held = &mut *self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(slot) = held.slots.get_mut(slot) else { return Ok(None) };
        let plain = match std::mem::replace(&mut slot.plain, Plain::Taken) {
            Plain::Memory(plain) => plain,
            Plain::Spool { offset, len } => {
                let mut plain = vec![0; len];
                if let Some(spool) = &mut held.spool {
                    let read = spool.seek(SeekFrom::Start(offset)).and_then(|_| spool.read_exact(&mut plain));
                    read.map_err(|source| Error::Spool { directory: self.directory.clone(), source })?;
                }
                plain
            }
            Plain::Taken => Vec::new(),
        };
        let chunks = std::mem::take(&mut slot.chunks);
        Ok(Some(Parked { kind: slot.kind, compress: slot.compress, plain, chunks }))
    }
}

impl Drop for Parking {
    fn drop(&mut self) {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.slots.iter().any(|slot| !matches!(slot.plain, Plain::Taken)) {
            self.broken.store(true, Relaxed);
        }
    }
}
