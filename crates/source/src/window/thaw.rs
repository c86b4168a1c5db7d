//! The one place that thaws.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use icecore_format::entry::Timestamp;
use icecore_format::snapshot::ThawedBy;

use super::journal::{Intent, Journal, JournalError, Record};
use super::retry::Retry;
use crate::freezer::{FreezeError, FreezeErrorKind, Freezer, FreezerConfig, Status};

/// How often a late freeze is looked out for.
const LOOK: Duration = Duration::from_secs(1);

/// A confirmed thaw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thaw {
    /// Who got it confirmed first.
    pub by: ThawedBy,
    /// When that was.
    pub at: Timestamp,
    /// How many attempts it took whoever got it confirmed.
    pub attempts: u32,
}

/// Why there is no confirmed thaw.
#[derive(Debug, thiserror::Error)]
pub enum ThawError {
    /// What has to be known for it cannot be read, or there is none: then the window was closed.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// All attempts failed.
    #[error(
        "instance {instance} MAY STILL BE FROZEN: no thaw could be confirmed in {attempts} attempts. \
         Thaw {freezer} by hand, then run `icecore instance thaw {instance}`. \
         (Until that is done, the journal {} stays.) The last attempt failed: {last}", journal.display()
    )]
    Unconfirmed {
        /// The instance.
        instance: String,
        /// What has to be thawed, for people.
        freezer: String,
        /// The journal, which stays.
        journal: PathBuf,
        /// How often it was tried.
        attempts: u32,
        /// Why the last attempt failed.
        last: Box<FreezeError>,
    },
}

/// Thaws the instance of a journal, unless somebody has.
///
/// Everybody who thaws does it here, one after the other: the journal is locked (the lock goes with a
/// process that dies), read again, and only if it says nothing of a confirmed thaw is the instance
/// thawed, as stubbornly as `retry` says, and that written down durably. So there is one confirmed thaw
/// for each freeze attempt, whoever dies.
///
/// # Errors
/// If no thaw could be confirmed, or the journal cannot be read.
pub fn thaw_once(
    journal: &Path,
    by: ThawedBy,
    clock: &dyn Fn() -> Timestamp,
    retry: &Retry,
    log: &mut dyn FnMut(&str),
) -> Result<Thaw, ThawError> {
    let mut journal = Journal::open(journal)?;
    let mut freezer = Lazy::new(journal.read()?.intent.freezer);
    thaw_journal(&mut journal, &mut freezer, &mut Thawing { by, clock, retry, log }).map(|done| done.thaw)
}

/// Thaws the instance of a journal once more if its freeze was never confirmed: whoever asked for it lived on after the
/// thaw, and is gone. The freeze may have come after that thaw.
pub(super) fn thaw_again(
    journal: &Path,
    by: ThawedBy,
    clock: &dyn Fn() -> Timestamp,
    retry: &Retry,
    log: &mut dyn FnMut(&str),
) -> Result<(), ThawError> {
    let story = Journal::open(journal)?.read()?;
    if story.frozen {
        return Ok(());
    }
    let mut freezer = Lazy::new(story.intent.freezer.clone());
    let confirmed = confirm(&mut freezer, &mut Thawing { by, clock, retry, log });
    confirmed.map(drop).map_err(|failed| unconfirmed(&story.intent, journal, failed))
}

/// Somebody who thaws.
pub(super) struct Thawing<'a> {
    pub(super) by: ThawedBy,
    pub(super) clock: &'a dyn Fn() -> Timestamp,
    pub(super) retry: &'a Retry,
    pub(super) log: &'a mut dyn FnMut(&str),
}

/// A thaw, seen from inside.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) thaw: Thaw,
    /// Who was the first to begin to thaw, and perhaps did.
    pub(super) first: ThawedBy,
    /// When it was confirmed, or known to be.
    pub(super) confirmed: Instant,
}

/// As [`thaw_once`], with a freezer.
pub(super) fn thaw_journal(
    journal: &mut Journal,
    freezer: &mut dyn Freezer,
    thawing: &mut Thawing,
) -> Result<Done, ThawError> {
    // Whoever looks out for a late freeze does not hang.
    let looks_out = freezer.may_freeze_late() && !journal.read()?.frozen;
    let turn = thawing.retry.turn + if looks_out { thawing.retry.settle } else { Duration::ZERO };
    if !journal.lock_within(turn)? {
        (thawing.log)("somebody who was thawing this instance seems to hang; thawing it all the same");
    }
    let done = thaw_locked(journal, freezer, thawing);
    journal.unlock();
    done
}

fn thaw_locked(journal: &mut Journal, freezer: &mut dyn Freezer, thawing: &mut Thawing) -> Result<Done, ThawError> {
    let story = journal.read()?;
    let first = story.thawing.unwrap_or(thawing.by);
    if let Some(thaw) = story.thawed {
        return Ok(Done { thaw, first, confirmed: Instant::now() });
    }
    note(thawing, journal.append(&Record::Thawing { by: thawing.by }));
    let path = journal.path().to_owned();
    let unconfirmed = |failed| unconfirmed(&story.intent, &path, failed);
    let attempts = match confirm(freezer, thawing) {
        Ok(attempts) => attempts,
        // Somebody may have thought us hung, and been luckier.
        Err(failed) => match journal.read()?.thawed {
            Some(thaw) => return Ok(Done { thaw, first, confirmed: Instant::now() }),
            None => return Err(unconfirmed(failed)),
        },
    };
    let (thaw, confirmed) = (Thaw { by: thawing.by, at: (thawing.clock)(), attempts }, Instant::now());
    if !story.frozen && freezer.may_freeze_late() {
        look_out_for_late_freeze(freezer, thawing).map_err(unconfirmed)?;
    }
    // The instance is awake, written down or not. If not (a full disk), somebody may thaw it again.
    let Thaw { by, at, attempts } = thaw;
    note(thawing, journal.append(&Record::Thawed { by, at, attempts }).and_then(|()| journal.sync()));
    Ok(Done { thaw, first, confirmed })
}

fn unconfirmed(intent: &Intent, journal: &Path, (attempts, last): (u32, FreezeError)) -> ThawError {
    ThawError::Unconfirmed {
        instance: intent.instance.clone(),
        freezer: freezer_name(&intent.freezer),
        journal: journal.to_owned(),
        attempts,
        last: Box::new(last),
    }
}

/// Thaws until it is confirmed, and tells in how many attempts; or why the last one failed.
pub(super) fn confirm(freezer: &mut dyn Freezer, thawing: &mut Thawing) -> Result<u32, (u32, FreezeError)> {
    let retry = thawing.retry;
    let mut spent = Duration::ZERO;
    let mut attempts = 0;
    for pause in retry.pauses() {
        attempts += 1;
        let asked = Instant::now();
        let Err(error) = freezer.thaw(retry.attempt) else { return Ok(attempts) };
        (thawing.log)(&format!("thaw attempt {attempts} failed: {error}"));
        // A process that was stopped meanwhile has not spent its patience.
        spent += asked.elapsed().min(retry.attempt) + pause;
        if spent <= retry.patience {
            std::thread::sleep(pause);
            continue;
        }
        return match retry.last_resort.then(|| freezer.last_resort(retry.attempt)).flatten() {
            None => Err((attempts, error)),
            Some(Ok(())) => {
                (thawing.log)("awake by the last resort");
                Ok(attempts + 1)
            }
            Some(Err(error)) => Err((attempts + 1, error)),
        };
    }
    // The pauses have no end.
    Err((attempts, FreezeError::new(FreezeErrorKind::Failed, "nothing was tried")))
}

/// Nobody knows what became of the freeze request: it may be carried out now, after the thaw.
fn look_out_for_late_freeze(freezer: &mut dyn Freezer, thawing: &mut Thawing) -> Result<(), (u32, FreezeError)> {
    let begun = Instant::now();
    while let left = thawing.retry.settle.saturating_sub(begun.elapsed())
        && !left.is_zero()
    {
        std::thread::sleep(left.min(LOOK));
        if freezer.status(thawing.retry.attempt) == Ok(Status::Running) {
            continue;
        }
        confirm(freezer, thawing)?;
    }
    Ok(())
}

fn note(thawing: &mut Thawing, written: Result<(), JournalError>) {
    if let Err(error) = written {
        (thawing.log)(&format!(
            "{error}: {}",
            std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default()
        ));
    }
}

fn freezer_name(config: &FreezerConfig) -> String {
    config.open().map_or_else(|_| format!("the instance (freezer {})", config.name()), |freezer| freezer.describe())
}

/// A freezer that is opened again as long as it cannot be: what it reads on opening may be out of reach for a while,
/// and that counts as a failed attempt.
struct Lazy {
    config: FreezerConfig,
    opened: Option<Box<dyn Freezer>>,
}

impl Lazy {
    fn new(config: FreezerConfig) -> Self {
        Self { opened: config.open().ok(), config }
    }

    fn open(&mut self) -> Result<&mut dyn Freezer, FreezeError> {
        let opened = match self.opened.take() {
            Some(freezer) => freezer,
            None => self.config.open()?,
        };
        Ok(self.opened.insert(opened).as_mut())
    }
}

impl Freezer for Lazy {
    fn check(&mut self) -> Result<(), FreezeError> {
        self.open()?.check()
    }

    fn freeze(&mut self, limit: Duration) -> Result<(), FreezeError> {
        self.open()?.freeze(limit)
    }

    fn thaw(&mut self, limit: Duration) -> Result<(), FreezeError> {
        self.open()?.thaw(limit)
    }

    fn status(&mut self, limit: Duration) -> Result<Status, FreezeError> {
        self.open()?.status(limit)
    }

    fn last_resort(&mut self, limit: Duration) -> Option<Result<(), FreezeError>> {
        match self.open() {
            Ok(freezer) => freezer.last_resort(limit),
            Err(error) => Some(Err(error)),
        }
    }

    fn describe(&self) -> String {
        freezer_name(&self.config)
    }

    fn may_freeze_late(&self) -> bool {
        self.opened.as_ref().is_some_and(|freezer| freezer.may_freeze_late())
    }
}

#[cfg(test)]
mod tests;
