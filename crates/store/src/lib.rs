//! Immutable objects by key. A store knows no chunk, no key material and no snapshot.
//!
//! | module | what it holds |
//! |---|---|
//! | [`key`] | names, validated at the door |
//! | [`error`] | operation + object + kind + source |
//! | [`local`] | a directory of this machine |
//! | [`memory`] | a map, for tests and demonstrations |
//!
//! Safe next to each other, from any number of threads, processes and hosts: everything. What an interrupted `put`
//! left behind is removed a day later, never while its process may still run.

pub mod error;
pub mod key;
pub mod local;
pub mod memory;

use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

pub use error::{Error, ErrorKind, Result};
pub use key::Key;
pub use local::LocalStore;
pub use memory::MemoryStore;

/// What `put` found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// The object was created.
    Created,
    /// An object of that key stood there already; it was not touched.
    Existed,
}

/// An object in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its key.
    pub key: Key,
    /// Its size in bytes.
    pub size: u64,
}

/// Where objects live.
///
/// # Contract
/// * **Create-new**: `put` never replaces an object. Of several concurrent `put`s of one key exactly one
///   answers [`Put::Created`]. A key that is the directory of another object, or has an object as its directory, is an
///   error.
/// * **Atomic**: no reader and no crash ever sees a part of an object under its key.
/// * **Durable on return**: when `put` or `delete` has returned `Ok`, its effect survives a crash of the process and
///   a loss of power; so is the object that `put` found ([`Put::Existed`]). When it failed, the object is either wholly
///   there or not at all, and the next `put` of that key may be tried. A disk that fills up is [`ErrorKind::NoSpace`],
///   and nothing of the object stays behind.
/// * **Visible is not yet durable**: others may see an object before its `put` has returned, and a loss of power may
///   still take it away. Whoever must rely on it `put`s it too.
/// * **Immutable**: an object's bytes never change after `put` returned.
/// * `get` and `get_range` answer [`ErrorKind::NotFound`] for an absent key, directories included; a range that goes past
///   the end (or backwards) is [`ErrorKind::Truncated`], costs no memory, and leaves the buffer empty.
/// * `delete` of an absent key is `Ok`.
/// * `list` yields every object whose key begins with the prefix directory and that was there during the whole call, in
///   any order, each once; leftovers of interrupted `put`s are never listed. The empty directory is the root. Its
///   memory does not grow with the number of objects (in a store that outlives a process). An error of `each` ends it
///   and is handed through; `each` may call the store.
/// * Errors carry the operation, the object and the store's location.
pub trait Store: Send + Sync + Debug {
    /// Creates an object from the concatenation of `parts`.
    fn put(&self, key: &Key, parts: &[&[u8]]) -> Result<Put>;

    /// Reads a whole object.
    fn get(&self, key: &Key) -> Result<Vec<u8>>;

    /// Reads a part of an object into `buffer` (cleared first, its capacity reused).
    fn get_range(&self, key: &Key, range: Range<u64>, buffer: &mut Vec<u8>) -> Result<()>;

    /// The size of an object in bytes, `None` if it is absent.
    fn size(&self, key: &Key) -> Result<Option<u64>>;

    /// Calls `each` for every object below `directory` (e.g. `packs` or `packs/3f`), which need not exist.
    fn list(&self, directory: &str, each: &mut dyn FnMut(Listed) -> Result<()>) -> Result<()>;

    /// Removes an object, durably.
    fn delete(&self, key: &Key) -> Result<()>;

    /// Where this is, for people.
    fn location(&self) -> String;
}

/// A store that several owners hold is a store.
impl<S: Store + ?Sized> Store for Arc<S> {
    fn put(&self, key: &Key, parts: &[&[u8]]) -> Result<Put> {
        (**self).put(key, parts)
    }

    fn get(&self, key: &Key) -> Result<Vec<u8>> {
        (**self).get(key)
    }

    fn get_range(&self, key: &Key, range: Range<u64>, buffer: &mut Vec<u8>) -> Result<()> {
        (**self).get_range(key, range, buffer)
    }

    fn size(&self, key: &Key) -> Result<Option<u64>> {
        (**self).size(key)
    }

    fn list(&self, directory: &str, each: &mut dyn FnMut(Listed) -> Result<()>) -> Result<()> {
        (**self).list(directory, each)
    }

    fn delete(&self, key: &Key) -> Result<()> {
        (**self).delete(key)
    }

    fn location(&self) -> String {
        (**self).location()
    }
}
