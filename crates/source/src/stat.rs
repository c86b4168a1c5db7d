//! What the file system says of an entry without opening it.

use icecore_format::entry::{Node, Timestamp};

/// What kind of thing an entry of a live file system is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A Unix socket.
    Socket,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
}

impl Kind {
    /// What kind of thing an entry of a manifest is.
    pub fn of(node: &Node) -> Self {
        match node {
            Node::Directory => Self::Directory,
            Node::File(_) => Self::File,
            Node::Symlink { .. } => Self::Symlink,
            Node::Fifo => Self::Fifo,
            Node::Socket => Self::Socket,
            Node::CharDevice { .. } => Self::CharDevice,
            Node::BlockDevice { .. } => Self::BlockDevice,
        }
    }

    /// Takes the kind out of `st_mode`. Kinds that no manifest knows (doors, whiteouts of old Unixes)
    /// count as character devices, which are never opened.
    #[cfg(unix)]
    pub(crate) fn from_mode(mode: u32) -> Self {
        match mode & 0o170_000 {
            0o040_000 => Self::Directory,
            0o100_000 => Self::File,
            0o120_000 => Self::Symlink,
            0o010_000 => Self::Fifo,
            0o140_000 => Self::Socket,
            0o060_000 => Self::BlockDevice,
            _ => Self::CharDevice,
        }
    }
}

/// The stat of one entry, links never followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// What it is.
    pub kind: Kind,
    /// Permission bits `0o7777`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes of a regular file or of a link's target; anything of the other kinds.
    pub size: u64,
    /// Time of the last change of content.
    pub mtime: Timestamp,
    /// Time of the last change of anything.
    pub ctime: Timestamp,
    /// Inode number (file id).
    pub inode: u64,
    /// The file system it stands on; changes from mount to mount, so it is never stored.
    pub device: u64,
    /// Number of hard links.
    pub links: u32,
    /// Major and minor number of a device, `(0, 0)` of everything else.
    pub rdev: (u32, u32),
    /// Allocated blocks of 512 bytes.
    pub blocks: u64,
}
