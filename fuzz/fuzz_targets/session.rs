//! The record of a session.
#![no_main]

use icecore_format::session::SessionRecord;
use icecore_fuzz::meter::{justified, within};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(record) = within(justified(data), || SessionRecord::decode(data)) else { return };
    assert_eq!(SessionRecord::decode(&record.encode()).expect("what was encoded"), record);
});
