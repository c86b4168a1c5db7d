//! Names of objects, validated at the door: what a [`Key`] holds is safe as a path below any root.

use std::fmt;
use std::str::FromStr;

/// The longest key in bytes: short enough for every file system and object store once a root stands in front.
pub const MAX_KEY_LEN: usize = 200;

/// The most segments a key may have.
pub const MAX_SEGMENTS: usize = 4;

/// The first segment that stores keep for themselves: no object stands below it.
pub const RESERVED: &str = "tmp";

/// A text that is not the name of an object or directory.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a key: expected 1 to {MAX_SEGMENTS} segments of a-z, 0-9 and '-' between slashes, \
     at most {MAX_KEY_LEN} bytes, not below \"{RESERVED}\""
)]
pub struct InvalidKey(String);

/// The name of an object, such as `packs/3f/3f5a…`.
///
/// No key is the directory of another: a store refuses to put `a/b` beside `a`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(String);

impl Key {
    /// Takes a text that follows the rules of [`InvalidKey`]'s message.
    pub fn new(text: &str) -> Result<Self, InvalidKey> {
        if is_valid(text) { Ok(Self(text.to_owned())) } else { Err(InvalidKey::quoting(text)) }
    }

    /// The whole name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The directory it stands in, `None` at the root.
    pub fn parent(&self) -> Option<&str> {
        self.0.rsplit_once('/').map(|(directory, _)| directory)
    }

    /// The last segment.
    pub fn name(&self) -> &str {
        self.0.rsplit_once('/').map_or(&self.0, |(_, name)| name)
    }

    /// Whether it stands below `directory`, at any depth; everything stands below the root, `""`.
    pub fn is_below(&self, directory: &str) -> bool {
        directory.is_empty() || self.0.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'))
    }
}

/// Refuses what cannot be the directory of a [`Key`]; the root is `""`.
pub fn check_directory(text: &str) -> Result<(), InvalidKey> {
    if text.is_empty() || is_valid(text) { Ok(()) } else { Err(InvalidKey::quoting(text)) }
}

impl InvalidKey {
    fn quoting(text: &str) -> Self {
        Self(text.chars().take(MAX_KEY_LEN).collect())
    }
}

fn is_valid(text: &str) -> bool {
    let segment = |s: &str| !s.is_empty() && s.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'));
    text.len() <= MAX_KEY_LEN
        && text.split('/').count() <= MAX_SEGMENTS
        && text.split('/').all(segment)
        && text.split('/').next() != Some(RESERVED)
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Key {
    type Err = InvalidKey;
    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        Self::new(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_know_their_place() {
        let key = Key::new("packs/3f/3f00-a").unwrap();
        assert_eq!((key.parent(), key.name()), (Some("packs/3f"), "3f00-a"));
        assert!(key.is_below("packs") && key.is_below("packs/3f") && key.is_below(""));
        assert!(!key.is_below("pack") && !key.is_below("packs/3") && !key.is_below("packs/3f/3f00-a"));
        let top = Key::new("config").unwrap();
        assert_eq!((top.parent(), top.name()), (None, "config"));
    }

    #[test]
    fn hostile_names_are_refused() {
        let long = "a".repeat(MAX_KEY_LEN);
        assert!(Key::new(&long).is_ok());
        let names = [
            "",
            "/",
            "/a",
            "a/",
            "a//b",
            ".",
            "..",
            "a/..",
            "../a",
            "a/./b",
            "A",
            "a b",
            "a\0",
            "a\\b",
            "c:",
            "ä",
            "a_b",
            "a.b",
            "tmp",
            "tmp/a",
            "a/b/c/d/e",
            "a\n",
            &format!("{long}a"),
            "aux.txt",
            "%2e%2e",
        ];
        for name in names {
            assert!(Key::new(name).is_err(), "{name:?}");
            assert_eq!(check_directory(name).is_ok(), name.is_empty(), "{name:?}");
        }
        assert!(Key::new("a/tmp").is_ok(), "reserved only at the root");
    }
}
