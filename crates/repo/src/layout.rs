//! Where each kind of object stands in the store.

use icecore_format::id::{AnnotationId, FragmentId, MarkId, PackId, SessionId, SlotId, SnapshotId};
use icecore_store::Key;

pub(crate) const PACKS: &str = "packs";
pub(crate) const FRAGMENTS: &str = "index";
pub(crate) const SNAPSHOTS: &str = "snapshots";
pub(crate) const SLOTS: &str = "keys";
pub(crate) const DAMAGED: &str = "damaged";

pub(crate) const MARKS: &str = "gc";
pub(crate) const SESSIONS: &str = "sessions";
pub(crate) const ANNOTATIONS: &str = "annotations";

fn key(text: String) -> Key {
    // Every caller joins fixed names and hexadecimal digits, which are valid keys.
    Key::new(&text).expect("fixed names and hexadecimal digits are a valid key")
}

pub(crate) fn config() -> Key {
    key("config".to_owned())
}

pub(crate) fn pack(id: &PackId) -> Key {
    let hex = id.to_string();
    key(format!("{PACKS}/{}/{hex}", &hex[..2]))
}

pub(crate) fn fragment(id: &FragmentId) -> Key {
    key(format!("{FRAGMENTS}/{id}"))
}

pub(crate) fn snapshot(id: &SnapshotId) -> Key {
    key(format!("{SNAPSHOTS}/{id}"))
}

pub(crate) fn slot(id: &SlotId) -> Key {
    key(format!("{SLOTS}/{id}"))
}

/// Where an object is set aside: by what it was, and by what its bytes are.
pub(crate) fn damaged(was: &str, bytes: &[u8]) -> Key {
    key(format!("{DAMAGED}/{was}/{}", blake3::hash(bytes).to_hex()))
}

pub(crate) fn mark(id: &MarkId) -> Key {
    key(format!("{MARKS}/{id}"))
}

pub(crate) fn session(id: &SessionId) -> Key {
    key(format!("{SESSIONS}/{id}"))
}

pub(crate) fn annotation(id: &AnnotationId) -> Key {
    key(format!("{ANNOTATIONS}/{id}"))
}

/// The id at the end of a key, if it is one.
pub(crate) fn id_of<I: std::str::FromStr>(key: &Key) -> Option<I> {
    key.as_str().rsplit('/').next()?.parse().ok()
}
