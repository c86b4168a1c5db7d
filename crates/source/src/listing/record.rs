//! One listed entry in as few bytes as is easy: about 35 and its name.
//!
//! ```text
//! tag (kind + 1, bit 7: its own listing exists) | length of the name | name | numbers of the stat
//! ```
//! All numbers are LEB128. A zero tag ends a directory.

use icecore_format::entry::Timestamp;

use crate::stat::{Kind, Stat};

const KINDS: [Kind; 7] =
    [Kind::Directory, Kind::File, Kind::Symlink, Kind::Fifo, Kind::Socket, Kind::CharDevice, Kind::BlockDevice];
const LISTED: u8 = 0x80;
const END: u8 = 0;

/// What stands in a directory's listing.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Record<'b> {
    /// An entry; `listed` tells whether it is a directory that was gone into.
    Entry { name: &'b [u8], stat: Stat, listed: bool },
    /// The directory has no more.
    End,
}

/// Appends an entry.
pub(super) fn write(into: &mut Vec<u8>, name: &[u8], stat: &Stat, listed: bool) {
    let kind = KINDS.iter().position(|kind| *kind == stat.kind).unwrap_or_default() as u8 + 1;
    into.push(if listed { kind | LISTED } else { kind });
    put(into, name.len() as u64);
    into.extend_from_slice(name);
    for number in [stat.mode, stat.uid, stat.gid, stat.links, stat.rdev.0, stat.rdev.1] {
        put(into, u64::from(number));
    }
    for number in [stat.size, stat.blocks, stat.inode, stat.device] {
        put(into, number);
    }
    for time in [stat.mtime, stat.ctime] {
        put(into, time.seconds.rotate_left(1).cast_unsigned());
        put(into, u64::from(time.nanos));
    }
}

/// Ends a directory.
pub(super) fn write_end(into: &mut Vec<u8>) {
    into.push(END);
}

/// Takes the record off the front of `bytes`; `None` if that is no record.
pub(super) fn read<'b>(bytes: &mut &'b [u8]) -> Option<Record<'b>> {
    let (&tag, rest) = bytes.split_first()?;
    *bytes = rest;
    if tag == END {
        return Some(Record::End);
    }
    let kind = *KINDS.get(usize::from(tag & !LISTED).checked_sub(1)?)?;
    let len = usize::try_from(take(bytes)?).ok()?;
    let (name, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    let mut small = || u32::try_from(take(bytes)?).ok();
    let (mode, uid, gid, links, rdev) = (small()?, small()?, small()?, small()?, (small()?, small()?));
    let (size, blocks, inode, device) = (take(bytes)?, take(bytes)?, take(bytes)?, take(bytes)?);
    let mut time = || {
        let seconds = take(bytes)?.cast_signed().rotate_right(1);
        Some(Timestamp { seconds, nanos: u32::try_from(take(bytes)?).ok()? })
    };
    let (mtime, ctime) = (time()?, time()?);
    let stat = Stat { kind, mode, uid, gid, size, mtime, ctime, inode, device, links, rdev, blocks };
    Some(Record::Entry { name, stat, listed: tag & LISTED != 0 })
}

fn put(into: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        into.push(number as u8 | 0x80);
        number >>= 7;
    }
    into.push(number as u8);
}

fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Vec<(Vec<u8>, Stat, bool)> {
        let small = Stat {
            kind: Kind::File,
            mode: 0o644,
            uid: 0,
            gid: 0,
            size: 0,
            mtime: Timestamp { seconds: 0, nanos: 0 },
            ctime: Timestamp { seconds: -1, nanos: 1 },
            inode: 1,
            device: 0,
            links: 1,
            rdev: (0, 0),
            blocks: 0,
        };
        let large = Stat {
            kind: Kind::BlockDevice,
            mode: 0o7777,
            uid: u32::MAX,
            gid: u32::MAX,
            size: u64::MAX,
            mtime: Timestamp { seconds: i64::MIN, nanos: 999_999_999 },
            ctime: Timestamp { seconds: i64::MAX, nanos: 999_999_999 },
            inode: u64::MAX,
            device: u64::MAX,
            links: u32::MAX,
            rdev: (u32::MAX, 1),
            blocks: u64::MAX,
        };
        let directory = Stat { kind: Kind::Directory, ..small };
        vec![(b"a".to_vec(), small, false), (vec![0xff; 255], large, false), (b"\n/".to_vec(), directory, true)]
    }

    #[test]
    fn records_come_back() {
        let mut bytes = Vec::new();
        for (name, stat, listed) in samples() {
            write(&mut bytes, &name, &stat, listed);
        }
        write_end(&mut bytes);
        let mut rest = bytes.as_slice();
        for (name, stat, listed) in samples() {
            assert_eq!(read(&mut rest), Some(Record::Entry { name: &name, stat, listed }));
        }
        assert_eq!(read(&mut rest), Some(Record::End));
        assert_eq!(read(&mut rest), None);
    }

    #[test]
    fn a_torn_record_is_none() {
        for (name, stat, listed) in samples() {
            let mut bytes = Vec::new();
            write(&mut bytes, &name, &stat, listed);
            for len in 0..bytes.len() {
                assert_eq!(read(&mut &bytes[..len]), None);
            }
        }
    }
}
