//! Credentials and the slots that hold them.
//!
//! A repository has one set of [`Credentials`]. A [`Slot`] is an object that holds them, sealed with
//! a [`Secret`]; there may be many. A writer's slot lacks the private key: it can add backups to a
//! repository but read none.

mod credentials;
mod kdf;
mod secret;
mod slot;

pub use credentials::{Credentials, Role};
pub use kdf::Kdf;
pub use secret::Secret;
pub use slot::Slot;

/// Why a key slot cannot be made, read or opened.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The magic bytes are missing.
    #[error("these bytes are not a key slot")]
    NotASlot,
    /// A later version of the slot format.
    #[error("the key slot has format version {0}, this program knows version {version}", version = slot::VERSION)]
    Version(u8),
    /// The slot's bytes break the format.
    #[error("the key slot is damaged")]
    Malformed(#[from] minicbor::decode::Error),
    /// A label of more than 200 bytes or with control characters.
    #[error("a key slot's label has at most 200 bytes and no control characters")]
    Label,
    /// Nanoseconds of a second or more.
    #[error("the key slot's time of creation is no time")]
    Time,
    /// Parameters outside the limits that guard against hostile slots.
    #[error("the key slot asks for an unreasonable key derivation: {0:?}")]
    Kdf(Kdf),
    /// The memory that the parameters ask for is not there.
    #[error("the key derivation needs {0} KiB of memory, which are not available")]
    Memory(u32),
    /// No secret at all.
    #[error("the password is empty")]
    EmptySecret,
    /// A secret that was not generated needs a slow key derivation.
    #[error("only a generated secret can be used without Argon2id")]
    WeakSecret,
    /// The secret is not the one that the slot was sealed with, or the slot was changed.
    #[error("the password does not open this key slot")]
    WrongSecret,
    /// The secret opens the slot, but what is in it are no credentials.
    #[error("the key slot opens, but holds no valid credentials")]
    Damaged,
}
