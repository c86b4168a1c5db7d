//! Systems on which nothing can be mounted yet.

use std::path::Path;

use icecore_engine::Archive;

use crate::{Ended, Error, Options, Result};

/// A mount that cannot be.
#[derive(Debug)]
pub enum Mounted {}

/// Says that this system is not supported.
pub fn mount(_archive: &Archive, _directory: &Path, _options: Options) -> Result<Mounted> {
    Err(Error::Unsupported)
}

impl Mounted {
    /// Where it is mounted.
    pub fn directory(&self) -> &Path {
        match *self {}
    }

    /// Whether the mount is gone.
    pub fn has_ended(&self) -> bool {
        match *self {}
    }

    /// Takes the mount away.
    pub fn unmount(&mut self) -> Result<Ended> {
        match *self {}
    }

    /// Waits until the mount is gone.
    pub fn finish(self) -> Result<()> {
        match self {}
    }
}
