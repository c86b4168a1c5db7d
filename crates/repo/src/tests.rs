//! The repository as a whole, over a store in memory: what was committed comes back, whatever the index or a session suffers.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use icecore_format::entry::{Content, Entry, File, Meta, Node, Piece, Timestamp};
use icecore_format::id::ChunkId;
use icecore_format::keys::{Role, Secret};
use icecore_format::manifest::{ManifestReader, ManifestWriter};
use icecore_format::mark::Stage;
use icecore_format::seal::Entropy;
use icecore_format::snapshot::{Root, Snapshot};
use icecore_store::{Key, Listed, MemoryStore, Put, Store};
use icecore_testkit::{Recording, bare_snapshot};
use tempfile::TempDir;

use crate::{Catalogue, ChunkReader, Error, Index, Repository, Session, check, layout, marks, prune, slots};

pub(crate) type TestStore = Recording<MemoryStore>;

pub(crate) struct Place {
    pub(crate) store: Arc<TestStore>,
    secret: Secret,
    state: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let secret = Secret::generate(Entropy([7; 32]));
        let store = Arc::new(Recording::new(MemoryStore::new()));
        Repository::create(store.clone(), &secret, "test", Timestamp::default()).unwrap();
        Self { store, secret, state: TempDir::new().unwrap() }
    }

    pub(crate) fn open(&self) -> (Arc<Repository>, Arc<Index>) {
        let repository = Arc::new(Repository::open(self.store.clone(), &self.secret).unwrap());
        let index = Arc::new(Index::open(self.state.path(), repository.id()).unwrap());
        index.sync(&repository).unwrap();
        (repository, index)
    }

    pub(crate) fn forget_index(&mut self) {
        self.state = TempDir::new().unwrap();
    }

    pub(crate) fn keys(&self, directory: &str) -> Vec<Key> {
        let mut keys = Vec::new();
        self.store
            .list(directory, &mut |listed| {
                keys.push(listed.key);
                Ok(())
            })
            .unwrap();
        keys
    }
}

/// Pseudo-random bytes of a seed: nothing in them repeats.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

pub(crate) fn entry(path: &str, id: ChunkId, len: usize) -> Entry {
    let content = Content::Inline(vec![Piece::Chunk { id, len: len as u32 }]);
    let file = File { size: len as u64, class: Default::default(), content, racy: false };
    Entry { path: path.into(), meta: Meta::default(), node: Node::File(file), link_of: None }
}

pub(crate) fn record(root: icecore_format::manifest::Root) -> Snapshot {
    let roots = vec![Root { name: "root".to_owned(), path: b"/srv/root".to_vec() }];
    Snapshot { manifest: root, roots, ..bare_snapshot("test", 0) }
}

/// Commits a snapshot of `count` files of 100,000 bytes each.
pub(crate) fn commit(place: &Place, seed: u64, count: u64) -> Vec<(ChunkId, Vec<u8>)> {
    let (repository, index) = place.open();
    let session = Session::begin(repository, index, 3).unwrap();
    let mut writer = session.writer().unwrap();
    let mut manifest = ManifestWriter::new();
    let mut stored = Vec::new();
    for number in 0..count {
        let bytes = noise(seed + number, 100_000);
        let id = writer.store(&bytes).unwrap();
        manifest.push(&entry(&format!("{number:08}"), id, bytes.len()), &mut writer).unwrap();
        stored.push((id, bytes));
    }
    let root = manifest.finish(&mut writer).unwrap();
    writer.finish().unwrap();
    session.close().unwrap().commit(&record(root), &Timestamp::default).unwrap();
    stored
}

pub(crate) fn expect_all(place: &Place, stored: &[(ChunkId, Vec<u8>)]) {
    let (repository, index) = place.open();
    let reader = ChunkReader::new(&repository, &index).unwrap();
    for (id, bytes) in stored {
        assert_eq!(&reader.chunk(id).unwrap()[..], &bytes[..]);
    }
    let catalogue = Catalogue::load(&repository, &index).unwrap();
    assert!(catalogue.damaged.is_empty());
    let root = &catalogue.newest("test", "host").unwrap().snapshot.manifest;
    let entries: Vec<_> = ManifestReader::new(&reader, root).entries().map(Result::unwrap).collect();
    assert_eq!(entries.len(), stored.len());
}

/// A disk that was unmounted leaves an empty directory, which takes everything.
#[test]
fn a_repository_that_has_gone_takes_no_snapshot_and_is_not_clean() {
    let place = Place::new();
    commit(&place, 0, 10);
    let (repository, index) = place.open();
    let session = Session::begin(Arc::clone(&repository), Arc::clone(&index), 3).unwrap();
    let mut writer = session.writer().unwrap();
    let root = ManifestWriter::new().finish(&mut writer).unwrap();
    writer.finish().unwrap();
    let closed = session.close().unwrap();
    for key in place.keys("") {
        place.store.delete(&key).unwrap();
    }
    let error = closed.commit(&record(root), &Timestamp::default).unwrap_err();
    assert!(matches!(error, Error::NoRepository { .. }), "{error}");
    assert!(place.keys("snapshots").is_empty());
    let options = check::CheckOptions { read_percent: 0, until: None, now: Timestamp::default(), threads: 1 };
    let error = check::check(&repository, &index, options, &|_| Ok(())).unwrap_err();
    assert!(matches!(error, Error::NoRepository { .. }), "{error}");
    let options = prune::PruneOptions::new("host");
    let error = prune::prune(&repository, &index, &options, &Timestamp::default, &mut |_| Ok(())).unwrap_err();
    assert!(matches!(error, Error::NoRepository { .. }), "{error}");
}

#[test]
fn what_was_committed_comes_back_with_and_without_the_index() {
    let mut place = Place::new();
    let stored = commit(&place, 0, 400);
    expect_all(&place, &stored);
    place.forget_index();
    expect_all(&place, &stored);
}

#[test]
fn the_same_content_is_stored_once() {
    let place = Place::new();
    commit(&place, 0, 200);
    let packs = place.keys("packs").len();
    commit(&place, 0, 200);
    assert_eq!(place.keys("packs").len(), packs, "an unchanged backup writes no pack");
}

#[test]
fn an_interrupted_session_leaves_chunks_that_the_next_one_finds() {
    let place = Place::new();
    let (repository, index) = place.open();
    let session = Session::begin(repository, index, 3).unwrap();
    let mut writer = session.writer().unwrap();
    for number in 0..400 {
        writer.store(&noise(number, 100_000)).unwrap();
    }
    writer.finish().unwrap();
    session.close().unwrap();
    assert!(place.keys("snapshots").is_empty());
    let (_, before) = place.store.sum(icecore_store::error::Operation::Put, "packs");
    let stored = commit(&place, 0, 400);
    let (_, after) = place.store.sum(icecore_store::error::Operation::Put, "packs");
    assert!(after - before < 1_000_000, "only the manifest is new, but {} bytes were put", after - before);
    expect_all(&place, &stored);
}

#[test]
fn packs_that_no_fragment_names_are_adopted() {
    let mut place = Place::new();
    let stored = commit(&place, 0, 400);
    for key in place.keys("index") {
        place.store.delete(&key).unwrap();
    }
    place.forget_index();
    let (repository, index) = place.open();
    assert!(index.is_empty().unwrap());
    let rebuilt = index.rebuild(&repository, |_, _| ()).unwrap();
    assert_eq!(rebuilt.adopted as usize, place.keys("packs").len());
    assert_eq!(place.keys("index").len(), 1);
    expect_all(&place, &stored);
    place.forget_index();
    expect_all(&place, &stored);
}

#[test]
fn a_gone_fragment_takes_its_packs_out_of_the_index() {
    let place = Place::new();
    commit(&place, 0, 50);
    let (_, index) = place.open();
    let generation = index.generation().unwrap();
    for key in place.keys("index") {
        place.store.delete(&key).unwrap();
    }
    let (_, index) = place.open();
    assert!(index.is_empty().unwrap());
    assert!(index.generation().unwrap() > generation);
}

#[test]
fn a_writer_that_is_dropped_with_chunks_in_hand_spoils_the_commit() {
    let place = Place::new();
    let (repository, index) = place.open();
    let session = Session::begin(repository, index, 3).unwrap();
    let mut writer = session.writer().unwrap();
    writer.store(b"never reaches a pack").unwrap();
    drop(writer);
    assert!(session.close().is_err());
}

#[test]
fn flipped_and_missing_packs_are_told_by_name() {
    let place = Place::new();
    let stored = commit(&place, 0, 5);
    let (repository, index) = place.open();
    let reader = ChunkReader::new(&repository, &index).unwrap();
    let pack = reader.locate(&stored[0].0).unwrap()[0].frame.pack;
    let key = Key::new(&format!("packs/{}/{pack}", &pack.to_string()[..2])).unwrap();
    let mut bytes = place.store.get(&key).unwrap();
    bytes[1000] ^= 1;
    place.store.delete(&key).unwrap();
    let missing = ChunkReader::new(&repository, &index).unwrap().chunk(&stored[0].0).unwrap_err();
    assert!(missing.to_string().contains(&pack.to_string()), "{missing}");
    place.store.put(&key, &[&bytes]).unwrap();
    let flipped = ChunkReader::new(&repository, &index).unwrap().chunk(&stored[0].0).unwrap_err();
    assert!(matches!(&flipped, Error::Damaged { object, .. } if object.contains(&pack.to_string())), "{flipped}");
}

#[test]
fn keys_open_and_the_last_reader_stays() {
    let place = Place::new();
    let (repository, _) = place.open();
    let other = Secret::generate(Entropy([8; 32]));
    let open = |secret: &Secret| Repository::open(place.store.clone(), secret);
    assert!(matches!(open(&other), Err(Error::WrongPassword { slots: 1, .. })));
    let writer = slots::add(&repository, Role::Writer, &other, "host", Timestamp::default()).unwrap();
    let opened = open(&other).unwrap();
    assert_eq!(opened.role(), Role::Writer);
    assert!(matches!(opened.open_key(), Err(Error::WriteOnly)));
    let readers = slots::list(&repository).unwrap().0;
    let reader = readers.iter().find(|(_, slot)| slot.role() == Role::Reader).unwrap().0;
    assert!(matches!(slots::remove(&repository, &reader), Err(Error::LastReader { .. })));
    slots::remove(&repository, &writer).unwrap();
    assert!(open(&other).is_err());
    let (_, removed) = slots::change(&repository, &place.secret, &other, Timestamp::default()).unwrap();
    assert_eq!(removed, 1);
    assert!(open(&place.secret).is_err());
    assert_eq!(open(&other).unwrap().role(), Role::Reader);
}

#[test]
fn a_repository_is_created_once_and_told_when_absent() {
    let place = Place::new();
    let again = Repository::create(place.store.clone(), &place.secret, "", Timestamp::default());
    assert!(matches!(again, Err(Error::AlreadyExists { .. })));
    let nothing = Repository::open(Arc::new(MemoryStore::new()), &place.secret);
    assert!(matches!(nothing, Err(Error::NoRepository { .. })));
}

#[test]
fn a_damaged_index_file_is_made_anew() {
    let place = Place::new();
    let stored = commit(&place, 0, 20);
    let (_, index) = place.open();
    let path = index.path().to_owned();
    drop(index);
    std::fs::write(&path, b"not a database, but long enough to be read as a header of one").unwrap();
    expect_all(&place, &stored);
}

#[test]
fn a_wrong_index_is_not_taken_for_damage() {
    let place = Place::new();
    let stored = commit(&place, 0, 20);
    let (repository, index) = place.open();
    let wrong = |change: &str| {
        rusqlite::Connection::open(index.path()).unwrap().execute(change, []).unwrap();
        let error = ChunkReader::new(&repository, &index).unwrap().chunk(&stored[0].0).unwrap_err();
        assert!(matches!(error, Error::WrongIndex { .. }) && !error.is_loss(), "{change}: {error}");
    };
    wrong("UPDATE frames SET offset = offset + 1");
    wrong("UPDATE frames SET offset = offset - 1, stored = stored + 1");
    // Far behind the end of the pack.
    wrong("UPDATE frames SET offset = 1 << 40");
    wrong("UPDATE chunks SET offset = offset + 1");
    index.rebuild(&repository, |_, _| ()).unwrap();
    expect_all(&place, &stored);

    // Another whole pack in its place is damage, although it contradicts the index too.
    let known = place.keys("packs");
    commit(&place, 1000, 20);
    let [one, two] = [true, false].map(|first| {
        let of_night = place.keys("packs").into_iter().filter(|key| known.contains(key) == first);
        of_night.max_by_key(|key| place.store.size(key).unwrap()).unwrap()
    });
    let other = place.store.get(&two).unwrap();
    place.store.delete(&one).unwrap();
    place.store.put(&one, &[&other]).unwrap();
    let (repository, index) = place.open();
    let error = ChunkReader::new(&repository, &index).unwrap().chunk(&stored[0].0).unwrap_err();
    assert!(error.is_loss(), "{error}");
}

/// A store in which something happens right after its fragments were listed.
struct Meanwhile {
    inner: Arc<TestStore>,
    /// After its first listing the event happens.
    directory: &'static str,
    event: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl std::fmt::Debug for Meanwhile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Meanwhile")
    }
}

impl Store for Meanwhile {
    fn put(&self, key: &Key, parts: &[&[u8]]) -> icecore_store::Result<Put> {
        self.inner.put(key, parts)
    }

    fn get(&self, key: &Key) -> icecore_store::Result<Vec<u8>> {
        self.inner.get(key)
    }

    fn get_range(&self, key: &Key, range: Range<u64>, buffer: &mut Vec<u8>) -> icecore_store::Result<()> {
        self.inner.get_range(key, range, buffer)
    }

    fn size(&self, key: &Key) -> icecore_store::Result<Option<u64>> {
        self.inner.size(key)
    }

    fn list(
        &self,
        directory: &str,
        each: &mut dyn FnMut(Listed) -> icecore_store::Result<()>,
    ) -> icecore_store::Result<()> {
        self.inner.list(directory, each)?;
        if let Some(event) = self.event.lock().unwrap().take_if(|_| directory == self.directory) {
            event();
        }
        Ok(())
    }

    fn delete(&self, key: &Key) -> icecore_store::Result<()> {
        self.inner.delete(key)
    }

    fn location(&self) -> String {
        self.inner.location()
    }
}

#[test]
fn a_fragment_that_is_published_during_a_listing_is_not_taken_for_gone() {
    let place = Arc::new(Place::new());
    let other = Arc::clone(&place);
    let stored = Arc::new(Mutex::new(Vec::new()));
    let committed = Arc::clone(&stored);
    let event = move || *committed.lock().unwrap() = commit(&other, 0, 50);
    let store =
        Meanwhile { inner: Arc::clone(&place.store), directory: "index", event: Mutex::new(Some(Box::new(event))) };
    let repository = Arc::new(Repository::open(Arc::new(store), &place.secret).unwrap());
    let index = Index::open(place.state.path(), repository.id()).unwrap();
    assert_eq!(index.sync(&repository).unwrap().dropped, 0);
    let reader = ChunkReader::new(&repository, &index).unwrap();
    let stored = stored.lock().unwrap();
    assert_eq!(stored.len(), 50);
    for (id, bytes) in &*stored {
        assert_eq!(&reader.chunk(id).unwrap()[..], &bytes[..]);
    }
}

#[test]
fn a_mark_that_is_put_and_learned_during_a_listing_is_not_taken_for_gone() {
    let place = Arc::new(Place::new());
    commit(&place, 0, 10);
    let other = Arc::clone(&place);
    let event = move || {
        let (repository, index) = other.open();
        let pack = index.packs().unwrap()[0].0;
        let now = Timestamp::default();
        marks::put(&repository, vec![pack], Stage::Waiting, now, now, "host").unwrap();
        index.learn_marks(&repository).unwrap();
    };
    let store = Meanwhile {
        inner: Arc::clone(&place.store),
        directory: layout::MARKS,
        event: Mutex::new(Some(Box::new(event))),
    };
    let repository = Arc::new(Repository::open(Arc::new(store), &place.secret).unwrap());
    let index = Index::open(place.state.path(), repository.id()).unwrap();
    index.sync(&repository).unwrap();
    index.learn_marks(&repository).unwrap();
    assert_eq!(index.marked().unwrap().len(), 1);
}

#[test]
fn what_was_intact_is_not_after_something_was_lost() {
    let place = Place::new();
    commit(&place, 0, 20);
    let (repository, index) = place.open();
    let root = Catalogue::load(&repository, &index).unwrap().snapshots[0].snapshot.manifest.id;
    let session = Session::begin(Arc::clone(&repository), Arc::clone(&index), 1).unwrap();
    assert_eq!(index.intact_at(&root).unwrap(), Some(session.generation()));
    session.close().unwrap();
    let before = index.generation().unwrap();
    index.forget_chunk(&root).unwrap();
    assert_eq!(index.intact_at(&root).unwrap(), None);
    let session = Session::begin(repository, index, 1).unwrap();
    assert!(session.generation() > before);
    session.close().unwrap();
}
