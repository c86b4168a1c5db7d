//! What an application knows of its files: an account of every write, against which a restored copy is held.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

use blake3::{Hash, Hasher};

/// Bytes that are accounted for together, so that a write to a large file costs little.
const BLOCK: u64 = 16 << 10;

/// The files beneath a directory: their sizes, and the hashes of their blocks.
#[derive(Debug)]
pub struct Ledger {
    directory: PathBuf,
    files: BTreeMap<PathBuf, Account>,
}

#[derive(Debug, Default)]
struct Account {
    len: u64,
    blocks: Vec<Option<Hash>>,
}

impl Ledger {
    /// Reads everything beneath a directory.
    pub fn read(directory: &Path) -> io::Result<Self> {
        let mut ledger = Self { directory: directory.to_owned(), files: BTreeMap::new() };
        let mut pending = vec![PathBuf::new()];
        while let Some(inside) = pending.pop() {
            for entry in fs::read_dir(directory.join(&inside))? {
                let (entry, path) = entry.map(|entry| (entry.file_type(), inside.join(entry.file_name())))?;
                match entry? {
                    found if found.is_dir() => pending.push(path),
                    found if found.is_file() => ledger.note(&path, 0..u64::MAX)?,
                    _ => {}
                }
            }
        }
        Ok(ledger)
    }

    /// Some bytes of a file were written.
    pub fn note(&mut self, path: &Path, written: Range<u64>) -> io::Result<()> {
        let mut file = File::open(self.directory.join(path))?;
        let account = self.files.entry(path.to_owned()).or_default();
        account.len = file.metadata()?.len();
        account.blocks.resize(account.len.div_ceil(BLOCK) as usize, None);
        let (first, end) = (written.start / BLOCK, written.end.min(account.len).div_ceil(BLOCK));
        file.seek(SeekFrom::Start(first * BLOCK))?;
        for block in account.blocks.iter_mut().take(end as usize).skip(first as usize) {
            let mut bytes = Vec::with_capacity(BLOCK as usize);
            file.by_ref().take(BLOCK).read_to_end(&mut bytes)?;
            *block = Some(blake3::hash(&bytes));
        }
        Ok(())
    }

    /// A file is called something else now.
    pub fn renamed(&mut self, from: &Path, to: &Path) {
        if let Some(account) = self.files.remove(from) {
            self.files.insert(to.to_owned(), account);
        }
    }

    /// A file is gone.
    pub fn removed(&mut self, path: &Path) {
        self.files.remove(path);
    }

    /// How many files there are, and their bytes.
    pub fn totals(&self) -> (u64, u64) {
        (self.files.len() as u64, self.files.values().map(|account| account.len).sum())
    }

    /// A line for each file: hash, size, name.
    pub fn lines(&self) -> Vec<String> {
        let line = |(path, account): (&PathBuf, &Account)| {
            let mut hasher = Hasher::new();
            for block in account.blocks.iter().flatten() {
                hasher.update(block.as_bytes());
            }
            format!("{} {} {path:?}", hasher.finalize(), account.len)
        };
        self.files.iter().map(line).collect()
    }
}

/// The hash over the lines of a ledger, short.
pub fn seal(lines: &[String]) -> String {
    blake3::hash(lines.join("\n").as_bytes()).to_hex()[..8].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_that_was_kept_is_what_a_look_at_the_files_finds() {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path();
        fs::create_dir(at.join("d")).unwrap();
        fs::write(at.join("d/large"), vec![1; 100_000]).unwrap();
        fs::write(at.join("small"), "x").unwrap();
        fs::write(at.join("gone"), "x").unwrap();
        let mut ledger = Ledger::read(at).unwrap();
        let before = ledger.lines();

        fs::write(at.join("d/large"), [vec![1; 40_000], vec![2; 10_000], vec![1; 60_000]].concat()).unwrap();
        ledger.note(Path::new("d/large"), 40_000..110_000).unwrap();
        fs::rename(at.join("small"), at.join("d/other")).unwrap();
        ledger.renamed(Path::new("small"), Path::new("d/other"));
        fs::remove_file(at.join("gone")).unwrap();
        ledger.removed(Path::new("gone"));
        let found = Ledger::read(at).unwrap();
        assert_eq!(ledger.lines(), found.lines());
        assert_eq!((ledger.totals(), found.totals()), ((2, 110_001), (2, 110_001)));
        assert_ne!(seal(&before), seal(&ledger.lines()));

        fs::write(at.join("d/large"), [vec![1; 40_001], vec![2; 9_999], vec![1; 60_000]].concat()).unwrap();
        assert_ne!(ledger.lines(), Ledger::read(at).unwrap().lines(), "a byte is a difference");
    }
}
