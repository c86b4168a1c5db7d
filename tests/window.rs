//! The freeze window, through the program, a configuration file, real scripts and a writer that never rests.

mod captures;
mod config;
mod deadline;
mod deaths;
mod faults;
mod firebird;
mod hold;
mod mailstore;
mod nights;
mod programs;
mod racy;
mod replies;
mod steps;
mod thaws;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use icecore_testkit::live::{Instance, Live, State, Work, differences, eventually, state};
use jiff::Timestamp;
use serde_json::Value;

use crate::common::{Home, Outcome, Running, args, noise, write};

/// Between two steps of a writer that shares the machine with other tests.
const REST: Duration = Duration::from_millis(1);

/// A user with a configured instance named `live`, of which a writer takes care.
struct Site<R> {
    live: Live<R>,
    home: Home,
}

impl Site<State> {
    /// The usual instance, frozen by scripts.
    fn usual(more: &str) -> Self {
        let (home, live) = (Home::with_repository(), "live");
        let work = Instance::fill(&home.make_dir(live), REST);
        Self::new(home, work, more)
    }

    /// The usual instance at a place where its roots can be reached, with one large file that every window secures.
    fn at(home: Home, more: &str) -> Self {
        let work = Instance::fill(&home.path("live"), 5 * REST);
        write(home.path("live/base/slow.map"), noise(7, 48 << 20));
        Self::new(home, work, &format!("always-read = [\"slow.map\"]\nwarm-rounds = 1\n{more}"))
    }

    /// The usual instance with one large file that every window reads, so that there is time to do something in it.
    fn slow(more: &str) -> Self {
        let home = Home::with_repository();
        home.make_dir("live");
        Self::at(home, more)
    }
}

impl<R: Clone + Send + 'static> Site<R> {
    /// An instance with the roots `live/base` and `live/store` of a home, frozen by scripts. `more` stands in its section.
    fn new(mut home: Home, work: impl Work<Record = R>, more: &str) -> Self {
        let live = Live::start(&home.path("control"), work);
        home.set("ICECORE_CONFIG", home.path("config.toml"));
        let site = Self { live, home };
        site.configure(&format!("{more}\n[instance.freezer]\n{}", site.live.controls().freezer()));
        site
    }

    fn configure(&self, more: &str) {
        let roots = [("base", self.home.path("live/base")), ("store", self.home.path("live/store"))];
        let roots: Vec<_> = roots.iter().map(|(name, path)| format!("{name} = {path:?}")).collect();
        let text = format!("[[instance]]\nname = \"live\"\nroots = {{ {} }}\n{more}\n", roots.join(", "));
        write(self.home.path("config.toml"), text);
    }

    /// Restores the snapshot of an outcome and compares it with a recorded state.
    #[track_caller]
    fn expect_restored(&self, outcome: &Outcome, recorded: &State) {
        let snapshot = snapshot(outcome);
        let id = snapshot["id"].as_str().unwrap();
        let differing = differences(recorded, &state(&self.home.restore(id, id)));
        assert!(differing.is_empty(), "{} differences:\n{}\n{outcome}", differing.len(), differing.join("\n"));
        fs::remove_dir_all(self.home.path(id)).unwrap();
    }

    /// A backup, to its end.
    fn night(&self) -> Outcome {
        self.start().finish()
    }

    fn start(&self) -> Running {
        Running::start(self.home.command(args!["backup", "-i", "live", "--json"]))
    }

    fn set(&self, name: &str, content: &str) {
        self.live.controls().set(name, content);
    }

    fn said(&self, word: &str) -> usize {
        self.live.controls().said(word)
    }

    fn wait_for(&self, word: &str, times: usize) {
        self.live.controls().wait_for(word, times);
    }

    fn journal(&self) -> PathBuf {
        self.home.path("home/.local/state/icecore/windows/live.json")
    }

    /// Waits until the engine knows that the freeze holds: the window is open. (The script's word comes a little before.)
    fn wait_until_open(&self) {
        let is_open =
            || fs::read_to_string(self.journal()).is_ok_and(|journal| journal.contains(r#""record":"frozen""#));
        eventually("the window is open", is_open);
    }

    /// The guardian's process, as the journal names it.
    fn guardian(&self) -> rustix::process::Pid {
        let journal = fs::read_to_string(self.journal()).expect("the window is open");
        let records = journal.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let guardian =
            records.filter(|record| record["record"] == "guardian").find_map(|record| record["pid"].as_i64());
        rustix::process::Pid::from_raw(guardian.expect("a guardian") as i32).unwrap()
    }

    /// So many freezes and so many confirmed thaws, no journal, and a writer that writes.
    #[track_caller]
    fn expect_awake(&self, freezes: usize, thaws: usize) {
        self.live.expect_awake();
        let log = self.live.controls().log();
        assert_eq!((self.said("freeze"), self.said("thawed")), (freezes, thaws), "{log:?}");
        assert!(!self.journal().exists(), "{}", fs::read_to_string(self.journal()).unwrap_or_default());
    }
}

/// The snapshot of the only instance in a backup's document.
#[track_caller]
fn snapshot(outcome: &Outcome) -> Value {
    outcome.json()["instances"][0]["snapshot"].clone()
}

/// The receipt of a snapshot, whose times must make sense.
#[track_caller]
fn receipt(snapshot: &Value) -> Value {
    let receipt = snapshot["receipt"].clone();
    let time = |name: &str| -> Timestamp { receipt[name].as_str().expect("a time").parse().unwrap() };
    let times = ["requested", "frozen", "listed", "thawed"].map(time);
    assert!(times.is_sorted(), "{receipt}");
    // Milliseconds are cut off, and by another clock.
    let by_the_clock = times[3].as_millisecond() - times[0].as_millisecond();
    let window = receipt["window_ms"].as_i64().unwrap();
    assert!((by_the_clock - window).abs() <= 50, "{receipt}");
    assert_eq!(snapshot["window_ms"], receipt["window_ms"]);
    receipt
}
