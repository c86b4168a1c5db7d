//! Manifests that no writer makes: every rule of entries may be broken.
//!
//! Encoded by hand after `docs/format.md`, because the library's own encoder refuses them.

use icecore_format::chunk::IdKey;
use icecore_format::id::ChunkId;

/// An entry of a leaf, as it is encoded.
#[derive(Debug, Clone)]
pub struct EvilEntry(Vec<(u64, Vec<u8>)>);

/// Major types of CBOR (RFC 8949).
const UINT: u8 = 0;
const NEGATIVE: u8 = 1;
const BYTES: u8 = 2;
const ARRAY: u8 = 4;
const MAP: u8 = 5;

fn head(kind: u8, value: u64) -> Vec<u8> {
    [&[kind << 5 | 27][..], &value.to_be_bytes()].concat()
}

fn bytes(value: &[u8]) -> Vec<u8> {
    [head(BYTES, value.len() as u64), value.to_vec()].concat()
}

impl EvilEntry {
    /// An entry of a kind: 0 file, 1 directory, 2 symbolic link, 3 FIFO. The path may be anything.
    pub fn new(path: &[u8], kind: u64) -> Self {
        Self(vec![(1, bytes(path)), (2, head(UINT, kind)), (3, head(UINT, 0o755))])
    }

    /// A directory.
    pub fn directory(path: &[u8]) -> Self {
        Self::new(path, 1)
    }

    /// A symbolic link to `target`.
    pub fn symlink(path: &[u8], target: &[u8]) -> Self {
        Self::new(path, 2).with(12, bytes(target))
    }

    /// A further name of `first`, which is a file of this content.
    pub fn link(path: &[u8], first: &[u8], key: &IdKey, content: &[u8]) -> Self {
        Self::new(path, 0).with(11, bytes(first)).content(key, content)
    }

    /// A file of one chunk.
    pub fn file(path: &[u8], key: &IdKey, content: &[u8]) -> Self {
        Self::new(path, 0).content(key, content)
    }

    /// A file that says to be `size` bytes, of pieces of these lengths, all of them the same chunk; negative ones are holes.
    pub fn sized(path: &[u8], size: u64, lengths: &[i64], chunk: ChunkId) -> Self {
        let integer = |length: &i64| match u64::try_from(*length) {
            Ok(length) => head(UINT, length),
            Err(_) => head(NEGATIVE, !length.cast_unsigned()),
        };
        let list: Vec<u8> = lengths.iter().flat_map(integer).collect();
        let ids: Vec<u8> = lengths.iter().filter(|length| **length > 0).flat_map(|_| *chunk.as_bytes()).collect();
        let pieces = [head(ARRAY, 2), head(ARRAY, lengths.len() as u64), list, bytes(&ids)].concat();
        Self::new(path, 0).with(14, head(UINT, size)).with(16, pieces)
    }

    /// A file whose list of pieces stands in a tree with this top.
    pub fn treed(path: &[u8], size: u64, top: ChunkId, height: u64, pieces: u64) -> Self {
        let tree = [head(ARRAY, 3), bytes(top.as_bytes()), head(UINT, height), head(UINT, pieces)].concat();
        Self::new(path, 0).with(14, head(UINT, size)).with(17, tree)
    }

    fn content(self, key: &IdKey, content: &[u8]) -> Self {
        let len = content.len() as u64;
        let pieces = [head(ARRAY, 2), head(ARRAY, 1), head(UINT, len), bytes(key.id(content).as_bytes())].concat();
        self.with(14, head(UINT, len)).with(16, pieces)
    }

    /// Adds a field of any key, already encoded.
    pub fn with(mut self, key: u64, value: Vec<u8>) -> Self {
        self.0.push((key, value));
        self
    }
}

/// A leaf of these entries, in this order.
pub fn leaf(entries: &[EvilEntry]) -> Vec<u8> {
    let mut block = [head(ARRAY, 2), head(UINT, 0), head(ARRAY, entries.len() as u64)].concat();
    for EvilEntry(fields) in entries {
        let mut fields = fields.clone();
        fields.sort_by_key(|(key, _)| *key);
        block.extend(head(MAP, fields.len() as u64));
        for (key, value) in fields {
            block.extend(head(UINT, key));
            block.extend(value);
        }
    }
    block
}

#[cfg(test)]
mod tests {
    use icecore_format::manifest::{Block, decode_block};

    use super::*;

    #[test]
    fn what_breaks_no_rule_is_read() {
        let key = IdKey::from_bytes([7; 32]);
        let good = leaf(&[
            EvilEntry::directory(b""),
            EvilEntry::file(b"a", &key, b"content"),
            EvilEntry::link(b"b", b"a", &key, b"content"),
            EvilEntry::symlink(b"c", b"a"),
            EvilEntry::sized(b"d", 5, &[3, -2], ChunkId::from_bytes([1; 20])),
        ]);
        let Ok(Block::Entries(entries)) = decode_block(&good) else { panic!("{:?}", decode_block(&good)) };
        assert_eq!(entries.len(), 5);
        for path in [&b".."[..], b"/etc", b"a/../b", b"a\0", b"a//b"] {
            assert!(decode_block(&leaf(&[EvilEntry::directory(path)])).is_err());
        }
    }
}
