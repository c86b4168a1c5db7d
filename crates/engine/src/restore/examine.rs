//! Which parts of a file's content stand already, each proved by its hash.

use std::io;

use icecore_format::chunk::IdKey;
use icecore_format::entry::{Content, Piece};
use icecore_format::id::ChunkId;
use icecore_format::manifest::pieces;
use icecore_repo::ChunkReader;
use icecore_source::target::TargetFile;

use super::survive_block;
use crate::error::Result;

/// No chunk is longer (`format::cut`); a longer one is a lie, for which no buffer is made.
pub(super) const MAX_CHUNK: u32 = 16 << 20;

/// Bytes looked at at once for zeros.
const WINDOW: usize = 256 << 10;

/// What of a file stands where it should.
#[derive(Debug, Default)]
pub(super) struct Examined {
    /// A bit for each piece, the first in the lowest.
    kept: Vec<u64>,
    /// Bytes of the chunks among them.
    pub bytes: u64,
    /// Whether the file has zeros wherever the snapshot has holes.
    pub holes: bool,
    /// Whether every piece stands.
    pub whole: bool,
}

impl Examined {
    /// Whether the piece of this number stands.
    pub fn keeps(&self, piece: usize) -> bool {
        self.kept.get(piece / 64).is_some_and(|bits| bits >> (piece % 64) & 1 == 1)
    }

    fn push(&mut self, piece: usize, stands: bool) {
        if piece.is_multiple_of(64) {
            self.kept.push(0);
        }
        if let Some(bits) = self.kept.last_mut().filter(|_| stands) {
            *bits |= 1 << (piece % 64);
        }
    }
}

/// Compares the pieces of a file with what `file`, of `len` bytes, holds at the same places. The inner error concerns this
/// file alone.
pub(super) fn examine(
    reader: &ChunkReader,
    key: &IdKey,
    content: &Content,
    file: &TargetFile,
    len: u64,
    check: &dyn Fn() -> Result<()>,
) -> Result<io::Result<Examined>> {
    let mut found = Examined { holes: true, whole: true, ..Examined::default() };
    let (mut buffer, mut at) = (vec![0; WINDOW], 0_u64);
    for (number, piece) in pieces(reader, content).enumerate() {
        check()?;
        let piece = match piece {
            Ok(piece) => piece,
            Err(error) => {
                // Whoever fetches the rest meets the same error, and tells it.
                found.whole = false;
                return survive_block(error).map(|()| Ok(found));
            }
        };
        let end = at.saturating_add(piece.len());
        let stands = match piece {
            Piece::Hole { .. } => file.is_zero(at..end.min(len), &mut buffer).inspect(|zero| found.holes &= zero),
            Piece::Chunk { id, len: size } if end <= len => holds(key, file, at, &id, size, &mut buffer),
            Piece::Chunk { .. } => Ok(false),
        };
        let stands = match stands {
            Ok(stands) => stands,
            Err(error) => return Ok(Err(error)),
        };
        found.push(number, stands);
        found.whole &= stands;
        if stands && let Piece::Chunk { len, .. } = piece {
            found.bytes += u64::from(len);
        }
        at = end;
    }
    Ok(Ok(found))
}

/// Whether `file` holds a chunk at `at`. The bytes are then in `buffer`, which grows as it must.
pub(super) fn holds(
    key: &IdKey,
    file: &TargetFile,
    at: u64,
    chunk: &ChunkId,
    len: u32,
    buffer: &mut Vec<u8>,
) -> io::Result<bool> {
    if len > MAX_CHUNK {
        return Ok(false);
    }
    let len = len as usize;
    if buffer.len() < len {
        buffer.resize(len, 0);
    }
    Ok(read_whole(file, at, &mut buffer[..len])? && key.id(&buffer[..len]) == *chunk)
}

/// Fills `buffer` from `at` on; false if the file ends before.
fn read_whole(file: &TargetFile, at: u64, buffer: &mut [u8]) -> io::Result<bool> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(at + filled as u64, &mut buffer[filled..]) {
            Ok(0) => return Ok(false),
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_piece_has_its_bit() {
        let mut found = Examined::default();
        (0..200).for_each(|piece| found.push(piece, piece % 3 == 0));
        assert!((0..200).all(|piece| found.keeps(piece) == (piece % 3 == 0)));
        assert!(!found.keeps(200) && !found.keeps(100_000));
    }
}
