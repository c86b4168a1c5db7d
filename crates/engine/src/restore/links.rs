//! Files of several names: which names belong together in the snapshot, and which do where it is restored to.
//!
//! One table serves all targets of a restore, so that names belong together across them. It goes to files when it gets
//! large: memory does not grow with the names.

use std::hash::BuildHasher;
use std::io;
use std::num::NonZeroU64;
use std::path::Path;

use icecore_format::entry::{Entry, PathBytes};
use icecore_source::Stat;

use super::site::Site;
use super::table::{PathKeys, Paths, Table};

/// What the walks have met of them.
#[derive(Debug)]
pub(super) struct Links {
    keys: PathKeys,
    /// First names that are not restored, or not where they can be linked to, and the number of the name that took their
    /// place.
    stand_ins: Table,
    names: Paths,
    /// First names whose content is missing.
    unmade: Table,
    /// What stands under several names and is kept: device and inode, and the group that it was kept for.
    kept: Table,
    groups: std::collections::hash_map::RandomState,
}

/// How an entry with several names is restored.
#[derive(Debug)]
pub(super) enum Name {
    /// As a file of its own: it has no other name, or is the first one that is restored.
    Own,
    /// As a file of its own, although another name is restored, to a file system that it cannot be linked to.
    Apart,
    /// As a further name of this entry.
    Of(PathBytes),
}

impl Links {
    /// Knows nothing yet; what gets large goes to files in `spool`.
    pub fn new(spool: Option<&Path>) -> Self {
        Self {
            keys: PathKeys::default(),
            stand_ins: Table::new(spool),
            names: Paths::new(spool),
            unmade: Table::new(spool),
            kept: Table::new(spool),
            groups: Default::default(),
        }
    }

    /// An entry that cannot be restored.
    pub fn unmade(&mut self, entry: &Entry) -> io::Result<()> {
        if entry.meta.links <= 1 {
            return Ok(());
        }
        self.unmade.insert(self.keys.key(&entry.path), NonZeroU64::MIN)
    }

    /// An entry that is restored as a file of its own. The first of the further names takes the place of the one that is not
    /// restored.
    pub fn made(&mut self, entry: &Entry) -> io::Result<()> {
        match &entry.link_of {
            None => Ok(()),
            Some(first) => self.stand_ins.insert(self.keys.key(first), self.names.push(&entry.path)?),
        }
    }

    /// What an entry is linked to.
    pub fn name(&mut self, entry: &Entry, site: &Site<'_>) -> io::Result<Name> {
        let Some(first) = &entry.link_of else { return Ok(Name::Own) };
        let key = self.keys.key(first);
        let first = if self.unmade.get(key)?.is_some() { None } else { Some(first.clone()) };
        let other = self.stand_ins.get(key)?.map(|number| self.names.get(number)).transpose()?;
        let mut name = Name::Own;
        for candidate in first.into_iter().chain(other) {
            if site.links_to(&candidate) {
                return Ok(Name::Of(candidate));
            }
            if site.is_elsewhere(&candidate) {
                name = Name::Apart;
            }
        }
        Ok(name)
    }

    /// Whether what stands may be what `entry` is, with all its other names: those that are kept belong to the same file
    /// in the snapshot, and to no other.
    pub fn may_keep(&mut self, entry: &Entry, stat: &Stat) -> io::Result<bool> {
        if stat.links <= 1 {
            return Ok(true);
        }
        Ok(self.kept.get(identity(stat))?.is_none_or(|group| group == self.group(entry)))
    }

    /// Remembers that what stands under several names is kept.
    pub fn keep(&mut self, entry: &Entry, stat: &Stat) -> io::Result<()> {
        if stat.links <= 1 {
            return Ok(());
        }
        let group = self.group(entry);
        self.kept.insert(identity(stat), group)
    }

    /// Whether what stands is kept, as another name of the same file.
    pub fn keeps(&mut self, entry: &Entry, stat: &Stat) -> io::Result<bool> {
        Ok(self.kept.get(identity(stat))? == Some(self.group(entry)))
    }

    /// A number of all names of a file. Two files share one as rarely as 63 bits allow, for a key that nobody knows.
    fn group(&self, entry: &Entry) -> NonZeroU64 {
        NonZeroU64::MIN | self.groups.hash_one(entry.link_of.as_ref().unwrap_or(&entry.path))
    }
}

fn identity(stat: &Stat) -> u128 {
    u128::from(stat.device) << 64 | u128::from(stat.inode)
}
