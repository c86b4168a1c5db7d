//! What stands in a file: any range of it, and where its holes are.

use icecore_format::entry::{Content, File, Piece};
use icecore_format::manifest::{pieces, pieces_from};

use super::Access;
use crate::error::{Error, Result};

/// Pieces of a file that are looked through for holes, so that its room on a disk can be told: a list of so many takes some
/// milliseconds to read. A longer one stands for many GiB, of which holes are taken for data.
const PIECES_COUNTED: u64 = 1 << 16;

impl Access {
    /// At most `len` bytes of a file from `offset` on; fewer only at its end.
    ///
    /// # Errors
    /// [`Error::NoContent`] for a file without any; else what keeps a chunk or a part of the list of pieces from being had.
    pub fn read(&self, file: &File, offset: u64, len: usize) -> Result<Vec<u8>> {
        let end = offset.saturating_add(len as u64).min(file.size);
        let mut bytes = Vec::with_capacity(end.saturating_sub(offset) as usize);
        self.each(file, offset, end, |piece, skip, count| {
            match piece {
                Piece::Hole { .. } => bytes.resize(bytes.len() + count, 0),
                Piece::Chunk { id, .. } => {
                    let chunk = self.chunk(&id)?;
                    bytes.extend_from_slice(chunk.get(skip..skip + count).ok_or(Error::WrongPieces)?);
                }
            }
            Ok(())
        })?;
        Ok(bytes)
    }

    /// Gets a range of a file into the memory that frames are kept in, as far as it can be had.
    pub fn fetch(&self, file: &File, offset: u64, len: u64) {
        let end = offset.saturating_add(len).min(file.size);
        // Whoever needs what is damaged is told then.
        let _ = self.each(file, offset, end, |piece, _, _| {
            if let Piece::Chunk { id, .. } = piece {
                let _ = self.chunk(&id);
            }
            Ok(())
        });
    }

    /// The first byte at or after `offset` that is not in a hole.
    pub fn next_data(&self, file: &File, offset: u64) -> Result<Option<u64>> {
        self.first(file, offset, |piece| matches!(piece, Piece::Chunk { .. }))
    }

    /// The first byte at or after `offset` that is in a hole, or the end of the file.
    pub fn next_hole(&self, file: &File, offset: u64) -> Result<u64> {
        Ok(self.first(file, offset, |piece| matches!(piece, Piece::Hole { .. }))?.unwrap_or(file.size))
    }

    /// The bytes of a file that are not in holes, as far as that can be told at once.
    pub fn data_len(&self, file: &File) -> u64 {
        let is_long = matches!(file.content, Content::Tree { pieces, .. } if pieces > PIECES_COUNTED);
        if is_long || matches!(file.content, Content::Missing) {
            return file.size;
        }
        let holes = pieces(self, &file.content).filter_map(|piece| match piece {
            Ok(Piece::Hole { len }) => Some(len),
            _ => None,
        });
        file.size.saturating_sub(holes.fold(0, u64::saturating_add))
    }

    fn first(&self, file: &File, offset: u64, wanted: impl Fn(&Piece) -> bool) -> Result<Option<u64>> {
        let mut pieces = pieces_from(self, &file.content, offset);
        while let Some(piece) = pieces.next().transpose()? {
            if wanted(&piece) {
                return Ok(Some((pieces.offset() - piece.len()).max(offset)));
            }
        }
        Ok(None)
    }

    /// Calls `visit` for each piece of a range with how much of its beginning is outside, and how many bytes are inside.
    fn each(
        &self,
        file: &File,
        offset: u64,
        end: u64,
        mut visit: impl FnMut(Piece, usize, usize) -> Result<()>,
    ) -> Result<()> {
        if file.content == Content::Missing {
            return Err(Error::NoContent);
        }
        let mut pieces = pieces_from(self, &file.content, offset);
        let mut at = offset;
        while at < end {
            let piece = pieces.next().transpose()?.ok_or(Error::WrongPieces)?;
            let begin =
                pieces.offset().checked_sub(piece.len()).filter(|begin| *begin <= at).ok_or(Error::WrongPieces)?;
            let until = pieces.offset().min(end);
            visit(piece, (at - begin) as usize, (until - at) as usize)?;
            at = until;
        }
        Ok(())
    }
}
