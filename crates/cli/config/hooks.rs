//! `[hooks]` of a run, `[instance.hooks]` of one instance: programs that are run around it.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::section::{Item, Section};

/// The keys of a table of hooks.
pub const KEYS: &[&str] = &["before", "after", "failed", "finally", "timeout"];

/// How long each may take without a word in the file: long enough to mount a disk or to stop a queue.
const TIMEOUT: Duration = Duration::from_secs(5 * 60);

const TIMEOUT_LIMITS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(24 * 60 * 60);

/// Programs with their arguments, by the moment at which they are run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hooks {
    /// Before anything is done. If it fails, nothing is.
    pub before: Option<Vec<String>>,
    /// After success.
    pub after: Option<Vec<String>>,
    /// After a failure.
    pub failed: Option<Vec<String>>,
    /// In any case, last.
    pub finally: Option<Vec<String>>,
    /// How long each may take.
    pub timeout: Duration,
}

impl Default for Hooks {
    fn default() -> Self {
        Self { before: None, after: None, failed: None, finally: None, timeout: TIMEOUT }
    }
}

/// Those under the key `hooks` of a table; `otherwise`, each by itself, where it names none.
pub fn read(parent: &Section<'_>, otherwise: &Hooks) -> Hooks {
    let Some(section) = parent.table("hooks", KEYS) else { return otherwise.clone() };
    let program = |key, otherwise: &Option<Vec<String>>| section.find(key, Item::program).or_else(|| otherwise.clone());
    Hooks {
        before: program("before", &otherwise.before),
        after: program("after", &otherwise.after),
        failed: program("failed", &otherwise.failed),
        finally: program("finally", &otherwise.finally),
        timeout: section.read("timeout", otherwise.timeout, |item| item.duration(TIMEOUT_LIMITS)),
    }
}
