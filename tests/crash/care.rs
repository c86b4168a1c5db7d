//! Repair and copy, cut at every put, delete and sync, and with a store that fails at every call.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use icecore_engine::copy::{CopyJob, Copying};
use icecore_engine::entry::PathBytes;
use icecore_engine::id::SnapshotId;
use icecore_engine::repair::{RepairOptions, Repaired};
use icecore_engine::restore::{RestoreJob, restore};
use icecore_engine::{Archive, Progress};
use icecore_store::error::Operation;
use icecore_store::{ErrorKind, Key, MemoryStore, Store};
use icecore_testkit::crash::Event;
use icecore_testkit::small_repository::{secret, small_repository};
use icecore_testkit::{CrashLog, Fate, Fault, Faulty};
use tempfile::TempDir;

use super::history::{now, open, place, restores_as, sound, take};
use crate::common::{noise, settle, text, write};

const JOB: CopyJob<'_> = CopyJob { level: 1, threads: 2, host: "host", clock: now };

/// Two nights of a tree in a repository.
struct Nights {
    directory: TempDir,
    store: MemoryStore,
    ids: Vec<SnapshotId>,
}

impl Nights {
    fn take() -> Self {
        let store = Arc::new(MemoryStore::new());
        small_repository(&store, &secret(1));
        let directory = place();
        let live = directory.path().join("live");
        let archive = open(store.clone(), &secret(1), &directory.path().join("state")).unwrap();
        let mut ids = Vec::new();
        for night in 0..2 {
            for number in 0..6 {
                let seed = 100 * night + number;
                write(live.join(format!("{night}/noise{number}")), noise(seed, 60 << 10));
                write(live.join(format!("{night}/text{number}")), text(seed, 20 << 10));
            }
            fs::create_dir_all(live.join("empty")).unwrap();
            settle();
            ids.push(take(&archive, &live).unwrap().id);
            let copy = directory.path().join(format!("night{night}"));
            assert!(Command::new("cp").arg("-a").args([&live, &copy]).status().unwrap().success());
        }
        let copied = duplicate(&*store);
        Self { directory, store: copied, ids }
    }

    fn live(&self) -> PathBuf {
        self.directory.path().join("live")
    }

    fn tree(&self, night: usize) -> PathBuf {
        self.directory.path().join(format!("night{night}"))
    }

    /// Whether the snapshot of a night is there and exact.
    fn is_exact(&self, archive: &Archive, night: usize) -> Result<(), String> {
        let catalogue = archive.catalogue().map_err(|error| error.to_string())?;
        let stored = catalogue.snapshots.iter().find(|stored| stored.id == self.ids[night]);
        restores_as(archive, stored.ok_or("a snapshot is gone")?, &self.tree(night))
    }

    /// Entries of the second night that cannot be restored.
    fn lost(&self, archive: &Archive) -> u64 {
        let place = place();
        let catalogue = archive.catalogue().unwrap();
        let stored = catalogue.snapshots.iter().find(|stored| stored.id == self.ids[1]).unwrap();
        let job = RestoreJob::new(stored, PathBytes::new(), place.path().join("restored"));
        restore(archive, &RestoreJob { numeric_ids: true, ..job }, &Progress::default()).unwrap().missing_count
    }

    /// The packs of the second night, the largest first.
    fn packs(&self) -> Vec<Key> {
        let mut keys = keys(&self.store, "packs");
        keys.sort_by_key(|key| std::cmp::Reverse(self.store.size(key).unwrap()));
        keys
    }
}

pub(super) fn keys(store: &dyn Store, directory: &str) -> Vec<Key> {
    let mut keys = Vec::new();
    let each = &mut |listed: icecore_store::Listed| {
        keys.push(listed.key);
        Ok(())
    };
    store.list(directory, each).unwrap();
    keys.sort();
    keys
}

pub(super) fn duplicate(store: &dyn Store) -> MemoryStore {
    let copy = MemoryStore::new();
    for key in keys(store, "") {
        copy.put(&key, &[&store.get(&key).unwrap()]).unwrap();
    }
    copy
}

fn flip(store: &MemoryStore, key: &Key) {
    let mut bytes = store.get(key).unwrap();
    bytes[2000] ^= 1;
    store.delete(key).unwrap();
    store.put(key, &[&bytes]).unwrap();
}

fn options() -> RepairOptions<'static> {
    RepairOptions { read_data: true, threads: 2, host: "host", clock: now }
}

fn repair(archive: &Archive) -> icecore_engine::Result<Repaired> {
    let plan = archive.plan_repair(options(), &Progress::default())?;
    archive.repair(&plan, options(), &Progress::default())
}

/// Opens a repository that must not complain, with a new index.
pub(super) fn fresh(store: Arc<dyn Store>, secret_of: u8) -> (Archive, TempDir) {
    let state = place();
    (open(store, &secret(secret_of), state.path()).unwrap(), state)
}

/// Opens a repository with an index of its own, whatever it complains about.
pub(super) fn open_damaged(store: Arc<dyn Store>, secret_of: u8, state: &Path) -> icecore_engine::Result<Archive> {
    Ok(Archive::open(store, &secret(secret_of), state)?.0)
}

/// What a restart finds after each event, with each fate of what was under way.
pub(super) fn each_cut(log: &CrashLog<MemoryStore>, mut test: impl FnMut(usize, Fate, Arc<MemoryStore>)) -> usize {
    let mut cuts = 0;
    let mut under_way = 0;
    for (before, event) in log.events().iter().enumerate() {
        match event {
            Event::PutBegun { .. } | Event::DeleteBegun { .. } => under_way += 1,
            Event::PutEnded { .. } | Event::DeleteEnded { .. } => under_way -= 1,
        }
        let fates = if under_way == 0 { &[Fate::Absent][..] } else { &[Fate::Absent, Fate::Complete] };
        for fate in fates {
            test(before + 1, *fate, Arc::new(log.image(before + 1, |_| *fate).to_memory().unwrap()));
            cuts += 1;
        }
    }
    cuts
}

#[test]
fn a_repair_that_was_cut_anywhere_has_lost_nothing() {
    let nights = Nights::take();
    let hit = nights.packs()[0].clone();
    let damaged = duplicate(&nights.store);
    flip(&damaged, &hit);
    let hit_bytes = damaged.get(&hit).unwrap();
    let (before, _state) = fresh(Arc::new(duplicate(&nights.store)), 1);
    let (after, _state) = fresh(Arc::new(duplicate(&damaged)), 1);
    let (whole, lost) = (nights.lost(&before), nights.lost(&after));
    assert!(whole == 0 && lost > 0);
    let hits_first = nights.is_exact(&after, 0).is_err();

    let log = Arc::new(CrashLog::new(damaged).unwrap());
    let (archive, _state) = fresh(log.clone(), 1);
    let repaired = repair(&archive).unwrap();
    assert!(repaired.corrected.len() > usize::from(hits_first) && repaired.set_aside.len() == 1, "{repaired:?}");
    let cuts = each_cut(&log, |cut, fate, store| {
        let what = format!("after {cut} events ({fate:?})");
        let kept = keys(&*store, "")
            .iter()
            .any(|key| key.as_str().contains(hit.name()) && store.get(key).unwrap() == hit_bytes);
        assert!(kept, "{what}: the damaged pack is gone");
        let (archive, _state) = fresh(store.clone(), 1);
        assert!(hits_first || nights.is_exact(&archive, 0).is_ok(), "{what}");
        assert!(nights.lost(&archive) <= lost, "{what}: more is lost than was");

        // Repaired again, and backed up again, everything is whole.
        repair(&archive).unwrap();
        let before = keys(&*store, "");
        assert_eq!(repair(&archive).unwrap(), Repaired::default(), "{what}");
        assert_eq!(keys(&*store, ""), before, "{what}");
        let catalogue = archive.catalogue().unwrap();
        let corrections = catalogue.snapshots.iter().filter(|stored| stored.snapshot.corrects == Some(nights.ids[1]));
        assert_eq!(corrections.count(), 1, "{what}");
        take(&archive, &nights.live()).unwrap();
        for night in 0..2 {
            nights.is_exact(&archive, night).unwrap_or_else(|why| panic!("{what}: {why}"));
        }
        sound(&archive).unwrap_or_else(|why| panic!("{what}: {why}"));
    });
    assert!(cuts > 15, "the repair has become short: {cuts}");
}

#[test]
fn a_copy_that_was_cut_anywhere_goes_on() {
    let nights = Nights::take();
    let source = open(Arc::new(duplicate(&nights.store)), &secret(1), &nights.directory.path().join("copies")).unwrap();
    let catalogue = source.catalogue().unwrap();
    let empty = Arc::new(MemoryStore::new());
    Archive::create(empty.clone(), &secret(2), "other", now()).unwrap();
    let log = Arc::new(CrashLog::new(duplicate(&*empty)).unwrap());
    let copy_all = |target: &Archive| -> icecore_engine::Result<usize> {
        let mut copying = Copying::begin(&source, &catalogue, target)?;
        let mut copied = 0;
        for stored in &catalogue.snapshots {
            copied += usize::from(copying.copy(stored, JOB, &Progress::default())?.is_some());
        }
        Ok(copied)
    };
    let exact = |target: &Archive| -> usize {
        let there = target.catalogue().unwrap();
        for stored in &there.snapshots {
            let origin = stored.snapshot.origin.unwrap().snapshot;
            let night = nights.ids.iter().position(|id| *id == origin).unwrap();
            restores_as(target, stored, &nights.tree(night)).unwrap();
        }
        there.snapshots.len()
    };
    let (target, _state) = fresh(log.clone(), 2);
    assert_eq!(copy_all(&target).unwrap(), 2);
    assert_eq!(exact(&target), 2);
    let cuts = each_cut(&log, |cut, fate, store| {
        let what = format!("after {cut} events ({fate:?})");
        let (target, _state) = fresh(store.clone(), 2);
        let there = exact(&target);
        assert_eq!(copy_all(&target).unwrap(), 2 - there, "{what}");
        assert_eq!(exact(&target), 2, "{what}");
        let before = keys(&*store, "");
        assert_eq!(copy_all(&target).unwrap(), 0, "{what}");
        assert_eq!(keys(&*store, ""), before, "{what}: copied twice writes nothing");
        sound(&target).unwrap_or_else(|why| panic!("{what}: {why}"));
    });
    assert!(cuts > 15, "the copy has become short: {cuts}");
}

/// Runs a story against a store that fails at the nth call of an operation, for every n until it does not meet it any more. Gives for
/// each operation how many calls failed, and how often the story told.
pub(super) fn at_every_call(
    store: &MemoryStore,
    story: impl Fn(Arc<dyn Store>, &Path) -> Result<(), String>,
    afterwards: impl Fn(Arc<MemoryStore>, &Path, &str),
) -> Vec<(Operation, u64, u64)> {
    let mut tried = Vec::new();
    let cases = [
        (Operation::Put, io::ErrorKind::StorageFull),
        (Operation::Put, io::ErrorKind::PermissionDenied),
        (Operation::Delete, io::ErrorKind::PermissionDenied),
        (Operation::Get, io::ErrorKind::PermissionDenied),
        (Operation::List, io::ErrorKind::PermissionDenied),
        (Operation::Size, io::ErrorKind::PermissionDenied),
    ];
    for (operation, kind) in cases {
        let (mut calls, mut failures) = (0, 0);
        for nth in 1.. {
            let inner = Arc::new(duplicate(store));
            let hit = Arc::new(std::sync::Mutex::new(None));
            let met = Arc::clone(&hit);
            let seen = std::sync::atomic::AtomicU64::new(0);
            let faulty = Faulty::new(Arc::clone(&inner), move |attempt| {
                let now =
                    attempt.operation == operation && seen.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1 == nth;
                if now {
                    *met.lock().unwrap() = Some(attempt.object.to_owned());
                }
                if now { Fault::Fail(kind) } else { Fault::None }
            });
            let state = place();
            let ended = story(Arc::new(faulty), state.path());
            let Some(object) = hit.lock().unwrap().take() else {
                ended.unwrap();
                break;
            };
            calls = nth;
            let what = format!("{operation:?} {nth} of {object}, {kind:?}");
            if let Err(message) = ended {
                failures += 1;
                assert!(message.contains(&object), "{what}: the object is not named: {message}");
                let reason = if kind == io::ErrorKind::StorageFull { "no space is left" } else { "permission denied" };
                assert!(message.contains(reason), "{what}: {message}");
            }
            afterwards(inner, state.path(), &what);
        }
        tried.push((operation, calls, failures));
        let must = operation == Operation::List || operation == Operation::Put && calls > 0;
        assert!(failures > 0 || !must, "{operation:?} never failed");
    }
    tried
}

/// Fails unless the story puts something, and tells of a put that failed.
#[track_caller]
fn assert_puts_failed(tried: &[(Operation, u64, u64)]) {
    assert!(tried.iter().any(|(operation, _, failures)| *operation == Operation::Put && *failures > 0), "{tried:?}");
}

pub(super) fn told(error: impl Into<icecore_engine::Error>) -> String {
    let error = error.into();
    // The kind decides the hint that people get.
    if let icecore_engine::Error::Repository(icecore_engine::RepositoryError::Store(error)) = &error {
        assert!(matches!(error.kind, ErrorKind::NoSpace | ErrorKind::PermissionDenied));
    }
    let mut message = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        message = format!("{message}: {error}");
        cause = error.source();
    }
    message
}

#[test]
fn a_store_that_fails_during_a_backup_has_lost_nothing() {
    let nights = Nights::take();
    write(nights.live().join("new"), noise(999, 400 << 10));
    settle();
    let tried = at_every_call(
        &nights.store,
        |store, state| {
            let archive = open_damaged(store, 1, state).map_err(told)?;
            take(&archive, &nights.live()).map(drop)
        },
        |store, _, what| {
            let (archive, _state) = fresh(store, 1);
            (0..2).for_each(|night| nights.is_exact(&archive, night).unwrap_or_else(|why| panic!("{what}: {why}")));
        },
    );
    assert_puts_failed(&tried);
}

#[test]
fn a_store_that_fails_during_a_repair_has_lost_nothing() {
    let nights = Nights::take();
    let damaged = duplicate(&nights.store);
    flip(&damaged, &nights.packs()[0]);
    let tried = at_every_call(
        &damaged,
        |store, state| {
            let archive = open_damaged(store, 1, state).map_err(told)?;
            repair(&archive).map(drop).map_err(told)
        },
        |store, _, what| {
            let (archive, _state) = fresh(store, 1);
            repair(&archive).unwrap_or_else(|why| panic!("{what}: {why}"));
            assert_eq!(repair(&archive).unwrap(), Repaired::default(), "{what}");
            take(&archive, &nights.live()).unwrap();
            (0..2).for_each(|night| nights.is_exact(&archive, night).unwrap_or_else(|why| panic!("{what}: {why}")));
        },
    );
    assert_puts_failed(&tried);
}

#[test]
fn a_store_that_fails_during_a_copy_has_lost_nothing() {
    let nights = Nights::take();
    let empty = Arc::new(MemoryStore::new());
    Archive::create(empty.clone(), &secret(2), "other", now()).unwrap();
    let source = open(Arc::new(duplicate(&nights.store)), &secret(1), &nights.directory.path().join("copies")).unwrap();
    let catalogue = source.catalogue().unwrap();
    let copy_all = |target: &Archive| -> Result<(), String> {
        let mut copying = Copying::begin(&source, &catalogue, target).map_err(told)?;
        let mut copies = catalogue.snapshots.iter().map(|stored| copying.copy(stored, JOB, &Progress::default()));
        copies.try_for_each(|copied| copied.map(drop)).map_err(told)
    };
    let tried = at_every_call(
        &duplicate(&*empty),
        |store, state| copy_all(&open_damaged(store, 2, state).map_err(told)?),
        |store, _, what| {
            let (target, _state) = fresh(store, 2);
            copy_all(&target).unwrap_or_else(|why| panic!("{what}: {why}"));
            let there = target.catalogue().unwrap();
            assert_eq!(there.snapshots.len(), 2, "{what}");
            for (night, stored) in there.snapshots.iter().enumerate() {
                restores_as(&target, stored, &nights.tree(night)).unwrap_or_else(|why| panic!("{what}: {why}"));
            }
        },
    );
    assert_puts_failed(&tried);
}
