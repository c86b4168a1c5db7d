//! Merging by backups and prunes, cut at every call that changes the store; and beside what prunes take out of the index.

use icecore_format::fragment::Fragment;
use icecore_testkit::{CrashLog, Fate};

use super::crash::{copied, copy_state, in_memory};
use super::*;
use crate::index::read_fragment;
use crate::merge;

/// So many nights of one series, a few files each.
fn nights(host: &Host, from: u64, count: u64, kept: &mut Vec<SnapshotId>) {
    for night in from..from + count {
        let files = (night..night + 3).collect();
        kept.push(host.back_up("a", &files, &|| at(night as i64 * 24 * HOUR)).unwrap());
    }
}

fn fragments(store: &dyn Store) -> usize {
    keys(store, layout::FRAGMENTS).len()
}

#[test]
fn backups_keep_the_fragments_few_by_themselves() {
    let place = Place::new();
    let (a, b) = (place.host("a", at(0)), place.host("b", at(0)));
    let mut kept = Vec::new();
    for night in 0..60 {
        let host = [&a, &b][night as usize % 2];
        host.index.sync_at(&host.repository, at(night as i64 * 24 * HOUR)).unwrap();
        nights(host, night, 1, &mut kept);
        assert!(fragments(&*place.store) <= 24, "{} after {night} nights", fragments(&*place.store));
    }
    let fresh = place.host("fresh", at(0));
    kept.iter().for_each(|snapshot| fresh.restores(snapshot).unwrap());
    let report = crate::check::check(&fresh.repository, &fresh.index, full(), &|_| Ok(())).unwrap();
    assert!(report.is_clean() && report.orphans.is_empty(), "{report:?}");
}

#[test]
fn wherever_a_merge_is_cut_every_host_finds_everything() {
    let place = Place::new();
    let mut kept = Vec::new();
    let host = place.host("a", at(0));
    nights(&host, 0, 7, &mut kept);
    drop(host);
    let Place { store, room } = place;
    copy_state(&room.path().join("a"), &room.path().join("before"));
    let log = Arc::new(CrashLog::new(copied(&store)).unwrap());
    let host = Host::open(log.clone(), &room.path().join("a"), at(7 * 24 * HOUR));
    let mut later = Vec::new();
    nights(&host, 7, 3, &mut later);
    // Something goes from a merged fragment too, and the prune merges what is left.
    catalogue::forget(&host.repository, &kept.remove(0)).unwrap();
    let options = PruneOptions { max_unused: MaxUnused::Bytes(0), ..options() };
    for days in [20, 22, 24] {
        host.prune(&options, at(days * 24 * HOUR)).unwrap();
    }
    assert!(host.index.fragments().unwrap().len() < 5);
    let cuts = log.len();
    assert!(cuts > 30, "{cuts}");
    for cut in 0..=cuts {
        for fate in [Fate::Absent, Fate::Complete].into_iter().take(1 + cut % 2) {
            let case = format!("after {cut} of {cuts} events ({fate:?})");
            let image = Arc::new(log.image(cut, |_| fate).to_memory().unwrap());
            let mut indexes = [None, None];
            for (which, index) in ["before", "a", "none"].into_iter().zip(0..) {
                // In turn, because each takes its time.
                if index != 2 && index != cut % 2 {
                    continue;
                }
                let state = in_memory();
                if which != "none" {
                    copy_state(&room.path().join(which), state.path());
                }
                let host = Host::open(image.clone(), state.path(), at(30 * 24 * HOUR));
                for snapshot in &kept {
                    let short = snapshot.short();
                    host.restores(snapshot).unwrap_or_else(|why| panic!("{case}, {which}: {short}: {why}"));
                }
                indexes[index / 2] = Some((host.index.fragments().unwrap(), host.index.totals().unwrap()));
                if which == "none" {
                    // And goes on.
                    let report = crate::check::check(&host.repository, &host.index, full(), &|_| Ok(())).unwrap();
                    assert!(report.is_clean(), "{case}: {:?}", report.findings);
                    for days in [31, 33] {
                        host.prune(&options, at(days * 24 * HOUR)).unwrap_or_else(|why| panic!("{case}: {why}"));
                    }
                    let fresh = in_memory();
                    let fresh = Host::open(image.clone(), fresh.path(), at(34 * 24 * HOUR));
                    for snapshot in &kept {
                        fresh.restores(snapshot).unwrap_or_else(|why| panic!("{case}, in the end: {why}"));
                    }
                    assert!(fragments(&*image) <= 16, "{case}: {}", fragments(&*image));
                }
            }
            // However an index came about, it says the same; one from the future may know what nobody names yet, and has
            // forgotten what was replaced.
            let [followed, rebuilt] = indexes.map(Option::unwrap);
            match cut % 2 {
                0 => assert_eq!(followed, rebuilt, "{case}"),
                _ => assert!(followed.0.is_superset(&rebuilt.0) && followed.1.chunks >= rebuilt.1.chunks, "{case}"),
            }
        }
    }
}

/// A merge that began before a prune and put its fragment after: what it brings back is marked, and goes once more.
#[test]
fn a_merge_that_comes_late_brings_nothing_back_for_good() {
    let place = Place::new();
    let (a, b) = (place.host("a", at(0)), place.host("b", at(0)));
    let first = a.back_up("a", &(0..10).collect(), &|| at(0)).unwrap();
    let second = a.back_up("b", &(20..25).collect(), &|| at(0)).unwrap();
    catalogue::forget(&a.repository, &first).unwrap();
    assert!(a.prune(&options(), at(1)).unwrap().marked > 0);
    let swept = at(25 * HOUR);
    b.index.sync_at(&b.repository, swept).unwrap();
    let old: Vec<_> = b.index.fragments().unwrap().into_iter().collect();
    let packs = old.iter().flat_map(|id| read_fragment(&b.repository, id).unwrap().packs);
    let mut packs: Vec<_> = packs.collect();
    packs.sort_by_key(|info| info.id);
    packs.dedup_by_key(|info| info.id);
    let gone = a.prune(&options(), swept).unwrap().deleted;
    assert!(gone > 0);
    let late = merge::replace(&b.repository, &b.index, &old, packs, swept, &|| at(26 * HOUR)).unwrap();
    assert!(late.is_some());
    let fresh = place.host("fresh", at(26 * HOUR));
    assert_eq!(fresh.index.packs().unwrap().len() as u64, place.packs() + gone, "it names what went");
    // Whoever sees it sees the mark too.
    let again = fresh.back_up("c", &(0..10).collect(), &|| at(26 * HOUR)).unwrap();
    for hours in [31, 60, 70, 80, 90] {
        a.prune(&options(), at(hours * HOUR)).unwrap();
        let fresh = place.host(&format!("fresh{hours}"), at(hours * HOUR));
        [&second, &again].into_iter().for_each(|snapshot| fresh.restores(snapshot).unwrap());
    }
    let fresh = place.host("last", at(90 * HOUR));
    assert_eq!(fresh.index.packs().unwrap().len() as u64, place.packs());
    assert!(keys(&*place.store, "gc").is_empty(), "{:?}", keys(&*place.store, "gc"));
}

/// While a fragment stands that names packs which are gone, their mark stands, for the one that replaces it may be damaged.
#[test]
fn marks_of_packs_that_are_gone_outlive_the_fragments_that_named_them() {
    let place = Place::new();
    let host = place.host("a", at(0));
    let first = host.back_up("a", &(0..10).collect(), &|| at(0)).unwrap();
    // The same fragment names what stays.
    let packs = host.index.packs().unwrap().into_iter().map(|(id, ..)| id).collect();
    let old: Vec<_> = host.index.fragments_of(&packs).unwrap().into_iter().collect();
    let kept = host.back_up("b", &(20..25).collect(), &|| at(0)).unwrap();
    let all: Vec<_> = host.index.fragments().unwrap().into_iter().collect();
    let infos = all.iter().flat_map(|id| read_fragment(&host.repository, id).unwrap().packs).collect();
    merge::replace(&host.repository, &host.index, &all, infos, at(0), &|| at(1)).unwrap().unwrap();
    merge::retire(&host.repository, &host.index, at(5 * HOUR)).unwrap();
    assert!(!old.is_empty() && fragments(&*place.store) == 1);
    catalogue::forget(&host.repository, &first).unwrap();
    host.prune(&options(), at(6 * HOUR)).unwrap();
    assert!(host.prune(&options(), at(31 * HOUR)).unwrap().deleted > 0);
    for minutes in (31 * 60..40 * 60).step_by(20) {
        host.prune(&options(), at(minutes * 60)).unwrap();
        let fresh = place.host("fresh", at(minutes * 60));
        let by = |id| read_fragment(&fresh.repository, &id).unwrap();
        let named =
            keys(&*place.store, "index").iter().map(|key| by(layout::id_of(key).unwrap())).collect::<Vec<Fragment>>();
        let names_more = named
            .iter()
            .flat_map(|fragment| &fragment.packs)
            .any(|info| place.store.size(&layout::pack(&info.id)).unwrap().is_none());
        let marked = !keys(&*place.store, "gc").is_empty();
        assert!(marked || !names_more, "after {minutes} minutes");
        fresh.restores(&kept).unwrap();
    }
    assert!(keys(&*place.store, "gc").is_empty());
}

/// What a merge says is what the fragments said, not what this host's index made of it.
#[test]
fn a_merge_leaves_out_nothing_that_this_host_found_lost() {
    let place = Place::new();
    let host = place.host("a", at(0));
    let mut kept = Vec::new();
    nights(&host, 0, 7, &mut kept);
    let pack = host.index.packs().unwrap()[0].0;
    host.index.forget_frames(&[(pack, 0)]).unwrap();
    nights(&host, 7, 1, &mut kept);
    assert_eq!(host.index.fragments().unwrap().len(), 1);
    let other = place.host("b", at(0));
    kept.iter().for_each(|snapshot| other.restores(snapshot).unwrap());
    assert!(other.index.totals().unwrap().frames > host.index.totals().unwrap().frames);
}
