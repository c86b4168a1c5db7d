//! One request and its reply over an established connection: as much of HTTP/1.1 as that needs, and
//! no reply that is longer than it has any right to be.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Longest reply, head included. The list of a thousand stores takes half of it.
const LONGEST: usize = 1 << 20;

/// Why there is no reply.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The connection failed, was cut, or took too long.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The reply is longer than it has any right to be.
    #[error("the reply is longer than {} KiB", LONGEST >> 10)]
    TooLong,
    /// What came is not understood.
    #[error("the reply is no HTTP: {0}")]
    Malformed(String),
}

/// A reply.
#[derive(Debug)]
pub struct Response {
    /// Its status, such as 200.
    pub status: u16,
    /// What it holds.
    pub body: Vec<u8>,
}

/// Sends a request and reads the reply to it.
///
/// # Errors
/// Those of the stream, and replies that cannot be understood or are longer than 1 MiB.
pub fn exchange(stream: &mut (impl Read + Write), request: &[u8]) -> Result<Response, HttpError> {
    stream.write_all(request)?;
    stream.flush()?;
    read_response(stream)
}

fn read_response(stream: &mut impl Read) -> Result<Response, HttpError> {
    let mut incoming = Incoming { stream, bytes: Vec::new() };
    loop {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut response = httparse::Response::new(&mut headers);
        let parsed = response.parse(&incoming.bytes).map_err(|e| HttpError::Malformed(e.to_string()))?;
        let httparse::Status::Complete(start) = parsed else {
            incoming.more()?;
            continue;
        };
        let status = response.code.unwrap_or_default();
        let length = Length::of(response.headers)?;
        incoming.bytes.drain(..start);
        return Ok(Response { status, body: incoming.body(length)? });
    }
}

/// How the end of a body is told.
enum Length {
    Bytes(usize),
    Chunks,
    UntilEnd,
}

impl Length {
    fn of(headers: &[httparse::Header<'_>]) -> Result<Self, HttpError> {
        let text = |name: &str| {
            let header = headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
            Some(String::from_utf8_lossy(header.value).trim().to_ascii_lowercase())
        };
        match (text("transfer-encoding"), text("content-length")) {
            (Some(coding), _) if coding == "chunked" => Ok(Self::Chunks),
            (Some(coding), _) => Err(HttpError::Malformed(format!("transfer encoding {coding:?}"))),
            (None, Some(length)) => match length.parse() {
                Ok(bytes) if bytes <= LONGEST => Ok(Self::Bytes(bytes)),
                Ok(_) => Err(HttpError::TooLong),
                Err(_) => Err(HttpError::Malformed(format!("content length {length:?}"))),
            },
            (None, None) => Ok(Self::UntilEnd),
        }
    }
}

struct Incoming<'s, S> {
    stream: &'s mut S,
    bytes: Vec<u8>,
}

impl<S: Read> Incoming<'_, S> {
    /// Reads on; the end of the stream is an error.
    fn more(&mut self) -> Result<(), HttpError> {
        let mut buffer = [0; 8192];
        if self.bytes.len() > LONGEST {
            return Err(HttpError::TooLong);
        }
        match self.stream.read(&mut buffer)? {
            0 => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            read => {
                self.bytes.extend_from_slice(&buffer[..read]);
                Ok(())
            }
        }
    }

    fn body(mut self, length: Length) -> Result<Vec<u8>, HttpError> {
        match length {
            Length::Bytes(length) => {
                while self.bytes.len() < length {
                    self.more()?;
                }
                self.bytes.truncate(length);
                Ok(self.bytes)
            }
            Length::Chunks => self.chunks(),
            Length::UntilEnd => loop {
                match self.more() {
                    // Also without the farewell of TLS: JSON that was cut off is told by itself.
                    Err(HttpError::Io(e)) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(self.bytes),
                    other => other?,
                }
            },
        }
    }

    fn chunks(mut self) -> Result<Vec<u8>, HttpError> {
        let malformed = || HttpError::Malformed("a chunk".into());
        let (mut body, mut at) = (Vec::new(), 0);
        loop {
            let rest = self.bytes.get(at..).unwrap_or_default();
            match httparse::parse_chunk_size(rest).map_err(|_| malformed())? {
                httparse::Status::Partial => self.more()?,
                httparse::Status::Complete((_, 0)) => return Ok(body),
                httparse::Status::Complete((head, length)) => {
                    let length = usize::try_from(length).ok().filter(|length| *length <= LONGEST);
                    let start = at + head;
                    let end = start + length.ok_or(HttpError::TooLong)?;
                    while self.bytes.len() < end + 2 {
                        self.more()?;
                    }
                    body.extend_from_slice(self.bytes.get(start..end).ok_or_else(malformed)?);
                    at = end + 2;
                }
            }
        }
    }
}

/// A connection that ends at an instant, however slowly or fast the other side speaks.
#[derive(Debug)]
pub struct Timed {
    stream: TcpStream,
    deadline: Instant,
}

impl Timed {
    /// Gives every call until `deadline`.
    pub fn new(stream: TcpStream, deadline: Instant) -> Self {
        Self { stream, deadline }
    }

    fn until_deadline(
        &mut self,
        mut call: impl FnMut(&mut TcpStream, Duration) -> io::Result<usize>,
    ) -> io::Result<usize> {
        loop {
            let left = self.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            match call(&mut self.stream, left) {
                Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                other => return other,
            }
        }
    }
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.until_deadline(|stream, left| {
            stream.set_read_timeout(Some(left))?;
            stream.read(buffer)
        })
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.until_deadline(|stream, left| {
            stream.set_write_timeout(Some(left))?;
            stream.write(bytes)
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives out a few bytes at a time, as networks do.
    struct Drip<'a>(&'a [u8], usize);

    impl Read for Drip<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let length = self.1.min(buffer.len()).min(self.0.len());
            buffer[..length].copy_from_slice(&self.0[..length]);
            self.0 = &self.0[length..];
            Ok(length)
        }
    }

    #[test]
    fn all_three_ends_of_a_body_are_found_at_every_pace() {
        let replies = [
            "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello worldand more",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nServer: x\r\n\r\nhello world",
        ];
        for reply in replies {
            for pace in [1, 2, 3, 7, 1000] {
                let response = read_response(&mut Drip(reply.as_bytes(), pace)).unwrap();
                assert_eq!((response.status, response.body.as_slice()), (200, b"hello world".as_slice()), "{reply}");
            }
        }
    }

    #[test]
    fn every_cut_of_a_reply_with_a_length_is_told() {
        for reply in [
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n",
        ] {
            for length in 0..reply.len() {
                let cut = read_response(&mut Drip(&reply.as_bytes()[..length], 100));
                // The last chunk's line may lack its line feed, no more.
                assert!(cut.is_err(), "{length} bytes of {reply:?} passed");
            }
        }
    }

    #[test]
    fn long_and_senseless_replies_are_refused() {
        let endless = format!("HTTP/1.1 200 OK\r\n\r\n{}", " ".repeat(LONGEST + 10_000));
        let head = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(LONGEST + 10_000));
        let length = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", LONGEST + 1);
        let chunk = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffff\r\n";
        for reply in [endless.as_str(), &head, &length, chunk] {
            assert!(matches!(read_response(&mut Drip(reply.as_bytes(), 8192)), Err(HttpError::TooLong)));
        }
        let senseless = [
            "SSH-2.0-OpenSSH\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        ];
        for reply in senseless {
            assert!(
                matches!(read_response(&mut Drip(reply.as_bytes(), 8192)), Err(HttpError::Malformed(_))),
                "{reply}"
            );
        }
    }
}
