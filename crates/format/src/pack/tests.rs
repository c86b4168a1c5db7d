//! Packs as a whole: built, opened, damaged.

use proptest::prelude::*;

use super::info::Footer;
use super::*;
use crate::frame::{Decoder, Encoder, Encoding, Frame, FrameChunk, MAX_FRAME_LEN};
use crate::id::{ChunkId, RepositoryId};
use crate::seal::{self, Entropy, HEADER_LEN, OpenKey, SealKey};

fn keys() -> (SealKey, OpenKey) {
    let repository = RepositoryId::from_bytes([0x11; 32]);
    let private = [0x33; 32];
    let public = seal::public_of(&private).unwrap();
    (SealKey::new(repository, public, [0x22; 32]), OpenKey::new(repository, private, [0x22; 32]).unwrap())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn chunk(bytes: &[u8]) -> FrameChunk {
    FrameChunk { id: ChunkId::of_hash(&blake3::hash(bytes)), len: bytes.len() as u32 }
}

fn frame(chunks: &[Vec<u8>], compress: bool) -> Frame {
    let plain = chunks.concat();
    let (encoding, stored) = Encoder::new(3).unwrap().encode(&plain, compress, Vec::new());
    Frame { encoding, plain_len: plain.len() as u32, stored, chunks: chunks.iter().map(|bytes| chunk(bytes)).collect() }
}

fn pack(kind: PackKind, frames: &[Frame]) -> SealedPack {
    let mut builder = PackBuilder::new(kind, &keys().0, Entropy([0x44; 32]), b"recycled".to_vec());
    for frame in frames {
        assert!(builder.push(frame.clone()).is_empty());
    }
    assert_eq!(builder.is_empty(), frames.is_empty());
    builder.finish()
}

/// What a rebuild of the index does: trailer, then footer.
fn read_info(kind: PackKind, id: PackId, bytes: &[u8]) -> Result<PackInfo, PackError> {
    let opener = PackOpener::new(&keys().1, kind, bytes)?;
    let mut trailer = bytes[bytes.len().saturating_sub(TRAILER_LEN)..].to_vec();
    let range = opener.footer_range(bytes.len() as u64, &mut trailer)?;
    opener.read_footer(id, bytes.len() as u64, &mut bytes[range.start as usize..range.end as usize].to_vec())
}

/// What a restore does: the frames, by what the index says.
fn read_frames(info: &PackInfo, bytes: &[u8]) -> Result<Vec<Vec<u8>>, PackError> {
    let opener = PackOpener::new(&keys().1, info.kind, bytes)?;
    let mut decoder = Decoder::new().unwrap();
    let mut frames = Vec::new();
    for (ordinal, frame) in (0..).zip(&info.frames) {
        let from = info.frame_offset(ordinal) as usize;
        let mut sealed = bytes[from..from + frame.stored_len as usize].to_vec();
        let mut plain = Vec::new();
        let stored = opener.open_frame(ordinal, &mut sealed)?;
        decoder.decode(frame.encoding, stored, frame.plain_len, &mut plain).unwrap();
        frames.push(plain);
    }
    Ok(frames)
}

fn two_frames() -> Vec<Frame> {
    // The second frame's bytes are fixed, because another release of zstd may write others.
    let stored =
        b"\x28\xb5\x2f\xfd\x60\x00\x01\x7d\x00\x00\x40\x69\x63\x65\x63\x6f\x72\x65\x20\x01\x00\xf5\x53\x0b\x17";
    let plain = b"icecore ".repeat(64);
    let second = Frame {
        encoding: Encoding::Zstd,
        plain_len: 512,
        stored: stored.to_vec(),
        chunks: vec![chunk(&plain[..500]), chunk(&plain[500..])],
    };
    vec![frame(&[b"ice".to_vec()], false), second]
}

#[test]
fn golden_pack() {
    let pack = pack(PackKind::Data, &two_frames());
    assert_eq!(pack.bytes.len(), 40 + (3 + 16) + (25 + 16) + (82 + 16) + 24);
    assert_eq!(pack.info.id.to_string(), "13ea7183dae20ee0831820df0c05775933f4a33a990b6efd09bc83665e2745be");
    assert_eq!(blake3::hash(&pack.bytes).as_bytes(), pack.info.id.as_bytes());
    let footer = Footer { kind: PackKind::Data, frames: pack.info.frames.clone() };
    assert_eq!(
        hex(&minicbor::to_vec(&footer).unwrap()),
        "a200010182840013549de4f08d09f2ea0d68db13d211cd83669541f53b81038401182958287e1f059709071130c6746f61f62c9edcc01062a2ccf34e13ac78c9b168e27bd1a3db0b68d276e86d821901f40c"
    );
    assert_eq!(read_frames(&pack.info, &pack.bytes).unwrap(), [b"ice".to_vec(), b"icecore ".repeat(64)]);
}

#[test]
fn an_empty_pack_round_trips() {
    let pack = pack(PackKind::Manifest, &[]);
    assert_eq!(read_info(PackKind::Manifest, pack.info.id, &pack.bytes).unwrap(), pack.info);
}

#[test]
fn a_pack_is_opened_only_as_what_it_is() {
    let pack = pack(PackKind::Data, &two_frames());
    assert!(matches!(
        PackOpener::new(&keys().1, PackKind::Manifest, &pack.bytes),
        Err(PackError::Open { part: "header", source: SealError::WrongKind { .. } })
    ));
    // Frames swapped: each is sealed with its place.
    let opener = PackOpener::new(&keys().1, PackKind::Data, &pack.bytes).unwrap();
    let first = &pack.bytes[HEADER_LEN..][..pack.info.frames[0].stored_len as usize];
    assert!(opener.open_frame(0, &mut first.to_vec()).is_ok());
    assert!(matches!(
        opener.open_frame(1, &mut first.to_vec()),
        Err(PackError::Frame { ordinal: 1, source: SealError::Damaged })
    ));
}

#[test]
fn every_flipped_bit_and_every_cut_is_noticed() {
    let pack = pack(PackKind::Data, &two_frames());
    for at in 0..pack.bytes.len() {
        let mut damaged = pack.bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        let frames = read_frames(&pack.info, &damaged);
        let info = read_info(PackKind::Data, pack.info.id, &damaged);
        assert!(frames.is_err() || info.is_err(), "byte {at}");
        let body = HEADER_LEN as u64..pack.info.footer_offset();
        assert_eq!(info.is_err(), !body.contains(&(at as u64)), "byte {at}");
        assert!(read_info(PackKind::Data, pack.info.id, &pack.bytes[..at]).is_err(), "cut at {at}");
    }
    let longer = [&pack.bytes[..], &[0]].concat();
    assert!(read_info(PackKind::Data, pack.info.id, &longer).is_err());
}

#[test]
fn a_footer_that_does_not_fill_its_pack_is_refused() {
    let pack = pack(PackKind::Data, &two_frames());
    let opener = PackOpener::new(&keys().1, PackKind::Data, &pack.bytes).unwrap();
    let size = pack.bytes.len() as u64;
    let trailer = || pack.bytes[pack.bytes.len() - TRAILER_LEN..].to_vec();
    assert_eq!(
        opener.footer_range(size, &mut trailer()).unwrap(),
        pack.info.footer_offset()..size - TRAILER_LEN as u64
    );
    for size in [0, TRAILER_LEN as u64, size - pack.info.footer_offset() + HEADER_LEN as u64 - 1] {
        assert!(matches!(opener.footer_range(size, &mut trailer()), Err(PackError::NoRoom { .. })), "{size}");
    }
    let footer = &pack.bytes[pack.info.footer_offset() as usize..pack.bytes.len() - TRAILER_LEN];
    for size in [size - 1, size + 1, u64::MAX] {
        let result = opener.read_footer(pack.info.id, size, &mut footer.to_vec());
        assert!(matches!(result, Err(PackError::Inconsistent { .. })), "{size}");
    }
}

#[test]
fn contradictions_are_found() {
    let good = pack(PackKind::Data, &two_frames()).info;
    good.validate().unwrap();
    type Spoil = fn(&mut PackInfo);
    let cases: [(&str, Spoil); 10] = [
        ("a chunk is empty", |info| info.frames[0].chunks[0].len = 0),
        ("not as long as the frame", |info| info.frames[0].chunks[0].len = 4),
        ("not as long as the frame", |info| info.frames[1].chunks[0].len = u32::MAX),
        ("a frame is empty", |info| {
            info.frames[0].chunks.clear();
            info.frames[0].plain_len = 0;
        }),
        ("too long", |info| {
            info.frames[1].chunks[0].len = MAX_FRAME_LEN;
            info.frames[1].plain_len = MAX_FRAME_LEN + 12;
        }),
        ("shorter than its tag", |info| info.frames[1].stored_len = 16),
        ("shorter than its tag", |info| info.frames[1].stored_len = 0),
        ("raw frame", |info| info.frames[0].stored_len += 1),
        ("compressed frame", |info| info.frames[1].stored_len = 512 + 16),
        ("longer than the pack", |info| info.size = info.footer_offset() + 39),
    ];
    for (expected, spoil) in cases {
        let mut info = good.clone();
        spoil(&mut info);
        let error = info.validate().unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_footer_allocates_no_more_than_it_is_long() {
    // A frame that announces 2^32 - 1 ids, an array of 2^64 - 1 frames, and the like.
    for bytes in [
        &b"\xa2\x00\x01\x01\x81\x84\x00\x18\x20\x5a\xff\xff\xff\xff"[..],
        b"\xa2\x00\x01\x01\x9b\xff\xff\xff\xff\xff\xff\xff\xff\x84",
        b"\xa2\x00\x01\x01\x81\x84\x00\x18\x20\x40\x9b\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\xa2\x00\x01\x01\x81\x9b\xff\xff\xff\xff\xff\xff\xff\xff\x00\x18\x20\x40\x80",
        b"\xa2\x00\x01\x01\x81\x9f\x00\x18\x20\x40\x80\xff",
        b"\xa1\x00\x01",
        b"",
    ] {
        assert!(decode_whole::<Footer>(bytes).is_err(), "{}", hex(bytes));
    }
    // What a later version adds is passed over; what follows the end is not.
    let later = b"\xa3\x00\x01\x01\x81\x85\x00\x18\x20\x40\x80\x82\x01\x02\x07\x63new";
    assert_eq!(decode_whole::<Footer>(later).unwrap().frames.len(), 1);
    assert!(decode_whole::<Footer>(&[&later[..], &[0]].concat()).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn packs_round_trip(
        content in prop::collection::vec(
            (prop::collection::vec(prop::collection::vec(0u8..8, 1..200), 1..5), any::<bool>()),
            0..6,
        ),
        manifest: bool,
    ) {
        let kind = if manifest { PackKind::Manifest } else { PackKind::Data };
        let frames: Vec<_> = content.iter().map(|(chunks, compress)| frame(chunks, *compress)).collect();
        let pack = pack(kind, &frames);
        pack.info.validate().unwrap();
        prop_assert_eq!(pack.info.size, pack.bytes.len() as u64);
        prop_assert_eq!(&read_info(kind, pack.info.id, &pack.bytes).unwrap(), &pack.info);
        let plain: Vec<_> = content.iter().map(|(chunks, _)| chunks.concat()).collect();
        prop_assert_eq!(read_frames(&pack.info, &pack.bytes).unwrap(), plain);
        let encoded = minicbor::to_vec(&pack.info).unwrap();
        prop_assert_eq!(decode_whole::<PackInfo>(&encoded).unwrap(), pack.info);
    }

    #[test]
    fn no_footer_panics(mut bytes in prop::collection::vec(any::<u8>(), 0..300), at: prop::sample::Index, byte: u8) {
        let _ = decode_whole::<Footer>(&bytes);
        let _ = PackOpener::new(&keys().1, PackKind::Data, &bytes);
        // One byte wrong in a good description: it is refused, or stands for another that validates or not.
        bytes = minicbor::to_vec(pack(PackKind::Data, &two_frames()).info).unwrap();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(info) = decode_whole::<PackInfo>(&bytes) {
            let _ = info.validate();
        }
    }
}
