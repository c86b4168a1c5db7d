//! Creating and opening a repository: a store, its configuration and the credentials that a secret unlocks.

use std::sync::Arc;

use icecore_format::chunk::IdKey;
use icecore_format::config::{Config, FORMAT_VERSION, UnverifiedConfig};
use icecore_format::cut::CutParams;
use icecore_format::entry::Timestamp;
use icecore_format::id::RepositoryId;
use icecore_format::keys::{Credentials, Kdf, Role, Secret, Slot};
use icecore_format::seal::{OpenKey, SealKey};
use icecore_store::{ErrorKind, Put, Store};

use crate::error::{Error, Result};
use crate::layout;
use crate::objects::entropy;
use crate::slots;

/// Plain bytes that a frame gathers before it is sealed: decided by `docs/studies`, until then as the design starts.
pub const FRAME_SIZE: u32 = 1 << 20;

/// Bytes of a data pack: large enough that an object store and a disk are asked seldom, small enough that two stand in memory.
pub const PACK_SIZE: u32 = 16 << 20;

/// An opened repository. It hands out capabilities ([`SealKey`], [`OpenKey`], [`IdKey`], the store) and does no work itself.
pub struct Repository {
    store: Arc<dyn Store>,
    config: Config,
    credentials: Credentials,
}

impl std::fmt::Debug for Repository {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Repository").field("location", &self.location()).finish_non_exhaustive()
    }
}

impl Repository {
    /// Creates a repository in an empty store. The key slot is durable before the configuration, which makes it a
    /// repository: an interrupted creation leaves nothing that `open` would take for one.
    pub fn create(store: Arc<dyn Store>, secret: &Secret, label: &str, now: Timestamp) -> Result<Self> {
        let location = store.location();
        if store.size(&layout::config())?.is_some() {
            return Err(Error::AlreadyExists { location });
        }
        if has_remains(store.as_ref())? {
            return Err(Error::ConfigMissing { location });
        }
        let credentials = Credentials::generate([entropy()?, entropy()?, entropy()?]);
        let config = Config {
            version: FORMAT_VERSION,
            features: Vec::new(),
            repository: RepositoryId::from_bytes(entropy()?.0),
            cut: CutParams::default(),
            created: now,
            frame_size: FRAME_SIZE,
            pack_size: PACK_SIZE,
        };
        let kdf = Kdf::default_for(secret);
        let slot = Slot::create(&credentials, secret, kdf, label, now, config.repository, entropy()?)?;
        slots::put(store.as_ref(), &slot)?;
        match store.put(&layout::config(), &[&config.encode(&credentials)])? {
            Put::Created => Ok(Self { store, config, credentials }),
            Put::Existed => Err(Error::AlreadyExists { location }),
        }
    }

    /// Opens a repository with a secret that unlocks one of its key slots.
    pub fn open(store: Arc<dyn Store>, secret: &Secret) -> Result<Self> {
        let location = store.location();
        let unverified = read_config(store.as_ref())?;
        let mut tried = 0;
        let (found, unusable) = slots::all(store.as_ref())?;
        // A generated secret opens its slot at no cost; slots with a costly derivation are tried after.
        let mut ordered: Vec<_> = found.iter().collect();
        ordered.sort_by_key(|(_, slot)| secret.is_generated() != (slot.kdf() == Kdf::Direct));
        for (_, slot) in ordered {
            tried += 1;
            if let Ok(credentials) = slot.open(secret, unverified.repository()) {
                let config = unverified.verify(&credentials).map_err(|source| Error::Config { location, source })?;
                return Ok(Self { store, config, credentials });
            }
        }
        if tried > 0 {
            return Err(Error::WrongPassword { location, slots: tried, unusable });
        }
        let reason = if unusable.is_empty() { "the folder keys is empty".to_owned() } else { unusable.join("; ") };
        Err(Error::NoKeySlot { location, reason })
    }

    /// Tells whether a store holds what is left of a repository whose configuration is gone.
    pub fn has_lost_its_config(store: &dyn Store) -> Result<bool> {
        Ok(!Self::exists(store)? && has_remains(store)?)
    }

    /// Tells whether a store holds a repository, without any key.
    pub fn exists(store: &dyn Store) -> Result<bool> {
        Ok(store.size(&layout::config())?.is_some())
    }

    /// Makes sure that the store still holds it. A directory whose disk has gone lists nothing, as an empty repository would.
    ///
    /// # Errors
    /// [`Error::NoRepository`].
    pub fn expect_present(&self) -> Result<()> {
        if Self::exists(self.store())? { Ok(()) } else { Err(Error::NoRepository { location: self.location() }) }
    }

    /// Where it is, for people.
    pub fn location(&self) -> String {
        self.store.location()
    }

    /// The verified configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The repository's id.
    pub fn id(&self) -> RepositoryId {
        self.config.repository
    }

    /// Whether the opened slot can read or only write.
    pub fn role(&self) -> Role {
        self.credentials.role()
    }

    /// What names chunks.
    pub fn id_key(&self) -> &IdKey {
        self.credentials.id_key()
    }

    /// What seals objects.
    pub fn seal_key(&self) -> SealKey {
        self.credentials.seal_key(self.id())
    }

    /// What opens objects; [`Error::WriteOnly`] for a writer.
    pub fn open_key(&self) -> Result<OpenKey> {
        self.credentials.open_key(self.id()).ok_or(Error::WriteOnly)
    }

    pub(crate) fn store(&self) -> &dyn Store {
        self.store.as_ref()
    }

    pub(crate) fn credentials(&self) -> &Credentials {
        &self.credentials
    }
}

/// Whether packs or snapshots stand where there is no configuration: a creation that was interrupted leaves neither.
fn has_remains(store: &dyn Store) -> Result<bool> {
    let mut found = false;
    for directory in [layout::PACKS, layout::SNAPSHOTS] {
        // The error only ends the listing at the first object.
        let listed = store.list(directory, &mut |listed| {
            found = true;
            let enough = std::io::ErrorKind::Interrupted.into();
            Err(icecore_store::Error::new(icecore_store::error::Operation::List, listed.key, "", enough))
        });
        match listed {
            Err(_) if found => return Ok(true),
            listed => listed?,
        }
    }
    Ok(false)
}

pub(crate) fn read_config(store: &dyn Store) -> Result<UnverifiedConfig> {
    let location = store.location();
    let bytes = match store.get(&layout::config()) {
        Ok(bytes) => bytes,
        Err(error) if error.kind == ErrorKind::NotFound && has_remains(store)? => {
            return Err(Error::ConfigMissing { location });
        }
        Err(error) if error.kind == ErrorKind::NotFound => return Err(Error::NoRepository { location }),
        Err(error) => return Err(error.into()),
    };
    Config::decode(&bytes).map_err(|source| Error::Config { location, source })
}
