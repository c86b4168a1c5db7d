//! What the fuzz targets share.
//!
//! | module | what it holds |
//! |---|---|
//! | [`keys`] | fixed keys, so that a target can seal what the fuzzer invents |
//! | [`meter`] | how much memory a parser takes for how few bytes |
//! | [`tree`] | manifests as one string of bytes |

pub mod keys;
pub mod meter;
pub mod tree;
