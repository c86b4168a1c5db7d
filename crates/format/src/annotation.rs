//! What is said of a snapshot after it was taken: tags that it gets or loses, and what came of trying it.
//!
//! A snapshot record never changes. An annotation is an object of its own beside it, one CBOR map with integer keys, sealed;
//! it never changes either. All annotations of a snapshot together, in the order of their times and then of their ids, say
//! what is so now.

use std::collections::BTreeSet;

use minicbor::{Decode, Encode};

use crate::entry::Timestamp;
use crate::id::SnapshotId;
use crate::pack::decode_whole;

/// Bytes of the longest name or tag.
pub const MAX_NAME_LEN: usize = 255;

/// Bytes of the longest message.
pub const MAX_MESSAGE_LEN: usize = 4096;

/// Tags that one annotation adds or removes at most.
pub const MAX_TAGS: usize = 1000;

/// An annotation.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Annotation {
    /// Of which snapshot.
    #[n(0)]
    pub snapshot: SnapshotId,
    /// When it was made.
    #[n(1)]
    pub at: Timestamp,
    /// The host that made it, for people.
    #[n(2)]
    pub host: String,
    /// The user who made it, for people.
    #[n(3)]
    pub user: String,
    /// What becomes of the tags.
    #[n(4)]
    pub tags: Option<TagChange>,
    /// What came of trying the snapshot.
    #[n(5)]
    pub proof: Option<Proof>,
}

/// What becomes of the tags of a snapshot: first those it has go if `clear` says so, then some go, then some come.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct TagChange {
    /// All go that it had.
    #[n(0)]
    #[cbor(default)]
    pub clear: bool,
    /// These go.
    #[n(1)]
    #[cbor(default)]
    pub remove: Vec<String>,
    /// These come.
    #[n(2)]
    #[cbor(default)]
    pub add: Vec<String>,
}

/// What came of trying to restore a snapshot and use what was restored.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Proof {
    /// When it began.
    #[n(0)]
    pub began: Timestamp,
    /// Whether it succeeded.
    #[n(1)]
    pub verdict: ProofVerdict,
    /// How long it took, in seconds.
    #[n(2)]
    pub seconds: u64,
    /// What was done and found, for people.
    #[n(3)]
    pub message: String,
    /// How long a program of the instance's took to test what was restored, in seconds; `None` if none did.
    #[n(4)]
    pub test_seconds: Option<u64>,
}

/// Whether a snapshot did what it is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum ProofVerdict {
    /// It did.
    #[n(0)]
    Ok,
    /// It did not.
    #[n(1)]
    Failed,
}

/// An annotation that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AnnotationError {
    /// The bytes do not have the form of an annotation.
    #[error("an annotation cannot be decoded")]
    Decode(#[from] minicbor::decode::Error),
    /// What it says cannot be said.
    #[error("an annotation contradicts itself: {0}")]
    Inconsistent(&'static str),
}

/// Whether a text can be a tag: 1 to [`MAX_NAME_LEN`] bytes, no control characters.
pub fn is_tag(text: &str) -> bool {
    (1..=MAX_NAME_LEN).contains(&text.len()) && !text.chars().any(char::is_control)
}

impl TagChange {
    /// Changes the tags of a snapshot; those that come stand behind the others.
    pub fn apply(&self, tags: &mut Vec<String>) {
        let going: BTreeSet<&String> = self.remove.iter().collect();
        tags.retain(|tag| !self.clear && !going.contains(tag));
        for tag in &self.add {
            if !tags.contains(tag) {
                tags.push(tag.clone());
            }
        }
    }
}

impl Annotation {
    /// Gives the plain bytes.
    pub fn encode(&self) -> Vec<u8> {
        minicbor::to_vec(self).expect("a Vec takes every byte")
    }

    /// Reads plain bytes.
    ///
    /// # Errors
    /// Also what no writer makes: see [`Self::check`].
    pub fn decode(bytes: &[u8]) -> Result<Self, AnnotationError> {
        let annotation: Self = decode_whole(bytes)?;
        annotation.check()?;
        Ok(annotation)
    }

    /// Refuses what may not be written.
    ///
    /// # Errors
    /// [`AnnotationError::Inconsistent`].
    pub fn check(&self) -> Result<(), AnnotationError> {
        let agree = |holds: bool, what| if holds { Ok(()) } else { Err(AnnotationError::Inconsistent(what)) };
        agree(self.tags.is_some() || self.proof.is_some(), "it says nothing")?;
        agree(self.at.nanos < 1_000_000_000, "a time is no time")?;
        agree(self.host.len().max(self.user.len()) <= MAX_NAME_LEN, "a name is longer than 255 bytes")?;
        if let Some(TagChange { remove, add, .. }) = &self.tags {
            agree(remove.len().max(add.len()) <= MAX_TAGS, "it has more than 1000 tags")?;
            agree(add.iter().chain(remove).all(|tag| is_tag(tag)), "a tag is no tag")?;
        }
        if let Some(Proof { began, message, .. }) = &self.proof {
            agree(began.nanos < 1_000_000_000, "a time is no time")?;
            agree(message.len() <= MAX_MESSAGE_LEN, "its message is longer than 4096 bytes")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn annotation() -> Annotation {
        Annotation {
            snapshot: SnapshotId::from_bytes([0xaa; 32]),
            at: Timestamp { seconds: 1_700_000_000, nanos: 5 },
            host: "h".into(),
            user: "u".into(),
            tags: Some(TagChange { clear: true, remove: vec!["a".into()], add: vec!["b".into(), "c".into()] }),
            proof: Some(Proof {
                began: Timestamp { seconds: 1_700_000_000, nanos: 0 },
                verdict: ProofVerdict::Failed,
                seconds: 300,
                message: "m".into(),
                test_seconds: None,
            }),
        }
    }

    #[test]
    fn golden_annotation() {
        let hex: String = annotation().encode().iter().map(|byte| format!("{byte:02x}")).collect();
        let id = "aa".repeat(32);
        let expected = format!(
            "a6 00 5820{id} 01 821a6553f10005 02 6168 03 6175 04 a3 00f5 01 816161 02 8261626163 \
             05 a4 00 821a6553f10000 01 01 02 19012c 03 616d"
        );
        assert_eq!(hex, expected.replace(' ', ""));
        assert_eq!(Annotation::decode(&annotation().encode()).unwrap(), annotation());
        for half in [Annotation { tags: None, ..annotation() }, Annotation { proof: None, ..annotation() }] {
            assert_eq!(Annotation::decode(&half.encode()).unwrap(), half);
        }
        let mut tested = annotation();
        tested.proof.as_mut().unwrap().test_seconds = Some(20);
        let hex: String = tested.encode().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, expected.replace(' ', "").replace("05a4", "05a5") + "0414");
        assert_eq!(Annotation::decode(&tested.encode()).unwrap(), tested);
    }

    #[test]
    fn what_cannot_be_said_is_refused() {
        type Change = fn(&mut Annotation);
        let changes: [Change; 9] = [
            |a| (a.tags, a.proof) = (None, None),
            |a| a.at.nanos = 1_000_000_000,
            |a| a.host = "x".repeat(256),
            |a| a.user = "x".repeat(256),
            |a| a.tags.as_mut().unwrap().add.push(String::new()),
            |a| a.tags.as_mut().unwrap().remove.push("a\n".into()),
            |a| a.tags.as_mut().unwrap().add = (0..1001).map(|n| n.to_string()).collect(),
            |a| a.proof.as_mut().unwrap().began.nanos = u32::MAX,
            |a| a.proof.as_mut().unwrap().message = "x".repeat(4097),
        ];
        for change in changes {
            let mut annotation = annotation();
            change(&mut annotation);
            let read = Annotation::decode(&annotation.encode());
            assert!(matches!(read, Err(AnnotationError::Inconsistent(_))), "{annotation:?}");
        }
        let longer = [&annotation().encode()[..], &[0]].concat();
        assert!(matches!(Annotation::decode(&longer), Err(AnnotationError::Decode(_))));
    }

    #[test]
    fn tags_go_and_come_in_order() {
        let mut tags = vec!["x".to_owned(), "a".to_owned()];
        TagChange { remove: vec!["a".into()], add: vec!["b".into(), "x".into()], clear: false }.apply(&mut tags);
        assert_eq!(tags, ["x", "b"]);
        // What one annotation removes and adds, is there.
        TagChange { remove: vec!["c".into()], add: vec!["c".into()], clear: true }.apply(&mut tags);
        assert_eq!(tags, ["c"]);
    }

    #[test]
    fn announced_lengths_allocate_nothing() {
        for bytes in
            [&b"\xa5\x04\xa1\x01\x9b\xff\xff\xff\xff\xff\xff\xff\xff"[..], b"\xbb\xff\xff\xff\xff\xff\xff\xff\xff"]
        {
            assert!(Annotation::decode(bytes).is_err());
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), at: prop::sample::Index, byte: u8) {
            let _ = Annotation::decode(&bytes);
            let mut changed = annotation().encode();
            let at = at.index(changed.len());
            changed[at] = byte;
            let _ = Annotation::decode(&changed);
            prop_assert!(Annotation::decode(&changed[..at]).is_err());
        }
    }
}
