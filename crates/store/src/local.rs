//! A directory of this machine (or one mounted on it) as a store.
//!
//! ```text
//! put:  tmp/<pid>-<random>  create · write · fdatasync      nobody sees it
//!       <key>               rename without replacing        it is there, whole
//!       <directory of key>  fsync                           it stays there
//! ```
//! The directory is synced also when the object existed already: whoever created it may not have got that far, and
//! the answer promises durability. Nothing is read back, and no directory is ever removed.

use std::collections::HashSet;
use std::fs::{self, DirBuilder, DirEntry, File};
use std::io::{self, IoSlice, Read, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tempfile::NamedTempFile;

use crate::error::{Error, Operation, Result};
use crate::key::{Key, RESERVED, check_directory};
use crate::{Listed, Put, Store};

/// How old a leftover of an interrupted `put` must be before it is removed. On a shared file system its process may
/// live on another host, where nobody here can see it; no single object takes a day to write.
const LEFTOVER_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// Objects as files below a directory.
#[derive(Debug)]
pub struct LocalStore {
    root: PathBuf,
    /// Directories that are there and durably so, relative to the root: each was followed by an fsync of its parent.
    durable: Mutex<HashSet<PathBuf>>,
}

impl LocalStore {
    /// Makes the directory `root` (and those above it), durably, for this user only, and opens it. One that is there
    /// already is taken as it is, whatever else it holds.
    pub fn create(root: impl Into<PathBuf>) -> Result<Self> {
        let root = root.into();
        create_durably(&root).map_err(|e| Error::new(Operation::Create, "", root.display(), e))?;
        Self::open(root)
    }

    /// Opens the store in the directory `root`, which must exist, and removes old leftovers of interrupted `put`s.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self> {
        let store = Self::open_untouched(root)?;
        // Leftovers cost space, nothing else: a store that cannot be cleaned (read-only, say) can still be read.
        let _ = remove_leftovers(&store.root.join(RESERVED));
        Ok(store)
    }

    /// The same for somebody who only looks: not even leftovers are cleared away.
    ///
    /// # Errors
    /// As above.
    pub fn open_untouched(root: impl Into<PathBuf>) -> Result<Self> {
        let root = root.into();
        let found = match fs::metadata(&root) {
            Ok(metadata) if metadata.is_dir() => Ok(()),
            Err(e) if !is_absent(&e) => Err(e),
            _ => Err(io::Error::new(io::ErrorKind::NotFound, "no such directory")),
        };
        found.map_err(|e| Error::new(Operation::Open, "", root.display(), e))?;
        Ok(Self { root, durable: Mutex::default() })
    }

    /// The directory it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// How many temporary files of `put`s there are, and their bytes: of those that run, and of interrupted ones, which are
    /// removed when they are a day old.
    pub fn leftovers(&self) -> Result<(u64, u64)> {
        let fail = |e| self.error(Operation::List, RESERVED, e);
        let entries = match fs::read_dir(self.root.join(RESERVED)) {
            Err(e) if is_absent(&e) => return Ok((0, 0)),
            entries => entries.map_err(fail)?,
        };
        let sizes = entries.filter_map(io::Result::ok).filter_map(|entry| file_size(&entry).ok().flatten());
        Ok(sizes.fold((0, 0), |(count, bytes), size| (count + 1, bytes + size)))
    }

    fn path(&self, key: &Key) -> PathBuf {
        self.root.join(key.as_str())
    }

    /// Makes `directory` (relative to the root) exist durably.
    fn ensure(&self, directory: &Path) -> io::Result<()> {
        // Held while the directory is made, so that no other thread takes it for durable too early.
        let mut durable = self.durable.lock().unwrap_or_else(PoisonError::into_inner);
        let mut missing: Vec<&Path> =
            directory.ancestors().take_while(|d| !d.as_os_str().is_empty() && !durable.contains(*d)).collect();
        while let Some(next) = missing.pop() {
            create_private(&self.root.join(next))?;
            let parent = next.parent().unwrap_or(Path::new(""));
            let place = self.root.join(parent);
            // One fsync makes all that stand there now durable; it spares a later call for each of packs/00 to ff.
            let mut present = vec![next.to_owned()];
            for entry in fs::read_dir(&place)? {
                let entry = entry?;
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    present.push(parent.join(entry.file_name()));
                }
            }
            sync_directory(&place)?;
            durable.extend(present);
        }
        Ok(())
    }

    fn try_put(&self, key: &Key, parts: &[&[u8]]) -> io::Result<Put> {
        let directory = Path::new(key.parent().unwrap_or(""));
        self.ensure(Path::new(RESERVED))?;
        self.ensure(directory)?;
        let mut file = new_temporary(&self.root.join(RESERVED))?;
        write_all(&mut file, parts)?;
        file.as_file().sync_data()?;
        let put = publish(file, &self.path(key))?;
        sync_directory(&self.root.join(directory))?;
        Ok(put)
    }

    fn open_object(&self, key: &Key) -> io::Result<(File, u64)> {
        let file = match File::open(self.path(key)) {
            Err(e) if is_absent(&e) => return Err(io::ErrorKind::NotFound.into()),
            file => file?,
        };
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok((file, metadata.len()))
    }

    fn try_get_range(&self, key: &Key, range: Range<u64>, buffer: &mut Vec<u8>) -> io::Result<()> {
        let (file, size) = self.open_object(key)?;
        // Checked before the buffer grows: the range may come from damaged data.
        if range.start > range.end || range.end > size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let length = usize::try_from(range.end - range.start).map_err(|_| io::ErrorKind::OutOfMemory)?;
        // Not cleared first: in a recycled buffer, only what it grows by has to be zeroed.
        buffer.resize(length, 0);
        read_exact_at(&file, buffer, range.start)
    }

    /// Lists the files below `directory`, whose names have been checked.
    fn walk(&self, directory: &str, each: &mut dyn FnMut(Listed) -> Result<()>) -> Result<()> {
        let fail = |e| self.error(Operation::List, directory, e);
        let entries = match fs::read_dir(self.root.join(directory)) {
            Err(e) if is_absent(&e) => return Ok(()),
            entries => entries.map_err(fail)?,
        };
        for entry in entries {
            let entry = entry.map_err(fail)?;
            // Names that are no keys are not ours: `lost+found`, the reserved directory, what a file manager left.
            let Some(key) = key_below(directory, &entry) else { continue };
            match file_size(&entry) {
                Ok(Some(size)) => each(Listed { key, size })?,
                Ok(None) => self.walk(key.as_str(), each)?,
                Err(e) if is_absent(&e) => {}
                Err(e) => return Err(fail(e)),
            }
        }
        Ok(())
    }

    fn try_delete(&self, key: &Key) -> io::Result<()> {
        match fs::remove_file(self.path(key)) {
            Err(e) if e.kind() == io::ErrorKind::IsADirectory => return Ok(()),
            Err(e) if !is_absent(&e) => return Err(e),
            _ => {}
        }
        // Also when it was absent: whoever removed it may not have synced yet.
        match sync_directory(&self.root.join(key.parent().unwrap_or(""))) {
            Err(e) if is_absent(&e) => Ok(()),
            synced => synced,
        }
    }

    fn error(&self, operation: Operation, object: &str, source: io::Error) -> Error {
        Error::new(operation, object, self.root.display(), source)
    }
}

impl Store for LocalStore {
    fn put(&self, key: &Key, parts: &[&[u8]]) -> Result<Put> {
        self.try_put(key, parts).map_err(|e| self.error(Operation::Put, key.as_str(), e))
    }

    fn get(&self, key: &Key) -> Result<Vec<u8>> {
        let read = || {
            let (mut file, size) = self.open_object(key)?;
            let mut bytes = Vec::new();
            bytes.try_reserve_exact(usize::try_from(size).unwrap_or(usize::MAX))?;
            file.read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        read().map_err(|e| self.error(Operation::Get, key.as_str(), e))
    }

    fn get_range(&self, key: &Key, range: Range<u64>, buffer: &mut Vec<u8>) -> Result<()> {
        self.try_get_range(key, range, buffer).map_err(|e| {
            buffer.clear();
            self.error(Operation::Get, key.as_str(), e)
        })
    }

    fn size(&self, key: &Key) -> Result<Option<u64>> {
        match fs::metadata(self.path(key)) {
            Ok(metadata) => Ok(Some(metadata.len()).filter(|_| !metadata.is_dir())),
            Err(e) if is_absent(&e) => Ok(None),
            Err(e) => Err(self.error(Operation::Size, key.as_str(), e)),
        }
    }

    fn list(&self, directory: &str, each: &mut dyn FnMut(Listed) -> Result<()>) -> Result<()> {
        check_directory(directory).map_err(|e| self.error(Operation::List, directory, io::Error::other(e)))?;
        self.walk(directory, each)
    }

    fn delete(&self, key: &Key) -> Result<()> {
        self.try_delete(key).map_err(|e| self.error(Operation::Delete, key.as_str(), e))
    }

    fn location(&self) -> String {
        self.root.display().to_string()
    }
}

fn key_below(directory: &str, entry: &DirEntry) -> Option<Key> {
    let name = entry.file_name();
    let name = name.to_str()?;
    if directory.is_empty() { Key::new(name).ok() } else { Key::new(&format!("{directory}/{name}")).ok() }
}

/// The size of a file, `None` for a directory (which costs no stat where the listing tells it).
fn file_size(entry: &DirEntry) -> io::Result<Option<u64>> {
    if entry.file_type()?.is_dir() { Ok(None) } else { entry.metadata().map(|metadata| Some(metadata.len())) }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn write_all(file: &mut impl Write, parts: &[&[u8]]) -> io::Result<()> {
    let mut slices: Vec<_> = parts.iter().map(|part| IoSlice::new(part)).collect();
    let mut left = &mut slices[..];
    IoSlice::advance_slices(&mut left, 0);
    while !left.is_empty() {
        match file.write_vectored(left) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut left, written),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Gives a finished file its name, unless that is taken.
fn publish(file: NamedTempFile, path: &Path) -> io::Result<Put> {
    // renameat2(RENAME_NOREPLACE) or link + unlink on Unix, MoveFileEx without replacing on Windows.
    match file.persist_noclobber(path) {
        Ok(_) => Ok(Put::Created),
        Err(e) if e.error.kind() == io::ErrorKind::AlreadyExists => {
            if fs::metadata(path)?.is_dir() {
                return Err(io::ErrorKind::IsADirectory.into());
            }
            Ok(Put::Existed)
        }
        Err(e) => Err(e.error),
    }
}

/// Makes `path` and whatever is missing above it, and syncs each directory that got a new entry.
fn create_durably(path: &Path) -> io::Result<()> {
    let parent = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return Ok(()),
    };
    if path.is_dir() {
        return Ok(());
    }
    create_durably(parent)?;
    create_private(path)?;
    sync_directory(parent)
}

/// Removes what interrupted `put`s left in `directory` once it is [`LEFTOVER_AGE`] old and its process is gone.
fn remove_leftovers(directory: &Path) -> io::Result<()> {
    let mut leftovers = fs::read_dir(directory)?.peekable();
    if leftovers.peek().is_none() {
        return Ok(());
    }
    // The file system's own clock, which on a network share is not this host's.
    let now = new_temporary(directory)?.as_file().metadata()?.modified()?;
    for leftover in leftovers.filter_map(io::Result::ok) {
        // One that has vanished meanwhile belongs to a `put` that was alive.
        let Ok(modified) = leftover.metadata().and_then(|metadata| metadata.modified()) else { continue };
        let old = now.duration_since(modified).is_ok_and(|age| age > LEFTOVER_AGE);
        let owner = leftover.file_name().to_str().and_then(owner_of);
        // In a container every run may have the same process id; a leftover of that age is not this run's.
        if old && owner.is_some_and(|process| process == std::process::id() || !is_running(process)) {
            let _ = fs::remove_file(leftover.path());
        }
    }
    Ok(())
}

/// A file that removes itself when it is dropped; its name tells whose it is.
fn new_temporary(directory: &Path) -> io::Result<NamedTempFile> {
    tempfile::Builder::new().prefix(&format!("{}-", std::process::id())).tempfile_in(directory)
}

/// The process that [`new_temporary`] wrote into a name.
fn owner_of(name: &str) -> Option<u32> {
    name.split_once('-').and_then(|(process, _)| process.parse().ok())
}

// ---- what differs between operating systems ----

/// Makes a directory unless it is there. It is for this user only: key slots stand in it, and sizes tell something too.
fn create_private(path: &Path) -> io::Result<()> {
    #[allow(unused_mut, reason = "only Unix has a mode to set")]
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => match path.is_dir() {
            true => Ok(()),
            false => Err(io::ErrorKind::NotADirectory.into()),
        },
        created => created,
    }
}

/// Makes the entries of a directory durable.
#[cfg(unix)]
fn sync_directory(path: &Path) -> io::Result<()> {
    match File::open(path)?.sync_all() {
        // Some network and FUSE file systems have no such operation; there is nothing more to ask them for.
        Err(e) if matches!(e.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => Ok(()),
        synced => synced,
    }
}

/// NTFS journals names, and flushing a handle of the directory writes that journal out. Not yet tried on Windows; where
/// the flush is refused, the name is as durable as the file system makes it by itself.
#[cfg(windows)]
fn sync_directory(path: &Path) -> io::Result<()> {
    use std::os::windows::fs::OpenOptionsExt;
    /// FILE_FLAG_BACKUP_SEMANTICS: lets `CreateFile` open a directory.
    const BACKUP_SEMANTICS: u32 = 0x0200_0000;
    let directory = fs::OpenOptions::new().write(true).custom_flags(BACKUP_SEMANTICS).open(path)?;
    match directory.sync_all() {
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        synced => synced,
    }
}

#[cfg(unix)]
fn read_exact_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, offset)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !buffer.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, buffer, offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                buffer = &mut buffer[read..];
                offset += read as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Whether a process of that id runs on this machine, as far as can be told.
#[cfg(unix)]
fn is_running(process: u32) -> bool {
    let pid = i32::try_from(process).ok().and_then(rustix::process::Pid::from_raw);
    // Only "no such process" is an answer: a process of another user may not be signalled, but it runs.
    pid.is_some_and(|pid| rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
}

/// The standard library cannot tell on Windows; there the age alone decides.
#[cfg(windows)]
fn is_running(_process: u32) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    fn key(text: &str) -> Key {
        Key::new(text).unwrap()
    }

    fn new_store() -> (tempfile::TempDir, LocalStore) {
        let directory = tempfile::tempdir().unwrap();
        let store = LocalStore::create(directory.path().join("far/down/store")).unwrap();
        (directory, store)
    }

    fn temporary_files(store: &LocalStore) -> Vec<String> {
        let entries = fs::read_dir(store.root().join(RESERVED)).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn objects_survive_reopening() {
        let (_directory, store) = new_store();
        store.put(&key("packs/3f/a"), &[b"12", b"3"]).unwrap();
        assert!(temporary_files(&store).is_empty());
        let again = LocalStore::open(store.root()).unwrap();
        assert_eq!(again.get(&key("packs/3f/a")).unwrap(), b"123");
        assert_eq!(LocalStore::create(store.root()).unwrap().size(&key("packs/3f/a")).unwrap(), Some(3));
    }

    #[test]
    fn what_is_no_directory_cannot_be_opened() {
        let (_directory, store) = new_store();
        store.put(&key("config"), &[]).unwrap();
        for place in ["absent", "config", "config/below"] {
            let error = LocalStore::open(store.root().join(place)).unwrap_err();
            assert_eq!((error.operation, error.kind), (Operation::Open, ErrorKind::NotFound), "{place}");
        }
        for place in ["config", "config/below"] {
            assert_eq!(LocalStore::create(store.root().join(place)).unwrap_err().operation, Operation::Create);
        }
    }

    #[test]
    fn a_failed_put_leaves_nothing() {
        let (_directory, store) = new_store();
        store.put(&key("packs/3f/a"), &[b"1"]).unwrap();
        for impossible in ["packs/3f", "packs/3f/a/b"] {
            assert_eq!(store.put(&key(impossible), &[b"2"]).unwrap_err().kind, ErrorKind::Other);
        }
        assert_eq!(store.put(&key("packs/3f/a"), &[b"3"]).unwrap(), Put::Existed);
        assert!(temporary_files(&store).is_empty());
    }

    #[test]
    fn foreign_files_are_not_listed() {
        let (_directory, store) = new_store();
        store.put(&key("packs/3f/a"), &[b"1"]).unwrap();
        for foreign in ["lost+found", "packs/.DS_Store", "packs/3f/a~", "README.md", "tmp/1-x"] {
            fs::write(store.root().join(foreign), b"?").unwrap();
        }
        let mut found = Vec::new();
        let each = &mut |listed: Listed| {
            found.push(listed.key);
            Ok(())
        };
        store.list("", each).unwrap();
        assert_eq!(found, [key("packs/3f/a")]);
    }

    #[cfg(unix)]
    #[test]
    fn only_old_leftovers_of_dead_processes_are_removed() {
        let (_directory, store) = new_store();
        store.put(&key("config"), &[]).unwrap();
        let (dead, own, running) = (i32::MAX, std::process::id(), std::os::unix::process::parent_id());
        let leave = |name: String, hours: u64| {
            let file = File::create(store.root().join(RESERVED).join(name)).unwrap();
            let now = file.metadata().unwrap().modified().unwrap();
            file.set_modified(now - Duration::from_secs(hours * 3600)).unwrap();
        };
        for (who, hours) in [(dead.to_string(), 25), (own.to_string(), 25)] {
            leave(format!("{who}-gone"), hours);
        }
        for (who, hours) in [(dead.to_string(), 23), (running.to_string(), 25), ("foreign".to_owned(), 1000)] {
            leave(format!("{who}-stays"), hours);
        }
        LocalStore::open(store.root()).unwrap();
        let left = temporary_files(&store);
        assert_eq!(left.len(), 3, "{left:?}");
        assert!(left.iter().all(|name| name.ends_with("-stays")), "{left:?}");
    }

    #[cfg(unix)]
    #[test]
    fn others_cannot_look_inside() {
        use std::os::unix::fs::PermissionsExt;
        let (_directory, store) = new_store();
        store.put(&key("packs/3f/a"), &[b"1"]).unwrap();
        let mode = |place: &str| fs::metadata(store.root().join(place)).unwrap().permissions().mode() & 0o777;
        assert_eq!([mode(""), mode("packs"), mode("packs/3f"), mode("packs/3f/a")], [0o700, 0o700, 0o700, 0o600]);
    }

    #[test]
    fn short_writes_are_continued() {
        /// Takes three bytes at a time and is interrupted in between.
        #[derive(Default)]
        struct Slow(Vec<u8>, bool);
        impl Write for Slow {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.1 = !self.1;
                if self.1 {
                    return Err(io::ErrorKind::Interrupted.into());
                }
                let taken = &bytes[..bytes.len().min(3)];
                self.0.extend_from_slice(taken);
                Ok(taken.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut slow = Slow::default();
        write_all(&mut slow, &[b"", b"abcd", b"", b"efghijk", b""]).unwrap();
        assert_eq!(slow.0, b"abcdefghijk");
    }
}
