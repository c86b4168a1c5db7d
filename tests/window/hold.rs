//! An engine that is stopped surely at a step of its window, for as long as a test likes.
//!
//! strace sends it SIGSTOP at a system call that belongs to the step; where a program of the freezer runs, that one waits.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use icecore_testkit::live::{State, eventually};
use icecore_testkit::skip;
use rustix::process::{Pid, Signal, kill_process};

use super::Site;
use crate::common::{Outcome, Running, args, write};

/// A step of the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// The journal is written, the guardian not started.
    Journal,
    /// The guardian is ready, the freeze about to be requested.
    Guarded,
    /// The freeze has taken effect, and is not confirmed.
    Freezing,
    /// The freeze is confirmed.
    Frozen,
    /// In the listing.
    Listing,
    /// In the reading of what is hot.
    Securing,
    /// The thaw has taken effect, and is not confirmed.
    Thawing,
    /// The thaw is confirmed, and the journal says so.
    Thawed,
    /// The journal is removed.
    Closed,
}

pub const STEPS: [Step; 9] = [
    Step::Journal,
    Step::Guarded,
    Step::Freezing,
    Step::Frozen,
    Step::Listing,
    Step::Securing,
    Step::Thawing,
    Step::Thawed,
    Step::Closed,
];

/// The file of [`Site::stepwise`] that every window reads.
const READ: &str = "always.map";

/// The files whose presence lets the freezer's programs wait.
const SWITCHES: [&str; 2] = ["hold-freeze", "hold-thaw"];

impl Step {
    /// How many freezes were requested by then.
    pub fn freezes(self) -> usize {
        usize::from(self >= Self::Freezing)
    }

    /// Where strace stops the engine: the threads that are followed, the file, the call upon it, the how many'th.
    fn stop(self, site: &Site<State>) -> Option<Stop> {
        let base = site.home.path("live/base");
        let (threads, path, call, nth) = match self {
            Self::Freezing | Self::Thawing => return None,
            Self::Journal => (Threads::Main, site.journal(), "openat", 1),
            // The first look at the program is the check's, the second comes just before it is run.
            Self::Guarded => (Threads::Main, site.home.path("control/freeze.sh"), "statx", 2),
            Self::Frozen => (Threads::Main, site.journal(), "write", 1),
            // One thread lists, once for the prediction and then in the window, each time with two calls: names, and no more.
            Self::Listing => (Threads::Main, base, "getdents64", 3),
            Self::Securing => (Threads::All, base.join(READ), "pread64", 1),
            // After "frozen" and "thawing".
            Self::Thawed => (Threads::Main, site.journal(), "write", 3),
            Self::Closed => (Threads::Main, site.journal(), "?unlink,?unlinkat", 1),
        };
        Some(Stop { threads, path, call, nth })
    }
}

/// Which threads strace follows: [`All`](Self::All) are those of the guardian too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Threads {
    Main,
    All,
}

/// Where strace stops the engine.
#[derive(Debug)]
struct Stop {
    threads: Threads,
    path: PathBuf,
    call: &'static str,
    nth: u32,
}

impl Stop {
    fn options(&self) -> Vec<String> {
        let Self { threads, path, call, nth } = self;
        let follow = (*threads == Threads::All).then_some("-f").map(str::to_owned);
        let stop = format!("inject={call}:signal=SIGSTOP:when={nth}");
        let rest = ["-P", &path.display().to_string(), "-e", &stop].map(str::to_owned);
        follow.into_iter().chain(rest).collect()
    }
}

impl Site<State> {
    /// The usual instance after its first night, with windows that do the same every time: no warm pass reads what they
    /// do. `None`, which is said, without strace.
    pub fn stepwise(more: &str) -> Option<Self> {
        if Command::new("strace").arg("-V").output().is_err() {
            skip("strace is not installed");
            return None;
        }
        let site = Self::usual(&format!("always-read = [\"{READ}\"]\nwarm-rounds = 0\n{more}"));
        write(site.home.path("live/base").join(READ), "read in every window");
        site.night().expect(0);
        site.live.controls().forget_log();
        Some(site)
    }

    /// Starts a backup and waits until it is stopped at a step.
    pub fn hold(&self, step: Step) -> Held<'_> {
        self.hold_with(step, &[])
    }

    /// The same, with more options for strace, at steps where that is at work.
    pub fn hold_with(&self, step: Step, more: &[String]) -> Held<'_> {
        let trace = self.home.path("trace");
        let _ = fs::remove_file(&trace);
        let held = match step.stop(self) {
            None => {
                let (switch, word) =
                    if step == Step::Freezing { (SWITCHES[0], "freeze") } else { (SWITCHES[1], "thaw") };
                self.set(switch, "");
                let running = self.start();
                self.wait_for(word, 1);
                // The word comes before the job is done.
                eventually("the job is done", || self.live.controls().has("frozen") == (step == Step::Freezing));
                running.signal(Signal::STOP);
                Held { site: self, engine: running.id(), running, trace }
            }
            Some(stop) => {
                let mut options = stop.options();
                options.extend_from_slice(more);
                let threads = if step == Step::Listing { 1 } else { 2 };
                let running = Running::start(self.traced_with_threads(threads, &options, &trace));
                eventually("strace stops it", || stops(&trace) == 1);
                Held { site: self, engine: only_child(running.id()), running, trace }
            }
        };
        eventually("it is stopped", || is_stopped(held.engine));
        held
    }

    /// A backup under strace, which ends as the backup does.
    pub fn traced(&self, options: &[String], trace: &Path) -> Command {
        self.traced_with_threads(2, options, trace)
    }

    fn traced_with_threads(&self, threads: usize, options: &[String], trace: &Path) -> Command {
        let program = self.home.command(args!["backup", "-i", "live", "--json", "--threads", &threads.to_string()]);
        let mut strace = Command::new("strace");
        strace.arg("-o").arg(trace).args(options).arg(program.get_program()).args(program.get_args());
        strace.env_clear().envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
        strace.current_dir(self.home.path("home"));
        strace
    }

    /// Lets the freezer's programs go on.
    pub fn release(&self) {
        SWITCHES.iter().for_each(|switch| self.live.controls().unset(switch));
    }
}

/// An engine that was stopped.
pub struct Held<'s> {
    site: &'s Site<State>,
    engine: Pid,
    running: Running,
    trace: PathBuf,
}

impl Held<'_> {
    /// Sends the engine a signal. It hears all but SIGKILL when it goes on.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.engine, signal).expect("the engine is there");
    }

    /// Lets engine and programs go on, to the engine's end.
    pub fn go_on(self) -> Outcome {
        self.go_on_after(|_| {})
    }

    /// The same, each time that the engine comes to the step again: `first` is told the how many'th time it is.
    pub fn go_on_after(mut self, first: impl Fn(usize)) -> Outcome {
        let mut seen = 0;
        while !self.running.has_ended() {
            if seen < stops(&self.trace).max(1) {
                seen += 1;
                eventually("it is stopped", || is_stopped(self.engine));
                first(seen);
                self.site.release();
                self.signal(Signal::CONT);
            }
            thread::sleep(Duration::from_millis(2));
        }
        self.running.finish()
    }

    /// The end of an engine that was killed.
    pub fn finish(self) -> Outcome {
        self.running.finish()
    }
}

/// How often strace has stopped the engine.
fn stops(trace: &Path) -> usize {
    fs::read_to_string(trace).unwrap_or_default().matches("--- SIGSTOP {").count()
}

/// The program that strace runs.
fn only_child(strace: Pid) -> Pid {
    let strace = strace.as_raw_nonzero();
    let children = fs::read_to_string(format!("/proc/{strace}/task/{strace}/children")).unwrap();
    Pid::from_raw(children.split_whitespace().next().expect("a child").parse().unwrap()).unwrap()
}

/// Whether every thread of a process is stopped.
fn is_stopped(process: Pid) -> bool {
    let tasks = fs::read_dir(format!("/proc/{}/task", process.as_raw_nonzero())).into_iter().flatten().flatten();
    let mut states = tasks.map(|task| fs::read_to_string(task.path().join("stat")).unwrap_or_default());
    // "812 (name) T …"; under a tracer it is a small one.
    states.all(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['T', 't'])))
}
