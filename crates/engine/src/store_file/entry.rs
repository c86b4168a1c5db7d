//! What is recorded of an entry.

use std::io;

use icecore_format::entry::{Class, Content, Entry, File, Meta, Node, Timestamp, Xattr};
use icecore_format::snapshot::{Problem, ProblemKind};
use icecore_source::{Kind, Listed, Stat};

/// A file whose times are closer to the moment of reading than this is racy: kernels stamp files with a clock that
/// ticks every 1 to 10 ms (`CONFIG_HZ`), so a later change within the tick leaves the same time behind.
const TICK: i128 = 20_000_000;

/// The same for file systems that keep whole seconds (or, as FAT does, two): told by times without a fraction.
const COARSE_TICK: i128 = 2_000_000_000;

/// What became of an entry.
pub(crate) struct Outcome {
    /// The entry, unless it is gone.
    pub(crate) entry: Option<Entry>,
    /// What was wrong with it.
    pub(crate) problem: Option<Problem>,
    /// Bytes of it that were read.
    pub(crate) bytes_read: u64,
}

/// A file whose content is stored, with the stat of the listing. One that changed is racy, so that the next backup
/// reads it again.
pub(super) fn stored(listed: &Listed, file: File, xattrs: Vec<Xattr>, problem: Option<Problem>) -> Outcome {
    let mut meta = meta(&listed.stat);
    meta.xattrs = xattrs;
    let node = Node::File(File { racy: file.racy || problem.is_some(), ..file });
    let entry = Entry { path: listed.path.clone(), meta, node, link_of: None };
    Outcome { entry: Some(entry), problem, bytes_read: 0 }
}

pub(super) fn changed(listed: &Listed, message: String) -> Problem {
    Problem { path: listed.path.clone(), kind: ProblemKind::Changed, message }
}

/// An entry that could not be read: gone entries are left out, others stay with what the listing knows of them.
pub(super) fn failed(listed: &Listed, error: &io::Error) -> Outcome {
    // A directory on the way may have become something else.
    let gone = matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory);
    let problem = Problem {
        path: listed.path.clone(),
        kind: if gone { ProblemKind::Vanished } else { ProblemKind::Unreadable },
        message: error.to_string(),
    };
    let node = match listed.stat.kind {
        Kind::File => Some(Node::File(File {
            size: listed.stat.size,
            class: Class::default(),
            content: Content::Missing,
            racy: true,
        })),
        Kind::Directory => Some(Node::Directory),
        _ => None,
    };
    // Without its ctime nothing is known of it the next time, so that what is missing is tried again, and named again.
    let meta = Meta { ctime: Timestamp::default(), ..meta(&listed.stat) };
    let entry = node.filter(|_| !gone).map(|node| Entry { path: listed.path.clone(), meta, node, link_of: None });
    Outcome { entry, problem: Some(problem), bytes_read: 0 }
}

/// The metadata that a stat holds; extended attributes are read apart.
pub(crate) fn meta(stat: &Stat) -> Meta {
    Meta {
        mode: stat.mode,
        uid: stat.uid,
        gid: stat.gid,
        mtime: stat.mtime,
        ctime: stat.ctime,
        inode: stat.inode,
        links: stat.links,
        xattrs: Vec::new(),
    }
}

pub(super) fn same_content(a: &Stat, b: &Stat) -> bool {
    (a.kind, a.inode, a.size, a.mtime, a.ctime) == (b.kind, b.inode, b.size, b.mtime, b.ctime)
}

fn nanos(time: Timestamp) -> i128 {
    i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos)
}

/// Whether a change after `read` could leave the recorded times as they are.
pub(super) fn is_racy(stat: &Stat, read: Timestamp) -> bool {
    let coarse = stat.mtime.nanos == 0 && stat.ctime.nanos == 0;
    let tick = if coarse { COARSE_TICK } else { TICK };
    nanos(stat.mtime.max(stat.ctime)) >= nanos(read) - tick
}
