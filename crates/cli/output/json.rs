//! The records as programs read them. Times are RFC 3339 in UTC, sizes bytes, ids 64 digits.

use icecore_engine::annotation::{Proof, ProofVerdict};
use icecore_engine::entry::{Entry, Node, Timestamp};
use icecore_engine::id::SnapshotId;
use icecore_engine::snapshot::{Origin, Problem, ProblemKind, Receipt, Snapshot, ThawedBy, Totals, Verdict};
use icecore_engine::{Notes, Stored};
use serde_json::{Map, Value, json};

use crate::exit::Sorted;
use crate::repository::Created;
use crate::time;

/// The version of all JSON documents. Fields may be added under the same version; none changes or goes.
pub const VERSION: u32 = 1;

/// A time; `null` beyond the years that RFC 3339 can say.
pub fn time(time: Timestamp) -> Value {
    time::rfc3339(time).into()
}

/// Sets `KEY` to the path as text and, where that is not exact, `KEY_hex` to its bytes.
pub fn put_path(object: &mut Map<String, Value>, key: &str, path: &[u8]) {
    object.insert(key.to_owned(), String::from_utf8_lossy(path).into());
    if std::str::from_utf8(path).is_err() {
        let hex: String = path.iter().map(|byte| format!("{byte:02x}")).collect();
        object.insert(format!("{key}_hex"), hex.into());
    }
}

/// An error.
pub fn error(sorted: &Sorted) -> Value {
    json!({ "error": { "message": sorted.message, "hint": sorted.hint, "code": sorted.code as u8 } })
}

/// A repository that was just made.
pub fn created(created: &Created) -> Value {
    json!({
        "repository": created.place.to_string_lossy(),
        "id": created.id.to_string(),
        "password_file": created.password_file.as_ref().map(|file| file.to_string_lossy()),
    })
}

/// What a list says of a snapshot.
pub fn stored(stored: &Stored) -> Map<String, Value> {
    let mut object = snapshot(&stored.id, &stored.snapshot);
    object.insert("proof".to_owned(), proof(&stored.notes));
    object
}

/// What came of the last attempt to use a snapshot; `null` if there was none.
pub fn proof(notes: &Notes) -> Value {
    notes.proof.as_ref().map_or(Value::Null, |(proof, host)| {
        json!({
            "began": time(proof.began),
            "verdict": proof_verdict(proof.verdict),
            "result": proof_result(proof),
            "seconds": proof.seconds,
            "test_seconds": proof.test_seconds,
            "host": host,
            "message": proof.message,
        })
    })
}

/// The word for what came of it.
pub fn proof_verdict(verdict: ProofVerdict) -> &'static str {
    match verdict {
        ProofVerdict::Ok => "ok",
        ProofVerdict::Failed => "failed",
    }
}

/// What a snapshot was worth: whether it was tested, too.
pub fn proof_result(proof: &Proof) -> &'static str {
    match (proof.verdict, proof.test_seconds) {
        (ProofVerdict::Failed, _) => "failed",
        (ProofVerdict::Ok, Some(_)) => "verified",
        (ProofVerdict::Ok, None) => "restored",
    }
}

/// What a list says of a snapshot.
pub fn snapshot(id: &SnapshotId, snapshot: &Snapshot) -> Map<String, Value> {
    let mut object = Map::new();
    let roots = snapshot.roots.iter().map(|root| {
        let mut object = Map::new();
        object.insert("name".to_owned(), root.name.clone().into());
        put_path(&mut object, "path", &root.path);
        Value::Object(object)
    });
    let fields = [
        ("id", id.to_string().into()),
        ("instance", snapshot.instance.clone().into()),
        ("host", snapshot.host.clone().into()),
        ("user", snapshot.user.clone().into()),
        ("program", snapshot.program.clone().into()),
        ("tags", snapshot.tags.clone().into()),
        ("roots", roots.collect()),
        ("started", time(snapshot.started)),
        ("taken", time(snapshot.taken)),
        ("finished", time(snapshot.finished)),
        ("parent", snapshot.parent.map(|parent| parent.to_string()).into()),
        ("verdict", verdict(snapshot.verdict).into()),
        ("window_ms", snapshot.receipt.as_ref().map(|receipt| receipt.window_ms).into()),
        ("totals", totals(&snapshot.totals)),
        ("problem_count", snapshot.problem_count.into()),
    ];
    object.extend(fields.map(|(name, value)| (name.to_owned(), value)));
    object
}

/// Everything that is recorded of a snapshot.
pub fn full(id: &SnapshotId, record: &Snapshot) -> Map<String, Value> {
    let mut object = snapshot(id, record);
    let names = |names: &std::collections::BTreeMap<u32, String>| -> Map<String, Value> {
        names.iter().map(|(number, name)| (number.to_string(), name.clone().into())).collect()
    };
    let fields = [
        ("manifest", record.manifest.id.to_string().into()),
        ("users", names(&record.users).into()),
        ("groups", names(&record.groups).into()),
        ("receipt", record.receipt.as_ref().map(receipt).into()),
        ("problems", problems(&record.problems)),
        ("excludes", record.excludes.clone().into()),
        ("protected_until", record.protected_until.map(time).into()),
        ("corrects", record.corrects.map(|id| id.to_string()).into()),
        ("origin", record.origin.map(origin).into()),
        ("exclude_caches", record.exclude_caches.into()),
        ("one_file_system", record.one_file_system.into()),
    ];
    object.extend(fields.map(|(name, value)| (name.to_owned(), value)));
    object
}

fn origin(origin: Origin) -> Value {
    json!({ "repository": origin.repository.to_string(), "snapshot": origin.snapshot.to_string() })
}

/// Problems by path.
pub fn problems(problems: &[Problem]) -> Value {
    let one = |problem: &Problem| {
        let mut object = Map::new();
        put_path(&mut object, "path", &problem.path);
        object.insert("kind".to_owned(), problem_kind(problem.kind).into());
        object.insert("message".to_owned(), problem.message.clone().into());
        Value::Object(object)
    };
    problems.iter().map(one).collect()
}

fn totals(totals: &Totals) -> Value {
    json!({
        "entries": totals.entries,
        "files": totals.files,
        "directories": totals.directories,
        "others": totals.others,
        "bytes": totals.bytes,
        "files_new": totals.files_new,
        "files_changed": totals.files_changed,
        "files_unchanged": totals.files_unchanged,
        "files_renamed": totals.files_renamed,
        "entries_removed": totals.entries_removed,
        "bytes_read": totals.bytes_read,
        "chunks_new": totals.chunks_new,
        "bytes_new": totals.bytes_new,
        "bytes_added": totals.bytes_added,
    })
}

fn receipt(receipt: &Receipt) -> Value {
    json!({
        "freezer": receipt.freezer,
        "requested": time(receipt.requested),
        "frozen": time(receipt.frozen),
        "listed": time(receipt.listed),
        "thawed": time(receipt.thawed),
        "window_ms": receipt.window_ms,
        "predicted_ms": receipt.predicted_ms,
        "hot_files": receipt.hot_files,
        "hot_bytes": receipt.hot_bytes,
        "capture": receipt.capture,
        "thawed_by": thawed_by(receipt.thawed_by),
        "violations": problems(&receipt.violations),
        "awake": receipt.awake,
    })
}

/// What every entry has, wherever it stands. `owners` are permissions, user and group.
pub fn entry_head(
    path: &[u8],
    kind: &str,
    (mode, uid, gid): (u32, u32, u32),
    mtime: Timestamp,
    links: u32,
    size: Option<u64>,
) -> Map<String, Value> {
    let mut object = Map::new();
    put_path(&mut object, "path", path);
    let fields = [
        ("kind", kind.into()),
        ("mode", format!("{mode:04o}").into()),
        ("uid", uid.into()),
        ("gid", gid.into()),
        ("mtime", time(mtime)),
        ("links", links.into()),
    ];
    object.extend(fields.map(|(name, value)| (name.to_owned(), value)));
    if let Some(size) = size {
        object.insert("size".to_owned(), size.into());
    }
    object
}

/// One entry of a snapshot.
pub fn entry(entry: &Entry) -> Map<String, Value> {
    let meta = &entry.meta;
    let size = match &entry.node {
        Node::File(file) => Some(file.size),
        _ => None,
    };
    let owners = (meta.mode, meta.uid, meta.gid);
    let mut object = entry_head(&entry.path, kind(&entry.node), owners, meta.mtime, meta.links, size);
    match &entry.node {
        Node::Symlink { target } => put_path(&mut object, "target", target),
        Node::CharDevice { major, minor } | Node::BlockDevice { major, minor } => {
            object.insert("device".to_owned(), json!([major, minor]));
        }
        Node::File(_) | Node::Directory | Node::Fifo | Node::Socket => {}
    }
    if let Some(first) = &entry.link_of {
        put_path(&mut object, "link_of", first);
    }
    object
}

fn kind(node: &Node) -> &'static str {
    match node {
        Node::Directory => "directory",
        Node::File(_) => "file",
        Node::Symlink { .. } => "symlink",
        Node::Fifo => "fifo",
        Node::Socket => "socket",
        Node::CharDevice { .. } => "char-device",
        Node::BlockDevice { .. } => "block-device",
    }
}

/// A verdict's word.
pub fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Application => "application",
        Verdict::Crash => "crash",
        Verdict::Stable => "stable",
        Verdict::Fuzzy => "fuzzy",
    }
}

/// The word for what happened to an entry.
pub fn problem_kind(kind: ProblemKind) -> &'static str {
    match kind {
        ProblemKind::Unreadable => "unreadable",
        ProblemKind::Changed => "changed",
        ProblemKind::Vanished => "vanished",
        ProblemKind::Unsupported => "unsupported",
    }
}

/// The word for who thawed.
pub fn thawed_by(who: ThawedBy) -> &'static str {
    match who {
        ThawedBy::Engine => "engine",
        ThawedBy::Guardian => "guardian",
        ThawedBy::Recovery => "recovery",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_is_no_text_comes_with_its_bytes() {
        let mut object = Map::new();
        put_path(&mut object, "path", "ä\n".as_bytes());
        put_path(&mut object, "target", b"a\xff");
        let expected = json!({ "path": "ä\n", "target": "a\u{fffd}", "target_hex": "61ff" });
        assert_eq!(Value::Object(object), expected);
    }
}
