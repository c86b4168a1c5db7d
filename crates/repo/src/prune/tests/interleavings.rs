//! Two backups, forgets and two prunes on two hosts with clocks an hour apart, and somebody who looks at the fragments with a new
//! index again and again; each call to the store in an order that a seed chooses, listings of two steps. No committed snapshot ever
//! misses a chunk, and no listing a pack. Weaker protocols are caught by the same test.

use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering::SeqCst};
use std::thread;

use icecore_testkit::{Gate, Stepping};

use super::*;
use crate::index::read_fragment;

/// Numbers that a seed stands for (SplitMix64).
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % below
    }

    pub(super) fn files(&mut self) -> BTreeSet<u64> {
        (0..6).filter(|_| self.roll(2) == 0).collect()
    }
}

/// Ends an actor also when it panics.
pub(super) struct End<'a>(pub(super) &'a Gate, pub(super) usize);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.end(self.1);
    }
}

/// What happened, over all seeds.
#[derive(Default)]
struct Tally {
    deleted: u64,
    copied: u64,
    commits: u64,
    overtaken: u64,
    /// Fragments that replaced others.
    merges: u64,
    looks: u64,
}

/// Plays one seed; a sentence for each committed snapshot that cannot be read.
fn play(seed: u64, weak: Weak, looked_at: bool, tally: &Mutex<Tally>) -> Vec<String> {
    const BACKUPS: usize = 2;
    const LOOKER: usize = 4;
    let actors = if looked_at { 5 } else { 4 };
    let place = Place::new();
    let mut dice = Dice(seed);
    let (mut committed, forgotten) = (Vec::new(), Mutex::new(HashSet::new()));
    let first = place.host("0", at(0));
    for name in ["0", "1"] {
        let files = dice.files();
        committed.push((first.back_up(name, &files, &|| at(0)).unwrap(), files));
    }
    drop(first);
    let missed = Mutex::new(Vec::new());
    let committed = Mutex::new(committed);
    let (gate, time) = (Arc::new(Gate::default()), AtomicI64::new(0));
    // Sessions of minutes, or of hours.
    let pace = [1, 45][dice.roll(2) as usize];
    let skews = [0, 1].map(|_| dice.roll(HOUR as u64) as i64);
    thread::scope(|scope| {
        for actor in 0..actors {
            let (gate, time, place) = (&gate, &time, &place);
            let (committed, forgotten, missed) = (&committed, &forgotten, &missed);
            let mut dice = Dice(dice.roll(u64::MAX));
            let (host, name) = (actor % 2, (actor % 2).to_string());
            scope.spawn(move || {
                let _end = End(gate, actor);
                let clock = || at(time.load(SeqCst) + skews[host]);
                let store = Stepping::new(place.store.clone(), gate.clone(), actor);
                let store = Arc::new(if looked_at { store.with_long_listings() } else { store });
                let open = || {
                    let mut host = Host::open(store.clone(), &place.room.path().join(&name), clock());
                    // Who prunes must see marks, or nothing would ever be deleted.
                    let ignore_marks = weak.ignore_marks && actor < BACKUPS;
                    Arc::get_mut(&mut host.index).unwrap().weak = Weak { ignore_marks, ..weak };
                    host
                };
                if actor < BACKUPS {
                    for _ in 0..8 {
                        // Safety must not rest on records: only every fourth session has one.
                        let host = Host { signs: dice.roll(4) == 0, ..open() };
                        let files = dice.files();
                        match host.back_up(&name, &files, &clock) {
                            Ok(id) => committed.lock().unwrap().push((id, files)),
                            // What it relied on went: it says so, and the next one stores it.
                            Err(error) if error.is_loss() || matches!(error, Error::Overtaken { .. }) => {
                                tally.lock().unwrap().overtaken += 1;
                            }
                            Err(error) => panic!("seed {seed}: {error}"),
                        }
                    }
                } else if actor == LOOKER {
                    for _ in 0..16 {
                        let needed: Vec<_> = committed.lock().unwrap().clone();
                        let state = tempfile::tempdir_in(place.room.path()).unwrap();
                        let host = Host::open(store.clone(), state.path(), clock());
                        let forgotten = forgotten.lock().unwrap().clone();
                        let lookup = host.index.lookup().unwrap();
                        for (id, files) in needed.iter().filter(|(id, _)| !forgotten.contains(id)) {
                            let of = |number: &u64| host.repository.id_key().id(&noise(*number, FILE));
                            if files.iter().any(|number| lookup.locate(&of(number)).unwrap().is_empty()) {
                                let snapshot = id.short();
                                missed.lock().unwrap().push(format!("seed {seed}: a listing misses {snapshot}"));
                            }
                        }
                        tally.lock().unwrap().looks += 1;
                    }
                } else {
                    let max_unused = MaxUnused::Percent([0, 5, 100][dice.roll(3) as usize]);
                    let grace = if weak.no_grace { 0 } else { 4 * HOUR };
                    let options = PruneOptions { grace, max_unused, weak, ..PruneOptions::new(name.as_str()) };
                    for _ in 0..10 {
                        let host = open();
                        let known: Vec<_> = committed.lock().unwrap().clone();
                        if dice.roll(4) != 0 {
                            let chosen = known[dice.roll(known.len() as u64) as usize].0;
                            forgotten.lock().unwrap().insert(chosen);
                            catalogue::forget(&host.repository, &chosen).unwrap();
                        }
                        match prune(&host.repository, &host.index, &options, &clock, &mut |_| Ok(())) {
                            Ok(report) => {
                                let mut tally = tally.lock().unwrap();
                                tally.deleted += report.deleted;
                                tally.copied += report.copied;
                            }
                            // The other prune was faster: what this one wanted to read is gone.
                            Err(error) if error.is_loss() || matches!(error, Error::Refused(_)) => {}
                            Err(error) => panic!("seed {seed}: {error}"),
                        }
                    }
                }
            });
        }
        let mut left: Vec<usize> = (0..actors).collect();
        let mut listing_since = [None; LOOKER + 1];
        while !left.is_empty() {
            let chosen = dice.roll(left.len() as u64) as usize;
            let is_looker = left[chosen] == LOOKER;
            // It is in the middle of a listing as long as may be.
            if is_looker && gate.is_listing(LOOKER) && dice.roll(8) != 0 {
                continue;
            }
            // Backups are caught in the middle; a prune may go through its run, or through several.
            let calls = if left[chosen] < BACKUPS { dice.roll(9) } else { [1, 4, 80][dice.roll(3) as usize] };
            for _ in 0..=calls {
                if !gate.step(left[chosen]) {
                    left.swap_remove(chosen);
                    break;
                }
                if is_looker && gate.is_listing(LOOKER) {
                    break;
                }
                let passes = match dice.roll(20) {
                    0..2 => dice.roll(50 * 60),
                    2..8 => dice.roll(15 * 60),
                    _ => dice.roll(20),
                };
                // A listing takes an hour at most.
                let now = time.load(SeqCst);
                for (actor, since) in listing_since.iter_mut().enumerate() {
                    *since = gate.is_listing(actor).then(|| since.unwrap_or(now));
                }
                let longest = listing_since.iter().flatten().map(|since| since + HOUR - now).min();
                let passes = ((passes * pace / 30) as i64).min(longest.unwrap_or(i64::MAX));
                time.fetch_add(passes, SeqCst);
            }
        }
    });
    let fresh = place.host("fresh", at(0));
    let (committed, forgotten) = (committed.into_inner().unwrap(), forgotten.into_inner().unwrap());
    let mut tally = tally.lock().unwrap();
    tally.commits += committed.len() as u64;
    for id in fresh.index.fragments().unwrap() {
        tally.merges += u64::from(!read_fragment(&fresh.repository, &id).unwrap().supersedes.is_empty());
    }
    let kept = committed.iter().map(|(id, _)| id).filter(|id| !forgotten.contains(id));
    let lost = kept.filter_map(|id| fresh.restores(id).err().map(|why| format!("seed {seed}: {why}")));
    lost.chain(missed.into_inner().unwrap()).collect()
}

#[test]
fn no_committed_snapshot_ever_misses_a_chunk() {
    let tally = Mutex::default();
    for seed in 0..12 {
        let lost = play(seed, Weak::default(), false, &tally);
        assert!(lost.is_empty(), "{lost:#?}");
    }
    let Tally { deleted, copied, commits, overtaken, .. } = tally.into_inner().unwrap();
    // Otherwise nothing was tried.
    assert!(deleted > 10 && commits > 50, "{deleted} {copied} {commits} {overtaken}");
}

#[test]
fn no_listing_ever_misses_a_pack() {
    let tally = Mutex::default();
    for seed in 0..12 {
        let lost = play(seed, Weak::default(), true, &tally);
        assert!(lost.is_empty(), "{lost:#?}");
    }
    let Tally { deleted, commits, merges, looks, .. } = tally.into_inner().unwrap();
    assert!(commits > 50 && merges > 10 && looks > 50, "{deleted} {commits} {merges} {looks}");
}

#[test]
fn weaker_protocols_are_caught() {
    // Each from a seed on that is not far from one that shows it.
    for (name, first, weak) in [
        ("grace zero", 0, Weak { no_grace: true, ..Weak::default() }),
        ("no re-check", 0, Weak { no_recheck: true, ..Weak::default() }),
        ("claims ignore marks", 70, Weak { ignore_marks: true, ..Weak::default() }),
        ("replaced fragments go at once", 0, Weak { hasty: true, ..Weak::default() }),
    ] {
        let tally = Mutex::default();
        let caught = (first..first + 600).find(|seed| !play(*seed, weak, weak.hasty, &tally).is_empty());
        let Tally { deleted, copied, commits, overtaken, .. } = tally.into_inner().unwrap();
        let tried = format!("{deleted} deleted, {copied} copied, {commits} committed, {overtaken} overtaken");
        assert!(caught.is_some(), "{name} was not caught: {tried}");
    }
}
