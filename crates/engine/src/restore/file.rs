//! One file while it is being restored: made at its first byte, finished at its last.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use icecore_format::entry::{Content, Entry, Node, PathBytes};
use icecore_source::target::{TargetFile, finish_file};

use super::segment::Way;
use super::site::Site;
use crate::error::Result;

/// Bytes poured at a time.
const POUR: usize = 1 << 20;

/// Files that are kept open while they wait for more frames. Tests want to open them again.
const KEPT_OPEN: usize = if cfg!(test) { 1 } else { 64 };

/// A file that threads write together.
#[derive(Debug)]
pub(super) struct FileWork {
    /// Without its pieces.
    entry: Entry,
    size: u64,
    way: Way,
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
    /// The name of the file that is written, if it is not the entry's.
    beside: Option<PathBytes>,
    handle: Option<Arc<TargetFile>>,
    /// What was written of a file that is poured.
    ranges: Vec<(u64, u64)>,
    lost: Option<String>,
}

impl FileWork {
    /// Takes the file's content out of its entry. `made`: the file that is written is there, with its name if that is not
    /// the entry's.
    pub fn new(mut entry: Entry, way: Way, made: Option<Option<PathBytes>>) -> (Self, Content) {
        let mut content = Content::Missing;
        if let Node::File(file) = &mut entry.node {
            std::mem::swap(&mut file.content, &mut content);
        }
        let state = State { made: made.is_some(), beside: made.flatten(), ..State::default() };
        let file = Self {
            size: entry.size(),
            entry,
            way,
            left: AtomicU64::new(1),
            alone: AtomicBool::new(false),
            sparse: AtomicBool::new(state.made || way == Way::Pour),
            state: Mutex::new(state),
        };
        (file, content)
    }

    /// The path in the snapshot.
    pub fn path(&self) -> &[u8] {
        &self.entry.path
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
            if self.way == Way::Pour {
                self.state().ranges.push((to, bytes.len() as u64));
            }
            site.progress.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Looks at what is written of the file.
    pub fn inspect<T>(
        self: &Arc<Self>,
        site: &Site<'_>,
        look: impl FnOnce(&TargetFile) -> io::Result<T>,
    ) -> io::Result<T> {
        match self.handle(site)? {
            Some(handle) => look(&handle),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Tells what would become of it.
    pub fn rehearse(&self, site: &Site<'_>) {
        match self.state().lost.take() {
            None => site.tally.restored(&self.entry),
            Some(reason) => site.lose(&self.entry.path, reason),
        }
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
        let mut state = self.state();
        if state.lost.is_some() {
            return Ok(None);
        }
        if let Some(handle) = &state.handle {
            return Ok(Some(Arc::clone(handle)));
        }
        let handle = self.open(site, &mut state)?;
        state.handle = Some(Arc::clone(&handle));
        drop(state);
        if !self.alone.load(Ordering::Relaxed) {
            site.open.keep(self);
        }
        Ok(Some(handle))
    }

    /// Opens the file that is written; makes it the first time.
    fn open(&self, site: &Site<'_>, state: &mut State) -> io::Result<Arc<TargetFile>> {
        let place = site.place(&self.entry.path);
        let opened = match (state.made, &state.beside) {
            (true, beside) => site.target.open_file(beside.as_deref().unwrap_or(place))?,
            (false, _) if self.way == Way::Direct => site.target.create_file(place)?,
            (false, _) => {
                let (name, file) = site.create_beside(place)?;
                state.beside = Some(name);
                file
            }
        };
        state.made = true;
        Ok(Arc::new(opened))
    }

    fn finish(&self, site: &Site<'_>) -> Result<()> {
        let path = &self.entry.path;
        let mut state = self.state();
        if state.lost.is_none()
            && let Err(error) = self.complete(site, &mut state)
        {
            state.lost = Some(format!("could not be written: {error}"));
            if let Err(error) = site.survive(path, error) {
                let _ = self.discard(site, &mut state);
                return Err(error);
            }
        }
        match state.lost.take() {
            None => site.tally.restored(&self.entry),
            Some(mut reason) => {
                if let Err(error) = self.discard(site, &mut state) {
                    reason += &format!("; what was written of it could not be removed: {error}");
                }
                site.lose(path, reason);
            }
        }
        site.progress.entries.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// What is not exact must not look whole.
    fn discard(&self, site: &Site<'_>, state: &mut State) -> io::Result<()> {
        state.handle = None;
        if !std::mem::take(&mut state.made) {
            return Ok(());
        }
        site.target.remove_file(state.beside.as_deref().unwrap_or(site.place(&self.entry.path)))
    }

    fn complete(&self, site: &Site<'_>, state: &mut State) -> io::Result<()> {
        let place = site.place(&self.entry.path);
        if self.way == Way::Pour {
            return self.pour(site, state);
        }
        let handle = match state.handle.take() {
            Some(handle) => handle,
            None => self.open(site, state)?,
        };
        if self.sparse.load(Ordering::Relaxed) {
            handle.set_len(self.size)?;
        }
        site.tally.faults(finish_file(&handle, &self.entry, &site.owners));
        if let Some(name) = &state.beside {
            site.target.replace(name, place)?;
            (state.made, state.beside) = (false, None);
        }
        Ok(())
    }

    /// Writes the ranges that differ, all of them at hand now, into what stands.
    fn pour(&self, site: &Site<'_>, state: &mut State) -> io::Result<()> {
        let handle = site.target.open_file(site.place(&self.entry.path))?;
        if state.made {
            let from = match state.handle.take() {
                Some(from) => from,
                None => self.open(site, state)?,
            };
            let mut buffer = vec![0; POUR];
            state.ranges.sort_unstable();
            for &(start, len) in &state.ranges {
                let (mut at, end) = (start, start + len);
                while at < end {
                    let part = (end - at).min(POUR as u64) as usize;
                    let read = from.read_at(at, &mut buffer[..part])?;
                    if read == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    handle.write_at(at, &buffer[..read])?;
                    at += read as u64;
                }
            }
        }
        handle.set_len(self.size)?;
        site.tally.faults(finish_file(&handle, &self.entry, &site.owners));
        self.discard(site, state)
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
