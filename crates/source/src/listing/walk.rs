//! The parallel walk that takes a listing.
//!
//! ```text
//! each thread: take the directory that was found last → read its names → sort → stat each → append to
//!              the thread's log → offer its subdirectories to all
//! ```
//! Nothing is opened but directories (and a cache directory's tag). A directory is opened relative to its
//! parent, as long as not too many parents are held open, else by its path.

use std::ffi::CStr;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use icecore_format::entry::PathBytes;
use icecore_format::snapshot::{Problem, ProblemKind};

use super::log::{Chunk, Log, Position, Spool};
use super::queue::Queue;
use super::{ListProgress, NAMED, Rules, record};
use crate::capture::is_snapshot;
use crate::os::{self, Dir, NameList};
use crate::stat::{Kind, Stat};
use crate::tree::Tree;

/// Directories held open for their subdirectories' sake: well below 1,024, the usual soft limit of
/// descriptors of a process.
const HELD_OPEN: usize = 256;

/// What <https://bford.info/cachedir/> calls a cache directory's tag, and how it must begin.
const CACHE_TAG: &CStr = c"CACHEDIR.TAG";
const CACHE_SIGNATURE: &[u8; 43] = b"Signature: 8a477f597d28d172789f06886806bc55";

/// Where a directory's records begin. Its subdirectories that were gone into are numbered on from
/// `first_child`, in order.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) start: Position,
    pub(super) first_child: u64,
}

/// What one thread found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) chunks: Vec<Chunk>,
    /// With the directory's number.
    pub(super) places: Vec<(u64, Place)>,
    pub(super) problems: Vec<Problem>,
    pub(super) problem_count: u64,
    pub(super) left_out: Vec<PathBytes>,
    pub(super) entries: u64,
    pub(super) bytes: u64,
}

/// What the threads of one walk share.
#[derive(Debug)]
pub(super) struct Walk<'w> {
    tree: &'w Tree,
    rules: &'w Rules,
    progress: &'w ListProgress,
    held_open: &'w AtomicUsize,
    next_number: AtomicU64,
    queue: Queue<Batch<'w>>,
}

impl<'w> Walk<'w> {
    /// Prepares a walk; `held_open` begins with 0.
    pub(super) fn new(
        tree: &'w Tree,
        rules: &'w Rules,
        progress: &'w ListProgress,
        held_open: &'w AtomicUsize,
    ) -> Self {
        Self { tree, rules, progress, held_open, next_number: AtomicU64::new(0), queue: Queue::new() }
    }

    /// Has a root listed, and tells its number.
    pub(super) fn offer_root(&self, prefix: &[u8], device: u64) -> u64 {
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        let parent = Arc::new(Parent { path: Vec::new(), root_device: device, handle: None });
        self.queue.offer(Batch { parent, names: [prefix, b"\0"].concat(), next: 0, number, roots: true });
        number
    }

    /// Lists directories until there are none left, together with whoever else does the same.
    pub(super) fn work(&self, spool: &'w Spool, number: u32) -> io::Result<Found> {
        let mut worker = Worker {
            walk: self,
            log: Log::new(spool, number),
            names: NameList::default(),
            buffer: Vec::new(),
            path: Vec::new(),
            found: Found::default(),
        };
        while let Some((task, _turn)) = self.queue.take() {
            worker.list(task).inspect_err(|_| self.queue.stop())?;
        }
        worker.found.chunks = worker.log.finish()?;
        Ok(worker.found)
    }
}

/// Subdirectories of one directory, from the first that nobody has taken yet.
#[derive(Debug)]
struct Batch<'w> {
    parent: Arc<Parent<'w>>,
    /// In order, each with a terminating NUL.
    names: Vec<u8>,
    next: usize,
    number: u64,
    roots: bool,
}

/// What subdirectories need to know of the directory that they are in.
#[derive(Debug)]
struct Parent<'w> {
    path: PathBytes,
    root_device: u64,
    handle: Option<Handle<'w>>,
}

/// A directory that is held open, and counted.
#[derive(Debug)]
struct Handle<'w> {
    dir: Dir,
    held_open: &'w AtomicUsize,
}

impl Drop for Handle<'_> {
    fn drop(&mut self) {
        self.held_open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A directory to be listed.
#[derive(Debug)]
struct Task<'w> {
    parent: Arc<Parent<'w>>,
    path: PathBytes,
    number: u64,
    is_root: bool,
}

impl<'w> Iterator for Batch<'w> {
    type Item = Task<'w>;

    fn next(&mut self) -> Option<Task<'w>> {
        let rest = self.names.get(self.next..)?;
        let len = rest.iter().position(|&b| b == 0)?;
        let mut path = Vec::with_capacity(self.parent.path.len() + 1 + len);
        path.extend_from_slice(&self.parent.path);
        push_name(&mut path, &rest[..len]);
        let number = self.number;
        self.next += len + 1;
        self.number += 1;
        Some(Task { parent: Arc::clone(&self.parent), path, number, is_root: self.roots })
    }
}

/// One thread's part.
struct Worker<'s, 'w> {
    walk: &'s Walk<'w>,
    log: Log<'w>,
    names: NameList,
    buffer: Vec<u8>,
    path: PathBytes,
    found: Found,
}

impl<'w> Worker<'_, 'w> {
    /// Lists one directory.
    ///
    /// # Errors
    /// Only what the spool cannot take: whatever is wrong with the directory is a problem to be named.
    fn list(&mut self, task: Task<'w>) -> io::Result<()> {
        self.names.clear();
        let dir = match self.open(&task) {
            Ok(dir) => dir,
            Err(error) => {
                self.cannot_list(&task, &error);
                return Ok(());
            }
        };
        // What is read before an error is listed.
        if let Err(error) = dir.read_names(&mut self.buffer, &mut self.names) {
            self.cannot_list(&task, &error);
        }
        self.names.sort();
        if self.walk.rules.exclude_caches && !task.is_root && self.is_cache(&dir) {
            self.leave_out(&task.path);
            return Ok(());
        }
        self.record(dir, task)
    }

    fn open(&self, task: &Task<'w>) -> io::Result<Dir> {
        match &task.parent.handle {
            Some(parent) => parent.dir.open_readable(name_of(&task.path)),
            None => {
                let (root, rest) = self.walk.tree.resolve(&task.path)?;
                root.open_readable(rest)
            }
        }
    }

    fn is_cache(&self, dir: &Dir) -> bool {
        let mut head = [0; CACHE_SIGNATURE.len()];
        self.names.contains(CACHE_TAG)
            && dir
                .open_file(CACHE_TAG.to_bytes())
                .and_then(|tag| os::read_at(&tag, 0, &mut head))
                .is_ok_and(|len| head[..len] == CACHE_SIGNATURE[..])
    }

    /// Appends the entries that `self.names` names to the log, and offers the directories among them.
    fn record(&mut self, dir: Dir, task: Task<'w>) -> io::Result<()> {
        let names = std::mem::take(&mut self.names);
        let start = self.log.position();
        let (mut entries, mut bytes, mut children) = (0, 0, 0);
        let mut to_list = Vec::new();
        for name in names.iter() {
            let stat = match dir.stat(name) {
                Ok(stat) => stat,
                // Gone since the names were read: it is not part of this instant.
                Err(error) if is_gone(&error) => continue,
                Err(error) => {
                    self.problem(&join(&task.path, name), &error);
                    continue;
                }
            };
            let Some(goes_in) = self.admit(&task, name, &stat) else { continue };
            self.log.append(|log| record::write(log, name.to_bytes(), &stat, goes_in))?;
            entries += 1;
            if stat.kind == Kind::File {
                bytes += stat.size;
            }
            if goes_in {
                children += 1;
                to_list.extend_from_slice(name.to_bytes_with_nul());
            }
        }
        self.names = names;
        if entries > 0 {
            self.log.append(record::write_end)?;
            let first_child = self.walk.next_number.fetch_add(children, Ordering::Relaxed);
            self.found.places.push((task.number, Place { start, first_child }));
            if children > 0 {
                self.offer(dir, task, to_list, first_child);
            }
        }
        self.found.entries += entries;
        self.found.bytes += bytes;
        self.walk.progress.add(entries, bytes);
        Ok(())
    }

    /// Decides what becomes of an entry: left out (`None`), or recorded and, if `true`, gone into.
    fn admit(&mut self, task: &Task<'_>, name: &CStr, stat: &Stat) -> Option<bool> {
        let rules = self.walk.rules;
        let is_dir = stat.kind == Kind::Directory;
        if !rules.excludes.is_empty() {
            self.path.clone_from(&task.path);
            push_name(&mut self.path, name.to_bytes());
            if rules.excludes.matches(&self.path, is_dir) {
                return None;
            }
        }
        let is_ours =
            rules.leave_out.contains(&(stat.device, stat.inode)) || is_dir && is_snapshot(name.to_bytes(), stat.inode);
        let is_elsewhere = rules.one_file_system && stat.device != task.parent.root_device;
        if !is_ours && !is_elsewhere {
            return Some(is_dir);
        }
        self.leave_out(&join(&task.path, name));
        // What a file system is mounted on has to be there when the snapshot is restored.
        (is_dir && !is_ours).then_some(false)
    }

    fn offer(&self, dir: Dir, task: Task<'w>, names: Vec<u8>, number: u64) {
        let handle = Handle { dir, held_open: self.walk.held_open };
        let held = handle.held_open.fetch_add(1, Ordering::Relaxed);
        let parent = Parent {
            path: task.path,
            root_device: task.parent.root_device,
            handle: (held < HELD_OPEN).then_some(handle),
        };
        self.walk.queue.offer(Batch { parent: Arc::new(parent), names, next: 0, number, roots: false });
    }

    /// A directory that is gone since its parent was listed is an empty one: no problem, unless everything
    /// would be gone with it.
    fn cannot_list(&mut self, task: &Task<'_>, error: &io::Error) {
        if task.is_root || !is_gone(error) {
            self.problem(&task.path, error);
        }
    }

    /// Remembers what could not be listed; what goes beyond [`NAMED`] is only counted.
    fn problem(&mut self, path: &[u8], error: &io::Error) {
        self.found.problem_count += 1;
        if self.found.problems.len() < NAMED {
            let problem = Problem { path: path.to_vec(), kind: ProblemKind::Unreadable, message: error.to_string() };
            self.found.problems.push(problem);
        }
    }

    fn leave_out(&mut self, path: &[u8]) {
        if self.found.left_out.len() < NAMED {
            self.found.left_out.push(path.to_vec());
        }
    }
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

fn join(directory: &[u8], name: &CStr) -> PathBytes {
    let mut path = directory.to_vec();
    push_name(&mut path, name.to_bytes());
    path
}

fn name_of(path: &[u8]) -> &[u8] {
    path.rsplit(|&b| b == b'/').next().unwrap_or_default()
}

/// Appends a component to a path.
pub(super) fn push_name(path: &mut PathBytes, name: &[u8]) {
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
}
