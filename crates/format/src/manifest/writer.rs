//! Writes the entries of a snapshot as a tree of blocks.

use super::block::{self, Branch, Family, MAX_WEIGHT};
use super::encoding::{encode_entry, shared_prefix, validate};
use super::spine::{Child, Key, MIN_LEAF, Run, Spine};
use super::{BlockSink, EntryFault, MAX_BLOCK_LEN, Root, WriteError};
use crate::entry::{Entry, PathBytes, compare_paths};
use crate::id::ChunkId;

/// Takes sorted entries and gives blocks to a sink as soon as they are full.
///
/// Holds one block for each level. The same entries give the same blocks and the same [`Root`].
#[derive(Debug)]
pub struct ManifestWriter {
    run: Run,
    leaf: Leaf,
    previous: Option<PathBytes>,
    entries: u64,
    spine: Spine,
    buffer: Vec<u8>,
}

/// The unfinished leaf.
#[derive(Debug, Default)]
struct Leaf {
    key: Key,
    first: PathBytes,
    encoded: Vec<u8>,
    /// Encoded bytes, with paths counted in full.
    weight: usize,
    count: usize,
    bytes: u64,
}

impl Default for ManifestWriter {
    fn default() -> Self {
        Self::new()
    }
}

impl ManifestWriter {
    /// Begins a manifest without entries.
    pub fn new() -> Self {
        Self {
            run: Run::default(),
            leaf: Leaf::default(),
            previous: None,
            entries: 0,
            spine: Spine::new(Family::Entries),
            buffer: Vec::new(),
        }
    }

    /// Adds an entry, which must sort after the one before it.
    ///
    /// # Errors
    /// An entry out of order or one that may not be (see [`EntryFault`]), without any effect; or what the sink
    /// says, after which the writer is of no use.
    pub fn push<S: BlockSink>(&mut self, entry: &Entry, sink: &mut S) -> Result<(), WriteError<S::Error>> {
        let path = &entry.path;
        let refuse = |fault| WriteError::Entry { path: path.clone(), fault };
        validate(entry).map_err(refuse)?;
        if let Some(previous) = self.previous.as_ref().filter(|previous| compare_paths(previous, path).is_ge()) {
            return Err(WriteError::Unsorted { previous: previous.clone(), path: path.clone() });
        }
        self.buffer.clear();
        let shared = match &self.previous {
            Some(previous) if self.leaf.count > 0 => shared_prefix(previous, path),
            _ => 0,
        };
        encode_entry(&mut self.buffer, entry, shared);
        // Leaves room for the head of the block and for the path in full.
        if self.buffer.len() + path.len() + 64 > MAX_BLOCK_LEN {
            return Err(refuse(EntryFault::TooLarge));
        }

        let key = *ChunkId::of_hash(&blake3::hash(path)).as_bytes();
        let ends = self.run.ends_before(&key, 0, MIN_LEAF);
        let weight = self.buffer.len() + shared;
        if self.leaf.count > 0 && (ends || self.leaf.weight + weight > MAX_WEIGHT) {
            self.end_leaf(sink)?;
            self.buffer.clear();
            encode_entry(&mut self.buffer, entry, 0);
            self.leaf.push(entry, 0, &self.buffer);
        } else {
            self.leaf.push(entry, shared, &self.buffer);
        }
        if self.leaf.count == 1 {
            self.leaf.key = key;
            self.leaf.first.clone_from(path);
        }
        self.previous.get_or_insert_default().clone_from(path);
        self.entries += 1;
        Ok(())
    }

    fn end_leaf<S: BlockSink>(&mut self, sink: &mut S) -> Result<(), WriteError<S::Error>> {
        let leaf = &mut self.leaf;
        block::encode_entries(&mut self.buffer, leaf.count, &leaf.encoded);
        let id = sink.put_block(&self.buffer).map_err(WriteError::Sink)?;
        let first = std::mem::take(&mut leaf.first);
        let branch = Branch { first, id, count: leaf.count as u64, bytes: leaf.bytes };
        let child = Child { key: leaf.key, branch };
        leaf.encoded.clear();
        (leaf.count, leaf.weight, leaf.bytes) = (0, 0, 0);
        self.spine.push(child, sink)
    }

    /// Stores what is left and returns the root. A manifest without entries is one empty block.
    pub fn finish<S: BlockSink>(mut self, sink: &mut S) -> Result<Root, WriteError<S::Error>> {
        if self.entries == 0 || self.leaf.count > 0 {
            self.end_leaf(sink)?;
        }
        let (top, height) = self.spine.finish(sink)?;
        Ok(Root { id: top.id, height, entries: self.entries })
    }
}

impl Leaf {
    fn push(&mut self, entry: &Entry, shared: usize, encoded: &[u8]) {
        self.encoded.extend_from_slice(encoded);
        self.weight += encoded.len() + shared;
        self.count += 1;
        self.bytes = self.bytes.saturating_add(entry.size());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::entry::{Node, Piece, Xattr};
    use crate::manifest::fixture::{Blocks, chunk, entry, file, tree, write, written};
    use crate::manifest::{Block, ManifestReader, decode_block};

    #[test]
    fn entries_out_of_order_are_refused_without_effect() {
        let mut blocks = Blocks::default();
        let mut writer = ManifestWriter::new();
        let good = [file("a", vec![]), file("a/b", vec![]), file("b", vec![])];
        writer.push(&good[0], &mut blocks).unwrap();
        writer.push(&good[1], &mut blocks).unwrap();
        for late in ["a/b", "a", "", "a/a"] {
            let error = writer.push(&file(late, vec![]), &mut blocks).unwrap_err();
            assert!(matches!(error, WriteError::Unsorted { .. }), "{late}: {error}");
        }
        for invalid in ["c/..", "c//d", "/c", "c\0"] {
            let error = writer.push(&file(invalid, vec![]), &mut blocks).unwrap_err();
            assert!(matches!(error, WriteError::Entry { fault: EntryFault::Path, .. }), "{invalid}: {error}");
        }
        writer.push(&good[2], &mut blocks).unwrap();
        assert_eq!(writer.finish(&mut blocks).unwrap(), written(&good).0);
    }

    #[test]
    fn no_entries_are_one_empty_block() {
        let (root, blocks) = written(&[]);
        assert_eq!((root.height, root.entries, blocks.blocks.len()), (0, 0, 1));
        assert_eq!(ManifestReader::new(&blocks, &root).entries().count(), 0);
    }

    #[test]
    fn heavy_entries_stand_alone_and_too_heavy_ones_nowhere() {
        let with_xattr = |path: &str, len| {
            let mut entry = entry(path, Node::Fifo);
            entry.meta.xattrs.push(Xattr { name: b"user.x".to_vec(), value: vec![0; len] });
            entry
        };
        let mut entries = vec![with_xattr("a", 200_000), with_xattr("b", 10), with_xattr("c", 70_000)];
        entries.extend((0..40).map(|n| with_xattr(&format!("d{n:03}"), 20_000)));
        let (root, blocks) = written(&entries);
        let read: Vec<_> = ManifestReader::new(&blocks, &root).entries().map(Result::unwrap).collect();
        assert_eq!(read, entries);
        for bytes in blocks.blocks.values() {
            let alone = matches!(decode_block(bytes).unwrap(), Block::Entries(entries) if entries.len() == 1);
            assert!(alone || bytes.len() <= MAX_WEIGHT + 64);
        }
        let error = write(&[with_xattr("a", MAX_BLOCK_LEN)], &mut Blocks::default()).unwrap_err();
        assert!(matches!(error, WriteError::Entry { fault: EntryFault::TooLarge, .. }), "{error}");
    }

    #[test]
    fn long_paths_and_deep_directories_are_written() {
        let mut path = String::from("d");
        let mut entries = vec![entry("d", Node::Directory)];
        for level in 0..300 {
            path.push('/');
            path.push_str(&"n".repeat(1 + level % 250));
            entries.push(entry(&path, Node::Directory));
        }
        let (root, blocks) = written(&entries);
        assert!(root.height > 1, "long paths make small blocks");
        let read: Vec<_> = ManifestReader::new(&blocks, &root).entries().map(Result::unwrap).collect();
        assert_eq!(read, entries);
        assert!(blocks.blocks.values().all(|bytes| bytes.len() <= MAX_WEIGHT * 2));
    }

    #[test]
    fn a_change_costs_its_leaf_and_the_blocks_above() {
        let before = tree(0..8_000);
        let (root, blocks) = written(&before);
        assert_eq!(root.height, 2);
        for at in (0..before.len()).step_by(before.len() / 7) {
            let mut after = before.clone();
            // A longer entry than before: boundaries do not depend on lengths.
            after[at].meta.uid = u32::MAX;
            if let Node::File(_) = after[at].node {
                after[at].node = file("", (0..5).map(|n| chunk(n, 70_000)).collect()).node;
            }
            let (changed, changed_blocks) = written(&after);
            assert_eq!(changed_blocks.ids().difference(&blocks.ids()).count(), 3, "entry {at}");
            assert_eq!(changed.height, root.height);
        }
    }

    /// Moving boundaries is no change of the format, but every manifest would be stored again.
    #[test]
    fn golden_boundaries() {
        let (root, blocks) = written(&tree(0..8_000));
        assert_eq!((root.height, root.entries, blocks.blocks.len()), (2, 8_057, 111));
        assert_eq!(root.id.to_string(), "ae5ed03f729d4a63fcc871000ad654b49ef17f29");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// History leaves no trace: whatever was added and removed before, the same entries have the same root.
        #[test]
        fn same_entries_same_root(
            numbers in proptest::collection::btree_set(0..3_000u32, 0..800),
            added in proptest::collection::btree_set(0..3_000u32, 0..4),
        ) {
            let (root, mut blocks) = written(&tree(numbers.iter().copied()));
            let union = numbers.union(&added).copied();
            let (more, more_blocks) = written(&tree(union));
            let new = more_blocks.ids().difference(&blocks.ids()).count();
            // Each addition (up to three entries) ends or joins blocks near it, on each level.
            prop_assert!(new <= added.len() * 3 * 3 * (usize::from(more.height) + 1));

            blocks.blocks.extend(more_blocks.blocks);
            let kept = tree(numbers.iter().copied());
            let read: Vec<Entry> = ManifestReader::new(&blocks, &more)
                .entries()
                .map(Result::unwrap)
                .filter(|entry| kept.binary_search_by(|kept| compare_paths(&kept.path, &entry.path)).is_ok())
                .collect();
            prop_assert_eq!(write(&read, &mut blocks).unwrap(), root);
        }
    }

    #[test]
    fn bytes_saturate() {
        let huge = |n| file(&format!("{n:04}"), vec![Piece::Hole { len: u64::MAX }]);
        let mut entries: Vec<_> = (0..600).map(huge).collect();
        entries.push(file("x", vec![]));
        let (root, blocks) = written(&entries);
        assert!(root.height > 0);
        assert!(ManifestReader::new(&blocks, &root).entries().all(|entry| entry.is_ok()));
    }
}
