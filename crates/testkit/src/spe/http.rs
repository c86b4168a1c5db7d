//! As much of HTTP/1.1 as the API needs: one request, one reply, and the connection ends.

use std::io::{self, Read, Write};

/// Longest head, and longest body, of a request.
const LONGEST: usize = 64 * 1024;

/// A request as it was read.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub method: String,
    pub path: String,
    pub authorization: Option<String>,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// `None` if the request does not say how long it is.
    pub body: Option<Vec<u8>>,
}

impl Incoming {
    pub fn read(from: &mut impl Read) -> io::Result<Self> {
        let mut bytes = Vec::new();
        loop {
            let mut headers = [httparse::EMPTY_HEADER; 32];
            let mut request = httparse::Request::new(&mut headers);
            let parsed = request.parse(&bytes).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
            if let httparse::Status::Complete(start) = parsed {
                let header = |name: &str| {
                    let found = request.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
                    found.map(|header| String::from_utf8_lossy(header.value).into_owned())
                };
                let text = |header: &httparse::Header<'_>| {
                    (header.name.to_ascii_lowercase(), String::from_utf8_lossy(header.value).into_owned())
                };
                let length = header("content-length").and_then(|length| length.parse::<usize>().ok());
                let mut incoming = Self {
                    method: request.method.unwrap_or_default().into(),
                    path: request.path.unwrap_or_default().into(),
                    authorization: header("authorization"),
                    headers: request.headers.iter().map(text).collect(),
                    body: None,
                };
                if let Some(length) = length {
                    let mut body = bytes.split_off(start);
                    let missing = length.min(LONGEST).saturating_sub(body.len());
                    from.take(missing as u64).read_to_end(&mut body)?;
                    incoming.body = Some(body);
                }
                return Ok(incoming);
            }
            let mut buffer = [0; 4096];
            let read = from.read(&mut buffer)?;
            if read == 0 || bytes.len() > LONGEST {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            bytes.extend_from_slice(&buffer[..read]);
        }
    }
}

/// The pairs of an `application/x-www-form-urlencoded` body.
pub(crate) fn form(body: &[u8]) -> Vec<(String, String)> {
    let pairs = body.split(|&byte| byte == b'&').filter(|pair| !pair.is_empty());
    let split = pairs.map(|pair| {
        let at = pair.iter().position(|&byte| byte == b'=').unwrap_or(pair.len());
        (&pair[..at], pair.get(at + 1..).unwrap_or_default())
    });
    split.map(|(name, value)| (decode(name), decode(value))).collect()
}

fn decode(text: &[u8]) -> String {
    let mut decoded = Vec::new();
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        rest = tail;
        match first {
            b'+' => decoded.push(b' '),
            b'%' => {
                let code = tail.get(..2).and_then(|hex| u8::from_str_radix(str::from_utf8(hex).ok()?, 16).ok());
                decoded.push(code.unwrap_or(b'?'));
                rest = tail.get(2..).unwrap_or_default();
            }
            other => decoded.push(*other),
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// Writes the head of a reply; `length` is `None` for a body in chunks.
pub(crate) fn head(to: &mut impl Write, status: u16, kind: &str, length: Option<usize>) -> io::Result<()> {
    let length = match length {
        Some(length) => format!("Content-Length: {length}"),
        None => "Transfer-Encoding: chunked".to_owned(),
    };
    write!(
        to,
        "HTTP/1.1 {status} Simulated\r\nCache-Control: no-cache\r\nContent-Type: {kind}\r\n\
         Server: Microsoft-HTTPAPI/2.0\r\n{length}\r\nConnection: close\r\n\r\n"
    )
}

/// Writes a body in chunks of a few bytes.
pub(crate) fn chunks(to: &mut impl Write, body: &[u8]) -> io::Result<()> {
    for part in body.chunks(100) {
        write!(to, "{:x}\r\n", part.len())?;
        to.write_all(part)?;
        to.write_all(b"\r\n")?;
    }
    to.write_all(b"0\r\n\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_decoded() {
        let pairs = form(b"instanceFilter=%2A&name=a+b%26&empty=&bare");
        let expected = [("instanceFilter", "*"), ("name", "a b&"), ("empty", ""), ("bare", "")];
        assert_eq!(pairs, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
}
