//! A store that fails or lies when it is told to.

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use icecore_store::error::{Error, Operation};
use icecore_store::{Key, Listed, Put, Result, Store};

/// A call that is about to be made.
#[derive(Debug, Clone, Copy)]
pub struct Attempt<'a> {
    /// Its number among all calls to this store, beginning with 1.
    pub number: u64,
    /// What is called; both ways of reading are [`Operation::Get`].
    pub operation: Operation,
    /// The key or directory.
    pub object: &'a str,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// The call fails and does nothing.
    Fail(io::ErrorKind),
    /// The call does everything and yet says that it failed, as when an answer is lost.
    FailAfter(io::ErrorKind),
    /// Only this many bytes pass, unnoticed: into the store (`put`) or out of it (`get`, `get_range`).
    Shorten(usize),
    /// This bit of the bytes that pass, counted modulo their length, arrives changed, unnoticed.
    FlipBit(usize),
}

impl Fault {
    /// Applies a lie to the bytes that pass.
    fn damage(self, bytes: &mut Vec<u8>) {
        match self {
            Self::Shorten(length) => bytes.truncate(length),
            Self::FlipBit(bit) if !bytes.is_empty() => {
                let bit = bit % (bytes.len() * 8);
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
            _ => {}
        }
    }
}

type Decide = dyn Fn(&Attempt<'_>) -> Fault + Send + Sync;

/// A decorator that asks a closure what goes wrong with each call.
pub struct Faulty<S> {
    inner: S,
    decide: Box<Decide>,
    calls: AtomicU64,
}

impl<S: fmt::Debug> fmt::Debug for Faulty<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faulty").field("inner", &self.inner).field("calls", &self.calls).finish_non_exhaustive()
    }
}

impl<S: Store> Faulty<S> {
    /// Lets `decide` choose for each call.
    pub fn new(inner: S, decide: impl Fn(&Attempt<'_>) -> Fault + Send + Sync + 'static) -> Self {
        Self { inner, decide: Box::new(decide), calls: AtomicU64::new(0) }
    }

    /// Lets the `nth` call (1 is the first) of one operation fail, and no other.
    pub fn nth(inner: S, operation: Operation, nth: u64, fault: Fault) -> Self {
        let seen = AtomicU64::new(0);
        Self::new(inner, move |attempt| {
            let hit = attempt.operation == operation && seen.fetch_add(1, Ordering::SeqCst) + 1 == nth;
            if hit { fault } else { Fault::None }
        })
    }

    /// The store below, which works.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    /// How many calls were made.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    fn run<T>(&self, operation: Operation, object: &str, call: impl FnOnce(Fault) -> Result<T>) -> Result<T> {
        let number = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        let fault = (self.decide)(&Attempt { number, operation, object });
        let fail = |kind: io::ErrorKind| Err(Error::new(operation, object, self.location(), kind.into()));
        match fault {
            Fault::Fail(kind) => fail(kind),
            Fault::FailAfter(kind) => call(fault).and_then(|_| fail(kind)),
            _ => call(fault),
        }
    }
}

impl<S: Store> Store for Faulty<S> {
    fn put(&self, key: &Key, parts: &[&[u8]]) -> Result<Put> {
        self.run(Operation::Put, key.as_str(), |fault| {
            let mut bytes = parts.concat();
            fault.damage(&mut bytes);
            self.inner.put(key, &[&bytes])
        })
    }

    fn get(&self, key: &Key) -> Result<Vec<u8>> {
        self.run(Operation::Get, key.as_str(), |fault| {
            let mut bytes = self.inner.get(key)?;
            fault.damage(&mut bytes);
            Ok(bytes)
        })
    }

    fn get_range(&self, key: &Key, range: Range<u64>, buffer: &mut Vec<u8>) -> Result<()> {
        let got = self.run(Operation::Get, key.as_str(), |fault| {
            self.inner.get_range(key, range, buffer)?;
            fault.damage(buffer);
            Ok(())
        });
        if got.is_err() {
            buffer.clear();
        }
        got
    }

    fn size(&self, key: &Key) -> Result<Option<u64>> {
        self.run(Operation::Size, key.as_str(), |_| self.inner.size(key))
    }

    fn list(&self, directory: &str, each: &mut dyn FnMut(Listed) -> Result<()>) -> Result<()> {
        self.run(Operation::List, directory, |_| self.inner.list(directory, each))
    }

    fn delete(&self, key: &Key) -> Result<()> {
        self.run(Operation::Delete, key.as_str(), |_| self.inner.delete(key))
    }

    fn location(&self) -> String {
        self.inner.location()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key;
    use icecore_store::{ErrorKind, MemoryStore};

    #[test]
    fn without_faults_keeps_the_contract() {
        crate::conformance(|| Box::new(Faulty::new(MemoryStore::new(), |_| Fault::None)));
    }

    #[test]
    fn only_the_nth_call_fails() {
        let full = Fault::Fail(io::ErrorKind::StorageFull);
        let store = Faulty::nth(MemoryStore::new(), Operation::Put, 2, full);
        store.put(&key("a"), &[b"1"]).unwrap();
        store.get(&key("a")).unwrap();
        assert_eq!(store.put(&key("b"), &[b"2"]).unwrap_err().kind, ErrorKind::NoSpace);
        assert_eq!(store.inner().size(&key("b")).unwrap(), None);
        store.put(&key("b"), &[b"2"]).unwrap();
        assert_eq!(store.calls(), 4);
    }

    #[test]
    fn a_lost_answer_leaves_its_effect() {
        let lost = Fault::FailAfter(io::ErrorKind::TimedOut);
        let store = Faulty::nth(MemoryStore::new(), Operation::Put, 1, lost);
        assert_eq!(store.put(&key("a"), &[b"1"]).unwrap_err().kind, ErrorKind::Other);
        assert_eq!(store.get(&key("a")).unwrap(), b"1");
        assert_eq!(store.put(&key("a"), &[b"1"]).unwrap(), Put::Existed);
    }

    #[test]
    fn lies_change_what_passes() {
        let store = Faulty::new(MemoryStore::new(), |attempt| match attempt.number {
            2 => Fault::FlipBit(8 + 1),
            3 => Fault::Shorten(1),
            5 => Fault::FlipBit(16),
            _ => Fault::None,
        });
        store.put(&key("a"), &[&[0, 0]]).unwrap();
        assert_eq!(store.get(&key("a")).unwrap(), [0, 2]);
        let mut buffer = Vec::new();
        store.get_range(&key("a"), 0..2, &mut buffer).unwrap();
        assert_eq!(buffer, [0]);
        assert_eq!(store.get(&key("a")).unwrap(), [0, 0]);
        store.put(&key("b"), &[&[0], &[0]]).unwrap();
        assert_eq!(store.get(&key("b")).unwrap(), [1, 0]);
    }
}
