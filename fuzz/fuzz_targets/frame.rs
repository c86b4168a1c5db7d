//! A frame: arbitrary bytes decoded, and arbitrary bytes encoded and decoded again.
//!
//! Input: encoding (1 byte) | length of the plain bytes (4 bytes, little-endian) | stored bytes
#![no_main]

use std::cell::RefCell;

use icecore_format::frame::{Decoder, Encoder, Encoding, MAX_FRAME_LEN};
use icecore_format::seal::TAG_LEN;
use icecore_fuzz::meter::within;
use libfuzzer_sys::fuzz_target;

thread_local! {
    static ZSTD: RefCell<(Encoder, Decoder)> =
        RefCell::new((Encoder::new(3).expect("level 3"), Decoder::new().expect("a decoder")));
}

fuzz_target!(|data: &[u8]| {
    let Some(([encoding, plain_len @ ..], bytes)) = data.split_first_chunk::<5>() else { return };
    let plain_len = u32::from_le_bytes(*plain_len);
    ZSTD.with_borrow_mut(|(encoder, decoder)| {
        let mut plain = Vec::new();
        if let Some(encoding) = Encoding::from_u8(*encoding) {
            let limit = plain_len.min(MAX_FRAME_LEN) as usize + 1024;
            if within(limit, || decoder.decode(encoding, bytes, plain_len, &mut plain)).is_ok() {
                assert_eq!(plain.len(), plain_len as usize);
            }
        }
        let (encoding, stored) = encoder.encode(bytes, encoding % 2 == 1, Vec::new());
        assert!(stored.len() <= bytes.len() && stored.capacity() >= stored.len() + TAG_LEN);
        decoder.decode(encoding, &stored, bytes.len() as u32, &mut plain).expect("what was encoded");
        assert_eq!(plain, bytes);
    });
});
