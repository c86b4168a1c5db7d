//! A prune meets damage: nothing goes that could be had before, and what cannot be read is named. Marks and session records are damaged too.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use icecore_store::LocalStore;
use icecore_store::error::Operation;
use icecore_testkit::small_repository::secret;
use icecore_testkit::{Fault, Faulty};

use super::{BOTH, Copy, Damage, Original, State, everywhere, names};
use crate::common::args;
use crate::crash::history::{open, place, take};

impl Copy<'_> {
    /// What of both snapshots cannot be had.
    fn lost(&self) -> [BTreeSet<String>; 2] {
        let original = self.original;
        let trees = [(&original.first, original.before.clone()), (&original.second, original.live())];
        trees.map(|(snapshot, tree)| self.restore(snapshot, &tree).1)
    }

    /// The objects of a kind, by their places in the repository.
    fn keys(&self, kind: &str) -> Vec<PathBuf> {
        let root = self.path("repository");
        let (mut found, mut pending) = (Vec::new(), vec![root.join(kind)]);
        while let Some(directory) = pending.pop() {
            for entry in fs::read_dir(&directory).into_iter().flatten().map(Result::unwrap) {
                let path = entry.path();
                if path.is_dir() {
                    pending.push(path)
                } else {
                    found.push(path.strip_prefix(&root).unwrap().to_owned())
                }
            }
        }
        found.sort();
        found
    }

    /// What another host would have.
    fn forget_state(&self) {
        let _ = fs::remove_dir_all(self.path("state"));
    }
}

fn no_good_goes(kind: &str, object: &Path) {
    let original = Original::get();
    everywhere(BOTH, |how, state| {
        let copy = original.copy(state);
        copy.damage(object, how, original.sibling(kind), &original.slots[0]);
        let before = {
            let stranger = original.copy(State::Lost);
            stranger.damage(object, how, original.sibling(kind), &original.slots[0]);
            stranger.lost()
        };
        for more in [&["--max-unused", "0"][..], &["--now", "--max-unused", "0"]] {
            let pruned = copy.run_all(args!["prune"].into_iter().chain(more.iter().map(Into::into)));
            assert!([0, 1].map(Some).contains(&pruned.code()), "{pruned}");
            if state == State::Lost && how != Damage::Delete && ["fragment", "record"].contains(&kind) {
                assert_eq!(pruned.code(), Some(1), "{pruned}");
                names(&pruned, object.parent().unwrap().to_str().unwrap());
            }
            if pruned.code() == Some(1) {
                assert!(pruned.err().contains("kept: ") || pruned.err().contains("nothing was deleted"), "{pruned}");
            }
        }
        copy.forget_state();
        for (now, then) in copy.lost().iter().zip(&before) {
            assert!(now.is_subset(then), "a prune cost {:?}", now.difference(then));
        }
    });
}

#[test]
fn a_prune_beside_a_damaged_data_pack_costs_nothing_more() {
    no_good_goes("data", &Original::get().data);
}

#[test]
fn a_prune_beside_a_damaged_manifest_pack_costs_nothing_more() {
    no_good_goes("manifest", &Original::get().manifest);
}

#[test]
fn a_prune_beside_a_damaged_fragment_costs_nothing_more() {
    no_good_goes("fragment", &Original::get().fragment);
}

#[test]
fn a_prune_beside_a_damaged_record_costs_nothing_more() {
    no_good_goes("record", &Original::get().record);
}

#[test]
fn a_prune_without_its_configuration_or_key_deletes_nothing() {
    let original = Original::get();
    let [used, other] = &original.slots;
    for (object, sibling) in [(Path::new("config"), used), (used, other)] {
        everywhere(&[State::Kept], |how, state| {
            let copy = original.copy(state);
            copy.damage(object, how, sibling, &original.data);
            let before = copy.keys("packs");
            let pruned = copy.run(args!["prune", "--now", "--max-unused", "0"]);
            assert!([1, 10, 12].map(Some).contains(&pruned.code()), "{pruned}");
            assert_eq!(copy.keys("packs"), before);
        });
    }
}

#[test]
fn a_prune_with_a_damaged_index_deletes_nothing_that_is_needed() {
    let original = Original::get();
    for how in 0..16_usize {
        let copy = original.copy(State::Kept);
        copy.run(args!["forget", &original.first]).expect(0);
        for file in ["index.sqlite", "reach.sqlite"] {
            let id = fs::read_dir(copy.path("state")).unwrap().next().unwrap().unwrap().file_name();
            let path = copy.path("state").join(id).join(file);
            let mut bytes = fs::read(&path).unwrap();
            match how {
                0 => bytes.clear(),
                1 => bytes.truncate(bytes.len() / 2),
                2 => bytes = b"this is no database at all".repeat(100),
                how => bytes.chunks_mut(4096).enumerate().for_each(|(page, bytes)| {
                    let at = (how * 977 + page * 131) % bytes.len();
                    bytes[at] ^= 1 << (how % 8);
                }),
            }
            fs::write(&path, bytes).unwrap();
        }
        copy.run(args!["prune", "--max-unused", "0"]);
        copy.run(args!["prune", "--now", "--max-unused", "0"]);
        copy.forget_state();
        let (restored, missing) = copy.restore(&original.second, &original.live());
        assert_eq!((restored.code(), missing.len()), (Some(0), 0), "damage {how}: {restored}");
    }
}

#[test]
fn a_damaged_mark_stops_prunes_and_nothing_else() {
    let original = Original::get();
    let live = original.live();
    everywhere(BOTH, |how, state| {
        let copy = original.copy(state);
        copy.run(args!["forget", &original.second]).expect(0);
        copy.run(args!["prune", "--max-unused", "0"]).expect(0);
        let marks = copy.keys("gc");
        let [object, sibling] = &marks[..] else { panic!("{marks:?}") };
        copy.damage(object, how, sibling, &original.data);
        if state == State::Lost {
            copy.forget_state();
        }
        let name = object.file_name().unwrap().to_str().unwrap();
        copy.run(args!["snapshots"]).expect(0);
        let (restored, missing) = copy.restore(&original.first, &original.before);
        assert_eq!((restored.code(), missing.len()), (Some(0), 0), "{restored}");
        let checked = copy.run(args!["check"]);
        let pruned = copy.run(args!["prune", "--now", "--max-unused", "0"]);
        if how == Damage::Delete {
            // Somebody took it back: what it says counts again, or the other one says it still.
            checked.expect(0);
            pruned.expect(0);
        } else {
            assert_eq!((checked.code(), pruned.code()), (Some(1), Some(1)), "{checked} {pruned}");
            names(&checked, name);
            names(&pruned, "gc/");
        }
        // Whatever this host relies on, nobody can delete.
        copy.run(args!["backup", &live, "--name", "live"]).expect(0);
        copy.run(args!["forget", "latest", "--dry-run"]).expect(0);
        for mark in copy.keys("gc") {
            fs::remove_file(copy.object(&mark)).unwrap();
        }
        copy.run(args!["prune", "--now", "--max-unused", "0"]).expect(0);
        copy.forget_state();
        let (restored, missing) = copy.restore("latest", &live);
        assert_eq!((restored.code(), missing.len()), (Some(0), 0), "{restored}");
    });
}

/// The record of a session that ended without removing it.
fn session_record(original: &Original) -> (PathBuf, Vec<u8>) {
    let copy = original.copy(State::Lost);
    let store = LocalStore::open(copy.path("repository")).unwrap();
    let lasting = Faulty::new(store, |attempt| match attempt.operation {
        Operation::Delete => Fault::Fail(io::ErrorKind::PermissionDenied),
        _ => Fault::None,
    });
    let state = place();
    let archive = open(Arc::new(lasting), &secret(1), state.path()).unwrap();
    take(&archive, &original.live()).unwrap();
    let key = copy.keys("sessions").remove(0);
    let bytes = fs::read(copy.object(&key)).unwrap();
    (key, bytes)
}

#[test]
fn a_damaged_session_record_stops_what_deletes_at_once_and_nothing_else() {
    let original = Original::get();
    let (live, (key, bytes)) = (original.live(), session_record(&original));
    everywhere(BOTH, |how, state| {
        let copy = original.copy(state);
        fs::create_dir_all(copy.object(&key).parent().unwrap()).unwrap();
        fs::write(copy.object(&key), &bytes).unwrap();
        let alive = copy.run(args!["prune", "--now"]).expect(1);
        names(&alive, "session");
        // There is no other of its kind to change places with.
        let how = if how == Damage::Swap { Damage::Replace } else { how };
        copy.damage(&key, how, &original.data, &original.record);
        let readable = how == Damage::Delete;
        copy.run(args!["snapshots"]).expect(0);
        let (restored, missing) = copy.restore("latest", &live);
        assert_eq!((restored.code(), missing.len()), (Some(0), 0), "{restored}");
        let checked = copy.run(args!["check"]).expect(i32::from(!readable));
        let at_once = copy.run(args!["prune", "--now"]).expect(i32::from(!readable));
        if !readable {
            names(&checked, key.to_str().unwrap());
            names(&at_once, key.to_str().unwrap());
        }
        copy.run(args!["backup", &live, "--name", "live"]).expect(0);
        copy.run(args!["prune"]).expect(0);
        let _ = fs::remove_file(copy.object(&key));
        copy.run(args!["prune", "--now"]).expect(0);
        let (restored, missing) = copy.restore("latest", &live);
        assert_eq!((restored.code(), missing.len()), (Some(0), 0), "{restored}");
    });
}
