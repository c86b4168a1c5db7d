//! What a running story tells, and how it is stopped.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};

use crate::error::{Error, Result};

/// Where a story stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Phase {
    /// Opening and synchronising.
    #[default]
    Opening,
    /// Listing the live side.
    Listing,
    /// Storing what changes, before the freeze.
    Warming,
    /// The instance is frozen.
    Frozen,
    /// Reading and storing.
    Storing,
    /// Making everything durable.
    Committing,
    /// Writing restored files.
    Restoring,
    /// Reading restored files back.
    Verifying,
    /// Checking.
    Checking,
    /// Counting what is needed.
    Counting,
    /// Mending what can be mended.
    Repairing,
    /// Copying to another repository.
    Copying,
    /// Copying and deleting packs.
    Pruning,
    /// Making the index anew.
    Indexing,
    /// Deleting records of snapshots.
    Forgetting,
    /// Reading one file of a snapshot.
    Reading,
    /// Looking through manifests.
    Searching,
    /// Comparing a snapshot with live directories.
    Comparing,
    /// Done.
    Done,
}

const PHASES: [Phase; 19] = [
    Phase::Opening,
    Phase::Listing,
    Phase::Warming,
    Phase::Frozen,
    Phase::Storing,
    Phase::Committing,
    Phase::Restoring,
    Phase::Verifying,
    Phase::Checking,
    Phase::Counting,
    Phase::Repairing,
    Phase::Copying,
    Phase::Pruning,
    Phase::Indexing,
    Phase::Forgetting,
    Phase::Reading,
    Phase::Searching,
    Phase::Comparing,
    Phase::Done,
];

/// Counters that a story fills and others read at any time; totals are 0 until they are known.
#[derive(Debug, Default)]
pub struct Progress {
    phase: AtomicU8,
    /// Entries done.
    pub entries: AtomicU64,
    /// Entries in all.
    pub entries_total: AtomicU64,
    /// Bytes done (of files that are unchanged too).
    pub bytes: AtomicU64,
    /// Bytes in all.
    pub bytes_total: AtomicU64,
    /// Bytes put into the store.
    pub stored: AtomicU64,
    stop: AtomicBool,
}

impl Progress {
    /// Where the story stands.
    pub fn phase(&self) -> Phase {
        PHASES.get(self.phase.load(Relaxed) as usize).copied().unwrap_or_default()
    }

    /// Begins a phase.
    pub fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Relaxed);
    }

    /// Begins to count anew towards these totals.
    pub fn expect(&self, entries: u64, bytes: u64) {
        for (counter, value) in
            [(&self.entries, 0), (&self.bytes, 0), (&self.entries_total, entries), (&self.bytes_total, bytes)]
        {
            counter.store(value, Relaxed);
        }
    }

    /// Counts an entry and its bytes as done.
    pub fn done(&self, bytes: u64) {
        self.entries.fetch_add(1, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
    }

    /// Asks the story to end soon, leaving everything in order.
    pub fn stop(&self) {
        self.stop.store(true, Relaxed);
    }

    /// Whether it was asked to.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Relaxed)
    }

    /// [`Error::Interrupted`] once the story was asked to end.
    pub fn check(&self) -> Result<()> {
        if self.is_stopped() { Err(Error::Interrupted) } else { Ok(()) }
    }
}
