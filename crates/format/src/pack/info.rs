//! What a pack holds, as footers and fragments say it.

use minicbor::decode::Error as DecodeError;
use minicbor::{Decode, Decoder, Encode, Encoder, encode};

use super::{PackError, PackKind, TRAILER_LEN};
use crate::frame::{Encoding, FrameChunk, MAX_FRAME_LEN};
use crate::id::{ChunkId, PackId};
use crate::seal::{HEADER_LEN, TAG_LEN};

/// Bytes of a chunk id.
const ID_LEN: usize = ChunkId::LEN;

/// What a pack says of one frame. Offsets follow from lengths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrameInfo {
    /// How the bytes are stored.
    pub encoding: Encoding,
    /// Number of plain bytes: the sum of the chunks' lengths (which is why it is not written).
    pub plain_len: u32,
    /// Number of bytes in the pack, the tag included.
    pub stored_len: u32,
    /// What the frame holds, in order.
    pub chunks: Vec<FrameChunk>,
}

impl FrameInfo {
    /// Finds what cannot be true of a frame.
    fn contradiction(&self) -> Option<&'static str> {
        let stored = u64::from(self.stored_len).checked_sub(TAG_LEN as u64);
        if self.chunks.iter().any(|chunk| chunk.len == 0) {
            return Some("a chunk is empty");
        }
        if sum_of_lengths(&self.chunks) != Some(self.plain_len) {
            return Some("the chunks of a frame are not as long as the frame");
        }
        match (self.plain_len, stored, self.encoding) {
            (0, ..) => Some("a frame is empty"),
            (plain, ..) if plain > MAX_FRAME_LEN => Some("a frame is too long"),
            (_, None | Some(0), _) => Some("a frame is shorter than its tag"),
            (plain, Some(stored), Encoding::Raw) if stored != u64::from(plain) => {
                Some("a raw frame is not as long as its chunks")
            }
            (plain, Some(stored), Encoding::Zstd) if stored >= u64::from(plain) => {
                Some("a compressed frame is not shorter than its chunks")
            }
            _ => None,
        }
    }
}

fn sum_of_lengths(chunks: &[FrameChunk]) -> Option<u32> {
    chunks.iter().try_fold(0u32, |sum, chunk| sum.checked_add(chunk.len))
}

/// What footers and fragments say of a pack.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct PackInfo {
    /// The BLAKE3 hash of the pack's bytes.
    #[n(0)]
    pub id: PackId,
    /// What it holds.
    #[n(1)]
    pub kind: PackKind,
    /// Number of bytes of the whole object.
    #[n(2)]
    pub size: u64,
    /// Its frames, in order.
    #[n(3)]
    pub frames: Vec<FrameInfo>,
}

impl PackInfo {
    /// The offset of a frame in the pack, bytes.
    pub fn frame_offset(&self, ordinal: u32) -> u64 {
        end_of(&self.frames[..self.frames.len().min(ordinal as usize)])
    }

    /// The offset of the sealed footer in the pack, bytes.
    pub fn footer_offset(&self) -> u64 {
        end_of(&self.frames)
    }

    /// Tells whether the description can be true: no empty chunk or frame, lengths that sum up, and room
    /// in the pack for all of it.
    pub fn validate(&self) -> Result<(), PackError> {
        let too_long = || {
            let least = self.footer_offset() + (TAG_LEN + TRAILER_LEN) as u64;
            (self.size < least).then_some("the frames are longer than the pack")
        };
        match self.frames.iter().find_map(FrameInfo::contradiction).or_else(too_long) {
            Some(what) => Err(PackError::Inconsistent { pack: self.id, what }),
            None => Ok(()),
        }
    }
}

/// The offset behind some frames. Lengths below 2^32 of frames that fit into memory: no overflow.
fn end_of(frames: &[FrameInfo]) -> u64 {
    HEADER_LEN as u64 + frames.iter().map(|frame| u64::from(frame.stored_len)).sum::<u64>()
}

/// The plain footer of a pack.
#[derive(Encode, Decode)]
#[cbor(map)]
pub(super) struct Footer {
    #[n(0)]
    pub kind: PackKind,
    #[n(1)]
    pub frames: Vec<FrameInfo>,
}

impl<C> Encode<C> for FrameInfo {
    fn encode<W: encode::Write>(&self, e: &mut Encoder<W>, ctx: &mut C) -> Result<(), encode::Error<W::Error>> {
        e.array(4)?.encode_with(self.encoding, ctx)?.u32(self.stored_len)?;
        e.bytes_len((self.chunks.len() * ID_LEN) as u64)?;
        for chunk in &self.chunks {
            e.writer_mut().write_all(chunk.id.as_bytes()).map_err(encode::Error::write)?;
        }
        e.array(self.chunks.len() as u64)?;
        for chunk in &self.chunks {
            e.u32(chunk.len)?;
        }
        Ok(())
    }
}

impl<'b, C> Decode<'b, C> for FrameInfo {
    fn decode(d: &mut Decoder<'b>, ctx: &mut C) -> Result<Self, DecodeError> {
        let fail = |what, at| Err(DecodeError::message(what).at(at));
        let start = d.position();
        let Some(fields @ 4..) = d.array()? else {
            return fail("a frame has at least four fields", start);
        };
        let encoding = Encoding::decode(d, ctx)?;
        let stored_len = d.u32()?;
        let (ids, rest) = d.bytes()?.as_chunks::<ID_LEN>();
        if d.array()? != Some(ids.len() as u64) || !rest.is_empty() {
            return fail("a frame has as many ids as lengths", start);
        }
        // No larger than the ids that were there to be read.
        let mut chunks = Vec::with_capacity(ids.len());
        for id in ids {
            chunks.push(FrameChunk { id: ChunkId::from_bytes(*id), len: d.u32()? });
        }
        for _ in 4..fields {
            d.skip()?;
        }
        match sum_of_lengths(&chunks) {
            Some(plain_len) => Ok(Self { encoding, plain_len, stored_len, chunks }),
            None => fail("a frame is longer than 4 GiB", start),
        }
    }
}

/// Decodes a value that all of the bytes stand for.
pub(crate) fn decode_whole<'b, T: Decode<'b, ()>>(bytes: &'b [u8]) -> Result<T, DecodeError> {
    let mut decoder = Decoder::new(bytes);
    let value = decoder.decode()?;
    match decoder.position() {
        end if end == bytes.len() => Ok(value),
        end => Err(DecodeError::message("there are bytes behind the end").at(end)),
    }
}
