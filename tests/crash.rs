//! Loss of power and sudden ends: what had been promised by then is there, and work goes on.
//!
//! A history is recorded event by event ([`history`]); for each event and each fate of what was under way then, a restart
//! is played through with an index that is lost, one as it was at that moment, and one from the future.

mod care;
mod failing;
pub mod history;
mod passing;
mod trace;

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use icecore_engine::{Archive, Error, RepositoryError};
use icecore_store::{MemoryStore, Put, Store};
use icecore_testkit::small_repository::{FRAME_SIZE, secret};
use icecore_testkit::{CrashLog, Fate};
use rustix::process::Signal;

use self::history::{History, Log, Tap, copy_state, now, open, place, take};
use crate::common::{Home, Running, args, assert_same, differences, noise, settle, write};

/// In memory nothing can be torn.
const WHOLE: &[Fate] = &[Fate::Absent, Fate::Complete];

const ALL: &[Fate] = &[Fate::Absent, Fate::Complete, Fate::Torn];

/// Restarts of several threads at once: most of a restart is waiting for the disk.
const THREADS: usize = 4;

/// Restarts after every cut on a store that `lay_out` makes of what is left, with a state directory that `state` fills;
/// a sentence for each one that went wrong.
fn restart_everywhere(
    history: &History,
    fates: &[Fate],
    lay_out: impl Fn(usize, Fate, &Path) -> Arc<dyn Store> + Sync,
    state: impl Fn(usize, &Path) + Sync,
) -> Vec<String> {
    let (cuts, next, failures) = (history.cuts(fates), AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some(&(cut, fate)) = cuts.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let place = place();
                    let store = lay_out(cut, fate, &place.path().join("store"));
                    state(cut, &place.path().join("state"));
                    if let Err(why) = history.survives(cut, &store, &place.path().join("state")) {
                        failures.lock().unwrap().push(format!("after {cut} events ({fate:?}): {why}"));
                    }
                }
            });
        }
    });
    failures.into_inner().unwrap()
}

fn in_memory(history: &History) -> impl Fn(usize, Fate, &Path) -> Arc<dyn Store> + Sync {
    |cut, fate, _| Arc::new(history.log.image(cut, |_| fate).to_memory().unwrap())
}

#[track_caller]
fn assert_none(failures: &[String]) {
    assert!(
        failures.is_empty(),
        "{} restarts failed:\n{}",
        failures.len(),
        failures[..failures.len().min(5)].join("\n")
    );
}

#[test]
fn a_restart_after_any_event_finds_what_was_promised() {
    let history = History::run();
    assert!(history.cuts(WHOLE).len() > 50, "the history has become short: {}", history.cuts(WHOLE).len());
    // The index is lost.
    assert_none(&restart_everywhere(&history, WHOLE, in_memory(&history), |_, _| {}));
    // It is as it was at that moment.
    assert_none(&restart_everywhere(&history, WHOLE, in_memory(&history), |cut, to| {
        copy_state(&history.state_at(cut), to)
    }));
    // It is ahead of the repository, which was put back from a copy.
    assert_none(&restart_everywhere(&history, WHOLE, in_memory(&history), |_, to| {
        copy_state(&history.path("state"), to)
    }));
}

#[test]
fn a_restart_on_a_disk_is_not_misled_by_torn_files() {
    let history = History::run();
    let on_disk = |cut, fate, place: &Path| -> Arc<dyn Store> {
        Arc::new(history.log.image(cut, |_| fate).to_directory(place).unwrap())
    };
    assert_none(&restart_everywhere(&history, ALL, on_disk, |_, _| {}));
}

/// The same assertions on stores that break the order of durability: each must be caught, or they prove nothing.
#[test]
fn a_broken_order_is_noticed() {
    type Lie =
        fn(&Log, &icecore_store::Key, &[u8], &Mutex<Vec<(icecore_store::Key, Vec<u8>)>>) -> icecore_store::Result<Put>;
    let early_record: Lie = |log, key, bytes, held| {
        if key.is_below("snapshots") {
            let put = log.put(key, &[bytes]);
            held.lock().unwrap().drain(..).try_for_each(|(key, bytes)| log.put(&key, &[&bytes]).map(drop))?;
            return put;
        }
        held.lock().unwrap().push((key.clone(), bytes.to_vec()));
        Ok(Put::Created)
    };
    let lost_fragment: Lie =
        |log, key, bytes, _| if key.is_below("index") { Ok(Put::Created) } else { log.put(key, &[bytes]) };
    let lost_pack: Lie =
        |log, key, bytes, _| if key.is_below("packs") { Ok(Put::Created) } else { log.put(key, &[bytes]) };
    for (name, lie) in [("early record", early_record), ("lost fragment", lost_fragment), ("lost pack", lost_pack)] {
        let mut history = History::begin();
        let held = Mutex::new(Vec::new());
        let store = Arc::new(Tap {
            log: Arc::clone(&history.log),
            put: move |log: &Log, key: &_, bytes: &[u8]| lie(log, key, bytes, &held),
        });
        let archive = open(store, &secret(1), &history.path("state")).unwrap();
        history.back_up(&archive).unwrap();
        let failures = restart_everywhere(&history, WHOLE, in_memory(&history), |_, _| {});
        assert!(!failures.is_empty(), "{name} was not noticed");
    }
}

#[test]
fn an_interrupted_creation_is_repeated() {
    let log = Arc::new(CrashLog::new(MemoryStore::new()).unwrap());
    Archive::create(log.clone(), &secret(1), "first", now()).unwrap();
    for events in 0..=log.len() {
        for fate in ALL {
            let place = place();
            let image = log.image(events, |_| *fate);
            let store: Arc<dyn Store> = Arc::new(image.to_directory(&place.path().join("store")).unwrap());
            let state = place.path().join("state");
            let made = Archive::create(store.clone(), &secret(2), "second", now());
            let password = match made {
                Ok(_) => 2,
                Err(Error::Repository(RepositoryError::AlreadyExists { .. })) => 1,
                Err(error) => panic!("after {events} events ({fate:?}): {error}"),
            };
            assert!(events < log.len() || password == 1, "a finished creation counts");
            Archive::open(store, &secret(password), &state).unwrap();
        }
    }
}

/// A backup names its packs in fragments while it runs, so that even without the index little is stored again.
#[test]
fn a_long_backup_that_was_cut_goes_on_where_it_stood() {
    /// More packs of 1 MiB than one fragment waits for.
    const PACKS: u64 = 36;
    let history = History::begin();
    for number in 0..PACKS {
        write(history.live().join(format!("bulk/{number}")), noise(1000 + number, 1 << 20));
    }
    settle();
    let archive = open(history.log.clone(), &secret(1), &history.path("state")).unwrap();
    let all = take(&archive, &history.live()).unwrap().snapshot.totals.bytes_new;

    let fragments = |events: usize| {
        let store = history.log.image(events, |_| Fate::Absent).to_memory().unwrap();
        let mut found = 0;
        let mut count = |_| {
            found += 1;
            Ok(())
        };
        store.list("index", &mut count).unwrap();
        found
    };
    let cut = (0..history.log.len()).find(|events| fragments(*events) == 1).unwrap();
    let store = Arc::new(history.log.image(cut, |_| Fate::Absent).to_memory().unwrap());
    let fresh = open(store.clone(), &secret(1), &history.path("fresh")).unwrap();
    let known = fresh.totals().unwrap().plain_bytes;
    assert!(known >= 30 << 20, "the first fragment names {known} bytes");
    let again = take(&fresh, &history.live()).unwrap().snapshot.totals.bytes_new;
    assert!(
        again + known <= all + u64::from(FRAME_SIZE),
        "of {all} bytes {known} were known, and {again} stored again"
    );
}

#[test]
fn a_killed_backup_leaves_everything_in_order() {
    const KILLS: u32 = 12;
    let home = Home::with_repository();
    let live = home.make_dir("live");
    let fill = |round: u32| {
        for number in 0..8 {
            write(live.join(format!("{round}/{number}")), noise(u64::from(100 * round + number), 300 << 10));
        }
    };
    fill(0);
    let begun = Instant::now();
    home.backup(&live, &[]);
    let whole = begun.elapsed();
    for round in 1..=KILLS {
        fill(round);
        let running = Running::start(home.command(args!["backup", &live]));
        thread::sleep(whole * round / KILLS);
        running.signal(Signal::KILL);
        let ended = running.finish();
        assert!(ended.signal().is_some() || ended.code() == Some(0), "{ended}");
        if round % 3 == 0 {
            home.check(&["--read-data"]);
        }
    }
    settle();
    home.backup(&live, &[]);
    home.check(&["--read-data"]);
    assert_same(&live, &home.restore("latest", "restored"));
    // The index is not what holds it together.
    fs::remove_dir_all(home.path("home/.local/state")).unwrap();
    home.check(&["--read-data"]);
    let again = home.restore("latest", "again");
    assert!(differences(&live, &again).is_empty());
}
