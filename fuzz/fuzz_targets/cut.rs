//! Cutting: live files are foreign bytes, too.
//!
//! Input: class (1 byte) | page size (4 bytes, little-endian) | bytes read at a time (1 byte) | content
#![no_main]

use icecore_format::cut::{Cdc, CutParams, Cutter, detect};
use icecore_format::entry::Class;
use libfuzzer_sys::fuzz_target;

/// The smallest there are, so that short inputs have many cuts.
const PARAMS: CutParams = CutParams {
    pages: 512,
    structured: Cdc { min: 64, average: 256, max: 1024 },
    opaque: Cdc { min: 128, average: 512, max: 2048 },
};

fuzz_target!(|data: &[u8]| {
    let Some(([class, page @ .., step], content)) = data.split_first_chunk::<6>() else { return };
    let class = match class % 3 {
        0 => Class::Pages { page: u32::from_le_bytes(*page) },
        1 => Class::Structured,
        _ => Class::Opaque,
    };
    let head = &content[..content.len().min(4096)];
    if let Class::Pages { page } = detect(head, &content[content.len() / 2..]) {
        assert!(page.is_power_of_two() && (512..=65536).contains(&page));
    }

    let cutter = Cutter::new(class, &PARAMS);
    let (mut start, mut end) = (0, 0);
    while start < content.len() {
        let rest = &content[start..];
        let len = cutter.next(rest, start as u64, true).expect("the last bytes always make a chunk");
        assert!((1..=cutter.max_chunk().min(rest.len())).contains(&len), "a cut outside the data");
        // However the file is read, the cut is the same.
        let seen = loop {
            end = end.clamp(start, content.len());
            match cutter.next(&content[start..end], start as u64, end == content.len()) {
                Some(len) => break len,
                None => end += usize::from(*step).max(1),
            }
        };
        assert_eq!(seen, len, "the cut depends on how the file was read");
        start += len;
    }
    assert_eq!(start, content.len());
});
