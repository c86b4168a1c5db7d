//! A record of a snapshot of nothing, for tests that need a part of one.

use icecore_format::entry::Timestamp;
use icecore_format::id::ChunkId;
use icecore_format::manifest;
use icecore_format::snapshot::{Root, Snapshot, Totals, Verdict};

/// A valid record: of an instance, on the host `host`, with the one root `base`, taken at once so many seconds after
/// 1970. Its manifest is one that nobody has stored.
pub fn bare_snapshot(instance: &str, taken: i64) -> Snapshot {
    let time = Timestamp { seconds: taken, nanos: 0 };
    Snapshot {
        instance: instance.to_owned(),
        host: "host".to_owned(),
        user: "user".to_owned(),
        program: "test".to_owned(),
        tags: Vec::new(),
        roots: vec![Root { name: "base".to_owned(), path: b"/base".to_vec() }],
        started: time,
        taken: time,
        finished: time,
        manifest: manifest::Root { id: ChunkId::from_bytes([0; 20]), height: 0, entries: 0 },
        parent: None,
        users: Default::default(),
        groups: Default::default(),
        totals: Totals::default(),
        verdict: Verdict::Stable,
        receipt: None,
        problems: Vec::new(),
        problem_count: 0,
        excludes: Vec::new(),
        protected_until: None,
        corrects: None,
        origin: None,
        exclude_caches: false,
        one_file_system: false,
    }
}
