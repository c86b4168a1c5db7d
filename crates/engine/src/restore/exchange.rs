//! Swaps trees that were built beside for those that stand, and deletes what stood when it is not wanted any more.
//!
//! ```text
//! built       every tree is whole, read back and durable; every target is as it was
//! exchange    each target in the order of roots, in one step each; the old tree is now where the new one was built
//! settle      each old tree gets its name, and the place beside goes
//! ```
//! A crash between two exchanges leaves some targets wholly new and the others wholly old. The same command, run again,
//! finds by the journals which are which, exchanges the others and settles all. Nothing is settled before everything is
//! exchanged, so that a place that is gone belongs to a target that is done.

use std::path::{Path, PathBuf};

use icecore_format::entry::Timestamp;
use icecore_format::manifest::ManifestReader;
use icecore_format::snapshot::{Problem, ProblemKind};
use icecore_source::target::{Beside, Target, TargetError};
use icecore_source::{ListProgress, Root, Rules, Tree};

use super::converge::owners;
use super::ground::{Ground, WORD};
use super::tally::{NAMED, Tally};
use super::{Mode, RestoreJob};
use crate::archive::Archive;
use crate::error::{Error, Result};

/// Exchanges everything, if nothing is missing.
pub(super) fn finish(archive: &Archive, job: &RestoreJob<'_>, grounds: &[Ground], tally: &Tally) -> Result<()> {
    if job.mode != Mode::Exchange || !tally.is_whole() {
        return Ok(());
    }
    let mut exchanged: Vec<_> = grounds.iter().filter(|ground| ground.is_exchanged()).collect();
    for ground in grounds {
        if let Some(old) = ground.old.as_ref().filter(|old| !old.exchanged) {
            let swapped = old.beside.exchange().map_err(|source| unusable(&ground.errand.directory, source));
            swapped.map_err(|source| between(&exchanged, grounds, source))?;
            exchanged.push(ground);
        }
    }
    let reader = archive.reader()?;
    let manifest = ManifestReader::new(&reader, &job.stored.snapshot.manifest);
    for ground in grounds {
        let Some(old) = &ground.old else { continue };
        // A run that was killed in the exchange may have left another time.
        if let Ok(Some(top)) = manifest.get(&ground.errand.base) {
            tally.faults(Target::open(&ground.errand.directory)?.finish(b"", &top, &owners(job)));
        }
        let kept = if old.beside.is_begun() { settle(&old.beside, job.now)? } else { None };
        tally.exchanged(ground.errand.directory.clone(), kept);
    }
    Ok(())
}

/// Says what an exchange that fails leaves behind, if others were done before it.
fn between(exchanged: &[&Ground], grounds: &[Ground], source: Error) -> Error {
    if exchanged.is_empty() {
        return source;
    }
    let directories = |ground: &&Ground| ground.errand.directory.display().to_string();
    let is_old = |ground: &&Ground| !exchanged.iter().any(|other| std::ptr::eq(*other, *ground));
    Error::HalfExchanged {
        new: exchanged.iter().map(directories).collect::<Vec<_>>().join(", "),
        old: grounds.iter().filter(is_old).map(|ground| directories(&ground)).collect::<Vec<_>>().join(", "),
        source: Box::new(source),
    }
}

/// Gives names to what stood before exchanges of other snapshots that were interrupted before they did it themselves.
pub(super) fn settle_others(directory: &Path, own: &str, now: Timestamp) -> Result<()> {
    for beside in Beside::all(directory, WORD.trim_start_matches('.'))? {
        let is_own = beside.word() == own.as_bytes();
        if !is_own && beside.is_exchanged().map_err(|source| unusable(directory, source))? {
            settle(&beside, now)?;
        }
    }
    Ok(())
}

fn settle(beside: &Beside, now: Timestamp) -> Result<Option<PathBuf>> {
    beside.settle(&name(now)).map_err(|source| unusable(beside.path(), source))
}

fn unusable(path: &Path, source: std::io::Error) -> Error {
    TargetError::Unusable { path: path.to_owned(), source }.into()
}

/// A time in the name of a tree: UTC.
fn name(time: Timestamp) -> String {
    let known = jiff::Timestamp::from_second(time.seconds).ok();
    known.map_or_else(|| time.seconds.to_string(), |time| time.strftime("%Y%m%dT%H%M%SZ").to_string())
}

/// A tree that an exchange left beside a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OldTree {
    /// Where it stands.
    pub path: PathBuf,
    /// Entries in it, itself included.
    pub entries: u64,
    /// Bytes of its files.
    pub bytes: u64,
}

/// What exchanges left beside `directory`: the trees that stood there before, and those that were begun and never
/// finished.
///
/// # Errors
/// A tree that cannot be seen, or one that holds what stands in `leave_out` (device and inode).
pub fn old_trees(directory: &Path, leave_out: &[(u64, u64)]) -> Result<Vec<OldTree>> {
    let word = WORD.trim_start_matches('.');
    let mut paths = Beside::find(directory, word)?.old_trees().map_err(|source| unusable(directory, source))?;
    for beside in Beside::all(directory, word)? {
        // Not what stood and has no name yet: that is settled by the restore, run again.
        if !beside.is_exchanged().map_err(|source| unusable(directory, source))? {
            paths.push(beside.place());
        }
    }
    paths.into_iter().map(|path| measure(path, leave_out)).collect()
}

fn measure(path: PathBuf, leave_out: &[(u64, u64)]) -> Result<OldTree> {
    let tree = Tree::open(vec![Root { name: "old".to_owned(), path: path.clone() }])?;
    let rules = Rules { leave_out: leave_out.to_vec(), ..Rules::default() };
    let listing = tree.list(&rules, &ListProgress::default())?;
    if !listing.left_out().is_empty() {
        let reason = "the repository or its index is in it";
        return Err(TargetError::NotExchangeable { path, reason }.into());
    }
    Ok(OldTree { path, entries: listing.entries(), bytes: listing.bytes() })
}

/// What could not be deleted of an old tree.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Undeleted {
    /// Entries, with the reason; only the first 1000.
    pub first: Vec<Problem>,
    /// How many there are, not counting the directories that hold them.
    pub count: u64,
}

/// Deletes a tree that [`old_trees`] named, as far as it can be deleted.
///
/// # Errors
/// The directory that holds it cannot be opened.
pub fn drop_old(tree: &OldTree) -> Result<Undeleted> {
    let (Some(above), Some(name)) = (tree.path.parent(), tree.path.file_name()) else {
        return Ok(Undeleted::default());
    };
    let mut kept = Undeleted::default();
    Target::open(above)?.remove_all(name.as_encoded_bytes(), &mut |path, error| {
        kept.count += 1;
        if kept.first.len() < NAMED {
            let (path, message) = (path.to_vec(), error.to_string());
            kept.first.push(Problem { path, kind: ProblemKind::Unreadable, message });
        }
    });
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_trees_are_named_by_the_time_in_utc() {
        assert_eq!(name(Timestamp { seconds: 1_795_140_000, nanos: 5 }), "20261120T020000Z");
    }
}
