//! FUSE, by the kernel's own protocol.
//!
//! ```text
//! kernel ─▶ several threads ─▶ Snapshots ─┬─ above the snapshots: Tree, renewed every minute
//!                                         └─ in a snapshot: Access ◀─ Ahead (a few threads)
//! ```

mod ahead;
mod attributes;
mod directory;
mod dispatch;
mod files;
mod handles;
mod mounted;
mod point;
mod snapshots;

pub use mounted::{Mounted, mount};
