//! What can go wrong with a story.

use icecore_format::manifest::{ReadError, ReadFault, WriteError};

/// The result of a story.
pub type Result<T> = std::result::Result<T, Error>;

/// A failure of a whole story; what only touches single entries stands in its report instead.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The repository failed.
    #[error(transparent)]
    Repository(#[from] icecore_repo::Error),
    /// The live side failed.
    #[error(transparent)]
    Source(#[from] icecore_source::SourceError),
    /// The restored side failed.
    #[error(transparent)]
    Target(#[from] icecore_source::target::TargetError),
    /// There is less room than a restore surely needs.
    #[error(
        "No space left for this restore: {needed} bytes are needed at least, and {} has {free} free; make room, or choose \
         another directory, new or empty",
        path.display()
    )]
    NoRoom {
        /// The directory.
        path: std::path::PathBuf,
        /// Bytes.
        needed: u64,
        /// Bytes.
        free: u64,
    },
    /// What has to be remembered of a restore could not be written to the state directory.
    #[error("cannot remember in the state directory that {} is being restored: {source}", directory.display())]
    Record {
        /// The target.
        directory: std::path::PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// Of several directories that are exchanged, some are and some are not.
    #[error("exchanged: {new}; not exchanged yet: {old}; run the same command again to exchange the rest: {source}")]
    HalfExchanged {
        /// Directories in which the restored trees stand.
        new: String,
        /// Those that are as they were.
        old: String,
        /// Why.
        source: Box<Error>,
    },
    /// The restored side has no room left, or became read-only.
    #[error("writing {path} failed: {source}")]
    Write {
        /// The path in the snapshot.
        path: String,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// What does not fit into memory could not be kept in a file.
    #[error("keeping what does not fit into memory in the state directory failed: {0}")]
    Spill(std::io::Error),
    /// The listing could not be read back from its spool.
    #[error("reading the listing back failed: {0}")]
    Listing(std::io::Error),
    /// A manifest could not be read.
    #[error("snapshot {snapshot}: {source}")]
    Manifest {
        /// Whose manifest.
        snapshot: String,
        /// Why.
        source: ReadError<icecore_repo::Error>,
    },
    /// What is needed of a manifest, or of a list of pieces, could not be read.
    #[error(transparent)]
    Block(#[from] ReadError<icecore_repo::Error>),
    /// A file's list of pieces is not what its entry says.
    #[error("the list of pieces does not agree with the file's size")]
    WrongPieces,
    /// A file whose content the snapshot does not have.
    #[error("the snapshot has no content of it: it could not be read when the backup was taken, or was lost since")]
    NoContent,
    /// A manifest could not be written.
    #[error("writing the manifest failed: {0}")]
    WriteManifest(WriteError<icecore_repo::Error>),
    /// No snapshot, path or series of that name.
    #[error("{0}")]
    NotFound(String),
    /// The freeze window could not be opened or closed.
    #[error(transparent)]
    Window(#[from] Box<icecore_source::window::WindowError>),
    /// What is hot could not be secured as it was to be.
    #[error(transparent)]
    Capture(#[from] Box<icecore_source::capture::CaptureError>),
    /// The window would be longer than it may be. Nothing was frozen.
    #[error(
        "nothing was frozen: the window is expected to take {predicted_ms} ms ({entries} entries to list, {hot_bytes} bytes \
         that change too fast for the warm passes), and max-freeze allows {max_ms} ms"
    )]
    Predicted {
        /// Expected, in milliseconds.
        predicted_ms: u64,
        /// Allowed, in milliseconds.
        max_ms: u64,
        /// Entries to list.
        entries: u64,
        /// Bytes to read in the window.
        hot_bytes: u64,
    },
    /// The window was longer than it may be, or somebody else thawed in it.
    #[error("the instance was thawed before everything was read: the window took longer than max-freeze allows")]
    WindowExceeded,
    /// While a snapshot was copied, a prune of the source deleted packs that it was read from.
    #[error("a prune of the repository that is copied from has moved what was being read; run the copy again")]
    SourceMoved,
    /// The two walks over one listing decided differently: the repository failed between them.
    #[error("{} was not read in the freeze window, probably because the repository answered otherwise then; run the backup again", String::from_utf8_lossy(.0))]
    NotCaptured(Vec<u8>),
    /// Every root vanished or nothing could be read.
    #[error("{0}")]
    Nothing(String),
    /// A thread of this program panicked: a defect.
    #[error("a worker panicked; please report this")]
    WorkerPanicked,
    /// The story was asked to end.
    #[error("interrupted")]
    Interrupted,
}

/// An error with its causes, each said once.
pub(crate) fn reason(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

/// Lets a story go on after a block of a manifest could not be read, unless no other could be either.
pub(crate) fn survive_block(error: ReadError<icecore_repo::Error>) -> Result<()> {
    match *error.fault {
        ReadFault::Source(error) if !error.is_damage() => Err(error.into()),
        _ => Ok(()),
    }
}
