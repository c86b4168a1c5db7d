use std::fmt;

use minicbor::{Decode, Encode};
use zeroize::Zeroizing;

use super::KeyError;
use crate::chunk::IdKey;
use crate::id::RepositoryId;
use crate::seal::{self, Entropy, OpenKey, SealKey};

/// What the holder of credentials may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Role {
    /// Everything.
    #[n(0)]
    Reader,
    /// Add backups, but read nothing that is sealed.
    #[n(1)]
    Writer,
}

/// The keys of a repository: the id key, the write secret and the key pair, whose private key a
/// writer does not have.
#[derive(Clone)]
pub struct Credentials {
    id_key: IdKey,
    write_secret: Zeroizing<[u8; 32]>,
    public: [u8; 32],
    private: Option<Zeroizing<[u8; 32]>>,
}

/// How credentials stand in a slot.
#[derive(Encode, Decode)]
#[cbor(map)]
struct Plain<'b> {
    #[cbor(b(0), with = "minicbor::bytes")]
    id_key: &'b [u8],
    #[cbor(b(1), with = "minicbor::bytes")]
    write_secret: &'b [u8],
    #[cbor(b(2), with = "minicbor::bytes")]
    public: &'b [u8],
    #[cbor(b(3), with = "minicbor::bytes")]
    private: Option<&'b [u8]>,
}

impl Credentials {
    /// Makes the credentials of a new repository from random bytes for the id key, the write secret
    /// and the key pair, in this order.
    pub fn generate(entropy: [Entropy; 3]) -> Self {
        let [id_key, write_secret, pair] = entropy;
        let (private, public) = seal::key_pair(&pair);
        Self {
            id_key: IdKey::from_bytes(id_key.0),
            write_secret: Zeroizing::new(write_secret.0),
            public,
            private: Some(private),
        }
    }

    /// The key that names chunks.
    pub fn id_key(&self) -> &IdKey {
        &self.id_key
    }

    /// The key that seals objects.
    pub fn seal_key(&self, repository: RepositoryId) -> SealKey {
        SealKey::new(repository, self.public, *self.write_secret)
    }

    /// The key that opens objects; a writer has none.
    pub fn open_key(&self, repository: RepositoryId) -> Option<OpenKey> {
        let private = self.private.as_ref()?;
        // Cannot fail: X25519 takes any 32 bytes.
        OpenKey::new(repository, **private, *self.write_secret).ok()
    }

    /// Tells a reader from a writer.
    pub fn role(&self) -> Role {
        if self.private.is_some() { Role::Reader } else { Role::Writer }
    }

    /// The credentials of a writer.
    pub fn without_private(&self) -> Self {
        Self { private: None, ..self.clone() }
    }

    /// Computes a tag that only who knows the write secret can compute. The label keeps the tags of
    /// different things apart.
    pub fn authenticate(&self, label: &str, bytes: &[u8]) -> [u8; 32] {
        let key = Zeroizing::new(blake3::derive_key("icecore v1 authentication", &*self.write_secret));
        let mut hasher = blake3::Hasher::new_keyed(&key);
        // The length in front of the label: no label and bytes read like another label and bytes.
        hasher.update(&(label.len() as u64).to_be_bytes()).update(label.as_bytes()).update(bytes);
        *hasher.finalize().as_bytes()
    }

    pub(super) fn encode(&self) -> Zeroizing<Vec<u8>> {
        let plain = Plain {
            id_key: self.id_key.as_bytes(),
            write_secret: &*self.write_secret,
            public: &self.public,
            private: self.private.as_ref().map(|private| &private[..]),
        };
        // Room for all of it, so that no copy stays behind where the vector grew.
        let mut bytes = Zeroizing::new(Vec::with_capacity(256));
        minicbor::encode(plain, &mut *bytes).expect("writing to memory does not fail");
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, KeyError> {
        let array = |bytes: &[u8]| <[u8; 32]>::try_from(bytes).map_err(|_| KeyError::Damaged);
        let plain: Plain = minicbor::decode(bytes).map_err(|_| KeyError::Damaged)?;
        let public = array(plain.public)?;
        seal::public_key(&public).map_err(|_| KeyError::Damaged)?;
        let private = plain.private.map(|private| array(private).map(Zeroizing::new)).transpose()?;
        if private.as_deref().is_some_and(|private| seal::public_of(private) != Ok(public)) {
            return Err(KeyError::Damaged);
        }
        Ok(Self {
            id_key: IdKey::from_bytes(array(plain.id_key)?),
            write_secret: Zeroizing::new(array(plain.write_secret)?),
            public,
            private,
        })
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("role", &self.role()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::seal::{ObjectKind, open_object, seal_object};

    pub(crate) fn credentials() -> Credentials {
        Credentials::generate([Entropy([1; 32]), Entropy([2; 32]), Entropy([3; 32])])
    }

    /// The key pair was computed by an independent implementation of RFC 9180.
    #[test]
    fn encoding_is_golden() {
        let hex: String = credentials().encode().iter().map(|b| format!("{b:02x}")).collect();
        let expected = [
            "a4",
            &["005820", &"01".repeat(32)].concat(),
            &["015820", &"02".repeat(32)].concat(),
            "02582090ab790ecbf0704232ffe9436faeccc913b66a60e99c688a40bba4d5e2e61450",
            "035820a8b1202142bd84505f6760a671df6aaaeaab9303adbfead3ed330a7797330049",
        ];
        assert_eq!(hex, expected.concat());
        let writer = credentials().without_private().encode();
        assert_eq!((writer[0], writer.len()), (0xa3, 1 + 3 * 35));
    }

    #[test]
    fn a_writer_seals_what_only_a_reader_opens() {
        let repository = RepositoryId::from_bytes([9; 32]);
        let reader = credentials();
        let writer = reader.without_private();
        assert_eq!((reader.role(), writer.role()), (Role::Reader, Role::Writer));
        assert!(writer.open_key(repository).is_none());
        let object = seal_object(&writer.seal_key(repository), ObjectKind::Snapshot, Entropy([4; 32]), b"night");
        let opened = open_object(&reader.open_key(repository).unwrap(), ObjectKind::Snapshot, &object);
        assert_eq!(opened.unwrap(), b"night");
        assert_eq!(writer.id_key().id(b"x"), reader.id_key().id(b"x"));
        assert_eq!(writer.authenticate("l", b"x"), reader.authenticate("l", b"x"));
    }

    #[test]
    fn tags_depend_on_label_bytes_and_secret() {
        let tag = credentials().authenticate("config", b"bytes");
        let other = Credentials::generate([Entropy([1; 32]), Entropy([0; 32]), Entropy([3; 32])]);
        let tags = [
            tag,
            credentials().authenticate("confi", b"gbytes"),
            credentials().authenticate("config", b"byte"),
            credentials().authenticate("", b"configbytes"),
            other.authenticate("config", b"bytes"),
        ];
        let distinct: std::collections::BTreeSet<_> = tags.iter().collect();
        assert_eq!(distinct.len(), tags.len());
        assert_eq!(
            blake3::Hash::from_bytes(tag).to_string(),
            "3048c5621d64c27639fad0d1ea40515cf6ee6f5cd4861a02d45e86fe6512931d"
        );
    }

    #[test]
    fn credentials_that_do_not_fit_together_are_refused() {
        let good = credentials().encode();
        assert!(Credentials::decode(&good).is_ok());
        let public_at = 1 + 2 * 35 + 3;
        let mut other_public = good.clone();
        other_public[public_at] ^= 1;
        let mut zero_public = credentials().without_private().encode();
        zero_public[public_at..].fill(0);
        for bad in [&other_public[..], &zero_public, &good[..good.len() - 1], b""] {
            assert!(matches!(Credentials::decode(bad), Err(KeyError::Damaged)));
        }
    }

    #[test]
    fn debug_shows_only_the_role() {
        assert_eq!(format!("{:?}", credentials()), "Credentials { role: Reader, .. }");
    }

    proptest! {
        #[test]
        fn round_trip(bytes: [[u8; 32]; 3], writer: bool) {
            let credentials = Credentials::generate(bytes.map(Entropy));
            let credentials = if writer { credentials.without_private() } else { credentials };
            let decoded = Credentials::decode(&credentials.encode()).unwrap();
            prop_assert_eq!(decoded.encode(), credentials.encode());
            prop_assert_eq!(decoded.role(), credentials.role());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = Credentials::decode(&bytes);
        }
    }
}
