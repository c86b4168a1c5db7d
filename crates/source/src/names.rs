//! Users and groups by name, so that a snapshot can be restored where they have other numbers.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

use crate::os;

/// The users and groups of this host, each looked up once. Shared by threads.
#[derive(Debug, Default)]
pub struct Names {
    users: Cache<u32, String>,
    groups: Cache<u32, String>,
    uids: Cache<String, u32>,
    gids: Cache<String, u32>,
}

type Cache<K, V> = Mutex<HashMap<K, Option<V>>>;

impl Names {
    /// Begins without knowing anybody.
    pub fn new() -> Self {
        Self::default()
    }

    /// The name of a user.
    pub fn user(&self, uid: u32) -> Option<String> {
        cached(&self.users, uid, |&uid| os::user_name(uid))
    }

    /// The name of a group.
    pub fn group(&self, gid: u32) -> Option<String> {
        cached(&self.groups, gid, |&gid| os::group_name(gid))
    }

    /// The number of a user.
    pub fn uid(&self, name: &str) -> Option<u32> {
        cached(&self.uids, name.to_owned(), |name| os::uid_of(name))
    }

    /// The number of a group.
    pub fn gid(&self, name: &str) -> Option<u32> {
        cached(&self.gids, name.to_owned(), |name| os::gid_of(name))
    }
}

/// Looks up while the lock is held: a directory service is asked once for each name, not once for
/// each thread.
fn cached<K: Eq + Hash, V: Clone>(cache: &Cache<K, V>, key: K, look_up: impl FnOnce(&K) -> Option<V>) -> Option<V> {
    let mut known = cache.lock().unwrap_or_else(PoisonError::into_inner);
    known.entry(key).or_insert_with_key(look_up).clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn root_is_known_both_ways_and_nobody_is_made_up() {
        let names = Names::new();
        for _ in 0..2 {
            assert_eq!(names.user(0).as_deref(), Some("root"));
            assert_eq!(names.uid("root"), Some(0));
            assert!(names.group(0).is_some_and(|group| names.gid(&group) == Some(0)));
            assert_eq!(names.uid("no such user, surely"), None);
            assert_eq!(names.user(4_000_000_123), None);
        }
    }

    #[test]
    fn nothing_is_looked_up_twice() {
        let cache = Cache::default();
        assert_eq!(cached(&cache, 1, |_| Some("one")), Some("one"));
        assert_eq!(cached(&cache, 1, |_| None), Some("one"));
        assert_eq!(cached(&cache, 2, |_| None), None);
        assert_eq!(cached(&cache, 2, |_| Some("two")), None);
    }
}
