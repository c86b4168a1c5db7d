//! What annotations come to: tags, proofs, and their end with the snapshot.

use icecore_format::annotation::{ProofVerdict, TagChange};
use icecore_store::Store;

use super::*;
use crate::catalogue;
use crate::check::{CheckOptions, check};
use crate::prune::{PruneOptions, prune};
use crate::tests::{Place, commit};

fn at(seconds: i64) -> Timestamp {
    Timestamp { seconds: 1_700_000_000 + seconds, nanos: 0 }
}

fn tag(snapshot: SnapshotId, seconds: i64, add: &[&str], remove: &[&str]) -> Annotation {
    let own = |tags: &[&str]| tags.iter().map(|tag| (*tag).to_owned()).collect();
    let tags = Some(TagChange { clear: false, remove: own(remove), add: own(add) });
    Annotation { snapshot, at: at(seconds), host: "host".into(), user: "user".into(), tags, proof: None }
}

fn proof(snapshot: SnapshotId, seconds: i64, verdict: ProofVerdict) -> Annotation {
    let proof = Proof { began: at(seconds), verdict, seconds: 60, message: "gfix".into(), test_seconds: None };
    Annotation { tags: None, proof: Some(proof), ..tag(snapshot, seconds + 60, &[], &[]) }
}

fn load(repository: &Repository, index: &Index) -> Catalogue {
    let annotations = Annotations::load(repository, index).unwrap();
    let mut catalogue = Catalogue::load(repository, index).unwrap();
    annotations.apply(&mut catalogue);
    catalogue
}

fn count(place: &Place) -> usize {
    let mut count = 0;
    place
        .store
        .list(layout::ANNOTATIONS, &mut |_| {
            count += 1;
            Ok(())
        })
        .unwrap();
    count
}

#[test]
fn tags_come_and_go_in_the_order_of_time_and_the_last_proof_counts() {
    let place = Place::new();
    commit(&place, 0, 10);
    let (repository, index) = place.open();
    let id = Catalogue::load(&repository, &index).unwrap().snapshots[0].id;
    for annotation in [
        tag(id, 30, &["c"], &["a"]),
        tag(id, 10, &["a", "b"], &[]),
        proof(id, 100, ProofVerdict::Failed),
        proof(id, 200, ProofVerdict::Ok),
        tag(SnapshotId::from_bytes([9; 32]), 40, &["of nobody"], &[]),
    ] {
        put(&repository, &annotation).unwrap();
    }
    // Once from the store, once through the index, once with a new index.
    for index in [&index, &index, &place.open().1] {
        let stored = load(&repository, index).snapshots.remove(0);
        assert_eq!(stored.snapshot.tags, ["b", "c"]);
        let (proof, host) = stored.notes.proof.unwrap();
        assert_eq!((proof.verdict, host.as_str(), stored.notes.latest), (ProofVerdict::Ok, "host", Some(at(260))));
    }
    let nothing = Annotation { tags: None, ..tag(id, 0, &[], &[]) };
    assert!(matches!(put(&repository, &nothing), Err(Error::Refused(_))));
}

#[test]
fn a_prune_takes_the_annotations_of_forgotten_snapshots_along_and_no_others() {
    let place = Place::new();
    commit(&place, 0, 10);
    commit(&place, 10, 10);
    let (repository, index) = place.open();
    let ids: Vec<_> = Catalogue::load(&repository, &index).unwrap().snapshots.iter().map(|stored| stored.id).collect();
    for id in &ids {
        put(&repository, &tag(*id, 0, &["kept"], &[])).unwrap();
    }
    let options = PruneOptions::new("host");
    prune(&repository, &index, &options, &|| at(0), &mut |_| Ok(())).unwrap();
    assert_eq!(count(&place), 2);
    catalogue::forget(&repository, &ids[0]).unwrap();
    prune(&repository, &index, &options, &|| at(1), &mut |_| Ok(())).unwrap();
    assert_eq!(count(&place), 1);
    let left = load(&repository, &index);
    assert_eq!((left.snapshots[0].id, left.snapshots[0].snapshot.tags.as_slice()), (ids[1], &["kept".to_owned()][..]));
}

#[test]
fn a_damaged_annotation_is_told_and_costs_its_tags_alone() {
    let place = Place::new();
    commit(&place, 0, 10);
    let (repository, index) = place.open();
    let id = Catalogue::load(&repository, &index).unwrap().snapshots[0].id;
    put(&repository, &tag(id, 0, &["a"], &[])).unwrap();
    let key = layout::annotation(&put(&repository, &tag(id, 1, &["b"], &[])).unwrap());
    let mut bytes = place.store.get(&key).unwrap();
    bytes[60] ^= 1;
    place.store.delete(&key).unwrap();
    place.store.put(&key, &[&bytes]).unwrap();
    let read = load(&repository, &index);
    assert_eq!((read.snapshots[0].snapshot.tags.as_slice(), read.unclear.len()), (&["a".to_owned()][..], 1));
    let options = CheckOptions { read_percent: 0, until: None, now: at(0), threads: 1 };
    let report = check(&repository, &index, options, &|_| Ok(())).unwrap();
    let [finding] = &report.findings[..] else { panic!("{:?}", report.findings) };
    assert_eq!((finding.invariant, finding.object.as_str()), ("I1", key.as_str()));
    // It names nothing that is needed, so a prune goes on.
    prune(&repository, &index, &PruneOptions::new("host"), &|| at(1), &mut |_| Ok(())).unwrap();
}
