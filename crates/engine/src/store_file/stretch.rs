//! A part of a large file: read at once, cut before it is known where its first chunk begins, then hashed and claimed.

use std::ops::Range;

use crossbeam_channel::{Receiver, Sender, TryRecvError};
use icecore_format::cut::Cutter;
use icecore_format::entry::Piece;
use icecore_format::id::ChunkId;

use super::proof::{Next, OldChunk, next_cut};
use super::{Failure, FileStorer, READ_SIZE, Readable, read};

/// A part of a large file that somebody is to store: the chunks that begin in its range.
pub(crate) struct Stretch {
    pub(super) file: Readable,
    pub(super) cutter: Cutter,
    /// Chunks that began in the range before.
    pub(super) old: Vec<OldChunk>,
    pub(super) range: Range<u64>,
    /// Where the extent ends: its last chunk may reach beyond the range, not beyond this.
    pub(super) extent_end: u64,
    /// Tells where the chain of cuts leaves the stretch before, when all before it is known to be there. Without an
    /// answer nothing of this one may be stored.
    pub(super) enter: Receiver<u64>,
    /// Told where it leaves this one.
    pub(super) leave: Sender<u64>,
    /// Told what became of it, if its turn came.
    pub(super) done: Sender<Result<Stored, Failure>>,
}

/// A stretch whose chunks are claimed.
pub(crate) struct Stored {
    pub(super) pieces: Vec<Piece>,
    /// Where the last of them ends.
    pub(super) end: u64,
    /// The file ended before the extent did.
    pub(super) shrunk: bool,
}

/// A chunk in a stretch.
#[derive(Clone, Copy)]
struct Cut {
    start: u64,
    end: u64,
    id: Option<ChunkId>,
    /// It is the chunk that began there before.
    same: bool,
}

/// The bytes of a file that the buffer holds.
struct Loaded {
    range: Range<u64>,
    /// Where in the buffer the first of them is.
    begin: usize,
    /// The file ended there.
    ended: bool,
}

impl Loaded {
    /// Where in the buffer a range of the file is, as far as it was loaded.
    fn place(&self, range: Range<u64>) -> Range<usize> {
        let place = |at: u64| self.begin + (at.min(self.range.end) - self.range.start) as usize;
        place(range.start)..place(range.end)
    }
}

impl FileStorer<'_> {
    /// Stores a stretch of a file of another thread's.
    pub(crate) fn help(&mut self, stretch: Stretch) {
        self.timed(|storer| storer.store_for_owner(stretch));
    }

    /// Stores a stretch and tells its owner.
    pub(super) fn store_for_owner(&mut self, stretch: Stretch) {
        if let Some(stored) = self.store_stretch(&stretch).transpose() {
            // An owner that failed does not listen any more.
            drop(stretch.done.send(stored));
        }
    }

    /// Nothing if the chain of cuts does not come here.
    fn store_stretch(&mut self, stretch: &Stretch) -> Result<Option<Stored>, Failure> {
        let range = &stretch.range;
        let entered = match stretch.enter.try_recv() {
            Ok(at) => Some(at.max(range.start)),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => return Ok(None),
        };
        let from = entered.unwrap_or(range.start);
        let room = range.end.saturating_sub(from) as usize + stretch.cutter.max_chunk();
        let mut loaded = Loaded { range: from..from, begin: self.make_room(from, room), ended: false };
        self.load(stretch, &mut loaded, range.end)?;

        // Chains of cuts that begin at different places soon meet, and go on together. Where a chunk began before, one
        // is likely to begin now.
        let mut likely: Vec<Cut> = Vec::new();
        if entered.is_none() {
            let mut at = stretch.old.first().map_or(range.start, |old| old.start);
            while let Some(cut) = self.cut_at(stretch, &mut loaded, at)? {
                at = cut.end;
                likely.push(cut);
            }
        }
        let Some(mut at) = entered.or_else(|| stretch.enter.recv().ok()) else { return Ok(None) };
        at = at.max(range.start);
        let mut cuts: Vec<Cut> = Vec::new();
        loop {
            let cut = match likely.binary_search_by_key(&at, |cut| cut.start) {
                Ok(met) => likely[met],
                Err(_) => match self.cut_at(stretch, &mut loaded, at)? {
                    Some(cut) => cut,
                    None => break,
                },
            };
            at = cut.end;
            cuts.push(cut);
        }
        let shrunk = loaded.ended && (loaded.range.end..stretch.extent_end).contains(&at);
        if !shrunk {
            // Nobody listens behind the last stretch of a file.
            let _ = stretch.leave.send(at);
        }

        let mut pieces = Vec::with_capacity(cuts.len());
        for cut in cuts {
            let bytes = &self.buffer[loaded.place(cut.start..cut.end)];
            let id = cut.id.unwrap_or_else(|| self.writer.id(bytes));
            if !(cut.same && self.old_is_stored) {
                self.writer.store_hashed(id, bytes)?;
            }
            pieces.push(Piece::Chunk { id, len: bytes.len() as u32 });
        }
        Ok(Some(Stored { pieces, end: at, shrunk }))
    }

    /// The chunk that begins at `at`, unless that is behind the stretch or behind the end of the file.
    fn cut_at(&mut self, stretch: &Stretch, loaded: &mut Loaded, at: u64) -> Result<Option<Cut>, Failure> {
        let Stretch { cutter, old, range, extent_end, .. } = stretch;
        if at >= range.end {
            return Ok(None);
        }
        let before = old.binary_search_by_key(&at, |old| old.start).ok().map(|found| old[found]);
        loop {
            let data = &self.buffer[loaded.place(at..u64::MAX)];
            let last = loaded.ended || loaded.range.end >= *extent_end;
            let next = next_cut(cutter, data, at, last, before, |bytes| self.writer.id(bytes));
            if let Some(Next { len, id, same }) = next {
                return Ok(Some(Cut { start: at, end: at + len as u64, id, same }));
            }
            if last {
                return Ok(None);
            }
            self.load(stretch, loaded, at + cutter.max_chunk() as u64)?;
        }
    }

    /// Reads on up to `to`, or to the end of the extent or of the file.
    fn load(&mut self, stretch: &Stretch, loaded: &mut Loaded, to: u64) -> Result<(), Failure> {
        let to = to.min(stretch.extent_end);
        while loaded.range.end < to && !loaded.ended {
            let filled = loaded.place(loaded.range.end..to).start;
            let want = (to - loaded.range.end).min(READ_SIZE as u64) as usize;
            let read = read(stretch.file.as_ref(), loaded.range.end, &mut self.buffer[filled..filled + want])?;
            self.check()?;
            loaded.range.end += read as u64;
            loaded.ended = read == 0;
        }
        Ok(())
    }
}
