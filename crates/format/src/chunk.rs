//! The keyed id of a chunk.

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::id::ChunkId;

/// The key under which chunks are named. Without it an id tells nothing about the bytes, so that
/// nobody who only sees the store can test whether a known file is in it.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct IdKey([u8; 32]);

impl IdKey {
    /// Wraps 32 random bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Names a chunk by its plain bytes: the beginning of the keyed BLAKE3 hash.
    pub fn id(&self, bytes: &[u8]) -> ChunkId {
        ChunkId::of_hash(&blake3::keyed_hash(&self.0, bytes))
    }

    pub(crate) const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for IdKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdKey").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The key and the first two ids are of BLAKE3's published test vectors.
    #[test]
    fn ids_are_golden() {
        let key = IdKey::from_bytes(*b"whats the Elvish word for friend");
        for (bytes, id) in [
            (&b""[..], "92b2b75604ed3c761f9d6f62392c8a9227ad0ea3"),
            (b"\0", "6d7878dfff2f485635d39013278ae14f1454b8c0"),
            (b"ice core", "d440d59fe33f067f0a3ec07c6306d27842c1076f"),
        ] {
            assert_eq!(key.id(bytes).to_string(), id);
        }
        assert_eq!(format!("{key:?}"), "IdKey { .. }");
    }

    proptest! {
        #[test]
        fn another_key_gives_another_id(key: [u8; 32], bit in 0..256usize, bytes: Vec<u8>) {
            let mut other = key;
            other[bit / 8] ^= 1 << (bit % 8);
            let (key, other) = (IdKey::from_bytes(key), IdKey::from_bytes(other));
            prop_assert_eq!(key.id(&bytes), key.id(&bytes));
            prop_assert_ne!(key.id(&bytes), other.id(&bytes));
        }
    }
}
