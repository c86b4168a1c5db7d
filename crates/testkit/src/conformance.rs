//! What every store must do, whatever it is made of: the contract of [`Store`] as tests.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use icecore_store::error::Operation;
use icecore_store::{Error, ErrorKind, Key, Put, Store};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::key;

/// Runs the whole suite. Each call of `make` gives a new, empty store.
///
/// # Panics
/// If the store does not keep the contract.
pub fn conformance(make: impl Fn() -> Box<dyn Store>) {
    absent_objects(&*make());
    round_trips(&*make());
    create_new(&*make());
    ranges(&*make());
    listings(&*make());
    listing_errors(&*make());
    deletion(&*make());
    directories(&*make());
    racing_creators(&*make());
    whole_or_absent(&*make());
    listing_amid_changes(&*make());
    histories(&make);
}

/// Bytes that tell where they stand.
fn pattern(length: usize, seed: usize) -> Vec<u8> {
    (0..length).map(|i| ((i * 31 + i / 251) ^ seed) as u8).collect()
}

/// All objects below `directory` with their sizes; each is listed once.
fn list(store: &dyn Store, directory: &str) -> BTreeMap<Key, u64> {
    let mut found = BTreeMap::new();
    let each = &mut |listed: icecore_store::Listed| {
        let before = found.insert(listed.key.clone(), listed.size);
        assert_eq!(before, None, "{} is listed twice", listed.key);
        Ok(())
    };
    store.list(directory, each).unwrap();
    found
}

fn names(store: &dyn Store, directory: &str) -> String {
    list(store, directory).keys().map(Key::as_str).collect::<Vec<_>>().join(" ")
}

fn assert_error(error: &Error, store: &dyn Store, operation: Operation, object: &Key, kind: ErrorKind) {
    let seen = (error.operation, &*error.object, &*error.location, error.kind);
    assert_eq!(seen, (operation, object.as_str(), &*store.location(), kind));
}

fn absent_objects(store: &dyn Store) {
    for key in [key("config"), key("packs/3f/a")] {
        assert_error(&store.get(&key).unwrap_err(), store, Operation::Get, &key, ErrorKind::NotFound);
        let mut buffer = vec![1];
        let error = store.get_range(&key, 0..0, &mut buffer).unwrap_err();
        assert_error(&error, store, Operation::Get, &key, ErrorKind::NotFound);
        assert!(buffer.is_empty());
        assert_eq!(store.size(&key).unwrap(), None);
        store.delete(&key).unwrap();
    }
    assert_eq!(names(store, "") + &names(store, "packs") + &names(store, "packs/3f"), "");
}

fn round_trips(store: &dyn Store) {
    let large = pattern(1 << 16, 5).repeat(16 * 33);
    let single: Vec<&[u8]> = large[..3000].chunks(1).collect();
    let cases: [(&str, &[&[u8]]); 7] = [
        ("config", &[b"x"]),
        ("no-parts", &[]),
        ("zero-bytes", &[b""]),
        ("packs/00/empty-parts", &[b"", b"ab", b"", b"", b"c", b""]),
        ("packs/00/many-parts", &single),
        ("packs/00/large", &[&large[..100], &large[100..]]),
        ("a/b/c/d", &[&[0, 255, 0]]),
    ];
    for (name, parts) in cases {
        let (key, whole) = (key(name), parts.concat());
        assert_eq!(store.put(&key, parts).unwrap(), Put::Created, "{name}");
        assert!(store.get(&key).unwrap() == whole, "{name}");
        assert_eq!(store.size(&key).unwrap(), Some(whole.len() as u64), "{name}");
    }
    let longest = key(&"a-9".repeat(66));
    store.put(&longest, &[b"1"]).unwrap();
    assert_eq!(store.get(&longest).unwrap(), b"1");
}

fn create_new(store: &dyn Store) {
    let key = key("packs/3f/a");
    assert_eq!(store.put(&key, &[b"first"]).unwrap(), Put::Created);
    assert_eq!(store.put(&key, &[b"first"]).unwrap(), Put::Existed);
    assert_eq!(store.put(&key, &[b"another"]).unwrap(), Put::Existed);
    assert_eq!(store.get(&key).unwrap(), b"first");
}

fn ranges(store: &dyn Store) {
    let (key, bytes) = (key("packs/3f/a"), pattern(10_000, 3));
    store.put(&key, &[&bytes]).unwrap();
    let mut buffer = vec![9; 20_000];
    for (start, end) in [(0, 10_000), (0, 1), (9_999, 10_000), (17, 4_000), (5, 5), (10_000, 10_000), (0, 0)] {
        store.get_range(&key, start as u64..end as u64, &mut buffer).unwrap();
        assert!(buffer == bytes[start..end], "{start}..{end}");
    }
    #[allow(clippy::reversed_empty_ranges, reason = "damaged data may ask for anything")]
    let bad = [0..10_001, 10_000..10_001, 10_001..10_001, 0..u64::MAX, u64::MAX - 1..u64::MAX, 7..3, u64::MAX..0];
    for range in bad {
        let error = store.get_range(&key, range, &mut buffer).unwrap_err();
        assert_error(&error, store, Operation::Get, &key, ErrorKind::Truncated);
        assert!(buffer.is_empty());
    }
}

fn listings(store: &dyn Store) {
    for (size, name) in ["config", "packs/3f/a", "packs/3f/b", "packs/40/c", "packs-old/d", "gc/e"].iter().enumerate() {
        store.put(&key(name), &[&pattern(size, 0)]).unwrap();
    }
    assert_eq!(names(store, ""), "config gc/e packs-old/d packs/3f/a packs/3f/b packs/40/c");
    assert_eq!(names(store, "packs"), "packs/3f/a packs/3f/b packs/40/c");
    assert_eq!(names(store, "packs/3f"), "packs/3f/a packs/3f/b");
    assert_eq!(
        names(store, "pack") + &names(store, "packs/3") + &names(store, "packs/3f/a") + &names(store, "config"),
        ""
    );
    assert_eq!(list(store, "packs").values().copied().collect::<Vec<_>>(), [1, 2, 3]);
}

fn listing_errors(store: &dyn Store) {
    for name in ["a/1", "a/2", "a/3"] {
        store.put(&key(name), &[b"x"]).unwrap();
    }
    for hostile in ["..", "a/..", "/", "a/", "tmp", "A", "a\0", "a\\b"] {
        assert!(store.list(hostile, &mut |_| Ok(())).is_err(), "{hostile:?}");
    }
    let mut calls = 0;
    let stopped = store.list("a", &mut |listed| {
        calls += 1;
        // What `each` does may need the store.
        store.get(&listed.key)?;
        store.get(&key("absent")).map(|_| ())
    });
    assert_error(&stopped.unwrap_err(), store, Operation::Get, &key("absent"), ErrorKind::NotFound);
    assert_eq!(calls, 1);
}

fn deletion(store: &dyn Store) {
    let (key, other) = (key("packs/3f/a"), key("packs/3f/b"));
    store.put(&key, &[b"1"]).unwrap();
    store.put(&other, &[b"2"]).unwrap();
    store.delete(&key).unwrap();
    store.delete(&key).unwrap();
    assert_error(&store.get(&key).unwrap_err(), store, Operation::Get, &key, ErrorKind::NotFound);
    assert_eq!(names(store, ""), "packs/3f/b");
    assert_eq!(store.put(&key, &[b"new"]).unwrap(), Put::Created);
    assert_eq!(store.get(&key).unwrap(), b"new");
    assert_eq!(store.get(&other).unwrap(), b"2");
}

fn directories(store: &dyn Store) {
    let (object, directory, below) = (key("packs/3f/a"), key("packs/3f"), key("packs/3f/a/x"));
    store.put(&object, &[b"1"]).unwrap();
    for key in [&directory, &below] {
        assert_eq!(store.put(key, &[b"2"]).unwrap_err().kind, ErrorKind::Other, "{key}");
        assert_error(&store.get(key).unwrap_err(), store, Operation::Get, key, ErrorKind::NotFound);
        let range = store.get_range(key, 0..1, &mut Vec::new()).unwrap_err();
        assert_error(&range, store, Operation::Get, key, ErrorKind::NotFound);
        assert_eq!(store.size(key).unwrap(), None);
        store.delete(key).unwrap();
    }
    assert_eq!(names(store, ""), "packs/3f/a");
}

fn racing_creators(store: &dyn Store) {
    for round in 0..8 {
        let key = key(&format!("packs/{round:02}/a"));
        let outcomes: Vec<_> = thread::scope(|scope| {
            let put = |thread: usize| store.put(&key, &[&pattern(100_000, thread)]).unwrap();
            let threads: Vec<_> = (0..4).map(|thread| scope.spawn(move || put(thread))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let winners: Vec<_> = (0..4).filter(|thread| outcomes[*thread] == Put::Created).collect();
        let [winner] = winners[..] else { panic!("{winners:?} all created {key}") };
        assert!(store.get(&key).unwrap() == pattern(100_000, winner), "the winner's bytes stand at {key}");
    }
}

fn whole_or_absent(store: &dyn Store) {
    let bytes = pattern(1 << 14, 9).repeat(128);
    let keys: Vec<_> = (0..8).map(|n| key(&format!("packs/{n:02}/a"))).collect();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                for key in &keys {
                    match store.get(key) {
                        Ok(seen) => assert!(seen == bytes, "{key} was seen in part"),
                        Err(e) => assert_eq!(e.kind, ErrorKind::NotFound),
                    }
                }
                for (key, size) in list(store, "") {
                    assert_eq!(size, bytes.len() as u64, "{key} was listed in part");
                }
            }
        });
        for key in &keys {
            store.put(key, &[&bytes[..1000], &bytes[1000..]]).unwrap();
        }
        done.store(true, Ordering::SeqCst);
    });
}

fn listing_amid_changes(store: &dyn Store) {
    let standing: Vec<_> = (0..40).map(|n| key(&format!("packs/{:02}/s{n}", n % 4))).collect();
    for key in &standing {
        store.put(key, &[b"standing"]).unwrap();
    }
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..60 {
                let key = key(&format!("packs/{:02}/t{n}", n % 6));
                store.put(&key, &[b"passing"]).unwrap();
                store.delete(&key).unwrap();
            }
            done.store(true, Ordering::SeqCst);
        });
        while !done.load(Ordering::SeqCst) {
            let found = list(store, "packs");
            assert!(standing.iter().all(|key| found.get(key) == Some(&8)), "what stood all the time is listed");
        }
    });
    assert_eq!(list(store, "").len(), standing.len());
}

#[derive(Debug, Clone)]
enum Step {
    Put(usize, usize),
    Get(usize),
    Range(usize, u64, u64),
    Delete(usize),
    List(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let (object, directory) = (0..4_usize, 0..4_usize);
    prop_oneof![
        3 => (object.clone(), 0..200_usize).prop_map(|(object, size)| Step::Put(object, size)),
        2 => object.clone().prop_map(Step::Get),
        2 => (object.clone(), 0..220_u64, 0..220_u64).prop_map(|(object, start, end)| Step::Range(object, start, end)),
        2 => object.prop_map(Step::Delete),
        1 => directory.prop_map(Step::List),
    ]
}

/// Random histories against a plain map.
fn histories(make: &impl Fn() -> Box<dyn Store>) {
    let keys = ["config", "packs/3f/a", "packs/3f/b", "packs/40/a"].map(key);
    let directories = ["", "packs", "packs/3f", "gc"];
    let config = Config { cases: 24, failure_persistence: None, ..Config::default() };
    let run = |steps: Vec<Step>| {
        let (store, mut model) = (make(), BTreeMap::<Key, Vec<u8>>::new());
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Put(object, size) => {
                    let (key, bytes) = (&keys[object], pattern(size, number));
                    let expected = if model.contains_key(key) { Put::Existed } else { Put::Created };
                    prop_assert_eq!(store.put(key, &[&bytes]).unwrap(), expected);
                    model.entry(key.clone()).or_insert(bytes);
                }
                Step::Get(object) => {
                    let key = &keys[object];
                    prop_assert_eq!(store.get(key).ok(), model.get(key).cloned());
                    let size = model.get(key).map(|bytes| bytes.len() as u64);
                    prop_assert_eq!(store.size(key).unwrap(), size);
                }
                Step::Range(object, start, end) => {
                    let (key, mut buffer) = (&keys[object], vec![1; 7]);
                    let got = store.get_range(key, start..end, &mut buffer).map_err(|e| e.kind);
                    let whole = model.get(key).ok_or(ErrorKind::NotFound);
                    let part =
                        whole.and_then(|bytes| bytes.get(start as usize..end as usize).ok_or(ErrorKind::Truncated));
                    prop_assert_eq!(got.map(|()| &buffer[..]), part);
                }
                Step::Delete(object) => {
                    store.delete(&keys[object]).unwrap();
                    model.remove(&keys[object]);
                }
                Step::List(directory) => {
                    let below = model.iter().filter(|(key, _)| key.is_below(directories[directory]));
                    let expected = below.map(|(key, bytes)| (key.clone(), bytes.len() as u64)).collect();
                    prop_assert_eq!(list(&*store, directories[directory]), expected);
                }
            }
        }
        Ok(())
    };
    if let Err(failure) = TestRunner::new(config).run(&prop::collection::vec(step(), 1..24), run) {
        panic!("{failure}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Fault, Faulty};
    use icecore_store::{LocalStore, MemoryStore};
    use std::panic::catch_unwind;
    use std::sync::atomic::AtomicUsize;

    #[test]
    fn a_memory_store_conforms() {
        conformance(|| Box::new(MemoryStore::new()));
    }

    #[test]
    fn a_local_store_conforms() {
        let (directory, stores) = (tempfile::tempdir().unwrap(), AtomicUsize::new(0));
        conformance(|| {
            let number = stores.fetch_add(1, Ordering::SeqCst);
            Box::new(LocalStore::create(directory.path().join(number.to_string())).unwrap())
        });
    }

    /// The suite itself must be able to fail.
    #[test]
    fn liars_do_not_conform() {
        for (operation, fault) in [
            (Operation::Put, Fault::FlipBit(3)),
            (Operation::Put, Fault::Shorten(1)),
            (Operation::Get, Fault::FlipBit(3)),
            (Operation::Get, Fault::Shorten(1)),
            (Operation::Delete, Fault::Fail(std::io::ErrorKind::Other)),
            (Operation::List, Fault::Fail(std::io::ErrorKind::Other)),
        ] {
            let liar = move || -> Box<dyn Store> {
                let decide = move |attempt: &crate::faulty::Attempt<'_>| {
                    if attempt.operation == operation { fault } else { Fault::None }
                };
                Box::new(Faulty::new(MemoryStore::new(), decide))
            };
            assert!(catch_unwind(|| conformance(liar)).is_err(), "{operation} with {fault:?} went unnoticed");
        }
    }
}
