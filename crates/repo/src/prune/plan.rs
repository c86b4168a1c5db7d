//! What a prune does: decided before anything is changed, from nothing but what is given here.

use std::collections::{BTreeSet, HashMap};

use icecore_format::entry::Timestamp;
use icecore_format::id::{MarkId, PackId};
use icecore_format::mark::{Mark, Stage};

use super::PruneOptions;
use crate::marks::{LEAST_GRACE, SETTLED, SKEW, later};
use crate::reach::PackUse;

/// How much that nothing needs may stay, so that little has to be copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaxUnused {
    /// This share, in percent, of the bytes of all packs as they are afterwards. 100: whatever there is.
    Percent(u8),
    /// Bytes.
    Bytes(u64),
}

impl MaxUnused {
    /// Bytes that may stay beside so many that are used.
    fn allowed(self, used: u64) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Percent(percent @ 0..100) => {
                u64::try_from(u128::from(used) * u128::from(percent) / u128::from(100 - percent)).unwrap_or(u64::MAX)
            }
            Self::Percent(_) => u64::MAX,
        }
    }
}

/// A pack and its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PackBytes {
    /// The pack.
    pub id: PackId,
    /// Bytes of the object.
    pub size: u64,
    /// Bytes of it that nothing needs.
    pub dead: u64,
}

/// What is to be done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PrunePlan {
    /// Packs whose grace period is over: they go now.
    pub due: Vec<PackBytes>,
    /// Marked packs that still wait.
    pub waiting: Vec<PackBytes>,
    /// When the first of them may go.
    pub waiting_until: Option<Timestamp>,
    /// Packs that are marked, because they hold nothing that is needed.
    pub mark: Vec<PackBytes>,
    /// Packs from which what is needed is copied, to be marked then.
    pub repack: Vec<PackBytes>,
    /// Bytes that nothing needs and that stay, in packs without a mark.
    pub kept_dead: u64,
    /// Bytes of all packs that no mark names.
    pub pack_bytes: u64,
    /// Packs that nothing needs, and that may belong to a session that is running: they are looked at again.
    pub young: u64,
    /// Marks that have nothing to say any more.
    pub(super) spent: Vec<MarkId>,
    /// Packs that were announced by a prune that was interrupted.
    pub(super) announced: BTreeSet<PackId>,
}

/// Plans. `dropped` are packs that some fragment may name although the index does not, and those of them that the store does not have;
/// `oldest` is when the oldest session that is running began.
pub fn plan(
    packs: &[PackUse],
    (dropped, lost): (&BTreeSet<PackId>, &BTreeSet<PackId>),
    marks: &[(MarkId, Mark)],
    options: &PruneOptions,
    oldest: Option<Timestamp>,
    now: Timestamp,
) -> PrunePlan {
    let mut plan = PrunePlan::default();
    let fates = fates(marks, options, now);
    let indexed: BTreeSet<PackId> = packs.iter().map(|pack| pack.id).collect();
    plan.spent = spent(marks, &indexed.union(dropped).copied().collect(), now);
    for (id, fate) in &fates {
        if fate.stage == Stage::Announced {
            plan.announced.insert(*id);
        }
        // A pack that another host un-indexed and did not come to delete is in no index, and still in the store; one that is lost is
        // still in fragments.
        let is_unknown = !indexed.contains(id) && (!dropped.contains(id) || lost.contains(id));
        if is_unknown && fate.is_due && fate.stage < Stage::Gone {
            plan.due.push(PackBytes { id: *id, size: 0, dead: 0 });
        }
    }
    let (mut partly, mut used) = (Vec::new(), 0);
    for pack in packs {
        let sized = PackBytes { id: pack.id, size: pack.size, dead: pack.dead };
        match fates.get(&pack.id) {
            Some(fate) if fate.stage == Stage::Gone => plan.due.push(PackBytes { size: 0, dead: 0, ..sized }),
            Some(fate) if fate.is_due => plan.due.push(sized),
            Some(fate) => {
                plan.waiting.push(sized);
                plan.waiting_until = Some(plan.waiting_until.map_or(fate.until, |until| until.min(fate.until)));
            }
            None => {
                plan.pack_bytes += pack.size;
                used += pack.size - pack.dead.min(pack.size);
                let is_young = oldest
                    .is_some_and(|oldest| pack.seen.is_none_or(|seen| seen >= oldest.seconds.saturating_sub(SKEW)));
                if pack.is_live {
                    plan.kept_dead += pack.dead;
                    partly.extend((pack.dead > 0 && !is_young).then_some(sized));
                } else if is_young {
                    plan.kept_dead += pack.size;
                    plan.young += 1;
                } else {
                    plan.mark.push(sized);
                }
            }
        }
    }
    plan.choose(partly, options, used);
    plan
}

impl PrunePlan {
    /// Whether nothing would change.
    pub fn is_idle(&self) -> bool {
        self.due.is_empty()
            && self.mark.is_empty()
            && self.repack.is_empty()
            && self.spent.is_empty()
            && self.announced.is_empty()
    }

    /// Chooses packs to copy from, those first that free most for what is copied, until little enough is left.
    fn choose(&mut self, mut partly: Vec<PackBytes>, options: &PruneOptions, used: u64) {
        let allowed = options.max_unused.allowed(used);
        let share = |pack: &PackBytes| (u128::from(pack.dead) << 32) / u128::from(pack.size.max(1));
        partly.sort_by_key(|pack| (std::cmp::Reverse(share(pack)), pack.id));
        let mut copied = 0_u64;
        for pack in partly {
            let live = pack.size - pack.dead.min(pack.size);
            if self.kept_dead <= allowed {
                break;
            }
            if copied.saturating_add(live) <= options.max_repack {
                copied += live;
                self.kept_dead -= pack.dead;
                self.repack.push(pack);
            }
        }
    }
}

/// What the marks say of a pack.
struct Fate {
    stage: Stage,
    until: Timestamp,
    is_due: bool,
}

fn fates(marks: &[(MarkId, Mark)], options: &PruneOptions, now: Timestamp) -> HashMap<PackId, Fate> {
    let mut fates: HashMap<PackId, Fate> = HashMap::new();
    for (_, mark) in marks {
        let until = mark.until.max(later(mark.at, options.least_grace()));
        let is_due = mark.stage == Stage::Waiting && until <= now || options.now && mark.stage < Stage::Gone;
        for pack in &mark.packs {
            let fate = fates.entry(*pack).or_insert(Fate { stage: mark.stage, until, is_due });
            fate.is_due |= is_due;
            if mark.stage > fate.stage {
                (fate.stage, fate.until) = (mark.stage, until);
            }
        }
    }
    fates
}

/// Marks that a later stage has replaced long enough ago that no listing can have missed both, and marks of packs that are
/// gone for so long that nobody relies on them any more.
fn spent(marks: &[(MarkId, Mark)], indexed: &BTreeSet<PackId>, now: Timestamp) -> Vec<MarkId> {
    let mut replaced: HashMap<PackId, Stage> = HashMap::new();
    for (_, mark) in marks.iter().filter(|(_, mark)| later(mark.at, SETTLED) <= now) {
        for pack in &mark.packs {
            let stage = replaced.entry(*pack).or_insert(mark.stage);
            *stage = mark.stage.max(*stage);
        }
    }
    let is_spent = |mark: &Mark| match mark.stage {
        Stage::Gone => later(mark.at, LEAST_GRACE) <= now && !mark.packs.iter().any(|pack| indexed.contains(pack)),
        stage => mark.packs.iter().all(|pack| replaced.get(pack).is_some_and(|other| *other > stage)),
    };
    marks.iter().filter(|(_, mark)| is_spent(mark)).map(|(id, _)| *id).collect()
}
