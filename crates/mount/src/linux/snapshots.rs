//! The snapshots as the kernel asks for them: what stands behind a number, under a name, in a directory.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use fuser::{Errno, FileAttr};
use icecore_engine::Error;
use icecore_engine::access::{Access, Shown as Seen};
use icecore_engine::entry::Entry;

use super::ahead::Ahead;
use super::attributes::{self, Owner};
use super::directory::Cursor;
use super::files::OpenFile;
use super::handles::{Handles, lock};
use crate::inode::Inode;
use crate::tree::{Child, Shown, Tree};

/// How long the kernel may rely on what stands above the snapshots.
const SOON: Duration = Duration::from_secs(1);

/// How long it may rely on what stands in one: that never changes.
const LONG: Duration = Duration::from_secs(24 * 3600);

/// Files that are named in warnings at most.
const NAMED: usize = 1000;

/// An errno instead of an answer.
pub type Answer<T> = Result<T, Errno>;

/// What is mounted.
pub struct Snapshots {
    pub access: Arc<Access>,
    pub tree: Arc<RwLock<Tree>>,
    pub ahead: Ahead,
    pub owner: Owner,
    /// The kernel is to look at POSIX ACLs when others than the owner of the mount are let in.
    pub enforce: bool,
    pub files: Handles<OpenFile>,
    pub directories: Handles<Directory>,
    pub complaints: Complaints,
}

/// An open directory.
#[derive(Debug)]
pub enum Directory {
    /// Above the snapshots: all of it, as it was when it was opened.
    Above(Vec<Child>),
    /// In a snapshot.
    Below {
        /// Where the reader is.
        cursor: Mutex<Cursor>,
        /// The inode numbers of `.` and `..`.
        dots: [u64; 2],
    },
}

/// What stands behind an inode number.
pub enum Found {
    /// A directory or link above the snapshots.
    Above(u64),
    /// The top of a snapshot, with its entry if it has one.
    Top(Arc<Shown>, Option<Arc<Seen>>),
    /// An entry of a snapshot.
    Entry(Arc<Shown>, Arc<Seen>),
}

impl Found {
    /// The snapshot and the entry.
    pub fn entry(&self) -> Option<(&Arc<Shown>, &Arc<Seen>)> {
        match self {
            Self::Above(_) | Self::Top(_, None) => None,
            Self::Top(snapshot, Some(seen)) | Self::Entry(snapshot, seen) => Some((snapshot, seen)),
        }
    }
}

/// Says what cannot be shown, each file once.
pub struct Complaints {
    told: Mutex<HashSet<Vec<u8>>>,
    warn: Arc<dyn Fn(&str) + Send + Sync>,
}

impl Complaints {
    pub fn new(warn: Arc<dyn Fn(&str) + Send + Sync>) -> Self {
        Self { told: Mutex::default(), warn }
    }

    /// Says what cannot be shown of a path, and why.
    pub fn tell(&self, snapshot: &Shown, path: &[u8], error: &Error) -> Errno {
        let key = [&snapshot.id.as_bytes()[..], path].concat();
        let mut told = lock(&self.told);
        if told.len() < NAMED && told.insert(key) {
            let path =
                if path.is_empty() { "\".\"".to_owned() } else { format!("{:?}", String::from_utf8_lossy(path)) };
            (self.warn)(&format!("snapshot {}: {path} cannot be shown: {}", snapshot.id.short(), causes(error)));
            if told.len() == NAMED {
                (self.warn)("what else cannot be shown is not named any more");
            }
        }
        Errno::EIO
    }
}

/// An error with what lies behind it.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

impl Snapshots {
    pub fn tree(&self) -> RwLockReadGuard<'_, Tree> {
        self.tree.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// What stands behind an inode number.
    pub fn resolve(&self, inode: u64) -> Answer<Found> {
        let resolved = self.tree().resolve(inode);
        let snapshot = |number| self.tree().snapshot(number).ok_or(Errno::ENOENT);
        match resolved {
            Inode::Above(inode) => Ok(Found::Above(inode)),
            Inode::Top(number) => {
                let snapshot = snapshot(number)?;
                // Of several roots, none is the top. Where its entry cannot be read, what stands below it may be.
                let first = self.entry(&snapshot, 0).ok().flatten().filter(|seen| seen.entry.path.is_empty());
                Ok(Found::Top(snapshot, first))
            }
            Inode::Entry(number, position) => {
                let snapshot = snapshot(number)?;
                let seen = self.entry(&snapshot, position)?.ok_or(Errno::ENOENT)?;
                Ok(Found::Entry(snapshot, seen))
            }
        }
    }

    fn entry(&self, snapshot: &Arc<Shown>, position: u64) -> Answer<Option<Arc<Seen>>> {
        let found = self.access.entry(&snapshot.root, position);
        found.map_err(|error| self.complaints.tell(snapshot, format!("entry {position}").as_bytes(), &error))
    }

    /// The attributes of what was found, and how long they hold.
    pub fn attributes(&self, inode: u64, found: &Found) -> Answer<(FileAttr, Duration)> {
        match found {
            Found::Above(inode) => {
                let tree = self.tree();
                let link = tree.target(*inode);
                if link.is_none() && tree.children(*inode).is_none() {
                    return Err(Errno::ENOENT);
                }
                Ok((attributes::of_ours(*inode, link.map(|link| link.len()), tree.changed(), self.owner), SOON))
            }
            Found::Top(snapshot, None) => Ok((attributes::of_ours(inode, None, snapshot.taken, self.owner), LONG)),
            Found::Top(_, Some(seen)) | Found::Entry(_, seen) => {
                Ok((attributes::of_entry(&self.access, &seen.entry, inode), LONG))
            }
        }
    }

    /// What stands under a name in a directory: its attributes, how long they hold, and how long the name does.
    pub fn lookup(&self, directory: u64, name: &[u8]) -> Answer<(FileAttr, Duration, Duration)> {
        let found = self.resolve(directory)?;
        if let Found::Above(directory) = found {
            let child = std::str::from_utf8(name).ok().and_then(|name| self.tree().lookup(directory, name));
            let inode = child.ok_or(Errno::ENOENT)?.inode;
            let (attributes, holds) = self.attributes(inode, &self.resolve(inode)?)?;
            return Ok((attributes, holds, SOON));
        }
        let (snapshot, path) = below(&found)?;
        let path = join(path, name);
        let seen = self.access.find(&snapshot.root, &path);
        let seen = seen.map_err(|error| self.complaints.tell(snapshot, &path, &error))?.ok_or(Errno::ENOENT)?;
        let inode = number(snapshot, &seen)?;
        Ok((attributes::of_entry(&self.access, &seen.entry, inode), LONG, LONG))
    }

    /// Opens a directory.
    pub fn open_directory(&self, inode: u64) -> Answer<Directory> {
        let found = self.resolve(inode)?;
        if let Found::Above(inode) = found {
            return self.tree().children(inode).map(Directory::Above).ok_or(Errno::ENOTDIR);
        }
        let (snapshot, path) = below(&found)?;
        let parent = match path.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => self.access.find(&snapshot.root, &path[..slash]).ok().flatten(),
            None => None,
        };
        let above =
            parent.and_then(|seen| number(snapshot, &seen).ok()).or_else(|| Inode::Top(snapshot.number).number());
        let cursor = Cursor::new(Arc::clone(snapshot), path.to_vec());
        Ok(Directory::Below { cursor: Mutex::new(cursor), dots: [inode, above.unwrap_or(inode)] })
    }

    /// How long the kernel may rely on what a directory above the snapshots holds.
    pub fn soon() -> Duration {
        SOON
    }

    /// How long it may rely on what a directory in a snapshot holds.
    pub fn long() -> Duration {
        LONG
    }
}

/// The inode number of an entry: that of its first name, if it has several.
pub fn number(snapshot: &Shown, seen: &Seen) -> Answer<u64> {
    Inode::Entry(snapshot.number, seen.inode).number().ok_or(Errno::EIO)
}

/// The snapshot and path of a directory in a snapshot.
pub fn below(found: &Found) -> Answer<(&Arc<Shown>, &[u8])> {
    match found {
        Found::Top(snapshot, _) => Ok((snapshot, b"")),
        Found::Entry(snapshot, seen) if is_directory(&seen.entry) => Ok((snapshot, &seen.entry.path)),
        Found::Above(_) | Found::Entry(..) => Err(Errno::ENOTDIR),
    }
}

fn is_directory(entry: &Entry) -> bool {
    entry.node == icecore_engine::entry::Node::Directory
}

fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if directory.is_empty() { name.to_vec() } else { [directory, b"/", name].concat() }
}
