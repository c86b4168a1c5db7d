//! A store into which no more than so many bytes are put in a second.

use std::ops::Range;

use icecore_engine::pace::Pace;
use icecore_store::{Key, Listed, Put, Result, Store};

use crate::interrupt;

/// Puts at a pace; everything else as the other does it.
#[derive(Debug)]
pub struct PacedStore<S> {
    inner: S,
    pace: Pace,
}

impl<S> PacedStore<S> {
    /// Puts no faster than `pace` allows.
    pub fn new(inner: S, pace: Pace) -> Self {
        Self { inner, pace }
    }
}

impl<S: Store> Store for PacedStore<S> {
    fn put(&self, key: &Key, parts: &[&[u8]]) -> Result<Put> {
        let put = self.inner.put(key, parts)?;
        if put == Put::Created {
            // Afterwards, so that what was asked for is durable soon. Who wants to end does not wait.
            let bytes = parts.iter().map(|part| part.len() as u64).sum();
            self.pace.take(bytes, interrupt::is_raised);
        }
        Ok(put)
    }

    fn get(&self, key: &Key) -> Result<Vec<u8>> {
        self.inner.get(key)
    }

    fn get_range(&self, key: &Key, range: Range<u64>, buffer: &mut Vec<u8>) -> Result<()> {
        self.inner.get_range(key, range, buffer)
    }

    fn size(&self, key: &Key) -> Result<Option<u64>> {
        self.inner.size(key)
    }

    fn list(&self, directory: &str, each: &mut dyn FnMut(Listed) -> Result<()>) -> Result<()> {
        self.inner.list(directory, each)
    }

    fn delete(&self, key: &Key) -> Result<()> {
        self.inner.delete(key)
    }

    fn location(&self) -> String {
        self.inner.location()
    }
}
