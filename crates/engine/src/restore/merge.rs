//! Lock-step of what a snapshot wants and what stands in the target.

use std::iter::Peekable;

use icecore_format::entry::{Entry, Node, compare_paths};
use icecore_format::manifest::{self, ManifestReader, ReadError, Root};
use icecore_repo::{ChunkReader, Error as RepoError};
use icecore_source::listing::{self, Listed, Listing};
use icecore_source::{Kind, Stat};

use super::selection::{Selection, is_within};
use crate::error::{Error, Result};

/// What stands in a target before it is changed.
#[derive(Debug)]
pub(super) enum Standing {
    /// Nothing.
    Nothing,
    /// These entries, by their places.
    Listed(Listing),
    /// Only one entry is restored, and this stands in its place.
    One(Option<Stat>),
}

/// What the lock-step meets next, in the order of paths.
#[derive(Debug)]
pub(super) enum Met {
    /// An entry that is restored, and what stands in its place.
    Entry(Entry, Option<Stat>),
    /// A directory on the way to entries that are restored.
    Way(Entry, Option<Stat>),
    /// Something that stands where the snapshot has nothing, and would be restored if it had; at its place.
    Extra(Listed),
    /// A damaged block of the manifest.
    Lost(ReadError<RepoError>),
}

pub(super) struct Merge<'a> {
    selection: &'a Selection<'a>,
    entries: Peekable<manifest::Entries<'a, ChunkReader>>,
    standing: Cursor<'a>,
    /// The device of the target itself. What the snapshot does not have and stands on another one was mounted there, and is nobody's
    /// to delete: a backup may have left it out.
    home: Option<u64>,
    /// Behind a damaged block, which may have held anything: what stands there is not known to be one too many.
    blind: bool,
}

enum Cursor<'a> {
    Listed(Peekable<listing::Entries<'a>>),
    One(Option<Stat>),
}

impl<'a> Merge<'a> {
    pub fn new(reader: &'a ChunkReader, root: &Root, selection: &'a Selection<'a>, standing: &'a Standing) -> Self {
        let entries = ManifestReader::new(reader, root).subtree(selection.base).peekable();
        let home = match standing {
            Standing::Listed(listing) => listing.iter().next().and_then(|top| Some(top.ok()?.stat.device)),
            Standing::Nothing | Standing::One(_) => None,
        };
        let standing = match standing {
            Standing::Nothing => Cursor::One(None),
            Standing::One(stat) => Cursor::One(*stat),
            Standing::Listed(listing) => Cursor::Listed(listing.iter().peekable()),
        };
        Self { selection, entries, standing, home, blind: false }
    }

    /// What comes next; `None` at the end.
    pub fn next(&mut self) -> Result<Option<Met>> {
        loop {
            if let Some(extra) = self.extra()? {
                let is_dir = extra.stat.kind == Kind::Directory;
                // The target itself is never one too many.
                if !self.blind
                    && !extra.path.is_empty()
                    && self.home.is_none_or(|home| home == extra.stat.device)
                    && self.selection.admits(&self.selection.path(&extra.path), is_dir)
                {
                    return Ok(Some(Met::Extra(extra)));
                }
                continue;
            }
            let entry = match self.entries.next() {
                None => return Ok(None),
                Some(Err(error)) => {
                    self.blind = true;
                    return Ok(Some(Met::Lost(error)));
                }
                Some(Ok(entry)) => entry,
            };
            self.blind = false;
            let stat = self.standing_at(self.selection.place(&entry.path))?;
            let is_dir = entry.node == Node::Directory;
            if self.selection.admits(&entry.path, is_dir) {
                return Ok(Some(Met::Entry(entry, stat)));
            }
            if is_dir && self.selection.may_lead_on(&entry.path) {
                return Ok(Some(Met::Way(entry, stat)));
            }
        }
    }

    /// Whether anything stands below `place`, which was met last.
    pub fn stands_below(&mut self, place: &[u8]) -> bool {
        let Cursor::Listed(listed) = &mut self.standing else { return false };
        listed.peek().is_some_and(|next| {
            next.as_ref().is_ok_and(|next| next.path.len() > place.len() && is_within(&next.path, place))
        })
    }

    /// Takes what stands below `place`, which was met last, as extras, whatever the snapshot has there: nothing, because
    /// something else than a directory goes to `place`.
    pub fn take_below(&mut self, place: &[u8]) -> Result<Option<Listed>> {
        if self.stands_below(place) { self.take_listed() } else { Ok(None) }
    }

    /// What stands before the next entry of the manifest.
    fn extra(&mut self) -> Result<Option<Listed>> {
        let Cursor::Listed(listed) = &mut self.standing else { return Ok(None) };
        let is_extra = match (listed.peek(), self.entries.peek()) {
            (None, _) => false,
            // The error is found by taking it.
            (Some(Err(_)), _) | (Some(Ok(_)), None) => true,
            (Some(Ok(_)), Some(Err(_))) => false,
            (Some(Ok(next)), Some(Ok(entry))) => compare_paths(&next.path, self.selection.place(&entry.path)).is_lt(),
        };
        if is_extra { self.take_listed() } else { Ok(None) }
    }

    fn take_listed(&mut self) -> Result<Option<Listed>> {
        match &mut self.standing {
            Cursor::Listed(listed) => listed.next().transpose().map_err(Error::Listing),
            Cursor::One(_) => Ok(None),
        }
    }

    fn standing_at(&mut self, place: &[u8]) -> Result<Option<Stat>> {
        match &mut self.standing {
            Cursor::One(stat) => Ok(stat.take()),
            Cursor::Listed(listed) => match listed.peek() {
                Some(Ok(next)) if next.path == place => Ok(self.take_listed()?.map(|listed| listed.stat)),
                _ => Ok(None),
            },
        }
    }
}
