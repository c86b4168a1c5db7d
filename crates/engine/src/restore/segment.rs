//! Gathers what the walk meets into segments of bounded size, and sends them on their way.

use std::collections::HashSet;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};
use icecore_format::entry::{Entry, PathBytes, Piece};
use icecore_format::id::ChunkId;
use icecore_format::manifest::pieces;
use icecore_repo::ChunkReader;
use icecore_repo::index::FrameLocation;

use super::file::FileWork;
use super::plan::{FramePlan, Need, plan};
use super::tally::reason;
use super::{Site, survive_block};
use crate::error::Result;

/// Chunks that a segment needs at most: 4 MiB of plan. Tests want many segments.
const SEGMENT_CHUNKS: usize = if cfg!(test) { 5 } else { 32 << 10 };

/// Entries of a segment at most.
const SEGMENT_ENTRIES: usize = if cfg!(test) { 4 } else { 8 << 10 };

/// Files and the frames that they need.
#[derive(Debug)]
pub(super) struct Segment {
    pub files: Vec<Arc<FileWork>>,
    pub frames: Vec<FramePlan>,
    /// Never used: it goes with the last task of the segment, and its going tells [`After`].
    _going: Sender<()>,
}

/// One frame of a segment.
#[derive(Debug)]
pub(super) struct Task {
    pub segment: Arc<Segment>,
    pub frame: usize,
}

/// What is done when everything up to and with one segment has been written, in this order.
#[derive(Debug)]
pub(super) struct After {
    /// Ends when the segment is done.
    pub done: Receiver<()>,
    /// Further names of entries: the path that stands already, and the entry.
    pub links: Vec<(PathBytes, Entry)>,
    /// Directories in which nothing changes any more, deepest first.
    pub left: Vec<Entry>,
}

/// The segment that is being gathered.
pub(super) struct Draft<'a> {
    site: &'a Site<'a>,
    reader: &'a ChunkReader,
    tasks: Sender<Task>,
    afters: Sender<After>,
    files: Vec<Arc<FileWork>>,
    needs: Vec<Need>,
    /// Frames that are needed already, to choose among the places of a chunk.
    frames: HashSet<FrameLocation>,
    links: Vec<(PathBytes, Entry)>,
    left: Vec<Entry>,
}

impl<'a> Draft<'a> {
    pub fn new(site: &'a Site<'a>, reader: &'a ChunkReader, tasks: Sender<Task>, afters: Sender<After>) -> Self {
        let (files, needs, links, left) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { site, reader, tasks, afters, files, needs, frames: HashSet::new(), links, left }
    }

    /// A further name of what stands at `existing`.
    pub fn link(&mut self, existing: PathBytes, entry: Entry) {
        self.links.push((existing, entry));
    }

    /// A directory in which everything is planned.
    pub fn leave(&mut self, directory: Entry) {
        self.left.push(directory);
    }

    /// A file with content.
    pub fn file(&mut self, entry: Entry) -> Result<()> {
        let (file, content) = FileWork::new(entry);
        let file = Arc::new(file);
        self.files.push(Arc::clone(&file));
        let mut to = 0_u64;
        for piece in pieces(self.reader, &content) {
            let piece = match piece {
                Ok(piece) => piece,
                Err(error) => {
                    file.lose(reason(&error));
                    return survive_block(error);
                }
            };
            match piece {
                Piece::Hole { .. } => file.set_sparse(),
                Piece::Chunk { id, len } => {
                    if self.needs.len() >= SEGMENT_CHUNKS {
                        self.site.check()?;
                        self.dispatch(false)?;
                        self.files.push(Arc::clone(&file));
                    }
                    if let Some(why) = self.need(to, id, len)? {
                        file.lose(why);
                        return Ok(());
                    }
                }
            }
            to = to.saturating_add(piece.len());
        }
        if to != file.size() {
            file.lose(format!("its pieces are {to} bytes instead of {}", file.size()));
        }
        Ok(())
    }

    /// Plans a chunk of the last file, or tells why it cannot be had.
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
        self.frames.clear();
        let mut expected = vec![0; files.len()];
        for writes in frames.iter().flat_map(FramePlan::files) {
            expected[writes[0].file as usize] += 1;
        }
        for (n, (file, frames)) in files.iter().zip(expected).enumerate() {
            let last = whole || n + 1 < files.len();
            file.expect(frames, last);
            if last {
                file.release(self.site)?;
            }
        }
        let (_going, done) = bounded(0);
        let segment = Arc::new(Segment { files, frames, _going });
        for frame in 0..segment.frames.len() {
            // Fails only when every worker stopped, and then the restore has failed.
            let _ = self.tasks.send(Task { segment: Arc::clone(&segment), frame });
        }
        drop(segment);
        let (links, left) = (std::mem::take(&mut self.links), std::mem::take(&mut self.left));
        let _ = self.afters.send(After { done, links, left });
        self.site.check()
    }
}
