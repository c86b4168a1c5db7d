//! Few fragments, whatever happens: their number over years, what merging costs, what a new host reads.

mod reading;

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use icecore_format::frame::{Encoding, FrameChunk};
use icecore_format::id::ChunkId;
use icecore_format::keys::{Role, Secret};
use icecore_format::pack::{FrameInfo, PackKind};
use icecore_format::seal::Entropy;
use icecore_store::error::Operation;
use icecore_store::{MemoryStore, Store};
use icecore_testkit::Recording;
use icecore_testkit::small_repository::{secret, small_repository};
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::index::{Location, publish};
use crate::marks::SKEW;
use crate::{check, slots};

const NIGHT: i64 = 24 * 3600;

fn at(seconds: i64) -> Timestamp {
    Timestamp { seconds: 1_700_000_000 + seconds, nanos: 7 }
}

type TestStore = Recording<MemoryStore>;

/// A host that knows a repository.
struct Host {
    repository: Arc<Repository>,
    index: Arc<Index>,
    _state: TempDir,
}

impl Host {
    fn open(store: &Arc<TestStore>, secret: &Secret, now: Timestamp) -> Self {
        let state = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let repository = Arc::new(Repository::open(store.clone(), secret).unwrap());
        let index = Arc::new(Index::open(state.path(), repository.id()).unwrap());
        index.sync_at(&repository, now).unwrap();
        Self { repository, index, _state: state }
    }

    /// A night whose session stored a pack of so many chunks.
    fn night(&self, pack: PackInfo, now: Timestamp) -> u64 {
        self.index.sync_at(&self.repository, now).unwrap();
        publish(&self.index, &self.repository, &[pack]).unwrap();
        tidy(&self.repository, &self.index, &|| now).unwrap()
    }

    /// Everything that the index says of some chunks.
    fn says(&self, chunks: &[ChunkId]) -> Vec<Vec<Location>> {
        let lookup = self.index.lookup().unwrap();
        let sorted = |chunk| {
            let mut places = lookup.locate(chunk).unwrap();
            places.sort_by_key(|place| (place.frame, place.offset));
            places
        };
        chunks.iter().map(sorted).collect()
    }
}

fn store() -> Arc<TestStore> {
    let store = Arc::new(Recording::new(MemoryStore::new()));
    small_repository(&*store, &secret(1));
    store
}

fn hash(seed: u64) -> [u8; 32] {
    *blake3::hash(&seed.to_le_bytes()).as_bytes()
}

fn chunk(seed: u64, number: u64) -> ChunkId {
    ChunkId::from_slice(&hash(seed << 32 | number)[..20]).unwrap()
}

/// A description of a pack of 64 chunks to a frame.
fn pack(seed: u64, chunks: u64) -> PackInfo {
    let chunks: Vec<_> = (0..chunks).map(|number| FrameChunk { id: chunk(seed, number), len: 5000 }).collect();
    let frames = chunks.chunks(64).map(|chunks| {
        let plain_len = 5000 * chunks.len() as u32;
        FrameInfo { encoding: Encoding::Raw, plain_len, stored_len: plain_len + 16, chunks: chunks.to_vec() }
    });
    let mut info =
        PackInfo { id: PackId::from_bytes(hash(seed)), kind: PackKind::Data, size: 0, frames: frames.collect() };
    info.size = info.footer_offset() + 100;
    info
}

fn standing(store: &TestStore) -> Vec<(FragmentId, u64)> {
    let mut found = Vec::new();
    store
        .list(layout::FRAGMENTS, &mut |listed| {
            found.push((layout::id_of(&listed.key).unwrap(), listed.size));
            Ok(())
        })
        .unwrap();
    found
}

fn damage(store: &TestStore, id: &FragmentId) {
    let key = layout::fragment(id);
    let mut bytes = store.get(&key).unwrap();
    bytes[60] ^= 1;
    store.delete(&key).unwrap();
    store.put(&key, &[&bytes]).unwrap();
}

#[test]
fn a_thousand_nights_of_three_hosts_leave_few_fragments_that_say_everything() {
    let store = store();
    let hosts = [0, 1, 2].map(|_| Host::open(&store, &secret(1), at(0)));
    let (mut first_bytes, mut most, mut sample) = (0, 0, Vec::new());
    for night in 0..1000_u64 {
        let dice = u64::from_le_bytes(hash(1 << 60 | night)[..8].try_into().unwrap());
        // Most nights are small; some bring a great deal.
        let chunks = if dice % 40 == 0 { 1500 + dice % 6000 } else { 1 + dice % 200 };
        let host = &hosts[(dice >> 32) as usize % 3];
        store.take();
        let now = at(night as i64 * NIGHT + (dice % 7) as i64 * SKEW);
        host.night(pack(night, chunks), now);
        sample.extend((0..chunks.min(3)).map(|number| chunk(night, number)));
        let new = store.calls().iter().find(|call| call.operation == Operation::Put).unwrap().bytes;
        first_bytes += new;
        most = most.max(standing(&store).len());
    }
    let all = standing(&store);
    let bytes: u64 = all.iter().map(|(_, size)| size).sum();
    // Three tiers of at most seven, one of large ones, and what was replaced last.
    assert!(most <= 64 && all.len() <= 40 + (first_bytes / FULL) as usize, "{most}, {}", all.len());
    assert!(bytes < first_bytes * 2, "{bytes} of {first_bytes}");
    hosts[0].index.sync_at(&hosts[0].repository, at(1001 * NIGHT)).unwrap();
    store.take();
    let fresh = Host::open(&store, &secret(1), at(1001 * NIGHT));
    let reads = store.sum(Operation::Get, "index/").0;
    assert!(reads <= hosts[0].index.fragments().unwrap().len() + 2, "{reads} reads");
    assert_eq!(fresh.index.fragments().unwrap(), hosts[0].index.fragments().unwrap());
    assert_eq!(fresh.index.totals().unwrap(), hosts[0].index.totals().unwrap());
    assert_eq!(fresh.says(&sample), hosts[0].says(&sample));
    assert!(fresh.says(&sample).iter().all(|places| places.len() == 1));
    let packs: BTreeSet<_> = fresh.index.packs().unwrap().into_iter().map(|(id, ..)| id).collect();
    assert_eq!(packs.len(), 1000);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Many more nights, by the plan alone.
    #[test]
    fn tiers_stay_few_and_every_byte_is_written_a_few_times(
        sizes in prop::collection::vec(prop_oneof![400_u64..2000, 2000_u64..200_000, 100_000_u64..20_000_000], 1..40),
        nights in 1_usize..2000,
    ) {
        let (mut fragments, mut next, mut put, mut written) = (Vec::new(), 0_u64, 0_u64, 0_u64);
        let mut add = |fragments: &mut Vec<(FragmentId, u64)>, size| {
            next += 1;
            fragments.push((FragmentId::from_bytes(hash(next)), size));
        };
        for night in 0..nights {
            let size = sizes[night % sizes.len()];
            add(&mut fragments, size);
            put += size;
            for group in plan(fragments.clone()) {
                let merged: u64 = fragments.iter().filter(|(id, _)| group.contains(id)).map(|(_, size)| size).sum();
                prop_assert!(merged <= 2 * FULL && group.len() > 1);
                fragments.retain(|(id, _)| !group.contains(id));
                add(&mut fragments, merged);
                written += merged;
            }
            prop_assert!(fragments.len() as u64 <= 4 * 7 + 1 + put / FULL);
        }
        // Once in each of four tiers; in the lowest, which has no least size, a few times more.
        let often = written as f64 / put as f64;
        prop_assert!(often <= 4.0 + 16.0, "{often} times");
    }
}

#[test]
fn what_is_replaced_stays_until_no_listing_can_miss_both() {
    let store = store();
    let host = Host::open(&store, &secret(1), at(0));
    let merged: u64 = (0..8).map(|seed| host.night(pack(seed, 10), at(0))).sum();
    assert_eq!((merged, standing(&store).len(), host.index.fragments().unwrap().len()), (8, 9, 1));
    for (seconds, left) in [(SETTLED - 1, 9), (SETTLED, 1)] {
        tidy(&host.repository, &host.index, &|| at(seconds)).unwrap();
        assert_eq!(standing(&store).len(), left, "after {seconds} s");
    }
    assert_eq!(Host::open(&store, &secret(1), at(NIGHT)).index.packs().unwrap().len(), 8);
}

#[test]
fn a_new_host_reads_nothing_that_is_replaced() {
    let store = store();
    let host = Host::open(&store, &secret(1), at(0));
    (0..9).for_each(|seed| _ = host.night(pack(seed, 10), at(0)));
    store.take();
    let fresh = Host::open(&store, &secret(1), at(1));
    assert_eq!((standing(&store).len(), store.sum(Operation::Get, "index/").0), (10, 2));
    assert_eq!(fresh.index.packs().unwrap().len(), 9);
    // Nor does it later, and it deletes them as well as any other.
    store.take();
    fresh.index.sync_at(&fresh.repository, at(2)).unwrap();
    assert_eq!(store.sum(Operation::Get, "index/").0, 0);
    tidy(&fresh.repository, &fresh.index, &|| at(NIGHT)).unwrap();
    assert_eq!(standing(&store).len(), 2);
    host.index.sync_at(&host.repository, at(NIGHT)).unwrap();
    assert_eq!(host.index.fragments().unwrap(), fresh.index.fragments().unwrap());
}

#[test]
fn what_two_hosts_merge_at_once_is_one_again_later() {
    let store = store();
    let (a, b) = (Host::open(&store, &secret(1), at(0)), Host::open(&store, &secret(1), at(0)));
    (0..7).for_each(|seed| _ = a.night(pack(seed, 10), at(0)));
    publish(&a.index, &a.repository, &[pack(7, 10)]).unwrap();
    let group: Vec<_> = standing(&store).into_iter().map(|(id, _)| id).collect();
    for host in [&a, &b] {
        host.index.sync_at(&host.repository, at(0)).unwrap();
    }
    for host in [&a, &b] {
        assert_eq!(merge(&host.repository, &host.index, &group, at(0), &|| at(1)).unwrap(), Some(8));
    }
    tidy(&a.repository, &a.index, &|| at(NIGHT)).unwrap();
    a.index.sync_at(&a.repository, at(NIGHT)).unwrap();
    assert_eq!((standing(&store).len(), a.index.packs().unwrap().len()), (2, 8));
    (10..17).for_each(|seed| _ = b.night(pack(seed, 10), at(NIGHT)));
    tidy(&b.repository, &b.index, &|| at(2 * NIGHT)).unwrap();
    let fresh = Host::open(&store, &secret(1), at(2 * NIGHT));
    assert!(standing(&store).len() <= 2, "{}", standing(&store).len());
    assert_eq!(fresh.index.packs().unwrap().len(), 15);
}

#[test]
fn old_knowledge_is_not_said_again() {
    let store = store();
    let host = Host::open(&store, &secret(1), at(0));
    (0..7).for_each(|seed| _ = host.night(pack(seed, 10), at(0)));
    let group: Vec<_> = standing(&store).into_iter().map(|(id, _)| id).collect();
    for (known, now, expected) in [(0, SKEW + 1, None), (5, 4, None), (0, SKEW, Some(7))] {
        assert_eq!(merge(&host.repository, &host.index, &group, at(known), &|| at(now)).unwrap(), expected);
    }
}

#[test]
fn a_damaged_fragment_is_left_to_repair_and_a_damaged_merged_one_keeps_what_it_replaced() {
    let store = store();
    let host = Host::open(&store, &secret(1), at(0));
    (0..7).for_each(|seed| _ = host.night(pack(seed, 10), at(0)));
    let hurt = standing(&store)[0].0;
    damage(&store, &hurt);
    assert_eq!(host.night(pack(7, 10), at(0)), 7);
    host.night(pack(8, 10), at(NIGHT));
    assert!(standing(&store).iter().any(|(id, _)| *id == hurt), "only a repair may take it away");
    assert_eq!(Host::open(&store, &secret(1), at(NIGHT)).index.packs().unwrap().len(), 8);

    let store = self::store();
    let host = Host::open(&store, &secret(1), at(0));
    (0..8).for_each(|seed| _ = host.night(pack(seed, 10), at(0)));
    let merged = *host.index.fragments().unwrap().iter().next().unwrap();
    damage(&store, &merged);
    let error = retire(&host.repository, &host.index, at(NIGHT)).unwrap_err();
    assert!(matches!(error, Error::Damaged { .. }) && standing(&store).len() == 9, "{error}");
    assert_eq!(Host::open(&store, &secret(1), at(NIGHT)).index.packs().unwrap().len(), 8);
    // The other way round: nobody needs what is replaced.
    let all = check_fragments(&host);
    assert!(all.len() == 1 && all[0].contains(&merged.to_string()), "{all:?}");
}

/// The fragments that a check finds wrong.
fn check_fragments(host: &Host) -> Vec<String> {
    let options = check::CheckOptions { read_percent: 0, until: None, now: at(0), threads: 1 };
    let report = check::check(&host.repository, &host.index, options, &|_| Ok(())).unwrap();
    let findings = report.findings.into_iter().map(|finding| finding.object);
    findings.filter(|object| object.starts_with(layout::FRAGMENTS)).collect()
}

#[test]
fn a_damaged_fragment_that_is_replaced_is_no_finding() {
    let store = store();
    let host = Host::open(&store, &secret(1), at(0));
    (0..8).for_each(|seed| _ = host.night(pack(seed, 10), at(0)));
    let live = host.index.fragments().unwrap();
    let hurt = standing(&store).into_iter().find(|(id, _)| !live.contains(id)).unwrap().0;
    damage(&store, &hurt);
    assert!(check_fragments(&host).is_empty());
    let synced = Host::open(&store, &secret(1), at(0)).index.sync(&host.repository).unwrap();
    assert!(synced.damaged.is_empty(), "{synced:?}");
}

/// What an older program wrote about replacing others counts for nothing.
#[test]
fn a_fragment_without_a_time_replaces_nothing() {
    let store = store();
    let host = Host::open(&store, &secret(1), at(0));
    (0..2).for_each(|seed| _ = host.night(pack(seed, 10), at(0)));
    let supersedes = standing(&store).into_iter().map(|(id, _)| id).collect();
    index::put(&host.index, &host.repository, &Fragment { packs: vec![pack(0, 10)], supersedes, made: None }).unwrap();
    let fresh = Host::open(&store, &secret(1), at(0));
    for host in [&host, &fresh] {
        tidy(&host.repository, &host.index, &|| at(NIGHT)).unwrap();
        assert_eq!((standing(&store).len(), host.index.packs().unwrap().len()), (3, 2));
    }
}

/// Who cannot read fragments must not take its own packs for lost because others merged what named them.
#[test]
fn a_writer_keeps_what_it_knows_when_others_merge() {
    let store = store();
    let host = Host::open(&store, &secret(1), at(0));
    let password = Secret::generate(Entropy([9; 32]));
    slots::add(&host.repository, Role::Writer, &password, "writer", at(0)).unwrap();
    let writer = Host::open(&store, &password, at(0));
    let infos: Vec<_> = (0..8).map(|seed| pack(seed, 10)).collect();
    for info in &infos {
        // As it stands in the store, as far as its size goes.
        store.put(&layout::pack(&info.id), &[&vec![0; info.size as usize]]).unwrap();
        writer.night(info.clone(), at(0));
    }
    assert_eq!(standing(&store).len(), 8, "it merges nothing itself");
    tidy(&host.repository, &host.index, &|| at(1)).unwrap();
    host.index.sync_at(&host.repository, at(1)).unwrap();
    tidy(&host.repository, &host.index, &|| at(1)).unwrap();
    tidy(&host.repository, &host.index, &|| at(NIGHT)).unwrap();
    assert_eq!(standing(&store).len(), 1);
    assert_eq!(writer.index.sync_at(&writer.repository, at(NIGHT)).unwrap().dropped, 0);
    assert_eq!(writer.index.packs().unwrap().len(), 8);
    assert!(writer.index.unpublished(&writer.repository).unwrap().is_empty(), "nothing is published twice");
    // What really went is known.
    store.delete(&layout::pack(&infos[3].id)).unwrap();
    assert_eq!(writer.index.sync_at(&writer.repository, at(NIGHT)).unwrap().dropped, 1);
    let left: HashSet<_> = writer.index.packs().unwrap().into_iter().map(|(id, ..)| id).collect();
    assert!(left.len() == 7 && !left.contains(&infos[3].id));
}
