//! Names that a store lists: whatever a remote store says, a key is safe as a path below any root.
#![no_main]

use icecore_store::Key;
use icecore_store::key::check_directory;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(key) = Key::new(text) else { return };
    assert_eq!(key.as_str(), text);
    assert_eq!(key.to_string().parse(), Ok(key.clone()));
    assert!(!text.contains("..") && !text.starts_with('/') && !text.ends_with('/') && !text.contains('\\'));
    assert!(text.len() <= 200 && text.is_ascii());
    assert!(key.is_below("") && check_directory(text).is_ok());
    match key.parent() {
        Some(parent) => assert!(key.is_below(parent) && [parent, key.name()].join("/") == text),
        None => assert_eq!(key.name(), text),
    }
});
