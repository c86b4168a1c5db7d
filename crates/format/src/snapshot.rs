//! The record that names a manifest.
//!
//! A record is one CBOR map with integer keys, sealed as an object of its own. Keys that a reader does
//! not know are skipped, so that a later version can add some.

use std::collections::{BTreeMap, BTreeSet};

use minicbor::{Decode, Encode};

use crate::entry::{Timestamp, is_valid_path};
use crate::id::{RepositoryId, SnapshotId};
use crate::manifest;

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

#[cfg(test)]
mod tests {
    use proptest::collection::{btree_map, vec};
    use proptest::option;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;
    use crate::id::ChunkId;

    fn at(seconds: i64) -> Timestamp {
        Timestamp { seconds, nanos: 7 }
    }

    /// Every field has a value of its own.
    fn snapshot() -> Snapshot {
        Snapshot {
            instance: "cust01".into(),
            host: "h".into(),
            user: "u".into(),
            program: "icecore 1".into(),
            tags: vec!["monthly".into()],
            roots: vec![Root { name: "base".into(), path: b"/srv".to_vec() }],
            started: at(-1),
            taken: at(2),
            finished: at(3),
            manifest: manifest::Root { id: ChunkId::from_bytes([0xAA; 20]), height: 2, entries: 300 },
            parent: Some(SnapshotId::from_bytes([0xBB; 32])),
            users: [(0, "root".into()), (33, "www".into())].into(),
            groups: [(5, "tty".into())].into(),
            totals: Totals {
                entries: 1,
                files: 2,
                directories: 3,
                others: 4,
                bytes: 5,
                files_new: 6,
                files_changed: 7,
                files_unchanged: 8,
                bytes_read: 9,
                chunks_new: 10,
                bytes_new: 11,
                bytes_added: 12,
                files_renamed: 13,
                entries_removed: 14,
            },
            verdict: Verdict::Application,
            receipt: Some(Receipt {
                freezer: "command".into(),
                requested: at(4),
                frozen: at(5),
                listed: at(6),
                thawed: at(7),
                window_ms: 800,
                predicted_ms: Some(900),
                hot_files: 1,
                hot_bytes: 2,
                capture: "hold".into(),
                thawed_by: ThawedBy::Engine,
                violations: vec![],
                awake: None,
            }),
            problems: vec![Problem { path: b"a/b".to_vec(), kind: ProblemKind::Vanished, message: "gone".into() }],
            problem_count: 2,
            excludes: vec!["*.tmp".into()],
            protected_until: Some(at(9)),
            corrects: None,
            origin: None,
        }
    }

    /// As little as there can be.
    fn bare() -> Snapshot {
        Snapshot {
            tags: vec![],
            parent: None,
            users: BTreeMap::new(),
            groups: BTreeMap::new(),
            verdict: Verdict::Stable,
            receipt: None,
            problems: vec![],
            problem_count: 0,
            excludes: vec![],
            protected_until: None,
            ..snapshot()
        }
    }

    fn hex(snapshot: &Snapshot) -> String {
        snapshot.encode().unwrap().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn encoding_is_golden() {
        let expected = [
            "b4",
            "0066637573743031",                                             // instance
            "016168",                                                       // host
            "026175",                                                       // user
            "0369696365636f72652031",                                       // program
            "0481676d6f6e74686c79",                                         // tags
            "0581a200646261736501442f737276",                               // roots
            "06822007",                                                     // started
            "07820207",                                                     // taken
            "08820307",                                                     // finished
            &["098354", &"aa".repeat(20), "0219012c"].concat(),             // manifest
            &["0a5820", &"bb".repeat(32)].concat(),                         // parent
            "0ba20064726f6f74182163777777",                                 // users
            "0ca10563747479",                                               // groups
            "0dae000101020203030404050506060707080809090a0a0b0b0c0c0d0d0e", // totals
            "0e00",                                                         // verdict
            "0fab0067636f6d6d616e64",                                       // receipt: freezer
            "01820407028205070382060704820707",                             // times
            "051903200619038407010802",                                     // counts
            "0964686f6c640a00",                                             // capture, thawed by
            "1081a30043612f6201020264676f6e65",                             // problems
            "1102",                                                         // problem count
            "1281652a2e746d70",                                             // excludes
            "13820907",                                                     // protected until
        ];
        assert_eq!(hex(&snapshot()), expected.concat());
    }

    #[test]
    fn absent_things_take_no_room() {
        let expected = [
            "ac",
            "0066637573743031",                                             // instance
            "016168",                                                       // host
            "026175",                                                       // user
            "0369696365636f72652031",                                       // program
            "0581a200646261736501442f737276",                               // roots
            "06822007",                                                     // started
            "07820207",                                                     // taken
            "08820307",                                                     // finished
            &["098354", &"aa".repeat(20), "0219012c"].concat(),             // manifest
            "0dae000101020203030404050506060707080809090a0a0b0b0c0c0d0d0e", // totals
            "0e02",                                                         // verdict
            "1100",                                                         // problem count
        ];
        assert_eq!(hex(&bare()), expected.concat());
        assert_eq!(Snapshot::decode(&bare().encode().unwrap()).unwrap(), bare());
    }

    #[test]
    fn what_repair_and_copy_add_is_golden() {
        let origin =
            Origin { repository: RepositoryId::from_bytes([0xCC; 32]), snapshot: SnapshotId::from_bytes([0xDD; 32]) };
        let added = Snapshot { corrects: Some(SnapshotId::from_bytes([0xEE; 32])), origin: Some(origin), ..bare() };
        let (bare, added) = (hex(&bare()), hex(&added));
        let expected = [
            "ae",
            &bare[2..],
            &["145820", &"ee".repeat(32)].concat(), // corrects
            &["15a2005820", &"cc".repeat(32), "015820", &"dd".repeat(32)].concat(), // origin
        ];
        assert_eq!(added, expected.concat());
    }

    #[test]
    fn unknown_keys_are_skipped() {
        let mut bytes = bare().encode().unwrap();
        bytes[0] += 1;
        bytes.extend_from_slice(b"\x18\x63");
        // A reader must not recurse into what it skips.
        bytes.extend_from_slice(&[0x81; 100_000]);
        bytes.push(0x00);
        assert_eq!(Snapshot::decode(&bytes).unwrap(), bare());
        bytes.push(0x00);
        assert!(matches!(Snapshot::decode(&bytes), Err(SnapshotError::Malformed(_))));
    }

    #[test]
    fn invalid_records_are_neither_written_nor_read() {
        let named = |instance: &str| Snapshot { instance: instance.into(), ..bare() };
        let rooted = |names: &[&str]| {
            let roots = names.iter().map(|name| Root { name: (*name).into(), path: vec![] });
            Snapshot { roots: roots.collect(), ..bare() }
        };
        let received = |change: fn(&mut Receipt)| {
            let mut snapshot = snapshot();
            change(snapshot.receipt.as_mut().unwrap());
            snapshot
        };
        let cases = [
            ("\"\" cannot name an instance", named("")),
            ("\"xxx", named(&"x".repeat(256))),
            ("\"a\\nb\" cannot name an instance", named("a\nb")),
            ("the snapshot has no root", rooted(&[])),
            ("two roots have the name \"a\"", rooted(&["a", "b", "a"])),
            ("\"\" cannot name a root", rooted(&[""])),
            ("\"..\" cannot name a root", rooted(&[".."])),
            ("\"a/b\" cannot name a root", rooted(&["a/b"])),
            ("\"a\\0\" cannot name a root", rooted(&["a\0"])),
            ("the snapshot counts 0 problems, but names 1", Snapshot { problem_count: 0, ..snapshot() }),
            ("the snapshot claims", Snapshot { receipt: None, ..snapshot() }),
            ("the snapshot claims", received(|receipt| receipt.violations = snapshot().problems)),
            ("the snapshot's time \"started\"", Snapshot { started: NEVER, ..bare() }),
            ("the snapshot's time \"taken\"", Snapshot { taken: NEVER, ..bare() }),
            ("the snapshot's time \"finished\"", Snapshot { finished: NEVER, ..bare() }),
            ("the snapshot's time \"protected until\"", Snapshot { protected_until: Some(NEVER), ..bare() }),
            ("the snapshot's time \"thawed\"", received(|receipt| receipt.thawed = NEVER)),
        ];
        for (expected, snapshot) in cases {
            let written = snapshot.encode().unwrap_err().to_string();
            assert!(written.starts_with(expected), "{expected}: {written}");
            let read = Snapshot::decode(&minicbor::to_vec(&snapshot).unwrap()).unwrap_err().to_string();
            assert_eq!(read, written);
        }
    }

    const NEVER: Timestamp = Timestamp { seconds: 0, nanos: 1_000_000_000 };

    #[test]
    fn what_is_not_application_consistent_may_have_violations() {
        let mut snapshot = Snapshot { verdict: Verdict::Fuzzy, ..snapshot() };
        let receipt = snapshot.receipt.as_mut().unwrap();
        receipt.violations = snapshot.problems.clone();
        receipt.thawed_by = ThawedBy::Guardian;
        receipt.predicted_ms = None;
        assert_eq!(Snapshot::decode(&snapshot.encode().unwrap()).unwrap(), snapshot);
    }

    fn times() -> impl Strategy<Value = Timestamp> {
        (any::<i64>(), 0..1_000_000_000u32).prop_map(|(seconds, nanos)| Timestamp { seconds, nanos })
    }

    fn problems() -> impl Strategy<Value = Vec<Problem>> {
        use ProblemKind::*;
        let kinds = select(&[Unreadable, Changed, Vanished, Unsupported][..]);
        let problem = (any::<Vec<u8>>(), kinds, any::<String>());
        vec(problem.prop_map(|(path, kind, message)| Problem { path, kind, message }), 0..4)
    }

    fn receipts() -> impl Strategy<Value = Receipt> {
        let by = select(&[ThawedBy::Engine, ThawedBy::Guardian, ThawedBy::Recovery][..]);
        let counts = (any::<[u64; 3]>(), any::<Option<u64>>(), any::<Option<String>>());
        (any::<[String; 2]>(), [times(), times(), times(), times()], counts, by, problems()).prop_map(
            |(
                [freezer, capture],
                [requested, frozen, listed, thawed],
                (counts, predicted_ms, awake),
                thawed_by,
                violations,
            )| {
                let [window_ms, hot_files, hot_bytes] = counts;
                Receipt {
                    freezer,
                    requested,
                    frozen,
                    listed,
                    thawed,
                    window_ms,
                    predicted_ms,
                    hot_files,
                    hot_bytes,
                    capture,
                    thawed_by,
                    violations,
                    awake,
                }
            },
        )
    }

    fn snapshots() -> impl Strategy<Value = Snapshot> {
        let names = (any::<[String; 3]>(), vec(any::<String>(), 0..3), vec(any::<String>(), 0..3));
        let roots = btree_map("[a-z]{1,8}", any::<Vec<u8>>(), 1..4);
        let owners = (btree_map(any::<u32>(), any::<String>(), 0..4), btree_map(any::<u32>(), any::<String>(), 0..4));
        let ids = (any::<[u8; 20]>(), any::<(u8, u64)>(), any::<Option<[u8; 32]>>());
        let instant = ([times(), times(), times()], option::of(times()));
        let verdict = select(&[Verdict::Crash, Verdict::Stable, Verdict::Fuzzy][..]);
        let rest = (verdict, option::of(receipts()), problems(), any::<u32>(), any::<[u64; 4]>());
        (names, roots, owners, ids, instant, rest).prop_map(|(names, roots, owners, ids, instant, rest)| {
            let ([host, user, program], tags, excludes) = names;
            let (users, groups) = owners;
            let (id, (height, entries), parent) = ids;
            let ([started, taken, finished], protected_until) = instant;
            let (verdict, receipt, problems, more, [files, bytes, chunks_new, entries_removed]) = rest;
            Snapshot {
                instance: "series".into(),
                host,
                user,
                program,
                tags,
                roots: roots.into_iter().map(|(name, path)| Root { name, path }).collect(),
                started,
                taken,
                finished,
                manifest: manifest::Root { id: ChunkId::from_bytes(id), height, entries },
                parent: parent.map(SnapshotId::from_bytes),
                users,
                groups,
                totals: Totals { files, bytes, chunks_new, entries_removed, ..Totals::default() },
                verdict,
                receipt,
                problem_count: problems.len() as u64 + u64::from(more),
                problems,
                excludes,
                protected_until,
                corrects: parent.map(SnapshotId::from_bytes),
                origin: parent.map(|id| Origin {
                    repository: RepositoryId::from_bytes(id),
                    snapshot: SnapshotId::from_bytes(id),
                }),
            }
        })
    }

    proptest! {
        #[test]
        fn round_trip(snapshot in snapshots()) {
            let bytes = snapshot.encode().unwrap();
            prop_assert_eq!(Snapshot::decode(&bytes).unwrap(), snapshot);
        }

        #[test]
        fn any_truncation_is_noticed(snapshot in snapshots(), len: prop::sample::Index) {
            let bytes = snapshot.encode().unwrap();
            prop_assert!(Snapshot::decode(&bytes[..len.index(bytes.len())]).is_err());
        }

        #[test]
        fn damaged_bytes_never_panic(
            snapshot in snapshots(),
            changes in vec(any::<(prop::sample::Index, u8)>(), 0..4),
        ) {
            let mut bytes = snapshot.encode().unwrap();
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Ok(snapshot) = Snapshot::decode(&bytes) {
                prop_assert!(snapshot.encode().is_ok());
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = Snapshot::decode(&bytes);
        }
    }
}
