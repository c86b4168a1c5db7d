//! What a loss of power would have left behind, at each moment of a run.
//!
//! A [`CrashLog`] wraps a store and writes down when each `put` and `delete` began and when it had become durable. After
//! the run, [`CrashLog::image`] builds what a restart would have found after the first n of these events:
//!
//! ```text
//! for n in 0..=log.len():
//!     for fate in Absent, Complete, Torn:
//!         store = log.image(n, |_| fate)           what had ended is there; what was under way met its fate
//!         open the repository in it, restore every snapshot whose commit is among the first n events
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use icecore_store::key::RESERVED;
use icecore_store::{Key, Listed, LocalStore, MemoryStore, Put, Result, Store};

/// A step of a run after which the power may fail.
#[derive(Debug, Clone)]
pub enum Event {
    /// A `put` was called.
    PutBegun {
        /// Pairs it with its end.
        call: usize,
        /// The object.
        key: Key,
        /// What is to be stored.
        bytes: Arc<[u8]>,
    },
    /// A `put` is about to return.
    PutEnded {
        /// Pairs it with its beginning.
        call: usize,
        /// The object.
        key: Key,
        /// What stands there, durably: what was put, or what existed, or nothing after a failure.
        standing: Option<Arc<[u8]>>,
    },
    /// A `delete` was called.
    DeleteBegun {
        /// Pairs it with its end.
        call: usize,
        /// The object.
        key: Key,
    },
    /// A `delete` is about to return.
    DeleteEnded {
        /// Pairs it with its beginning.
        call: usize,
        /// The object.
        key: Key,
        /// Whether it succeeded.
        gone: bool,
    },
}

/// What becomes of a call that was under way when the power failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It had no effect.
    Absent,
    /// It took effect, although nobody was told.
    Complete,
    /// A `put` left half of its bytes among the store's temporary files; a `delete` had no effect.
    Torn,
}

type Objects = BTreeMap<Key, Arc<[u8]>>;

/// A decorator that remembers every effect of a run.
#[derive(Debug)]
pub struct CrashLog<S> {
    inner: S,
    before: Objects,
    events: Mutex<Vec<Event>>,
}

impl<S: Store> CrashLog<S> {
    /// Begins a log; what `inner` holds already is durable.
    pub fn new(inner: S) -> Result<Self> {
        let mut before = Objects::new();
        inner.list("", &mut |listed| {
            let bytes = inner.get(&listed.key)?;
            before.insert(listed.key, bytes.into());
            Ok(())
        })?;
        Ok(Self { inner, before, events: Mutex::default() })
    }

    /// The store below; what is changed there directly is not in the log.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    /// How many events there are so far. What a test notes here after a commit tells from which image on it must be found.
    #[allow(clippy::len_without_is_empty, reason = "a moment, not a size")]
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// All events so far.
    pub fn events(&self) -> Vec<Event> {
        self.lock().clone()
    }

    /// What is left if the power fails right after the first `events` events; `fate` decides about each call that was
    /// under way then.
    pub fn image(&self, events: usize, fate: impl Fn(&Key) -> Fate) -> Image {
        let mut image = Image { objects: self.before.clone(), torn: Vec::new() };
        let mut under_way = BTreeMap::new();
        for event in self.lock().iter().take(events) {
            match event {
                Event::PutBegun { call, key, bytes } => {
                    under_way.insert(*call, (key.clone(), Some(Arc::clone(bytes))));
                }
                Event::DeleteBegun { call, key } => {
                    under_way.insert(*call, (key.clone(), None));
                }
                Event::PutEnded { call, key, standing } => {
                    under_way.remove(call);
                    if let Some(bytes) = standing {
                        image.create(key, bytes);
                    }
                }
                Event::DeleteEnded { call, key, gone } => {
                    under_way.remove(call);
                    if *gone {
                        image.objects.remove(key);
                    }
                }
            }
        }
        for (key, bytes) in under_way.into_values() {
            match (fate(&key), bytes) {
                (Fate::Complete, Some(bytes)) => image.create(&key, &bytes),
                (Fate::Complete, None) => drop(image.objects.remove(&key)),
                (Fate::Torn, Some(bytes)) => image.torn.push(bytes),
                (Fate::Absent, _) | (Fate::Torn, None) => {}
            }
        }
        image
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Event>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the beginning of a call and gives it its number.
    fn begin(&self, event: impl FnOnce(usize) -> Event) -> usize {
        let mut events = self.lock();
        let call = events.len();
        events.push(event(call));
        call
    }
}

impl<S: Store> Store for CrashLog<S> {
    fn put(&self, key: &Key, parts: &[&[u8]]) -> Result<Put> {
        let bytes: Arc<[u8]> = parts.concat().into();
        let call = self.begin(|call| Event::PutBegun { call, key: key.clone(), bytes: Arc::clone(&bytes) });
        let put = self.inner.put(key, parts);
        let standing = match put {
            Ok(Put::Created) => Some(bytes),
            // After a failure the object may be there or not: the store below knows.
            Ok(Put::Existed) | Err(_) => self.inner.get(key).ok().map(Into::into),
        };
        self.lock().push(Event::PutEnded { call, key: key.clone(), standing });
        put
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
        let call = self.begin(|call| Event::DeleteBegun { call, key: key.clone() });
        let deleted = self.inner.delete(key);
        // A delete that failed may have taken effect all the same.
        let gone = deleted.is_ok() || matches!(self.inner.size(key), Ok(None));
        self.lock().push(Event::DeleteEnded { call, key: key.clone(), gone });
        deleted
    }

    fn location(&self) -> String {
        self.inner.location()
    }
}

/// What a restart finds.
#[derive(Debug, Clone)]
pub struct Image {
    objects: Objects,
    torn: Vec<Arc<[u8]>>,
}

impl Image {
    /// Creates an object unless it is there.
    fn create(&mut self, key: &Key, bytes: &Arc<[u8]>) {
        self.objects.entry(key.clone()).or_insert_with(|| Arc::clone(bytes));
    }

    /// The objects as a store in memory, which has no temporary files: what was torn is absent.
    pub fn to_memory(&self) -> Result<MemoryStore> {
        let store = MemoryStore::new();
        for (key, bytes) in &self.objects {
            store.put(key, &[bytes])?;
        }
        Ok(store)
    }

    /// The objects, and what was torn, laid out in a new directory as a [`LocalStore`] has them. Nothing is synced.
    pub fn to_directory(&self, root: &Path) -> io::Result<LocalStore> {
        for (key, bytes) in &self.objects {
            fs::create_dir_all(root.join(key.parent().unwrap_or("")))?;
            fs::write(root.join(key.as_str()), bytes)?;
        }
        let temporary = root.join(RESERVED);
        fs::create_dir_all(&temporary)?;
        for (number, bytes) in self.torn.iter().enumerate() {
            // A process id that no process has.
            fs::write(temporary.join(format!("{}-torn{number}", i32::MAX)), &bytes[..bytes.len() / 2])?;
        }
        LocalStore::open(root).map_err(io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Fault, Faulty, key};
    use icecore_store::error::Operation;

    fn names(store: &dyn Store) -> Vec<String> {
        let mut names = Vec::new();
        let each = &mut |listed: Listed| {
            names.push(listed.key.to_string());
            Ok(())
        };
        store.list("", each).unwrap();
        names.sort();
        names
    }

    fn found(log: &CrashLog<impl Store>, events: usize, fate: Fate) -> String {
        names(&log.image(events, |_| fate).to_memory().unwrap()).join(" ")
    }

    #[test]
    fn keeps_the_contract() {
        crate::conformance(|| Box::new(CrashLog::new(MemoryStore::new()).unwrap()));
    }

    #[test]
    fn images_follow_the_run() {
        let store = MemoryStore::new();
        store.put(&key("old"), &[b"0"]).unwrap();
        let log = CrashLog::new(store).unwrap();
        log.put(&key("a"), &[b"1"]).unwrap();
        log.put(&key("b"), &[b"2"]).unwrap();
        log.delete(&key("old")).unwrap();
        assert_eq!(log.len(), 6);
        let absent: Vec<_> = (0..=6).map(|n| found(&log, n, Fate::Absent)).collect();
        assert_eq!(absent, ["old", "old", "a old", "a old", "a b old", "a b old", "a b"]);
        let complete: Vec<_> = (0..=6).map(|n| found(&log, n, Fate::Complete)).collect();
        assert_eq!(complete, ["old", "a old", "a old", "a b old", "a b old", "a b", "a b"]);
        assert_eq!(log.image(6, |_| Fate::Absent).to_memory().unwrap().get(&key("b")).unwrap(), b"2");
    }

    #[test]
    fn a_torn_put_is_half_a_temporary_file() {
        let log = CrashLog::new(MemoryStore::new()).unwrap();
        log.put(&key("packs/3f/a"), &[b"12", b"34"]).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let store = log.image(1, |_| Fate::Torn).to_directory(root).unwrap();
        assert!(names(&store).is_empty());
        let left: Vec<_> = fs::read_dir(root.join(RESERVED)).unwrap().collect();
        assert_eq!(fs::read(left[0].as_ref().unwrap().path()).unwrap(), b"12");
        store.put(&key("packs/3f/a"), &[b"1234"]).unwrap();
        assert_eq!(store.get(&key("packs/3f/a")).unwrap(), b"1234");
    }

    #[test]
    fn failures_leave_what_the_store_below_holds() {
        for (fault, expected) in
            [(Fault::Fail(io::ErrorKind::StorageFull), ""), (Fault::FailAfter(io::ErrorKind::TimedOut), "a")]
        {
            let log = CrashLog::new(Faulty::nth(MemoryStore::new(), Operation::Put, 1, fault)).unwrap();
            log.put(&key("a"), &[b"1"]).unwrap_err();
            assert_eq!(found(&log, 2, Fate::Absent), expected);
        }
    }

    #[test]
    fn an_object_that_existed_is_never_replaced() {
        let log = CrashLog::new(MemoryStore::new()).unwrap();
        log.put(&key("a"), &[b"first"]).unwrap();
        log.put(&key("a"), &[b"second"]).unwrap();
        for events in 2..=4 {
            let store = log.image(events, |_| Fate::Complete).to_memory().unwrap();
            assert_eq!(store.get(&key("a")).unwrap(), b"first");
        }
    }
}
