//! What was copied before: the base and its copy, in lock-step with the manifest that is copied.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::iter::Peekable;

use icecore_format::entry::{Content, Entry, File, Node, Piece, compare_paths};
use icecore_format::id::ChunkId;
use icecore_format::manifest::{Entries, ManifestReader, Root, pieces};
use icecore_repo::{ChunkReader, Index};

use crate::backup::known::is_stored;

/// Pieces of one file whose names in both repositories are kept (40 MiB): what is beyond is read again, and found stored.
const PAIRS_KEPT: usize = 1 << 19;

type Names = HashMap<ChunkId, ChunkId>;

/// A manifest and that of its copy. What cannot be read of them only costs reading more of the source.
pub(super) struct Base<'r> {
    source: (&'r ChunkReader, Peekable<Entries<'r, ChunkReader>>),
    copy: (&'r ChunkReader, Peekable<Entries<'r, ChunkReader>>),
    index: &'r Index,
    /// Everything that the copy names was found by this session's generation.
    intact: bool,
}

/// What a base says of a file.
pub(super) enum Said {
    /// Nothing.
    Nothing,
    /// It has the same content, which is this in the copy.
    Same(Content),
    /// It was another one then; these chunks were in it.
    Pairs(Names),
}

impl<'r> Base<'r> {
    pub fn new(
        source: (&'r ChunkReader, &Root),
        copy: (&'r ChunkReader, &Root),
        index: &'r Index,
        intact: bool,
    ) -> Self {
        let open =
            |(reader, root): (&'r ChunkReader, &Root)| (reader, ManifestReader::new(reader, root).entries().peekable());
        Self { source: open(source), copy: open(copy), index, intact }
    }

    /// What it says of a file. Entries must be asked for in manifest order.
    pub fn of(&mut self, entry: &Entry, file: &File) -> Said {
        let (Some(before), Some(copied)) = (at(&mut self.source.1, &entry.path), at(&mut self.copy.1, &entry.path))
        else {
            return Said::Nothing;
        };
        let (Node::File(before), Node::File(copied)) = (before.node, copied.node) else { return Said::Nothing };
        if copied.content == Content::Missing || before.size != copied.size {
            return Said::Nothing;
        }
        let same = (before.size, &before.content) == (file.size, &file.content);
        if same && (self.intact || is_stored(self.index, self.copy.0, &copied.content)) {
            return Said::Same(copied.content);
        }
        Said::Pairs(self.pairs(&before.content, &copied.content))
    }

    /// The names of the same chunks in both repositories, as far as the two lists agree and the chunks still stand.
    fn pairs(&self, before: &Content, copied: &Content) -> Names {
        let mut names = Names::new();
        for (one, two) in pieces(self.source.0, before).zip(pieces(self.copy.0, copied)).take(PAIRS_KEPT) {
            match (one, two) {
                (Ok(Piece::Chunk { id, len }), Ok(Piece::Chunk { id: name, len: other })) if len == other => {
                    if self.intact || self.copy.0.counts_as_stored(&name) {
                        names.insert(id, name);
                    }
                }
                (Ok(one @ Piece::Hole { .. }), Ok(two)) if one == two => {}
                _ => break,
            }
        }
        names
    }
}

fn at(entries: &mut Peekable<Entries<'_, ChunkReader>>, path: &[u8]) -> Option<Entry> {
    loop {
        if let Ok(entry) = entries.peek()? {
            match compare_paths(&entry.path, path) {
                Ordering::Less => {}
                Ordering::Equal => return entries.next()?.ok(),
                Ordering::Greater => return None,
            }
        }
        entries.next();
    }
}
