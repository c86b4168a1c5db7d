//! Indexes that know too much or something else: of before a prune, of a month ago, of another repository.

use super::crash::copy_state;
use super::*;

#[test]
fn an_index_from_before_a_prune_relies_on_nothing_that_went() {
    let place = Place::new();
    let host = place.host("a", at(0));
    let old = host.back_up("a", &(0..20).collect(), &|| at(0)).unwrap();
    let kept = host.back_up("b", &(30..40).collect(), &|| at(0)).unwrap();
    drop(host);
    copy_state(&place.room.path().join("a"), &place.room.path().join("stale"));
    copy_state(&place.room.path().join("a"), &place.room.path().join("month"));
    let host = place.host("a", at(1));
    catalogue::forget(&host.repository, &old).unwrap();
    assert!(host.prune(&options(), at(1)).unwrap().marked > 0);
    // Marked: the stale index still has it all, and relies on none of it.
    let stale = place.host("stale", at(2));
    let again = stale.back_up("stale", &(0..20).collect(), &|| at(2)).unwrap();
    assert!(host.prune(&options(), at(25 * HOUR)).unwrap().deleted > 0);
    place.host("fresh", at(0)).restores(&again).unwrap();
    stale.index.sync(&stale.repository).unwrap();
    stale.restores(&again).unwrap();
    // Deleted a month ago.
    for days in [3, 30] {
        host.prune(&options(), at(days * 24 * HOUR)).unwrap();
    }
    let month = place.host("month", at(31 * 24 * HOUR));
    let last = month.back_up("month", &(0..40).collect(), &|| at(31 * 24 * HOUR)).unwrap();
    let fresh = place.host("fresh", at(0));
    [&kept, &again, &last].into_iter().for_each(|snapshot| fresh.restores(snapshot).unwrap());
}

#[test]
fn an_index_that_was_opened_before_a_prune_and_is_used_a_day_later_renews_what_it_knows() {
    let place = Place::new();
    let host = place.host("a", at(0));
    let old = host.back_up("a", &(0..20).collect(), &|| at(0)).unwrap();
    host.back_up("b", &(30..40).collect(), &|| at(0)).unwrap();
    let sleeper = place.host("sleeper", at(1));
    let session = Session::begin(sleeper.repository.clone(), sleeper.index.clone(), 1).unwrap();
    let mut writer = session.writer().unwrap();
    let mut manifest = ManifestWriter::new();
    let id = writer.store(&noise(3, FILE)).unwrap();
    manifest.push(&entry("file", id, FILE), &mut writer).unwrap();
    let root = manifest.finish(&mut writer).unwrap();
    writer.finish().unwrap();
    let closed = session.close().unwrap();
    catalogue::forget(&host.repository, &old).unwrap();
    for hours in [1, 26, 60, 70] {
        host.prune(&options(), at(hours * HOUR)).unwrap();
    }
    assert!(keys(&place.store, "gc").is_empty(), "not even a mark tells of it any more");
    let refused = closed.commit(&record(root), &|| at(70 * HOUR)).unwrap_err();
    assert!(matches!(refused, Error::Overtaken { .. }), "{refused}");
    assert_eq!(Catalogue::load(&host.repository, &host.index).unwrap().snapshots.len(), 1);
    let again = sleeper.back_up("sleeper", &(0..5).collect(), &|| at(70 * HOUR)).unwrap();
    place.host("fresh", at(0)).restores(&again).unwrap();
}

#[test]
fn an_index_of_another_repository_is_made_anew() {
    let place = Place::new();
    let host = place.host("a", at(0));
    let old = host.back_up("a", &(0..20).collect(), &|| at(0)).unwrap();
    let kept = host.back_up("b", &(10..30).collect(), &|| at(0)).unwrap();
    let other = Arc::new(MemoryStore::new());
    let created = Repository::create(other.clone(), &secret(1), "other", at(0)).unwrap();
    let elsewhere = Host::open(other, &place.room.path().join("other"), at(0));
    elsewhere.back_up("a", &(0..3).collect(), &|| at(0)).unwrap();
    let foreign = place.room.path().join("other").join(created.id().to_string());
    drop((elsewhere, host));
    let ours = std::fs::read_dir(place.room.path().join("a")).unwrap().next().unwrap().unwrap().path();
    for file in ["index.sqlite", "reach.sqlite"] {
        for suffix in ["-wal", "-shm"] {
            let _ = std::fs::remove_file(ours.join(format!("{file}{suffix}")));
        }
        if foreign.join(file).exists() {
            std::fs::copy(foreign.join(file), ours.join(file)).unwrap();
        }
    }
    let host = place.host("a", at(1));
    catalogue::forget(&host.repository, &old).unwrap();
    let options = PruneOptions { max_unused: MaxUnused::Bytes(0), ..options() };
    host.prune(&options, at(1)).unwrap();
    assert!(host.prune(&options, at(25 * HOUR)).unwrap().deleted > 0);
    host.restores(&kept).unwrap();
}
