//! The file that holds the administrator's password.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use zeroize::Zeroizing;

use crate::freezer::{FreezeError, FreezeErrorKind};

/// More bytes than any password has.
const LONGEST: u64 = 4096;

/// Reads the password: the file without the line ending at its end.
pub(super) fn read(file: &Path) -> Result<Zeroizing<Vec<u8>>, FreezeError> {
    let unusable = |reason: String| {
        let message = format!("The password file {} cannot be used: {reason}.", file.display());
        FreezeError::new(FreezeErrorKind::Unauthorized, message)
    };
    // At once in its full size: growing would leave copies behind.
    let mut password = Zeroizing::new(Vec::with_capacity(LONGEST as usize + 1));
    let opened = File::open(file).map_err(|e| unusable(e.to_string()))?;
    opened.take(LONGEST + 1).read_to_end(&mut password).map_err(|e| unusable(e.to_string()))?;
    if password.len() as u64 > LONGEST {
        return Err(unusable(format!("it is longer than {LONGEST} bytes")));
    }
    if password.last() == Some(&b'\n') {
        password.pop();
    }
    if password.last() == Some(&b'\r') {
        password.pop();
    }
    if password.is_empty() {
        return Err(unusable("it is empty".into()));
    }
    Ok(password)
}

/// Whether others than its owner may do anything with the file; not if it cannot be told.
pub(super) fn is_open_to_others(file: &Path) -> bool {
    let stat = File::open(file).and_then(|file| crate::os::file_stat(&file));
    stat.is_ok_and(|stat| stat.mode & 0o077 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_ending_is_not_part_of_a_password() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("password");
        for (written, meant) in [("secret", "secret"), ("secret\n", "secret"), ("a b\r\n", "a b"), ("x\n\n", "x\n")] {
            std::fs::write(&file, written).unwrap();
            assert_eq!(read(&file).unwrap().as_slice(), meant.as_bytes());
        }
    }

    #[test]
    fn what_cannot_be_a_password_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("password");
        let missing = read(&file).unwrap_err();
        assert!(missing.message.contains(file.to_str().unwrap()), "{missing}");
        for content in [String::new(), "\n".into(), "x".repeat(5000)] {
            std::fs::write(&file, content).unwrap();
            read(&file).unwrap_err();
        }
    }
}
