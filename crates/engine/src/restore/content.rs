//! What becomes of a regular file: how its content gets to where it stands, and what of it need not be fetched.
//!
//! | what stands | the content is written |
//! |---|---|
//! | in a tree of ours (new, or built beside) | under its name; what an interrupted run wrote is kept |
//! | nothing, another kind, other content | beside, then renamed: nobody sees a half of it |
//! | a large file that is right for the most part | its differing ranges beside, then poured into it: a kill while they are poured leaves the rest to the next run |
//! | a file with other names that does not stay | beside, whatever differs: the other names keep what they have |
//!
//! Where files can share bytes, what is right is shared instead of copied, and nothing is ever poured.

use std::sync::Arc;

use icecore_format::entry::{Content, Entry, File, Node};
use icecore_source::{Kind, Stat};

use super::look::{Found, Side, look};
use super::segment::{Kept, Planned, Way};
use super::walk::Walk;
use super::{Deed, FaultKind};
use crate::error::{Error, Result};

/// Files of at least this many bytes are changed where they stand, if at least half of them is right. Tests want few bytes.
const POURED: u64 = if cfg!(test) { 64 << 10 } else { 4 << 20 };

impl Walk<'_, '_> {
    /// A file with content; anything but a directory may stand in its place.
    pub(super) fn file(&mut self, entry: Entry, stat: Option<Stat>) -> Result<()> {
        let place = self.site.place(&entry.path).to_vec();
        let regular = stat.filter(|stat| stat.kind == Kind::File);
        let Some(stands) = regular else {
            let found = self.look(Side::Old, &entry, None)?;
            return self.anew(entry, &place, stat, found);
        };
        // Most files are as recorded, and need not even be opened.
        if self.site.trusts(&entry, &stands)
            && let Some(differs) = self.may_stay(&place, &entry, &stands)?
        {
            return self.stays(entry, &place, &stands, differs);
        }
        let found = self.look(Side::Target, &entry, Some(&stands))?;
        let proved = found.as_ref().and_then(|found| found.proved.as_ref());
        if proved.is_some_and(|proved| proved.whole && stands.size == entry.size())
            && let Some(differs) = self.may_stay(&place, &entry, &stands)?
        {
            return self.stays(entry, &place, &stands, differs);
        }
        if self.site.is_in_place() {
            return self.change(entry, &place, stands, found);
        }
        // Ours, and nobody has looked at it.
        match found.filter(|found| stands.links <= 1 && found.has_holes()) {
            Some(Found { proved, .. }) => {
                let kept = Kept { tree: None, place: place.into(), proved };
                self.plan(entry, Planned { way: Way::Direct, made: Some(None), kept: Some(kept) }, Some(&stands))
            }
            None => {
                let removed = self.unless_rehearsed(|site| site.target.remove_file(&place));
                self.removed(entry, &place, removed)
            }
        }
    }

    fn removed(&mut self, entry: Entry, place: &[u8], removed: std::io::Result<()>) -> Result<()> {
        match removed {
            Ok(()) => {
                let found = self.look(Side::Old, &entry, None)?;
                self.anew(entry, place, None, found)
            }
            Err(error) => {
                self.missing(&entry.path, format!("what stands in its place could not be removed: {error}"));
                self.site.survive(&entry.path, error)
            }
        }
    }

    /// What of the metadata has to be changed of a file whose content is right; `None` if it cannot stay, because other names
    /// of it would change with it, or belong to other files of the snapshot.
    fn may_stay(&mut self, place: &[u8], entry: &Entry, stat: &Stat) -> Result<Option<Vec<FaultKind>>> {
        if !self.links.may_keep(entry, stat).map_err(Error::Spill)? {
            return Ok(None);
        }
        let differs = self.differences(place, stat, entry);
        Ok((differs.is_empty() || stat.links <= 1).then_some(differs))
    }

    /// The content is right where it stands.
    fn stays(&mut self, entry: Entry, place: &[u8], stat: &Stat, differs: Vec<FaultKind>) -> Result<()> {
        self.links.keep(&entry, stat).map_err(Error::Spill)?;
        let deed = if differs.is_empty() { Deed::Keep } else { Deed::Metadata(differs) };
        if matches!(deed, Deed::Metadata(_)) && !self.site.rehearsal {
            self.site.tally.faults(self.site.target.finish(place, &entry, &self.site.owners));
        }
        self.note(&entry.path, deed)?;
        self.restored(&entry);
        Ok(())
    }

    /// Nothing stands, or something that gives its place to the file.
    fn anew(&mut self, entry: Entry, place: &[u8], stat: Option<Stat>, found: Option<Found>) -> Result<()> {
        let site = self.site;
        let way = if site.is_in_place() { Way::Beside } else { Way::Direct };
        if stat.is_some()
            && way == Way::Direct
            && let Err(error) = self.unless_rehearsed(|site| site.target.remove_file(place))
        {
            self.missing(&entry.path, format!("what stands in its place could not be removed: {error}"));
            return site.survive(&entry.path, error);
        }
        let planned = self.planned(way, place, &entry, found, Some(site.number));
        self.plan(entry, planned, stat.as_ref())
    }

    /// A file stands and is not what it should be.
    fn change(&mut self, entry: Entry, place: &[u8], stat: Stat, found: Option<Found>) -> Result<()> {
        let pours = found.as_ref().is_some_and(|found| {
            let right = found.bytes(entry.size());
            found.proved.is_some() && found.has_holes() && right >= entry.size() / 2
        });
        if pours && stat.links <= 1 && entry.size() >= POURED && !self.site.can_clone {
            let kept = found.map(|found| Kept { tree: None, place: place.into(), proved: found.proved });
            return self.plan(entry, Planned { way: Way::Pour, made: None, kept }, Some(&stat));
        }
        let planned = self.planned(Way::Beside, place, &entry, found, Some(self.site.number));
        self.plan(entry, planned, Some(&stat))
    }

    /// Begins the file that is written, sharing bytes with the one that was found, if they can be shared.
    fn planned(&self, way: Way, place: &[u8], entry: &Entry, found: Option<Found>, tree: Option<usize>) -> Planned {
        let Some(found) = found else { return Planned { way, made: None, kept: None } };
        let site = self.site;
        let shares = site.can_clone && found.has_holes() && found.bytes(entry.size()) > 0;
        let copied = |proved| Some(Kept { tree, place: Arc::from(place), proved });
        if !shares || site.rehearsal {
            return Planned { way, made: None, kept: copied(found.proved) };
        }
        let created = match way {
            Way::Beside => site.create_beside(place).map(|(name, file)| (Some(name), file)),
            _ => site.target.create_file(place).map(|file| (None, file)),
        };
        // Whatever fails here fails again when the file is written, and is told then.
        let Ok((name, file)) = created else { return Planned { way, made: None, kept: copied(found.proved) } };
        match file.clone_from(&found.file) {
            Ok(()) => {
                let kept = Kept { tree: None, place: place.into(), proved: found.proved };
                Planned { way, made: Some(name), kept: Some(kept) }
            }
            Err(_) => Planned { way, made: Some(name), kept: copied(found.proved) },
        }
    }

    /// Compares what stands on a side with the entry, unless that was done ahead.
    fn look(&mut self, side: Side, entry: &Entry, stat: Option<&Stat>) -> Result<Option<Found>> {
        if let Some(looked) = self.looked.take() {
            let (seen, found) = looked.wait()?;
            if seen == side {
                return found;
            }
        }
        look(self.site, self.draft.reader(), self.pool, entry, stat, side)
    }

    fn plan(&mut self, entry: Entry, planned: Planned, stat: Option<&Stat>) -> Result<()> {
        debug_assert!(!matches!(&entry.node, Node::File(File { content: Content::Missing, .. })));
        let (path, size) = (entry.path.clone(), entry.size());
        let is_regular = stat.is_some_and(|stat| stat.kind == Kind::File);
        let differs = self.draft.file(entry, planned)?;
        let deed = match stat {
            None => Deed::Create { bytes: size },
            Some(_) if is_regular => Deed::Rewrite { ranges: differs.ranges, bytes: differs.bytes },
            Some(_) => Deed::Replace { bytes: size },
        };
        self.note(&path, deed)
    }
}
