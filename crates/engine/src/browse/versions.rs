//! One path over many nights: which versions there are, and which nights have them.
//!
//! The nights of a series are walked in lock-step ([`Lockstep`]): a manifest block is read once, however many nights share it,
//! so that a question to thirty nights costs what is distinct in them.

use std::collections::BTreeMap;

use icecore_format::entry::{Entry, Node};
use icecore_format::manifest::{Lockstep, Lost, Members, Root, Step};

use crate::Stored;
use crate::archive::Archive;
use crate::error::{Result, survive_block};
use crate::progress::{Phase, Progress};

/// The snapshots of one instance on one host.
#[derive(Debug, Clone)]
pub struct Series<'c> {
    /// The instance.
    pub instance: &'c str,
    /// The host.
    pub host: &'c str,
    /// The oldest first, at least one.
    pub nights: Vec<&'c Stored>,
}

/// Sorts snapshots, which come with the oldest first, by series.
pub fn series<'c>(snapshots: impl IntoIterator<Item = &'c Stored>) -> Vec<Series<'c>> {
    let mut all: BTreeMap<(&str, &str), Vec<&Stored>> = BTreeMap::new();
    for stored in snapshots {
        all.entry((&stored.snapshot.instance, &stored.snapshot.host)).or_default().push(stored);
    }
    all.into_iter().map(|((instance, host), nights)| Series { instance, host, nights }).collect()
}

/// Nights one behind the other that have the same version of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run<'s> {
    /// The entry, as the first of them has it.
    pub entry: &'s Entry,
    /// Number of the first night in the series.
    pub first: usize,
    /// Number of the last one.
    pub last: usize,
}

impl Run<'_> {
    /// How many nights.
    pub fn nights(&self) -> usize {
        self.last - self.first + 1
    }
}

/// Whether two entries of one path are the same version: of a file, its content, size and time; of anything else what it is,
/// and where it leads. The time of a directory changes with what is in it, and makes no version.
pub fn is_same_version(a: &Entry, b: &Entry) -> bool {
    match (&a.node, &b.node) {
        (Node::File(old), Node::File(new)) => {
            (old.size, a.meta.mtime) == (new.size, b.meta.mtime) && old.content == new.content
        }
        (old, new) => old == new,
    }
}

/// The runs of one path in the order of nights: a night without the entry, or with another version, ends one.
pub fn runs<'s>(step: &'s Step, nights: usize, wanted: &dyn Fn(&Entry) -> bool) -> Vec<Run<'s>> {
    let mut runs: Vec<Run<'s>> = Vec::new();
    for night in 0..nights {
        let Some(entry) = step.of(night).filter(|entry| wanted(entry)) else { continue };
        match runs.last_mut() {
            Some(run) if run.last + 1 == night && is_same_version(run.entry, entry) => run.last = night,
            _ => runs.push(Run { entry, first: night, last: night }),
        }
    }
    runs
}

/// What a walk over the nights of a series meets.
#[derive(Debug)]
pub enum Met<'s> {
    /// A path, and what the nights have there.
    Path(&'s Step),
    /// A part of some manifests that cannot be read: whose, and a sentence.
    Lost(&'s Members, String),
}

/// What is walked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope<'p> {
    /// Only this path.
    At(&'p [u8]),
    /// This path and everything below it.
    Beneath(&'p [u8]),
    /// Of that, what is not the same in all nights.
    Differing(&'p [u8]),
}

/// Walks the manifests of some nights at once, in path order, and meets the paths where one of them has an entry that is wanted.
/// Reads manifests only.
///
/// # Errors
/// What `each` says, and what is no damage. Damage is met, and costs what stands in the damaged block.
pub fn walk(
    archive: &Archive,
    nights: &[&Stored],
    scope: Scope<'_>,
    wanted: &dyn Fn(&Entry) -> bool,
    progress: &Progress,
    each: &mut dyn FnMut(Met<'_>) -> Result<()>,
) -> Result<()> {
    progress.enter(Phase::Searching);
    let reader = archive.browser(nights.len())?;
    let roots: Vec<Root> = nights.iter().map(|stored| stored.snapshot.manifest).collect();
    let walk = Lockstep::new(&reader, &roots);
    let walk = match scope {
        Scope::At(path) => walk.at(path),
        Scope::Beneath(path) => walk.beneath(path),
        Scope::Differing(path) => walk.beneath(path).differing(),
    };
    let mut walk = walk;
    let mut is_wanted = |entry: &Entry| {
        progress.done(0);
        progress.is_stopped() || wanted(entry)
    };
    while let Some(step) = walk.next_wanted(&mut is_wanted) {
        progress.check()?;
        match step {
            Ok(step) => each(Met::Path(&step))?,
            Err(Lost { error, members }) => {
                let ids: Vec<_> = members.iter().take(3).map(|night| nights[night].id.short()).collect();
                let more = members.count() - ids.len();
                let more = if more > 0 { format!(" and {more} more") } else { String::new() };
                let sentence = super::lost(&format!("{}{more}", ids.join(", ")), &error);
                survive_block(error)?;
                each(Met::Lost(&members, sentence))?;
            }
        }
    }
    Ok(())
}
