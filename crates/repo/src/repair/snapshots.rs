//! What of a snapshot can still be had, and the corrected snapshot that says so.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use icecore_format::entry::{Content, Entry, Node, PathBytes, Piece};
use icecore_format::id::SnapshotId;
use icecore_format::manifest::{ManifestReader, ManifestWriter, ReadError, ReadFault, WriteError, pieces};
use icecore_format::snapshot::{PROBLEMS_NAMED, Problem, ProblemKind, Snapshot, Totals, Verdict};

use super::{Lacking, RepairOptions};
use crate::catalogue::Stored;
use crate::check::{CheckStep, Watch};
use crate::error::{Error, Result};
use crate::index::Index;
use crate::reader::ChunkReader;
use crate::repository::Repository;

/// What a snapshot has and lacks.
#[derive(Default)]
pub(super) struct Losses {
    /// What is left.
    pub totals: Totals,
    /// Entries that are missing.
    pub missing: u64,
    /// The first of them.
    pub problems: Vec<Problem>,
}

impl Losses {
    fn lose(&mut self, path: PathBytes, entries: u64, message: String) {
        self.missing += entries;
        if self.problems.len() < PROBLEMS_NAMED {
            self.problems.push(Problem { path, kind: ProblemKind::Unreadable, message });
        }
    }

    fn has(&mut self, entry: &Entry) {
        self.totals.entries += 1;
        match &entry.node {
            Node::Directory => self.totals.directories += 1,
            Node::File(file) => {
                self.totals.files += 1;
                self.totals.bytes = self.totals.bytes.saturating_add(file.size);
            }
            _ => self.totals.others += 1,
        }
    }

    /// What a plan says of it, if something is missing.
    pub fn lacking(self, stored: &Stored, corrected_by: Option<SnapshotId>) -> Option<Lacking> {
        (self.missing > 0).then(|| Lacking {
            id: stored.id,
            instance: stored.snapshot.instance.clone(),
            taken: stored.snapshot.taken,
            missing: self.missing,
            problems: self.problems,
            hopeless: self.totals.entries == 0,
            corrected_by,
        })
    }
}

/// Consecutive entries whose block is lost.
struct Gap {
    first: PathBytes,
    entries: u64,
    why: String,
}

impl Gap {
    /// The path of what follows says how far it reaches.
    fn close(self, next: Option<&Entry>, losses: &mut Losses) {
        let upto = match next {
            Some(entry) => format!("up to, and without, {:?}", String::from_utf8_lossy(&entry.path)),
            None => "to the end of the snapshot".to_owned(),
        };
        let message =
            format!("lost: a block of the manifest with {} entries from here {upto}: {}", self.entries, self.why);
        losses.lose(self.first, self.entries, message);
    }
}

/// Gives every entry that is left, in order; a file whose content is lost as [`Content::Missing`].
///
/// # Errors
/// Also what only kept a block from being read: that is no loss.
pub(super) fn walk(
    reader: &ChunkReader,
    snapshot: &Snapshot,
    watch: Watch<'_>,
    keep: &mut dyn FnMut(&Entry) -> Result<()>,
) -> Result<Losses> {
    let mut losses = Losses::default();
    let mut gap: Option<Gap> = None;
    let mut links = Links::default();
    for found in ManifestReader::new(reader, &snapshot.manifest).entries() {
        watch(CheckStep::Block)?;
        let mut entry = match found {
            Ok(entry) => entry,
            Err(error) => {
                let (entries, first) = (error.items, error.first.clone().unwrap_or_default());
                let why = loss(error)?;
                match &mut gap {
                    Some(gap) => gap.entries += entries,
                    none => drop(none.insert(Gap { first, entries, why })),
                }
                continue;
            }
        };
        if let Some(gap) = gap.take() {
            gap.close(Some(&entry), &mut losses);
        }
        if let Node::File(file) = &mut entry.node
            && let Some(why) = lost_content(reader, &file.content, file.size)?
        {
            file.content = Content::Missing;
            losses.lose(entry.path.clone(), 1, format!("lost: {why}"));
        }
        links.head(&mut entry);
        losses.has(&entry);
        keep(&entry)?;
    }
    if let Some(gap) = gap {
        gap.close(None, &mut losses);
    }
    Ok(losses)
}

/// Why a block is lost; what only keeps it from being read is an error.
fn loss(error: ReadError<Error>) -> Result<String> {
    match *error.fault {
        ReadFault::Source(source) if !source.is_loss() => Err(source),
        ReadFault::Source(source) => Ok(source.loss()),
        ReadFault::Block(error) => Ok(error.to_string()),
    }
}

/// Why the content of a file cannot be had, if it cannot.
fn lost_content(reader: &ChunkReader, content: &Content, size: u64) -> Result<Option<String>> {
    if *content == Content::Missing {
        return Ok(None);
    }
    let mut bytes = 0_u64;
    for piece in pieces(reader, content) {
        match piece {
            Ok(piece @ Piece::Hole { .. }) => bytes = bytes.saturating_add(piece.len()),
            Ok(Piece::Chunk { id, len }) => {
                bytes = bytes.saturating_add(len.into());
                match reader.locate(&id) {
                    Ok(places) if places.iter().any(|place| place.len == len) => {}
                    Ok(_) => return Ok(Some(format!("chunk {id} is not {len} bytes"))),
                    Err(error) if error.is_loss() => return Ok(Some(error.loss())),
                    Err(error) => return Err(error),
                }
            }
            Err(error) => return loss(error).map(|why| Some(format!("the list of its chunks: {why}"))),
        }
    }
    Ok((bytes != size).then(|| format!("its chunks are {bytes} bytes instead of {size}")))
}

/// Names of files that have several: where the first is lost, the next one takes its place.
#[derive(Default)]
struct Links {
    firsts: HashSet<PathBytes>,
    stand_ins: HashMap<PathBytes, PathBytes>,
}

impl Links {
    fn head(&mut self, entry: &mut Entry) {
        match &entry.link_of {
            None if entry.meta.links > 1 => drop(self.firsts.insert(entry.path.clone())),
            Some(first) if !self.firsts.contains(first) => match self.stand_ins.get(first) {
                Some(other) => entry.link_of = Some(other.clone()),
                None => {
                    self.stand_ins.insert(first.clone(), entry.path.clone());
                    entry.link_of = None;
                }
            },
            _ => {}
        }
    }
}

/// Writes the corrected snapshot beside `stored`, unless nothing is missing or nothing is left.
pub(super) fn correct(
    repository: &Arc<Repository>,
    index: &Arc<Index>,
    stored: &Stored,
    options: RepairOptions<'_>,
    watch: Watch<'_>,
) -> Result<Option<(SnapshotId, u64)>> {
    let reader = ChunkReader::new(repository, index)?;
    let session = options.session(repository, index, &stored.snapshot.instance)?;
    let mut writer = session.writer()?;
    let mut manifest = ManifestWriter::new();
    let written =
        walk(&reader, &stored.snapshot, watch, &mut |entry| manifest.push(entry, &mut writer).map_err(of_writer))
            .and_then(|losses| Ok((losses, manifest.finish(&mut writer).map_err(of_writer)?)))
            .and_then(|written| writer.finish().map(|()| written));
    let closed = session.close();
    let (losses, root) = match (written, closed.as_ref()) {
        // The pack writer's own failure is the cause.
        (Err(Error::WriterStopped), Err(_)) => return closed.map(|_| None),
        (written, _) => written?,
    };
    let mut closed = closed?;
    if losses.missing == 0 || losses.totals.entries == 0 {
        return Ok(None);
    }
    // What is left was found, not claimed.
    closed.rescue(&root.id)?;
    let original = &stored.snapshot;
    let mut problems = losses.problems;
    problems.extend(original.problems.iter().cloned());
    problems.truncate(PROBLEMS_NAMED);
    let corrected = Snapshot {
        finished: (options.clock)(),
        manifest: root,
        totals: losses.totals,
        verdict: Verdict::Fuzzy,
        problems,
        problem_count: original.problem_count + losses.missing,
        corrects: Some(stored.id),
        ..original.clone()
    };
    Ok(Some((closed.commit(&corrected, &options.clock)?, losses.missing)))
}

fn of_writer(error: WriteError<Error>) -> Error {
    match error {
        WriteError::Sink(error) => error,
        error => Error::Manifest(error.to_string()),
    }
}
