//! Packs that stand in the store and in no fragment: what sessions that were interrupted left.

use std::collections::HashSet;

use icecore_format::id::PackId;

use super::{Index, PACKS_PER_FRAGMENT, publish};
use crate::error::{Error, Result};
use crate::layout;
use crate::reader::read_footer;
use crate::repository::Repository;

impl Index {
    /// Names the packs of the store that neither a fragment nor a mark names.
    pub(crate) fn adopt_strays(&self, repository: &Repository) -> Result<()> {
        let mut known: HashSet<PackId> = self.packs()?.into_iter().map(|(id, ..)| id).collect();
        known.extend(self.marked()?);
        known.extend(self.dropped()?);
        let mut strays = Vec::new();
        repository.store().list(layout::PACKS, &mut |listed| {
            let id = layout::id_of::<PackId>(&listed.key).filter(|id| !known.contains(id));
            strays.extend(id.map(|id| (id, listed.size)));
            Ok(())
        })?;
        // What cannot be read, `check` and `repair` tell of.
        self.adopt(repository, &strays, |_, _| ()).map(drop)
    }

    /// Reads the footers of packs and publishes fragments that name them. Gives how many, and a sentence for each that is damaged.
    pub(super) fn adopt(
        &self,
        repository: &Repository,
        packs: &[(PackId, u64)],
        mut progress: impl FnMut(u64, u64),
    ) -> Result<(u64, Vec<String>)> {
        let open_key = repository.open_key()?;
        let (mut adopted, mut unnamed, mut damaged) = (0, Vec::new(), Vec::new());
        for (done, (id, size)) in packs.iter().enumerate() {
            progress(done as u64, packs.len() as u64);
            match read_footer(repository, &open_key, id, *size) {
                Ok(info) => {
                    self.insert_pack(&info)?;
                    adopted += 1;
                    unnamed.push(info);
                }
                // A prune deleted it since the packs were listed.
                Err(Error::Store(error)) if error.is_not_found() => {}
                Err(error @ Error::Damaged { .. }) => damaged.push(error.to_string()),
                Err(error) => return Err(error),
            }
            if unnamed.len() >= PACKS_PER_FRAGMENT {
                publish(self, repository, &unnamed)?;
                unnamed.clear();
            }
        }
        publish(self, repository, &unnamed)?;
        Ok((adopted, damaged))
    }
}
