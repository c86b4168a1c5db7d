//! Which server may be told the password: one whose certificate has the configured fingerprint, or was
//! signed by a configured authority; both, if both are configured.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use ring::digest;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme};

use crate::freezer::{FreezeError, FreezeErrorKind, MailstoreConfig};

/// Builds the TLS side of a client.
pub(super) fn client_config(config: &MailstoreConfig) -> Result<ClientConfig, FreezeError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let pin = config.certificate_sha256.as_deref().map(parse_fingerprint).transpose()?;
    let authority = config.ca_file.as_deref().map(|file| authority(file, &provider)).transpose()?;
    let verifier = Verifier { pin, authority, provider: Arc::clone(&provider) };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| FreezeError::new(FreezeErrorKind::Failed, format!("TLS cannot be set up: {e}")))?;
    Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth())
}

/// Why a certificate was not accepted.
#[derive(Debug, thiserror::Error)]
pub(super) enum Distrust {
    /// It has another fingerprint.
    #[error("the server shows the certificate {found}, but {expected} is configured")]
    Fingerprint { expected: String, found: String },
    /// No configured authority vouches for it.
    #[error("no certificate in the CA file vouches for the server's certificate {found}: {reason}")]
    Authority { found: String, reason: rustls::Error },
    /// Nothing is configured to tell by.
    #[error("nothing is configured to know the server by; it shows the certificate {found}")]
    Unconfigured { found: String },
}

impl Distrust {
    /// The error in whatever a handshake failed with, if it is one of these.
    pub(super) fn of(error: &std::io::Error) -> Option<&Self> {
        match error.get_ref()?.downcast_ref()? {
            rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(cause))) => cause.downcast_ref(),
            _ => None,
        }
    }

    /// As a freezer's error: both fingerprints, and what to do.
    pub(super) fn explain(&self, endpoint: &str) -> FreezeError {
        let (expected, found, advice) = match self {
            Self::Fingerprint { expected, found } => (
                expected.clone(),
                found,
                "If the certificate was renewed, compare the new fingerprint on the server and configure it as \
                 certificate-sha256",
            ),
            Self::Authority { found, .. } => (
                "one that the CA file vouches for".to_owned(),
                found,
                "Check ca-file and the name in endpoint, or configure the fingerprint as certificate-sha256",
            ),
            Self::Unconfigured { found } => (
                "none".to_owned(),
                found,
                "Compare the fingerprint on the server and configure it as certificate-sha256, or configure ca-file",
            ),
        };
        let message = format!("{endpoint} is not trusted: {self}. {advice}.");
        FreezeError::new(FreezeErrorKind::Certificate { expected, found: found.clone() }, message)
    }
}

#[derive(Debug)]
struct Verifier {
    pin: Option<[u8; 32]>,
    authority: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    /// A pinned certificate may have expired or name another host: the fingerprint says more than both.
    fn judge(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<(), Distrust> {
        let shown = sha256(certificate);
        let found = || hex(&shown);
        if self.pin.is_none() && self.authority.is_none() {
            return Err(Distrust::Unconfigured { found: found() });
        }
        if let Some(pin) = self.pin.filter(|pin| *pin != shown) {
            return Err(Distrust::Fingerprint { expected: hex(&pin), found: found() });
        }
        if let Some(authority) = &self.authority {
            authority
                .verify_server_cert(certificate, intermediates, name, ocsp, now)
                .map_err(|reason| Distrust::Authority { found: found(), reason })?;
        }
        Ok(())
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self.judge(certificate, intermediates, name, ocsp, now) {
            Ok(()) => Ok(ServerCertVerified::assertion()),
            Err(distrust) => {
                Err(rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(distrust)))))
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn authority(file: &Path, provider: &Arc<CryptoProvider>) -> Result<Arc<WebPkiServerVerifier>, FreezeError> {
    let unusable = |reason: String| {
        FreezeError::new(FreezeErrorKind::Failed, format!("The CA file {} is of no use: {reason}", file.display()))
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|e| unusable(e.to_string()))? {
        let certificate = certificate.map_err(|e| unusable(e.to_string()))?;
        roots.add(certificate).map_err(|e| unusable(e.to_string()))?;
    }
    if roots.is_empty() {
        return Err(unusable("there is no PEM certificate in it".into()));
    }
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map_err(|e| unusable(e.to_string()))
}

/// Reads a fingerprint as people copy it: in either case, with or without colons and spaces.
fn parse_fingerprint(text: &str) -> Result<[u8; 32], FreezeError> {
    let digits: Vec<char> = text.chars().filter(|c| !matches!(c, ':' | ' ')).collect();
    let pairs = digits.chunks(2).map(|pair| match pair {
        [high, low] => u8::try_from(high.to_digit(16)? << 4 | low.to_digit(16)?).ok(),
        _ => None,
    });
    let bytes: Option<Vec<u8>> = pairs.collect();
    bytes.and_then(|bytes| bytes.try_into().ok()).ok_or_else(|| {
        let hint = if digits.len() == 40 { " (40 digits are a SHA-1 thumbprint)" } else { "" };
        let message = format!("certificate-sha256 must be 64 hexadecimal digits, and is {text:?}{hint}");
        FreezeError::new(FreezeErrorKind::Failed, message)
    })
}

fn sha256(certificate: &CertificateDer<'_>) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest::digest(&digest::SHA256, certificate).as_ref());
    bytes
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_read_as_people_copy_them() {
        let plain = "00112233445566778899aabbccddeeff".repeat(2);
        let upper = plain.to_uppercase();
        let pairs: Vec<&str> = upper.as_bytes().chunks(2).map(|pair| str::from_utf8(pair).unwrap()).collect();
        for text in [&plain, &pairs.join(":"), &pairs.join(" ")] {
            assert_eq!(hex(&parse_fingerprint(text).unwrap()), plain);
        }
    }

    #[test]
    fn what_is_no_fingerprint_is_told() {
        for text in ["", "00", "0", &"é".repeat(32), &"g".repeat(64), &"0".repeat(63), &"0".repeat(66)] {
            parse_fingerprint(text).unwrap_err();
        }
        let thumbprint = parse_fingerprint(&"a6".repeat(20)).unwrap_err();
        assert!(thumbprint.message.contains("SHA-1"), "{thumbprint}");
    }
}
