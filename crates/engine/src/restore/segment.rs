//! Gathers what the walk meets into segments of bounded size, and sends them on their way.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crossbeam_channel::{Receiver, Sender, bounded};
use icecore_format::entry::{Entry, PathBytes, Piece};
use icecore_format::id::ChunkId;
use icecore_format::manifest::pieces;
use icecore_repo::ChunkReader;
use icecore_repo::index::FrameLocation;

use super::examine::{Examined, MAX_CHUNK};
use super::file::FileWork;
use super::plan::{FramePlan, Need, plan};
use super::seeds::{Seeds, Stays};
use super::site::Site;
use super::worker::Copier;
use crate::error::{Result, reason, survive_block};

/// Chunks that a segment needs at most: 4 MiB of plan. Tests want many segments.
const SEGMENT_CHUNKS: usize = if cfg!(test) { 5 } else { 32 << 10 };

/// Entries of a segment at most.
const SEGMENT_ENTRIES: usize = if cfg!(test) { 4 } else { 8 << 10 };

/// Chunks of one file that one task copies at most.
const COPIES: usize = 64;

/// How a file's content gets to its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// It is written under its name.
    Direct,
    /// It is written beside, and renamed.
    Beside,
    /// What differs is written beside, at the same offsets, and poured into what stands.
    Pour,
}

/// How a file is restored.
#[derive(Debug)]
pub(super) struct Planned {
    pub way: Way,
    /// The file that is written was made already; with its name, if that is not the entry's.
    pub made: Option<Option<PathBytes>>,
    /// What of the content stands somewhere at its own offsets.
    pub kept: Option<Kept>,
}

/// Content that stands at its own offsets.
#[derive(Debug)]
pub(super) struct Kept {
    /// In a file of the tree of this number; `None`: in the file that is written, or poured into.
    pub tree: Option<usize>,
    /// The file.
    pub place: Arc<[u8]>,
    /// Which of it was proved to be right; `None`: all of it is taken to be, for its size and time, and proved later.
    pub proved: Option<Examined>,
}

/// What of a file does not stand in its place.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Differs {
    pub ranges: u64,
    pub bytes: u64,
    /// Where the last range ends.
    end: Option<u64>,
}

impl Differs {
    fn add(&mut self, at: u64, len: u64) {
        self.ranges += u64::from(self.end != Some(at));
        self.bytes += len;
        self.end = Some(at.saturating_add(len));
    }
}

/// A file of a tree: the tree's number, and the place in it.
pub(super) type Source = (usize, Arc<[u8]>);

/// A chunk that is read in a tree instead of being fetched.
#[derive(Debug, Clone)]
pub(super) struct Copy {
    /// The file's number in its segment.
    pub file: u32,
    /// Where the chunk begins in the file, bytes.
    pub to: u64,
    pub chunk: ChunkId,
    pub len: u32,
    /// The tree and the place in it where the chunk stands; `None`: at `to` in the file itself.
    pub from: Option<Source>,
    /// First byte there.
    pub at: u64,
}

/// Files and what they need.
#[derive(Debug)]
pub(super) struct Segment {
    pub files: Vec<Arc<FileWork>>,
    pub frames: Vec<FramePlan>,
    pub copies: Vec<Copy>,
    /// Never used: it goes with the last task of the segment, and its going tells [`After`].
    _going: Sender<()>,
}

/// A part of a segment.
#[derive(Debug)]
pub(super) struct Task {
    pub segment: Arc<Segment>,
    pub work: Work,
}

#[derive(Debug)]
pub(super) enum Work {
    /// The frame of this number.
    Frame(usize),
    /// These copies, all of one file.
    Copies(Range<usize>),
}

/// What is done when everything up to and with one segment has been written, in this order.
#[derive(Debug)]
pub(super) struct After {
    /// Ends when the segment is done.
    pub done: Receiver<()>,
    /// Further names of entries: the path that stands already, the entry, and whether something stands in its place.
    pub links: Vec<(PathBytes, Entry, bool)>,
    /// Directories in which nothing changes any more, deepest first.
    pub left: Vec<Entry>,
}

/// The segment that is being gathered.
pub(super) struct Draft<'a> {
    site: &'a Site<'a>,
    reader: &'a ChunkReader,
    seeds: &'a Seeds,
    copier: Copier,
    tasks: Sender<Task>,
    afters: Sender<After>,
    files: Vec<Arc<FileWork>>,
    needs: Vec<Need>,
    copies: Vec<Copy>,
    /// Frames that are needed already, to choose among the places of a chunk.
    frames: HashSet<FrameLocation>,
    links: Vec<(PathBytes, Entry, bool)>,
    left: Vec<Entry>,
}

impl<'a> Draft<'a> {
    pub fn new(
        site: &'a Site<'a>,
        reader: &'a ChunkReader,
        seeds: &'a Seeds,
        tasks: Sender<Task>,
        afters: Sender<After>,
    ) -> Self {
        let (files, needs, copies, links, left) = (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let (copier, frames) = (Copier::default(), HashSet::new());
        Self { site, reader, seeds, copier, tasks, afters, files, needs, copies, frames, links, left }
    }

    pub fn reader(&self) -> &'a ChunkReader {
        self.reader
    }

    /// A further name of what stands at `existing`.
    pub fn link(&mut self, existing: PathBytes, entry: Entry, stands: bool) {
        self.links.push((existing, entry, stands));
    }

    /// A directory in which everything is planned.
    pub fn leave(&mut self, directory: Entry) {
        self.left.push(directory);
    }

    /// A file with content; tells what of it does not stand in its place.
    pub fn file(&mut self, entry: Entry, planned: Planned) -> Result<Differs> {
        let Planned { way, made, kept } = planned;
        let (file, content) = FileWork::new(entry, way, made);
        let file = Arc::new(file);
        self.files.push(Arc::clone(&file));
        let (mut to, mut differs) = (0_u64, Differs::default());
        for (number, piece) in pieces(self.reader, &content).enumerate() {
            let piece = match piece {
                Ok(piece) => piece,
                Err(error) => {
                    file.lose(reason(&error));
                    survive_block(error)?;
                    return Ok(differs);
                }
            };
            match piece {
                Piece::Hole { .. } => file.set_sparse(),
                Piece::Chunk { id, len } => {
                    if self.needs.len() + self.copies.len() >= SEGMENT_CHUNKS {
                        self.site.check()?;
                        self.dispatch(false)?;
                        self.files.push(Arc::clone(&file));
                    }
                    let stands = kept.as_ref().filter(|kept| kept.proved.as_ref().is_none_or(|p| p.keeps(number)));
                    if stands.is_none() {
                        differs.add(to, len.into());
                    }
                    self.chunk(&file, to, id, len, stands)?;
                }
            }
            to = to.saturating_add(piece.len());
        }
        if to != file.size() {
            file.lose(format!("its pieces are {to} bytes instead of {}", file.size()));
        }
        Ok(differs)
    }

    /// Plans a chunk of the last file.
    fn chunk(&mut self, file: &Arc<FileWork>, to: u64, chunk: ChunkId, len: u32, kept: Option<&Kept>) -> Result<()> {
        if len > MAX_CHUNK {
            file.lose(format!("chunk {chunk} cannot be {len} bytes"));
            return Ok(());
        }
        let number = self.files.len().saturating_sub(1) as u32;
        let mut copy = Copy { file: number, to, chunk, len, from: None, at: to };
        match kept {
            // It was proved, and is in its place.
            Some(Kept { tree: None, proved: Some(_), .. }) => {
                file.set_sparse();
                self.site.tally.reused(len.into());
                self.site.progress.bytes.fetch_add(len.into(), Ordering::Relaxed);
            }
            Some(Kept { tree, place, .. }) => {
                file.set_sparse();
                copy.from = tree.map(|tree| (tree, Arc::clone(place)));
                self.copies.push(copy);
            }
            None => match self.seeds.find(&chunk, self.site.place(file.path())) {
                None => {
                    if let Some(why) = self.need(to, chunk, len)? {
                        file.lose(why);
                    }
                }
                Some(seed) => {
                    (copy.from, copy.at) = (Some((seed.tree, seed.place.into())), seed.at);
                    match seed.stays {
                        Stays::Always => self.copies.push(copy),
                        // Now, before the walk leaves it.
                        Stays::UntilLeft => self.copier.copy(self.site, self.reader, file, &copy)?,
                    }
                }
            },
        }
        Ok(())
    }

    /// Plans a chunk to be fetched for the last file, or tells why it cannot be had.
    fn need(&mut self, to: u64, chunk: ChunkId, len: u32) -> Result<Option<String>> {
        let places = match self.reader.locate(&chunk) {
            Ok(places) => places,
            Err(error) if error.is_damage() => return Ok(Some(reason(&error))),
            Err(error) => return Err(error.into()),
        };
        let mut fitting = places.iter().filter(|at| at.len == len);
        let Some(first) = fitting.clone().next() else {
            return Ok(Some(format!("chunk {chunk} is not {len} bytes")));
        };
        // A frame that is read anyway costs nothing.
        let at = *fitting.find(|at| self.frames.contains(&at.frame)).unwrap_or(first);
        self.frames.insert(at.frame);
        let file = self.files.len().saturating_sub(1) as u32;
        self.needs.push(Need { file, to, chunk, at });
        Ok(None)
    }

    /// Sends the segment off if it is full.
    pub fn dispatch_full(&mut self) -> Result<()> {
        let entries = self.files.len() + self.links.len() + self.left.len();
        if entries >= SEGMENT_ENTRIES { self.dispatch(true) } else { Ok(()) }
    }

    /// Sends the segment off; `whole` unless its last file goes on in the next one.
    pub fn dispatch(&mut self, whole: bool) -> Result<()> {
        let files = std::mem::take(&mut self.files);
        let frames = plan(std::mem::take(&mut self.needs));
        let copies = std::mem::take(&mut self.copies);
        self.frames.clear();
        if self.site.rehearsal {
            return self.rehearse(&files, &frames, &copies, whole);
        }
        let batches = batches(&copies);
        let mut expected = vec![0; files.len()];
        let parts = frames.iter().flat_map(FramePlan::files).map(|writes| writes[0].file);
        for file in parts.chain(batches.iter().map(|batch| copies[batch.start].file)) {
            expected[file as usize] += 1;
        }
        for (n, (file, parts)) in files.iter().zip(expected).enumerate() {
            let last = whole || n + 1 < files.len();
            file.expect(parts, last);
            if last {
                file.release(self.site)?;
            }
        }
        let (_going, done) = bounded(0);
        let segment = Arc::new(Segment { files, frames, copies, _going });
        let frames = (0..segment.frames.len()).map(Work::Frame);
        for work in batches.into_iter().map(Work::Copies).chain(frames) {
            // Fails only when every worker stopped, and then the restore has failed.
            let _ = self.tasks.send(Task { segment: Arc::clone(&segment), work });
        }
        drop(segment);
        let (links, left) = (std::mem::take(&mut self.links), std::mem::take(&mut self.left));
        let _ = self.afters.send(After { done, links, left });
        self.site.check()
    }

    /// Counts what would be done.
    fn rehearse(&mut self, files: &[Arc<FileWork>], frames: &[FramePlan], copies: &[Copy], whole: bool) -> Result<()> {
        self.site.tally.fetched(frames.iter().map(|frame| u64::from(frame.frame.stored)).sum());
        self.site.tally.reused(copies.iter().map(|copy| u64::from(copy.len)).sum());
        let ended = if whole { files } else { &files[..files.len().saturating_sub(1)] };
        ended.iter().for_each(|file| file.rehearse(self.site));
        self.site.tally.linked_all(self.links.len() as u64);
        self.links.clear();
        self.left.clear();
        self.site.check()
    }
}

/// Consecutive copies of one file, a task each.
fn batches(copies: &[Copy]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut start = 0;
    for file in copies.chunk_by(|a, b| a.file == b.file) {
        for batch in file.chunks(COPIES) {
            found.push(start..start + batch.len());
            start += batch.len();
        }
    }
    found
}
