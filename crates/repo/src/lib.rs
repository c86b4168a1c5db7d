//! The repository: its index, sessions, packs, snapshots and their checks, over a store and the format.
//!
//! | module | what it holds |
//! |---|---|
//! | [`repository`] | creating and opening; key slots in [`slots`] |
//! | [`objects`] | sealed objects by id: what was read is what was named |
//! | [`index`] | SQLite: chunk id → pack, frame, range; derived, may be deleted |
//! | [`session`] | writing: `claim` decides what is new, `commit` makes a snapshot |
//! | [`parking`] | where frames wait that are not to be compressed now |
//! | [`reader`] | reading chunks and manifest blocks, each verified |
//! | [`catalogue`] | the snapshots |
//! | [`annotations`] | what was said of them later: tags, proofs |
//! | [`reach`] | who needs what: reference counts over manifest blocks and chunks |
//! | [`marks`], [`sign`] | what prunes and backups tell each other |
//! | [`prune`] | deletes what nothing needs |
//! | `merge` | keeps the fragments few |
//! | [`check`] | whether everything that was promised is there |
//! | [`repair`] | what can still be read is made whole again, what is lost is told |

pub mod annotations;
pub mod catalogue;
pub mod check;
pub mod error;
pub mod index;
mod layout;
pub mod marks;
mod merge;
pub mod objects;
mod pack_writer;
pub mod parking;
pub mod prune;
pub mod reach;
pub mod reader;
pub mod repair;
pub mod repository;
mod rescue;
pub mod session;
pub mod sign;
pub mod slots;

#[cfg(test)]
mod tests;

pub use annotations::{Annotations, Notes};
pub use catalogue::{Catalogue, Remembered, Stored};
pub use error::{Error, Result};
pub use icecore_store::Store;
pub use index::Index;
pub use parking::Parking;
pub use reach::{Freed, Reach};
pub use reader::ChunkReader;
pub use repository::Repository;
pub use session::{ChunkWriter, Session};
