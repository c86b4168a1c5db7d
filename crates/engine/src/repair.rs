//! Repair: a plan that changes nothing, then what it says. The work is done by [`icecore_repo::repair`].

use std::sync::atomic::Ordering::Relaxed;

use icecore_repo::repair;

use crate::archive::{Archive, interruptible, watch};
use crate::error::Result;
use crate::progress::{Phase, Progress};

pub use icecore_repo::repair::{Corrected, DamagedPack, DamagedRecord, Lacking, Plan, RepairOptions, Repaired};

impl Archive {
    /// Says what a repair would do. Changes nothing.
    ///
    /// # Errors
    /// Also without a key that can read.
    pub fn plan_repair(&self, options: RepairOptions<'_>, progress: &Progress) -> Result<Plan> {
        progress.enter(Phase::Checking);
        interruptible(repair::plan(&self.repository, &self.index, options, &|step| watch(step, progress)))
    }

    /// Does what a plan says. Nothing is destroyed, and an interruption is made good by the next repair.
    pub fn repair(&self, plan: &Plan, options: RepairOptions<'_>, progress: &Progress) -> Result<Repaired> {
        progress.enter(Phase::Repairing);
        let repaired = repair::perform(&self.repository, &self.index, plan, options, &|step| watch(step, progress));
        let repaired = interruptible(repaired)?;
        progress.stored.store(repaired.salvaged.stored_bytes, Relaxed);
        Ok(repaired)
    }
}
