//! What an index keeps and forgets beside prunes, rebuilds and damage.

use std::cell::Cell;
use std::sync::Arc;

use icecore_format::entry::Timestamp;
use icecore_format::fragment::Fragment;
use icecore_format::id::{ChunkId, PackId, SnapshotId};
use icecore_format::keys::{Role, Secret};
use icecore_format::manifest::ManifestWriter;
use icecore_format::mark::Stage;
use icecore_format::pack::PackKind;
use icecore_format::seal::Entropy;
use icecore_store::{Key, Store};
use tempfile::TempDir;

use super::*;
use crate::prune::{MaxUnused, PruneOptions, PruneReport, prune};
use crate::repository::Repository;
use crate::session::Session;
use crate::tests::{Place, commit, entry, record};
use crate::{Catalogue, catalogue, layout, marks, objects, slots};

const HOUR: i64 = 3600;

fn at(seconds: i64) -> Timestamp {
    Timestamp { seconds: 1_700_000_000 + seconds, nanos: 0 }
}

fn data_pack(index: &Index) -> PackId {
    index.packs().unwrap().into_iter().find(|(_, kind, _)| *kind == PackKind::Data).unwrap().0
}

fn has(index: &Index, chunk: &ChunkId) -> bool {
    index.lookup().unwrap().contains(chunk).unwrap()
}

fn flip(place: &Place, key: &Key) {
    let mut bytes = place.store.get(key).unwrap();
    bytes[60] ^= 1;
    place.store.delete(key).unwrap();
    place.store.put(key, &[&bytes]).unwrap();
}

#[test]
fn marks_outlive_a_rebuild_at_every_moment() {
    let place = Place::new();
    let stored = commit(&place, 0, 10);
    let (repository, index) = place.open();
    marks::put(&repository, vec![data_pack(&index)], Stage::Waiting, at(0), at(HOUR), "host").unwrap();
    index.learn_marks(&repository).unwrap();
    // What another process of this host does while this one has come so far.
    index.clear(&repository).unwrap();
    index.sync(&repository).unwrap();
    assert!(!index.is_empty().unwrap() && !has(&index, &stored[0].0));
}

#[test]
fn a_lost_pack_stays_lost_until_a_rebuild_sees_it() {
    let place = Place::new();
    let stored = commit(&place, 0, 10);
    let (repository, index) = place.open();
    let pack = data_pack(&index);
    let key = layout::pack(&pack);
    let bytes = place.store.get(&key).unwrap();
    place.store.delete(&key).unwrap();
    index.drop_pack(&pack).unwrap();
    // Another host writes the fragment anew, with another pack.
    let name = layout::id_of(&place.keys("index")[0]).unwrap();
    let packs = read_fragment(&repository, &name).unwrap().packs;
    let fragment = Fragment { packs, supersedes: vec![name], made: None };
    let (anew, size) = objects::put_fragment(&repository, &fragment.encode()).unwrap();
    index.sync(&repository).unwrap();
    index.insert_fragment(&anew, size, &fragment).unwrap();
    assert!(!has(&index, &stored[0].0));
    index.clear(&repository).unwrap();
    index.sync(&repository).unwrap();
    assert!(!has(&index, &stored[0].0) && index.dropped().unwrap().contains(&pack));
    // It is put back: everything is as it was, also which fragments name it.
    place.store.put(&key, &[&bytes]).unwrap();
    let rebuilt = index.rebuild(&repository, |_, _| ()).unwrap();
    assert_eq!((rebuilt.adopted, rebuilt.missing.len()), (0, 0));
    assert!(has(&index, &stored[0].0) && index.dropped().unwrap().is_empty());
    assert_eq!(index.fragments_of(&[pack].into()).unwrap().len(), 2);
}

#[test]
fn a_rebuild_keeps_the_only_copy_of_a_record() {
    let place = Place::new();
    commit(&place, 0, 10);
    let (repository, index) = place.open();
    flip(&place, &place.keys("snapshots")[0]);
    index.rebuild(&repository, |_, _| ()).unwrap();
    assert_eq!(Catalogue::load(&repository, &index).unwrap().snapshots.len(), 1);
    assert_eq!(index.cached_snapshots().unwrap().len(), 1);
}

fn prune_at(place: &Place, now: Timestamp) -> Result<PruneReport> {
    let (repository, index) = place.open();
    let options = PruneOptions { max_unused: MaxUnused::Bytes(0), ..PruneOptions::new("host") };
    prune(&repository, &index, &options, &|| now, &mut |_| Ok(()))
}

#[test]
fn nobody_deletes_by_a_mark_that_others_cannot_read() {
    for how in 0..2 {
        let place = Place::new();
        commit(&place, 0, 10);
        let (repository, _) = place.open();
        catalogue::forget(&repository, &layout::id_of(&place.keys("snapshots")[0]).unwrap()).unwrap();
        commit(&place, 100, 10);
        let marked = prune_at(&place, at(0)).unwrap().marked;
        let packs = place.keys("packs");
        assert!(marked > 0);
        for mark in place.keys(layout::MARKS) {
            match how {
                0 => flip(&place, &mark),
                _ => place.store.delete(&mark).unwrap(),
            }
        }
        let pruned = prune_at(&place, at(30 * HOUR));
        match how {
            0 => assert!(pruned.unwrap_err().to_string().contains("nothing was deleted")),
            _ => assert_eq!(pruned.unwrap().deleted, 0),
        }
        assert_eq!(place.keys("packs"), packs);
    }
}

/// Commits a snapshot by a key that can only write. A mark is put when the commit looks at the clock for the `late`-th time; from then
/// on the clock says that what the session knows is old.
fn commit_blindly(place: &Place, late: u32) -> Result<SnapshotId> {
    let (repository, index) = place.open();
    let secret = Secret::generate(Entropy([9; 32]));
    slots::add(&repository, Role::Writer, &secret, "writer", at(0)).unwrap();
    let writer = Arc::new(Repository::open(place.store.clone(), &secret).unwrap());
    let state = TempDir::new().unwrap();
    let own = Arc::new(Index::open(state.path(), writer.id()).unwrap());
    own.sync_at(&writer, at(0)).unwrap();
    let session = Session::begin(writer, own, 1).unwrap();
    let (mut chunks, mut manifest) = (session.writer().unwrap(), ManifestWriter::new());
    let id = chunks.store(b"content").unwrap();
    manifest.push(&entry("file", id, 7), &mut chunks).unwrap();
    let root = manifest.finish(&mut chunks).unwrap();
    chunks.finish().unwrap();
    let closed = session.close().unwrap();
    let looks = Cell::new(0);
    let clock = || {
        looks.set(looks.get() + 1);
        if looks.get() == late {
            marks::put(&repository, vec![data_pack(&index)], Stage::Waiting, at(0), at(HOUR), "host").unwrap();
        }
        at(if looks.get() < late { 1 } else { 3 * HOUR })
    };
    closed.commit(&record(root), &clock)
}

#[test]
fn who_cannot_read_marks_does_not_commit_beside_them_whenever_they_come() {
    for late in [1, 2] {
        let place = Place::new();
        commit(&place, 0, 10);
        let refused = commit_blindly(&place, late).unwrap_err();
        assert!(matches!(refused, Error::MarksClosed), "{late}: {refused}");
        assert_eq!(place.keys("snapshots").len(), 1);
    }
}

#[test]
fn a_lost_pack_is_known_until_no_fragment_names_it() {
    let place = Place::new();
    commit(&place, 0, 10);
    commit(&place, 100, 10);
    let (repository, index) = place.open();
    let pack = data_pack(&index);
    place.store.delete(&layout::pack(&pack)).unwrap();
    index.drop_pack(&pack).unwrap();
    assert_eq!(index.lost(&repository).unwrap(), [pack].into());
    // Somebody writes the fragment anew without it.
    let [old] = index.fragments_of(&[pack].into()).unwrap().into_iter().collect::<Vec<_>>()[..] else { panic!() };
    let mut packs = read_fragment(&repository, &old).unwrap().packs;
    packs.retain(|info| info.id != pack);
    objects::put_fragment(&repository, &Fragment::of(packs).encode()).unwrap();
    place.store.delete(&layout::fragment(&old)).unwrap();
    index.sync(&repository).unwrap();
    assert!(index.dropped().unwrap().contains(&pack), "a listing may have missed what names it now");
    index.sync(&repository).unwrap();
    assert!(index.dropped().unwrap().is_empty());
}

#[test]
fn marks_of_a_pack_that_was_lost_do_not_stay_for_ever() {
    let place = Place::new();
    commit(&place, 0, 10);
    let (repository, index) = place.open();
    let pack = data_pack(&index);
    catalogue::forget(&repository, &layout::id_of(&place.keys("snapshots")[0]).unwrap()).unwrap();
    assert!(prune_at(&place, at(0)).unwrap().marked > 0);
    place.store.delete(&layout::pack(&pack)).unwrap();
    index.drop_pack(&pack).unwrap();
    for hours in [30, 40, 50, 60] {
        prune_at(&place, at(hours * HOUR)).unwrap();
    }
    assert!(place.keys("gc").is_empty() && place.keys("packs").is_empty());
    // What says that they are gone, in place of the fragments that named them.
    for key in place.keys("index") {
        assert!(read_fragment(&repository, &layout::id_of(&key).unwrap()).unwrap().packs.is_empty());
    }
    assert!(index.dropped().unwrap().is_empty());
}
