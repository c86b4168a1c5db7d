//! A store that remembers each call, so that tests can say what an operation may cost.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use icecore_store::error::Operation;
use icecore_store::{Key, Listed, Put, Result, Store};

/// One call, as it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// What was called; both ways of reading are [`Operation::Get`].
    pub operation: Operation,
    /// The key or directory.
    pub object: String,
    /// What part was read, for `get_range`.
    pub range: Option<Range<u64>>,
    /// Bytes handed over (`put`, even of an object that existed) or received (`get`, `get_range`).
    pub bytes: u64,
    /// Whether it answered `Ok`.
    pub ok: bool,
}

/// A decorator that keeps a [`Call`] for everything that goes through it, in the order in which calls ended.
#[derive(Debug, Default)]
pub struct Recording<S> {
    inner: S,
    calls: Mutex<Vec<Call>>,
}

impl<S: Store> Recording<S> {
    /// Records calls to `inner`.
    pub fn new(inner: S) -> Self {
        Self { inner, calls: Mutex::default() }
    }

    /// The store below, whose direct use is not recorded.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    /// All calls so far.
    pub fn calls(&self) -> Vec<Call> {
        self.lock().clone()
    }

    /// All calls since the last `take`.
    pub fn take(&self) -> Vec<Call> {
        std::mem::take(&mut self.lock())
    }

    /// How many calls of that kind there were to objects whose name begins with `prefix`, and how many bytes they moved.
    pub fn sum(&self, operation: Operation, prefix: &str) -> (usize, u64) {
        let calls = self.lock();
        let matching = calls.iter().filter(|c| c.operation == operation && c.object.starts_with(prefix));
        matching.fold((0, 0), |(count, bytes), call| (count + 1, bytes + call.bytes))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Call>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, operation: Operation, object: &str, range: Option<Range<u64>>, bytes: usize, ok: bool) {
        self.lock().push(Call { operation, object: object.to_owned(), range, bytes: bytes as u64, ok });
    }
}

impl<S: Store> Store for Recording<S> {
    fn put(&self, key: &Key, parts: &[&[u8]]) -> Result<Put> {
        let put = self.inner.put(key, parts);
        let bytes = parts.iter().map(|part| part.len()).sum();
        self.record(Operation::Put, key.as_str(), None, bytes, put.is_ok());
        put
    }

    fn get(&self, key: &Key) -> Result<Vec<u8>> {
        let got = self.inner.get(key);
        self.record(Operation::Get, key.as_str(), None, got.as_ref().map_or(0, Vec::len), got.is_ok());
        got
    }

    fn get_range(&self, key: &Key, range: Range<u64>, buffer: &mut Vec<u8>) -> Result<()> {
        let got = self.inner.get_range(key, range.clone(), buffer);
        self.record(Operation::Get, key.as_str(), Some(range), buffer.len(), got.is_ok());
        got
    }

    fn size(&self, key: &Key) -> Result<Option<u64>> {
        let size = self.inner.size(key);
        self.record(Operation::Size, key.as_str(), None, 0, size.is_ok());
        size
    }

    fn list(&self, directory: &str, each: &mut dyn FnMut(Listed) -> Result<()>) -> Result<()> {
        let listed = self.inner.list(directory, each);
        self.record(Operation::List, directory, None, 0, listed.is_ok());
        listed
    }

    fn delete(&self, key: &Key) -> Result<()> {
        let deleted = self.inner.delete(key);
        self.record(Operation::Delete, key.as_str(), None, 0, deleted.is_ok());
        deleted
    }

    fn location(&self) -> String {
        self.inner.location()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key;
    use icecore_store::MemoryStore;

    #[test]
    fn keeps_the_contract() {
        crate::conformance(|| Box::new(Recording::new(MemoryStore::new())));
    }

    #[test]
    fn counts_calls_and_bytes() {
        let store = Recording::new(MemoryStore::new());
        store.put(&key("packs/00/a"), &[b"1234", b"56"]).unwrap();
        store.put(&key("config"), &[b"x"]).unwrap();
        store.get_range(&key("packs/00/a"), 1..3, &mut Vec::new()).unwrap();
        store.get(&key("packs/00/b")).unwrap_err();
        assert_eq!(store.sum(Operation::Put, "packs/"), (1, 6));
        assert_eq!(store.sum(Operation::Get, ""), (2, 2));
        let read =
            Call { operation: Operation::Get, object: "packs/00/a".into(), range: Some(1..3), bytes: 2, ok: true };
        assert_eq!(store.take()[2], read);
        assert!(store.calls().is_empty());
    }
}
