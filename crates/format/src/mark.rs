//! Which packs will go: what a prune tells everybody before it deletes.
//!
//! A mark is one CBOR map with integer keys, sealed as an object of its own. What each stage promises, and to whom, stands in
//! `docs/invariants.md`.

use minicbor::{Decode, Encode};

use crate::entry::Timestamp;
use crate::id::PackId;
use crate::pack::decode_whole;

/// How far the packs of a mark have come. Stages only rise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Stage {
    /// Nobody is to rely on them any more.
    #[n(0)]
    Announced,
    /// The same, and after a time they may be deleted.
    #[n(1)]
    Waiting,
    /// They are deleted.
    #[n(2)]
    Gone,
}

/// A prune mark.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Mark {
    /// The packs, at least one, strictly ascending.
    #[n(0)]
    pub packs: Vec<PackId>,
    /// How far they have come.
    #[n(1)]
    pub stage: Stage,
    /// When the mark was made: for [`Stage::Waiting`] and [`Stage::Gone`] after the stage before was durable.
    #[n(2)]
    pub at: Timestamp,
    /// From when on the packs may be deleted, by any host; not before `at`.
    #[n(3)]
    pub until: Timestamp,
    /// The host that made it, for people.
    #[n(4)]
    pub host: String,
}

/// A mark that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MarkError {
    /// The bytes do not have the form of a mark.
    #[error("a prune mark cannot be decoded")]
    Decode(#[from] minicbor::decode::Error),
    /// What it says cannot be true.
    #[error("a prune mark contradicts itself: {0}")]
    Inconsistent(&'static str),
}

impl Mark {
    /// Gives the plain bytes.
    pub fn encode(&self) -> Vec<u8> {
        minicbor::to_vec(self).expect("a Vec takes every byte")
    }

    /// Reads plain bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, MarkError> {
        let mark: Self = decode_whole(bytes)?;
        let fail = |what| Err(MarkError::Inconsistent(what));
        if mark.packs.is_empty() {
            return fail("it names no pack");
        }
        if !mark.packs.is_sorted_by(|a, b| a < b) {
            return fail("its packs are not in order");
        }
        if mark.at.nanos >= 1_000_000_000 || mark.until.nanos >= 1_000_000_000 {
            return fail("a time is no time");
        }
        if mark.until < mark.at {
            return fail("its packs may be deleted before it was made");
        }
        Ok(mark)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mark() -> Mark {
        Mark {
            packs: vec![PackId::from_bytes([0xaa; 32]), PackId::from_bytes([0xbb; 32])],
            stage: Stage::Waiting,
            at: Timestamp { seconds: 1_700_000_000, nanos: 5 },
            until: Timestamp { seconds: 1_700_086_400, nanos: 5 },
            host: "h".into(),
        }
    }

    #[test]
    fn golden_mark() {
        let hex: String = mark().encode().iter().map(|byte| format!("{byte:02x}")).collect();
        let (a, b) = ("aa".repeat(32), "bb".repeat(32));
        assert_eq!(hex, format!("a500825820{a}5820{b}010102821a6553f10005 03821a6555428005 046168").replace(' ', ""));
        assert_eq!(Mark::decode(&mark().encode()).unwrap(), mark());
    }

    #[test]
    fn contradictions_are_refused() {
        for change in [
            (|mark: &mut Mark| mark.packs.clear()) as fn(&mut Mark),
            |mark| mark.packs.reverse(),
            |mark| mark.packs[1] = mark.packs[0],
            |mark| mark.at.nanos = 1_000_000_000,
            |mark| mark.until.nanos = u32::MAX,
            |mark| mark.until.seconds = 0,
        ] {
            let mut mark = mark();
            change(&mut mark);
            assert!(matches!(Mark::decode(&mark.encode()), Err(MarkError::Inconsistent(_))), "{mark:?}");
        }
        let longer = [&mark().encode()[..], &[0]].concat();
        assert!(matches!(Mark::decode(&longer), Err(MarkError::Decode(_))));
    }

    #[test]
    fn announced_lengths_allocate_nothing() {
        for bytes in [&b"\xa5\x00\x9b\xff\xff\xff\xff\xff\xff\xff\xff"[..], b"\xbb\xff\xff\xff\xff\xff\xff\xff\xff"] {
            assert!(Mark::decode(bytes).is_err());
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), at: prop::sample::Index, byte: u8) {
            let _ = Mark::decode(&bytes);
            let mut changed = mark().encode();
            let at = at.index(changed.len());
            changed[at] = byte;
            let _ = Mark::decode(&changed);
            prop_assert!(Mark::decode(&changed[..at]).is_err());
        }
    }
}
