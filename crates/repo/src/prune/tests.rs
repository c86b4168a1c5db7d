//! Prunes over the real repository code: what is needed stays, what is not goes in its time.

mod beside;
mod crash;
mod economy;
mod holes;
mod interleavings;
mod keepers;
mod merging;
mod stale;

use std::collections::{BTreeSet, HashSet};
use std::path::Path;
use std::sync::Arc;

use icecore_format::id::{ChunkId, SnapshotId};
use icecore_format::manifest::{BlockSource, ManifestWriter, block_links};
use icecore_format::pack::PackKind;
use icecore_store::{MemoryStore, Store};
use icecore_testkit::small_repository::{secret, small_repository};
use tempfile::TempDir;

use super::*;
use crate::catalogue;
use crate::session::Session;
use crate::sign::Who;
use crate::tests::{entry, noise, record};

const HOUR: i64 = 3600;

/// Plain bytes of a file.
const FILE: usize = 70_000;

fn at(seconds: i64) -> Timestamp {
    Timestamp { seconds: 1_700_000_000 + seconds, nanos: 0 }
}

/// A host with a state directory of its own.
struct Host {
    repository: Arc<Repository>,
    index: Arc<Index>,
    /// Whether its sessions leave records.
    signs: bool,
}

impl Host {
    fn open(store: Arc<dyn Store>, state: &Path, now: Timestamp) -> Self {
        let repository = Arc::new(Repository::open(store, &secret(1)).unwrap());
        // SQLite may answer "busy" at once to who opens while the last other connection closes.
        let open = || Index::open(state, repository.id()).ok();
        let index = Arc::new((0..100).find_map(|_| open()).expect("an index"));
        index.sync_at(&repository, now).unwrap();
        Self { repository, index, signs: true }
    }

    /// Backs up a file for each number, as the engine does: what the parent has is carried over if it counts as stored.
    fn back_up(&self, name: &str, numbers: &BTreeSet<u64>, clock: &dyn Fn() -> Timestamp) -> Result<SnapshotId> {
        let all = Catalogue::load(&self.repository, &self.index)?.snapshots;
        let parent = all.iter().rev().find(|stored| stored.snapshot.instance == name);
        let base = parent.map(|stored| stored.snapshot.manifest.id);
        let intact_at = base.map(|root| self.index.intact_at(&root)).transpose()?.flatten();
        let who = Who { host: name.to_owned(), instance: name.to_owned(), now: clock() };
        let session =
            Session::begin_as(Arc::clone(&self.repository), Arc::clone(&self.index), 1, self.signs.then_some(&who))?;
        let intact = intact_at == Some(session.generation());
        let reader = ChunkReader::new(&self.repository, &self.index)?;
        let carried = base.map_or(Ok(HashSet::new()), |root| names(&reader, &root))?;
        let stored: Result<_> = (|| {
            let mut writer = session.writer()?;
            let mut manifest = ManifestWriter::new();
            for number in numbers {
                let bytes = noise(*number, FILE);
                let id = writer.id(&bytes);
                if !(carried.contains(&id) && (intact || writer.contains(&id)?)) {
                    writer.store_hashed(id, &bytes)?;
                }
                manifest.push(&entry(&format!("{number:08}"), id, FILE), &mut writer).unwrap();
            }
            let root = manifest.finish(&mut writer).unwrap();
            writer.finish()?;
            Ok(root)
        })();
        let closed = session.close();
        let root = stored?;
        let mut snapshot = record(root);
        (snapshot.instance, snapshot.taken) = (name.to_owned(), clock());
        closed?.commit(&snapshot, clock)
    }

    fn prune(&self, options: &PruneOptions, now: Timestamp) -> Result<PruneReport> {
        prune(&self.repository, &self.index, options, &|| now, &mut |_| Ok(()))
    }

    /// Reads everything that a snapshot needs.
    fn restores(&self, id: &SnapshotId) -> std::result::Result<(), String> {
        let (snapshot, _) = catalogue::read(&self.repository, id).map_err(|error| error.to_string())?;
        let reader = ChunkReader::looking_again(&self.repository, &self.index).map_err(|error| error.to_string())?;
        let names = names(&reader, &snapshot.manifest.id).map_err(|error| error.to_string())?;
        names.iter().try_for_each(|chunk| reader.chunk(chunk).map(drop).map_err(|error| error.to_string()))
    }
}

/// The chunks of content that a manifest names.
fn names(reader: &ChunkReader, root: &ChunkId) -> Result<HashSet<ChunkId>> {
    let (mut open, mut chunks) = (vec![*root], HashSet::new());
    while let Some(block) = open.pop() {
        let links = block_links(&reader.block(&block)?).unwrap();
        open.extend(links.blocks);
        chunks.extend(links.chunks.into_iter().map(|(id, _)| id));
    }
    Ok(chunks)
}

/// A repository in memory, and hosts.
struct Place {
    store: Arc<MemoryStore>,
    room: TempDir,
}

impl Place {
    fn new() -> Self {
        let store = Arc::new(MemoryStore::new());
        small_repository(&store, &secret(1));
        Self { store, room: tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap() }
    }

    fn packs(&self) -> u64 {
        keys(&*self.store, layout::PACKS).len() as u64
    }

    fn host(&self, name: &str, now: Timestamp) -> Host {
        Host::open(self.store.clone(), &self.room.path().join(name), now)
    }
}

fn keys(store: &dyn Store, directory: &str) -> Vec<icecore_store::Key> {
    let mut keys = Vec::new();
    let mut each = |listed: icecore_store::Listed| {
        keys.push(listed.key);
        Ok(())
    };
    store.list(directory, &mut each).unwrap();
    keys
}

fn options() -> PruneOptions {
    PruneOptions::new("host")
}

#[test]
fn what_is_forgotten_goes_after_its_grace_and_the_rest_stays() {
    let place = Place::new();
    let host = place.host("a", at(0));
    let first = host.back_up("a", &(0..30).collect(), &|| at(0)).unwrap();
    let second = host.back_up("a", &(25..60).collect(), &|| at(1)).unwrap();
    let packs = keys(&place.store, "packs").len();
    let idle = host.prune(&options(), at(10)).unwrap();
    assert!(idle.plan.is_idle(), "{idle:?}");

    catalogue::forget(&host.repository, &first).unwrap();
    let options = PruneOptions { max_unused: MaxUnused::Percent(0), ..options() };
    let marked = host.prune(&options, at(20)).unwrap();
    assert!(marked.marked > 0 && marked.deleted == 0 && marked.repacked > 0, "{marked:?}");
    assert!(marked.copied >= 5 * FILE as u64 && marked.copied < 7 * FILE as u64, "{marked:?}");
    assert_eq!(marked.marked_until, Some(at(20 + 24 * HOUR)));
    host.restores(&second).unwrap();
    // What is marked counts as not stored: the same content is stored anew.
    let third = host.back_up("a", &(0..60).collect(), &|| at(30)).unwrap();
    host.restores(&third).unwrap();

    let early = host.prune(&options, at(20 + 24 * HOUR - 1)).unwrap();
    assert_eq!((early.deleted, early.plan.waiting.len() as u64), (0, marked.marked));
    let swept = host.prune(&options, at(21 + 24 * HOUR)).unwrap();
    assert_eq!((swept.deleted, swept.freed), (marked.marked, marked.marked_bytes));
    for snapshot in [&second, &third] {
        host.restores(snapshot).unwrap();
        place.host("fresh", at(0)).restores(snapshot).unwrap();
    }
    assert!(keys(&place.store, "packs").len() > packs - marked.marked as usize);
    // The marks themselves go last.
    for hours in [48, 60] {
        host.prune(&options, at(hours * HOUR)).unwrap();
    }
    assert!(keys(&place.store, "gc").is_empty() && keys(&place.store, "sessions").is_empty());
    let report = crate::check::check(&host.repository, &host.index, full(), &|_| Ok(())).unwrap();
    assert!(report.is_clean() && report.orphans.is_empty(), "{report:?}");
}

fn full() -> crate::check::CheckOptions {
    crate::check::CheckOptions { read_percent: 100, until: None, now: at(0), threads: 1 }
}

#[test]
fn marks_are_undone_only_while_nobody_can_have_acted_on_them() {
    let place = Place::new();
    let host = place.host("a", at(0));
    let first = host.back_up("a", &(0..10).collect(), &|| at(0)).unwrap();
    catalogue::forget(&host.repository, &first).unwrap();
    let marked = host.prune(&options(), at(1)).unwrap().marked;
    assert!(marked > 0);
    assert_eq!(undo(&host.repository, &host.index, &|| at(22 * HOUR + 2)).unwrap(), (0, marked));
    assert_eq!(undo(&host.repository, &host.index, &|| at(21 * HOUR)).unwrap(), (marked, 0));
    assert!(keys(&place.store, "gc").is_empty());
    let packs = keys(&place.store, "packs").len();
    host.back_up("a", &(0..10).collect(), &|| at(3)).unwrap();
    assert_eq!(keys(&place.store, "packs").len(), packs, "what was undone counts as stored again");
}

#[test]
fn at_once_means_at_once_unless_a_session_lives() {
    let place = Place::new();
    let host = place.host("a", at(0));
    let first = host.back_up("a", &(0..10).collect(), &|| at(0)).unwrap();
    let second = host.back_up("a", &(5..15).collect(), &|| at(0)).unwrap();
    catalogue::forget(&host.repository, &first).unwrap();
    let who = Who { host: "elsewhere".into(), instance: "cust01".into(), now: at(0) };
    let running = Session::begin_as(host.repository.clone(), host.index.clone(), 1, Some(&who)).unwrap();
    let now = PruneOptions { now: true, max_unused: MaxUnused::Bytes(0), ..options() };
    let refused = host.prune(&now, at(600)).unwrap_err().to_string();
    for word in ["cust01", "elsewhere", &std::process::id().to_string(), "10 min"] {
        assert!(refused.contains(word), "{refused}");
    }
    let options = PruneOptions { max_unused: MaxUnused::Bytes(0), ..options() };
    assert_eq!(host.prune(&options, at(600)).unwrap().marked, 0, "packs may be those of the session");
    running.close().unwrap();
    let done = host.prune(&now, at(700)).unwrap();
    assert!(done.deleted > 0 && done.deleted == done.marked, "{done:?}");
    host.restores(&second).unwrap();
    // A record that nobody renews any more is in nobody's way.
    let dead = Session::begin_as(host.repository.clone(), host.index.clone(), 1, Some(&who)).unwrap();
    host.prune(&now, at(5 * HOUR)).unwrap();
    dead.close().unwrap();
}

#[test]
fn a_grace_period_that_clocks_could_undercut_is_refused() {
    let place = Place::new();
    let host = place.host("a", at(0));
    let refused = host.prune(&PruneOptions { grace: 4 * HOUR - 1, ..options() }, at(0)).unwrap_err().to_string();
    assert!(refused.contains("4 hours"), "{refused}");
}

#[test]
fn what_cannot_be_counted_stops_every_deletion() {
    let place = Place::new();
    let host = place.host("a", at(0));
    let first = host.back_up("a", &(0..10).collect(), &|| at(0)).unwrap();
    let manifest = host.index.packs().unwrap().into_iter().find(|(_, kind, _)| *kind == PackKind::Manifest).unwrap();
    host.back_up("a", &(20..30).collect(), &|| at(0)).unwrap();
    place.store.delete(&layout::pack(&manifest.0)).unwrap();
    let refused = host.prune(&options(), at(1)).unwrap_err().to_string();
    assert!(refused.contains(&first.short()) && refused.contains("forget"), "{refused}");
    catalogue::forget(&host.repository, &first).unwrap();
    assert!(host.prune(&options(), at(2)).unwrap().marked > 0);
}

#[test]
fn something_needed_that_stands_nowhere_stops_every_deletion() {
    let place = Place::new();
    let host = place.host("a", at(0));
    let first = host.back_up("a", &(0..10).collect(), &|| at(0)).unwrap();
    host.back_up("a", &(5..30).collect(), &|| at(0)).unwrap();
    host.prune(&options(), at(1)).unwrap();
    let lost = host.index.packs().unwrap().into_iter().find(|(_, kind, _)| *kind == PackKind::Data).unwrap();
    place.store.delete(&layout::pack(&lost.0)).unwrap();
    host.index.drop_pack(&lost.0).unwrap();
    catalogue::forget(&host.repository, &first).unwrap();
    let refused = host.prune(&options(), at(1)).unwrap_err().to_string();
    assert!(refused.contains("no pack of the index") && refused.contains("check"), "{refused}");
}

#[test]
fn a_damaged_pack_is_told_and_kept() {
    let place = Place::new();
    let host = place.host("a", at(0));
    let first = host.back_up("a", &(0..20).collect(), &|| at(0)).unwrap();
    let second = host.back_up("a", &(10..20).collect(), &|| at(0)).unwrap();
    let hurt = host.index.packs().unwrap().into_iter().find(|(_, kind, _)| *kind == PackKind::Data).unwrap();
    let key = layout::pack(&hurt.0);
    let mut bytes = place.store.get(&key).unwrap();
    // In a frame that is needed: the last one before the footer.
    let frame = *host.index.frames(&hurt.0).unwrap().last().unwrap();
    bytes[frame.offset as usize + 7] ^= 1;
    place.store.delete(&key).unwrap();
    place.store.put(&key, &[&bytes]).unwrap();
    catalogue::forget(&host.repository, &first).unwrap();
    let options = PruneOptions { max_unused: MaxUnused::Bytes(0), ..options() };
    let report = host.prune(&options, at(1)).unwrap();
    assert!(report.damaged.len() == 1 && report.damaged[0].contains(&hurt.0.to_string()), "{report:?}");
    assert!(!host.index.marked().unwrap().contains(&hurt.0));
    host.prune(&options, at(30 * HOUR)).unwrap();
    assert!(place.store.size(&key).unwrap().is_some());
    assert!(host.restores(&second).is_err());
}

#[test]
fn a_session_of_hours_copies_what_was_marked_meanwhile() {
    let place = Place::new();
    let (a, b) = (place.host("a", at(0)), place.host("b", at(0)));
    let first = a.back_up("a", &(0..20).collect(), &|| at(0)).unwrap();
    b.index.sync_at(&b.repository, at(1)).unwrap();
    // While b relies on what the first snapshot stored, a forgets it and marks it; then b commits three hours later.
    let clock = std::sync::atomic::AtomicI64::new(2);
    let told = || {
        use std::sync::atomic::Ordering::SeqCst;
        // At the first look at the clock for the commit.
        if clock.load(SeqCst) == 3 {
            catalogue::forget(&a.repository, &first).unwrap();
            assert!(a.prune(&options(), at(HOUR)).unwrap().marked > 0);
            clock.store(3 * HOUR, SeqCst);
        }
        at(clock.load(SeqCst))
    };
    let who = Who { host: "b".into(), instance: "b".into(), now: told() };
    // Unseen by the prune: safety does not rest on records.
    let session = Session::begin(b.repository.clone(), b.index.clone(), 1).unwrap();
    let mut writer = session.writer().unwrap();
    let mut manifest = ManifestWriter::new();
    for number in 0..15 {
        let id = writer.store(&noise(number, FILE)).unwrap();
        manifest.push(&entry(&format!("{number:08}"), id, FILE), &mut writer).unwrap();
    }
    let root = manifest.finish(&mut writer).unwrap();
    writer.finish().unwrap();
    let closed = session.close().unwrap();
    assert_eq!(closed.written.chunks, 0, "everything stood there");
    clock.store(3, std::sync::atomic::Ordering::SeqCst);
    let second = closed.commit(&record(root), &told).unwrap();
    drop(who);
    let swept = a.prune(&options(), at(26 * HOUR)).unwrap();
    assert!(swept.deleted > 0 && swept.copied == 0, "{swept:?}");
    b.index.sync(&b.repository).unwrap();
    b.restores(&second).unwrap();
}
