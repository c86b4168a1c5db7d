//! Typed ids, shown in hexadecimal digits. There is no conversion between kinds.
//!
//! Ids of objects have 32 bytes. Chunks are named by 20: a repository has millions of them, each named in a manifest, a footer
//! and a fragment. With 2⁴⁰ chunks the chance that any two share such an id is 2⁻⁸¹; to make two of them on purpose takes
//! 2⁸⁰ hashes and the repository's secret key, and to meet a given one 2¹⁶⁰.

use std::fmt;
use std::str::FromStr;

/// A text that is not an id in lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is not an id: expected {digits} hexadecimal digits")]
pub struct ParseIdError {
    text: String,
    digits: usize,
}

fn write_hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|b| write!(f, "{b:02x}"))
}

fn parse_hex<const LEN: usize>(text: &str) -> Result<[u8; LEN], ParseIdError> {
    let digit = |c: u8| match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    };
    let fail = || ParseIdError { text: text.chars().take(80).collect(), digits: 2 * LEN };
    let text_bytes = text.as_bytes();
    if text_bytes.len() != 2 * LEN {
        return Err(fail());
    }
    let mut bytes = [0; LEN];
    for (byte, pair) in bytes.iter_mut().zip(text_bytes.chunks_exact(2)) {
        let (high, low) = digit(pair[0]).zip(digit(pair[1])).ok_or_else(fail)?;
        *byte = high << 4 | low;
    }
    Ok(bytes)
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident: $len:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $len]);

        impl $name {
            /// Bytes of an id.
            pub const LEN: usize = $len;

            /// Wraps the bytes of an id.
            pub const fn from_bytes(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            /// Wraps a slice if it has as many bytes as an id.
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }

            /// The bytes.
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }

            /// The first 8 hexadecimal digits, for people.
            pub fn short(&self) -> String {
                let [a, b, c, d, ..] = self.0;
                format!("{:08x}", u32::from_be_bytes([a, b, c, d]))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}(", stringify!($name))?;
                write_hex(&self.0[..4], f)?;
                f.write_str(")")
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;
            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                parse_hex(text).map(Self)
            }
        }

        impl<C> minicbor::Encode<C> for $name {
            fn encode<W: minicbor::encode::Write>(
                &self,
                e: &mut minicbor::Encoder<W>,
                _: &mut C,
            ) -> Result<(), minicbor::encode::Error<W::Error>> {
                e.bytes(&self.0)?.ok()
            }
        }

        impl<'b, C> minicbor::Decode<'b, C> for $name {
            fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
                let position = d.position();
                Self::from_slice(d.bytes()?)
                    .ok_or_else(|| minicbor::decode::Error::message(concat!("this id must have ", $len, " bytes")).at(position))
            }
        }
    )*};
}

ids! {
    /// Names a chunk: the first 20 bytes of the keyed BLAKE3 hash of its plain bytes.
    ChunkId: 20;
    /// Names a pack: the BLAKE3 hash of the object's bytes.
    PackId: 32;
    /// Names a snapshot record: the BLAKE3 hash of the object's bytes.
    SnapshotId: 32;
    /// Names an index fragment: the BLAKE3 hash of the object's bytes.
    FragmentId: 32;
    /// Names a prune mark: the BLAKE3 hash of the object's bytes.
    MarkId: 32;
    /// Names the record of a session: the BLAKE3 hash of the object's bytes.
    SessionId: 32;
    /// Names an annotation: the BLAKE3 hash of the object's bytes.
    AnnotationId: 32;
    /// Names a key slot: the BLAKE3 hash of the object's bytes.
    SlotId: 32;
    /// Names a repository: 32 random bytes drawn when it is created.
    RepositoryId: 32;
}

impl ChunkId {
    /// Names what has this hash.
    pub fn of_hash(hash: &blake3::Hash) -> Self {
        let mut bytes = [0; Self::LEN];
        bytes.copy_from_slice(&hash.as_bytes()[..Self::LEN]);
        Self(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips_and_bad_text_is_refused() {
        let id = ChunkId::from_bytes(std::array::from_fn(|i| i as u8 * 7));
        assert_eq!(id.to_string().parse::<ChunkId>().unwrap(), id);
        assert_eq!(id.short(), id.to_string()[..8]);
        for bad in ["", "00", &"g".repeat(40), &"A".repeat(40), &"é".repeat(20), &"a".repeat(64)] {
            assert!(bad.parse::<ChunkId>().is_err(), "{bad}");
        }
        assert!("a".repeat(64).parse::<PackId>().is_ok());
    }
}
