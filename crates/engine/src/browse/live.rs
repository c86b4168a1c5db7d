//! What changed since a snapshot in the directories that it was taken of.

use std::iter::Peekable;
use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;

use icecore_format::entry::{Content, Entry, File, Node, Piece, compare_paths};
use icecore_format::manifest::{self, ManifestReader};
use icecore_source::listing::Listed;
use icecore_source::tree::Root;
use icecore_source::{Excludes, Kind, ListProgress, LiveFile, ReadAt, Rules, Stat, Tree};

use super::diff::Field;
use crate::Stored;
use crate::archive::Archive;
use crate::error::{Error, Result, reason, survive_block};
use crate::progress::{Phase, Progress};

/// How a live instance is compared.
#[derive(Debug)]
pub struct Job {
    /// The live roots, by the names of the snapshot's.
    pub roots: Vec<Root>,
    /// What is not looked at on the live side: what the snapshot left out.
    pub excludes: Excludes,
    /// Device and inode of what is not looked at either: the repository, the state directory.
    pub leave_out: Vec<(u64, u64)>,
    /// Files whose size and time are as recorded are read too.
    pub rehash: bool,
    /// Threads that list.
    pub threads: usize,
    /// Where a large listing may be put aside.
    pub spool: Option<PathBuf>,
}

/// What is met, in path order.
#[derive(Debug)]
pub enum Live {
    /// Only the live side has it.
    Added(Listed),
    /// Only the snapshot has it.
    Removed(Entry),
    /// They differ in these fields, at least one.
    Changed(Entry, Stat, Vec<Field>),
    /// Something that cannot be compared, a sentence.
    Lost(String),
}

/// Compares a snapshot with the live directories, at `path` and below it. Unless files are rehashed, one with the size and time
/// that are recorded counts as unchanged, and no data is read on either side.
///
/// # Errors
/// Roots that cannot be opened or listed, what `each` says, and what is no damage.
pub fn diff_live(
    archive: &Archive,
    stored: &Stored,
    path: &[u8],
    job: Job,
    progress: &Progress,
    each: &mut dyn FnMut(Live) -> Result<()>,
) -> Result<()> {
    progress.enter(Phase::Listing);
    let tree = Tree::open(job.roots)?;
    let rules = Rules {
        excludes: job.excludes,
        exclude_caches: stored.snapshot.exclude_caches,
        one_file_system: stored.snapshot.one_file_system,
        leave_out: job.leave_out,
        threads: job.threads,
        spool: job.spool,
        ..Rules::default()
    };
    let listing = tree.list(&rules, &ListProgress::default())?;
    let is_within = |place: &[u8]| is_beneath(place, path);
    // What could not be listed above `path` may have held it.
    for problem in listing.problems().iter().filter(|at| is_within(&at.path) || is_beneath(path, &at.path)) {
        each(Live::Lost(format!("\"{}\": {}", String::from_utf8_lossy(&problem.path), problem.message)))?;
    }
    let unnamed = listing.problem_count().saturating_sub(listing.problems().len() as u64);
    if unnamed > 0 {
        each(Live::Lost(format!(
            "{unnamed} more places could not be listed; what stands there is not called removed"
        )))?;
    }
    // What only a part of it has, nobody has counted.
    if path.is_empty() {
        let totals = &stored.snapshot.totals;
        progress.expect(listing.entries().max(totals.entries), if job.rehash { totals.bytes } else { 0 });
    }
    progress.enter(Phase::Comparing);
    let reader = archive.reader()?;
    let look = Look { archive, tree: &tree, rehash: job.rehash, reader: &reader, progress };
    let mut entries = ManifestReader::new(&reader, &stored.snapshot.manifest).subtree(path).peekable();
    let mut standing = listing.iter().filter(|listed| listed.as_ref().map_or(true, |listed| is_within(&listed.path)));
    let mut listed = standing.by_ref().peekable();
    // Below what could not be listed, nothing is known to be gone.
    let is_unlisted =
        |place: &[u8]| unnamed > 0 || listing.problems().iter().any(|problem| is_beneath(place, &problem.path));
    // Behind a damaged block, what stands there is not known to be added.
    let mut blind = false;
    let is_hidden = unnamed > 0 || listing.problems().iter().any(|problem| is_beneath(path, &problem.path));
    if !path.is_empty() && !is_hidden && entries.peek().is_none() && listed.peek().is_none() {
        return Err(super::nothing_at(stored, path));
    }
    loop {
        progress.check()?;
        progress.done(0);
        let order = match (entries.peek(), listed.peek()) {
            (None, None) => return Ok(()),
            (Some(Err(_)), _) => {
                if let Some(Err(error)) = entries.next() {
                    let sentence = super::lost(&stored.id.short(), &error);
                    survive_block(error)?;
                    blind = true;
                    each(Live::Lost(sentence))?;
                }
                continue;
            }
            (_, Some(Err(_))) | (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(_), None) => std::cmp::Ordering::Less,
            (Some(Ok(entry)), Some(Ok(listed))) => compare_paths(&entry.path, &listed.path),
        };
        let stands = if order.is_ge() { next(&mut listed)? } else { None };
        let entry = if order.is_le() { entries.next().and_then(|entry| entry.ok()) } else { None };
        let (size, read) = (entry.as_ref().map_or(0, Entry::size), progress.bytes.load(Relaxed));
        blind &= entry.is_none();
        match (entry, stands) {
            (Some(entry), None) if !is_unlisted(&entry.path) => each(Live::Removed(entry))?,
            (None, Some(stands)) if !blind => each(Live::Added(stands))?,
            (Some(entry), Some(stands)) => match look.fields(&entry, &stands.stat)? {
                Ok(fields) if fields.is_empty() => {}
                Ok(fields) => each(Live::Changed(entry, stands.stat, fields))?,
                Err(sentence) => each(Live::Lost(sentence))?,
            },
            _ => {}
        }
        // What needed no reading is done too.
        let unread = size.saturating_sub(progress.bytes.load(Relaxed) - read);
        progress.bytes.fetch_add(unread, Relaxed);
    }
}

/// Whether a path is `top` or below it.
fn is_beneath(path: &[u8], top: &[u8]) -> bool {
    top.is_empty() || path.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

fn next(listed: &mut Peekable<impl Iterator<Item = std::io::Result<Listed>>>) -> Result<Option<Listed>> {
    listed.next().transpose().map_err(Error::Listing)
}

/// Looks at one entry on both sides.
struct Look<'a> {
    archive: &'a Archive,
    tree: &'a Tree,
    rehash: bool,
    reader: &'a icecore_repo::ChunkReader,
    progress: &'a Progress,
}

impl Look<'_> {
    /// In what they differ; a sentence if that cannot be told.
    fn fields(&self, entry: &Entry, stat: &Stat) -> Result<std::result::Result<Vec<Field>, String>> {
        let meta = &entry.meta;
        if Kind::of(&entry.node) != stat.kind {
            return Ok(Ok(vec![Field::Type]));
        }
        let unreadable = |error: &dyn std::error::Error| {
            format!("\"{}\" cannot be compared: {}", String::from_utf8_lossy(&entry.path), reason(error))
        };
        let mut fields = Vec::new();
        match &entry.node {
            Node::File(file) => match self.is_same(entry, file, stat)? {
                Ok(true) => {}
                Ok(false) => fields.push(Field::Content),
                Err(sentence) => return Ok(Err(sentence)),
            },
            Node::Symlink { target } => match self.tree.read_link(&entry.path) {
                Ok(leads) if leads == *target => {}
                Ok(_) => fields.push(Field::Target),
                Err(error) => return Ok(Err(unreadable(&error))),
            },
            Node::CharDevice { major, minor } | Node::BlockDevice { major, minor } if stat.rdev != (*major, *minor) => {
                fields.push(Field::Device);
            }
            _ => {}
        }
        // Whatever else changes, the time of the change does: only then the attributes are asked for.
        let xattrs =
            if meta.ctime == stat.ctime { Ok(None) } else { self.tree.xattrs(&entry.path, stat.kind).map(Some) };
        let xattrs = match xattrs {
            Ok(xattrs) => xattrs.is_some_and(|xattrs| xattrs != meta.xattrs),
            Err(error) => return Ok(Err(unreadable(&error))),
        };
        let is_directory = entry.node == Node::Directory;
        let differs = [
            (Field::Mode, meta.mode != stat.mode),
            (Field::Owner, meta.uid != stat.uid),
            (Field::Group, meta.gid != stat.gid),
            (Field::Mtime, meta.mtime != stat.mtime && !is_directory),
            (Field::Xattrs, xattrs),
        ];
        fields.extend(differs.into_iter().filter_map(|(field, differs)| differs.then_some(field)));
        Ok(Ok(fields))
    }

    fn is_same(&self, entry: &Entry, file: &File, stat: &Stat) -> Result<std::result::Result<bool, String>> {
        if file.size != stat.size || file.content == Content::Missing {
            return Ok(Ok(false));
        }
        if !self.rehash {
            return Ok(Ok(entry.meta.mtime == stat.mtime));
        }
        let shown = || String::from_utf8_lossy(&entry.path).into_owned();
        let live = match self.tree.open_file(&entry.path) {
            Ok(live) => live,
            Err(error) => return Ok(Err(format!("\"{}\" cannot be read: {error}", shown()))),
        };
        let (mut offset, mut buffer) = (0, Vec::new());
        for piece in manifest::pieces(self.reader, &file.content) {
            self.progress.check()?;
            let piece = match piece {
                Ok(piece) => piece,
                Err(error) => {
                    let sentence = format!("\"{}\" cannot be compared: {}", shown(), reason(&error));
                    survive_block(error)?;
                    return Ok(Err(sentence));
                }
            };
            let same = match self.stands(&live, offset, &piece, &mut buffer) {
                Ok(same) => same,
                Err(error) => return Ok(Err(format!("\"{}\" cannot be read: {error}", shown()))),
            };
            if !same {
                return Ok(Ok(false));
            }
            offset += piece.len();
            self.progress.bytes.fetch_add(piece.len(), Relaxed);
        }
        Ok(Ok(true))
    }

    /// Whether a piece stands in a live file.
    fn stands(&self, live: &LiveFile, mut offset: u64, piece: &Piece, buffer: &mut Vec<u8>) -> std::io::Result<bool> {
        /// Of a hole, so much is read at once.
        const PART: u64 = 1 << 20;
        match piece {
            Piece::Chunk { id, len } => {
                buffer.resize(*len as usize, 0);
                Ok(fill(live, offset, buffer)? && self.archive.repository.id_key().id(buffer) == *id)
            }
            Piece::Hole { len } => {
                let end = offset.saturating_add(*len);
                while let Some(data) = live.next_data(offset, end)? {
                    let data_end = data.end.min(end);
                    offset = data.start;
                    while offset < data_end {
                        buffer.resize((data_end - offset).min(PART) as usize, 0);
                        if !fill(live, offset, buffer)? || buffer.iter().any(|byte| *byte != 0) {
                            return Ok(false);
                        }
                        offset += buffer.len() as u64;
                    }
                }
                Ok(true)
            }
        }
    }
}

/// Reads exactly so many bytes; whether there were as many.
fn fill(live: &LiveFile, offset: u64, buffer: &mut [u8]) -> std::io::Result<bool> {
    let mut done = 0;
    while done < buffer.len() {
        match live.read_at(offset + done as u64, &mut buffer[done..])? {
            0 => return Ok(false),
            read => done += read,
        }
    }
    Ok(true)
}
