//! Frames become a pack.

use super::info::Footer;
use super::{FrameInfo, PackInfo, PackKind};
use crate::frame::Frame;
use crate::id::PackId;
use crate::seal::{Entropy, ObjectKey, SealKey, Segment, TAG_LEN};

/// Seals frames, one after another, into the bytes of a pack.
pub struct PackBuilder {
    kind: PackKind,
    key: ObjectKey,
    /// Fed while the bytes are still in the processor's cache.
    hasher: blake3::Hasher,
    bytes: Vec<u8>,
    frames: Vec<FrameInfo>,
}

impl std::fmt::Debug for PackBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { kind, bytes, frames, .. } = self;
        f.debug_struct("PackBuilder")
            .field("kind", kind)
            .field("len", &bytes.len())
            .field("frames", &frames.len())
            .finish()
    }
}

impl PackBuilder {
    /// Begins a pack in a recycled buffer, whose content is dropped.
    pub fn new(kind: PackKind, key: &SealKey, entropy: Entropy, mut buffer: Vec<u8>) -> Self {
        let (header, key) = key.begin(kind.into(), entropy);
        buffer.clear();
        let mut builder = Self { kind, key, hasher: blake3::Hasher::new(), bytes: buffer, frames: Vec::new() };
        builder.bytes.extend_from_slice(&header);
        builder.hasher.update(&header);
        builder
    }

    /// Seals a frame and appends it. Gives the frame's buffer back, empty, to be used again.
    pub fn push(&mut self, frame: Frame) -> Vec<u8> {
        let Frame { encoding, plain_len, mut stored, chunks } = frame;
        // A frame has at most 64 MiB, and neither zstd nor a tag makes 4 GiB of them.
        let stored_len = (stored.len() + TAG_LEN) as u32;
        let counter = self.frames.len() as u64;
        self.append(Segment::Body, counter, &stored);
        self.frames.push(FrameInfo { encoding, plain_len, stored_len, chunks });
        stored.clear();
        stored
    }

    /// Bytes so far, without footer and trailer.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether no frame was pushed yet.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Appends footer and trailer, and names the pack.
    pub fn finish(mut self) -> SealedPack {
        let footer = Footer { kind: self.kind, frames: std::mem::take(&mut self.frames) };
        let footer_start = self.bytes.len();
        self.append(Segment::Footer, 0, &minicbor::to_vec(&footer).expect("a Vec takes every byte"));
        let footer_len = (self.bytes.len() - footer_start) as u64;
        self.append(Segment::Trailer, 0, &footer_len.to_be_bytes());
        let id = PackId::from_bytes(*self.hasher.finalize().as_bytes());
        let info = PackInfo { id, kind: self.kind, size: self.bytes.len() as u64, frames: footer.frames };
        debug_assert!(info.validate().is_ok(), "{:?}", info.validate());
        SealedPack { info, bytes: self.bytes }
    }

    fn append(&mut self, segment: Segment, counter: u64, plain: &[u8]) {
        let from = self.bytes.len();
        self.bytes.reserve(plain.len() + TAG_LEN);
        self.bytes.extend_from_slice(plain);
        self.key.seal(segment, counter, &mut self.bytes, from);
        self.hasher.update(&self.bytes[from..]);
    }
}

/// A pack ready to be put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedPack {
    /// What is in it.
    pub info: PackInfo,
    /// The object.
    pub bytes: Vec<u8>,
}
