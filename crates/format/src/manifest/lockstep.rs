//! Walks several manifests at once, in path order, and opens each distinct block once.
//!
//! ```text
//! pending   blocks still to be opened, each with the manifests that have it there; the one with the smallest first path
//!           comes next, of several the highest
//! leaves    opened leaves with entries left
//!
//! while anything is left:
//!     if the next pending block begins at or before the next entry: open it; its children join the pending ones
//!     otherwise: that path is next, with what each of the leaves has there
//! ```
//! A block's parents begin where it does or before, and stand higher. So they have all been opened when its turn comes, and every
//! manifest that has the block at this place has been noted with it: manifests that share a block cost one read of it, and
//! the walk costs the distinct blocks, however many manifests there are. Held are the children of one block for each
//! level and manifest, shared ones once, and the leaves that overlap at one path.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::iter::FusedIterator;
use std::vec;

use super::reader::Bound;
use super::walk::{Node, Opened};
use super::{BlockSource, ReadError, Root};
use crate::entry::{Entry, PathBytes, compare_paths};
use crate::id::ChunkId;

/// Some of the manifests that are walked, by their numbers in the list that the walk was given.
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash)]
pub struct Members {
    /// Of the first 64, which need no memory of their own: every step has a few of these.
    first: u64,
    /// Of the others.
    rest: Vec<u64>,
}

impl Members {
    /// One of `all`.
    fn one(number: usize, all: usize) -> Self {
        let mut members = Self::none(all);
        if let Some(word) = members.words_mut().nth(number / 64) {
            *word = 1 << (number % 64);
        }
        members
    }

    fn none(all: usize) -> Self {
        Self { first: 0, rest: vec![0; all.div_ceil(64).saturating_sub(1)] }
    }

    fn words(&self) -> impl Iterator<Item = &u64> {
        std::iter::once(&self.first).chain(&self.rest)
    }

    fn words_mut(&mut self) -> impl Iterator<Item = &mut u64> {
        std::iter::once(&mut self.first).chain(&mut self.rest)
    }

    /// Whether a manifest is among them.
    pub fn contains(&self, number: usize) -> bool {
        let word = if number < 64 { Some(&self.first) } else { self.rest.get(number / 64 - 1) };
        word.is_some_and(|word| word >> (number % 64) & 1 == 1)
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.words().all(|word| *word == 0)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.words().map(|word| word.count_ones() as usize).sum()
    }

    /// Their numbers, ascending.
    pub fn iter(&self) -> impl Iterator<Item = usize> {
        (0..(1 + self.rest.len()) * 64).filter(|number| self.contains(*number))
    }

    /// Adds those of another set of the same walk.
    pub fn unite(&mut self, other: &Self) {
        self.words_mut().zip(other.words()).for_each(|(word, other)| *word |= other);
    }

    fn subtract(&mut self, other: &Self) {
        self.words_mut().zip(other.words()).for_each(|(word, other)| *word &= !other);
    }
}

/// What the manifests have at one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The distinct entries, at least one, each with the manifests that have it.
    pub versions: Vec<(Entry, Members)>,
    /// Manifests of which nobody knows what they have here, because a block was lost.
    pub unknown: Members,
}

impl Step {
    /// Where it is.
    pub fn path(&self) -> &[u8] {
        self.versions.first().map_or(&[], |(entry, _)| entry.path.as_slice())
    }

    /// What a manifest has here.
    pub fn of(&self, number: usize) -> Option<&Entry> {
        self.versions.iter().find(|(_, members)| members.contains(number)).map(|(entry, _)| entry)
    }
}

/// A block that could not be read, and whose it is.
#[derive(Debug)]
pub struct Lost<E: std::error::Error + 'static> {
    /// The block, and what is lost with it.
    pub error: ReadError<E>,
    /// The manifests that have it.
    pub members: Members,
}

/// Goes through several manifests in lock-step.
///
/// A [`Lost`] stands for all entries in and below one block; until these manifests go on behind it, steps name them as unknown.
#[derive(Debug)]
pub struct Lockstep<'s, S: ?Sized> {
    source: &'s S,
    pending: BTreeMap<Place, Waiting>,
    leaves: Vec<Leaf>,
    unknown: Members,
    from: PathBytes,
    bound: Bound,
    /// What every manifest has is left out, if this is asked for.
    all: Option<Members>,
}

/// A block at its place, ordered as blocks are opened.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    first: PathBytes,
    height: u8,
    id: ChunkId,
    count: u64,
    bytes: Option<u64>,
}

impl Ord for Place {
    fn cmp(&self, other: &Self) -> Ordering {
        let rest = |place: &Self| (place.id, place.count, place.bytes);
        let by_height = other.height.cmp(&self.height);
        compare_paths(&self.first, &other.first).then(by_height).then_with(|| rest(self).cmp(&rest(other)))
    }
}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// What else is known of a block.
#[derive(Debug)]
struct Waiting {
    /// Whether the first path is what a parent said; that of a root is not known.
    is_told: bool,
    upper: Option<PathBytes>,
    members: Members,
}

#[derive(Debug)]
struct Leaf {
    entries: vec::IntoIter<Entry>,
    members: Members,
}

impl<'s, S: BlockSource + ?Sized> Lockstep<'s, S> {
    /// Everything that the manifests have.
    pub fn new(source: &'s S, roots: &[Root]) -> Self {
        let mut walk = Self {
            source,
            pending: BTreeMap::new(),
            leaves: Vec::new(),
            unknown: Members::none(roots.len()),
            from: PathBytes::new(),
            bound: Bound::None,
            all: None,
        };
        for (number, root) in roots.iter().enumerate() {
            walk.add(Node::top(root.id, root.height, root.entries), &Members::one(number, roots.len()));
        }
        walk
    }

    /// Only what stands at `path` and below it.
    pub fn beneath(mut self, path: &[u8]) -> Self {
        (self.from, self.bound) = (path.to_vec(), Bound::Subtree(path.to_vec()));
        self
    }

    /// Only what stands at `path`.
    pub fn at(mut self, path: &[u8]) -> Self {
        (self.from, self.bound) = (path.to_vec(), Bound::Path(path.to_vec()));
        self
    }

    /// Only what differs: blocks that all manifests have are not opened.
    pub fn differing(mut self) -> Self {
        let mut all = self.unknown.clone();
        self.pending.values().for_each(|waiting| all.unite(&waiting.members));
        self.all = Some(all);
        self
    }

    fn add(&mut self, node: Node, members: &Members) {
        let Node { id, height, count, bytes, first, upper } = node;
        let is_told = first.is_some();
        let place = Place { first: first.unwrap_or_default(), height, id, count, bytes };
        match self.pending.get_mut(&place) {
            None => drop(self.pending.insert(place, Waiting { is_told, upper, members: members.clone() })),
            Some(waiting) => {
                waiting.members.unite(members);
                // What the block holds must stay below the first path that follows in any of them.
                let is_lower = |upper: &PathBytes, than: &PathBytes| compare_paths(upper, than).is_lt();
                if upper.as_ref().is_some_and(|upper| waiting.upper.as_ref().is_none_or(|than| is_lower(upper, than))) {
                    waiting.upper = upper;
                }
            }
        }
    }

    /// Opens the next pending block.
    fn open_next(&mut self) -> Result<(), Lost<S::Error>> {
        let Some((place, Waiting { is_told, upper, members })) = self.pending.pop_first() else { return Ok(()) };
        // What these manifests have from here on is known again.
        self.unknown.subtract(&members);
        let outside = upper.as_ref().is_some_and(|upper| compare_paths(upper, &self.from).is_le())
            || is_told && self.bound.is_before(&place.first);
        if outside || self.all.as_ref() == Some(&members) {
            return Ok(());
        }
        let Place { first, height, id, count, bytes } = place;
        let node = Node { id, height, count, bytes, first: is_told.then_some(first), upper };
        match node.open::<Entry, S>(self.source) {
            Ok(Opened::Inner(nodes)) => nodes.into_iter().for_each(|node| self.add(node, &members)),
            Ok(Opened::Leaf(entries)) => {
                let before = entries.partition_point(|entry| compare_paths(&entry.path, &self.from).is_lt());
                let mut entries = entries.into_iter();
                if before > 0 {
                    entries.nth(before - 1);
                }
                self.leaves.push(Leaf { entries, members });
            }
            Err(fault) => {
                self.unknown.unite(&members);
                return Err(Lost { error: node.lost(fault), members });
            }
        }
        Ok(())
    }

    /// The leaf with the smallest next path.
    fn next_leaf(&mut self) -> Option<usize> {
        self.leaves.retain(|leaf| !leaf.entries.as_slice().is_empty());
        let next = self.leaves.iter().enumerate().filter_map(|(at, leaf)| Some((at, leaf.entries.as_slice().first()?)));
        next.min_by(|(_, a), (_, b)| compare_paths(&a.path, &b.path)).map(|(at, _)| at)
    }

    /// Passes over what all leaves have at the next path of one of them, unless an entry there is wanted.
    fn passes(&mut self, leaf: usize, wanted: &mut dyn FnMut(&Entry) -> bool) -> bool {
        let Some(next) = self.leaves[leaf].entries.as_slice().first() else { return false };
        let heads = self.leaves.iter().filter_map(|leaf| leaf.entries.as_slice().first());
        if heads.filter(|entry| entry.path == next.path).any(wanted) {
            return false;
        }
        let Some(passed) = self.leaves[leaf].entries.next() else { return false };
        for leaf in &mut self.leaves {
            if leaf.entries.as_slice().first().is_some_and(|entry| entry.path == passed.path) {
                leaf.entries.next();
            }
        }
        true
    }

    /// What all leaves have at the next path of one of them.
    fn take(&mut self, leaf: usize) -> Option<Step> {
        let entry = self.leaves[leaf].entries.next()?;
        let mut versions = vec![(entry, self.leaves[leaf].members.clone())];
        for leaf in &mut self.leaves {
            let is_here = |entry: &Entry| entry.path == versions[0].0.path;
            if !leaf.entries.as_slice().first().is_some_and(is_here) {
                continue;
            }
            let Some(entry) = leaf.entries.next() else { continue };
            match versions.iter_mut().find(|(version, _)| *version == entry) {
                Some((_, members)) => members.unite(&leaf.members),
                None => versions.push((entry, leaf.members.clone())),
            }
        }
        Some(Step { versions, unknown: self.unknown.clone() })
    }
}

impl<S: BlockSource + ?Sized> Iterator for Lockstep<'_, S> {
    type Item = Result<Step, Lost<S::Error>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_wanted(&mut |_| true)
    }
}

impl<S: BlockSource + ?Sized> Lockstep<'_, S> {
    /// The next step of which one entry at least is wanted, or loss. The others cost no step.
    pub fn next_wanted(&mut self, wanted: &mut dyn FnMut(&Entry) -> bool) -> Option<Result<Step, Lost<S::Error>>> {
        loop {
            let leaf = self.next_leaf();
            let entry = leaf.and_then(|leaf| self.leaves[leaf].entries.as_slice().first());
            let opens = match (self.pending.first_key_value(), entry) {
                (None, None) => return None,
                (Some((place, _)), Some(entry)) => compare_paths(&place.first, &entry.path).is_le(),
                (pending, _) => pending.is_some(),
            };
            if opens {
                match self.open_next() {
                    Ok(()) => continue,
                    Err(lost) => return Some(Err(lost)),
                }
            }
            if entry.is_some_and(|entry| self.bound.is_before(&entry.path)) {
                self.pending.clear();
                self.leaves.clear();
                return None;
            }
            let leaf = leaf?;
            if self.passes(leaf, wanted) {
                continue;
            }
            let step = self.take(leaf)?;
            let is_same = matches!(step.versions.as_slice(), [(_, members)] if self.all.as_ref() == Some(members));
            if !is_same {
                return Some(Ok(step));
            }
        }
    }
}

impl<S: BlockSource + ?Sized> FusedIterator for Lockstep<'_, S> {}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;
    use crate::entry::Timestamp;
    use crate::manifest::fixture::{Blocks, chunk, file, tree, write};

    /// Manifests of the same blocks.
    fn stored(lists: &[Vec<Entry>]) -> (Vec<Root>, Blocks) {
        let mut blocks = Blocks::default();
        let roots = lists.iter().map(|list| write(list, &mut blocks).unwrap()).collect();
        (roots, blocks)
    }

    /// What a step should be, by looking everything up.
    fn expected(lists: &[Vec<Entry>], only_differing: bool) -> Vec<(PathBytes, Vec<Option<Entry>>)> {
        let mut paths: Vec<_> = lists.iter().flatten().map(|entry| entry.path.clone()).collect();
        paths.sort_by(|a, b| compare_paths(a, b));
        paths.dedup();
        let maps: Vec<BTreeMap<_, _>> =
            lists.iter().map(|list| list.iter().map(|entry| (&entry.path, entry)).collect()).collect();
        let all = paths.into_iter().map(|path| {
            let row: Vec<Option<Entry>> = maps.iter().map(|map| map.get(&path).map(|entry| (*entry).clone())).collect();
            (path, row)
        });
        all.filter(|(_, row)| !only_differing || row.iter().any(|entry| *entry != row[0])).collect()
    }

    fn rows(walk: Lockstep<'_, Blocks>, manifests: usize) -> Vec<(PathBytes, Vec<Option<Entry>>)> {
        let row = |step: Step| {
            assert!(step.unknown.is_empty());
            let distinct: BTreeSet<_> = step.versions.iter().map(|(entry, _)| format!("{entry:?}")).collect();
            assert_eq!(distinct.len(), step.versions.len());
            (step.path().to_vec(), (0..manifests).map(|number| step.of(number).cloned()).collect())
        };
        walk.map(|step| row(step.unwrap())).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]

        #[test]
        fn a_walk_agrees_with_looking_everything_up(
            first in proptest::collection::btree_set(0..2_000u32, 0..700),
            changes in proptest::collection::vec(proptest::collection::vec((0..2_000u32, 0..3u8), 0..12), 1..5),
            probe: prop::sample::Index,
        ) {
            let mut numbers = first;
            let mut lists = vec![tree(numbers.iter().copied())];
            for night in changes {
                let mut touched = BTreeSet::new();
                for (number, what) in night {
                    match what {
                        0 => drop(numbers.insert(number)),
                        1 => drop(numbers.remove(&number)),
                        _ => drop(touched.insert(format!("file {number:x}").into_bytes())),
                    }
                }
                let mut list = tree(numbers.iter().copied());
                for entry in list.iter_mut().filter(|entry| touched.contains(entry.name())) {
                    entry.meta.mtime = Timestamp { seconds: lists.len() as i64, nanos: 0 };
                }
                lists.push(list);
            }
            let (roots, blocks) = stored(&lists);
            prop_assert_eq!(rows(Lockstep::new(&blocks, &roots), roots.len()), expected(&lists, false));
            let reads = blocks.read.take();
            prop_assert_eq!(reads.len(), reads.iter().collect::<BTreeSet<_>>().len(), "each block is read once");
            prop_assert_eq!(rows(Lockstep::new(&blocks, &roots).differing(), roots.len()), expected(&lists, true));

            let everything = expected(&lists, false);
            let path = &everything[probe.index(everything.len())].0;
            let at: Vec<_> = everything.iter().filter(|(other, _)| other == path).cloned().collect();
            prop_assert_eq!(rows(Lockstep::new(&blocks, &roots).at(path), roots.len()), at);
            let is_below = |other: &[u8]| path.is_empty() || other == path || other.starts_with(&[&path[..], b"/"].concat());
            let beneath: Vec<_> = everything.iter().filter(|(other, _)| is_below(other)).cloned().collect();
            prop_assert_eq!(rows(Lockstep::new(&blocks, &roots).beneath(path), roots.len()), beneath);
        }
    }

    #[test]
    fn what_nobody_wants_is_passed_over_in_all_manifests() {
        let mut after = tree(0..3_000);
        after.iter_mut().step_by(7).for_each(|entry| entry.meta.mtime.seconds += 1);
        let lists = [tree(0..3_000), after, tree((0..3_000).step_by(3))];
        let (roots, blocks) = stored(&lists);
        let is_wanted = |entry: &Entry| entry.path.ends_with(b"7") && entry.meta.mtime.seconds % 2 == 1;
        let mut walk = Lockstep::new(&blocks, &roots);
        let mut found = Vec::new();
        while let Some(step) = walk.next_wanted(&mut |entry| is_wanted(entry)) {
            let step = step.unwrap();
            found.push((step.path().to_vec(), (0..3).map(|number| step.of(number).cloned()).collect::<Vec<_>>()));
        }
        let mut expected = expected(&lists, false);
        expected.retain(|(_, row)| row.iter().flatten().any(is_wanted));
        assert!(!found.is_empty());
        assert_eq!(found, expected);
    }

    #[test]
    fn members_beyond_the_first_word_are_members_too() {
        let all = 200;
        let mut members = Members::none(all);
        for number in [0, 63, 64, 127, 128, 199] {
            members.unite(&Members::one(number, all));
        }
        assert_eq!(members.iter().collect::<Vec<_>>(), [0, 63, 64, 127, 128, 199]);
        assert!(members.count() == 6 && !members.contains(1) && !members.contains(100_000));
        members.subtract(&Members::one(128, all));
        assert!(!members.contains(128) && !members.is_empty() && Members::none(0).is_empty());
    }

    #[test]
    fn a_difference_costs_the_blocks_that_differ() {
        let before = tree(0..8_000);
        let mut after = before.clone();
        let at = after.iter().position(|entry| entry.path.ends_with(b"file 115")).unwrap();
        after[at].meta.mtime.seconds += 1;
        let (roots, blocks) = stored(&[before, after]);
        let steps: Vec<_> = Lockstep::new(&blocks, &roots).differing().collect();
        assert_eq!(steps.len(), 1);
        // A path from the root to the leaf in each of them.
        assert!(blocks.reads() <= 2 * (1 + usize::from(roots[0].height)));
        assert_eq!(Lockstep::new(&blocks, &[roots[0], roots[0]]).differing().count(), 0);
        assert_eq!(blocks.reads(), 0);
    }

    #[test]
    fn many_manifests_cost_their_distinct_blocks() {
        let nights = (0..40u32).map(|night| {
            let mut list = tree(0..2_000);
            let at = list.len() / 40 * night as usize;
            list[at].meta.mtime.seconds += 1;
            list
        });
        let lists: Vec<_> = nights.collect();
        let (roots, blocks) = stored(&lists);
        assert_eq!(Lockstep::new(&blocks, &roots).count(), lists[0].len());
        assert_eq!(blocks.reads(), blocks.blocks.len());
        assert_eq!(Lockstep::new(&blocks, &roots).at(&lists[0][100].path).count(), 1);
        assert!(blocks.reads() < 40 * 3 + 3);
    }

    #[test]
    fn behind_a_lost_block_a_manifest_is_unknown_as_far_as_it_reaches() {
        let before = tree(0..4_000);
        let mut after = before.clone();
        let at = after.len() / 2;
        let changed = after[at].path.clone();
        after[at] = file(std::str::from_utf8(&changed).unwrap(), vec![chunk(1 << 40, 9)]);
        let (roots, mut blocks) = stored(&[before, after.clone()]);
        // The leaf of the second manifest that holds the change.
        let mut old = Blocks::default();
        write(&tree(0..4_000), &mut old).unwrap();
        let leaf = |id: &&ChunkId| {
            crate::manifest::decode_block(&blocks.blocks[*id]).is_ok_and(|block| {
                matches!(block, crate::manifest::Block::Entries(entries) if entries.iter().any(|e| e.path == changed))
            })
        };
        let new = blocks.ids().difference(&old.ids()).copied().collect::<Vec<_>>();
        let lost = *new.iter().find(leaf).unwrap();
        blocks.blocks.remove(&lost);
        let (mut known, mut unknown, mut errors) = (0, 0, Vec::new());
        for step in Lockstep::new(&blocks, &roots) {
            match step {
                Ok(step) if step.unknown.contains(1) => {
                    assert!(step.of(1).is_none() && step.of(0).is_some());
                    unknown += 1;
                }
                Ok(step) => {
                    assert_eq!(step.of(0), step.of(1));
                    known += 1;
                }
                Err(lost) => errors.push(lost),
            }
        }
        let [Lost { error, members }] = &errors[..] else { panic!("{errors:?}") };
        assert_eq!((error.block, members.iter().collect::<Vec<_>>()), (lost, vec![1]));
        assert_eq!((unknown as u64, known + unknown), (error.items, after.len()));
    }

    #[test]
    fn manifests_of_different_heights_and_empty_ones_meet() {
        let lists = [tree(0..4_000), vec![], tree([5]), tree(0..300)];
        let (roots, blocks) = stored(&lists);
        assert_eq!(rows(Lockstep::new(&blocks, &roots), 4), expected(&lists, false));
        assert_eq!(rows(Lockstep::new(&blocks, &roots).differing(), 4), expected(&lists, true));
        assert_eq!(Lockstep::new(&blocks, &[]).count(), 0);
    }
}
