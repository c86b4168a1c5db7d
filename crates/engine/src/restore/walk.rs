//! Goes through the manifest: makes directories and what has no content, and hands the rest to the segments.

use std::collections::{HashMap, HashSet};

use icecore_format::entry::{Content, Entry, Node, PathBytes};
use icecore_format::manifest::{ManifestReader, ReadError, Root};
use icecore_repo::{ChunkReader, Error as RepoError};

use super::segment::Draft;
use super::tally::reason;
use super::{Site, survive_block};
use crate::error::Result;

/// Plans everything at and below `base`.
pub(super) fn walk(site: &Site<'_>, reader: &ChunkReader, root: &Root, base: &[u8], draft: Draft<'_>) -> Result<()> {
    let (inside, stand_ins, unmade) = (Vec::new(), HashMap::new(), HashSet::new());
    let mut walk = Walk { site, base, draft, inside, stand_ins, unmade };
    for entry in ManifestReader::new(reader, root).subtree(base) {
        site.check()?;
        match entry {
            Ok(entry) => walk.entry(entry)?,
            Err(error) => walk.lost_block(error)?,
        }
        walk.draft.dispatch_full()?;
    }
    walk.leave_to(None);
    walk.draft.dispatch(true)
}

struct Walk<'a> {
    site: &'a Site<'a>,
    base: &'a [u8],
    draft: Draft<'a>,
    /// The directories that the walk is in.
    inside: Vec<Inside>,
    /// First names of hard links that are not restored, and the names that took their place.
    stand_ins: HashMap<PathBytes, PathBytes>,
    /// First names of hard links whose content is missing.
    unmade: HashSet<PathBytes>,
}

struct Inside {
    path: PathBytes,
    /// `None` where the manifest lost it: it is made, and stays as it was made.
    entry: Option<Entry>,
}

impl Walk<'_> {
    fn entry(&mut self, entry: Entry) -> Result<()> {
        self.enter_parent(&entry.path)?;
        if let Some(existing) = self.first_name(&entry) {
            self.draft.link(existing, entry);
            return Ok(());
        }
        match &entry.node {
            Node::Directory => self.make_dir(entry.path.clone(), Some(entry)),
            Node::File(file) if file.content == Content::Missing => {
                self.missing(&entry.path, "it was not readable when the snapshot was taken".to_owned());
                if entry.meta.links > 1 {
                    self.unmade.insert(entry.path);
                }
                Ok(())
            }
            node => {
                // The first of the further names takes the place of the one that is not restored.
                if let Some(first) = &entry.link_of {
                    self.stand_ins.insert(first.clone(), entry.path.clone());
                }
                if matches!(node, Node::File(_)) { self.draft.file(entry) } else { self.make_other(&entry) }
            }
        }
    }

    /// The path that a further name is linked to, if that is among what is restored.
    fn first_name(&self, entry: &Entry) -> Option<PathBytes> {
        let first = entry.link_of.as_ref()?;
        if let Some(other) = self.stand_ins.get(first) {
            return Some(other.clone());
        }
        let restored = is_within(first, self.base) && !self.unmade.contains(first);
        restored.then(|| first.clone())
    }

    /// Leaves the directories that do not hold `path`, and makes those on its way that the manifest lost.
    fn enter_parent(&mut self, path: &[u8]) -> Result<()> {
        self.leave_to(Some(path));
        let known = self.inside.last().map_or(self.base, |inside| &inside.path).len();
        let from = if known == 0 { 0 } else { known + 1 };
        let slashes = path.iter().enumerate().skip(from).filter(|(_, byte)| **byte == b'/');
        let lost: Vec<_> = slashes.map(|(end, _)| path[..end].to_vec()).collect();
        lost.into_iter().try_for_each(|directory| self.make_dir(directory, None))
    }

    /// Leaves the directories that do not hold `path`, the deepest first; all of them for `None`.
    fn leave_to(&mut self, path: Option<&[u8]>) {
        let outside = |inside: &mut Inside| path.is_none_or(|path| !is_within(path, &inside.path));
        while let Some(inside) = self.inside.pop_if(outside) {
            if let Some(entry) = inside.entry {
                self.draft.leave(entry);
            }
        }
    }

    fn make_dir(&mut self, path: PathBytes, mut entry: Option<Entry>) -> Result<()> {
        match self.site.target.make_dir(self.site.place(&path)) {
            Ok(()) => entry.iter().for_each(|entry| self.restored(entry)),
            Err(error) => {
                entry = None;
                self.missing(&path, format!("it could not be made: {error}"));
                self.site.survive(&path, error)?;
            }
        }
        self.inside.push(Inside { path, entry });
        Ok(())
    }

    fn make_other(&self, entry: &Entry) -> Result<()> {
        let (target, place) = (&self.site.target, self.site.place(&entry.path));
        let made = match &entry.node {
            Node::Symlink { target: link } => target.make_symlink(place, link),
            node => target.make_special(place, node),
        };
        match made {
            Ok(()) => {
                self.site.tally.faults(target.finish(place, entry, &self.site.owners));
                self.restored(entry);
                Ok(())
            }
            Err(error) => {
                self.missing(&entry.path, format!("it could not be made: {error}"));
                self.site.survive(&entry.path, error)
            }
        }
    }

    fn restored(&self, entry: &Entry) {
        self.site.tally.restored(entry);
        self.site.progress.done(0);
    }

    fn missing(&self, path: &[u8], why: String) {
        self.site.tally.missing(path, 1, why);
        self.site.progress.done(0);
    }

    fn lost_block(&self, error: ReadError<RepoError>) -> Result<()> {
        let first = error.first.as_deref().unwrap_or(self.base);
        let why = format!("it and what follows, {} entries, stood in a damaged part of the manifest", error.items);
        self.site.tally.missing(first, error.items, format!("{why}: {}", reason(&error)));
        survive_block(error)
    }
}

/// Whether `path` is `directory` or below it.
fn is_within(path: &[u8], directory: &[u8]) -> bool {
    directory.is_empty() || path.strip_prefix(directory).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}
