//! What goes wrong in the middle of a run and is over: a read that fails once, packs that another process forgets.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use icecore_engine::{Archive, Stored};
use icecore_store::error::Operation;
use icecore_store::{Key, Listed, Store};
use icecore_testkit::small_repository::{secret, small_repository};
use icecore_testkit::{Fault, Faulty, MemoryStore};
use tempfile::TempDir;

use super::history::{open, place, restores_as, sound, take};
use crate::common::{noise, settle, text, write};

/// A repository with one snapshot of a tree, and its state directory.
struct Scene {
    store: Arc<MemoryStore>,
    directory: TempDir,
}

impl Scene {
    fn new() -> Self {
        let scene = Self { store: Arc::new(MemoryStore::new()), directory: place() };
        small_repository(&scene.store, &secret(1));
        for number in 0..200 {
            write(scene.live().join(format!("notes/{number}")), text(number, 500));
        }
        write(scene.live().join("mail/2019/container"), noise(1, 600 << 10));
        settle();
        take(&scene.open(), &scene.live()).unwrap();
        scene
    }

    fn live(&self) -> std::path::PathBuf {
        self.directory.path().join("live")
    }

    fn state(&self) -> std::path::PathBuf {
        self.directory.path().join("state")
    }

    /// As another process on this host does.
    fn open(&self) -> Archive {
        open(self.store.clone(), &secret(1), &self.state()).unwrap()
    }

    /// The same, with something that happens at the `nth` read from now on.
    fn open_with(&self, nth: u64, happen: impl Fn() -> Fault + Send + Sync + 'static) -> (Archive, Arc<AtomicU64>) {
        let reads = Arc::new(AtomicU64::new(u64::MAX / 2));
        let counted = Arc::clone(&reads);
        let faulty = Faulty::new(self.store.clone(), move |attempt| {
            let is_nth = attempt.operation == Operation::Get && counted.fetch_add(1, Ordering::SeqCst) + 1 == nth;
            if is_nth { happen() } else { Fault::None }
        });
        let archive = open(Arc::new(faulty), &secret(1), &self.state()).unwrap();
        reads.store(0, Ordering::SeqCst);
        (archive, reads)
    }
}

fn newest(archive: &Archive) -> Stored {
    archive.catalogue().unwrap().snapshots.pop().unwrap()
}

/// A store that did not answer once has lost nothing: what the index knew it still knows, and nothing is stored twice.
#[test]
fn a_read_that_fails_once_makes_nobody_forget() {
    let mut failures = 0;
    for nth in 1.. {
        let scene = Scene::new();
        let before = scene.open().totals().unwrap();
        let (archive, reads) = scene.open_with(nth, || Fault::Fail(ErrorKind::TimedOut));
        let outcome = take(&archive, &scene.live());
        if reads.load(Ordering::SeqCst) < nth {
            break;
        }
        failures += 1;
        // Whatever was read again was found to be stored: also the blocks of the same manifest.
        assert_eq!(scene.open().totals().unwrap(), before, "read {nth} failed ({outcome:?})");
        let again = take(&scene.open(), &scene.live()).unwrap().snapshot.totals;
        assert_eq!((again.chunks_new, again.bytes_read), (0, 0), "read {nth} failed ({outcome:?})");
        sound(&scene.open()).unwrap();
    }
    assert!(failures > 1, "a second backup reads the manifest of the first");
}

/// While a run goes on, another process finds that the largest pack is gone: the generation of the index moves. Whatever the
/// run believed, the backup after it stores again what was lost.
#[test]
fn what_is_lost_in_the_middle_of_a_run_is_stored_again_by_the_next() {
    let mut losses = 0;
    for nth in 1.. {
        let scene = Scene::new();
        write(scene.live().join("notes/later"), text(9, 500));
        settle();
        let (store, state) = (scene.store.clone(), scene.state());
        let (archive, reads) = scene.open_with(nth, move || {
            lose_largest_pack(&store, &state);
            Fault::None
        });
        let outcome = take(&archive, &scene.live());
        if reads.load(Ordering::SeqCst) < nth {
            break;
        }
        losses += 1;
        drop(archive);
        let next = scene.open();
        let report = take(&next, &scene.live()).unwrap();
        assert_eq!(report.snapshot.problem_count, 0);
        restores_as(&next, &newest(&next), &scene.live())
            .unwrap_or_else(|why| panic!("read {nth} ({outcome:?}): {why}"));
        let container = report.snapshot.totals.bytes_new;
        let healed = outcome.is_ok_and(|report| report.snapshot.totals.bytes_new >= 600 << 10);
        assert!(healed || container >= 600 << 10, "read {nth}: nothing was stored again");
    }
    assert!(losses > 1, "a second backup reads the manifest of the first");
}

/// Removes the largest pack, and lets a check find out.
fn lose_largest_pack(store: &Arc<MemoryStore>, state: &Path) {
    let mut packs: Vec<(u64, Key)> = Vec::new();
    let mut note = |listed: Listed| {
        packs.push((listed.size, listed.key));
        Ok(())
    };
    store.list("packs", &mut note).unwrap();
    let (_, largest) = packs.iter().max().unwrap();
    store.delete(largest).unwrap();
    sound(&open(store.clone(), &secret(1), state).unwrap()).unwrap_err();
}
