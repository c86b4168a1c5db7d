//! What nothing needs is deleted, after a time in which everybody could object. How, and why that is safe, stands in
//! [`icecore_repo::prune`].

use std::sync::atomic::Ordering::Relaxed;

use icecore_format::entry::Timestamp;
pub use icecore_repo::marks::GRACE;
use icecore_repo::prune::{self, PruneStep};
pub use icecore_repo::prune::{MaxUnused, PackBytes, PruneOptions, PrunePlan, PruneReport};

use crate::archive::{Archive, interruptible};
use crate::error::Result;
use crate::progress::{Phase, Progress};

impl Archive {
    /// Tells what a prune would do. Changes nothing in the repository.
    pub fn prune_outlook(
        &self,
        options: &PruneOptions,
        clock: &dyn Fn() -> Timestamp,
        progress: &Progress,
    ) -> Result<PrunePlan> {
        progress.enter(Phase::Counting);
        interruptible(prune::outlook(&self.repository, &self.index, options, clock, &mut |at| step(at, progress)))
    }

    /// Prunes. What was done stays done if it is interrupted, and the next prune goes on.
    pub fn prune(
        &self,
        options: &PruneOptions,
        clock: &dyn Fn() -> Timestamp,
        progress: &Progress,
    ) -> Result<PruneReport> {
        progress.enter(Phase::Counting);
        interruptible(prune::prune(&self.repository, &self.index, options, clock, &mut |at| step(at, progress)))
    }

    /// Takes marks back that nobody can have acted on yet. Gives the packs that count as stored again, and those for which it is
    /// too late. The clock is read before each mark is taken back.
    pub fn undo_prune(&self, clock: &dyn Fn() -> Timestamp) -> Result<(u64, u64)> {
        Ok(prune::undo(&self.repository, &self.index, clock)?)
    }
}

fn step(step: PruneStep, progress: &Progress) -> icecore_repo::Result<()> {
    match step {
        PruneStep::Block => drop(progress.entries.fetch_add(1, Relaxed)),
        PruneStep::Packs(bytes) => {
            progress.expect(0, bytes);
            progress.enter(Phase::Pruning);
        }
        PruneStep::Pack(bytes) => progress.done(bytes),
    }
    progress.check().map_err(|_| icecore_repo::Error::Interrupted)
}
