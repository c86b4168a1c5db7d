//! Restores into the directories of an application that programs stop and start.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use icecore_testkit::SmallDisk;

use crate::common::{Home, Outcome, assert_same, noise, settle, write};

/// The programs: `status` tells what stands in the file `state`; all of them write what they do into a log.
struct Scene {
    home: Home,
    tree: PathBuf,
    exact: PathBuf,
}

impl Scene {
    /// An instance whose section ends with `more`, in which `PROGRAMS` stands for the directory of the programs.
    fn new(more: &str) -> Self {
        let mut home = Home::with_repository();
        let tree = home.make_dir("srv/tree");
        write(tree.join("database"), noise(1, 1 << 20));
        settle();
        let programs = home.make_dir("programs");
        for (name, body) in [
            ("freeze", "echo frozen >state"),
            ("thaw", "echo running >state"),
            ("status", "case $(cat state) in running) exit 0;; frozen) exit 3;; stopped) exit 5;; *) exit 1;; esac"),
            ("stop", "[ -e lie ] || echo stopped >state"),
            ("start", "[ -e refuse ] && { echo no licence >&2; exit 7; }; echo running >state"),
            ("test", "cat \"$1\" >seen; [ ! -e damaged ] || { echo page 7 is damaged; exit 1; }"),
        ] {
            let log = if name == "status" { "" } else { "echo \"$(basename $0)\" >>log\n" };
            let path = programs.join(name);
            write(&path, format!("#!/bin/sh\ncd {} || exit 9\n{log}{body}\n", programs.display()));
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        home.set("ICECORE_CONFIG", home.path("config.toml"));
        let scene = Self { exact: home.path("exact"), tree, home };
        scene.configure(more);
        scene.set("state", "running\n");
        scene.home.ok(["backup", "-i", "tree"]);
        scene.home.restore("tree", "exact");
        fs::remove_file(programs.join("log")).unwrap_or_default();
        write(scene.tree.join("database"), "ruined");
        scene
    }

    fn configure(&self, more: &str) {
        let programs = self.home.path("programs");
        let text = format!(
            "[[instance]]\nname = \"tree\"\nroots = {{ base = {:?} }}\n{}\n",
            self.tree,
            more.replace("PROGRAMS", programs.to_str().unwrap())
        );
        write(self.home.path("config.toml"), text);
    }

    fn set(&self, name: &str, content: &str) {
        write(self.home.path("programs").join(name), content);
    }

    fn unset(&self, name: &str) {
        fs::remove_file(self.home.path("programs").join(name)).unwrap();
    }

    /// What the programs did, and the state in the end.
    fn log(&self) -> String {
        let read = |name: &str| fs::read_to_string(self.home.path("programs").join(name)).unwrap_or_default();
        let done = read("log").split_whitespace().collect::<Vec<_>>().join(" ");
        format!("{done}: {}", read("state").trim())
    }

    fn run(&self, more: &[&str]) -> Outcome {
        self.home.run(["restore", "tree"].iter().chain(more))
    }
}

const FREEZER: &str = "[instance.freezer]\nkind = \"command\"\ntimeout = \"2s\"\nfreeze = [\"PROGRAMS/freeze\"]\n\
                       thaw = [\"PROGRAMS/thaw\"]\n";
const STATUS: &str = "status = [\"PROGRAMS/status\"]\n";
const STOP_START: &str = "stop = [\"PROGRAMS/stop\"]\nstart = [\"PROGRAMS/start\"]\n";
const TEST: &str = "verify = [\"PROGRAMS/test\", \"{base}/database\"]\n";

#[test]
fn an_application_is_stopped_restored_tested_and_started() {
    let scene = Scene::new(&[TEST, FREEZER, STATUS, STOP_START].concat());
    scene.run(&["--in-place"]).expect(1).said(&["tree is running", "--stop-start"]);
    assert_eq!(scene.log(), ": running");
    let document = scene.run(&["--in-place", "--stop-start", "--json"]).expect(0).json();
    assert_eq!(scene.log(), "stop test start: running");
    let steps = document["applications"][0]["steps"].as_array().unwrap();
    let steps: Vec<_> = steps.iter().map(|step| step["step"].as_str().unwrap()).collect();
    assert_eq!(steps, ["stop", "test", "start"]);
    assert_same(&scene.exact, &scene.tree);
    assert_eq!(fs::read(scene.home.path("programs/seen")).unwrap(), fs::read(scene.exact.join("database")).unwrap());

    // A stopped one needs nobody's word.
    scene.set("state", "stopped\n");
    scene.run(&["--exchange"]).expect(0);
    assert_eq!(scene.log(), "stop test start: stopped");
    for (state, said) in [("frozen", "instance thaw tree"), ("confused", "not known")] {
        scene.set("state", state);
        scene.run(&["--exchange"]).expect(1).said(&[said]);
    }
    let table = scene.home.ok(["instance", "status"]).out();
    assert!(table.contains("unknown"), "{table}");
    scene.set("state", "stopped");
    let table = scene.home.ok(["instance", "status"]).out();
    assert!(table.contains("stopped"), "{table}");
}

#[test]
fn what_fails_leaves_it_stopped_until_the_command_is_repeated() {
    let scene = Scene::new(&[TEST, FREEZER, STATUS, STOP_START].concat());
    let line = ["--exchange", "--stop-start"];
    // The program says that it stopped, and did not.
    scene.set("lie", "");
    scene.run(&line).expect(1).said(&["could not be stopped, and nothing was restored", "is running"]);
    assert_eq!(scene.log(), "stop: running");
    assert_eq!(fs::read(scene.tree.join("database")).unwrap(), b"ruined");
    scene.unset("lie");

    scene.set("damaged", "");
    scene.run(&line).expect(1).said(&["page 7 is damaged", "tree is left stopped, with the restored data"]);
    assert_eq!(scene.log(), "stop stop test: stopped");
    scene.unset("damaged");

    scene.set("refuse", "");
    scene.run(&line).expect(1).said(&["no licence", "tree is left stopped", "--exchange --stop-start`, run again"]);
    assert_eq!(scene.log(), "stop stop test test start: stopped");
    scene.unset("refuse");
    scene.run(&line).expect(0);
    assert_eq!(scene.log(), "stop stop test test start test start: running");
    assert_same(&scene.exact, &scene.tree);
}

#[test]
fn what_cannot_be_stopped_is_told_with_the_missing_key() {
    let scene = Scene::new(&[FREEZER, STATUS].concat());
    scene.run(&["--in-place", "--stop-start"]).expect(1).said(&["the key stop is missing in [instance.freezer]"]);
    scene.run(&["--in-place"]).expect(1).said(&["tree is running"]);
    // Without a status program nobody knows, as ever.
    scene.configure(FREEZER);
    scene.run(&["--in-place", "--stop-start"]).expect(1).said(&["status, stop and start are missing"]);
    scene.configure("");
    scene.run(&["--in-place", "--stop-start"]).expect(1).said(&["the freezer none knows no way to stop it"]);
    // A program that is not there is told before anything is stopped.
    scene.configure(&[FREEZER, STATUS, "stop = [\"PROGRAMS/stop\"]\nstart = [\"/nowhere/start\"]\n"].concat());
    scene.run(&["--in-place", "--stop-start"]).expect(1).said(&["/nowhere/start cannot be found"]);
    let relative = ["verify = [\"gfix\"]\n", FREEZER, STATUS, STOP_START].concat();
    scene.configure(&relative);
    scene
        .run(&["--in-place", "--stop-start"])
        .expect(2)
        .said(&["instance.verify", "must be named by its absolute path"]);
    scene.configure(&[FREEZER, "stop = [\"PROGRAMS/stop\"]\nstart = [\"PROGRAMS/start\"]\n"].concat());
    scene.run(&["--in-place"]).expect(2).said(&["instance.freezer.status: is missing"]);
    assert_eq!(
        (scene.log().as_str(), fs::read(scene.tree.join("database")).unwrap()),
        (": running", b"ruined".to_vec())
    );
    // Where no instance stands there is nothing to stop.
    scene.configure(&[FREEZER, STATUS, STOP_START].concat());
    let elsewhere = scene.home.path("elsewhere");
    let line = ["--to", elsewhere.to_str().unwrap(), "--in-place"];
    scene.run(&[&line[..], &["--stop-start"]].concat()).expect(2).said(&["no configured instance"]);
    scene.run(&line).expect(0);
    let new = ["--to", scene.tree.to_str().unwrap(), "--stop-start"];
    scene.run(&new).expect(2).said(&["goes with --in-place or --exchange"]);
    assert_eq!(scene.log(), ": running");
    scene.configure(FREEZER);
    scene.run(&["--in-place"]).expect(0);
    assert_same(&scene.exact, &scene.tree);
}

#[test]
fn what_can_never_be_exchanged_stops_nothing() {
    let Some(disk) = SmallDisk::mount(8 << 20) else { return };
    let scene = Scene::new(&[FREEZER, STATUS, STOP_START].concat());
    let root = format!("base={}", disk.path().display());
    // The only root stands on a disk of its own now.
    let text = fs::read_to_string(scene.home.path("config.toml")).unwrap();
    let moved = text.replace(scene.tree.to_str().unwrap(), disk.path().to_str().unwrap());
    write(scene.home.path("config.toml"), moved);
    let line = ["--exchange", "--stop-start", "--root", &root];
    scene.run(&line).expect(1).said(&["another file system is mounted there"]);
    assert_eq!(scene.log(), ": running");
    scene.run(&["--in-place", "--stop-start", "--root", &root]).expect(0);
    assert_eq!(scene.log(), "stop start: running");
    assert_same(&scene.exact, disk.path());
}
