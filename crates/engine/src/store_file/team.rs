//! One large file by several threads.
//!
//! ```text
//! owner:   extents ─▶ stretches, in order, some ahead ─▶ queue of the pass ─▶ whoever is idle, or the owner itself
//! stretch: read ─▶ cut from a likely place ─▶ wait for where the chain of cuts enters ─▶ tell where it leaves ─▶ hash
//! owner:   pieces of each stretch, in order ─▶ PieceWriter
//! ```
//! No thread waits for ever: a stretch waits only for the one before it, which was taken from the queue earlier; the
//! owner waits only when the queue is empty, that is when somebody works on what it waits for. Whoever fails, panics or
//! finds the file shorter lets go of the end of the chain: the stretches behind it then stop before they store
//! anything.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded, never, unbounded};
use icecore_format::cut::Cutter;
use icecore_format::entry::Piece;
use icecore_format::manifest::PieceWriter;

use super::extents::{Extent, Extents};
use super::proof::OldChunks;
use super::stretch::{Stored, Stretch};
use super::{Failure, FileStorer, Readable};
use crate::error::Error;

/// Files of at least this many bytes are shared.
const SHARED_FROM: u64 = 32 << 20;

/// Bytes of a stretch. Each thread that works on one has room for it and one chunk more.
const STRETCH: u64 = 8 << 20;

/// Threads that help each other with large files. Each holds both ends of one queue of stretches.
#[derive(Clone)]
pub(crate) struct Team {
    threads: usize,
    shared_from: u64,
    stretch: u64,
    queue: Sender<Stretch>,
    stretches: Receiver<Stretch>,
}

/// A part of a file that was handed out.
enum Part {
    Hole(u64),
    Stretch(Receiver<Result<Stored, Failure>>),
}

impl Team {
    /// Of so many threads.
    pub(crate) fn new(threads: usize) -> Self {
        Self::with_sizes(threads, SHARED_FROM, STRETCH)
    }

    pub(super) fn with_sizes(threads: usize, shared_from: u64, stretch: u64) -> Self {
        let (queue, stretches) = unbounded();
        Self { threads, shared_from, stretch, queue, stretches }
    }

    /// Whether a file of `size` bytes is read by several threads.
    pub(super) fn shares(&self, size: u64) -> bool {
        self.threads > 1 && size >= self.shared_from
    }
}

/// Hands a file out, in order.
struct Parts<'a> {
    team: &'a Team,
    file: Readable,
    extents: Extents<'a>,
    cutter: Cutter,
    old: OldChunks<'a>,
    /// What is left of the present extent.
    extent: Range<u64>,
    /// Where the chain of cuts leaves the last stretch that was handed out.
    left: Receiver<u64>,
}

impl Parts<'_> {
    fn next(&mut self) -> io::Result<Option<Part>> {
        if self.extent.is_empty() {
            match self.extents.next()? {
                None => return Ok(None),
                Some(Extent::Hole(len)) => return Ok(Some(Part::Hole(len))),
                Some(Extent::Data(extent)) => self.extent = extent,
            }
        }
        let range = self.extent.start..self.extent.end.min(self.extent.start.saturating_add(self.team.stretch));
        self.extent.start = range.end;
        let (leave, left) = bounded(1);
        let (done, stored) = bounded(1);
        let stretch = Stretch {
            file: Arc::clone(&self.file),
            cutter: self.cutter,
            old: self.old.within(&range),
            range,
            extent_end: self.extent.end,
            enter: std::mem::replace(&mut self.left, left),
            leave,
            done,
        };
        // The team holds a receiver: the queue is open.
        drop(self.team.queue.send(stretch));
        Ok(Some(Part::Stretch(stored)))
    }
}

impl FileStorer<'_> {
    /// Stretches of files that others of the team read.
    pub(crate) fn stretches(&self) -> Receiver<Stretch> {
        self.team.as_ref().map_or_else(never, |team| team.stretches.clone())
    }

    /// Helps until no member of the team can need it any more. No file of its own may be stored afterwards.
    pub(crate) fn help_to_the_end(&mut self) {
        let Some(Team { queue, stretches, .. }) = self.team.take() else { return };
        drop(queue);
        for stretch in stretches {
            self.help(stretch);
        }
    }

    /// Reads, cuts and stores a file together with others of the team; gives where its data ended, which is earlier if
    /// the file shrank.
    pub(super) fn store_shared(
        &mut self,
        team: &Team,
        file: &Readable,
        extents: Extents<'_>,
        cutter: Cutter,
        old: OldChunks<'_>,
        pieces: &mut PieceWriter,
    ) -> Result<u64, Failure> {
        let (begin, left) = bounded(1);
        let _ = begin.send(0);
        let file = Arc::clone(file);
        let mut parts = Parts { team, file, extents, cutter, old, extent: 0..0, left };
        let mut under_way = VecDeque::new();
        let end = self.lead(&mut parts, &mut under_way, pieces);
        drop(parts);
        // However it ended: when that is told, nobody reads the file any more.
        for part in under_way {
            if let Part::Stretch(stored) = part {
                drop(self.wait(team, &stored));
            }
        }
        end
    }

    fn lead(
        &mut self,
        parts: &mut Parts<'_>,
        under_way: &mut VecDeque<Part>,
        pieces: &mut PieceWriter,
    ) -> Result<u64, Failure> {
        let mut done = 0;
        loop {
            while under_way.len() < 2 * parts.team.threads
                && let Some(part) = parts.next()?
            {
                under_way.push_back(part);
            }
            match under_way.pop_front() {
                None => return Ok(done),
                Some(Part::Hole(len)) => {
                    pieces.push(Piece::Hole { len }, &mut self.writer).map_err(Error::WriteManifest)?;
                    done += len;
                }
                Some(Part::Stretch(stored)) => {
                    let stored = self.wait(parts.team, &stored)?;
                    for piece in stored.pieces {
                        self.count(piece.len());
                        pieces.push(piece, &mut self.writer).map_err(Error::WriteManifest)?;
                    }
                    done = stored.end;
                    if stored.shrunk {
                        return Ok(done);
                    }
                }
            }
        }
    }

    /// What became of a stretch; works on what is in the queue until that is known.
    fn wait(&mut self, team: &Team, stored: &Receiver<Result<Stored, Failure>>) -> Result<Stored, Failure> {
        while stored.is_empty()
            && let Ok(stretch) = team.stretches.try_recv()
        {
            self.store_for_owner(stretch);
        }
        // Only a panic lets go of a stretch whose turn came without a word.
        stored.recv().unwrap_or(Err(Failure::Backup(Error::WorkerPanicked)))
    }
}
