//! Whoever is to know of a run is told: a webhook, a dead man's switch, people by mail.
//!
//! ```text
//! begin ─▶ ping thread: URL/start, until the run ends            (beside the work, which never waits for it)
//! end ───▶ ping thread: URL or URL/fail ─┐
//!     ───▶ webhook thread: POST ─────────┼─▶ warnings, within `patience`; who is not done then is left behind
//!     ───▶ mail thread: program ─────────┘
//! ```
//! What fails in a way that may pass is tried again, ever more slowly. A server that was heard, and whose answer was lost, hears
//! the same again: at least once, not exactly once. A failure to tell is a warning, and never more.

mod address;
mod mail;
mod ping;
mod retry;
#[cfg(test)]
mod tests;
mod webhook;

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

pub use icecore_http::{Client, Trust};

pub use self::address::{Address, SECRET};
pub use self::mail::{Deliver, Envelope, Mail, Undelivered, is_address, mail_host};
use self::ping::Ping;

/// How long nobody is waited for beyond `patience`: the time that it takes to give up.
const GRACE: Duration = Duration::from_secs(2);

/// When somebody is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    /// After a run that was not well.
    Failure,
    /// After each run that had something to do.
    Always,
}

/// Who is told, and how.
#[derive(Debug, Clone)]
pub struct Channels {
    /// What sends requests.
    pub client: Client,
    /// How long telling may take at the end of a run, with everything that is tried again.
    pub patience: Duration,
    /// What gets the report as a document.
    pub webhook: Option<(Address, On)>,
    /// What watches that runs happen: told of the beginning, and of how it ended.
    pub ping: Option<Address>,
    /// Who gets the report in words.
    pub mail: Option<(Mail, On)>,
}

/// How a run ended, for others.
#[derive(Debug, Clone)]
pub struct Ending {
    /// How well.
    pub verdict: Verdict,
    /// Something that this run did not touch has failed, and has not succeeded since: a dead man's switch must not take this
    /// run for a sign that all is well.
    pub still_failing: bool,
    /// The report in JSON.
    pub document: Vec<u8>,
    /// The report in words.
    pub text: String,
    /// What mail is headed with.
    pub envelope: Envelope,
}

/// How well a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Everything was done.
    Well,
    /// Somebody else is at what was due, and will tell of it.
    Busy,
    /// Something failed, or was done in part.
    Failed,
}

impl On {
    fn holds(self, verdict: Verdict) -> bool {
        self == Self::Always || verdict == Verdict::Failed
    }
}

/// What tells of one run.
pub struct Notifier {
    channels: Channels,
    ping: Option<Ping>,
    warnings: (Sender<Vec<String>>, Receiver<Vec<String>>),
}

impl fmt::Debug for Notifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notifier").field("channels", &self.channels).finish_non_exhaustive()
    }
}

impl Notifier {
    /// Tells whoever watches that a run begins, beside the work.
    pub fn begin(channels: Channels) -> Self {
        let warnings = channel();
        let ping = channels.ping.clone().map(|address| Ping::begin(address, &channels, warnings.0.clone()));
        Self { channels, ping, warnings }
    }

    /// Tells everybody how it ended, all at once; gives a sentence for each who was not told. Returns within `patience`, and a
    /// moment to give up.
    pub fn end(self, ending: Ending) -> Vec<String> {
        let Self { channels, ping, warnings: (tell, told) } = self;
        let Channels { client, patience, webhook, mail, .. } = channels;
        let deadline = Instant::now() + patience;
        let ending = Arc::new(ending);
        let (mut waiting, mut warnings) = (0, Vec::new());
        let mut beside = |who: &str, work: Box<dyn FnOnce() -> Vec<String> + Send>| {
            let said = tell.clone();
            // Nobody listens any more once the time is over.
            match thread::Builder::new().spawn(move || drop(said.send(work()))) {
                Ok(_) => waiting += 1,
                Err(error) => warnings.push(format!("{who} cannot be told: {error}")),
            }
        };
        if let Some((address, _)) = webhook.filter(|(_, on)| on.holds(ending.verdict)) {
            let ending = Arc::clone(&ending);
            beside("the webhook", Box::new(move || webhook::tell(&address, &client, &ending.document, deadline)));
        }
        if let Some((mail, _)) = mail.filter(|(_, on)| on.holds(ending.verdict)) {
            let ending = Arc::clone(&ending);
            beside("who gets mail", Box::new(move || mail.send(&ending, deadline)));
        }
        match ping.map(|ping| ping.end(&ending, deadline)) {
            Some(Ok(true)) => waiting += 1,
            Some(Err(why)) => warnings.push(why),
            Some(Ok(false)) | None => {}
        }
        drop(tell);
        warnings.extend(gather(&told, waiting, deadline + GRACE));
        warnings
    }
}

/// What `count` threads have to say, as far as they say it in time.
fn gather(told: &Receiver<Vec<String>>, count: usize, deadline: Instant) -> Vec<String> {
    let mut warnings = Vec::new();
    for done in 0..count {
        match told.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(said) => warnings.extend(said),
            Err(RecvTimeoutError::Timeout) => {
                let left = count - done;
                warnings.push(format!("{left} of {count} notifications were still under way when the time was over"));
                break;
            }
            // A thread that panicked said nothing.
            Err(RecvTimeoutError::Disconnected) => {
                warnings.push("a notification ended without saying how".to_owned());
                break;
            }
        }
    }
    warnings
}
