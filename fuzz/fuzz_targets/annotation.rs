//! An annotation of a snapshot.
#![no_main]

use icecore_format::annotation::Annotation;
use icecore_fuzz::meter::{justified, within};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(annotation) = within(justified(data), || Annotation::decode(data)) else { return };
    annotation.check().expect("what was read may be written");
    assert_eq!(Annotation::decode(&annotation.encode()).expect("what was encoded"), annotation);
    let mut tags = vec!["a".to_owned()];
    annotation.tags.iter().for_each(|change| change.apply(&mut tags));
});
