//! The point-in-time list of everything beneath the roots.
//!
//! Each directory's entries are recorded once, sorted, in a few dozen bytes each. Walking them depth first
//! is manifest order, so nothing is ever sorted as a whole, and the paths are built on the way. Memory
//! holds the records up to a limit, and a table of 32 bytes for each directory.

mod entries;
mod log;
mod queue;
mod record;
mod walk;

use std::fmt;
use std::io;
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;

use icecore_format::entry::{PathBytes, compare_paths};
use icecore_format::snapshot::Problem;

pub use self::entries::{Changes, Entries};
use self::log::{Chunk, Spool};
use self::walk::{Found, Place, Walk};
use crate::excludes::Excludes;
use crate::stat::Stat;
use crate::tree::{SourceError, Tree};

/// Problems, and places that were left out, that are named one by one; more are only counted.
pub const NAMED: usize = 1_000;

/// What is left out, and what a listing may cost.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Left out by name.
    pub excludes: Excludes,
    /// Stays on the file system of each root: what is mounted below becomes an empty directory.
    pub one_file_system: bool,
    /// Leaves out the content of directories that carry a `CACHEDIR.TAG`, roots excepted.
    pub exclude_caches: bool,
    /// Device and inode of files and directories to leave out: the repository, the state directory.
    pub leave_out: Vec<(u64, u64)>,
    /// Threads that list, at least 1.
    pub threads: usize,
    /// Where records go that do not fit into `memory`; without it, all of them stay in memory.
    pub spool: Option<PathBuf>,
    /// Bytes of records that may stay in memory. The default holds about a million entries.
    pub memory: u64,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            excludes: Excludes::none(),
            one_file_system: false,
            exclude_caches: false,
            leave_out: Vec::new(),
            threads: thread::available_parallelism().map_or(1, NonZero::get),
            spool: None,
            memory: 64 * 1024 * 1024,
        }
    }
}

/// How far a listing has come; to be watched from another thread.
#[derive(Debug, Default)]
pub struct ListProgress {
    /// Entries listed so far.
    pub entries: AtomicU64,
    /// Bytes of the regular files among them.
    pub bytes: AtomicU64,
}

impl ListProgress {
    fn add(&self, entries: u64, bytes: u64) {
        self.entries.fetch_add(entries, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// One listed entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Where it stands in the snapshot.
    pub path: PathBytes,
    /// What it was when it was listed.
    pub stat: Stat,
}

/// The list of all entries as they were at one time.
pub struct Listing {
    tops: Vec<Top>,
    /// By a directory's number; `None` if it has no entries.
    places: Vec<Option<Place>>,
    /// By log.
    chunks: Vec<Vec<Chunk>>,
    spool: Spool,
    problems: Vec<Problem>,
    problem_count: u64,
    left_out: Vec<PathBytes>,
    entries: u64,
    bytes: u64,
}

/// A root's own entry; `number` if it was gone into.
#[derive(Debug)]
struct Top {
    path: PathBytes,
    stat: Stat,
    number: Option<u64>,
}

impl Listing {
    pub(crate) fn take(tree: &Tree, rules: &Rules, progress: &ListProgress) -> Result<Self, SourceError> {
        let mut listing = Self {
            tops: Vec::new(),
            places: Vec::new(),
            chunks: Vec::new(),
            spool: Spool::new(rules.spool.clone(), rules.memory),
            problems: Vec::new(),
            problem_count: 0,
            left_out: Vec::new(),
            entries: 0,
            bytes: 0,
        };
        let held_open = AtomicUsize::new(0);
        let walk = Walk::new(tree, rules, progress, &held_open);
        for root in tree.opened() {
            let stat = root.stat()?;
            let path = root.prefix.clone();
            let is_left_out = rules.leave_out.contains(&(stat.device, stat.inode));
            let number = if is_left_out {
                listing.left_out.push(path.clone());
                None
            } else {
                Some(walk.offer_root(&path, stat.device))
            };
            listing.tops.push(Top { path, stat, number });
        }
        listing.entries = listing.tops.len() as u64;
        progress.add(listing.entries, 0);
        let found = work(&walk, &listing.spool, rules.threads)
            .map_err(|source| SourceError::Spool { directory: rules.spool.clone().unwrap_or_default(), source })?;
        drop(walk);
        listing.add(found);
        Ok(listing)
    }

    fn add(&mut self, found: Vec<Found>) {
        for part in found {
            for (number, place) in part.places {
                let at = number as usize;
                if self.places.len() <= at {
                    self.places.resize(at + 1, None);
                }
                self.places[at] = Some(place);
            }
            self.chunks.push(part.chunks);
            self.problems.extend(part.problems);
            self.problem_count += part.problem_count;
            self.left_out.extend(part.left_out);
            self.entries += part.entries;
            self.bytes += part.bytes;
        }
        self.problems.sort_by(|a, b| compare_paths(&a.path, &b.path));
        self.problems.truncate(NAMED);
        self.left_out.sort_by(|a, b| compare_paths(a, b));
        self.left_out.truncate(NAMED);
    }

    /// The number of entries, roots included.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// The bytes of all regular files; a file with several links counts at each.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What could not be listed, in manifest order: an unreadable directory (which is itself an entry, an
    /// empty one) or an entry without a stat (which is none). At most [`NAMED`] of them.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The number of problems, beyond those named too.
    pub fn problem_count(&self) -> u64 {
        self.problem_count
    }

    /// What was left out other than by an exclude pattern, in manifest order: `leave_out`, mounted file
    /// systems, cache directories. At most [`NAMED`] of them.
    pub fn left_out(&self) -> &[PathBytes] {
        &self.left_out
    }

    /// All entries in manifest order; a root before what is in it. The only errors are those of reading
    /// back what was put aside, and they end it.
    pub fn iter(&self) -> Entries<'_> {
        Entries::new(self)
    }

    /// The entries that an earlier listing of the same roots does not have, or not with the same stat; and those whose
    /// number in it, counted from 0 in manifest order, is among `also` (ascending). No path is built for the others.
    ///
    /// # Errors
    /// As those of [`iter`](Self::iter), of either listing.
    pub fn changes_since<'l>(&'l self, before: &'l Self, also: &'l [u64]) -> io::Result<Changes<'l>> {
        Changes::new(self, before, also)
    }
}

impl fmt::Debug for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listing").field("entries", &self.entries).field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl<'l> IntoIterator for &'l Listing {
    type Item = io::Result<Listed>;
    type IntoIter = Entries<'l>;

    fn into_iter(self) -> Entries<'l> {
        self.iter()
    }
}

/// Walks on this thread and others. A thread that cannot be started is not missed.
fn work<'w>(walk: &Walk<'w>, spool: &'w Spool, threads: usize) -> io::Result<Vec<Found>> {
    thread::scope(|scope| {
        let others: Vec<_> = (1..threads.max(1))
            .map_while(|number| {
                let name = format!("list-{number}");
                thread::Builder::new().name(name).spawn_scoped(scope, move || walk.work(spool, number as u32)).ok()
            })
            .collect();
        let mut found = vec![walk.work(spool, 0)];
        for other in others {
            found.push(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        found.into_iter().collect()
    })
}

#[cfg(all(test, target_os = "linux"))]
mod tests;
