//! Where the Management Server is.

use std::fmt;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::time::Instant;

use icecore_http::ConnectError;
use rustls::pki_types::ServerName;

use crate::freezer::{FreezeError, FreezeErrorKind};

/// The port of the Management API, unless an endpoint says otherwise.
const PORT: u16 = 8474;

/// A Management Server, and the addresses at which it was found.
#[derive(Debug)]
pub(super) struct Endpoint {
    host: String,
    port: u16,
    /// Remembered, so that no name is looked up while an instance is frozen.
    addresses: Vec<SocketAddr>,
}

impl Endpoint {
    /// Reads `https://host[:port][/]`.
    pub fn parse(text: &str) -> Result<Self, FreezeError> {
        let malformed = || {
            let message = format!("endpoint must be written as https://HOST:{PORT}, and is {text:?}");
            FreezeError::new(FreezeErrorKind::Failed, message)
        };
        let authority = text.strip_prefix("https://").ok_or_else(malformed)?;
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        let (host, port) = match authority.rsplit_once(':') {
            // The colons of [::1] are not followed by a port.
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| malformed())?),
            _ => (authority, PORT),
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host).to_owned();
        ServerName::try_from(host.as_str()).map_err(|_| malformed())?;
        Ok(Self { host, port, addresses: Vec::new() })
    }

    /// The name that its certificate must have.
    pub fn name(&self) -> Result<ServerName<'static>, FreezeError> {
        ServerName::try_from(self.host.clone()).map_err(|e| self.error(FreezeErrorKind::Failed, &e.to_string()))
    }

    /// The value of the header `Host`.
    pub fn authority(&self) -> String {
        let brackets = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        format!("{}{}{}:{}", brackets.0, self.host, brackets.1, self.port)
    }

    /// Connects to the first of its addresses that answers.
    pub fn connect(&mut self, deadline: Instant) -> Result<TcpStream, FreezeError> {
        if self.addresses.is_empty() {
            let found = (self.host.as_str(), self.port).to_socket_addrs();
            self.addresses = found.map_err(|e| self.unreachable(&e.to_string()))?.collect();
        }
        match icecore_http::connect(&self.addresses, deadline) {
            Ok(stream) => Ok(stream),
            Err(late @ ConnectError::Late) => Err(self.error(FreezeErrorKind::TimedOut, &late.to_string())),
            Err(ConnectError::Unreachable(reason)) => {
                self.addresses.clear();
                Err(self.unreachable(&reason))
            }
        }
    }

    fn unreachable(&self, reason: &str) -> FreezeError {
        let what = format!("cannot be reached ({reason}); check the endpoint, the firewall and the service");
        self.error(FreezeErrorKind::Unreachable, &what)
    }

    /// An error whose sentence begins with the endpoint.
    pub fn error(&self, kind: FreezeErrorKind, what: &str) -> FreezeError {
        FreezeError::new(kind, format!("{self} {what}."))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}", self.authority())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read() {
        for (text, read) in [
            ("https://spe.example.com:8474", "https://spe.example.com:8474"),
            ("https://spe.example.com/", "https://spe.example.com:8474"),
            ("https://192.0.2.1:1", "https://192.0.2.1:1"),
            ("https://[2001:db8::1]", "https://[2001:db8::1]:8474"),
            ("https://[2001:db8::1]:99/", "https://[2001:db8::1]:99"),
        ] {
            assert_eq!(Endpoint::parse(text).unwrap().to_string(), read);
        }
    }

    #[test]
    fn what_is_no_endpoint_is_told() {
        for text in ["", "spe.example.com", "http://spe.example.com", "https://", "https://a:b", "https://a:70000"] {
            Endpoint::parse(text).unwrap_err();
        }
        for text in ["https://a/api", "https://user@a", "https://a b", "https://a\r\nX: y"] {
            let error = Endpoint::parse(text).unwrap_err();
            assert!(error.message.contains("https://HOST:8474"), "{error}");
        }
    }
}
