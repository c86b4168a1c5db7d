//! The first of some addresses that answers.

use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// The time was over before every address had been tried.
    #[error("did not answer in time")]
    Late,
    /// None of them answers; what the last one said.
    #[error("{0}")]
    Unreachable(String),
}

/// Connects to the first of `addresses` that answers.
///
/// # Errors
/// If none does before `deadline`.
pub fn connect(addresses: &[SocketAddr], deadline: Instant) -> Result<TcpStream, ConnectError> {
    let mut reason = "it has no address".to_owned();
    for (address, others) in addresses.iter().zip((1..=addresses.len() as u32).rev()) {
        // An address that swallows everything leaves time for the others.
        let share = deadline.saturating_duration_since(Instant::now()) / others;
        if share.is_zero() {
            return Err(ConnectError::Late);
        }
        match TcpStream::connect_timeout(address, share) {
            Ok(stream) => return Ok(stream),
            Err(error) => reason = error.to_string(),
        }
    }
    Err(ConnectError::Unreachable(reason))
}
