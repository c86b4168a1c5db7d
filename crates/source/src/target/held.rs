//! What nobody may change, not even root, until somebody lifts that (`chattr +i`, `+a`): named, with the command that does.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::{Beside, Target, beneath, split};
use crate::os;

impl Target {
    /// Says why what was tried at `path` was refused, and what lifts it, if a flag of the entry or of its directory did.
    pub(super) fn explain(&self, path: &[u8], error: io::Error) -> io::Error {
        if !os::is_forbidden(&error) {
            return error;
        }
        let (above, name) = split(path);
        let Ok(parent) = self.parents.open(above) else { return error };
        let held = [(name, path), (b"", above)].into_iter().find_map(|(name, path)| Some((parent.held(name)?, path)));
        held.map_or(error, |(flag, path)| refusal(flag, &beneath(&self.path, path)))
    }
}

impl Beside {
    /// Why the exchange will be refused, if a flag of the directory or of the one above it does.
    pub(super) fn refusal(&self) -> Option<io::Error> {
        let above = self.path().parent()?;
        let name = self.path().strip_prefix(above).unwrap_or(Path::new("")).as_os_str();
        let places = [(name, self.path()), (OsStr::new(""), above)];
        places.into_iter().find_map(|(name, path)| Some(refusal(self.parent().held(name.as_bytes())?, path)))
    }
}

fn refusal(flag: char, path: &Path) -> io::Error {
    let what = if flag == 'i' { "immutable" } else { "append-only" };
    let path = path.display().to_string();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+,:@%".contains(&byte);
    let quoted = if path.bytes().all(is_plain) { path.clone() } else { format!("'{}'", path.replace('\'', r"'\''")) };
    let message = format!("{path} is {what}, and nobody may change it; lift that with: chattr -{flag} {quoted}");
    io::Error::new(io::ErrorKind::PermissionDenied, message)
}
