//! What changed from one snapshot to another: a walk in lock-step that leaves out every block that both have.

use icecore_format::entry::{Entry, Meta, Node, PathBytes};
use icecore_format::manifest::ManifestReader;

use super::content::same_content;
use super::nothing_at;
use super::versions::{Met, Scope, walk};
use crate::Stored;
use crate::archive::Archive;
use crate::error::{Result, reason, survive_block};
use crate::progress::Progress;

/// What became of one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It was not there.
    Added(Entry),
    /// It is not there any more.
    Removed(Entry),
    /// It is another one.
    Changed {
        /// What it was.
        before: Box<Entry>,
        /// What it is.
        after: Box<Entry>,
        /// In what they differ, at least one.
        fields: Vec<Field>,
    },
}

impl Change {
    /// Where it is.
    pub fn path(&self) -> &PathBytes {
        match self {
            Self::Added(entry) | Self::Removed(entry) => &entry.path,
            Self::Changed { after, .. } => &after.path,
        }
    }
}

/// A part of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// File, directory, link.
    Type,
    /// The bytes of a file.
    Content,
    /// Where a symbolic link leads.
    Target,
    /// The numbers of a device.
    Device,
    /// Permissions.
    Mode,
    /// Owner.
    Owner,
    /// Group.
    Group,
    /// Time of the last change of content.
    Mtime,
    /// Extended attributes, access control lists among them.
    Xattrs,
    /// Of which other name it is a hard link.
    Link,
}

impl Field {
    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Type => "type",
            Self::Content => "content",
            Self::Target => "target",
            Self::Device => "device",
            Self::Mode => "mode",
            Self::Owner => "owner",
            Self::Group => "group",
            Self::Mtime => "mtime",
            Self::Xattrs => "xattrs",
            Self::Link => "link",
        }
    }
}

/// What a comparison meets.
#[derive(Debug)]
pub enum Differs {
    /// A change.
    Change(Box<Change>),
    /// Something that cannot be compared, a sentence.
    Lost(String),
}

/// In what two entries of one path differ. `same_content` is only asked about two files. Of a directory whose time alone
/// changed nothing is said: what happened in it is.
pub fn fields<E>(
    before: &Entry,
    after: &Entry,
    same_content: impl FnOnce() -> std::result::Result<bool, E>,
) -> std::result::Result<Vec<Field>, E> {
    let mut fields = Vec::new();
    match (&before.node, &after.node) {
        (Node::File(_), Node::File(_)) => fields.extend((!same_content()?).then_some(Field::Content)),
        (old, new) if std::mem::discriminant(old) != std::mem::discriminant(new) => fields.push(Field::Type),
        (Node::Symlink { target: old }, Node::Symlink { target: new }) if old != new => fields.push(Field::Target),
        (old, new) if old != new => fields.push(Field::Device),
        _ => {}
    }
    let (Meta { mode, uid, gid, mtime, xattrs, .. }, now) = (&before.meta, &after.meta);
    let is_directory = after.node == Node::Directory;
    let differs = [
        (Field::Mode, *mode != now.mode),
        (Field::Owner, *uid != now.uid),
        (Field::Group, *gid != now.gid),
        (Field::Mtime, *mtime != now.mtime),
        (Field::Xattrs, *xattrs != now.xattrs),
        (Field::Link, before.link_of != after.link_of),
    ];
    fields.extend(differs.into_iter().filter_map(|(field, differs)| differs.then_some(field)));
    if is_directory && fields == [Field::Mtime] {
        fields.clear();
    }
    Ok(fields)
}

/// Compares two snapshots at `path` and below it. Reads manifests only, and of them what is not in both.
///
/// # Errors
/// What `each` says, and what is no damage.
pub fn diff(
    archive: &Archive,
    before: &Stored,
    after: &Stored,
    path: &[u8],
    progress: &Progress,
    each: &mut dyn FnMut(Differs) -> Result<()>,
) -> Result<()> {
    let reader = archive.reader()?;
    let lacks = |stored: &Stored| matches!(ManifestReader::new(&reader, &stored.snapshot.manifest).get(path), Ok(None));
    if !path.is_empty() && lacks(before) && lacks(after) {
        return Err(nothing_at(after, path));
    }
    walk(archive, &[before, after], Scope::Differing(path), &|_| true, progress, &mut |met| {
        let step = match met {
            Met::Lost(_, sentence) => return each(Differs::Lost(sentence)),
            Met::Path(step) => step,
        };
        let change = match (step.of(0), step.of(1)) {
            (Some(before), Some(after)) => match fields(before, after, || same_content(&reader, before, after)) {
                Ok(fields) if fields.is_empty() => return Ok(()),
                Ok(fields) => {
                    Change::Changed { before: Box::new(before.clone()), after: Box::new(after.clone()), fields }
                }
                Err(error) => {
                    let path = String::from_utf8_lossy(&after.path);
                    let sentence = format!("\"{path}\" cannot be compared: {}", reason(&error));
                    survive_block(error)?;
                    return each(Differs::Lost(sentence));
                }
            },
            (Some(entry), None) if !step.unknown.contains(1) => Change::Removed(entry.clone()),
            (None, Some(entry)) if !step.unknown.contains(0) => Change::Added(entry.clone()),
            // The loss was told.
            _ => return Ok(()),
        };
        each(Differs::Change(Box::new(change)))
    })
}
