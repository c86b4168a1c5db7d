//! Everything of a growing tree that stands above its leaves, and where blocks end.

use std::mem::take;

use super::block::{self, Branch, FREE_BRANCHES, Family, MAX_WEIGHT};
use super::{BlockSink, MAX_HEIGHT, MAX_ITEMS, WriteError};
use crate::id::ChunkId;

/// What decides where blocks end: the hash of a path, or a chunk's id. Blocks carry the key of their first item.
pub(super) type Key = [u8; ChunkId::LEN];

/// One in so many items begins a block.
const SPREAD: u16 = 64;

/// Items of a leaf that the keys end, at least.
pub(super) const MIN_LEAF: usize = 16;

/// Counts items since the last boundary that keys decided. Blocks that end for another reason (their weight)
/// do not count, so that the boundaries depend on nothing but the sequence of keys.
#[derive(Debug, Default)]
pub(super) struct Run(usize);

impl Run {
    /// Tells whether a block at `height` must end before the item with this key, and counts the item.
    pub fn ends_before(&mut self, key: &Key, height: u8, min: usize) -> bool {
        // Other bytes at each level, else a boundary of a leaf would be one of all levels.
        let at = 2 * usize::from(height) % key.len();
        let chosen = u16::from_le_bytes([key[at], key[at + 1]]).is_multiple_of(SPREAD);
        let ends = self.0 >= MAX_ITEMS || self.0 >= min && chosen;
        self.0 = if ends { 1 } else { self.0 + 1 };
        ends
    }
}

/// A finished block on its way into the block above it.
#[derive(Debug)]
pub(super) struct Child {
    pub key: Key,
    pub branch: Branch,
}

/// The unfinished inner blocks, one for each height from 1 on.
#[derive(Debug)]
pub(super) struct Spine {
    family: Family,
    levels: Vec<Level>,
    buffer: Vec<u8>,
}

#[derive(Debug, Default)]
struct Level {
    run: Run,
    key: Key,
    branches: Vec<Branch>,
    weight: usize,
}

impl Level {
    fn ends_before(&mut self, child: &Child, height: u8) -> bool {
        let by_key = self.run.ends_before(&child.key, height, FREE_BRANCHES);
        let too_heavy = self.branches.len() >= FREE_BRANCHES && self.weight + weight(&child.branch) > MAX_WEIGHT;
        !self.branches.is_empty() && (by_key || too_heavy)
    }

    fn push(&mut self, child: Child) {
        if self.branches.is_empty() {
            self.key = child.key;
            self.weight = 0;
        }
        self.weight += weight(&child.branch);
        self.branches.push(child.branch);
    }
}

/// The encoded bytes of a branch with its path counted in full, at most.
fn weight(branch: &Branch) -> usize {
    const ALL_BUT_PATH: usize = 64;
    branch.first.len() + ALL_BUT_PATH
}

impl Spine {
    pub fn new(family: Family) -> Self {
        Self { family, levels: Vec::new(), buffer: Vec::new() }
    }

    /// Takes a finished leaf.
    pub fn push<S: BlockSink>(&mut self, leaf: Child, sink: &mut S) -> Result<(), WriteError<S::Error>> {
        self.push_at(1, leaf, sink)
    }

    fn push_at<S: BlockSink>(
        &mut self,
        mut height: u8,
        mut child: Child,
        sink: &mut S,
    ) -> Result<(), WriteError<S::Error>> {
        while height <= MAX_HEIGHT {
            let index = usize::from(height) - 1;
            if index == self.levels.len() {
                self.levels.push(Level::default());
            }
            let ends = self.levels[index].ends_before(&child, height);
            let above = if ends { Some(self.emit(height, sink)?) } else { None };
            self.levels[index].push(child);
            match above {
                None => return Ok(()),
                Some(block) => child = block,
            }
            height += 1;
        }
        Err(WriteError::TooHigh)
    }

    /// Stores the unfinished block at `height`, which has at least one branch.
    fn emit<S: BlockSink>(&mut self, height: u8, sink: &mut S) -> Result<Child, WriteError<S::Error>> {
        let level = &mut self.levels[usize::from(height) - 1];
        let (key, branches) = (level.key, take(&mut level.branches));
        block::encode_inner(&mut self.buffer, self.family, height, &branches);
        let id = sink.put_block(&self.buffer).map_err(WriteError::Sink)?;
        let sum = |part: fn(&Branch) -> u64| branches.iter().map(part).fold(0, u64::saturating_add);
        let (count, bytes) = (sum(|branch| branch.count), sum(|branch| branch.bytes));
        let first = branches.into_iter().next().map(|branch| branch.first).unwrap_or_default();
        Ok(Child { key, branch: Branch { first, id, count, bytes } })
    }

    /// Closes every level and returns the top block with its height. At least one leaf has been pushed.
    pub fn finish<S: BlockSink>(mut self, sink: &mut S) -> Result<(Branch, u8), WriteError<S::Error>> {
        for height in 1..=MAX_HEIGHT {
            let index = usize::from(height) - 1;
            let is_top = index + 1 == self.levels.len();
            // The top level has never been stored: with one branch it would only repeat what stands below.
            if is_top && self.levels[index].branches.len() == 1 {
                return Ok((self.levels[index].branches.remove(0), height - 1));
            }
            let block = self.emit(height, sink)?;
            self.push_at(height + 1, block, sink)?;
        }
        Err(WriteError::TooHigh)
    }
}
