//! Snapshots go: what that would free is known before, and nothing is deleted but their records.
//!
//! The chunks that only they needed stay where they are until a prune takes them.

use std::sync::atomic::Ordering::Relaxed;

use icecore_format::id::SnapshotId;
use icecore_repo::{Catalogue, ChunkReader, Freed, Reach, catalogue};

use crate::archive::{Archive, interruptible};
use crate::error::Result;
use crate::progress::{Phase, Progress};

/// What would become free.
#[derive(Debug, Default)]
pub struct Outlook {
    /// What only the given snapshots need.
    pub freed: Freed,
    /// Why that is not certain: a sentence for each thing that could not be read.
    pub damaged: Vec<String>,
}

impl Archive {
    /// Tells what nothing would need any more without the snapshots `ids` of the catalogue.
    ///
    /// # Errors
    /// Also without a key that can read: who cannot read does not know what is needed.
    pub fn outlook(&self, catalogue: &Catalogue, ids: &[SnapshotId], progress: &Progress) -> Result<Outlook> {
        progress.enter(Phase::Counting);
        let reader = self.reader()?;
        let mut reach = Reach::open(&self.index)?;
        // What stays is counted, so that nothing is left to count when the others have gone.
        let (gone, kept): (Vec<_>, Vec<_>) = catalogue.snapshots.iter().partition(|stored| ids.contains(&stored.id));
        let mut damaged = interruptible(reach.update(&reader, kept.iter().copied(), &mut || step(progress)))?;
        let (mut freed, lost) = interruptible(reach.needed_beside(&reader, &gone, &mut || step(progress)))?;
        damaged.extend(lost);
        // What a record that cannot be read needs is not known either.
        freed.exact &= catalogue.damaged.is_empty();
        damaged.extend(catalogue.damaged.iter().cloned());
        Ok(Outlook { freed, damaged })
    }

    /// Deletes the records of snapshots, durably, one after the other.
    pub fn forget(&self, ids: &[SnapshotId], progress: &Progress) -> Result<()> {
        progress.expect(ids.len() as u64, 0);
        progress.enter(Phase::Forgetting);
        for id in ids {
            progress.check()?;
            catalogue::forget(&self.repository, id)?;
            progress.done(0);
        }
        progress.expect(0, 0);
        progress.enter(Phase::Counting);
        // The next count would do it too; done now, it is quick while what they named can still be read.
        let reader = self.reader()?;
        let catalogue = self.catalogue()?;
        let mut reach = Reach::open(&self.index)?;
        count(&mut reach, &reader, &catalogue, progress).map(drop)
    }
}

pub(crate) fn count(
    reach: &mut Reach,
    reader: &ChunkReader,
    catalogue: &Catalogue,
    progress: &Progress,
) -> Result<Vec<String>> {
    interruptible(reach.update(reader, &catalogue.snapshots, &mut || step(progress)))
}

pub(crate) fn step(progress: &Progress) -> icecore_repo::Result<()> {
    progress.entries.fetch_add(1, Relaxed);
    progress.check().map_err(|_| icecore_repo::Error::Interrupted)
}
