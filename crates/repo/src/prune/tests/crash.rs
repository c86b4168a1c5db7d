//! A prune in each of its phases, cut at every call that changes the store; then a restart with the index of that host, one that is
//! lost, and one of another host that knows nothing of the prune.

use icecore_testkit::{CrashLog, Fate};

use super::*;

type Log = CrashLog<MemoryStore>;

/// A repository in which everything is to be done: due packs, one of them needed after all; packs to repack; dead packs.
struct History {
    log: Arc<Log>,
    room: TempDir,
    kept: Vec<SnapshotId>,
}

fn options() -> PruneOptions {
    PruneOptions { max_unused: MaxUnused::Bytes(0), ..super::options() }
}

/// The marks of the first prune are due then.
const LATER: i64 = 26 * HOUR;

impl History {
    fn run() -> Self {
        let place = Place::new();
        let host = place.host("a", at(0));
        let old = host.back_up("old", &(0..20).collect(), &|| at(0)).unwrap();
        let parts = host.back_up("parts", &(12..40).collect(), &|| at(1)).unwrap();
        let mut kept = vec![host.back_up("kept", &(30..50).collect(), &|| at(2)).unwrap()];
        catalogue::forget(&host.repository, &old).unwrap();
        host.prune(&options(), at(3)).unwrap();
        // Committed by somebody who did not see the marks, as if just before them: a marked pack is needed after all.
        let mut blind = place.host("blind", at(0));
        Arc::get_mut(&mut blind.index).unwrap().weak = Weak { ignore_marks: true, ..Weak::default() };
        kept.push(blind.back_up("blind", &(0..5).collect(), &|| at(3)).unwrap());
        catalogue::forget(&host.repository, &parts).unwrap();
        host.index.sync_at(&host.repository, at(4)).unwrap();
        drop((host, blind));
        let Place { store, room } = place;
        let log = Arc::new(CrashLog::new(copied(&store)).unwrap());
        let history = Self { log, room, kept };
        copy_state(&history.room.path().join("a"), &history.room.path().join("before"));
        let host = Host::open(history.log.clone(), &history.room.path().join("a"), at(LATER));
        let report = host.prune(&options(), at(LATER)).unwrap();
        assert!(report.deleted > 0 && report.copied > 0 && report.repacked > 0, "{report:?}");
        host.prune(&options(), at(LATER + 30 * HOUR)).unwrap();
        host.prune(&options(), at(LATER + 40 * HOUR)).unwrap();
        history
    }
}

pub(super) fn in_memory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

pub(super) fn copied(store: &MemoryStore) -> MemoryStore {
    let copy = MemoryStore::new();
    for key in keys(store, "") {
        copy.put(&key, &[&store.get(&key).unwrap()]).unwrap();
    }
    copy
}

pub(super) fn copy_state(from: &Path, to: &Path) {
    for repository in std::fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
        let target = to.join(repository.file_name());
        std::fs::create_dir_all(&target).unwrap();
        for file in std::fs::read_dir(repository.path()).unwrap().map(|entry| entry.unwrap()) {
            std::fs::copy(file.path(), target.join(file.file_name())).unwrap();
        }
    }
}

/// Whether all is well on a host with that state directory, now and after it went on.
fn survives(store: &Arc<dyn Store>, state: &Path, kept: &[SnapshotId], case: &str) {
    let mut kept = kept.to_vec();
    // Weeks later each time, so that everything that waits is due.
    for (round, now) in [LATER + 50 * HOUR, LATER + 100 * HOUR].into_iter().enumerate() {
        let host = Host::open(store.clone(), state, at(now));
        for snapshot in &kept {
            host.restores(snapshot).unwrap_or_else(|why| panic!("{case}, round {round}: {}: {why}", snapshot.short()));
        }
        let report = crate::check::check(&host.repository, &host.index, full(), &|_| Ok(())).unwrap();
        assert!(report.is_clean(), "{case}, round {round}: {:?}", report.findings);
        // Much of this stood in packs that went or go.
        kept.push(host.back_up("after", &(0..35).collect(), &|| at(now)).unwrap());
        host.prune(&options(), at(now)).unwrap_or_else(|why| panic!("{case}, round {round}: {why}"));
    }
    let host = Host::open(store.clone(), state, at(LATER + 200 * HOUR));
    host.prune(&options(), at(LATER + 200 * HOUR)).unwrap();
    let fresh = in_memory();
    let fresh = Host::open(store.clone(), fresh.path(), at(LATER + 200 * HOUR));
    kept.iter().for_each(|snapshot| fresh.restores(snapshot).unwrap_or_else(|why| panic!("{case}: {why}")));
    let rebuilt = fresh.index.rebuild(&fresh.repository, |_, _| ()).unwrap();
    assert!(rebuilt.missing.is_empty() && rebuilt.damaged.is_empty(), "{case}: {rebuilt:?}");
}

#[test]
fn wherever_a_prune_is_cut_everything_that_is_needed_stays() {
    let history = History::run();
    let cuts = history.log.len();
    assert!(cuts > 30, "the history has become short: {cuts}");
    for cut in 0..=cuts {
        // Between the beginning and the end of a call only its fate matters.
        for fate in [Fate::Absent, Fate::Complete, Fate::Torn].into_iter().take(1 + 2 * (cut % 2)) {
            let disk = in_memory();
            let image = || -> Arc<dyn Store> {
                let image = history.log.image(cut, |_| fate);
                match fate {
                    // Half a file, which only a disk has.
                    Fate::Torn => Arc::new(image.to_directory(disk.path()).unwrap()),
                    _ => Arc::new(image.to_memory().unwrap()),
                }
            };
            let case = format!("after {cut} of {cuts} events ({fate:?})");
            // In turn, because each takes its time: every cut is met by two of them.
            match (cut + fate as usize) % 3 {
                0 => survives(&image(), in_memory().path(), &history.kept, &format!("{case}, no index")),
                1 => {
                    let state = in_memory();
                    copy_state(&history.room.path().join("before"), state.path());
                    survives(&image(), state.path(), &history.kept, &format!("{case}, index from before"));
                }
                _ => {
                    let state = in_memory();
                    copy_state(&history.room.path().join("a"), state.path());
                    survives(&image(), state.path(), &history.kept, &format!("{case}, index from the future"));
                }
            }
        }
    }
}
