use minicbor::{Decode, Encode};
use ring::aead::{Aad, Nonce};
use zeroize::Zeroizing;

use super::{Credentials, Kdf, KeyError, Role, Secret};
use crate::entry::Timestamp;
use crate::id::RepositoryId;
use crate::seal::{Entropy, cipher};

const MAGIC: &[u8; 4] = b"ICEK";
pub(super) const VERSION: u8 = 1;
const PREFIX: [u8; 8] = [MAGIC[0], MAGIC[1], MAGIC[2], MAGIC[3], VERSION, 0, 0, 0];
const SALT_LEN: usize = 20;
const NONCE_LEN: usize = 12;
/// Bytes; a label is for people.
const MAX_LABEL_LEN: usize = 200;

/// Credentials sealed with a secret.
///
/// ```text
/// slot: "ICEK" | version 1 | 0 0 0 | CBOR map | sealed credentials
/// ```
///
/// The bytes in front of the sealed ones are authenticated as they stand, and so is the repository's
/// id: a slot of another repository, or one whose label was changed, does not open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    terms: Terms,
    /// Prefix and map.
    head: Vec<u8>,
    sealed: Vec<u8>,
}

/// What everybody can read.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
struct Terms {
    #[n(0)]
    role: Role,
    #[n(1)]
    label: String,
    #[n(2)]
    created: Timestamp,
    #[n(3)]
    kdf: Kdf,
    #[cbor(n(4), with = "minicbor::bytes")]
    salt: [u8; SALT_LEN],
    #[cbor(n(5), with = "minicbor::bytes")]
    nonce: [u8; NONCE_LEN],
}

impl Slot {
    /// Seals credentials with a secret; the slot has their role. The label, at most 200 bytes, tells
    /// people whose slot it is.
    pub fn create(
        credentials: &Credentials,
        secret: &Secret,
        kdf: Kdf,
        label: &str,
        created: Timestamp,
        repository: RepositoryId,
        entropy: Entropy,
    ) -> Result<Self, KeyError> {
        if secret.expose().is_empty() {
            return Err(KeyError::EmptySecret);
        }
        let salt = std::array::from_fn(|i| entropy.0[i]);
        let nonce = std::array::from_fn(|i| entropy.0[SALT_LEN + i]);
        let terms = Terms { role: credentials.role(), label: label.to_owned(), created, kdf, salt, nonce };
        terms.validate()?;
        let mut head = PREFIX.to_vec();
        minicbor::encode(&terms, &mut head).expect("writing to memory does not fail");
        let mut slot = Self { terms, head, sealed: Vec::new() };
        let mut plain = credentials.encode();
        let tag = cipher(&*kdf.key(secret, &salt)?)
            .seal_in_place_separate_tag(slot.nonce(), slot.bound(repository), &mut plain)
            .expect("credentials are shorter than 64 GiB");
        slot.sealed = [&plain[..], tag.as_ref()].concat();
        Ok(slot)
    }

    /// Opens the slot. Costs the time and memory that its [`kdf`](Self::kdf) asks for.
    pub fn open(&self, secret: &Secret, repository: RepositoryId) -> Result<Credentials, KeyError> {
        let key = self.terms.kdf.key(secret, &self.terms.salt).map_err(|error| match error {
            KeyError::WeakSecret => KeyError::WrongSecret,
            error => error,
        })?;
        let mut sealed = Zeroizing::new(self.sealed.clone());
        let plain = cipher(&key)
            .open_in_place(self.nonce(), self.bound(repository), &mut sealed)
            .map_err(|_| KeyError::WrongSecret)?;
        let credentials = Credentials::decode(plain)?;
        if credentials.role() == self.terms.role { Ok(credentials) } else { Err(KeyError::Damaged) }
    }

    /// What the credentials inside can do.
    pub fn role(&self) -> Role {
        self.terms.role
    }

    /// Whose slot it is, for people.
    pub fn label(&self) -> &str {
        &self.terms.label
    }

    /// When it was made.
    pub fn created(&self) -> Timestamp {
        self.terms.created
    }

    /// What opening costs: a program tries the cheap slots first.
    pub fn kdf(&self) -> Kdf {
        self.terms.kdf
    }

    /// The object's bytes.
    pub fn encode(&self) -> Vec<u8> {
        [&self.head[..], &self.sealed].concat()
    }

    /// Reads an object. What it says is not authenticated before it is opened.
    pub fn decode(bytes: &[u8]) -> Result<Self, KeyError> {
        let (prefix, map) = bytes.split_first_chunk::<8>().ok_or(KeyError::NotASlot)?;
        if prefix[..4] != *MAGIC {
            return Err(KeyError::NotASlot);
        }
        if *prefix != PREFIX {
            return Err(KeyError::Version(prefix[4]));
        }
        let mut decoder = minicbor::Decoder::new(map);
        let terms: Terms = decoder.decode()?;
        terms.validate()?;
        let (head, sealed) = bytes.split_at(PREFIX.len() + decoder.position());
        Ok(Self { terms, head: head.to_vec(), sealed: sealed.to_vec() })
    }

    fn nonce(&self) -> Nonce {
        Nonce::assume_unique_for_key(self.terms.nonce)
    }

    fn bound(&self, repository: RepositoryId) -> Aad<Vec<u8>> {
        Aad::from([&self.head[..], repository.as_bytes()].concat())
    }
}

impl Terms {
    fn validate(&self) -> Result<(), KeyError> {
        if self.label.len() > MAX_LABEL_LEN || self.label.chars().any(char::is_control) {
            return Err(KeyError::Label);
        }
        if self.created.nanos >= 1_000_000_000 {
            return Err(KeyError::Time);
        }
        self.kdf.validate()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const REPOSITORY: RepositoryId = RepositoryId::from_bytes([0x11; 32]);
    const CREATED: Timestamp = Timestamp { seconds: 1_790_000_000, nanos: 5 };
    const TINY: Kdf = Kdf::Argon2id { memory_kib: 8, passes: 1, lanes: 1 };

    fn credentials() -> Credentials {
        Credentials::generate([Entropy([1; 32]), Entropy([2; 32]), Entropy([3; 32])])
    }

    fn slot(secret: &Secret, kdf: Kdf) -> Slot {
        let entropy = Entropy(std::array::from_fn(|i| i as u8));
        Slot::create(&credentials(), secret, kdf, "ops", CREATED, REPOSITORY, entropy).unwrap()
    }

    /// The expected bytes were computed by an independent implementation of `docs/format.md`.
    #[test]
    fn encoding_is_golden() {
        let slot = slot(&Secret::new("password"), TINY);
        let hex: String = slot.encode().iter().map(|b| format!("{b:02x}")).collect();
        let expected = [
            "4943454b01000000a6",
            "0000",
            "01636f7073",
            "02821a6ab13b8005",
            "03820183080101",
            "0454000102030405060708090a0b0c0d0e0f10111213",
            "054c1415161718191a1b1c1d1e1f",
            // The credentials and their tag.
            "c7ad17ca116a8e4b801908e044baad4025cc15796ece78c8f2a0d3dcb5146916951d7abe9f660bbc",
            "604a461d376de697284aa9aefacdaf78dca5878573bc038a5074436402d99ea4ca28ba41ab7279d9",
            "4efa4440347ff54993718244117306fd87e17cd3d6b5400a4713ad7f2306dd94e76a1045df622704",
            "af3d296f1c1c38fd6e162b6d0a325696434da985db70167b8115724a8b1800e8ad00891496",
        ];
        assert_eq!(hex, expected.concat());
    }

    #[test]
    fn only_the_right_secret_and_repository_open_a_slot() {
        let typed = Secret::new("correct horse");
        let generated = Secret::generate(Entropy([7; 32]));
        for (secret, other, kdf) in [(&typed, &generated, TINY), (&generated, &typed, Kdf::Direct)] {
            let slot = Slot::decode(&slot(secret, kdf).encode()).unwrap();
            assert_eq!(slot.kdf(), kdf);
            let opened = slot.open(secret, REPOSITORY).unwrap();
            assert_eq!(opened.encode(), credentials().encode());
            assert!(matches!(slot.open(other, REPOSITORY), Err(KeyError::WrongSecret)));
            let elsewhere = RepositoryId::from_bytes([0x12; 32]);
            assert!(matches!(slot.open(secret, elsewhere), Err(KeyError::WrongSecret)));
        }
    }

    #[test]
    fn what_people_read_is_authenticated() {
        let secret = Secret::generate(Entropy([7; 32]));
        let slot = slot(&secret, Kdf::Direct);
        assert_eq!((slot.role(), slot.label(), slot.created()), (Role::Reader, "ops", CREATED));
        let mut bytes = slot.encode();
        let at = bytes.windows(3).position(|label| label == b"ops").unwrap();
        bytes[at] = b'u';
        let changed = Slot::decode(&bytes).unwrap();
        assert_eq!(changed.label(), "ups");
        assert!(matches!(changed.open(&secret, REPOSITORY), Err(KeyError::WrongSecret)));
    }

    #[test]
    fn a_writers_slot_lacks_the_private_key() {
        let secret = Secret::generate(Entropy([7; 32]));
        let writer = credentials().without_private();
        let slot = Slot::create(&writer, &secret, Kdf::Direct, "", CREATED, REPOSITORY, Entropy([8; 32])).unwrap();
        assert_eq!(slot.role(), Role::Writer);
        assert_eq!(slot.open(&secret, REPOSITORY).unwrap().role(), Role::Writer);
    }

    #[test]
    fn bad_slots_are_not_made() {
        let create = |secret: &str, kdf, label: &str, nanos| {
            let created = Timestamp { seconds: 0, nanos };
            let secret = Secret::new(secret);
            Slot::create(&credentials(), &secret, kdf, label, created, REPOSITORY, Entropy([8; 32])).unwrap_err()
        };
        let absurd = Kdf::Argon2id { memory_kib: u32::MAX, passes: 1, lanes: 1 };
        assert!(matches!(create("", TINY, "", 0), KeyError::EmptySecret));
        assert!(matches!(create("x", Kdf::Direct, "", 0), KeyError::WeakSecret));
        assert!(matches!(create("x", absurd, "", 0), KeyError::Kdf(_)));
        assert!(matches!(create("x", TINY, &"l".repeat(201), 0), KeyError::Label));
        assert!(matches!(create("x", TINY, "a\nb", 0), KeyError::Label));
        assert!(matches!(create("x", TINY, "", 1_000_000_000), KeyError::Time));
    }

    #[test]
    fn foreign_and_newer_bytes_are_told() {
        let mut bytes = slot(&Secret::generate(Entropy([7; 32])), Kdf::Direct).encode();
        assert!(matches!(Slot::decode(b""), Err(KeyError::NotASlot)));
        assert!(matches!(Slot::decode(b"not a slot"), Err(KeyError::NotASlot)));
        assert!(matches!(Slot::decode(&bytes[..20]), Err(KeyError::Malformed(_))));
        bytes[4] = 2;
        assert!(matches!(Slot::decode(&bytes), Err(KeyError::Version(2))));
    }

    #[test]
    fn every_flipped_bit_and_every_truncation_is_noticed() {
        let secret = Secret::generate(Entropy([7; 32]));
        let bytes = slot(&secret, Kdf::Direct).encode();
        for len in 0..bytes.len() {
            let opened = Slot::decode(&bytes[..len]).and_then(|slot| slot.open(&secret, REPOSITORY));
            assert!(opened.is_err(), "{len} bytes");
        }
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Slot::decode(&bytes).and_then(|slot| slot.open(&secret, REPOSITORY)).is_err(), "bit {bit}");
        }
    }

    proptest! {
        #[test]
        fn round_trip(label in "[^\\p{C}]{0,40}", seconds: i64, nanos in 0..1_000_000_000u32, entropy: [u8; 32]) {
            let secret = Secret::generate(Entropy([7; 32]));
            let created = Timestamp { seconds, nanos };
            let slot = Slot::create(
                &credentials(), &secret, Kdf::Direct, &label, created, REPOSITORY, Entropy(entropy),
            ).unwrap();
            let decoded = Slot::decode(&slot.encode()).unwrap();
            prop_assert_eq!(&decoded, &slot);
            prop_assert!(decoded.open(&secret, REPOSITORY).is_ok());
        }

        #[test]
        fn arbitrary_bytes_never_panic(known in 0..=8usize, tail: Vec<u8>) {
            let _ = Slot::decode(&[&PREFIX[..known], &tail].concat());
        }
    }
}
