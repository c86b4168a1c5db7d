//! One hot entry of the live side becomes a manifest entry: read, cut, hash, claim.

use std::io;
use std::ops::Range;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use icecore_format::cut::{CutParams, Cutter, detect};
use icecore_format::entry::{Class, Content, Entry, File, Meta, Node, Piece, Timestamp};
use icecore_format::manifest::PieceWriter;
use icecore_format::snapshot::{Problem, ProblemKind};
use icecore_repo::ChunkWriter;
use icecore_source::{Kind, Listed, LiveFile, Stat, Tree};

use crate::error::{Error, Result};
use crate::progress::Progress;

/// Bytes asked for at once: several of the largest chunks, small enough to stay in a core's cache.
const READ_SIZE: usize = 2 << 20;

/// A file whose times are closer to the moment of reading than this is racy: kernels stamp files with a clock that ticks
/// every 1 to 10 ms (`CONFIG_HZ`), so a later change within the tick leaves the same time behind.
const TICK: i128 = 20_000_000;

/// The same for file systems that keep whole seconds (or, as FAT does, two): told by times without a fraction.
const COARSE_TICK: i128 = 2_000_000_000;

/// Bytes at the head of a file that are looked at to tell its class.
const HEAD: usize = 4096;

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
}

impl<'a> FileStorer<'a> {
    pub(crate) fn new(
        tree: &'a Tree,
        params: &'a CutParams,
        clock: &'a (dyn Fn() -> Timestamp + Sync),
        progress: &'a Progress,
        writer: ChunkWriter,
    ) -> Self {
        Self { tree, params, clock, progress, writer, buffer: vec![0; READ_SIZE], bytes_read: 0, deadline: None }
    }

    /// Gives up with [`Error::WindowExceeded`] when the deadline has passed.
    pub(crate) fn until(self, deadline: Option<Instant>) -> Self {
        Self { deadline, ..self }
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

    /// Reads what the listing does not hold: content, targets, extended attributes. `class` is how the file was cut before.
    pub(crate) fn store(&mut self, listed: &Listed, class: Option<Class>) -> Result<Outcome> {
        self.check()?;
        self.bytes_read = 0;
        let attempt = match listed.stat.kind {
            Kind::File => self.store_file(listed, class)?,
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
    fn store_file(&mut self, listed: &Listed, class: Option<Class>) -> Result<io::Result<Outcome>> {
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
        let (class, content, size) = match self.store_content(&file, expected, &listed.stat, class)? {
            Ok(stored) => stored,
            Err(error) => return Ok(Err(error)),
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

    fn store_content(
        &mut self,
        file: &LiveFile,
        size: u64,
        stat: &Stat,
        class: Option<Class>,
    ) -> Result<io::Result<(Class, Content, u64)>> {
        let mut pieces = PieceWriter::new();
        let mut class = class;
        let mut done = 0;
        // Fewer blocks than bytes: there are holes, or the file system compresses; then there are none, and that is told.
        let sparse = stat.blocks.saturating_mul(512) < size;
        while done < size {
            let data = if sparse {
                match file.next_data(done, size) {
                    Ok(data) => data.unwrap_or(size..size),
                    Err(error) => return Ok(Err(error)),
                }
            } else {
                0..size
            };
            let data = data.start.clamp(done, size)..data.end.min(size);
            if data.start > done {
                pieces.push(Piece::Hole { len: data.start - done }, &mut self.writer).map_err(Error::WriteManifest)?;
                done = data.start;
            }
            if data.end <= data.start {
                continue;
            }
            let class = match class {
                Some(class) => class,
                None => match self.classify(file, &data, size) {
                    Ok(found) => *class.insert(found),
                    Err(error) => return Ok(Err(error)),
                },
            };
            match self.store_extent(file, data.clone(), class, &mut pieces)? {
                Ok(end) if end < data.end => {
                    // The file has become shorter.
                    done = end;
                    break;
                }
                Ok(end) => done = end,
                Err(error) => return Ok(Err(error)),
            }
        }
        let content = pieces.finish(&mut self.writer).map_err(Error::WriteManifest)?;
        Ok(Ok((class.unwrap_or_default(), content, done)))
    }

    /// Looks at the head of the file and at a sample from the middle of its first extent.
    fn classify(&mut self, file: &LiveFile, data: &Range<u64>, size: u64) -> io::Result<Class> {
        if size <= u64::from(self.params.structured.min) && data.start == 0 {
            // One chunk whatever the class: only page-structured files grow in place from here.
            let head = &mut self.buffer[..HEAD.min(size as usize)];
            let read = file.read_at(0, head)?;
            return Ok(match detect(&head[..read], &[]) {
                pages @ Class::Pages { .. } => pages,
                _ => Class::Structured,
            });
        }
        let (head, sample) = self.buffer.split_at_mut(HEAD);
        let head_len = if data.start == 0 { file.read_at(0, head)? } else { 0 };
        let sample = &mut sample[..HEAD];
        let middle = data.start + (data.end - data.start) / 2;
        let sample_len = file.read_at(middle, sample)?;
        Ok(detect(&head[..head_len], &sample[..sample_len]))
    }

    /// Reads, cuts and stores one extent; gives where its data ended, which is earlier if the file shrank.
    fn store_extent(
        &mut self,
        file: &LiveFile,
        extent: Range<u64>,
        class: Class,
        pieces: &mut PieceWriter,
    ) -> Result<io::Result<u64>> {
        let cutter = Cutter::new(class, self.params);
        if self.buffer.len() < 2 * cutter.max_chunk() {
            self.buffer.resize(2 * cutter.max_chunk(), 0);
        }
        // buffer[start..end] holds the bytes of the file from `offset` on that are not cut yet.
        let (mut start, mut end, mut offset) = (0, 0, extent.start);
        let mut read_to = extent.start;
        let mut last = false;
        loop {
            while let Some(len) = cutter.next(&self.buffer[start..end], offset, last) {
                let id = self.writer.store(&self.buffer[start..start + len])?;
                pieces.push(Piece::Chunk { id, len: len as u32 }, &mut self.writer).map_err(Error::WriteManifest)?;
                start += len;
                offset += len as u64;
            }
            if last {
                return Ok(Ok(offset));
            }
            self.buffer.copy_within(start..end, 0);
            (start, end) = (0, end - start);
            let room = (self.buffer.len() - end) as u64;
            let want = room.min(extent.end - read_to) as usize;
            match file.read_at(read_to, &mut self.buffer[end..end + want]) {
                Ok(0) => last = true,
                Ok(read) => {
                    self.bytes_read += read as u64;
                    self.progress.bytes.fetch_add(read as u64, Relaxed);
                    self.check()?;
                    end += read;
                    read_to += read as u64;
                    last = read_to >= extent.end;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Ok(Err(error)),
            }
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
