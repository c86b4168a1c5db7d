//! The frames of a pack, and what it says of them.

use std::ops::Range;

use super::info::{Footer, decode_whole};
use super::{PackError, PackInfo, PackKind, TRAILER_LEN};
use crate::id::PackId;
use crate::seal::{HEADER_LEN, ObjectKey, OpenKey, SealError, Segment, TAG_LEN};

/// Opens the parts of one pack, in any order.
pub struct PackOpener {
    kind: PackKind,
    key: ObjectKey,
}

impl std::fmt::Debug for PackOpener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PackOpener").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl PackOpener {
    /// Finds the pack's key from its first [`HEADER_LEN`] bytes; more do no harm.
    pub fn new(key: &OpenKey, kind: PackKind, header: &[u8]) -> Result<Self, PackError> {
        match key.begin(kind.into(), header) {
            Ok(key) => Ok(Self { kind, key }),
            Err(source) => Err(PackError::Open { part: "header", source }),
        }
    }

    /// Opens a frame in place and gives its stored bytes, to be decoded by a
    /// [`Decoder`](crate::frame::Decoder). `ordinal` counts the pack's frames from 0.
    pub fn open_frame<'a>(&self, ordinal: u32, sealed: &'a mut [u8]) -> Result<&'a mut [u8], PackError> {
        self.key.open(Segment::Body, ordinal.into(), sealed).map_err(|source| PackError::Frame { ordinal, source })
    }

    /// Reads from the trailer, the last [`TRAILER_LEN`] of a pack's `size` bytes, where its footer stands.
    pub fn footer_range(&self, size: u64, trailer: &mut [u8]) -> Result<Range<u64>, PackError> {
        let fail = |source| PackError::Open { part: "trailer", source };
        let plain = self.key.open(Segment::Trailer, 0, trailer).map_err(fail)?;
        let footer = u64::from_be_bytes((&*plain).try_into().map_err(|_| fail(SealError::Damaged))?);
        size.checked_sub(TRAILER_LEN as u64)
            .and_then(|end| Some(end.checked_sub(footer)?..end))
            .filter(|range| footer > TAG_LEN as u64 && range.start >= HEADER_LEN as u64)
            .ok_or(PackError::NoRoom { size, footer })
    }

    /// Reads what a pack of `size` bytes holds from its footer, the bytes that
    /// [`footer_range`](Self::footer_range) named. That the id fits the bytes of the pack is not checked.
    pub fn read_footer(&self, id: PackId, size: u64, footer: &mut [u8]) -> Result<PackInfo, PackError> {
        let end = (footer.len() + TRAILER_LEN) as u64;
        let plain = self.key.open(Segment::Footer, 0, footer);
        let plain = plain.map_err(|source| PackError::Open { part: "footer", source })?;
        let Footer { kind, frames } = decode_whole(plain)?;
        let info = PackInfo { id, kind, size, frames };
        info.validate()?;
        let wrong = |what| Err(PackError::Inconsistent { pack: id, what });
        if kind != self.kind {
            return wrong("the footer is that of another kind of pack");
        }
        if info.footer_offset() + end != size {
            return wrong("the frames do not fill the pack");
        }
        Ok(info)
    }
}
