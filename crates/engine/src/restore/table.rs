//! A table that does not grow in memory: beyond a limit it goes to an unnamed file.
//!
//! ```text
//! page     4096 bytes: 170 slots, the first free one ends it
//! slot     key (16 bytes), value (8 bytes, 0 = free), in the byte order of this machine
//! ```
//! A key belongs to the page that its hash says, or to the first one behind it that had a free slot. The file doubles when
//! three of four slots are taken.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::fs::File;
use std::hash::BuildHasher;
use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use icecore_format::entry::PathBytes;

/// Entries in memory at most, in about 17 MiB. Tests want files.
const LIMIT: usize = if cfg!(test) { 100 } else { 400_000 };

const PAGE: usize = 4096;
const KEY: usize = size_of::<u128>();
const SLOT: usize = KEY + size_of::<u64>();
const SLOTS: usize = PAGE / SLOT;

/// Numbers by keys.
#[derive(Debug, Default)]
pub(super) struct Table {
    memory: HashMap<u128, NonZeroU64>,
    disk: Option<Disk>,
    /// Without it, everything stays in memory.
    directory: Option<PathBuf>,
}

impl Table {
    /// An empty one, whose file would stand in `directory`.
    pub fn new(directory: Option<&Path>) -> Self {
        Self { directory: directory.map(Path::to_owned), ..Self::default() }
    }

    pub fn get(&mut self, key: u128) -> io::Result<Option<NonZeroU64>> {
        match &mut self.disk {
            None => Ok(self.memory.get(&key).copied()),
            Some(disk) => Ok(disk.find(key)?.value()),
        }
    }

    /// The last value counts.
    pub fn insert(&mut self, key: u128, value: NonZeroU64) -> io::Result<()> {
        if let Some(disk) = &mut self.disk {
            if disk.is_full() {
                disk.grow()?;
            }
            return disk.insert(key, value);
        }
        self.memory.insert(key, value);
        match &self.directory {
            Some(directory) if self.memory.len() > LIMIT => {
                let mut disk = Disk::new(directory, (4 * LIMIT).div_ceil(SLOTS).next_power_of_two() as u64)?;
                self.memory.iter().try_for_each(|(key, value)| disk.insert(*key, *value))?;
                self.memory = HashMap::new();
                self.disk = Some(disk);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

#[derive(Debug)]
struct Disk {
    directory: PathBuf,
    file: File,
    /// A power of two.
    pages: u64,
    used: u64,
    page: Box<[u8; PAGE]>,
}

/// A slot in the page that was read last.
struct Place {
    page: u64,
    at: usize,
    value: u64,
}

impl Place {
    fn value(&self) -> Option<NonZeroU64> {
        NonZeroU64::new(self.value)
    }
}

impl Disk {
    fn new(directory: &Path, pages: u64) -> io::Result<Self> {
        let file = tempfile::tempfile_in(directory)?;
        file.set_len(pages * PAGE as u64)?;
        Ok(Self { directory: directory.to_owned(), file, pages, used: 0, page: Box::new([0; PAGE]) })
    }

    fn is_full(&self) -> bool {
        self.used >= self.pages * SLOTS as u64 / 4 * 3
    }

    fn grow(&mut self) -> io::Result<()> {
        let mut larger = Self::new(&self.directory, self.pages * 2)?;
        for page in 0..self.pages {
            self.read(page)?;
            for at in 0..SLOTS {
                if let (key, Some(value)) = (self.key(at), NonZeroU64::new(self.value(at))) {
                    larger.insert(key, value)?;
                }
            }
        }
        *self = larger;
        Ok(())
    }

    fn insert(&mut self, key: u128, value: NonZeroU64) -> io::Result<()> {
        let place = self.find(key)?;
        self.used += u64::from(place.value == 0);
        let mut slot = [0; SLOT];
        slot[..KEY].copy_from_slice(&key.to_ne_bytes());
        slot[KEY..].copy_from_slice(&value.get().to_ne_bytes());
        self.file.seek(SeekFrom::Start(place.page * PAGE as u64 + (place.at * SLOT) as u64))?;
        self.file.write_all(&slot)
    }

    /// The slot of a key, or the free one that it would get.
    fn find(&mut self, key: u128) -> io::Result<Place> {
        // Fibonacci hashing: numbers that follow each other go to different pages.
        let mixed = (key as u64 ^ (key >> 64) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut page = (mixed >> 20) & (self.pages - 1);
        loop {
            self.read(page)?;
            for at in 0..SLOTS {
                let value = self.value(at);
                if value == 0 || self.key(at) == key {
                    return Ok(Place { page, at, value });
                }
            }
            page = (page + 1) & (self.pages - 1);
        }
    }

    fn read(&mut self, page: u64) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(page * PAGE as u64))?;
        self.file.read_exact(&mut self.page[..])
    }

    fn key(&self, at: usize) -> u128 {
        self.page[at * SLOT..].first_chunk().map_or(0, |bytes| u128::from_ne_bytes(*bytes))
    }

    fn value(&self, at: usize) -> u64 {
        self.page[at * SLOT + KEY..].first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes))
    }
}

/// Makes keys of paths. Two paths share one as rarely as 128 bits allow, for seeds that nobody knows.
#[derive(Debug, Default)]
pub(super) struct PathKeys(RandomState, RandomState);

impl PathKeys {
    pub fn key(&self, path: &[u8]) -> u128 {
        u128::from(self.0.hash_one(path)) << 64 | u128::from(self.1.hash_one(path))
    }
}

/// Paths by number, in a file where there is a directory for it.
#[derive(Debug, Default)]
pub(super) struct Paths {
    kept: Option<Kept>,
    len: u64,
    directory: Option<PathBuf>,
}

#[derive(Debug)]
enum Kept {
    Memory(Cursor<Vec<u8>>),
    File(File),
}

impl Paths {
    /// None yet; their file would stand in `directory`.
    pub fn new(directory: Option<&Path>) -> Self {
        Self { directory: directory.map(Path::to_owned), ..Self::default() }
    }

    /// Keeps a path, for its number.
    pub fn push(&mut self, path: &[u8]) -> io::Result<NonZeroU64> {
        if self.kept.is_none() {
            self.kept = Some(match &self.directory {
                Some(directory) => Kept::File(tempfile::tempfile_in(directory)?),
                None => Kept::Memory(Cursor::default()),
            });
        }
        let at = self.len;
        let bytes = [&(path.len() as u64).to_ne_bytes(), path].concat();
        match &mut self.kept {
            Some(Kept::Memory(memory)) => put(memory, at, &bytes)?,
            Some(Kept::File(file)) => put(file, at, &bytes)?,
            None => {}
        }
        self.len += bytes.len() as u64;
        Ok(NonZeroU64::MIN.saturating_add(at))
    }

    /// The path of a number that [`push`](Self::push) gave.
    pub fn get(&mut self, number: NonZeroU64) -> io::Result<PathBytes> {
        match &mut self.kept {
            Some(Kept::Memory(memory)) => take(memory, number.get() - 1),
            Some(Kept::File(file)) => take(file, number.get() - 1),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

fn put(to: &mut (impl Write + Seek), at: u64, bytes: &[u8]) -> io::Result<()> {
    to.seek(SeekFrom::Start(at))?;
    to.write_all(bytes)
}

fn take(from: &mut (impl Read + Seek), at: u64) -> io::Result<PathBytes> {
    from.seek(SeekFrom::Start(at))?;
    let mut len = [0; size_of::<u64>()];
    from.read_exact(&mut len)?;
    let mut path = vec![0; u64::from_ne_bytes(len) as usize];
    from.read_exact(&mut path)?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn a_table_on_disk_is_a_map(pairs in prop::collection::vec((0..400_u64, 0..3_u64, 1..u64::MAX), 0..2000)) {
            let room = tempfile::tempdir().unwrap();
            let (mut table, mut map) = (Table::new(Some(room.path())), HashMap::new());
            for (low, high, value) in pairs {
                let (key, value) = (u128::from(high) << 64 | u128::from(low), NonZeroU64::new(value).unwrap());
                table.insert(key, value).unwrap();
                map.insert(key, value);
            }
            for key in (0..3).flat_map(|high| (0..400).map(move |low| high << 64 | low)) {
                prop_assert_eq!(table.get(key).unwrap(), map.get(&key).copied());
            }
            prop_assert_eq!(table.disk.is_some(), map.len() > LIMIT);
            prop_assert!(table.memory.len() <= LIMIT);
        }
    }

    #[test]
    fn paths_come_back_from_memory_and_from_a_file() {
        let room = tempfile::tempdir().unwrap();
        for directory in [None, Some(room.path())] {
            let mut paths = Paths::new(directory);
            let numbers: Vec<_> = (0..1000_usize).map(|n| paths.push(&b"x".repeat(n % 300)).unwrap()).collect();
            for (n, number) in numbers.into_iter().enumerate().rev() {
                assert_eq!(paths.get(number).unwrap(), b"x".repeat(n % 300));
            }
        }
    }
}
