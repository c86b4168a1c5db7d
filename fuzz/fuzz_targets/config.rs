//! A repository's configuration: as it is found, and with a right tag behind it.
#![no_main]

use icecore_format::config::{Config, ConfigError};
use icecore_fuzz::keys::OWNER;
use icecore_fuzz::meter::{justified, within};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(found) = within(justified(data), || Config::decode(data)) {
        assert!(matches!(found.verify(&OWNER), Err(ConfigError::Unauthentic)), "a forged tag");
    }

    let mut object = [b"ICECORE\n", data].concat();
    object.extend(OWNER.authenticate("config", &object));
    let Ok(found) = Config::decode(&object) else { return };
    let config = found.verify(&OWNER).expect("the tag is right");
    config.validate().expect("decoded configurations are valid");
    let again = Config::decode(&config.encode(&OWNER)).expect("what was encoded").verify(&OWNER).expect("its tag");
    assert_eq!(again, config);
});
