//! Snapshots as a read-only file system.
//!
//! | module | what it holds |
//! |---|---|
//! | [`mod@tree`] | what stands above the snapshots: pure |
//! | [`names`] | names of instances as names of directories, and back |
//! | [`inode`] | what an inode number says |
//! | `linux` | FUSE: mounting, answering the kernel, reading ahead |
//!
//! An inode number is the snapshot's number and the entry's position in the manifest. So nothing has to be remembered of what
//! the kernel knows, however much that is, and no two entries of a mount have the same number.

pub mod error;
pub mod inode;
pub mod names;
pub mod tree;

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
pub use linux::{Mounted, mount};

#[cfg(not(target_os = "linux"))]
mod unsupported;
#[cfg(not(target_os = "linux"))]
pub use unsupported::{Mounted, mount};

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use icecore_engine::Stored;
use icecore_engine::entry::Timestamp;

pub use error::{Error, Result};

/// What is shown.
#[derive(Debug, Clone)]
pub enum Choice {
    /// Every snapshot, also those that appear later; of one series only if it is named.
    Series(Option<String>),
    /// The content of one snapshot.
    One(Box<Stored>),
}

/// How it is shown.
#[derive(Clone)]
pub struct Options {
    /// What is shown.
    pub choice: Choice,
    /// Users other than the one who mounts may look, as far as recorded modes and ACLs let them.
    pub allow_other: bool,
    /// Bytes of opened frames that are kept in memory.
    pub cache: u64,
    /// Threads that answer; others read ahead.
    pub threads: usize,
    /// How often snapshots that appeared or were forgotten are looked for.
    pub refresh: Duration,
    /// The name of a snapshot that was taken at a time, without a slash.
    pub name: fn(Timestamp) -> String,
    /// Takes a sentence for each file that cannot be shown.
    pub warn: Arc<dyn Fn(&str) + Send + Sync>,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").field("choice", &self.choice).field("cache", &self.cache).finish_non_exhaustive()
    }
}

/// How a mount was ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Nobody used it.
    Free,
    /// Somebody does: it is gone from its directory, and what is open is answered until it is closed.
    InUse,
}
