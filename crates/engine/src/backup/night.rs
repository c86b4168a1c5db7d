//! What was found and written since the parent, over all passes of a run: a warm round's work is the snapshot's too.

use std::collections::HashSet;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use icecore_format::snapshot::Totals;
use icecore_repo::session::Written;

#[derive(Debug, Default)]
pub(super) struct Night {
    pub(super) files_new: u64,
    pub(super) files_changed: u64,
    pub(super) files_renamed: u64,
    pub(super) entries_removed: u64,
    pub(super) bytes_read: u64,
    pub(super) written: Written,
    /// Why the parent stopped being of use.
    pub(super) failure: Option<String>,
    /// Files that were counted as new or changed, where several passes may meet them: hashes of their paths.
    pub(super) counted: Option<HashSet<u64>>,
}

impl Night {
    /// Whether the file was not counted yet.
    pub(super) fn is_first_sight(&mut self, path: &[u8]) -> bool {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(path);
        self.counted.as_mut().is_none_or(|counted| counted.insert(hash))
    }

    /// Adds what a closed session wrote.
    pub(super) fn add(&mut self, written: Written) {
        self.written.chunks += written.chunks;
        self.written.plain_bytes += written.plain_bytes;
        self.written.stored_bytes += written.stored_bytes;
        self.written.packs += written.packs;
    }

    /// The totals of the snapshot, whose entries are counted in `last`, the totals of the last pass.
    pub(super) fn totals(&self, last: Totals, has_parent: bool) -> Totals {
        // Without a parent everything is new; with one, a file that was new in a warm round may be gone by now.
        let files_new = if has_parent { self.files_new.min(last.files) } else { last.files };
        let files_changed = self.files_changed.min(last.files - files_new);
        Totals {
            files_new,
            files_changed,
            files_unchanged: last.files - files_new - files_changed,
            files_renamed: self.files_renamed,
            entries_removed: self.entries_removed,
            bytes_read: self.bytes_read,
            chunks_new: self.written.chunks,
            bytes_new: self.written.plain_bytes,
            bytes_added: self.written.stored_bytes,
            ..last
        }
    }
}
