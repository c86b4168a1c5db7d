//! Telling known from hot: lock-step over the listing and the parent's manifest, and the match of renamed files.

#[cfg(test)]
mod tests;

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

use icecore_format::entry::{Content, Entry, File, Node, Piece, Timestamp, compare_paths};
use icecore_format::id::ChunkId;
use icecore_format::manifest::{BlockSource, Entries, ManifestReader, ReadError, ReadFault, Root, pieces};
use icecore_repo::{ChunkReader, Index};
use icecore_source::{Kind, Stat};

/// Files of the parent that are remembered to match renames; beyond it, renamed files are read again, which costs time only.
const RENAMES_KEPT: usize = 1 << 19;

/// What is compared to call a file known.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Trust {
    pub(crate) inode: bool,
    pub(crate) ctime: bool,
    /// Nothing is known: everything is read.
    pub(crate) nothing: bool,
}

/// The parent's entries, met in the order of the listing.
pub(crate) struct Parent<'r> {
    index: &'r Index,
    reader: &'r ChunkReader,
    root: Root,
    entries: Option<Entries<'r, ChunkReader>>,
    /// What comes next of them, if that was read.
    ahead: Option<Entry>,
    /// Only some paths are asked for: what stands between them need not be read, and is not counted as removed.
    sparse: bool,
    renames: Option<HashMap<u64, (u32, u32)>>,
    paths: Vec<u8>,
    /// Entries of the parent that the listing does not have.
    pub(crate) removed: u64,
    /// Why the parent's manifest stopped being of use.
    pub(crate) failure: Option<String>,
}

impl<'r> Parent<'r> {
    pub(crate) fn new(index: &'r Index, reader: &'r ChunkReader, root: Root) -> Self {
        let entries = ManifestReader::new(reader, &root).entries();
        Self {
            index,
            reader,
            root,
            entries: Some(entries),
            ahead: None,
            sparse: false,
            renames: None,
            paths: Vec::new(),
            removed: 0,
            failure: None,
        }
    }

    /// Only some paths will be asked for.
    pub(crate) fn sparse(self) -> Self {
        Self { sparse: true, ..self }
    }

    /// The parent's entry of that path. Paths must be asked for in manifest order.
    pub(crate) fn at(&mut self, path: &[u8]) -> Option<Entry> {
        loop {
            let entries = self.entries.as_mut()?;
            let entry = match self.ahead.take() {
                Some(entry) => entry,
                None => {
                    if self.sparse {
                        entries.seek(path);
                    }
                    match entries.next()? {
                        Ok(entry) => entry,
                        Err(error) => {
                            self.failure = Some(error.to_string());
                            forget(self.index, &error);
                            continue;
                        }
                    }
                }
            };
            match compare_paths(&entry.path, path) {
                Ordering::Less => self.removed += 1,
                Ordering::Equal => return Some(entry),
                Ordering::Greater => {
                    self.ahead = Some(entry);
                    return None;
                }
            }
        }
    }

    /// Counts what is left of the parent as removed.
    pub(crate) fn finish(&mut self) {
        if let Some(entries) = self.entries.as_mut().filter(|_| !self.sparse) {
            self.removed += u64::from(self.ahead.take().is_some());
            self.removed += entries.filter(Result::is_ok).count() as u64;
        }
    }

    /// The parent's entry with the same inode, size and times under another path.
    pub(crate) fn renamed(&mut self, stat: &Stat) -> Option<Entry> {
        if stat.size == 0 || stat.kind != Kind::File {
            return None;
        }
        if self.renames.is_none() {
            self.remember_all();
        }
        let (from, to) = *self.renames.as_ref()?.get(&print(stat.inode, stat.size, stat.mtime, stat.ctime))?;
        let path = self.paths.get(from as usize..to as usize)?;
        let entry = ManifestReader::new(self.reader, &self.root).get(path).ok()??;
        same_file(&entry, stat, Trust { inode: true, ctime: true, nothing: false }).then_some(entry)
    }

    /// Reads the parent once more, when the first new file is met, to know its files by inode.
    fn remember_all(&mut self) {
        let mut renames = HashMap::new();
        for entry in ManifestReader::new(self.reader, &self.root).entries() {
            let Ok(entry) = entry else { break };
            let Node::File(File { size: 1.., .. }) = entry.node else { continue };
            let from = self.paths.len();
            let Some(to) = u32::try_from(from + entry.path.len()).ok().filter(|_| renames.len() < RENAMES_KEPT) else {
                break;
            };
            self.paths.extend_from_slice(&entry.path);
            let meta = &entry.meta;
            renames.insert(print(meta.inode, entry.size(), meta.mtime, meta.ctime), (from as u32, to));
        }
        self.renames = Some(renames);
    }
}

/// A fingerprint of what tells a file; a collision only costs a look at the entry, which is compared in full.
fn print(inode: u64, size: u64, mtime: Timestamp, ctime: Timestamp) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    (inode, size, mtime, ctime).hash(&mut hasher);
    hasher.finish()
}

/// Whether the content recorded in `entry` is what the file of that stat holds.
pub(crate) fn same_file(entry: &Entry, stat: &Stat, trust: Trust) -> bool {
    let Node::File(file) = &entry.node else { return false };
    !trust.nothing
        && stat.kind == Kind::File
        && !file.racy
        && file.content != Content::Missing
        && file.size == stat.size
        && entry.meta.mtime == stat.mtime
        && (!trust.ctime || entry.meta.ctime == stat.ctime)
        && (!trust.inode || entry.meta.inode == stat.inode)
}

/// Whether everything that only a system call can tell (targets, extended attributes) is as recorded: any change of it
/// changes the ctime, and nobody can set that back.
pub(crate) fn same_metadata(entry: &Entry, stat: &Stat) -> bool {
    let same_kind = matches!(
        (&entry.node, stat.kind),
        (Node::Directory, Kind::Directory)
            | (Node::File(_), Kind::File)
            | (Node::Symlink { .. }, Kind::Symlink)
            | (Node::Fifo, Kind::Fifo)
            | (Node::Socket, Kind::Socket)
            | (Node::CharDevice { .. }, Kind::CharDevice)
            | (Node::BlockDevice { .. }, Kind::BlockDevice)
    );
    same_kind && entry.meta.inode == stat.inode && entry.meta.ctime == stat.ctime && entry.meta.mtime == stat.mtime
}

/// A lost block counts as not stored from here on, so that this backup stores it again if it has to.
fn forget(index: &Index, error: &ReadError<icecore_repo::Error>) {
    let lost = match error.fault.as_ref() {
        ReadFault::Source(source) => source.is_loss(),
        _ => true,
    };
    if lost {
        // If the index cannot do that, the block stays as damaged as it is, and `check` says so.
        let _ = index.forget_chunk(&error.block);
    }
}

/// Whether everything of a file that would be carried over, its list of pieces too, stands in packs that may be relied on.
pub(crate) fn is_stored(index: &Index, reader: &ChunkReader, content: &Content) -> bool {
    pieces(&Relied(reader), content).all(|piece| match piece {
        Ok(Piece::Chunk { id, .. }) => reader.counts_as_stored(&id),
        Ok(Piece::Hole { .. }) => true,
        Err(error) => {
            let lost = match error.fault.as_ref() {
                ReadFault::Source(Unrelied::Lost(source)) => source.is_loss(),
                ReadFault::Source(Unrelied::Marked) => false,
                ReadFault::Block(_) => true,
            };
            if lost {
                let _ = index.forget_chunk(&error.block);
            }
            false
        }
    })
}

/// Gives only blocks that no later prune can take away unseen: a list that is carried over is not stored again.
struct Relied<'r>(&'r ChunkReader);

#[derive(Debug, thiserror::Error)]
enum Unrelied {
    #[error("it stands only where a prune will delete it")]
    Marked,
    #[error(transparent)]
    Lost(icecore_repo::Error),
}

impl BlockSource for Relied<'_> {
    type Error = Unrelied;

    fn block(&self, id: &ChunkId) -> Result<Arc<[u8]>, Unrelied> {
        let bytes = self.0.block(id).map_err(Unrelied::Lost)?;
        if self.0.counts_as_stored(id) { Ok(bytes) } else { Err(Unrelied::Marked) }
    }
}
