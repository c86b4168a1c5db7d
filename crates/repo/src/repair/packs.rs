//! One pack, read whole: which of its frames and chunks can still be had.

use icecore_format::frame::Decoder;
use icecore_format::id::{ChunkId, PackId};
use icecore_format::pack::{PackInfo, PackKind, PackOpener, TRAILER_LEN};
use icecore_format::seal::{HEADER_LEN, OpenKey};

use super::DamagedPack;
use crate::error::Result;
use crate::layout;
use crate::repository::Repository;

/// In place of a chunk that is lost, so that the others keep their offsets. No chunk has this id.
const LOST: ChunkId = ChunkId::from_bytes([0; ChunkId::LEN]);

/// Takes each whole chunk of a pack, with the kind of the pack that holds it.
pub(super) type Each<'a> = &'a mut dyn FnMut(PackKind, ChunkId, &[u8]) -> Result<()>;

/// What can be read in a pack.
pub(super) struct Examined {
    /// Its frames; what is lost has the id [`LOST`]. `None` if it cannot be told what it holds.
    pub readable: Option<PackInfo>,
    /// What is wrong, if anything is.
    pub damage: Option<DamagedPack>,
}

/// Reads packs on one thread.
pub(super) struct Examiner<'a> {
    repository: &'a Repository,
    open_key: &'a OpenKey,
    decoder: Decoder,
    bytes: Vec<u8>,
    plain: Vec<u8>,
}

impl<'a> Examiner<'a> {
    pub fn new(repository: &'a Repository, open_key: &'a OpenKey) -> Result<Self> {
        Ok(Self { repository, open_key, decoder: Decoder::new()?, bytes: Vec::new(), plain: Vec::new() })
    }

    /// Examines the pack that the store has under `id`. Its own footer says what it holds, because it may be another pack;
    /// where that cannot be read, `described` does: what a fragment says of it. Every chunk is compared with its id.
    pub fn examine(&mut self, id: PackId, size: u64, described: Option<PackInfo>, each: Each<'_>) -> Result<Examined> {
        self.repository.store().get_range(&layout::pack(&id), 0..size, &mut self.bytes)?;
        let is_whole = blake3::hash(&self.bytes).as_bytes() == id.as_bytes();
        let opened = [PackKind::Data, PackKind::Manifest].into_iter().find_map(|kind| {
            let header = self.bytes.get(..HEADER_LEN)?;
            PackOpener::new(self.open_key, kind, header).ok().map(|opener| (kind, opener))
        });
        let expected = described.as_ref().map_or(size, |info| info.size);
        let footer = opened.as_ref().and_then(|(_, opener)| self.footer(id, opener));
        let has_footer = footer.is_some();
        let mut readable = footer.or(described);
        let mut damage = DamagedPack {
            id,
            size,
            reason: String::new(),
            frames: readable.as_ref().map_or(0, |info| info.frames.len() as u32),
            frames_lost: 0,
            chunks_whole: 0,
            chunks_lost: 0,
        };
        if let Some(info) = &mut readable {
            match &opened {
                Some((kind, opener)) => {
                    info.kind = *kind;
                    self.read(info, opener, &mut damage, each)?;
                }
                None => info.frames.iter_mut().for_each(|frame| lose(&mut frame.chunks, &mut damage)),
            }
        }
        let read = match damage.frames {
            0 => "what stood in it cannot be told".to_owned(),
            frames => format!("{} of {frames} frames cannot be read", damage.frames_lost),
        };
        damage.reason = match is_whole {
            true if has_footer && damage.chunks_lost == 0 => return Ok(Examined { readable, damage: None }),
            true => format!("its bytes are as they were put, yet {read}"),
            false if size != expected => format!("it has {size} bytes instead of {expected}; {read}"),
            false => format!("its bytes do not hash to its name; {read}"),
        };
        Ok(Examined { readable, damage: Some(damage) })
    }

    /// What the bytes say of themselves, if that can be read.
    fn footer(&self, id: PackId, opener: &PackOpener) -> Option<PackInfo> {
        let size = self.bytes.len() as u64;
        let mut trailer = self.bytes.get(self.bytes.len().checked_sub(TRAILER_LEN)?..)?.to_vec();
        let range = opener.footer_range(size, &mut trailer).ok()?;
        let mut footer = self.bytes.get(range.start as usize..range.end as usize)?.to_vec();
        opener.read_footer(id, size, &mut footer).ok()
    }

    /// Opens every frame, hands out what is whole and marks what is lost.
    fn read(
        &mut self,
        info: &mut PackInfo,
        opener: &PackOpener,
        damage: &mut DamagedPack,
        each: Each<'_>,
    ) -> Result<()> {
        let mut offset = HEADER_LEN as u64;
        for (ordinal, frame) in (0..).zip(&mut info.frames) {
            let end = offset.saturating_add(frame.stored_len.into());
            let sealed = self.bytes.get_mut(offset as usize..end as usize);
            offset = end;
            let stored = sealed.and_then(|sealed| opener.open_frame(ordinal, sealed).ok());
            let decoded = stored.is_some_and(|bytes| {
                self.decoder.decode(frame.encoding, bytes, frame.plain_len, &mut self.plain).is_ok()
            });
            if !decoded {
                lose(&mut frame.chunks, damage);
                continue;
            }
            let (mut from, mut whole) = (0, 0);
            for chunk in &mut frame.chunks {
                let bytes = self.plain.get(from..from + chunk.len as usize).unwrap_or(&[]);
                from += chunk.len as usize;
                if self.repository.id_key().id(bytes) == chunk.id {
                    whole += 1;
                    damage.chunks_whole += 1;
                    each(info.kind, chunk.id, bytes)?;
                } else {
                    damage.chunks_lost += 1;
                    chunk.id = LOST;
                }
            }
            damage.frames_lost += u32::from(whole == 0);
        }
        Ok(())
    }
}

fn lose(chunks: &mut [icecore_format::frame::FrameChunk], damage: &mut DamagedPack) {
    damage.frames_lost += 1;
    damage.chunks_lost += chunks.len() as u64;
    chunks.iter_mut().for_each(|chunk| chunk.id = LOST);
}
