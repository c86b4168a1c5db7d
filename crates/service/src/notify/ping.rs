//! A dead man's switch, in the manner of healthchecks.io: it raises the alarm when it hears nothing.
//!
//! `URL/start` when a run begins, `URL` when it ended well, `URL/fail` when it did not; the body is the report in words.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use icecore_http::Client;

use super::address::{Address, Known};
use super::retry::{Failed, retry, sleep};
use super::{Channels, Ending, Verdict};

/// Bytes of a body that are sent; services keep some hundred KiB at most.
const BODY: usize = 64 << 10;

/// How long the beginning is told, if nobody hears it. By then the watchers' own patience is over.
const START: Duration = Duration::from_secs(10 * 60);

/// The end of a run, as it is told.
struct End {
    component: Option<&'static str>,
    text: String,
    deadline: Instant,
}

/// The thread that pings: one, so that no beginning arrives after its end.
pub(super) struct Ping {
    end: Option<Sender<End>>,
}

impl Ping {
    /// Begins to ping. What came of it is sent to `tell` after the end, unless that is silent.
    pub(super) fn begin(address: Address, channels: &Channels, tell: Sender<Vec<String>>) -> Self {
        let (end, ended) = channel();
        let client = channels.client.clone();
        // A try that hangs when the run ends leaves time to tell of the end.
        let limit = channels.patience / 2;
        let run = move || {
            if let Some(warnings) = attend(&address, &client, limit, &ended) {
                // Nobody listens any more once the time is over.
                drop(tell.send(warnings));
            }
        };
        Self { end: thread::Builder::new().spawn(run).is_ok().then_some(end) }
    }

    /// Tells how it ended; whether that will be followed by a word to `tell`.
    ///
    /// # Errors
    /// A sentence, if there is no thread that could.
    pub(super) fn end(self, ending: &Ending, deadline: Instant) -> Result<bool, String> {
        let component = match ending.verdict {
            Verdict::Well if !ending.still_failing => None,
            Verdict::Well | Verdict::Failed => Some("fail"),
            // Whoever is at it will tell.
            Verdict::Busy => return Ok(false),
        };
        let end = End { component, text: bounded(&ending.text).to_owned(), deadline };
        let sent = self.end.is_some_and(|to| to.send(end).is_ok());
        if sent { Ok(true) } else { Err(not_told("its thread is gone")) }
    }
}

/// Tells of the beginning until it is heard or the run ends, then of the end. `None` if that is not to be told.
fn attend(address: &Address, client: &Client, limit: Duration, ended: &Receiver<End>) -> Option<Vec<String>> {
    let known = match address.know() {
        Ok(known) => known,
        Err(why) => return ended.recv().ok().map(|_| vec![not_told(&why)]),
    };
    let mut end = None;
    let mut is_over = false;
    // Not heard, it only makes the watcher know less: how the run ends is what counts.
    let _ = retry(
        Instant::now() + START,
        |pause| {
            match ended.recv_timeout(pause) {
                Ok(told) => end = Some(told),
                Err(RecvTimeoutError::Disconnected) => is_over = true,
                Err(RecvTimeoutError::Timeout) => return true,
            }
            false
        },
        |until| ping(&known, client, Some("start"), "", until.min(Instant::now() + limit)),
    );
    if is_over {
        return None;
    }
    let End { component, text, deadline } = end.or_else(|| ended.recv().ok())?;
    let told = retry(deadline, sleep, |until| ping(&known, client, component, &text, until));
    Some(told.err().map(|why| not_told(&why)).into_iter().collect())
}

fn ping(known: &Known, client: &Client, component: Option<&str>, body: &str, until: Instant) -> Result<(), Failed> {
    let url = component.map_or_else(|| known.url.clone(), |component| known.url.below(component));
    known.post(client, &url, "text/plain; charset=utf-8", body.as_bytes(), until)
}

fn not_told(why: &str) -> String {
    format!("the dead man's switch was not told: {why}")
}

/// The beginning of a text.
fn bounded(text: &str) -> &str {
    let end = (0..=BODY.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
    text.get(..end).unwrap_or_default()
}
