//! Opened directories of a target, so that a directory's many entries cost one look-up.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use icecore_format::entry::{PathBytes, is_valid_path};

use crate::os::Dir;

/// A few per thread are enough: plans go through a tree in order. Each holds a file descriptor.
const REMEMBERED: usize = 16;

/// The target's own directory and the ones below it that were used last.
///
/// A remembered directory stays right because no directory of a target is renamed, and one that is removed is
/// [forgotten](Self::forget).
#[derive(Debug)]
pub struct Parents {
    root: Arc<Dir>,
    /// The last used stands last.
    recent: Mutex<Vec<(PathBytes, Arc<Dir>)>>,
}

impl Parents {
    /// Starts at the target's own directory.
    pub fn new(root: Dir) -> Self {
        Self { root: Arc::new(root), recent: Mutex::default() }
    }

    /// Opens the directory at `path` beneath the target; no component may be a symbolic link.
    pub fn open(&self, path: &[u8]) -> io::Result<Arc<Dir>> {
        if path.is_empty() {
            return Ok(Arc::clone(&self.root));
        }
        if let Some(dir) = self.recall(path) {
            return Ok(dir);
        }
        if !is_valid_path(path) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a path beneath the target"));
        }
        let dir = Arc::new(self.root.open_beneath(path)?);
        self.remember(path, &dir);
        Ok(dir)
    }

    /// Forgets the directory at `path` and everything beneath it.
    pub fn forget(&self, path: &[u8]) {
        let beneath = |known: &[u8]| known.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest[0] == b'/');
        self.recent.lock().unwrap_or_else(PoisonError::into_inner).retain(|(known, _)| !beneath(known));
    }

    fn recall(&self, path: &[u8]) -> Option<Arc<Dir>> {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let found = recent.iter().rposition(|(known, _)| known == path)?;
        recent[found..].rotate_left(1);
        recent.last().map(|(_, dir)| Arc::clone(dir))
    }

    fn remember(&self, path: &[u8], dir: &Arc<Dir>) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.len() >= REMEMBERED {
            recent.remove(0);
        }
        recent.push((path.to_vec(), Arc::clone(dir)));
    }
}

/// Splits a path into its directory and its last component.
pub fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&[], path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_split_at_its_last_slash() {
        assert_eq!(split(b"a/b/c"), (&b"a/b"[..], &b"c"[..]));
        assert_eq!(split(b"c"), (&b""[..], &b"c"[..]));
    }
}
