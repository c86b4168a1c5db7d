//! What happens between two steps of a prune: other commands of the host, damage that is found on the way, clocks that go on.

use std::cell::{Cell, RefCell};

use icecore_store::error::Operation;
use icecore_testkit::{Fault, Faulty};

use super::*;

fn all() -> PruneOptions {
    PruneOptions { max_unused: MaxUnused::Bytes(0), ..options() }
}

#[test]
fn counts_that_another_process_changes_meanwhile_cost_nothing() {
    let place = Place::new();
    let host = place.host("a", at(0));
    let first = host.back_up("a", &(0..20).collect(), &|| at(0)).unwrap();
    let second = host.back_up("a", &(10..20).collect(), &|| at(0)).unwrap();
    catalogue::forget(&host.repository, &first).unwrap();
    // Another command of this host, for which there is no snapshot, counts whenever the prune looks at the clock.
    let disturbed = || {
        let reader = ChunkReader::new(&host.repository, &host.index).unwrap();
        Reach::open(&host.index).unwrap().update(&reader, &[], &mut || Ok(())).unwrap();
        at(1)
    };
    let report = prune(&host.repository, &host.index, &all(), &disturbed, &mut |_| Ok(())).unwrap();
    assert!(report.repacked > 0 && report.copied > 0, "{report:?}");
    assert!(host.prune(&all(), at(30 * HOUR)).unwrap().deleted > 0);
    host.restores(&second).unwrap();
}

#[test]
fn a_good_copy_is_not_marked_once_the_one_that_was_to_stay_is_found_damaged() {
    let place = Place::new();
    let (host, other) = (place.host("a", at(0)), place.host("b", at(0)));
    // The same content twice, by hosts that do not know of each other.
    let old =
        [(&host, "a"), (&other, "b")].map(|(host, name)| host.back_up(name, &(0..10).collect(), &|| at(0)).unwrap());
    host.index.sync_at(&host.repository, at(1)).unwrap();
    let kept = host.back_up("a", &(5..10).collect(), &|| at(1)).unwrap();
    old.iter().for_each(|id| catalogue::forget(&host.repository, id).unwrap());
    let packs = host.index.packs().unwrap().into_iter().filter(|(_, kind, _)| *kind == PackKind::Data);
    let mut packs: Vec<PackId> = packs.map(|(id, ..)| id).collect();
    packs.sort();
    let [keeper, spare] = packs[..] else { panic!("{packs:?}") };
    let key = layout::pack(&keeper);
    let mut bytes = place.store.get(&key).unwrap();
    bytes[host.index.frames(&keeper).unwrap().last().unwrap().offset as usize + 7] ^= 1;
    place.store.delete(&key).unwrap();
    place.store.put(&key, &[&bytes]).unwrap();

    let planned = outlook(&host.repository, &host.index, &all(), &|| at(2), &mut |_| Ok(())).unwrap();
    assert!(planned.mark.iter().any(|pack| pack.id == spare), "{planned:?}");
    let report = host.prune(&all(), at(2)).unwrap();
    assert!(report.damaged.len() == 1 && report.damaged[0].contains(&keeper.to_string()), "{report:?}");
    assert!(!host.index.marked().unwrap().contains(&spare), "{report:?}");
    for days in 1..6 {
        host.prune(&all(), at(days * 30 * HOUR)).unwrap();
        host.restores(&kept).unwrap();
    }
    assert!(!keys(&place.store, "packs").contains(&key), "at last all of it stands elsewhere, and it goes");
}

#[test]
fn what_could_not_be_copied_in_time_is_told_as_kept() {
    let place = Place::new();
    let host = place.host("a", at(0));
    let first = host.back_up("a", &(0..20).collect(), &|| at(0)).unwrap();
    host.back_up("a", &(10..20).collect(), &|| at(0)).unwrap();
    catalogue::forget(&host.repository, &first).unwrap();
    let report = host.prune(&PruneOptions { until: Some(Instant::now()), ..all() }, at(1)).unwrap();
    let planned: u64 = report.plan.repack.iter().map(|pack| pack.dead).sum();
    assert!(report.cut_short && planned > 0 && report.plan.kept_dead >= planned, "{report:?}");
}

#[test]
fn a_session_that_begins_while_a_prune_looks_stops_what_goes_at_once() {
    let place = Place::new();
    let host = place.host("a", at(0));
    let first = host.back_up("a", &(0..10).collect(), &|| at(0)).unwrap();
    catalogue::forget(&host.repository, &first).unwrap();
    assert!(host.prune(&all(), at(1)).unwrap().marked > 0);
    let packs = keys(&place.store, "packs");
    let (calls, session) = (Cell::new(0), RefCell::new(None));
    let clock = || {
        calls.set(calls.get() + 1);
        // After it was permitted, before it looks.
        if calls.get() == 2 {
            let who = Who { host: "b".into(), instance: "cust01".into(), now: at(2) };
            let begun = Session::begin_as(host.repository.clone(), host.index.clone(), 1, Some(&who)).unwrap();
            session.replace(Some(begun));
        }
        at(2)
    };
    let now = PruneOptions { now: true, ..all() };
    let refused = prune(&host.repository, &host.index, &now, &clock, &mut |_| Ok(())).unwrap_err().to_string();
    assert!(refused.contains("cust01") && keys(&place.store, "packs") == packs, "{refused}");
    session.take().unwrap().close().unwrap();
}

#[test]
fn an_undo_that_takes_long_leaves_what_somebody_may_be_deleting() {
    let place = Place::new();
    let host = place.host("a", at(0));
    let first = host.back_up("a", &(0..10).collect(), &|| at(0)).unwrap();
    catalogue::forget(&host.repository, &first).unwrap();
    let marked = host.prune(&options(), at(1)).unwrap().marked;
    let calls = Cell::new(0);
    // The grace period goes on after the first look at the clock.
    let clock = || {
        calls.set(calls.get() + 1);
        at(if calls.get() == 1 { HOUR } else { 23 * HOUR })
    };
    assert_eq!(undo(&host.repository, &host.index, &clock).unwrap(), (0, marked));
    assert_eq!(keys(&place.store, "gc").len(), 2);
    // Packs that are gone are no longer there to be too late for.
    assert_eq!(host.prune(&options(), at(25 * HOUR)).unwrap().deleted, marked);
    assert_eq!(undo(&host.repository, &host.index, &|| at(25 * HOUR)).unwrap(), (0, 0));
}

#[test]
fn an_announcement_stays_until_what_follows_it_is_surely_durable() {
    let place = Place::new();
    let host = place.host("a", at(0));
    let first = host.back_up("a", &(0..10).collect(), &|| at(0)).unwrap();
    catalogue::forget(&host.repository, &first).unwrap();
    host.prune(&options(), at(0)).unwrap();
    for (seconds, left) in [(4 * HOUR - 1, 2), (4 * HOUR, 1)] {
        host.prune(&options(), at(seconds)).unwrap();
        assert_eq!(keys(&place.store, "gc").len(), left, "after {seconds} s");
    }
}

#[test]
fn what_a_session_stored_and_did_not_come_to_name_goes_in_the_end() {
    let place = Place::new();
    let kept = place.host("a", at(0)).back_up("a", &(0..5).collect(), &|| at(0)).unwrap();
    let before = keys(&place.store, "packs").len();
    // It dies when the first pack is durable, and nobody has heard of that; its host is lost, too.
    let dead = std::sync::atomic::AtomicBool::new(false);
    let dying = Faulty::new(place.store.clone(), move |attempt| {
        use std::sync::atomic::Ordering::SeqCst;
        let is_pack = attempt.operation == Operation::Put && attempt.object.starts_with("packs/");
        match (dead.fetch_or(is_pack, SeqCst), is_pack) {
            (true, _) => Fault::Fail(std::io::ErrorKind::BrokenPipe),
            (false, true) => Fault::FailAfter(std::io::ErrorKind::BrokenPipe),
            _ => Fault::None,
        }
    });
    let lost = Host::open(Arc::new(dying), &place.room.path().join("lost"), at(1));
    lost.back_up("lost", &(50..60).collect(), &|| at(1)).unwrap_err();
    drop(lost);
    assert_eq!((keys(&place.store, "packs").len(), keys(&place.store, "sessions").len()), (before + 1, 1));
    let host = place.host("a", at(2));
    for hours in [10, 11, 40, 50] {
        host.prune(&all(), at(hours * HOUR)).unwrap();
    }
    assert_eq!((keys(&place.store, "packs").len(), keys(&place.store, "sessions").len()), (before, 0));
    place.host("fresh", at(0)).restores(&kept).unwrap();
}
