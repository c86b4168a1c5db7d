//! `[drill]`, `[instance.drill]`: when and how restores are practised.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use icecore_service::Schedule;

use super::Mark;
use super::section::{Item, Section};

/// The keys of a table of drills.
pub const KEYS: &[&str] = &["schedule", "snapshot", "scratch", "timeout"];

/// The words for which snapshot is tried.
pub const CHOICES: [(&str, Choice); 2] = [("newest", Choice::Newest), ("random", Choice::Random)];

/// How long `verify` may take: the tasks of a run come one after another, and a backup waits for it.
const TIMEOUT: Duration = Duration::from_secs(2 * 60 * 60);
const TIMEOUT_LIMITS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(7 * 24 * 60 * 60);

/// When a restore is practised, with which snapshot, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrillJob {
    pub schedule: Schedule,
    /// Where the file says so, if it does.
    pub asked: Option<Mark>,
    pub snapshot: Choice,
    /// The directory in which one is made to restore into; `None`: the state directory.
    pub scratch: Option<PathBuf>,
    /// How long the instance's `verify` may take.
    pub timeout: Duration,
}

/// Which snapshot of an instance is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    Newest,
    /// Each with the same probability.
    Random,
}

impl Choice {
    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Newest => "newest",
            Self::Random => "random",
        }
    }
}

impl Default for DrillJob {
    fn default() -> Self {
        Self { schedule: Schedule::never(), asked: None, snapshot: Choice::Newest, scratch: None, timeout: TIMEOUT }
    }
}

/// Those under the key `drill` of a table; `otherwise`, each by itself, where it says nothing.
pub fn read(parent: &Section<'_>, otherwise: &DrillJob) -> DrillJob {
    let Some(section) = parent.table("drill", KEYS) else { return otherwise.clone() };
    DrillJob {
        schedule: section.read("schedule", otherwise.schedule.clone(), |item| item.parsed(str::parse)),
        asked: section.get("schedule").map(|item| item.at).or_else(|| otherwise.asked.clone()),
        snapshot: section.read("snapshot", otherwise.snapshot, |item| item.word(&CHOICES)),
        scratch: section.find("scratch", Item::path).or_else(|| otherwise.scratch.clone()),
        timeout: section.read("timeout", otherwise.timeout, |item| item.duration(TIMEOUT_LIMITS)),
    }
}
