//! Lists of pieces: in the entry itself, or for a large file in a tree of their own.

use std::iter::FusedIterator;
use std::vec;

use super::block::{self, Branch, Family};
use super::spine::{Child, Key, MIN_LEAF, Run, Spine};
use super::walk::{Node, Passed, Walk};
use super::{BlockSink, BlockSource, INLINE_PIECES, ReadError, WriteError};
use crate::entry::{Content, PathBytes, Piece};
use crate::id::ChunkId;

/// Takes the pieces of one file in order and tells where they stand.
///
/// Holds one block for each level. The same pieces give the same [`Content`].
#[derive(Debug, Default)]
pub struct PieceWriter {
    /// The pieces so far, while they are few enough to stand in the entry.
    few: Vec<Piece>,
    tree: Option<Tree>,
}

impl PieceWriter {
    /// Begins a list without pieces.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a piece.
    ///
    /// # Errors
    /// A piece without bytes, without any effect; or what the sink says, after which the writer is of no use.
    pub fn push<S: BlockSink>(&mut self, piece: Piece, sink: &mut S) -> Result<(), WriteError<S::Error>> {
        if piece.is_empty() {
            return Err(WriteError::EmptyPiece);
        }
        match &mut self.tree {
            Some(tree) => tree.push(piece, sink),
            None if self.few.len() < INLINE_PIECES => {
                self.few.push(piece);
                Ok(())
            }
            None => {
                let tree = self.tree.insert(Tree::new());
                self.few.drain(..).chain([piece]).try_for_each(|piece| tree.push(piece, sink))
            }
        }
    }

    /// Stores what is left and tells where the pieces stand.
    pub fn finish<S: BlockSink>(self, sink: &mut S) -> Result<Content, WriteError<S::Error>> {
        match self.tree {
            None => Ok(Content::Inline(self.few)),
            Some(tree) => tree.finish(sink),
        }
    }
}

/// A tree of at least one piece.
#[derive(Debug)]
struct Tree {
    run: Run,
    leaf: Vec<Piece>,
    key: Key,
    spine: Spine,
    buffer: Vec<u8>,
}

impl Tree {
    fn new() -> Self {
        Self {
            run: Run::default(),
            leaf: Vec::new(),
            key: Key::default(),
            spine: Spine::new(Family::Pieces),
            buffer: Vec::new(),
        }
    }

    fn push<S: BlockSink>(&mut self, piece: Piece, sink: &mut S) -> Result<(), WriteError<S::Error>> {
        let key = key(&piece);
        if self.run.ends_before(&key, 0, MIN_LEAF) {
            self.end_leaf(sink)?;
        }
        if self.leaf.is_empty() {
            self.key = key;
        }
        self.leaf.push(piece);
        Ok(())
    }

    fn end_leaf<S: BlockSink>(&mut self, sink: &mut S) -> Result<(), WriteError<S::Error>> {
        block::encode_pieces(&mut self.buffer, &self.leaf);
        let id = sink.put_block(&self.buffer).map_err(WriteError::Sink)?;
        let bytes = self.leaf.iter().map(Piece::len).fold(0, u64::saturating_add);
        let branch = Branch { first: PathBytes::new(), id, count: self.leaf.len() as u64, bytes };
        self.leaf.clear();
        self.spine.push(Child { key: self.key, branch }, sink)
    }

    fn finish<S: BlockSink>(mut self, sink: &mut S) -> Result<Content, WriteError<S::Error>> {
        self.end_leaf(sink)?;
        let (top, height) = self.spine.finish(sink)?;
        Ok(Content::Tree { root: top.id, height, pieces: top.count })
    }
}

/// A chunk's id is as good as a hash already.
fn key(piece: &Piece) -> Key {
    match piece {
        Piece::Chunk { id, .. } => *id.as_bytes(),
        Piece::Hole { len } => *ChunkId::of_hash(&blake3::hash(&len.to_be_bytes())).as_bytes(),
    }
}

/// The pieces of a file in order; none if its content is missing.
pub fn pieces<'s, S: BlockSource + ?Sized>(source: &'s S, content: &Content) -> Pieces<'s, S> {
    let (top, leaf) = match content {
        Content::Inline(pieces) => (None, pieces.clone()),
        Content::Tree { root, height, pieces } => (Some(Node::top(*root, *height, *pieces)), Vec::new()),
        Content::Missing => (None, Vec::new()),
    };
    Pieces { walk: Walk::new(source, top), leaf: leaf.into_iter(), from: 0, next: 0 }
}

/// The same from the piece on that holds the byte at `offset`. Blocks that stand for bytes before it are not read.
pub fn pieces_from<'s, S: BlockSource + ?Sized>(source: &'s S, content: &Content, offset: u64) -> Pieces<'s, S> {
    let mut pieces = pieces(source, content);
    pieces.from = offset;
    pieces.skip_in_leaf();
    pieces
}

/// The pieces of one file.
///
/// An error stands for all pieces in and below one damaged block, and says how many bytes of the file they are;
/// the iterator goes on behind them.
#[derive(Debug)]
pub struct Pieces<'s, S: ?Sized> {
    walk: Walk<'s, S, Piece>,
    leaf: vec::IntoIter<Piece>,
    /// Nothing that ends at or before this byte of the file is returned.
    from: u64,
    /// Where the first piece of `leaf` begins.
    next: u64,
}

impl<S: BlockSource + ?Sized> Pieces<'_, S> {
    /// Where in the file ends what was returned last, an error's bytes included.
    pub fn offset(&self) -> u64 {
        self.next
    }

    fn skip_in_leaf(&mut self) {
        while let Some(piece) =
            self.leaf.as_slice().first().filter(|piece| self.next.saturating_add(piece.len()) <= self.from)
        {
            self.next = self.next.saturating_add(piece.len());
            self.leaf.next();
        }
    }
}

impl<S: BlockSource + ?Sized> Iterator for Pieces<'_, S> {
    type Item = Result<Piece, ReadError<S::Error>>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(piece) = self.leaf.next() {
                self.next = self.next.saturating_add(piece.len());
                return Some(Ok(piece));
            }
            let from = self.from;
            let before = |node: &Node, passed: Passed| {
                node.bytes.is_some_and(|bytes| passed.bytes.saturating_add(bytes) <= from)
            };
            match self.walk.next_leaf(before)? {
                Err(error) => {
                    self.next = self.walk.passed().bytes;
                    return Some(Err(error));
                }
                Ok(leaf) => {
                    self.leaf = leaf.items.into_iter();
                    self.next = leaf.before.bytes;
                    self.skip_in_leaf();
                }
            }
        }
    }
}

impl<S: BlockSource + ?Sized> FusedIterator for Pieces<'_, S> {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::manifest::fixture::{Blocks, Gone, chunk};
    use crate::manifest::{DecodeError, ReadFault, block_links, decode_block};

    fn write(list: &[Piece], blocks: &mut Blocks) -> Content {
        let mut writer = PieceWriter::new();
        list.iter().for_each(|piece| writer.push(*piece, blocks).unwrap());
        writer.finish(blocks).unwrap()
    }

    fn read(blocks: &Blocks, content: &Content) -> Vec<Piece> {
        pieces(blocks, content).map(Result::unwrap).collect()
    }

    fn chunks(count: u64) -> Vec<Piece> {
        (0..count).map(|n| chunk(n, 1 + n as u32)).collect()
    }

    #[test]
    fn few_pieces_stand_in_the_entry() {
        let mut blocks = Blocks::default();
        let most = chunks(INLINE_PIECES as u64);
        assert_eq!(write(&most, &mut blocks), Content::Inline(most));
        assert_eq!(write(&[], &mut blocks), Content::Inline(vec![]));
        assert!(blocks.blocks.is_empty());

        let more = chunks(INLINE_PIECES as u64 + 1);
        let content = write(&more, &mut blocks);
        assert!(matches!(content, Content::Tree { pieces, .. } if pieces == more.len() as u64));
        assert_eq!(read(&blocks, &content), more);
        assert_eq!(read(&blocks, &Content::Missing), []);
    }

    #[test]
    fn a_piece_of_nothing_is_refused_without_effect() {
        let (mut blocks, mut writer) = (Blocks::default(), PieceWriter::new());
        let nothing = writer.push(Piece::Hole { len: 0 }, &mut blocks);
        assert!(matches!(nothing, Err(WriteError::EmptyPiece)));
        assert_eq!(writer.finish(&mut blocks).unwrap(), Content::Inline(vec![]));
    }

    #[test]
    fn a_changed_piece_costs_the_blocks_above_it() {
        let before = chunks(40_000);
        let mut blocks = Blocks::default();
        let content = write(&before, &mut blocks);
        let Content::Tree { height: 2, .. } = content else { panic!("{content:?}") };
        assert!(blocks.blocks.values().all(|bytes| decode_block(bytes).is_ok() && bytes.len() < 32_000));
        for at in [0, 1, 17, 20_000, 39_999] {
            let mut after = before.clone();
            after[at] = chunk(1 << 40 | at as u64, 5);
            let mut changed = Blocks::default();
            let content = write(&after, &mut changed);
            assert_eq!(read(&changed, &content), after);
            // Where the piece begins or comes to begin a block, its neighbour changes too.
            let new = changed.ids().difference(&blocks.ids()).count();
            assert!((3..=6).contains(&new), "piece {at}: {new} blocks");
        }
    }

    /// Moving boundaries is no change of the format, but every file of many chunks would store its list again.
    #[test]
    fn golden_boundaries() {
        let mut list = chunks(5_000);
        list.splice(100..100, (0..500).map(|n| Piece::Hole { len: 1 + n }));
        let Content::Tree { root, height, pieces } = write(&list, &mut Blocks::default()) else { panic!() };
        assert_eq!((height, pieces), (2, 5_500));
        assert_eq!(root.to_string(), "961e5bc01d5891245eae2cf145fd338cfba6cb5b");
    }

    #[test]
    fn equal_pieces_make_a_tree_that_ends() {
        for n in [0, 3, 50] {
            let mut blocks = Blocks::default();
            // Whether or not its id ends blocks, a chunk that repeats makes blocks within bounds.
            let list = vec![chunk(n, 16_384); 5_000];
            let content = write(&list, &mut blocks);
            assert_eq!(read(&blocks, &content), list);
        }
        let always = Piece::Chunk { id: ChunkId::from_bytes([0; 20]), len: 1 };
        let mut blocks = Blocks::default();
        let content = write(&vec![always; 20_000], &mut blocks);
        assert!(matches!(content, Content::Tree { height: 1..=6, .. }), "{content:?}");
        assert_eq!(read(&blocks, &content).len(), 20_000);
    }

    #[test]
    fn damage_says_how_many_bytes_are_lost() {
        let list = chunks(2_000);
        let mut blocks = Blocks::default();
        let content = write(&list, &mut blocks);
        let Content::Tree { root, pieces: count, .. } = content else { panic!("{content:?}") };
        let mut leaf = root;
        while let Some(child) = block_links(&blocks.blocks[&leaf]).unwrap().blocks.last() {
            leaf = *child;
        }
        blocks.blocks.remove(&leaf);
        let (good, bad): (Vec<_>, Vec<_>) = pieces(&blocks, &content).partition(Result::is_ok);
        let [Err(error)] = &bad[..] else { panic!("{} errors", bad.len()) };
        assert!(matches!(*error.fault, ReadFault::Source(Gone(id)) if id == leaf));
        let bytes: u64 = good.iter().map(|piece| piece.as_ref().unwrap().len()).sum();
        // What is lost is the end of the list.
        let mut from = pieces_from(&blocks, &content, bytes);
        assert!(from.next().unwrap().is_err());
        assert_eq!(from.offset(), list.iter().map(Piece::len).sum::<u64>());
        assert_eq!(error.items + good.len() as u64, count);
        assert_eq!(error.bytes.unwrap() + bytes, list.iter().map(Piece::len).sum());
    }

    #[test]
    fn a_tree_that_is_not_what_the_entry_says_is_refused() {
        let mut blocks = Blocks::default();
        let Content::Tree { root, height, pieces: count } = write(&chunks(500), &mut blocks) else { panic!() };
        for (height, count) in [(height, count + 1), (height, 0), (height + 1, count), (16, count), (0, count)] {
            let mut read = pieces(&blocks, &Content::Tree { root, height, pieces: count });
            let fault = *read.next().unwrap().unwrap_err().fault;
            assert!(matches!(fault, ReadFault::Block(DecodeError::Height(_) | DecodeError::Disagrees(_))));
            assert!(read.next().is_none());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn every_list_survives(
            list in proptest::collection::vec((any::<u8>(), 1..=u32::MAX), 0..600),
            probes in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 8),
        ) {
            let list: Vec<Piece> = list
                .iter()
                .map(|&(n, len)| match n {
                    0..40 => Piece::Hole { len: u64::from(len) << (n / 2) },
                    _ => chunk(n.into(), len),
                })
                .collect();
            let mut blocks = Blocks::default();
            let content = write(&list, &mut blocks);
            prop_assert_eq!(read(&blocks, &content), &list[..]);
            prop_assert_eq!(&write(&list, &mut Blocks::default()), &content);
            for (probe, within) in probes.into_iter().filter(|_| !list.is_empty()) {
                let at = probe.index(list.len());
                let begin: u64 = list[..at].iter().map(Piece::len).sum();
                let offset = begin + within.index(list[at].len() as usize) as u64;
                let mut from = pieces_from(&blocks, &content, offset);
                prop_assert_eq!(from.next().unwrap().unwrap(), list[at]);
                prop_assert_eq!(from.offset(), begin + list[at].len());
                prop_assert_eq!(from.map(Result::unwrap).collect::<Vec<_>>(), &list[at + 1..]);
            }
            let end: u64 = list.iter().map(Piece::len).sum();
            prop_assert!(pieces_from(&blocks, &content, end).next().is_none());
        }
    }
}
