//! What happened in a freeze window, and to single entries.

use minicbor::{Decode, Encode};

use crate::entry::Timestamp;

/// What happened in the window.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Receipt {
    /// How the application was made quiet.
    #[n(0)]
    pub freezer: String,
    /// When it was asked to be.
    #[n(1)]
    pub requested: Timestamp,
    /// When it was.
    #[n(2)]
    pub frozen: Timestamp,
    /// When the listing was complete.
    #[n(3)]
    pub listed: Timestamp,
    /// When the thaw was confirmed.
    #[n(4)]
    pub thawed: Timestamp,
    /// From the request to the confirmed thaw by a clock that nobody sets, in milliseconds.
    #[n(5)]
    pub window_ms: u64,
    /// What was predicted for it, in milliseconds.
    #[n(6)]
    pub predicted_ms: Option<u64>,
    /// Files that were secured in the window.
    #[n(7)]
    pub hot_files: u64,
    /// Bytes of those files.
    #[n(8)]
    pub hot_bytes: u64,
    /// How they were secured.
    #[n(9)]
    pub capture: String,
    /// Who thawed.
    #[n(10)]
    pub thawed_by: ThawedBy,
    /// What changed although it was frozen.
    #[cbor(n(11), skip_if = "Vec::is_empty")]
    pub violations: Vec<Problem>,
    /// Why the application must have been awake before it was thawed, if that was noticed.
    #[n(12)]
    pub awake: Option<String>,
}

/// Who thawed the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum ThawedBy {
    /// The backup itself, as it should be.
    #[n(0)]
    Engine,
    /// The guardian, because the backup was late or gone.
    #[n(1)]
    Guardian,
    /// A later run that found the journal of this one.
    #[n(2)]
    Recovery,
}

/// An entry that could not be backed up, or not well.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Problem {
    /// Where it stands in the snapshot.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub path: Vec<u8>,
    /// What kind of problem it is.
    #[n(1)]
    pub kind: ProblemKind,
    /// What went wrong, for people.
    #[n(2)]
    pub message: String,
}

/// What kind of problem an entry had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum ProblemKind {
    /// It, or a part of it, could not be read.
    #[n(0)]
    Unreadable,
    /// It changed while it was read.
    #[n(1)]
    Changed,
    /// It was listed, but gone when it was to be read.
    #[n(2)]
    Vanished,
    /// It is of a kind, or has metadata, that cannot be kept.
    #[n(3)]
    Unsupported,
}
