//! The certificates that servers of this crate show.

use std::fmt::Write as _;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use ring::digest;
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// A server certificate for the loopback device, signed by an authority of its own.
pub(crate) struct Identity {
    pub tls: Arc<ServerConfig>,
    pub sha256: String,
    pub ca_pem: String,
}

impl Identity {
    pub fn generate() -> Self {
        let mut authority = CertificateParams::new([]).expect("no names");
        authority.distinguished_name.push(DnType::CommonName, "Simulated authority");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, key()).expect("a certificate");

        let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        let server_key = key();
        let server =
            CertificateParams::new(names).expect("two names").signed_by(&server_key, &authority).expect("signed");
        let private = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(server_key.serialize_der()));
        let tls = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring speaks them")
            .with_no_client_auth()
            .with_single_cert(vec![server.der().clone()], private)
            .expect("a key that fits");
        Self { tls: Arc::new(tls), sha256: fingerprint(server.der()), ca_pem: authority.pem() }
    }
}

fn key() -> KeyPair {
    KeyPair::generate().expect("a key pair")
}

fn fingerprint(der: &[u8]) -> String {
    digest::digest(&digest::SHA256, der).as_ref().iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
