//! What a prune and a backup may cost.

use icecore_store::error::Operation;
use icecore_testkit::Recording;

use super::*;

#[test]
fn a_prune_with_nothing_to_do_reads_no_pack_and_writes_nothing() {
    let (store, room) = (Arc::new(Recording::new(MemoryStore::new())), TempDir::new().unwrap());
    small_repository(&*store, &secret(1));
    let host = Host::open(store.clone(), room.path(), at(0));
    host.back_up("a", &(0..20).collect(), &|| at(0)).unwrap();
    host.prune(&options(), at(1)).unwrap();
    store.take();
    assert!(host.prune(&options(), at(2)).unwrap().plan.is_idle());
    let calls: Vec<_> = store.take().into_iter().map(|call| (call.operation, call.object)).collect();
    let list = |name: &str| (Operation::List, name.to_owned());
    // Whether the repository is still there.
    let there = || (Operation::Size, "config".to_owned());
    let before = ["index", "gc", "annotations", "snapshots"].map(list);
    let after = ["sessions", "sessions", "gc"].map(list);
    assert_eq!(calls, [&before[..], &[there()], &after, &[there()]].concat());
}

/// One listing of the marks, and the record that lets others know: put, and deleted.
#[test]
fn an_unchanged_backup_asks_once_for_marks() {
    let (store, room) = (Arc::new(Recording::new(MemoryStore::new())), TempDir::new().unwrap());
    small_repository(&*store, &secret(1));
    let host = Host::open(store.clone(), room.path(), at(0));
    host.back_up("a", &(0..20).collect(), &|| at(0)).unwrap();
    store.take();
    host.back_up("a", &(0..20).collect(), &|| at(5)).unwrap();
    let count = |operation, prefix| store.sum(operation, prefix).0;
    assert_eq!((count(Operation::List, "gc"), count(Operation::List, "")), (1, 2), "{:?}", store.calls());
    assert_eq!((count(Operation::Put, "sessions/"), count(Operation::Delete, "sessions/")), (1, 1));
    assert_eq!((count(Operation::Put, ""), count(Operation::Delete, "")), (2, 1));
    assert_eq!(count(Operation::Get, "gc"), 0);
}
