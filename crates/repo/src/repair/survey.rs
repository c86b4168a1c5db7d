//! What stands in the store, and what of it is whole.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use icecore_format::id::{FragmentId, PackId, SnapshotId};
use icecore_format::pack::PackInfo;
use icecore_store::{ErrorKind, Key};

use super::packs::{Examined, Examiner};
use super::{DamagedPack, DamagedRecord, Plan, RepairOptions};
use crate::check::{CheckStep, Finding, Watch};
use crate::error::{Error, Result};
use crate::index::{Index, list_fragments, read_fragment};
use crate::repository::Repository;
use crate::{catalogue, layout};

/// Every snapshot record is opened, also those that the index remembers. Gives the names of all.
pub(super) fn records(repository: &Repository, index: &Index, plan: &mut Plan) -> Result<BTreeSet<SnapshotId>> {
    let mut ids = BTreeSet::new();
    repository.store().list(layout::SNAPSHOTS, &mut |listed| {
        match layout::id_of::<SnapshotId>(&listed.key).filter(|id| layout::snapshot(id) == listed.key) {
            Some(id) => drop(ids.insert(id)),
            None => foreign(&listed.key, plan),
        }
        Ok(())
    })?;
    let mut cached: HashMap<_, _> = index.cached_snapshots()?.into_iter().collect();
    for &id in &ids {
        match catalogue::read(repository, &id) {
            Ok(_) => {}
            // Forgotten meanwhile.
            Err(Error::Store(error)) if error.kind == ErrorKind::NotFound => {}
            Err(error @ Error::Damaged { .. }) => {
                plan.records.push(DamagedRecord { id, reason: error.to_string(), kept: cached.remove(&id) });
            }
            Err(error) => return Err(error),
        }
    }
    Ok(ids)
}

/// Key slots cannot be mended: nobody knows what stood in them.
pub(super) fn slots(repository: &Repository, plan: &mut Plan) -> Result<()> {
    let (_, unusable) = crate::slots::list(repository)?;
    for sentence in unusable {
        plan.left.push(Finding {
            invariant: "I1",
            object: sentence.split([' ', ':']).next().unwrap_or_default().to_owned(),
            message: sentence,
            next: "Whoever used this key needs a new one: icecore key add. Then remove the object.",
        });
    }
    Ok(())
}

fn foreign(key: &Key, plan: &mut Plan) {
    plan.left.push(Finding {
        invariant: "I1",
        object: key.to_string(),
        message: "this object has no name that this program gives there".to_owned(),
        next: "Remove it from the store if nothing else put it there on purpose.",
    });
}

/// A pack in the store.
struct Standing {
    id: PackId,
    size: u64,
    /// No readable fragment names it.
    unnamed: bool,
    /// Its fragment says another size.
    resized: bool,
}

/// Fragments and packs; afterwards `scratch` says what of the packs can be read.
pub(super) fn objects(
    repository: &Repository,
    scratch: &Index,
    options: RepairOptions<'_>,
    watch: Watch<'_>,
    plan: &mut Plan,
) -> Result<()> {
    let named = fragments(repository, plan)?;
    let mut stored = BTreeMap::new();
    repository.store().list(layout::PACKS, &mut |listed| {
        match layout::id_of::<PackId>(&listed.key).filter(|id| layout::pack(id) == listed.key) {
            Some(id) => drop(stored.insert(id, listed.size)),
            None => foreign(&listed.key, plan),
        }
        Ok(())
    })?;
    plan.packs = stored.len() as u64;
    // Only now: what a prune deleted before the packs were listed is marked, and what it copied is named.
    scratch.sync(repository)?;
    scratch.learn_marks(repository)?;
    let marked = scratch.marked()?;
    let absent = named.keys().filter(|id| !stored.contains_key(id)).copied();
    (plan.pruned, plan.missing) = absent.partition(|id| marked.contains(id));
    let standing: Vec<_> = stored
        .into_iter()
        .map(|(id, size)| match named.get(&id) {
            Some(known) => Standing { id, size, unnamed: false, resized: known.size != size },
            None => Standing { id, size, unnamed: true, resized: false },
        })
        .filter(|pack| options.read_data || pack.unnamed || pack.resized)
        .collect();
    scratch.forget_packs(&plan.missing)?;
    scratch.forget_packs(&plan.pruned)?;
    let examined = examine_all(repository, scratch, &named, &standing, options.threads, watch)?;
    plan.packs_read = examined.len() as u64;
    for (pack, damage) in examined {
        match damage {
            Some(damage) => plan.damaged.push(damage),
            None if pack.unnamed => plan.adopted.push(pack.id),
            None => {}
        }
    }
    let gone = plan.damaged.iter().map(|pack| &pack.id).chain(&plan.missing);
    let rewritten: BTreeSet<_> = gone.filter_map(|id| named.get(id)).flat_map(|known| &known.by).collect();
    plan.fragments = rewritten.into_iter().copied().collect();
    Ok(())
}

/// What fragments say of a pack.
struct Named {
    size: u64,
    by: Vec<FragmentId>,
}

fn fragments(repository: &Repository, plan: &mut Plan) -> Result<BTreeMap<PackId, Named>> {
    let mut named: BTreeMap<PackId, Named> = BTreeMap::new();
    let mut replaced: HashSet<FragmentId> = HashSet::new();
    for (id, _) in list_fragments(repository, &mut |key| foreign(key, plan))? {
        if replaced.contains(&id) {
            continue;
        }
        match read_fragment(repository, &id) {
            Ok(fragment) => {
                replaced.extend(fragment.replaced());
                for info in fragment.packs {
                    named.entry(info.id).or_insert(Named { size: info.size, by: Vec::new() }).by.push(id);
                }
            }
            // Merged or rewritten meanwhile.
            Err(Error::Store(error)) if error.kind == ErrorKind::NotFound => {}
            Err(error @ Error::Damaged { .. }) => plan.damaged_fragments.push((id, error.to_string())),
            Err(error) => return Err(error),
        }
    }
    // One that was written anew is smaller than what it replaces, which was read before.
    named.retain(|_, known| {
        known.by.retain(|id| !replaced.contains(id));
        !known.by.is_empty()
    });
    plan.damaged_fragments.retain(|(id, _)| !replaced.contains(id));
    Ok(named)
}

/// What a fragment says that stands in a pack.
pub(super) fn described(repository: &Repository, by: &[FragmentId], id: &PackId) -> Option<PackInfo> {
    let of = |fragment| read_fragment(repository, fragment).ok()?.packs.into_iter().find(|info| info.id == *id);
    by.iter().find_map(of)
}

/// Reads packs whole, several at a time, and tells `scratch` what can be read in those that it would not know of, or only
/// what is not true. Gives what is wrong with each, in the order of their names.
fn examine_all<'p>(
    repository: &Repository,
    scratch: &Index,
    named: &BTreeMap<PackId, Named>,
    packs: &'p [Standing],
    threads: usize,
    watch: Watch<'_>,
) -> Result<Vec<(&'p Standing, Option<DamagedPack>)>> {
    watch(CheckStep::Packs { count: packs.len() as u64, bytes: packs.iter().map(|pack| pack.size).sum() })?;
    let open_key = repository.open_key()?;
    let (next, results) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let run = || -> Result<()> {
        let mut examiner = Examiner::new(repository, &open_key)?;
        while let Some(pack) = packs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let by = named.get(&pack.id).map_or(&[][..], |known| &known.by);
            let Examined { readable, damage } = match examiner.examine(pack.id, pack.size, None, &mut |_, _, _| Ok(()))
            {
                // Deleted meanwhile, by a prune.
                Err(Error::Store(error)) if error.kind == ErrorKind::NotFound => continue,
                // Only what has no footer any more needs to be described.
                Ok(Examined { readable: None, damage: Some(_) }) => {
                    let described = described(repository, by, &pack.id);
                    examiner.examine(pack.id, pack.size, described, &mut |_, _, _| Ok(()))?
                }
                examined => examined?,
            };
            if damage.is_some() || pack.unnamed {
                scratch.forget_packs(&[pack.id])?;
                readable.iter().try_for_each(|info| scratch.insert_pack(info))?;
            }
            results.lock().unwrap_or_else(PoisonError::into_inner).push((pack, damage));
            watch(CheckStep::Pack { bytes: pack.size })?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(run)).collect();
        let ends: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
        ends.into_iter().try_for_each(|end| end.map_err(|_| Error::WorkerPanicked)?)
    })?;
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(pack, _)| pack.id);
    Ok(results)
}
