//! A web server on the loopback device that takes what it is sent, or misbehaves as it is told.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::spe::certificate::Identity;
use crate::spe::http::{Incoming, head};

/// How long a connection may be silent, and how long a test waits for a request.
const PATIENCE: Duration = Duration::from_secs(60);

/// Time between two looks for new connections.
const LOOK: Duration = Duration::from_millis(1);

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// A reply with this status.
    Status(u16),
    /// None, for as long as the server lives.
    Hang,
    /// The connection ends without one.
    HangUp,
}

/// A request that arrived whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Posted {
    /// As in `POST`.
    pub method: String,
    /// The path and the query.
    pub path: String,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// What it held.
    pub body: Vec<u8>,
}

impl Posted {
    /// The value of a header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// What it held, as text.
    ///
    /// # Panics
    /// If it is none.
    pub fn text(&self) -> &str {
        str::from_utf8(&self.body).expect("text")
    }
}

#[derive(Default)]
struct State {
    posted: Vec<Posted>,
    /// For the next requests; then all is well.
    answers: VecDeque<Answer>,
    open: Vec<TcpStream>,
    stopping: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running server; it ends when this is dropped.
pub struct WebServer {
    shared: Arc<Shared>,
    address: SocketAddr,
    ca_pem: Option<String>,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for WebServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebServer").field("address", &self.address).finish_non_exhaustive()
    }
}

impl WebServer {
    /// Starts one that speaks HTTP.
    ///
    /// # Panics
    /// If there is no loopback device.
    pub fn start() -> Self {
        Self::begin(None)
    }

    /// Starts one that speaks HTTPS, with a certificate of an authority of its own.
    ///
    /// # Panics
    /// If there is no loopback device.
    pub fn start_secure() -> Self {
        Self::begin(Some(Identity::generate()))
    }

    fn begin(identity: Option<Identity>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        listener.set_nonblocking(true).expect("a socket");
        let address = listener.local_addr().expect("a bound port");
        let shared = Arc::new(Shared::default());
        let (ca_pem, tls) = identity.map(|identity| (identity.ca_pem, identity.tls)).unzip();
        let served = Arc::clone(&shared);
        let thread = Some(thread::spawn(move || serve_all(&listener, &served, tls.as_ref())));
        Self { shared, address, ca_pem, thread }
    }

    /// Where it listens, as in `http://127.0.0.1:8080`.
    pub fn url(&self) -> String {
        format!("{}://{}", if self.ca_pem.is_some() { "https" } else { "http" }, self.address)
    }

    /// The authority that signed its certificate.
    ///
    /// # Panics
    /// If it speaks no HTTPS.
    pub fn ca_pem(&self) -> &str {
        self.ca_pem.as_deref().expect("a server with a certificate")
    }

    /// What becomes of the next requests, one after the other; those behind them are answered with 200.
    pub fn answer(&self, answers: impl IntoIterator<Item = Answer>) {
        self.shared.lock().answers = answers.into_iter().collect();
    }

    /// Every request so far, in the order of arrival.
    pub fn posted(&self) -> Vec<Posted> {
        self.shared.lock().posted.clone()
    }

    /// The same, once there are so many.
    ///
    /// # Panics
    /// If there are not for a minute.
    pub fn wait_for(&self, count: usize) -> Vec<Posted> {
        let state = self.shared.lock();
        let waited = self.shared.changed.wait_timeout_while(state, PATIENCE, |state| state.posted.len() < count);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        assert!(state.posted.len() >= count, "{count} requests were expected: {:?}", state.posted);
        state.posted.clone()
    }
}

impl Drop for WebServer {
    fn drop(&mut self) {
        let open = {
            let mut state = self.shared.lock();
            state.stopping = true;
            std::mem::take(&mut state.open)
        };
        self.shared.changed.notify_all();
        open.iter().for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve_all(listener: &TcpListener, shared: &Arc<Shared>, tls: Option<&Arc<ServerConfig>>) {
    let mut threads: Vec<JoinHandle<()>> = Vec::new();
    while !shared.lock().stopping {
        threads.retain(|thread| !thread.is_finished());
        let Ok((stream, _)) = listener.accept() else {
            thread::sleep(LOOK);
            continue;
        };
        let (Ok(handle), Ok(end)) = (stream.try_clone(), stream.try_clone()) else { continue };
        shared.lock().open.push(handle);
        let (shared, tls) = (Arc::clone(shared), tls.cloned());
        threads.push(thread::spawn(move || {
            // A client that leaves, or speaks no TLS, is its own business.
            let _ = serve(stream, &shared, tls);
            let _ = end.shutdown(Shutdown::Write);
        }));
    }
    shared.lock().open.iter().for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
    threads.into_iter().for_each(|thread| drop(thread.join()));
}

fn serve(stream: TcpStream, shared: &Shared, tls: Option<Arc<ServerConfig>>) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    match tls {
        None => converse(&mut { stream }, shared),
        Some(tls) => {
            let connection = ServerConnection::new(tls).map_err(io::Error::other)?;
            let mut stream = StreamOwned::new(connection, stream);
            converse(&mut stream, shared)?;
            stream.conn.send_close_notify();
            stream.flush()
        }
    }
}

fn converse(stream: &mut (impl Read + Write), shared: &Shared) -> io::Result<()> {
    let Incoming { method, path, headers, body, .. } = Incoming::read(stream)?;
    let answer = {
        let mut state = shared.lock();
        state.posted.push(Posted { method, path, headers, body: body.unwrap_or_default() });
        state.answers.pop_front().unwrap_or(Answer::Status(200))
    };
    shared.changed.notify_all();
    match answer {
        Answer::Status(status) => {
            head(stream, status, "text/plain", Some(2))?;
            stream.write_all(b"OK")?;
            stream.flush()
        }
        Answer::Hang => {
            let state = shared.lock();
            drop(shared.changed.wait_timeout_while(state, PATIENCE, |state| !state.stopping));
            Err(io::ErrorKind::TimedOut.into())
        }
        Answer::HangUp => Err(io::ErrorKind::ConnectionAborted.into()),
    }
}
