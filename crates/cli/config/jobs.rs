//! `[limits]`, `[run]`, and the care of the repository: `[prune]`, `[check]`.

use std::num::NonZero;
use std::time::Duration;

use icecore_engine::prune::MaxUnused;
use icecore_service::Schedule;
use icecore_source::priority::{self, IoPriority, Priority};

use super::error::{ConfigError, Mark};
use super::section::{Item, Section};
use crate::args::values;

type Result<T> = std::result::Result<T, ConfigError>;

pub const LIMITS: &[&str] = &["threads", "read-rate", "upload-rate", "nice", "io-priority"];
pub const RUN: &[&str] = &["parallel", "parallel-windows"];
pub const PRUNE: &[&str] = &["schedule", "max-unused", "max-repack", "time-limit"];
pub const CHECK: &[&str] = &["schedule", "read-data", "time-limit"];

/// Without a word in the file: each night, behind the backups of the night before.
const PRUNE_SCHEDULE: &str = "daily 04:00";

/// Without a word in the file: each week a part of the data, so that all of it was read after ten.
const CHECK_SCHEDULE: &str = "sun 05:00";
const READ_DATA: u8 = 10;
const CHECK_LIMIT: Duration = Duration::from_secs(30 * 60);

/// Units of rates; each is 1024 of the one before.
pub const RATES: [(&str, u64); 3] = [("GiB/s", 1 << 30), ("MiB/s", 1 << 20), ("KiB/s", 1 << 10)];

/// How much of the machine is used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Threads that read and compress; `None`: one for each processor.
    pub threads: Option<usize>,
    /// Bytes of content that are read in a second, outside of freeze windows.
    pub read_rate: Option<NonZero<u64>>,
    /// Bytes that are put into the repository in a second.
    pub upload_rate: Option<NonZero<u64>>,
    /// How much threads give way that read and compress in backups, outside of freeze windows.
    pub priority: Priority,
}

/// How a run goes about its instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parallel {
    /// Instances at a time.
    pub instances: usize,
    /// Several of them may be frozen at once.
    pub windows: bool,
}

/// How often it is pruned, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct PruneJob {
    pub schedule: Schedule,
    /// Where that is written, if it is.
    pub asked: Option<Mark>,
    pub max_unused: Option<MaxUnused>,
    pub max_repack: Option<u64>,
    pub time_limit: Option<Duration>,
}

/// How often it is checked, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckJob {
    pub schedule: Schedule,
    /// Where that is written, if it is.
    pub asked: Option<Mark>,
    /// The share of data that is read, in percent; 0: none.
    pub read_data: u8,
    pub time_limit: Duration,
}

pub fn limits(top: &Section<'_>) -> Limits {
    let Some(section) = top.table("limits", LIMITS) else { return Limits::default() };
    Limits {
        threads: section.find("threads", |item| Ok(item.number(1..=1024)? as usize)),
        read_rate: section.find("read-rate", rate),
        upload_rate: section.find("upload-rate", rate),
        priority: Priority {
            // Its limits make it fit.
            nice: section.find("nice", |item| supported(item).and_then(|()| Ok(item.number(0..=19)? as u8))),
            io: section.find("io-priority", |item| supported(item).and_then(|()| item.parsed(io_priority))),
        },
    }
}

pub fn run(top: &Section<'_>) -> Parallel {
    let careful = Parallel { instances: 1, windows: false };
    let Some(section) = top.table("run", RUN) else { return careful };
    Parallel {
        instances: section.read("parallel", careful.instances, |item| Ok(item.number(1..=64)? as usize)),
        windows: section.read("parallel-windows", careful.windows, Item::truth),
    }
}

pub fn prune(top: &Section<'_>) -> PruneJob {
    let nightly = PruneJob {
        schedule: built_in(PRUNE_SCHEDULE),
        asked: None,
        max_unused: None,
        max_repack: None,
        time_limit: None,
    };
    let Some(section) = top.table("prune", PRUNE) else { return nightly };
    PruneJob {
        schedule: section.read("schedule", nightly.schedule, schedule),
        asked: asked(&section),
        max_unused: section.find("max-unused", |item| item.parsed(values::max_unused)),
        max_repack: section.find("max-repack", |item| item.parsed(values::size)),
        time_limit: section.find("time-limit", |item| item.parsed(values::time_limit)),
    }
}

pub fn check(top: &Section<'_>) -> CheckJob {
    let weekly =
        CheckJob { schedule: built_in(CHECK_SCHEDULE), asked: None, read_data: READ_DATA, time_limit: CHECK_LIMIT };
    let Some(section) = top.table("check", CHECK) else { return weekly };
    let share = |text: &str| if text == "0%" { Ok(0) } else { values::percent(text) };
    CheckJob {
        schedule: section.read("schedule", weekly.schedule, schedule),
        asked: asked(&section),
        read_data: section.read("read-data", weekly.read_data, |item| item.parsed(share)),
        time_limit: section.read("time-limit", weekly.time_limit, |item| item.parsed(values::time_limit)),
    }
}

/// Where a schedule is written, if it is.
fn asked(section: &Section<'_>) -> Option<Mark> {
    section.get("schedule").map(|item| item.at)
}

fn schedule(item: &Item<'_>) -> Result<Schedule> {
    item.parsed(str::parse)
}

/// One of ours, which a test reads.
fn built_in(text: &str) -> Schedule {
    text.parse().unwrap_or(Schedule::never())
}

/// A system without priorities of single threads must not be asked for any.
fn supported(item: &Item<'_>) -> Result<()> {
    match priority::IS_SUPPORTED {
        true => Ok(()),
        false => Err(item.at.error("is not supported on this system: leave it out")),
    }
}

fn io_priority(text: &str) -> std::result::Result<IoPriority, String> {
    let level = text.strip_prefix("best-effort:").and_then(|level| level.parse().ok()).filter(|level| *level <= 7);
    match (text, level) {
        ("idle", _) => Ok(IoPriority::Idle),
        (_, Some(level)) => Ok(IoPriority::BestEffort(level)),
        _ => Err(format!("{text:?} is no priority: write \"idle\", or \"best-effort:7\" with 0 (first) to 7 (last)")),
    }
}

fn rate(item: &Item<'_>) -> Result<NonZero<u64>> {
    let text = item.text()?;
    let read = RATES.iter().find_map(|(unit, bytes)| Some((text.strip_suffix(unit)?.trim_end(), *bytes)));
    let rate = read.and_then(|(number, bytes)| number.parse::<u64>().ok()?.checked_mul(bytes));
    rate.and_then(NonZero::new).ok_or_else(|| {
        item.at.error(format!("{text:?} is not a rate: write, for example, \"500KiB/s\", \"50MiB/s\" or \"1GiB/s\""))
    })
}
