//! Whether what is needed of a pack that goes can be read in a pack that stays. The index says where it should stand, and no more:
//! the last good copy of something must not go on the strength of one that was never looked at again.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use icecore_format::id::{ChunkId, PackId};

use super::PackBytes;
use crate::error::{Error, Result};
use crate::index::{Index, Lookup};
use crate::reach::Reach;
use crate::reader::{ChunkReader, read_footer};
use crate::repository::Repository;

/// Reads in packs without a mark what is needed of those that go.
pub(super) struct Keepers<'a> {
    repository: &'a Repository,
    index: &'a Index,
    reach: &'a Reach,
    lookup: Lookup,
    reader: ChunkReader,
    marked: HashSet<PackId>,
    /// Packs that should have held something and did not, with a sentence each.
    pub(super) damaged: BTreeMap<PackId, String>,
}

impl<'a> Keepers<'a> {
    pub(super) fn new(repository: &'a Arc<Repository>, index: &'a Index, reach: &'a Reach) -> Result<Self> {
        Ok(Self {
            lookup: index.lookup()?,
            reader: ChunkReader::new(repository, index)?,
            marked: index.marked()?,
            damaged: BTreeMap::new(),
            repository,
            index,
            reach,
        })
    }

    /// Whether everything that is needed of a pack was read where it is to stay. Of the pack itself only its footer is read.
    pub(super) fn cover(&mut self, pack: &PackBytes) -> Result<bool> {
        for chunk in self.chunks_of(pack)? {
            if self.reach.is_needed(&chunk)? && !self.have(&chunk)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether a copy of a chunk could be read in a pack without a mark.
    pub(super) fn have(&mut self, chunk: &ChunkId) -> Result<bool> {
        for at in self.lookup.locate(chunk)? {
            let pack = at.frame.pack;
            if self.marked.contains(&pack) {
                continue;
            }
            match self.reader.chunk_at(chunk, &at) {
                Ok(_) => return Ok(true),
                Err(error) if error.is_loss() || matches!(error, Error::WrongIndex { .. }) => {
                    self.damaged.entry(pack).or_insert_with(|| error.to_string());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// What stands in a pack, by its own footer, so that it is what goes with it; if that cannot be read, by the index.
    fn chunks_of(&self, pack: &PackBytes) -> Result<Vec<ChunkId>> {
        match read_footer(self.repository, &self.repository.open_key()?, &pack.id, pack.size) {
            Ok(info) => Ok(info.frames.iter().flat_map(|frame| &frame.chunks).map(|chunk| chunk.id).collect()),
            // Another prune was faster: nothing is left that could go.
            Err(Error::Store(error)) if error.is_not_found() => Ok(Vec::new()),
            Err(error) if error.is_loss() => {
                Ok(self.index.held(&pack.id)?.into_values().flatten().map(|held| held.id).collect())
            }
            Err(error) => Err(error),
        }
    }
}
