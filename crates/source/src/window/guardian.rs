//! The guardian: a process beside the engine that thaws if the engine dies, hangs, or is late.
//!
//! ```text
//! engine                                   guardian (own session)
//!   journal durable
//!   start it ────────────────────────────▶ lock the log, open the journal
//!              ◀──────────────── "ready"
//!   "begin" ─────────────────────────────▶ the deadline runs
//!   freeze … list … secure
//!   thaw, confirmed                        deadline passed → thaw; go on listening
//!   "thawed" ────────────────────────────▶ leave
//!   (end of input without "thawed")       ▶ the engine is gone → thaw, leave
//! ```
//!
//! The pipe tells of the engine's end whatever ended it: the kernel closes it. A freeze program does not
//! hold it open, since descriptors are closed when it is started; so once the guardian hears of the end,
//! whatever the engine was starting can be found.

use std::io::{BufRead, BufReader, Read, Write};
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use icecore_format::entry::Timestamp;
use icecore_format::snapshot::ThawedBy;

use super::journal::{Journal, JournalError, Record};
use super::log::logger;
use super::place::{Place, lock_file};
use super::retry::Retry;
use super::thaw::{ThawError, thaw_again, thaw_once};
use crate::os::window as os;

/// What the guardian says when it is.
pub(super) const READY: &str = "ready";
/// What the engine says before it asks for the freeze.
pub(super) const BEGIN: &str = "begin";
/// What the engine says after the confirmed thaw.
pub(super) const THAWED: &str = "thawed";

/// How long the guardian of an earlier window may take to leave.
const TURN: Duration = Duration::from_secs(5);

/// Why the guardian could not take up its post.
#[derive(Debug, thiserror::Error)]
pub enum GuardianError {
    /// The journal cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The OS refused.
    #[error("the guardian cannot {operation}")]
    Io {
        /// What it wanted.
        operation: &'static str,
        /// What the OS said.
        source: std::io::Error,
    },
    /// Another guardian watches over this instance.
    #[error("another guardian watches over this instance")]
    Posted,
}

/// The whole life of a guardian process; `input` comes from the engine, `output` goes to it.
///
/// It leaves the session and lives through SIGINT, SIGTERM and SIGHUP. It does not leave before a thaw is
/// confirmed, by whomever, or somebody has deleted the journal.
///
/// # Errors
/// If it could not take up its post; it has not said "ready" then.
pub fn run(
    journal: &Path,
    input: impl Read + Send + 'static,
    output: impl Write,
    clock: &dyn Fn() -> Timestamp,
) -> Result<(), GuardianError> {
    let failed = |operation| move |source| GuardianError::Io { operation, source };
    os::live_on_alone().map_err(failed("leave the session"))?;
    let log_path = Place::at(journal).log;
    let locked = lock_file(&log_path, TURN).map_err(failed("lock its log"))?;
    let _alive = locked.ok_or(GuardianError::Posted)?;
    let mut log = logger(log_path, "guardian", clock);
    let mut opened = Journal::open(journal)?;
    let intent = opened.read()?.intent;
    opened.append(&Record::Guardian { pid: std::process::id() })?;
    drop(opened);
    say_ready(output).map_err(failed("say that it is ready"))?;
    log(&format!("watching over {}, for {:?} from the freeze on", intent.instance, intent.max_freeze));
    let engine = listen(input).map_err(failed("listen to the engine"))?;
    let mut again = false;
    watch(&engine, intent.max_freeze, &mut |why| {
        log(why);
        persist(journal, again, &intent.retry, clock, &mut log);
        again = true;
    });
    Ok(())
}

fn say_ready(mut output: impl Write) -> std::io::Result<()> {
    writeln!(output, "{READY}")?;
    output.flush()
}

/// Lines from the engine, read by a thread so that they can be waited for with a deadline; the end of the
/// channel is the end of the engine.
fn listen(input: impl Read + Send + 'static) -> std::io::Result<Receiver<String>> {
    let (line, lines) = mpsc::channel();
    std::thread::Builder::new().name("listener".to_owned()).spawn(move || {
        let heard = BufReader::new(input).lines().map_while(Result::ok);
        heard.take_while(|heard| line.send(heard.clone()).is_ok()).for_each(drop);
    })?;
    Ok(lines)
}

/// Waits for the engine's end, and thaws whenever there is a reason to.
fn watch(engine: &Receiver<String>, max_freeze: Duration, thaw: &mut dyn FnMut(&str)) {
    let mut deadline: Option<Instant> = None;
    let mut thawed = false;
    loop {
        let heard = match deadline {
            None => engine.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(deadline) => engine.recv_timeout(deadline.saturating_duration_since(Instant::now())),
        };
        match heard.as_deref() {
            Ok(BEGIN) => deadline = Instant::now().checked_add(max_freeze),
            Ok(THAWED) => {
                deadline = None;
                thawed = true;
            }
            // From a newer engine; the end of the pipe and the deadline say enough.
            Ok(_) => {}
            Err(RecvTimeoutError::Timeout) => {
                deadline = None;
                thaw("the deadline has passed: thawing");
            }
            Err(RecvTimeoutError::Disconnected) => {
                if !thawed {
                    thaw("the engine is gone: thawing");
                }
                return;
            }
        }
    }
}

/// Thaws, and never gives up: not for a panic either, which has told its story to the log by then. `again`: the engine has
/// lived on after the first time, and is gone.
fn persist(journal: &Path, again: bool, retry: &Retry, clock: &dyn Fn() -> Timestamp, log: &mut dyn FnMut(&str)) {
    let mut retry = retry.clone();
    loop {
        // Every round starts from the journal, so nothing half done is carried on.
        let round = AssertUnwindSafe(|| {
            let thaw = thaw_once(journal, ThawedBy::Guardian, clock, &retry, log)?;
            if again {
                thaw_again(journal, ThawedBy::Guardian, clock, &retry, log)?;
            }
            Ok::<_, ThawError>(thaw)
        });
        match panic::catch_unwind(round) {
            Ok(Ok(thaw)) => return log(&format!("thawed by {:?}, in {} attempts", thaw.by, thaw.attempts)),
            Ok(Err(ThawError::Journal(error))) if error.is_gone() => {
                return log("the journal is gone: nothing to thaw");
            }
            Ok(Err(error)) => log(&error.to_string()),
            Err(_) => log("panicked while thawing"),
        }
        // Once is enough for stronger means.
        retry.last_resort = false;
        std::thread::sleep(retry.longest_pause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `watch` does, in milliseconds since its start, for lines said at such times.
    fn watched(said: &[(u64, Option<&str>)], max_freeze: u64) -> Vec<(u64, String)> {
        let (line, lines) = mpsc::channel();
        let said: Vec<_> = said.iter().map(|(at, what)| (*at, what.map(str::to_owned))).collect();
        let start = Instant::now();
        let engine = std::thread::spawn(move || {
            for (at, what) in said {
                std::thread::sleep(Duration::from_millis(at).saturating_sub(start.elapsed()));
                if let Some(what) = what {
                    line.send(what).unwrap();
                }
            }
        });
        let mut thaws = Vec::new();
        let mut thaw = |why: &str| thaws.push((start.elapsed().as_millis() as u64, why.to_owned()));
        watch(&lines, Duration::from_millis(max_freeze), &mut thaw);
        engine.join().unwrap();
        thaws
    }

    #[test]
    fn a_window_that_closes_in_time_needs_no_guardian() {
        assert_eq!(watched(&[(0, Some(BEGIN)), (10, Some(THAWED)), (300, None)], 100), []);
    }

    #[test]
    fn the_deadline_runs_from_the_freeze_on() {
        let thaws = watched(&[(100, Some(BEGIN)), (400, Some(THAWED))], 100);
        assert_eq!(thaws.len(), 1);
        assert!((200..400).contains(&thaws[0].0) && thaws[0].1.contains("deadline"), "{thaws:?}");
    }

    #[test]
    fn an_engine_that_ends_without_a_word_is_thawed_for_at_once() {
        let thaws = watched(&[(0, Some(BEGIN)), (0, Some("something newer"))], 10_000);
        assert_eq!(thaws.len(), 1);
        assert!(thaws[0].0 < 1_000 && thaws[0].1.contains("gone"), "{thaws:?}");
    }

    #[test]
    fn a_deadline_and_an_end_are_two_reasons() {
        assert_eq!(watched(&[(0, Some(BEGIN)), (100, None)], 20).len(), 2);
    }
}
