//! Proof of cuts by the chunks that the file had before.
//!
//! Where a content-defined chunk ends depends on its own bytes alone. So, where a chunk begins: if the bytes there hash
//! to the id of a chunk that began there before, and that chunk was *closed*, a cut from scratch ends there too, and
//! the gear need not run over them. Closed is what ended by its own bytes, or at the maximum length. What ended with
//! its extent, at a hole or at the end of the file, would go on if more followed: it proves a cut only where the extent
//! ends there again. The same holds of pages, whose cuts need no proof; but a chunk that is the old one need not be looked
//! up in the index again.

use std::ops::Range;

use icecore_format::cut::Cutter;
use icecore_format::entry::{Content, Piece};
use icecore_format::id::ChunkId;
use icecore_format::manifest::{BlockSource, pieces};

/// A chunk of the file as it was stored before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OldChunk {
    pub(super) start: u64,
    pub(super) len: u32,
    pub(super) id: ChunkId,
    pub(super) closed: bool,
}

/// The chunks of the file as it was stored before, in order.
pub(super) struct OldChunks<'r> {
    rest: Box<dyn Iterator<Item = OldChunk> + 'r>,
    next: Option<OldChunk>,
}

impl<'r> OldChunks<'r> {
    /// Of a file that proves nothing.
    pub(super) fn none() -> Self {
        Self { rest: Box::new(std::iter::empty()), next: None }
    }

    /// Of a file that was cut by the same cutter. What of its list of pieces cannot be read proves nothing, nor does
    /// what follows it.
    pub(super) fn new<S: BlockSource>(source: &'r S, content: &Content, cutter: &Cutter) -> Self {
        let max = cutter.max_chunk();
        let mut pieces = pieces(source, content).map_while(Result::ok).peekable();
        let mut end = 0u64;
        let mut rest = std::iter::from_fn(move || {
            loop {
                let (piece, start) = (pieces.next()?, end);
                end = end.saturating_add(piece.len());
                if let Piece::Chunk { id, len } = piece {
                    let closed = len as usize >= max || matches!(pieces.peek(), Some(Piece::Chunk { .. }));
                    return Some(OldChunk { start, len, id, closed });
                }
            }
        });
        let next = rest.next();
        Self { rest: Box::new(rest), next }
    }

    /// The chunk that begins at `offset`; offsets ascend from call to call.
    pub(super) fn at(&mut self, offset: u64) -> Option<OldChunk> {
        self.next_before(offset.saturating_add(1), |chunk| chunk.start >= offset)
    }

    /// Those that begin in a range; ranges ascend from call to call.
    pub(super) fn within(&mut self, range: &Range<u64>) -> Vec<OldChunk> {
        std::iter::from_fn(|| self.next_before(range.end, |chunk| chunk.start >= range.start)).collect()
    }

    /// The next chunk that begins before `end` and is wanted; others before `end` are passed over.
    fn next_before(&mut self, end: u64, wanted: impl Fn(&OldChunk) -> bool) -> Option<OldChunk> {
        while let Some(chunk) = self.next.filter(|chunk| chunk.start < end) {
            self.next = self.rest.next();
            if wanted(&chunk) {
                return Some(chunk);
            }
        }
        None
    }
}

/// The chunk that begins where it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Next {
    pub(super) len: usize,
    /// Its id, if it had to be computed to know where it ends.
    pub(super) id: Option<ChunkId>,
    /// It is the old chunk.
    pub(super) same: bool,
}

/// Exactly the length that [`Cutter::next`] gives for `data`, `offset` and `last`, proven by the `old` chunk at
/// `offset` where that is possible.
pub(super) fn next_cut(
    cutter: &Cutter,
    data: &[u8],
    offset: u64,
    last: bool,
    old: Option<OldChunk>,
    hash: impl Fn(&[u8]) -> ChunkId,
) -> Option<Next> {
    let decides = last || data.len() >= cutter.max_chunk();
    let old = old.filter(|old| {
        let len = old.len as usize;
        let ends = last && len == data.len();
        decides && len <= cutter.max_chunk() && (ends || old.closed && len <= data.len())
    });
    let Some(old) = old else {
        return Some(Next { len: cutter.next(data, offset, last)?, id: None, same: false });
    };
    let id = hash(&data[..old.len as usize]);
    if id == old.id {
        return Some(Next { len: old.len as usize, id: Some(id), same: true });
    }
    let len = cutter.next(data, offset, last)?;
    // The change may have left the end where it was.
    Some(Next { len, id: (len == old.len as usize).then_some(id), same: false })
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::hash::{DefaultHasher, Hash, Hasher};
    use std::sync::Arc;

    use icecore_format::cut::{Cdc, CutParams};
    use icecore_format::entry::Class;
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;

    /// Lists that stand in their entry need no blocks.
    struct NoBlocks;

    impl BlockSource for NoBlocks {
        type Error = Infallible;

        fn block(&self, id: &ChunkId) -> Result<Arc<[u8]>, Infallible> {
            panic!("block {id} was asked for")
        }
    }

    /// A byte of a file, or of a hole.
    type Cell = Option<u8>;

    fn hash(bytes: &[u8]) -> ChunkId {
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        let mut id = [0; 20];
        id[..8].copy_from_slice(&hasher.finish().to_le_bytes());
        ChunkId::from_bytes(id)
    }

    fn cutter(class: Class) -> Cutter {
        let params = CutParams {
            pages: 1024,
            structured: Cdc { min: 64, average: 256, max: 1024 },
            opaque: Cdc { min: 128, average: 512, max: 2048 },
        };
        Cutter::new(class, &params)
    }

    /// The pieces of a file, how many were proven, and how many there are. No more than `window` bytes are seen at
    /// once.
    fn cut(cells: &[Cell], cutter: &Cutter, mut old: OldChunks<'_>, window: usize) -> (Vec<Piece>, usize) {
        let (mut pieces, mut proven, mut at) = (Vec::new(), 0, 0);
        for extent in cells.chunk_by(|a, b| a.is_some() == b.is_some()) {
            let data: Vec<u8> = extent.iter().copied().flatten().collect();
            if data.is_empty() {
                pieces.push(Piece::Hole { len: extent.len() as u64 });
            }
            let mut from = 0;
            while from < data.len() {
                let seen = &data[from..data.len().min(from + window)];
                let (offset, last) = ((at + from) as u64, from + window >= data.len());
                let Next { len, id, same } =
                    next_cut(cutter, seen, offset, last, old.at(offset), hash).expect("the window is enough");
                proven += usize::from(same);
                pieces.push(Piece::Chunk { id: id.unwrap_or_else(|| hash(&seen[..len])), len: len as u32 });
                from += len;
            }
            at += extent.len();
        }
        (pieces, proven)
    }

    fn afresh(cells: &[Cell], cutter: &Cutter) -> Vec<Piece> {
        cut(cells, cutter, OldChunks::none(), usize::MAX >> 1).0
    }

    /// Bytes of one kind: noise, one byte, a short pattern, or a hole.
    fn a_run() -> impl Strategy<Value = Vec<Cell>> {
        let noise = prop::collection::vec(any::<u8>().prop_map(Some), 1..3000);
        let pattern = (prop::collection::vec(any::<u8>().prop_map(Some), 1..300), 1..3000usize)
            .prop_map(|(pattern, len)| pattern.into_iter().cycle().take(len).collect());
        prop_oneof![
            4 => noise,
            1 => (any::<u8>(), 1..3000usize).prop_map(|(byte, len)| vec![Some(byte); len]),
            1 => pattern,
            1 => (1..500usize).prop_map(|len| vec![None; len]),
        ]
    }

    #[derive(Debug, Clone)]
    enum Edit {
        Overwrite(Index, Vec<Cell>),
        Insert(Index, Vec<Cell>),
        Delete(Index, usize),
        Append(Vec<Cell>),
        Truncate(Index),
        /// Some bytes at the end are there no more.
        Shorten(usize),
    }

    fn edit() -> impl Strategy<Value = Edit> {
        prop_oneof![
            (any::<Index>(), a_run()).prop_map(|(at, cells)| Edit::Overwrite(at, cells)),
            (any::<Index>(), a_run()).prop_map(|(at, cells)| Edit::Insert(at, cells)),
            (any::<Index>(), 1..2000usize).prop_map(|(at, len)| Edit::Delete(at, len)),
            a_run().prop_map(Edit::Append),
            any::<Index>().prop_map(Edit::Truncate),
            (0..70usize).prop_map(Edit::Shorten),
        ]
    }

    fn apply(edit: &Edit, cells: &mut Vec<Cell>) {
        let at = |index: &Index, cells: &Vec<Cell>| index.index(cells.len() + 1);
        let to = |from: usize, len: usize, cells: &Vec<Cell>| -> Range<usize> { from..cells.len().min(from + len) };
        match edit {
            Edit::Overwrite(index, new) => {
                let range = to(at(index, cells), new.len(), cells);
                cells.splice(range, new.iter().copied());
            }
            Edit::Insert(index, new) => {
                let at = at(index, cells);
                cells.splice(at..at, new.iter().copied());
            }
            Edit::Delete(index, len) => {
                let range = to(at(index, cells), *len, cells);
                cells.drain(range);
            }
            Edit::Append(new) => cells.extend(new),
            Edit::Truncate(index) => cells.truncate(at(index, cells)),
            Edit::Shorten(len) => cells.truncate(cells.len().saturating_sub(*len)),
        }
    }

    proptest! {
        #[test]
        fn proof_changes_no_cut(
            runs in prop::collection::vec(a_run(), 0..12),
            edits in prop::collection::vec(edit(), 0..5),
            window in 2048..6000usize,
        ) {
            let before: Vec<Cell> = runs.concat();
            let mut now = before.clone();
            for class in [Class::Structured, Class::Opaque] {
                let cutter = cutter(class);
                let old = Content::Inline(afresh(&before, &cutter));
                for edit in &edits {
                    let (proven, _) = cut(&now, &cutter, OldChunks::new(&NoBlocks, &old, &cutter), window);
                    prop_assert_eq!(proven, afresh(&now, &cutter));
                    apply(edit, &mut now);
                }
                let (proven, _) = cut(&now, &cutter, OldChunks::new(&NoBlocks, &old, &cutter), window);
                prop_assert_eq!(proven, afresh(&now, &cutter));
            }
        }

        #[test]
        fn an_unchanged_file_is_proven(runs in prop::collection::vec(a_run(), 0..12)) {
            let cells: Vec<Cell> = runs.concat();
            let cutter = cutter(Class::Structured);
            let old = Content::Inline(afresh(&cells, &cutter));
            let (pieces, proven) = cut(&cells, &cutter, OldChunks::new(&NoBlocks, &old, &cutter), 5000);
            prop_assert_eq!(proven, pieces.iter().filter(|piece| matches!(piece, Piece::Chunk { .. })).count());
        }
    }

    #[test]
    fn what_ended_with_the_file_proves_nothing_once_more_follows() {
        let cutter = cutter(Class::Structured);
        let cells = [Some(7); 100];
        let old = Content::Inline(afresh(&cells, &cutter));
        let proven = |cells: &[Cell]| cut(cells, &cutter, OldChunks::new(&NoBlocks, &old, &cutter), 5000).1;
        assert_eq!(proven(&cells), 1);
        assert_eq!(proven(&[Some(7); 101]), 0);
        assert_eq!(proven(&[Some(7); 99]), 0);
        assert_eq!(proven(&[&cells[..], &[None; 10]].concat()), 1);
    }

    #[test]
    fn old_chunks_are_found_where_they_began() {
        let chunk = |n: u8, len| Piece::Chunk { id: ChunkId::from_bytes([n; 20]), len };
        let pieces =
            vec![chunk(1, 1024), chunk(2, 100), Piece::Hole { len: 50 }, chunk(3, 70), chunk(4, 80), chunk(5, 9)];
        let content = Content::Inline(pieces);
        let old = || OldChunks::new(&NoBlocks, &content, &cutter(Class::Structured));
        let starts = |old: &[OldChunk]| old.iter().map(|old| (old.start, old.closed)).collect::<Vec<_>>();
        let all = [(0, true), (1024, false), (1174, true), (1244, true), (1324, false)];
        assert_eq!(starts(&old().within(&(0..u64::MAX))), all);
        let mut halves = old();
        assert_eq!(starts(&halves.within(&(1..1174))), all[1..2]);
        assert_eq!(starts(&halves.within(&(1174..1244))), all[2..3]);
        assert_eq!(starts(&halves.within(&(1300..1325))), all[4..]);
        let mut walk = old();
        let met: Vec<_> = [0, 1000, 1024, 1025, 1244, 1245, 1324].map(|at| walk.at(at).map(|old| old.start)).into();
        assert_eq!(met, [Some(0), None, Some(1024), None, Some(1244), None, Some(1324)]);
    }
}
