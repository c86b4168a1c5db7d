//! A repository whose packs are small, so that a small tree fills several of them.

use icecore_format::config::Config;
use icecore_format::entry::Timestamp;
use icecore_format::id::{RepositoryId, SlotId};
use icecore_format::keys::{Credentials, Kdf, Secret, Slot};
use icecore_format::seal::Entropy;
use icecore_store::{Put, Store};

use crate::key;

/// Plain bytes of a frame: the least that the format allows.
pub const FRAME_SIZE: u32 = 64 << 10;

/// Bytes of a pack: the least that the format allows.
pub const PACK_SIZE: u32 = 1 << 20;

/// A password that was generated, so that no time goes into its derivation; the same one for each seed.
pub fn secret(seed: u8) -> Secret {
    Secret::generate(Entropy([seed; 32]))
}

/// Makes a repository in an empty store: always the same keys, small frames, small packs.
///
/// # Panics
/// If the store fails or holds one already.
pub fn small_repository(store: &dyn Store, secret: &Secret) {
    let created = Timestamp { seconds: 1_700_000_000, nanos: 0 };
    let credentials = Credentials::generate([Entropy([1; 32]), Entropy([2; 32]), Entropy([3; 32])]);
    let repository = RepositoryId::from_bytes([4; 32]);
    let config = Config { frame_size: FRAME_SIZE, pack_size: PACK_SIZE, ..Config::new(repository, created) };
    let kdf = Kdf::default_for(secret);
    let slot = Slot::create(&credentials, secret, kdf, "test", created, repository, Entropy([5; 32]));
    let slot = slot.expect("the secret makes a slot").encode();
    let id = SlotId::from_bytes(*blake3::hash(&slot).as_bytes());
    for (name, bytes) in [(format!("keys/{id}"), slot), ("config".to_owned(), config.encode(&credentials))] {
        assert_eq!(store.put(&key(&name), &[&bytes]).expect("the store works"), Put::Created, "{name}");
    }
}
