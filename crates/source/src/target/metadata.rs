//! Giving a restored entry its owner, attributes, permissions and times.
//!
//! The order is fixed by what undoes what: a change of owner clears setuid bits and capabilities;
//! an access control list changes permissions, and a read-only mode forbids a normal user to set
//! attributes; everything before may change times. Attributes that the entry does not have are removed.

use std::borrow::Cow;
use std::fmt;
use std::io;

use icecore_format::entry::{Entry, Meta, PathBytes, Xattr};

use super::{Owners, TargetFile};
use crate::os::Subject;
use crate::stat::{Kind, Stat};

const SETUID: u32 = 0o4000;
const SETGID: u32 = 0o2000;
const PERMISSIONS: u32 = 0o7777;
const OWNER_WRITES: u32 = 0o200;

/// Something of an entry that could not be restored.
#[derive(Debug, thiserror::Error)]
#[error("{kind} of {}", path.escape_ascii())]
pub struct Fault {
    /// The entry's path in the snapshot.
    pub path: PathBytes,
    /// What is missing.
    pub kind: FaultKind,
    /// Why.
    #[source]
    pub error: io::Error,
}

/// What of an entry could not be restored; faults are counted by it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FaultKind {
    /// The entry could not be reached, or something of another kind stands in its place: nothing was set.
    Entry,
    /// The owning user.
    Owner,
    /// The owning group.
    Group,
    /// The permission bits.
    Mode,
    /// The extended attribute of this name.
    Xattr(Vec<u8>),
    /// The time of the last change.
    Times,
    /// The device or other special file itself.
    Device,
    /// That it is the same file as an entry that went to another file system.
    Link,
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entry => f.write_str("all metadata"),
            Self::Owner => f.write_str("the owner"),
            Self::Group => f.write_str("the group"),
            Self::Mode => f.write_str("the permissions"),
            Self::Xattr(name) => write!(f, "the extended attribute {}", name.escape_ascii()),
            Self::Times => f.write_str("the modification time"),
            Self::Device => f.write_str("the special file"),
            Self::Link => f.write_str("the hard link"),
        }
    }
}

/// Gives an open file the metadata of `entry`, and tells what could not be set. Called after the
/// last write: writing clears setuid bits and capabilities and changes the times.
pub fn finish_file(file: &TargetFile, entry: &Entry, owners: &Owners) -> Vec<Fault> {
    apply(Subject::of_file(file.as_file()), entry, owners)
}

/// Gives `subject` the metadata of `entry`; calls that would change nothing are left out.
pub(super) fn apply(subject: Subject<'_>, entry: &Entry, owners: &Owners) -> Vec<Fault> {
    let mut faults = Faults { path: &entry.path, found: Vec::new() };
    let meta = &entry.meta;
    let before = match subject.stat().and_then(|stat| expect_kind(stat, Kind::of(&entry.node))) {
        Ok(stat) => stat,
        Err(error) => {
            faults.add(FaultKind::Entry, error);
            return faults.found;
        }
    };
    let owned = set_owner(subject, meta, &before, owners, &mut faults);
    let touched = set_xattrs(subject, meta, &before, owners, &mut faults);
    if before.kind != Kind::Symlink {
        set_mode(subject, meta, &before, owned, touched, &mut faults);
    }
    if before.mtime != meta.mtime {
        faults.check(FaultKind::Times, subject.set_mtime(meta.mtime));
    }
    faults.found
}

/// What of an entry's metadata differs from what `subject` has. A hint of what would be done, so nothing here is an error:
/// attributes that cannot be read count as none.
pub(super) fn differences(subject: Subject<'_>, stat: &Stat, entry: &Entry, owners: &Owners) -> Vec<FaultKind> {
    let meta = &entry.meta;
    let mut found = Vec::new();
    let mut note = |differs: bool, kind: FaultKind| {
        if differs {
            found.push(kind);
        }
    };
    note(stat.uid != owners.user(meta.uid), FaultKind::Owner);
    note(stat.gid != owners.group(meta.gid), FaultKind::Group);
    note(stat.kind != Kind::Symlink && stat.mode != meta.mode & PERMISSIONS, FaultKind::Mode);
    let (add, remove) = xattr_changes(&subject.xattrs().unwrap_or_default(), meta, owners);
    add.into_iter().for_each(|(name, _)| note(true, FaultKind::Xattr(name.to_vec())));
    remove.into_iter().for_each(|name| note(true, FaultKind::Xattr(name)));
    note(stat.mtime != meta.mtime, FaultKind::Times);
    found
}

/// Attributes to set, with their values on this host, and attributes to remove.
type XattrChanges<'e> = (Vec<(&'e [u8], Cow<'e, [u8]>)>, Vec<Vec<u8>>);

fn xattr_changes<'e>(present: &[Xattr], meta: &'e Meta, owners: &Owners) -> XattrChanges<'e> {
    let wanted = meta.xattrs.iter().map(|xattr| (xattr.name.as_slice(), owners.localize(xattr)));
    let has = |name: &[u8], value: &[u8]| present.iter().any(|xattr| xattr.name == name && xattr.value == value);
    let add = wanted.filter(|(name, value)| !has(name, value)).collect();
    let is_wanted = |name: &[u8]| meta.xattrs.iter().any(|xattr| xattr.name == name);
    let extra = present.iter().filter(|xattr| is_ours_to_remove(&xattr.name) && !is_wanted(&xattr.name));
    (add, extra.map(|xattr| xattr.name.clone()).collect())
}

/// Attributes of other namespaces belong to the system: security modules label what is made, and refuse to let go.
fn is_ours_to_remove(name: &[u8]) -> bool {
    [&b"user."[..], b"trusted.", b"system.posix_acl_", b"security.capability"]
        .iter()
        .any(|known| name.starts_with(known))
}

/// Sets and removes attributes, and tells whether any was touched.
fn set_xattrs(subject: Subject<'_>, meta: &Meta, before: &Stat, owners: &Owners, faults: &mut Faults<'_>) -> bool {
    // What cannot be listed is set all the same, and that will tell.
    let (add, remove) = xattr_changes(&subject.xattrs().unwrap_or_default(), meta, owners);
    if add.is_empty() && remove.is_empty() {
        return false;
    }
    // A normal user sets attributes only of what may be written; the mode comes afterwards.
    if before.kind != Kind::Symlink && before.mode & OWNER_WRITES == 0 {
        let _ = subject.set_mode(before.mode | OWNER_WRITES);
    }
    for (name, value) in &add {
        faults.check(FaultKind::Xattr(name.to_vec()), subject.set_xattr(name, value));
    }
    for name in &remove {
        faults.check(FaultKind::Xattr(name.clone()), subject.remove_xattr(name));
    }
    true
}

fn expect_kind(stat: Stat, kind: Kind) -> io::Result<Stat> {
    if stat.kind == kind { Ok(stat) } else { Err(io::Error::other("something of another kind stands in its place")) }
}

struct Faults<'a> {
    path: &'a [u8],
    found: Vec<Fault>,
}

impl Faults<'_> {
    fn add(&mut self, kind: FaultKind, error: io::Error) {
        self.found.push(Fault { path: self.path.to_vec(), kind, error });
    }

    /// Whether it worked.
    fn check(&mut self, kind: FaultKind, result: io::Result<()>) -> bool {
        result.map_err(|error| self.add(kind, error)).is_ok()
    }
}

/// What became of the owner.
struct Owned {
    user: bool,
    group: bool,
    changed: bool,
}

fn set_owner(subject: Subject<'_>, meta: &Meta, before: &Stat, owners: &Owners, faults: &mut Faults<'_>) -> Owned {
    let (uid, gid) = (owners.user(meta.uid), owners.group(meta.gid));
    let uid = (uid != before.uid).then_some(uid);
    let gid = (gid != before.gid).then_some(gid);
    let changed = uid.is_some() || gid.is_some();
    if !changed || subject.set_owner(uid, gid).is_ok() {
        return Owned { user: true, group: true, changed };
    }
    // A normal user may still hand an entry to another of the own groups.
    let group = gid.is_none() || faults.check(FaultKind::Group, subject.set_owner(None, gid));
    let user = uid.is_none() || faults.check(FaultKind::Owner, subject.set_owner(uid, None));
    Owned { user, group, changed }
}

/// `touched`: attributes were, with which an access control list may have changed the permissions.
fn set_mode(subject: Subject<'_>, meta: &Meta, before: &Stat, owned: Owned, touched: bool, faults: &mut Faults<'_>) {
    let wanted = meta.mode & PERMISSIONS;
    let mut mode = wanted;
    // On a file that belongs to somebody else than recorded, these bits would lend the wrong identity.
    if before.kind != Kind::Directory {
        mode &= if owned.user { !0 } else { !SETUID };
        mode &= if owned.group { !0 } else { !SETGID };
    }
    let set = if !owned.changed && !touched && before.mode == mode { Ok(()) } else { subject.set_mode(mode) };
    if faults.check(FaultKind::Mode, set) && mode != wanted {
        let error = io::Error::other("setuid or setgid left out, because the owner could not be restored");
        faults.add(FaultKind::Mode, error);
    }
}
