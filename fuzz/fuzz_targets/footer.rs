//! Footers and trailers of packs, sealed as their writer would.
//!
//! Input: kind of pack (1 byte) | size of the pack (8 bytes) | length of its footer (8 bytes, both little-endian) | footer
#![no_main]

use std::sync::LazyLock;

use icecore_format::fragment::Fragment;
use icecore_format::id::PackId;
use icecore_format::pack::{FrameInfo, PackKind, PackOpener, TRAILER_LEN};
use icecore_format::seal::{Entropy, HEADER_LEN, ObjectKey, Segment};
use icecore_fuzz::keys::{OPEN, SEAL};
use icecore_fuzz::meter::{justified, within};
use libfuzzer_sys::fuzz_target;

/// As much of a footer as is needed to tell how large its pack would be.
#[derive(minicbor::Decode)]
#[cbor(map)]
struct Frames {
    #[n(1)]
    frames: Vec<FrameInfo>,
}

/// Agreeing on a key takes a thousand times as long as reading a footer.
static PACKS: LazyLock<[(PackKind, ObjectKey, PackOpener); 2]> = LazyLock::new(|| {
    [PackKind::Data, PackKind::Manifest].map(|kind| {
        let (header, key) = SEAL.begin(kind.into(), Entropy([7; 32]));
        (kind, key, PackOpener::new(&OPEN, kind, &header).expect("the header is right"))
    })
});

fuzz_target!(|data: &[u8]| {
    let Some(([kind], rest)) = data.split_first_chunk::<1>() else { return };
    let Some((size, rest)) = rest.split_first_chunk::<8>() else { return };
    let Some((length, plain)) = rest.split_first_chunk::<8>() else { return };
    let (kind, key, opener) = &PACKS[usize::from(kind % 2)];

    let size = u64::from_le_bytes(*size);
    let trailer = u64::from_le_bytes(*length).to_be_bytes();
    if let Ok(range) = opener.footer_range(size, &mut sealed(key, Segment::Trailer, &trailer)) {
        assert!(range.start >= HEADER_LEN as u64 && range.start < range.end);
        assert_eq!(range.end + TRAILER_LEN as u64, size);
    }

    let mut footer = sealed(key, Segment::Footer, plain);
    let id = PackId::from_bytes([9; 32]);
    let size = minicbor::decode(plain).map_or(size, |Frames { frames }| {
        let body: u64 = frames.iter().map(|frame| u64::from(frame.stored_len)).sum();
        (HEADER_LEN + footer.len() + TRAILER_LEN) as u64 + body
    });
    let read = within(justified(plain), || opener.read_footer(id, size, &mut footer));
    let Ok(info) = read else { return };
    info.validate().expect("what a footer says can be true");
    assert_eq!((info.id, info.kind, info.size), (id, *kind, size));
    let fragment = Fragment::of(vec![info]);
    assert_eq!(Fragment::decode(&fragment.encode()).expect("a fragment says the same"), fragment);
});

fn sealed(key: &ObjectKey, segment: Segment, plain: &[u8]) -> Vec<u8> {
    let mut bytes = plain.to_vec();
    key.seal(segment, 0, &mut bytes, 0);
    bytes
}
