//! A directory for what is restored only for a while: whoever dies, it goes.
//!
//! ```text
//! REGISTRY/TOKEN.json            where one stands, or may stand: durable before it is made, locked by the run that uses it
//! PARENT/icecore-scratch-TOKEN/  for this user alone
//! ```
//! A lock goes with its process, however it ends: what stands by an unlocked record is that of a dead run. A token is never
//! used twice, so nothing else ever has the name.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ring::rand::{SecureRandom as _, SystemRandom};
use serde::{Deserialize, Serialize};

use super::{Target, identity};
use crate::freezer::program::end_every_one;
use crate::os::window::{create_private_directory, sync_directory};
use crate::window::place::lock_within;

/// What the names of scratch directories begin with.
const PREFIX: &str = "icecore-scratch-";

/// Programs that work with scratch find its token under this name in their environment.
const MARK: &str = "ICECORE_SCRATCH";

/// Bytes of a token.
const TOKEN: usize = 16;

/// A scratch directory. It goes when this is dropped, if it can.
#[derive(Debug)]
pub struct Scratch {
    record: PathBuf,
    place: Place,
    /// Its lock tells others that this run lives.
    _alive: File,
    removed: bool,
}

/// Why there is no scratch directory, or why it stays.
#[derive(Debug, thiserror::Error)]
pub enum ScratchError {
    /// It could not be made.
    #[error("cannot make a directory in {} to restore into for a while: {source}", parent.display())]
    Unusable {
        /// Where it was to stand.
        parent: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// Its record could not be written or read.
    #[error("cannot use {}, which tells where something was restored for a while: {source}", record.display())]
    Record {
        /// The record.
        record: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// Something in it could not be deleted.
    #[error(
        "{}, which was restored only for a while, cannot be deleted: {example}; the next drill or run tries again",
        path.display()
    )]
    Stays {
        /// The directory.
        path: PathBuf,
        /// The first thing in it that stays, and why.
        example: String,
    },
}

/// What a record says.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Place {
    /// The name of the host that made it.
    host: String,
    /// The bytes of the path of the directory that holds it, without links.
    parent: Vec<u8>,
    /// The inode number of that, which tells it from what stands there while its disk is away. The number of a device changes
    /// from mount to mount.
    parent_inode: u64,
    token: String,
}

impl Place {
    fn parent(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.parent))
    }

    fn name(&self) -> String {
        format!("{PREFIX}{}", self.token)
    }

    fn path(&self) -> PathBuf {
        self.parent().join(self.name())
    }

    /// Whether this is the host that made it, and what stands at the path the directory that held it.
    fn is_at_hand(&self, host: &str) -> bool {
        self.host == host && identity(self.parent()).is_ok_and(|(_, inode)| inode == self.parent_inode)
    }

    /// Ends what still works there, and deletes it with all that is in it and nobody has mounted there. That it was never made
    /// is a success.
    fn clear(&self) -> Result<(), ScratchError> {
        end_every_one(MARK, &self.token);
        let path = self.path();
        let stays = |example: String| ScratchError::Stays { path: path.clone(), example };
        let target = Target::open(self.parent()).map_err(|error| stays(error.to_string()))?;
        let name = self.name();
        if target.stat(name.as_bytes()).map_err(|error| stays(error.to_string()))?.is_none() {
            return Ok(());
        }
        let mut first = None;
        target.remove_all(name.as_bytes(), &mut |path, error| {
            first.get_or_insert_with(|| format!("{}: {error}", String::from_utf8_lossy(path)));
        });
        first.map_or(Ok(()), |example| Err(stays(example)))
    }
}

impl Scratch {
    /// Makes a directory in `parent`, which must be there, on the host of this name.
    ///
    /// # Errors
    /// [`ScratchError::Unusable`], [`ScratchError::Record`].
    pub fn make(registry: &Path, parent: &Path, host: &str) -> Result<Self, ScratchError> {
        let unusable = |source| ScratchError::Unusable { parent: parent.to_owned(), source };
        create_private_directory(registry)
            .map_err(|source| ScratchError::Record { record: registry.to_owned(), source })?;
        let whole = fs::canonicalize(parent).map_err(unusable)?;
        let (_, parent_inode) = identity(&whole).map_err(unusable)?;
        let (parent, token) = (whole.into_os_string().into_vec(), token().map_err(unusable)?);
        let place = Place { host: host.to_owned(), parent, parent_inode, token };
        let record = registry.join(format!("{}.json", place.token));
        let alive = write(registry, &record, &place)
            .map_err(|source| ScratchError::Record { record: record.clone(), source })?;
        if let Err(source) = DirBuilder::new().mode(0o700).create(place.path()) {
            // Nothing stands by it.
            let _ = fs::remove_file(&record);
            return Err(unusable(source));
        }
        Ok(Self { record, place, _alive: alive, removed: false })
    }

    /// The directory.
    pub fn path(&self) -> PathBuf {
        self.place.path()
    }

    /// The entry in the environment by which programs are known that work with it.
    pub fn mark(&self) -> (&'static str, &OsStr) {
        (MARK, self.place.token.as_ref())
    }

    /// Ends what still works there, and deletes it.
    ///
    /// # Errors
    /// [`ScratchError::Stays`].
    pub fn remove(mut self) -> Result<(), ScratchError> {
        self.clear()
    }

    fn clear(&mut self) -> Result<(), ScratchError> {
        self.removed = true;
        self.place.clear()?;
        // A record that stays has somebody look for what is gone.
        let _ = fs::remove_file(&self.record);
        Ok(())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.removed {
            // The next run tries again.
            let _ = self.clear();
        }
    }
}

/// Deletes the scratch directories recorded in `registry` whose runs are gone, and ends the programs that still work there.
///
/// Gives for each what came of it: one that could not be deleted stays recorded. One whose disk is not there waits for it, and
/// one of another host than that of this name for that.
pub fn clear_away(registry: &Path, host: &str) -> Vec<Result<PathBuf, ScratchError>> {
    let unreadable = |source| ScratchError::Record { record: registry.to_owned(), source };
    let entries = match registry.read_dir() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
        Err(source) => return vec![Err(unreadable(source))],
        Ok(entries) => entries,
    };
    let records = entries.flatten().map(|entry| entry.path());
    let mut records: Vec<_> = records.filter(|path| path.extension() == Some(OsStr::new("json"))).collect();
    records.sort();
    records.iter().filter_map(|record| clear_one(record, host).transpose()).collect()
}

/// `None` if its run lives, if nothing stands there, or if it waits.
fn clear_one(record: &Path, host: &str) -> Result<Option<PathBuf>, ScratchError> {
    let failed = |source| ScratchError::Record { record: record.to_owned(), source };
    let mut file = match File::open(record) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(failed)?,
    };
    if !lock_within(&file, Duration::ZERO).map_err(failed)? || !record.exists() {
        return Ok(None);
    }
    let mut text = Vec::new();
    file.read_to_end(&mut text).map_err(failed)?;
    let place: Place = serde_json::from_slice(&text).map_err(|error| failed(error.into()))?;
    // Nothing but a name of ours is ever deleted.
    if record.file_stem() != Some(OsStr::new(&place.token)) || !is_token(&place.token) {
        return Err(failed(io::Error::other("its token is not that of its name; remove it by hand")));
    }
    if !place.is_at_hand(host) {
        return Ok(None);
    }
    let path = place.path();
    let stood = path.symlink_metadata().is_ok();
    place.clear()?;
    fs::remove_file(record).map_err(failed)?;
    Ok(stood.then_some(path))
}

/// Writes a record, durably; the file, locked.
fn write(registry: &Path, record: &Path, place: &Place) -> io::Result<File> {
    let new = record.with_extension("new");
    let mut file = OpenOptions::new().create_new(true).write(true).open(&new)?;
    // Before it has its name: nobody ever finds the record of a living run unlocked.
    file.lock()?;
    serde_json::to_writer(&mut file, place)?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    fs::rename(&new, record)?;
    sync_directory(registry)?;
    Ok(file)
}

fn token() -> io::Result<String> {
    let mut bytes = [0; TOKEN / 2];
    SystemRandom::new().fill(&mut bytes).map_err(|_| io::Error::other("the system's random source failed"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn is_token(text: &str) -> bool {
    text.len() == TOKEN && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests;
