//! Sealed objects by id. An object's name is the BLAKE3 hash of its bytes, so whoever reads one knows that it is the
//! one that was named, before any key is involved.

use icecore_format::id::{AnnotationId, FragmentId, MarkId, SessionId, SnapshotId};
use icecore_format::seal::{self, Entropy, ObjectKind};
use icecore_store::{Key, Put, Store};

use crate::error::{Error, Result};
use crate::layout;
use crate::repository::Repository;

/// Draws 32 fresh random bytes from the system.
pub fn entropy() -> Result<Entropy> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(Error::Random)?;
    Ok(Entropy(bytes))
}

/// Reads an object and compares its bytes with the hash that is its name.
pub(crate) fn get_verified(store: &dyn Store, key: &Key, hash: &[u8; 32]) -> Result<Vec<u8>> {
    let bytes = store.get(key)?;
    if blake3::hash(&bytes).as_bytes() != hash {
        return Err(Error::Damaged {
            object: key.to_string(),
            reason: format!("its {} bytes do not hash to its name", bytes.len()),
        });
    }
    Ok(bytes)
}

/// Bytes that are read and hashed at a time: few enough to stay in a processor's cache.
const HASHED: u64 = 256 << 10;

/// The hash of an object's first `size` bytes. `buffer` is only room to work in.
pub(crate) fn hash(
    store: &dyn Store,
    key: &Key,
    size: u64,
    buffer: &mut Vec<u8>,
) -> icecore_store::Result<blake3::Hash> {
    let mut hasher = blake3::Hasher::new();
    let mut from = 0;
    while from < size {
        let to = size.min(from + HASHED);
        store.get_range(key, from..to, buffer)?;
        hasher.update(buffer);
        from = to;
    }
    Ok(hasher.finalize())
}

fn seal(repository: &Repository, kind: ObjectKind, plain: &[u8]) -> Result<(Vec<u8>, [u8; 32])> {
    let object = seal::seal_object(&repository.seal_key(), kind, entropy()?, plain);
    let hash = *blake3::hash(&object).as_bytes();
    Ok((object, hash))
}

fn open(repository: &Repository, kind: ObjectKind, key: &Key, hash: &[u8; 32]) -> Result<Vec<u8>> {
    let open_key = repository.open_key()?;
    let object = get_verified(repository.store(), key, hash)?;
    seal::open_object(&open_key, kind, &object)
        .map_err(|error| Error::Damaged { object: key.to_string(), reason: error.to_string() })
}

pub(crate) fn put_fragment(repository: &Repository, plain: &[u8]) -> Result<(FragmentId, u64)> {
    let (object, hash) = seal(repository, ObjectKind::Fragment, plain)?;
    let id = FragmentId::from_bytes(hash);
    let _: Put = repository.store().put(&layout::fragment(&id), &[&object])?;
    Ok((id, object.len() as u64))
}

pub(crate) fn get_fragment(repository: &Repository, id: &FragmentId) -> Result<Vec<u8>> {
    open(repository, ObjectKind::Fragment, &layout::fragment(id), id.as_bytes())
}

pub(crate) fn put_snapshot(repository: &Repository, plain: &[u8]) -> Result<SnapshotId> {
    let (object, hash) = seal(repository, ObjectKind::Snapshot, plain)?;
    let id = SnapshotId::from_bytes(hash);
    let _: Put = repository.store().put(&layout::snapshot(&id), &[&object])?;
    Ok(id)
}

pub(crate) fn get_snapshot(repository: &Repository, id: &SnapshotId) -> Result<Vec<u8>> {
    open(repository, ObjectKind::Snapshot, &layout::snapshot(id), id.as_bytes())
}

/// How many fragments there are, and their bytes.
pub fn fragments(repository: &Repository) -> Result<(u64, u64)> {
    sum(repository, layout::FRAGMENTS)
}

/// How many objects a repair set aside, and their bytes.
pub fn set_aside(repository: &Repository) -> Result<(u64, u64)> {
    sum(repository, layout::DAMAGED)
}

fn sum(repository: &Repository, directory: &str) -> Result<(u64, u64)> {
    let mut sum = (0, 0);
    repository.store().list(directory, &mut |listed| {
        sum = (sum.0 + 1, sum.1 + listed.size);
        Ok(())
    })?;
    Ok(sum)
}

pub(crate) fn put_mark(repository: &Repository, plain: &[u8]) -> Result<MarkId> {
    let (object, hash) = seal(repository, ObjectKind::Mark, plain)?;
    let id = MarkId::from_bytes(hash);
    let _: Put = repository.store().put(&layout::mark(&id), &[&object])?;
    Ok(id)
}

pub(crate) fn get_mark(repository: &Repository, id: &MarkId) -> Result<Vec<u8>> {
    open(repository, ObjectKind::Mark, &layout::mark(id), id.as_bytes())
}

pub(crate) fn put_session(repository: &Repository, plain: &[u8]) -> Result<SessionId> {
    let (object, hash) = seal(repository, ObjectKind::Session, plain)?;
    let id = SessionId::from_bytes(hash);
    let _: Put = repository.store().put(&layout::session(&id), &[&object])?;
    Ok(id)
}

pub(crate) fn get_session(repository: &Repository, id: &SessionId) -> Result<Vec<u8>> {
    open(repository, ObjectKind::Session, &layout::session(id), id.as_bytes())
}

pub(crate) fn put_annotation(repository: &Repository, plain: &[u8]) -> Result<AnnotationId> {
    let (object, hash) = seal(repository, ObjectKind::Annotation, plain)?;
    let id = AnnotationId::from_bytes(hash);
    let _: Put = repository.store().put(&layout::annotation(&id), &[&object])?;
    Ok(id)
}

pub(crate) fn get_annotation(repository: &Repository, id: &AnnotationId) -> Result<Vec<u8>> {
    open(repository, ObjectKind::Annotation, &layout::annotation(id), id.as_bytes())
}
