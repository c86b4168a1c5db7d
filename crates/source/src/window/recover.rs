//! What comes after a crash or a power cut: whatever was left frozen is thawed first.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use icecore_format::entry::Timestamp;
use icecore_format::snapshot::ThawedBy;

use super::journal::Journal;
use super::place::{Place, lock_file};
use super::retry::Retry;
use super::thaw::{ThawError, thaw_once};

/// How long a guardian that is about to thaw is waited for.
const GUARDIAN_LIMIT: Duration = Duration::from_secs(10);

/// A window that an earlier run had left open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// The instance.
    pub instance: String,
    /// Who thawed it: its guardian, or this recovery.
    pub by: ThawedBy,
    /// When.
    pub at: Timestamp,
}

/// Windows that could not be closed, and those that could.
#[derive(Debug)]
pub struct RecoverError {
    /// The windows that were closed.
    pub recovered: Vec<Recovered>,
    /// Why the others could not be.
    pub failures: Vec<RecoverFailure>,
}

/// Why one window could not be closed.
#[derive(Debug, thiserror::Error)]
pub enum RecoverFailure {
    /// No thaw could be confirmed.
    #[error(transparent)]
    Thaw(#[from] ThawError),
    /// Its guardian has been trying for a while.
    #[error(
        "instance {instance} MAY STILL BE FROZEN: its guardian (process {}) has not managed to thaw it and goes on \
         trying; {} says why", guardian.map_or("unknown".to_owned(), |pid| pid.to_string()), log.display()
    )]
    GuardianStillTries {
        /// The instance.
        instance: String,
        /// The guardian's process.
        guardian: Option<u32>,
        /// Its log.
        log: PathBuf,
    },
    /// The OS refused.
    #[error("cannot look after open windows in {path}")]
    Io {
        /// The directory or file.
        path: PathBuf,
        /// What the OS said.
        source: io::Error,
    },
}

impl fmt::Display for RecoverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, failure) in self.failures.iter().enumerate() {
            write!(f, "{}{failure}", if index == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl std::error::Error for RecoverError {}

/// Closes the windows in `directory` that runs which are gone have left open.
///
/// A window whose engine lives is none of our business. One whose engine is gone is left to its guardian,
/// which is waited for shortly; one whose guardian is gone as well is thawed here. Costs next to nothing
/// if there is none.
///
/// # Errors
/// If not all of them could be closed: then an instance may still be frozen.
pub fn recover(
    directory: &Path,
    clock: &dyn Fn() -> Timestamp,
    retry: &Retry,
    log: &mut dyn FnMut(&str),
) -> Result<Vec<Recovered>, RecoverError> {
    let mut recovered = Vec::new();
    let mut failures = Vec::new();
    match Place::with_journal(directory) {
        Ok(places) => {
            for place in places {
                match close(&place, clock, retry, log) {
                    Ok(closed) => recovered.extend(closed),
                    Err(failure) => failures.push(failure),
                }
            }
        }
        Err(source) => failures.push(RecoverFailure::Io { path: directory.to_owned(), source }),
    }
    if failures.is_empty() { Ok(recovered) } else { Err(RecoverError { recovered, failures }) }
}

/// `None` if there is nothing to be done (any more).
fn close(
    place: &Place,
    clock: &dyn Fn() -> Timestamp,
    retry: &Retry,
    log: &mut dyn FnMut(&str),
) -> Result<Option<Recovered>, RecoverFailure> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| RecoverFailure::Io { path, source }
    };
    // Held to the end: no new window of this instance opens meanwhile.
    let Some(_no_engine) = lock_file(&place.lock, Duration::ZERO).map_err(failed(&place.lock))? else {
        return Ok(None);
    };
    let guardian_gone = lock_file(&place.log, GUARDIAN_LIMIT).map_err(failed(&place.log))?;
    let mut journal = match Journal::open(&place.journal) {
        Err(error) if error.is_gone() => return Ok(None),
        opened => opened.map_err(ThawError::from)?,
    };
    let story = journal.read().map_err(ThawError::from)?;
    let instance = story.intent.instance;
    if guardian_gone.is_none() && story.thawed.is_none() {
        return Err(RecoverFailure::GuardianStillTries { instance, guardian: story.guardian, log: place.log.clone() });
    }
    let thaw = thaw_once(&place.journal, ThawedBy::Recovery, clock, retry, log)?;
    journal.remove().map_err(ThawError::from)?;
    Ok(Some(Recovered { instance, by: thaw.by, at: thaw.at }))
}
