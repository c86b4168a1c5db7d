//! One entry of an instance: a file, directory, link or device with its metadata and content.

use std::cmp::Ordering;

use minicbor::{Decode, Encode};

use crate::id::ChunkId;

/// A path inside a snapshot: components joined by `/`, no leading or trailing slash, empty for the
/// root itself. Bytes on Unix, WTF-8 on Windows.
pub type PathBytes = Vec<u8>;

/// Compares two paths in manifest order: component by component, so that a directory is followed
/// directly by everything below it. This is byte order with `/` below every other byte.
pub fn compare_paths(a: &[u8], b: &[u8]) -> Ordering {
    let common = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    match (a.get(common), b.get(common)) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Less,
        (Some(_), None) => Ordering::Greater,
        // The empty path is the root: it sorts first by the rules above.
        (Some(b'/'), Some(_)) => Ordering::Less,
        (Some(_), Some(b'/')) => Ordering::Greater,
        (Some(x), Some(y)) => x.cmp(y),
    }
}

/// Tells whether a path may stand in a manifest: no empty, `.` or `..` component, no NUL byte.
pub fn is_valid_path(path: &[u8]) -> bool {
    path.is_empty()
        || path
            .split(|&b| b == b'/')
            .all(|part| !part.is_empty() && part != b"." && part != b".." && !part.contains(&0))
}

/// Seconds since 1970-01-01 UTC (negative before) and nanoseconds `0..1_000_000_000` after them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Encode, Decode)]
#[cbor(array)]
pub struct Timestamp {
    /// Seconds since the epoch.
    #[n(0)]
    pub seconds: i64,
    /// Nanoseconds after `seconds`.
    #[n(1)]
    pub nanos: u32,
}

/// An extended attribute; POSIX ACLs and capabilities are among them.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Xattr {
    /// Full name with its namespace, e.g. `user.comment`.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub name: Vec<u8>,
    /// The value's bytes.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub value: Vec<u8>,
}

/// How a file is cut. Recorded in its entry, so that it stays the same the next night.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Encode, Decode)]
pub enum Class {
    /// Rewritten page by page (databases): chunks of a fixed size, aligned to pages.
    #[n(0)]
    Pages {
        /// The database's page size in bytes.
        #[n(0)]
        page: u32,
    },
    /// Content-defined chunks with a small average.
    #[n(1)]
    #[default]
    Structured,
    /// Compressed or encrypted content: content-defined chunks with a large average.
    #[n(2)]
    Opaque,
}

/// A consecutive part of a file's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Piece {
    /// Stored bytes.
    Chunk {
        /// Keyed hash of the bytes.
        id: ChunkId,
        /// Number of bytes, at least 1.
        len: u32,
    },
    /// A hole of a sparse file: reads as zeros, takes no space.
    Hole {
        /// Number of bytes, at least 1.
        len: u64,
    },
}

impl Piece {
    /// The number of bytes of the file that the piece stands for.
    pub fn len(&self) -> u64 {
        match self {
            Self::Chunk { len, .. } => u64::from(*len),
            Self::Hole { len } => *len,
        }
    }

    /// Whether the piece stands for no byte; such a piece is never written.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Where a file's pieces stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// In the entry itself.
    Inline(Vec<Piece>),
    /// In a tree of piece blocks, for files of many chunks.
    Tree {
        /// The root block.
        root: ChunkId,
        /// 0 when the root block holds pieces, else the number of levels above them.
        height: u8,
        /// The number of pieces.
        pieces: u64,
    },
    /// Nowhere: the file could not be read when the snapshot was taken (or was lost and marked by `repair`).
    Missing,
}

/// What kind of thing an entry is, with what only that kind has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A directory.
    Directory,
    /// A regular file.
    File(File),
    /// A symbolic link.
    Symlink {
        /// The target's bytes as they stand in the link.
        target: Vec<u8>,
    },
    /// A named pipe.
    Fifo,
    /// A Unix socket.
    Socket,
    /// A character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
}

/// What only a regular file has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Bytes; the sum of the pieces' lengths unless the content is missing.
    pub size: u64,
    /// How it is cut.
    pub class: Class,
    /// Its bytes.
    pub content: Content,
    /// The recorded times are so close to the moment of reading that a later change could hide
    /// behind them: the next backup reads the file again.
    pub racy: bool,
}

/// Metadata that every kind of entry has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Meta {
    /// Permission bits `0o7777`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Time of the last change of content.
    pub mtime: Timestamp,
    /// Time of the last change of anything; never restored, used to tell known from hot.
    pub ctime: Timestamp,
    /// Inode number (file id); used to tell known from hot and to follow renames.
    pub inode: u64,
    /// Number of hard links.
    pub links: u32,
    /// Extended attributes, sorted by name.
    pub xattrs: Vec<Xattr>,
}

/// One entry of a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it stands.
    pub path: PathBytes,
    /// Metadata.
    pub meta: Meta,
    /// Kind and content.
    pub node: Node,
    /// The first path (in manifest order) of the same inode, where this entry is a further hard link
    /// to it. The entry still carries its whole content, so that it can be restored alone.
    pub link_of: Option<PathBytes>,
}

impl Entry {
    /// The last component of the path, empty for the root.
    pub fn name(&self) -> &[u8] {
        self.path.rsplit(|&b| b == b'/').next().unwrap_or_default()
    }

    /// The number of bytes of a regular file, 0 of everything else.
    pub fn size(&self) -> u64 {
        match &self.node {
            Node::File(file) => file.size,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_followed_by_what_is_below_it() {
        let mut paths: Vec<&[u8]> = vec![b"a.txt", b"a/b", b"", b"b", b"a", b"a/b/c", b"a-", b"a/bc", b"a/\x01"];
        paths.sort_by(|a, b| compare_paths(a, b));
        let expected: Vec<&[u8]> = vec![b"", b"a", b"a/\x01", b"a/b", b"a/b/c", b"a/bc", b"a-", b"a.txt", b"b"];
        assert_eq!(paths, expected);
    }

    #[test]
    fn hostile_paths_are_told() {
        for good in [&b""[..], b"a", b"a/b", b"...", b"a\n", b"\xff/x"] {
            assert!(is_valid_path(good));
        }
        for bad in [&b"/"[..], b"/a", b"a/", b"a//b", b".", b"a/..", b"../a", b"a/./b", b"a\0b"] {
            assert!(!is_valid_path(bad));
        }
    }
}
