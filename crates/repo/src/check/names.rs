//! Whether every object is what its name says: that can be told without any key.
//!
//! An object's name is the BLAKE3 hash of its bytes. What a key is needed for stays unknown: whether snapshots find what they
//! name. Missing objects are not found either.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use icecore_format::id::{AnnotationId, FragmentId, MarkId, PackId, SessionId, SlotId, SnapshotId};
use icecore_store::{ErrorKind, Key, Store};

use super::{CheckStep, Watch};
use crate::error::{Error, Result};
use crate::layout;
use crate::objects;
use crate::repository::Repository;

/// An object whose bytes are not what its name says, or that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misnamed {
    /// Its key.
    pub object: String,
    /// What is wrong, a sentence.
    pub message: String,
}

/// What was looked at and found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NamesReport {
    /// Objects that were read.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What is wrong, by key.
    pub misnamed: Vec<Misnamed>,
}

/// Reads every object of a store and compares it with its name, on `threads` threads. The `config` object has no such name.
///
/// # Errors
/// [`Error::NoRepository`]; what keeps the store from being listed; and what `watch` says.
pub fn check_names(store: &dyn Store, threads: usize, watch: Watch<'_>) -> Result<NamesReport> {
    if store.size(&layout::config())?.is_none() {
        let location = store.location();
        let lost = Repository::has_lost_its_config(store)?;
        return Err(if lost { Error::ConfigMissing { location } } else { Error::NoRepository { location } });
    }
    let mut named: Vec<(Key, u64, Option<[u8; 32]>)> = Vec::new();
    let directories = [
        layout::SLOTS,
        layout::FRAGMENTS,
        layout::SNAPSHOTS,
        layout::ANNOTATIONS,
        layout::MARKS,
        layout::SESSIONS,
        layout::PACKS,
    ];
    for directory in directories {
        store.list(directory, &mut |listed| {
            let name = match directory {
                layout::SLOTS => layout::id_of::<SlotId>(&listed.key).map(|id| *id.as_bytes()),
                layout::FRAGMENTS => layout::id_of::<FragmentId>(&listed.key).map(|id| *id.as_bytes()),
                layout::SNAPSHOTS => layout::id_of::<SnapshotId>(&listed.key).map(|id| *id.as_bytes()),
                layout::ANNOTATIONS => layout::id_of::<AnnotationId>(&listed.key).map(|id| *id.as_bytes()),
                layout::MARKS => layout::id_of::<MarkId>(&listed.key).map(|id| *id.as_bytes()),
                layout::SESSIONS => layout::id_of::<SessionId>(&listed.key).map(|id| *id.as_bytes()),
                _ => layout::id_of::<PackId>(&listed.key).map(|id| *id.as_bytes()),
            };
            named.push((listed.key, listed.size, name));
            Ok(())
        })?;
    }
    named.sort();
    let bytes = named.iter().map(|(_, size, _)| size).sum();
    watch(CheckStep::Packs { count: named.len() as u64, bytes })?;
    let (next, misnamed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let run = || -> Result<u64> {
        let (mut buffer, mut read) = (Vec::new(), 0);
        while let Some((key, size, name)) = named.get(next.fetch_add(1, Ordering::Relaxed)) {
            let wrong = match (name, objects::hash(store, key, *size, &mut buffer)) {
                (None, _) => Some("this object has no name that this program gives".to_owned()),
                // Deleted meanwhile, by a prune or a forget.
                (_, Err(error)) if error.kind == ErrorKind::NotFound => None,
                (_, Err(error)) => Some(error.to_string()),
                (Some(name), Ok(hash)) => {
                    read += size;
                    (hash.as_bytes() != name).then(|| "its bytes do not hash to its name".to_owned())
                }
            };
            if let Some(message) = wrong {
                let wrong = Misnamed { object: key.to_string(), message };
                misnamed.lock().unwrap_or_else(PoisonError::into_inner).push(wrong);
            }
            watch(CheckStep::Pack { bytes: *size })?;
        }
        Ok(read)
    };
    let read = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(run)).collect();
        let ends: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
        ends.into_iter().try_fold(0, |sum, end| Ok::<u64, Error>(sum + end.map_err(|_| Error::WorkerPanicked)??))
    })?;
    let mut misnamed = misnamed.into_inner().unwrap_or_else(PoisonError::into_inner);
    misnamed.sort_by(|a, b| a.object.cmp(&b.object));
    Ok(NamesReport { objects: named.len() as u64, bytes: read, misnamed })
}
