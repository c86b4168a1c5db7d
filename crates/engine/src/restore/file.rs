//! One file while it is being restored: made at its first byte, finished at its last.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use icecore_format::entry::{Content, Entry, Node};
use icecore_source::target::{TargetFile, finish_file};

use super::Site;
use crate::error::Result;

/// Files that are kept open while they wait for more frames. Tests want to open them again.
const KEPT_OPEN: usize = if cfg!(test) { 1 } else { 64 };

/// A file that threads write together.
#[derive(Debug)]
pub(super) struct FileWork {
    /// Without its pieces.
    entry: Entry,
    size: u64,
    /// Frames that still have to give something, and one as long as the planner is not done with the file.
    left: AtomicU64,
    /// All of the file comes from one frame, so that it need not wait open for another one.
    alone: AtomicBool,
    /// It has holes, so that writing alone may not bring it to its size.
    sparse: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    made: bool,
    handle: Option<Arc<TargetFile>>,
    lost: Option<String>,
}

impl FileWork {
    /// Takes the file's content out of its entry.
    pub fn new(mut entry: Entry) -> (Self, Content) {
        let mut content = Content::Missing;
        if let Node::File(file) = &mut entry.node {
            std::mem::swap(&mut file.content, &mut content);
        }
        let file = Self {
            size: entry.size(),
            entry,
            left: AtomicU64::new(1),
            alone: AtomicBool::new(false),
            sparse: AtomicBool::new(false),
            state: Mutex::default(),
        };
        (file, content)
    }

    /// Bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    pub fn set_sparse(&self) {
        self.sparse.store(true, Ordering::Relaxed);
    }

    /// Adds frames that will give something, before any of them does. `last`: no further ones follow.
    pub fn expect(&self, frames: u64, last: bool) {
        let before = self.left.fetch_add(frames, Ordering::Relaxed);
        self.alone.store(before == 1 && frames == 1 && last, Ordering::Relaxed);
    }

    /// The file cannot be exact any more; the first reason counts.
    pub fn lose(&self, reason: String) {
        self.state().lost.get_or_insert(reason);
    }

    /// Writes `parts`, pairs of a place in the file and bytes. What fails only for this file makes it lost.
    pub fn write<'b>(self: &Arc<Self>, site: &Site<'_>, parts: impl Iterator<Item = (u64, &'b [u8])>) -> Result<()> {
        let handle = match self.handle(site) {
            Ok(Some(handle)) => handle,
            Ok(None) => return Ok(()),
            Err(error) => return self.failed(site, error),
        };
        for (to, bytes) in parts {
            if let Err(error) = handle.write_at(to, bytes) {
                return self.failed(site, error);
            }
            site.progress.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
        Ok(())
    }

    /// One of what [`expect`](Self::expect) counted is done; the last one finishes the file.
    pub fn release(&self, site: &Site<'_>) -> Result<()> {
        // The writes of all other threads happen before the last one goes on.
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 { self.finish(site) } else { Ok(()) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, site: &Site<'_>, error: io::Error) -> Result<()> {
        self.lose(format!("could not be written: {error}"));
        site.survive(&self.entry.path, error)
    }

    /// The opened file; `None` if it is lost already.
    fn handle(self: &Arc<Self>, site: &Site<'_>) -> io::Result<Option<Arc<TargetFile>>> {
        let path = site.place(&self.entry.path);
        let mut state = self.state();
        if state.lost.is_some() {
            return Ok(None);
        }
        if let Some(handle) = &state.handle {
            return Ok(Some(Arc::clone(handle)));
        }
        let opened = if state.made { site.target.open_file(path)? } else { site.target.create_file(path)? };
        let handle = Arc::new(opened);
        state.made = true;
        state.handle = Some(Arc::clone(&handle));
        drop(state);
        if !self.alone.load(Ordering::Relaxed) {
            site.open.keep(self);
        }
        Ok(Some(handle))
    }

    fn finish(&self, site: &Site<'_>) -> Result<()> {
        let path = &self.entry.path;
        let mut state = self.state();
        if state.lost.is_none()
            && let Err(error) = self.complete(site, &mut state)
        {
            state.lost = Some(format!("could not be written: {error}"));
            site.survive(path, error)?;
        }
        match state.lost.take() {
            None => site.tally.restored(&self.entry),
            Some(mut reason) => {
                // What is not exact must not look whole.
                state.handle = None;
                if state.made
                    && let Err(error) = site.target.remove_file(site.place(path))
                {
                    reason += &format!("; what was written of it could not be removed: {error}");
                }
                site.tally.missing(path, 1, reason);
            }
        }
        site.progress.entries.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn complete(&self, site: &Site<'_>, state: &mut State) -> io::Result<()> {
        let path = site.place(&self.entry.path);
        let handle = match state.handle.take() {
            Some(handle) => handle,
            None if state.made => Arc::new(site.target.open_file(path)?),
            None => Arc::new(site.target.create_file(path)?),
        };
        state.made = true;
        if self.sparse.load(Ordering::Relaxed) {
            handle.set_len(self.size)?;
        }
        site.tally.faults(finish_file(&handle, &self.entry, &site.owners));
        Ok(())
    }
}

/// The files that wait open, a bounded number of them.
#[derive(Debug, Default)]
pub(super) struct OpenFiles(Mutex<VecDeque<Arc<FileWork>>>);

impl OpenFiles {
    /// Remembers a file that was just opened, and closes the one that was opened longest ago; it can be opened again.
    fn keep(&self, file: &Arc<FileWork>) {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.push_back(Arc::clone(file));
        let oldest = if open.len() > KEPT_OPEN { open.pop_front() } else { None };
        // Never two locks at once: the oldest may be in use.
        drop(open);
        if let Some(oldest) = oldest {
            oldest.state().handle = None;
        }
    }
}
