//! A whole `POST`: look up, connect, TLS, request, reply; each on a connection of its own.

use std::io::{self, Read, Write};
use std::net::ToSocketAddrs as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use zeroize::Zeroizing;

use crate::connect::{ConnectError, connect};
use crate::exchange::{HttpError, Timed, exchange};
use crate::url::Url;

/// Who may vouch for a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// The authorities that this system trusts.
    System,
    /// Those in a file, in PEM.
    File(PathBuf),
}

/// Why nobody can vouch for a server.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The system's authorities cannot be found.
    #[error("this system has no certificates of authorities ({0}); install them (ca-certificates), or name a ca-file")]
    System(String),
    /// The file is of no use.
    #[error("the CA file {} is of no use: {reason}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// Why.
        reason: String,
    },
    /// TLS itself.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// Why a request was not answered. Nobody knows then whether it was heard.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    /// It cannot be told whether the server is the right one.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The server cannot be reached.
    #[error("cannot be reached: {0}")]
    Connect(ConnectError),
    /// The server did not answer in time.
    #[error("did not answer in time")]
    Late,
    /// It is not the server that it should be.
    #[error("is not trusted: {0}")]
    Untrusted(rustls::Error),
    /// It broke off, or spoke something else.
    #[error("broke off: {0}")]
    Http(HttpError),
}

/// Sends requests. What TLS needs is read at the first one that asks for it.
#[derive(Debug, Clone)]
pub struct Client {
    trust: Trust,
    agent: String,
}

impl Client {
    /// Prepares for sending; `agent` names the program, as in `icecore/1.0`.
    pub fn new(trust: Trust, agent: impl Into<String>) -> Self {
        Self { trust, agent: agent.into() }
    }

    /// Sends `body` with some headers, whose values must have no line end, and gives the status of the reply.
    ///
    /// # Errors
    /// After `deadline` at the latest, but for the time that the system takes to look up the host's name.
    pub fn post(
        &self,
        url: &Url,
        headers: &[(String, Zeroizing<String>)],
        body: &[u8],
        deadline: Instant,
    ) -> Result<u16, PostError> {
        let tls = url.is_secure().then(|| self.tls(url)).transpose()?;
        let found = (url.host(), url.port()).to_socket_addrs();
        let addresses: Vec<_> = found.map_err(|error| unreachable(&error))?.collect();
        let stream = connect(&addresses, deadline).map_err(PostError::Connect)?;
        // A small request that waits for a reply gains nothing from being gathered.
        let _ = stream.set_nodelay(true);
        let stream = Timed::new(stream, deadline);
        let request = self.request(url, headers, body);
        match tls {
            Some(tls) => ask(&mut StreamOwned::new(tls, stream), &request),
            None => ask(&mut { stream }, &request),
        }
    }

    fn request(&self, url: &Url, headers: &[(String, Zeroizing<String>)], body: &[u8]) -> Zeroizing<Vec<u8>> {
        let mut request = Zeroizing::new(Vec::with_capacity(body.len() + 4096));
        let (target, authority, agent) = (Zeroizing::new(url.target()), url.authority(), &self.agent);
        let mut put = |parts: &[&str]| parts.iter().for_each(|part| request.extend_from_slice(part.as_bytes()));
        put(&["POST ", &target, " HTTP/1.1\r\nHost: ", &authority, "\r\nUser-Agent: ", agent, "\r\nAccept: */*\r\n"]);
        headers.iter().for_each(|(name, value)| put(&[name, ": ", value, "\r\n"]));
        put(&["Content-Length: ", &body.len().to_string(), "\r\nConnection: close\r\n\r\n"]);
        request.extend_from_slice(body);
        request
    }

    fn tls(&self, url: &Url) -> Result<ClientConnection, TrustError> {
        let roots = match &self.trust {
            Trust::System => system_roots()?,
            Trust::File(file) => roots_of(file)?,
        };
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        // It was one when the address was read.
        let name =
            ServerName::try_from(url.host().to_owned()).map_err(|error| rustls::Error::General(error.to_string()))?;
        Ok(ClientConnection::new(Arc::new(config), name)?)
    }
}

fn ask(stream: &mut (impl Read + Write), request: &[u8]) -> Result<u16, PostError> {
    match exchange(stream, request) {
        Ok(response) => Ok(response.status),
        Err(HttpError::Io(error)) if error.kind() == io::ErrorKind::TimedOut => Err(PostError::Late),
        Err(HttpError::Io(error)) => match error.get_ref().and_then(|cause| cause.downcast_ref()) {
            Some(cause @ rustls::Error::InvalidCertificate(_)) => Err(PostError::Untrusted(cause.clone())),
            _ => Err(PostError::Http(error.into())),
        },
        Err(error) => Err(PostError::Http(error)),
    }
}

fn unreachable(error: &io::Error) -> PostError {
    PostError::Connect(ConnectError::Unreachable(error.to_string()))
}

fn system_roots() -> Result<RootCertStore, TrustError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // A system may hold some that nobody can read; the others count.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found.errors.first().map_or_else(|| "none were found".to_owned(), ToString::to_string);
        return Err(TrustError::System(why));
    }
    Ok(roots)
}

fn roots_of(file: &Path) -> Result<RootCertStore, TrustError> {
    let unusable = |reason: String| TrustError::File { file: file.to_owned(), reason };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| unusable(error.to_string()))? {
        let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
        roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(unusable("there is no PEM certificate in it".into()));
    }
    Ok(roots)
}
