//! The directory that is mounted at: whether it may be, and taking a mount away.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::io::Errno;
use rustix::mount::UnmountFlags;

use crate::{Ended, Error, Result};

/// What mounts are called in the list of mounts.
pub const SOURCE: &str = "icecore";

/// The program that mounts and unmounts for users who are not root.
const HELPER: &str = "fusermount3";

/// The list of mounts, by `proc(5)`.
const MOUNTS: &str = "/proc/self/mountinfo";

/// The kernel's side of FUSE.
const DEVICE: &str = "/dev/fuse";

/// Finds the directory, which must be empty. What a mount of ours has left there that was killed is taken away.
pub fn prepare(directory: &Path) -> Result<PathBuf> {
    let path = absolute(directory).map_err(|source| Error::Directory { path: directory.to_owned(), source })?;
    let failed = |source| Error::Directory { path: path.clone(), source };
    let mut names = match fs::read_dir(&path) {
        Err(error) if is_dead(&error) => {
            clear(&path)?;
            fs::read_dir(&path)
        }
        names => names,
    }
    .map_err(failed)?;
    if names.next().is_some() {
        return Err(Error::NotEmpty(path));
    }
    OpenOptions::new().read(true).write(true).open(DEVICE).map_err(Error::Device)?;
    if !rustix::process::geteuid().is_root() && Command::new(HELPER).arg("-V").output().is_err() {
        return Err(Error::NoHelper);
    }
    Ok(path)
}

/// The path without links above its last component, which need not answer.
fn absolute(directory: &Path) -> io::Result<PathBuf> {
    match fs::canonicalize(directory) {
        Err(error) if is_dead(&error) => {}
        path => return path,
    }
    let path = std::path::absolute(directory)?;
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => Ok(fs::canonicalize(parent)?.join(name)),
        _ => Ok(path),
    }
}

/// What the kernel says where the program behind a mount has ended.
fn is_dead(error: &io::Error) -> bool {
    error.kind() == ErrorKind::NotConnected
}

/// Takes away a mount whose program was killed, if it is one of ours.
fn clear(path: &Path) -> Result<()> {
    let dead = || Error::Dead(path.to_owned());
    let mounts = fs::read(MOUNTS).map_err(|_| dead())?;
    let mut sources = mounts.split(|byte| *byte == b'\n').filter_map(|line| mount(line, path));
    if sources.next_back() != Some(SOURCE.as_bytes()) {
        return Err(dead());
    }
    unmount(path).map(drop).map_err(|_| dead())
}

/// The source of a line of the list of mounts, if it is a FUSE mount at a path.
fn mount<'l>(line: &'l [u8], path: &Path) -> Option<&'l [u8]> {
    let mut fields = line.split(|byte| *byte == b' ');
    let at = fields.nth(4)?;
    let kind = fields.by_ref().skip_while(|field| *field != b"-").nth(1)?;
    let is_fuse = kind == b"fuse" || kind.starts_with(b"fuse.");
    (is_fuse && unescape(at) == path.as_os_str().as_bytes()).then(|| fields.next()).flatten()
}

/// A path of the list of mounts, in which blanks and backslashes are written as `\` and three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, behind)) = rest.split_first() {
        let digits = behind.get(..3).filter(|_| byte == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(code) => {
                path.push(code);
                rest = &behind[3..];
            }
            None => {
                path.push(byte);
                rest = behind;
            }
        }
    }
    path
}

/// Takes a mount away; if somebody uses it, out of the tree of directories only.
pub fn unmount(path: &Path) -> Result<Ended> {
    let failed = |source| Error::Unmount { path: path.to_owned(), source };
    match rustix::mount::unmount(path, UnmountFlags::NOFOLLOW) {
        Ok(()) => Ok(Ended::Free),
        Err(Errno::BUSY) => {
            let detached = rustix::mount::unmount(path, UnmountFlags::NOFOLLOW | UnmountFlags::DETACH);
            detached.map(|()| Ended::InUse).map_err(|errno| failed(errno.into()))
        }
        Err(Errno::PERM) => match helper(&["-u"], path) {
            Ok(()) => Ok(Ended::Free),
            Err(_) => helper(&["-u", "-z"], path).map(|()| Ended::InUse).map_err(failed),
        },
        Err(errno) => Err(failed(errno.into())),
    }
}

fn helper(options: &[&str], path: &Path) -> io::Result<()> {
    let output = Command::new(HELPER).args(options).arg(OsStr::new("--")).arg(path).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_found_by_its_path() {
        let line = br"75 29 0:50 / /mnt/a\040b\134 ro,nosuid,nodev - fuse icecore ro,user_id=0,group_id=0";
        let of = |path: &str| mount(line, Path::new(path));
        assert_eq!(of(r"/mnt/a b\"), Some(&b"icecore"[..]));
        assert_eq!(of("/mnt/a"), None);
        let helped = b"75 29 0:50 / /mnt rw shared:1 master:2 - fuse.icecore icecore rw";
        assert_eq!(mount(helped, Path::new("/mnt")), Some(&b"icecore"[..]));
        for other in
            [&b"75 29 8:1 / /mnt rw - ext4 /dev/sda1 rw"[..], b"", b"75 29 0:50 / /mnt rw", b"a b c d /mnt - fuse"]
        {
            assert_eq!(mount(other, Path::new("/mnt")), None);
        }
        assert_eq!(unescape(br"\04\999\"), br"\04\999\");
    }
}
