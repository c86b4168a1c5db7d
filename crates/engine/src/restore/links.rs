//! Files of several names: which names belong together in the snapshot, and which do where it is restored to.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;

use icecore_format::entry::{Entry, PathBytes};
use icecore_source::Stat;

use super::selection::Selection;

/// What the walk has met of them.
#[derive(Debug, Default)]
pub(super) struct Links {
    /// First names that are not restored, and the names that took their place.
    stand_ins: HashMap<PathBytes, PathBytes>,
    /// First names whose content is missing.
    unmade: HashSet<PathBytes>,
    /// What stands under several names and is kept: device and inode, and the group that it was kept for.
    kept: HashMap<(u64, u64), u64>,
    hasher: RandomState,
}

impl Links {
    /// An entry that cannot be restored.
    pub fn unmade(&mut self, entry: Entry) {
        if entry.meta.links > 1 {
            self.unmade.insert(entry.path);
        }
    }

    /// An entry that is restored as a file of its own. The first of the further names takes the place of the one that is not
    /// restored.
    pub fn made(&mut self, entry: &Entry) {
        if let Some(first) = &entry.link_of {
            self.stand_ins.insert(first.clone(), entry.path.clone());
        }
    }

    /// The path that a further name is linked to, if that is among what is restored.
    pub fn first_name(&self, entry: &Entry, selection: &Selection<'_>) -> Option<PathBytes> {
        let first = entry.link_of.as_ref()?;
        if let Some(other) = self.stand_ins.get(first) {
            return Some(other.clone());
        }
        let restored = selection.restores(first) && !self.unmade.contains(first);
        restored.then(|| first.clone())
    }

    /// Whether what stands may be what `entry` is, with all its other names: those that are kept belong to the same file
    /// in the snapshot, and to no other.
    pub fn may_keep(&self, entry: &Entry, stat: &Stat) -> bool {
        let known = self.kept.get(&(stat.device, stat.inode));
        stat.links <= 1 || known.is_none_or(|group| *group == self.group(entry))
    }

    /// Remembers that what stands under several names is kept.
    pub fn keep(&mut self, entry: &Entry, stat: &Stat) {
        if stat.links > 1 {
            let group = self.group(entry);
            self.kept.insert((stat.device, stat.inode), group);
        }
    }

    /// Whether what stands is kept, as another name of the same file.
    pub fn keeps(&self, entry: &Entry, stat: &Stat) -> bool {
        self.kept.get(&(stat.device, stat.inode)) == Some(&self.group(entry))
    }

    /// A number of all names of a file. Two files share one as rarely as 64 bits allow, for a key that nobody knows.
    fn group(&self, entry: &Entry) -> u64 {
        self.hasher.hash_one(entry.link_of.as_ref().unwrap_or(&entry.path))
    }
}
