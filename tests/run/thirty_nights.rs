//! Night after night `icecore run`, as an administrator has it, while somebody writes; in some nights something
//! happens.
//!
//! ```text
//! writer ◀─ freezes, thaws ─ simulator of the Management API ◀─ icecore run ─▶ repository on a small disk
//!                                                                   │
//!                        dead man's switch, metrics, table, report ◀┘
//! ```
//! Every night says what came of each task, in its table and in the report that its last hook gets; the dead man's switch hears of it, and the
//! metrics have it. In the end every snapshot that was kept is what the writer wrote down while it was frozen.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use icecore_testkit::live::{Instance, Live, State, differences, eventually, state};
use icecore_testkit::spe::{self, Simulator};
use icecore_testkit::{SmallDisk, WebServer, effort};
use rustix::process::Signal;
use serde_json::Value;

use super::result;
use super::tell::metric;
use crate::common::{Home, Outcome, Running, args, noise, number, write};

/// What happens in a night. A further kind is a word here, an arm in each of the functions of [`Night`] and of
/// [`Site::spend`], and a place in [`PLAN`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Night {
    /// Nothing.
    Calm,
    /// The engine is killed while the server freezes the instance.
    KilledFreezing,
    /// The engine is killed while the server thaws the instance.
    KilledThawing,
    /// The disk of the repository is full.
    FullDisk,
    /// The server does not answer.
    NoServer,
    /// The program that tests restored copies finds something.
    FailedDrill,
}

/// The nights, over and over. Something happens twice in a row, and before and after what else can.
const PLAN: [Night; 11] = [
    Night::Calm,
    Night::KilledFreezing,
    Night::Calm,
    Night::FailedDrill,
    Night::FullDisk,
    Night::NoServer,
    Night::KilledThawing,
    Night::Calm,
    Night::Calm,
    Night::FullDisk,
    Night::Calm,
];

/// How many snapshots are kept.
const KEPT: usize = 4;

/// Bytes of the repository's disk: more than thirty nights need.
const DISK: u64 = 256 << 20;

/// Bytes that are new in a night without room, as much as is left then and some more.
const TOO_MUCH: usize = 2 << 20;

/// Between two steps of the writer: slow enough for the disk.
const REST: Duration = Duration::from_millis(5);

/// How long the server takes where a kill has to come meanwhile.
const SLOW: Duration = Duration::from_secs(2);

/// What comes of each task where nothing happens.
const CALM: [(&str, &str); 5] =
    [("backup live", "done"), ("forget live", "done"), ("prune", "done"), ("check", "done"), ("drill live", "done")];

impl Night {
    /// The exit code, and what came of each task; `None`: it does not live to tell.
    fn tells(self) -> Option<(i32, &'static [(&'static str, &'static str)])> {
        match self {
            Self::Calm => Some((0, &CALM)),
            Self::FailedDrill => {
                const TOLD: [(&str, &str); 5] = [CALM[0], CALM[1], CALM[2], CALM[3], ("drill live", "failed")];
                Some((1, &TOLD))
            }
            // The prune waits: it would mark what the backup goes on from. Without room, what a drill found cannot be recorded.
            Self::FullDisk => Some((1, &[("backup live", "failed"), ("check", "done"), ("drill live", "failed")])),
            Self::NoServer => Some((1, &[("backup live", "failed"), ("check", "done"), ("drill live", "done")])),
            Self::KilledFreezing | Self::KilledThawing => None,
        }
    }

    /// What it says of that.
    fn says(self) -> &'static [&'static str] {
        match self {
            Self::Calm => &[],
            Self::FailedDrill => &["the copy is bad"],
            Self::FullDisk => &["make room"],
            Self::NoServer => &["nothing was frozen"],
            Self::KilledFreezing | Self::KilledThawing => &[],
        }
    }

    /// Whether there is a snapshot of it.
    fn has_snapshot(self) -> bool {
        matches!(self, Self::Calm | Self::FailedDrill)
    }
}

/// An administrator with one instance that lives, a server that freezes it, and a disk for the repository.
struct Site {
    simulator: Simulator,
    live: Live<State>,
    disk: SmallDisk,
    /// Hears when a night begins and how it ended.
    switch: WebServer,
    /// How often it was told something.
    heard: usize,
    home: Home,
    /// What the writer wrote down for each snapshot, by id, in the order in which they were taken.
    taken: Vec<(String, State)>,
}

impl Site {
    /// `None` where no disk can be mounted, which has then been said.
    fn new() -> Option<Self> {
        let disk = SmallDisk::mount(DISK)?;
        let mut home = Home::new();
        let work = Instance::fill(&home.make_dir("live"), REST);
        let live = Live::start(&home.path("control"), work);
        let (freezing, thawing) = (live.controls().clone(), live.controls().clone());
        let mut options = spe::Options::new(vec![spe::Instance::new("cust01")]);
        options.on_freeze = Box::new(move |_| freezing.freeze());
        options.on_thaw = Box::new(move |_| thawing.thaw());
        let simulator = Simulator::start(options);
        let (repository, password) = (disk.path().join("ice"), home.path("password"));
        home.ok(args!["init", "--repo", &repository, "--generate-password", &password]);
        home.set("ICECORE_CONFIG", home.path("config.toml"));
        write(home.path("api-password"), "secret\n");
        let copy = format!("cp \"$ICECORE_REPORT\" {}", home.path("report.json").display());
        let switch = WebServer::start();
        let test = format!("[ ! -e {} ] || {{ echo the copy is bad; exit 1; }}", home.path("bad").display());
        let text = format!(
            "[repository]\nurl = {repository:?}\npassword-file = {password:?}\n\
             [hooks]\nfinally = [\"/bin/sh\", \"-c\", {copy:?}]\n\
             [check]\nread-data = \"100%\"\n[drill]\nschedule = \"daily 06:00\"\n\
             [metrics]\nfile = {:?}\n[notify]\nping.url = \"{}/ping\"\n\
             [[instance]]\nname = \"live\"\nroots = {{ base = {:?}, store = {:?} }}\nkeep = {{ last = {KEPT} }}\n\
             verify = [\"/bin/sh\", \"-c\", {test:?}, \"verify\", \"{{base}}\"]\n\
             [instance.freezer]\nkind = \"mailstore\"\nendpoint = {:?}\nuser = \"admin\"\npassword-file = {:?}\n\
             instance-id = \"cust01\"\ncertificate-sha256 = {:?}\n",
            home.path("icecore.prom"),
            switch.url(),
            home.path("live/base"),
            home.path("live/store"),
            simulator.endpoint(),
            home.path("api-password"),
            simulator.certificate_sha256(),
        );
        write(home.path("config.toml"), text);
        Some(Self { simulator, live, disk, switch, heard: 0, home, taken: Vec::new() })
    }

    /// Lets a night pass with what happens in it; gives what the run said.
    fn spend(&self, night: Night) -> Outcome {
        let run = || self.start().finish();
        match night {
            Night::Calm => run(),
            Night::KilledFreezing => {
                self.simulator.set(|switches| switches.freeze_delay = SLOW);
                let outcome = self.kill("FreezeInstances");
                self.simulator.set(|switches| switches.freeze_delay = Duration::ZERO);
                outcome
            }
            Night::KilledThawing => {
                self.simulator.set(|switches| switches.thaw_delay = SLOW);
                let outcome = self.kill("ThawInstances");
                self.simulator.set(|switches| switches.thaw_delay = Duration::ZERO);
                outcome
            }
            Night::FullDisk => {
                let ballast = self.fill_disk();
                write(self.home.path("live/base/much.dat"), noise(self.taken.len() as u64, TOO_MUCH));
                let outcome = run();
                fs::remove_file(ballast).unwrap();
                outcome
            }
            Night::FailedDrill => {
                write(self.home.path("bad"), "");
                let outcome = run();
                fs::remove_file(self.home.path("bad")).unwrap();
                outcome
            }
            Night::NoServer => {
                self.simulator.set(|switches| switches.reachable = false);
                let outcome = run();
                self.simulator.set(|switches| switches.reachable = true);
                outcome
            }
        }
    }

    fn start(&self) -> Running {
        Running::start(self.home.command(["run", "--now"]))
    }

    /// Kills a run when the server is asked for something, which it does all the same.
    fn kill(&self, function: &str) -> Outcome {
        let calls = self.simulator.calls(function);
        let run = self.start();
        eventually(function, || self.simulator.calls(function) > calls);
        run.signal(Signal::KILL);
        let outcome = run.finish();
        assert_eq!(outcome.signal(), Some(9), "{outcome}");
        // It is the guardian's turn: it writes down that it is done, and the next command of all clears that away.
        let is_thawed = || fs::read_to_string(self.journal()).is_ok_and(|told| told.contains(r#""record":"thawed""#));
        eventually("the guardian has thawed", is_thawed);
        outcome
    }

    /// Leaves less room than a backup needs, and gives the file that takes the rest.
    fn fill_disk(&self) -> PathBuf {
        let path = self.disk.path().join("ballast");
        let mut file = OpenOptions::new().create_new(true).write(true).open(&path).unwrap();
        let block = vec![0x1c; 256 << 10];
        while file.write_all(&block).is_ok() {}
        path
    }

    fn journal(&self) -> PathBuf {
        self.home.path("home/.local/state/icecore/windows/live.json")
    }

    /// The ids of all snapshots, the oldest first.
    fn snapshots(&self) -> Vec<String> {
        let all = self.home.json(["snapshots"])["snapshots"].as_array().unwrap().clone();
        let mut all: Vec<_> =
            all.iter().map(|one| (one["taken"].to_string(), one["id"].as_str().unwrap().to_owned())).collect();
        all.sort();
        all.into_iter().map(|(_, id)| id).collect()
    }

    /// Holds a night against what it is to tell.
    fn judge(&mut self, night: Night, outcome: Outcome) {
        let report = fs::read(self.home.path("report.json")).ok();
        if let Some((code, tasks)) = night.tells() {
            let outcome = outcome.expect(code).said(night.says());
            assert_eq!(
                table(&outcome),
                tasks.iter().map(|(task, word)| [*task, *word].map(str::to_owned)).collect::<Vec<_>>(),
                "{outcome}"
            );
            let report: Value = serde_json::from_slice(&report.expect("the last hook ran")).unwrap();
            assert_eq!(number(&report["code"]), code as u64, "{report:#}");
            for (task, word) in tasks {
                assert_eq!(result(&report, task).0, *word, "{report:#}");
            }
            if night.has_snapshot() {
                let taken = &report["tasks"][0]["backup"];
                assert_eq!(taken["verdict"], "application", "{report:#}");
                self.taken.push((taken["snapshot"].as_str().unwrap().to_owned(), self.live.record()));
            }
            fs::remove_file(self.home.path("report.json")).unwrap();
            let metrics = fs::read_to_string(self.home.path("icecore.prom")).unwrap();
            assert_eq!(metric(&metrics, "run_exit_code", &[]), Some(f64::from(code)), "{night:?}:\n{metrics}");
            for (task, word) in tasks {
                let labels = [&format!("task={:?}", task.split(' ').next().unwrap())[..]];
                let told = metric(&metrics, "task_exit_code", &labels);
                assert_eq!(told.map(|code| code == 0.0), Some(*word == "done"), "{night:?}, {task}:\n{metrics}");
            }
        } else {
            assert!(report.is_none(), "a killed run has run its last hook");
        }
        let heard: Vec<String> = self.switch.posted().into_iter().skip(self.heard).map(|posted| posted.path).collect();
        self.heard += heard.len();
        match night.tells() {
            Some((0, _)) => assert_eq!(heard, ["/ping/start", "/ping"], "{night:?}"),
            Some(_) => assert_eq!(heard, ["/ping/start", "/ping/fail"], "{night:?}"),
            // It may die before it has told of the beginning; of an end nobody hears.
            None => assert!(heard.iter().all(|path| path == "/ping/start") && heard.len() <= 1, "{night:?}: {heard:?}"),
        }
        // Whatever happened: nothing that was taken is lost, nothing is there that was not told, and it writes on.
        let kept = self.taken.len().saturating_sub(KEPT);
        let kept: Vec<_> = self.taken[kept..].iter().map(|(id, _)| id.clone()).collect();
        assert_eq!(self.snapshots(), kept, "{night:?}");
        assert!(!self.simulator.is_frozen("cust01") && !self.journal().exists());
        assert_eq!(self.simulator.freezes(), self.simulator.thaws());
        self.live.expect_awake();
    }
}

/// The first two columns of a run's table: task and result.
fn table(outcome: &Outcome) -> Vec<[String; 2]> {
    let out = outcome.out();
    let rows = out.lines().skip(1).map(|line| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()));
    rows.map(|mut cells| [(); 2].map(|()| cells.next().unwrap_or_default().to_owned())).collect()
}

/// Eleven nights; with `ICECORE_NIGHTS` so many.
#[test]
fn whatever_happens_in_a_night_what_is_kept_comes_back() {
    let Some(mut site) = Site::new() else { return };
    let nights = effort("ICECORE_NIGHTS", PLAN.len() as u64) as usize;
    let mut spent: BTreeMap<String, u32> = BTreeMap::new();
    // The last one is a calm one: what failed before is made up for.
    for night in PLAN.into_iter().cycle().take(nights).chain([Night::Calm]) {
        let outcome = site.spend(night);
        site.judge(night, outcome);
        *spent.entry(format!("{night:?}")).or_default() += 1;
    }
    icecore_testkit::tell(&format!("nights: {spent:?}"));
    site.home.check(&["--read-data"]);
    for (id, recorded) in site.taken.split_off(site.taken.len().saturating_sub(KEPT)) {
        let differing = differences(&recorded, &state(&site.home.restore(&id, &id)));
        assert!(differing.is_empty(), "{id} has {} differences:\n{}", differing.len(), differing.join("\n"));
    }
}
