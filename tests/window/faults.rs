//! What the system refuses in the window: threads, room for the journal, room for what waits for the thaw.

use std::fs::{self, File};
use std::io::Write as _;
use std::process::Command;

use icecore_testkit::SmallDisk;
use icecore_testkit::live::{Instance, State};
use rustix::process::Signal;

use super::hold::Step;
use super::{REST, Site, receipt, snapshot};
use crate::common::{Home, Running, noise};

const MIB: usize = 1 << 20;

/// A thread or program that cannot be started is an error, or even a panic: the instance is thawed all the same.
#[test]
fn an_engine_that_panics_in_the_window_thaws() {
    let Some(site) = Site::stepwise("") else { return };
    let trace = site.home.path("trace");
    let calls = "trace=clone3,clone,vfork,write";
    Running::start(site.traced(&["-e", calls].map(str::to_owned), &trace)).finish().expect(0);
    let traced = fs::read_to_string(&trace).unwrap();
    let (before, after) = traced.split_once(r#"{\"record\":\"frozen\"}"#).expect("the window opens");
    let (within, _) = after.split_once(r#"{\"record\":\"thawing\""#).expect("and closes");
    let started = |trace: &str| trace.matches("clone3(").count();
    let (first, last) = (started(before) + 1, started(before) + started(within));
    assert!(first < last, "nothing is started in the window:\n{traced}");
    let mut panics = 0;
    for nth in first..=last {
        site.live.controls().forget_log();
        let inject = format!("inject=clone3:error=EAGAIN:when={nth}");
        let options = ["-e", "trace=clone3", "-e", &inject].map(str::to_owned);
        let outcome = Running::start(site.traced(&options, &trace)).finish();
        match outcome.code() {
            // Not all are needed.
            Some(0) => assert_eq!(snapshot(&outcome)["verdict"], "application", "{outcome}"),
            Some(101) => {
                assert!(outcome.err().contains("panicked at"), "{outcome}");
                panics += 1;
            }
            _ => panic!("{nth}: {outcome}"),
        }
        site.expect_awake(1, 1);
    }
    assert!(panics > 0, "nothing was lost without a thread");
    site.live.controls().forget_log();
    let outcome = site.night().expect(0);
    site.expect_restored(&outcome, &site.live.record());
    site.expect_awake(1, 1);
}

/// Options for strace: writing to the journal fails, from the `nth` time of each process on.
fn no_room_for_the_journal(site: &Site<State>, nth: u32) -> Vec<String> {
    let fault = format!("inject=write:error=ENOSPC:when={nth}+");
    ["-P", &site.journal().display().to_string(), "-e", &fault].map(str::to_owned).to_vec()
}

#[test]
fn a_journal_that_cannot_be_written_any_more_keeps_nobody_from_thawing() {
    let Some(site) = Site::stepwise("max-freeze = \"4s\"") else { return };
    let trace = site.home.path("trace");
    // Not even the guardian's arrival: without a guardian nothing is frozen.
    let night = |nth| {
        let mut options = no_room_for_the_journal(&site, nth);
        options.push("-f".to_owned());
        Running::start(site.traced(&options, &trace)).finish()
    };
    let outcome = night(1).expect(1);
    outcome.said(&["nothing was frozen", "guardian", "No space left"]);
    assert_eq!((site.said("freeze"), site.live.records().len()), (0, 1));
    site.home.ok(["snapshots"]);
    site.live.controls().forget_log();

    // Everything from the freeze's confirmation on.
    let outcome = night(2).expect(0);
    assert_eq!(receipt(&snapshot(&outcome))["thawed_by"], "engine");
    site.expect_awake(1, 1);

    // The engine dies: its guardian thaws, and cannot say so. The next command does it again, which does no harm.
    site.live.controls().forget_log();
    let options = no_room_for_the_journal(&site, 2);
    let engine = site.hold_with(Step::Securing, &options);
    engine.signal(Signal::KILL);
    site.wait_for("thawed", 1);
    site.live.expect_awake();
    // It ends when the guardian has.
    engine.finish();
    assert_eq!((site.said("freeze"), site.said("thawed")), (1, 1));
    site.home.ok(["snapshots"]);
    assert!(!site.journal().exists() && (1..=2).contains(&site.said("thawed")), "{:?}", site.live.controls().log());

    // The engine hangs, twice, and nobody can tell it who was first: by its own clock it claims nothing.
    site.live.controls().forget_log();
    let outcome = site.hold_with(Step::Securing, &options).go_on_after(|times| {
        site.wait_for("thawed", 2 * times - 1);
        site.live.expect_awake();
    });
    outcome.expect(1).said(&["max-freeze"]);
    site.expect_awake(2, 4);
}

#[test]
fn a_disk_that_is_full_for_what_waits_is_told_after_the_thaw() {
    /// More than is held in memory.
    const HOT: usize = 300;
    let Some(disk) = SmallDisk::mount(24 << 20) else { return };
    let mut home = Home::with_repository();
    home.set("ICECORE_STATE_DIR", disk.path());
    let work = Instance::fill(&home.make_dir("live"), REST);
    let site = Site::new(home, work, "warm-rounds = 0\nmax-freeze = \"10m\"");
    site.night().expect(0);
    let mut hot = File::create(site.home.path("live/store/hot.dat")).unwrap();
    for number in 0..HOT {
        hot.write_all(&noise(number as u64, MIB)).unwrap();
    }
    drop(hot);
    let place = disk.path().to_str().unwrap();
    site.night().expect(1).said(&["instance live", "spool", place, "No space left"]);
    site.live.expect_awake();
    assert_eq!((site.said("freeze"), site.said("thawed")), (2, 2));
    assert_eq!(fs::read_dir(disk.path().join("windows")).unwrap().count(), 2, "only lock and log stay");

    let larger = ["-o", "remount,size=900m"];
    assert!(Command::new("mount").args(larger).arg(disk.path()).status().unwrap().success());
    let outcome = site.night().expect(0);
    let snapshot = snapshot(&outcome);
    assert_eq!(snapshot["verdict"], "application", "{outcome}");
    site.expect_restored(&outcome, &site.live.record());
    site.home.check(&["--read-data"]);
}
