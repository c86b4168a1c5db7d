//! Snapshots as a file system shows them: single entries, the children of a directory, any range of a file, for many threads.
//!
//! ```text
//! entry at a position ──┐
//! entry at a path ──────┼─▶ manifest blocks ─┐
//! children of a path ───┘                    ├─▶ chunk ─▶ locations ─▶ frame (kept, bounded) ─▶ verified once in each frame
//! range of a file ──▶ pieces from an offset ─┘
//! ```
//!
//! Nothing is remembered of an entry that cannot be found again by its position, so memory does not grow with what is looked at.

mod content;
mod frames;
mod kept;

use std::mem::size_of;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use icecore_format::entry::{Content, Entry, Node, Piece};
use icecore_format::id::ChunkId;
use icecore_format::manifest::{BlockSource, ManifestReader, Root};
use icecore_repo::{Catalogue, ChunkReader, Error as RepositoryError};

use self::frames::{Frames, Held};
use self::kept::Kept;
use crate::archive::Archive;
use crate::error::Result;

/// Bytes of decoded entries that are kept.
const ENTRIES_KEPT: u64 = 16 << 20;

/// Access to the snapshots of an archive. What is damaged or gone is an error of exactly the call that needs it.
#[derive(Debug)]
pub struct Access {
    archive: Archive,
    /// Readers that no thread uses at the moment: as many as there were threads at once.
    readers: Mutex<Vec<ChunkReader>>,
    frames: Frames,
    entries: Mutex<Kept<(ChunkId, u64), Arc<Shown>>>,
    /// How often the index was brought up to date.
    syncs: Mutex<u64>,
}

/// An entry and where it stands in its manifest.
#[derive(Debug)]
pub struct Shown {
    /// The number of entries that stand before it.
    pub position: u64,
    /// The position of the first entry of the same inode; its own unless it is a further hard link.
    pub inode: u64,
    /// The entry.
    pub entry: Entry,
}

/// Some children of a directory.
#[derive(Debug, Default)]
pub struct Children {
    /// In the order of the manifest.
    pub found: Vec<Arc<Shown>>,
    /// No others follow.
    pub ended: bool,
    /// Some of the directory's children may stand in a part of the manifest that cannot be read.
    pub damaged: bool,
}

impl Access {
    /// One that keeps about `cache` bytes of opened frames in memory.
    pub fn new(archive: &Archive, cache: u64) -> Self {
        Self {
            archive: archive.clone(),
            readers: Mutex::default(),
            frames: Frames::new(cache),
            entries: Mutex::new(Kept::new(ENTRIES_KEPT)),
            syncs: Mutex::default(),
        }
    }

    /// Every snapshot that there is now, the oldest first; brings the index up to date.
    pub fn snapshots(&self) -> Result<Catalogue> {
        let known = *lock(&self.syncs);
        self.sync(known)?;
        self.archive.catalogue()
    }

    /// The entry at a position of a manifest.
    pub fn entry(&self, root: &Root, position: u64) -> Result<Option<Arc<Shown>>> {
        if let Some(kept) = lock(&self.entries).get(&(root.id, position)) {
            return Ok(Some(kept));
        }
        let found = ManifestReader::new(self, root).at(position)?;
        Ok(found.map(|entry| self.keep(root, position, entry)))
    }

    /// The entry at a path of a manifest.
    pub fn find(&self, root: &Root, path: &[u8]) -> Result<Option<Arc<Shown>>> {
        let found = self.locate(root, path)?;
        Ok(found.map(|(position, entry)| self.keep(root, position, entry)))
    }

    /// At most `limit` children of the directory at a path, those behind the child `after` if it is given.
    pub fn children(&self, root: &Root, directory: &[u8], after: Option<&[u8]>, limit: usize) -> Children {
        let mut children = ManifestReader::new(self, root).children(directory);
        if let Some(name) = after {
            children.skip_past(name);
        }
        let mut listed = Children::default();
        while listed.found.len() < limit {
            match children.next() {
                None => {
                    listed.ended = true;
                    break;
                }
                Some(Ok(entry)) => listed.found.push(self.keep(root, children.position(), entry)),
                Some(Err(_)) => listed.damaged = true,
            }
        }
        listed
    }

    fn locate(&self, root: &Root, path: &[u8]) -> Result<Option<(u64, Entry)>> {
        let mut entries = ManifestReader::new(self, root).subtree(path);
        let found = entries.next().transpose()?.filter(|entry| entry.path == path);
        Ok(found.map(|entry| (entries.position(), entry)))
    }

    /// Remembers an entry as long as there is room.
    fn keep(&self, root: &Root, position: u64, entry: Entry) -> Arc<Shown> {
        // A first name that a repair could not save, or that cannot be read, leaves the others files of their own.
        let first = entry.link_of.as_ref().and_then(|first| self.locate(root, first).ok().flatten());
        let inode = first.map_or(position, |(first, _)| first);
        let bytes = weight(&entry);
        let shown = Arc::new(Shown { position, inode, entry });
        lock(&self.entries).insert((root.id, position), Arc::clone(&shown), bytes);
        shown
    }

    /// A chunk, compared with its id. What a prune has moved since the index was read is looked for again.
    fn chunk(&self, id: &ChunkId) -> icecore_repo::Result<Held> {
        let known = *lock(&self.syncs);
        match self.look_for(id) {
            Err(error) if may_have_moved(&error) => {
                self.sync(known)?;
                self.look_for(id)
            }
            found => found,
        }
    }

    /// Brings the index up to date, unless somebody did since it was `known`.
    fn sync(&self, known: u64) -> icecore_repo::Result<()> {
        let mut syncs = lock(&self.syncs);
        if *syncs == known {
            self.archive.index.sync(&self.archive.repository)?;
            *syncs += 1;
        }
        Ok(())
    }

    fn look_for(&self, id: &ChunkId) -> icecore_repo::Result<Held> {
        let idle = lock(&self.readers).pop();
        let reader = idle.map_or_else(|| ChunkReader::new(&self.archive.repository, &self.archive.index), Ok)?;
        let found = self.frames.chunk(&reader, id);
        lock(&self.readers).push(reader);
        found
    }
}

impl BlockSource for Access {
    type Error = RepositoryError;

    fn block(&self, id: &ChunkId) -> icecore_repo::Result<Arc<[u8]>> {
        self.chunk(id).map(|block| Arc::from(&*block))
    }
}

/// Whether bytes were looked for in vain where the index said.
fn may_have_moved(error: &RepositoryError) -> bool {
    match error {
        RepositoryError::MissingChunk { .. } => true,
        RepositoryError::Store(_) => error.is_loss(),
        _ => false,
    }
}

/// The bytes of memory that an entry takes, about.
fn weight(entry: &Entry) -> u64 {
    let xattrs = entry.meta.xattrs.iter().map(|xattr| xattr.name.len() + xattr.value.len() + 48).sum::<usize>();
    let own = match &entry.node {
        Node::File(file) => match &file.content {
            Content::Inline(pieces) => pieces.len() * size_of::<Piece>(),
            Content::Tree { .. } | Content::Missing => 0,
        },
        Node::Symlink { target } => target.len(),
        _ => 0,
    };
    let paths = entry.path.len() + entry.link_of.as_ref().map_or(0, Vec::len);
    (size_of::<Shown>() + 128 + paths + xattrs + own) as u64
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
