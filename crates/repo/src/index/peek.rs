//! A look at an index that makes nothing, changes nothing and waits for nobody.

use std::fs;
use std::path::Path;
use std::time::Duration;

use icecore_format::id::{AnnotationId, RepositoryId, SnapshotId};
use rusqlite::{Connection, OpenFlags};

use super::id;

/// Records that an index keeps, opened.
#[derive(Debug, Default)]
pub(crate) struct Records {
    pub snapshots: Vec<(SnapshotId, Vec<u8>)>,
    pub annotations: Vec<(AnnotationId, Vec<u8>)>,
}

/// The records in the index of a repository below `state`; none of one that is absent, damaged or in use in a way that cannot
/// be looked at.
pub(crate) fn records(state: &Path, repository: RepositoryId) -> Records {
    let path = state.join(repository.to_string()).join("index.sqlite");
    read(&path).unwrap_or_default()
}

fn read(path: &Path) -> rusqlite::Result<Records> {
    let beside = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        fs::metadata(name).is_ok_and(|found| found.len() > 0)
    };
    // With its log somebody has it open, and the two files beside it are read as they are. Without, SQLite would make them.
    let is_open = beside("-wal") && beside("-shm");
    let uri = format!("file:{}{}", escaped(path), if is_open { "" } else { "?immutable=1" });
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(uri, flags)?;
    connection.busy_timeout(Duration::ZERO)?;
    Ok(Records {
        snapshots: rows(&connection, "snapshots", SnapshotId::from_slice)?,
        annotations: rows(&connection, "annotations", AnnotationId::from_slice)?,
    })
}

fn rows<T>(connection: &Connection, table: &str, read: fn(&[u8]) -> Option<T>) -> rusqlite::Result<Vec<(T, Vec<u8>)>> {
    let mut statement = connection.prepare(&format!("SELECT id, record FROM {table}"))?;
    statement.query_map([], |row| Ok((id(row, 0, read)?, row.get(1)?)))?.collect()
}

/// A path in a URI.
fn escaped(path: &Path) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte);
    let escape = |byte: &u8| if is_plain(*byte) { char::from(*byte).to_string() } else { format!("%{byte:02X}") };
    path.as_os_str().as_encoded_bytes().iter().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::Index;

    #[test]
    fn it_sees_what_was_written_and_leaves_no_trace() {
        let base = tempfile::tempdir().unwrap();
        let state = base.path().join("a ?#% place");
        let repository = RepositoryId::from_bytes([7; 32]);
        let directory = state.join(repository.to_string());
        let names = || {
            let mut names: Vec<_> = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        assert!(records(&state, repository).snapshots.is_empty() && !state.exists());
        let add = |index: &Index, number: u8| {
            index.cache_snapshots(&[(SnapshotId::from_bytes([number; 32]), vec![number])], &[]).unwrap();
        };
        let seen = || {
            let mut seen: Vec<_> =
                records(&state, repository).snapshots.into_iter().map(|(_, record)| record).collect();
            seen.sort();
            seen
        };
        let index = Index::open(&state, repository).unwrap();
        add(&index, 1);
        // Somebody has it open, and writes at this moment.
        let writes = index.write(|transaction| {
            transaction.execute("DELETE FROM snapshots", [])?;
            Ok(seen())
        });
        assert_eq!(writes.unwrap(), [[1]]);
        add(&index, 2);
        assert_eq!(seen(), [[2]]);
        drop(index);
        let before = names();
        assert_eq!(seen(), [[2]]);
        assert_eq!(names(), before);
        fs::write(directory.join("index.sqlite"), "no index").unwrap();
        assert!(seen().is_empty());
    }
}
