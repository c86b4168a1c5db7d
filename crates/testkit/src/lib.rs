//! Fakes that are stricter than reality, recorders, faults and suites. For tests only: it may panic.
//!
//! | module | what it holds |
//! |---|---|
//! | [`mod@bare_snapshot`] | a record of a snapshot of nothing |
//! | [`mod@conformance`] | what every store must do |
//! | [`recording`] | a store that remembers each call: economy tests |
//! | [`faulty`] | a store that fails or lies when it is told to: damage tests |
//! | [`evil`] | manifests that break every rule |
//! | [`crash`] | a store that remembers what a loss of power would have left: crash tests |
//! | [`live`] | a writer that never rests, and the scripts that freeze it |
//! | [`loop_disk`] | a file system of a chosen kind |
//! | [`small_disk`] | a file system that is soon full |
//! | [`mod@small_repository`] | a repository that a small tree fills with packs |
//! | [`stepping`] | stores whose calls wait until a test lets them through, one by one |
//! | [`spe`] | a simulator of the API that freezes MailStore instances |
//! | [`web`] | a web server that takes what it is sent, or misbehaves as it is told |
//!
//! The three stores are decorators: they wrap any other store, each other included.

use std::io::Write as _;

pub mod bare_snapshot;
pub mod conformance;
pub mod crash;
pub mod evil;
pub mod faulty;
pub mod live;
pub mod loop_disk;
pub mod recording;
pub mod small_disk;
pub mod small_repository;
pub mod spe;
pub mod stepping;
pub mod web;

pub use bare_snapshot::bare_snapshot;
pub use conformance::conformance;
pub use crash::{CrashLog, Fate};
pub use faulty::{Fault, Faulty};
pub use icecore_store::{Key, MemoryStore, Store};
pub use live::Live;
pub use loop_disk::LoopDisk;
pub use recording::Recording;
pub use small_disk::SmallDisk;
pub use small_repository::small_repository;
pub use stepping::{Gate, Stepping};
pub use web::{Answer, WebServer};

/// Says loudly that a test did not run, and why: a test that is left out must not look like one that passed.
///
/// # Panics
/// With `ICECORE_TEST_ROOT=1`, which promises root's powers and all packages that tests need: then nothing is left out.
pub fn skip(reason: &str) {
    assert!(!acts_as_root(), "left out, although ICECORE_TEST_ROOT is set: {reason}");
    tell(&format!("SKIPPED: {reason}"));
}

/// Says something although the test passes.
pub fn tell(what: &str) {
    // Not `eprintln!`, which the test harness keeps to itself when a test passes.
    let _ = writeln!(std::io::stderr(), "{what}");
}

/// How much a test tries: a number from the environment, to look longer than an ordinary run does.
///
/// # Panics
/// If the variable is set to something else.
#[allow(clippy::disallowed_methods, reason = "tests read their own switches")]
pub fn effort(variable: &str, ordinary: u64) -> u64 {
    match std::env::var(variable) {
        Ok(value) => value.parse().unwrap_or_else(|_| panic!("{variable}={value} is no number")),
        Err(_) => ordinary,
    }
}

/// Whether a test may use root's powers over this machine: `ICECORE_TEST_ROOT=1` says so. Otherwise the skip is said.
pub fn may_act_as_root(reason: &str) -> bool {
    let may = acts_as_root();
    if !may {
        skip(&format!("{reason}: set ICECORE_TEST_ROOT=1"));
    }
    may
}

#[allow(clippy::disallowed_methods, reason = "tests read their own switch")]
fn acts_as_root() -> bool {
    std::env::var_os("ICECORE_TEST_ROOT").is_some_and(|value| value == "1")
}

/// A key, for tests that write keys down.
///
/// # Panics
/// If `text` is no key.
pub fn key(text: &str) -> Key {
    Key::new(text).unwrap_or_else(|e| panic!("{e}"))
}
