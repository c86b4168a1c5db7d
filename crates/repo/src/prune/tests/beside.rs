//! Three hosts, and somebody who only reads: backups on two of them, forgets and prunes on the third, restores and checks on a fourth, with
//! clocks up to an hour apart; each call to the store in an order that a seed chooses. Whoever reads what is not forgotten finds all of it, however
//! long it takes and whatever is moved meanwhile. Weaker protocols are caught.

use std::cell::Cell;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering::SeqCst};
use std::thread;

use icecore_testkit::{Gate, Stepping, effort};

use super::interleavings::{Dice, End};
use super::*;
use crate::check::{CheckOptions, CheckReport, CheckStep, check};

const HOSTS: usize = 3;

/// What happened, over all seeds.
#[derive(Debug, Default)]
struct Tally {
    deleted: u64,
    commits: u64,
    restored: u64,
    checked: u64,
}

/// What is known of the snapshots while all are at work.
#[derive(Default)]
struct Known {
    committed: Vec<SnapshotId>,
    forgotten: HashSet<SnapshotId>,
}

/// One seed, played.
struct Play<'a> {
    place: &'a Place,
    gate: Arc<Gate>,
    time: AtomicI64,
    skews: [i64; HOSTS + 1],
    weak: Weak,
    known: Mutex<Known>,
    lost: Mutex<Vec<String>>,
    tally: &'a Mutex<Tally>,
}

impl Play<'_> {
    fn clock(&self, host: usize) -> Timestamp {
        at(self.time.load(SeqCst) + self.skews[host])
    }

    fn open(&self, host: usize) -> Host {
        let store = Arc::new(Stepping::new(self.place.store.clone(), self.gate.clone(), host));
        let mut opened = Host::open(store, &self.place.room.path().join(host.to_string()), self.clock(host));
        // Who prunes must see marks, or nothing would ever be deleted.
        let ignore_marks = self.weak.ignore_marks && host < 2;
        Arc::get_mut(&mut opened.index).unwrap().weak = Weak { ignore_marks, ..self.weak };
        opened
    }

    fn back_up(&self, host: usize, dice: &mut Dice) {
        for _ in 0..8 {
            let opened = Host { signs: dice.roll(4) == 0, ..self.open(host) };
            match opened.back_up(&host.to_string(), &dice.files(), &|| self.clock(host)) {
                Ok(id) => {
                    self.known.lock().unwrap().committed.push(id);
                    self.tally.lock().unwrap().commits += 1;
                }
                Err(error) if error.is_loss() || matches!(error, Error::Overtaken { .. }) => {}
                Err(error) => panic!("host {host}: {error}"),
            }
        }
    }

    fn prune(&self, host: usize, dice: &mut Dice) {
        let max_unused = MaxUnused::Percent([0, 5, 100][dice.roll(3) as usize]);
        let grace = if self.weak.no_grace { 0 } else { 4 * HOUR };
        let options = PruneOptions { grace, max_unused, weak: self.weak, ..PruneOptions::new("pruner") };
        for _ in 0..20 {
            // So that what was marked comes due while others are at work.
            self.time.fetch_add(dice.roll(3 * HOUR as u64) as i64, SeqCst);
            let opened = self.open(host);
            if dice.roll(4) != 0 {
                let mut known = self.known.lock().unwrap();
                let chosen = known.committed[dice.roll(known.committed.len() as u64) as usize];
                known.forgotten.insert(chosen);
                drop(known);
                catalogue::forget(&opened.repository, &chosen).unwrap();
            }
            match prune(&opened.repository, &opened.index, &options, &|| self.clock(host), &mut |_| Ok(())) {
                Ok(report) => self.tally.lock().unwrap().deleted += report.deleted,
                Err(error) if error.is_loss() || matches!(error, Error::Refused(_)) => {}
                Err(error) => panic!("host {host}: {error}"),
            }
        }
    }

    /// Restores with an index that is hours old by the end, and checks.
    fn read(&self, host: usize, dice: &mut Dice) {
        for _ in 0..5 {
            let opened = self.open(host);
            let chosen = {
                let known = self.known.lock().unwrap();
                let stands: Vec<_> = known.committed.iter().filter(|id| !known.forgotten.contains(id)).collect();
                stands.get(dice.roll(stands.len().max(1) as u64) as usize).map(|id| **id)
            };
            let Some(chosen) = chosen else { continue };
            let restored = opened.restores(&chosen);
            if !self.known.lock().unwrap().forgotten.contains(&chosen) {
                self.tally.lock().unwrap().restored += 1;
                self.lost.lock().unwrap().extend(restored.err().map(|why| format!("a restore beside: {why}")));
            }
            let before = self.known.lock().unwrap().forgotten.len();
            let report = check(&opened.repository, &opened.index, full(), &|_| Ok(())).unwrap();
            // What was forgotten meanwhile may go while it is read.
            if self.known.lock().unwrap().forgotten.len() == before {
                self.tally.lock().unwrap().checked += 1;
                let found = report.findings.first().map(|found| format!("a check beside: {found:?}"));
                self.lost.lock().unwrap().extend(found);
            }
        }
    }
}

/// Plays one seed; a sentence for each thing that somebody missed.
fn play(seed: u64, weak: Weak, tally: &Mutex<Tally>) -> Vec<String> {
    let place = Place::new();
    let mut dice = Dice(seed);
    let first = place.host("0", at(0));
    let committed = [0, 1].map(|host: usize| first.back_up(&host.to_string(), &dice.files(), &|| at(0)).unwrap());
    drop(first);
    let pace = [1, 15][dice.roll(2) as usize];
    let known = Known { committed: committed.to_vec(), ..Known::default() };
    let play = Play {
        place: &place,
        gate: Arc::default(),
        time: AtomicI64::new(0),
        skews: std::array::from_fn(|_| dice.roll(HOUR as u64) as i64),
        weak,
        known: Mutex::new(known),
        lost: Mutex::default(),
        tally,
    };
    thread::scope(|scope| {
        for host in 0..=HOSTS {
            let (play, mut dice) = (&play, Dice(dice.roll(u64::MAX)));
            scope.spawn(move || {
                let _end = End(&play.gate, host);
                match host {
                    0 | 1 => play.back_up(host, &mut dice),
                    2 => play.prune(host, &mut dice),
                    _ => play.read(host, &mut dice),
                }
            });
        }
        let mut left: Vec<usize> = (0..=HOSTS).collect();
        while !left.is_empty() {
            let chosen = dice.roll(left.len() as u64) as usize;
            // Who reads or backs up is caught in the middle; a prune may go through its run, or through several.
            let calls = if left[chosen] == 2 { [1, 4, 80][dice.roll(3) as usize] } else { dice.roll(9) };
            for _ in 0..=calls {
                if !play.gate.step(left[chosen]) {
                    left.swap_remove(chosen);
                    break;
                }
                let passes = match dice.roll(20) {
                    0..2 => dice.roll(50 * 60),
                    2..8 => dice.roll(15 * 60),
                    _ => dice.roll(20),
                };
                play.time.fetch_add((passes * pace / 30) as i64, SeqCst);
            }
        }
    });
    let fresh = place.host("fresh", at(0));
    let Known { committed, forgotten } = play.known.into_inner().unwrap();
    let kept = committed.iter().filter(|id| !forgotten.contains(id));
    let mut lost = play.lost.into_inner().unwrap();
    lost.extend(kept.filter_map(|id| fresh.restores(id).err()));
    lost.into_iter().map(|why| format!("seed {seed}: {why}")).collect()
}

/// With `ICECORE_SEEDS` so many orders.
#[test]
fn whoever_reads_beside_three_hosts_finds_what_is_kept() {
    let tally = Mutex::default();
    for seed in 0..effort("ICECORE_SEEDS", 12) {
        let lost = play(seed, Weak::default(), &tally);
        assert!(lost.is_empty(), "{lost:#?}");
    }
    let tally = tally.into_inner().unwrap();
    assert!(tally.deleted > 10 && tally.commits > 40 && tally.restored > 10 && tally.checked > 5, "{tally:?}");
}

#[test]
fn weaker_protocols_of_three_hosts_are_caught() {
    for (name, weak) in [
        ("grace zero", Weak { no_grace: true, ..Weak::default() }),
        ("no re-check", Weak { no_recheck: true, ..Weak::default() }),
        ("claims ignore marks", Weak { ignore_marks: true, ..Weak::default() }),
    ] {
        let tally = Mutex::default();
        let caught = (0..100).find(|seed| !play(*seed, weak, &tally).is_empty());
        assert!(caught.is_some(), "{name} was not caught: {tally:?}");
    }
}

/// A check during which a prune moves what is to be read, once the packs are listed and once the manifests are followed.
#[test]
fn a_check_takes_nothing_for_lost_that_a_prune_moves_meanwhile() {
    for step in [|step| matches!(step, CheckStep::Packs { .. }), |step| matches!(step, CheckStep::Snapshots(_))] {
        let place = Place::new();
        let (host, other) = (place.host("a", at(0)), place.host("b", at(0)));
        let old = host.back_up("a", &(0..20).collect(), &|| at(0)).unwrap();
        let kept = host.back_up("a", &(10..30).collect(), &|| at(0)).unwrap();
        catalogue::forget(&host.repository, &old).unwrap();
        host.index.sync_at(&host.repository, at(1)).unwrap();
        let done = Mutex::new(Cell::new(false));
        let watch = |now: CheckStep| {
            if step(now) && !done.lock().unwrap().replace(true) {
                let options = PruneOptions { max_unused: MaxUnused::Bytes(0), ..options() };
                let deleted = [1, 30, 60, 90].map(|hours| other.prune(&options, at(hours * HOUR)).unwrap().deleted);
                assert!(deleted.iter().sum::<u64>() > 0);
            }
            Ok(())
        };
        let options = CheckOptions { read_percent: 100, until: None, now: at(90 * HOUR), threads: 1 };
        let report: CheckReport = check(&host.repository, &host.index, options, &watch).unwrap();
        assert!(report.is_clean() && done.into_inner().unwrap().get(), "{:?}", report.findings);
        host.restores(&kept).unwrap();
    }
}
