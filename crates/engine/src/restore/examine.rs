//! Which parts of a file's content stand already, each proved by its hash.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use icecore_format::chunk::IdKey;
use icecore_format::entry::{Content, Piece};
use icecore_format::id::ChunkId;
use icecore_format::manifest::pieces;
use icecore_repo::ChunkReader;
use icecore_source::target::TargetFile;

use super::pool::{Answer, Pool};
use super::site::Site;
use super::survive_block;
use crate::error::Result;

/// No chunk is longer (`format::cut`); a longer one is a lie, for which no buffer is made.
pub(super) const MAX_CHUNK: u32 = 16 << 20;

/// Bytes looked at at once for zeros.
const WINDOW: usize = 256 << 10;

/// Bytes of a file that one thread compares at a time. Tests want several stretches.
const STRETCH: u64 = if cfg!(test) { 64 << 10 } else { 8 << 20 };

/// Pieces of a stretch at most.
const PIECES: usize = 4096;

/// Stretches on their way at most.
const WAITING: usize = 16;

/// Pieces, and whether each stands.
type Compared = Vec<(Piece, bool)>;

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
    pieces: usize,
}

impl Examined {
    /// Whether the piece of this number stands.
    pub fn keeps(&self, piece: usize) -> bool {
        self.kept.get(piece / 64).is_some_and(|bits| bits >> (piece % 64) & 1 == 1)
    }

    /// The next pieces, once they are compared.
    fn add(&mut self, answer: Answer<Result<io::Result<Compared>>>) -> Result<io::Result<()>> {
        Ok(answer.wait()??.map(|compared| compared.into_iter().for_each(|(piece, stands)| self.push(piece, stands))))
    }

    fn push(&mut self, piece: Piece, stands: bool) {
        if self.pieces.is_multiple_of(64) {
            self.kept.push(0);
        }
        if let Some(bits) = self.kept.last_mut().filter(|_| stands) {
            *bits |= 1 << (self.pieces % 64);
        }
        self.pieces += 1;
        self.whole &= stands;
        match piece {
            Piece::Hole { .. } => self.holes &= stands,
            Piece::Chunk { len, .. } => self.bytes += if stands { u64::from(len) } else { 0 },
        }
    }
}

/// Compares the pieces of a file with what `file`, of `len` bytes, holds at the same places; a large one with the help of
/// threads that are idle. The inner error concerns this file alone.
pub(super) fn examine<'e>(
    site: &'e Site<'e>,
    reader: &ChunkReader,
    pool: &Pool<'e>,
    content: &Content,
    file: &Arc<TargetFile>,
    len: u64,
) -> Result<io::Result<Examined>> {
    let mut found = Examined { holes: true, whole: true, ..Examined::default() };
    let (mut stretch, mut begin, mut at) = (Vec::new(), 0_u64, 0_u64);
    let mut waiting = VecDeque::new();
    let compare = |pieces: Vec<Piece>, begin: u64| {
        let file = Arc::clone(file);
        pool.share(reader, move |_| compare(site, &file, len, pieces, begin))
    };
    for piece in pieces(reader, content) {
        site.check()?;
        match piece {
            Ok(piece) => {
                stretch.push(piece);
                at = at.saturating_add(piece.len());
            }
            Err(error) => {
                // Whoever fetches the rest meets the same error, and tells it.
                found.whole = false;
                survive_block(error)?;
                break;
            }
        }
        if at - begin >= STRETCH || stretch.len() >= PIECES {
            waiting.push_back(compare(std::mem::take(&mut stretch), begin));
            begin = at;
        }
        if waiting.len() >= WAITING
            && let Some(answer) = waiting.pop_front()
            && let Err(error) = found.add(answer)?
        {
            return Ok(Err(error));
        }
    }
    waiting.push_back(compare(stretch, begin));
    for answer in waiting {
        if let Err(error) = found.add(answer)? {
            return Ok(Err(error));
        }
    }
    Ok(Ok(found))
}

/// Tells of each of consecutive pieces, of which the first begins at `at`, whether it stands there.
fn compare(
    site: &Site<'_>,
    file: &TargetFile,
    len: u64,
    pieces: Vec<Piece>,
    mut at: u64,
) -> Result<io::Result<Compared>> {
    let mut buffer = vec![0; (len.min(WINDOW as u64) as usize).max(1)];
    let mut compared = Vec::with_capacity(pieces.len());
    for piece in pieces {
        site.check()?;
        let end = at.saturating_add(piece.len());
        let stands = match piece {
            Piece::Hole { .. } => file.is_zero(at..end.min(len), &mut buffer),
            Piece::Chunk { id, len: size } if end <= len => holds(site.key, file, at, &id, size, &mut buffer),
            Piece::Chunk { .. } => Ok(false),
        };
        match stands {
            Ok(stands) => compared.push((piece, stands)),
            Err(error) => return Ok(Err(error)),
        }
        at = end;
    }
    Ok(Ok(compared))
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
        (0..200).for_each(|piece| found.push(Piece::Hole { len: 1 }, piece % 3 == 0));
        assert!((0..200).all(|piece| found.keeps(piece) == (piece % 3 == 0)));
        assert!(!found.keeps(200) && !found.keeps(100_000));
    }
}
