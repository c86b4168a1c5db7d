//! A simulator of MailStore Service Provider Edition's Management API: an HTTPS server on the loopback device.
//!
//! It knows the functions that a backup or a restore needs, and every way of behaving that the real server is known or suspected
//! to have: see [`Switches`]. What nobody knows of the real server is a switch.
//!
//! ```text
//! connection ─ http ─ api ──────┬─ answers at once
//!   (a thread each)             └─ operation, due now or later ─ clockwork (one thread) ─ hook ─ reply or get-status
//! ```
//!
//! Threads, connections, waits and replies are bounded, and all of them end when the [`Simulator`] is dropped.

mod api;
pub(crate) mod certificate;
mod clockwork;
pub(crate) mod http;
mod model;
mod resident;
mod server;
mod simulator;
mod state;
mod switches;

pub use model::{Instance, Options, Status, Store};
pub use resident::Resident;
pub use simulator::Simulator;
pub use state::{InstanceState, Request};
pub use switches::{Body, Filter, Reply, Switches, WhileFrozen};
