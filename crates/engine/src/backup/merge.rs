//! Deciding for each listed entry whether it is known.

use std::collections::HashMap;

use icecore_format::entry::{Entry, Node, PathBytes, Timestamp};
use icecore_repo::{ChunkReader, Index};
use icecore_source::{Excludes, Kind, Listed};

use super::known::{Parent, Trust, is_stored, same_file, same_metadata};
use super::sequence::{Item, Known};
use crate::store_file::meta;

/// An inode with several links.
pub(super) struct Link {
    /// The first path.
    first: PathBytes,
    /// Size, mtime and ctime when that was listed.
    state: (u64, Timestamp, Timestamp),
    /// Links still to come.
    left: u32,
}

/// Lock-step of the listing and the manifest that it is compared with.
pub(super) struct Merge<'r> {
    pub(super) index: &'r Index,
    pub(super) parent: Option<Parent<'r>>,
    pub(super) reader: Option<&'r ChunkReader>,
    /// Every chunk of the parent was found since the index last lost something.
    pub(super) intact: bool,
    pub(super) trust: Trust,
    /// Files that are read whatever their times say: written through memory maps.
    pub(super) always_read: Option<&'r Excludes>,
    /// By device and inode.
    pub(super) links: HashMap<(u64, u64), Link>,
}

impl Merge<'_> {
    /// Whether the same stat as in the listing of which the parent was made, and nothing else, calls an entry known.
    pub(super) fn passes_over(&self) -> bool {
        self.parent.is_some() && self.intact && !self.trust.nothing && self.always_read.is_none_or(Excludes::is_empty)
    }

    pub(super) fn decide(&mut self, listed: Listed) -> Item {
        let before = self.parent.as_mut().and_then(|parent| parent.at(&listed.path));
        if listed.stat.kind != Kind::Directory && listed.stat.links > 1 {
            let inode = (listed.stat.device, listed.stat.inode);
            let state = (listed.stat.size, listed.stat.mtime, listed.stat.ctime);
            match self.links.get_mut(&inode) {
                // Written between the two stats, or another file by now: it stands for itself.
                Some(link) if link.state != state => {}
                Some(link) => {
                    let first = link.first.clone();
                    link.left -= 1;
                    if link.left == 0 {
                        self.links.remove(&inode);
                    }
                    return Item::Link { listed, first, parent: before };
                }
                None => {
                    let link = Link { first: listed.path.clone(), state, left: listed.stat.links - 1 };
                    self.links.insert(inode, link);
                }
            }
        }
        if let Some(entry) = &before
            && let Some(known) = self.carried(entry, &listed)
        {
            return Item::Known { entry: known, how: Known::Unchanged };
        }
        let renamed = match (&before, &mut self.parent) {
            (None, Some(parent)) if !self.trust.nothing => parent.renamed(&listed.stat),
            _ => None,
        };
        if let Some(entry) = renamed
            && let Some(known) = self.carried(&entry, &listed)
        {
            return Item::Known { entry: known, how: Known::Renamed };
        }
        Item::Hot { listed, parent: before, cloned: None }
    }

    /// The entry with the parent's content and the listing's stat, if nothing has to be read for it.
    fn carried(&self, entry: &Entry, listed: &Listed) -> Option<Entry> {
        if !same_metadata_or_trusted(entry, listed, self.trust) {
            return None;
        }
        if let Node::File(file) = &entry.node {
            let always = self.always_read.is_some_and(|globs| globs.matches(&listed.path, false));
            let known = !always && same_file(entry, &listed.stat, self.trust);
            if !known
                || !(self.intact || self.reader.is_some_and(|reader| is_stored(self.index, reader, &file.content)))
            {
                return None;
            }
        }
        let mut meta = meta(&listed.stat);
        meta.xattrs.clone_from(&entry.meta.xattrs);
        Some(Entry { path: listed.path.clone(), meta, node: entry.node.clone(), link_of: None })
    }
}

/// Extended attributes are carried over where the ctime proves them, or where the user said that it means nothing here.
fn same_metadata_or_trusted(entry: &Entry, listed: &Listed, trust: Trust) -> bool {
    same_metadata(entry, &listed.stat)
        || (listed.stat.kind == Kind::File && (!trust.ctime || !trust.inode) && same_file(entry, &listed.stat, trust))
}
