//! What can go wrong with a story.

use icecore_format::manifest::{ReadError, WriteError};

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
    /// The restored side has no room left, or became read-only.
    #[error("writing {path} failed: {source}")]
    Write {
        /// The path in the snapshot.
        path: String,
        /// What the operating system says.
        source: std::io::Error,
    },
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
    /// A manifest could not be written.
    #[error("writing the manifest failed: {0}")]
    WriteManifest(WriteError<icecore_repo::Error>),
    /// No snapshot, path or series of that name.
    #[error("{0}")]
    NotFound(String),
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
