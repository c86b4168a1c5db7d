//! Content that stands somewhere else in the targets: read there instead of being fetched.
//!
//! ```text
//! survey   what will be needed: totals, and the beginnings of the ids of chunks that do not stand for certain
//! search   files that stand: those that are as recorded, by their lists of chunks; others by cutting and hashing them
//! ```
//! A seed is a saving and never needed: it is verified where it is used, tables are bounded, and what does not fit in is
//! fetched.

use std::collections::{HashMap, HashSet};
use std::io;

use icecore_format::chunk::IdKey;
use icecore_format::cut::{CutParams, Cutter, detect};
use icecore_format::entry::{Class, PathBytes, Piece, compare_paths};
use icecore_format::id::ChunkId;
use icecore_source::target::TargetFile;

use crate::error::Result;

/// Chunks looked for, and found, at most: 64 MiB of tables for 32 to 128 GiB of content.
const MOST: usize = 1 << 20;

/// Bytes at the head, and from the middle, of a file that tell its class.
const SAMPLE: usize = 4096;

/// The beginning of a chunk's id: enough to look for it, as what is found is verified.
pub(super) type Short = u64;

fn short(chunk: &ChunkId) -> Short {
    chunk.as_bytes().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// The chunks that are looked for.
#[derive(Debug, Default)]
pub(super) struct Wanted(HashSet<Short>);

impl Wanted {
    pub fn add(&mut self, chunk: &ChunkId) {
        if self.0.len() < MOST {
            self.0.insert(short(chunk));
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What of it stands in a file, and where, found by cutting the file as a backup would, as far as it can be read.
    pub fn find(
        &self,
        key: &IdKey,
        params: &CutParams,
        class: Option<Class>,
        file: &TargetFile,
        size: u64,
        check: &dyn Fn() -> Result<()>,
    ) -> Result<Vec<(Short, u64)>> {
        let Ok(class) = class.map_or_else(|| classify(file, size), Ok) else { return Ok(Vec::new()) };
        let cutter = Cutter::new(class, params);
        let (mut found, mut buffer) = (Vec::new(), vec![0; 4 * cutter.max_chunk()]);
        // buffer[start..end] holds the bytes of the file from `at` on.
        let (mut start, mut end, mut at) = (0, 0, 0_u64);
        loop {
            check()?;
            let last = at + (end - start) as u64 >= size;
            while let Some(len) = cutter.next(&buffer[start..end], at, last) {
                let chunk = short(&key.id(&buffer[start..start + len]));
                if self.0.contains(&chunk) && found.len() < MOST {
                    found.push((chunk, at));
                }
                start += len;
                at += len as u64;
            }
            if last {
                return Ok(found);
            }
            buffer.copy_within(start..end, 0);
            (start, end) = (0, end - start);
            match file.read_at(at + end as u64, &mut buffer[end..]) {
                // Shorter than it was.
                Ok(0) | Err(_) => return Ok(found),
                Ok(read) => end += read,
            }
        }
    }
}

/// How long a file stays as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stays {
    /// As long as chunks are needed.
    Always,
    /// Until the walk has left its place: what is planned for that may still be read from what stands there.
    UntilLeft,
}

/// A chunk in a file that stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seed<'s> {
    /// The number of the tree that the file is in.
    pub tree: usize,
    /// Where the file stands in it.
    pub place: &'s [u8],
    /// First byte in the file.
    pub at: u64,
    /// Whether it stays.
    pub stays: &'s Stays,
}

#[derive(Debug)]
struct SeedFile {
    tree: usize,
    place: PathBytes,
    stays: Stays,
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Seeds {
    files: Vec<SeedFile>,
    chunks: HashMap<Short, (u32, u64)>,
}

impl Seeds {
    /// Where a chunk stands that is needed at `place`, which the walk has come to.
    pub fn find(&self, chunk: &ChunkId, place: &[u8]) -> Option<Seed<'_>> {
        let (file, at) = *self.chunks.get(&short(chunk))?;
        let SeedFile { tree, place: there, stays } = self.files.get(file as usize)?;
        let stands = *stays == Stays::Always || compare_paths(place, there).is_le();
        stands.then_some(Seed { tree: *tree, place: there, at, stays })
    }

    /// Begins a file; the seeds that follow stand in it.
    pub fn file<'s>(&'s mut self, wanted: &'s Wanted, tree: usize, place: &[u8], stays: Stays) -> Finder<'s> {
        Finder {
            wanted,
            found: &mut self.chunks,
            files: &mut self.files,
            file: Some(SeedFile { tree, place: place.to_vec(), stays }),
        }
    }
}

/// Adds the seeds of one file.
pub(super) struct Finder<'s> {
    wanted: &'s Wanted,
    found: &'s mut HashMap<Short, (u32, u64)>,
    files: &'s mut Vec<SeedFile>,
    /// Until its first seed.
    file: Option<SeedFile>,
}

impl Finder<'_> {
    /// A chunk that stands at `at`, if it is looked for. What stays is better than what does not.
    fn add(&mut self, chunk: &ChunkId, at: u64) {
        self.add_key(short(chunk), at);
    }

    fn add_key(&mut self, key: Short, at: u64) {
        let full = self.found.len() >= MOST || self.files.len() >= MOST;
        if full || !self.wanted.0.contains(&key) || self.found.contains_key(&key) {
            return;
        }
        self.files.extend(self.file.take());
        self.found.insert(key, (self.files.len().saturating_sub(1) as u32, at));
    }

    /// The pieces of a file that is as recorded.
    pub fn add_pieces<E>(&mut self, pieces: impl Iterator<Item = std::result::Result<Piece, E>>) {
        let mut at = 0_u64;
        // Behind a damaged block nobody knows where the pieces stand.
        for piece in pieces.map_while(std::result::Result::ok) {
            if let Piece::Chunk { id, .. } = piece {
                self.add(&id, at);
            }
            at = at.saturating_add(piece.len());
        }
    }

    /// What [`Wanted::find`] found in the file.
    pub fn add_found(&mut self, found: &[(Short, u64)]) {
        found.iter().for_each(|(key, at)| self.add_key(*key, *at));
    }
}

/// How a file that no snapshot knows would be cut.
fn classify(file: &TargetFile, size: u64) -> io::Result<Class> {
    let (mut head, mut sample) = (vec![0; SAMPLE], vec![0; SAMPLE]);
    let read = file.read_at(0, &mut head)?;
    let sampled = if size > SAMPLE as u64 { file.read_at(size / 2, &mut sample)? } else { 0 };
    Ok(detect(&head[..read], &sample[..sampled]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_that_will_go_serves_only_what_comes_before() {
        let id = |byte: u8| ChunkId::from_bytes([byte; 20]);
        let mut wanted = Wanted::default();
        (1..=2).for_each(|byte| wanted.add(&id(byte)));
        let mut seeds = Seeds::default();
        let mut finder = seeds.file(&wanted, 0, b"m", Stays::UntilLeft);
        finder.add(&id(1), 7);
        finder.add(&id(9), 8);
        seeds.file(&wanted, 1, b"unused", Stays::Always);
        seeds.file(&wanted, 1, b"b", Stays::Always).add(&id(2), 9);
        let found = |byte, place: &[u8]| seeds.find(&id(byte), place).map(|seed| (seed.tree, seed.place, seed.at));
        assert_eq!(found(1, b"a"), Some((0, &b"m"[..], 7)));
        assert_eq!(found(1, b"m"), Some((0, &b"m"[..], 7)), "a file is a seed of itself");
        assert_eq!((found(1, b"n"), found(9, b"a")), (None, None));
        assert_eq!(found(2, b"z"), Some((1, &b"b"[..], 9)));
        assert_eq!(seeds.files.len(), 2, "files without seeds are not kept");
    }
}
