//! The first object of a repository: what every other object depends on.
//!
//! ```text
//! config: "ICECORE\n" | CBOR map | tag (32 bytes)
//! ```
//!
//! It is not encrypted, because the repository's id is needed to open a key slot. The tag, made with
//! the write secret, is checked once the credentials are there.

use minicbor::{Decode, Encode};

use crate::cut::{CutError, CutParams};
use crate::entry::Timestamp;
use crate::id::RepositoryId;
use crate::keys::Credentials;

/// The version of the repository format that this crate writes, and the highest that it reads.
pub const FORMAT_VERSION: u32 = 1;

/// The features of the format that this version knows. One that it does not know might change the
/// meaning of anything, so that a repository which has it is refused.
pub const FEATURES: &[&str] = &[];

const MAGIC: &[u8; 8] = b"ICECORE\n";
const TAG_LEN: usize = 32;
const LABEL: &str = "config";

const FRAME_SIZES: std::ops::RangeInclusive<u32> = 64 << 10..=16 << 20;
const PACK_SIZES: std::ops::RangeInclusive<u32> = 1 << 20..=1 << 30;

/// Why a repository's configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The magic bytes are missing.
    #[error("this is not the configuration of an icecore repository")]
    NotAConfig,
    /// The repository was made by a later version.
    #[error("the repository has format version {0}, this program knows versions up to {FORMAT_VERSION}")]
    Version(u32),
    /// The repository uses features that this version does not know.
    #[error("the repository needs features that this program does not know: {}", .0.join(", "))]
    Features(Vec<String>),
    /// The bytes break the format, for instance because the end is missing.
    #[error("the repository's configuration is damaged")]
    Malformed(#[from] minicbor::decode::Error),
    /// Cutting parameters that cannot work.
    #[error("the repository's cutting parameters cannot be used")]
    Cut(#[from] CutError),
    /// A size outside the limits.
    #[error("the repository's {name} of {size} bytes is not within {least} to {most} bytes")]
    Size {
        /// Which size it is.
        name: &'static str,
        /// What the configuration says, in bytes.
        size: u32,
        /// The least allowed, in bytes.
        least: u32,
        /// The most allowed, in bytes.
        most: u32,
    },
    /// Nanoseconds of a second or more.
    #[error("the repository's time of creation is no time")]
    Time,
    /// The tag does not fit: the configuration was changed, or the credentials are another
    /// repository's.
    #[error("the repository's configuration was changed by someone without its keys")]
    Unauthentic,
}

/// What every object of a repository depends on. Never changes.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Config {
    /// The version of the format.
    #[n(0)]
    pub version: u32,
    /// The features that a program must know to use the repository.
    #[n(1)]
    pub features: Vec<String>,
    /// The repository's name for machines.
    #[n(2)]
    pub repository: RepositoryId,
    /// When it was made.
    #[n(3)]
    pub created: Timestamp,
    /// How files are cut.
    #[n(4)]
    pub cut: CutParams,
    /// Plain bytes at which a frame is full, 64 KiB to 16 MiB. A single chunk may be longer.
    #[n(5)]
    pub frame_size: u32,
    /// Bytes at which a pack is full, 1 MiB to 1 GiB.
    #[n(6)]
    pub pack_size: u32,
}

/// The part that keeps its meaning in every version to come.
#[derive(Decode)]
#[cbor(map)]
struct Preamble {
    #[n(0)]
    version: u32,
    #[n(1)]
    features: Vec<String>,
}

impl Config {
    /// The usual frame size in bytes.
    pub const FRAME_SIZE: u32 = 512 << 10;

    /// The usual pack size in bytes.
    pub const PACK_SIZE: u32 = 32 << 20;

    /// The configuration of a new repository.
    pub fn new(repository: RepositoryId, created: Timestamp) -> Self {
        Self {
            version: FORMAT_VERSION,
            features: Vec::new(),
            repository,
            created,
            cut: CutParams::default(),
            frame_size: Self::FRAME_SIZE,
            pack_size: Self::PACK_SIZE,
        }
    }

    /// Tells whether a repository can work with this configuration. Decoded ones always pass.
    pub fn validate(&self) -> Result<(), ConfigError> {
        check_version(self.version, &self.features)?;
        if self.created.nanos >= 1_000_000_000 {
            return Err(ConfigError::Time);
        }
        self.cut.validate()?;
        for (name, size, range) in
            [("frame size", self.frame_size, FRAME_SIZES), ("pack size", self.pack_size, PACK_SIZES)]
        {
            if !range.contains(&size) {
                return Err(ConfigError::Size { name, size, least: *range.start(), most: *range.end() });
            }
        }
        Ok(())
    }

    /// The object's bytes.
    pub fn encode(&self, credentials: &Credentials) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        minicbor::encode(self, &mut bytes).expect("writing to memory does not fail");
        let tag = credentials.authenticate(LABEL, &bytes);
        bytes.extend_from_slice(&tag);
        bytes
    }

    /// Reads an object far enough to open a key slot.
    pub fn decode(bytes: &[u8]) -> Result<UnverifiedConfig, ConfigError> {
        let map = bytes.strip_prefix(MAGIC).ok_or(ConfigError::NotAConfig)?;
        // A later version may change all but the preamble, so that is read alone first.
        let Preamble { version, features } = minicbor::decode(map)?;
        check_version(version, &features)?;
        let mut decoder = minicbor::Decoder::new(map);
        let config: Self = decoder.decode()?;
        config.validate()?;
        let (signed, tag) = bytes.split_at(MAGIC.len() + decoder.position());
        let tag = tag
            .try_into()
            .map_err(|_| minicbor::decode::Error::message("32 bytes expected behind the map").at(decoder.position()))?;
        Ok(UnverifiedConfig { config, signed: signed.to_vec(), tag })
    }
}

fn check_version(version: u32, features: &[String]) -> Result<(), ConfigError> {
    if version == 0 || version > FORMAT_VERSION {
        return Err(ConfigError::Version(version));
    }
    let unknown: Vec<_> = features.iter().filter(|feature| !FEATURES.contains(&feature.as_str())).cloned().collect();
    if unknown.is_empty() { Ok(()) } else { Err(ConfigError::Features(unknown)) }
}

/// A configuration whose tag was not checked yet: good for opening a key slot, which fails if the id
/// is not the right one, and for nothing else.
#[derive(Debug, Clone)]
pub struct UnverifiedConfig {
    config: Config,
    signed: Vec<u8>,
    tag: [u8; TAG_LEN],
}

impl UnverifiedConfig {
    /// The repository's id.
    pub fn repository(&self) -> RepositoryId {
        self.config.repository
    }

    /// Checks the tag.
    pub fn verify(self, credentials: &Credentials) -> Result<Config, ConfigError> {
        // `blake3::Hash` compares in constant time.
        let expected = blake3::Hash::from_bytes(credentials.authenticate(LABEL, &self.signed));
        if expected == self.tag { Ok(self.config) } else { Err(ConfigError::Unauthentic) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::seal::Entropy;

    fn credentials() -> Credentials {
        Credentials::generate([Entropy([1; 32]), Entropy([2; 32]), Entropy([3; 32])])
    }

    fn config() -> Config {
        Config::new(RepositoryId::from_bytes([0x11; 32]), Timestamp { seconds: 1_790_000_000, nanos: 5 })
    }

    fn read(bytes: &[u8]) -> Result<Config, ConfigError> {
        Config::decode(bytes)?.verify(&credentials())
    }

    #[test]
    fn encoding_is_golden() {
        let hex: String = config().encode(&credentials()).iter().map(|b| format!("{b:02x}")).collect();
        let (map, tag) = hex.split_at(hex.len() - 64);
        let expected = [
            "494345434f52450a", // magic
            "a7",
            "0001",                                 // version
            "0180",                                 // features
            &["025820", &"11".repeat(32)].concat(), // repository
            "03821a6ab13b8005",                     // created
            "04a3",                                 // cut
            "00194000",
            "01a300194000011a00010000021a00040000",
            "02a3001a00010000011a00040000021a00100000",
            "051a00080000", // frame size
            "061a02000000", // pack size
        ];
        assert_eq!(map, expected.concat());
        assert_eq!(tag, "47eded16e1706d4fd795f29f5e78169a920d2be0e9aaad2046f1164d783dbf0c");
    }

    #[test]
    fn a_newer_repository_is_told_before_anything_else_is_read() {
        // {0: 2, 1: [], 2: "another encoding"}
        let newer = [&MAGIC[..], b"\xa3\x00\x02\x01\x80\x02\x70another encoding"].concat();
        assert!(matches!(Config::decode(&newer), Err(ConfigError::Version(2))));
        let zero = [&MAGIC[..], b"\xa2\x00\x00\x01\x80"].concat();
        assert!(matches!(Config::decode(&zero), Err(ConfigError::Version(0))));
        let strange = Config { features: vec!["lasers".into(), "mirrors".into()], ..config() };
        assert_eq!(
            Config::decode(&strange.encode(&credentials())).unwrap_err().to_string(),
            "the repository needs features that this program does not know: lasers, mirrors"
        );
    }

    #[test]
    fn foreign_and_cut_bytes_are_told() {
        assert!(matches!(Config::decode(b""), Err(ConfigError::NotAConfig)));
        assert!(matches!(Config::decode(b"version: 1\n"), Err(ConfigError::NotAConfig)));
        let bytes = config().encode(&credentials());
        assert!(matches!(Config::decode(&bytes[..bytes.len() - 1]), Err(ConfigError::Malformed(_))));
        assert!(matches!(Config::decode(&[&bytes[..], b"x"].concat()), Err(ConfigError::Malformed(_))));
        assert!(matches!(Config::decode(&bytes[..60]), Err(ConfigError::Malformed(_))));
    }

    #[test]
    fn sizes_out_of_range_are_refused() {
        let good = [(64 << 10, 1 << 20), (16 << 20, 1 << 30)];
        let bad =
            [((64 << 10) - 1, 32 << 20), ((16 << 20) + 1, 32 << 20), (1 << 19, (1 << 20) - 1), (1 << 19, u32::MAX)];
        for (pairs, valid) in [(&good[..], true), (&bad[..], false)] {
            for &(frame_size, pack_size) in pairs {
                let config = Config { frame_size, pack_size, ..config() };
                assert_eq!(read(&config.encode(&credentials())).is_ok(), valid, "{config:?}");
            }
        }
    }

    #[test]
    fn unknown_keys_are_skipped_but_authenticated() {
        let mut bytes = MAGIC.to_vec();
        minicbor::encode(config(), &mut bytes).unwrap();
        bytes[MAGIC.len()] += 1;
        bytes.extend_from_slice(b"\x18\x63\x65later");
        let tag = credentials().authenticate(LABEL, &bytes);
        let mut object = [&bytes[..], &tag].concat();
        assert_eq!(read(&object).unwrap(), config());
        object[bytes.len() - 1] ^= 1;
        assert!(matches!(read(&object), Err(ConfigError::Unauthentic)));
    }

    #[test]
    fn every_flipped_bit_and_every_truncation_is_noticed() {
        let bytes = config().encode(&credentials());
        assert_eq!(read(&bytes).unwrap(), config());
        for len in 0..bytes.len() {
            assert!(read(&bytes[..len]).is_err(), "{len} bytes");
        }
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&bytes).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn another_repository_s_credentials_do_not_fit() {
        let other = Credentials::generate([Entropy([1; 32]), Entropy([0; 32]), Entropy([3; 32])]);
        let unverified = Config::decode(&config().encode(&credentials())).unwrap();
        assert_eq!(unverified.repository(), config().repository);
        assert!(matches!(unverified.verify(&other), Err(ConfigError::Unauthentic)));
    }

    proptest! {
        #[test]
        fn round_trip(
            repository: [u8; 32],
            seconds: i64,
            nanos in 0..1_000_000_000u32,
            frame_size in FRAME_SIZES,
            pack_size in PACK_SIZES,
        ) {
            let config = Config {
                frame_size,
                pack_size,
                ..Config::new(RepositoryId::from_bytes(repository), Timestamp { seconds, nanos })
            };
            prop_assert_eq!(read(&config.encode(&credentials().without_private())).unwrap(), config);
        }

        #[test]
        fn arbitrary_bytes_never_panic(known in 0..=8usize, tail: Vec<u8>) {
            prop_assert!(read(&[&MAGIC[..known], &tail].concat()).is_err());
        }
    }
}
