use icecore_format::id::SnapshotId;
use icecore_store::{Key, Store};

use super::*;
use crate::tests::{Place, commit, expect_all};

/// Files that each test's snapshot has; they share one pack of data.
const FILES: u64 = 40;

fn options(read_data: bool, threads: usize) -> CheckOptions {
    CheckOptions { read_percent: if read_data { 100 } else { 0 }, until: None, now: Timestamp::default(), threads }
}

fn run(place: &Place, read_data: bool) -> CheckReport {
    let (repository, index) = place.open();
    check(&repository, &index, options(read_data, 2), &|_| Ok(())).unwrap()
}

fn replace(place: &Place, key: &Key, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = place.store.get(key).unwrap();
    change(&mut bytes);
    place.store.delete(key).unwrap();
    place.store.put(key, &[&bytes]).unwrap();
}

/// The largest pack: that of the data.
fn data_pack(place: &Place) -> Key {
    place.keys("packs").into_iter().max_by_key(|key| place.store.size(key).unwrap()).unwrap()
}

fn only(place: &Place, directory: &str) -> Key {
    let [key] = place.keys(directory).try_into().unwrap();
    key
}

fn invariants(report: &CheckReport) -> Vec<(&str, &str)> {
    report.findings.iter().map(|finding| (finding.invariant, finding.object.as_str())).collect()
}

#[test]
fn a_whole_repository_is_clean_and_shared_blocks_cost_once() {
    let place = Place::new();
    commit(&place, 0, FILES);
    let once = run(&place, true);
    assert!(once.is_clean(), "{once:?}");
    assert_eq!((once.snapshots, once.entries, once.chunks, once.orphans.len()), (1, FILES, FILES, 0));
    let size: u64 = place.keys("packs").iter().map(|key| place.store.size(key).unwrap().unwrap()).sum();
    assert_eq!(once.bytes_read, size);
    commit(&place, 0, FILES);
    let twice = run(&place, false);
    assert!(twice.is_clean());
    assert_eq!((twice.snapshots, twice.blocks, twice.bytes_read), (1 + 1, once.blocks, 0));
}

#[test]
fn a_missing_pack_costs_its_files_until_the_next_backup() {
    let place = Place::new();
    let stored = commit(&place, 0, FILES);
    let pack = data_pack(&place);
    place.store.delete(&pack).unwrap();
    let report = run(&place, false);
    let snapshot = only(&place, "snapshots");
    assert_eq!(invariants(&report), [("I3", pack.as_str()), ("I2", snapshot.as_str())]);
    assert_eq!((report.forgotten_packs, report.damaged_count), (1, FILES));
    let id: SnapshotId = layout::id_of(&snapshot).unwrap();
    assert_eq!((report.damaged_files[3].snapshot, report.damaged_files[3].path.as_slice()), (id, &b"00000003"[..]));
    commit(&place, 0, FILES);
    assert!(run(&place, true).is_clean());
    expect_all(&place, &stored);
}

#[test]
fn a_flipped_bit_costs_one_frame_and_heals_with_the_next_backup() {
    let place = Place::new();
    let stored = commit(&place, 0, FILES);
    let pack = data_pack(&place);
    replace(&place, &pack, |bytes| bytes[1000] ^= 1);
    assert!(run(&place, false).is_clean(), "only reading can tell");
    let report = run(&place, true);
    assert_eq!(invariants(&report)[0], ("I1", pack.as_str()));
    assert!(report.findings[0].message.contains("1 of 4 frames"), "{:?}", report.findings);
    assert_eq!(report.forgotten_frames, 1);
    assert_eq!(report.damaged_count, 10, "a frame holds ten files");
    assert_eq!(report.damaged_files.len(), 10);
    commit(&place, 0, FILES);
    expect_all(&place, &stored);
    let after = run(&place, true);
    assert_eq!((after.finding_count, after.damaged_count), (1, 0), "the pack is told, no file is lost: {after:?}");
}

/// What was found sound once is only compared with its name; what then differs is looked at like any other.
#[test]
fn damage_after_a_clean_check_is_found_and_told_alike() {
    let place = Place::new();
    commit(&place, 0, FILES);
    for _ in 0..2 {
        let clean = run(&place, true);
        assert!(clean.is_clean());
        assert_eq!((clean.packs_read, clean.never_verified), (clean.packs, 0));
    }
    let pack = data_pack(&place);
    replace(&place, &pack, |bytes| bytes[1000] ^= 1);
    let report = run(&place, true);
    assert_eq!(invariants(&report)[0], ("I1", pack.as_str()));
    assert_eq!((report.forgotten_frames, report.damaged_count), (1, 10));

    // The index is wrong about a pack that is as it was.
    let place = Place::new();
    commit(&place, 0, FILES);
    assert!(run(&place, true).is_clean());
    let (_, index) = place.open();
    let wrong = rusqlite::Connection::open(index.path()).unwrap();
    wrong.execute("UPDATE frames SET plain = plain - 1 WHERE ordinal = 1", []).unwrap();
    let report = run(&place, true);
    assert!(report.findings.iter().any(|finding| finding.invariant == "I9"), "{:?}", report.findings);
}

/// A frame that was forgotten is not looked at, so its pack cannot count as opened to its last chunk.
#[test]
fn a_pack_of_which_something_was_forgotten_is_not_taken_for_sound() {
    let place = Place::new();
    commit(&place, 0, FILES);
    let (repository, index) = place.open();
    let pack = layout::id_of(&data_pack(&place)).unwrap();
    index.forget_frames(&[(pack, 1)]).unwrap();
    for _ in 0..2 {
        assert_eq!(run(&place, true).never_verified, 1);
    }
    index.rebuild(&repository, |_, _| ()).unwrap();
    let whole = run(&place, true);
    assert!(whole.is_clean() && whole.never_verified == 0, "{whole:?}");
}

#[test]
fn a_pack_of_the_wrong_size_loses_only_what_is_cut_off() {
    let place = Place::new();
    commit(&place, 0, FILES);
    let pack = data_pack(&place);
    replace(&place, &pack, |bytes| bytes.truncate(bytes.len() - 100_000));
    let report = run(&place, false);
    assert_eq!(invariants(&report)[0], ("I1", pack.as_str()));
    assert_eq!((report.forgotten_frames, report.damaged_count), (1, 10));
    replace(&place, &pack, |bytes| bytes.truncate(1));
    assert_eq!(run(&place, false).damaged_count, FILES);
    replace(&place, &pack, |bytes| bytes.clear());
    assert_eq!(run(&place, false).damaged_count, FILES);
}

#[test]
fn a_lost_manifest_block_costs_every_entry_below_it() {
    let place = Place::new();
    commit(&place, 0, FILES);
    let data = data_pack(&place);
    let manifest = place.keys("packs").into_iter().find(|key| *key != data).unwrap();
    replace(&place, &manifest, |bytes| bytes[60] ^= 1);
    let report = run(&place, true);
    let found: Vec<_> = invariants(&report).into_iter().map(|(invariant, _)| invariant).collect();
    assert_eq!(found, ["I1", "I5", "I2"]);
    assert_eq!(report.damaged_count, FILES);
    assert_eq!(report.damaged_files.len(), 1, "a lost block is named once");
}

#[test]
fn small_objects_are_named() {
    let place = Place::new();
    commit(&place, 0, FILES);
    let (slot, fragment, snapshot) = (only(&place, "keys"), only(&place, "index"), only(&place, "snapshots"));
    let (repository, index) = place.open();
    for key in [&slot, &fragment, &snapshot] {
        replace(&place, key, |bytes| bytes[50] ^= 1);
    }
    let odd = Key::new("packs/readme").unwrap();
    place.store.put(&odd, &[b"hello"]).unwrap();
    let report = check(&repository, &index, options(false, 0), &|_| Ok(())).unwrap();
    let named = [("I1", slot.as_str()), ("I1", fragment.as_str()), ("I1", odd.as_str()), ("I1", snapshot.as_str())];
    assert_eq!(invariants(&report), named);
    assert_eq!(report.damaged_count, 0);
}

#[test]
fn packs_that_the_index_does_not_know_are_orphans_and_no_damage() {
    let place = Place::new();
    commit(&place, 0, FILES);
    let (repository, index) = place.open();
    let data = data_pack(&place);
    place.store.delete(&only(&place, "index")).unwrap();
    place.store.delete(&only(&place, "snapshots")).unwrap();
    let report = check(&repository, &index, options(true, 2), &|_| Ok(())).unwrap();
    assert!(report.is_clean());
    assert_eq!((report.packs, report.orphans.len()), (0, place.keys("packs").len()));
    assert!(report.orphans.iter().any(|id| layout::pack(id) == data));
}

#[test]
fn whoever_watches_can_end_it() {
    let place = Place::new();
    commit(&place, 0, FILES);
    let (repository, index) = place.open();
    let options = options(true, 2);
    let stop = |step| if matches!(step, CheckStep::Pack { .. }) { Err(Error::Interrupted) } else { Ok(()) };
    assert!(matches!(check(&repository, &index, options, &stop), Err(Error::Interrupted)));
}
