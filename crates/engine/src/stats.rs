//! What a repository holds, and what each snapshot costs. Reads manifests and the index, and no content.

use icecore_format::id::SnapshotId;
use icecore_repo::index::IndexTotals;
use icecore_repo::{Catalogue, Freed, Reach, objects};

use crate::archive::{Archive, interruptible};
use crate::error::Result;
use crate::forget::{count, step};
use crate::progress::{Phase, Progress};

/// What a repository holds.
#[derive(Debug, Default)]
pub struct Stats {
    /// What the index knows.
    pub index: IndexTotals,
    /// Fragments, and their bytes.
    pub fragments: (u64, u64),
    /// Objects that a repair set aside, and their bytes.
    pub set_aside: (u64, u64),
    /// What no snapshot needs.
    pub dead: Freed,
    /// What nothing would need any more without this snapshot alone.
    pub unique: Vec<(SnapshotId, Freed)>,
    /// Why figures are not certain: a sentence for each thing that could not be read.
    pub damaged: Vec<String>,
}

impl Archive {
    /// Counts everything, and what each of the snapshots `ids` of the catalogue costs.
    ///
    /// # Errors
    /// Also without a key that can read: who cannot read does not know what is needed.
    pub fn stats(&self, catalogue: &Catalogue, ids: &[SnapshotId], progress: &Progress) -> Result<Stats> {
        progress.enter(Phase::Counting);
        let reader = self.reader()?;
        let mut reach = Reach::open(&self.index)?;
        let mut damaged = count(&mut reach, &reader, catalogue, progress)?;
        let mut unique = Vec::with_capacity(ids.len());
        for stored in catalogue.snapshots.iter().filter(|stored| ids.contains(&stored.id)) {
            let (freed, lost) = interruptible(reach.would_free(&reader, &[stored], &mut || step(progress)))?;
            damaged.extend(lost);
            unique.push((stored.id, freed));
        }
        let mut dead = reach.unneeded()?;
        dead.exact &= catalogue.damaged.is_empty();
        damaged.sort();
        damaged.dedup();
        Ok(Stats {
            index: self.index.totals()?,
            fragments: objects::fragments(&self.repository)?,
            set_aside: objects::set_aside(&self.repository)?,
            dead,
            unique,
            damaged,
        })
    }
}
