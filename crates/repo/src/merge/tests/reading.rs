//! What others of this host find in the index while it reads fragments, of which one replaces others.

use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock};

use icecore_testkit::faulty::Attempt;
use icecore_testkit::{Fault, Faulty};

use super::*;
use crate::index::Lookup;

/// What happens when the fragment is to be read that names the copy.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Then {
    /// It is read.
    Read,
    /// Reading fails, this once.
    Fail,
    /// It is gone: somebody has just replaced and deleted it.
    Gone,
}

/// A host with a store that asks before each call.
fn watching(
    store: &Arc<TestStore>,
    ask: impl Fn(&Attempt<'_>) -> Fault + Send + Sync + 'static,
) -> (Arc<Repository>, Index, TempDir) {
    let state = tempfile::tempdir().unwrap();
    let asking = Arc::new(Faulty::new(Arc::clone(store), ask));
    let repository = Arc::new(Repository::open(asking, &secret(1)).unwrap());
    let index = Index::open(state.path(), repository.id()).unwrap();
    (repository, index, state)
}

/// A prune of another host has copied what is needed out of a pack, and un-indexed that: one fragment names the copy,
/// another replaces the one that named the pack. At every call of the host that reads them, and wherever that ends, the
/// chunk stands somewhere.
#[test]
fn what_was_copied_is_found_at_every_moment() {
    for then in [Then::Read, Then::Fail, Then::Gone] {
        let store = store();
        let pruner = Arc::new(Host::open(&store, &secret(1), at(0)));
        let (going, staying, wanted) = (pack(1, 10), pack(2, 500), chunk(1, 0));
        publish(&pruner.index, &pruner.repository, &[going.clone(), staying.clone()]).unwrap();
        let [(old, _)] = standing(&store)[..] else { panic!("one fragment") };

        let watched = Arc::new(OnceLock::<Mutex<Lookup>>::new());
        let finds = Arc::new(Mutex::new(Vec::new()));
        let (copied, happened) = (Arc::new(OnceLock::<FragmentId>::new()), Arc::new(AtomicBool::new(false)));
        let (repository, index, _state) = {
            let (watched, finds, copied) = (Arc::clone(&watched), Arc::clone(&finds), Arc::clone(&copied));
            let (happened, pruner, objects) = (Arc::clone(&happened), Arc::clone(&pruner), Arc::clone(&store));
            watching(&store, move |attempt| {
                if let Some(lookup) = watched.get() {
                    finds.lock().unwrap().push(lookup.lock().unwrap().contains(&wanted).unwrap());
                }
                let Some(copied) = copied.get().filter(|id| attempt.object == layout::fragment(id).as_str()) else {
                    return Fault::None;
                };
                if attempt.operation != Operation::Get || happened.swap(true, Relaxed) {
                    return Fault::None;
                }
                match then {
                    Then::Read => Fault::None,
                    Then::Fail => Fault::Fail(ErrorKind::BrokenPipe),
                    Then::Gone => {
                        let packs = read_fragment(&pruner.repository, copied).unwrap().packs;
                        replace(&pruner.repository, &pruner.index, &[*copied], packs, at(1), &|| at(1))
                            .unwrap()
                            .unwrap();
                        objects.delete(&layout::fragment(copied)).unwrap();
                        Fault::None
                    }
                }
            })
        };
        index.sync_at(&repository, at(0)).unwrap();

        let copy = PackInfo { id: PackId::from_bytes(hash(99)), ..going };
        publish(&pruner.index, &pruner.repository, std::slice::from_ref(&copy)).unwrap();
        let (name, size) = standing(&store).into_iter().find(|(id, _)| *id != old).unwrap();
        copied.set(name).unwrap();
        replace(&pruner.repository, &pruner.index, &[old], vec![staying], at(1), &|| at(1)).unwrap().unwrap();
        let mut others = standing(&store).into_iter().filter(|(id, _)| ![old, name].contains(id));
        assert!(
            others.all(|(_, other)| other > size),
            "the one that replaces is read before the one that names the copy"
        );

        watched.set(Mutex::new(index.lookup().unwrap())).unwrap();
        let synced = index.sync_at(&repository, at(2));
        assert_eq!(synced.is_err(), then == Then::Fail, "{synced:?}");
        assert!(happened.load(Relaxed));
        let finds = std::mem::take(&mut *finds.lock().unwrap());
        assert!(finds.len() > 2 && finds.iter().all(|found| *found), "{then:?}: {finds:?}");
        let places = || index.lookup().unwrap().locate(&wanted).unwrap();
        assert!(!places().is_empty(), "{then:?}");
        // In the end there is the copy alone.
        index.sync_at(&repository, at(3)).unwrap();
        assert!(matches!(places()[..], [place] if place.frame.pack == copy.id), "{then:?}: {:?}", places());
    }
}
