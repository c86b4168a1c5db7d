use argon2::{Algorithm, Argon2, Params, Version};
use minicbor::{Decode, Encode};
use zeroize::Zeroizing;

use super::{KeyError, Secret};

/// The most that a slot may ask for; more is refused as hostile.
const MAX_MEMORY_KIB: u32 = 4 << 20;
const MAX_PASSES: u32 = 64;
const MAX_LANES: u32 = 64;

/// How a slot's key is derived from a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Kdf {
    /// By one hash: for generated secrets, whose 256 bits nobody can try out.
    #[n(0)]
    Direct,
    /// By Argon2id (RFC 9106), version 1.3, which makes every guess cost time and memory.
    #[n(1)]
    Argon2id {
        /// Memory in KiB.
        #[n(0)]
        memory_kib: u32,
        /// Passes over the memory.
        #[n(1)]
        passes: u32,
        /// Lanes that can be computed side by side.
        #[n(2)]
        lanes: u32,
    },
}

impl Kdf {
    /// [`Direct`](Self::Direct) for a generated secret, else Argon2id with 64 MiB, 3 passes and
    /// 4 lanes: the second recommended choice of RFC 9106, section 4.
    pub fn default_for(secret: &Secret) -> Self {
        if secret.is_generated() { Self::Direct } else { Self::Argon2id { memory_kib: 64 << 10, passes: 3, lanes: 4 } }
    }

    pub(super) fn validate(&self) -> Result<(), KeyError> {
        match *self {
            Self::Direct => Ok(()),
            Self::Argon2id { memory_kib, passes, lanes } => {
                // RFC 9106, section 3.1: at least 8 KiB for each lane.
                let sane = (1..=MAX_LANES).contains(&lanes)
                    && (1..=MAX_PASSES).contains(&passes)
                    && (8 * lanes..=MAX_MEMORY_KIB).contains(&memory_kib);
                if sane { Ok(()) } else { Err(KeyError::Kdf(*self)) }
            }
        }
    }

    pub(super) fn key(&self, secret: &Secret, salt: &[u8]) -> Result<Zeroizing<[u8; 32]>, KeyError> {
        self.validate()?;
        match *self {
            Self::Direct if !secret.is_generated() => Err(KeyError::WeakSecret),
            Self::Direct => {
                let mut hasher = blake3::Hasher::new_derive_key("icecore v1 key slot of a generated secret");
                hasher.update(salt).update(secret.expose());
                Ok(Zeroizing::new(*hasher.finalize().as_bytes()))
            }
            Self::Argon2id { memory_kib, passes, lanes } => {
                let refused = |error| match error {
                    argon2::Error::OutOfMemory => KeyError::Memory(memory_kib),
                    _ => KeyError::Kdf(*self),
                };
                let params = Params::new(memory_kib, passes, lanes, Some(32)).map_err(refused)?;
                let mut key = Zeroizing::new([0; 32]);
                Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
                    .hash_password_into(secret.expose(), salt, &mut *key)
                    .map_err(refused)?;
                Ok(key)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::Entropy;

    /// The Argon2id key was computed by an independent implementation.
    #[test]
    fn keys_are_golden() {
        let hex = |key: Zeroizing<[u8; 32]>| blake3::Hash::from_bytes(*key).to_string();
        let generated = Secret::generate(Entropy([7; 32]));
        let typed = Secret::new("password");
        let tiny = Kdf::Argon2id { memory_kib: 32, passes: 2, lanes: 4 };
        assert_eq!(
            hex(Kdf::Direct.key(&generated, &[1; 20]).unwrap()),
            "c36ce29cf2c75a3d5899a3933ebf0a839e30e2d7b6bc4209e4dee15e343df456"
        );
        assert_eq!(
            hex(tiny.key(&typed, &[1; 20]).unwrap()),
            "f5c8658c038ac393f2b555b70302c40c98602901a8c81dca17b4759ae8c2d34d"
        );
    }

    #[test]
    fn a_person_s_secret_is_never_derived_directly() {
        let typed = Secret::new("correct horse");
        assert!(matches!(Kdf::Direct.key(&typed, &[1; 20]), Err(KeyError::WeakSecret)));
        assert_eq!(Kdf::default_for(&typed), Kdf::Argon2id { memory_kib: 65536, passes: 3, lanes: 4 });
        assert_eq!(Kdf::default_for(&Secret::generate(Entropy([7; 32]))), Kdf::Direct);
    }

    #[test]
    fn absurd_parameters_are_refused_before_anything_is_allocated() {
        let kdf = |memory_kib, passes, lanes| Kdf::Argon2id { memory_kib, passes, lanes };
        for good in [kdf(8, 1, 1), kdf(4 << 20, 64, 64)] {
            assert!(good.validate().is_ok());
        }
        for bad in [
            kdf(7, 1, 1),
            kdf((4 << 20) + 1, 1, 1),
            kdf(64, 0, 1),
            kdf(64, 65, 1),
            kdf(64, 1, 0),
            kdf(4096, 1, 65),
            kdf(31, 1, 4),
            kdf(u32::MAX, u32::MAX, u32::MAX),
        ] {
            assert!(matches!(bad.key(&Secret::new("x"), &[0; 20]), Err(KeyError::Kdf(_))), "{bad:?}");
        }
    }
}
