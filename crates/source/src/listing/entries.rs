//! Reading a listing from its first entry to its last.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use icecore_format::entry::{PathBytes, compare_paths};

use super::log::{Chunk, ChunkId};
use super::record::{self, Record};
use super::walk::push_name;
use super::{Listed, Listing};
use crate::stat::Stat;

/// Spooled chunks that are kept at hand: those of a directory and of the ones above it.
const AT_HAND: usize = 16;

/// All entries of a [`Listing`] in manifest order.
#[derive(Debug)]
pub struct Entries<'l> {
    listing: &'l Listing,
    next_top: usize,
    path: PathBytes,
    /// One for each directory that is being read, the deepest last.
    levels: Vec<Level>,
    current: Option<(ChunkId, Bytes<'l>)>,
    at_hand: VecDeque<(ChunkId, Arc<[u8]>)>,
}

/// How far a directory has been read.
#[derive(Debug)]
struct Level {
    chunk: ChunkId,
    offset: usize,
    next_child: u64,
    /// The length of the directory's own path.
    path_len: usize,
}

#[derive(Debug, Clone)]
enum Bytes<'l> {
    Held(&'l [u8]),
    Read(Arc<[u8]>),
}

impl Bytes<'_> {
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Held(bytes) => bytes,
            Self::Read(bytes) => bytes,
        }
    }
}

impl<'l> Entries<'l> {
    pub(super) fn new(listing: &'l Listing) -> Self {
        Self { listing, next_top: 0, path: Vec::new(), levels: Vec::new(), current: None, at_hand: VecDeque::new() }
    }

    /// Goes to the next entry, whose path then is the current one. After an error there is none.
    fn advance(&mut self) -> io::Result<Option<Stat>> {
        while !self.levels.is_empty() {
            match self.next_below() {
                Ok(Some(stat)) => return Ok(Some(stat)),
                Ok(None) => {}
                Err(error) => {
                    self.levels.clear();
                    self.next_top = self.listing.tops.len();
                    return Err(error);
                }
            }
        }
        Ok(self.next_top())
    }

    /// The next root.
    fn next_top(&mut self) -> Option<Stat> {
        let top = self.listing.tops.get(self.next_top)?;
        self.next_top += 1;
        self.path.clone_from(&top.path);
        if let Some(number) = top.number {
            self.enter(number);
        }
        Some(top.stat)
    }

    /// Begins the directory whose path is the current one.
    fn enter(&mut self, number: u64) {
        if let Some(Some(place)) = self.listing.places.get(number as usize) {
            let offset = place.start.offset as usize;
            let level =
                Level { chunk: place.start.chunk, offset, next_child: place.first_child, path_len: self.path.len() };
            self.levels.push(level);
        }
    }

    /// The next entry of the deepest directory; `None` if it has none left.
    fn next_below(&mut self) -> io::Result<Option<Stat>> {
        let Some((stat, child)) = self.next_record()? else {
            self.levels.pop();
            return Ok(None);
        };
        if let Some(number) = child {
            self.enter(number);
        }
        Ok(Some(stat))
    }

    /// Reads a record of the deepest directory, whose path then is the current one, and the number of
    /// its listing, if it is a directory that has one.
    fn next_record(&mut self) -> io::Result<Option<(Stat, Option<u64>)>> {
        loop {
            let Some(level) = self.levels.last_mut() else { return Ok(None) };
            let current = match &self.current {
                Some((id, bytes)) if *id == level.chunk => bytes.as_slice(),
                _ => {
                    let bytes = chunk(self.listing, &mut self.at_hand, level.chunk)?;
                    self.current.insert((level.chunk, bytes)).1.as_slice()
                }
            };
            let mut rest = current.get(level.offset..).unwrap_or_default();
            if rest.is_empty() {
                level.chunk.index += 1;
                level.offset = 0;
                continue;
            }
            let record = record::read(&mut rest).ok_or_else(damaged)?;
            level.offset = current.len() - rest.len();
            let Record::Entry { name, stat, listed } = record else { return Ok(None) };
            self.path.truncate(level.path_len);
            push_name(&mut self.path, name);
            let child = listed.then_some(level.next_child);
            level.next_child += u64::from(listed);
            return Ok(Some((stat, child)));
        }
    }
}

impl Iterator for Entries<'_> {
    type Item = io::Result<Listed>;

    fn next(&mut self) -> Option<Self::Item> {
        self.advance().map(|stat| Some(Listed { path: self.path.clone(), stat: stat? })).transpose()
    }
}

/// The entries of a listing that an earlier one does not have as they are now, in manifest order.
#[derive(Debug)]
pub struct Changes<'l> {
    now: Entries<'l>,
    before: Entries<'l>,
    /// The stat of the current entry of `before`, and that entry's number in it, from 0 on.
    ahead: Option<Stat>,
    number: u64,
    /// Numbers in `before`, ascending.
    also: &'l [u64],
}

impl<'l> Changes<'l> {
    pub(super) fn new(now: &'l Listing, before: &'l Listing, also: &'l [u64]) -> io::Result<Self> {
        let mut before = Entries::new(before);
        let ahead = before.advance()?;
        Ok(Self { now: Entries::new(now), before, ahead, number: 0, also })
    }

    /// Whether the entry of now's current path stood in `before` with the same stat, and need not be given.
    fn is_same(&mut self, stat: &Stat) -> io::Result<bool> {
        while let Some(ahead) = &self.ahead {
            match compare_paths(&self.before.path, &self.now.path) {
                Ordering::Less => {
                    self.ahead = self.before.advance()?;
                    self.number += 1;
                }
                Ordering::Equal => return Ok(ahead == stat && self.also.binary_search(&self.number).is_err()),
                Ordering::Greater => return Ok(false),
            }
        }
        Ok(false)
    }
}

impl Iterator for Changes<'_> {
    type Item = io::Result<Listed>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let stat = match self.now.advance() {
                Ok(stat) => stat?,
                Err(error) => return Some(Err(error)),
            };
            match self.is_same(&stat) {
                Ok(true) => {}
                Ok(false) => return Some(Ok(Listed { path: self.now.path.clone(), stat })),
                Err(error) => {
                    // Nothing can be compared any more: everything counts as changed.
                    self.ahead = None;
                    return Some(Err(error));
                }
            }
        }
    }
}

fn chunk<'l>(listing: &'l Listing, at_hand: &mut VecDeque<(ChunkId, Arc<[u8]>)>, id: ChunkId) -> io::Result<Bytes<'l>> {
    let found = listing.chunks.get(id.log as usize).and_then(|log| log.get(id.index as usize)).ok_or_else(damaged)?;
    let (offset, len) = match found {
        Chunk::Memory(bytes) => return Ok(Bytes::Held(bytes)),
        Chunk::Spooled { offset, len } => (*offset, *len),
    };
    if let Some(at) = at_hand.iter().position(|(known, _)| *known == id)
        && let Some(recent) = at_hand.remove(at)
    {
        at_hand.push_back(recent);
    } else {
        if at_hand.len() == AT_HAND {
            at_hand.pop_front();
        }
        at_hand.push_back((id, listing.spool.get(offset, len)?.into()));
    }
    at_hand.back().map(|(_, bytes)| Bytes::Read(Arc::clone(bytes))).ok_or_else(damaged)
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the listing that was put aside is damaged")
}
