//! Where nothing but reading is known yet: every question is answered with "unsupported".

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

fn unsupported<T>() -> io::Result<T> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) fn unnamed_file(_directory: &super::Dir) -> io::Result<File> {
    unsupported()
}

pub(crate) fn block_size(_file: &File) -> io::Result<u64> {
    unsupported()
}

pub(crate) fn clone_start(_from: &File, _len: u64, _to: &File, _at: u64) -> io::Result<()> {
    unsupported()
}

pub(crate) fn sync_filesystem(_file: &File) -> io::Result<()> {
    unsupported()
}

pub(crate) fn is_btrfs(_directory: &super::Dir) -> io::Result<bool> {
    Ok(false)
}

pub(crate) fn create_snapshot(_subvolume: &Path, _directory: &Path, _name: &OsStr) -> io::Result<()> {
    unsupported()
}

pub(crate) fn destroy_snapshot(_directory: &Path, _name: &OsStr) -> io::Result<()> {
    unsupported()
}

pub(crate) fn may_write(_directory: &Path) -> bool {
    false
}

pub(crate) fn mount_of(_path: &Path) -> io::Result<u64> {
    unsupported()
}

pub(crate) fn mount_points() -> io::Result<Vec<PathBuf>> {
    unsupported()
}
