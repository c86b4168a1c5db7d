//! One block: what its bytes say, checked as far as a block alone can be.

use minicbor::Decoder;

use super::encoding::{self, VecEncoder, Written, append, array_len, expect_array};
use super::{DecodeError, EntryFault, MAX_BLOCK_LEN, MAX_HEIGHT};
use crate::entry::{Content, Entry, Node, PathBytes, Piece, compare_paths, is_valid_path};
use crate::id::ChunkId;

/// Bytes of a block's items, paths counted in full, unless the block has only a few items. It bounds what
/// a reader must hold, also for a hostile block whose short suffixes repeat a long path.
pub(super) const MAX_WEIGHT: usize = 64 << 10;

/// So many children may stand in one block whatever their weight, so that every tree gets narrower.
pub(super) const FREE_BRANCHES: usize = 4;

/// What a tree is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Entries of a manifest.
    Entries,
    /// Pieces of a file.
    Pieces,
}

/// A decoded block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Block {
    /// A leaf of a manifest, strictly sorted.
    Entries(Vec<Entry>),
    /// A leaf of a file's list of pieces.
    Pieces(Vec<Piece>),
    /// A block that names other blocks.
    Inner {
        /// What stands in the leaves below.
        family: Family,
        /// Levels between this block and the leaves, at least 1.
        height: u8,
        /// The children in order, at least one.
        branches: Vec<Branch>,
    },
}

/// What an inner block says of one child.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Branch {
    /// The path of the first entry in or below the child; empty in a tree of pieces.
    pub first: PathBytes,
    /// The child.
    pub id: ChunkId,
    /// Entries or pieces in and below it, at least 1.
    pub count: u64,
    /// Bytes of files that they stand for; `u64::MAX` where the sum is larger.
    pub bytes: u64,
}

/// Every id that a block names, as often as it names it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Links {
    /// Blocks: children, and the top blocks of large files' lists of pieces.
    pub blocks: Vec<ChunkId>,
    /// Chunks of file content with their lengths in bytes.
    pub chunks: Vec<(ChunkId, u32)>,
}

const ENTRIES: u8 = 0;
const ENTRIES_INNER: u8 = 1;
const PIECES: u8 = 2;
const PIECES_INNER: u8 = 3;

/// Lists the ids that a block names: what `check`, `copy` and `prune` follow.
pub fn block_links(bytes: &[u8]) -> Result<Links, DecodeError> {
    let mut links = Links::default();
    match decode_block(bytes)? {
        Block::Inner { branches, .. } => links.blocks.extend(branches.iter().map(|branch| branch.id)),
        Block::Pieces(pieces) => links.add(&pieces),
        Block::Entries(entries) => {
            for entry in entries {
                let Node::File(file) = entry.node else { continue };
                match file.content {
                    Content::Inline(pieces) => links.add(&pieces),
                    Content::Tree { root, .. } => links.blocks.push(root),
                    Content::Missing => {}
                }
            }
        }
    }
    Ok(links)
}

impl Links {
    fn add(&mut self, pieces: &[Piece]) {
        self.chunks.extend(pieces.iter().filter_map(|piece| match *piece {
            Piece::Chunk { id, len } => Some((id, len)),
            Piece::Hole { .. } => None,
        }));
    }
}

/// Reads one block and checks what can be checked without its neighbours.
///
/// # Errors
/// A block that no writer makes: see [`DecodeError`]. The memory used is a small multiple of `bytes`.
pub fn decode_block(bytes: &[u8]) -> Result<Block, DecodeError> {
    if bytes.len() > MAX_BLOCK_LEN {
        return Err(DecodeError::TooLarge);
    }
    let mut d = Decoder::new(bytes);
    let items = d.array()?;
    let kind = d.u8()?;
    let expected = match kind {
        ENTRIES => 2,
        ENTRIES_INNER | PIECES | PIECES_INNER => 3,
        unknown => return Err(DecodeError::Kind(unknown)),
    };
    if items != Some(expected) {
        return Err(minicbor::decode::Error::message("a block has an unexpected number of elements").into());
    }
    let block = match kind {
        ENTRIES => Block::Entries(decode_entries(&mut d)?),
        PIECES => Block::Pieces(encoding::decode_pieces(&mut d)?),
        ENTRIES_INNER => decode_inner(&mut d, Family::Entries)?,
        _ => decode_inner(&mut d, Family::Pieces)?,
    };
    match bytes.len() - d.position() {
        0 => Ok(block),
        more => Err(DecodeError::Trailing(more)),
    }
}

fn decode_entries(d: &mut Decoder<'_>) -> Result<Vec<Entry>, DecodeError> {
    let count = array_len(d)?;
    let mut entries: Vec<Entry> = Vec::with_capacity(count);
    let mut weight = 0;
    for _ in 0..count {
        let start = d.position();
        let previous = entries.last().map(|entry| entry.path.as_slice());
        let (entry, shared) = encoding::decode_entry(d, previous.unwrap_or_default())?;
        if previous.is_some_and(|previous| compare_paths(previous, &entry.path).is_ge()) {
            return Err(DecodeError::Unsorted(entry.path));
        }
        weight += d.position() - start + shared;
        entries.push(entry);
        if weight > MAX_WEIGHT && entries.len() > 1 {
            return Err(DecodeError::TooLarge);
        }
    }
    Ok(entries)
}

fn decode_inner(d: &mut Decoder<'_>, family: Family) -> Result<Block, DecodeError> {
    let height = d.u8()?;
    if !(1..=MAX_HEIGHT).contains(&height) {
        return Err(DecodeError::Height(height));
    }
    let count = array_len(d)?;
    let mut branches: Vec<Branch> = Vec::with_capacity(count);
    let mut weight = 0;
    for _ in 0..count {
        let start = d.position();
        let first = match family {
            Family::Pieces => {
                expect_array(d, 3)?;
                PathBytes::new()
            }
            Family::Entries => {
                expect_array(d, 5)?;
                let previous = branches.last().map(|branch| branch.first.as_slice());
                let (shared, suffix) = (d.u64()?, d.bytes()?);
                let first = encoding::join_path(previous.unwrap_or_default(), shared, suffix)?;
                if !is_valid_path(&first) {
                    return Err(DecodeError::Entry { path: first, fault: EntryFault::Path });
                }
                if previous.is_some_and(|previous| compare_paths(previous, &first).is_ge()) {
                    return Err(DecodeError::Unsorted(first));
                }
                weight += first.len() - suffix.len();
                first
            }
        };
        let branch = Branch { first, id: d.decode()?, count: d.u64()?, bytes: d.u64()? };
        if branch.count == 0 {
            return Err(DecodeError::Hollow);
        }
        branches.push(branch);
        weight += d.position() - start;
        if weight > MAX_WEIGHT && branches.len() > FREE_BRANCHES {
            return Err(DecodeError::TooLarge);
        }
    }
    if branches.is_empty() {
        return Err(DecodeError::Hollow);
    }
    Ok(Block::Inner { family, height, branches })
}

/// Puts a leaf of `count` encoded entries together.
pub(super) fn encode_entries(out: &mut Vec<u8>, count: usize, encoded: &[u8]) {
    out.clear();
    append(out, |e| e.array(2)?.u8(ENTRIES)?.array(count as u64)?.ok());
    out.extend_from_slice(encoded);
}

/// Puts a leaf of pieces together.
pub(super) fn encode_pieces(out: &mut Vec<u8>, pieces: &[Piece]) {
    out.clear();
    append(out, |e| encoding::encode_pieces(e.array(3)?.u8(PIECES)?, pieces));
}

/// Puts an inner block together.
pub(super) fn encode_inner(out: &mut Vec<u8>, family: Family, height: u8, branches: &[Branch]) {
    let kind = match family {
        Family::Entries => ENTRIES_INNER,
        Family::Pieces => PIECES_INNER,
    };
    out.clear();
    append(out, |e| {
        e.array(3)?.u8(kind)?.u8(height)?.array(branches.len() as u64)?;
        let mut previous: &[u8] = &[];
        branches.iter().try_for_each(|branch| {
            encode_branch(e, family, branch, previous)?;
            previous = &branch.first;
            Ok(())
        })
    });
}

fn encode_branch(e: &mut VecEncoder<'_>, family: Family, branch: &Branch, previous: &[u8]) -> Written {
    match family {
        Family::Pieces => e.array(3)?,
        Family::Entries => {
            let shared = encoding::shared_prefix(previous, &branch.first);
            e.array(5)?.u64(shared as u64)?.bytes(&branch.first[shared..])?
        }
    };
    e.encode(branch.id)?.u64(branch.count)?.u64(branch.bytes)?.ok()
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::manifest::MAX_PATH_LEN;
    use crate::manifest::fixture::{chunk, file, tree, written, zoo};

    pub fn unhex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        digits.chunks(2).map(byte).collect()
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// A leaf of the entries as they stand here, right or wrong.
    fn leaf(entries: &[Entry]) -> Vec<u8> {
        let (mut encoded, mut out) = (Vec::new(), Vec::new());
        entries.iter().for_each(|entry| encoding::encode_entry(&mut encoded, entry, 0));
        encode_entries(&mut out, entries.len(), &encoded);
        out
    }

    fn branch(first: &str, count: u64) -> Branch {
        Branch { first: first.into(), id: ChunkId::from_bytes([7; 20]), count, bytes: 1000 }
    }

    fn inner(family: Family, height: u8, branches: &[Branch]) -> Vec<u8> {
        let mut out = Vec::new();
        encode_inner(&mut out, family, height, branches);
        out
    }

    #[test]
    fn golden_leaf_of_entries() {
        let (root, blocks) = written(&zoo());
        assert_eq!((root.height, root.entries), (0, 12));
        let bytes = &blocks.blocks[&root.id];
        assert_eq!(hex(bytes), hex(&unhex(GOLDEN_LEAF)));
        assert_eq!(decode_block(bytes).unwrap(), Block::Entries(zoo()));
    }

    const GOLDEN_LEAF: &str = "
        82008c
        a40201031901a406821a6553f100050807
        a60144636861720205031901a406821a6553f1000508070d82041840
        a501436469720201031901a406821a6553f100050807
        a7000301462f626c6f636b0206031901a406821a6553f1000508070d820800
        ac0004014466696c6503190ded041903e80518640682201a3b9ac9ff07821a6553f10100081bffffffffffffffff09020a82
          8246757365722e61408246757365722e624200ff0e1b00000100000111711082831a000111703b000000ffffffffff0158
          281a0d12016999e47689dae5744d2b8c1903faf7caea21c7b3c885cf2fb547bb51016c8bbbaca21db2
        ad000401446c696e6b03190ded041903e80518640682201a3b9ac9ff07821a6553f10100081bffffffffffffffff09020a82
          8246757365722e61408246757365722e624200ff0b486469722f66696c650e1b00000100000111711082831a000111703b
          000000ffffffffff0158281a0d12016999e47689dae5744d2b8c1903faf7caea21c7b3c885cf2fb547bb51016c8bbbaca2
          1db2
        a90004014474726565031901a406821a6553f1000508070e1b00000002000000000f82008119200011835409090909090909
          09090909090909090909090909021a0001117013f5
        a5000301462d656d707479031901a406821a6553f100050807
        a701446c6f7374031901a406821a6553f1000508070e0a0f82028012f5
        a50144706970650203031901a406821a6553f100050807
        a50146736f636b65740204031901a406821a6553f100050807
        a700010146796d6c696e6b0202031901a406821a6553f1000508070c442e2e2fff
    ";

    #[test]
    fn golden_inner_blocks_and_pieces() {
        let entries = inner(Family::Entries, 3, &[branch("", 20), branch("dir/a", 1), branch("dir/b", 300)]);
        let id = "07".repeat(20);
        assert_eq!(
            hex(&entries),
            format!(
                "83010383 850040 54{id} 14 1903e8 850045{} 54{id} 01 1903e8 850441{} 54{id} 19012c 1903e8",
                hex(b"dir/a"),
                hex(b"b")
            )
            .replace(' ', "")
        );
        let pieces = inner(Family::Pieces, 1, &[branch("", 20)]);
        assert_eq!(hex(&pieces), format!("8303018183 54{id} 14 1903e8").replace(' ', ""));

        let mut list = Vec::new();
        encode_pieces(&mut list, &[chunk(1, 70_000), Piece::Hole { len: 4096 }]);
        let id = hex(&blake3::hash(&1u64.to_le_bytes()).as_bytes()[..20]);
        assert_eq!(hex(&list), format!("8302821a00011170390fff54{id}"));
    }

    #[test]
    fn links_are_all_ids() {
        let links = block_links(&leaf(&zoo())).unwrap();
        assert_eq!(links.blocks, [ChunkId::from_bytes([9; 20])]);
        assert_eq!(links.chunks.iter().map(|(_, len)| *len).collect::<Vec<_>>(), [70_000, 1, 70_000, 1]);

        let links = block_links(&inner(Family::Pieces, 1, &[branch("", 1), branch("", 2)])).unwrap();
        assert_eq!((links.blocks.len(), links.chunks.len()), (2, 0));
    }

    #[test]
    fn hostile_leaves_are_refused() {
        let named = |paths: &[&str]| leaf(&paths.iter().map(|path| file(path, vec![])).collect::<Vec<_>>());
        assert!(decode_block(&named(&["a", "a/b", "a-"])).is_ok());
        for unsorted in [&["b", "a"][..], &["a", "a"], &["a-", "a/b"]] {
            assert!(matches!(decode_block(&named(unsorted)), Err(DecodeError::Unsorted(_))), "{unsorted:?}");
        }
        for invalid in ["..", "a/../b", "/a", "a/", "a//b", ".", "a\0"] {
            let error = decode_block(&named(&[invalid])).unwrap_err();
            assert!(matches!(error, DecodeError::Entry { fault: EntryFault::Path, .. }), "{invalid:?}: {error}");
        }
        let prefix_of_nothing = unhex("820081a20001 0141 61");
        assert!(decode_block(&prefix_of_nothing).is_err());
        assert!(matches!(decode_block(&[&named(&["a"])[..], b"\0"].concat()), Err(DecodeError::Trailing(1))));
        assert!(matches!(decode_block(&unhex("820480")), Err(DecodeError::Kind(4))));
        assert!(matches!(decode_block(&vec![0; MAX_BLOCK_LEN + 1]), Err(DecodeError::TooLarge)));
    }

    #[test]
    fn a_head_that_promises_too_much_is_refused() {
        for absurd in ["82009bffffffffffffffff", "82001a00100000", "83029affffffff", "8301019bffffffffffffffff"] {
            assert!(decode_block(&unhex(absurd)).is_err(), "{absurd}");
        }
    }

    #[test]
    fn a_long_path_cannot_be_repeated_for_free() {
        let long = "x".repeat(MAX_PATH_LEN - 1);
        let mut encoded = Vec::new();
        encoding::encode_entry(&mut encoded, &file(&long, vec![]), 0);
        for n in b'a'..=b'z' {
            encoding::encode_entry(&mut encoded, &file(&format!("{long}{}", char::from(n)), vec![]), long.len());
        }
        let mut out = Vec::new();
        encode_entries(&mut out, 27, &encoded);
        assert!(matches!(decode_block(&out), Err(DecodeError::TooLarge)));
    }

    #[test]
    fn hostile_inner_blocks_are_refused() {
        let decode = |height, branches: &[Branch]| decode_block(&inner(Family::Entries, height, branches));
        assert!(decode(1, &[branch("", 1), branch("a", 1)]).is_ok());
        assert!(matches!(decode(1, &[branch("b", 1), branch("a", 1)]), Err(DecodeError::Unsorted(_))));
        assert!(matches!(decode(1, &[branch("a", 1), branch("a", 1)]), Err(DecodeError::Unsorted(_))));
        assert!(matches!(decode(1, &[branch("../a", 1)]), Err(DecodeError::Entry { .. })));
        assert!(matches!(decode(1, &[branch("a", 0)]), Err(DecodeError::Hollow)));
        assert!(matches!(decode(1, &[]), Err(DecodeError::Hollow)));
        assert!(matches!(decode(0, &[branch("a", 1)]), Err(DecodeError::Height(0))));
        assert!(matches!(decode(MAX_HEIGHT + 1, &[branch("a", 1)]), Err(DecodeError::Height(_))));
        let heavy: Vec<_> = (0..5).map(|n| branch(&format!("{n}{}", "x".repeat(MAX_WEIGHT / 4)), 1)).collect();
        assert!(decode(1, &heavy[..4]).is_ok());
        assert!(matches!(decode(1, &heavy), Err(DecodeError::TooLarge)));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), kind in 0..5u8) {
            let _ = decode_block(&bytes);
            // With a plausible beginning the decoders behind it are reached.
            bytes.splice(0..0, [0x82 + u8::from(kind > 0), kind]);
            let _ = decode_block(&bytes);
        }

        #[test]
        fn damaged_blocks_never_panic(at in any::<prop::sample::Index>(), mask in 1..=255u8, pieces in any::<bool>()) {
            let mut bytes = if pieces {
                let mut out = Vec::new();
                encode_pieces(&mut out, &[chunk(1, 300), Piece::Hole { len: 4096 }, chunk(2, 1)]);
                out
            } else {
                leaf(&zoo())
            };
            let at = at.index(bytes.len());
            bytes[at] ^= mask;
            let _ = block_links(&bytes);
        }
    }

    #[test]
    fn blocks_of_a_tree_stay_within_bounds() {
        let (_, blocks) = written(&tree(0..5_000));
        assert!(blocks.blocks.len() > 50);
        assert!(blocks.blocks.values().all(|bytes| decode_block(bytes).is_ok()));
    }
}
