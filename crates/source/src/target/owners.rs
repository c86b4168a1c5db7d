//! Which local user and group an entry of a snapshot belongs to.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use icecore_format::entry::Xattr;

/// `ACL_USER` and `ACL_GROUP` of `linux/posix_acl_xattr.h`: the entries that name somebody.
const ACL_USER: u16 = 0x02;
const ACL_GROUP: u16 = 0x08;
/// `POSIX_ACL_XATTR_VERSION`, the 4 little-endian bytes that an access control list begins with.
const ACL_VERSION: u32 = 2;
const ACL_ENTRY_LEN: usize = 8;

/// Turns a snapshot's user and group numbers into those of this host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Owners {
    users: HashMap<u32, u32>,
    groups: HashMap<u32, u32>,
}

impl Owners {
    /// Keeps every number as it is.
    pub fn numeric() -> Self {
        Self::default()
    }

    /// Follows the names that the snapshot recorded, looked up by `find_user` and `find_group`.
    /// Somebody who is unknown here keeps the number, and so does number 0: a snapshot cannot
    /// turn another user's files into root's, nor root's into another user's, by a name.
    pub fn by_name(
        users: &BTreeMap<u32, String>,
        groups: &BTreeMap<u32, String>,
        find_user: impl Fn(&str) -> Option<u32>,
        find_group: impl Fn(&str) -> Option<u32>,
    ) -> Self {
        Self { users: differing(users, find_user), groups: differing(groups, find_group) }
    }

    /// The local number of the snapshot's user `uid`.
    pub fn user(&self, uid: u32) -> u32 {
        self.users.get(&uid).copied().unwrap_or(uid)
    }

    /// The local number of the snapshot's group `gid`.
    pub fn group(&self, gid: u32) -> u32 {
        self.groups.get(&gid).copied().unwrap_or(gid)
    }

    /// The value of an extended attribute on this host: access control lists name users and groups too.
    pub(super) fn localize<'a>(&self, xattr: &'a Xattr) -> Cow<'a, [u8]> {
        let unchanged = self.users.is_empty() && self.groups.is_empty();
        if unchanged || !xattr.name.starts_with(b"system.posix_acl_") {
            return Cow::Borrowed(&xattr.value);
        }
        let mut local = xattr.value.clone();
        if let Some((version, entries)) = local.split_first_chunk_mut::<4>()
            && u32::from_le_bytes(*version) == ACL_VERSION
        {
            for [tag_low, tag_high, _, _, id @ ..] in entries.as_chunks_mut::<ACL_ENTRY_LEN>().0 {
                match u16::from_le_bytes([*tag_low, *tag_high]) {
                    ACL_USER => *id = self.user(u32::from_le_bytes(*id)).to_le_bytes(),
                    ACL_GROUP => *id = self.group(u32::from_le_bytes(*id)).to_le_bytes(),
                    _ => {}
                }
            }
        }
        Cow::Owned(local)
    }
}

/// The numbers of `names` that are others on this host.
fn differing(names: &BTreeMap<u32, String>, find: impl Fn(&str) -> Option<u32>) -> HashMap<u32, u32> {
    let local = |(&id, name): (&u32, &String)| Some((id, find(name)?));
    names.iter().filter_map(local).filter(|&(id, here)| id != here && id != 0 && here != 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owners() -> Owners {
        let users = BTreeMap::from([(0, "root".into()), (7, "ann".into()), (8, "gone".into()), (9, "toor".into())]);
        let groups = BTreeMap::from([(7, "staff".into())]);
        let find_user = |name: &str| match name {
            "root" => Some(5),
            "ann" => Some(1007),
            "toor" => Some(0),
            _ => None,
        };
        Owners::by_name(&users, &groups, find_user, |name| (name == "staff").then_some(50))
    }

    #[test]
    fn names_decide_but_never_about_root() {
        let owners = owners();
        assert_eq!([7, 8, 10].map(|uid| owners.user(uid)), [1007, 8, 10]);
        assert_eq!([0, 9].map(|uid| owners.user(uid)), [0, 9]);
        assert_eq!((owners.group(7), owners.group(8)), (50, 8));
        assert_eq!(Owners::numeric().user(7), 7);
    }

    #[test]
    fn access_control_lists_follow_the_names() {
        let acl = |user: u32, group: u32| {
            let entries = [(0x01, 6, u32::MAX), (ACL_USER, 4, user), (ACL_GROUP, 5, group), (0x10, 7, u32::MAX)];
            let mut value = ACL_VERSION.to_le_bytes().to_vec();
            for (tag, permissions, id) in entries {
                value.extend(tag.to_le_bytes());
                value.extend(u16::to_le_bytes(permissions));
                value.extend(id.to_le_bytes());
            }
            value
        };
        let xattr = |name: &str, value: Vec<u8>| Xattr { name: name.into(), value };
        assert_eq!(*owners().localize(&xattr("system.posix_acl_access", acl(7, 7))), acl(1007, 50));
        assert_eq!(*owners().localize(&xattr("system.posix_acl_default", acl(8, 8))), acl(8, 8));
        assert_eq!(*owners().localize(&xattr("user.posix", acl(7, 7))), acl(7, 7));
        for odd in [&b""[..], b"\x02\0\0", b"\x02\0\0\0abc", b"\x03\0\0\0\x02\0\x04\0\x07\0\0\0"] {
            assert_eq!(*owners().localize(&xattr("system.posix_acl_access", odd.to_vec())), *odd);
        }
    }
}
