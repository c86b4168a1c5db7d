//! Goes through a tree from left to right and checks each block against what names it.

use std::marker::PhantomData;

use super::block::{Block, Family, decode_block};
use super::{BlockSource, DecodeError, MAX_HEIGHT, ReadError, ReadFault};
use crate::entry::{Entry, PathBytes, Piece, compare_paths};
use crate::id::ChunkId;

/// What stands in leaves.
pub(super) trait Item: Sized {
    const FAMILY: Family;

    /// The items of a leaf of this family.
    fn of_leaf(block: Block) -> Option<Vec<Self>>;

    /// The bytes of files that the item stands for.
    fn bytes(&self) -> u64;

    /// Where the item stands, if items have paths.
    fn path(&self) -> Option<&[u8]>;
}

impl Item for Entry {
    const FAMILY: Family = Family::Entries;

    fn of_leaf(block: Block) -> Option<Vec<Self>> {
        match block {
            Block::Entries(entries) => Some(entries),
            _ => None,
        }
    }

    fn bytes(&self) -> u64 {
        self.size()
    }

    fn path(&self) -> Option<&[u8]> {
        Some(&self.path)
    }
}

impl Item for Piece {
    const FAMILY: Family = Family::Pieces;

    fn of_leaf(block: Block) -> Option<Vec<Self>> {
        match block {
            Block::Pieces(pieces) => Some(pieces),
            _ => None,
        }
    }

    fn bytes(&self) -> u64 {
        self.len()
    }

    fn path(&self) -> Option<&[u8]> {
        None
    }
}

/// A block that has not been read yet, with all that is known of it.
#[derive(Debug)]
pub(super) struct Node {
    pub id: ChunkId,
    pub height: u8,
    /// Entries or pieces in and below it.
    pub count: u64,
    pub bytes: Option<u64>,
    /// The first path; the root's is not known.
    pub first: Option<PathBytes>,
    /// All paths are below this one, the first path of the block that follows.
    pub upper: Option<PathBytes>,
}

/// What a node turns out to be.
pub(super) enum Opened<T> {
    Leaf(Vec<T>),
    Inner(Vec<Node>),
}

impl Node {
    /// The top of a tree, of which only this is known.
    pub fn top(id: ChunkId, height: u8, count: u64) -> Self {
        Self { id, height, count, bytes: None, first: None, upper: None }
    }

    /// Reads the block and checks it against what names it.
    pub fn open<T: Item, S: BlockSource + ?Sized>(&self, source: &S) -> Result<Opened<T>, ReadFault<S::Error>> {
        if self.height > MAX_HEIGHT {
            return Err(DecodeError::Height(self.height).into());
        }
        let bytes = source.block(&self.id).map_err(ReadFault::Source)?;
        Ok(self.check(decode_block(&bytes)?)?)
    }

    /// Refuses a block that differs from what names it. Heights go down by exactly one, so a tree is never deeper
    /// than its root says, even if blocks named each other in a circle.
    fn check<T: Item>(&self, block: Block) -> Result<Opened<T>, DecodeError> {
        let (opened, count, bytes, first, last) = match block {
            Block::Inner { family, height, branches } if family == T::FAMILY && height == self.height => {
                let sum = |values: &mut dyn Iterator<Item = u64>| values.fold(0, u64::saturating_add);
                let count = sum(&mut branches.iter().map(|branch| branch.count));
                let bytes = sum(&mut branches.iter().map(|branch| branch.bytes));
                let has_paths = family == Family::Entries;
                let mut nodes: Vec<Node> = Vec::with_capacity(branches.len());
                for branch in branches {
                    let first = has_paths.then_some(branch.first);
                    if let Some(left) = nodes.last_mut() {
                        left.upper.clone_from(&first);
                    }
                    let (id, count, bytes) = (branch.id, branch.count, Some(branch.bytes));
                    nodes.push(Node { id, height: height - 1, count, bytes, first, upper: None });
                }
                if let Some(last) = nodes.last_mut() {
                    last.upper.clone_from(&self.upper);
                }
                let first = nodes.first().and_then(|node| node.first.clone());
                let last = nodes.last().and_then(|node| node.first.clone());
                (Opened::Inner(nodes), count, bytes, first, last)
            }
            Block::Inner { height, .. } => return Err(DecodeError::Height(height)),
            leaf => {
                let items = T::of_leaf(leaf).filter(|_| self.height == 0).ok_or(DecodeError::Height(self.height))?;
                let bytes = items.iter().map(T::bytes).fold(0, u64::saturating_add);
                let [first, last] = [items.first(), items.last()].map(|item| item?.path().map(<[u8]>::to_vec));
                let count = items.len() as u64;
                (Opened::Leaf(items), count, bytes, first, last)
            }
        };
        let agree = |holds: bool, what| if holds { Ok(()) } else { Err(DecodeError::Disagrees(what)) };
        agree(count == self.count, "the number of items")?;
        agree(self.bytes.is_none_or(|expected| expected == bytes), "the number of bytes")?;
        agree(self.first.is_none() || self.first == first, "the first path")?;
        if let (Some(last), Some(upper)) = (last, &self.upper) {
            agree(compare_paths(&last, upper).is_lt(), "the range of paths")?;
        }
        Ok(opened)
    }

    /// What is lost if it cannot be used.
    pub fn lost<E: std::error::Error>(self, fault: ReadFault<E>) -> ReadError<E> {
        ReadError { block: self.id, items: self.count, bytes: self.bytes, first: self.first, fault: Box::new(fault) }
    }
}

/// What stands before a place of a tree.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Passed {
    pub items: u64,
    pub bytes: u64,
}

impl Passed {
    fn add(&mut self, items: u64, bytes: u64) {
        self.items = self.items.saturating_add(items);
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

/// A leaf that has been read and checked.
#[derive(Debug)]
pub(super) struct Leaf<T> {
    pub id: ChunkId,
    pub items: Vec<T>,
    /// What stands before its first item.
    pub before: Passed,
}

/// The blocks still to be read, the next one last.
#[derive(Debug)]
pub(super) struct Walk<'s, S: ?Sized, T> {
    source: &'s S,
    pending: Vec<Node>,
    /// What stands before the next pending node. Blocks above have been compared with what is below them, so that no two
    /// readers of a tree count differently.
    passed: Passed,
    items: PhantomData<T>,
}

impl<'s, S: BlockSource + ?Sized, T: Item> Walk<'s, S, T> {
    pub fn new(source: &'s S, top: Option<Node>) -> Self {
        Self { source, pending: top.into_iter().collect(), passed: Passed::default(), items: PhantomData }
    }

    /// Reads on to the next leaf, past blocks that `skip` tells to leave out. An error costs what stands below one
    /// block; the walk goes on behind it.
    pub fn next_leaf(&mut self, skip: impl Fn(&Node, Passed) -> bool) -> Option<Result<Leaf<T>, ReadError<S::Error>>> {
        while let Some(node) = self.pending.pop() {
            let before = self.passed;
            if skip(&node, before) {
                self.pass(&node);
                continue;
            }
            match node.open(self.source) {
                Ok(Opened::Leaf(items)) => {
                    self.passed.add(node.count, items.iter().map(T::bytes).fold(0, u64::saturating_add));
                    return Some(Ok(Leaf { id: node.id, items, before }));
                }
                Ok(Opened::Inner(nodes)) => self.pending.extend(nodes.into_iter().rev()),
                Err(fault) => {
                    self.pass(&node);
                    return Some(Err(node.lost(fault)));
                }
            }
        }
        None
    }

    fn pass(&mut self, node: &Node) {
        self.passed.add(node.count, node.bytes.unwrap_or(0));
    }

    /// What stands before the block that is read next.
    pub fn passed(&self) -> Passed {
        self.passed
    }

    /// Leaves out everything that has not been read.
    pub fn stop(&mut self) {
        self.pending.clear();
    }
}
