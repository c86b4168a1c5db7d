//! A live instance: a writer that never rests, and stops only between two steps, when it is frozen.
//!
//! ```text
//! freeze script                control directory          writer (a thread of the test)
//!   creates `request` ───────▶ request ─────────────────▶ ends its step, records its state
//!   waits for `frozen` ◀────── frozen  ◀───────────────── creates `frozen`, waits
//! thaw script
//!   removes `request` ───────▶ (gone)  ─────────────────▶ removes `frozen`, writes on
//!   waits until `frozen` is gone
//! ```
//! The scripts are real programs and write what they do into a log. Files in the control directory make them misbehave: see
//! [`Controls::set`].

mod instance;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

pub use instance::{Instance, State, differences, state};

/// How long anything here may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often a file of the protocol is looked for.
const LOOK: Duration = Duration::from_millis(1);

/// What the writer does.
pub trait Work: Send + 'static {
    /// What is recorded at a freeze.
    type Record: Clone + Send + 'static;

    /// One step. A freeze takes effect between two of them.
    fn step(&mut self);

    /// The state at this moment, of which nothing changes until the thaw.
    fn record(&mut self) -> Self::Record;
}

/// A running writer; it ends when this is dropped.
#[derive(Debug)]
pub struct Live<R> {
    controls: Controls,
    shared: Arc<Shared<R>>,
    writer: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared<R> {
    stop: AtomicBool,
    steps: AtomicU64,
    records: Mutex<Vec<R>>,
}

impl<R: Clone + Send + 'static> Live<R> {
    /// Starts a writer that is frozen and thawed by files in `control`, which is made, with the scripts.
    ///
    /// # Panics
    /// If that directory cannot be made.
    pub fn start(control: &Path, mut work: impl Work<Record = R>) -> Self {
        let controls = Controls { directory: control.to_owned() };
        controls.write_scripts();
        let shared = Shared { stop: AtomicBool::new(false), steps: AtomicU64::new(0), records: Mutex::default() };
        let shared = Arc::new(shared);
        let (seen, files) = (Arc::clone(&shared), controls.clone());
        let writer = thread::spawn(move || {
            while !seen.stop.load(Ordering::Relaxed) {
                if files.has("request") {
                    let record = work.record();
                    seen.records.lock().expect("no panic").push(record);
                    files.set("frozen", "");
                    while files.has("request") && !seen.stop.load(Ordering::Relaxed) {
                        thread::sleep(LOOK);
                    }
                    files.unset("frozen");
                }
                work.step();
                seen.steps.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self { controls, shared, writer: Some(writer) }
    }

    /// The control directory.
    pub fn controls(&self) -> &Controls {
        &self.controls
    }

    /// What was recorded at each freeze that took effect.
    pub fn records(&self) -> Vec<R> {
        self.shared.records.lock().expect("no panic").clone()
    }

    /// What was recorded at the last freeze.
    pub fn record(&self) -> R {
        self.records().pop().expect("it was frozen")
    }

    /// Waits until the writer has done some more steps.
    ///
    /// # Panics
    /// If it does not: it is frozen, or has panicked.
    pub fn expect_awake(&self) {
        let begun = self.shared.steps.load(Ordering::Relaxed);
        eventually("the writer writes", || self.shared.steps.load(Ordering::Relaxed) > begun + 3);
    }
}

impl<R> Drop for Live<R> {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        let ended = self.writer.take().map(JoinHandle::join);
        assert!(thread::panicking() || matches!(ended, Some(Ok(()))), "the writer panicked");
    }
}

/// The control directory: protocol, scripts, their log.
#[derive(Debug, Clone)]
pub struct Controls {
    directory: PathBuf,
}

impl Controls {
    /// Writes a file. These have a meaning for the scripts:
    ///
    /// | file | what it does |
    /// |---|---|
    /// | `lie` | freeze succeeds at once, and the writer goes on |
    /// | `freeze-takes`, `thaw-takes` | seconds that they wait with their job done, before they say so |
    /// | `hold-freeze`, `hold-thaw` | as long as it is there they wait with their job done, before they say so |
    /// | `lose-freeze`, `lose-thaw` | the next call does its job and dies before it says so; then the file is gone |
    /// | `refuse-freeze`, `refuse-thaw` | how many of the next calls fail, with a sentence |
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn set(&self, name: &str, content: &str) {
        // By renaming: a script never reads half of it.
        let new = self.directory.join(format!("{name}.new"));
        fs::write(&new, content).expect("a file");
        fs::rename(new, self.directory.join(name)).expect("a file");
    }

    /// Removes a file.
    pub fn unset(&self, name: &str) {
        let _ = fs::remove_file(self.directory.join(name));
    }

    /// Whether a file is there.
    pub fn has(&self, name: &str) -> bool {
        self.directory.join(name).exists()
    }

    /// The scripts, as the section of a configuration file.
    pub fn freezer(&self) -> String {
        let script = |name: &str| self.directory.join(name).to_string_lossy().into_owned();
        let (freeze, thaw, status) = (script("freeze.sh"), script("thaw.sh"), script("status.sh"));
        format!("kind = \"command\"\nfreeze = [{freeze:?}]\nthaw = [{thaw:?}]\nstatus = [{status:?}]\n")
    }

    /// What the scripts did: `freeze`, `frozen`, `thaw`, `thawed`.
    pub fn log(&self) -> Vec<String> {
        let log = fs::read_to_string(self.directory.join("log")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }

    /// Begins a new log.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn forget_log(&self) {
        self.set("log", "");
    }

    /// How often the log says a word.
    pub fn said(&self, word: &str) -> usize {
        self.log().iter().filter(|line| *line == word).count()
    }

    /// Waits until the log has said a word so often.
    ///
    /// # Panics
    /// If it does not come to that.
    pub fn wait_for(&self, word: &str, times: usize) {
        eventually(word, || self.said(word) >= times);
    }

    /// Freezes without a script; for hooks.
    pub fn freeze(&self) {
        self.set("request", "");
        eventually("frozen", || self.has("frozen"));
    }

    /// Thaws without a script; for hooks.
    pub fn thaw(&self) {
        self.unset("request");
        eventually("thawed", || !self.has("frozen"));
    }

    fn write_scripts(&self) {
        fs::create_dir_all(&self.directory).expect("a directory");
        let refuse = |what: &str| {
            format!(
                "if [ -s refuse-{what} ] && n=$(cat refuse-{what}) && [ $n -gt 0 ]; then\n  echo $((n-1)) >refuse-{what}\n  \
                 echo \"the application refuses to {what}, $n times more\" >&2\n  exit 1\nfi\n"
            )
        };
        let wait = |what: &str| {
            format!(
                "[ -s {what}-takes ] && sleep \"$(cat {what}-takes)\"\nwhile [ -e hold-{what} ]; do sleep 0.002; done\n\
                 [ -e lose-{what} ] && rm lose-{what} && kill -9 $$\n"
            )
        };
        let freeze = format!(
            "echo freeze >>log\n{}[ -e lie ] && exit 0\n: >request\nuntil [ -e frozen ]; do sleep 0.002; done\n{}echo frozen >>log\n",
            refuse("freeze"),
            wait("freeze"),
        );
        let thaw = format!(
            "echo thaw >>log\n{}rm -f request\nwhile [ -e frozen ]; do sleep 0.002; done\n{}echo thawed >>log\n",
            refuse("thaw"),
            wait("thaw"),
        );
        let status = "if [ -e frozen ]; then exit 3; fi\n".to_owned();
        for (name, body) in [("freeze", freeze), ("thaw", thaw), ("status", status)] {
            let path = self.directory.join(format!("{name}.sh"));
            let text = format!("#!/bin/sh\ncd '{}' || exit 9\n{body}", self.directory.display());
            fs::write(&path, text).expect("a script");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a script");
        }
    }
}

/// Waits until something holds.
///
/// # Panics
/// If it does not within a minute.
pub fn eventually(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "waited for {PATIENCE:?} in vain: {what}");
        thread::sleep(LOOK);
    }
}
