mod hostile;

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use icecore_format::entry::{Entry, Timestamp};
use icecore_format::keys::Secret;
use icecore_repo::Index;
use icecore_source::{Root, Rules};
use icecore_testkit::{Key, MemoryStore, Store};
use tempfile::TempDir;

use super::*;
use crate::backup::{self, backup};
use crate::prune::{MaxUnused, PruneOptions};

/// A live directory, a repository in memory, and room for targets.
struct Place {
    room: TempDir,
    store: Arc<MemoryStore>,
    secret: Secret,
    archive: Archive,
}

impl Place {
    fn new() -> Self {
        let room = TempDir::new().unwrap();
        fs::create_dir(room.path().join("live")).unwrap();
        let store = Arc::new(MemoryStore::new());
        let secret = Secret::new(b"icecore-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa".to_vec());
        Archive::create(store.clone(), &secret, "test", Timestamp::default()).unwrap();
        let (archive, _) = Archive::open(store.clone(), &secret, &room.path().join("state")).unwrap();
        Self { room, store, secret, archive }
    }

    fn live(&self, path: &str) -> PathBuf {
        self.room.path().join("live").join(path)
    }

    fn write(&self, path: &str, bytes: &[u8]) {
        fs::create_dir_all(self.live(path).parent().unwrap()).unwrap();
        fs::write(self.live(path), bytes).unwrap();
    }

    fn backup(&self) -> Stored {
        let job = backup::Job {
            instance: "test".to_owned(),
            host: "host".to_owned(),
            user: "user".to_owned(),
            program: "test".to_owned(),
            tags: Vec::new(),
            protected_until: None,
            roots: vec![Root { name: "live".to_owned(), path: self.live("") }],
            rules: Rules::default(),
            excludes: Vec::new(),
            ignore_inode: false,
            ignore_ctime: false,
            rehash: false,
            level: 1,
            threads: 2,
            pace: None,
            priority: Default::default(),
            freeze: None,
            clock: &|| Timestamp { seconds: 4_000_000_000, nanos: 0 },
        };
        let report = backup(&self.archive, &job, &Progress::default()).unwrap();
        Stored { id: report.id, snapshot: report.snapshot, notes: Default::default() }
    }

    fn restore(&self, stored: &Stored, path: &str, target: &str) -> Result<RestoreReport> {
        restore(&self.archive, &self.job(stored, path, target, Mode::New), &Progress::default())
    }

    fn job<'s>(&self, stored: &'s Stored, path: &str, target: &str, mode: Mode) -> RestoreJob<'s> {
        let job = RestoreJob::new(stored, path.into(), self.room.path().join(target));
        let now = Timestamp { seconds: 1_795_140_000, nanos: 0 };
        RestoreJob { mode, numeric_ids: true, threads: 2, now, ..job }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.room.path().join(path)
    }

    /// Flips a bit in the first frame of the largest pack.
    fn damage(&self) {
        let mut packs: Vec<(u64, Key)> = Vec::new();
        self.store
            .list("packs", &mut |listed| {
                packs.push((listed.size, listed.key));
                Ok(())
            })
            .unwrap();
        let (_, key) = packs.into_iter().max().unwrap();
        let mut bytes = self.store.get(&key).unwrap();
        bytes[100] ^= 1;
        self.store.delete(&key).unwrap();
        self.store.put(&key, &[&bytes]).unwrap();
    }
}

/// Bytes that neither repeat nor compress.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..len.div_ceil(8)).flat_map(|_| next()).take(len).collect()
}

/// Path, mode, time and links, content.
type Shown = (PathBuf, (u32, SystemTime, u64), Vec<u8>);

/// Everything in a directory that a restore must give back.
fn contents(top: &Path) -> Vec<Shown> {
    let mut found = Vec::new();
    let mut pending = vec![top.to_owned()];
    while let Some(path) = pending.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        let bytes = if meta.is_dir() {
            pending.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            Vec::new()
        } else if meta.is_symlink() {
            fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
        } else {
            fs::read(&path).unwrap()
        };
        let links = if meta.is_dir() { 0 } else { meta.nlink() };
        found.push((path.strip_prefix(top).unwrap().to_owned(), (meta.mode(), meta.modified().unwrap(), links), bytes));
    }
    found.sort();
    found
}

fn missing(report: &RestoreReport) -> Vec<String> {
    let mut paths: Vec<_> =
        report.missing.iter().map(|problem| String::from_utf8(problem.path.clone()).unwrap()).collect();
    paths.sort();
    paths
}

#[test]
fn a_tree_comes_back_as_it_was() {
    let place = Place::new();
    for n in 0..30 {
        place.write(&format!("many/{}/{n}", n % 3), &noise(n, 10 + 3000 * n as usize));
    }
    place.write("large", &noise(99, 9_000_000));
    place.write("empty", b"");
    place.write("deep/a/b/c/d/file", b"deep");
    fs::create_dir(place.live("hollow")).unwrap();
    symlink("../nowhere", place.live("link")).unwrap();
    fs::hard_link(place.live("many/0/3"), place.live("deep/a/other")).unwrap();
    let sparse = File::create(place.live("sparse")).unwrap();
    sparse.set_len(50 << 20).unwrap();
    sparse.write_all_at(b"in the middle", 20 << 20).unwrap();
    fs::set_permissions(place.live("many/1"), fs::Permissions::from_mode(0o550)).unwrap();
    let old = SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000, 123_456_789);
    for path in ["deep/a/b", "deep/a", "hollow", "many/1", ""] {
        File::open(place.live(path)).unwrap().set_modified(old).unwrap();
    }
    let stored = place.backup();
    let report = place.restore(&stored, "", "out").unwrap();
    assert_eq!(contents(&place.at("out")), contents(&place.live("")));
    assert_eq!((report.files, report.links, report.symlinks, report.missing_count), (34, 1, 1, 0));
    assert_eq!(report.directories, 11);
    assert!(fs::metadata(place.at("out/sparse")).unwrap().blocks() * 512 < 1 << 20, "holes stay holes");
}

#[test]
fn a_part_comes_back_alone_and_links_follow_the_first_name_that_does() {
    let place = Place::new();
    place.write("a/first", b"one file");
    place.write("b/sub/own", b"other");
    for name in ["b/sub/second", "b/sub/third"] {
        fs::hard_link(place.live("a/first"), place.live(name)).unwrap();
    }
    let stored = place.backup();
    let report = place.restore(&stored, "b", "out").unwrap();
    assert_eq!((report.files, report.links, report.directories), (2, 1, 2));
    assert_eq!(fs::read(place.at("out/sub/third")).unwrap(), b"one file");
    assert_eq!(fs::metadata(place.at("out/sub/second")).unwrap().nlink(), 2);
    let report = place.restore(&stored, "b/sub/second", "single").unwrap();
    assert_eq!((report.files, report.links, report.directories), (1, 0, 0));
    assert_eq!(fs::read(place.at("single/second")).unwrap(), b"one file");
}

#[test]
fn a_damaged_frame_costs_exactly_its_files() {
    let place = Place::new();
    for n in 0..40 {
        place.write(&format!("{n:02}"), &noise(n, 100_000));
    }
    fs::hard_link(place.live("00"), place.live("zz")).unwrap();
    let stored = place.backup();
    place.damage();
    let report = place.restore(&stored, "", "out").unwrap();
    let lost = missing(&report);
    assert!((2..20).contains(&lost.len()), "{lost:?}");
    assert_eq!(report.missing_count as usize, lost.len());
    assert!(report.missing.iter().any(|problem| problem.message.contains("packs/")), "{:?}", report.missing[0]);
    assert_eq!(report.files + report.links + report.missing_count, 41);
    for n in (0..40).map(|n| format!("{n:02}")).chain(["zz".to_owned()]) {
        let restored = fs::read(place.at("out").join(&n)).ok();
        let expected = (!lost.contains(&n)).then(|| fs::read(place.live(&n)).unwrap());
        assert!(restored == expected, "{n}");
    }
}

#[test]
fn a_large_file_with_a_damaged_part_leaves_nothing_behind() {
    let place = Place::new();
    place.write("large", &noise(1, 6_000_000));
    place.write("small", b"small");
    let stored = place.backup();
    place.damage();
    let report = place.restore(&stored, "", "out").unwrap();
    assert_eq!(missing(&report), ["large"]);
    assert_eq!(fs::read_dir(place.at("out")).unwrap().count(), 1);
}

#[test]
fn a_second_copy_of_a_chunk_is_used() {
    let place = Place::new();
    place.write("a", &noise(1, 300_000));
    let stored = place.backup();
    // As if another host had stored the same at the same time: the index knows two packs.
    let first = place.archive.index.packs().unwrap();
    let others = Index::open(&place.at("other"), place.archive.id()).unwrap();
    let session = icecore_repo::Session::begin(place.archive.repository.clone(), Arc::new(others), 1).unwrap();
    let reader = place.archive.reader().unwrap();
    let mut writer = session.writer().unwrap();
    let manifest = ManifestReader::new(&reader, &stored.snapshot.manifest);
    let Some(Entry { node: Node::File(file), .. }) = manifest.get(b"a").unwrap() else { panic!() };
    for piece in icecore_format::manifest::pieces(&reader, &file.content) {
        let icecore_format::entry::Piece::Chunk { id, .. } = piece.unwrap() else { panic!() };
        writer.store(&reader.chunk(&id).unwrap()).unwrap();
    }
    writer.finish().unwrap();
    session.close().unwrap();
    place.archive.index.sync(&place.archive.repository).unwrap();
    assert!(place.archive.index.packs().unwrap().len() > first.len());
    place.damage();
    let report = place.restore(&stored, "", "out").unwrap();
    assert_eq!((report.files, report.missing_count), (1, 0));
    assert_eq!(fs::read(place.at("out/a")).unwrap(), noise(1, 300_000));
}

#[test]
fn nothing_is_touched_when_the_path_is_not_there_or_the_target_is_not_empty() {
    let place = Place::new();
    place.write("a", b"a");
    let stored = place.backup();
    assert!(matches!(place.restore(&stored, "b", "out"), Err(Error::NotFound(_))));
    assert!(!place.at("out").exists());
    assert!(matches!(place.restore(&stored, "", "live"), Err(Error::Target(_))));
}

#[test]
fn an_interrupted_restore_says_so() {
    let place = Place::new();
    place.write("a", b"a");
    let stored = place.backup();
    let progress = Progress::default();
    progress.stop();
    let job = RestoreJob { threads: 0, ..place.job(&stored, "", "out", Mode::New) };
    assert!(matches!(restore(&place.archive, &job, &progress), Err(Error::Interrupted)));
}

#[test]
fn a_restore_that_takes_longer_than_packs_wait_finds_what_a_prune_has_moved() {
    let place = Place::new();
    for number in 0..6 {
        place.write(&format!("goes/{number}"), &noise(number, 90_000));
        place.write(&format!("stays/{number}"), &noise(10 + number, 90_000));
    }
    let old = place.backup();
    fs::remove_dir_all(place.live("goes")).unwrap();
    let kept = place.backup();
    let (other, _) = Archive::open(place.store.clone(), &place.secret, &place.at("other")).unwrap();
    other.forget(&[old.id], &Progress::default()).unwrap();
    let options = PruneOptions { max_unused: MaxUnused::Bytes(0), ..PruneOptions::new("other") };
    for seconds in [4_000_100_000, 4_000_200_000] {
        let clock = || Timestamp { seconds, nanos: 0 };
        other.prune(&options, &clock, &Progress::default()).unwrap();
    }
    let listed = |archive: &Archive| -> Vec<_> { archive.index.packs().unwrap().iter().map(|(id, ..)| *id).collect() };
    let moved = listed(&place.archive).iter().filter(|pack| !listed(&other).contains(pack)).count();
    assert_eq!(moved, 2, "both packs of the first night");
    // This host still knows nothing of it.
    let report = place.restore(&kept, "", "out").unwrap();
    assert_eq!((report.files, report.missing_count), (6, 0));
    assert_eq!(fs::read(place.at("out/stays/3")).unwrap(), noise(13, 90_000));
    // What is truly lost is so after one more look.
    other.index.packs().unwrap().iter().for_each(|(pack, ..)| {
        let hex = pack.to_string();
        place.store.delete(&icecore_testkit::key(&format!("packs/{}/{hex}", &hex[..2]))).unwrap();
    });
    assert!(place.restore(&kept, "", "again").unwrap().missing_count > 0);
}

/// The same when the frames were planned before the prune.
#[test]
fn what_was_planned_before_a_prune_is_found_where_it_is_now() {
    let place = Place::new();
    place.write("goes", &noise(1, 600_000));
    place.write("stays", &noise(2, 900_000));
    let old = place.backup();
    fs::remove_file(place.live("goes")).unwrap();
    let kept = place.backup();
    let reader = place.archive.reader().unwrap();
    let Some(Entry { node: Node::File(file), .. }) =
        ManifestReader::new(&reader, &kept.snapshot.manifest).get(b"stays").unwrap()
    else {
        panic!()
    };
    let chunks: Vec<_> = icecore_format::manifest::pieces(&reader, &file.content)
        .map(|piece| match piece.unwrap() {
            icecore_format::entry::Piece::Chunk { id, .. } => id,
            piece => panic!("{piece:?}"),
        })
        .collect();
    let before: Vec<_> =
        chunks.iter().map(|chunk| place.archive.index.lookup().unwrap().locate(chunk).unwrap()).collect();
    let (other, _) = Archive::open(place.store.clone(), &place.secret, &place.at("other")).unwrap();
    other.forget(&[old.id], &Progress::default()).unwrap();
    let options = PruneOptions { max_unused: MaxUnused::Bytes(0), now: true, ..PruneOptions::new("other") };
    let clock = || Timestamp { seconds: 4_000_100_000, nanos: 0 };
    assert!(other.prune(&options, &clock, &Progress::default()).unwrap().deleted > 0);
    let needs = chunks.iter().zip(&before).map(|(chunk, at)| plan::Need { file: 0, to: 0, chunk: *chunk, at: at[0] });
    for frame in plan::plan(needs.collect()) {
        let mut plain = Vec::new();
        assert!(worker::read(&reader, &frame, &mut plain).unwrap().is_empty());
        assert_eq!(plain.len(), frame.frame.plain as usize);
    }
}

#[test]
fn a_snapshot_that_came_after_the_index_was_brought_up_to_date_comes_back() {
    let place = Place::new();
    place.write("a", &noise(1, 300_000));
    let (other, _) = Archive::open(place.store.clone(), &place.secret, &place.at("other")).unwrap();
    let stored = place.backup();
    let job = place.job(&stored, "", "out", Mode::New);
    let report = restore(&other, &job, &Progress::default()).unwrap();
    assert_eq!((report.files, report.missing_count), (1, 0), "{:?}", report.missing);
}
