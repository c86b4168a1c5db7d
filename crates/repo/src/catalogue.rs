//! The snapshots of a repository.

use std::collections::HashMap;
use std::path::Path;

use icecore_format::entry::Timestamp;
use icecore_format::id::SnapshotId;
use icecore_format::snapshot::Snapshot;
use icecore_store::Store;

use crate::annotations::{Annotations, Notes};
use crate::error::{Error, Result};
use crate::index::Index;
use crate::index::peek::{self, Records};
use crate::layout;
use crate::objects;
use crate::repository::{Repository, read_config};

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
        catalogue.snapshots.sort_by_key(order);
        Ok((catalogue, closed))
    }

    /// The newest snapshot of a series on a host.
    pub fn newest(&self, instance: &str, host: &str) -> Option<&Stored> {
        let mut newest_first = self.snapshots.iter().rev();
        newest_first.find(|stored| stored.snapshot.instance == instance && stored.snapshot.host == host)
    }
}

/// What this host remembers of the snapshots of a repository.
#[derive(Debug, Default)]
pub struct Remembered {
    /// Those that its index has, with their tags, the oldest first.
    pub snapshots: Vec<Stored>,
    /// Others, of which it knows the names only.
    pub others: Vec<SnapshotId>,
}

impl Remembered {
    /// Looks at the names of the records in the store and at the index below `state`. Needs no key, changes nothing, and waits for
    /// nobody.
    ///
    /// # Errors
    /// A store that cannot be listed, or holds no repository.
    pub fn load(store: &dyn Store, state: &Path) -> Result<Self> {
        let Records { snapshots, annotations } = peek::records(state, read_config(store)?.repository());
        let mut known: HashMap<SnapshotId, Vec<u8>> = snapshots.into_iter().collect();
        let mut remembered = Self::default();
        store.list(layout::SNAPSHOTS, &mut |listed| {
            let Some(id) = layout::id_of::<SnapshotId>(&listed.key) else { return Ok(()) };
            match known.remove(&id).and_then(|record| Snapshot::decode(&record).ok()) {
                Some(snapshot) => remembered.snapshots.push(Stored { id, snapshot, notes: Notes::default() }),
                None => remembered.others.push(id),
            }
            Ok(())
        })?;
        remembered.snapshots.sort_by_key(order);
        let mut catalogue = Catalogue { snapshots: remembered.snapshots, ..Catalogue::default() };
        Annotations::of_records(annotations).apply(&mut catalogue);
        Ok(Self { snapshots: catalogue.snapshots, ..remembered })
    }
}

/// What a repair could save of a snapshot stands before it: the original may become whole again, and is what people mean.
fn order(stored: &Stored) -> (Timestamp, bool, SnapshotId) {
    (stored.snapshot.taken, stored.snapshot.corrects.is_none(), stored.id)
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
