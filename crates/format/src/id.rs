//! Typed ids: 32 bytes, shown as 64 hexadecimal digits. There is no conversion between kinds.

use std::fmt;
use std::str::FromStr;

/// A text that is not 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not an id: expected 64 hexadecimal digits")]
pub struct ParseIdError(String);

fn write_hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|b| write!(f, "{b:02x}"))
}

fn parse_hex(text: &str) -> Result<[u8; 32], ParseIdError> {
    let digit = |c: u8| match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    };
    let fail = || ParseIdError(text.chars().take(80).collect());
    let text_bytes = text.as_bytes();
    if text_bytes.len() != 64 {
        return Err(fail());
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(text_bytes.chunks_exact(2)) {
        let (high, low) = digit(pair[0]).zip(digit(pair[1])).ok_or_else(fail)?;
        *byte = high << 4 | low;
    }
    Ok(bytes)
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 32]);

        impl $name {
            /// Wraps 32 bytes.
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// Wraps a slice if it has 32 bytes.
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }

            /// The 32 bytes.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// The first 8 hexadecimal digits, for people.
            pub fn short(&self) -> String {
                self.to_string()[..8].to_owned()
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
                    .ok_or_else(|| minicbor::decode::Error::message("an id has 32 bytes").at(position))
            }
        }
    )*};
}

ids! {
    /// Names a chunk: the keyed BLAKE3 hash of its plain bytes.
    ChunkId;
    /// Names a pack: the BLAKE3 hash of the object's bytes.
    PackId;
    /// Names a snapshot record: the BLAKE3 hash of the object's bytes.
    SnapshotId;
    /// Names an index fragment: the BLAKE3 hash of the object's bytes.
    FragmentId;
    /// Names a key slot: the BLAKE3 hash of the object's bytes.
    SlotId;
    /// Names a repository: 32 random bytes drawn when it is created.
    RepositoryId;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips_and_bad_text_is_refused() {
        let id = ChunkId::from_bytes(std::array::from_fn(|i| i as u8 * 7));
        assert_eq!(id.to_string().parse::<ChunkId>().unwrap(), id);
        assert_eq!(id.short(), id.to_string()[..8]);
        for bad in ["", "00", &"g".repeat(64), &"A".repeat(64), &"é".repeat(32)] {
            assert!(bad.parse::<ChunkId>().is_err(), "{bad}");
        }
    }
}
