//! Names of instances as names of directories, and back.
//!
//! An instance may be called by its path (`/srv/data`), or by what no directory can be called (`..`). So `/`, `%` and control
//! characters are written as `%` and two hexadecimal digits, and so are the dots of a name of dots alone.

use std::fmt::Write;

/// The name of the directory that stands for an instance: unlike that of any other.
pub fn escape(instance: &str) -> String {
    let is_dots = instance == "." || instance == "..";
    let mut name = String::with_capacity(instance.len());
    for character in instance.chars() {
        if character == '/' || character == '%' || character.is_ascii_control() || (is_dots && character == '.') {
            // Writing to a string does not fail.
            let _ = write!(name, "%{:02X}", character as u32);
        } else {
            name.push(character);
        }
    }
    // No repository holds an instance without a name, and no directory can be called so.
    if name.is_empty() { "%".to_owned() } else { name }
}

/// The instance that a directory stands for, if it does for any.
pub fn unescape(name: &str) -> Option<String> {
    let mut instance = String::with_capacity(name.len());
    let mut rest = if name == "%" { "" } else { name };
    while let Some((before, behind)) = rest.split_once('%') {
        instance.push_str(before);
        let code = behind.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(u8::is_ascii)?;
        instance.push(char::from(code));
        rest = &behind[2..];
    }
    instance.push_str(rest);
    // What is written otherwise than it would be here stands for nothing.
    (escape(&instance) == name).then_some(instance)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_name_has_a_directory_of_its_own() {
        let names = [
            "cust01",
            "/srv/data",
            "%2Fsrv%2Fdata",
            "",
            ".",
            "..",
            "...",
            "%",
            "%25",
            "a/b",
            "a/../b",
            "ä ö",
            "a\nb",
            "-x",
            "\x7f",
        ];
        let escaped: Vec<_> = names.iter().map(|name| escape(name)).collect();
        assert_eq!(escaped[..4], ["cust01", "%2Fsrv%2Fdata", "%252Fsrv%252Fdata", "%"]);
        assert_eq!(escaped[4..7], ["%2E", "%2E%2E", "..."]);
        assert_eq!(escaped.iter().collect::<HashSet<_>>().len(), names.len());
        for (name, escaped) in names.iter().zip(&escaped) {
            assert_eq!(unescape(escaped).as_deref(), Some(*name));
            assert!(!escaped.contains(['/', '\0', '\n']) && !["", ".", ".."].contains(&escaped.as_str()));
        }
        for strange in ["%2", "%zz", "%2f", "%61", "%C3", "a%", "%ä"] {
            assert_eq!(unescape(strange), None, "{strange}");
        }
    }
}
