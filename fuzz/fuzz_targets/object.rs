//! Sealed objects: nothing opens that was not sealed for us, and nothing that was changed since.
//!
//! Input: kind | what to do (1 byte) | where (4 bytes, little-endian) | plain bytes
#![no_main]

use icecore_format::seal::{Entropy, HEADER_LEN, ObjectKind, open_object, seal_object};
use icecore_fuzz::keys::{OPEN, SEAL};
use icecore_fuzz::meter::{justified, within};
use libfuzzer_sys::fuzz_target;

const KINDS: [ObjectKind; 7] = [
    ObjectKind::DataPack,
    ObjectKind::ManifestPack,
    ObjectKind::Fragment,
    ObjectKind::Snapshot,
    ObjectKind::Mark,
    ObjectKind::Session,
    ObjectKind::Annotation,
];

fuzz_target!(|data: &[u8]| {
    let Some(([kind, action, place @ ..], plain)) = data.split_first_chunk::<6>() else { return };
    let kind = KINDS[usize::from(*kind) % KINDS.len()];
    let place = u32::from_le_bytes(*place) as usize;

    let forged = within(justified(plain), || open_object(&OPEN, kind, plain));
    assert!(forged.is_err(), "a forged object opened");

    let object = seal_object(&SEAL, kind, Entropy([*action; 32]), plain);
    assert_eq!(open_object(&OPEN, kind, &object).as_deref(), Ok(plain));
    let mut changed = object.clone();
    let at = place % object.len();
    match action % 4 {
        0 => changed[at] ^= (action >> 2).max(1),
        1 => changed.truncate(at),
        2 => changed.insert(at, action >> 2),
        _ => changed.rotate_left(at.max(HEADER_LEN) - HEADER_LEN),
    }
    if changed != object {
        assert!(open_object(&OPEN, kind, &changed).is_err(), "a changed object opened");
    }
});
