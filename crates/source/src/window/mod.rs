//! The window: the time between the freeze request and the confirmed thaw.
//!
//! ```text
//! check → journal (durable) → guardian (ready, deadline runs) → freeze → …the caller lists and secures…
//!       → thaw (confirmed) → guardian leaves → journal removed
//! ```
//!
//! What holds, whoever dies at whatever step: **every freeze attempt is followed by one confirmed thaw**.
//!
//! | dies | who thaws |
//! |---|---|
//! | nobody, or the caller panics | the [`Window`], at the latest when it is dropped |
//! | the engine; or it hangs past the deadline | the [guardian] |
//! | the guardian | the engine |
//! | both, or the host | [`recover()`], at the start of the next run |
//!
//! They all do it in [`thaw_once`]. Only a stopped or hung process can make it happen twice, which does
//! no harm: to thaw what is not frozen is a success.

pub mod guardian;
mod journal;
mod log;
mod open;
pub(crate) mod place;
mod post;
mod recover;
mod retry;
mod thaw;
mod turn;

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use icecore_format::entry::Timestamp;
use icecore_format::snapshot::ThawedBy;

pub use self::guardian::GuardianError;
pub use self::journal::JournalError;
use self::journal::{Intent, Journal, Record};
use self::log::logger;
pub use self::open::{OpenWindow, open_windows};
use self::place::{Place, lock_file};
use self::post::Post;
pub use self::recover::{RecoverError, RecoverFailure, Recovered, recover};
pub use self::retry::Retry;
use self::thaw::{Done, Thawing, confirm, thaw_journal};
pub use self::thaw::{Thaw, ThawError, thaw_once};
use self::turn::Turn;
use crate::freezer::{FreezeError, FreezeErrorKind, Freezer, FreezerConfig, Status};
use crate::os::window as os;

/// How long it may take to find out whether the instance was awake before the thaw.
const AWAKE: Duration = Duration::from_secs(1);

/// What a window is opened with.
#[derive(Debug, Clone)]
pub struct WindowPlan {
    /// The instance's name.
    pub instance: String,
    /// What freezes it.
    pub freezer: FreezerConfig,
    /// How long the window may be; the guardian thaws then.
    pub max_freeze: Duration,
    /// Nothing is frozen while another window of the same directory is open whose plan says so too.
    pub alone: bool,
    /// Where journals stand: `windows` in the state directory. Made if need be.
    pub directory: PathBuf,
    /// The program that runs [`guardian::run`], by its absolute path, and its leading arguments; the
    /// journal's path is added.
    pub guardian: Vec<OsString>,
    /// How stubbornly to thaw.
    pub retry: Retry,
}

/// Why a window could not be opened or closed.
#[derive(Debug, thiserror::Error)]
pub enum WindowError {
    /// The instance's name makes no file name. Nothing was frozen.
    #[error("the instance name {0:?} is empty or too long")]
    Name(String),
    /// Another run has a window of this instance open, or is closing it. Nothing was frozen.
    #[error("instance {0} is in the freeze window of another run; try again when that is done")]
    Busy(String),
    /// Windows of other instances were open all the time. Nothing was frozen.
    #[error(
        "instance {0} waited {limit:?} for the freeze windows of other instances to end; see `icecore instance status`",
        limit = turn::LIMIT
    )]
    Crowded(String),
    /// It was given up while it waited for its turn, or just before. Nothing was frozen.
    #[error("nothing was frozen: it was given up before the freeze")]
    GivenUp,
    /// An earlier window of this instance was not closed. Nothing was frozen now.
    #[error("an earlier freeze window of instance {instance} is still open ({}); recover it first", journal.display())]
    Open {
        /// The instance.
        instance: String,
        /// The earlier window's journal.
        journal: PathBuf,
    },
    /// The directory of windows cannot be used. Nothing was frozen.
    #[error("cannot keep journals of freeze windows in {}", directory.display())]
    Directory {
        /// The directory.
        directory: PathBuf,
        /// What the OS said.
        source: io::Error,
    },
    /// The journal cannot be used. Nothing was frozen.
    #[error("nothing was frozen")]
    Journal(#[source] JournalError),
    /// The freezer says that it could not work. Nothing was frozen.
    #[error("nothing was frozen: {0}")]
    Check(Box<FreezeError>),
    /// There is no guardian. Nothing was frozen.
    #[error("nothing was frozen: the guardian did not start: {0}")]
    Guardian(String),
    /// The freeze failed; the thaw that follows every attempt is confirmed.
    #[error("could not freeze (and the instance is surely awake again): {cause}")]
    Freeze {
        /// Why.
        cause: Box<FreezeError>,
        /// The thaw.
        thaw: Thaw,
    },
    /// **The instance may still be frozen.** Its guardian, if it lives, goes on trying.
    #[error("{error}{}", cause.as_ref().map(|cause| format!("\nIt was thawed because the freeze failed: {cause}")).unwrap_or_default())]
    ThawUnconfirmed {
        /// What failed before, if it was not the thaw alone.
        cause: Option<Box<FreezeError>>,
        /// Why there is no confirmation.
        error: Box<ThawError>,
    },
}

/// An open window: the instance is frozen. Dropped, as by a panic, it thaws.
pub struct Window<'c> {
    clock: &'c dyn Fn() -> Timestamp,
    plan: WindowPlan,
    place: Place,
    journal: Journal,
    freezer: Box<dyn Freezer>,
    guardian: Option<Post>,
    begun: Instant,
    requested: Timestamp,
    frozen: Timestamp,
    /// The thaw was tried: there is nothing left for [`Drop`] to do.
    over: bool,
    /// Tells other runs that this one lives.
    _alive: File,
    /// Keeps others from freezing meanwhile.
    _turn: Option<Turn>,
}

/// A closed window, for the receipt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// When the freeze was requested.
    pub requested: Timestamp,
    /// When it was confirmed.
    pub frozen: Timestamp,
    /// When the thaw was confirmed.
    pub thawed: Timestamp,
    /// From the request to the confirmed thaw, by a clock that nobody sets if the engine thawed.
    pub window: Duration,
    /// Who thawed.
    pub by: ThawedBy,
    /// The engine was the first to thaw. If not, what was read may have been written after the thaw.
    pub in_time: bool,
    /// Why the instance must have been awake before it was thawed, if the freezer noticed it.
    pub awake: Option<String>,
    /// How many attempts it took.
    pub attempts: u32,
}

impl std::fmt::Debug for Window<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Window").field("instance", &self.plan.instance).field("requested", &self.requested).finish()
    }
}

impl<'c> Window<'c> {
    /// Freezes an instance, with everything in place that thaws it again. As long as it waits for its turn it asks whether it
    /// `is_over`, and once more before the freeze.
    ///
    /// # Errors
    /// Each variant says whether anything was frozen; only after [`WindowError::ThawUnconfirmed`] may the
    /// instance be frozen still.
    pub fn freeze(
        plan: &WindowPlan,
        clock: &'c dyn Fn() -> Timestamp,
        is_over: &dyn Fn() -> bool,
    ) -> Result<Self, WindowError> {
        let directory = |source| WindowError::Directory { directory: plan.directory.clone(), source };
        let absolute = std::path::absolute(&plan.directory).map_err(directory)?;
        let place =
            Place::of_instance(&absolute, &plan.instance).ok_or_else(|| WindowError::Name(plan.instance.clone()))?;
        os::create_private_directory(&absolute).map_err(directory)?;
        let alive = lock_file(&place.lock, Duration::ZERO).map_err(directory)?;
        let alive = alive.ok_or_else(|| WindowError::Busy(plan.instance.clone()))?;
        if place.journal.exists() {
            return Err(WindowError::Open { instance: plan.instance.clone(), journal: place.journal });
        }
        let turn = match plan.alone {
            true => {
                let turn = turn::wait(&absolute, is_over).map_err(directory)?;
                match turn {
                    None if is_over() => return Err(WindowError::GivenUp),
                    None => return Err(WindowError::Crowded(plan.instance.clone())),
                    turn => turn,
                }
            }
            false => None,
        };
        if is_over() {
            return Err(WindowError::GivenUp);
        }
        let check = |error| WindowError::Check(Box::new(error));
        let mut freezer = plan.freezer.open().map_err(check)?;
        freezer.check().map_err(check)?;
        let intent = Intent::new(&plan.instance, &plan.freezer, plan.max_freeze, &plan.retry, clock());
        let journal = Journal::create(&place.journal, &intent).map_err(WindowError::Journal)?;
        // Should it stay, the next run thaws what was not frozen, which is a success.
        let remove = || drop(journal.remove());
        let turn = turn.map(|file| Turn::hold(file, &place.journal, plan.max_freeze)).transpose();
        let turn = turn.map_err(directory).inspect_err(|_| remove())?;
        let guardian = post_guardian(&plan.guardian, &place).inspect_err(|_| remove())?;
        let (begun, requested) = (Instant::now(), clock());
        let mut window = Self {
            clock,
            plan: plan.clone(),
            place,
            journal,
            freezer,
            guardian: Some(guardian),
            begun,
            requested,
            frozen: requested,
            over: false,
            _alive: alive,
            _turn: turn,
        };
        window.ask()?;
        Ok(window)
    }

    /// How much of the time that the window may take is left.
    pub fn remaining(&self) -> Duration {
        self.plan.max_freeze.saturating_sub(self.begun.elapsed())
    }

    /// When the freeze was requested.
    pub fn requested(&self) -> Timestamp {
        self.requested
    }

    /// When the freeze was confirmed.
    pub fn frozen(&self) -> Timestamp {
        self.frozen
    }

    /// Thaws, and closes the window.
    ///
    /// # Errors
    /// [`WindowError::ThawUnconfirmed`] alone.
    pub fn thaw(mut self) -> Result<Closed, WindowError> {
        // Also by the engine's own clock: on a full disk the journal may not say that the guardian was first.
        let early = self.begun.elapsed() < self.plan.max_freeze;
        let Done { thaw, first, confirmed } =
            self.close().map_err(|error| WindowError::ThawUnconfirmed { cause: None, error: Box::new(error) })?;
        let until_known = confirmed.duration_since(self.begun);
        let by_the_clock = between(self.requested, thaw.at).min(until_known);
        let window = if thaw.by == ThawedBy::Engine { until_known } else { by_the_clock };
        // Whoever else thawed is why it was awake.
        let alone = first == ThawedBy::Engine && thaw.by == ThawedBy::Engine;
        let awake = if alone { self.freezer.was_awake(AWAKE) } else { None };
        self.leave();
        Ok(Closed {
            requested: self.requested,
            frozen: self.frozen,
            thawed: thaw.at,
            window,
            by: thaw.by,
            in_time: early && first == ThawedBy::Engine,
            awake,
            attempts: thaw.attempts,
        })
    }

    /// Asks for the freeze; whatever comes of it but a freeze that holds is followed by a thaw.
    fn ask(&mut self) -> Result<(), WindowError> {
        let answer = self.freezer.freeze(self.remaining());
        self.frozen = (self.clock)();
        // Whoever thawed while the request was on its way may have done so before it took effect.
        let overtaken = self.note_answer(answer.is_ok());
        let cause = match answer {
            Ok(()) if !overtaken => return Ok(()),
            Ok(()) => Box::new(FreezeError::new(
                FreezeErrorKind::TimedOut,
                format!("the freeze was confirmed only after the deadline of {:?}", self.plan.max_freeze),
            )),
            Err(cause) => Box::new(cause),
        };
        match self.close_again(overtaken) {
            Ok(thaw) => {
                self.leave();
                Err(WindowError::Freeze { cause, thaw })
            }
            Err(error) => Err(WindowError::ThawUnconfirmed { cause: Some(cause), error: Box::new(error) }),
        }
    }

    /// Writes down that the freeze is certain; tells whether somebody has begun to thaw before that.
    fn note_answer(&mut self, confirmed: bool) -> bool {
        let locked = self.journal.lock_within(self.plan.retry.turn).unwrap_or(false);
        // What cannot be known is taken for the worse.
        let overtaken = !locked || self.journal.read().map_or(true, |story| story.thawing.is_some());
        if confirmed && !overtaken {
            // Not written, it only makes whoever thaws more careful.
            let _ = self.journal.append(&Record::Frozen);
        }
        self.journal.unlock();
        overtaken
    }

    fn close(&mut self) -> Result<Done, ThawError> {
        self.over = true;
        let mut log = logger(self.place.log.clone(), "engine", self.clock);
        let mut thawing = Thawing { by: ThawedBy::Engine, clock: self.clock, retry: &self.plan.retry, log: &mut log };
        thaw_journal(&mut self.journal, self.freezer.as_mut(), &mut thawing)
    }

    /// Thaws after an attempt to freeze that failed, once more if somebody else's thaw was perhaps too early for it.
    fn close_again(&mut self, overtaken: bool) -> Result<Thaw, ThawError> {
        let thaw = self.close()?.thaw;
        if thaw.by == ThawedBy::Engine || !overtaken || !self.may_be_frozen() {
            return Ok(thaw);
        }
        let mut log = logger(self.place.log.clone(), "engine", self.clock);
        let mut thawing = Thawing { by: ThawedBy::Engine, clock: self.clock, retry: &self.plan.retry, log: &mut log };
        match confirm(self.freezer.as_mut(), &mut thawing) {
            Ok(attempts) => Ok(Thaw { by: ThawedBy::Engine, at: (self.clock)(), attempts }),
            Err((attempts, last)) => Err(ThawError::Unconfirmed {
                instance: self.plan.instance.clone(),
                freezer: self.freezer.describe(),
                journal: self.place.journal.clone(),
                attempts,
                last: Box::new(last),
            }),
        }
    }

    /// Whether the freeze may have taken effect after somebody else's thaw, as that of a process which was stopped just before
    /// its request.
    fn may_be_frozen(&mut self) -> bool {
        self.freezer.may_freeze_late() || self.freezer.status(AWAKE) != Ok(Status::Running)
    }

    /// Ends everything, now that the thaw is confirmed.
    fn leave(&mut self) {
        // A journal that stays says "thawed": the next run only removes it.
        let _ = self.journal.remove();
        if let Some(guardian) = self.guardian.take() {
            guardian.relieve();
        }
    }
}

impl Drop for Window<'_> {
    fn drop(&mut self) {
        if !self.over {
            match self.close() {
                Ok(_) => self.leave(),
                // Nobody can be told. The end of the pipe makes the guardian try.
                Err(error) => logger(self.place.log.clone(), "engine", self.clock)(&error.to_string()),
            }
        }
    }
}

fn post_guardian(program: &[OsString], place: &Place) -> Result<Post, WindowError> {
    let mut post = Post::start(program, place).map_err(WindowError::Guardian)?;
    match post.begin() {
        Ok(()) => Ok(post),
        Err(error) => Err(WindowError::Guardian(format!("process {} ended at once: {error}", post.pid()))),
    }
}

/// Zero if a clock was set back in between.
fn between(earlier: Timestamp, later: Timestamp) -> Duration {
    let nanos = |time: Timestamp| i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos);
    let nanos = (nanos(later) - nanos(earlier)).clamp(0, u64::MAX.into());
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
