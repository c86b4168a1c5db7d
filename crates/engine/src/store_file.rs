//! One hot entry of the live side becomes a manifest entry: read, cut, hash, claim.

mod content;
mod entry;
mod extents;
mod proof;
mod stretch;
mod team;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use icecore_format::cut::CutParams;
use icecore_format::entry::{Entry, File, Node, Timestamp, Xattr};
use icecore_format::snapshot::Problem;
use icecore_repo::{ChunkReader, ChunkWriter};
use icecore_source::capture::{ClonedFile, Cloner};
use icecore_source::{Kind, Listed, ReadAt, Stat, Tree};

pub(crate) use self::entry::{Outcome, meta};
use self::entry::{changed, failed, is_racy, same_content, stored};
pub(crate) use self::team::Team;
use crate::archive::Archive;
use crate::error::{Error, Result};
use crate::pace::Pace;
use crate::progress::Progress;

/// Bytes asked for at once: several of the largest chunks, small enough to stay in a core's cache.
const READ_SIZE: usize = 2 << 20;

/// Bytes of a page of the kernel's cache, or a part of it.
const PAGE: usize = 4096;

/// Files of fewer bytes are read rather than cloned: a clone takes about 0.25 ms on XFS and btrfs, in which so much of
/// what was just written is read.
const CLONED_FROM: u64 = 128 << 10;

/// A regular file that was cloned, to be read later.
pub(crate) struct Cloned {
    /// As it was listed.
    pub(crate) stat: Stat,
    content: ClonedFile,
    xattrs: Vec<Xattr>,
    /// Its content is not older than this.
    fixed: Timestamp,
    /// It was no longer what was listed.
    pub(crate) problem: Option<Problem>,
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
    reading: Duration,
    /// When to give up; in a freeze window alone.
    deadline: Option<Instant>,
    /// How fast it reads where there is no deadline.
    pace: Option<&'a Pace>,
    /// How long it held back for that.
    paused: Duration,
    /// Holds what files were before.
    archive: Option<&'a Archive>,
    /// Reads from it, once that was needed.
    reader: Option<ChunkReader>,
    /// Every chunk that files had before was found in the index since it last lost something.
    old_is_stored: bool,
    team: Option<Team>,
    /// When all of the tree stopped changing; `None`: it has not.
    fixed: Option<Timestamp>,
}

/// What is read, by several threads if it is large.
type Readable = Arc<dyn ReadAt>;

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
            reading: Duration::ZERO,
            deadline: None,
            pace: None,
            paused: Duration::ZERO,
            archive: None,
            reader: None,
            old_is_stored: false,
            team: None,
            fixed: None,
        }
    }

    /// Reads no faster, but for freeze windows.
    pub(crate) fn paced_by(self, pace: Option<&'a Pace>) -> Self {
        Self { pace, ..self }
    }

    /// Gives up with [`Error::WindowExceeded`] when the deadline has passed.
    pub(crate) fn until(self, deadline: Option<Instant>) -> Self {
        Self { deadline, ..self }
    }

    /// The same, while it is used.
    pub(crate) fn set_deadline(&mut self, deadline: Instant) {
        self.deadline = Some(deadline);
    }

    /// What the archive holds of a file proves where it is cut now; and if it is known to be stored, chunks that are still
    /// the same are not looked up again.
    pub(crate) fn proving_with(self, archive: Option<&'a Archive>, is_stored: bool) -> Self {
        Self { archive, old_is_stored: is_stored, ..self }
    }

    /// Reads large files together with others of the team.
    pub(crate) fn member_of(self, team: Team) -> Self {
        Self { team: Some(team), ..self }
    }

    /// What is read was fixed at that time, and not when it is read.
    pub(crate) fn fixed_at(self, fixed: Option<Timestamp>) -> Self {
        Self { fixed, ..self }
    }

    fn check(&self) -> Result<()> {
        self.progress.check()?;
        match self.deadline {
            Some(deadline) if Instant::now() >= deadline => Err(Error::WindowExceeded),
            _ => Ok(()),
        }
    }

    /// How long it read, cut and hashed so far, without compressing and storing.
    pub(crate) fn reading(&self) -> Duration {
        self.reading
    }

    /// Does something that reads.
    fn timed<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        let (began, sent, paused) = (Instant::now(), self.writer.sending(), self.paused);
        let done = work(self);
        // How long a window takes is foretold by it, and nobody holds back there.
        self.reading += began.elapsed().saturating_sub(self.writer.sending() - sent + (self.paused - paused));
        done
    }

    /// Sends what is left on its way.
    pub(crate) fn finish(self) -> Result<()> {
        Ok(self.writer.finish()?)
    }

    /// Reads what the listing does not hold: content, targets, extended attributes. `before` is how the file was cut before;
    /// the content of one that was `cloned` is read from its clone.
    pub(crate) fn store(
        &mut self,
        listed: &Listed,
        before: Option<&File>,
        cloned: Option<Box<Cloned>>,
    ) -> Result<Outcome> {
        self.timed(|storer| storer.store_entry(listed, before, cloned))
    }

    fn store_entry(&mut self, listed: &Listed, before: Option<&File>, cloned: Option<Box<Cloned>>) -> Result<Outcome> {
        self.check()?;
        self.bytes_read = 0;
        let attempt = match (cloned, listed.stat.kind) {
            (Some(cloned), _) => self.store_clone(listed, before, *cloned)?,
            (None, Kind::File) => self.store_file(listed, before)?,
            _ => self.describe(listed).map(|entry| Outcome { entry: Some(entry), problem: None, bytes_read: 0 }),
        };
        let outcome = attempt.unwrap_or_else(|error| failed(listed, &error));
        // What the listing promised and the file did not have, or what was a hole, is done too.
        let size = if listed.stat.kind == Kind::File { listed.stat.size } else { 0 };
        self.progress.done(size.saturating_sub(self.bytes_read));
        Ok(Outcome { bytes_read: self.bytes_read, ..outcome })
    }

    /// Clones a regular file with its extended attributes; `None` if it has to be read: it is small, or cannot be
    /// cloned.
    pub(crate) fn clone_file(&self, listed: &Listed, cloner: &mut Cloner) -> Result<Option<Box<Cloned>>> {
        self.check()?;
        if listed.stat.kind != Kind::File || listed.stat.size < CLONED_FROM {
            return Ok(None);
        }
        // Whatever is wrong with the file, reading it says so.
        Ok(self.try_to_clone(listed, cloner).ok().map(Box::new))
    }

    fn try_to_clone(&self, listed: &Listed, cloner: &mut Cloner) -> io::Result<Cloned> {
        let stat = listed.stat;
        let fixed = (self.clock)();
        let file = self.tree.open_file(&listed.path)?;
        let xattrs = file.xattrs()?;
        let content = cloner.clone_file(&file, &stat)?;
        let same = same_content(&stat, &file.stat()?);
        let problem = (!same).then(|| changed(listed, "changed before it was cloned".to_owned()));
        Ok(Cloned { stat, content, xattrs, fixed, problem })
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
        let began = self.fixed.unwrap_or_else(self.clock);
        let file = match self.tree.open_file(&listed.path) {
            Ok(file) => Arc::new(file),
            Err(error) => return Ok(Err(error)),
        };
        let xattrs = match file.xattrs() {
            Ok(xattrs) => xattrs,
            Err(error) => return Ok(Err(error)),
        };
        let content: Readable = file.clone();
        let expected = listed.stat.size;
        let (class, content, size) = match self.store_content(&content, expected, &listed.stat, before) {
            Ok(stored) => stored,
            Err(Failure::File(error)) => return Ok(Err(error)),
            Err(Failure::Backup(error)) => return Err(error),
        };
        let after = match file.stat() {
            Ok(stat) => stat,
            Err(error) => return Ok(Err(error)),
        };
        let same = size == expected && same_content(&listed.stat, &after);
        let problem = (!same)
            .then(|| changed(listed, format!("changed while it was read ({expected} bytes when listed, {size} read)")));
        Ok(Ok(stored(listed, File { size, class, content, racy: is_racy(&listed.stat, began) }, xattrs, problem)))
    }

    /// As [`store_file`](Self::store_file), of what stood there when it was cloned.
    fn store_clone(&mut self, listed: &Listed, before: Option<&File>, cloned: Cloned) -> Result<io::Result<Outcome>> {
        let Cloned { content, xattrs, fixed, problem, .. } = cloned;
        let expected = listed.stat.size;
        let content: Readable = Arc::new(content);
        let (class, content, size) = match self.store_content(&content, expected, &listed.stat, before) {
            Ok(stored) => stored,
            Err(Failure::File(error)) => return Ok(Err(error)),
            Err(Failure::Backup(error)) => return Err(error),
        };
        let short = || changed(listed, format!("its clone has {size} bytes, and {expected} were listed"));
        let problem = problem.or_else(|| (size != expected).then(short));
        Ok(Ok(stored(listed, File { size, class, content, racy: is_racy(&listed.stat, fixed) }, xattrs, problem)))
    }

    /// Makes room in the buffer for so many bytes of a file from `offset` on; gives where in the buffer that is.
    ///
    /// They stand within a page as they do in the kernel's cache: to where they would stand a few bytes further on, as
    /// at the beginning of an allocation, some processors copy at a third of their speed (measured on an AMD EPYC).
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
        if let (Some(pace), None) = (self.pace, self.deadline) {
            self.paused += pace.take(read, || self.progress.is_stopped());
        }
    }

    /// What reads lists of pieces that files had, if anything can.
    fn take_reader(&mut self) -> Option<ChunkReader> {
        self.reader.take().or_else(|| self.archive?.reader().ok())
    }
}

/// Reads at an offset of a file; 0 at its end.
fn read(file: &dyn ReadAt, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match file.read_at(offset, buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}
