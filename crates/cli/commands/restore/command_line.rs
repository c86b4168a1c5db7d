//! The command that was typed, as it can be typed again.

use std::ffi::{OsStr, OsString};

/// The words, quoted for a shell where they need it.
pub fn quoted(words: &[OsString]) -> String {
    words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ")
}

/// The words without these options, each of which takes a value.
pub fn without(words: &[OsString], options: &[&str]) -> Vec<OsString> {
    let mut kept = Vec::with_capacity(words.len());
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let text = word.to_string_lossy();
        if options.contains(&text.as_ref()) {
            words.next();
        } else if !options.iter().any(|option| text.strip_prefix(option).is_some_and(|rest| rest.starts_with('='))) {
            kept.push(word.clone());
        }
    }
    kept
}

fn quote(word: &OsStr) -> String {
    let text = word.to_string_lossy();
    let is_plain = |c: char| c.is_alphanumeric() || "-_./=:,@%+~".contains(c);
    match !text.is_empty() && text.chars().all(is_plain) && !text.starts_with('~') {
        true => text.into_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_can_be_typed_again() {
        let words = ["icecore", "restore", "wiki@2026-11-20 02:00", "--to", "/a b", "--root=x=/it's", "--root", "y=/z"];
        let words = words.map(OsString::from);
        assert_eq!(
            quoted(&words),
            r"icecore restore 'wiki@2026-11-20 02:00' --to '/a b' '--root=x=/it'\''s' --root y=/z"
        );
        assert_eq!(quoted(&without(&words, &["--to", "--root"])), "icecore restore 'wiki@2026-11-20 02:00'");
    }
}
