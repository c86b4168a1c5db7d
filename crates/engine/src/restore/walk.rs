//! Goes through the manifest and what stands, and decides what becomes of each entry. Directories and what has no content
//! are made here; the rest goes to the segments.

use std::io;

use icecore_format::entry::{Content, Entry, Node, PathBytes};
use icecore_format::manifest::{ReadError, Root};
use icecore_repo::{ChunkReader, Error as RepoError};
use icecore_source::target::Fault;
use icecore_source::{Kind, Stat};

use super::ahead::Ahead;
use super::ground::Ground;
use super::links::{Links, Name};
use super::look::Looked;
use super::merge::{Merge, Met};
use super::pool::{Answer, Pool};
use super::segment::Draft;
use super::selection::is_within;
use super::site::Site;
use super::{Action, Deed, FaultKind, Observer};
use crate::error::{Error, Result, reason, survive_block};

pub(super) struct Walk<'a, 'o> {
    pub(super) site: &'a Site<'a>,
    ground: &'a Ground,
    pub(super) draft: Draft<'a>,
    observer: Option<Observer<'o>>,
    /// The directories that the walk is in.
    inside: Vec<Inside>,
    /// Directories on the way, which are restored when something in them is.
    ways: Vec<(Entry, Option<Stat>)>,
    pub(super) links: &'o mut Links,
    /// What was looked at ahead for the entry that is met.
    pub(super) looked: Option<Answer<Looked>>,
    pub(super) pool: &'o Pool<'a>,
}

struct Inside {
    path: PathBytes,
    /// `None` where the manifest lost it: it is made, and stays as it was made.
    entry: Option<Entry>,
}

impl<'a, 'o> Walk<'a, 'o> {
    pub fn new(
        site: &'a Site<'a>,
        ground: &'a Ground,
        draft: Draft<'a>,
        links: &'o mut Links,
        pool: &'o Pool<'a>,
        observer: Option<Observer<'o>>,
    ) -> Self {
        Self { site, ground, draft, observer, inside: Vec::new(), ways: Vec::new(), links, looked: None, pool }
    }

    /// Comes to every entry that is restored.
    pub fn run(mut self, reader: &ChunkReader, root: &Root) -> Result<()> {
        let merge = Merge::new(reader, root, self.site.selection, &self.ground.standing);
        let mut ahead = Ahead::new(merge, self.site, self.pool);
        while let Some((met, looked)) = ahead.next()? {
            self.site.check()?;
            let merge = ahead.merge();
            match met {
                Met::Way(entry, stat) => {
                    self.drop_ways(&entry.path);
                    self.ways.push((entry, stat));
                }
                Met::Entry(entry, stat) => {
                    self.drop_ways(&entry.path);
                    for (way, stat) in std::mem::take(&mut self.ways) {
                        self.entry(way, stat, merge)?;
                    }
                    self.looked = looked;
                    self.entry(entry, stat, merge)?;
                }
                Met::Extra(listed) => self.extra(&listed.path)?,
                Met::Lost(error) => self.lost_block(error)?,
            }
            self.draft.dispatch_full()?;
        }
        self.leave_to(None);
        self.draft.dispatch(true)
    }

    fn drop_ways(&mut self, path: &[u8]) {
        self.ways.retain(|(way, _)| is_within(path, &way.path));
    }

    /// Counts and shows what is done with an entry.
    pub(super) fn note(&mut self, path: &[u8], deed: Deed) -> Result<()> {
        self.site.tally.deed(&deed);
        match &mut self.observer {
            Some(observer) => observer(&Action { path: path.to_vec(), deed }),
            None => Ok(()),
        }
    }

    fn entry(&mut self, entry: Entry, stat: Option<Stat>, merge: &mut Merge<'_>) -> Result<()> {
        self.enter_parent(&entry.path)?;
        let stat = match self.make_way(&entry, stat, merge)? {
            Ok(stat) => stat,
            Err(()) => return Ok(()),
        };
        match self.links.name(&entry, self.site).map_err(Error::Spill)? {
            Name::Of(existing) => return self.link(existing, entry, stat),
            Name::Apart => self.site.tally.faults(vec![apart(&entry)]),
            Name::Own => {}
        }
        match &entry.node {
            Node::Directory => self.directory(entry, stat),
            Node::File(file) if file.content == Content::Missing => {
                self.missing(&entry.path, "it was not readable when the snapshot was taken".to_owned());
                self.links.unmade(&entry).map_err(Error::Spill)
            }
            node => {
                self.links.made(&entry).map_err(Error::Spill)?;
                if matches!(node, Node::File(_)) { self.file(entry, stat) } else { self.other(&entry, stat) }
            }
        }
    }

    /// Clears away a directory that stands where something else goes, and anything else that stands where a directory
    /// goes. Gives what then stands; the inner error says that the entry cannot be restored, which has been told.
    fn make_way(
        &mut self,
        entry: &Entry,
        stat: Option<Stat>,
        merge: &mut Merge<'_>,
    ) -> Result<std::result::Result<Option<Stat>, ()>> {
        let Some(found) = stat else { return Ok(Ok(None)) };
        let (is_dir, stands_dir) = (entry.node == Node::Directory, found.kind == Kind::Directory);
        let place = self.site.place(&entry.path);
        if is_dir == stands_dir || place.is_empty() {
            return Ok(Ok(stat));
        }
        if stands_dir && merge.stands_below(place) && self.site.is_in_place() && !self.site.deletes() {
            let why = "a directory that is not empty stands in its place, and goes only with --delete";
            self.missing(&entry.path, why.to_owned());
            return Ok(Err(()));
        }
        let cleared = if stands_dir {
            self.clear(place, merge)?
        } else {
            self.unless_rehearsed(|site| site.target.remove_file(place))
        };
        match cleared {
            Ok(()) => {
                self.note(&entry.path, Deed::Replace { bytes: entry.size() })?;
                Ok(Ok(None))
            }
            Err(error) => {
                self.missing(&entry.path, format!("what stands in its place could not be removed: {error}"));
                self.site.survive(&entry.path, error).map(|()| Err(()))
            }
        }
    }

    /// Deletes a directory with everything that stands in it.
    fn clear(&mut self, place: &[u8], merge: &mut Merge<'_>) -> Result<io::Result<()>> {
        let mut directories = vec![place.to_vec()];
        while let Some(listed) = merge.take_below(place)? {
            let path = self.site.selection.path(&listed.path);
            let is_dir = listed.stat.kind == Kind::Directory;
            // What is left out by patterns stays, and with it the directories that hold it.
            if !self.site.selection.admits(&path, is_dir) {
                continue;
            }
            self.note(&path, Deed::Delete)?;
            if is_dir {
                directories.push(listed.path);
            } else if let Err(error) = self.unless_rehearsed(|site| site.target.remove_file(&listed.path)) {
                return Ok(Err(error));
            }
        }
        let removed = |place: &Vec<u8>| self.unless_rehearsed(|site| site.target.remove_dir(place));
        Ok(directories.iter().rev().try_for_each(removed))
    }

    pub(super) fn unless_rehearsed(&self, act: impl FnOnce(&Site<'_>) -> io::Result<()>) -> io::Result<()> {
        if self.site.rehearsal { Ok(()) } else { act(self.site) }
    }

    /// Something that stands and that the snapshot does not have. It is deleted in the end, if at all.
    fn extra(&mut self, place: &[u8]) -> Result<()> {
        if self.ground.is_ours(place) {
            if let Err(error) = self.unless_rehearsed(|site| site.target.remove_file(place)) {
                self.site.survive(place, error)?;
            }
            return Ok(());
        }
        let path = self.site.selection.path(place);
        if !self.site.deletes() {
            return self.note(&path, Deed::Extra);
        }
        self.site.tally.doomed();
        self.note(&path, Deed::Delete)
    }

    fn link(&mut self, existing: PathBytes, entry: Entry, stat: Option<Stat>) -> Result<()> {
        let keeps = |stat: Stat| self.links.keeps(&entry, &stat).map_err(Error::Spill);
        if stat.map_or(Ok(false), keeps)? {
            self.note(&entry.path, Deed::Keep)?;
            self.site.tally.linked();
            self.site.progress.done(entry.size());
            return Ok(());
        }
        self.note(&entry.path, Deed::Link)?;
        self.draft.link(existing, entry, stat.is_some());
        Ok(())
    }

    /// Leaves the directories that do not hold `path`, and makes those on its way that the manifest lost.
    fn enter_parent(&mut self, path: &[u8]) -> Result<()> {
        self.leave_to(Some(path));
        let known = self.inside.last().map_or(self.site.selection.base, |inside| &inside.path).len();
        let from = if known == 0 { 0 } else { known + 1 };
        let slashes = path.iter().enumerate().skip(from).filter(|(_, byte)| **byte == b'/');
        let lost: Vec<_> = slashes.map(|(end, _)| path[..end].to_vec()).collect();
        for directory in lost {
            let made = self.unless_rehearsed(|site| site.target.make_dir(site.place(&directory)));
            self.made_dir(directory, None, made)?;
        }
        Ok(())
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

    fn directory(&mut self, entry: Entry, stat: Option<Stat>) -> Result<()> {
        let place = self.site.place(&entry.path).to_vec();
        let made = match stat {
            Some(stat) => {
                let deed = match self.differences(&place, &stat, &entry) {
                    differs if differs.is_empty() => Deed::Keep,
                    differs => Deed::Metadata(differs),
                };
                self.note(&entry.path, deed)?;
                self.unless_rehearsed(|site| site.target.unlock(&place))
            }
            None => {
                self.note(&entry.path, Deed::Create { bytes: 0 })?;
                self.unless_rehearsed(|site| site.target.make_dir(&place))
            }
        };
        self.made_dir(entry.path.clone(), Some(entry), made)
    }

    fn made_dir(&mut self, path: PathBytes, mut entry: Option<Entry>, made: io::Result<()>) -> Result<()> {
        match made {
            Ok(()) => entry.iter().for_each(|entry| self.restored(entry)),
            Err(error) => {
                // Where the manifest has no entry, what is below tells that it cannot be had.
                if entry.take().is_some() {
                    self.missing(&path, format!("it could not be made: {error}"));
                }
                self.site.survive(&path, error)?;
            }
        }
        self.inside.push(Inside { path, entry });
        Ok(())
    }

    /// A link, pipe, socket or device.
    fn other(&mut self, entry: &Entry, stat: Option<Stat>) -> Result<()> {
        let (site, place) = (self.site, self.site.place(&entry.path).to_vec());
        if let Some(stat) = stat.filter(|stat| self.is_same(&place, entry, stat))
            && self.links.may_keep(entry, &stat).map_err(Error::Spill)?
        {
            let differs = self.differences(&place, &stat, entry);
            // Another name of it may stand outside.
            if differs.is_empty() || stat.links <= 1 {
                self.links.keep(entry, &stat).map_err(Error::Spill)?;
                let deed = if differs.is_empty() { Deed::Keep } else { Deed::Metadata(differs) };
                if matches!(deed, Deed::Metadata(_)) && !site.rehearsal {
                    site.tally.faults(site.target.finish(&place, entry, &site.owners));
                }
                self.note(&entry.path, deed)?;
                self.restored(entry);
                return Ok(());
            }
        }
        let make = |name: &[u8]| match &entry.node {
            Node::Symlink { target: link } => site.target.make_symlink(name, link),
            node => site.target.make_special(name, node),
        };
        self.note(&entry.path, if stat.is_some() { Deed::Replace { bytes: 0 } } else { Deed::Create { bytes: 0 } })?;
        let made = self.unless_rehearsed(|site| {
            if stat.is_none() {
                make(&place)?;
                site.tally.faults(site.target.finish(&place, entry, &site.owners));
                return Ok(());
            }
            let (name, ()) = site.make_beside(&place, make)?;
            site.tally.faults(site.target.finish(&name, entry, &site.owners));
            site.target.replace(&name, &place)
        });
        match made {
            Ok(()) => {
                self.restored(entry);
                Ok(())
            }
            Err(error) => {
                self.missing(&entry.path, format!("it could not be made: {error}"));
                self.site.survive(&entry.path, error)
            }
        }
    }

    /// Whether what stands is the same link or device, metadata aside.
    fn is_same(&self, place: &[u8], entry: &Entry, stat: &Stat) -> bool {
        match &entry.node {
            Node::Symlink { target } => {
                stat.kind == Kind::Symlink && self.site.target.read_link(place).is_ok_and(|link| link == *target)
            }
            Node::Fifo => stat.kind == Kind::Fifo,
            Node::Socket => stat.kind == Kind::Socket,
            Node::CharDevice { major, minor } => (stat.kind, stat.rdev) == (Kind::CharDevice, (*major, *minor)),
            Node::BlockDevice { major, minor } => (stat.kind, stat.rdev) == (Kind::BlockDevice, (*major, *minor)),
            Node::Directory | Node::File(_) => false,
        }
    }

    /// What of the metadata differs. Where that cannot be told, setting it will tell.
    pub(super) fn differences(&self, place: &[u8], stat: &Stat, entry: &Entry) -> Vec<FaultKind> {
        let differs = self.site.target.differences(place, stat, entry, &self.site.owners);
        differs.unwrap_or_else(|_| vec![FaultKind::Entry])
    }

    pub(super) fn restored(&self, entry: &Entry) {
        self.site.tally.restored(entry);
        self.site.progress.done(entry.size());
    }

    pub(super) fn missing(&self, path: &[u8], why: String) {
        self.site.lose(path, why);
        self.site.progress.done(0);
    }

    fn lost_block(&self, error: ReadError<RepoError>) -> Result<()> {
        let first = error.first.as_deref().unwrap_or(self.site.selection.base);
        let why = format!("it and what follows, {} entries, stood in a damaged part of the manifest", error.items);
        self.site.tally.missing(first, error.items, format!("{why}: {}", reason(&error)));
        survive_block(error)
    }
}

/// What is said of a name that is restored as a file of its own.
fn apart(entry: &Entry) -> Fault {
    let first = String::from_utf8_lossy(entry.link_of.as_deref().unwrap_or_default()).into_owned();
    let error = io::Error::other(format!("it is a file of its own now, as {first} went to another file system"));
    Fault { path: entry.path.clone(), kind: FaultKind::Link, error }
}
