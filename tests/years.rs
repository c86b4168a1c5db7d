//! Years of nights on a clock of their own: three hosts back up into one repository, forget by a policy, prune in turn, and now and then
//! one of them dies in the middle. What is kept comes back, and the repository is about as large as what is kept.
//!
//! What is played follows from a seed. Every command opens the repository anew, as the program does; the code is the program's, the clocks
//! and the store are not. The host that died runs the same command again.

mod dice;
mod live;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use icecore_engine::backup::{Job, backup};
use icecore_engine::copy::{CopyJob, Copying};
use icecore_engine::entry::{PathBytes, Timestamp};
use icecore_engine::id::SnapshotId;
use icecore_engine::prune::PruneOptions;
use icecore_engine::restore::{RestoreJob, restore};
use icecore_engine::retention::{self, Policy};
use icecore_engine::{Archive, Catalogue, CheckOptions, Progress};
use icecore_source::{Root, Rules};
use icecore_store::{Listed, MemoryStore, Store};
use icecore_testkit::small_repository::{secret, small_repository};
use icecore_testkit::{Fault, Faulty, effort, tell};
use jiff::tz::TimeZone;
use tempfile::TempDir;

use self::dice::Dice;
use self::live::{Files, Live};
use crate::crash::history::place;

const DAY: i64 = 24 * 3600;

/// 2030-01-01: later than the times of all files, so that none is racy.
const BEGIN: i64 = 1_893_456_000;

const HOSTS: usize = 3;

/// What one series keeps at most: the newest, 7 days, 4 weeks, 12 months, 10 years.
const KEPT: usize = 1 + 7 + 4 + 12 + 10;

/// Bytes of the repository for each 100 bytes of one that holds nothing but what is kept: 5 per cent unneeded is left on purpose, and
/// packs that were copied in part hold frames of other cuts.
const BYTES: u64 = 115;

/// Packs for each 100 of such a repository, which has one or two for each snapshot: what prunes copied stands in packs of its own, of
/// which one of each kind is not full.
const PACKS: u64 = 150;

/// Fragments, whatever they name: seven in each of the four tiers below the largest, by which they are merged.
const FRAGMENTS: u64 = 28;

/// Everything that happens, and what should be there.
struct World {
    store: Arc<MemoryStore>,
    place: TempDir,
    dice: Dice,
    hosts: Vec<Live>,
    /// Seconds since [`BEGIN`].
    time: Arc<AtomicI64>,
    /// By how much each host's clock is wrong, seconds.
    skews: [i64; HOSTS],
    /// What each snapshot was taken of.
    taken: BTreeMap<SnapshotId, (usize, Files)>,
    deaths: u64,
    restored: u64,
    most_packs: u64,
    /// What each command took in all.
    spent: BTreeMap<&'static str, Duration>,
}

/// What a repository takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Size {
    bytes: u64,
    packs: u64,
    fragments: u64,
    marks: u64,
    sessions: u64,
}

impl Size {
    fn of(store: &dyn Store) -> Self {
        let sum = |directory: &str| {
            let (mut objects, mut bytes) = (0, 0);
            let each = &mut |listed: Listed| {
                (objects, bytes) = (objects + 1, bytes + listed.size);
                Ok(())
            };
            store.list(directory, each).unwrap();
            (objects, bytes)
        };
        let (packs, bytes) = sum("packs");
        Self { bytes, packs, fragments: sum("index").0, marks: sum("gc").0, sessions: sum("sessions").0 }
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let store = Arc::new(MemoryStore::new());
        small_repository(&*store, &secret(1));
        let (place, mut dice) = (place(), Dice(seed));
        let hosts = (0..HOSTS).map(|host| Live::make(place.path().join(format!("live{host}")), &mut dice)).collect();
        let skews = std::array::from_fn(|_| dice.roll(3600) as i64);
        let (time, taken) = (Arc::default(), BTreeMap::new());
        let (deaths, restored, most_packs, spent) = Default::default();
        Self { store, place, dice, hosts, time, skews, taken, deaths, restored, most_packs, spent }
    }

    fn state(&self, host: usize) -> PathBuf {
        self.place.path().join(format!("state{host}"))
    }

    /// Runs a command on a host, which may die in the middle; then it is run again.
    fn run(
        &mut self,
        name: &'static str,
        host: usize,
        command: impl Fn(&Archive, &(dyn Fn() -> Timestamp + Sync)) -> Result<(), String>,
    ) {
        let begun = Instant::now();
        let (time, skew, state) = (Arc::clone(&self.time), self.skews[host], self.state(host));
        let clock = move || Timestamp { seconds: BEGIN + time.fetch_add(1, SeqCst) + skew, nanos: 0 };
        let open = |store: Arc<dyn Store>| -> Result<(), String> {
            let (archive, damaged) = Archive::open_at(store, &secret(1), &state, clock()).map_err(said)?;
            assert!(damaged.is_empty(), "{damaged:?}");
            command(&archive, &clock)
        };
        if self.dice.roll(10) == 0 {
            let (last, complete) = (1 + self.dice.roll(60), self.dice.roll(2) == 0);
            let calls = AtomicU64::new(0);
            // The last call takes effect or not; nobody hears of it, nor of any that would come after.
            let dying = Faulty::new(Arc::clone(&self.store), move |_| match calls.fetch_add(1, SeqCst) + 1 {
                call if call < last => Fault::None,
                call if call == last && complete => Fault::FailAfter(std::io::ErrorKind::BrokenPipe),
                _ => Fault::Fail(std::io::ErrorKind::BrokenPipe),
            });
            match open(Arc::new(dying)) {
                Ok(()) => return,
                Err(_) => self.deaths += 1,
            }
        }
        open(self.store.clone()).unwrap_or_else(|why| panic!("{name}, host {host}, day {}: {why}", self.day()));
        *self.spent.entry(name).or_default() += begun.elapsed();
    }

    fn day(&self) -> i64 {
        self.time.load(SeqCst) / DAY
    }

    fn back_up(&mut self, host: usize) {
        let root = self.hosts[host].directory.clone();
        self.run("back up", host, |archive, clock| {
            let job = Job {
                instance: format!("instance{host}"),
                host: format!("host{host}"),
                user: "user".to_owned(),
                program: "test".to_owned(),
                tags: Vec::new(),
                protected_until: None,
                roots: vec![Root { name: "live".to_owned(), path: root.clone() }],
                rules: Rules { threads: 1, ..Rules::default() },
                excludes: Vec::new(),
                ignore_inode: false,
                ignore_ctime: false,
                rehash: false,
                level: 1,
                threads: 1,
                clock: &clock,
                freeze: None,
                pace: None,
                priority: Default::default(),
            };
            let report = backup(archive, &job, &Progress::default()).map_err(said)?;
            assert_eq!(report.snapshot.problem_count, 0, "{:?}", report.snapshot.problems);
            Ok(())
        });
        // Also one whose commit nobody heard of.
        for id in self.snapshots() {
            self.taken.entry(id).or_insert_with(|| (host, self.hosts[host].files.clone()));
        }
    }

    fn snapshots(&self) -> Vec<SnapshotId> {
        let mut ids = Vec::new();
        let each = &mut |listed: Listed| {
            ids.push(listed.key.name().parse().unwrap());
            Ok(())
        };
        self.store.list("snapshots", each).unwrap();
        ids
    }

    fn forget(&mut self, host: usize) {
        self.run("forget", host, |archive, clock| {
            let policy = Policy { last: 1, daily: 7, weekly: 4, monthly: 12, yearly: 10, ..Policy::default() };
            let catalogue = archive.catalogue().map_err(said)?;
            let all: Vec<_> = catalogue.snapshots.iter().collect();
            let plan = retention::plan(&policy, &all, &catalogue.snapshots, clock(), &TimeZone::UTC, false);
            let gone: Vec<_> = plan.into_iter().filter(|decision| !decision.keeps()).map(|gone| gone.id).collect();
            archive.forget(&gone, &Progress::default()).map_err(said)
        });
        let kept = self.snapshots();
        self.taken.retain(|id, _| kept.contains(id));
        for host in 0..HOSTS {
            let count = self.taken.values().filter(|(of, _)| *of == host).count();
            assert!((1..=KEPT).contains(&count), "{count} snapshots of host {host}");
        }
    }

    fn prune(&mut self, host: usize) {
        self.run("prune", host, |archive, clock| {
            let options = PruneOptions::new(format!("host{host}"));
            let report = archive.prune(&options, clock, &Progress::default()).map_err(said)?;
            if report.damaged.is_empty() { Ok(()) } else { Err(report.damaged.join("; ")) }
        });
        self.most_packs = self.most_packs.max(Size::of(&*self.store).packs);
    }

    /// Checks everything.
    fn check(&mut self, host: usize) {
        self.run("check", host, |archive, clock| {
            let options = CheckOptions { read_percent: 100, until: None, now: clock(), threads: 1 };
            let report = archive.check(options, &Progress::default()).map_err(said)?;
            if report.is_clean() { Ok(()) } else { Err(format!("{:?} {:?}", report.findings, report.damaged_files)) }
        });
    }

    /// Restores a snapshot on a host and compares it with what was backed up.
    fn restore(&mut self, host: usize, id: SnapshotId) {
        let files = self.taken[&id].1.clone();
        self.run("restore", host, |archive, _| {
            let catalogue = archive.catalogue().map_err(said)?;
            let stored = catalogue.snapshots.iter().find(|stored| stored.id == id).ok_or("it is gone")?;
            let place = place();
            let to = place.path().join("restored");
            let job =
                RestoreJob { numeric_ids: true, threads: 1, ..RestoreJob::new(stored, PathBytes::new(), to.clone()) };
            let report = restore(archive, &job, &Progress::default()).map_err(said)?;
            if report.missing_count > 0 {
                return Err(format!("snapshot {} lacks {:?}", id.short(), report.missing));
            }
            live::compare(&to, &files);
            Ok(())
        });
        self.restored += 1;
    }

    /// What a repository takes that holds the kept snapshots and nothing else.
    fn least(&self) -> Size {
        let store = Arc::new(MemoryStore::new());
        Archive::create(store.clone(), &secret(2), "other", Timestamp { seconds: BEGIN, nanos: 0 }).unwrap();
        let (here, there) = (place(), place());
        let from = Archive::open(self.store.clone(), &secret(1), here.path()).unwrap().0;
        let to = Archive::open(store.clone(), &secret(2), there.path()).unwrap().0;
        let catalogue: Catalogue = from.catalogue().unwrap();
        let clock = || Timestamp { seconds: BEGIN, nanos: 0 };
        let job = CopyJob { level: 1, threads: 1, host: "host", clock };
        let mut copying = Copying::begin(&from, &catalogue, &to).unwrap();
        for stored in &catalogue.snapshots {
            copying.copy(stored, job, &Progress::default()).unwrap();
        }
        Size::of(&*store)
    }

    /// Lets every mark come due and be spent, without a death; then the repository is as large as it has to be, and no larger.
    fn settle(&mut self) {
        for host in 0..2 * HOSTS {
            self.time.fetch_add(30 * 3600, SeqCst);
            self.prune(host % HOSTS);
        }
        let (size, least) = (Size::of(&*self.store), self.least());
        tell(&format!("day {}: {size:?}, least {least:?}", self.day()));
        assert!(size.bytes <= least.bytes * BYTES / 100, "{size:?}, and at least {least:?}");
        assert!(size.packs <= least.packs * PACKS / 100, "{size:?}, and at least {least:?}");
        assert!(size.fragments <= FRAGMENTS, "{size:?}");
        assert_eq!((size.marks, size.sessions), (0, 0));
        let state = place();
        let (archive, _) = Archive::open(self.store.clone(), &secret(1), state.path()).unwrap();
        let named = archive.totals().unwrap();
        assert_eq!(size.packs, named.data_packs + named.manifest_packs, "packs that nobody names");
    }
}

fn said(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Plays so many years from a seed, of each `step` days the last.
fn play(seed: u64, years: i64, step: i64) {
    let mut world = World::new(seed);
    let mut settled = 0;
    for day in (0..years * 365).step_by(step as usize) {
        world.time.fetch_max(day * DAY + 2 * 3600, SeqCst);
        for host in 0..HOSTS {
            world.hosts[host].change(&mut world.dice);
            world.back_up(host);
        }
        let night = day / step;
        if night % 7 == 6 {
            let host = (night / 7) as usize % HOSTS;
            world.forget(host);
            world.prune(host);
            let kept: Vec<_> = world.taken.keys().copied().collect();
            let chosen = kept[world.dice.roll(kept.len() as u64) as usize];
            let by = world.dice.roll(HOSTS as u64 + 1) as usize;
            world.restore(by % HOSTS, chosen);
        }
        if night % 91 == 90 {
            let host = world.dice.roll(HOSTS as u64) as usize;
            world.check(host);
        }
        if day + step >= (settled + 1) * 365 {
            world.settle();
            settled += 1;
        }
    }
    for id in world.taken.keys().copied().collect::<Vec<_>>() {
        world.restore(world.restored as usize % HOSTS, id);
    }
    (0..HOSTS).for_each(|host| world.check(host));
    let World { deaths, restored, most_packs, spent, .. } = world;
    assert!(deaths > 3, "nobody died: {deaths}");
    // What the long run is for.
    tell(&format!("{years} years: {deaths} deaths, {restored} restores, {most_packs} packs at most, took {spent:.1?}"));
}

/// A year of every fourth night; with `ICECORE_YEARS` so many years of every night.
#[test]
fn what_is_kept_comes_back_and_the_repository_does_not_grow_with_what_is_not() {
    match effort("ICECORE_YEARS", 0) {
        0 => play(1, 1, 4),
        years => play(1, years as i64, 1),
    }
}
