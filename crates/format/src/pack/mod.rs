//! An immutable object of frames with a sealed footer that lists them.
//!
//! ```text
//! pack:    header (40 bytes) | frame 0 | frame 1 | … | footer | trailer (24 bytes)
//! frame n: sealed with Segment::Body, counter n
//! footer:  sealed with Segment::Footer: CBOR, what each frame holds
//! trailer: sealed with Segment::Trailer: length of the sealed footer, u64 big-endian
//! ```
//!
//! A pack says itself what it holds, so that an index can be made again from packs alone: read the
//! trailer, then the footer. Normally nobody reads it, because a fragment said the same before.

mod build;
mod info;
mod open;

pub use self::build::{PackBuilder, SealedPack};
pub(crate) use self::info::decode_whole;
pub use self::info::{FrameInfo, PackInfo};
pub use self::open::PackOpener;
use crate::id::PackId;
use crate::seal::{ObjectKind, SealError, TAG_LEN};

/// Bytes of a sealed trailer, the end of every pack.
pub const TRAILER_LEN: usize = 8 + TAG_LEN;

/// What the frames of a pack hold. Content and manifests have packs of their own, so that browsing
/// fetches no content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, minicbor::Encode, minicbor::Decode)]
#[cbor(index_only)]
#[repr(u8)]
pub enum PackKind {
    /// File content.
    #[n(1)]
    Data = 1,
    /// Manifest blocks.
    #[n(2)]
    Manifest = 2,
}

impl From<PackKind> for ObjectKind {
    fn from(kind: PackKind) -> Self {
        match kind {
            PackKind::Data => Self::DataPack,
            PackKind::Manifest => Self::ManifestPack,
        }
    }
}

/// A pack that cannot be read, or whose description cannot be true.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// The header, trailer or footer cannot be opened.
    #[error("the {part} of a pack cannot be opened")]
    Open {
        /// The part's name.
        part: &'static str,
        /// Why not.
        source: SealError,
    },
    /// A frame cannot be opened.
    #[error("frame {ordinal} of a pack cannot be opened")]
    Frame {
        /// Counts from 0.
        ordinal: u32,
        /// Why not.
        source: SealError,
    },
    /// The trailer names a footer that the pack has no room for.
    #[error("a pack of {size} bytes has no room for a footer of {footer} bytes")]
    NoRoom {
        /// Size of the pack, bytes.
        size: u64,
        /// Length of the sealed footer that the trailer names, bytes.
        footer: u64,
    },
    /// The footer's bytes do not have the form of a footer.
    #[error("the footer of a pack cannot be decoded")]
    Decode(#[from] minicbor::decode::Error),
    /// Kinds, lengths or sums contradict each other.
    #[error("the description of pack {pack} is wrong: {what}")]
    Inconsistent {
        /// The pack that is described.
        pack: PackId,
        /// What does not fit.
        what: &'static str,
    },
}

#[cfg(test)]
mod tests;
