//! Fragments are merged, so that there are few of them however many nights ran.
//!
//! ```text
//! many of about one size ─▶ read, joined ─▶ one fragment that replaces them, durable
//!                                             4E later, by whoever comes: read again ─▶ the replaced ones are deleted
//! ```
//! Fragments are merged by their size, each tier eight times as large as the one below, as in a log-structured merge tree (O'Neil et
//! al. 1996, in the tiered form): what a row costs over the years is one writing for each tier. A tier has fewer than eight
//! members that may be merged when everything is done, and nothing of [`FULL`] bytes or more is merged: so there are about
//! 28 + (all fragments' bytes) / `FULL`, and those that are replaced and still stand.
//!
//! A merged fragment says exactly what those say that it replaces. Why no listing misses a pack, and none comes back that a prune
//! took out, stands in `docs/invariants.md`, "Fragments that replace others".

use std::collections::BTreeMap;

use icecore_format::entry::Timestamp;
use icecore_format::fragment::Fragment;
use icecore_format::id::{FragmentId, PackId};
use icecore_format::pack::PackInfo;

use crate::error::{Error, Result};
use crate::index::{self, Index, read_fragment};
use crate::layout;
use crate::marks::{self, SETTLED, later};
use crate::repository::Repository;

/// A fragment of so many bytes is not merged any more: at some 25 bytes a chunk it names 330,000. A merged one has at most twice
/// that, which with its decoded form is what a merge holds in memory, twice.
pub(crate) const FULL: u64 = 8 << 20;

/// A tier with so many members is merged.
const MANY: usize = 8;

/// Merges fragments where there are too many of one size, and deletes replaced ones whose time has come. Costs nothing when there is
/// neither. Gives how many fragments were merged. Only who can read does anything.
///
/// # Errors
/// What keeps it from going on. Whenever it ends, every pack that was named is.
pub(crate) fn tidy(repository: &Repository, index: &Index, clock: &dyn Fn() -> Timestamp) -> Result<u64> {
    if repository.open_key().is_err() {
        return Ok(0);
    }
    let mut merged = 0;
    if !plan(index.settled()?).is_empty() {
        // Others may have merged them since they were listed.
        let known = clock();
        index.sync_at(repository, known)?;
        for group in plan(index.settled()?) {
            match merge(repository, index, &group, known, clock)? {
                Some(count) => merged += count,
                None => break,
            }
        }
    }
    retire(repository, index, clock())?;
    Ok(merged)
}

/// Chooses what is merged into one each.
fn plan(fragments: Vec<(FragmentId, u64)>) -> Vec<Vec<FragmentId>> {
    let mut tiers: BTreeMap<u32, Vec<(u64, FragmentId)>> = BTreeMap::new();
    for (id, size) in fragments {
        if size < FULL {
            tiers.entry(tier(size)).or_default().push((size, id));
        }
    }
    let mut groups = Vec::new();
    for mut members in tiers.into_values().filter(|members| members.len() >= MANY) {
        members.sort_unstable();
        let (mut group, mut bytes) = (Vec::new(), 0);
        for (size, id) in members {
            if bytes + size > 2 * FULL {
                groups.push(std::mem::take(&mut group));
                bytes = 0;
            }
            group.push(id);
            bytes += size;
        }
        if group.len() >= MANY || bytes >= FULL {
            groups.push(group);
        }
    }
    groups
}

/// Tier 0 is below 32 KiB, 1 below 256 KiB, 2 below 2 MiB.
fn tier(size: u64) -> u32 {
    (size >> 15).checked_ilog(8).map_or(0, |above| above + 1)
}

/// Merges a group; `None` if that is for another time.
fn merge(
    repository: &Repository,
    index: &Index,
    group: &[FragmentId],
    known: Timestamp,
    clock: &dyn Fn() -> Timestamp,
) -> Result<Option<u64>> {
    // From the store, not from the index, which leaves out what this host found lost.
    let (mut old, mut packs) = (Vec::new(), BTreeMap::<PackId, PackInfo>::new());
    for id in group {
        match read_fragment(repository, id) {
            Ok(fragment) => {
                old.push(*id);
                packs.extend(fragment.packs.into_iter().map(|info| (info.id, info)));
            }
            // It stays as it is, and `check` and `repair` see to it.
            Err(Error::Damaged { .. }) => {}
            // Somebody else is at it.
            Err(Error::Store(error)) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    if old.len() < 2 {
        return Ok(Some(0));
    }
    let replaced = replace(repository, index, &old, packs.into_values().collect(), known, clock)?;
    Ok(replaced.map(|_| old.len() as u64))
}

/// Puts a fragment in the place of others, which were listed at the time `known`; from then on they do not count. It names what they
/// name, but for what is to be un-indexed. Gives the time that it tells; `None` if what is known is too old to be said again.
pub(crate) fn replace(
    repository: &Repository,
    index: &Index,
    old: &[FragmentId],
    packs: Vec<PackInfo>,
    known: Timestamp,
    clock: &dyn Fn() -> Timestamp,
) -> Result<Option<Timestamp>> {
    // What they replaced themselves would count again without them.
    let mut supersedes: Vec<FragmentId> = index.replaced_by(|by| old.contains(by))?.into_iter().collect();
    supersedes.sort_unstable();
    supersedes.extend(old);
    let made = clock();
    if !marks::is_fresh(known, made) {
        return Ok(None);
    }
    // Also when nothing is left to name: what was put elsewhere just now may be passed over by who lists at this moment.
    index::put(index, repository, &Fragment { packs, supersedes, made: Some(made) })?;
    Ok(Some(made))
}

/// Deletes fragments that others replace which were made 4E ago.
///
/// # Errors
/// [`Error::Damaged`] if one cannot be read on whose strength others would be deleted.
pub(crate) fn retire(repository: &Repository, index: &Index, now: Timestamp) -> Result<()> {
    #[cfg(test)]
    let now = if index.weak.hasty { later(now, SETTLED) } else { now };
    for by in index.replacing(later(now, -SETTLED).seconds)? {
        let fragment = match read_fragment(repository, &by) {
            Ok(fragment) => fragment,
            // Replaced itself meanwhile.
            Err(Error::Store(error)) if error.is_not_found() => continue,
            Err(error) => return Err(error),
        };
        // The index knows the second.
        if fragment.made.is_none_or(|made| later(made, SETTLED) > now) {
            continue;
        }
        let standing = index.replaced_by(|id| *id == by)?;
        // In its order: what was replaced first goes first.
        for id in fragment.replaced().iter().filter(|id| standing.contains(id)) {
            repository.store().delete(&layout::fragment(id))?;
        }
        index.forget_replaced(|id| standing.contains(id))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
