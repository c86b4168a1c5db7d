//! Where a request goes.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use rustls::pki_types::ServerName;

/// An address: `http://host[:port][/path][?query]`, or the same with `https`.
///
/// Shown, it is the scheme, the host and the port: paths and queries may hold secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    is_secure: bool,
    host: String,
    port: u16,
    path: String,
    query: Option<String>,
}

/// A text that is no address. It does not repeat the text, which may hold a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not an address: {0}; write it as in \"https://host/path\"")]
pub struct UrlError(&'static str);

impl Url {
    /// Whether it asks for TLS.
    pub fn is_secure(&self) -> bool {
        self.is_secure
    }

    /// Whether it stays on this host.
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    /// The name or number of its host, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The value of the header `Host`.
    pub fn authority(&self) -> String {
        let brackets = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        let port = if self.port == default_port(self.is_secure) { String::new() } else { format!(":{}", self.port) };
        format!("{}{}{}{port}", brackets.0, self.host, brackets.1)
    }

    /// What a request line asks for: the path and the query.
    pub fn target(&self) -> String {
        match &self.query {
            Some(query) => format!("{}?{query}", self.path),
            None => self.path.clone(),
        }
    }

    /// The address one component below this one, with the same query.
    #[must_use]
    pub fn below(&self, component: &str) -> Self {
        let path = format!("{}/{component}", self.path.trim_end_matches('/'));
        Self { path, ..self.clone() }
    }
}

fn default_port(is_secure: bool) -> u16 {
    if is_secure { 443 } else { 80 }
}

impl FromStr for Url {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        if text.bytes().any(|byte| !byte.is_ascii_graphic()) {
            return Err(UrlError("only ASCII without blanks can stand in it, the rest written as in %20"));
        }
        let (is_secure, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => return Err(UrlError("it does not begin with https:// or http://")),
        };
        // What follows # is never sent.
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        if authority.contains('@') {
            return Err(UrlError("a user or a password cannot stand in it"));
        }
        let (host, port) = match authority.rsplit_once(':') {
            // The colons of [::1] are not followed by a port.
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse().map_err(|_| UrlError("its port is no number"))?)
            }
            _ => (authority, default_port(is_secure)),
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host).to_owned();
        ServerName::try_from(host.as_str()).map_err(|_| UrlError("its host is no name of a host"))?;
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (target, None),
        };
        let path = if path.is_empty() { "/" } else { path }.to_owned();
        Ok(Self { is_secure, host, port, path, query })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.is_secure { "https" } else { "http" }, self.authority())
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Url({self}/…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown_without_what_may_be_secret() {
        for (text, shown, target) in [
            ("https://hc.example.com/abc-def", "https://hc.example.com", "/abc-def"),
            ("http://[::1]:8000/a/b?x=y#z", "http://[::1]:8000", "/a/b?x=y"),
            ("https://a:443", "https://a", "/"),
            ("http://10.0.0.1?q", "http://10.0.0.1", "/?q"),
        ] {
            let url: Url = text.parse().unwrap();
            assert_eq!((url.to_string().as_str(), url.target().as_str()), (shown, target), "{text}");
            assert!(!format!("{url:?}").contains("abc"));
        }
        let url: Url = "https://a/ping/?x=1".parse().unwrap();
        assert_eq!(url.below("fail").target(), "/ping/fail?x=1");
        assert_eq!("https://a".parse::<Url>().unwrap().below("start").target(), "/start");
    }

    #[test]
    fn what_is_no_address_is_told_without_repeating_it() {
        for text in
            ["", "ftp://a", "https://", "https://a:x", "https://u:secret@a/", "https://a/b c", "https://a\r\nX:y"]
        {
            let told = text.parse::<Url>().unwrap_err().to_string();
            assert!(told.contains("https://host/path") && !told.contains("secret"), "{text}: {told}");
        }
    }

    #[test]
    fn the_loopback_device_is_known() {
        for (text, is) in
            [("http://localhost:1", true), ("http://127.0.0.2", true), ("http://[::1]", true), ("http://a", false)]
        {
            assert_eq!(text.parse::<Url>().unwrap().is_loopback(), is);
        }
    }
}
