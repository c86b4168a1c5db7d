//! Calls of the Management API: over HTTPS, each on a connection of its own, until an instant.

use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use base64ct::{Base64, Encoding as _};
use icecore_http::exchange::{HttpError, Response, Timed, exchange};
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use serde::de::DeserializeOwned;
use serde_json::Value;
use zeroize::Zeroizing;

use super::endpoint::Endpoint;
use super::envelope::{self, Progress};
use super::trust::{self, Distrust};
use super::{left, password};
use crate::freezer::{FreezeError, FreezeErrorKind, MailstoreConfig};

/// How long the server may hold one question for the state of an operation.
const LONG_POLL: Duration = Duration::from_secs(5);

/// Time between two such questions, should the server not hold them.
const PAUSE: Duration = Duration::from_millis(50);

/// What is kept of a limit for asking to cancel, at most.
const FAREWELL: Duration = Duration::from_secs(1);

/// Arguments of a call.
pub(super) type Arguments<'a> = [(&'a str, &'a str)];

/// Whether an operation that does not end in time is asked to be cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overdue {
    /// It may still succeed; the later the better than never.
    Leave,
    /// It had better not.
    Cancel,
}

/// A Management Server and the means to speak with it.
#[derive(Debug)]
pub(super) struct Client {
    endpoint: Endpoint,
    user: String,
    password_file: PathBuf,
    /// How long one request may take.
    timeout: Duration,
    tls: Arc<ClientConfig>,
}

impl Client {
    /// Prepares for speaking; asks nobody.
    pub fn open(config: &MailstoreConfig) -> Result<Self, FreezeError> {
        if config.user.contains(':') {
            let message = format!("user must not contain a colon, and is {:?}", config.user);
            return Err(FreezeError::new(FreezeErrorKind::Failed, message));
        }
        Ok(Self {
            endpoint: Endpoint::parse(&config.endpoint)?,
            user: config.user.clone(),
            password_file: config.password_file.clone(),
            timeout: Duration::from_millis(config.timeout_ms),
            tls: Arc::new(trust::client_config(config)?),
        })
    }

    /// The server, as it is named to people.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// When a request that begins now must have ended.
    pub fn request_deadline(&self) -> Instant {
        super::deadline(self.timeout)
    }

    /// Calls a function that answers at once.
    pub fn ask<T: DeserializeOwned>(
        &mut self,
        function: &str,
        arguments: &Arguments<'_>,
        deadline: Instant,
    ) -> Result<T, FreezeError> {
        let result = self.invoke(function, arguments, deadline, Overdue::Leave)?;
        serde_json::from_value(result).map_err(|e| {
            let what = format!("answers {function} with something else than was asked for: {e}");
            self.endpoint.error(FreezeErrorKind::Protocol, &what)
        })
    }

    /// Calls a function, waits for its end, and returns its result.
    pub fn invoke(
        &mut self,
        function: &str,
        arguments: &Arguments<'_>,
        deadline: Instant,
        overdue: Overdue,
    ) -> Result<Value, FreezeError> {
        let response = self.post(&format!("/api/invoke/{function}"), arguments, deadline)?;
        let mut progress = self.progress(function, &response)?;
        let give_up = match overdue {
            Overdue::Leave => deadline,
            Overdue::Cancel => deadline - FAREWELL.min(left(deadline) / 8),
        };
        let mut token = None;
        loop {
            match progress {
                Progress::Done(result) => return Ok(result),
                Progress::Failed { message, details } => {
                    let what = format!("refuses {function}: {}", message.trim_end_matches('.'));
                    return Err(self.endpoint.error(FreezeErrorKind::Refused, &what).with_output(details));
                }
                Progress::Running { token: shown, version } => {
                    // A later reply need not repeat the token.
                    token = shown.or(token);
                    let Some(token) = token.as_deref() else {
                        let what = format!("works on {function} without saying how to ask for the outcome");
                        return Err(self.endpoint.error(FreezeErrorKind::Protocol, &what));
                    };
                    let next = self.poll(function, token, version, give_up);
                    if overdue == Overdue::Cancel && timed_out(&next) {
                        // Whether it is heard or not, the caller has to reckon with a late success.
                        let _ = self.post("/api/cancel-async", &[("token", token)], deadline);
                    }
                    progress = next?;
                }
            }
        }
    }

    /// Asks once what has become of an operation; the server holds the question until there is news.
    fn poll(&mut self, function: &str, token: &str, version: u64, give_up: Instant) -> Result<Progress, FreezeError> {
        let begun = Instant::now();
        // The server needs some of the time to answer.
        let hold = LONG_POLL.min(left(give_up) / 2).min(self.timeout / 2);
        if hold.is_zero() {
            return Err(self.endpoint.error(FreezeErrorKind::TimedOut, &format!("did not finish {function} in time")));
        }
        let (known, hold) = (version.to_string(), hold.as_millis().max(1).to_string());
        let arguments = [("token", token), ("lastKnownStatusVersion", &*known), ("millisecondsTimeout", &*hold)];
        let response = self.post("/api/get-status", &arguments, give_up)?;
        if response.status == 404 {
            let what = format!("has forgotten {function}, so nobody knows how it ended");
            return Err(self.endpoint.error(FreezeErrorKind::Failed, &what));
        }
        let progress = self.progress(function, &response)?;
        let stands_still = matches!(&progress, Progress::Running { version: now, .. } if *now == version);
        if stands_still && begun.elapsed() < PAUSE {
            thread::sleep(PAUSE.min(left(give_up)));
        }
        Ok(progress)
    }

    /// The functions that the server knows.
    pub fn functions(&mut self, deadline: Instant) -> Result<Vec<String>, FreezeError> {
        #[derive(serde::Deserialize)]
        struct Function {
            name: String,
        }
        let response = self.post("/api/get-metadata", &[], deadline)?;
        let known: Vec<Function> = self.accept("get-metadata", &response, envelope::json)?;
        Ok(known.into_iter().map(|function| function.name).collect())
    }

    fn progress(&self, function: &str, response: &Response) -> Result<Progress, FreezeError> {
        match response.status {
            200 | 401 | 403 | 404 | 411 => self.accept(function, response, envelope::progress),
            // Nobody knows which errors come with which status: an envelope in the body counts for more.
            _ => match envelope::progress(&response.body) {
                Ok(failed @ Progress::Failed { .. }) => Ok(failed),
                _ => self.accept(function, response, envelope::progress),
            },
        }
    }

    /// Reads the body of a success, and explains what is none.
    fn accept<T>(
        &self,
        function: &str,
        response: &Response,
        read: impl Fn(&[u8]) -> Result<T, FreezeError>,
    ) -> Result<T, FreezeError> {
        let (kind, what) = match response.status {
            200 => {
                return read(&response.body).map_err(|e| {
                    let what = format!("answers {function} {}", e.message);
                    self.endpoint.error(e.kind, &what).with_output(e.output.unwrap_or_default())
                });
            }
            401 => {
                let file = self.password_file.display();
                let what = format!("does not accept user {:?} with the password in {file} (401)", self.user);
                (FreezeErrorKind::Unauthorized, what)
            }
            403 => {
                let what = format!("forbids {function} to user {:?} (403): it takes a system administrator", self.user);
                (FreezeErrorKind::Unauthorized, what)
            }
            404 => {
                let what = format!("does not know {function} (404): is it the Management API, and new enough?");
                (FreezeErrorKind::Protocol, what)
            }
            411 => {
                let what = format!("misses the length of {function} (411): does a proxy stand in between?");
                (FreezeErrorKind::Protocol, what)
            }
            status => (FreezeErrorKind::Protocol, format!("answers {function} with HTTP status {status}")),
        };
        Err(self.endpoint.error(kind, &what))
    }

    fn post(&mut self, path: &str, arguments: &Arguments<'_>, deadline: Instant) -> Result<Response, FreezeError> {
        let deadline = deadline.min(self.request_deadline());
        let request = self.request(path, arguments)?;
        let connection = ClientConnection::new(Arc::clone(&self.tls), self.endpoint.name()?)
            .map_err(|e| self.endpoint.error(FreezeErrorKind::Failed, &format!("cannot be spoken to: {e}")))?;
        let stream = self.endpoint.connect(deadline)?;
        // Small requests that wait for a reply gain nothing from being gathered.
        let _ = stream.set_nodelay(true);
        let mut stream = StreamOwned::new(connection, Timed::new(stream, deadline));
        exchange(&mut stream, &request).map_err(|e| self.explain(path, &e))
    }

    fn request(&self, path: &str, arguments: &Arguments<'_>) -> Result<Zeroizing<Vec<u8>>, FreezeError> {
        let password = password::read(&self.password_file)?;
        let mut credentials = Zeroizing::new(Vec::with_capacity(self.user.len() + 1 + password.len()));
        for part in [self.user.as_bytes(), b":", &password] {
            credentials.extend_from_slice(part);
        }
        let credentials = Zeroizing::new(Base64::encode_string(&credentials));
        let body = form(arguments);
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Basic {}\r\nAccept: application/json\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            self.endpoint.authority(),
            *credentials,
            body.len()
        );
        Ok(Zeroizing::new(request.into_bytes()))
    }

    fn explain(&self, path: &str, error: &HttpError) -> FreezeError {
        let function = path.rsplit('/').next().unwrap_or(path);
        match error {
            HttpError::Io(e) => {
                if let Some(distrust) = Distrust::of(e) {
                    return distrust.explain(&self.endpoint.to_string());
                }
                if e.kind() == io::ErrorKind::TimedOut {
                    let what = format!("did not answer {function} in time");
                    return self.endpoint.error(FreezeErrorKind::TimedOut, &what);
                }
                let what = format!("broke off during {function} ({e}), so nobody knows whether it was heard");
                self.endpoint.error(FreezeErrorKind::Unreachable, &what)
            }
            HttpError::TooLong | HttpError::Malformed(_) => self
                .endpoint
                .error(FreezeErrorKind::Protocol, &format!("cannot be understood about {function}: {error}")),
        }
    }
}

fn timed_out<T>(result: &Result<T, FreezeError>) -> bool {
    result.as_ref().is_err_and(|e| e.kind == FreezeErrorKind::TimedOut)
}

/// Encodes arguments as forms are.
fn form(arguments: &Arguments<'_>) -> String {
    let mut body = String::new();
    for (name, value) in arguments {
        let separator = if body.is_empty() { "" } else { "&" };
        let _ = write!(body, "{separator}{name}=");
        for byte in value.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => body.push(byte.into()),
                _ => {
                    let _ = write!(body, "%{byte:02X}");
                }
            }
        }
    }
    body
}

#[cfg(test)]
mod tests {
    use super::form;

    #[test]
    fn arguments_are_encoded() {
        assert_eq!(form(&[("instanceFilter", "*")]), "instanceFilter=%2A");
        assert_eq!(form(&[("a", "x y&z=ü"), ("b", "")]), "a=x%20y%26z%3D%C3%BC&b=");
        assert_eq!(form(&[]), "");
    }
}
