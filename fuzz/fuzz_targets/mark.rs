//! A prune mark.
#![no_main]

use icecore_format::mark::Mark;
use icecore_fuzz::meter::{justified, within};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(mark) = within(justified(data), || Mark::decode(data)) else { return };
    assert!(!mark.packs.is_empty() && mark.packs.is_sorted_by(|a, b| a < b) && mark.at <= mark.until);
    assert_eq!(Mark::decode(&mark.encode()).expect("what was encoded"), mark);
});
