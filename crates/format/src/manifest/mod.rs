//! The sorted entries of one snapshot in content-defined blocks.
//!
//! ```text
//!  height 2                      [ inner: a, m ]                        Root { id, height, entries }
//!                               /               \
//!  height 1          [ inner: a, c/x, h ]    [ inner: m, t ]            first path, id, entries, bytes
//!                    /       |        \         |       \               of each child
//!  height 0      [a b c]  [c/x …]  [h i …]   [m …]    [t … z]           entries in path order
//!                                     |
//!                                     v  Content::Tree of a large file
//!                               [ piece tree, built the same way ]
//! ```
//!
//! Where blocks end depends on the paths alone, so equal entries give equal blocks whatever happened
//! before, and a changed entry changes its leaf and the blocks above it, no more. A block is stored as a
//! chunk, named by its id; two snapshots share every block that is equal.
//!
//! Memory: a writer and an iterator hold one block for each level, however many entries there are.
//! Blocks are as good as hostile to a reader: whatever the bytes say, reading ends, with an error
//! that costs only what stands below the damaged block.

mod block;
mod encoding;
#[cfg(test)]
mod fixture;
mod lockstep;
mod pieces;
mod reader;
mod spine;
mod walk;
mod writer;

use std::sync::Arc;

use minicbor::{Decode, Encode};

use crate::entry::PathBytes;
use crate::id::ChunkId;

pub use block::{Block, Branch, Family, Links, block_links, decode_block};
pub use lockstep::{Lockstep, Lost, Members, Step};
pub use pieces::{PieceWriter, Pieces, pieces, pieces_from};
pub use reader::{Children, Entries, ManifestReader};
pub use writer::ManifestWriter;

/// Pieces that an entry holds itself; a file of more has a tree of piece blocks.
pub const INLINE_PIECES: usize = 32;

/// Items (entries, pieces or children) of one block at most.
pub const MAX_ITEMS: usize = 512;

/// Levels above the leaves at most.
pub const MAX_HEIGHT: u8 = 15;

/// Bytes of a path at most: far above what an operating system lets anyone create with ease.
pub const MAX_PATH_LEN: usize = 1 << 20;

/// Bytes of a block at most. Only one entry with huge extended attributes comes near.
pub const MAX_BLOCK_LEN: usize = 16 << 20;

/// Names a whole manifest: the top block of its tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(array)]
pub struct Root {
    /// The top block.
    #[n(0)]
    pub id: ChunkId,
    /// 0 when the top block holds entries, else the number of levels above them.
    #[n(1)]
    pub height: u8,
    /// The number of entries.
    #[n(2)]
    pub entries: u64,
}

/// Takes finished blocks.
pub trait BlockSink {
    /// Why a block could not be taken.
    type Error: std::error::Error + 'static;

    /// Stores a block as a chunk and returns its id. The same bytes give the same id.
    fn put_block(&mut self, bytes: &[u8]) -> Result<ChunkId, Self::Error>;
}

/// Gives blocks back.
pub trait BlockSource {
    /// Why a block could not be read.
    type Error: std::error::Error + 'static;

    /// Reads the block `id`; its bytes have been verified against the id.
    fn block(&self, id: &ChunkId) -> Result<Arc<[u8]>, Self::Error>;
}

/// An entry that may not stand in a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EntryFault {
    /// An empty, `.` or `..` component, or a NUL byte.
    #[error("the path is invalid")]
    Path,
    /// More than [`MAX_PATH_LEN`] bytes.
    #[error("the path is longer than {MAX_PATH_LEN} bytes")]
    PathLength,
    /// The entry takes more bytes than a block may have.
    #[error("the entry is larger than a block may be")]
    TooLarge,
    /// A hard link must name a valid path that stands before its own.
    #[error("the hard link does not name an earlier entry")]
    LinkOf,
    /// More than a second of nanoseconds.
    #[error("a time has more than 999,999,999 nanoseconds")]
    Nanos,
    /// More than the permission bits.
    #[error("the mode has more than the permission bits")]
    Mode,
    /// Extended attributes stand in strictly ascending order of their names.
    #[error("the extended attributes are not sorted, or one stands twice")]
    Xattrs,
    /// The pieces' lengths do not add up to the file's size.
    #[error("the pieces do not add up to the file's size")]
    Size,
    /// Too many pieces in the entry itself, one without bytes, or an impossible tree.
    #[error("the list of pieces is invalid")]
    Pieces,
    /// A field that this kind of entry does not have.
    #[error("a field does not belong to this kind of entry")]
    Field,
    /// A kind of entry that this version does not know.
    #[error("the kind {0} of entry is unknown")]
    Kind(u8),
}

/// A block that cannot be what it should.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Not the CBOR that was expected, or cut short.
    #[error("the block is not well formed: {0}")]
    Cbor(#[from] minicbor::decode::Error),
    /// A first element that is no known kind of block.
    #[error("the kind {0} of block is unknown")]
    Kind(u8),
    /// A block has more bytes or items than any writer puts into one.
    #[error("the block is too large")]
    TooLarge,
    /// Bytes follow the end of the block.
    #[error("{0} bytes follow the end of the block")]
    Trailing(usize),
    /// Keys of a map stand in strictly ascending order.
    #[error("the key {0} of an entry stands out of order")]
    KeyOrder(u64),
    /// An entry or a child's first path is not after the one before it.
    #[error("{} does not sort after what stands before it", show(.0))]
    Unsorted(PathBytes),
    /// An entry that may not be.
    #[error("entry {}: {fault}", show(.path))]
    Entry {
        /// Its path, as far as it is known.
        path: PathBytes,
        /// What is wrong.
        fault: EntryFault,
    },
    /// An inner block without children, or a child without items.
    #[error("the block has a child without content")]
    Hollow,
    /// A block stands at a height where it cannot.
    #[error("the block cannot stand at height {0}")]
    Height(u8),
    /// A block differs from what the block above it (or the root) says.
    #[error("the block disagrees with what names it about {0}")]
    Disagrees(&'static str),
}

/// A manifest or list of pieces that cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError<E: std::error::Error + 'static> {
    /// Entries must come in manifest order, each path once.
    #[error("{} was added after {}", show(.path), show(.previous))]
    Unsorted {
        /// The path that came before.
        previous: PathBytes,
        /// The path that came too late, or again.
        path: PathBytes,
    },
    /// An entry that may not be.
    #[error("entry {}: {fault}", show(.path))]
    Entry {
        /// Its path.
        path: PathBytes,
        /// What is wrong.
        fault: EntryFault,
    },
    /// A piece of no byte.
    #[error("a piece of a file has no bytes")]
    EmptyPiece,
    /// More levels than [`MAX_HEIGHT`].
    #[error("the tree has more than {MAX_HEIGHT} levels")]
    TooHigh,
    /// A block could not be stored.
    #[error("a block of the manifest could not be stored")]
    Sink(#[source] E),
}

/// A block that could not be read, and what is lost with it.
#[derive(Debug, thiserror::Error)]
#[error("block {block}, which holds {items} items, cannot be used")]
pub struct ReadError<E: std::error::Error + 'static> {
    /// The block.
    pub block: ChunkId,
    /// The number of entries (or pieces) in and below it.
    pub items: u64,
    /// The bytes of files that they stand for, where the block above says so.
    pub bytes: Option<u64>,
    /// The path of the first entry lost, where the block above says so.
    pub first: Option<PathBytes>,
    /// Why.
    #[source]
    pub fault: Box<ReadFault<E>>,
}

/// Why a block could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadFault<E: std::error::Error + 'static> {
    /// It could not be fetched.
    #[error("it could not be fetched")]
    Source(#[source] E),
    /// It was fetched, but cannot be what it should.
    #[error(transparent)]
    Block(#[from] DecodeError),
}

/// A path as people read it, quoted, with everything odd escaped.
fn show(path: &[u8]) -> String {
    format!("{:?}", String::from_utf8_lossy(path))
}
