//! The live side: reading instances where they stand, and putting them back.
//!
//! | module | what it holds |
//! |---|---|
//! | [`tree`] | the opened roots of an instance |
//! | [`listing`] | the point-in-time list of what is beneath them |
//! | [`stat`] | what the file system says of an entry |
//! | [`live_file`] | a file that is read while its application may write it |
//! | [`excludes`] | what is left out by name |
//! | [`names`] | users and groups by name |
//! | [`claim`] | who works with which directory |
//! | [`priority`] | how much a thread gives way to others |
//! | [`target`] | a directory that is restored into |
//! | [`freezer`] | how an instance is made quiet, and woken |
//! | [`capture`] | how hot content is secured in the window |
//! | [`window`] | the time between: journal, guardian, thaw, recovery |
//!
//! Whatever differs between operating systems stands in `os`.

pub mod capture;
pub mod claim;
pub mod excludes;
pub mod freezer;
pub mod listing;
pub mod live_file;
pub mod names;
mod os;
pub mod priority;
pub mod stat;
#[cfg(unix)]
pub mod target;
pub mod tree;
pub mod window;

pub use excludes::{ExcludeError, ExcludeFile, Excludes};
pub use listing::{ListProgress, Listed, Listing, Rules};
pub use live_file::{LiveFile, ReadAt};
pub use names::Names;
pub use priority::{IoPriority, Priority};
pub use stat::{Kind, Stat};
pub use tree::{Root, SourceError, Tree};

/// Says that a test shows nothing here, past the test harness, which swallows what a passing test prints.
#[cfg(test)]
fn skip(reason: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "SKIPPED: {reason}");
}
