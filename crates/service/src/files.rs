//! Files that are replaced as a whole.

use std::io::{self, Write as _};
use std::path::Path;

/// Puts a file of `bytes` in the place of whatever stands at `path`: readers see the old one or the new one, whole.
///
/// # Errors
/// Those of the file system; then the old one stays, and nothing is left beside it.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    // Not by the suffix of the file: a collector of metrics would read it.
    builder.prefix(".icecore-").suffix(".tmp");
    permit(&mut builder, mode);
    let mut file = builder.tempfile_in(directory)?;
    file.write_all(bytes)?;
    // Otherwise a crash may leave an empty file under the name.
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

#[cfg(unix)]
fn permit(builder: &mut tempfile::Builder<'_, '_>, mode: u32) {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;
    builder.permissions(Permissions::from_mode(mode));
}

#[cfg(not(unix))]
fn permit(_: &mut tempfile::Builder<'_, '_>, _: u32) {}
