//! Reads the entries of a snapshot: all of them, some, or one.

use std::iter::FusedIterator;
use std::vec;

use super::walk::{Leaf, Node, Walk};
use super::{BlockSource, ReadError, Root};
use crate::entry::{Entry, PathBytes, compare_paths};
use crate::id::ChunkId;

/// Gives access to one manifest. Costs nothing to create: blocks are read when they are needed.
#[derive(Debug)]
pub struct ManifestReader<'s, S: ?Sized> {
    source: &'s S,
    root: Root,
}

impl<'s, S: BlockSource + ?Sized> ManifestReader<'s, S> {
    /// Names the manifest to read and where its blocks come from.
    pub fn new(source: &'s S, root: &Root) -> Self {
        Self { source, root: *root }
    }

    /// All entries in manifest order.
    pub fn entries(&self) -> Entries<'s, S> {
        self.open(PathBytes::new(), Bound::None)
    }

    /// The entries from `path` on, whether it is there or not.
    pub fn entries_from(&self, path: &[u8]) -> Entries<'s, S> {
        self.open(path.to_vec(), Bound::None)
    }

    /// The entry at `path`, if there is one.
    pub fn get(&self, path: &[u8]) -> Result<Option<Entry>, ReadError<S::Error>> {
        self.open(path.to_vec(), Bound::Path(path.to_vec())).next().transpose()
    }

    /// The entry at `path` and everything below it; all entries for the empty path.
    pub fn subtree(&self, path: &[u8]) -> Entries<'s, S> {
        self.open(path.to_vec(), Bound::Subtree(path.to_vec()))
    }

    /// The entry at a position: the number of entries that stand before it.
    pub fn at(&self, position: u64) -> Result<Option<Entry>, ReadError<S::Error>> {
        let mut walk = self.walk();
        let leaf = walk.next_leaf(|node, before| before.items.saturating_add(node.count) <= position).transpose()?;
        let nth = |leaf: Leaf<Entry>| Some((position.checked_sub(leaf.before.items)?, leaf.items));
        Ok(leaf.and_then(nth).and_then(|(nth, items)| items.into_iter().nth(usize::try_from(nth).ok()?)))
    }

    /// What stands directly in the directory `path`. Blocks that hold only what is deeper are not read.
    pub fn children(&self, path: &[u8]) -> Children<'s, S> {
        Children { entries: self.subtree(path), directory: path.to_vec(), position: 0 }
    }

    fn walk(&self) -> Walk<'s, S, Entry> {
        Walk::new(self.source, Some(Node::top(self.root.id, self.root.height, self.root.entries)))
    }

    fn open(&self, from: PathBytes, bound: Bound) -> Entries<'s, S> {
        Entries { walk: self.walk(), leaf: Vec::new().into_iter(), block: None, next: 0, from, bound }
    }
}

/// Where an iterator ends.
#[derive(Debug)]
pub(super) enum Bound {
    None,
    Path(PathBytes),
    Subtree(PathBytes),
}

impl Bound {
    /// Tells whether `path` and all that follow it are outside.
    pub fn is_before(&self, path: &[u8]) -> bool {
        match self {
            Self::None => false,
            Self::Path(last) => compare_paths(last, path).is_lt(),
            Self::Subtree(top) => compare_paths(top, path).is_lt() && below(top, path).is_none(),
        }
    }
}

/// The part of `path` below the directory `top`.
fn below<'p>(top: &[u8], path: &'p [u8]) -> Option<&'p [u8]> {
    if top.is_empty() {
        return Some(path).filter(|rest| !rest.is_empty());
    }
    path.strip_prefix(top)?.strip_prefix(b"/")
}

/// Entries in manifest order.
///
/// An error stands for all entries in and below one damaged block; the iterator goes on behind them.
#[derive(Debug)]
pub struct Entries<'s, S: ?Sized> {
    walk: Walk<'s, S, Entry>,
    leaf: vec::IntoIter<Entry>,
    block: Option<ChunkId>,
    /// The position of the first entry of `leaf`.
    next: u64,
    from: PathBytes,
    bound: Bound,
}

impl<S: BlockSource + ?Sized> Entries<'_, S> {
    /// The leaf that holds the entry which was returned last.
    pub fn block(&self) -> Option<ChunkId> {
        self.block
    }

    /// The position of the entry that was returned last: the number of entries that stand before it.
    pub fn position(&self) -> u64 {
        self.next.saturating_sub(1)
    }

    /// Goes forward to the first entry at or after `path`. Blocks in between are not read. Never goes back.
    pub fn seek(&mut self, path: &[u8]) {
        self.from.clear();
        self.from.extend_from_slice(path);
        self.skip_in_leaf();
    }

    fn skip_in_leaf(&mut self) {
        let before = self.leaf.as_slice().partition_point(|entry| compare_paths(&entry.path, &self.from).is_lt());
        if before > 0 {
            self.leaf.nth(before - 1);
            self.next += before as u64;
        }
    }
}

impl<S: BlockSource + ?Sized> Iterator for Entries<'_, S> {
    type Item = Result<Entry, ReadError<S::Error>>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.leaf.next() {
                self.next += 1;
                if self.bound.is_before(&entry.path) {
                    self.leaf = Vec::new().into_iter();
                    self.walk.stop();
                    return None;
                }
                return Some(Ok(entry));
            }
            let (from, bound) = (&self.from, &self.bound);
            let outside = |node: &Node, _| {
                node.upper.as_ref().is_some_and(|upper| compare_paths(upper, from).is_le())
                    || node.first.as_ref().is_some_and(|first| bound.is_before(first))
            };
            match self.walk.next_leaf(outside)? {
                Err(error) => return Some(Err(error)),
                Ok(leaf) => {
                    self.block = Some(leaf.id);
                    self.next = leaf.before.items;
                    self.leaf = leaf.items.into_iter();
                    self.skip_in_leaf();
                }
            }
        }
    }
}

impl<S: BlockSource + ?Sized> FusedIterator for Entries<'_, S> {}

/// What stands directly in one directory, in manifest order. Errors are as those of [`Entries`].
#[derive(Debug)]
pub struct Children<'s, S: ?Sized> {
    entries: Entries<'s, S>,
    directory: PathBytes,
    position: u64,
}

impl<S: BlockSource + ?Sized> Children<'_, S> {
    /// The position of the entry that was returned last, among all entries of the manifest.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Goes on behind the child `name` and everything below it, whether it is there or not. Never goes back.
    pub fn skip_past(&mut self, name: &[u8]) {
        let mut path = self.directory.clone();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        self.entries.seek(&behind(path));
    }
}

/// No path holds a NUL, and only `/` sorts below it: this is where the next sibling of what stands at `path` can begin.
fn behind(mut path: PathBytes) -> PathBytes {
    path.push(0);
    path
}

impl<S: BlockSource + ?Sized> Iterator for Children<'_, S> {
    type Item = Result<Entry, ReadError<S::Error>>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let entry = match self.entries.next()? {
                Ok(entry) => entry,
                Err(error) => return Some(Err(error)),
            };
            let Some(rest) = below(&self.directory, &entry.path) else { continue };
            let name = rest.iter().position(|&byte| byte == b'/').unwrap_or(rest.len());
            let end = entry.path.len() - rest.len() + name;
            self.position = self.entries.position();
            self.entries.seek(&behind(entry.path[..end].to_vec()));
            if name == rest.len() {
                return Some(Ok(entry));
            }
        }
    }
}

impl<S: BlockSource + ?Sized> FusedIterator for Children<'_, S> {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::entry::Node as Kind;
    use crate::manifest::block::encode_entries;
    use crate::manifest::encoding::encode_entry;
    use crate::manifest::fixture::{Blocks, Gone, entry, file, tree, written};
    use crate::manifest::{BlockSink, Branch, DecodeError, Family, ReadFault};

    type Read = Result<Vec<Entry>, ReadError<Gone>>;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]

        #[test]
        fn random_access_agrees_with_a_scan(
            numbers in proptest::collection::btree_set(0..3_000u32, 0..800),
            probes in proptest::collection::vec(any::<prop::sample::Index>(), 8),
        ) {
            let entries = tree(numbers);
            let (root, blocks) = written(&entries);
            let reader = ManifestReader::new(&blocks, &root);
            prop_assert_eq!(&reader.entries().collect::<Read>().unwrap(), &entries);

            prop_assert_eq!(reader.at(entries.len() as u64).unwrap(), None);
            prop_assert_eq!(reader.at(u64::MAX).unwrap(), None);
            for probe in probes {
                let at = probe.index(entries.len());
                let path = &entries[at].path;
                let behind = [&path[..], b"!"].concat();
                let is_there = entries.iter().any(|entry| entry.path == behind);
                prop_assert_eq!(reader.get(path).unwrap(), Some(entries[at].clone()));
                prop_assert_eq!(reader.at(at as u64).unwrap(), Some(entries[at].clone()));
                let mut found = reader.subtree(path);
                found.next();
                prop_assert_eq!(found.position(), at as u64);
                prop_assert_eq!(reader.get(&behind).unwrap().is_some(), is_there);
                prop_assert_eq!(&reader.entries_from(path).collect::<Read>().unwrap(), &entries[at..]);
                let from = entries.partition_point(|entry| compare_paths(&entry.path, &behind).is_lt());
                prop_assert_eq!(&reader.entries_from(&behind).collect::<Read>().unwrap(), &entries[from..]);
                let mut seeking = reader.entries();
                seeking.next();
                seeking.seek(path);
                prop_assert_eq!(&seeking.collect::<Read>().unwrap(), &entries[at.max(1)..]);

                let inside: Vec<_> = entries.iter().filter(|entry| below(path, &entry.path).is_some()).cloned().collect();
                let direct: Vec<_> = inside
                    .iter()
                    .filter(|entry| below(path, &entry.path).is_some_and(|rest| !rest.contains(&b'/')))
                    .cloned()
                    .collect();
                prop_assert_eq!(&reader.children(path).collect::<Read>().unwrap(), &direct);
                let mut children = reader.children(path);
                while let Some(child) = children.next().transpose().unwrap() {
                    prop_assert_eq!(reader.at(children.position()).unwrap().unwrap().path, child.path);
                }
                if let Some(middle) = direct.get(direct.len() / 2) {
                    let mut rest = reader.children(path);
                    rest.skip_past(middle.name());
                    prop_assert_eq!(&rest.collect::<Read>().unwrap(), &direct[direct.len() / 2 + 1..]);
                }
                let subtree = reader.subtree(path).collect::<Read>().unwrap();
                prop_assert_eq!(&subtree[0], &entries[at]);
                prop_assert_eq!(&subtree[1..], &inside[..]);
            }
        }
    }

    #[test]
    fn access_reads_no_more_blocks_than_it_needs() {
        let (root, blocks) = written(&tree(0..8_000));
        assert_eq!(root.height, 2);
        let reader = ManifestReader::new(&blocks, &root);
        assert!(reader.get(b"top3/middle-10/file 115a").unwrap().is_none());
        assert!(blocks.reads() <= 3);
        assert!(reader.get(b"zzz").unwrap().is_none());
        assert!(blocks.reads() <= 3);

        assert_eq!(reader.children(b"").count(), 7);
        let (read, all) = (blocks.reads(), blocks.blocks.len());
        assert!(read <= 3 * 8 && read < all / 3, "{read} of {all} blocks");
        assert_eq!(reader.subtree(b"top3/middle-10").count(), 1 + 8_000 / 49 + 1);
        assert!(blocks.reads() < 12);
    }

    #[test]
    fn children_of_a_missing_directory_and_of_a_file() {
        let (root, blocks) = written(&[file("a", vec![]), file("b/c/d", vec![]), file("b-", vec![])]);
        let reader = ManifestReader::new(&blocks, &root);
        let names = |path: &[u8]| reader.children(path).map(|entry| entry.unwrap().path).collect::<Vec<_>>();
        assert_eq!(names(b""), [b"a".to_vec(), b"b-".to_vec()]);
        assert_eq!(names(b"b/c"), [b"b/c/d".to_vec()]);
        assert!(names(b"a").is_empty() && names(b"nowhere").is_empty());
    }

    #[test]
    fn damage_costs_what_stands_in_the_block() {
        let entries = tree(0..3_000);
        let (root, mut blocks) = written(&entries);
        let mut scan = ManifestReader::new(&blocks, &root).entries();
        let victim = scan.by_ref().nth(entries.len() / 2).unwrap().unwrap();
        let leaf = scan.block().unwrap();
        let expected: Vec<_> = {
            let mut scan = ManifestReader::new(&blocks, &root).entries();
            std::iter::from_fn(|| scan.next().map(|entry| (entry.unwrap(), scan.block())))
                .filter(|(_, block)| *block != Some(leaf))
                .map(|(entry, _)| entry)
                .collect()
        };
        blocks.blocks.remove(&leaf);

        let reader = ManifestReader::new(&blocks, &root);
        let (read, lost): (Vec<_>, Vec<_>) = reader.entries().partition(Result::is_ok);
        assert_eq!(read.into_iter().map(Result::unwrap).collect::<Vec<_>>(), expected);
        let [Err(error)] = &lost[..] else { panic!("{} errors", lost.len()) };
        assert!(matches!(*error.fault, ReadFault::Source(Gone(id)) if id == leaf));
        assert_eq!(error.items as usize, entries.len() - expected.len());
        assert!(compare_paths(error.first.as_ref().unwrap(), &victim.path).is_le());
        assert!(reader.get(&victim.path).is_err());
        assert_eq!(reader.get(&expected[0].path).unwrap().as_ref(), Some(&expected[0]));
    }

    /// Two leaves, `a b` and `c d`, below what `branches` makes of the true branches.
    fn forged(height: u8, change: impl Fn(&mut [Branch])) -> (Blocks, Root) {
        let mut blocks = Blocks::default();
        let mut branches = Vec::new();
        for pair in [["a", "b"], ["c", "d"]] {
            let (mut encoded, mut out) = (Vec::new(), Vec::new());
            pair.iter().for_each(|path| encode_entry(&mut encoded, &entry(path, Kind::Fifo), 0));
            encode_entries(&mut out, 2, &encoded);
            let id = blocks.put_block(&out).unwrap();
            branches.push(Branch { first: pair[0].into(), id, count: 2, bytes: 0 });
        }
        change(&mut branches);
        let id = blocks.put_inner(Family::Entries, height, &branches);
        (blocks, Root { id, height, entries: 4 })
    }

    fn first_fault(blocks: &Blocks, root: &Root) -> Option<DecodeError> {
        ManifestReader::new(blocks, root).entries().find_map(|entry| match *entry.err()?.fault {
            ReadFault::Block(error) => Some(error),
            ReadFault::Source(gone) => panic!("{gone}"),
        })
    }

    #[test]
    fn blocks_that_disagree_with_their_parent_are_refused() {
        let fault = |change: fn(&mut [Branch])| {
            let (blocks, root) = forged(1, change);
            first_fault(&blocks, &root)
        };
        assert!(fault(|_| ()).is_none());
        let disagrees = |change, about| match fault(change) {
            Some(DecodeError::Disagrees(what)) => assert_eq!(what, about),
            other => panic!("{about}: {other:?}"),
        };
        disagrees(|branches| branches[0].first = b"Z".to_vec(), "the first path");
        disagrees(|branches| branches[1].bytes = 1, "the number of bytes");
        disagrees(|branches| (branches[0].count, branches[1].count) = (1, 3), "the number of items");
        disagrees(|branches| branches[1].count = 3, "the number of items");
        // The same leaf again, or one that reaches into the next: what is sorted in each block is not in all.
        disagrees(|branches| branches[1].id = branches[0].id, "the first path");
        disagrees(
            |branches| (branches[1].first, branches[1].id) = (b"aa".to_vec(), branches[0].id),
            "the range of paths",
        );
    }

    #[test]
    fn wrong_heights_and_circles_end() {
        // Leaves below height 2, an inner block at height 0, the wrong family, and a root beyond all heights.
        let (blocks, root) = forged(2, |_| ());
        assert!(matches!(first_fault(&blocks, &root), Some(DecodeError::Height(_))));
        let (mut blocks, root) = forged(1, |_| ());
        assert!(matches!(first_fault(&blocks, &Root { height: 0, ..root }), Some(DecodeError::Height(_))));
        assert!(matches!(first_fault(&blocks, &Root { height: 16, ..root }), Some(DecodeError::Height(16))));
        let id = blocks.put_inner(Family::Pieces, 1, &[Branch { first: vec![], id: root.id, count: 4, bytes: 0 }]);
        assert!(first_fault(&blocks, &Root { id, ..root }).is_some());

        // A block that names itself, which no hash allows, still ends: heights must go down.
        let circle = root.id;
        let mut out = Blocks::default();
        let id = out.put_inner(Family::Entries, 3, &[Branch { first: b"a".to_vec(), id: circle, count: 4, bytes: 0 }]);
        let bytes = out.blocks.remove(&id).unwrap();
        out.blocks.insert(circle, bytes);
        assert!(matches!(first_fault(&out, &Root { id: circle, height: 3, entries: 4 }), Some(DecodeError::Height(3))));
        assert_eq!(out.reads(), 2);
    }

    #[test]
    fn a_root_that_counts_wrong_is_refused() {
        let (blocks, root) = forged(1, |_| ());
        for entries in [0, 3, 5, u64::MAX] {
            assert!(matches!(first_fault(&blocks, &Root { entries, ..root }), Some(DecodeError::Disagrees(_))));
        }
    }

    proptest! {
        #[test]
        fn damaged_trees_never_panic(at in any::<prop::sample::Index>(), which in any::<prop::sample::Index>(), mask in 1..=255u8) {
            let (mut blocks, root) = forged(1, |_| ());
            let id = *which.get(&blocks.ids().into_iter().collect::<Vec<_>>());
            let mut bytes = blocks.blocks[&id].to_vec();
            let at = at.index(bytes.len());
            bytes[at] ^= mask;
            blocks.blocks.insert(id, bytes.into());
            let reader = ManifestReader::new(&blocks, &root);
            let good: Vec<Entry> = reader.entries().filter_map(Result::ok).collect();
            prop_assert!(good.is_sorted_by(|a, b| compare_paths(&a.path, &b.path).is_lt()));
            let _ = reader.children(b"").count();
        }
    }
}
