//! Manifests: each distinct block is read and checked once, however many snapshots share it.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use icecore_format::entry::{Content, Entry, Node, PathBytes, Piece, compare_paths};
use icecore_format::id::{ChunkId, SnapshotId};
use icecore_format::manifest::{Block, Branch, Family, decode_block};
use icecore_format::snapshot::Snapshot;

use super::{CheckReport, CheckStep, Watch};
use crate::error::Result;
use crate::index::{ChunkSet, Location};
use crate::layout;
use crate::reader::ChunkReader;

const HEALS: &str = "The next backup stores again what the live files still have; older versions of these files are lost \
     unless a copy of the repository has them.";

/// Up to so many chunks are read from the index at once, which is quicker than to ask for each: 60 MiB.
const ALL: u64 = 1 << 20;

/// So many chunks are remembered as found: about 14 MiB.
const FOUND: usize = 1 << 18;

/// What is known of a block. 100 to 200 bytes for each distinct block: 40 MiB for a million entries in many versions.
#[derive(Debug, Default)]
struct Known {
    /// Something in or below it is lost.
    damaged: bool,
    /// The block itself cannot be used, and nothing below it can be reached.
    broken: bool,
    /// Entries or pieces in and below it.
    count: u64,
    /// Bytes of files that they stand for.
    bytes: u64,
    /// The first and the last path, empty in lists of pieces.
    paths: (PathBytes, PathBytes),
}

impl Known {
    fn broken() -> Self {
        Self { damaged: true, broken: true, ..Self::default() }
    }
}

/// Where a block must stand; everything else would make a reader stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    family: Family,
    height: u8,
}

/// The blocks that were seen.
pub(crate) struct Manifests<'a> {
    reader: &'a ChunkReader,
    watch: Watch<'a>,
    any_marked: bool,
    /// All chunks that stand somewhere, if there are few and no marks.
    all: Option<ChunkSet>,
    known: HashMap<ChunkId, (Place, Rc<Known>)>,
    lost: HashSet<ChunkId>,
    /// Chunks that the index has, some of them, and whether in marked packs alone: one night names what the night before did.
    found: HashMap<(ChunkId, u32), bool>,
}

impl<'a> Manifests<'a> {
    /// `any_marked`: whether it is to be asked of chunks if they stand in marked packs alone.
    pub fn new(reader: &'a ChunkReader, any_marked: bool, watch: Watch<'a>) -> Result<Self> {
        let all = if any_marked { None } else { reader.all(ALL)? };
        Ok(Self { reader, watch, any_marked, all, known: HashMap::new(), lost: HashSet::new(), found: HashMap::new() })
    }

    /// Follows a snapshot to its last chunk.
    pub fn check(&mut self, id: &SnapshotId, snapshot: &Snapshot, report: &mut CheckReport) -> Result<()> {
        report.snapshots += 1;
        let root = &snapshot.manifest;
        let place = Place { family: Family::Entries, height: root.height };
        let known = self.block(&root.id, place, report)?;
        let agrees = known.broken || known.count == root.entries;
        if !agrees {
            let message = format!("it names {} entries, its manifest has {}", root.entries, known.count);
            report.find("I6", layout::snapshot(id), message, HEALS);
        }
        if known.damaged {
            let before = report.damaged_count;
            let top = Branch { first: PathBytes::new(), id: root.id, count: root.entries, bytes: known.bytes };
            self.name_files(id, &top, place, report)?;
            let files = report.damaged_count - before;
            let message = format!("{files} of its entries cannot be restored whole");
            report.find("I2", layout::snapshot(id), message, HEALS);
        }
        Ok(())
    }

    /// Checks a block and everything below it, unless that was done before.
    fn block(&mut self, id: &ChunkId, place: Place, report: &mut CheckReport) -> Result<Rc<Known>> {
        if let Some((stands, known)) = self.known.get(id) {
            return Ok(if *stands == place { Rc::clone(known) } else { Rc::new(Known::broken()) });
        }
        (self.watch)(CheckStep::Block)?;
        report.blocks += 1;
        report.needed_of_marked += u64::from(self.reader.locate(id).is_ok() && self.only_marked(id));
        let known = match self.read(id)? {
            Ok(block) if place_of(&block) == place => self.contents(id, block, report)?,
            Ok(_) => self.broken(id, "it stands where a block of another kind or height must stand", report),
            Err(reason) => self.broken(id, &reason, report),
        };
        let known = Rc::new(known);
        self.known.insert(*id, (place, Rc::clone(&known)));
        Ok(known)
    }

    fn broken(&self, id: &ChunkId, reason: &str, report: &mut CheckReport) -> Known {
        report.find("I5", format!("manifest block {id}"), format!("the block cannot be used: {reason}"), HEALS);
        Known::broken()
    }

    /// Reads a block, or tells in a sentence why it cannot be.
    fn read(&self, id: &ChunkId) -> Result<std::result::Result<Block, String>> {
        match self.reader.chunk(id) {
            Ok(bytes) => Ok(decode_block(&bytes).map_err(|error| error.to_string())),
            Err(error) if error.is_damage() => Ok(Err(error.to_string())),
            Err(error) => Err(error),
        }
    }

    fn contents(&mut self, id: &ChunkId, block: Block, report: &mut CheckReport) -> Result<Known> {
        match block {
            Block::Entries(entries) => self.entries(&entries, report),
            Block::Pieces(pieces) => {
                let damaged = self.pieces(&pieces, report)?;
                let bytes = pieces.iter().map(Piece::len).fold(0, u64::saturating_add);
                Ok(Known { damaged, count: pieces.len() as u64, bytes, ..Known::default() })
            }
            Block::Inner { family, height, branches } => {
                let below = Place { family, height: height - 1 };
                match self.branches(&branches, below, report)? {
                    Ok(known) => Ok(known),
                    Err(reason) => Ok(self.broken(id, reason, report)),
                }
            }
        }
    }

    fn entries(&mut self, entries: &[Entry], report: &mut CheckReport) -> Result<Known> {
        report.entries += entries.len() as u64;
        let mut known = Known { count: entries.len() as u64, ..Known::default() };
        for entry in entries {
            known.bytes = known.bytes.saturating_add(entry.size());
            known.damaged |= self.is_damaged(entry, report)?;
        }
        let path = |entry: Option<&Entry>| entry.map(|entry| entry.path.clone()).unwrap_or_default();
        known.paths = (path(entries.first()), path(entries.last()));
        Ok(known)
    }

    /// Whether content of an entry is lost.
    fn is_damaged(&mut self, entry: &Entry, report: &mut CheckReport) -> Result<bool> {
        let Node::File(file) = &entry.node else { return Ok(false) };
        match &file.content {
            Content::Inline(pieces) => self.pieces(pieces, report),
            Content::Tree { root, height, pieces } => {
                let place = Place { family: Family::Pieces, height: *height };
                let list = self.block(root, place, report)?;
                let agrees = list.broken || (list.count, list.bytes) == (*pieces, file.size);
                Ok(list.damaged || !agrees)
            }
            // Named in the snapshot when it was taken.
            Content::Missing => Ok(false),
        }
    }

    /// Whether something that stands somewhere stands in marked packs alone.
    fn only_marked(&self, id: &ChunkId) -> bool {
        self.any_marked && !self.reader.counts_as_stored(id)
    }

    /// Whether one of these chunks stands in no pack that the index (still) names.
    fn pieces(&mut self, pieces: &[Piece], report: &mut CheckReport) -> Result<bool> {
        let mut damaged = false;
        for piece in pieces {
            let Piece::Chunk { id, len } = *piece else { continue };
            report.chunks += 1;
            if self.all.as_ref().is_some_and(|all| all.contains(&(id, len))) {
                continue;
            }
            if let Some(marked) = self.found.get(&(id, len)) {
                report.needed_of_marked += u64::from(*marked);
                continue;
            }
            // To locate it looks again, where a prune has moved it meanwhile.
            let has = |places: Vec<Location>| places.iter().any(|place| place.len == len);
            if !self.reader.holds(&id, len)? && !self.reader.locate(&id).is_ok_and(has) {
                self.lost.insert(id);
                damaged = true;
                continue;
            }
            let marked = self.only_marked(&id);
            report.needed_of_marked += u64::from(marked);
            if self.found.len() >= FOUND {
                self.found.clear();
            }
            self.found.insert((id, len), marked);
        }
        Ok(damaged)
    }

    /// Checks what is below an inner block, and what the block says of it.
    fn branches(
        &mut self,
        branches: &[Branch],
        below: Place,
        report: &mut CheckReport,
    ) -> Result<std::result::Result<Known, &'static str>> {
        let mut all = Known::default();
        for (n, branch) in branches.iter().enumerate() {
            let child = self.block(&branch.id, below, report)?;
            all.damaged |= child.damaged;
            all.count = all.count.saturating_add(branch.count);
            all.bytes = all.bytes.saturating_add(branch.bytes);
            if child.broken {
                all.paths.1.clone_from(&branch.first);
                continue;
            }
            if (child.count, child.bytes) != (branch.count, branch.bytes) {
                return Ok(Err("it disagrees with a block below it about items or bytes"));
            }
            if child.paths.0 != branch.first {
                return Ok(Err("it disagrees with a block below it about the first path"));
            }
            let has_paths = below.family == Family::Entries;
            if n > 0 && has_paths && compare_paths(&all.paths.1, &branch.first).is_ge() {
                return Ok(Err("the blocks below it are not in order"));
            }
            all.paths.1.clone_from(&child.paths.1);
        }
        all.paths.0 = branches.first().map(|branch| branch.first.clone()).unwrap_or_default();
        Ok(Ok(all))
    }

    /// Names the damaged files in and below a damaged block.
    fn name_files(&mut self, id: &SnapshotId, at: &Branch, place: Place, report: &mut CheckReport) -> Result<()> {
        let known = match self.known.get(&at.id) {
            Some((stands, known)) if *stands == place && !known.broken => Rc::clone(known),
            _ => {
                let reason = format!("a block of the manifest with {} entries from here on is lost", at.count);
                report.damaged(*id, at.first.clone(), at.count, reason);
                return Ok(());
            }
        };
        if !known.damaged {
            return Ok(());
        }
        match self.read(&at.id)? {
            Ok(Block::Inner { branches, height, family }) => {
                let below = Place { family, height: height.saturating_sub(1) };
                branches.iter().try_for_each(|branch| self.name_files(id, branch, below, report))
            }
            Ok(Block::Entries(entries)) => {
                for entry in entries {
                    if let Some(reason) = self.reason(&entry) {
                        report.damaged(*id, entry.path, 1, reason);
                    }
                }
                Ok(())
            }
            Ok(Block::Pieces(_)) | Err(_) => Ok(()),
        }
    }

    /// Why a file is damaged, if it is.
    fn reason(&self, entry: &Entry) -> Option<String> {
        let Node::File(file) = &entry.node else { return None };
        match &file.content {
            Content::Inline(pieces) => pieces.iter().find_map(|piece| match piece {
                Piece::Chunk { id, .. } if self.lost.contains(id) => Some(format!("no pack holds chunk {id} any more")),
                _ => None,
            }),
            Content::Tree { root, pieces, .. } => {
                let list = self.known.get(root).map(|(_, known)| known);
                let is_whole =
                    list.is_some_and(|list| !list.damaged && (list.count, list.bytes) == (*pieces, file.size));
                (!is_whole).then(|| "no pack holds some of its chunks, or the list of them, any more".to_owned())
            }
            Content::Missing => None,
        }
    }
}

fn place_of(block: &Block) -> Place {
    match block {
        Block::Entries(_) => Place { family: Family::Entries, height: 0 },
        Block::Pieces(_) => Place { family: Family::Pieces, height: 0 },
        Block::Inner { family, height, .. } => Place { family: *family, height: *height },
    }
}
