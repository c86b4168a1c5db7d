//! Stores that do nothing until they are told to: the order in which several hosts reach one store is chosen by a test.
//!
//! Each actor has a store of its own over the same objects. Its calls wait at the [`Gate`]; [`Gate::step`] lets exactly one of
//! them through and returns when it is done. If that is asked for, a listing is not of one moment, as in real stores: it takes
//! two steps, and what was put or deleted between them is passed over by two listings, shown by the next two, and so on.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use icecore_store::{Key, Listed, Put, Result, Store};

/// Where the calls of all actors wait.
#[derive(Debug, Default)]
pub struct Gate {
    actors: Mutex<HashMap<usize, Actor>>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Actor {
    waiting: usize,
    let_through: usize,
    under_way: usize,
    /// Listings between their steps.
    listings: usize,
    /// Nobody steps it any more: its calls pass.
    is_free: bool,
}

impl Gate {
    fn lock(&self) -> MutexGuard<'_, HashMap<usize, Actor>> {
        self.actors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'g>(&'g self, actors: MutexGuard<'g, HashMap<usize, Actor>>) -> MutexGuard<'g, HashMap<usize, Actor>> {
        self.changed.wait(actors).unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the next call of an actor and lets it through; false if the actor has ended instead.
    pub fn step(&self, actor: usize) -> bool {
        let mut actors = self.lock();
        loop {
            let state = actors.entry(actor).or_default();
            if state.is_free {
                return false;
            }
            if state.waiting > 0 {
                break;
            }
            actors = self.wait(actors);
        }
        let state = actors.entry(actor).or_default();
        state.let_through += 1;
        state.under_way += 1;
        self.changed.notify_all();
        while actors.entry(actor).or_default().under_way > 0 {
            actors = self.wait(actors);
        }
        true
    }

    /// Whether an actor is in the middle of a listing.
    pub fn is_listing(&self, actor: usize) -> bool {
        self.lock().get(&actor).is_some_and(|state| state.listings > 0)
    }

    /// The actor has ended: what it left running passes.
    pub fn end(&self, actor: usize) {
        self.lock().entry(actor).or_default().is_free = true;
        self.changed.notify_all();
    }

    fn pass<T>(&self, actor: usize, call: impl FnOnce() -> T) -> T {
        let mut actors = self.lock();
        actors.entry(actor).or_default().waiting += 1;
        self.changed.notify_all();
        let stepped = loop {
            let state = actors.entry(actor).or_default();
            if state.let_through > 0 {
                state.let_through -= 1;
                break true;
            }
            if state.is_free {
                break false;
            }
            actors = self.wait(actors);
        };
        actors.entry(actor).or_default().waiting -= 1;
        drop(actors);
        let result = call();
        if stepped {
            self.lock().entry(actor).or_default().under_way -= 1;
            self.changed.notify_all();
        }
        result
    }
}

/// The store of one actor.
#[derive(Debug)]
pub struct Stepping<S> {
    inner: Arc<S>,
    gate: Arc<Gate>,
    actor: usize,
    /// How many there were, if they take two steps.
    listings: Option<AtomicUsize>,
}

impl<S: Store> Stepping<S> {
    /// Lets calls to `inner` wait at the gate as those of `actor`.
    pub fn new(inner: Arc<S>, gate: Arc<Gate>, actor: usize) -> Self {
        Self { inner, gate, actor, listings: None }
    }

    /// The same, with listings that are not of one moment.
    pub fn with_long_listings(self) -> Self {
        Self { listings: Some(AtomicUsize::new(0)), ..self }
    }

    /// What stands below a directory at this moment.
    fn names(&self, directory: &str) -> Result<BTreeMap<Key, u64>> {
        let mut names = BTreeMap::new();
        self.inner.list(directory, &mut |listed| {
            names.insert(listed.key, listed.size);
            Ok(())
        })?;
        Ok(names)
    }
}

impl<S: Store> Store for Stepping<S> {
    fn put(&self, key: &Key, parts: &[&[u8]]) -> Result<Put> {
        self.gate.pass(self.actor, || self.inner.put(key, parts))
    }

    fn get(&self, key: &Key) -> Result<Vec<u8>> {
        self.gate.pass(self.actor, || self.inner.get(key))
    }

    fn get_range(&self, key: &Key, range: Range<u64>, buffer: &mut Vec<u8>) -> Result<()> {
        self.gate.pass(self.actor, || self.inner.get_range(key, range, buffer))
    }

    fn size(&self, key: &Key) -> Result<Option<u64>> {
        self.gate.pass(self.actor, || self.inner.size(key))
    }

    fn list(&self, directory: &str, each: &mut dyn FnMut(Listed) -> Result<()>) -> Result<()> {
        let Some(listings) = &self.listings else {
            return self.gate.pass(self.actor, || self.inner.list(directory, each));
        };
        let mut first = self.gate.pass(self.actor, || {
            self.gate.lock().entry(self.actor).or_default().listings += 1;
            self.names(directory)
        })?;
        let second = self.gate.pass(self.actor, || {
            self.gate.lock().entry(self.actor).or_default().listings -= 1;
            self.names(directory)
        })?;
        if listings.fetch_add(1, Ordering::Relaxed) % 4 < 2 {
            first.retain(|key, _| second.contains_key(key));
        } else {
            first.extend(second);
        }
        first.into_iter().try_for_each(|(key, size)| each(Listed { key, size }))
    }

    fn delete(&self, key: &Key) -> Result<()> {
        self.gate.pass(self.actor, || self.inner.delete(key))
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
    fn an_actor_that_ended_keeps_the_contract() {
        crate::conformance(|| {
            let gate = Arc::new(Gate::default());
            gate.end(0);
            Box::new(Stepping::new(Arc::new(MemoryStore::new()), gate, 0))
        });
        crate::conformance(|| {
            let gate = Arc::new(Gate::default());
            gate.end(0);
            Box::new(Stepping::new(Arc::new(MemoryStore::new()), gate, 0).with_long_listings())
        });
    }

    #[test]
    fn calls_pass_one_by_one_in_the_order_that_is_chosen() {
        let (gate, objects) = (Arc::new(Gate::default()), Arc::new(MemoryStore::new()));
        let names = |objects: &MemoryStore| {
            let mut names = Vec::new();
            let mut each = |listed: Listed| {
                names.push(listed.key.to_string());
                Ok(())
            };
            objects.list("", &mut each).unwrap();
            names
        };
        std::thread::scope(|scope| {
            for actor in 0..2 {
                let store = Stepping::new(objects.clone(), gate.clone(), actor);
                let gate = gate.clone();
                scope.spawn(move || {
                    store.put(&key(&format!("{actor}-first")), &[b""]).unwrap();
                    store.put(&key(&format!("{actor}-second")), &[b""]).unwrap();
                    gate.end(actor);
                });
            }
            assert!(gate.step(1));
            assert_eq!(names(&objects), ["1-first"]);
            assert!(gate.step(1) && gate.step(0));
            assert_eq!(names(&objects), ["0-first", "1-first", "1-second"]);
            assert!(!gate.step(1) && gate.step(0) && !gate.step(0));
        });
    }

    #[test]
    fn a_listing_passes_over_what_comes_or_goes_meanwhile_or_shows_both() {
        let (gate, objects) = (Arc::new(Gate::default()), Arc::new(MemoryStore::new()));
        let store = Stepping::new(objects.clone(), gate.clone(), 0).with_long_listings();
        objects.put(&key("stays"), &[b""]).unwrap();
        for expected in [1, 1, 3, 3, 1] {
            objects.put(&key("goes"), &[b""]).unwrap();
            objects.delete(&key("comes")).unwrap();
            std::thread::scope(|scope| {
                let listing = scope.spawn(|| {
                    let mut names = 0;
                    let listed = store.list("", &mut |_| {
                        names += 1;
                        Ok(())
                    });
                    listed.map(|()| names).unwrap()
                });
                assert!(gate.step(0) && gate.is_listing(0));
                objects.delete(&key("goes")).unwrap();
                objects.put(&key("comes"), &[b""]).unwrap();
                assert!(gate.step(0) && !gate.is_listing(0));
                assert_eq!(listing.join().unwrap(), expected);
            });
        }
    }
}
