//! What the bytes of a repository mean: ids, cutting, frames, packs, manifests, snapshots, keys.
//!
//! Nothing here does I/O, starts threads, reads a clock or draws randomness: callers hand in bytes,
//! [`Entropy`](seal::Entropy) and times, and get bytes back. `docs/format.md` is the normative text.
//!
//! | module | what it holds |
//! |---|---|
//! | [`id`] | typed 256-bit ids |
//! | [`entry`] | one entry of an instance: metadata and content |
//! | [`cut`] | where a file is cut into chunks |
//! | [`chunk`] | the keyed id of a chunk |
//! | [`frame`] | 1..n chunks, compressed together |
//! | [`pack`] | frames with a sealed footer |
//! | [`fragment`] | what some packs contain, to fill an index |
//! | [`manifest`] | the sorted entries of one snapshot in content-defined blocks |
//! | [`snapshot`] | the record that names a manifest |
//! | [`annotation`] | what is said of a snapshot after it was taken |
//! | [`mark`] | which packs will go |
//! | [`session`] | who writes at this moment |
//! | [`seal`] | how an object is encrypted and authenticated |
//! | [`keys`] | credentials and the slots that hold them |
//! | [`config`] | the first object of a repository |

pub mod annotation;
pub mod chunk;
pub mod config;
pub mod cut;
pub mod entry;
pub mod fragment;
pub mod frame;
pub mod id;
pub mod keys;
pub mod manifest;
pub mod mark;
pub mod pack;
pub mod seal;
pub mod session;
pub mod snapshot;
