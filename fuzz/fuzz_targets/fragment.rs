//! An index fragment.
#![no_main]

use icecore_format::fragment::Fragment;
use icecore_fuzz::meter::{justified, within};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(fragment) = within(justified(data), || Fragment::decode(data)) else { return };
    for pack in &fragment.packs {
        for (ordinal, frame) in pack.frames.iter().enumerate() {
            let end = pack.frame_offset(ordinal as u32) + u64::from(frame.stored_len);
            assert!(end <= pack.footer_offset() && end < pack.size, "a frame outside its pack");
            let chunks: u64 = frame.chunks.iter().map(|chunk| u64::from(chunk.len)).sum();
            assert_eq!(chunks, u64::from(frame.plain_len));
        }
    }
    assert_eq!(Fragment::decode(&fragment.encode()).expect("what was encoded"), fragment);
});
