//! 1..n chunks, compressed together: the unit of compression and encryption.
//!
//! A frame's plain bytes are its chunks one after another, in the order in which they were met, so that
//! small chunks compress as well as large ones and a restore reads on.

use std::io;

use zstd::bulk::{Compressor, Decompressor};

use crate::id::ChunkId;
use crate::seal::TAG_LEN;

/// The most plain bytes of a frame. Far above any useful size: it only bounds what a reader allocates.
pub const MAX_FRAME_LEN: u32 = 64 << 20;

/// How the plain bytes of a frame are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, minicbor::Encode, minicbor::Decode)]
#[cbor(index_only)]
#[repr(u8)]
pub enum Encoding {
    /// As they are.
    #[n(0)]
    Raw = 0,
    /// As one Zstandard frame (RFC 8878).
    #[n(1)]
    Zstd = 1,
}

impl Encoding {
    /// Gives the encoding that a number stands for.
    pub fn from_u8(number: u8) -> Option<Self> {
        [Self::Raw, Self::Zstd].into_iter().find(|&encoding| encoding as u8 == number)
    }
}

/// A chunk inside a frame. Its offset in the plain bytes is the sum of the lengths before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FrameChunk {
    /// Keyed hash of the chunk's plain bytes.
    pub id: ChunkId,
    /// Number of plain bytes, at least 1.
    pub len: u32,
}

/// A frame ready to be sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// How `stored` is encoded.
    pub encoding: Encoding,
    /// Number of plain bytes: the sum of the chunks' lengths, at most [`MAX_FRAME_LEN`].
    pub plain_len: u32,
    /// The encoded bytes.
    pub stored: Vec<u8>,
    /// What the frame holds, at least one chunk.
    pub chunks: Vec<FrameChunk>,
}

/// A frame that cannot be encoded or decoded.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// zstd refused the level or had no memory.
    #[error("cannot set up zstd")]
    Setup(#[source] io::Error),
    /// A frame claims more than [`MAX_FRAME_LEN`].
    #[error("a frame of {0} plain bytes is longer than any frame may be ({MAX_FRAME_LEN})")]
    TooLong(u32),
    /// The bytes are not what zstd wrote, or stand for more than was said.
    #[error("the compressed bytes of a frame are damaged")]
    Damaged(#[source] io::Error),
    /// The frame holds fewer or more bytes than was said.
    #[error("a frame holds {found} plain bytes instead of {expected}")]
    Length {
        /// Plain bytes that the pack announces.
        expected: u32,
        /// Plain bytes that were found.
        found: usize,
    },
}

/// Encodes frames; one zstd context serves them all.
pub struct Encoder(Compressor<'static>);

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Encoder")
    }
}

impl Encoder {
    /// Prepares to compress at a zstd level.
    pub fn new(level: i32) -> Result<Self, FrameError> {
        Compressor::new(level).map(Self).map_err(FrameError::Setup)
    }

    /// Encodes a frame's plain bytes, at most [`MAX_FRAME_LEN`], into a recycled buffer, whose content is dropped. The result has room
    /// for the tag that sealing appends. Without `compress` zstd is not tried; with it, the bytes stay
    /// [`Encoding::Raw`] unless zstd saves at least 1/32 of them.
    pub fn encode(&mut self, plain: &[u8], compress: bool, mut into: Vec<u8>) -> (Encoding, Vec<u8>) {
        into.clear();
        let worthwhile = plain.len().saturating_sub((plain.len() / 32).max(1));
        if compress && worthwhile > 0 {
            into.reserve(zstd::zstd_safe::compress_bound(plain.len()) + TAG_LEN);
            // zstd fails only without memory; raw bytes are right then, too.
            if self.0.compress_to_buffer(plain, &mut into).is_ok_and(|len| len <= worthwhile) {
                return (Encoding::Zstd, into);
            }
            into.clear();
        }
        into.reserve(plain.len() + TAG_LEN);
        into.extend_from_slice(plain);
        (Encoding::Raw, into)
    }
}

/// Decodes frames; one zstd context serves them all.
pub struct Decoder(Decompressor<'static>);

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Decoder")
    }
}

impl Decoder {
    /// Prepares to decompress.
    pub fn new() -> Result<Self, FrameError> {
        Decompressor::new().map(Self).map_err(FrameError::Setup)
    }

    /// Replaces the content of `into` by the plain bytes of a frame, of which there must be `plain_len`.
    /// Allocates no more than that. After an error the content of `into` is unspecified.
    pub fn decode(
        &mut self,
        encoding: Encoding,
        stored: &[u8],
        plain_len: u32,
        into: &mut Vec<u8>,
    ) -> Result<(), FrameError> {
        if plain_len > MAX_FRAME_LEN {
            return Err(FrameError::TooLong(plain_len));
        }
        let expected = plain_len as usize;
        into.clear();
        match encoding {
            Encoding::Raw if stored.len() == expected => into.extend_from_slice(stored),
            Encoding::Raw => return Err(FrameError::Length { expected: plain_len, found: stored.len() }),
            Encoding::Zstd => {
                into.reserve(expected);
                // Bounded by the buffer's capacity, which a recycled buffer may have more of.
                self.0.decompress_to_buffer(stored, into).map_err(FrameError::Damaged)?;
            }
        }
        if into.len() == expected { Ok(()) } else { Err(FrameError::Length { expected: plain_len, found: into.len() }) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(encoding: Encoding, stored: &[u8], plain_len: u32) -> Result<Vec<u8>, FrameError> {
        let mut plain = b"left over".to_vec();
        Decoder::new()?.decode(encoding, stored, plain_len, &mut plain)?;
        Ok(plain)
    }

    /// 64 times "icecore " in one RFC 8878 frame, as zstd 1.5.7 wrote it.
    const GOLDEN: &str = "28b52ffd6000017d000040696365636f7265200100f5530b17";

    fn unhex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    #[test]
    fn golden_frame() {
        assert_eq!(decode(Encoding::Zstd, &unhex(GOLDEN), 512).unwrap(), b"icecore ".repeat(64));
        assert_eq!([Encoding::Raw as u8, Encoding::Zstd as u8], [0, 1]);
        assert_eq!([0, 1, 2].map(Encoding::from_u8), [Some(Encoding::Raw), Some(Encoding::Zstd), None]);
    }

    #[test]
    fn little_gain_stays_raw() {
        let mut encoder = Encoder::new(3).unwrap();
        let mut noise = vec![0; 64 << 10];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        assert_eq!(encoder.encode(&noise, true, Vec::new()), (Encoding::Raw, noise.clone()));
        // 1/64 of zeros is not worth it, 1/8 is.
        noise[..1 << 10].fill(0);
        assert_eq!(encoder.encode(&noise, true, Vec::new()).0, Encoding::Raw);
        noise[..8 << 10].fill(0);
        assert_eq!(encoder.encode(&noise, true, Vec::new()).0, Encoding::Zstd);
        assert_eq!(encoder.encode(&noise, false, Vec::new()), (Encoding::Raw, noise));
        assert_eq!(encoder.encode(b"", true, vec![1]), (Encoding::Raw, vec![]));
        assert_eq!(encoder.encode(b"a", true, vec![1]), (Encoding::Raw, b"a".to_vec()));
    }

    #[test]
    fn a_recycled_buffer_is_not_reallocated() {
        let mut encoder = Encoder::new(3).unwrap();
        let plain = b"text ".repeat(10_000);
        let (_, first) = encoder.encode(&plain, true, Vec::new());
        let (address, capacity) = (first.as_ptr(), first.capacity());
        let (_, second) = encoder.encode(&plain, true, first);
        assert_eq!((second.as_ptr(), second.capacity()), (address, capacity));
        let (_, raw) = encoder.encode(&plain, false, second);
        assert!(raw.capacity() >= raw.len() + TAG_LEN);
    }

    #[test]
    fn wrong_lengths_are_refused() {
        let plain = b"text ".repeat(1000);
        let (encoding, stored) = Encoder::new(3).unwrap().encode(&plain, true, Vec::new());
        assert_eq!(encoding, Encoding::Zstd);
        assert!(matches!(decode(encoding, &stored, 5001), Err(FrameError::Length { expected: 5001, found: 5000 })));
        assert!(matches!(decode(encoding, &stored, 4999), Err(FrameError::Damaged(_))));
        assert!(matches!(decode(encoding, &stored, MAX_FRAME_LEN + 1), Err(FrameError::TooLong(_))));
        assert!(matches!(decode(encoding, &stored[..stored.len() - 1], 5000), Err(FrameError::Damaged(_))));
        assert!(matches!(decode(Encoding::Raw, &plain, 4999), Err(FrameError::Length { .. })));
        // A recycled buffer with more room than the frame needs accepts no more than the frame.
        let mut roomy = Vec::with_capacity(1 << 20);
        let result = Decoder::new().unwrap().decode(encoding, &stored, 4999, &mut roomy);
        assert!(matches!(result, Err(FrameError::Length { expected: 4999, found: 5000 })));
    }

    proptest! {
        #[test]
        fn frames_round_trip(
            plain in prop::collection::vec(prop_oneof![Just(0u8), any::<u8>()], 0..5000),
            repeat in 1usize..5,
            compress: bool,
            level in -5..10,
        ) {
            let plain = plain.repeat(repeat);
            let (encoding, stored) = Encoder::new(level).unwrap().encode(&plain, compress, vec![9; 10]);
            prop_assert!(stored.len() <= plain.len());
            prop_assert!(stored.capacity() >= stored.len() + TAG_LEN);
            prop_assert_eq!(decode(encoding, &stored, plain.len() as u32).unwrap(), plain);
        }

        #[test]
        fn no_bytes_panic(stored in prop::collection::vec(any::<u8>(), 0..200), plain_len: u32, with_magic: bool) {
            let magic: &[u8] = if with_magic { &[0x28, 0xb5, 0x2f, 0xfd] } else { &[] };
            let stored = [magic, &stored].concat();
            let _ = decode(Encoding::Zstd, &stored, plain_len % (1 << 20));
            let _ = decode(Encoding::Raw, &stored, plain_len);
        }
    }
}
