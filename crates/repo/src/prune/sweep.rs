//! Packs whose grace period is over go: what is needed of them after all is copied, they are un-indexed, deleted, and said to
//! be gone. In this order, each step durable before the next (I4).

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use icecore_format::entry::Timestamp;
use icecore_format::fragment::Fragment;
use icecore_format::id::{FragmentId, PackId};
use icecore_format::mark::Stage;
use icecore_format::pack::PackInfo;

use super::repack::copy;
use super::{PackBytes, PruneOptions, PruneReport, PruneStep, View, Watch};
use crate::error::{Error, Result};
use crate::index::{Index, PACKS_PER_FRAGMENT, read_fragment};
use crate::repository::Repository;
use crate::{layout, marks, objects};

pub(super) fn sweep(
    repository: &Arc<Repository>,
    index: &Arc<Index>,
    view: &View,
    options: &PruneOptions,
    clock: &dyn Fn() -> Timestamp,
    watch: Watch<'_>,
    report: &mut PruneReport,
) -> Result<()> {
    let due = &view.plan.due;
    if due.is_empty() {
        return Ok(());
    }
    let live: HashSet<PackId> = view.usage.packs.iter().filter(|pack| pack.is_live).map(|pack| pack.id).collect();
    // A pack that is due and live holds something that stands in no pack without a mark.
    let (needed, dead): (Vec<PackBytes>, Vec<PackBytes>) = due.iter().partition(|pack| live.contains(&pack.id));
    let copied = copy(repository, index, view, &needed, index.marked()?, options, clock, watch, report)?;
    // What could not be had from one may stand in another.
    let dead = if copied.whole.len() == needed.len() {
        dead
    } else {
        copy(repository, index, view, &dead, index.marked()?, options, clock, watch, report)?.whole
    };
    let mut going: Vec<PackBytes> = dead.into_iter().chain(copied.whole).collect();
    going.sort();
    let mut ids: BTreeSet<PackId> = going.iter().map(|pack| pack.id).collect();
    unindex(repository, index, &mut ids, view.at, clock, report)?;
    going.retain(|pack| ids.contains(&pack.id));
    for pack in &going {
        repository.store().delete(&layout::pack(&pack.id))?;
        report.deleted += u64::from(pack.size > 0);
        report.freed += pack.size;
        watch(PruneStep::Pack(pack.size))?;
    }
    if !going.is_empty() {
        let at = clock();
        marks::put(repository, ids.into_iter().collect(), Stage::Gone, at, at, &options.host)?;
    }
    Ok(())
}

/// Takes packs out of every fragment, and then out of the index. Packs in a fragment that cannot be read stay: they leave
/// `going`.
fn unindex(
    repository: &Repository,
    index: &Index,
    going: &mut BTreeSet<PackId>,
    known: Timestamp,
    clock: &dyn Fn() -> Timestamp,
    report: &mut PruneReport,
) -> Result<()> {
    let mut old: Vec<(FragmentId, Vec<PackInfo>)> = Vec::new();
    for id in index.fragments_of(going)? {
        match read_fragment(repository, &id) {
            Ok(fragment) => old.push((id, fragment.packs)),
            // Another prune was faster; what it put instead is in the next listing, and so are these packs if need be.
            Err(Error::Store(error)) if error.kind == icecore_store::ErrorKind::NotFound => {}
            Err(error @ Error::Damaged { .. }) => {
                for pack in index.packs_of(&id)? {
                    going.remove(&pack);
                }
                report.damaged.push(error.to_string());
            }
            Err(error) => return Err(error),
        }
    }
    let mut staying: Vec<PackInfo> =
        old.iter().flat_map(|(_, packs)| packs).filter(|info| !going.contains(&info.id)).cloned().collect();
    staying.sort_by_key(|info| info.id);
    staying.dedup_by_key(|info| info.id);
    // A fragment that names what others deleted meanwhile would outlive their marks.
    if !old.is_empty() && !marks::is_young(Some(known), clock()) {
        return Err(Error::Refused("the prune took too long to delete by what it knew; run it again".to_owned()));
    }
    let supersedes: Vec<FragmentId> = old.iter().map(|(id, _)| *id).collect();
    for packs in staying.chunks(PACKS_PER_FRAGMENT) {
        let fragment = Fragment { packs: packs.to_vec(), supersedes: supersedes.clone() };
        let (id, _) = objects::put_fragment(repository, &fragment.encode())?;
        index.insert_fragment(&id, packs)?;
    }
    for id in &supersedes {
        repository.store().delete(&layout::fragment(id))?;
    }
    index.drop_fragments(&supersedes)?;
    index.unindex(going)
}
