//! What an inode number says.
//!
//! ```text
//! 63      62 … 40            39 … 0
//!  0   snapshot, or 0    position + 1 of the entry, 0 for the top of the snapshot
//!                        without a snapshot: a directory or link above the snapshots, from 1 on
//! ```
//! Below 2^63, because some programs take it for a signed number.

/// Bits of the place in a snapshot: more than there can be entries.
const PLACE_BITS: u32 = 40;

/// Snapshot numbers are `1..SNAPSHOTS`.
pub const SNAPSHOTS: u32 = 1 << 23;

/// What stands behind an inode number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inode {
    /// A directory or link above the snapshots.
    Above(u64),
    /// The top of a snapshot, by its number.
    Top(u32),
    /// The entry at a position of a snapshot's manifest.
    Entry(u32, u64),
}

impl Inode {
    /// Reads a number.
    pub fn of(number: u64) -> Self {
        let (snapshot, place) = ((number >> PLACE_BITS) as u32, number & ((1 << PLACE_BITS) - 1));
        match (snapshot, place) {
            (0, place) => Self::Above(place),
            (snapshot, 0) => Self::Top(snapshot),
            (snapshot, place) => Self::Entry(snapshot, place - 1),
        }
    }

    /// The number; `None` if there are more entries than any manifest has.
    pub fn number(self) -> Option<u64> {
        let (snapshot, place) = match self {
            Self::Above(place) => (0, place),
            Self::Top(snapshot) => (snapshot, 0),
            Self::Entry(snapshot, position) => (snapshot, position.checked_add(1)?),
        };
        (place < 1 << PLACE_BITS && snapshot < SNAPSHOTS).then(|| u64::from(snapshot) << PLACE_BITS | place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_says_what_it_was_made_of() {
        let last = (1 << PLACE_BITS) - 2;
        for inode in [
            Inode::Above(1),
            Inode::Above(77),
            Inode::Top(1),
            Inode::Top(SNAPSHOTS - 1),
            Inode::Entry(1, 0),
            Inode::Entry(SNAPSHOTS - 1, last),
        ] {
            let number = inode.number().unwrap();
            assert_eq!(Inode::of(number), inode);
            assert!(number < 1 << 63);
        }
        assert_eq!(Inode::Entry(1, last + 1).number(), None);
        assert_eq!(Inode::Entry(1, u64::MAX).number(), None);
        assert_eq!(Inode::Top(SNAPSHOTS).number(), None);
    }
}
