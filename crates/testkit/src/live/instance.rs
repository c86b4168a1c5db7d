//! The usual work: what a mail archive does to its files all day.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::Work;

const PAGE: usize = 4096;
const PAGES: u64 = 256;
const CONTAINER: u64 = 256 << 10;
const INDEXES: u64 = 40;

/// Files and directories by their paths: the hash of a file, or the word `directory`.
pub type State = BTreeMap<PathBuf, String>;

/// The state of everything beneath a directory.
///
/// # Panics
/// If it cannot be read.
pub fn state(directory: &Path) -> State {
    let mut state = State::new();
    let mut pending = vec![directory.to_owned()];
    while let Some(at) = pending.pop() {
        for entry in fs::read_dir(&at).expect("a directory") {
            let path = entry.expect("an entry").path();
            let inside = path.strip_prefix(directory).expect("beneath").to_owned();
            if path.is_dir() {
                state.insert(inside, "directory".to_owned());
                pending.push(path);
            } else {
                let content = fs::read(&path).expect("a file");
                state.insert(inside, format!("{} {}", content.len(), blake3::hash(&content)));
            }
        }
    }
    state
}

/// What tells two states apart, a line each.
pub fn differences(expected: &State, found: &State) -> Vec<String> {
    let paths = expected.keys().chain(found.keys().filter(|path| !expected.contains_key(*path)));
    let differing = paths.filter(|path| expected.get(*path) != found.get(*path));
    differing.map(|path| format!("{}: {:?}, not {:?}", path.display(), found.get(path), expected.get(path))).collect()
}

/// Rewrites pages of databases, appends to containers, rewrites small files of the same size in place and by renaming,
/// creates, moves and removes files and directories; beneath `base` and `store` of one directory.
#[derive(Debug)]
pub struct Instance {
    directory: PathBuf,
    random: u64,
    steps: u64,
    container: u64,
    rest: Duration,
}

impl Instance {
    /// Fills a directory, with a pause after every later step.
    ///
    /// # Panics
    /// If it cannot be filled.
    pub fn fill(directory: &Path, rest: Duration) -> Self {
        let mut instance =
            Self { directory: directory.to_owned(), random: 0x1ce_c04e, steps: 0, container: 0, rest: Duration::ZERO };
        for name in ["base/index", "base/queue", "store/content"] {
            fs::create_dir_all(directory.join(name)).expect("a directory");
        }
        let bytes = instance.noise(PAGE * PAGES as usize);
        instance.write("base/master.fdb", &bytes);
        instance.write("store/mail.fdb", &bytes[PAGE * 16..]);
        for index in 0..INDEXES {
            instance.index(index, false);
        }
        for _ in 0..200 {
            instance.step();
        }
        instance.rest = rest;
        instance
    }

    fn below(&mut self, limit: u64) -> u64 {
        // splitmix64
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.random;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)) % limit
    }

    fn noise(&mut self, len: usize) -> Vec<u8> {
        (0..len.div_ceil(8)).flat_map(|_| self.below(u64::MAX).to_le_bytes()).take(len).collect()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path(name), bytes).expect("a file");
    }

    /// Some pages, not beside each other, and the header: a torn copy has one without the others.
    fn pages(&mut self, name: &str, pages: u64) {
        let file = OpenOptions::new().write(true).open(self.path(name)).expect("the database");
        for _ in 0..=self.below(3) {
            let page = self.noise(PAGE);
            let at = self.below(pages) * PAGE as u64;
            file.write_all_at(&page, at).expect("a page");
        }
        file.write_all_at(&self.steps.to_le_bytes(), 0).expect("the header");
    }

    fn append(&mut self) {
        let path = self.path(&format!("store/content/{:04}.dat", self.container));
        let len = 100 + self.below(2000) as usize;
        let bytes = self.noise(len);
        let mut file = OpenOptions::new().create(true).append(true).open(path).expect("a container");
        file.write_all(&bytes).expect("room");
        if file.metadata().expect("its size").len() >= CONTAINER {
            self.container += 1;
        }
    }

    /// A small file of always the same size.
    fn index(&mut self, index: u64, by_renaming: bool) {
        let name = format!("base/index/{index:02}.idx");
        let random = self.below(u64::MAX);
        let bytes = format!("{:020} {random:020}\n", self.steps);
        if by_renaming {
            self.write("base/index/new", bytes.as_bytes());
            fs::rename(self.path("base/index/new"), self.path(&name)).expect("a rename");
        } else {
            self.write(&name, bytes.as_bytes());
        }
    }

    /// A message comes, waits, moves to another directory, and goes with it.
    fn queue(&mut self) {
        let (message, room) = (self.steps % 50, self.steps % 7);
        let (waiting, kept) = (format!("base/queue/{message:02}.eml"), format!("base/queue/room{room}"));
        match self.below(4) {
            0 | 1 => {
                let len = self.below(3000) as usize;
                let bytes = self.noise(len);
                self.write(&waiting, &bytes);
            }
            2 if self.path(&waiting).exists() => {
                fs::create_dir_all(self.path(&kept)).expect("a directory");
                fs::rename(self.path(&waiting), self.path(&format!("{kept}/{message:02}.eml"))).expect("a rename");
            }
            _ => {
                let _ = fs::remove_file(self.path(&waiting));
                let _ = fs::remove_dir_all(self.path(&kept));
            }
        }
    }
}

impl Work for Instance {
    type Record = State;

    fn step(&mut self) {
        self.steps += 1;
        match self.below(6) {
            0 => self.pages("base/master.fdb", PAGES),
            1 => self.pages("store/mail.fdb", PAGES - 16),
            2 => self.append(),
            3 => {
                let index = self.below(INDEXES);
                let by_renaming = self.below(2) == 0;
                self.index(index, by_renaming);
            }
            _ => self.queue(),
        }
        thread::sleep(self.rest);
    }

    fn record(&mut self) -> State {
        state(&self.directory)
    }
}
