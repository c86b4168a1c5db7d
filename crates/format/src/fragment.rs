//! What some packs contain, to fill an index without opening the packs.

use minicbor::{Decode, Encode};

use crate::entry::Timestamp;
use crate::id::FragmentId;
use crate::pack::{PackError, PackInfo, decode_whole};

/// The plain content of a fragment object. Sealed by [`seal_object`](crate::seal::seal_object).
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct Fragment {
    /// The packs it describes, each durable before the fragment is put.
    #[n(0)]
    pub packs: Vec<PackInfo>,
    /// Fragments that this one takes the place of: see [`Fragment::replaced`].
    #[n(1)]
    pub supersedes: Vec<FragmentId>,
    /// When it was made, read before it was put. One that supersedes nothing needs no time.
    #[n(2)]
    pub made: Option<Timestamp>,
}

/// A fragment that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FragmentError {
    /// The bytes do not have the form of a fragment.
    #[error("an index fragment cannot be decoded")]
    Decode(#[from] minicbor::decode::Error),
    /// It describes a pack that cannot exist.
    #[error("an index fragment contradicts itself")]
    Pack(#[from] PackError),
}

impl Fragment {
    /// A fragment that takes the place of none.
    pub fn of(packs: Vec<PackInfo>) -> Self {
        Self { packs, ..Self::default() }
    }

    /// Fragments whose packs, as far as they are to be had, this one describes too: who has read this one need not read them,
    /// and once it is old enough they are deleted. One without a time replaces nothing, whatever it says.
    pub fn replaced(&self) -> &[FragmentId] {
        if self.made.is_some() { &self.supersedes } else { &[] }
    }

    /// Gives the plain bytes.
    pub fn encode(&self) -> Vec<u8> {
        minicbor::to_vec(self).expect("a Vec takes every byte")
    }

    /// Reads plain bytes. Every pack's description passed [`PackInfo::validate`].
    pub fn decode(bytes: &[u8]) -> Result<Self, FragmentError> {
        let fragment: Self = decode_whole(bytes)?;
        fragment.packs.iter().try_for_each(PackInfo::validate)?;
        Ok(fragment)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::frame::{Encoding, FrameChunk};
    use crate::id::{ChunkId, PackId};
    use crate::pack::{FrameInfo, PackKind};

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    fn frame(lens: &[u32], save: u32) -> FrameInfo {
        let plain_len = lens.iter().sum::<u32>();
        FrameInfo {
            encoding: if save == 0 { Encoding::Raw } else { Encoding::Zstd },
            plain_len,
            stored_len: plain_len - save.min(plain_len - 1) + 16,
            chunks: lens.iter().map(|&len| FrameChunk { id: ChunkId::from_bytes([len as u8; 20]), len }).collect(),
        }
    }

    fn pack(kind: PackKind, frames: Vec<FrameInfo>) -> PackInfo {
        let mut info = PackInfo { id: PackId::from_bytes([0xaa; 32]), kind, size: 0, frames };
        info.size = info.footer_offset() + 200;
        info
    }

    fn small() -> Fragment {
        Fragment {
            packs: vec![pack(PackKind::Manifest, vec![frame(&[100, 65536], 7)])],
            supersedes: vec![FragmentId::from_bytes([0xbb; 32])],
            made: None,
        }
    }

    #[test]
    fn golden_fragment() {
        assert_eq!(
            hex(&small().encode()),
            "a20081a4005820aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa0102021a0001015d038184011a0001006d5828646464646464646464646464646464646464646400000000000000000000000000000000000000008218641a0001000001815820bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
        );
        assert_eq!(hex(&Fragment::default().encode()), "a200800180");
        let made = Some(Timestamp { seconds: 1_700_000_000, nanos: 5 });
        assert_eq!(hex(&Fragment { made, ..Fragment::default() }.encode()), "a30080018002821a6553f10005");
    }

    #[test]
    fn only_one_with_a_time_replaces_others() {
        let (timeless, made) = (small(), Some(Timestamp::default()));
        assert!(timeless.replaced().is_empty());
        assert_eq!(Fragment { made, ..small() }.replaced(), timeless.supersedes);
    }

    #[test]
    fn contradictions_are_refused() {
        let mut fragment = small();
        fragment.packs[0].size = 100;
        assert!(matches!(Fragment::decode(&fragment.encode()), Err(FragmentError::Pack(_))));
        let longer = [&small().encode()[..], &[0]].concat();
        assert!(matches!(Fragment::decode(&longer), Err(FragmentError::Decode(_))));
    }

    #[test]
    fn announced_lengths_allocate_nothing() {
        for bytes in [
            &b"\xa2\x00\x9b\xff\xff\xff\xff\xff\xff\xff\xff"[..],
            b"\xa2\x00\x80\x01\x9b\x7f\xff\xff\xff\xff\xff\xff\xff",
            b"\xbb\xff\xff\xff\xff\xff\xff\xff\xff",
        ] {
            assert!(Fragment::decode(bytes).is_err());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn fragments_round_trip(
            packs in prop::collection::vec(
                prop::collection::vec((prop::collection::vec(1u32..300_000, 1..20), 0u32..50), 0..5),
                0..5,
            ),
            supersedes in prop::collection::vec(any::<[u8; 32]>(), 0..5),
            made in prop::option::of((any::<i64>(), 0u32..1_000_000_000)),
        ) {
            let packs = packs.iter().map(|frames| {
                pack(PackKind::Data, frames.iter().filter(|(lens, _)| lens != &[1]).map(|(lens, save)| frame(lens, *save)).collect())
            });
            let fragment = Fragment {
                packs: packs.collect(),
                supersedes: supersedes.into_iter().map(FragmentId::from_bytes).collect(),
                made: made.map(|(seconds, nanos)| Timestamp { seconds, nanos }),
            };
            prop_assert_eq!(Fragment::decode(&fragment.encode()).unwrap(), fragment);
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), at: prop::sample::Index, byte: u8) {
            let _ = Fragment::decode(&bytes);
            let mut changed = small().encode();
            let at = at.index(changed.len());
            changed[at] = byte;
            let _ = Fragment::decode(&changed);
            prop_assert!(Fragment::decode(&changed[..at]).is_err());
        }
    }
}
