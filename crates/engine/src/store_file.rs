//! One hot entry of the live side becomes a manifest entry: read, cut, hash, claim.

mod content;
mod extents;
mod proof;
mod stretch;
mod team;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use icecore_format::cut::CutParams;
use icecore_format::entry::{Class, Content, Entry, File, Meta, Node, Timestamp};
use icecore_format::snapshot::{Problem, ProblemKind};
use icecore_repo::{ChunkReader, ChunkWriter};
use icecore_source::{Kind, Listed, LiveFile, Stat, Tree};

pub(crate) use self::team::Team;
use crate::archive::Archive;
use crate::error::{Error, Result};
use crate::progress::Progress;

/// Bytes asked for at once: several of the largest chunks, small enough to stay in a core's cache.
const READ_SIZE: usize = 2 << 20;

/// Bytes of a page of the kernel's cache, or a part of it.
const PAGE: usize = 4096;

/// A file whose times are closer to the moment of reading than this is racy: kernels stamp files with a clock that ticks
/// every 1 to 10 ms (`CONFIG_HZ`), so a later change within the tick leaves the same time behind.
const TICK: i128 = 20_000_000;

/// The same for file systems that keep whole seconds (or, as FAT does, two): told by times without a fraction.
const COARSE_TICK: i128 = 2_000_000_000;

/// What became of an entry.
pub(crate) struct Outcome {
    /// The entry, unless it is gone.
    pub(crate) entry: Option<Entry>,
    /// What was wrong with it.
    pub(crate) problem: Option<Problem>,
    /// Bytes of it that were read.
    pub(crate) bytes_read: u64,
}

/// Reads entries; one for each thread.
pub(crate) struct FileStorer<'a> {
    tree: &'a Tree,
    params: &'a CutParams,
    clock: &'a (dyn Fn() -> Timestamp + Sync),
    progress: &'a Progress,
    writer: ChunkWriter,
    buffer: Vec<u8>,
    /// Bytes of the present file that were read.
    bytes_read: u64,
    /// When to give up.
    deadline: Option<Instant>,
    /// Holds what files were before.
    archive: Option<&'a Archive>,
    /// Reads from it, once that was needed.
    reader: Option<ChunkReader>,
    team: Option<Team>,
}

/// Why a file was not stored.
enum Failure {
    /// This concerns the file alone.
    File(io::Error),
    /// This ends the backup.
    Backup(Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::File(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Backup(error)
    }
}

impl From<icecore_repo::Error> for Failure {
    fn from(error: icecore_repo::Error) -> Self {
        Self::Backup(error.into())
    }
}

impl<'a> FileStorer<'a> {
    pub(crate) fn new(
        tree: &'a Tree,
        params: &'a CutParams,
        clock: &'a (dyn Fn() -> Timestamp + Sync),
        progress: &'a Progress,
        writer: ChunkWriter,
    ) -> Self {
        Self {
            tree,
            params,
            clock,
            progress,
            writer,
            buffer: vec![0; READ_SIZE],
            bytes_read: 0,
            deadline: None,
            archive: None,
            reader: None,
            team: None,
        }
    }

    /// Gives up with [`Error::WindowExceeded`] when the deadline has passed.
    pub(crate) fn until(self, deadline: Option<Instant>) -> Self {
        Self { deadline, ..self }
    }

    /// What the archive holds of a file proves where it is cut now.
    pub(crate) fn proving_with(self, archive: Option<&'a Archive>) -> Self {
        Self { archive, ..self }
    }

    /// Reads large files together with others of the team.
    pub(crate) fn member_of(self, team: Team) -> Self {
        Self { team: Some(team), ..self }
    }

    fn check(&self) -> Result<()> {
        self.progress.check()?;
        match self.deadline {
            Some(deadline) if Instant::now() >= deadline => Err(Error::WindowExceeded),
            _ => Ok(()),
        }
    }

    /// Sends what is left on its way.
    pub(crate) fn finish(self) -> Result<()> {
        Ok(self.writer.finish()?)
    }

    /// Reads what the listing does not hold: content, targets, extended attributes. `before` is how the file was cut before.
    pub(crate) fn store(&mut self, listed: &Listed, before: Option<&File>) -> Result<Outcome> {
        self.check()?;
        self.bytes_read = 0;
        let attempt = match listed.stat.kind {
            Kind::File => self.store_file(listed, before)?,
            _ => self.describe(listed).map(|entry| Outcome { entry: Some(entry), problem: None, bytes_read: 0 }),
        };
        let outcome = attempt.unwrap_or_else(|error| failed(listed, &error));
        // What the listing promised and the file did not have, or what was a hole, is done too.
        let size = if listed.stat.kind == Kind::File { listed.stat.size } else { 0 };
        self.progress.done(size.saturating_sub(self.bytes_read));
        Ok(Outcome { bytes_read: self.bytes_read, ..outcome })
    }

    fn describe(&self, listed: &Listed) -> io::Result<Entry> {
        let stat = &listed.stat;
        let node = match stat.kind {
            Kind::Directory | Kind::File => Node::Directory,
            Kind::Symlink => Node::Symlink { target: self.tree.read_link(&listed.path)? },
            Kind::Fifo => Node::Fifo,
            Kind::Socket => Node::Socket,
            Kind::CharDevice => Node::CharDevice { major: stat.rdev.0, minor: stat.rdev.1 },
            Kind::BlockDevice => Node::BlockDevice { major: stat.rdev.0, minor: stat.rdev.1 },
        };
        let mut meta = meta(stat);
        meta.xattrs = self.tree.xattrs(&listed.path, stat.kind)?;
        Ok(Entry { path: listed.path.clone(), meta, node, link_of: None })
    }

    /// The outer error ends the backup, the inner one concerns this file alone.
    fn store_file(&mut self, listed: &Listed, before: Option<&File>) -> Result<io::Result<Outcome>> {
        let began = (self.clock)();
        let file = match self.tree.open_file(&listed.path) {
            Ok(file) => file,
            Err(error) => return Ok(Err(error)),
        };
        let xattrs = match file.xattrs() {
            Ok(xattrs) => xattrs,
            Err(error) => return Ok(Err(error)),
        };
        let expected = listed.stat.size;
        let (class, content, size) = match self.store_content(&file, expected, &listed.stat, before) {
            Ok(stored) => stored,
            Err(Failure::File(error)) => return Ok(Err(error)),
            Err(Failure::Backup(error)) => return Err(error),
        };
        let after = match file.stat() {
            Ok(stat) => stat,
            Err(error) => return Ok(Err(error)),
        };
        let same = size == expected && same_content(&listed.stat, &after);
        let problem = (!same).then(|| Problem {
            path: listed.path.clone(),
            kind: ProblemKind::Changed,
            message: format!("changed while it was read ({expected} bytes when listed, {size} read)"),
        });
        // What was read stands with the stat of the listing; racy, so that the next backup reads it again.
        let racy = !same || is_racy(&listed.stat, began);
        let mut meta = meta(&listed.stat);
        meta.xattrs = xattrs;
        let node = Node::File(File { size, class, content, racy });
        let entry = Entry { path: listed.path.clone(), meta, node, link_of: None };
        Ok(Ok(Outcome { entry: Some(entry), problem, bytes_read: 0 }))
    }

    /// Makes room in the buffer for so many bytes of a file from `offset` on; gives where in the buffer that is.
    ///
    /// They stand within a page as they do in the kernel's cache: some processors (AMD's Zen 3 and 4) copy at a third of their speed
    /// to where a page's bytes would stand a few bytes further on, as they do at the beginning of an allocation.
    fn make_room(&mut self, offset: u64, len: usize) -> usize {
        if self.buffer.len() < len + 2 * PAGE {
            self.buffer = vec![0; len + 2 * PAGE];
        }
        self.buffer.as_ptr().align_offset(PAGE).min(PAGE) + (offset % PAGE as u64) as usize
    }

    /// Counts bytes of the present file as read.
    fn count(&mut self, read: u64) {
        self.bytes_read += read;
        self.progress.bytes.fetch_add(read, Relaxed);
    }

    /// What reads lists of pieces that files had, if anything can.
    fn take_reader(&mut self) -> Option<ChunkReader> {
        self.reader.take().or_else(|| self.archive?.reader().ok())
    }
}

/// Reads at an offset of a file; 0 at its end.
fn read(file: &LiveFile, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match file.read_at(offset, buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

/// An entry that could not be read: gone entries are left out, others stay with what the listing knows of them.
fn failed(listed: &Listed, error: &io::Error) -> Outcome {
    // A directory on the way may have become something else.
    let gone = matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory);
    let problem = Problem {
        path: listed.path.clone(),
        kind: if gone { ProblemKind::Vanished } else { ProblemKind::Unreadable },
        message: error.to_string(),
    };
    let node = match listed.stat.kind {
        Kind::File => Some(Node::File(File {
            size: listed.stat.size,
            class: Class::default(),
            content: Content::Missing,
            racy: true,
        })),
        Kind::Directory => Some(Node::Directory),
        _ => None,
    };
    // Without its ctime nothing is known of it the next time, so that what is missing is tried again, and named again.
    let meta = Meta { ctime: Timestamp::default(), ..meta(&listed.stat) };
    let entry = node.filter(|_| !gone).map(|node| Entry { path: listed.path.clone(), meta, node, link_of: None });
    Outcome { entry, problem: Some(problem), bytes_read: 0 }
}

/// The metadata that a stat holds; extended attributes are read apart.
pub(crate) fn meta(stat: &Stat) -> Meta {
    Meta {
        mode: stat.mode,
        uid: stat.uid,
        gid: stat.gid,
        mtime: stat.mtime,
        ctime: stat.ctime,
        inode: stat.inode,
        links: stat.links,
        xattrs: Vec::new(),
    }
}

fn same_content(a: &Stat, b: &Stat) -> bool {
    (a.kind, a.inode, a.size, a.mtime, a.ctime) == (b.kind, b.inode, b.size, b.mtime, b.ctime)
}

fn nanos(time: Timestamp) -> i128 {
    i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos)
}

/// Whether a change after `read` could leave the recorded times as they are.
fn is_racy(stat: &Stat, read: Timestamp) -> bool {
    let coarse = stat.mtime.nanos == 0 && stat.ctime.nanos == 0;
    let tick = if coarse { COARSE_TICK } else { TICK };
    nanos(stat.mtime.max(stat.ctime)) >= nanos(read) - tick
}
