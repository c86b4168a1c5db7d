//! An open directory of a snapshot: some entries at a time, from wherever the kernel goes on.

use std::collections::VecDeque;
use std::sync::Arc;

use icecore_engine::access::{Access, Shown as Seen};

use crate::tree::Shown;

/// Entries that are read at once: about a block of the manifest.
const BATCH: usize = 256;

/// The longest name that the kernel takes (`FUSE_NAME_MAX`); a longer one would spoil the whole answer.
const NAME_MAX: usize = 1024;

/// The names `.` and `..` come first; an entry is known to the kernel by its position behind them.
pub const DOTS: u64 = 2;

/// A place in a directory.
#[derive(Debug)]
pub struct Cursor {
    snapshot: Arc<Shown>,
    directory: Vec<u8>,
    /// The entries behind the place that were read already.
    pending: VecDeque<Arc<Seen>>,
    /// The name before the place.
    last: Option<Vec<u8>>,
    /// What the kernel calls the place.
    offset: u64,
    /// Nothing follows those that are pending.
    ended: bool,
    /// Something of the directory could not be read.
    pub damaged: bool,
}

impl Cursor {
    /// The beginning of the directory at a path.
    pub fn new(snapshot: Arc<Shown>, directory: Vec<u8>) -> Self {
        let (pending, offset) = (VecDeque::new(), DOTS);
        Self { snapshot, directory, pending, last: None, offset, ended: false, damaged: false }
    }

    /// Whose directory it is.
    pub fn snapshot(&self) -> &Shown {
        &self.snapshot
    }

    /// Goes to a place that the kernel was told before; costs nothing if it goes on where it was.
    pub fn seek(&mut self, access: &Access, offset: u64) -> icecore_engine::Result<()> {
        if offset == self.offset {
            return Ok(());
        }
        let last = match offset.checked_sub(DOTS + 1) {
            None => None,
            Some(position) => access.entry(&self.snapshot.root, position)?.map(|seen| seen.entry.name().to_vec()),
        };
        *self = Self { last, offset, ..Self::new(Arc::clone(&self.snapshot), std::mem::take(&mut self.directory)) };
        Ok(())
    }

    /// The next entry; `None` behind the last one.
    pub fn peek(&mut self, access: &Access) -> Option<Arc<Seen>> {
        while self.pending.is_empty() && !self.ended {
            let last = self.last.as_deref();
            let mut batch = access.children(&self.snapshot.root, &self.directory, last, BATCH);
            if let Some(seen) = batch.found.last() {
                self.last = Some(seen.entry.name().to_vec());
            }
            let read = batch.found.len();
            batch.found.retain(|seen| seen.entry.name().len() <= NAME_MAX);
            self.damaged |= batch.damaged || batch.found.len() < read;
            self.ended = batch.ended;
            self.pending.extend(batch.found);
        }
        self.pending.front().map(Arc::clone)
    }

    /// Goes behind the entry that was peeked at.
    pub fn advance(&mut self) {
        if let Some(seen) = self.pending.pop_front() {
            self.offset = offset(&seen);
        }
    }
}

/// What the kernel calls the place behind an entry.
pub fn offset(seen: &Seen) -> u64 {
    seen.position.saturating_add(DOTS + 1)
}
