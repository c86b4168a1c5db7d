//! Deletes what stands where the snapshot has nothing. Only after everything else stands, because it may have been the
//! last copy of something that does not.

use std::io;

use icecore_format::entry::{Entry, Node, PathBytes};
use icecore_format::manifest::Root;
use icecore_repo::ChunkReader;
use icecore_source::Kind;

use super::ground::Ground;
use super::merge::{Merge, Met};
use super::selection::is_within;
use super::site::Site;
use crate::error::Result;

/// Deletes extras, directories after what is in them, and gives the directories that held them their times back.
pub(super) fn sweep(site: &Site<'_>, ground: &Ground, reader: &ChunkReader, root: &Root) -> Result<()> {
    let mut merge = Merge::new(reader, root, site.selection, &ground.standing);
    let mut sweep = Sweep { site, going: Vec::new(), inside: Vec::new() };
    // Something else than a directory took the place of one; what was in that is gone.
    let mut replaced: Option<PathBytes> = None;
    while let Some(met) = merge.next()? {
        site.check()?;
        match met {
            Met::Extra(listed) => {
                let gone = replaced.as_ref().is_some_and(|above| is_within(&listed.path, above));
                if !gone && !ground.is_ours(&listed.path) {
                    sweep.leave(Some(&listed.path));
                    sweep.delete(listed.path, listed.stat.kind == Kind::Directory);
                }
            }
            Met::Entry(entry, _) | Met::Way(entry, _) => {
                let place = site.place(&entry.path).to_vec();
                sweep.leave(Some(&place));
                if entry.node == Node::Directory {
                    sweep.inside.push((place, entry, false));
                } else {
                    replaced = Some(place);
                }
            }
            Met::Lost(_) => {}
        }
    }
    sweep.leave(None);
    Ok(())
}

struct Sweep<'a> {
    site: &'a Site<'a>,
    /// Directories that go when everything in them has gone.
    going: Vec<PathBytes>,
    /// Directories of the snapshot, and whether something in them was deleted.
    inside: Vec<(PathBytes, Entry, bool)>,
}

impl Sweep<'_> {
    fn delete(&mut self, place: PathBytes, is_dir: bool) {
        if is_dir {
            self.going.push(place);
        } else {
            self.remove(&place, false);
        }
    }

    /// Comes out of the directories that do not hold `place`; of all for `None`.
    fn leave(&mut self, place: Option<&[u8]>) {
        let outside = |directory: &[u8]| place.is_none_or(|place| !is_within(place, directory));
        while let Some(directory) = self.going.pop_if(|directory| outside(directory)) {
            self.remove(&directory, true);
        }
        while let Some((place, entry, touched)) = self.inside.pop_if(|(directory, ..)| outside(directory)) {
            if touched {
                self.site.tally.faults(self.site.target.finish(&place, &entry, &self.site.owners));
            }
        }
    }

    fn remove(&mut self, place: &[u8], is_dir: bool) {
        let target = self.site.target;
        let remove = || if is_dir { target.remove_dir(place) } else { target.remove_file(place) };
        let above = place.iter().rposition(|byte| *byte == b'/').map_or(&b""[..], |slash| &place[..slash]);
        let removed = match remove() {
            // Not the owner's to write into; a directory of the snapshot gets its mode back.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                target.unlock(above).and_then(|()| remove())
            }
            removed => removed,
        };
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                let path = self.site.selection.path(place);
                self.site.lose(&path, format!("it should not be there, and could not be deleted: {error}"));
            }
            _ => {}
        }
        if let Some((_, _, touched)) = self.inside.last_mut().filter(|(directory, ..)| directory == above) {
            *touched = true;
        }
    }
}
