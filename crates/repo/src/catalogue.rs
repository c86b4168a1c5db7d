//! The snapshots of a repository.

use std::collections::HashMap;

use icecore_format::id::SnapshotId;
use icecore_format::snapshot::Snapshot;

use crate::annotations::Notes;
use crate::error::{Error, Result};
use crate::index::Index;
use crate::layout;
use crate::objects;
use crate::repository::Repository;

/// A committed snapshot.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Its name.
    pub id: SnapshotId,
    /// Its record; with the tags that annotations give it, where those were applied.
    pub snapshot: Snapshot,
    /// What else annotations say.
    pub notes: Notes,
}

/// Every snapshot, the oldest first.
#[derive(Debug, Default)]
pub struct Catalogue {
    /// Snapshots whose records could be read.
    pub snapshots: Vec<Stored>,
    /// Objects among them that could not, a sentence each.
    pub damaged: Vec<String>,
    /// Annotations that could not be read, a sentence each: tags may be missing.
    pub unclear: Vec<String>,
}

impl Catalogue {
    /// Lists the store; records that were opened before come from the index.
    ///
    /// # Errors
    /// [`Error::WriteOnly`] if this key cannot open what was not.
    pub fn load(repository: &Repository, index: &Index) -> Result<Self> {
        match Self::gather(repository, index)? {
            (_, closed) if closed > 0 => Err(Error::WriteOnly),
            (catalogue, _) => Ok(catalogue),
        }
    }

    /// The same as far as this key lets it be known: who can only write knows what this host has committed or opened
    /// before, and that is enough to back up.
    pub fn known(repository: &Repository, index: &Index) -> Result<Self> {
        Ok(Self::gather(repository, index)?.0)
    }

    /// Also how many records this key cannot open.
    fn gather(repository: &Repository, index: &Index) -> Result<(Self, u64)> {
        // What is known now was durable before the listing begins: if it is not listed, it is gone. What is listed stays known,
        // also when it is damaged in the store.
        let mut cached: HashMap<_, _> = index.cached_snapshots()?.into_iter().collect();
        let mut present = Vec::new();
        let mut catalogue = Self::default();
        repository.store().list(layout::SNAPSHOTS, &mut |listed| {
            match layout::id_of::<SnapshotId>(&listed.key) {
                Some(id) => present.push(id),
                None => catalogue.damaged.push(format!("{} is not a snapshot record", listed.key)),
            }
            Ok(())
        })?;
        let (mut opened, mut closed) = (Vec::new(), 0);
        for id in present {
            let known = cached.remove(&id).and_then(|record| Snapshot::decode(&record).ok());
            let snapshot = match known {
                Some(snapshot) => snapshot,
                None => match read(repository, &id) {
                    Ok((snapshot, record)) => {
                        opened.push((id, record));
                        snapshot
                    }
                    Err(Error::Store(error)) if error.kind == icecore_store::ErrorKind::NotFound => continue,
                    Err(error @ Error::Damaged { .. }) => {
                        catalogue.damaged.push(error.to_string());
                        continue;
                    }
                    Err(Error::WriteOnly) => {
                        closed += 1;
                        continue;
                    }
                    Err(error) => return Err(error),
                },
            };
            catalogue.snapshots.push(Stored { id, snapshot, notes: Notes::default() });
        }
        let gone: Vec<_> = cached.into_keys().collect();
        if !opened.is_empty() || !gone.is_empty() {
            index.cache_snapshots(&opened, &gone)?;
        }
        // What a repair could save of a snapshot stands before it: the original may become whole again, and is what
        // people mean.
        catalogue
            .snapshots
            .sort_by_key(|stored| (stored.snapshot.taken, stored.snapshot.corrects.is_none(), stored.id));
        Ok((catalogue, closed))
    }

    /// The newest snapshot of a series on a host.
    pub fn newest(&self, instance: &str, host: &str) -> Option<&Stored> {
        let mut newest_first = self.snapshots.iter().rev();
        newest_first.find(|stored| stored.snapshot.instance == instance && stored.snapshot.host == host)
    }
}

/// Removes a snapshot: from now on nothing needs what only it held.
pub fn forget(repository: &Repository, id: &SnapshotId) -> Result<()> {
    // Only who can read may judge what is needed.
    repository.open_key()?;
    Ok(repository.store().delete(&layout::snapshot(id))?)
}

/// Reads a record from the store, verified.
pub(crate) fn read(repository: &Repository, id: &SnapshotId) -> Result<(Snapshot, Vec<u8>)> {
    let record = objects::get_snapshot(repository, id)?;
    let snapshot = Snapshot::decode(&record)
        .map_err(|error| Error::Damaged { object: layout::snapshot(id).to_string(), reason: error.to_string() })?;
    Ok((snapshot, record))
}
