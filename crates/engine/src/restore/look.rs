//! Whether what stands holds the content of a file, and which parts of it.

use std::sync::Arc;

use icecore_format::entry::{Entry, File, Node};
use icecore_repo::ChunkReader;
use icecore_source::target::{Target, TargetFile};
use icecore_source::{Kind, Stat};

use super::examine::{Examined, examine};
use super::pool::Pool;
use super::site::Site;
use crate::error::Result;

/// Content that is right, and where.
#[derive(Debug)]
pub(super) struct Found {
    /// `None`: taken to be right for its size and time.
    pub proved: Option<Examined>,
    /// The file that holds it.
    pub file: Arc<TargetFile>,
}

impl Found {
    /// Bytes of a file of `size` bytes that are right.
    pub fn bytes(&self, size: u64) -> u64 {
        self.proved.as_ref().map_or(size, |proved| proved.bytes)
    }

    /// Whether there are zeros wherever the snapshot has holes.
    pub fn has_holes(&self) -> bool {
        self.proved.as_ref().is_none_or(|proved| proved.holes)
    }
}

/// Which of the trees is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// What is restored into.
    Target,
    /// What stands where the target will be exchanged.
    Old,
}

/// What was looked at, and what was found.
pub(super) type Looked = (Side, Result<Option<Found>>);

/// Which side is worth looking at ahead for a file, if any: not one that is as recorded.
pub(super) fn side(site: &Site<'_>, entry: &Entry, stat: Option<&Stat>) -> Option<Side> {
    match stat.filter(|stat| stat.kind == Kind::File) {
        Some(stat) => (!site.trusts(entry, stat)).then_some(Side::Target),
        None => site.old_tree().map(|_| Side::Old),
    }
}

/// Compares what stands on a side with the entry. A file that cannot be read has nothing.
pub(super) fn look<'e>(
    site: &'e Site<'e>,
    reader: &ChunkReader,
    pool: &Pool<'e>,
    entry: &Entry,
    stat: Option<&Stat>,
    side: Side,
) -> Result<Option<Found>> {
    let place = site.place(&entry.path);
    match (side, stat, site.old_tree()) {
        (Side::Target, Some(stat), _) => compare(site, reader, pool, entry, stat, site.target),
        (Side::Old, _, Some(tree)) => match tree.stat(place) {
            Ok(Some(stat)) if stat.kind == Kind::File => compare(site, reader, pool, entry, &stat, tree),
            _ => Ok(None),
        },
        _ => Ok(None),
    }
}

fn compare<'e>(
    site: &'e Site<'e>,
    reader: &ChunkReader,
    pool: &Pool<'e>,
    entry: &Entry,
    stat: &Stat,
    tree: &Target,
) -> Result<Option<Found>> {
    let Ok(file) = tree.open_standing(site.place(&entry.path)).map(Arc::new) else { return Ok(None) };
    if site.trusts(entry, stat) {
        return Ok(Some(Found { proved: None, file }));
    }
    let Node::File(File { content, .. }) = &entry.node else { return Ok(None) };
    let examined = examine(site, reader, pool, content, &file, stat.size)?;
    Ok(examined.ok().map(|proved| Found { proved: Some(proved), file }))
}
