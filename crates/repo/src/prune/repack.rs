//! What is needed is copied out of packs that go.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use icecore_format::entry::Timestamp;
use icecore_format::id::{ChunkId, PackId};
use icecore_format::pack::PackKind;

use super::{PackBytes, PruneOptions, PruneReport, PruneStep, View, Watch};
use crate::error::{Error, Result};
use crate::index::{Index, Lookup};
use crate::reach::Reach;
use crate::repository::Repository;
use crate::rescue;
use crate::session::{ChunkWriter, Session};
use crate::sign::Who;

/// zstd's level for what is compressed again.
const LEVEL: i32 = 3;

/// Copies what is needed out of packs; gives those of which all is copied.
pub(super) fn repack(
    repository: &Arc<Repository>,
    index: &Arc<Index>,
    view: &View,
    options: &PruneOptions,
    clock: &dyn Fn() -> Timestamp,
    watch: Watch<'_>,
    report: &mut PruneReport,
) -> Result<Vec<PackBytes>> {
    let plan = &view.plan;
    let mut doomed: HashSet<PackId> = index.marked()?;
    doomed.extend(plan.mark.iter().chain(&plan.repack).map(|pack| pack.id));
    let copied = copy(repository, index, view, &plan.repack, doomed, options, clock, watch, report)?;
    report.repacked = copied.len() as u64;
    Ok(copied)
}

/// Copies out of `from` what is needed and stands in no pack but `doomed` ones, until the time is over. Everything that was
/// copied is durable and named by a fragment on return. Gives the packs of which all is copied; the report names the others.
#[allow(clippy::too_many_arguments, reason = "one story, told in two places")]
pub(super) fn copy(
    repository: &Arc<Repository>,
    index: &Arc<Index>,
    view: &View,
    from: &[PackBytes],
    doomed: HashSet<PackId>,
    options: &PruneOptions,
    clock: &dyn Fn() -> Timestamp,
    watch: Watch<'_>,
    report: &mut PruneReport,
) -> Result<Vec<PackBytes>> {
    if from.is_empty() {
        return Ok(Vec::new());
    }
    let who = Who { host: options.host.clone(), instance: "prune".to_owned(), now: clock() };
    // With --now, the record would be found by this prune itself; nothing else is to run beside it anyway.
    let session = Session::begin_as(Arc::clone(repository), Arc::clone(index), LEVEL, (!options.now).then_some(&who))?;
    let copied = (|| {
        let mut writer = session.writer()?;
        let mut copying = Copying { reach: &view.reach, lookup: index.lookup()?, doomed, done: HashSet::new() };
        let mut whole = Vec::new();
        for pack in from {
            if options.until.is_some_and(|until| Instant::now() >= until) {
                report.cut_short = true;
                break;
            }
            let kind =
                view.usage.packs.iter().find(|found| found.id == pack.id).map_or(PackKind::Data, |pack| pack.kind);
            match copying.pack(repository, (pack.id, kind, pack.size), &mut writer) {
                Ok(bytes) => {
                    report.copied += bytes;
                    whole.push(*pack);
                }
                // Another prune was faster, and copied what it had to.
                Err(Error::Store(error)) if error.is_not_found() => {}
                Err(error) if error.is_loss() => report.damaged.push(error.to_string()),
                Err(error) => return Err(error),
            }
            watch(PruneStep::Pack(pack.size))?;
        }
        writer.finish()?;
        Ok(whole)
    })();
    // Also after a failure: what was stored is named.
    let closed = session.close();
    let whole = copied?;
    closed?;
    Ok(whole)
}

/// Decides chunk by chunk what is copied.
struct Copying<'a> {
    reach: &'a Reach,
    lookup: Lookup,
    doomed: HashSet<PackId>,
    /// On its way, and not in the index yet.
    done: HashSet<ChunkId>,
}

impl Copying<'_> {
    fn pack(
        &mut self,
        repository: &Repository,
        pack: (PackId, PackKind, u64),
        writer: &mut ChunkWriter,
    ) -> Result<u64> {
        let (reach, lookup, doomed, done) = (self.reach, &self.lookup, &self.doomed, &mut self.done);
        let mut fresh = Vec::new();
        let result = rescue::pack(repository, pack, writer, &mut |id| {
            if done.contains(id) || fresh.contains(id) || !reach.is_needed(id)? {
                return Ok(false);
            }
            let stands = lookup.locate(id)?.iter().any(|at| !doomed.contains(&at.frame.pack));
            fresh.extend((!stands).then_some(*id));
            Ok(!stands)
        });
        // Of a pack that could not be copied whole nothing is taken for copied: it stays.
        if result.is_ok() {
            done.extend(fresh);
        }
        result
    }
}
