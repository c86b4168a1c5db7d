//! Looks ahead: what there is to do, whether there is room for it, and where content stands that need not be fetched.

use std::sync::Arc;

use icecore_format::entry::{Class, Content, Entry, File, Node, Piece};
use icecore_format::manifest::pieces;
use icecore_repo::ChunkReader;
use icecore_source::target::Target;
use icecore_source::{Kind, Stat};

use super::converge::Site;
use super::ground::Ground;
use super::merge::{Merge, Met, Standing};
use super::seeds::{Seeds, Stays, Wanted};
use super::selection::{Selection, is_within};
use super::{Mode, RestoreJob};
use crate::archive::Archive;
use crate::error::{Error, Result};
use crate::progress::Progress;

/// Bytes of a block of a file (`st_blocks`).
const BLOCK: u64 = 512;

/// A directory with content that may be used: a target in place, or what stands where a tree will be exchanged.
#[derive(Debug)]
pub(super) struct SeedTree<'g> {
    pub target: Arc<Target>,
    standing: &'g Standing,
    ground: &'g Ground,
}

/// Every tree with content, with that of the ground it belongs to at the ground's number.
pub(super) fn seed_trees<'g>(job: &RestoreJob<'_>, grounds: &'g [Ground]) -> Vec<Option<SeedTree<'g>>> {
    let tree = |ground: &'g Ground| match (&ground.old, job.mode) {
        (Some(old), _) if !old.exchanged => {
            old.tree.as_ref().map(|(target, standing)| SeedTree { target: Arc::clone(target), standing, ground })
        }
        (None, Mode::InPlace { .. }) => {
            Some(SeedTree { target: Arc::clone(&ground.target), standing: &ground.standing, ground })
        }
        _ => None,
    };
    grounds.iter().map(tree).collect()
}

/// What there is to do.
#[derive(Debug, Default)]
struct Totals {
    entries: u64,
    bytes: u64,
    /// Bytes that the target grows by at least.
    growth: u64,
    /// Bytes that will be written whole.
    unsure: u64,
    wanted: Wanted,
}

/// Counts what there is to do for one target, refuses what has no room, and searches for seeds.
pub(super) fn survey(
    archive: &Archive,
    reader: &ChunkReader,
    job: &RestoreJob<'_>,
    site: &Site<'_>,
    grounds: &[Ground],
    number: usize,
    progress: &Progress,
) -> Result<Seeds> {
    let trees = seed_trees(job, grounds);
    let free = site.target.free().unwrap_or(None);
    let recorded = &job.stored.snapshot.totals;
    // With room for everything, there is nothing to find out that the snapshot's record does not say.
    let is_whole = job.path.is_empty() && grounds.len() == 1 && job.filter.is_none();
    if job.mode == Mode::New && is_whole && free.is_none_or(|free| free >= recorded.bytes) {
        progress.expect(recorded.entries, recorded.bytes);
        return Ok(Seeds::default());
    }
    let totals = count(reader, job, site, &grounds[number], trees[number].as_ref())?;
    progress.expect(totals.entries, totals.bytes);
    if let Some(free) = free.filter(|free| *free < totals.growth) {
        let path = grounds[number].errand.directory.clone();
        return Err(Error::NoRoom { path, needed: totals.growth, free });
    }
    if totals.wanted.is_empty() {
        return Ok(Seeds::default());
    }
    search(archive, reader, job, site, &trees, number, totals)
}

fn count(
    reader: &ChunkReader,
    job: &RestoreJob<'_>,
    site: &Site<'_>,
    ground: &Ground,
    tree: Option<&SeedTree<'_>>,
) -> Result<Totals> {
    let mut totals = Totals::default();
    let manifest = &job.stored.snapshot.manifest;
    let mut merge = Merge::new(reader, manifest, site.selection, &ground.standing);
    while let Some(met) = merge.next()? {
        site.check()?;
        let (Met::Entry(entry, standing) | Met::Way(entry, standing)) = met else { continue };
        totals.entries += 1;
        let Node::File(File { size, content, .. }) = &entry.node else { continue };
        totals.bytes += size;
        if entry.link_of.as_ref().is_some_and(|first| site.selection.restores(first)) {
            continue;
        }
        let place = site.selection.place(&entry.path);
        if standing.is_some_and(|stat| site.trusts(&entry, &stat)) {
            continue;
        }
        // A tree that is built beside takes files that are as recorded from the old one, and shares their bytes if it can.
        let taken = ground.old.is_some()
            && tree
                .and_then(|tree| tree.target.stat(place).ok().flatten())
                .is_some_and(|stat| site.trusts(&entry, &stat));
        let mut data = 0;
        for piece in pieces(reader, content) {
            if let Ok(Piece::Chunk { id, len }) = piece {
                data += u64::from(len);
                if tree.is_some() && !taken {
                    totals.wanted.add(&id);
                }
            }
        }
        if !(taken && site.can_clone) {
            let held = standing.filter(|stat| stat.kind == Kind::File).map_or(0, |stat| stat.blocks * BLOCK);
            totals.growth += data.saturating_sub(held);
        }
        if !taken {
            totals.unsure += data;
        }
    }
    Ok(totals)
}

/// Searches the trees for wanted chunks. Files that nobody needs are read for them up to as many bytes as are wanted.
fn search(
    archive: &Archive,
    reader: &ChunkReader,
    job: &RestoreJob<'_>,
    site: &Site<'_>,
    trees: &[Option<SeedTree<'_>>],
    number: usize,
    totals: Totals,
) -> Result<Seeds> {
    let (mut seeds, mut budget) = (Seeds::default(), totals.unsure);
    let (key, params) = (archive.repository.id_key(), archive.repository.config().cut);
    let check = || site.check();
    for (other, tree) in trees.iter().enumerate() {
        let Some(tree) = tree else { continue };
        // Trees that are changed one after another: what was changed already is not what was listed, but for what was kept.
        let (is_past, in_place) = (other < number, tree.ground.old.is_none());
        let selection = Selection::new(&tree.ground.errand.base, None, &job.filter);
        let selection = if matches!(tree.standing, Standing::One(_)) { site.selection } else { &selection };
        let mut merge = Merge::new(reader, &job.stored.snapshot.manifest, selection, tree.standing);
        let mut replaced: Option<Vec<u8>> = None;
        while let Some(met) = merge.next()? {
            site.check()?;
            let (place, stat, entry) = match met {
                Met::Entry(entry, Some(stat)) => (selection.place(&entry.path).to_vec(), stat, Some(entry)),
                Met::Extra(listed) => (listed.path, listed.stat, None),
                _ => continue,
            };
            if let Some(entry) = &entry
                && stat.kind == Kind::Directory
                && entry.node != Node::Directory
            {
                replaced = Some(place.clone());
            }
            let goes = replaced.as_ref().is_some_and(|above| is_within(&place, above));
            if stat.kind != Kind::File || goes {
                continue;
            }
            let (is_known, class, content) = known(site, entry.as_ref(), &stat);
            if is_known {
                seeds.file(&totals.wanted, other, &place, Stays::Always).add_pieces(pieces(reader, content));
                continue;
            }
            if is_past && in_place {
                continue;
            }
            // Pages are rewritten where they stand; nothing moves.
            if matches!(class, Some(Class::Pages { .. })) {
                continue;
            }
            // A file that is changed is read anyway; one that nobody needs is read if it is not too much.
            if entry.is_none() {
                let Some(left) = budget.checked_sub(stat.size) else { continue };
                budget = left;
            }
            let changes = in_place && other == number && entry.is_some();
            let stays = if changes { Stays::UntilLeft } else { Stays::Always };
            let Ok(file) = tree.target.open_standing(&place) else { continue };
            let mut finder = seeds.file(&totals.wanted, other, &place, stays);
            // A file that cannot be read is no seed.
            let _ = finder.add_content(key, &params, class, &file, stat.size, &check)?;
        }
    }
    Ok(seeds)
}

/// Whether what stands is as recorded; and how the entry is cut and where its pieces stand.
fn known<'e>(site: &Site<'_>, entry: Option<&'e Entry>, stat: &Stat) -> (bool, Option<Class>, &'e Content) {
    match entry {
        Some(entry @ Entry { node: Node::File(file), .. }) => {
            (site.trusts(entry, stat), Some(file.class), &file.content)
        }
        _ => (false, None, &Content::Missing),
    }
}
