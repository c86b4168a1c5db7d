//! A manifest as one string of bytes, for the fuzzer to change.
//!
//! ```text
//! height (1 byte) | number of items (8 bytes, little-endian) | block | block | …
//! block: length (2 bytes, little-endian) | bytes
//! ```
//!
//! Ids are no hashes here: the first byte of an id is the number of the block. So a changed block is still found, and
//! blocks may name each other in circles.

use std::sync::Arc;

use icecore_format::id::ChunkId;
use icecore_format::manifest::{BlockSink, BlockSource, Root};

/// The blocks of a manifest.
#[derive(Debug, Default)]
pub struct Blocks(Vec<Arc<[u8]>>);

/// No block has this number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing;

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("no such block")
    }
}

impl std::error::Error for Missing {}

impl BlockSource for Blocks {
    type Error = Missing;

    fn block(&self, id: &ChunkId) -> Result<Arc<[u8]>, Missing> {
        self.0.get(usize::from(id.as_bytes()[0])).cloned().ok_or(Missing)
    }
}

impl BlockSink for Blocks {
    type Error = Missing;

    fn put_block(&mut self, bytes: &[u8]) -> Result<ChunkId, Missing> {
        let number = u8::try_from(self.0.len()).map_err(|_| Missing)?;
        self.0.push(bytes.into());
        Ok(ChunkId::from_bytes([number; 20]))
    }
}

impl Blocks {
    /// Takes a string apart; the last block is the top one. `None` if it has no head.
    pub fn parse(bytes: &[u8]) -> Option<(Root, Self)> {
        let (&height, rest) = bytes.split_first()?;
        let (entries, mut rest) = rest.split_first_chunk::<8>()?;
        let mut blocks = Vec::new();
        while let Some((len, behind)) = rest.split_first_chunk::<2>()
            && blocks.len() < 256
        {
            let (block, behind) = behind.split_at(behind.len().min(u16::from_le_bytes(*len).into()));
            blocks.push(block.into());
            rest = behind;
        }
        let top = u8::try_from(blocks.len().saturating_sub(1)).ok()?;
        let root = Root { id: ChunkId::from_bytes([top; 20]), height, entries: u64::from_le_bytes(*entries) };
        Some((root, Self(blocks)))
    }

    /// Puts a string together. The top block is the one put last.
    ///
    /// # Panics
    /// If a block has 64 KiB or more.
    pub fn to_bytes(&self, height: u8, items: u64) -> Vec<u8> {
        let mut bytes = vec![height];
        bytes.extend(items.to_le_bytes());
        for block in &self.0 {
            bytes.extend(u16::try_from(block.len()).expect("a small block").to_le_bytes());
            bytes.extend(&block[..]);
        }
        bytes
    }

    /// The blocks in the order in which they were put.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(|block| &block[..])
    }
}
