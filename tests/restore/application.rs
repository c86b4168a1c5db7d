//! Restores into the directories of a MailStore instance: over HTTPS, with a process that holds its databases open.

mod deaths;
mod failures;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use icecore_testkit::live::{State, differences, eventually, state};
use icecore_testkit::spe::{Instance, Options, Reply, Resident, Simulator, Status, Store, Switches};
use rustix::process::Signal;
use serde_json::Value;

use crate::common::{Home, Outcome, Running, args, noise, settle, write};

/// What a restore with `--stop-start` asks of the server, besides questions.
const ORDER: [&str; 3] = ["StopInstances", "StartInstances", "VerifyStores"];

/// A user, a server, and the process of its instance, of which there is one snapshot.
pub struct Scene {
    pub home: Home,
    pub simulator: Simulator,
    pub resident: Resident,
    pub base: PathBuf,
    /// What stood when it was frozen.
    pub exact: State,
    /// As long as it is raised, nothing that starts is said to run.
    held: Arc<AtomicBool>,
}

impl Scene {
    pub fn new() -> Self {
        Self::with("")
    }

    /// `more` stands in the freezer's section.
    pub fn with(more: &str) -> Self {
        let mut home = Home::with_repository();
        let base = home.make_dir("srv/cust01");
        write(base.join("MailStoreMaster.fdb"), noise(1, 1 << 20));
        write(base.join("Data/2018-11/store.fdb"), noise(2, 8 << 20));
        for number in 0..6 {
            write(base.join(format!("Data/2018-11/Content/{number:08x}.dat")), noise(10 + number, 4 << 20));
        }
        settle();
        write(home.path("api-password"), "secret\n");
        let held = Arc::new(AtomicBool::new(false));
        let resident = Resident::new(&base);
        let mut instance = Instance::new("cust01");
        instance.base_directory = base.display().to_string();
        instance.stores = vec![Store::below(&instance.base_directory, "2018-11")];
        let mut options = Options::new(vec![instance, Instance::new("cust010")]);
        let [quiet, awake, stopped, started] = [0; 4].map(|_| resident.clone());
        let (hold, home_of_new) = (Arc::clone(&held), home.path("srv"));
        options.on_freeze = Box::new(move |_| quiet.stop());
        options.on_thaw = Box::new(move |_| awake.start());
        options.on_stop = Box::new(move |id| {
            if id == "cust01" {
                stopped.stop()
            }
        });
        options.on_start = Box::new(move |id| {
            match id {
                "cust01" => started.start(),
                // One that was just made has an empty archive.
                new => {
                    let made = home_of_new.join(new).join("MailStoreMaster.fdb");
                    if !made.exists() {
                        write(made, "empty");
                    }
                }
            }
            while hold.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let simulator = Simulator::start(options);
        home.set("ICECORE_CONFIG", home.path("config.toml"));
        let mut scene = Self { home, simulator, resident, base, exact: State::new(), held };
        scene.configure(more);
        scene.resident.start();
        scene.home.ok(["backup", "-i", "cust01"]);
        scene.exact = scene.resident.found().pop().unwrap();
        scene
    }

    fn configure(&self, more: &str) {
        let (endpoint, password) = (self.simulator.endpoint(), self.home.path("api-password"));
        let text = format!(
            "[[instance]]\nname = \"cust01\"\nroots = {{ base = {:?} }}\n[instance.freezer]\nkind = \"mailstore\"\n\
             endpoint = {endpoint:?}\nuser = \"admin\"\npassword-file = {password:?}\ninstance-id = \"cust01\"\n\
             certificate-sha256 = {:?}\n{more}\n",
            self.base,
            self.simulator.certificate_sha256()
        );
        write(self.home.path("config.toml"), text);
    }

    pub fn run(&self, more: &[&str]) -> Outcome {
        self.home.run(["restore", "cust01"].iter().chain(more))
    }

    fn start(&self, more: &[&str]) -> Running {
        Running::start(self.home.command(["restore", "cust01"].iter().chain(more)))
    }

    /// What was asked of the server since the backup, besides questions.
    pub fn deeds(&self) -> Vec<String> {
        let backup = ["FreezeInstances", "ThawInstances"];
        self.simulator.deeds().into_iter().filter(|deed| !backup.contains(&deed.as_str())).collect()
    }

    /// The instance runs, and found the data of the snapshot when it was started.
    #[track_caller]
    pub fn expect_back(&self, starts: usize) {
        assert!(self.resident.runs() && self.simulator.status("cust01") == Some(Status::Running));
        let found = self.resident.found();
        assert_eq!(found.len(), starts + 2, "one at the beginning, one after the backup");
        let differing = differences(&self.exact, found.last().unwrap());
        assert!(differing.is_empty(), "{}", differing.join("\n"));
    }

    /// The instance is stopped, with these files.
    #[track_caller]
    fn expect_stopped(&self, with: &State) {
        assert!(!self.resident.runs() && self.simulator.status("cust01") == Some(Status::Stopped));
        let differing = differences(with, &state(&self.base));
        assert!(differing.is_empty(), "{}", differing.join("\n"));
    }

    /// What stands beside the base directory.
    fn beside(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.home.path("srv")).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| *path != self.base).collect()
    }

    /// Stops the program once its tree is being built beside.
    fn pause_while_building(&self, running: &mut Running) {
        eventually("a tree is built beside", || self.beside().iter().any(|path| path.join("journal").exists()));
        running.signal(Signal::STOP);
        assert!(!running.has_ended());
    }
}

fn steps(document: &Value) -> Vec<String> {
    let steps = document["applications"][0]["steps"].as_array().unwrap();
    steps.iter().map(|step| step["step"].as_str().unwrap().to_owned()).collect()
}

/// Why an instance must be stopped: this is what becomes of it otherwise.
#[test]
fn a_restore_into_a_running_instance_would_be_worth_nothing() {
    let scene = Scene::new();
    write(scene.home.path("none.toml"), "");
    let unaware = |mode: &str| {
        let config = scene.home.path("none.toml");
        scene.home.ok(args!["restore", "cust01", mode, "--config", config]);
    };
    // In place: the process goes on writing into the restored database what belongs to another one, or into one that has
    // no name any more.
    unaware("--in-place");
    let store = Path::new("Data/2018-11/store.fdb");
    let is_ruined = || state(&scene.base)[store] != scene.exact[store];
    eventually("the database is ruined, or parted from its process", || {
        is_ruined() || !scene.resident.has_what_stands()
    });
    // By exchange: it writes to files that nobody will read again.
    unaware("--exchange");
    let old = scene.beside().pop().unwrap();
    let before = state(&old);
    assert!(differences(&scene.exact, &state(&scene.base)).is_empty());
    eventually("the process writes into the old tree", || state(&old)[store] != before[store]);
    assert!(scene.resident.runs() && !scene.resident.has_what_stands());
}

#[test]
fn a_running_instance_is_not_restored_into() {
    let scene = Scene::new();
    let (base, below) = (scene.base.to_str().unwrap(), scene.base.join("Data/new"));
    let above = scene.home.path("srv");
    let root = format!("base={base}");
    for line in [
        &["--in-place"][..],
        &["--exchange"],
        &["--in-place", "--to", base],
        &["--exchange", "--root", &root],
        &["--to", below.to_str().unwrap()],
        &["--in-place", "--to", above.to_str().unwrap()],
    ] {
        let outcome = scene.run(line).expect(1);
        let outcome = outcome.said(&["cust01 is running", "has touched nothing", "by hand", "--to DIR"]);
        // Nothing is stopped for a new directory.
        assert_eq!(outcome.err().contains("--stop-start"), line != ["--to", below.to_str().unwrap()], "{outcome}");
        assert!(!below.exists() && scene.beside().is_empty());
    }
    for (change, said) in [
        ((|switches| switches.odd_status = true) as fn(&mut Switches), "is not known"),
        (|switches| switches.http_status = Some(401), "cannot be asked whether it runs"),
        (|switches| switches.reachable = false, "cannot be asked whether it runs"),
    ] {
        scene.simulator.set(change);
        scene.run(&["--in-place"]).expect(1).said(&[said, "has touched nothing"]);
        scene.simulator.set(|switches| *switches = Switches::default());
    }
    let document = scene.run(&["--in-place", "--json"]).expect(1).json();
    assert_eq!(document["error"]["code"], 1, "{document}");
    assert!(scene.deeds().is_empty(), "{:?}", scene.deeds());
    assert!(scene.resident.runs());

    // Elsewhere nobody is asked.
    let asked = scene.simulator.requests().len();
    let elsewhere = scene.home.restore("cust01", "elsewhere");
    assert!(differences(&scene.exact, &state(&elsewhere)).is_empty());
    assert_eq!(scene.simulator.requests().len(), asked);

    // Stopped by hand, it is restored and left stopped.
    scene.simulator.operate("cust01", Status::Stopped);
    let document = scene.run(&["--in-place", "--json"]).expect(0).json();
    assert_eq!((&document["applications"][0]["state"], steps(&document)), (&"stopped".into(), Vec::new()));
    scene.expect_stopped(&scene.exact);
    assert!(scene.deeds().is_empty());
}

#[test]
fn an_instance_is_stopped_restored_started_and_verified() {
    let scene = Scene::new();
    for (number, (line, reply)) in [
        (&["--exchange", "--stop-start"][..], Reply::Immediate),
        (&["--in-place", "--delete", "--stop-start"], Reply::Token),
        (&["--exchange", "--to", scene.base.to_str().unwrap(), "--stop-start"], Reply::Token),
    ]
    .into_iter()
    .enumerate()
    {
        scene.simulator.set(|switches| switches.reply = reply);
        // Somebody deletes a year of mail.
        fs::remove_dir_all(scene.base.join("Data/2018-11/Content")).unwrap();
        let document = scene.run(&[line, &["--json"]].concat()).expect(0).json();
        assert_eq!(scene.deeds(), ORDER.repeat(number + 1));
        assert_eq!(steps(&document), ["stop", "start", "verify"]);
        assert_eq!(document["applications"][0]["state"], "running", "{document:#}");
        scene.expect_back(number + 1);
    }
    let said = scene.run(&["--exchange", "--stop-start"]).expect(0);
    said.said(&["cust01: stopping", "cust01 is stopped", "cust01: starting", "cust01 is running", "verified"]);
    scene.expect_back(4);

    // Stopped already, it is only started.
    scene.simulator.operate("cust01", Status::Stopped);
    scene.run(&["--in-place", "--stop-start"]).expect(0).said(&["stopped already"]);
    assert_eq!(scene.deeds()[12..], ["StartInstances", "VerifyStores"]);
    scene.expect_back(5);
}

#[test]
fn a_rehearsal_asks_only_for_the_state() {
    let scene = Scene::new();
    let asked = scene.simulator.requests().len();
    scene.run(&["--exchange", "--dry-run"]).expect(0).said(&["cust01 is running", "would be refused", "--stop-start"]);
    let outcome = scene.run(&["--exchange", "--dry-run", "--stop-start", "--json"]).expect(0);
    let document = outcome.json();
    assert_eq!((&document["applications"][0]["state"], steps(&document)), (&"running".into(), Vec::new()));
    outcome.said(&["would be stopped before the restore, started after it, and verified"]);
    scene.simulator.set(|switches| switches.reachable = false);
    scene.run(&["--exchange", "--dry-run"]).expect(0).said(&["not known"]);
    scene.simulator.set(|switches| switches.reachable = true);
    let requests = scene.simulator.requests();
    assert!(requests[asked..].iter().all(|request| request.function == "GetInstances"), "{:?}", &requests[asked..]);
    assert!(scene.beside().is_empty() && scene.resident.runs());
}
