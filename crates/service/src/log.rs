//! Events in a file that may be moved away at any time.
//!
//! ```text
//! tracing::info!(…) ─▶ Collector ─▶ a bounded queue ─▶ one thread ─▶ FILE, opened anew for what waits
//! ```
//! Whoever tells of something never waits: a log may stand on a file system that is frozen, full or far away. What does not
//! fit into the queue is counted and left out, and the log says so. A file that was renamed is left alone, because each batch
//! of lines opens the file by its name.

use std::fmt::{self, Write as _};
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
pub use tracing::subscriber::set_global_default;
use tracing::{Event, Level, Metadata};

/// Lines that may wait. A run tells of a few for each task.
const QUEUE: usize = 4096;

/// Bytes that are written at once, about.
const BATCH: usize = 64 << 10;

/// Crates whose events are ours.
const OURS: &str = "icecore";

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `TIME LEVEL message field=value …`
    Text,
    /// An object.
    Json,
}

/// Where events go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The file; made if it is not there.
    pub file: PathBuf,
    /// How.
    pub format: Format,
    /// The least important events that are written.
    pub level: Level,
}

/// An event.
struct Told {
    at: Timestamp,
    level: Level,
    message: String,
    fields: Vec<(&'static str, Value)>,
}

enum Message {
    Told(Told),
    /// Nothing comes behind it.
    End(SyncSender<()>),
}

/// What everybody who tells of something shares.
struct Shared {
    queue: SyncSender<Message>,
    /// Events that found no room.
    lost: Arc<AtomicU64>,
    off: AtomicBool,
}

/// Takes the events of a process.
pub struct Collector {
    shared: Arc<Shared>,
    clock: fn() -> Timestamp,
}

/// The log of a process. Until it is opened, events wait.
pub struct Log {
    shared: Arc<Shared>,
    queue: Mutex<Option<Receiver<Message>>>,
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collector").finish_non_exhaustive()
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").finish_non_exhaustive()
    }
}

impl Log {
    /// Begins to gather events.
    pub fn begin(clock: fn() -> Timestamp) -> (Self, Collector) {
        let (queue, waiting) = sync_channel(QUEUE);
        let shared = Arc::new(Shared { queue, lost: Arc::default(), off: AtomicBool::new(false) });
        (Self { shared: Arc::clone(&shared), queue: Mutex::new(Some(waiting)) }, Collector { shared, clock })
    }

    /// Writes what waits and what comes into a file. `tell` is told once if that cannot be. Only the first call counts.
    pub fn open(&self, target: Target, tell: impl FnOnce(String) + Send + 'static) {
        let Some(queue) = self.take() else { return };
        let lost = Arc::clone(&self.shared.lost);
        let writer = Writer { target, lost, torn: false, tell: Some(Box::new(tell)) };
        if thread::Builder::new().name("log".into()).spawn(move || writer.run(&queue)).is_err() {
            // Without a thread there is no log.
            self.shared.off.store(true, Relaxed);
        }
    }

    /// Forgets what waits, and takes no more.
    pub fn discard(&self) {
        self.shared.off.store(true, Relaxed);
        drop(self.take());
    }

    /// Waits until everything is written or given up, for so long at most; whether it is.
    pub fn end(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let (done, written) = sync_channel(1);
        let mut message = Message::End(done);
        while let Err(TrySendError::Full(back)) = self.shared.queue.try_send(message) {
            if Instant::now() >= deadline {
                return false;
            }
            message = back;
            thread::sleep(Duration::from_millis(1));
        }
        // Nobody answers where nothing is written.
        let end = written.recv_timeout(deadline.saturating_duration_since(Instant::now()));
        end != Err(RecvTimeoutError::Timeout)
    }

    fn take(&self) -> Option<Receiver<Message>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl tracing::Subscriber for Collector {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        // Asked again each time: a log may be discarded.
        if is_ours(metadata) { Interest::sometimes() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        is_ours(metadata) && !self.shared.off.load(Relaxed)
    }

    fn event(&self, event: &Event<'_>) {
        let mut told =
            Told { at: (self.clock)(), level: *event.metadata().level(), message: String::new(), fields: Vec::new() };
        event.record(&mut told);
        if self.shared.queue.try_send(Message::Told(told)).is_err() {
            self.shared.lost.fetch_add(1, Relaxed);
        }
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

fn is_ours(metadata: &Metadata<'_>) -> bool {
    metadata.is_event() && metadata.target().starts_with(OURS)
}

impl Told {
    fn put(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            (name, value) => self.fields.push((name, value)),
        }
    }

    fn render(&self, format: Format, into: &mut String) {
        let (at, level) = (format!("{:.3}", self.at), self.level.as_str());
        match format {
            Format::Text => {
                let _ = write!(into, "{at} {level:5} ");
                into.extend(self.message.chars().flat_map(|c| {
                    // A line is an event, whatever stands in it.
                    let (plain, escaped) =
                        if c.is_control() { (None, Some(c.escape_default())) } else { (Some(c), None) };
                    plain.into_iter().chain(escaped.into_iter().flatten())
                }));
                for (name, value) in &self.fields {
                    let _ = match value {
                        Value::String(text) if is_word(text) => write!(into, " {name}={text}"),
                        // Texts in quotes and escaped.
                        value => write!(into, " {name}={value}"),
                    };
                }
            }
            Format::Json => {
                let message = Value::from(self.message.as_str());
                let _ =
                    write!(into, "{{\"time\":\"{at}\",\"level\":\"{}\",\"message\":{message}", level.to_lowercase());
                for (name, value) in &self.fields {
                    let _ = write!(into, ",\"{name}\":{value}");
                }
                into.push('}');
            }
        }
        into.push('\n');
    }
}

/// Whether a text needs no quotes.
fn is_word(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| !c.is_whitespace() && !c.is_control() && !matches!(c, '"' | '='))
}

impl Visit for Told {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }
}

struct Writer {
    target: Target,
    lost: Arc<AtomicU64>,
    /// The last line in the file may lack its end.
    torn: bool,
    tell: Option<Box<dyn FnOnce(String) + Send>>,
}

impl Writer {
    fn run(mut self, queue: &Receiver<Message>) {
        let mut ends = Vec::new();
        while let Ok(first) = queue.recv() {
            let (mut text, mut lines, mut last) = (String::new(), 0, Timestamp::UNIX_EPOCH);
            let mut next = Some(first);
            while let Some(message) = next {
                match message {
                    Message::Told(told) if told.level <= self.target.level => {
                        told.render(self.target.format, &mut text);
                        (lines, last) = (lines + 1, told.at);
                    }
                    Message::Told(_) => {}
                    Message::End(done) => ends.push(done),
                }
                next = if text.len() < BATCH { queue.try_recv().ok() } else { None };
            }
            if lines > 0 {
                self.write(&text, lines, last);
            }
            // Whoever waits may have given up.
            for done in ends.drain(..) {
                let _ = done.try_send(());
            }
        }
    }

    fn write(&mut self, text: &str, lines: u64, at: Timestamp) {
        let lost = self.lost.swap(0, Relaxed);
        let mut all = String::new();
        if self.torn {
            all.push('\n');
        }
        all.push_str(text);
        if lost > 0 {
            let fields = vec![("count", lost.into())];
            let message = "lines before this were lost".to_owned();
            Told { at, level: Level::WARN, message, fields }.render(self.target.format, &mut all);
        }
        match append(&self.target.file, all.as_bytes()) {
            Ok(()) => self.torn = false,
            Err(error) => {
                self.torn = true;
                self.lost.fetch_add(lost + lines, Relaxed);
                if let Some(tell) = self.tell.take() {
                    tell(format!("the log {} cannot be written: {error}", self.target.file.display()));
                }
            }
        }
    }
}

fn append(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    restrict(&mut options);
    options.open(file)?.write_all(bytes)
}

/// What is wrong with files names them, which is not everybody's business.
#[cfg(unix)]
fn restrict(options: &mut OpenOptions) {
    use std::os::unix::fs::OpenOptionsExt as _;
    options.mode(0o640);
}

#[cfg(not(unix))]
fn restrict(_: &mut OpenOptions) {}

#[cfg(test)]
mod tests;
