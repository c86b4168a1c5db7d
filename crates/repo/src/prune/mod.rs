//! Deleting what nothing needs, beside backups and without a lock.
//!
//! ```text
//! fragments, marks, snapshots ─▶ Reach::usage: what of each pack is needed ─▶ plan (pure; the dry run)
//!     due packs:     copy what is needed of them and cannot be read elsewhere ─▶ un-index ─▶ delete ─▶ mark "gone"  (sweep)
//!     packs partly dead: copy what is needed (repack) ─┐
//!     packs wholly dead ───────────────────────────────┴─▶ mark "announced" ─▶ clock ─▶ mark "waiting"
//! at last: too many fragments ─▶ merged
//! ```
//! Why no committed snapshot can miss a chunk stands in `docs/invariants.md`, "Prune beside backups". Each step may be the last one
//! of a run: the next run, on whichever host, goes on from the marks.

mod keepers;
mod plan;
mod repack;
mod sweep;
#[cfg(test)]
mod tests;
mod undo;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use icecore_format::entry::Timestamp;
use icecore_format::id::{AnnotationId, PackId};
use icecore_format::mark::Stage;
use icecore_format::session::SessionRecord;

pub use self::plan::{MaxUnused, PackBytes, PrunePlan, plan};
pub use self::undo::undo;
use crate::error::{Error, Result};
use crate::index::Index;
use crate::marks::{self, GRACE, LEAST_GRACE, later};
use crate::reach::{Reach, Usage};
use crate::reader::ChunkReader;
use crate::repository::Repository;
use crate::sign;
use crate::{Annotations, Catalogue, layout, merge};

/// How the protocol is weakened, to see that tests notice.
#[cfg(test)]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Weak {
    pub(crate) ignore_marks: bool,
    pub(crate) no_recheck: bool,
    pub(crate) no_grace: bool,
    /// Replaced fragments are deleted at once.
    pub(crate) hasty: bool,
}

/// How to prune.
#[derive(Debug, Clone)]
pub struct PruneOptions {
    /// How long packs wait after they were marked, seconds; at least [`LEAST_GRACE`].
    pub grace: i64,
    /// How much that nothing needs may stay.
    pub max_unused: MaxUnused,
    /// Bytes that are copied at most.
    pub max_repack: u64,
    /// When the last pack may be copied from.
    pub until: Option<Instant>,
    /// Delete at once what nothing needs, marked or not.
    pub now: bool,
    /// Name of this host, for the marks.
    pub host: String,
    #[cfg(test)]
    pub(crate) weak: Weak,
}

impl PruneOptions {
    /// As a prune is unless somebody says otherwise.
    pub fn new(host: impl Into<String>) -> Self {
        Self {
            grace: GRACE,
            max_unused: MaxUnused::Percent(5),
            max_repack: u64::MAX,
            until: None,
            now: false,
            host: host.into(),
            #[cfg(test)]
            weak: Weak::default(),
        }
    }

    /// What every mark waits for, whatever it says.
    fn least_grace(&self) -> i64 {
        #[cfg(test)]
        if self.weak.no_grace {
            return 0;
        }
        LEAST_GRACE
    }
}

/// What a prune tells while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PruneStep {
    /// A manifest block was counted.
    Block,
    /// So many bytes of packs will be copied from or deleted.
    Packs(u64),
    /// A pack of so many bytes is done with.
    Pack(u64),
}

/// Hears of each step; an error (such as [`Error::Interrupted`]) ends the prune.
pub type Watch<'a> = &'a mut dyn FnMut(PruneStep) -> Result<()>;

/// What a prune did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PruneReport {
    /// What was to be done.
    pub plan: PrunePlan,
    /// Packs that were deleted.
    pub deleted: u64,
    /// Their bytes, as far as they were known.
    pub freed: u64,
    /// Packs that were marked, those that were copied from among them.
    pub marked: u64,
    /// Their bytes.
    pub marked_bytes: u64,
    /// When they may be deleted.
    pub marked_until: Option<Timestamp>,
    /// Packs that were copied from.
    pub repacked: u64,
    /// Plain bytes that were copied, for that and because a marked pack was needed after all.
    pub copied: u64,
    /// Fragments of the index that were merged into fewer.
    pub merged: u64,
    /// Packs that could not be read and were kept, a sentence each.
    pub damaged: Vec<String>,
    /// The time limit ended it before everything was copied.
    pub cut_short: bool,
}

/// How often counts that other processes change meanwhile are made again.
const COUNTED: usize = 5;

/// What is there, and what of it is needed.
struct View {
    /// When it was looked at.
    at: Timestamp,
    reach: Reach,
    usage: Usage,
    plan: PrunePlan,
    /// Annotations of snapshots that are gone.
    stale: Vec<AnnotationId>,
}

/// Plans a prune. Changes nothing in the store.
///
/// # Errors
/// [`Error::Refused`] if it is not certain what is needed, with the way out.
pub fn outlook(
    repository: &Arc<Repository>,
    index: &Index,
    options: &PruneOptions,
    clock: &dyn Fn() -> Timestamp,
    watch: Watch<'_>,
) -> Result<PrunePlan> {
    permit(repository, options, clock())?;
    Ok(look(repository, index, options, clock, watch)?.plan)
}

/// Prunes.
///
/// # Errors
/// [`Error::Refused`] if it is not certain what is needed, or a session is in the way; with the way out.
pub fn prune(
    repository: &Arc<Repository>,
    index: &Arc<Index>,
    options: &PruneOptions,
    clock: &dyn Fn() -> Timestamp,
    watch: Watch<'_>,
) -> Result<PruneReport> {
    permit(repository, options, clock())?;
    let mut report = run(repository, index, options, clock, watch)?;
    if options.now && report.marked > 0 {
        // The marks are durable: a session that begins from here on sees them, and one that began before is seen now.
        permit(repository, options, clock())?;
        let second = run(repository, index, options, clock, watch)?;
        report.deleted += second.deleted;
        report.freed += second.freed;
        report.damaged.extend(second.damaged);
        report.cut_short |= second.cut_short;
        report.plan.kept_dead = second.plan.kept_dead;
    }
    report.merged = merge::tidy(repository, index, clock)?;
    Ok(report)
}

/// Whether this may be done at all.
fn permit(repository: &Repository, options: &PruneOptions, now: Timestamp) -> Result<()> {
    repository.open_key()?;
    if options.grace < options.least_grace() {
        let hours = LEAST_GRACE / 3600;
        return Err(Error::Refused(format!(
            "a grace period below {hours} hours is not safe beside backups whose clocks may differ: allow more, or use --now on a \
             repository that nothing else uses"
        )));
    }
    if !options.now {
        return Ok(());
    }
    let sessions = sign::all(repository)?;
    if let Some((_, damage)) = sessions.damaged.first() {
        return Err(Error::Refused(format!(
            "nothing was deleted: {damage}; it may be the record of a session that is running: remove the object when none is"
        )));
    }
    if let Some((_, session)) = sessions.records.into_iter().find(|(_, record)| sign::lives(record, now)) {
        let minutes = now.seconds.saturating_sub(session.started.seconds).max(0) / 60;
        return Err(Error::Refused(format!(
            "nothing was deleted: a session of \"{}\" is running on host {} (process {}, since {minutes} min): wait until it has ended, \
             or prune without --now; the record of a session that was killed counts for {} hours",
            session.instance,
            session.host,
            session.pid,
            sign::LIFE / 3600
        )));
    }
    Ok(())
}

/// Looks at the fragments, the marks, the snapshots, in this order, and plans.
fn look(
    repository: &Arc<Repository>,
    index: &Index,
    options: &PruneOptions,
    clock: &dyn Fn() -> Timestamp,
    watch: Watch<'_>,
) -> Result<View> {
    let at = clock();
    let synced = index.sync_at(repository, at)?;
    let learned = index.learn_marks(repository)?;
    if let Some(damage) = synced.damaged.iter().chain(&learned.damaged).next() {
        return Err(refuse(damage, "`icecore check` tells more; `icecore rebuild-index` and `icecore repair` help"));
    }
    let annotations = Annotations::load(repository, index)?;
    let catalogue = Catalogue::load(repository, index)?;
    // Of a repository that has gone nothing is needed.
    repository.expect_present()?;
    if let Some(damage) = catalogue.damaged.first() {
        return Err(refuse(damage, "`icecore repair` or `icecore forget` it first"));
    }
    index.meet_packs(at.seconds)?;
    index.sweep_if_many()?;
    let (reach, usage) = count(repository, index, &catalogue, watch)?;
    if let Some((chunk, count)) = usage.missing {
        let what = format!("{count} chunks that snapshots need, {chunk} among them, stand in no pack of the index");
        return Err(refuse(
            &what,
            "`icecore check` tells which files; `icecore rebuild-index` or `icecore repair` first",
        ));
    }
    let sessions = sign::all(repository)?.records;
    let oldest = sessions.iter().find(|(_, record)| sign::lives(record, at)).map(|(_, record)| record.started);
    let (dropped, lost) = (index.dropped()?, index.lost(repository)?);
    let plan = plan(&usage.packs, (&dropped, &lost), &index.marks()?, options, oldest, at);
    Ok(View { at, reach, usage, plan, stale: annotations.stale(&catalogue) })
}

/// Counts what the snapshots need, and holds the counts.
fn count(
    repository: &Arc<Repository>,
    index: &Index,
    catalogue: &Catalogue,
    watch: Watch<'_>,
) -> Result<(Reach, Usage)> {
    let mut reach = Reach::open(index)?;
    let reader = ChunkReader::new(repository, index)?;
    for _ in 0..COUNTED {
        let damaged = reach.update(&reader, &catalogue.snapshots, &mut || watch(PruneStep::Block))?;
        if let Some(damage) = damaged.first() {
            let of = reach.closed_in()?.map_or(String::new(), |id| format!(" of snapshot {}", id.short()));
            return Err(refuse(&format!("{damage}{of}"), "`icecore repair` the snapshot or `icecore forget` it first"));
        }
        let Some(usage) = reach.usage(index, &catalogue.snapshots)? else { continue };
        if reach.hold(&catalogue.snapshots)? {
            return Ok((reach, usage));
        }
    }
    Err(refuse(
        "other commands of this host count for other snapshots at the same time",
        "run it again when they have ended",
    ))
}

fn refuse(what: &str, way_out: &str) -> Error {
    Error::Refused(format!("nothing was deleted, because it is not certain what is needed: {what}; {way_out}"))
}

fn run(
    repository: &Arc<Repository>,
    index: &Arc<Index>,
    options: &PruneOptions,
    clock: &dyn Fn() -> Timestamp,
    watch: Watch<'_>,
) -> Result<PruneReport> {
    let view = look(repository, index, options, clock, watch)?;
    if options.now && !view.plan.due.is_empty() {
        // To look may have taken long: a session that began meanwhile is seen now.
        permit(repository, options, clock())?;
    }
    let bytes = view.plan.due.iter().chain(&view.plan.repack).map(|pack| pack.size).sum();
    watch(PruneStep::Packs(bytes))?;
    // What names packs that are gone goes before the marks that say so.
    merge::retire(repository, index, view.at)?;
    for spent in &view.plan.spent {
        repository.store().delete(&layout::mark(spent))?;
    }
    for stale in &view.stale {
        repository.store().delete(&layout::annotation(stale))?;
    }
    forget_dead_sessions(repository, index, view.at)?;
    let mut report = PruneReport { plan: view.plan.clone(), ..PruneReport::default() };
    let is_damaged = sweep::sweep(repository, index, &view, options, clock, watch, &mut report)?;
    let repacked = repack::repack(repository, index, &view, options, clock, watch, &mut report)?;
    let mut dead = view.plan.mark.clone();
    if is_damaged || !repacked.lost.is_empty() {
        repack::forget_lost(repository, index, &view.reach, &repacked.lost)?;
        // Packs that seemed dead because what they hold stood there too may be all there is.
        match look(repository, index, options, clock, watch) {
            Ok(again) => {
                let live: BTreeSet<PackId> =
                    again.usage.packs.iter().filter(|pack| pack.is_live).map(|pack| pack.id).collect();
                dead.retain(|pack| !live.contains(&pack.id));
            }
            Err(Error::Refused(_)) => {
                dead.clear();
                let what = "packs that seemed unneeded: it is no longer certain what is needed; `icecore repair` first";
                report.damaged.push(what.to_owned());
            }
            Err(error) => return Err(error),
        }
    }
    let to_mark: Vec<&PackBytes> = dead.iter().chain(&repacked.whole).collect();
    report.marked = to_mark.len() as u64;
    report.marked_bytes = to_mark.iter().map(|pack| pack.size).sum();
    let fresh: BTreeSet<PackId> = to_mark.iter().map(|pack| pack.id).collect();
    report.marked_until = mark(repository, fresh, &view.plan.announced, options, clock)?;
    index.learn_marks(repository)?;
    repository.expect_present()?;
    Ok(report)
}

/// Marks packs, and lets those wait from now on that an interrupted prune announced.
fn mark(
    repository: &Repository,
    fresh: BTreeSet<PackId>,
    announced: &BTreeSet<PackId>,
    options: &PruneOptions,
    clock: &dyn Fn() -> Timestamp,
) -> Result<Option<Timestamp>> {
    let all: Vec<PackId> = fresh.union(announced).copied().collect();
    if all.is_empty() {
        return Ok(None);
    }
    if !fresh.is_empty() {
        let at = clock();
        let fresh = fresh.into_iter().collect();
        marks::put(repository, fresh, Stage::Announced, at, later(at, options.grace), &options.host)?;
    }
    // Only a time that is read from here on is surely after the announcement.
    let at = clock();
    let until = later(at, options.grace);
    marks::put(repository, all, Stage::Waiting, at, until, &options.host)?;
    Ok(Some(until))
}

/// Removes the records of sessions that ended without removing them. What they stored and did not come to name is named before, for
/// otherwise nobody would ever delete it.
fn forget_dead_sessions(repository: &Repository, index: &Index, now: Timestamp) -> Result<()> {
    let is_dead = |record: &SessionRecord| now.seconds.saturating_sub(record.seen.seconds) > 2 * sign::LIFE;
    let mut dead = sign::all(repository)?.records;
    dead.retain(|(_, record)| is_dead(record));
    if !dead.is_empty() {
        index.adopt_strays(repository)?;
    }
    dead.iter().try_for_each(|(id, _)| Ok(repository.store().delete(&layout::session(id))?))
}
