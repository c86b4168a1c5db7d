//! A store in memory, for tests and demonstrations. It keeps the contract of [`Store`] but for durability.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::error::{Error, Operation, Result};
use crate::key::{Key, check_directory};
use crate::{Listed, Put, Store};

type Objects = BTreeMap<Key, Arc<[u8]>>;

/// Objects in a map.
#[derive(Debug, Default)]
pub struct MemoryStore {
    objects: RwLock<Objects>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    // Every change of the map is one insert or remove, so a panic elsewhere cannot leave it half changed.
    fn read(&self) -> RwLockReadGuard<'_, Objects> {
        self.objects.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Objects> {
        self.objects.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn object(&self, key: &Key) -> Result<Arc<[u8]>> {
        let found = self.read().get(key).cloned();
        found.ok_or_else(|| self.error(Operation::Get, key.as_str(), io::ErrorKind::NotFound.into()))
    }

    fn error(&self, operation: Operation, object: &str, source: io::Error) -> Error {
        Error::new(operation, object, self.location(), source)
    }
}

/// The keys of `objects` below `directory`, in order.
fn below<'o>(objects: &'o Objects, directory: &'o str) -> impl Iterator<Item = (&'o Key, &'o Arc<[u8]>)> {
    objects.iter().filter(move |(key, _)| key.is_below(directory))
}

/// Whether `key` would be the directory of another object, or has an object as directory.
fn collides(objects: &Objects, key: &Key) -> bool {
    below(objects, key.as_str()).next().is_some() || objects.keys().any(|other| key.is_below(other.as_str()))
}

impl Store for MemoryStore {
    fn put(&self, key: &Key, parts: &[&[u8]]) -> Result<Put> {
        let bytes = parts.concat().into();
        let mut objects = self.write();
        if objects.contains_key(key) {
            return Ok(Put::Existed);
        }
        if collides(&objects, key) {
            return Err(self.error(Operation::Put, key.as_str(), io::ErrorKind::IsADirectory.into()));
        }
        objects.insert(key.clone(), bytes);
        Ok(Put::Created)
    }

    fn get(&self, key: &Key) -> Result<Vec<u8>> {
        Ok(self.object(key)?.to_vec())
    }

    fn get_range(&self, key: &Key, range: Range<u64>, buffer: &mut Vec<u8>) -> Result<()> {
        buffer.clear();
        let object = self.object(key)?;
        let bounds = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok());
        let part = bounds.and_then(|(start, end)| object.get(start..end));
        let part = part.ok_or_else(|| self.error(Operation::Get, key.as_str(), io::ErrorKind::UnexpectedEof.into()))?;
        buffer.extend_from_slice(part);
        Ok(())
    }

    fn size(&self, key: &Key) -> Result<Option<u64>> {
        Ok(self.read().get(key).map(|bytes| bytes.len() as u64))
    }

    fn list(&self, directory: &str, each: &mut dyn FnMut(Listed) -> Result<()>) -> Result<()> {
        check_directory(directory).map_err(|e| self.error(Operation::List, directory, io::Error::other(e)))?;
        // Collected first, because `each` may call the store.
        let listed: Vec<_> = below(&self.read(), directory)
            .map(|(key, bytes)| Listed { key: key.clone(), size: bytes.len() as u64 })
            .collect();
        listed.into_iter().try_for_each(each)
    }

    fn delete(&self, key: &Key) -> Result<()> {
        self.write().remove(key);
        Ok(())
    }

    fn location(&self) -> String {
        "memory".to_owned()
    }
}
