//! Where a priority belongs to a whole process, none is set: it would hold in freeze windows, too.

use std::io;

pub(crate) const IS_SUPPORTED: bool = false;

pub(crate) fn give_way(_nice: u8) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) fn give_way_at_disks(_level: Option<u8>) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
