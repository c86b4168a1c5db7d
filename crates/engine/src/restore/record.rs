//! What the state directory remembers of restores that have begun and not ended, a small file for each target.
//!
//! A target is recorded before anything is changed in it and forgotten after everything is there. So whoever finds a record
//! knows that an earlier run was interrupted: which names it used for itself, and whether the machine was started since,
//! so that what it wrote may be lost although it looks whole.
//!
//! ```text
//! inode of the target
//! start of the machine
//! digits of the snapshots whose restores were interrupted, each with a space behind it
//! path in the snapshot, to the end
//! ```

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use icecore_format::entry::PathBytes;
use icecore_source::target::this_boot;

use crate::archive::Archive;

/// The record of one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    inode: u64,
    boot: String,
    /// Of the snapshots that were being restored: the digits that stand in names.
    pub snapshots: Vec<String>,
    /// What was being restored.
    pub base: PathBytes,
}

impl Record {
    /// What is recorded of a restore that begins. What is known of an earlier one still holds: only the end forgets it.
    pub fn begin(inode: u64, snapshot: String, base: PathBytes, earlier: Option<Self>) -> Self {
        let Self { boot, mut snapshots, .. } =
            earlier.unwrap_or_else(|| Self { inode, boot: this_boot(), snapshots: Vec::new(), base: PathBytes::new() });
        if !snapshots.contains(&snapshot) {
            snapshots.push(snapshot);
        }
        Self { inode, boot, snapshots, base }
    }

    /// Whether what was written since it was made is certain to be there.
    pub fn is_certain(&self) -> bool {
        !self.boot.is_empty() && self.boot == this_boot()
    }

    fn encode(&self) -> Vec<u8> {
        let snapshots: String = self.snapshots.iter().map(|snapshot| format!("{snapshot} ")).collect();
        let head = format!("{}\n{}\n{snapshots}\n", self.inode, self.boot);
        [head.as_bytes(), &self.base].concat()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut lines = bytes.splitn(4, |byte| *byte == b'\n');
        let mut text = || std::str::from_utf8(lines.next()?).ok();
        let (inode, boot) = (text()?.parse().ok()?, text()?.to_owned());
        let snapshots = text()?.split_whitespace().map(str::to_owned).collect();
        Some(Self { inode, boot, snapshots, base: lines.next()?.to_vec() })
    }
}

/// The records of one repository's restores.
#[derive(Debug)]
pub(super) struct Records(PathBuf);

impl Records {
    /// Beside the index.
    pub fn of(archive: &Archive) -> Self {
        Self(archive.index_path().with_file_name("restores"))
    }

    /// The record of the target at `path`, if it is of the directory that stands there now, with this inode. A record that
    /// cannot be read is none.
    pub fn get(&self, archive: &Archive, path: &Path, inode: u64) -> Option<Record> {
        let bytes = fs::read(self.place(archive, path)).ok()?;
        Record::decode(&bytes).filter(|record| record.inode == inode)
    }

    /// Remembers; durable on return.
    pub fn put(&self, archive: &Archive, path: &Path, record: &Record) -> io::Result<()> {
        fs::create_dir_all(&self.0)?;
        let place = self.place(archive, path);
        let new = place.with_extension("new");
        let mut file = File::create(&new)?;
        file.write_all(&record.encode())?;
        file.sync_all()?;
        fs::rename(&new, &place)?;
        // Elsewhere than on Unix directories cannot be opened, and need not be synchronised.
        File::open(&self.0).map_or(Ok(()), |directory| directory.sync_all())
    }

    /// Forgets.
    pub fn remove(&self, archive: &Archive, path: &Path) -> io::Result<()> {
        match fs::remove_file(self.place(archive, path)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    /// By a keyed hash of the path, which any byte may stand in.
    fn place(&self, archive: &Archive, path: &Path) -> PathBuf {
        let whole = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        self.0.join(archive.repository.id_key().id(whole.as_os_str().as_encoded_bytes()).to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_and_remembers_the_earlier_ones() {
        let first = Record::begin(7, "aa".into(), b"odd\npath\xff".to_vec(), None);
        assert_eq!(Record::decode(&first.encode()), Some(first.clone()));
        let torn = Record { boot: "another".into(), ..first };
        assert!(!torn.is_certain());
        let second = Record::begin(7, "bb".into(), PathBytes::new(), Some(torn));
        assert_eq!(
            (second.snapshots.as_slice(), second.boot.as_str()),
            (&["aa".to_owned(), "bb".to_owned()][..], "another")
        );
        assert_eq!(Record::decode(&second.encode()), Some(second));
        assert_eq!(Record::decode(b"7\nboot\n"), None);
    }
}
