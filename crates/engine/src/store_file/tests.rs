//! Whoever reads a file, and whatever is known of it, its pieces are the same.

use std::cell::Cell;
use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use icecore_format::cut::Cdc;
use icecore_format::entry::{Class, Content, Piece};
use icecore_format::id::ChunkId;
use icecore_format::keys::Secret;
use icecore_format::manifest::pieces;
use icecore_format::snapshot::ProblemKind;
use icecore_repo::Session;
use icecore_source::Root;
use icecore_testkit::MemoryStore;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tempfile::TempDir;

use super::*;

/// What the file system of the tests takes for a hole, bytes.
const BLOCK: usize = 4096;

const NOW: Timestamp = Timestamp { seconds: 4_000_000_000, nanos: 0 };

struct Place {
    room: TempDir,
    archive: Archive,
    tree: Tree,
    params: CutParams,
    progress: Progress,
}

impl Place {
    fn new() -> Self {
        let room = TempDir::new().unwrap();
        let live = room.path().join("live");
        fs::create_dir(&live).unwrap();
        let store = Arc::new(MemoryStore::new());
        let secret = Secret::new(b"icecore-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa".to_vec());
        Archive::create(store.clone(), &secret, "test", NOW).unwrap();
        let (archive, _) = Archive::open(store, &secret, &room.path().join("state")).unwrap();
        let tree = Tree::open(vec![Root { name: "live".to_owned(), path: live }]).unwrap();
        let params = CutParams {
            pages: 1024,
            structured: Cdc { min: 64, average: 256, max: 1024 },
            opaque: Cdc { min: 256, average: 1024, max: 4096 },
        };
        Self { room, archive, tree, params, progress: Progress::default() }
    }

    fn path(&self) -> PathBuf {
        self.room.path().join("live/file")
    }

    fn session(&self) -> Session {
        Session::begin(Arc::clone(&self.archive.repository), Arc::clone(&self.archive.index), 1).unwrap()
    }

    /// The file as a listing has it.
    fn listed(&self) -> Listed {
        Listed { path: b"file".to_vec(), stat: self.tree.open_file(b"file").unwrap().stat().unwrap() }
    }

    fn storer(&self, session: &Session, prove: bool) -> FileStorer<'_> {
        let writer = session.writer().unwrap();
        FileStorer::new(&self.tree, &self.params, &|| NOW, &self.progress, writer)
            .proving_with(prove.then_some(&self.archive), prove)
    }

    /// Stores the file by so many threads, in stretches of that many bytes.
    fn store(
        &self,
        session: &Session,
        listed: &Listed,
        before: Option<&File>,
        prove: bool,
        team: (usize, u64),
    ) -> Outcome {
        let (threads, stretch) = team;
        let team = Team::with_sizes(threads, 1, stretch);
        let mut owner = self.storer(session, prove).member_of(team.clone());
        let helpers: Vec<_> = (1..threads).map(|_| self.storer(session, false).member_of(team.clone())).collect();
        drop(team);
        thread::scope(|scope| {
            for mut helper in helpers {
                scope.spawn(move || {
                    helper.help_to_the_end();
                    helper.finish().unwrap();
                });
            }
            let outcome = owner.store(listed, before, None).unwrap();
            owner.help_to_the_end();
            owner.finish().unwrap();
            outcome
        })
    }
}

fn file_of(outcome: &Outcome) -> &File {
    match &outcome.entry.as_ref().expect("an entry").node {
        Node::File(file) => file,
        node => panic!("{node:?}"),
    }
}

/// Blocks of bytes of one kind.
#[derive(Debug, Clone)]
enum Run {
    Noise(u64, usize),
    Same(u8, usize),
    Pattern(Vec<u8>, usize),
    Hole(usize),
}

fn a_run() -> impl Strategy<Value = Run> {
    prop_oneof![
        4 => (any::<u64>(), 1..30_000usize).prop_map(|(seed, len)| Run::Noise(seed, len)),
        1 => (any::<u8>(), 1..20_000usize).prop_map(|(byte, len)| Run::Same(byte, len)),
        1 => (prop::collection::vec(any::<u8>(), 1..500), 1..20_000usize).prop_map(|(p, len)| Run::Pattern(p, len)),
        1 => (1..6usize).prop_map(|blocks| Run::Hole(blocks * BLOCK)),
    ]
}

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed;
    let next = || {
        // The top byte of a linear congruential generator (Knuth's MMIX).
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// Writes runs one behind the other, from `offset` on.
fn write(path: &PathBuf, offset: u64, runs: &[Run]) {
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path).unwrap();
    let mut at = offset;
    for run in runs {
        let bytes = match run {
            Run::Noise(seed, len) => noise(*seed, *len),
            Run::Same(byte, len) => vec![*byte; *len],
            Run::Pattern(pattern, len) => pattern.iter().copied().cycle().take(*len).collect(),
            Run::Hole(len) => {
                at = (at + *len as u64).next_multiple_of(BLOCK as u64);
                continue;
            }
        };
        file.write_all_at(&bytes, at).unwrap();
        at += bytes.len() as u64;
    }
    if file.metadata().unwrap().len() < at {
        file.set_len(at).unwrap();
    }
    file.sync_all().unwrap();
}

#[test]
fn proof_and_many_threads_change_nothing() {
    let place = Place::new();
    let runs = || prop::collection::vec(a_run(), 1..8);
    let class = prop_oneof![Just(None), Just(Some(Class::Opaque)), Just(Some(Class::Pages { page: 512 }))];
    let cases = (runs(), any::<prop::sample::Index>(), runs(), 0..3u8, class, 1..40_000u64, 2..5usize);
    let (kept, holes) = (Cell::new(0), Cell::new(0));
    TestRunner::new(Config { cases: 48, failure_persistence: None, ..Config::default() })
        .run(&cases, |(first, at, second, change, class, stretch, threads)| {
            let path = place.path();
            let _ = fs::remove_file(&path);
            write(&path, 0, &first);
            let before = class.map(|class| File { size: 0, class, content: Content::Missing, racy: false });
            let session = place.session();
            let alone = (1, 1);
            let stored = place.store(&session, &place.listed(), before.as_ref(), false, alone);
            session.close().unwrap();
            let before = file_of(&stored).clone();

            // Overwritten or grown, also beyond its end; made shorter between listing and reading; or as it was.
            let len = fs::metadata(&path).unwrap().len();
            let at = at.index(len as usize) as u64;
            if change == 0 {
                write(&path, at, &second);
            }
            let listed = place.listed();
            if change == 1 {
                OpenOptions::new().write(true).open(&path).unwrap().set_len(at).unwrap();
            }

            let session = place.session();
            let expected = place.store(&session, &listed, Some(&before), false, alone);
            let chunks = session.written().chunks;
            for (prove, team) in [(true, alone), (false, (threads, stretch)), (true, (threads, stretch))] {
                let found = place.store(&session, &listed, Some(&before), prove, team);
                prop_assert_eq!(&found.entry, &expected.entry, "{} {:?}", prove, team);
                prop_assert_eq!(&found.problem, &expected.problem);
                prop_assert_eq!(found.bytes_read, expected.bytes_read);
                prop_assert_eq!(session.written().chunks, chunks, "what no manifest names was stored");
            }
            session.close().unwrap();
            prop_assert_eq!(expected.problem.is_some(), change == 1 && at != listed.stat.size);

            let reader = place.archive.reader().unwrap();
            let read =
                |file: &File| pieces(&reader, &file.content).collect::<std::result::Result<Vec<_>, _>>().unwrap();
            let (old, new) = (read(&before), read(file_of(&expected)));
            kept.set(kept.get() + new.iter().filter(|piece| old.contains(piece)).count());
            holes.set(holes.get() + new.iter().filter(|piece| matches!(piece, Piece::Hole { .. })).count());
            prop_assert_eq!(new.iter().map(Piece::len).sum::<u64>(), file_of(&expected).size);
            Ok(())
        })
        .unwrap();
    assert!(kept.get() > 100, "hardly anything was left of what the files were before");
    if holes.get() == 0 {
        icecore_testkit::skip("the file system of temporary files keeps no holes");
    }
}

/// What only several threads store is all stored: it can be had back.
#[test]
fn what_many_threads_stored_comes_back() {
    let place = Place::new();
    let bytes = noise(1, 1 << 20);
    fs::write(place.path(), &bytes).unwrap();
    let session = place.session();
    let outcome = place.store(&session, &place.listed(), None, false, (3, 50_000));
    let closed = session.close().unwrap();
    assert_eq!(outcome.bytes_read, 1 << 20);
    assert!(closed.written.plain_bytes >= 1 << 20);
    let reader = place.archive.reader().unwrap();
    let mut back = Vec::new();
    for piece in pieces(&reader, &file_of(&outcome).content) {
        let Piece::Chunk { id, .. } = piece.unwrap() else { panic!("a hole") };
        back.extend_from_slice(&reader.chunk(&id).unwrap());
    }
    assert!(back == bytes);
}

/// An old chunk that is met again is looked up, unless all of them are known to stand in the index.
#[test]
fn what_the_index_lost_is_stored_again_where_it_is_met() {
    let database = [b"SQLite format 3\0\x10\0".to_vec(), noise(4, 60_000)].concat();
    for (content, class) in [(database, Class::Pages { page: 4096 }), (noise(5, 60_000), Class::Opaque)] {
        for team in [(1, u64::MAX), (2, 10_000)] {
            let place = Place::new();
            fs::write(place.path(), &content).unwrap();
            let listed = place.listed();
            let session = place.session();
            let stored = place.store(&session, &listed, None, false, team);
            session.close().unwrap();
            let before = file_of(&stored);
            assert_eq!(before.class, class);
            let reader = place.archive.reader().unwrap();
            let ids: Vec<_> = pieces(&reader, &before.content).filter_map(|piece| chunk_of(piece.unwrap())).collect();
            ids.iter().for_each(|id| place.archive.index.forget_chunk(id).unwrap());
            let met_again = |is_stored| {
                let session = place.session();
                let storer = |writer| {
                    FileStorer::new(&place.tree, &place.params, &|| NOW, &place.progress, writer)
                        .proving_with(Some(&place.archive), is_stored)
                        .member_of(Team::with_sizes(1, 1, team.1))
                };
                let mut storer = storer(session.writer().unwrap());
                let again = storer.store(&listed, Some(before), None).unwrap();
                storer.finish().unwrap();
                assert_eq!(file_of(&again).content, before.content);
                session.close().unwrap().written.chunks
            };
            assert_eq!(met_again(true), 0, "nothing is looked up");
            assert_eq!(met_again(false), ids.iter().collect::<HashSet<_>>().len() as u64);
            assert_eq!(met_again(false), 0, "all of it stands there again");
        }
    }
}

fn chunk_of(piece: Piece) -> Option<ChunkId> {
    match piece {
        Piece::Chunk { id, .. } => Some(id),
        Piece::Hole { .. } => None,
    }
}

#[test]
fn a_stretch_that_is_lost_by_a_panic_ends_the_backup() {
    let place = Place::new();
    fs::write(place.path(), noise(2, 300_000)).unwrap();
    let (session, listed) = (place.session(), place.listed());
    // The owner may be quicker and take all of them itself.
    for _ in 0..1000 {
        let team = Team::with_sizes(2, 1, 10_000);
        let mut owner = place.storer(&session, false).member_of(team.clone());
        let stretches = owner.stretches();
        drop(team);
        let (failed, lost) = thread::scope(|scope| {
            // A thread that panics drops what it holds.
            let thief = scope.spawn(move || stretches.recv().map(drop).is_ok());
            let failed = owner.store(&listed, None, None);
            drop(owner);
            (failed, thief.join().unwrap())
        });
        if lost {
            return assert!(matches!(failed, Err(Error::WorkerPanicked)));
        }
        assert!(failed.is_ok());
    }
    panic!("no stretch was ever lost");
}

#[test]
fn being_stopped_ends_the_backup_in_any_stretch() {
    let place = Place::new();
    fs::write(place.path(), noise(3, 300_000)).unwrap();
    let (session, listed) = (place.session(), place.listed());
    let team = Team::with_sizes(2, 1, 10_000);
    // The clock is asked when the file is opened: then it is too late to notice before its first stretch.
    let clock = || {
        place.progress.stop();
        NOW
    };
    let writer = || session.writer().unwrap();
    let storer = |writer| FileStorer::new(&place.tree, &place.params, &clock, &place.progress, writer);
    let (mut owner, mut helper) = (storer(writer()).member_of(team.clone()), storer(writer()).member_of(team));
    let failed = thread::scope(|scope| {
        scope.spawn(move || helper.help_to_the_end());
        let failed = owner.store(&listed, None, None);
        drop(owner);
        failed
    });
    assert!(matches!(failed, Err(Error::Interrupted)));
}

/// The memory of a process is a regular file, and nothing can be read at its beginning.
#[cfg(target_os = "linux")]
#[test]
fn what_cannot_be_read_concerns_the_file_alone() {
    let place = Place::new();
    let tree = Tree::open(vec![Root { name: "self".to_owned(), path: "/proc/self".into() }]).unwrap();
    let stat = tree.open_file(b"mem").unwrap().stat().unwrap();
    let listed = Listed { path: b"mem".to_vec(), stat: Stat { size: 60_000, blocks: 1000, ..stat } };
    let before = File { size: 60_000, class: Class::Opaque, content: Content::Missing, racy: false };
    let session = place.session();
    let mut outcomes = Vec::new();
    for threads in [1, 2] {
        let team = Team::with_sizes(threads, 1, 10_000);
        let storer = || FileStorer::new(&tree, &place.params, &|| NOW, &place.progress, session.writer().unwrap());
        let (mut owner, mut helper) = (storer().member_of(team.clone()), storer().member_of(team.clone()));
        drop(team);
        thread::scope(|scope| {
            scope.spawn(move || helper.help_to_the_end());
            let outcome = owner.store(&listed, Some(&before), None).unwrap();
            outcomes.push((outcome.entry, outcome.problem, outcome.bytes_read));
            drop(owner);
        });
    }
    let [alone, together] = &outcomes[..] else { panic!() };
    assert_eq!(alone, together);
    assert_eq!(alone.1.as_ref().unwrap().kind, ProblemKind::Unreadable);
    assert_eq!(session.close().unwrap().written.chunks, 0);
}
