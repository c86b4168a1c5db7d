//! A tree that is built beside a directory, on the same file system, and exchanged for it in one step.
//!
//! ```text
//! parent/NAME                          what stands
//! parent/.NAME.WORD/tree               what is built; after the exchange, what stood
//! parent/.NAME.WORD/journal            which inode is the built one: tells whether the exchange has been
//! parent/NAME.before-restore-TIME      what stood, in the end
//! ```

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::{TargetError, TargetFile};
use crate::os::{self, Dir, Subject};
use crate::stat::Stat;

const TREE: &[u8] = b"tree";
const JOURNAL: &[u8] = b"journal";

/// The place beside a directory.
#[derive(Debug)]
pub struct Beside {
    /// The directory, without links on the way.
    path: PathBuf,
    parent: Dir,
    name: Vec<u8>,
    wrapper: Vec<u8>,
}

impl Beside {
    /// Looks at the place of `word` beside the directory at `path`, which may be missing itself, and makes nothing.
    pub fn find(path: &Path, word: &str) -> Result<Self, TargetError> {
        let unusable = |source| TargetError::Unusable { path: path.into(), source };
        let refuse = |reason| TargetError::NotExchangeable { path: path.into(), reason };
        let whole = match fs::canonicalize(path) {
            Ok(whole) => whole,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let above = path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
                let name = path.file_name().ok_or_else(|| refuse("it has no name"))?;
                fs::canonicalize(above).map_err(unusable)?.join(name)
            }
            Err(error) => return Err(unusable(error)),
        };
        let (Some(above), Some(name)) = (whole.parent(), whole.file_name()) else {
            return Err(refuse("nothing is above it"));
        };
        let parent = Dir::open(above).map_err(unusable)?;
        if let Ok(standing) = Dir::open(&whole) {
            let device = |dir: &Dir| dir.stat(OsStr::new("")).map(|stat| stat.device).map_err(unusable);
            if device(&standing)? != device(&parent)? {
                return Err(refuse("another file system is mounted there"));
            }
        } else if fs::symlink_metadata(&whole).is_ok() {
            return Err(TargetError::NotADirectory { path: path.into() });
        }
        let name = name.as_bytes().to_vec();
        let wrapper = [b".", name.as_slice(), b".", word.as_bytes()].concat();
        Ok(Self { path: whole, parent, name, wrapper })
    }

    pub(super) fn parent(&self) -> &Dir {
        &self.parent
    }

    /// The directory that is to be exchanged, without links on the way.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The places beside the directory at `path` whose words begin with `prefix`.
    pub fn all(path: &Path, prefix: &str) -> Result<Vec<Self>, TargetError> {
        let first = Self::find(path, prefix)?;
        let unusable = |source| TargetError::Unusable { path: path.into(), source };
        let names = first.parent.names_with(&first.wrapper).map_err(unusable)?;
        let skip = first.wrapper.len() - prefix.len();
        let words = names.iter().filter_map(|name| std::str::from_utf8(name.get(skip..)?).ok());
        words.map(|word| Self::find(path, word)).collect()
    }

    /// The word that tells it from others.
    pub fn word(&self) -> &[u8] {
        self.wrapper.get(self.name.len() + 2..).unwrap_or_default()
    }

    /// The place itself, which holds everything of it.
    pub fn place(&self) -> PathBuf {
        self.wrapper_path()
    }

    /// Where the tree is built.
    pub fn tree(&self) -> PathBuf {
        self.wrapper_path().join(OsStr::from_bytes(TREE))
    }

    fn wrapper_path(&self) -> PathBuf {
        self.path.with_file_name(OsStr::from_bytes(&self.wrapper))
    }

    /// Whether an earlier run has been here.
    pub fn is_begun(&self) -> bool {
        self.parent.stat(OsStr::from_bytes(&self.wrapper)).is_ok()
    }

    /// Whether the exchange has been, so that what stands at [`tree`](Self::tree), if anything, is what stood before.
    pub fn is_exchanged(&self) -> io::Result<bool> {
        if !self.is_begun() {
            return Ok(false);
        }
        let wrapper = self.wrapper()?;
        let Some(built) = self.journal(&wrapper)? else { return Ok(false) };
        Ok(wrapper.stat(OsStr::from_bytes(TREE)).map(|stat| stat.inode).ok() != Some(built.inode))
    }

    /// Whether what an earlier run wrote is certain to be there: the machine has not been started since.
    pub fn is_certain(&self) -> io::Result<bool> {
        let boot = os::boot();
        Ok(!boot.is_empty() && self.journal(&self.wrapper()?)?.is_some_and(|known| known.boot == boot))
    }

    /// Makes the place with an empty tree and its journal, durable on return. What an earlier run left of it is taken.
    pub fn begin(&self) -> io::Result<()> {
        // Told before anything is built.
        self.refusal().map_or(Ok(()), Err)?;
        os::make_private_dir(&self.wrapper_path())?;
        let wrapper = self.wrapper()?;
        wrapper.make_dir(TREE)?;
        if self.journal(&wrapper)?.is_some() {
            return Ok(());
        }
        let inode = wrapper.stat(OsStr::from_bytes(TREE))?.inode;
        // Made beside and renamed: a torn journal would say nothing of the exchange.
        let (new, text) = (b"journal.new", format!("{inode} {}\n", os::boot()));
        let _ = wrapper.remove_file(new);
        let file = TargetFile::new(wrapper.create_file(new)?);
        file.write_at(0, text.as_bytes())?;
        file.sync()?;
        wrapper.rename(new, JOURNAL)?;
        wrapper.sync()?;
        self.parent.sync()
    }

    /// Puts the tree in the place of the directory, in one step; durable on return. What stood is then at
    /// [`tree`](Self::tree).
    pub fn exchange(&self) -> io::Result<()> {
        self.refusal().map_or(Ok(()), Err)?;
        let wrapper = self.wrapper()?;
        let built = wrapper.stat(OsStr::from_bytes(TREE))?;
        match self.parent.stat(OsStr::from_bytes(&self.name)) {
            Ok(stood) => {
                wrapper.exchange(TREE, &self.parent, &self.name)?;
                keep_time(&wrapper, TREE, &stood)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                wrapper.move_to_new(TREE, &self.parent, &self.name)?;
            }
            Err(error) => return Err(error),
        }
        keep_time(&self.parent, &self.name, &built)?;
        wrapper.sync()?;
        self.parent.sync()
    }

    /// Gives what stood its name, `NAME.before-restore-TIME`, and removes the place; tells where it stands, if anything
    /// did. Only after [`exchange`](Self::exchange).
    pub fn settle(&self, time: &str) -> io::Result<Option<PathBuf>> {
        let wrapper = self.wrapper()?;
        let mut kept = None;
        if let Ok(stood) = wrapper.stat(OsStr::from_bytes(TREE)) {
            let base = [&self.name, BEFORE, time.as_bytes()].concat();
            let mut name = base.clone();
            let mut number = 2;
            loop {
                match wrapper.move_to_new(TREE, &self.parent, &name) {
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < 1000 => {
                        name = [&base[..], format!("-{number}").as_bytes()].concat();
                        number += 1;
                    }
                    moved => break moved?,
                }
            }
            keep_time(&self.parent, &name, &stood)?;
            kept = Some(self.path.with_file_name(OsStr::from_bytes(&name)));
            self.parent.sync()?;
        }
        wrapper.remove_file(JOURNAL)?;
        self.parent.remove_dir(&self.wrapper)?;
        Ok(kept)
    }

    /// The trees that earlier exchanges left beside the directory, sorted.
    pub fn old_trees(&self) -> io::Result<Vec<PathBuf>> {
        let prefix = [&self.name, BEFORE].concat();
        let is_time =
            |name: &[u8]| name[prefix.len()..].iter().all(|byte| byte.is_ascii_digit() || b"TZ-".contains(byte));
        let mut names = self.parent.names_with(&prefix)?;
        names.retain(|name| name.len() > prefix.len() && is_time(name));
        names.sort();
        Ok(names.iter().map(|name| self.path.with_file_name(OsStr::from_bytes(name))).collect())
    }

    fn wrapper(&self) -> io::Result<Dir> {
        self.parent.open_readable(&self.wrapper)
    }

    fn journal(&self, wrapper: &Dir) -> io::Result<Option<Journal>> {
        let file = match wrapper.open_file(JOURNAL) {
            Ok(file) => TargetFile::new(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = [0; 256];
        let len = file.read_at(0, &mut bytes)?;
        let text = String::from_utf8_lossy(&bytes[..len]);
        let journal = text
            .trim_end()
            .split_once(' ')
            .and_then(|(inode, boot)| Some(Journal { inode: inode.parse().ok()?, boot: boot.to_owned() }));
        // A guess here could lose what stood.
        let damaged = || {
            io::Error::new(io::ErrorKind::InvalidData, format!("{}/journal is damaged", self.wrapper_path().display()))
        };
        journal.map(Some).ok_or_else(damaged)
    }
}

/// Gives a directory back the time that it had: XFS takes a move to another directory for a change of it.
fn keep_time(parent: &Dir, name: &[u8], before: &Stat) -> io::Result<()> {
    let moved = Subject::Named(parent, name);
    if moved.stat()?.mtime == before.mtime { Ok(()) } else { moved.set_mtime(before.mtime) }
}

/// What stands between a directory's name and the time, in the name of the tree that it was before an exchange.
const BEFORE: &[u8] = b".before-restore-";

struct Journal {
    /// Of the tree that is built.
    inode: u64,
    /// The start of the machine in which it was begun.
    boot: String,
}
