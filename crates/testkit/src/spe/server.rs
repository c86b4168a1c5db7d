//! Connections: who may connect, how many at once, and what becomes of each.

use std::collections::HashMap;
use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;

use super::api::{self, Arguments};
use super::http::{self, Incoming};
use super::state::{Request, Shared};
use super::switches::{Body, Switches};

/// How many connections are served at once; more are turned away.
const MOST_CONNECTIONS: usize = 64;

/// How long a connection may be silent.
const PATIENCE: Duration = Duration::from_secs(30);

/// Time between two looks for new connections.
const LOOK: Duration = Duration::from_millis(1);

/// An endless reply ends here, if the client does not end it.
const ENDLESS: usize = 64 << 20;

type Stream = StreamOwned<ServerConnection, TcpStream>;

/// What every connection needs.
pub(super) struct Server {
    pub shared: Arc<Shared>,
    pub tls: Arc<ServerConfig>,
    pub address: SocketAddr,
    /// What `Authorization` must say.
    pub authorization: String,
    pub open: Mutex<HashMap<u64, TcpStream>>,
}

impl Server {
    /// Serves until the simulator ends; then no connection and no thread is left.
    pub fn run(self: &Arc<Self>, listener: TcpListener) {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let mut listener = Some(listener);
        let mut threads: Vec<JoinHandle<()>> = Vec::new();
        while !self.shared.lock().stopping {
            self.follow_switch(&mut listener);
            threads.retain(|thread| !thread.is_finished());
            match listener.as_ref().map(TcpListener::accept) {
                Some(Ok((stream, _))) if threads.len() < MOST_CONNECTIONS => {
                    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
                    let Ok(handle) = stream.try_clone() else { continue };
                    self.sockets().insert(number, handle);
                    let server = Arc::clone(self);
                    threads.push(thread::spawn(move || {
                        // A client that leaves, or speaks no TLS, is its own business.
                        let _ = server.serve(stream);
                        server.sockets().remove(&number);
                    }));
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => thread::sleep(LOOK),
            }
        }
        self.cut();
        for thread in threads {
            let _ = thread.join();
        }
    }

    /// Listens, or ceases to, as the switch says.
    fn follow_switch(&self, listener: &mut Option<TcpListener>) {
        let wanted = self.shared.lock().switches.reachable;
        if wanted == listener.is_some() {
            return;
        }
        *listener = if wanted { listen(self.address).ok() } else { None };
        if !wanted {
            self.cut();
        }
        self.shared.change(|state| state.listening = listener.is_some());
    }

    fn cut(&self) {
        for stream in self.sockets().values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn sockets(&self) -> std::sync::MutexGuard<'_, HashMap<u64, TcpStream>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let connection = ServerConnection::new(Arc::clone(&self.tls)).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(connection, stream);
        let incoming = Incoming::read(&mut stream)?;
        let function = incoming.path.rsplit('/').next().unwrap_or_default().to_owned();
        let arguments = http::form(incoming.body.as_deref().unwrap_or_default());
        let number = self.shared.change(|state| {
            state.requests.push(Request { at: Instant::now(), function: function.clone(), arguments, status: 0 });
            state.requests.len() - 1
        });
        let (status, body) = self.answer(&incoming);
        let switches = self.shared.change(|state| {
            state.requests[number].status = status;
            state.switches.clone()
        });
        if switches.lose_reply_of == Some(function.as_str()) {
            return stream.sock.shutdown(Shutdown::Both);
        }
        reply(&mut stream, &switches, status, &body)?;
        stream.conn.send_close_notify();
        stream.flush()?;
        stream.sock.shutdown(Shutdown::Write)
    }

    fn answer(&self, incoming: &Incoming) -> api::Answer {
        if let Some(status) = self.shared.lock().switches.http_status {
            return (status, Value::Null);
        }
        if incoming.authorization.as_deref() != Some(self.authorization.as_str()) {
            return (401, Value::Null);
        }
        let body = match (incoming.method.as_str(), &incoming.body) {
            ("POST", None) => return (411, Value::Null),
            ("POST", Some(body)) => body.as_slice(),
            ("GET", _) if incoming.path == "/api/get-metadata" => &[],
            _ => return (405, Value::Null),
        };
        api::call(&self.shared, &incoming.path, &Arguments(&http::form(body))).unwrap_or((404, Value::Null))
    }
}

/// Listens without blocking.
pub(super) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn reply(stream: &mut Stream, switches: &Switches, status: u16, body: &Value) -> io::Result<()> {
    let mut bytes = Vec::new();
    if switches.bom {
        bytes.extend_from_slice("\u{feff}".as_bytes());
    }
    match switches.body {
        Body::Endless => {
            http::head(stream, status, "application/json", Some(ENDLESS))?;
            return [[b' '; 1 << 16]].iter().cycle().take(ENDLESS >> 16).try_for_each(|part| stream.write_all(part));
        }
        Body::Html => bytes.extend_from_slice(b"<!DOCTYPE html><html><body>Please sign in to the proxy</body></html>"),
        Body::Json if status == 200 => bytes.extend_from_slice(body.to_string().as_bytes()),
        Body::Json => {}
    }
    let kind = if switches.body == Body::Html { "text/html" } else { "application/json" };
    if switches.chunked {
        http::head(stream, status, kind, None)?;
        return http::chunks(stream, &bytes);
    }
    http::head(stream, status, kind, Some(bytes.len()))?;
    stream.write_all(&bytes)
}
