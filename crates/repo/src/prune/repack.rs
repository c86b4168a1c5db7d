//! What is needed is copied out of packs that go.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use icecore_format::entry::Timestamp;
use icecore_format::id::{ChunkId, PackId};
use icecore_format::pack::PackKind;

use super::{PackBytes, PruneOptions, PruneReport, PruneStep, View, Watch};
use crate::error::{Error, Result};
use crate::index::{Index, Location};
use crate::reach::Reach;
use crate::reader::ChunkReader;
use crate::repository::Repository;
use crate::rescue::{self, UnderWay};
use crate::session::{ChunkWriter, Session};
use crate::sign::Who;

/// zstd's level for what is compressed again.
const LEVEL: i32 = 3;

/// What became of packs that were to be copied from.
#[derive(Default)]
pub(super) struct Copied {
    /// All that is needed of them is copied.
    pub(super) whole: Vec<PackBytes>,
    /// Something of them could not be had.
    pub(super) lost: Vec<PackId>,
}

/// Copies what is needed out of packs, and tells what stays in those that could not be copied.
pub(super) fn repack(
    repository: &Arc<Repository>,
    index: &Arc<Index>,
    view: &View,
    options: &PruneOptions,
    clock: &dyn Fn() -> Timestamp,
    watch: Watch<'_>,
    report: &mut PruneReport,
) -> Result<Copied> {
    let plan = &view.plan;
    let mut doomed: HashSet<PackId> = index.marked()?;
    doomed.extend(plan.mark.iter().chain(&plan.repack).map(|pack| pack.id));
    let lookup = index.lookup()?;
    let stands = &mut |id: &ChunkId| Ok(lookup.locate(id)?.iter().any(|at| !doomed.contains(&at.frame.pack)));
    let copied = copy(repository, index, view, &plan.repack, stands, options, clock, watch, report)?;
    report.repacked = copied.whole.len() as u64;
    let dead = |packs: &[PackBytes]| packs.iter().map(|pack| pack.dead).sum::<u64>();
    report.plan.kept_dead += dead(&plan.repack) - dead(&copied.whole);
    Ok(copied)
}

/// Tells whether a chunk stands in a pack that stays.
pub(super) type Stands<'a> = &'a mut dyn FnMut(&ChunkId) -> Result<bool>;

/// Copies out of `from` what is needed unless it `stands` elsewhere, until the time is over. Everything that was copied is durable and
/// named by a fragment on return. The report names what is damaged.
#[allow(clippy::too_many_arguments, reason = "one story, told in two places")]
pub(super) fn copy(
    repository: &Arc<Repository>,
    index: &Arc<Index>,
    view: &View,
    from: &[PackBytes],
    stands: Stands<'_>,
    options: &PruneOptions,
    clock: &dyn Fn() -> Timestamp,
    watch: Watch<'_>,
    report: &mut PruneReport,
) -> Result<Copied> {
    if from.is_empty() {
        return Ok(Copied::default());
    }
    let who = Who { host: options.host.clone(), instance: "prune".to_owned(), now: clock() };
    // With --now, the record would be found by this prune itself; nothing else is to run beside it anyway.
    let session = Session::begin_as(Arc::clone(repository), Arc::clone(index), LEVEL, (!options.now).then_some(&who))?;
    let copied = (|| {
        let mut writer = session.writer()?;
        let mut copying = Copying { reach: &view.reach, stands, under_way: UnderWay::default() };
        let mut copied = Copied::default();
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
                    copied.whole.push(*pack);
                }
                // Another prune was faster, and copied what it had to.
                Err(Error::Store(error)) if error.is_not_found() => copied.lost.push(pack.id),
                Err(error) if error.is_loss() => {
                    copied.lost.push(pack.id);
                    report.damaged.push(error.to_string());
                }
                Err(error) => return Err(error),
            }
            watch(PruneStep::Pack(pack.size))?;
        }
        writer.finish()?;
        Ok(copied)
    })();
    // Also after a failure: what was stored is named.
    let closed = session.close();
    let copied = copied?;
    closed?;
    Ok(copied)
}

/// Forgets of packs that could not be copied those frames that cannot be read and hold something needed that stands in another
/// pack too: from now on it counts as needed there. What stands nowhere else stays known, to be told of and repaired.
pub(super) fn forget_lost<'p>(
    repository: &Arc<Repository>,
    index: &Index,
    reach: &Reach,
    packs: impl IntoIterator<Item = &'p PackId>,
) -> Result<()> {
    let reader = ChunkReader::new(repository, index)?;
    let lookup = index.lookup()?;
    let mut plain = Vec::new();
    for pack in packs {
        let held = index.held(pack)?;
        let mut lost = Vec::new();
        for frame in index.frames(pack)? {
            let chunks = held.get(&frame.ordinal).map_or(&[][..], Vec::as_slice);
            let read = reader.read_frame(&frame, &mut plain).and_then(|()| {
                chunks.iter().try_for_each(|chunk| {
                    let at = Location { frame, offset: chunk.offset, len: chunk.len };
                    reader.verified(&chunk.id, &at, &plain).map(drop)
                })
            });
            match read {
                Ok(()) => continue,
                Err(error) if error.is_loss() || matches!(error, Error::WrongIndex { .. }) => {}
                Err(error) => return Err(error),
            }
            for chunk in chunks {
                if reach.is_needed(&chunk.id)? && lookup.locate(&chunk.id)?.iter().any(|at| at.frame.pack != *pack) {
                    lost.push((*pack, frame.ordinal));
                    break;
                }
            }
        }
        // One pack after the other, so that of two bad places one stays known.
        index.forget_frames(&lost)?;
    }
    Ok(())
}

/// Decides chunk by chunk what is copied.
struct Copying<'a> {
    reach: &'a Reach,
    stands: Stands<'a>,
    under_way: UnderWay,
}

impl Copying<'_> {
    fn pack(
        &mut self,
        repository: &Repository,
        pack: (PackId, PackKind, u64),
        writer: &mut ChunkWriter,
    ) -> Result<u64> {
        let Self { reach, stands, under_way } = self;
        let mut fresh = HashSet::new();
        let copied = rescue::pack(repository, pack, writer, &mut |id| {
            if under_way.contains(id) || fresh.contains(id) || !reach.is_needed(id)? || stands(id)? {
                return Ok(false);
            }
            Ok(fresh.insert(*id))
        })?;
        // Of a pack that could not be copied whole nothing is taken for copied: it stays.
        fresh.into_iter().try_for_each(|id| under_way.insert(id, stands))?;
        Ok(copied)
    }
}
