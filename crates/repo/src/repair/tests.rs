use icecore_format::annotation::{Annotation, TagChange};
use icecore_format::entry::{Content, Node};
use icecore_format::manifest::{ManifestReader, ManifestWriter};
use icecore_format::mark::Stage;
use icecore_format::pack::PackKind;
use icecore_format::snapshot::Verdict;
use icecore_store::error::Operation;
use icecore_store::{Key, Store};

use super::*;
use crate::annotations::{self, Annotations};
use crate::check::{CheckOptions, check};
use crate::session::Session;
use crate::tests::{Place, commit, entry, expect_all, record};
use crate::{catalogue, layout, marks};

/// Files that each test's snapshot has; they share one pack of data, ten to a frame.
const FILES: u64 = 40;

const OPTIONS: RepairOptions<'_> = RepairOptions {
    read_data: true,
    threads: 2,
    host: "host",
    clock: || Timestamp { seconds: 1_800_000_000, nanos: 0 },
};

fn plan_of(place: &Place) -> Plan {
    let (repository, index) = place.open();
    plan(&repository, &index, OPTIONS, &|_| Ok(())).unwrap()
}

fn repair(place: &Place) -> (Plan, Repaired) {
    let (repository, index) = place.open();
    let plan = plan(&repository, &index, OPTIONS, &|_| Ok(())).unwrap();
    let repaired = perform(&repository, &index, &plan, OPTIONS, &|_| Ok(())).unwrap();
    (plan, repaired)
}

fn findings(place: &Place) -> CheckReport {
    let (repository, index) = place.open();
    let options = CheckOptions { read_percent: 100, until: None, now: Timestamp::default(), threads: 2 };
    check(&repository, &index, options, &|_| Ok(())).unwrap()
}

fn replace(place: &Place, key: &Key, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = place.store.get(key).unwrap();
    change(&mut bytes);
    place.store.delete(key).unwrap();
    place.store.put(key, &[&bytes]).unwrap();
}

/// The largest pack and the other one.
fn data_and_manifest(place: &Place) -> (Key, Key) {
    let mut packs = place.keys("packs");
    packs.sort_by_key(|key| std::cmp::Reverse(place.store.size(key).unwrap()));
    let [data, manifest] = packs.try_into().unwrap();
    (data, manifest)
}

fn all_keys(place: &Place) -> Vec<Key> {
    let mut keys = place.keys("");
    keys.sort();
    keys
}

/// A second repair finds what the first could not mend, and puts nothing into the store.
fn expect_settled(place: &Place) {
    let before = all_keys(place);
    let (plan, repaired) = repair(place);
    assert!(!plan.changes(), "{plan:?}");
    assert_eq!(repaired, Repaired::default());
    assert_eq!(all_keys(place), before);
}

#[test]
fn a_sound_repository_is_left_as_it_is() {
    let place = Place::new();
    let stored = commit(&place, 0, FILES);
    let before = all_keys(&place);
    let (plan, repaired) = repair(&place);
    assert!(plan.is_sound() && !plan.leaves_damage(), "{plan:?}");
    assert_eq!((repaired, all_keys(&place)), (Repaired::default(), before));
    expect_all(&place, &stored);
}

#[test]
fn of_a_damaged_pack_only_what_is_damaged_is_lost() {
    let place = Place::new();
    let stored = commit(&place, 0, FILES);
    let (data, _) = data_and_manifest(&place);
    replace(&place, &data, |bytes| bytes[1000] ^= 1);
    let damaged = place.store.get(&data).unwrap();
    let original = place.keys("snapshots")[0].clone();

    let before = all_keys(&place);
    let planned = plan_of(&place);
    assert_eq!(all_keys(&place), before, "a plan changes nothing");
    let pack = &planned.damaged[0];
    assert_eq!((pack.frames, pack.frames_lost, pack.chunks_whole, pack.chunks_lost), (4, 1, 30, 10));
    assert_eq!((planned.lacking.len(), planned.lacking[0].missing), (1, 10));

    let (_, repaired) = repair(&place);
    assert_eq!((repaired.salvaged.chunks, repaired.fragments), (30, 1));
    assert_eq!(place.store.size(&data).unwrap(), None);
    let aside = Key::new(&repaired.set_aside[0]).unwrap();
    assert_eq!(place.store.get(&aside).unwrap(), damaged, "nothing is destroyed");
    assert!(place.store.size(&original).unwrap().is_some(), "the original stays");

    let (repository, index) = place.open();
    let catalogue = Catalogue::load(&repository, &index).unwrap();
    let [corrected, damaged] = &catalogue.snapshots[..] else { panic!("{catalogue:?}") };
    assert_eq!((corrected.snapshot.corrects, corrected.id), (Some(damaged.id), repaired.corrected[0].id));
    assert_eq!((corrected.snapshot.verdict, corrected.snapshot.problem_count), (Verdict::Fuzzy, 10));
    let reader = ChunkReader::new(&repository, &index).unwrap();
    let entries: Vec<_> = ManifestReader::new(&reader, &corrected.snapshot.manifest).entries().flatten().collect();
    let is_missing = |node: &Node| matches!(node, Node::File(file) if file.content == Content::Missing);
    let missing = entries.iter().filter(|entry| is_missing(&entry.node));
    assert_eq!((entries.len() as u64, missing.count()), (FILES, 10));
    let readable = stored.iter().filter(|(id, bytes)| reader.chunk(id).is_ok_and(|found| found[..] == bytes[..]));
    assert_eq!(readable.count(), 30);
    expect_settled(&place);

    // The next backup has the content still, and then everything is whole, the damaged original too.
    commit(&place, 0, FILES);
    let report = findings(&place);
    assert!(report.is_clean(), "{report:?}");
    expect_all(&place, &stored);
}

#[test]
fn exchanged_packs_give_everything_back() {
    let place = Place::new();
    let mut stored = commit(&place, 0, FILES);
    let (first, _) = data_and_manifest(&place);
    let known = place.keys("packs");
    stored.extend(commit(&place, 1000, FILES));
    let second = place.keys("packs").into_iter().filter(|key| !known.contains(key));
    let second = second.max_by_key(|key| place.store.size(key).unwrap()).unwrap();
    let [one, two] = [&first, &second].map(|key| place.store.get(key).unwrap());
    replace(&place, &first, |bytes| *bytes = two);
    replace(&place, &second, |bytes| *bytes = one);
    let (plan, _) = repair(&place);
    assert_eq!((plan.damaged.len(), plan.lacking.len(), plan.leaves_damage()), (2, 0, false), "{plan:?}");
    assert!(findings(&place).is_clean());
    let (repository, index) = place.open();
    let reader = ChunkReader::new(&repository, &index).unwrap();
    assert!(stored.iter().all(|(id, bytes)| reader.chunk(id).unwrap()[..] == bytes[..]));
    expect_settled(&place);
}

#[test]
fn a_missing_pack_is_named_no_more() {
    let mut place = Place::new();
    let stored = commit(&place, 0, FILES);
    let (data, _) = data_and_manifest(&place);
    place.store.delete(&data).unwrap();
    let (plan, repaired) = repair(&place);
    assert_eq!((plan.missing.len(), plan.lacking[0].missing, repaired.corrected.len()), (1, FILES, 1));
    expect_settled(&place);
    // Also for a host that has not seen it: its next backup stores what is lost.
    place.forget_index();
    commit(&place, 0, FILES);
    assert!(findings(&place).is_clean());
    expect_all(&place, &stored);
}

#[test]
fn lost_blocks_are_named_by_their_range_and_the_neighbours_stay() {
    /// Enough for several frames of blocks.
    const ENTRIES: u32 = 20_000;
    let place = Place::new();
    let (repository, index) = place.open();
    let session = Session::begin(repository, index, 3).unwrap();
    let (mut writer, mut manifest) = (session.writer().unwrap(), ManifestWriter::new());
    for number in 0..ENTRIES {
        let bytes = number.to_le_bytes();
        let id = writer.store(&bytes).unwrap();
        manifest.push(&entry(&format!("{number:08}"), id, bytes.len()), &mut writer).unwrap();
    }
    let root = manifest.finish(&mut writer).unwrap();
    writer.finish().unwrap();
    session.close().unwrap().commit(&record(root), &OPTIONS.clock).unwrap();
    let (_, index) = place.open();
    let packs = index.packs().unwrap();
    let manifest = packs.iter().find(|(_, kind, _)| *kind == PackKind::Manifest).unwrap().0;
    // A frame in the middle.
    let frame = index.frames(&manifest).unwrap()[1];
    replace(&place, &layout::pack(&manifest), |bytes| bytes[frame.offset as usize + 100] ^= 1);

    let (plan, repaired) = repair(&place);
    let [lacking] = &plan.lacking[..] else { panic!("{plan:?}") };
    let [problem] = &lacking.problems[..] else { panic!("{lacking:?}") };
    let first: u32 = std::str::from_utf8(&problem.path).unwrap().parse().unwrap();
    let after = u64::from(first) + lacking.missing;
    assert!(first > 0 && lacking.missing > 0 && after < ENTRIES.into());
    let expected = format!("{} entries from here up to, and without, \"{after:08}\"", lacking.missing);
    assert!(problem.message.contains(&expected), "{expected}: {problem:?}");
    let (repository, index) = place.open();
    let corrected = catalogue::read(&repository, &repaired.corrected[0].id).unwrap().0;
    assert_eq!(corrected.totals.entries, u64::from(ENTRIES) - lacking.missing);
    let reader = ChunkReader::new(&repository, &index).unwrap();
    let left: Vec<_> =
        ManifestReader::new(&reader, &corrected.manifest).entries().map(|entry| entry.unwrap()).collect();
    assert_eq!(left.len() as u64, corrected.totals.entries);
    assert_eq!(left[first as usize].path, format!("{after:08}").into_bytes());
    expect_settled(&place);
}

#[test]
fn fragments_are_written_anew_from_what_the_packs_say() {
    for how in 0..3 {
        let mut place = Place::new();
        let stored = commit(&place, 0, FILES);
        let fragment = place.keys("index")[0].clone();
        match how {
            0 => place.store.delete(&fragment).unwrap(),
            1 => replace(&place, &fragment, |bytes| bytes[60] ^= 1),
            _ => replace(&place, &fragment, |bytes| bytes.clear()),
        }
        place.forget_index();
        let (plan, repaired) = repair(&place);
        assert_eq!((plan.adopted.len(), plan.lacking.len(), plan.leaves_damage()), (2, 0, false), "{plan:?}");
        assert_eq!((repaired.adopted, repaired.set_aside.len()), (2, usize::from(how > 0)));
        assert!(findings(&place).is_clean());
        expect_settled(&place);
        place.forget_index();
        expect_all(&place, &stored);
    }
}

#[test]
fn a_record_that_this_host_has_read_is_written_again() {
    let mut place = Place::new();
    let stored = commit(&place, 0, FILES);
    let record = place.keys("snapshots")[0].clone();
    replace(&place, &record, |bytes| bytes[60] ^= 1);
    let (plan, repaired) = repair(&place);
    assert!(plan.records[0].is_known() && !plan.leaves_damage());
    assert_eq!(repaired.records.len(), 1);
    assert!(findings(&place).is_clean());
    expect_settled(&place);
    place.forget_index();
    expect_all(&place, &stored);

    // Nobody has read this one: it is told, and stays, so that nothing takes away what it may need.
    let record = place.keys("snapshots")[0].clone();
    place.forget_index();
    replace(&place, &record, |bytes| bytes[60] ^= 1);
    let (plan, repaired) = repair(&place);
    assert!(!plan.records[0].is_known() && plan.leaves_damage());
    assert_eq!((repaired.records.len(), place.keys("snapshots")), (0, vec![record]));
}

#[test]
fn what_was_said_of_a_record_is_said_of_the_one_in_its_place() {
    let place = Place::new();
    commit(&place, 0, FILES);
    let record = place.keys("snapshots")[0].clone();
    let (repository, index) = place.open();
    let tags = Some(TagChange { clear: false, remove: Vec::new(), add: vec!["golden".to_owned()] });
    let (snapshot, at) = (layout::id_of(&record).unwrap(), Timestamp::default());
    let said = Annotation { snapshot, at, host: "host".into(), user: "user".into(), tags, proof: None };
    annotations::put(&repository, &said).unwrap();
    replace(&place, &record, |bytes| bytes[60] ^= 1);
    repair(&place);
    let anew = layout::id_of(&place.keys("snapshots")[0]).unwrap();
    assert_ne!(anew, snapshot);
    let found = Annotations::load(&repository, &index).unwrap();
    assert!(found.of(&anew).eq([&Annotation { snapshot: anew, ..said }]));
}

#[test]
fn a_corrected_snapshot_has_the_tags_that_the_damaged_one_has_by_then() {
    let place = Place::new();
    commit(&place, 0, FILES);
    let snapshot = layout::id_of(&place.keys("snapshots")[0]).unwrap();
    let (repository, index) = place.open();
    let tags = Some(TagChange { clear: false, remove: Vec::new(), add: vec!["golden".to_owned()] });
    let said =
        Annotation { snapshot, at: Timestamp::default(), host: "host".into(), user: "user".into(), tags, proof: None };
    annotations::put(&repository, &said).unwrap();
    let (data, _) = data_and_manifest(&place);
    place.store.delete(&data).unwrap();
    let (_, repaired) = repair(&place);
    let corrected = catalogue::read(&repository, &repaired.corrected[0].id).unwrap().0;
    assert_eq!(corrected.tags, ["golden"]);
    // It needs no annotation for them, and the damaged one has kept its own.
    let found = Annotations::load(&repository, &index).unwrap();
    assert_eq!((found.of(&repaired.corrected[0].id).count(), found.of(&snapshot).count()), (0, 1));
}

#[test]
fn what_is_not_ours_is_told_and_left() {
    let place = Place::new();
    commit(&place, 0, FILES);
    let (data, _) = data_and_manifest(&place);
    let bytes = place.store.get(&data).unwrap();
    // A copy under a name that it cannot have, a copy in the wrong place, and something else.
    let copy = "packs/ab/".to_owned() + &"ab".repeat(32);
    let wrong = if data.as_str().starts_with("packs/00") { "packs/01/" } else { "packs/00/" };
    for key in [copy.clone(), wrong.to_owned() + data.name(), "snapshots/readme".to_owned()] {
        place.store.put(&Key::new(&key).unwrap(), &[&bytes]).unwrap();
    }
    let (plan, repaired) = repair(&place);
    assert_eq!((plan.damaged.len(), plan.left.len(), plan.lacking.len()), (1, 2, 0), "{plan:?}");
    assert_eq!((repaired.salvaged.chunks, repaired.set_aside.len()), (0, 1), "everything in the copy is known");
    assert!(repaired.set_aside[0].starts_with("damaged/abab"));
    expect_settled(&place);
}

#[test]
fn quick_reads_only_what_is_suspicious() {
    let place = Place::new();
    commit(&place, 0, FILES);
    let (data, _) = data_and_manifest(&place);
    let (repository, index) = place.open();
    let quick = RepairOptions { read_data: false, ..OPTIONS };
    let run = || plan(&repository, &index, quick, &|_| Ok(())).unwrap();
    assert_eq!((run().packs_read, run().is_sound()), (0, true));
    replace(&place, &data, |bytes| bytes.truncate(bytes.len() - 100_000));
    let short = run();
    assert_eq!((short.packs_read, short.damaged.len(), short.damaged[0].frames_lost), (1, 1, 1));
    assert_eq!(short.lacking[0].missing, 10);
}

#[test]
fn a_record_that_was_forgotten_meanwhile_is_not_written_again() {
    let place = Place::new();
    commit(&place, 0, FILES);
    let record = place.keys("snapshots")[0].clone();
    replace(&place, &record, |bytes| bytes[60] ^= 1);
    let (repository, index) = place.open();
    let plan = plan(&repository, &index, OPTIONS, &|_| Ok(())).unwrap();
    assert!(plan.records[0].is_known());
    place.store.delete(&record).unwrap();
    let repaired = perform(&repository, &index, &plan, OPTIONS, &|_| Ok(())).unwrap();
    assert_eq!((repaired.records.len(), place.keys("snapshots").len()), (0, 0));
}

#[test]
fn what_is_salvaged_does_not_rest_on_other_copies() {
    let place = Place::new();
    let stored = commit(&place, 0, FILES);
    let (data, _) = data_and_manifest(&place);
    let (repository, index) = place.open();
    let session = Session::begin(repository, index, 3).unwrap();
    let mut writer = session.writer().unwrap();
    stored.iter().for_each(|(id, bytes)| writer.put_again(PackKind::Data, *id, bytes).unwrap());
    writer.finish().unwrap();
    session.close().unwrap();
    replace(&place, &data, |bytes| bytes[1000] ^= 1);
    place.store.take();
    let (plan, repaired) = repair(&place);
    assert_eq!((plan.damaged.len(), plan.lacking.len(), repaired.salvaged.chunks), (1, 0, 30));
    let deleted: Vec<_> = place.store.take().into_iter().filter(|call| call.operation == Operation::Delete).collect();
    let when = |directory: &str| deleted.iter().position(|call| call.object.starts_with(directory)).unwrap();
    assert!(when(layout::PACKS) < when(layout::SESSIONS), "the session's record outlives the pack: {deleted:?}");
    expect_all(&place, &stored);
    expect_settled(&place);
}

#[test]
fn what_came_while_packs_were_read_is_not_judged() {
    let place = Place::new();
    commit(&place, 0, FILES);
    let (repository, index) = place.open();
    let judged = std::sync::atomic::AtomicU64::new(0);
    let watch = |step| {
        match step {
            CheckStep::Packs { .. } => drop(commit(&place, 1000, FILES)),
            CheckStep::Snapshots(count) => judged.store(count, std::sync::atomic::Ordering::SeqCst),
            _ => {}
        }
        Ok(())
    };
    let plan = plan(&repository, &index, OPTIONS, &watch).unwrap();
    assert!(plan.is_sound(), "{plan:?}");
    assert_eq!((place.keys("snapshots").len(), judged.into_inner()), (2, 1));
}

#[test]
fn what_stands_in_marked_packs_alone_is_stored_again_for_a_corrected_snapshot() {
    let place = Place::new();
    let stored = commit(&place, 0, FILES);
    let (data, _) = data_and_manifest(&place);
    // Another snapshot has half of the files, and more, in a second pack.
    let halves = commit(&place, FILES / 2, FILES);
    let known = [data.clone()];
    let second = place.keys("packs").into_iter().filter(|key| !known.contains(key));
    let second = second.max_by_key(|key| place.store.size(key).unwrap()).unwrap();
    place.store.delete(&second).unwrap();
    let (repository, index) = place.open();
    let pack = layout::id_of(&data).unwrap();
    let now = (OPTIONS.clock)();
    marks::put(&repository, vec![pack], Stage::Waiting, now, now, "host").unwrap();
    let (plan, repaired) = repair(&place);
    assert_eq!((plan.missing.len(), repaired.corrected.len()), (1, 1), "{plan:?}");
    let lookup = index.lookup().unwrap();
    assert!(halves[..FILES as usize / 2].iter().all(|(id, _)| lookup.contains(id).unwrap()));
    assert!(!lookup.contains(&stored[0].0).unwrap(), "nothing corrected needs it");
}

#[test]
fn a_pack_that_a_prune_deleted_is_not_missing() {
    let place = Place::new();
    commit(&place, 0, FILES);
    let (repository, index) = place.open();
    let id = layout::id_of(&place.keys("snapshots")[0]).unwrap();
    catalogue::forget(&repository, &id).unwrap();
    let packs: Vec<_> = place.keys("packs").iter().map(|key| layout::id_of::<PackId>(key).unwrap()).collect();
    let now = (OPTIONS.clock)();
    let mut marked = packs.clone();
    marked.sort();
    marks::put(&repository, marked, Stage::Gone, now, now, "host").unwrap();
    packs.iter().for_each(|pack| place.store.delete(&layout::pack(pack)).unwrap());
    let plan = plan(&repository, &index, OPTIONS, &|_| Ok(())).unwrap();
    assert!(plan.is_sound() && plan.pruned.len() == 2, "{plan:?}");
    // A prune must still find the fragments.
    perform(&repository, &index, &plan, OPTIONS, &|_| Ok(())).unwrap();
    assert_eq!(index.fragments_of(&packs.into_iter().collect()).unwrap().len(), 1);
}

#[test]
fn what_a_killed_repair_left_in_the_state_directory_goes_with_the_next_one() {
    let place = Place::new();
    commit(&place, 0, 4);
    let (repository, index) = place.open();
    let state = index.path().parent().unwrap();
    let scratches = || {
        let names = state.read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with(SCRATCH)).count()
    };
    // Two at once keep out of each other's way.
    let one = Scratch::beside(&index, &repository).unwrap();
    let two = Scratch::beside(&index, &repository).unwrap();
    assert_eq!(scratches(), 2);
    drop(two);
    // Killed: the system lets go of the lock, and nobody removes the directory.
    let Scratch { index: _index, _directory, _lock } = one;
    drop(_lock);
    std::mem::forget(_directory);
    assert_eq!(scratches(), 1);
    plan_of(&place);
    assert_eq!(scratches(), 0);
}
