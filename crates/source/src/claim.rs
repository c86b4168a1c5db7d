//! Who works with which directory: a restore claims what it writes, the backup of an instance what it reads.
//!
//! ```text
//! REGISTRY/lock         locked by whoever looks at the claims or makes one
//! REGISTRY/TOKEN.json   the directories of one process, locked by it: a claim goes with its process, however that ends
//! ```
//! Two claims meet if a directory of one is, or is in, or holds a directory of the other, by path or by identity (device and
//! inode), and one of them writes. Claims are known on this host to those who share a state directory; the application
//! that a directory belongs to knows nothing of them.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::os::window::create_private_directory;
use crate::window::place::lock_within;

/// How long the registry may be looked at by others. They need a moment.
const TURN: Duration = Duration::from_secs(30);

/// What is done with a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Use {
    /// It is read, as others may at the same time.
    Read,
    /// It is written, and everybody else stays away.
    Write,
}

/// Directories that are claimed as long as this lives.
#[derive(Debug)]
pub struct Claim {
    path: PathBuf,
    /// Its lock tells others that this process lives.
    _alive: File,
}

/// Why directories could not be claimed.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// Somebody else is at one of them, or at one below or above.
    #[error("{} is in use: {purpose} (process {process}); try again when that is done", path.display())]
    Busy {
        /// The directory that was to be claimed.
        path: PathBuf,
        /// What the other does.
        purpose: String,
        /// The other's process.
        process: u32,
    },
    /// A directory cannot be looked at.
    #[error("cannot look at {}: {source}", path.display())]
    Unseen {
        /// The directory.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The registry cannot be used.
    #[error("cannot note in {} which directories are in use: {source}", registry.display())]
    Registry {
        /// Its directory.
        registry: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
}

/// What stands in the file of a claim.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    process: u32,
    /// For people: what is done.
    purpose: String,
    places: Vec<Place>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Place {
    usage: Use,
    /// Without links, as far as it exists.
    path: Vec<u8>,
    /// Device and inode of it and of all above, as far as they exist, the outermost last.
    chain: Vec<(u64, u64)>,
    /// Names at its end that do not exist yet.
    missing: usize,
}

impl Claim {
    /// Claims all of these directories, which may be missing, or none. `purpose` tells others what is done with them.
    ///
    /// # Errors
    /// [`ClaimError::Busy`] if somebody else has one of them, or one below or above.
    pub fn take(registry: &Path, directories: &[(PathBuf, Use)], purpose: &str) -> Result<Self, ClaimError> {
        let failed = |source| ClaimError::Registry { registry: registry.to_owned(), source };
        create_private_directory(registry).map_err(failed)?;
        let place = |(path, usage): &(PathBuf, Use)| {
            Place::find(path, *usage).map_err(|source| ClaimError::Unseen { path: path.clone(), source })
        };
        let places = directories.iter().map(place).collect::<Result<_, _>>()?;
        let record = Record { process: std::process::id(), purpose: purpose.to_owned(), places };
        let turn = open(&registry.join("lock")).map_err(failed)?;
        if !lock_within(&turn, TURN).map_err(failed)? {
            return Err(failed(io::ErrorKind::TimedOut.into()));
        }
        for other in living(registry).map_err(failed)? {
            let meeting = record.places.iter().position(|own| other.places.iter().any(|place| place.meets(own)));
            if let Some((path, _)) = meeting.and_then(|number| directories.get(number)) {
                let Record { process, purpose, .. } = other;
                return Err(ClaimError::Busy { path: path.clone(), purpose, process });
            }
        }
        Self::put(registry, &record).map_err(failed)
    }

    /// Writes it down, under the lock of the registry.
    fn put(registry: &Path, record: &Record) -> io::Result<Self> {
        // A process may hold several.
        let free = |number: &u32| !registry.join(format!("{}-{number}.json", record.process)).exists();
        let number = (0..).find(free).unwrap_or_default();
        let path = registry.join(format!("{}-{number}.json", record.process));
        let mut file = open(&path)?;
        lock_within(&file, Duration::ZERO)?;
        file.write_all(&serde_json::to_vec(record)?)?;
        Ok(Self { path, _alive: file })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // If it stays, it is seen not to be locked.
        let _ = fs::remove_file(&self.path);
    }
}

impl Place {
    fn find(path: &Path, usage: Use) -> io::Result<Self> {
        let (standing, missing) = standing(path)?;
        let chain = standing.ancestors().map_while(identity).collect();
        let whole = missing.iter().fold(standing, |path, name| path.join(name));
        Ok(Self { usage, path: whole.as_os_str().as_encoded_bytes().to_vec(), chain, missing: missing.len() })
    }

    fn meets(&self, other: &Self) -> bool {
        let at_odds = self.usage == Use::Write || other.usage == Use::Write;
        at_odds && (self.holds(other) || other.holds(self))
    }

    /// Whether the other is this directory or in it.
    fn holds(&self, other: &Self) -> bool {
        let is_separator = |byte: &u8| std::path::is_separator(char::from(*byte));
        let by_path = other.path.strip_prefix(self.path.as_slice()).is_some_and(|rest| {
            rest.is_empty() || rest.first().is_some_and(is_separator) || self.path.last().is_some_and(is_separator)
        });
        // Another path to it, as a bind mount is.
        let by_identity = self.missing == 0 && self.chain.first().is_some_and(|own| other.chain.contains(own));
        by_path || by_identity
    }
}

/// Whether a directory is, or is in, or holds another, by path or by identity: a bind mount leads to the same.
///
/// # Errors
/// If `one` cannot be looked at; an `other` that cannot is taken by its path.
pub fn meet(one: &Path, other: &Path) -> io::Result<bool> {
    let one = Place::find(one, Use::Write)?;
    let unseen = || Place {
        usage: Use::Write,
        path: other.as_os_str().as_encoded_bytes().to_vec(),
        chain: Vec::new(),
        missing: 1,
    };
    Ok(one.meets(&Place::find(other, Use::Write).unwrap_or_else(|_| unseen())))
}

/// The path of a directory without links, as far as it exists; what is missing stays as it was named.
///
/// # Errors
/// If a part of it cannot be looked at.
pub fn real_path(path: &Path) -> io::Result<PathBuf> {
    let (standing, missing) = standing(path)?;
    Ok(missing.iter().fold(standing, |path, name| path.join(name)))
}

/// The nearest directory at or above a path that exists, without links, and the names below it that do not.
fn standing(path: &Path) -> io::Result<(PathBuf, Vec<&OsStr>)> {
    let mut missing = Vec::new();
    let mut at = path;
    loop {
        let found = fs::canonicalize(if at.as_os_str().is_empty() { Path::new(".") } else { at });
        match (found, at.parent(), at.file_name()) {
            (Ok(found), ..) => {
                missing.reverse();
                return Ok((found, missing));
            }
            (Err(error), Some(above), Some(name))
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
            {
                missing.push(name);
                at = above;
            }
            (Err(error), ..) => return Err(error),
        }
    }
}

/// Device and inode, where there are such things.
#[cfg(unix)]
fn identity(path: &Path) -> Option<(u64, u64)> {
    crate::target::identity(path).ok()
}

/// Paths alone tell.
#[cfg(not(unix))]
fn identity(_: &Path) -> Option<(u64, u64)> {
    None
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// The claims of living processes; those of dead ones are cleared away.
fn living(registry: &Path) -> io::Result<Vec<Record>> {
    let mut living = Vec::new();
    for entry in registry.read_dir()? {
        let path = entry?.path();
        if path.extension() != Some(OsStr::new("json")) {
            continue;
        }
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            opened => opened?,
        };
        if lock_within(&file, Duration::ZERO)? {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => continue,
            }
        }
        match fs::read(&path) {
            // Given up this moment.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            read => living.push(serde_json::from_slice(&read?)?),
        }
    }
    Ok(living)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn busy(taken: Result<Claim, ClaimError>) -> bool {
        match taken {
            Ok(_) => false,
            Err(ClaimError::Busy { process, purpose, .. }) => {
                assert_eq!((process, purpose.as_str()), (std::process::id(), "first"));
                true
            }
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn who_writes_is_alone_below_and_above() {
        let directory = tempfile::tempdir().unwrap();
        let (registry, base) = (directory.path().join("state/claims"), directory.path().join("base"));
        fs::create_dir_all(base.join("in")).unwrap();
        let take = |path: &Path, usage, purpose: &str| Claim::take(&registry, &[(path.to_owned(), usage)], purpose);
        let first = take(&base.join("in"), Use::Write, "first").unwrap();
        let near = ["in", "", "in/deeper/still"].map(|name| base.join(name));
        for (path, usage) in near.iter().flat_map(|path| [(path, Use::Read), (path, Use::Write)]) {
            assert!(busy(take(path, usage, "second")), "{}", path.display());
        }
        for apart in ["in2", "other", "i", "missing/new"] {
            assert!(!busy(take(&base.join(apart), Use::Write, "second")), "{apart}");
        }
        drop(first);
        assert!(!busy(take(&base.join("in"), Use::Write, "second")));
        assert_eq!(registry.read_dir().unwrap().count(), 1, "only the lock stays");
    }

    #[test]
    fn who_reads_minds_only_who_writes() {
        let directory = tempfile::tempdir().unwrap();
        let take =
            |usage| Claim::take(&directory.path().join("claims"), &[(directory.path().join("x"), usage)], "first");
        let (one, two) = (take(Use::Read).unwrap(), take(Use::Read).unwrap());
        assert!(busy(take(Use::Write)));
        drop(one);
        assert!(busy(take(Use::Write)));
        drop(two);
        assert!(!busy(take(Use::Write)));
    }

    #[cfg(unix)]
    #[test]
    fn a_link_leads_to_the_same_directory_also_when_it_is_exchanged() {
        let directory = tempfile::tempdir().unwrap();
        let (registry, base) = (directory.path().join("claims"), directory.path().join("base"));
        fs::create_dir(&base).unwrap();
        std::os::unix::fs::symlink(&base, directory.path().join("link")).unwrap();
        let linked = directory.path().join("link/new");
        let _first = Claim::take(&registry, &[(linked, Use::Write)], "first").unwrap();
        assert!(busy(Claim::take(&registry, &[(base.clone(), Use::Write)], "second")));
        fs::rename(&base, directory.path().join("old")).unwrap();
        fs::create_dir(&base).unwrap();
        assert!(busy(Claim::take(&registry, &[(base, Use::Write)], "second")));
    }

    #[test]
    fn what_a_dead_process_left_is_cleared_away() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::find(directory.path(), Use::Write).unwrap();
        let record = Record { process: 1, purpose: "dead".into(), places: vec![place] };
        fs::write(directory.path().join("1-0.json"), serde_json::to_vec(&record).unwrap()).unwrap();
        fs::write(directory.path().join("2-0.json"), "torn").unwrap();
        let claim = Claim::take(directory.path(), &[(directory.path().to_owned(), Use::Write)], "living").unwrap();
        assert!(!directory.path().join("1-0.json").exists() && !directory.path().join("2-0.json").exists());
        drop(claim);
    }
}
