//! Restores a manifest whose top leaf is the input into directories that stand full of traps, in every mode: whatever it
//! says, nothing outside of them changes. The first byte chooses the mode, the others are the leaf.
#![no_main]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use icecore_engine::restore::{Mode, RestoreJob, restore};
use icecore_engine::snapshot::{Root, Snapshot, Totals, Verdict};
use icecore_engine::{Archive, Progress, Stored};
use icecore_format::entry::Timestamp;
use icecore_format::id::SnapshotId;
use icecore_format::keys::Secret;
use icecore_format::manifest::{self, Block, BlockSink, decode_block};
use icecore_repo::{Index, Repository, Session};
use icecore_store::MemoryStore;
use libfuzzer_sys::fuzz_target;

/// Files may say to be huge; a sparse file of this many bytes costs nothing, and time to read it back neither.
const LARGEST: u64 = 1 << 40;

/// A repository in memory, opened twice: to write blocks, and to restore.
struct Place {
    directory: PathBuf,
    repository: Arc<Repository>,
    index: Arc<Index>,
    archive: Archive,
}

static PLACE: LazyLock<Place> = LazyLock::new(|| {
    // In memory where that is to be had: every restore in place waits for its file system.
    let memory = Path::new("/dev/shm");
    let room = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let directory = room.join(format!("icecore-fuzz-restore-{}", std::process::id()));
    let state = directory.join("state");
    fs::create_dir_all(&state).expect("a temporary directory");
    let store = Arc::new(MemoryStore::new());
    let secret = Secret::new(b"icecore-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa".to_vec());
    Archive::create(store.clone(), &secret, "fuzz", Timestamp::default()).expect("a repository");
    let (archive, _) = Archive::open(store.clone(), &secret, &state).expect("the repository");
    let repository = Arc::new(Repository::open(store, &secret).expect("the repository again"));
    let index = Arc::new(Index::open(&state, repository.id()).expect("its index"));
    Place { directory, repository, index, archive }
});

fuzz_target!(|data: &[u8]| {
    let Some((&choice, leaf)) = data.split_first() else { return };
    let Ok(Block::Entries(entries)) = decode_block(leaf) else { return };
    if entries.iter().any(|entry| entry.size() > LARGEST) {
        return;
    }
    let stored = plant(leaf, entries.len() as u64);
    let arena = PLACE.directory.join("arena");
    let _ = fs::remove_dir_all(&arena);
    let mode = match choice % 4 {
        0 => Mode::New,
        1 => Mode::InPlace { delete: false },
        2 => Mode::InPlace { delete: true },
        _ => Mode::Exchange,
    };
    let target = arena.join("target");
    lay_traps(&arena, &target, mode);
    let before = look(&arena.join("outside"));
    let job = RestoreJob { mode, numeric_ids: true, ..RestoreJob::new(&stored, Vec::new(), target) };
    // Refusing is as good as restoring what is harmless.
    let _ = restore(&PLACE.archive, &job, &Progress::default());
    assert_eq!(before, look(&arena.join("outside")));
    for entry in fs::read_dir(&arena).expect("the arena stands") {
        let name = entry.expect("an entry").file_name().into_string().expect("a name of ours");
        assert!(["outside", "target"].contains(&&*name) || name.contains("target."), "{name}");
    }
});

fn plant(leaf: &[u8], entries: u64) -> Stored {
    let session = Session::begin(PLACE.repository.clone(), PLACE.index.clone(), 1).expect("a session");
    let mut writer = session.writer().expect("a writer");
    writer.store(b"evil").expect("a chunk");
    let id = writer.put_block(leaf).expect("a block");
    writer.finish().expect("an end");
    session.close().expect("a closed session");
    let snapshot = Snapshot {
        instance: "fuzz".to_owned(),
        host: String::new(),
        user: String::new(),
        program: String::new(),
        tags: Vec::new(),
        roots: vec![Root { name: "root".to_owned(), path: b"/nowhere".to_vec() }],
        started: Timestamp::default(),
        taken: Timestamp::default(),
        finished: Timestamp::default(),
        manifest: manifest::Root { id, height: 0, entries },
        parent: None,
        users: Default::default(),
        groups: Default::default(),
        totals: Totals::default(),
        verdict: Verdict::Stable,
        receipt: None,
        problems: Vec::new(),
        problem_count: 0,
        excludes: Vec::new(),
        protected_until: None,
        corrects: None,
        origin: None,
        exclude_caches: false,
        one_file_system: false,
    };
    Stored { id: SnapshotId::from_bytes([7; 32]), snapshot, notes: Default::default() }
}

/// Something outside that must stay, and a target with ways to it under the names that inputs like to have.
fn lay_traps(arena: &Path, target: &Path, mode: Mode) {
    fs::create_dir_all(arena.join("outside/d")).expect("a directory");
    fs::write(arena.join("outside/secret"), "secret").expect("a file");
    if mode == Mode::New {
        return;
    }
    fs::create_dir(target).expect("a directory");
    for name in ["a", "d"] {
        std::os::unix::fs::symlink("../outside", target.join(name)).expect("a link");
    }
    fs::hard_link(arena.join("outside/secret"), target.join("b")).expect("a hard link");
}

/// Everything outside: names, sizes, content, modes and times.
fn look(top: &Path) -> Vec<String> {
    use std::os::unix::fs::MetadataExt;
    let mut found = Vec::new();
    let mut pending = vec![top.to_owned()];
    while let Some(path) = pending.pop() {
        let meta = fs::symlink_metadata(&path).expect("it stands");
        let content = if meta.is_file() { fs::read(&path).expect("a file") } else { Vec::new() };
        found.push(format!("{path:?} {:o} {} {:?} {content:?}", meta.mode(), meta.uid(), meta.modified()));
        if meta.is_dir() {
            pending.extend(fs::read_dir(&path).expect("a directory").map(|entry| entry.expect("an entry").path()));
        }
    }
    found.sort();
    found
}
