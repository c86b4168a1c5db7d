//! Looks ahead: what there is to do, whether there is room for it, and where content stands that need not be fetched.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::Arc;

use icecore_format::entry::{Class, Entry, File, Node, Piece};
use icecore_format::manifest::pieces;
use icecore_repo::ChunkReader;
use icecore_source::Kind;
use icecore_source::target::{Target, TargetError};

use super::ground::Ground;
use super::merge::{Merge, Met, Standing};
use super::pool::{self, Answer, Pool};
use super::seeds::{Seeds, Short, Stays, Wanted};
use super::selection::{Selection, is_within};
use super::site::Site;
use super::{Mode, RestoreJob};
use crate::archive::Archive;
use crate::error::{Error, Result};
use crate::progress::Progress;

/// Bytes of a block of a file (`st_blocks`).
const BLOCK: u64 = 512;

/// Bytes that each entry of scratch is taken to need beside its content: what file systems round up to, and its metadata.
const ENTRY: u64 = 4096;

/// The part of its content that a restore into scratch leaves free as well: one in so many bytes.
const SPARE: u64 = 20;

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
    let free = match job.scratch {
        // What a disk that is full ends is not only the restore.
        true => Some(room(site.target, &grounds[number].errand.directory)?),
        false => site.target.free().unwrap_or(None),
    };
    let recorded = &job.stored.snapshot.totals;
    let room_for = |bytes: u64| match job.scratch {
        true => bytes.saturating_add(bytes / SPARE).saturating_add(recorded.entries.saturating_mul(ENTRY)),
        false => bytes,
    };
    // With room for everything, there is nothing to find out that the snapshot's record does not say.
    let is_whole = job.path.is_empty() && grounds.len() == 1 && job.filter.is_none();
    if job.mode == Mode::New && is_whole && free.is_none_or(|free| free >= room_for(recorded.bytes)) {
        progress.expect(recorded.entries, recorded.bytes);
        return Ok(Seeds::default());
    }
    let totals = count(reader, job, site, &grounds[number], trees[number].as_ref())?;
    progress.expect(totals.entries, totals.bytes);
    let needed = room_for(totals.growth);
    if let Some(free) = free.filter(|free| *free < needed) {
        let path = grounds[number].errand.directory.clone();
        return Err(Error::NoRoom { path, needed, free });
    }
    if totals.wanted.is_empty() {
        return Ok(Seeds::default());
    }
    pool::with(archive, job.threads, |pool| search(archive, reader, job, site, &trees, number, &totals, pool))
}

/// Bytes that scratch may take: also of a file system that compresses, which may have room for more.
fn room(target: &Target, directory: &Path) -> Result<u64> {
    let unusable = |source| TargetError::Unusable { path: directory.to_owned(), source };
    let unknown = || io::Error::other("its file system does not say how much room is left");
    Ok(target.free_at_least().and_then(|free| free.ok_or_else(unknown)).map_err(unusable)?)
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
        if entry.link_of.as_ref().is_some_and(|first| site.may_link_to(first)) {
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

/// Files that are read ahead of the one whose seeds are added next.
const AHEAD: usize = 8;

/// Seeds of a file, in the order of files, so that the same ones are taken whichever thread is done first.
enum Next {
    /// Those of a file that is as recorded.
    Known(Box<Entry>),
    Read(Answer<Result<Vec<(Short, u64)>>>),
}

/// Adds what is found, file by file.
struct Adding<'s> {
    seeds: Seeds,
    wanted: &'s Wanted,
    reader: &'s ChunkReader,
    /// The number of the tree, the place in it, how long it stays.
    next: VecDeque<(usize, Vec<u8>, Stays, Next)>,
}

impl Adding<'_> {
    fn add(&mut self, tree: usize, place: Vec<u8>, stays: Stays, next: Next) -> Result<()> {
        self.next.push_back((tree, place, stays, next));
        self.settle(AHEAD)
    }

    /// Leaves at most so many to come.
    fn settle(&mut self, most: usize) -> Result<()> {
        while self.next.len() > most
            && let Some((tree, place, stays, next)) = self.next.pop_front()
        {
            let mut finder = self.seeds.file(self.wanted, tree, &place, stays);
            match next {
                Next::Read(answer) => finder.add_found(&answer.wait()??),
                Next::Known(entry) => {
                    if let Node::File(file) = &entry.node {
                        finder.add_pieces(pieces(self.reader, &file.content));
                    }
                }
            }
        }
        Ok(())
    }
}

/// Searches the trees for wanted chunks. Files that nobody needs are read for them up to as many bytes as are wanted.
#[allow(clippy::too_many_arguments, reason = "one story, told in one place")]
fn search<'e>(
    archive: &'e Archive,
    reader: &'e ChunkReader,
    job: &RestoreJob<'_>,
    site: &'e Site<'e>,
    trees: &'e [Option<SeedTree<'e>>],
    number: usize,
    totals: &'e Totals,
    pool: &Pool<'e>,
) -> Result<Seeds> {
    let mut budget = totals.unsure;
    let (key, params) = (archive.repository.id_key(), archive.repository.config().cut);
    let mut adding = Adding { seeds: Seeds::default(), wanted: &totals.wanted, reader, next: VecDeque::new() };
    for (other, tree) in trees.iter().enumerate() {
        let Some(tree) = tree else { continue };
        // Trees that are changed one after another: what was changed already is not what was listed, but for what was kept
        // and for what is deleted in the end.
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
            let is_extra = entry.is_none();
            let class = match entry {
                Some(entry) if site.trusts(&entry, &stat) => {
                    adding.add(other, place, Stays::Always, Next::Known(Box::new(entry)))?;
                    continue;
                }
                Some(Entry { node: Node::File(file), .. }) => Some(file.class),
                _ => None,
            };
            // Pages are rewritten where they stand; nothing moves.
            if (is_past && in_place && !is_extra) || matches!(class, Some(Class::Pages { .. })) {
                continue;
            }
            // A file that is changed is read anyway; one that nobody needs is read if it is not too much.
            if is_extra {
                let Some(left) = budget.checked_sub(stat.size) else { continue };
                budget = left;
            }
            let changes = in_place && other == number && !is_extra;
            let stays = if changes { Stays::UntilLeft } else { Stays::Always };
            let Ok(file) = tree.target.open_standing(&place) else { continue };
            let find =
                move |_: &ChunkReader| totals.wanted.find(key, &params, class, &file, stat.size, &|| site.check());
            adding.add(other, place, stays, Next::Read(pool.ask(find)))?;
        }
    }
    adding.settle(0)?;
    Ok(adding.seeds)
}
