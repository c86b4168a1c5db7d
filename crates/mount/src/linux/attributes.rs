//! What `stat` says of an entry.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{FileAttr, FileType, INodeNo};
use icecore_engine::access::Access;
use icecore_engine::entry::{Entry, Node, Timestamp};

/// The unit of [`FileAttr::blocks`], by POSIX's `stat`.
const BLOCK: u64 = 512;

/// Who owns what no entry describes: the user who mounts.
#[derive(Debug, Clone, Copy)]
pub struct Owner {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// The attributes of an entry.
pub fn of_entry(access: &Access, entry: &Entry, inode: u64) -> FileAttr {
    let meta = &entry.meta;
    let (size, blocks) = match &entry.node {
        Node::File(file) => (file.size, access.data_len(file).div_ceil(BLOCK)),
        Node::Symlink { target } => (target.len() as u64, 0),
        _ => (0, 0),
    };
    let rdev = match entry.node {
        Node::CharDevice { major, minor } | Node::BlockDevice { major, minor } => device(major, minor),
        _ => 0,
    };
    let mtime = time(meta.mtime);
    FileAttr {
        ino: INodeNo(inode),
        size,
        blocks,
        // Not recorded; the time of the content is the best that is known.
        atime: mtime,
        mtime,
        ctime: time(meta.ctime),
        crtime: mtime,
        kind: kind(&entry.node),
        perm: (meta.mode & 0o7777) as u16,
        nlink: meta.links.max(1),
        uid: meta.uid,
        gid: meta.gid,
        rdev,
        blksize: 4096,
        flags: 0,
    }
}

/// The attributes of what no entry describes: a directory, or a link of a length.
pub fn of_ours(inode: u64, link: Option<usize>, changed: Timestamp, owner: Owner) -> FileAttr {
    let changed = time(changed);
    let (kind, perm) = if link.is_some() { (FileType::Symlink, 0o777) } else { (FileType::Directory, 0o755) };
    FileAttr {
        ino: INodeNo(inode),
        size: link.unwrap_or_default() as u64,
        blocks: 0,
        atime: changed,
        mtime: changed,
        ctime: changed,
        crtime: changed,
        kind,
        perm,
        // As file systems say that do not count a directory's subdirectories.
        nlink: 1,
        uid: owner.uid,
        gid: owner.gid,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

/// The kind of an entry.
pub fn kind(node: &Node) -> FileType {
    match node {
        Node::Directory => FileType::Directory,
        Node::File(_) => FileType::RegularFile,
        Node::Symlink { .. } => FileType::Symlink,
        Node::Fifo => FileType::NamedPipe,
        Node::Socket => FileType::Socket,
        Node::CharDevice { .. } => FileType::CharDevice,
        Node::BlockDevice { .. } => FileType::BlockDevice,
    }
}

/// A device number as the kernel's protocol has it (`new_encode_dev`).
fn device(major: u32, minor: u32) -> u32 {
    (minor & 0xff) | (major & 0xfff) << 8 | (minor & !0xff) << 12
}

/// A time; one that the system cannot say becomes 1970.
fn time(time: Timestamp) -> SystemTime {
    let whole = Duration::from_secs(time.seconds.unsigned_abs());
    let second = if time.seconds < 0 { UNIX_EPOCH.checked_sub(whole) } else { UNIX_EPOCH.checked_add(whole) };
    let nanos = Duration::from_nanos(time.nanos.into());
    second.and_then(|second| second.checked_add(nanos)).unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_numbered_as_the_kernel_does() {
        assert_eq!(device(1, 3), 0x103);
        assert_eq!(device(259, 0x12345), 0x1231_0345);
        assert_eq!(device(4095, 0xf_ffff), 0xffff_ffff);
    }

    #[test]
    fn times_before_1970_and_beyond_all_reason_are_times() {
        let at = |seconds, nanos| time(Timestamp { seconds, nanos });
        assert_eq!(at(-1, 500_000_000), UNIX_EPOCH - Duration::from_millis(500));
        assert_eq!(at(1, 1), UNIX_EPOCH + Duration::new(1, 1));
        let _ = (at(i64::MIN, 0), at(i64::MAX, 999_999_999));
    }
}
