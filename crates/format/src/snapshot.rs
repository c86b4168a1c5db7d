//! The record that names a manifest.
//!
//! A record is one CBOR map with integer keys, sealed as an object of its own. Keys that a reader does
//! not know are skipped, so that a later version can add some.

mod receipt;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use minicbor::{Decode, Encode};

use crate::entry::{Timestamp, is_valid_path};
use crate::id::{RepositoryId, SnapshotId};
use crate::manifest;

pub use self::receipt::{Problem, ProblemKind, Receipt, ThawedBy};

/// How many problems a record should name at most; [`Snapshot::problem_count`] counts them all.
pub const PROBLEMS_NAMED: usize = 1000;

/// Bytes of the longest name of a series.
const MAX_INSTANCE_LEN: usize = 255;

/// Why a snapshot record is not valid.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The bytes break the format.
    #[error("the snapshot record is damaged")]
    Malformed(#[from] minicbor::decode::Error),
    /// A series needs a name.
    #[error("{0:?} cannot name an instance: expected 1 to 255 bytes without control characters")]
    Instance(String),
    /// A root's name must be able to begin a path.
    #[error("{0:?} cannot name a root: expected one component of a path")]
    Root(String),
    /// Roots are told apart by name.
    #[error("two roots have the name {0:?}")]
    DuplicateRoot(String),
    /// A snapshot of nothing.
    #[error("the snapshot has no root")]
    NoRoot,
    /// Nanoseconds of a second or more.
    #[error("the snapshot's time \"{0}\" is no time")]
    Time(&'static str),
    /// Fewer problems counted than named.
    #[error("the snapshot counts {count} problems, but names {named}")]
    ProblemCount {
        /// What the record counts.
        count: u64,
        /// What it names.
        named: usize,
    },
    /// [`Verdict::Application`] is claimed without a receipt, or in spite of what it says.
    #[error("the snapshot claims to be consistent for the application, but its receipt does not prove it")]
    Unproven,
}

/// One snapshot: what was backed up, when, how well, and the root of its manifest.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Snapshot {
    /// The name of the series that the snapshot continues.
    #[n(0)]
    pub instance: String,
    /// Where it was taken.
    #[n(1)]
    pub host: String,
    /// By whom.
    #[n(2)]
    pub user: String,
    /// By which program and version.
    #[n(3)]
    pub program: String,
    /// Marks given by people.
    #[cbor(n(4), skip_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// The directories, in the order in which they were given; at least one.
    #[n(5)]
    pub roots: Vec<Root>,
    /// When the backup began.
    #[n(6)]
    pub started: Timestamp,
    /// The instant of the listing: for people the time of the snapshot.
    #[n(7)]
    pub taken: Timestamp,
    /// When everything was stored.
    #[n(8)]
    pub finished: Timestamp,
    /// The entries.
    #[n(9)]
    pub manifest: manifest::Root,
    /// The snapshot against which unchanged files were told.
    #[n(10)]
    pub parent: Option<SnapshotId>,
    /// Names of the user ids that own entries.
    #[cbor(n(11), skip_if = "BTreeMap::is_empty")]
    pub users: BTreeMap<u32, String>,
    /// Names of the group ids that own entries.
    #[cbor(n(12), skip_if = "BTreeMap::is_empty")]
    pub groups: BTreeMap<u32, String>,
    /// Counts.
    #[n(13)]
    pub totals: Totals,
    /// What consistency the snapshot can claim.
    #[n(14)]
    pub verdict: Verdict,
    /// What happened in the window, if there was one.
    #[n(15)]
    pub receipt: Option<Receipt>,
    /// What could not be backed up, or not well; about [`PROBLEMS_NAMED`] at most.
    #[cbor(n(16), skip_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
    /// How many problems there were.
    #[n(17)]
    pub problem_count: u64,
    /// The patterns that were left out.
    #[cbor(n(18), skip_if = "Vec::is_empty")]
    pub excludes: Vec<String>,
    /// Until when nothing may forget the snapshot.
    #[n(19)]
    pub protected_until: Option<Timestamp>,
    /// The damaged snapshot whose content this one has, as far as it could be had. Its verdict is [`Verdict::Fuzzy`].
    #[n(20)]
    pub corrects: Option<SnapshotId>,
    /// The snapshot of another repository that this one is a copy of.
    #[n(21)]
    pub origin: Option<Origin>,
    /// The content of directories that carry a `CACHEDIR.TAG` was left out.
    #[cbor(n(22), skip_if = "is_false")]
    pub exclude_caches: bool,
    /// What is mounted below the roots was left out.
    #[cbor(n(23), skip_if = "is_false")]
    pub one_file_system: bool,
}

fn is_false(value: &bool) -> bool {
    !value
}

/// A snapshot of another repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(map)]
pub struct Origin {
    /// The repository.
    #[n(0)]
    pub repository: RepositoryId,
    /// The snapshot in it.
    #[n(1)]
    pub snapshot: SnapshotId,
}

/// A directory that was backed up.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Root {
    /// What paths begin with where there are several roots.
    #[n(0)]
    pub name: String,
    /// Where it stood on the host.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub path: Vec<u8>,
}

/// What a backup met and did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct Totals {
    /// Entries of the manifest.
    #[n(0)]
    pub entries: u64,
    /// Regular files among them.
    #[n(1)]
    pub files: u64,
    /// Directories among them.
    #[n(2)]
    pub directories: u64,
    /// Everything else.
    #[n(3)]
    pub others: u64,
    /// Bytes of all files, holes included.
    #[n(4)]
    pub bytes: u64,
    /// Files that the parent does not have.
    #[n(5)]
    pub files_new: u64,
    /// Files that differ from the parent's.
    #[n(6)]
    pub files_changed: u64,
    /// Files that were carried over.
    #[n(7)]
    pub files_unchanged: u64,
    /// Bytes read from live files.
    #[n(8)]
    pub bytes_read: u64,
    /// Chunks that the repository did not have.
    #[n(9)]
    pub chunks_new: u64,
    /// Plain bytes of those chunks.
    #[n(10)]
    pub bytes_new: u64,
    /// Bytes put into the store.
    #[n(11)]
    pub bytes_added: u64,
    /// Files that were known under another path.
    #[n(12)]
    pub files_renamed: u64,
    /// Entries of the parent that are gone.
    #[n(13)]
    pub entries_removed: u64,
}

/// What consistency a snapshot can claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Verdict {
    /// The application was frozen, and nothing moved in the window.
    #[n(0)]
    Application,
    /// One instant, as after a power cut: a file system or volume snapshot.
    #[n(1)]
    Crash,
    /// Not one instant, but no file changed between listing and reading.
    #[n(2)]
    Stable,
    /// Files changed while they were read.
    #[n(3)]
    Fuzzy,
}

impl Snapshot {
    /// The record's plain bytes. Refuses what [`decode`](Self::decode) would not take.
    pub fn encode(&self) -> Result<Vec<u8>, SnapshotError> {
        self.validate()?;
        Ok(minicbor::to_vec(self).expect("writing to memory does not fail"))
    }

    /// Reads a record.
    pub fn decode(bytes: &[u8]) -> Result<Self, SnapshotError> {
        let mut decoder = minicbor::Decoder::new(bytes);
        let snapshot: Self = decoder.decode()?;
        if decoder.position() != bytes.len() {
            return Err(minicbor::decode::Error::message("bytes behind the record").at(decoder.position()).into());
        }
        snapshot.validate()?;
        Ok(snapshot)
    }

    /// Tells whether a series may have this name. Worth asking before a backup begins.
    pub fn check_instance(name: &str) -> Result<(), SnapshotError> {
        let valid = (1..=MAX_INSTANCE_LEN).contains(&name.len()) && !name.chars().any(char::is_control);
        if valid { Ok(()) } else { Err(SnapshotError::Instance(name.to_owned())) }
    }

    // The order of times is not checked: a clock may be set back while a backup runs.
    fn validate(&self) -> Result<(), SnapshotError> {
        Self::check_instance(&self.instance)?;
        self.validate_roots()?;
        for (name, time) in self.times() {
            if time.nanos >= 1_000_000_000 {
                return Err(SnapshotError::Time(name));
            }
        }
        if self.problem_count < self.problems.len() as u64 {
            return Err(SnapshotError::ProblemCount { count: self.problem_count, named: self.problems.len() });
        }
        let proven =
            self.receipt.as_ref().is_some_and(|receipt| receipt.violations.is_empty() && receipt.awake.is_none());
        if self.verdict == Verdict::Application && !proven {
            return Err(SnapshotError::Unproven);
        }
        Ok(())
    }

    fn validate_roots(&self) -> Result<(), SnapshotError> {
        let mut names = BTreeSet::new();
        for Root { name, .. } in &self.roots {
            if name.is_empty() || name.contains('/') || !is_valid_path(name.as_bytes()) {
                return Err(SnapshotError::Root(name.clone()));
            }
            if !names.insert(name) {
                return Err(SnapshotError::DuplicateRoot(name.clone()));
            }
        }
        if names.is_empty() { Err(SnapshotError::NoRoot) } else { Ok(()) }
    }

    fn times(&self) -> impl Iterator<Item = (&'static str, Timestamp)> {
        let receipt = self.receipt.as_ref().map(|receipt| {
            [
                ("requested", receipt.requested),
                ("frozen", receipt.frozen),
                ("listed", receipt.listed),
                ("thawed", receipt.thawed),
            ]
        });
        [("started", self.started), ("taken", self.taken), ("finished", self.finished)]
            .into_iter()
            .chain(self.protected_until.map(|time| ("protected until", time)))
            .chain(receipt.into_iter().flatten())
    }
}
