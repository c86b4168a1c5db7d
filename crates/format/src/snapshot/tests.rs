//! Records byte for byte, and what is refused.

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
        exclude_caches: false,
        one_file_system: false,
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
fn what_the_rules_left_out_is_golden() {
    let rules = Snapshot { exclude_caches: true, one_file_system: true, ..bare() };
    assert_eq!(hex(&rules), format!("ae{}16f517f5", &hex(&bare())[2..]));
    assert_eq!(Snapshot::decode(&rules.encode().unwrap()).unwrap(), rules);
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
            origin: parent
                .map(|id| Origin { repository: RepositoryId::from_bytes(id), snapshot: SnapshotId::from_bytes(id) }),
            exclude_caches: height > 1,
            one_file_system: height % 2 == 1,
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
