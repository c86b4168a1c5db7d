//! A snapshot record.
#![no_main]

use icecore_format::snapshot::Snapshot;
use icecore_fuzz::meter::{justified, within};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(snapshot) = within(justified(data), || Snapshot::decode(data)) else { return };
    let bytes = snapshot.encode().expect("decoded records are valid");
    assert_eq!(Snapshot::decode(&bytes).expect("what was encoded"), snapshot);
});
