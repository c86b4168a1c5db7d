//! What is needed and stands in marked packs alone is stored again: at a commit, by a manifest; in a prune, by a pack.

use std::collections::HashSet;
use std::sync::Arc;

use icecore_format::frame::{Decoder, Frame, FrameChunk};
use icecore_format::id::{ChunkId, PackId};
use icecore_format::manifest::{BlockSource, block_links};
use icecore_format::pack::{PackError, PackInfo, PackKind, PackOpener, TRAILER_LEN};
use icecore_format::seal::HEADER_LEN;

use crate::error::{Error, Result};
use crate::index::Index;
use crate::layout;
use crate::reader::ChunkReader;
use crate::repository::Repository;
use crate::session::ChunkWriter;

/// Ids that are remembered before those are dropped that a pack holds by now; more than stand in the packs that are being made.
const REMEMBERED: usize = 1 << 16;

/// Chunks that were copied and that the index may not know yet. There are few of them, however much is copied.
#[derive(Debug, Default)]
pub(crate) struct UnderWay {
    ids: HashSet<ChunkId>,
    /// How many were left when it was looked last.
    left: usize,
}

impl UnderWay {
    pub(crate) fn contains(&self, id: &ChunkId) -> bool {
        self.ids.contains(id)
    }

    /// Remembers a chunk. Of those that `stand` in packs by now none has to be.
    pub(crate) fn insert(&mut self, id: ChunkId, stands: &mut dyn FnMut(&ChunkId) -> Result<bool>) -> Result<()> {
        self.ids.insert(id);
        if self.ids.len() < REMEMBERED + 2 * self.left {
            return Ok(());
        }
        let mut left = HashSet::new();
        for id in self.ids.drain() {
            if !stands(&id)? {
                left.insert(id);
            }
        }
        self.left = left.len();
        self.ids = left;
        Ok(())
    }
}

/// Copies whatever a manifest needs and stands in marked packs alone.
///
/// # Errors
/// [`Error::Overtaken`] if something cannot be had any more.
pub(crate) fn manifest(
    repository: &Arc<Repository>,
    index: &Index,
    root: &ChunkId,
    mut writer: ChunkWriter,
) -> Result<()> {
    let reader = ChunkReader::new(repository, index)?;
    let mut copied = UnderWay::default();
    let lost = |id: ChunkId| move |error: Error| if error.is_loss() { Error::Overtaken { chunk: id } } else { error };
    let mut open = vec![*root];
    while let Some(block) = open.pop() {
        let bytes = reader.block(&block).map_err(lost(block))?;
        if !writer.contains(&block)? && !copied.contains(&block) {
            writer.put_again(PackKind::Manifest, block, &bytes)?;
            copied.insert(block, &mut |id| writer.contains(id))?;
        }
        let links = block_links(&bytes)
            .map_err(|error| Error::Damaged { object: "a manifest block".to_owned(), reason: error.to_string() })?;
        for (chunk, _) in links.chunks {
            if !writer.contains(&chunk)? && !copied.contains(&chunk) {
                let bytes = reader.chunk(&chunk).map_err(lost(chunk))?;
                writer.put_again(PackKind::Data, chunk, &bytes)?;
                copied.insert(chunk, &mut |id| writer.contains(id))?;
            }
        }
        open.extend(links.blocks);
    }
    writer.finish()
}

/// Copies of one pack the chunks that `is_wanted`, frames of which all are as they stand. Gives the plain bytes that were copied.
///
/// # Errors
/// [`Error::Damaged`] if something that is wanted cannot be had; nothing that is damaged is copied.
pub(crate) fn pack(
    repository: &Repository,
    (id, kind, size): (PackId, PackKind, u64),
    writer: &mut ChunkWriter,
    is_wanted: &mut dyn FnMut(&ChunkId) -> Result<bool>,
) -> Result<u64> {
    let key = layout::pack(&id);
    let damaged = |reason: String| Error::Damaged { object: key.to_string(), reason };
    let mut bytes = Vec::new();
    repository.store().get_range(&key, 0..size, &mut bytes)?;
    let fail = |error: PackError| damaged(error.to_string());
    let opener = PackOpener::new(&repository.open_key()?, kind, bytes.get(..HEADER_LEN).unwrap_or(&[]));
    let opener = opener.map_err(fail)?;
    let info = footer(&opener, id, &bytes).map_err(fail)?;
    let mut decoder = Decoder::new()?;
    let (mut plain, mut copied) = (Vec::new(), 0);
    for (ordinal, frame) in (0..).zip(&info.frames) {
        let mut wanted = Vec::with_capacity(frame.chunks.len());
        for chunk in &frame.chunks {
            wanted.push(is_wanted(&chunk.id)?);
        }
        if !wanted.contains(&true) {
            continue;
        }
        let offset = info.frame_offset(ordinal) as usize;
        let sealed = bytes.get_mut(offset..offset + frame.stored_len as usize);
        let sealed = sealed.ok_or_else(|| damaged("it is too short".to_owned()))?;
        let stored = opener.open_frame(ordinal, sealed).map_err(fail)?;
        decoder
            .decode(frame.encoding, stored, frame.plain_len, &mut plain)
            .map_err(|error| damaged(format!("frame {ordinal}: {error}")))?;
        let mut at = 0;
        let mut parts = Vec::with_capacity(frame.chunks.len());
        for (FrameChunk { id, len }, wanted) in frame.chunks.iter().zip(&wanted) {
            let part = &plain[at..at + *len as usize];
            at += *len as usize;
            if *wanted && repository.id_key().id(part) != *id {
                return Err(damaged(format!("frame {ordinal}: chunk {id} does not hash to its id")));
            }
            parts.push((*id, part, *wanted));
        }
        if wanted.contains(&false) {
            for (id, part, _) in parts.into_iter().filter(|(.., wanted)| *wanted) {
                copied += part.len() as u64;
                writer.put_again(kind, id, part)?;
            }
        } else {
            copied += u64::from(frame.plain_len);
            let (encoding, plain_len) = (frame.encoding, frame.plain_len);
            writer.copy_frame(
                kind,
                Frame { encoding, plain_len, stored: stored.to_vec(), chunks: frame.chunks.clone() },
            )?;
        }
    }
    Ok(copied)
}

fn footer(opener: &PackOpener, id: PackId, bytes: &[u8]) -> std::result::Result<PackInfo, PackError> {
    let size = bytes.len() as u64;
    let mut trailer = bytes[bytes.len().saturating_sub(TRAILER_LEN)..].to_vec();
    let range = opener.footer_range(size, &mut trailer)?;
    let mut footer = bytes[range.start as usize..range.end as usize].to_vec();
    opener.read_footer(id, size, &mut footer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_packs_hold_by_now_is_not_remembered() {
        let id = |number: usize| {
            let mut bytes = [0; ChunkId::LEN];
            bytes[..8].copy_from_slice(&number.to_le_bytes());
            ChunkId::from_bytes(bytes)
        };
        let mut under_way = UnderWay::default();
        for number in 0..4 * REMEMBERED {
            // The last hundred are on their way; of the others one in a thousand never arrives.
            let stands = |other: &ChunkId| {
                let other = usize::from_le_bytes(other.as_bytes()[..8].try_into().unwrap_or_default());
                other + 100 < number && other % 1000 != 0
            };
            under_way.insert(id(number), &mut |other| Ok(stands(other))).unwrap();
            assert!(under_way.contains(&id(number)) && under_way.contains(&id(number.saturating_sub(99))));
        }
        assert!(under_way.contains(&id(1000)) && under_way.ids.len() < 2 * REMEMBERED);
    }
}
