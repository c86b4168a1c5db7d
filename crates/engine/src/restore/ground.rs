//! The targets as they stand before anything is changed.

use std::path::Path;
use std::sync::Arc;

use icecore_source::target::{Beside, Target, TargetError, identity};
use icecore_source::{ListProgress, Root, Rules, Tree};

use super::errand::Errand;
use super::merge::Standing;
use super::record::{Record, Records};
use super::{Mode, RestoreJob, exchange};
use crate::archive::Archive;
use crate::error::{Error, Result};

/// What the names of all that a restore makes for itself begin with.
pub(super) const WORD: &str = ".icecore-restore-";

/// Digits of a snapshot's id in such a name. A snapshot that holds a name with its own id cannot be made by chance.
const DIGITS: usize = 16;

/// One target.
#[derive(Debug)]
pub(super) struct Ground {
    /// What goes there.
    pub errand: Errand,
    /// Where it is written: the target itself, or the tree that is built beside it. A rehearsal may have only the nearest
    /// directory above it.
    pub target: Arc<Target>,
    /// What stands there.
    pub standing: Standing,
    /// Whether what an earlier run wrote may have been lost with a power cut, although it looks whole.
    pub uncertain: bool,
    /// What is remembered of the restore as long as it has not ended; of what is built beside, the journal there tells, and
    /// nobody asks about scratch.
    pub record: Option<Record>,
    /// What is exchanged in the end.
    pub old: Option<Old>,
}

/// What stands where a tree is exchanged.
#[derive(Debug)]
pub(super) struct Old {
    pub beside: Beside,
    /// An earlier run has exchanged it already: nothing is left but to name what stood.
    pub exchanged: bool,
    /// What stands, and its entries; `None` if nothing does.
    pub tree: Option<(Arc<Target>, Standing)>,
}

impl Ground {
    /// Looks at all targets, and makes them unless it is a rehearsal.
    pub fn prepare(
        archive: &Archive,
        job: &RestoreJob<'_>,
        errands: Vec<Errand>,
        is_dir: bool,
        rehearsal: bool,
    ) -> Result<Vec<Self>> {
        if job.mode != Mode::Exchange {
            let here = |errand| Self::here(archive, job, errand, is_dir, rehearsal);
            return errands.into_iter().map(here).collect();
        }
        let mut places = errands.into_iter().map(|errand| find(job, errand, rehearsal)).collect::<Result<Vec<_>>>()?;
        // A run that was interrupted between two exchanges has nothing left to build. Of those that it finished nothing is
        // left beside.
        if places.iter().any(|place| place.exchanged) {
            places.iter_mut().for_each(|place| place.exchanged |= !place.beside.is_begun());
        }
        places.into_iter().map(|place| Self::beside(job, place, rehearsal)).collect()
    }

    /// Whether the exchange has been already.
    pub fn is_exchanged(&self) -> bool {
        self.old.as_ref().is_some_and(|old| old.exchanged)
    }

    /// What the names of all that a restore makes for itself begin with.
    pub fn word(job: &RestoreJob<'_>) -> String {
        format!("{WORD}{}", digits(job))
    }

    fn here(archive: &Archive, job: &RestoreJob<'_>, errand: Errand, is_dir: bool, rehearsal: bool) -> Result<Self> {
        let directory = &errand.directory;
        refuse_links(&errand)?;
        refuse_own(job, directory)?;
        if rehearsal && !directory.exists() {
            let target = Arc::new(Target::open(nearest(directory))?);
            return Ok(Self { errand, target, standing: Standing::Nothing, uncertain: false, record: None, old: None });
        }
        let target = Target::make(directory)?;
        let unusable = |source| TargetError::Unusable { path: directory.clone(), source };
        let inode = target.stat(b"").map_err(unusable)?.map_or(0, |stat| stat.inode);
        let earlier = Records::of(archive).get(archive, directory, inode);
        let is_new = job.mode == Mode::New && target.is_empty().map_err(unusable)?;
        if job.mode == Mode::New && !is_new {
            let Some(earlier) = &earlier else {
                return Err(TargetError::NotEmpty { path: directory.clone() }.into());
            };
            if earlier.base != errand.base || earlier.snapshots != [digits(job)] {
                return Err(Error::NotFound(format!(
                    "{} holds an interrupted restore of something else: run that one again, or choose an empty or new \
                     directory, or add --in-place",
                    directory.display()
                )));
            }
        }
        let uncertain = earlier.as_ref().is_some_and(|earlier| !earlier.is_certain());
        let standing = if !is_dir {
            let name = errand.base.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
            Standing::One(target.stat(name).map_err(unusable)?)
        } else if is_new {
            Standing::Nothing
        } else {
            list(job, directory)?
        };
        let record = (!job.scratch).then(|| Record::begin(inode, digits(job), errand.base.clone(), earlier));
        Ok(Self { target: Arc::new(target), standing, uncertain, record, old: None, errand })
    }

    fn beside(job: &RestoreJob<'_>, place: Place, rehearsal: bool) -> Result<Self> {
        let Place { errand, beside, exchanged } = place;
        let directory = &errand.directory;
        let unusable = |source| TargetError::Unusable { path: directory.clone(), source };
        let tree = if directory.is_dir() {
            let standing = list(job, directory)?;
            if matches!(&standing, Standing::Listed(listing) if !listing.left_out().is_empty()) {
                let reason = "the repository or its index is in it";
                return Err(TargetError::NotExchangeable { path: directory.clone(), reason }.into());
            }
            // It would move away with the old tree, and be deleted with it.
            if holds_another_file_system(&standing)? {
                let reason = "another file system or subvolume is below it";
                return Err(TargetError::NotExchangeable { path: directory.clone(), reason }.into());
            }
            Some((Arc::new(Target::open(directory)?), standing))
        } else {
            None
        };
        let begun = beside.tree().is_dir() && !exchanged;
        let uncertain = begun && !beside.is_certain().map_err(unusable)?;
        if !rehearsal && !exchanged {
            beside.begin().map_err(unusable)?;
        }
        let (target, standing, uncertain) = if begun {
            (Target::open(&beside.tree())?, list(job, &beside.tree())?, uncertain)
        } else if rehearsal || exchanged {
            (Target::open(nearest(directory))?, Standing::Nothing, false)
        } else {
            (Target::open(&beside.tree())?, Standing::Nothing, false)
        };
        let old = Some(Old { beside, exchanged, tree });
        Ok(Self { errand, target: Arc::new(target), standing, uncertain, record: None, old })
    }

    /// Remembers, durably, that the target is about to be changed.
    pub fn begin(&self, archive: &Archive) -> Result<()> {
        let Some(record) = &self.record else { return Ok(()) };
        let put = Records::of(archive).put(archive, &self.errand.directory, record);
        put.map_err(|source| Error::Record { directory: self.errand.directory.clone(), source })
    }

    /// Forgets it, after everything is durable: from now on the target is whole.
    pub fn end(&self, archive: &Archive, mode: Mode) -> Result<()> {
        if mode != Mode::New {
            let unusable = |source| TargetError::Unusable { path: self.errand.directory.clone(), source };
            self.target.sync().map_err(unusable)?;
        }
        let removed = Records::of(archive).remove(archive, &self.errand.directory);
        removed.map_err(|source| Error::Record { directory: self.errand.directory.clone(), source })
    }

    /// Whether an interrupted restore made what stands at a place, for itself.
    pub fn is_ours(&self, place: &[u8]) -> bool {
        let name = place.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let rest = name.strip_prefix(WORD.as_bytes()).and_then(|rest| rest.split_at_checked(DIGITS));
        let Some((digits, [b'.', number @ ..])) = rest else { return false };
        let known = self.record.iter().flat_map(|record| &record.snapshots);
        number.iter().all(u8::is_ascii_digit) && known.into_iter().any(|known| known.as_bytes() == digits)
    }
}

/// A place beside a target, and whether the exchange there has been.
struct Place {
    errand: Errand,
    beside: Beside,
    exchanged: bool,
}

/// Looks beside a target, and gives names to what other restores left there without one.
fn find(job: &RestoreJob<'_>, errand: Errand, rehearsal: bool) -> Result<Place> {
    let directory = &errand.directory;
    refuse_links(&errand)?;
    refuse_own(job, directory)?;
    let word = Ground::word(job);
    let word = word.trim_start_matches('.');
    if !rehearsal {
        exchange::settle_others(directory, word, job.now)?;
    }
    let beside = Beside::find(directory, word)?;
    let unusable = |source| TargetError::Unusable { path: directory.clone(), source };
    let exchanged = beside.is_exchanged().map_err(unusable)?;
    Ok(Place { errand, beside, exchanged })
}

fn digits(job: &RestoreJob<'_>) -> String {
    job.stored.id.to_string()[..DIGITS].to_owned()
}

fn list(job: &RestoreJob<'_>, directory: &Path) -> Result<Standing> {
    let tree = Tree::open(vec![Root { name: "target".to_owned(), path: directory.to_owned() }])?;
    let rules = Rules {
        leave_out: job.leave_out.clone(),
        threads: job.threads.max(1),
        spool: job.spool.clone(),
        ..Rules::default()
    };
    let listing = tree.list(&rules, &ListProgress::default())?;
    // What cannot be listed would be taken for missing, and what is in it for nothing.
    match listing.problems().first() {
        Some(problem) => Err(Error::NotFound(format!(
            "cannot see all of {}: {}: {}",
            directory.display(),
            String::from_utf8_lossy(&problem.path),
            problem.message
        ))),
        None => Ok(Standing::Listed(listing)),
    }
}

fn holds_another_file_system(standing: &Standing) -> Result<bool> {
    let Standing::Listed(listing) = standing else { return Ok(false) };
    let mut home = None;
    for listed in listing {
        let device = listed.map_err(Error::Listing)?.stat.device;
        if *home.get_or_insert(device) != device {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Refuses a target that is in what must not be touched, or is it.
fn refuse_own(job: &RestoreJob<'_>, directory: &Path) -> Result<()> {
    let unusable = |source| TargetError::Unusable { path: directory.to_owned(), source };
    let whole = std::fs::canonicalize(nearest(directory)).map_err(unusable)?;
    for above in whole.ancestors() {
        if job.leave_out.contains(&identity(above).map_err(unusable)?) {
            let message = format!("{} is the repository or its index, or in it", directory.display());
            return Err(Error::NotFound(message));
        }
    }
    Ok(())
}

/// Refuses a part of a root that a symbolic link leads out of: only what a person named is followed.
fn refuse_links(errand: &Errand) -> Result<()> {
    let mut at = errand.directory.as_path();
    while at != errand.named {
        if at.is_symlink() {
            return Err(Error::NotFound(format!("{} is a symbolic link: name where it leads with --to", at.display())));
        }
        let Some(above) = at.parent() else { break };
        at = above;
    }
    Ok(())
}

/// The nearest directory at or above a path that may be missing.
fn nearest(path: &Path) -> &Path {
    let empty = Path::new("");
    path.ancestors().find(|above| *above != empty && above.is_dir()).unwrap_or(Path::new("."))
}
