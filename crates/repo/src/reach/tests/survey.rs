//! Surveys after whatever may have happened to index and counts, against one that adds everything up from the rows.

use std::collections::BTreeMap;

use icecore_format::id::PackId;
use icecore_format::mark::Stage;
use tempfile::TempDir;

use super::*;
use crate::marks;
use icecore_format::entry::Timestamp;

#[derive(Debug, Clone)]
enum Step {
    Commit(BTreeSet<u64>),
    /// By a host that knows nothing of the repository, so that everything is stored once more.
    CommitBlindly(BTreeSet<u64>),
    Forget(prop::sample::Index),
    DropPack(prop::sample::Index),
    /// From the store, and noticed.
    LosePack(prop::sample::Index),
    ForgetFrame(prop::sample::Index),
    ForgetChunk(u64),
    Mark(prop::sample::Index),
    Sweep,
    Rebuild,
    LoseIndex,
    Survey,
}

fn step() -> impl Strategy<Value = Step> {
    let few = || prop::collection::btree_set(0..60_u64, 0..8);
    // Most of it is in every snapshot, so that there is much of which nothing changes.
    let numbers = || few().prop_map(|few| few.into_iter().chain(100..400).collect());
    let any = || any::<prop::sample::Index>();
    prop_oneof![
        8 => numbers().prop_map(Step::Commit),
        4 => few().prop_map(Step::CommitBlindly),
        5 => any().prop_map(Step::Forget),
        2 => any().prop_map(Step::DropPack),
        1 => any().prop_map(Step::LosePack),
        1 => any().prop_map(Step::ForgetFrame),
        1 => (0..120_u64).prop_map(Step::ForgetChunk),
        4 => any().prop_map(Step::Mark),
        1 => Just(Step::Sweep),
        1 => Just(Step::Rebuild),
        1 => Just(Step::LoseIndex),
        12 => Just(Step::Survey),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_survey_tells_what_the_rows_add_up_to(steps in prop::collection::vec(step(), 1..32)) {
        let place = Place::new();
        let mut needed = HashMap::new();
        for step in steps.into_iter().chain([Step::Survey]) {
            let (repository, index) = place.open();
            let all = Catalogue::load(&repository, &index).unwrap().snapshots;
            let packs = index.packs().unwrap();
            match step {
                Step::Commit(numbers) => {
                    let id = commit(&place, &numbers);
                    needed.insert(id, needs(&place, &id));
                }
                Step::CommitBlindly(numbers) => {
                    let state = TempDir::new().unwrap();
                    let blind = Arc::new(Index::open(state.path(), repository.id()).unwrap());
                    let id = commit_with(repository, blind, &numbers);
                    needed.insert(id, needs(&place, &id));
                }
                Step::Forget(which) if !all.is_empty() => {
                    crate::catalogue::forget(&repository, &which.get(&all).id).unwrap();
                }
                Step::DropPack(which) if !packs.is_empty() => index.drop_pack(&which.get(&packs).0).unwrap(),
                Step::LosePack(which) if !packs.is_empty() => {
                    let pack = which.get(&packs).0;
                    place.store.delete(&crate::layout::pack(&pack)).unwrap();
                    index.forget_packs(&[pack]).unwrap();
                }
                Step::ForgetFrame(which) if !packs.is_empty() => {
                    index.forget_frames(&[(which.get(&packs).0, 0)]).unwrap();
                }
                Step::ForgetChunk(number) => {
                    index.forget_chunk(&repository.id_key().id(&noise(number, 3_000))).unwrap();
                }
                Step::Mark(which) if !packs.is_empty() => {
                    let (now, pack) = (Timestamp { seconds: 1_000, nanos: 0 }, which.get(&packs).0);
                    marks::put(&repository, vec![pack], Stage::Waiting, now, now, "test").unwrap();
                    index.learn_marks(&repository).unwrap();
                }
                Step::Sweep => index.sweep().unwrap(),
                Step::Rebuild => drop(index.rebuild(&repository, |_, _| ()).unwrap()),
                Step::LoseIndex => {
                    let path = index.path().to_owned();
                    drop(index);
                    remove(&path).unwrap();
                }
                Step::Survey => {
                    let reader = ChunkReader::new(&repository, &index).unwrap();
                    let mut reach = Reach::open(&index).unwrap();
                    // What is lost is no matter of this: then there is no survey.
                    if reach.update(&reader, &all, &mut no_step).unwrap().is_empty() {
                        let usage = reach.usage(&index, &all).unwrap().unwrap();
                        prop_assert_eq!(&usage, &added_up(&index, all.iter().flat_map(|stored| &needed[&stored.id]).copied().collect()));
                        prop_assert_eq!(reach.usage(&index, &all).unwrap(), Some(usage), "nothing has changed");
                    }
                }
                Step::Forget(_) | Step::DropPack(_) | Step::LosePack(_) | Step::ForgetFrame(_) | Step::Mark(_) => {}
            }
        }
    }
}

/// A place of a chunk: whether its pack is marked, the pack, the row of its frame, its offset.
type Spot = (bool, PackId, i64, u32);

/// What a snapshot needs. A host that has just come sees all that stands in the store.
fn needs(place: &Place, id: &SnapshotId) -> Vec<ChunkId> {
    let state = TempDir::new().unwrap();
    let repository = place.open().0;
    let index = Index::open(state.path(), repository.id()).unwrap();
    index.sync(&repository).unwrap();
    let all = Catalogue::load(&repository, &index).unwrap().snapshots;
    let stored = all.iter().find(|stored| stored.id == *id).unwrap();
    let (blocks, chunks) = named(&ChunkReader::new(&repository, &index).unwrap(), stored);
    blocks.into_keys().chain(chunks.into_keys()).collect()
}

/// The same from all rows at once.
fn added_up(index: &Index, needed: BTreeSet<ChunkId>) -> Usage {
    let connection = Connection::open(index.path()).unwrap();
    let marked = index.marked().unwrap();
    let mut packs: Vec<PackUse> = Vec::new();
    let mut select = connection.prepare("SELECT id, kind, size, seen FROM packs ORDER BY pack").unwrap();
    let mut rows = select.query([]).unwrap();
    while let Some(row) = rows.next().unwrap() {
        let id = crate::index::id(row, 0, PackId::from_slice).unwrap();
        packs.push(PackUse {
            id,
            kind: crate::index::kind(row, 1).unwrap(),
            size: row.get(2).unwrap(),
            dead: 0,
            is_live: false,
            is_needed: false,
            is_marked: marked.contains(&id),
            seen: row.get(3).unwrap(),
        });
    }
    let mut spots: BTreeMap<ChunkId, BTreeMap<Spot, u64>> = BTreeMap::new();
    let mut frames: BTreeMap<i64, (PackId, u64, u64, u64)> = BTreeMap::new();
    let sql = "SELECT c.id, p.id, f.frame, c.offset, c.len, f.stored, f.plain FROM chunks c JOIN frames f USING(frame) JOIN packs p USING(pack)";
    let mut select = connection.prepare(sql).unwrap();
    let mut rows = select.query([]).unwrap();
    while let Some(row) = rows.next().unwrap() {
        let pack = crate::index::id(row, 1, PackId::from_slice).unwrap();
        let frame = row.get(2).unwrap();
        let spot = (marked.contains(&pack), pack, frame, row.get(3).unwrap());
        let id = crate::index::id(row, 0, ChunkId::from_slice).unwrap();
        spots.entry(id).or_default().insert(spot, row.get(4).unwrap());
        frames.insert(frame, (pack, row.get(5).unwrap(), row.get(6).unwrap(), 0));
    }
    for (id, spots) in &spots {
        let is_needed = needed.contains(id);
        for (nth, ((_, pack, frame, _), len)) in spots.iter().enumerate() {
            let is_live = is_needed && nth == 0;
            let pack = packs.iter_mut().find(|found| found.id == *pack).unwrap();
            pack.is_live |= is_live;
            pack.is_needed |= is_needed;
            frames.get_mut(frame).unwrap().3 += if is_live { 0 } else { *len };
        }
    }
    for (pack, stored, plain, dead) in frames.into_values() {
        packs.iter_mut().find(|found| found.id == pack).unwrap().dead += stored * dead / plain;
    }
    packs.iter_mut().filter(|pack| !pack.is_live).for_each(|pack| pack.dead = pack.size);
    let missing: Vec<_> = needed.iter().filter(|id| !spots.contains_key(id)).collect();
    Usage { packs, missing: missing.first().map(|first| (**first, missing.len() as u64)) }
}

#[test]
fn which_copy_counts_changes_with_the_marks() {
    let place = Place::new();
    let ids = [commit(&place, &(0..300).collect()), {
        let (state, repository) = (TempDir::new().unwrap(), place.open().0);
        let blind = Arc::new(Index::open(state.path(), repository.id()).unwrap());
        commit_with(repository, blind, &(0..10).collect())
    }];
    let (repository, index) = place.open();
    let all = Catalogue::load(&repository, &index).unwrap().snapshots;
    let needed: BTreeSet<_> = ids.iter().flat_map(|id| needs(&place, id)).collect();
    let mut reach = Reach::open(&index).unwrap();
    reach.update(&ChunkReader::new(&repository, &index).unwrap(), &all, &mut no_step).unwrap();
    let before = reach.usage(&index, &all).unwrap().unwrap();
    assert_eq!(before, added_up(&index, needed.clone()));
    let of_data = || before.packs.iter().filter(|pack| pack.kind == PackKind::Data);
    assert!(of_data().filter(|pack| pack.dead > 0).count() == 1 && of_data().count() == 2);
    let first = of_data().map(|pack| pack.id).min().unwrap();
    let now = Timestamp { seconds: 1_000, nanos: 0 };
    marks::put(&repository, vec![first], Stage::Waiting, now, now, "test").unwrap();
    index.learn_marks(&repository).unwrap();
    let after = reach.usage(&index, &all).unwrap().unwrap();
    assert_eq!(after, added_up(&index, needed));
    let dead = |usage: &Usage| usage.packs.iter().map(|pack| (pack.id, pack.dead)).collect::<Vec<_>>();
    assert_ne!(dead(&before), dead(&after));
}

#[test]
fn what_was_lost_before_a_rebuild_is_missed_after_it() {
    let place = Place::new();
    let ids = [commit(&place, &(0..300).collect()), commit(&place, &(0..303).collect())];
    let (repository, index) = place.open();
    let all = Catalogue::load(&repository, &index).unwrap().snapshots;
    let needed: BTreeSet<_> = ids.iter().flat_map(|id| needs(&place, id)).collect();
    let mut reach = Reach::open(&index).unwrap();
    reach.update(&ChunkReader::new(&repository, &index).unwrap(), &all, &mut no_step).unwrap();
    assert_eq!(reach.usage(&index, &all).unwrap().unwrap().missing, None);
    let (pack, ..) = *index.packs().unwrap().iter().rfind(|(_, kind, _)| *kind == PackKind::Data).unwrap();
    place.store.delete(&crate::layout::pack(&pack)).unwrap();
    index.forget_packs(&[pack]).unwrap();
    index.rebuild(&repository, |_, _| ()).unwrap();
    let usage = reach.usage(&index, &all).unwrap().unwrap();
    assert_eq!(usage, added_up(&index, needed));
    assert_eq!(usage.missing.unwrap().1, 3);
}
