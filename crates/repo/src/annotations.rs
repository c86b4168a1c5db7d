//! What was said of snapshots after they were taken: read through the index, applied to the catalogue.

use std::collections::{HashMap, HashSet};

use icecore_format::annotation::{Annotation, Proof};
use icecore_format::entry::Timestamp;
use icecore_format::id::{AnnotationId, SnapshotId};

use crate::catalogue::Catalogue;
use crate::error::{Error, Result};
use crate::index::Index;
use crate::repository::Repository;
use crate::{layout, objects};

/// What annotations say of a snapshot, but for its tags.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notes {
    /// When the last was made.
    pub latest: Option<Timestamp>,
    /// What came of the last attempt to use it, and the host of that.
    pub proof: Option<(Proof, String)>,
}

/// The annotations of a repository.
#[derive(Debug, Default)]
pub struct Annotations {
    /// In the order in which they count.
    all: Vec<(AnnotationId, Annotation)>,
    /// Those that cannot be read, a sentence each.
    pub damaged: Vec<String>,
}

impl Annotations {
    /// Lists the store; annotations that were opened before come from the index.
    pub fn load(repository: &Repository, index: &Index) -> Result<Self> {
        // What is known now was durable before the listing begins: if it is not listed, it is gone.
        let mut cached: HashMap<AnnotationId, Vec<u8>> = index.cached_annotations()?.into_iter().collect();
        let mut annotations = Self::default();
        let mut present = Vec::new();
        repository.store().list(layout::ANNOTATIONS, &mut |listed| {
            match layout::id_of::<AnnotationId>(&listed.key) {
                Some(id) => present.push(id),
                None => annotations.damaged.push(format!("{} is not an annotation", listed.key)),
            }
            Ok(())
        })?;
        let mut opened = Vec::new();
        for id in present {
            if let Some(annotation) = cached.remove(&id).and_then(|plain| Annotation::decode(&plain).ok()) {
                annotations.all.push((id, annotation));
                continue;
            }
            match read(repository, &id) {
                Ok((annotation, plain)) => {
                    opened.push((id, plain));
                    annotations.all.push((id, annotation));
                }
                Err(Error::Store(error)) if error.kind == icecore_store::ErrorKind::NotFound => {}
                Err(error @ Error::Damaged { .. }) => annotations.damaged.push(error.to_string()),
                Err(error) => return Err(error),
            }
        }
        let gone: Vec<_> = cached.into_keys().collect();
        if !opened.is_empty() || !gone.is_empty() {
            index.cache_annotations(&opened, &gone)?;
        }
        annotations.sort();
        Ok(annotations)
    }

    /// Those of records that were opened before; what cannot be read is left out.
    pub(crate) fn of_records(records: Vec<(AnnotationId, Vec<u8>)>) -> Self {
        let read = |(id, plain): (AnnotationId, Vec<u8>)| Some((id, Annotation::decode(&plain).ok()?));
        let mut annotations = Self { all: records.into_iter().filter_map(read).collect(), damaged: Vec::new() };
        annotations.sort();
        annotations
    }

    fn sort(&mut self) {
        self.all.sort_by_key(|(id, annotation)| (annotation.at, *id));
    }

    /// Gives the snapshots of a catalogue the tags that they have now, and their notes.
    pub fn apply(&self, catalogue: &mut Catalogue) {
        let places: HashMap<SnapshotId, usize> =
            catalogue.snapshots.iter().enumerate().map(|(place, stored)| (stored.id, place)).collect();
        for (_, annotation) in &self.all {
            let Some(stored) = places.get(&annotation.snapshot).and_then(|place| catalogue.snapshots.get_mut(*place))
            else {
                continue;
            };
            if let Some(change) = &annotation.tags {
                change.apply(&mut stored.snapshot.tags);
            }
            if let Some(proof) = &annotation.proof {
                stored.notes.proof = Some((proof.clone(), annotation.host.clone()));
            }
            stored.notes.latest = Some(annotation.at);
        }
        catalogue.unclear.extend(self.damaged.iter().cloned());
    }

    /// Changes the tags of a snapshot's record to those that it has now.
    pub(crate) fn tag(&self, snapshot: &SnapshotId, tags: &mut Vec<String>) {
        self.of(snapshot).filter_map(|annotation| annotation.tags.as_ref()).for_each(|change| change.apply(tags));
    }

    /// Those of a snapshot, in the order in which they count.
    pub(crate) fn of(&self, snapshot: &SnapshotId) -> impl Iterator<Item = &Annotation> {
        self.all.iter().map(|(_, annotation)| annotation).filter(move |annotation| annotation.snapshot == *snapshot)
    }

    /// Annotations of snapshots that are gone. These have to be loaded before the catalogue: then a snapshot that the
    /// catalogue lacks, and that was there when its annotation was put, was forgotten. Nothing is told of a catalogue with damage.
    pub(crate) fn stale(&self, catalogue: &Catalogue) -> Vec<AnnotationId> {
        if !catalogue.damaged.is_empty() {
            return Vec::new();
        }
        let present: HashSet<SnapshotId> = catalogue.snapshots.iter().map(|stored| stored.id).collect();
        let gone = self.all.iter().filter(|(_, annotation)| !present.contains(&annotation.snapshot));
        gone.map(|(id, _)| *id).collect()
    }
}

/// Puts an annotation of a snapshot, which must have been committed; durable on return.
pub fn put(repository: &Repository, annotation: &Annotation) -> Result<AnnotationId> {
    annotation.check().map_err(|error| Error::Refused(error.to_string()))?;
    objects::put_annotation(repository, &annotation.encode())
}

/// Reads an annotation from the store, verified.
pub(crate) fn read(repository: &Repository, id: &AnnotationId) -> Result<(Annotation, Vec<u8>)> {
    let plain = objects::get_annotation(repository, id)?;
    let annotation = Annotation::decode(&plain)
        .map_err(|error| Error::Damaged { object: layout::annotation(id).to_string(), reason: error.to_string() })?;
    Ok((annotation, plain))
}

#[cfg(test)]
mod tests;
