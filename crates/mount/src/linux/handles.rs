//! What is open, by the numbers that the kernel was given.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fuser::FileHandle;

/// Open files or directories.
#[derive(Debug)]
pub struct Handles<T> {
    next: AtomicU64,
    open: Mutex<HashMap<u64, Arc<T>>>,
}

impl<T> Default for Handles<T> {
    fn default() -> Self {
        Self { next: AtomicU64::new(1), open: Mutex::default() }
    }
}

impl<T> Handles<T> {
    /// Remembers something until it is closed.
    pub fn open(&self, what: T) -> FileHandle {
        let handle = self.next.fetch_add(1, Ordering::Relaxed);
        lock(&self.open).insert(handle, Arc::new(what));
        FileHandle(handle)
    }

    /// What was opened.
    pub fn get(&self, handle: FileHandle) -> Option<Arc<T>> {
        lock(&self.open).get(&handle.0).map(Arc::clone)
    }

    /// Forgets it.
    pub fn close(&self, handle: FileHandle) {
        lock(&self.open).remove(&handle.0);
    }
}

/// Locks; a thread that panicked has left nothing half done.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
