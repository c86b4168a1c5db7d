//! How an object is encrypted and authenticated.
//!
//! ```text
//! object: header (40 bytes) | sealed segment | sealed segment | …
//! header: "ICEC" | version 1 | kind | 0 0 | encapsulated key (32 bytes)
//! sealed segment: ciphertext | tag (16 bytes)
//! ```
//!
//! Every object has a data key of its own, which HPKE (RFC 9180, mode PSK) agrees on with the
//! repository's public key: who holds the write secret can seal, only who also holds the private key
//! can open. Segments are AES-256-GCM; their nonces count, because a data key is never used twice.

use std::convert::Infallible;
use std::fmt;

use hpke::aead::AesGcm256;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::rand_core::{TryCryptoRng, TryRng};
use hpke::{Deserializable, HpkeError, Kem, OpModeR, OpModeS, PskBundle, Serializable};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::id::RepositoryId;

/// Bytes of an object's header.
pub const HEADER_LEN: usize = 40;

/// Bytes that sealing adds to a segment: the AES-GCM tag.
pub const TAG_LEN: usize = 16;

/// Plain bytes of every segment but the last of an object written by [`seal_object`].
pub const SEGMENT_LEN: usize = 1 << 20;

const MAGIC: &[u8; 4] = b"ICEC";
const VERSION: u8 = 1;
/// What every segment authenticates besides itself: magic, version, kind, reserved bytes.
const PREFIX_LEN: usize = 8;
const EXPORT: &[u8] = b"icecore data key";

type PublicKey = <X25519HkdfSha256 as Kem>::PublicKey;
type PrivateKey = <X25519HkdfSha256 as Kem>::PrivateKey;
type EncappedKey = <X25519HkdfSha256 as Kem>::EncappedKey;
type DataKey = Zeroizing<[u8; 32]>;

/// Why an object cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Fewer bytes than an object's header and one tag.
    #[error("the object is too short: {0} bytes")]
    TooShort(usize),
    /// The magic bytes are missing.
    #[error("these bytes are not an icecore object")]
    NotAnObject,
    /// A later version of the object format.
    #[error("the object has format version {0}, this program knows version {VERSION}")]
    Version(u8),
    /// An object of another kind, or of a kind that this version does not know.
    #[error("the object is of kind {found}, expected {expected:?} ({})", *expected as u8)]
    WrongKind {
        /// What the caller asked for.
        expected: ObjectKind,
        /// What the header says.
        found: u8,
    },
    /// Bytes were changed, cut off or moved, or they were sealed under other keys.
    #[error("the object is damaged or was sealed with other keys")]
    Damaged,
    /// The bytes of a key are no key.
    #[error("these bytes are not a usable key")]
    BadKey,
}

/// What an object holds. Part of the header and of the key agreement, so that no object can stand in
/// for one of another kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ObjectKind {
    /// A pack of file content.
    DataPack = 1,
    /// A pack of manifest blocks.
    ManifestPack = 2,
    /// An index fragment.
    Fragment = 3,
    /// A snapshot record.
    Snapshot = 4,
    /// A prune mark.
    Mark = 5,
    /// The record of a running session.
    Session = 6,
    /// A later remark about a snapshot.
    Annotation = 7,
}

/// Where a sealed segment stands in its object; the first part of its nonce.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Segment {
    /// A part of the body that another follows; each frame of a pack.
    Body = 0,
    /// The end of the body: a reader that does not meet it was given a cut object.
    LastBody = 1,
    /// A pack's list of its frames.
    Footer = 2,
    /// The length of a pack's footer.
    Trailer = 3,
}

/// Fresh random bytes for one use. The caller draws them from the operating system: this crate has
/// no randomness, and the same bytes give the same object.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Entropy(pub [u8; 32]);

impl fmt::Debug for Entropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entropy").finish_non_exhaustive()
    }
}

/// Hands entropy to HPKE's key generation, which draws 32 bytes once: they are the `ikmE` of RFC 9180.
/// The ratchet only makes a further draw, which does not happen, differ from the first.
struct Draw(Entropy);

impl TryRng for Draw {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        let Entropy(state) = &mut self.0;
        for part in bytes.chunks_mut(state.len()) {
            part.copy_from_slice(&state[..part.len()]);
            *state = blake3::derive_key("icecore v1 entropy ratchet", &*state);
        }
        Ok(())
    }
}

impl TryCryptoRng for Draw {}

/// Derives a key pair: private and public key (`DeriveKeyPair` of RFC 9180 over the bytes).
pub(crate) fn key_pair(entropy: &Entropy) -> (Zeroizing<[u8; 32]>, [u8; 32]) {
    let (private, public) = X25519HkdfSha256::derive_keypair(&entropy.0);
    (Zeroizing::new(private.to_bytes().into()), public.to_bytes().into())
}

/// Computes the public key of a private key.
pub(crate) fn public_of(private: &[u8; 32]) -> Result<[u8; 32], SealError> {
    let private = PrivateKey::from_bytes(private).map_err(|_| SealError::BadKey)?;
    Ok(X25519HkdfSha256::sk_to_pk(&private).to_bytes().into())
}

/// Reads a public key. A few points of low order are none: the secret agreed with them is zero
/// whatever the private key, and HPKE refuses them when it meets them, which a trial tells.
pub(crate) fn public_key(bytes: &[u8; 32]) -> Result<PublicKey, SealError> {
    let trial = Entropy(*blake3::hash(b"icecore public key trial").as_bytes());
    let public = PublicKey::from_bytes(bytes).map_err(|_| SealError::BadKey)?;
    encapsulate(&public, b"-", b"-", b"", trial).map_err(|_| SealError::BadKey)?;
    Ok(public)
}

fn encapsulate(
    public: &PublicKey,
    secret: &[u8],
    secret_id: &[u8],
    info: &[u8],
    entropy: Entropy,
) -> Result<(EncappedKey, DataKey), HpkeError> {
    let mode = OpModeS::Psk(PskBundle::new(secret, secret_id)?);
    let draw = &mut Draw(entropy);
    let (encapped, context) =
        hpke::setup_sender_with_rng::<AesGcm256, HkdfSha256, X25519HkdfSha256>(&mode, public, info, draw)?;
    let mut key = DataKey::default();
    context.export(EXPORT, &mut *key)?;
    Ok((encapped, key))
}

/// Binds a data key to the object's kind and repository.
fn info(kind: ObjectKind, repository: &RepositoryId) -> Vec<u8> {
    [&b"icecore object v1"[..], &[kind as u8], repository.as_bytes()].concat()
}

/// What sealing needs; every slot has it.
#[derive(Clone)]
pub struct SealKey {
    repository: RepositoryId,
    public: PublicKey,
    write_secret: Zeroizing<[u8; 32]>,
}

impl SealKey {
    /// Puts the key together.
    ///
    /// # Panics
    ///
    /// If `public` is a point of low order, which no key pair has.
    /// [`Credentials`](crate::keys::Credentials) are checked for it where they are decoded.
    pub fn new(repository: RepositoryId, public: [u8; 32], write_secret: [u8; 32]) -> Self {
        let public = public_key(&public).expect("a public key");
        Self { repository, public, write_secret: Zeroizing::new(write_secret) }
    }

    /// Starts an object: its header and its data key.
    pub fn begin(&self, kind: ObjectKind, entropy: Entropy) -> ([u8; HEADER_LEN], ObjectKey) {
        let info = info(kind, &self.repository);
        let (encapped, key) =
            encapsulate(&self.public, &*self.write_secret, self.repository.as_bytes(), &info, entropy)
                .expect("`new` checked the public key, and nothing else can fail");
        let mut header = [0; HEADER_LEN];
        header[..PREFIX_LEN].copy_from_slice(&prefix(kind));
        header[PREFIX_LEN..].copy_from_slice(&encapped.to_bytes());
        (header, ObjectKey::new(kind, &key))
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealKey").field("repository", &self.repository).finish_non_exhaustive()
    }
}

/// What opening needs; reader slots have it.
#[derive(Clone)]
pub struct OpenKey {
    repository: RepositoryId,
    private: PrivateKey,
    write_secret: Zeroizing<[u8; 32]>,
}

impl OpenKey {
    /// Puts the key together.
    pub fn new(repository: RepositoryId, private: [u8; 32], write_secret: [u8; 32]) -> Result<Self, SealError> {
        let private = Zeroizing::new(private);
        let private = PrivateKey::from_bytes(&*private).map_err(|_| SealError::BadKey)?;
        Ok(Self { repository, private, write_secret: Zeroizing::new(write_secret) })
    }

    /// Finds the data key of an object from its header, which may have more bytes behind it.
    ///
    /// A wrong key is not noticed here but by the first segment that is opened.
    pub fn begin(&self, kind: ObjectKind, header: &[u8]) -> Result<ObjectKey, SealError> {
        let header = header.get(..HEADER_LEN).ok_or(SealError::TooShort(header.len()))?;
        let (head, encapped) = header.split_at(PREFIX_LEN);
        let (magic, version, found) = (&head[..4], head[4], head[5]);
        if magic != MAGIC {
            return Err(SealError::NotAnObject);
        }
        if version != VERSION {
            return Err(SealError::Version(version));
        }
        if found != kind as u8 {
            return Err(SealError::WrongKind { expected: kind, found });
        }
        if head != prefix(kind) {
            return Err(SealError::Damaged);
        }
        self.decapsulate(kind, encapped).map_err(|_| SealError::Damaged)
    }

    fn decapsulate(&self, kind: ObjectKind, encapped: &[u8]) -> Result<ObjectKey, HpkeError> {
        let mode = OpModeR::Psk(PskBundle::new(&*self.write_secret, self.repository.as_bytes())?);
        let context = hpke::setup_receiver::<AesGcm256, HkdfSha256, X25519HkdfSha256>(
            &mode,
            &self.private,
            &EncappedKey::from_bytes(encapped)?,
            &info(kind, &self.repository),
        )?;
        let mut key = DataKey::default();
        context.export(EXPORT, &mut *key)?;
        Ok(ObjectKey::new(kind, &key))
    }
}

impl fmt::Debug for OpenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenKey").field("repository", &self.repository).finish_non_exhaustive()
    }
}

fn prefix(kind: ObjectKind) -> [u8; PREFIX_LEN] {
    let [a, b, c, d] = *MAGIC;
    [a, b, c, d, VERSION, kind as u8, 0, 0]
}

/// One object's data key.
pub struct ObjectKey {
    key: LessSafeKey,
    prefix: [u8; PREFIX_LEN],
}

impl ObjectKey {
    fn new(kind: ObjectKind, key: &DataKey) -> Self {
        Self { key: cipher(key), prefix: prefix(kind) }
    }

    /// Encrypts `buffer[from..]` in place and appends [`TAG_LEN`] bytes.
    ///
    /// Each pair of segment and counter must be used once only.
    ///
    /// # Panics
    ///
    /// If `from` lies behind the buffer's end or the segment has 64 GiB or more (AES-GCM's limit).
    pub fn seal(&self, segment: Segment, counter: u64, buffer: &mut Vec<u8>, from: usize) {
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce(segment, counter), Aad::from(self.prefix), &mut buffer[from..])
            .expect("a segment of less than 64 GiB");
        buffer.extend_from_slice(tag.as_ref());
    }

    /// Decrypts a sealed segment in place and returns its plain bytes, which end before the tag.
    ///
    /// On [`SealError::Damaged`] the buffer's content is unspecified.
    pub fn open<'a>(&self, segment: Segment, counter: u64, sealed: &'a mut [u8]) -> Result<&'a mut [u8], SealError> {
        self.key.open_in_place(nonce(segment, counter), Aad::from(self.prefix), sealed).map_err(|_| SealError::Damaged)
    }
}

impl fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectKey").finish_non_exhaustive()
    }
}

/// Prepares AES-256-GCM.
pub(crate) fn cipher(key: &[u8; 32]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("AES-256 takes 32 bytes"))
}

fn nonce(segment: Segment, counter: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[..4].copy_from_slice(&(segment as u32).to_be_bytes());
    bytes[4..].copy_from_slice(&counter.to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}

/// Seals a small object that is read whole. Cutting, moving or dropping segments is noticed, because
/// the last one is sealed as such.
pub fn seal_object(key: &SealKey, kind: ObjectKind, entropy: Entropy, plain: &[u8]) -> Vec<u8> {
    let (header, key) = key.begin(kind, entropy);
    let segments = plain.len().div_ceil(SEGMENT_LEN).max(1);
    let mut object = Vec::with_capacity(HEADER_LEN + plain.len() + segments * TAG_LEN);
    object.extend_from_slice(&header);
    let mut rest = plain;
    for counter in 0.. {
        let (part, behind) = rest.split_at(rest.len().min(SEGMENT_LEN));
        let segment = if behind.is_empty() { Segment::LastBody } else { Segment::Body };
        let from = object.len();
        object.extend_from_slice(part);
        key.seal(segment, counter, &mut object, from);
        if behind.is_empty() {
            break;
        }
        rest = behind;
    }
    object
}

/// Opens what [`seal_object`] made.
pub fn open_object(key: &OpenKey, kind: ObjectKind, object: &[u8]) -> Result<Vec<u8>, SealError> {
    let key = key.begin(kind, object)?;
    let mut body = object.get(HEADER_LEN..).filter(|body| !body.is_empty()).ok_or(SealError::TooShort(object.len()))?;
    let mut plain = Vec::with_capacity(body.len());
    let mut buffer = Vec::with_capacity(body.len().min(SEGMENT_LEN + TAG_LEN));
    for counter in 0.. {
        let (sealed, behind) = body.split_at(body.len().min(SEGMENT_LEN + TAG_LEN));
        let segment = if behind.is_empty() { Segment::LastBody } else { Segment::Body };
        buffer.clear();
        buffer.extend_from_slice(sealed);
        plain.extend_from_slice(key.open(segment, counter, &mut buffer)?);
        if behind.is_empty() {
            break;
        }
        body = behind;
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const REPOSITORY: RepositoryId = RepositoryId::from_bytes([0x11; 32]);
    const WRITE_SECRET: [u8; 32] = [0x22; 32];

    fn keys() -> (SealKey, OpenKey) {
        let (private, public) = key_pair(&Entropy([0x33; 32]));
        (SealKey::new(REPOSITORY, public, WRITE_SECRET), OpenKey::new(REPOSITORY, *private, WRITE_SECRET).unwrap())
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    fn fuzzy(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i * 31 + i / 251) as u8).collect()
    }

    /// The expected bytes were computed by an independent implementation of RFC 9180.
    #[test]
    fn objects_are_golden() {
        let (seal, open) = keys();
        let object = seal_object(&seal, ObjectKind::Snapshot, Entropy([0x44; 32]), b"ice core");
        assert_eq!(hex(&object[..8]), "4943454301040000");
        assert_eq!(hex(&object[8..40]), "86e76b8dd088dabf46d94d4820a251861376de69c3a36f2e53f8bffcdb519e00");
        assert_eq!(hex(&object[40..]), "893be5fe977b0e207dd00e237b2c59c6e902461acef45594");
        assert_eq!(open_object(&open, ObjectKind::Snapshot, &object).unwrap(), b"ice core");
    }

    #[test]
    fn segments_of_a_pack_are_golden() {
        let (seal, _) = keys();
        let (_, key) = seal.begin(ObjectKind::DataPack, Entropy([0x44; 32]));
        let mut buffer = b"kept".to_vec();
        for (segment, counter) in
            [(Segment::Body, 0), (Segment::Body, 1 << 40), (Segment::Footer, 0), (Segment::Trailer, 0)]
        {
            let from = buffer.len();
            buffer.push(b'x');
            key.seal(segment, counter, &mut buffer, from);
        }
        assert_eq!(&buffer[..4], b"kept");
        let expected = [
            "825ae46a5a7638d12e9c5ed35d46ae50ef",
            "b037901c60ce671f95a2e89979afe913de",
            "031aa9f9ad7270c2dc7431def460c7dddb",
            "1f135879dcbe03e469b2e7d2325b46e686",
        ];
        assert_eq!(hex(&buffer[4..]), expected.concat());
    }

    #[test]
    fn segment_counts_and_lengths() {
        let (seal, open) = keys();
        for (len, segments) in [
            (0, 1),
            (1, 1),
            (SEGMENT_LEN - 1, 1),
            (SEGMENT_LEN, 1),
            (SEGMENT_LEN + 1, 2),
            (2 * SEGMENT_LEN, 2),
            (2 * SEGMENT_LEN + 9, 3),
        ] {
            let plain = fuzzy(len);
            let object = seal_object(&seal, ObjectKind::Fragment, Entropy([7; 32]), &plain);
            assert_eq!(object.len(), HEADER_LEN + len + segments * TAG_LEN);
            assert!(open_object(&open, ObjectKind::Fragment, &object).unwrap() == plain, "{len}");
        }
    }

    #[test]
    fn cut_swapped_and_joined_segments_are_noticed() {
        const SEALED: usize = SEGMENT_LEN + TAG_LEN;
        let (seal, open) = keys();
        let object = seal_object(&seal, ObjectKind::Fragment, Entropy([7; 32]), &fuzzy(3 * SEGMENT_LEN));
        let (header, body) = object.split_at(HEADER_LEN);
        let parts: Vec<_> = body.chunks(SEALED).collect();
        let [a, b, c] = parts[..] else { panic!("three segments") };
        let open = |parts: &[&[u8]]| open_object(&open, ObjectKind::Fragment, &[&[header], parts].concat().concat());
        assert!(open(&[a, b, c]).is_ok());
        for bad in
            [&[a, b][..], &[a], &[c], &[b, a, c], &[a, c, b], &[a, b, c, c], &[a, b, b], &[a, b, c, &c[..TAG_LEN]]]
        {
            assert_eq!(open(bad), Err(SealError::Damaged));
        }
        assert_eq!(open(&[]), Err(SealError::TooShort(HEADER_LEN)));
    }

    #[test]
    fn errors_say_what_is_wrong() {
        let (seal, open) = keys();
        let object = seal_object(&seal, ObjectKind::Mark, Entropy([7; 32]), b"");
        let with = |index: usize, byte: u8| {
            let mut object = object.clone();
            object[index] = byte;
            open_object(&open, ObjectKind::Mark, &object)
        };
        assert_eq!(open_object(&open, ObjectKind::Mark, b"ICEC"), Err(SealError::TooShort(4)));
        assert_eq!(with(0, b'i'), Err(SealError::NotAnObject));
        assert_eq!(with(4, 2), Err(SealError::Version(2)));
        assert_eq!(with(5, 9), Err(SealError::WrongKind { expected: ObjectKind::Mark, found: 9 }));
        assert_eq!(with(6, 1), Err(SealError::Damaged));
        assert_eq!(
            open_object(&open, ObjectKind::Session, &object).unwrap_err().to_string(),
            "the object is of kind 5, expected Session (6)"
        );
    }

    #[test]
    fn other_keys_open_nothing() {
        let (seal, _) = keys();
        let object = seal_object(&seal, ObjectKind::Mark, Entropy([7; 32]), b"secret");
        let (private, _) = key_pair(&Entropy([0x33; 32]));
        let (stranger, _) = key_pair(&Entropy([0x34; 32]));
        let other = RepositoryId::from_bytes([0x12; 32]);
        for open in [
            OpenKey::new(REPOSITORY, *stranger, WRITE_SECRET),
            OpenKey::new(REPOSITORY, *private, [0x23; 32]),
            OpenKey::new(other, *private, WRITE_SECRET),
        ] {
            assert_eq!(open_object(&open.unwrap(), ObjectKind::Mark, &object), Err(SealError::Damaged));
        }
    }

    #[test]
    fn points_of_low_order_are_no_public_keys() {
        let mut one = [0; 32];
        one[0] = 1;
        assert_eq!(public_key(&[0; 32]).err(), Some(SealError::BadKey));
        assert_eq!(public_key(&one).err(), Some(SealError::BadKey));
        let (private, public) = key_pair(&Entropy([1; 32]));
        assert!(public_key(&public).is_ok());
        assert_eq!(public_of(&private), Ok(public));
    }

    #[test]
    fn draws_never_repeat_themselves() {
        let mut drawn = [0; 96];
        Draw(Entropy([5; 32])).try_fill_bytes(&mut drawn).unwrap();
        assert_eq!(drawn[..32], [5; 32]);
        assert!(drawn[32..64] != drawn[..32] && drawn[64..] != drawn[32..64]);
    }

    #[test]
    fn debug_shows_no_secret() {
        let (seal, open) = keys();
        let (_, key) = seal.begin(ObjectKind::Mark, Entropy([0xAB; 32]));
        let shown = format!("{seal:?} {open:?} {key:?} {:?}", Entropy([0xAB; 32]));
        assert_eq!(
            shown,
            "SealKey { repository: RepositoryId(11111111), .. } OpenKey { repository: RepositoryId(11111111), .. } \
             ObjectKey { .. } Entropy { .. }"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn round_trip(entropy: [u8; 32], plain: Vec<u8>) {
            let (seal, open) = keys();
            let object = seal_object(&seal, ObjectKind::Session, Entropy(entropy), &plain);
            prop_assert_eq!(open_object(&open, ObjectKind::Session, &object).unwrap(), plain);
        }

        #[test]
        fn any_flipped_bit_is_noticed(plain: Vec<u8>, bit: prop::sample::Index) {
            let (seal, open) = keys();
            let mut object = seal_object(&seal, ObjectKind::Session, Entropy([9; 32]), &plain);
            let bit = bit.index(object.len() * 8);
            object[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(open_object(&open, ObjectKind::Session, &object).is_err());
        }

        #[test]
        fn any_truncation_is_noticed(plain: Vec<u8>, len: prop::sample::Index) {
            let (seal, open) = keys();
            let object = seal_object(&seal, ObjectKind::Session, Entropy([9; 32]), &plain);
            prop_assert!(open_object(&open, ObjectKind::Session, &object[..len.index(object.len())]).is_err());
        }

        #[test]
        fn arbitrary_bytes_never_panic(known in 0..8usize, tail: Vec<u8>) {
            let (_, open) = keys();
            let object = [&prefix(ObjectKind::Session)[..known], &tail].concat();
            prop_assert!(open_object(&open, ObjectKind::Session, &object).is_err());
        }
    }

    /// Every bit of a header counts, also the one that X25519 ignores.
    #[test]
    fn every_bit_of_a_header_counts() {
        let (seal, open) = keys();
        let object = seal_object(&seal, ObjectKind::Session, Entropy([9; 32]), b"");
        for bit in 0..HEADER_LEN * 8 {
            let mut object = object.clone();
            object[bit / 8] ^= 1 << (bit % 8);
            assert!(open_object(&open, ObjectKind::Session, &object).is_err(), "bit {bit}");
        }
    }
}
