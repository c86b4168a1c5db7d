//! A store that fails at each call of forget, prune, check and the care of keys, and one that fails as the source of a copy.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use icecore_engine::copy::{CopyJob, Copying};
use icecore_engine::entry::Timestamp;
use icecore_engine::id::SnapshotId;
use icecore_engine::keys::Role;
use icecore_engine::prune::{MaxUnused, PruneOptions};
use icecore_engine::{Archive, CheckOptions, Progress};
use icecore_store::error::Operation;
use icecore_store::{Key, Listed, MemoryStore, Put, Result as StoreResult, Store};
use icecore_testkit::CrashLog;
use icecore_testkit::small_repository::{secret, small_repository};
use tempfile::TempDir;

use super::care::{at_every_call, duplicate, each_cut, fresh, keys, open_damaged, told};
use super::history::{now, open, place, restores_as, sound, take};
use crate::common::{noise, settle, write};

const HOUR: i64 = 3600;

fn later(seconds: i64) -> Timestamp {
    let now = now();
    Timestamp { seconds: now.seconds + seconds, ..now }
}

/// A store in which this host does not see marks, as if they came a moment later.
#[derive(Debug)]
struct Blind(Arc<MemoryStore>);

impl Store for Blind {
    fn put(&self, key: &Key, parts: &[&[u8]]) -> StoreResult<Put> {
        self.0.put(key, parts)
    }

    fn get(&self, key: &Key) -> StoreResult<Vec<u8>> {
        self.0.get(key)
    }

    fn get_range(&self, key: &Key, range: Range<u64>, buffer: &mut Vec<u8>) -> StoreResult<()> {
        self.0.get_range(key, range, buffer)
    }

    fn size(&self, key: &Key) -> StoreResult<Option<u64>> {
        self.0.size(key)
    }

    fn list(&self, directory: &str, each: &mut dyn FnMut(Listed) -> StoreResult<()>) -> StoreResult<()> {
        if directory == "gc" { Ok(()) } else { self.0.list(directory, each) }
    }

    fn delete(&self, key: &Key) -> StoreResult<()> {
        self.0.delete(key)
    }

    fn location(&self) -> String {
        self.0.location()
    }
}

/// A repository in which a prune has everything to do 30 hours later: packs that are due, one of which is needed after all, packs to copy
/// from, and packs to mark.
struct Ripe {
    directory: TempDir,
    store: MemoryStore,
    /// What is to be kept, and what the tree was.
    kept: Vec<(SnapshotId, PathBuf)>,
    /// What is to be forgotten.
    rest: SnapshotId,
}

fn options() -> PruneOptions {
    PruneOptions { max_unused: MaxUnused::Bytes(0), ..PruneOptions::new("host") }
}

impl Ripe {
    fn make() -> Self {
        let store = Arc::new(MemoryStore::new());
        small_repository(&*store, &secret(1));
        let directory = place();
        let (live, state) = (directory.path().join("live"), directory.path().join("state"));
        let archive = open(store.clone(), &secret(1), &state).unwrap();
        let mut nights = 0;
        let mut night = |archive: &Archive, files: Range<u64>| {
            let _ = fs::remove_dir_all(&live);
            files.for_each(|number| write(live.join(number.to_string()), noise(number, 60 << 10)));
            settle();
            let id = take(archive, &live).unwrap().id;
            let copy = directory.path().join(format!("night{nights}"));
            assert!(Command::new("cp").arg("-a").args([&live, &copy]).status().unwrap().success());
            nights += 1;
            (id, copy)
        };
        let old = night(&archive, 0..8).0;
        let parts = night(&archive, 6..14).0;
        let mut kept = vec![night(&archive, 12..16)];
        archive.forget(&[old], &Progress::default()).unwrap();
        assert!(archive.prune(&options(), &now, &Progress::default()).unwrap().marked > 0);
        let blind = open(Arc::new(Blind(store.clone())), &secret(1), &directory.path().join("blind")).unwrap();
        kept.push(night(&blind, 0..3));
        archive.forget(&[parts], &Progress::default()).unwrap();
        let rest = night(&archive, 20..22).0;
        let store = duplicate(&*store);
        Self { directory, store, kept, rest }
    }

    /// Whether everything that is to be kept is exact, for whoever asks.
    fn is_exact(&self, archive: &Archive) -> Result<(), String> {
        let catalogue = archive.catalogue().map_err(|error| error.to_string())?;
        self.kept.iter().try_for_each(|(id, tree)| {
            let stored = catalogue.snapshots.iter().find(|stored| stored.id == *id);
            restores_as(archive, stored.ok_or("a snapshot is gone")?, tree)
        })
    }

    /// What a command that is run again finds: the state of the host, a store that works, and all that is to be kept.
    fn afterwards(
        &self,
        again: impl Fn(&Archive) -> icecore_engine::Result<()>,
    ) -> impl Fn(Arc<MemoryStore>, &Path, &str) {
        move |store, state, what| {
            let fail = |why: String| panic!("{what}: {why}");
            let (stranger, _place) = fresh(store.clone(), 1);
            self.is_exact(&stranger).unwrap_or_else(fail);
            let archive = open(store.clone(), &secret(1), state).unwrap_or_else(|why| panic!("{what}: {why}"));
            again(&archive).map_err(told).unwrap_or_else(fail);
            self.is_exact(&archive).unwrap_or_else(fail);
            sound(&archive).unwrap_or_else(fail);
        }
    }
}

#[test]
fn a_store_that_fails_during_a_prune_has_lost_nothing() {
    let ripe = Ripe::make();
    let try_to =
        |archive: &Archive, hours: i64| archive.prune(&options(), &|| later(hours * HOUR), &Progress::default());
    let prune = |archive: &Archive, hours: i64| {
        let report = try_to(archive, hours)?;
        assert!(report.damaged.is_empty(), "{:?}", report.damaged);
        Ok(report)
    };
    let archive = open(Arc::new(duplicate(&ripe.store)), &secret(1), &ripe.directory.path().join("whole")).unwrap();
    let report = prune(&archive, 30).unwrap();
    assert!(report.deleted > 0 && report.copied > 0 && report.repacked > 0 && report.marked > 0, "{report:?}");
    at_every_call(
        &ripe.store,
        |store, state| {
            // A pack whose footer cannot be read stays, and keeps no other one.
            let report = try_to(&open_damaged(store, 1, state).map_err(told)?, 30).map_err(told)?;
            report.damaged.into_iter().next().map_or(Ok(()), Err)
        },
        ripe.afterwards(|archive| prune(archive, 31).map(drop)),
    );
}

#[test]
fn a_store_that_fails_while_packs_go_at_once_has_lost_nothing() {
    let ripe = Ripe::make();
    let prune = |archive: &Archive| {
        archive.prune(&PruneOptions { now: true, ..options() }, &now, &Progress::default()).map(drop)
    };
    at_every_call(
        &ripe.store,
        |store, state| prune(&open_damaged(store, 1, state).map_err(told)?).map_err(told),
        // As long as the record of a prune that was cut could be that of a session, it is refused.
        ripe.afterwards(prune),
    );
}

#[test]
fn a_store_that_fails_while_marks_are_undone_or_snapshots_forgotten_has_lost_nothing() {
    let ripe = Ripe::make();
    let undo = |archive: &Archive| archive.undo_prune(&now).map(drop);
    at_every_call(
        &ripe.store,
        |store, state| undo(&open_damaged(store, 1, state).map_err(told)?).map_err(told),
        ripe.afterwards(undo),
    );
    let forget = |archive: &Archive| archive.forget(&[ripe.rest], &Progress::default());
    at_every_call(
        &ripe.store,
        |store, state| forget(&open_damaged(store, 1, state).map_err(told)?).map_err(told),
        ripe.afterwards(forget),
    );
}

#[test]
fn a_check_never_calls_whole_what_it_could_not_read() {
    let ripe = Ripe::make();
    let check = |archive: &Archive| -> Result<(), String> {
        let options = CheckOptions { read_percent: 100, until: None, now: now(), threads: 1 };
        let report = archive.check(options, &Progress::default()).map_err(told)?;
        let said: Vec<_> = report.findings.iter().map(|found| format!("{}: {}", found.object, found.message)).collect();
        if report.is_clean() { Ok(()) } else { Err(said.join("; ")) }
    };
    let tried = at_every_call(
        &ripe.store,
        |store, state| check(&open_damaged(store, 1, state).map_err(told)?),
        ripe.afterwards(|_| Ok(())),
    );
    for (operation, calls, failures) in tried {
        assert!(calls == failures || operation == Operation::Delete, "{operation:?}: {failures} of {calls} were told");
    }
}

#[test]
fn a_store_that_fails_while_keys_are_cared_for_shuts_nobody_out() {
    let store = MemoryStore::new();
    small_repository(&store, &secret(1));
    let opens = |store: &Arc<MemoryStore>, of: u8| Archive::open(store.clone(), &secret(of), place().path()).is_ok();
    let second = {
        let copy = Arc::new(duplicate(&store));
        let (archive, _state) = fresh(copy.clone(), 1);
        archive.add_key(Role::Reader, &secret(2), "second", now()).unwrap();
        duplicate(&*copy)
    };
    type Care = fn(&Archive) -> icecore_engine::Result<()>;
    let add: Care = |archive| archive.add_key(Role::Reader, &secret(3), "third", now()).map(drop);
    let change: Care = |archive| archive.change_key(&secret(1), &secret(3), now()).map(drop);
    let remove: Care = |archive| {
        let (slots, _) = archive.keys()?;
        let mut named = slots.iter().filter(|(_, slot)| slot.label() == "second");
        named.try_for_each(|(id, _)| archive.remove_key(&id.to_string()).map(drop))
    };
    // Which passwords open in any case, and which once it has gone through.
    for (care, one_of, then) in [(add, &[1][..], &[1, 2, 3][..]), (change, &[1, 3], &[2, 3]), (remove, &[1], &[1])] {
        at_every_call(
            &second,
            |store, state| care(&open_damaged(store, 1, state).map_err(told)?).map_err(told),
            |store, state, what| {
                let by = one_of.iter().find(|of| opens(&store, **of)).unwrap_or_else(|| panic!("{what}: shut out"));
                let archive = open(store.clone(), &secret(*by), state).unwrap();
                if opens(&store, 1) || *by == 1 {
                    care(&archive).unwrap_or_else(|why| panic!("{what}: {why}"));
                }
                (1..=3).for_each(|of| assert_eq!(opens(&store, of), then.contains(&of), "{what}: password {of}"));
            },
        );
    }
}

#[test]
fn wherever_a_change_of_keys_is_cut_a_known_password_opens() {
    let store = MemoryStore::new();
    small_repository(&store, &secret(1));
    let log = Arc::new(CrashLog::new(store).unwrap());
    let (archive, _state) = fresh(log.clone(), 1);
    // The same password twice, as an interrupted change leaves it; all of its slots go.
    archive.add_key(Role::Reader, &secret(1), "again", now()).unwrap();
    let added = log.len();
    archive.change_key(&secret(1), &secret(2), now()).unwrap();
    let changed = log.len();
    let (by_new, _other) = fresh(log.clone(), 2);
    let third = by_new.add_key(Role::Reader, &secret(3), "third", now()).unwrap();
    let granted = log.len();
    by_new.remove_key(&third.to_string()).unwrap();
    let removed = log.len();
    let cuts = each_cut(&log, |cut, fate, store| {
        let opens = |of: u8| Archive::open(store.clone(), &secret(of), place().path()).is_ok();
        let what = format!("after {cut} events ({fate:?})");
        assert!(if cut < changed { opens(1) || opens(2) } else { opens(2) }, "{what}");
        assert!(cut > added || opens(1), "{what}");
        assert!(cut < changed || !opens(1), "{what}: the old password still opens");
        assert!(cut != granted || opens(3), "{what}");
        assert!(cut < removed || !opens(3), "{what}: the removed key still opens");
    });
    assert!(cuts > 12, "{cuts}");
}

#[test]
fn a_source_that_fails_during_a_copy_costs_no_file() {
    let ripe = Ripe::make();
    let job = CopyJob { level: 1, threads: 1, host: "host", clock: now };
    let copy = |from: &Archive, to: &Archive| -> Result<(), String> {
        let catalogue = from.catalogue().map_err(told)?;
        let mut copying = Copying::begin(from, &catalogue, to).map_err(told)?;
        for stored in &catalogue.snapshots {
            let copied = copying.copy(stored, job, &Progress::default()).map_err(told)?;
            assert!(
                copied.is_none_or(|copied| copied.missing_count == 0),
                "a store that does not answer has lost nothing"
            );
        }
        Ok(())
    };
    let target = Mutex::new(Arc::new(MemoryStore::new()));
    at_every_call(
        &ripe.store,
        |store, state| {
            let empty = Arc::new(MemoryStore::new());
            Archive::create(empty.clone(), &secret(2), "other", now()).unwrap();
            *target.lock().unwrap() = empty.clone();
            let (to, _place) = fresh(empty, 2);
            copy(&open_damaged(store, 1, state).map_err(told)?, &to)
        },
        |store, _, what| {
            let (from, _place) = fresh(store, 1);
            let (to, _other) = fresh(target.lock().unwrap().clone(), 2);
            copy(&from, &to).unwrap_or_else(|why| panic!("{what}: {why}"));
            let there = to.catalogue().unwrap();
            for (id, tree) in &ripe.kept {
                let stored = there.snapshots.iter().find(|stored| stored.snapshot.origin.unwrap().snapshot == *id);
                restores_as(&to, stored.unwrap(), tree).unwrap_or_else(|why| panic!("{what}: {why}"));
            }
        },
    );
}

#[test]
fn a_copy_calls_nothing_lost_while_its_source_is_being_pruned() {
    let ripe = Ripe::make();
    let store = Arc::new(duplicate(&ripe.store));
    let from = open(store.clone(), &secret(1), &ripe.directory.path().join("from")).unwrap();
    let catalogue = from.catalogue().unwrap();
    // Another host prunes, and then a pack is lost, too.
    let (other, _state) = fresh(store.clone(), 1);
    assert!(other.prune(&options(), &|| later(30 * HOUR), &Progress::default()).unwrap().deleted > 0);
    let lost = |size: u64| (100 << 10..150 << 10).contains(&size);
    let packs = keys(&*store, "packs").into_iter().filter(|key| lost(store.size(key).unwrap().unwrap()));
    packs.for_each(|key| store.delete(&key).unwrap());

    let empty = Arc::new(MemoryStore::new());
    Archive::create(empty.clone(), &secret(2), "other", now()).unwrap();
    let (to, _place) = fresh(empty, 2);
    let stored = catalogue.snapshots.iter().find(|stored| stored.id == ripe.kept[0].0).unwrap();
    let job = CopyJob { level: 1, threads: 1, host: "host", clock: now };
    let mut copying = Copying::begin(&from, &catalogue, &to).unwrap();
    let moved = copying.copy(stored, job, &Progress::default()).unwrap_err();
    assert!(matches!(moved, icecore_engine::Error::SourceMoved), "{moved}");
    assert!(to.catalogue().unwrap().snapshots.is_empty());
    // What is still missing when nothing moved is lost.
    let copied = copying.copy(stored, job, &Progress::default()).unwrap().unwrap();
    assert!(copied.missing_count > 0 && copied.missing_count <= 4, "{copied:?}");
}
