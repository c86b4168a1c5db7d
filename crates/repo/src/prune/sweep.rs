//! Packs whose grace period is over go: what is needed of them after all is copied, they are un-indexed, deleted, and said to
//! be gone. In this order, each step durable before the next (I4).

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use icecore_format::entry::Timestamp;
use icecore_format::id::{ChunkId, PackId};
use icecore_format::mark::Stage;
use icecore_store::ErrorKind;

use super::keepers::Keepers;
use super::repack::{copy, forget_lost};
use super::{PackBytes, PruneOptions, PruneReport, PruneStep, View, Watch};
use crate::error::{Error, Result};
use crate::index::{Index, read_fragment};
use crate::repository::Repository;
use crate::{layout, marks, merge};

/// Gives whether something was found damaged on the way and is known no more.
pub(super) fn sweep(
    repository: &Arc<Repository>,
    index: &Arc<Index>,
    view: &View,
    options: &PruneOptions,
    clock: &dyn Fn() -> Timestamp,
    watch: Watch<'_>,
    report: &mut PruneReport,
) -> Result<bool> {
    let due = &view.plan.due;
    if due.is_empty() {
        return Ok(false);
    }
    let uses: HashMap<PackId, _> = view.usage.packs.iter().map(|pack| (pack.id, pack)).collect();
    let mut keepers = Keepers::new(repository, index, &view.reach)?;
    let (mut needed, mut dead) = (Vec::new(), Vec::new());
    for pack in due {
        if options.until.is_some_and(|until| Instant::now() >= until) {
            report.cut_short = true;
            break;
        }
        watch(PruneStep::Pack(0))?;
        // It may hold something that stands in no pack without a mark.
        let is_needed = uses.get(&pack.id).is_some_and(|held| held.is_live);
        // Whatever the survey says of the others: this is the last time that anybody asks.
        let is_covered = if is_needed || pack.size == 0 { Ok(!is_needed) } else { keepers.cover(pack) };
        match is_covered {
            Ok(true) => dead.push(*pack),
            Ok(false) => needed.push(*pack),
            // A bad sector, say: it stays, and keeps no other one.
            Err(Error::Store(error)) if matches!(error.kind, ErrorKind::Other | ErrorKind::PermissionDenied) => {
                report.damaged.push(error.to_string());
            }
            Err(error) => return Err(error),
        }
    }
    let stands = &mut |id: &ChunkId| keepers.have(id);
    let copied = copy(repository, index, view, &needed, stands, options, clock, watch, report)?;
    // What could not be had from one may stand in another.
    let dead = if copied.whole.len() == needed.len() {
        dead
    } else {
        copy(repository, index, view, &dead, stands, options, clock, watch, report)?.whole
    };
    // What was in them stands elsewhere now, too.
    let damaged = keepers.damaged;
    forget_lost(repository, index, &view.reach, damaged.keys())?;
    let is_damaged = !damaged.is_empty();
    report.damaged.extend(damaged.into_values());
    let mut going: Vec<PackBytes> = dead.into_iter().chain(copied.whole).collect();
    going.sort();
    let mut ids: BTreeSet<PackId> = going.iter().map(|pack| pack.id).collect();
    let unindexed = unindex(repository, index, &mut ids, view.at, clock, report)?;
    going.retain(|pack| ids.contains(&pack.id));
    for pack in &going {
        repository.store().delete(&layout::pack(&pack.id))?;
        report.deleted += u64::from(pack.size > 0);
        report.freed += pack.size;
        watch(PruneStep::Pack(pack.size))?;
    }
    if !going.is_empty() {
        // The fragments that were replaced go before this mark does.
        let at = clock().max(unindexed);
        marks::put(repository, ids.into_iter().collect(), Stage::Gone, at, at, &options.host)?;
    }
    Ok(is_damaged)
}

/// Takes packs out of every fragment that counts, and then out of the index. Packs in a fragment that cannot be read stay: they leave
/// `going`. Gives a time that is not before any that the fragments tell which say so.
fn unindex(
    repository: &Repository,
    index: &Index,
    going: &mut BTreeSet<PackId>,
    mut known: Timestamp,
    clock: &dyn Fn() -> Timestamp,
    report: &mut PruneReport,
) -> Result<Timestamp> {
    // To copy may have taken long. Which packs go does not age; what else their fragments name does.
    if !marks::is_fresh(known, clock()) {
        known = clock();
        index.sync_at(repository, known)?;
    }
    let mut last = known;
    for id in index.fragments_of(going)? {
        match read_fragment(repository, &id) {
            Ok(fragment) => {
                let staying = fragment.packs.into_iter().filter(|info| !going.contains(&info.id)).collect();
                let Some(made) = merge::replace(repository, index, &[id], staying, known, clock)? else {
                    // A fragment that names what others deleted meanwhile would outlive their marks.
                    let why = "the prune took too long to delete by what it knew; run it again";
                    return Err(Error::Refused(why.to_owned()));
                };
                last = last.max(made);
            }
            // Another prune was faster; what it put instead is in the next listing, and so are these packs if need be.
            Err(Error::Store(error)) if error.is_not_found() => {}
            Err(error @ Error::Damaged { .. }) => {
                for pack in index.packs_of(&id)? {
                    going.remove(&pack);
                }
                report.damaged.push(error.to_string());
            }
            Err(error) => return Err(error),
        }
    }
    index.unindex(going)?;
    Ok(last)
}
