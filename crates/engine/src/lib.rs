//! The stories: backup, restore, browsing and care of an archive.
//!
//! | module | what it holds |
//! |---|---|
//! | [`access`] | random access to snapshots, as a file system needs it |
//! | [`annotate`] | tags of snapshots, changed later |
//! | [`archive`] | an opened repository with its index, and what can be asked of it |
//! | [`backup`] | live roots → snapshot |
//! | [`restore`] | snapshot → directory |
//! | [`retention`] | which snapshots are kept: a pure plan |
//! | [`forget`] | snapshots go, and what that frees |
//! | [`repair`] | what can still be read is made whole, what is lost is told |
//! | [`mod@copy`] | snapshots into another repository |
//! | [`stats`] | what a repository holds, and what each snapshot costs |

//! | [`prune`] | what nothing needs is deleted |
//! | [`browse`] | choosing snapshots, reading manifests |
//! | [`pace`] | how fast content is read |
//! | [`progress`] | what a running story tells, and how it is stopped |
//!
//! Nothing here touches the terminal, the environment or a clock.

pub mod access;
pub mod annotate;
pub mod archive;
pub mod backup;
pub mod browse;
pub mod copy;
pub mod error;
pub mod forget;
mod in_order;
pub mod pace;
pub mod progress;
pub mod repair;

pub mod prune;
pub mod restore;
pub mod retention;
pub mod stats;
mod store_file;

pub use archive::Archive;
pub use error::{Error, Result};
pub use forget::Outlook;
pub use progress::{Phase, Progress};

pub use icecore_format::manifest::Root as ManifestRoot;
pub use icecore_format::seal::Entropy;
pub use icecore_format::{annotation, entry, id, keys, snapshot};
pub use icecore_repo::check::{CheckOptions, CheckReport, DamagedFile, Finding};
pub use icecore_repo::index::IndexTotals;
pub use icecore_repo::{Catalogue, Error as RepositoryError, Freed, Notes, Remembered, Stored};
