//! Which entries of a snapshot are restored, and where in the target they stand.

use icecore_format::entry::{Entry, Node, PathBytes};
use icecore_source::Excludes;

/// What of a snapshot is restored, by patterns against its paths.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only what matches, and what is below it, with the directories on the way; everything without it.
    pub include: Option<Excludes>,
    /// All but what matches, and what is below it.
    pub exclude: Excludes,
}

impl Filter {
    /// Whether everything passes.
    pub fn is_none(&self) -> bool {
        self.exclude.is_empty() && self.include.is_none()
    }
}

/// A range of a manifest, filtered.
#[derive(Debug)]
pub(super) struct Selection<'a> {
    /// The path that was asked for.
    pub base: &'a [u8],
    /// The bytes of a snapshot's path that the paths in the target do not have.
    skip: usize,
    filter: &'a Filter,
}

impl<'a> Selection<'a> {
    /// `top` is the entry at `base`, if the manifest has one.
    pub fn new(base: &'a [u8], top: Option<&Entry>, filter: &'a Filter) -> Self {
        let skip = match top {
            Some(top) if top.node != Node::Directory => base.len() - top.name().len(),
            _ if base.is_empty() => 0,
            _ => base.len() + 1,
        };
        Self { base, skip, filter }
    }

    /// Where a path of the snapshot stands in the target.
    pub fn place<'p>(&self, path: &'p [u8]) -> &'p [u8] {
        path.get(self.skip..).unwrap_or_default()
    }

    /// The path that what stands at a place of the target has, or would have, in the snapshot.
    pub fn path(&self, place: &[u8]) -> PathBytes {
        let above = &self.base[..self.skip.min(self.base.len())];
        match (above, place) {
            (_, b"") => self.base.to_vec(),
            (b"", _) => place.to_vec(),
            (above, _) if above.ends_with(b"/") => [above, place].concat(),
            (above, _) => [above, b"/", place].concat(),
        }
    }

    /// Whether the entry at a path of the snapshot is restored.
    pub fn admits(&self, path: &[u8], is_dir: bool) -> bool {
        let Filter { include, exclude } = self.filter;
        if self.filter.is_none() {
            return true;
        }
        let mut included = include.is_none();
        for end in component_ends(path) {
            let (part, is_dir) = (&path[..end], is_dir || end < path.len());
            if exclude.matches(part, is_dir) {
                return false;
            }
            included |= include.as_ref().is_some_and(|include| include.matches(part, is_dir));
        }
        included
    }

    /// Whether the file at a path, anywhere in the snapshot, is among what is restored.
    pub fn restores(&self, path: &[u8]) -> bool {
        is_within(path, self.base) && self.admits(path, false)
    }

    /// Whether a directory that is not restored itself may hold something that is.
    pub fn may_lead_on(&self, path: &[u8]) -> bool {
        let excluded = component_ends(path).any(|end| self.filter.exclude.matches(&path[..end], true));
        self.filter.include.is_some() && !excluded
    }
}

/// Where the components of a path end.
fn component_ends(path: &[u8]) -> impl Iterator<Item = usize> + '_ {
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    slashes.chain(Some(path.len()).filter(|len| *len > 0))
}

/// Whether `path` is `directory` or below it.
pub(super) fn is_within(path: &[u8], directory: &[u8]) -> bool {
    directory.is_empty() || path.strip_prefix(directory).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

#[cfg(test)]
mod tests {
    use icecore_format::entry::Meta;

    use super::*;

    fn patterns(patterns: &[&str]) -> Excludes {
        Excludes::new(&patterns.iter().map(ToString::to_string).collect::<Vec<_>>(), &[]).unwrap()
    }

    fn entry(path: &[u8], node: Node) -> Entry {
        Entry { path: path.to_vec(), meta: Meta::default(), node, link_of: None }
    }

    #[test]
    fn places_and_paths_are_each_others_opposite() {
        let filter = Filter::default();
        for (base, node, path, place) in [
            (&b""[..], Node::Directory, &b"a/b"[..], &b"a/b"[..]),
            (b"a", Node::Directory, b"a/b", b"b"),
            (b"a/b", Node::Directory, b"a/b", b""),
            (b"a/b", Node::Fifo, b"a/b", b"b"),
            (b"f", Node::Fifo, b"f", b"f"),
        ] {
            let top = entry(base, node);
            let selection = Selection::new(base, Some(&top), &filter);
            assert_eq!(selection.place(path), place);
            assert_eq!(selection.path(place), path);
        }
    }

    #[test]
    fn patterns_take_and_leave_whole_directories() {
        let filter = Filter { include: Some(patterns(&["*.eml", "/db"])), exclude: patterns(&["tmp"]) };
        let selection = Selection::new(b"", None, &filter);
        for (path, is_dir, admitted) in [
            (&b"a/x.eml"[..], false, true),
            (b"a/x.txt", false, false),
            (b"db", true, true),
            (b"db/deep/x", false, true),
            (b"db/tmp/x", false, false),
            (b"a/db/x", false, false),
            (b"tmp/x.eml", false, false),
        ] {
            assert_eq!(selection.admits(path, is_dir), admitted, "{}", path.escape_ascii());
        }
        assert!(selection.may_lead_on(b"a") && !selection.may_lead_on(b"a/tmp"));
        assert!(!Selection::new(b"", None, &Filter::default()).may_lead_on(b"a"));
    }
}
