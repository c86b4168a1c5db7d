//! A history of a repository with every effect recorded, and what must hold wherever it is cut.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use icecore_engine::backup::{Job, Report, backup};
use icecore_engine::entry::{PathBytes, Timestamp};
use icecore_engine::id::SnapshotId;
use icecore_engine::keys::{Role, Secret};
use icecore_engine::restore::{RestoreJob, restore};
use icecore_engine::{Archive, CheckOptions, Progress, Stored};
use icecore_source::{Root, Rules};
use icecore_store::{Key, Listed, MemoryStore, Put, Result as StoreResult, Store};
use icecore_testkit::small_repository::{FRAME_SIZE, secret, small_repository};
use icecore_testkit::{CrashLog, Fate};
use tempfile::TempDir;

use crate::common::{differences, noise, settle, text, write};

/// The log of everything that reached the store.
pub type Log = CrashLog<MemoryStore>;

/// Plain bytes of manifest blocks that may differ between two snapshots of the same tree: whether a file was racy stands
/// in its entry. Less than one frame of data.
const MANIFEST_SLACK: u64 = FRAME_SIZE as u64 / 2;

/// A store that asks a closure what becomes of each object that is put.
pub struct Tap<F> {
    pub log: Arc<Log>,
    pub put: F,
}

impl<F> std::fmt::Debug for Tap<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tap").finish_non_exhaustive()
    }
}

impl<F: Fn(&Log, &Key, &[u8]) -> StoreResult<Put> + Send + Sync> Store for Tap<F> {
    fn put(&self, key: &Key, parts: &[&[u8]]) -> StoreResult<Put> {
        (self.put)(&self.log, key, &parts.concat())
    }

    fn get(&self, key: &Key) -> StoreResult<Vec<u8>> {
        self.log.get(key)
    }

    fn get_range(&self, key: &Key, range: Range<u64>, buffer: &mut Vec<u8>) -> StoreResult<()> {
        self.log.get_range(key, range, buffer)
    }

    fn size(&self, key: &Key) -> StoreResult<Option<u64>> {
        self.log.size(key)
    }

    fn list(&self, directory: &str, each: &mut dyn FnMut(Listed) -> StoreResult<()>) -> StoreResult<()> {
        self.log.list(directory, each)
    }

    fn delete(&self, key: &Key) -> StoreResult<()> {
        self.log.delete(key)
    }

    fn location(&self) -> String {
        self.log.location()
    }
}

/// A backup that returned.
struct Commit {
    id: SnapshotId,
    /// From so many events on it must be there.
    event: usize,
    /// What the tree was.
    copy: PathBuf,
}

/// When a password opens the repository, in events.
struct Access {
    secret: Secret,
    opens: Range<usize>,
    /// From here on it must be refused.
    gone: usize,
}

/// What happened to a repository.
pub struct History {
    pub log: Arc<Log>,
    directory: TempDir,
    commits: Vec<Commit>,
    accesses: Vec<Access>,
    /// Plain bytes of everything that was ever stored, each chunk once.
    unique: u64,
}

impl History {
    /// A repository that was just made, and a tree of a few MiB.
    pub fn begin() -> Self {
        let store = MemoryStore::new();
        small_repository(&store, &secret(1));
        let history = Self {
            log: Arc::new(CrashLog::new(store).unwrap()),
            directory: place(),
            commits: Vec::new(),
            accesses: vec![Access { secret: secret(1), opens: 0..usize::MAX, gone: usize::MAX }],
            unique: 0,
        };
        grow(&history.live());
        fs::create_dir(history.path("states")).unwrap();
        history
    }

    /// Everything that happens in weeks: backups of a changing tree, care of keys, a new index.
    pub fn run() -> Self {
        let mut history = Self::begin();
        let (state, states) = (history.path("state"), history.path("states"));
        let put = move |log: &Log, key: &Key, bytes: &[u8]| {
            let put = log.put(key, &[bytes]);
            copy_state(&state, &states.join(log.len().to_string()));
            put
        };
        let store = Arc::new(Tap { log: Arc::clone(&history.log), put });
        let archive = open(store, &secret(1), &history.path("state")).unwrap();
        history.back_up(&archive).unwrap();
        change(&history.live(), 1);
        history.back_up(&archive).unwrap();

        let now = now();
        archive.add_key(Role::Reader, &secret(2), "second", now).unwrap();
        let added = history.log.len();
        let (third, _) = archive.change_key(&secret(2), &secret(3), now).unwrap();
        let changed = history.log.len();
        history.accesses.push(Access { secret: secret(2), opens: added..changed - 1, gone: changed });
        archive.remove_key(&third.to_string()).unwrap();
        history.accesses.push(Access { secret: secret(3), opens: changed..changed + 1, gone: history.log.len() });

        let rebuilt = archive.rebuild_index(|_, _| {}).unwrap();
        assert!(rebuilt.damaged.is_empty() && rebuilt.missing.is_empty(), "{rebuilt:?}");
        change(&history.live(), 2);
        history.back_up(&archive).unwrap();
        history.unique = archive.totals().unwrap().plain_bytes;
        history
    }

    /// Backs the live tree up and keeps a copy of it.
    pub fn back_up(&mut self, archive: &Archive) -> Result<(), String> {
        settle();
        let report = take(archive, &self.live())?;
        let copy = self.path(&format!("copy-{}", self.commits.len()));
        let copied = Command::new("cp").arg("-a").args([&self.live(), &copy]).status().unwrap();
        assert!(copied.success());
        self.commits.push(Commit { id: report.id, event: self.log.len(), copy });
        self.unique = archive.totals().unwrap().plain_bytes;
        Ok(())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The tree that is backed up, as it is at the end.
    pub fn live(&self) -> PathBuf {
        self.path("live")
    }

    /// The state directory as it was after the last event that ended by `cut`; empty before the first.
    pub fn state_at(&self, cut: usize) -> PathBuf {
        let latest =
            (0..=cut).rev().map(|event| self.path("states").join(event.to_string())).find(|path| path.exists());
        latest.unwrap_or_else(|| self.path("none"))
    }

    /// Each number of events after which the power may fail, with each of these fates of what was under way then.
    pub fn cuts(&self, fates: &[Fate]) -> Vec<(usize, Fate)> {
        use icecore_testkit::crash::Event;
        let mut cuts = vec![(0, Fate::Absent)];
        let mut under_way = 0;
        for (before, event) in self.log.events().iter().enumerate() {
            match event {
                Event::PutBegun { .. } | Event::DeleteBegun { .. } => under_way += 1,
                Event::PutEnded { .. } | Event::DeleteEnded { .. } => under_way -= 1,
            }
            // Where nothing is under way, its fate changes nothing.
            let different = if under_way == 0 { &[Fate::Absent] } else { fates };
            cuts.extend(different.iter().map(|fate| (before + 1, *fate)));
        }
        cuts
    }

    /// Whether all is well with what a restart finds after `cut` events: whatever was promised is there, and work goes on.
    pub fn survives(&self, cut: usize, store: &Arc<dyn Store>, state: &Path) -> Result<(), String> {
        self.keys_fit(cut, store)?;
        let archive = open(Arc::clone(store), &secret(1), state)?;
        let known = archive.totals().map_err(text_of)?.plain_bytes;
        self.snapshots_are_exact(cut, &archive)?;
        sound(&archive)?;

        let report = take(&archive, &self.live())?;
        let totals = report.snapshot.totals;
        if totals.bytes_new + known > self.unique + MANIFEST_SLACK {
            let (new, unique) = (totals.bytes_new, self.unique);
            return Err(format!("of {unique} bytes, {known} were known, and yet {new} were stored"));
        }
        let catalogue = archive.catalogue().map_err(text_of)?;
        let taken =
            catalogue.snapshots.iter().find(|stored| stored.id == report.id).ok_or("the backup left no trace")?;
        restores_as(&archive, taken, &self.live())?;
        sound(&archive)?;

        let rebuilt = archive.rebuild_index(|_, _| {}).map_err(text_of)?;
        if !rebuilt.damaged.is_empty() || !rebuilt.missing.is_empty() {
            return Err(format!("{rebuilt:?}"));
        }
        sound(&archive)
    }

    fn keys_fit(&self, cut: usize, store: &Arc<dyn Store>) -> Result<(), String> {
        for (number, access) in self.accesses.iter().enumerate() {
            let state = place();
            let opened = Archive::open(Arc::clone(store), &access.secret, state.path());
            match opened {
                Err(error) if access.opens.contains(&cut) => return Err(format!("password {number}: {error}")),
                Ok(_) if cut >= access.gone => return Err(format!("password {number} still opens")),
                _ => {}
            }
        }
        Ok(())
    }

    /// Every snapshot that was promised is there, and every one that is there is exact.
    fn snapshots_are_exact(&self, cut: usize, archive: &Archive) -> Result<(), String> {
        let catalogue = archive.catalogue().map_err(text_of)?;
        if !catalogue.damaged.is_empty() {
            return Err(format!("{:?}", catalogue.damaged));
        }
        for commit in &self.commits {
            match catalogue.snapshots.iter().find(|stored| stored.id == commit.id) {
                Some(stored) => restores_as(archive, stored, &commit.copy)?,
                None if commit.event <= cut => return Err(format!("snapshot {} is gone", commit.id.short())),
                None => {}
            }
        }
        Ok(())
    }
}

/// Opens a repository that must not complain.
pub fn open(store: Arc<dyn Store>, secret: &Secret, state: &Path) -> Result<Archive, String> {
    let (archive, damaged) = Archive::open(store, secret, state).map_err(text_of)?;
    if damaged.is_empty() { Ok(archive) } else { Err(damaged.join("; ")) }
}

/// Takes a snapshot.
pub fn take(archive: &Archive, live: &Path) -> Result<Report, String> {
    let clock = now;
    let job = Job {
        instance: "live".to_owned(),
        host: "host".to_owned(),
        user: "user".to_owned(),
        program: "test".to_owned(),
        tags: Vec::new(),
        protected_until: None,
        roots: vec![Root { name: "live".to_owned(), path: live.to_owned() }],
        rules: Rules { threads: 2, ..Rules::default() },
        excludes: Vec::new(),
        ignore_inode: false,
        ignore_ctime: false,
        rehash: false,
        level: 1,
        threads: 2,
        pace: None,
        priority: Default::default(),
        freeze: None,
        clock: &clock,
    };
    backup(archive, &job, &Progress::default()).map_err(text_of)
}

/// Whether a snapshot restores as a tree.
pub fn restores_as(archive: &Archive, stored: &Stored, original: &Path) -> Result<(), String> {
    let place = place();
    let target = place.path().join("restored");
    let job = RestoreJob::new(stored, PathBytes::new(), target.clone());
    let job = RestoreJob { numeric_ids: true, threads: 2, ..job };
    let report = restore(archive, &job, &Progress::default()).map_err(text_of)?;
    if report.missing_count > 0 {
        return Err(format!("snapshot {}: {:?}", stored.id.short(), report.missing));
    }
    let found = differences(original, &target);
    if found.is_empty() { Ok(()) } else { Err(format!("snapshot {}: {found:?}", stored.id.short())) }
}

/// A check that reads all data finds nothing; packs that no index names are no damage.
pub fn sound(archive: &Archive) -> Result<(), String> {
    let options = CheckOptions { read_percent: 100, until: None, now: Timestamp::default(), threads: 2 };
    let report = archive.check(options, &Progress::default()).map_err(text_of)?;
    if report.is_clean() { Ok(()) } else { Err(format!("{:?} {:?}", report.findings, report.damaged_files)) }
}

/// A temporary directory, in memory where that is to be had: the order of syncs is traced elsewhere, here they only wait.
pub fn place() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// The time now, from the same clock as file systems have.
pub fn now() -> Timestamp {
    let elapsed = UNIX_EPOCH.elapsed().unwrap();
    Timestamp { seconds: elapsed.as_secs() as i64, nanos: elapsed.subsec_nanos() }
}

/// Copies the SQLite file and its journal as a crash would leave them; the rest of the state lives in memory.
pub fn copy_state(from: &Path, to: &Path) {
    for repository in fs::read_dir(from).into_iter().flatten().map(Result::unwrap) {
        let target = to.join(repository.file_name());
        fs::create_dir_all(&target).unwrap();
        for file in fs::read_dir(repository.path()).unwrap().map(Result::unwrap) {
            if !file.file_name().to_string_lossy().ends_with("-shm") {
                fs::copy(file.path(), target.join(file.file_name())).unwrap();
            }
        }
    }
}

fn text_of(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn grow(live: &Path) {
    write(live.join("mail/2018/container"), noise(1, 900 << 10));
    write(live.join("mail/2019/container"), noise(2, 900 << 10));
    write(live.join("mail/2019/copy"), noise(2, 900 << 10));
    write(live.join("notes/long"), text(3, 300 << 10));
    for number in 0..12 {
        write(live.join(format!("notes/{number}")), text(number, 200 * number as usize));
    }
    fs::create_dir(live.join("empty")).unwrap();
    fs::hard_link(live.join("notes/7"), live.join("linked")).unwrap();
    std::os::unix::fs::symlink("notes/long", live.join("symlink")).unwrap();
}

fn change(live: &Path, seed: u64) {
    let grown = [fs::read(live.join("mail/2019/container")).unwrap(), noise(10 + seed, 500 << 10)].concat();
    write(live.join("mail/2019/container"), grown);
    write(live.join(format!("mail/202{seed}/container")), noise(20 + seed, 700 << 10));
    write(live.join("notes/1"), text(30 + seed, 5000));
    fs::remove_file(live.join(format!("notes/{}", 1 + seed))).unwrap();
    fs::rename(live.join("notes/5"), live.join("renamed"))
        .or_else(|_| fs::rename(live.join("renamed"), live.join("notes/5")))
        .unwrap();
}
