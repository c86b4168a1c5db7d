//! Files that are replaced as a whole.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

/// Puts a file of `bytes` in the place of whatever stands at `path`: readers see the old one or the new one, whole.
///
/// # Errors
/// Those of the file system; then the old one stays, and nothing is left beside it.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Not by the suffix of the file: a collector of metrics would read it.
    let mut file = tempfile::Builder::new().prefix(".icecore-").suffix(".tmp").tempfile_in(directory)?;
    file.write_all(bytes)?;
    permit(file.as_file(), mode)?;
    // Otherwise a crash may leave an empty file under the name.
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

#[cfg(unix)]
fn permit(file: &File, mode: u32) -> io::Result<()> {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;
    // Whatever the umask is.
    file.set_permissions(Permissions::from_mode(mode))
}

#[cfg(not(unix))]
fn permit(_: &File, _: u32) -> io::Result<()> {
    Ok(())
}
