//! Goes ahead of the walk by some entries, so that several threads look at what stands while the walk keeps its order.
//!
//! What stands in the place of an entry changes only when the walk comes to it, so what was seen ahead still holds.

use std::collections::VecDeque;

use icecore_format::entry::{Content, Node};
use icecore_source::Kind;

use super::look::{Looked, look, side};
use super::merge::{Merge, Met};
use super::pool::{Answer, Pool};
use super::site::Site;
use crate::error::Result;

/// Entries ahead at most. Each may hold a file open.
const AHEAD: usize = 64;

pub(super) struct Ahead<'m, 'e> {
    merge: Merge<'m>,
    site: &'e Site<'e>,
    pool: &'m Pool<'e>,
    met: VecDeque<(Met, Option<Answer<Looked>>)>,
    ended: bool,
}

impl<'m, 'e> Ahead<'m, 'e> {
    pub fn new(merge: Merge<'m>, site: &'e Site<'e>, pool: &'m Pool<'e>) -> Self {
        Self { merge, site, pool, met: VecDeque::new(), ended: false }
    }

    /// What comes next, with what is looked at of it; `None` at the end.
    pub fn next(&mut self) -> Result<Option<(Met, Option<Answer<Looked>>)>> {
        // Where one kind gives way to another, what is below is for the walk to take, with the merge just behind it.
        while !self.ended && self.met.len() < AHEAD && !self.met.back().is_some_and(|(met, _)| makes_way(met)) {
            match self.merge.next()? {
                None => self.ended = true,
                Some(met) => {
                    let looked = self.ask(&met);
                    self.met.push_back((met, looked));
                }
            }
        }
        Ok(self.met.pop_front())
    }

    /// The lock-step, which stands behind what [`next`](Self::next) gave last if one kind gives way to another there.
    pub fn merge(&mut self) -> &mut Merge<'m> {
        &mut self.merge
    }

    fn ask(&self, met: &Met) -> Option<Answer<Looked>> {
        let Met::Entry(entry, stat) = met else { return None };
        let has_content = matches!(&entry.node, Node::File(file) if file.content != Content::Missing);
        if !has_content || entry.link_of.as_ref().is_some_and(|first| self.site.may_link_to(first)) {
            return None;
        }
        let side = side(self.site, entry, stat.as_ref())?;
        let (site, pool, entry, stat) = (self.site, self.pool.clone(), entry.clone(), *stat);
        Some(self.pool.ask(move |reader| (side, look(site, reader, &pool, &entry, stat.as_ref(), side))))
    }
}

/// Whether a directory stands where something else goes, or something else where a directory goes.
fn makes_way(met: &Met) -> bool {
    match met {
        Met::Entry(entry, Some(stat)) | Met::Way(entry, Some(stat)) => {
            (entry.node == Node::Directory) != (stat.kind == Kind::Directory)
        }
        _ => false,
    }
}
