//! Fixed keys. A fuzzer finds no forged tag, so the targets seal arbitrary bytes themselves to reach the parsers
//! behind the seals, and open arbitrary objects to see that none opens.

use std::sync::LazyLock;

use icecore_format::id::RepositoryId;
use icecore_format::keys::Credentials;
use icecore_format::seal::{Entropy, OpenKey, SealKey};

/// The repository of everything here.
pub const REPOSITORY: RepositoryId = RepositoryId::from_bytes([0x1C; 32]);

/// The owner of the repository.
pub static OWNER: LazyLock<Credentials> = LazyLock::new(|| credentials(1));

/// Somebody else, who sealed the seeds: what opens with the owner's keys was forged.
pub static STRANGER: LazyLock<Credentials> = LazyLock::new(|| credentials(101));

/// Seals for the owner.
pub static SEAL: LazyLock<SealKey> = LazyLock::new(|| OWNER.seal_key(REPOSITORY));

/// Opens what was sealed for the owner.
pub static OPEN: LazyLock<OpenKey> = LazyLock::new(|| OWNER.open_key(REPOSITORY).expect("the owner is a reader"));

fn credentials(first: u8) -> Credentials {
    Credentials::generate([first, first + 1, first + 2].map(|byte| Entropy([byte; 32])))
}
