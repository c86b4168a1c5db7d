//! How entries and lists of pieces stand in a block.

use std::convert::Infallible;

use minicbor::decode::Error as CborError;
use minicbor::{Decoder, Encoder};

use super::{DecodeError, EntryFault, MAX_HEIGHT, MAX_ITEMS, MAX_PATH_LEN};
use crate::entry::{
    Class, Content, Entry, File, Meta, Node, PathBytes, Piece, Timestamp, Xattr, compare_paths, is_valid_path,
};
use crate::id::ChunkId;

/// The keys of an entry's map. A key is left out where its value is the default.
mod key {
    pub const SHARED: u8 = 0;
    pub const SUFFIX: u8 = 1;
    pub const KIND: u8 = 2;
    pub const MODE: u8 = 3;
    pub const UID: u8 = 4;
    pub const GID: u8 = 5;
    pub const MTIME: u8 = 6;
    pub const CTIME: u8 = 7;
    pub const INODE: u8 = 8;
    pub const LINKS: u8 = 9;
    pub const XATTRS: u8 = 10;
    pub const LINK_OF: u8 = 11;
    pub const TARGET: u8 = 12;
    pub const DEVICE: u8 = 13;
    pub const SIZE: u8 = 14;
    pub const CLASS: u8 = 15;
    pub const PIECES: u8 = 16;
    pub const TREE: u8 = 17;
    pub const MISSING: u8 = 18;
    pub const RACY: u8 = 19;
}

/// The values of [`key::KIND`].
mod kind {
    pub const FILE: u8 = 0;
    pub const DIRECTORY: u8 = 1;
    pub const SYMLINK: u8 = 2;
    pub const FIFO: u8 = 3;
    pub const SOCKET: u8 = 4;
    pub const CHAR_DEVICE: u8 = 5;
    pub const BLOCK_DEVICE: u8 = 6;
}

pub(super) type Written = Result<(), minicbor::encode::Error<Infallible>>;
pub(super) type VecEncoder<'o> = Encoder<&'o mut Vec<u8>>;

/// Appends what `encode` writes.
pub(super) fn append(out: &mut Vec<u8>, encode: impl FnOnce(&mut VecEncoder<'_>) -> Written) {
    encode(&mut Encoder::new(out)).expect("a Vec takes every byte, and no encoder here fails by itself");
}

/// The number of bytes that two paths have in common from their beginning.
pub(super) fn shared_prefix(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(x, y)| x == y).count()
}

/// Tells what keeps an entry out of a manifest.
pub(super) fn validate(entry: &Entry) -> Result<(), EntryFault> {
    let ensure = |holds: bool, fault| if holds { Ok(()) } else { Err(fault) };
    let meta = &entry.meta;
    ensure(entry.path.len() <= MAX_PATH_LEN, EntryFault::PathLength)?;
    ensure(is_valid_path(&entry.path), EntryFault::Path)?;
    ensure(meta.mode <= 0o7777, EntryFault::Mode)?;
    ensure(meta.mtime.nanos.max(meta.ctime.nanos) < 1_000_000_000, EntryFault::Nanos)?;
    ensure(meta.xattrs.is_sorted_by(|a, b| a.name < b.name), EntryFault::Xattrs)?;
    if let Some(first) = &entry.link_of {
        ensure(is_valid_path(first) && compare_paths(first, &entry.path).is_lt(), EntryFault::LinkOf)?;
    }
    let Node::File(file) = &entry.node else { return Ok(()) };
    match &file.content {
        Content::Inline(pieces) => {
            ensure(pieces.len() <= MAX_ITEMS && !pieces.iter().any(Piece::is_empty), EntryFault::Pieces)?;
            let sum = pieces.iter().try_fold(0u64, |sum, piece| sum.checked_add(piece.len()));
            ensure(sum == Some(file.size), EntryFault::Size)
        }
        Content::Tree { height, pieces, .. } => ensure(*height <= MAX_HEIGHT && *pieces > 0, EntryFault::Pieces),
        Content::Missing => Ok(()),
    }
}

/// Appends a valid entry, whose path begins with `shared` bytes of the path before it.
pub(super) fn encode_entry(out: &mut Vec<u8>, entry: &Entry, shared: usize) {
    // A map of fewer than 24 pairs has a head of one byte, known only when the pairs are written.
    let head = out.len();
    out.push(0);
    let mut pairs = 0;
    append(out, |e| {
        let mut fields = Fields { e, count: 0 };
        fields.entry(entry, shared)?;
        pairs = fields.count;
        Ok(())
    });
    const MAP: u8 = 5 << 5;
    out[head] = MAP | pairs;
}

struct Fields<'e, 'o> {
    e: &'e mut VecEncoder<'o>,
    count: u8,
}

type EncodeError = minicbor::encode::Error<Infallible>;

impl<'o> Fields<'_, 'o> {
    fn key(&mut self, key: u8) -> Result<&mut VecEncoder<'o>, EncodeError> {
        self.count += 1;
        self.e.u8(key)
    }

    /// Writes a number, unless it is the default.
    fn number(&mut self, key: u8, value: u64, default: u64) -> Written {
        if value == default { Ok(()) } else { self.key(key)?.u64(value)?.ok() }
    }

    fn bytes(&mut self, key: u8, value: &[u8]) -> Written {
        if value.is_empty() { Ok(()) } else { self.key(key)?.bytes(value)?.ok() }
    }

    fn time(&mut self, key: u8, value: Timestamp, default: Timestamp) -> Written {
        if value == default { Ok(()) } else { self.key(key)?.encode(value)?.ok() }
    }

    fn entry(&mut self, entry: &Entry, shared: usize) -> Written {
        let meta = &entry.meta;
        self.number(key::SHARED, shared as u64, 0)?;
        self.bytes(key::SUFFIX, &entry.path[shared..])?;
        self.number(key::KIND, kind_of(&entry.node).into(), kind::FILE.into())?;
        self.number(key::MODE, meta.mode.into(), 0)?;
        self.number(key::UID, meta.uid.into(), 0)?;
        self.number(key::GID, meta.gid.into(), 0)?;
        self.time(key::MTIME, meta.mtime, Timestamp::default())?;
        self.time(key::CTIME, meta.ctime, meta.mtime)?;
        self.number(key::INODE, meta.inode, 0)?;
        self.number(key::LINKS, meta.links.into(), 1)?;
        if !meta.xattrs.is_empty() {
            self.key(key::XATTRS)?.encode(&meta.xattrs)?;
        }
        if let Some(first) = &entry.link_of {
            self.key(key::LINK_OF)?.bytes(first)?;
        }
        match &entry.node {
            Node::File(file) => self.file(file),
            Node::Symlink { target } => self.bytes(key::TARGET, target),
            Node::CharDevice { major, minor } | Node::BlockDevice { major, minor } => {
                self.key(key::DEVICE)?.array(2)?.u32(*major)?.u32(*minor)?.ok()
            }
            Node::Directory | Node::Fifo | Node::Socket => Ok(()),
        }
    }

    fn file(&mut self, file: &File) -> Written {
        self.number(key::SIZE, file.size, 0)?;
        if file.class != Class::default() {
            self.key(key::CLASS)?.encode(file.class)?;
        }
        match &file.content {
            Content::Inline(pieces) if pieces.is_empty() => {}
            Content::Inline(pieces) => encode_pieces(self.key(key::PIECES)?.array(2)?, pieces)?,
            Content::Tree { root, height, pieces } => {
                self.key(key::TREE)?.array(3)?.encode(root)?.u8(*height)?.u64(*pieces)?.ok()?;
            }
            Content::Missing => self.key(key::MISSING)?.bool(true)?.ok()?,
        }
        if file.racy {
            self.key(key::RACY)?.bool(true)?;
        }
        Ok(())
    }
}

fn kind_of(node: &Node) -> u8 {
    match node {
        Node::File(_) => kind::FILE,
        Node::Directory => kind::DIRECTORY,
        Node::Symlink { .. } => kind::SYMLINK,
        Node::Fifo => kind::FIFO,
        Node::Socket => kind::SOCKET,
        Node::CharDevice { .. } => kind::CHAR_DEVICE,
        Node::BlockDevice { .. } => kind::BLOCK_DEVICE,
    }
}

/// Appends two items: the lengths (a hole's is negative) and the ids of the chunks in one string.
pub(super) fn encode_pieces(e: &mut VecEncoder<'_>, pieces: &[Piece]) -> Written {
    e.array(pieces.len() as u64)?;
    for piece in pieces {
        match piece {
            Piece::Chunk { len, .. } => e.u32(*len)?,
            Piece::Hole { len } => e.i128(-i128::from(*len))?,
        };
    }
    let ids = || pieces.iter().filter_map(chunk_id);
    e.bytes_len((ChunkId::LEN * ids().count()) as u64)?;
    ids().for_each(|id| e.writer_mut().extend_from_slice(id.as_bytes()));
    Ok(())
}

fn chunk_id(piece: &Piece) -> Option<&ChunkId> {
    match piece {
        Piece::Chunk { id, .. } => Some(id),
        Piece::Hole { .. } => None,
    }
}

/// Reads what [`encode_pieces`] wrote.
pub(super) fn decode_pieces(d: &mut Decoder<'_>) -> Result<Vec<Piece>, DecodeError> {
    let count = array_len(d)?;
    let mut pieces = Vec::with_capacity(count);
    let mut chunks = 0;
    for _ in 0..count {
        let at = d.position();
        let wrong = || CborError::message("a piece has an impossible length").at(at);
        let len = i128::from(d.int()?);
        pieces.push(match len {
            1.. => {
                chunks += 1;
                let len = u32::try_from(len).map_err(|_| wrong())?;
                Piece::Chunk { id: ChunkId::from_bytes([0; ChunkId::LEN]), len }
            }
            0 => return Err(wrong().into()),
            _ => Piece::Hole { len: u64::try_from(-len).map_err(|_| wrong())? },
        });
    }
    let at = d.position();
    let ids = d.bytes()?;
    if ids.len() != ChunkId::LEN * chunks {
        return Err(CborError::message("pieces and ids differ in number").at(at).into());
    }
    let mut ids = ids.chunks_exact(ChunkId::LEN).filter_map(ChunkId::from_slice);
    for piece in &mut pieces {
        if let Piece::Chunk { id, .. } = piece {
            *id = ids.next().ok_or(DecodeError::TooLarge)?;
        }
    }
    Ok(pieces)
}

/// Reads the head of an array of at most [`MAX_ITEMS`], each of which takes at least one byte.
pub(super) fn array_len(d: &mut Decoder<'_>) -> Result<usize, DecodeError> {
    let len = definite(d.array()?, d)?;
    if len > MAX_ITEMS as u64 || len > (d.input().len() - d.position()) as u64 {
        return Err(DecodeError::TooLarge);
    }
    Ok(len as usize)
}

/// Reads the head of an array of exactly `len` items.
pub(super) fn expect_array(d: &mut Decoder<'_>, len: u64) -> Result<(), DecodeError> {
    if definite(d.array()?, d)? == len {
        return Ok(());
    }
    Err(CborError::message("an array has an unexpected length").at(d.position()).into())
}

fn definite(len: Option<u64>, d: &Decoder<'_>) -> Result<u64, CborError> {
    len.ok_or_else(|| CborError::message("an indefinite length").at(d.position()))
}

/// Puts a front-coded path together.
pub(super) fn join_path(previous: &[u8], shared: u64, suffix: &[u8]) -> Result<PathBytes, DecodeError> {
    let fail = |fault| DecodeError::Entry { path: previous.to_vec(), fault };
    let prefix = usize::try_from(shared).ok().and_then(|shared| previous.get(..shared));
    let prefix = prefix.ok_or_else(|| fail(EntryFault::Path))?;
    if prefix.len() + suffix.len() > MAX_PATH_LEN {
        return Err(fail(EntryFault::PathLength));
    }
    Ok([prefix, suffix].concat())
}

/// An entry while its map is being read.
#[derive(Default)]
struct Draft<'b> {
    shared: u64,
    suffix: &'b [u8],
    kind: u8,
    meta: Meta,
    ctime: Option<Timestamp>,
    link_of: Option<&'b [u8]>,
    target: Option<&'b [u8]>,
    device: Option<(u32, u32)>,
    size: Option<u64>,
    class: Option<Class>,
    content: Option<Content>,
    racy: bool,
}

/// Reads one entry. `previous` is the path before it in the block, empty for the first one.
/// Also returns how many bytes of `previous` the path begins with.
pub(super) fn decode_entry(d: &mut Decoder<'_>, previous: &[u8]) -> Result<(Entry, usize), DecodeError> {
    let mut draft = Draft { meta: Meta { links: 1, ..Meta::default() }, ..Draft::default() };
    let mut next_key = 0;
    for _ in 0..definite(d.map()?, d)? {
        let key = d.u64()?;
        if key < next_key {
            return Err(DecodeError::KeyOrder(key));
        }
        // The last key there can be has no successor: it may stand twice, and is skipped both times.
        next_key = key.saturating_add(1);
        draft.field(key, d)?;
    }
    let path = join_path(previous, draft.shared, draft.suffix)?;
    let shared = path.len() - draft.suffix.len();
    let fail = |path: &PathBytes, fault| DecodeError::Entry { path: path.clone(), fault };
    draft.meta.ctime = draft.ctime.unwrap_or(draft.meta.mtime);
    let (meta, link_of) = (std::mem::take(&mut draft.meta), draft.link_of.map(<[u8]>::to_vec));
    let node = draft.node().map_err(|fault| fail(&path, fault))?;
    let entry = Entry { path, meta, node, link_of };
    validate(&entry).map_err(|fault| fail(&entry.path, fault))?;
    Ok((entry, shared))
}

impl<'b> Draft<'b> {
    fn field(&mut self, key: u64, d: &mut Decoder<'b>) -> Result<(), DecodeError> {
        // Keys that this version does not know are a newer version's: skipped.
        let Ok(key) = u8::try_from(key) else { return Ok(d.skip()?) };
        match key {
            key::SHARED => self.shared = d.u64()?,
            key::SUFFIX => self.suffix = d.bytes()?,
            key::KIND => self.kind = d.u8()?,
            key::MODE => self.meta.mode = d.u32()?,
            key::UID => self.meta.uid = d.u32()?,
            key::GID => self.meta.gid = d.u32()?,
            key::MTIME => self.meta.mtime = d.decode()?,
            key::CTIME => self.ctime = Some(d.decode()?),
            key::INODE => self.meta.inode = d.u64()?,
            key::LINKS => self.meta.links = d.u32()?,
            key::XATTRS => self.meta.xattrs = d.array_iter::<Xattr>()?.collect::<Result<_, _>>()?,
            key::LINK_OF => self.link_of = Some(d.bytes()?),
            key::TARGET => self.target = Some(d.bytes()?),
            key::DEVICE => {
                expect_array(d, 2)?;
                self.device = Some((d.u32()?, d.u32()?));
            }
            key::SIZE => self.size = Some(d.u64()?),
            key::CLASS => self.class = Some(d.decode()?),
            key::PIECES => {
                expect_array(d, 2)?;
                let pieces = decode_pieces(d)?;
                self.content(Content::Inline(pieces), d)?;
            }
            key::TREE => {
                expect_array(d, 3)?;
                let tree = Content::Tree { root: d.decode()?, height: d.u8()?, pieces: d.u64()? };
                self.content(tree, d)?;
            }
            key::MISSING => {
                if d.bool()? {
                    self.content(Content::Missing, d)?;
                }
            }
            key::RACY => self.racy = d.bool()?,
            _ => d.skip()?,
        }
        Ok(())
    }

    fn content(&mut self, content: Content, d: &Decoder<'_>) -> Result<(), CborError> {
        match self.content.replace(content) {
            None => Ok(()),
            Some(_) => Err(CborError::message("an entry has two contents").at(d.position())),
        }
    }

    fn node(mut self) -> Result<Node, EntryFault> {
        let node = match self.kind {
            kind::FILE => Node::File(File {
                size: self.size.take().unwrap_or_default(),
                class: self.class.take().unwrap_or_default(),
                content: self.content.take().unwrap_or_else(|| Content::Inline(Vec::new())),
                racy: std::mem::take(&mut self.racy),
            }),
            kind::DIRECTORY => Node::Directory,
            kind::SYMLINK => Node::Symlink { target: self.target.take().unwrap_or_default().to_vec() },
            kind::FIFO => Node::Fifo,
            kind::SOCKET => Node::Socket,
            kind::CHAR_DEVICE => {
                let (major, minor) = self.device.take().unwrap_or_default();
                Node::CharDevice { major, minor }
            }
            kind::BLOCK_DEVICE => {
                let (major, minor) = self.device.take().unwrap_or_default();
                Node::BlockDevice { major, minor }
            }
            unknown => return Err(EntryFault::Kind(unknown)),
        };
        let left = self.target.is_some() || self.device.is_some() || self.size.is_some() || self.class.is_some();
        if left || self.content.is_some() || self.racy {
            return Err(EntryFault::Field);
        }
        Ok(node)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::manifest::fixture::{chunk, entry, file, zoo};

    fn encoded(entry: &Entry) -> Vec<u8> {
        let mut out = Vec::new();
        encode_entry(&mut out, entry, 0);
        out
    }

    fn decoded(bytes: &[u8]) -> Result<Entry, DecodeError> {
        decode_entry(&mut Decoder::new(bytes), b"").map(|(entry, _)| entry)
    }

    fn fault(result: Result<Entry, DecodeError>) -> Option<EntryFault> {
        match result {
            Err(DecodeError::Entry { fault, .. }) => Some(fault),
            _ => None,
        }
    }

    fn times() -> impl Strategy<Value = Timestamp> {
        (any::<i64>(), 0..1_000_000_000u32).prop_map(|(seconds, nanos)| Timestamp { seconds, nanos })
    }

    fn contents() -> impl Strategy<Value = (u64, Content)> {
        let piece = prop_oneof![
            4 => (any::<u64>(), 1..=u32::MAX).prop_map(|(n, len)| chunk(n, len)),
            1 => (1..=1u64 << 50).prop_map(|len| Piece::Hole { len }),
        ];
        prop_oneof![
            4 => proptest::collection::vec(piece, 0..40)
                .prop_map(|pieces| (pieces.iter().map(Piece::len).sum(), Content::Inline(pieces))),
            1 => (any::<u64>(), any::<[u8; ChunkId::LEN]>(), 0..=MAX_HEIGHT, 1..=u64::MAX).prop_map(|(size, root, height, pieces)| {
                (size, Content::Tree { root: ChunkId::from_bytes(root), height, pieces })
            }),
            1 => any::<u64>().prop_map(|size| (size, Content::Missing)),
        ]
    }

    fn nodes() -> impl Strategy<Value = Node> {
        let class = prop_oneof![
            any::<u32>().prop_map(|page| Class::Pages { page }),
            Just(Class::Structured),
            Just(Class::Opaque),
        ];
        prop_oneof![
            4 => (contents(), class, any::<bool>())
                .prop_map(|((size, content), class, racy)| Node::File(File { size, class, content, racy })),
            1 => Just(Node::Directory),
            1 => any::<Vec<u8>>().prop_map(|target| Node::Symlink { target }),
            1 => Just(Node::Fifo),
            1 => Just(Node::Socket),
            1 => any::<(u32, u32)>().prop_map(|(major, minor)| Node::CharDevice { major, minor }),
            1 => any::<(u32, u32)>().prop_map(|(major, minor)| Node::BlockDevice { major, minor }),
        ]
    }

    fn entries() -> impl Strategy<Value = Entry> {
        let path = proptest::collection::vec(proptest::collection::vec(1..=255u8, 1..9), 0..4)
            .prop_map(|parts| parts.join(&b'/'))
            .prop_filter("a valid path", |path| is_valid_path(path));
        let xattrs = proptest::collection::btree_map(any::<Vec<u8>>(), any::<Vec<u8>>(), 0..4)
            .prop_map(|map| map.into_iter().map(|(name, value)| Xattr { name, value }).collect());
        let meta = (0..=0o7777u32, any::<(u32, u32, u64, u32)>(), times(), times(), xattrs).prop_map(
            |(mode, (uid, gid, inode, links), mtime, ctime, xattrs)| Meta {
                mode,
                uid,
                gid,
                mtime,
                ctime,
                inode,
                links,
                xattrs,
            },
        );
        (path, meta, nodes(), any::<bool>()).prop_map(|(path, meta, node, linked)| {
            let link_of = (linked && !path.is_empty()).then(PathBytes::new);
            Entry { path, meta, node, link_of }
        })
    }

    proptest! {
        #[test]
        fn every_entry_survives(entry in entries(), shared in any::<prop::sample::Index>()) {
            prop_assert_eq!(decoded(&encoded(&entry)).unwrap(), entry.clone());

            let shared = shared.index(entry.path.len() + 1);
            let mut out = Vec::new();
            encode_entry(&mut out, &entry, shared);
            let mut d = Decoder::new(&out);
            prop_assert_eq!(decode_entry(&mut d, &entry.path[..shared]).unwrap(), (entry, shared));
            prop_assert_eq!(d.position(), out.len());
        }

        #[test]
        fn cut_short_is_an_error(entry in entries(), at in any::<prop::sample::Index>()) {
            let bytes = encoded(&entry);
            prop_assert!(decoded(&bytes[..at.index(bytes.len())]).is_err());
        }
    }

    #[test]
    fn lengths_have_no_gap_at_the_ends() {
        let ends = vec![Piece::Hole { len: u64::MAX }, Piece::Hole { len: 1 }, chunk(0, u32::MAX), chunk(0, 1)];
        let mut out = Vec::new();
        append(&mut out, |e| encode_pieces(e, &ends));
        assert_eq!(decode_pieces(&mut Decoder::new(&out)).unwrap(), ends);
        for wrong in ["8100 40", "811b0000000100000000 5820", "8101 40", "8120 5801aa", "8101 411f", "9f01ff 40"] {
            let mut bytes = crate::manifest::block::tests::unhex(wrong);
            bytes.extend_from_slice(&[0; ChunkId::LEN]);
            assert!(decode_pieces(&mut Decoder::new(&bytes)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn unknown_keys_are_skipped_and_order_is_required() {
        let entry = entry("p", Node::Fifo);
        let mut bytes = encoded(&entry);
        bytes[0] += 2;
        bytes.extend_from_slice(&[0x18, 99, 0x82, 0x01, 0xa1, 0x02, 0x61, b'x']);
        bytes.extend_from_slice(&[0x1b, 255, 255, 255, 255, 255, 255, 255, 255, 0xf6]);
        assert_eq!(decoded(&bytes).unwrap(), entry);

        let twice = [0xa2, 0x03, 0x00, 0x03, 0x00];
        assert!(matches!(decoded(&twice), Err(DecodeError::KeyOrder(3))));
        let backwards = [0xa2, 0x04, 0x00, 0x03, 0x00];
        assert!(matches!(decoded(&backwards), Err(DecodeError::KeyOrder(3))));
    }

    #[test]
    fn what_may_not_be_is_neither_valid_nor_read() {
        let alter = |change: fn(&mut Entry)| {
            let mut entry = zoo()[4].clone();
            change(&mut entry);
            entry
        };
        let content = |entry: &mut Entry, content| match &mut entry.node {
            Node::File(file) => file.content = content,
            _ => unreachable!("the fourth is a file"),
        };
        let cases = [
            (alter(|entry| entry.path = b"a/../b".to_vec()), EntryFault::Path),
            (alter(|entry| entry.path = b"/etc".to_vec()), EntryFault::Path),
            (alter(|entry| entry.path = b"a\0".to_vec()), EntryFault::Path),
            (alter(|entry| entry.path = vec![b'x'; MAX_PATH_LEN + 1]), EntryFault::PathLength),
            (alter(|entry| entry.meta.mode = 0o10000), EntryFault::Mode),
            (alter(|entry| entry.meta.mtime.nanos = 1_000_000_000), EntryFault::Nanos),
            (alter(|entry| entry.meta.ctime.nanos = u32::MAX), EntryFault::Nanos),
            (alter(|entry| entry.meta.xattrs.reverse()), EntryFault::Xattrs),
            (alter(|entry| entry.meta.xattrs = vec![entry.meta.xattrs[0].clone(); 2]), EntryFault::Xattrs),
            (alter(|entry| entry.link_of = Some(entry.path.clone())), EntryFault::LinkOf),
            (alter(|entry| entry.link_of = Some(b"z".to_vec())), EntryFault::LinkOf),
            (alter(|entry| entry.link_of = Some(b"./a".to_vec())), EntryFault::LinkOf),
            (alter(|entry| entry.node = Node::File(File { size: 1, ..as_file(entry) })), EntryFault::Size),
            {
                let mut entry = file("f", vec![chunk(1, 1)]);
                let holes = vec![Piece::Hole { len: u64::MAX }, Piece::Hole { len: 2 }];
                content(&mut entry, Content::Inline(holes));
                (entry, EntryFault::Size)
            },
            {
                let mut entry = file("f", vec![chunk(1, 1)]);
                let root = ChunkId::from_bytes([1; ChunkId::LEN]);
                content(&mut entry, Content::Tree { root, height: MAX_HEIGHT + 1, pieces: 1 });
                (entry, EntryFault::Pieces)
            },
        ];
        for (entry, expected) in cases {
            assert_eq!(validate(&entry), Err(expected));
            assert_eq!(fault(decoded(&encoded(&entry))), Some(expected));
        }
    }

    fn as_file(entry: &Entry) -> File {
        match &entry.node {
            Node::File(file) => file.clone(),
            _ => unreachable!("only files are altered here"),
        }
    }

    #[test]
    fn fields_belong_to_kinds() {
        let directory_with_size = [0xa2, key::KIND, kind::DIRECTORY, key::SIZE, 1];
        assert_eq!(fault(decoded(&directory_with_size)), Some(EntryFault::Field));
        let file_with_target = [0xa1, key::TARGET, 0x41, b'x'];
        assert_eq!(fault(decoded(&file_with_target)), Some(EntryFault::Field));
        let unknown = [0xa1, key::KIND, 7];
        assert_eq!(fault(decoded(&unknown)), Some(EntryFault::Kind(7)));
        let two_contents = [0xa2, key::PIECES, 0x82, 0x80, 0x40, key::MISSING, 0xf5];
        assert!(matches!(decoded(&two_contents), Err(DecodeError::Cbor(_))));
    }
}
