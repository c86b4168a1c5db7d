//! What can go wrong with a repository, with the object it went wrong with.

use std::path::PathBuf;

use icecore_format::id::{ChunkId, PackId};
use icecore_store::ErrorKind;

/// The result of a repository operation.
pub type Result<T> = std::result::Result<T, Error>;

/// A failure of a repository operation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A repository stands there whose configuration is gone.
    #[error("the repository at {location} has lost its object config")]
    ConfigMissing {
        /// Where.
        location: String,
    },
    /// The index says something else of a pack than the pack itself.
    #[error("the index {} is wrong about {object}: the object itself says something else", path.display())]
    WrongIndex {
        /// The SQLite file.
        path: PathBuf,
        /// The pack's key.
        object: String,
    },
    /// There is no repository at that place.
    #[error("there is no repository at {location}")]
    NoRepository {
        /// Where it was looked for.
        location: String,
    },
    /// A repository would be created where something stands already.
    #[error("{location} already holds a repository")]
    AlreadyExists {
        /// Where it stands.
        location: String,
    },
    /// No key slot opens with the given secret.
    #[error("wrong password for the repository at {location} ({slots} key slot(s) tried){}", also(unusable))]
    WrongPassword {
        /// Which repository.
        location: String,
        /// How many slots were tried.
        slots: usize,
        /// A sentence for each slot that could not be tried: the password may be that one's.
        unusable: Vec<String>,
    },
    /// The repository has no readable key slot left.
    #[error("the repository at {location} has no usable key slot: {reason}")]
    NoKeySlot {
        /// Which repository.
        location: String,
        /// What was found instead.
        reason: String,
    },
    /// These credentials can write but not read.
    #[error("this key can only write: reading needs a key of role reader")]
    WriteOnly,
    /// The last key that can read must not be removed.
    #[error("key {slot} is the last one that can read this repository; add another reader key first")]
    LastReader {
        /// The slot that was to be removed.
        slot: String,
    },
    /// A name that matches nothing, or more than one thing.
    #[error("{0}")]
    NotFound(String),
    /// A key slot cannot be made.
    #[error("the key slot cannot be made: {0}")]
    Key(#[from] icecore_format::keys::KeyError),
    /// The configuration object cannot be used.
    #[error("the repository at {location} cannot be used: {source}")]
    Config {
        /// Which repository.
        location: String,
        /// Why.
        source: icecore_format::config::ConfigError,
    },
    /// An object's bytes are not what they must be.
    #[error("{object} is damaged: {reason}")]
    Damaged {
        /// The object's key.
        object: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A chunk that no pack of the index holds.
    #[error("chunk {chunk} stands in no pack that the index {index} names", index = index.display())]
    MissingChunk {
        /// Which chunk.
        chunk: ChunkId,
        /// The SQLite file.
        index: PathBuf,
    },
    /// A chunk whose every copy is damaged or missing.
    #[error("chunk {chunk} cannot be read from pack {pack}: {reason}")]
    DamagedChunk {
        /// Which chunk.
        chunk: ChunkId,
        /// The pack that was tried last.
        pack: PackId,
        /// What is wrong there.
        reason: String,
    },
    /// A manifest that cannot be read to its end.
    #[error("the manifest is damaged: {0}")]
    Manifest(String),
    /// A snapshot record says something that cannot be true: a defect of this program.
    #[error("the snapshot record cannot be written: {0}")]
    Record(icecore_format::snapshot::SnapshotError),
    /// A prune deleted what a session relied on.
    #[error("the backup took so long that a prune overtook it: chunk {chunk} is gone; run it again")]
    Overtaken {
        /// A chunk that the snapshot needs.
        chunk: ChunkId,
    },
    /// This key cannot see which packs will go.
    #[error(
        "a prune has marked packs of this repository, and this key can only write: it cannot see which; back up again when the prune is over, or with a key of role reader"
    )]
    MarksClosed,
    /// Nothing was pruned, or no more.
    #[error("{0}")]
    Refused(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] icecore_store::Error),
    /// The local index failed; it is derived and may be deleted.
    #[error("the index {path} failed: {source}", path = path.display())]
    Index {
        /// The SQLite file.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// The state directory cannot be used.
    #[error("the state directory {path} cannot be used: {source}", path = path.display())]
    State {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Content that has to wait does not fit into memory, and the spool file cannot be used.
    #[error("the spool file in {directory} cannot be used: {source}", directory = directory.display())]
    Spool {
        /// Where it is.
        directory: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The system's random source failed.
    #[error("the system's random source failed: {0}")]
    Random(getrandom::Error),
    /// The compressor failed.
    #[error("compression failed: {0}")]
    Frame(#[from] icecore_format::frame::FrameError),
    /// The pack writer stopped; its own error says why and is returned when the session ends.
    #[error("writing packs stopped")]
    WriterStopped,
    /// A thread of the session panicked: a defect of this program.
    #[error("the pack writer panicked; please report this")]
    WriterPanicked,
    /// Another thread of this program panicked: a defect.
    #[error("a worker panicked; please report this")]
    WorkerPanicked,
    /// The work was interrupted.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    /// Whether it touches only what stands in one place of the repository, so that the rest is still worth trying.
    pub fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::Damaged { .. }
                | Self::MissingChunk { .. }
                | Self::DamagedChunk { .. }
                | Self::WrongIndex { .. }
                | Self::Store(_)
                | Self::Frame(_)
        )
    }

    /// What is lost, for a snapshot's record: without the places of this host.
    pub fn loss(&self) -> String {
        match self {
            Self::MissingChunk { chunk, .. } => format!("no pack holds chunk {chunk} any more"),
            error => error.to_string(),
        }
    }

    /// Whether the bytes are surely lost where they were looked for; a store that only failed to answer has lost nothing.
    pub fn is_loss(&self) -> bool {
        match self {
            Self::Store(error) => matches!(error.kind, ErrorKind::NotFound | ErrorKind::Truncated),
            Self::WrongIndex { .. } => false,
            error => error.is_damage(),
        }
    }
}

fn also(unusable: &[String]) -> String {
    if unusable.is_empty() { String::new() } else { format!("; not tried: {}", unusable.join("; ")) }
}
