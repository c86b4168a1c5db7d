//! A key slot.
#![no_main]

use icecore_format::keys::{Kdf, KeyError, Secret, Slot};
use icecore_format::seal::Entropy;
use icecore_fuzz::keys::REPOSITORY;
use icecore_fuzz::meter::{justified, within};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(slot) = within(justified(data), || Slot::decode(data)) else { return };
    assert_eq!(slot.encode(), data);
    // Argon2id takes its time, so only the quick derivation is tried.
    if slot.kdf() == Kdf::Direct {
        let guess = Secret::generate(Entropy([0xEE; 32]));
        assert!(matches!(slot.open(&guess, REPOSITORY), Err(KeyError::WrongSecret)), "a guess opened a slot");
    }
});
