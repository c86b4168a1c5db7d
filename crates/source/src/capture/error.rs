//! Why a capture is not possible.

use std::io;
use std::path::PathBuf;

use crate::freezer::FreezeError;

/// Why a capture is not possible.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The file system of a root cannot share content between files. Nothing was frozen.
    #[error(
        "nothing was frozen: files in {} cannot be cloned ({source}); set capture to \"hold\", or to \"auto\" for the \
         best that works there", root.display()
    )]
    Clone {
        /// The root.
        root: PathBuf,
        /// What its file system answers.
        source: io::Error,
    },
    /// There is no way to make a snapshot of a root. Nothing was frozen.
    #[error(
        "nothing was frozen: no snapshot of {} can be made: {why}; configure [instance.snapshot], or set capture to \
         \"auto\", \"clone\" or \"hold\"", root.display()
    )]
    Snapshot {
        /// The root.
        root: PathBuf,
        /// Why.
        why: String,
    },
    /// Something below a root would be missing from its snapshot. Nothing was frozen.
    #[error(
        "nothing was frozen: a snapshot would lack {path}, which is a mount or subvolume of its own below a root: \
         exclude it, or give it a root of its own and set capture to \"hold\"; what is on other file systems can also \
         be left out with --one-file-system"
    )]
    Elsewhere {
        /// The first such place, as snapshots name it.
        path: String,
    },
    /// What is below the roots could not be looked at. Nothing was frozen.
    #[error("nothing was frozen: {what} could not be read")]
    Unknown {
        /// What was needed.
        what: &'static str,
        /// What the OS said.
        source: io::Error,
    },
    /// In the window nothing can be written to the file system of a root.
    #[error(
        "the freezer stops all writing to the file system of {}, so that neither clones nor snapshots can be made there \
         (the instance is awake again): set capture to \"hold\"", root.display()
    )]
    Stopped {
        /// The root.
        root: PathBuf,
    },
    /// The record of a snapshot could not be kept, without which none is made.
    #[error("cannot keep the record of a snapshot in {}", path.display())]
    Record {
        /// The record, or its directory.
        path: PathBuf,
        /// What the OS said.
        source: io::Error,
    },
    /// A btrfs snapshot could not be made.
    #[error("the btrfs snapshot {} of {} could not be made: {source}", snapshot.display(), subvolume.display())]
    Create {
        /// What was to be snapshotted.
        subvolume: PathBuf,
        /// The snapshot.
        snapshot: PathBuf,
        /// What the OS said.
        source: io::Error,
    },
    /// A program of the user has failed.
    #[error("instance.snapshot.{key}: {error}")]
    Program {
        /// Its key in the configuration.
        key: &'static str,
        /// How.
        error: Box<FreezeError>,
    },
    /// The snapshot was made, but a root is not to be found in it.
    #[error("the snapshot of {} is not where it should be: {why}", root.display())]
    View {
        /// The root.
        root: PathBuf,
        /// Why.
        why: String,
    },
    /// A snapshot is still there.
    #[error(
        "{what} could not be destroyed: {cause}. Do it by hand ({by_hand}); every command of icecore tries it again \
         until then (its record is {})", record.display()
    )]
    Destroy {
        /// The snapshot, for people.
        what: String,
        /// What destroys it by hand.
        by_hand: String,
        /// Why it was not.
        cause: String,
        /// Its record, which stays.
        record: PathBuf,
    },
    /// A record is not what this program writes.
    #[error(
        "the record of a snapshot {} cannot be read ({why}); destroy the snapshot by hand, then delete it",
        path.display()
    )]
    Damaged {
        /// The record.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}
