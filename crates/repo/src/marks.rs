//! The times by which prunes and backups keep out of each other's way, and prune marks in the store.
//!
//! `docs/invariants.md`, "Prune beside backups", is the argument; this is where its numbers stand.

use icecore_format::entry::Timestamp;
use icecore_format::id::{MarkId, PackId};
use icecore_format::mark::{Mark, Stage};

use crate::error::Result;
use crate::objects;
use crate::repository::Repository;

/// E: by how much two clocks differ at most, by how much one is set, and how long a call to the store takes to have its
/// effect; seconds.
pub const SKEW: i64 = 3600;

/// H: how long a session relies on what it knows, seconds.
pub const KNOWLEDGE: i64 = 2 * SKEW;

/// The least G: how long marked packs wait, seconds.
pub const LEAST_GRACE: i64 = KNOWLEDGE + 2 * SKEW;

/// How long marked packs wait unless somebody says otherwise, seconds.
pub const GRACE: i64 = 24 * 3600;

/// After which an object that tells a time has been durable for 2E whoever put it: the time was read before, by another clock, and to
/// put it takes a call; seconds. What it replaces may go then, for no listing can miss both.
pub(crate) const SETTLED: i64 = 4 * SKEW;

/// Whether a fragment that names what was known at the time `at` may be put `now`: it is durable 3E after `at` at the latest, while
/// the mark stands of whatever was un-indexed since.
pub(crate) fn is_fresh(at: Timestamp, now: Timestamp) -> bool {
    at <= now && now <= later(at, SKEW)
}

/// Whether knowledge of the time `at` may be relied on `now`. A clock that was set back makes it old.
pub(crate) fn is_young(at: Option<Timestamp>, now: Timestamp) -> bool {
    at.is_some_and(|at| at <= now && now <= later(at, KNOWLEDGE))
}

pub(crate) fn later(time: Timestamp, seconds: i64) -> Timestamp {
    Timestamp { seconds: time.seconds.saturating_add(seconds), ..time }
}

/// Puts a mark of packs, which are not none and ascend.
pub(crate) fn put(
    repository: &Repository,
    packs: Vec<PackId>,
    stage: Stage,
    at: Timestamp,
    until: Timestamp,
    host: &str,
) -> Result<MarkId> {
    objects::put_mark(repository, &Mark { packs, stage, at, until, host: host.to_owned() }.encode())
}
