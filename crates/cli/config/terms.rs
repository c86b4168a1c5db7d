//! What instances may share under `[defaults]`, and each may say for itself.
//!
//! Patterns of both count, those of the instance last. Of everything else the instance's own word counts alone.

use std::ops::RangeInclusive;
use std::time::Duration;

use icecore_engine::backup::OnWindowFailure;
use icecore_service::Schedule;
use icecore_source::Excludes;

use super::Keep;
use super::error::ConfigError;
use super::hooks::{self, Hooks};
use super::section::{Item, Section};

type Result<T> = std::result::Result<T, ConfigError>;

/// The keys of `[defaults]`.
pub const KEYS: &[&str] =
    &["exclude", "always-read", "max-freeze", "warm-rounds", "on-window-failure", "schedule", "keep", "hooks"];

/// What can be kept a number of.
pub const KEEP_KINDS: [&str; 6] = ["last", "hourly", "daily", "weekly", "monthly", "yearly"];

/// The words for what becomes of a run whose window failed.
pub const FAILURES: [(&str, OnWindowFailure); 2] =
    [("fail", OnWindowFailure::Fail), ("keep-fuzzy", OnWindowFailure::KeepFuzzy)];

/// Without a word in the file: every night.
const SCHEDULE: &str = "daily 02:00";

/// The longest window without a word in the file. An application of many users bears it.
const MAX_FREEZE: Duration = Duration::from_secs(30);

/// Outside of these a window is a slip of the finger.
const MAX_FREEZE_LIMITS: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(60 * 60);

/// Warm passes without a word in the file: few files are still hot after the third.
const WARM_ROUNDS: u8 = 3;

/// What can be said once for all instances.
#[derive(Debug, Clone)]
pub struct Terms {
    pub exclude: Vec<String>,
    pub always_read: Vec<String>,
    pub max_freeze: Duration,
    pub warm_rounds: u8,
    pub on_failure: OnWindowFailure,
    pub schedule: Schedule,
    pub keep: Keep,
    pub hooks: Hooks,
}

/// Those of `[defaults]`, and what holds without a word.
pub fn defaults(top: &Section<'_>) -> Terms {
    let built_in = Terms {
        exclude: Vec::new(),
        always_read: Vec::new(),
        max_freeze: MAX_FREEZE,
        warm_rounds: WARM_ROUNDS,
        on_failure: OnWindowFailure::Fail,
        schedule: SCHEDULE.parse().unwrap_or(Schedule::never()),
        keep: Keep::default(),
        hooks: Hooks::default(),
    };
    top.table("defaults", KEYS).map_or(built_in.clone(), |section| read(&section, &built_in))
}

/// Those of a table, and what holds where it says nothing.
pub fn read(section: &Section<'_>, otherwise: &Terms) -> Terms {
    let both = |key, shared: &[String]| [shared, &section.read(key, Vec::new(), patterns)].concat();
    Terms {
        exclude: both("exclude", &otherwise.exclude),
        always_read: both("always-read", &otherwise.always_read),
        max_freeze: section.read("max-freeze", otherwise.max_freeze, |item| item.duration(MAX_FREEZE_LIMITS)),
        // Its limits make it fit.
        warm_rounds: section.read("warm-rounds", otherwise.warm_rounds, |item| Ok(item.number(0..=10)? as u8)),
        on_failure: section.read("on-window-failure", otherwise.on_failure, |item| item.word(&FAILURES)),
        schedule: section.read("schedule", otherwise.schedule.clone(), |item| item.parsed(str::parse)),
        keep: section.read("keep", otherwise.keep.clone(), keep),
        hooks: hooks::read(section, &otherwise.hooks),
    }
}

/// Patterns that were tried: each can be compiled.
fn patterns(item: &Item<'_>) -> Result<Vec<String>> {
    let patterns = item.texts()?;
    match Excludes::new(&patterns, &[]) {
        Ok(_) => Ok(patterns),
        Err(error) => {
            let (pattern, reason) = (error.pattern, error.reason);
            Err(item.at.error(format!("{pattern:?} is not a pattern as in .gitignore: {reason}")))
        }
    }
}

fn keep(item: &Item<'_>) -> Result<Keep> {
    let section = item.section(&KEEP_KINDS)?;
    let number = |kind| Some((kind, section.find(kind, |item| item.number(1..=100_000))?));
    Ok(Keep { rules: KEEP_KINDS.into_iter().filter_map(number).collect() })
}
