mod survey;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use icecore_format::manifest::ManifestWriter;
use icecore_format::pack::PackKind;
use icecore_store::Store;
use proptest::prelude::*;

use icecore_format::id::ChunkId;
use icecore_format::manifest::{BlockSource, block_links};

use super::*;
use crate::tests::{Place, entry, noise, record};
use crate::{Catalogue, Repository, Session};

/// Commits a snapshot of one file for each number; equal numbers are equal files.
fn commit(place: &Place, numbers: &BTreeSet<u64>) -> SnapshotId {
    let (repository, index) = place.open();
    commit_with(repository, index, numbers)
}

fn commit_with(repository: Arc<Repository>, index: Arc<Index>, numbers: &BTreeSet<u64>) -> SnapshotId {
    let session = Session::begin(repository, index, 3).unwrap();
    let mut writer = session.writer().unwrap();
    let mut manifest = ManifestWriter::new();
    for number in numbers {
        let bytes = noise(*number, 3_000);
        let id = writer.store(&bytes).unwrap();
        manifest.push(&entry(&format!("{number:08}"), id, bytes.len()), &mut writer).unwrap();
    }
    let root = manifest.finish(&mut writer).unwrap();
    writer.finish().unwrap();
    session.close().unwrap().commit(&record(root), &Default::default).unwrap()
}

fn no_step() -> Result<()> {
    Ok(())
}

/// Everything that a snapshot names, found by walking it whole: blocks and chunks with their lengths.
fn named(reader: &ChunkReader, stored: &Stored) -> (HashMap<ChunkId, u64>, HashMap<ChunkId, u64>) {
    let (mut blocks, mut chunks) = (HashMap::new(), HashMap::new());
    let mut open = vec![stored.snapshot.manifest.id];
    while let Some(block) = open.pop() {
        let bytes = reader.block(&block).unwrap();
        blocks.insert(block, bytes.len() as u64);
        let links = block_links(&bytes).unwrap();
        open.extend(links.blocks);
        chunks.extend(links.chunks.into_iter().map(|(id, len)| (id, u64::from(len))));
    }
    (blocks, chunks)
}

/// What only `gone` names, by sets instead of counts.
fn by_sets(reader: &ChunkReader, all: &[Stored], gone: &[&Stored]) -> (u64, u64, u64) {
    let (mut blocks, mut chunks) = (HashMap::new(), HashMap::new());
    for stored in gone {
        let (b, c) = named(reader, stored);
        blocks.extend(b);
        chunks.extend(c);
    }
    for stored in all.iter().filter(|stored| gone.iter().all(|gone| gone.id != stored.id)) {
        let (b, c) = named(reader, stored);
        blocks.retain(|id, _| !b.contains_key(id));
        chunks.retain(|id, _| !c.contains_key(id));
    }
    let bytes = blocks.values().chain(chunks.values()).sum();
    (blocks.len() as u64, chunks.len() as u64, bytes)
}

#[derive(Debug, Clone)]
enum Step {
    Commit(BTreeSet<u64>),
    Forget(prop::sample::Index),
    Ask(Vec<prop::sample::Index>),
    LoseCounts,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => prop::collection::btree_set(0..400_u64, 0..300).prop_map(Step::Commit),
        2 => any::<prop::sample::Index>().prop_map(Step::Forget),
        3 => prop::collection::vec(any::<prop::sample::Index>(), 0..4).prop_map(Step::Ask),
        1 => Just(Step::LoseCounts),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever was committed, forgotten and asked before: the counts say what the sets say.
    #[test]
    fn counts_agree_with_sets(steps in prop::collection::vec(step(), 1..14)) {
        let place = Place::new();
        for step in steps {
            let (repository, index) = place.open();
            let all = Catalogue::load(&repository, &index).unwrap().snapshots;
            match step {
                Step::Commit(numbers) => drop(commit(&place, &numbers)),
                Step::Forget(_) | Step::Ask(_) if all.is_empty() => {}
                Step::Forget(which) => crate::catalogue::forget(&repository, &which.get(&all).id).unwrap(),
                Step::LoseCounts => {
                    drop(fs::remove_file(Reach::open(&index).unwrap().path));
                }
                Step::Ask(which) => {
                    let reader = ChunkReader::new(&repository, &index).unwrap();
                    let mut reach = Reach::open(&index).unwrap();
                    prop_assert!(reach.update(&reader, &all, &mut no_step).unwrap().is_empty());
                    let gone: BTreeSet<_> = which.iter().map(|which| which.index(all.len())).collect();
                    let gone: Vec<_> = gone.into_iter().map(|at| &all[at]).collect();
                    let (freed, _) = reach.would_free(&reader, &gone, &mut no_step).unwrap();
                    prop_assert_eq!((freed.blocks, freed.chunks, freed.plain_bytes), by_sets(&reader, &all, &gone));
                    prop_assert!(freed.exact);
                    // To ask changes nothing.
                    prop_assert_eq!(reach.would_free(&reader, &gone, &mut no_step).unwrap(), (freed, Vec::new()));
                    // The same is found when only the others are counted.
                    let kept = all.iter().filter(|stored| !gone.iter().any(|gone| gone.id == stored.id));
                    prop_assert!(reach.update(&reader, kept, &mut no_step).unwrap().is_empty());
                    prop_assert_eq!(reach.needed_beside(&reader, &gone, &mut no_step).unwrap(), (freed, Vec::new()));
                }
            }
        }
    }
}

#[test]
fn a_lost_block_makes_the_answer_uncertain_until_it_is_back() {
    let place = Place::new();
    commit(&place, &(0..600).collect());
    let second = commit(&place, &(0..601).collect());
    let (repository, index) = place.open();
    let all = Catalogue::load(&repository, &index).unwrap().snapshots;
    // The pack of the first snapshot's manifest, which the second one shares for the most part.
    let packs = index.packs().unwrap();
    let (pack, ..) = packs.iter().find(|(_, kind, _)| *kind == PackKind::Manifest).unwrap();
    let key = crate::layout::pack(pack);
    let bytes = place.store.get(&key).unwrap();
    place.store.delete(&key).unwrap();

    let reader = ChunkReader::new(&repository, &index).unwrap();
    let mut reach = Reach::open(&index).unwrap();
    let damaged = reach.update(&reader, &all, &mut no_step).unwrap();
    assert!(!damaged.is_empty());
    let gone: Vec<_> = all.iter().filter(|stored| stored.id == second).collect();
    assert!(!reach.would_free(&reader, &gone, &mut no_step).unwrap().0.exact);

    place.store.put(&key, &[&bytes]).unwrap();
    let reader = ChunkReader::new(&repository, &index).unwrap();
    assert!(reach.update(&reader, &all, &mut no_step).unwrap().is_empty());
    let (freed, _) = reach.would_free(&reader, &gone, &mut no_step).unwrap();
    assert_eq!((freed.blocks, freed.chunks, freed.plain_bytes), by_sets(&reader, &all, &gone));
    assert!(freed.exact && freed.chunks == 1);
}

#[test]
fn counts_that_cannot_be_taken_back_are_made_anew() {
    let place = Place::new();
    let first = commit(&place, &(0..300).collect());
    let (repository, index) = place.open();
    let first_packs: BTreeSet<_> = index.packs().unwrap().into_iter().map(|(id, ..)| id).collect();
    commit(&place, &(1_000..1_300).collect());
    let all = Catalogue::load(&repository, &index).unwrap().snapshots;
    let mut reach = Reach::open(&index).unwrap();
    reach.update(&ChunkReader::new(&repository, &index).unwrap(), &all, &mut no_step).unwrap();

    // Another host forgot the first snapshot and pruned what it held before this host counted again.
    crate::catalogue::forget(&repository, &first).unwrap();
    for pack in first_packs {
        place.store.delete(&crate::layout::pack(&pack)).unwrap();
        index.drop_pack(&pack).unwrap();
    }
    let left = Catalogue::load(&repository, &index).unwrap().snapshots;
    let reader = ChunkReader::new(&repository, &index).unwrap();
    assert!(reach.update(&reader, &left, &mut no_step).unwrap().is_empty());
    let gone: Vec<_> = left.iter().collect();
    let (freed, _) = reach.would_free(&reader, &gone, &mut no_step).unwrap();
    assert_eq!((freed.blocks, freed.chunks, freed.plain_bytes), by_sets(&reader, &left, &gone));
    assert_eq!(freed.chunks, 300);
}

#[test]
fn counts_that_are_held_stay_whatever_others_count() {
    let place = Place::new();
    commit(&place, &(0..300).collect());
    commit(&place, &(200..500).collect());
    let (repository, index) = place.open();
    let all = Catalogue::load(&repository, &index).unwrap().snapshots;
    let reader = ChunkReader::new(&repository, &index).unwrap();
    let (mut reach, mut other) = (Reach::open(&index).unwrap(), Reach::open(&index).unwrap());
    reach.update(&reader, &all, &mut no_step).unwrap();
    other.update(&reader, &all[..1], &mut no_step).unwrap();
    assert!(!reach.hold(&all).unwrap(), "somebody was faster");
    reach.update(&reader, &all, &mut no_step).unwrap();
    let usage = reach.usage(&index, &all).unwrap().unwrap();
    assert!(reach.hold(&all).unwrap());
    let is_held = || {
        let lookup = Connection::open(index.path()).unwrap();
        lookup.busy_timeout(std::time::Duration::ZERO).unwrap();
        lookup.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, bool>(0)).unwrap()
    };
    index.meet_packs(7).unwrap();
    assert!(!is_held(), "the counts alone are");
    other.update(&reader, &[], &mut no_step).unwrap();
    assert!(reach.is_needed(&all[1].snapshot.manifest.id).unwrap());
    assert_eq!((usage.missing, reach.usage(&index, &all).unwrap()), (None, None), "others counted for other snapshots");
    assert!(!other.is_needed(&all[1].snapshot.manifest.id).unwrap());
}
