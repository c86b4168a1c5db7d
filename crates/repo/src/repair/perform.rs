//! Doing what a plan says.

use std::collections::BTreeSet;
use std::sync::Arc;

use icecore_format::annotation::Annotation;
use icecore_format::id::{FragmentId, PackId, SnapshotId};
use icecore_format::manifest::BlockSink;
use icecore_format::pack::PackKind;
use icecore_format::snapshot::Snapshot;
use icecore_store::{ErrorKind, Key};

use super::packs::Examiner;
use super::survey::described;
use super::{DamagedRecord, Lacking, Plan, RepairOptions, snapshots};
use crate::annotations::{self, Annotations, Notes};
use crate::catalogue::{self, Catalogue, Stored};
use crate::check::{CheckStep, Watch};
use crate::error::{Error, Result};
use crate::index::{Index, PACKS_PER_FRAGMENT, publish, read_fragment};
use crate::reader::read_footer;
use crate::repository::Repository;
use crate::session::{Closed, Written};
use crate::{layout, merge, objects};

/// A corrected snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Corrected {
    /// The damaged one, which stays.
    pub original: SnapshotId,
    /// The one that was written beside it.
    pub id: SnapshotId,
    /// Entries that it lacks.
    pub missing: u64,
}

/// What was done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repaired {
    /// What was stored again of damaged packs.
    pub salvaged: Written,
    /// Packs that a fragment names now.
    pub adopted: u64,
    /// Fragments that were written anew or taken away.
    pub fragments: u64,
    /// Where damaged objects stand now.
    pub set_aside: Vec<String>,
    /// Records that were written again, by their former names.
    pub records: Vec<SnapshotId>,
    /// Corrected snapshots.
    pub corrected: Vec<Corrected>,
}

/// Does what `plan` says, and makes `index` anew. Only who can read may do it.
///
/// # Errors
/// What keeps it from going on. What was done until then stands, and the next repair does the rest.
pub fn perform(
    repository: &Arc<Repository>,
    index: &Arc<Index>,
    plan: &Plan,
    options: RepairOptions<'_>,
    watch: Watch<'_>,
) -> Result<Repaired> {
    let mut repaired = Repaired::default();
    let gone: Vec<PackId> = plan.damaged.iter().map(|pack| pack.id).chain(plan.missing.iter().copied()).collect();
    index.clear(repository)?;
    index.sync(repository)?;
    index.learn_marks(repository)?;
    index.forget_packs(&gone)?;
    forget_pruned(index, plan)?;
    adopt(repository, index, plan, watch, &mut repaired)?;
    let (damaged, session) = salvage(repository, index, plan, options, watch, &mut repaired)?;
    // Somebody may have put a good copy back.
    let gone: Vec<PackId> = damaged.iter().chain(&plan.missing).copied().collect();
    if !plan.fragments.is_empty() || !gone.is_empty() {
        repaired.fragments = write_anew(repository, index, &plan.fragments, &gone, options, watch)?;
    }
    for id in damaged {
        set_aside(repository, &layout::pack(&id), &mut repaired)?;
    }
    // Until here its record says that what it stored is no mere copy of what stands in the damaged packs.
    drop(session);
    for (id, _) in &plan.damaged_fragments {
        set_aside(repository, &layout::fragment(id), &mut repaired)?;
    }
    index.sync(repository)?;
    for record in &plan.records {
        put_back(repository, index, plan, record, &mut repaired)?;
    }
    correct(repository, index, plan, options, watch, &mut repaired)?;
    Ok(repaired)
}

/// Forgets what stood in marked packs that the store does not have. The packs stay known, for the next prune takes them out of
/// their fragments.
fn forget_pruned(index: &Index, plan: &Plan) -> Result<()> {
    let mut frames = Vec::new();
    for pack in &plan.pruned {
        frames.extend(index.frames(pack)?.into_iter().map(|frame| (frame.pack, frame.ordinal)));
    }
    index.forget_frames(&frames)
}

/// Names the whole packs that no fragment names.
fn adopt(repository: &Repository, index: &Index, plan: &Plan, watch: Watch<'_>, repaired: &mut Repaired) -> Result<()> {
    let open_key = repository.open_key()?;
    for ids in plan.adopted.chunks(PACKS_PER_FRAGMENT) {
        let mut infos = Vec::new();
        for id in ids {
            watch(CheckStep::Block)?;
            // A pack that went meanwhile was of no use.
            let Some(size) = repository.store().size(&layout::pack(id))? else { continue };
            infos.push(read_footer(repository, &open_key, id, size)?);
        }
        publish(index, repository, &infos)?;
        repaired.adopted += infos.len() as u64;
    }
    Ok(())
}

/// Stores the whole chunks of damaged packs in new ones. Gives those that are damaged still: somebody may have put a good copy
/// back since the plan was made. Gives the session too, whose record must outlive them.
fn salvage(
    repository: &Arc<Repository>,
    index: &Arc<Index>,
    plan: &Plan,
    options: RepairOptions<'_>,
    watch: Watch<'_>,
    repaired: &mut Repaired,
) -> Result<(Vec<PackId>, Option<Closed>)> {
    if plan.damaged.is_empty() {
        return Ok((Vec::new(), None));
    }
    // Those of the damaged ones that fragments name: other hosts still count what stands in them as stored there.
    let named = index.dropped()?;
    let open_key = repository.open_key()?;
    let session = options.session(repository, index, "repair")?;
    let mut writer = session.writer()?;
    let mut examiner = Examiner::new(repository, &open_key)?;
    let mut damaged = Vec::new();
    let mut read = || -> Result<()> {
        for pack in &plan.damaged {
            let Some(size) = repository.store().size(&layout::pack(&pack.id))? else { continue };
            let described = described(repository, &plan.fragments, &pack.id);
            let is_named = named.contains(&pack.id);
            let each = &mut |kind, id, bytes: &[u8]| match kind {
                // A prune that runs meanwhile may take another copy away for the sake of this one.
                kind if is_named => writer.put_again(kind, id, bytes),
                PackKind::Data => writer.store_hashed(id, bytes),
                PackKind::Manifest => writer.put_block(bytes).map(drop),
            };
            let examined = examiner.examine(pack.id, size, described, each)?;
            match (examined.damage, examined.readable) {
                // Named by a fragment when the session ends, as everything that the index knows and no fragment does.
                (None, Some(info)) => index.insert_pack(&info)?,
                _ => damaged.push(pack.id),
            }
            watch(CheckStep::Pack { bytes: pack.size })?;
        }
        Ok(())
    };
    let salvaged = read().and_then(|()| writer.finish());
    let closed = session.close();
    match (salvaged, closed) {
        (Err(Error::WriterStopped), Err(cause)) => Err(cause),
        (salvaged, closed) => {
            salvaged?;
            let closed = closed?;
            repaired.salvaged = closed.written;
            Ok((damaged, Some(closed)))
        }
    }
}

/// Puts fragments that name what these name, without the packs that are `gone`, in their place; gives how many.
fn write_anew(
    repository: &Repository,
    index: &Index,
    fragments: &[FragmentId],
    gone: &[PackId],
    options: RepairOptions<'_>,
    watch: Watch<'_>,
) -> Result<u64> {
    // To salvage may have taken long.
    let known = (options.clock)();
    index.sync_at(repository, known)?;
    let standing = index.fragments()?;
    // Those that name them now: others may have merged or rewritten them meanwhile.
    let gone: BTreeSet<PackId> = gone.iter().copied().collect();
    let mut naming = index.fragments_of(&gone)?;
    naming.extend(fragments.iter().filter(|id| standing.contains(id)));
    let mut written = 0;
    for id in &naming {
        watch(CheckStep::Block)?;
        let fragment = match read_fragment(repository, id) {
            Ok(fragment) => fragment,
            Err(Error::Store(error)) if error.is_not_found() => continue,
            Err(error) => return Err(error),
        };
        let staying = fragment.packs.into_iter().filter(|info| !gone.contains(&info.id)).collect();
        if merge::replace(repository, index, &[*id], staying, known, &|| (options.clock)())?.is_none() {
            return Err(Error::Refused("writing the fragments anew took too long; run it again".to_owned()));
        }
        written += 1;
    }
    index.sync(repository)?;
    if !index.fragments_of(&gone)?.is_empty() {
        return Err(Error::Refused("others merged fragments at this moment; run it again".to_owned()));
    }
    Ok(written)
}

/// Moves an object below `damaged/`: the copy is durable before the object goes.
fn set_aside(repository: &Repository, key: &Key, repaired: &mut Repaired) -> Result<()> {
    let store = repository.store();
    let bytes = match store.get(key) {
        Err(error) if error.kind == ErrorKind::NotFound => return Ok(()),
        bytes => bytes?,
    };
    let aside = layout::damaged(key.name(), &bytes);
    store.put(&aside, &[&bytes])?;
    store.delete(key)?;
    repaired.set_aside.push(aside.to_string());
    Ok(())
}

/// Writes a record again that this host has read when it was whole. The new object has another name, for it is sealed anew.
fn put_back(
    repository: &Repository,
    index: &Index,
    plan: &Plan,
    record: &DamagedRecord,
    repaired: &mut Repaired,
) -> Result<()> {
    let Some(plain) = &record.kept else { return Ok(()) };
    let Ok(snapshot) = Snapshot::decode(plain) else { return Ok(()) };
    let catalogue = Catalogue::load(repository, index)?;
    // Forgotten meanwhile: nobody wants it back.
    if repository.store().size(&layout::snapshot(&record.id))?.is_none() {
        return Ok(());
    }
    // The catalogue knows damaged ones too, as this host has read them.
    let is_damaged = |stored: &Stored| plan.records.iter().any(|damaged| damaged.id == stored.id);
    let stands = |stored: &Stored| !is_damaged(stored) && stored.snapshot == snapshot;
    let id = match catalogue.snapshots.iter().find(|stored| stands(stored)) {
        Some(twin) => twin.id,
        None => {
            let id = objects::put_snapshot(repository, plain)?;
            index.cache_snapshots(&[(id, plain.clone())], &[])?;
            id
        }
    };
    // What was said of it is said of the new one, in the same order.
    let said = Annotations::load(repository, index)?;
    for annotation in said.of(&record.id) {
        let again = Annotation { snapshot: id, ..annotation.clone() };
        if !said.of(&id).any(|standing| *standing == again) {
            annotations::put(repository, &again)?;
        }
    }
    set_aside(repository, &layout::snapshot(&record.id), repaired)?;
    repaired.records.push(record.id);
    Ok(())
}

fn correct(
    repository: &Arc<Repository>,
    index: &Arc<Index>,
    plan: &Plan,
    options: RepairOptions<'_>,
    watch: Watch<'_>,
    repaired: &mut Repaired,
) -> Result<()> {
    let lacking: Vec<_> = plan.lacking.iter().filter(|lacking| lacking.will_be_corrected()).collect();
    watch(CheckStep::Snapshots(lacking.len() as u64))?;
    let said = Annotations::load(repository, index)?;
    for Lacking { id, .. } in lacking {
        let mut snapshot = match catalogue::read(repository, id) {
            Ok((snapshot, _)) => snapshot,
            // Forgotten meanwhile.
            Err(Error::Store(error)) if error.kind == ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        said.tag(id, &mut snapshot.tags);
        let stored = Stored { id: *id, snapshot, notes: Notes::default() };
        if let Some((corrected, missing)) = snapshots::correct(repository, index, &stored, options, watch)? {
            repaired.corrected.push(Corrected { original: *id, id: corrected, missing });
        }
        watch(CheckStep::Snapshot)?;
    }
    Ok(())
}
