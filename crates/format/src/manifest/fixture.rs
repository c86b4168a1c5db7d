//! What the tests of this directory share: a store in memory, and entries of every kind.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::block::{Branch, Family, encode_inner};
use super::{BlockSink, BlockSource, ManifestWriter, Root, WriteError};
use crate::entry::{Class, Content, Entry, File, Meta, Node, Piece, Timestamp, Xattr, compare_paths};
use crate::id::ChunkId;

/// A block that is not in a [`Blocks`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("no block {0}")]
pub struct Gone(pub ChunkId);

/// Blocks in memory; remembers which were read.
#[derive(Debug, Default)]
pub struct Blocks {
    pub blocks: BTreeMap<ChunkId, Arc<[u8]>>,
    pub read: RefCell<Vec<ChunkId>>,
}

impl BlockSink for Blocks {
    type Error = Gone;

    fn put_block(&mut self, bytes: &[u8]) -> Result<ChunkId, Gone> {
        let id = ChunkId::of_hash(&blake3::hash(bytes));
        self.blocks.insert(id, bytes.into());
        Ok(id)
    }
}

impl BlockSource for Blocks {
    type Error = Gone;

    fn block(&self, id: &ChunkId) -> Result<Arc<[u8]>, Gone> {
        self.read.borrow_mut().push(*id);
        self.blocks.get(id).cloned().ok_or(Gone(*id))
    }
}

impl Blocks {
    pub fn ids(&self) -> BTreeSet<ChunkId> {
        self.blocks.keys().copied().collect()
    }

    pub fn put_inner(&mut self, family: Family, height: u8, branches: &[Branch]) -> ChunkId {
        let mut out = Vec::new();
        encode_inner(&mut out, family, height, branches);
        self.put_block(&out).unwrap()
    }

    /// The number of reads since the last call.
    pub fn reads(&self) -> usize {
        self.read.take().len()
    }
}

pub fn write(entries: &[Entry], blocks: &mut Blocks) -> Result<Root, WriteError<Gone>> {
    let mut writer = ManifestWriter::new();
    entries.iter().try_for_each(|entry| writer.push(entry, blocks))?;
    writer.finish(blocks)
}

pub fn written(entries: &[Entry]) -> (Root, Blocks) {
    let mut blocks = Blocks::default();
    (write(entries, &mut blocks).unwrap(), blocks)
}

pub fn chunk(n: u64, len: u32) -> Piece {
    Piece::Chunk { id: ChunkId::of_hash(&blake3::hash(&n.to_le_bytes())), len }
}

pub fn entry(path: &str, node: Node) -> Entry {
    let mtime = Timestamp { seconds: 1_700_000_000, nanos: 5 };
    let meta = Meta { mode: 0o644, mtime, ctime: mtime, inode: 7, links: 1, ..Meta::default() };
    Entry { path: path.into(), meta, node, link_of: None }
}

pub fn file(path: &str, pieces: Vec<Piece>) -> Entry {
    let size = pieces.iter().map(Piece::len).sum();
    entry(path, Node::File(File { size, class: Class::Structured, content: Content::Inline(pieces), racy: false }))
}

/// One entry of each kind, with every field in use somewhere.
pub fn zoo() -> Vec<Entry> {
    let mut rich = file("dir/file", vec![chunk(1, 70_000), Piece::Hole { len: 1 << 40 }, chunk(2, 1)]);
    rich.meta = Meta {
        mode: 0o6755,
        uid: 1000,
        gid: 100,
        mtime: Timestamp { seconds: -1, nanos: 999_999_999 },
        ctime: Timestamp { seconds: 1_700_000_001, nanos: 0 },
        inode: u64::MAX,
        links: 2,
        xattrs: vec![
            Xattr { name: b"user.a".to_vec(), value: vec![] },
            Xattr { name: b"user.b".to_vec(), value: vec![0, 255] },
        ],
    };
    let tree = Content::Tree { root: ChunkId::from_bytes([9; 20]), height: 2, pieces: 70_000 };
    let (pages, opaque) = (Class::Pages { page: 8192 }, Class::Opaque);
    let mut linked = rich.clone();
    linked.path = b"dir/link".to_vec();
    linked.link_of = Some(b"dir/file".to_vec());
    vec![
        entry("", Node::Directory),
        entry("char", Node::CharDevice { major: 4, minor: 64 }),
        entry("dir", Node::Directory),
        entry("dir/block", Node::BlockDevice { major: 8, minor: 0 }),
        rich,
        linked,
        entry("dir/tree", Node::File(File { size: 1 << 33, class: pages, content: tree, racy: true })),
        file("dir-empty", vec![]),
        entry("lost", Node::File(File { size: 10, class: opaque, content: Content::Missing, racy: false })),
        entry("pipe", Node::Fifo),
        entry("socket", Node::Socket),
        entry("symlink", Node::Symlink { target: b"../\xff".to_vec() }),
    ]
}

/// Sorted entries, one for each number: files in directories of two levels, and the directories' own entries.
pub fn tree(numbers: impl IntoIterator<Item = u32>) -> Vec<Entry> {
    let mut entries = vec![entry("", Node::Directory)];
    for n in numbers {
        let (top, middle) = (n % 7, n % 49);
        entries.push(entry(&format!("top{top}"), Node::Directory));
        entries.push(entry(&format!("top{top}/middle-{middle}"), Node::Directory));
        let pieces = (0..u64::from(n % 4)).map(|part| chunk(u64::from(n) << 8 | part, 1 + n)).collect();
        entries.push(file(&format!("top{top}/middle-{middle}/file {n:x}"), pieces));
    }
    entries.sort_by(|a, b| compare_paths(&a.path, &b.path));
    entries.dedup_by(|a, b| a.path == b.path);
    entries
}
