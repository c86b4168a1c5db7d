//! Where requests go, with a secret that stands in a file.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use icecore_http::{Client, PostError, Url};
use zeroize::Zeroizing;

use super::retry::Failed;

/// What stands in an address or a header in place of the secret.
pub const SECRET: &str = "{secret}";

/// More bytes than any secret has.
const LONGEST: u64 = 4096;

/// An address, and what is sent with each request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Where to; [`SECRET`] in it stands for the secret.
    pub url: String,
    /// Names and values; likewise.
    pub headers: Vec<(String, String)>,
    /// The file that holds the secret, but for the line end at its end.
    pub secret_file: Option<PathBuf>,
}

/// An address that can be asked.
pub(super) struct Known {
    pub(super) url: Url,
    headers: Vec<(String, Zeroizing<String>)>,
}

impl Address {
    /// Finds something that can never work, in a sentence that holds no secret.
    ///
    /// # Errors
    /// What it is.
    pub fn check(&self) -> Result<(), String> {
        let url: Url = self.url.replace(SECRET, "secret").parse().map_err(|error| format!("{error}"))?;
        let other = self.url.replace(SECRET, "other").parse::<Url>();
        if other.is_ok_and(|other| other.authority() != url.authority()) {
            return Err(format!(
                "{SECRET} cannot stand in the name of the host, which is told: write it behind that, or into a header"
            ));
        }
        let uses = self.url.contains(SECRET) || self.headers.iter().any(|(_, value)| value.contains(SECRET));
        if uses && self.secret_file.is_none() {
            return Err(format!("{SECRET} stands for what is in secret-file, which is missing"));
        }
        if !uses && self.secret_file.is_some() {
            return Err(format!("nothing uses the secret-file: write {SECRET} into url or a header"));
        }
        if uses && !url.is_secure() && !url.is_loopback() {
            return Err("a secret would be read by everybody on the way: write https://".to_owned());
        }
        for (name, value) in &self.headers {
            let is_token = |c: u8| c.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&c);
            if name.is_empty() || !name.bytes().all(is_token) {
                return Err(format!("{name:?} cannot name a header"));
            }
            let ours = ["host", "content-length", "connection", "transfer-encoding", "user-agent", "accept"];
            if ours.iter().any(|our| name.eq_ignore_ascii_case(our)) {
                return Err(format!("the header {name} is icecore's own"));
            }
            if !is_value(value) {
                return Err(format!("the value of the header {name} holds what no header can"));
            }
        }
        Ok(())
    }

    /// Reads the secret, and puts it where it belongs.
    pub(super) fn know(&self) -> Result<Known, String> {
        self.check()?;
        let secret = match &self.secret_file {
            Some(file) => {
                read(file).map_err(|why| format!("the secret file {} cannot be used: {why}", file.display()))?
            }
            None => Zeroizing::default(),
        };
        let full = Zeroizing::new(self.url.replace(SECRET, &secret));
        let url = full.parse().map_err(|error| format!("with the secret, its url {error}"))?;
        let put = |(name, value): &(String, String)| (name.clone(), Zeroizing::new(value.replace(SECRET, &secret)));
        Ok(Known { url, headers: self.headers.iter().map(put).collect() })
    }
}

impl Known {
    /// Sends a body. Whatever is said of failures holds no path and no header.
    pub(super) fn post(
        &self,
        client: &Client,
        url: &Url,
        kind: &str,
        body: &[u8],
        deadline: Instant,
    ) -> Result<(), Failed> {
        let mut headers = self.headers.clone();
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
            headers.push(("Content-Type".to_owned(), Zeroizing::new(kind.to_owned())));
        }
        match client.post(url, &headers, body, deadline) {
            Ok(200..=299) => Ok(()),
            // Too many requests, or a time-out of the server's: it may hear the next one.
            Ok(status @ (408 | 425 | 429 | 500..)) => {
                Err(Failed::ForNow(format!("{url} answers with HTTP status {status}")))
            }
            Ok(status @ 300..=399) => Err(Failed::ForGood(format!(
                "{url} answers with HTTP status {status}: redirects are not followed; configure the address that it leads to"
            ))),
            Ok(status) => Err(Failed::ForGood(format!("{url} answers with HTTP status {status}"))),
            Err(error @ (PostError::Trust(_) | PostError::Untrusted(_))) => {
                Err(Failed::ForGood(format!("{url}: {error}")))
            }
            Err(error) => Err(Failed::ForNow(format!("{url} {error}"))),
        }
    }
}

/// By RFC 9110: visible characters, blanks, tabs; no line end, so that none can begin another header.
fn is_value(value: &str) -> bool {
    value.bytes().all(|byte| byte == b'\t' || (b' '..=b'~').contains(&byte))
}

fn read(file: &Path) -> Result<Zeroizing<String>, String> {
    // At once in its full size: growing would leave copies behind.
    let mut secret = Zeroizing::new(String::with_capacity(LONGEST as usize + 1));
    let opened = File::open(file).map_err(|error| error.to_string())?;
    opened.take(LONGEST + 1).read_to_string(&mut secret).map_err(|error| error.to_string())?;
    if secret.len() as u64 > LONGEST {
        return Err(format!("it is longer than {LONGEST} bytes"));
    }
    let len = secret.strip_suffix('\n').map_or(secret.len(), |line| line.strip_suffix('\r').unwrap_or(line).len());
    secret.truncate(len);
    match secret.is_empty() || !is_value(&secret) {
        true => Err("it must hold one line of ASCII".to_owned()),
        false => Ok(secret),
    }
}
