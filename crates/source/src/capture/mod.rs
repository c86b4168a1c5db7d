//! How hot content is secured in the window.
//!
//! | capture | in the window | after the thaw |
//! |---|---|---|
//! | hold | listed and read | stored |
//! | [clone](mod@clone) | listed, and what is hot cloned | clones are read and stored |
//! | [snapshot] | a snapshot of all roots is made | listed, read and stored from there; the snapshot is destroyed |
//!
//! | module | what it holds |
//! |---|---|
//! | [`mod@clone`] | content shared with files that have no name |
//! | [`snapshot`] | a snapshot of all roots, from its record to its end |
//! | `btrfs` | the subvolumes of roots |
//! | [`programs`] | snapshots that the user's programs make |
//! | [`record`] | what is known of a snapshot as long as it may exist, for whoever comes after a crash |

mod btrfs;
pub mod clone;
mod error;
pub mod programs;
pub mod record;
pub mod snapshot;

use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

use icecore_format::entry::Timestamp;

pub use self::clone::{ClonedFile, Cloner};
pub use self::error::CaptureError;
pub use self::programs::{SnapshotPath, SnapshotPrograms};
pub use self::record::{Leftover, recover};
pub use self::snapshot::{Snapshot, rules_of_view};
use crate::os::capture;
use crate::tree::Tree;

pub(crate) use self::btrfs::is_snapshot;

/// What the names of btrfs snapshots begin with. Listings leave out subvolumes that are named so.
const SNAPSHOT_PREFIX: &str = ".icecore-snapshot-";

/// How long a file system may take to make a file before it counts as frozen.
const STOPPED: Duration = Duration::from_secs(2);

/// How hot content is to be secured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// By a snapshot, else by clones, else by reading it: whichever the roots' file systems can do first.
    Auto,
    /// It is read in the window.
    Hold,
    /// It is cloned.
    Clone,
    /// All of the roots stand in a snapshot.
    Snapshot,
}

impl Choice {
    /// The word for it in configuration files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Hold => "hold",
            Self::Clone => "clone",
            Self::Snapshot => "snapshot",
        }
    }
}

/// What a capture is chosen and carried out by.
#[derive(Debug, Clone)]
pub struct CapturePlan {
    /// The instance's name.
    pub instance: String,
    /// What is wished.
    pub choice: Choice,
    /// The programs that make and destroy snapshots, if there are some.
    pub programs: Option<SnapshotPrograms>,
    /// The freezer stops all writing to the roots' file systems: neither clones nor btrfs snapshots can be made in the
    /// window.
    pub filesystem_is_frozen: bool,
    /// Where records of snapshots stand: `captures` in the state directory. Made if need be.
    pub directory: PathBuf,
}

impl CapturePlan {
    /// The snapshot that is to be made, if one is; nothing is made yet.
    ///
    /// # Errors
    /// [`CaptureError::Snapshot`] if one was chosen, and there is no way to make it.
    pub fn snapshot(&self, tree: &Tree, now: Timestamp) -> Result<Option<Snapshot>, CaptureError> {
        match (self.choice, &self.programs) {
            (Choice::Hold | Choice::Clone, _) => Ok(None),
            (Choice::Auto | Choice::Snapshot, Some(programs)) => {
                Ok(Some(Snapshot::by_programs(self, programs, tree, now)))
            }
            (Choice::Auto, None) if self.filesystem_is_frozen => Ok(None),
            (Choice::Auto, None) => Ok(Snapshot::of_subvolumes(self, tree, now).ok()),
            (Choice::Snapshot, None) => Snapshot::of_subvolumes(self, tree, now).map(Some),
        }
    }

    /// Whether a snapshot that cannot be made may be done without: nobody has asked for it by name.
    pub fn can_do_without_snapshot(&self) -> bool {
        self.choice == Choice::Auto && self.programs.is_none()
    }

    /// Whether the error says that the file systems of the roots are frozen after all, and this plan knows something else.
    pub fn is_overtaken_by(&self, error: &CaptureError) -> bool {
        self.choice == Choice::Auto && !self.filesystem_is_frozen && matches!(error, CaptureError::Stopped { .. })
    }

    /// What clones hot files, one for each of `threads` threads, if they are to be cloned.
    ///
    /// # Errors
    /// [`CaptureError::Clone`] if that was chosen, and the file system of a root cannot do it.
    pub fn cloners(&self, tree: &Tree, threads: usize) -> Result<Option<Vec<Cloner>>, CaptureError> {
        match self.choice {
            Choice::Clone => Cloner::open(tree, threads).map(Some),
            Choice::Auto if !self.filesystem_is_frozen => Ok(Cloner::open(tree, threads).ok()),
            _ => Ok(None),
        }
    }
}

/// Makes sure, in the window, that the file systems of the roots take writes: a freezer's programs may have frozen them as a
/// whole. Then whoever clones or makes a snapshot would hang until the thaw.
///
/// # Errors
/// [`CaptureError::Stopped`] for the first that does not.
pub fn expect_writable(tree: &Tree, limit: Duration) -> Result<(), CaptureError> {
    for root in tree.opened() {
        let stopped = || CaptureError::Stopped { root: root.path().to_owned() };
        let Ok(directory) = root.dir().try_clone() else { continue };
        let (done, made) = mpsc::channel();
        let make = move || {
            let possible = capture::unnamed_file(&directory).is_ok();
            // Nobody listens any more if it took until the thaw.
            let _ = done.send(possible);
        };
        if std::thread::Builder::new().name("may-write".to_owned()).spawn(make).is_ok() {
            // A file that cannot be made for another reason says nothing: cloning will.
            made.recv_timeout(STOPPED.min(limit / 2)).map_err(|_| stopped())?;
        }
    }
    Ok(())
}
