//! The demonstration: what it shows is so, and nothing of it is left, however it ends.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use icecore_testkit::live::eventually;
use rustix::process::Signal;

use crate::common::{Home, Outcome, Running, number};

#[test]
fn it_shows_two_nights_of_a_frozen_application() {
    let home = Home::new();
    let told = home.ok(["demo"]).out();
    for part in [
        "process ",
        "application; ",
        "thawed by the engine",
        "predicted",
        "changes since the first night",
        "wrote down while it was frozen",
        "the same in ",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert!(told.lines().count() <= 45, "more than a screen: {told}");
    expect_nothing_left(&home);
}

#[test]
fn as_a_document_it_says_the_same() {
    let home = Home::new();
    let document = home.json(["demo"]);
    let steps = document["steps"].as_array().unwrap();
    assert_eq!(steps.len(), 10);
    assert!(steps.iter().all(|step| step["title"].is_string() && step["outcome"].is_string()), "{document}");
    expect_nothing_left(&home);
}

#[test]
fn what_was_kept_can_be_used() {
    let home = Home::new();
    let told = home.ok(["demo", "--keep"]);
    let kept = fs::read_dir(home.path("tmp")).unwrap().map(|entry| entry.unwrap().path()).next().unwrap();
    assert!(told.out().contains(&format!("Everything is kept in {}", kept.display())), "{told}");
    let (configuration, state) = (kept.join("config.toml"), kept.join("state"));
    let with = |command: &[&str]| {
        let options = ["--config", configuration.to_str().unwrap(), "--state-dir", state.to_str().unwrap()];
        home.run(command.iter().copied().chain(options))
    };
    let listed = with(&["snapshots", "--json"]).expect(0).json();
    let windows: Vec<_> = listed["snapshots"].as_array().unwrap().iter().map(|one| one["window_ms"].clone()).collect();
    assert!(windows.len() == 3 && number(&windows[0]) > 0 && windows[2].is_null(), "{listed}");
    with(&["check", "--read-data"]).expect(0);
    // The application has ended: that is said, and nothing hangs.
    with(&["backup", "-i", "demo"]).expect(1).said(&["instance demo", "the application has ended"]);
    expect_no_process(&home);
}

/// Ended while the application works, and while it is frozen.
#[test]
fn whatever_ends_it_no_process_is_left() {
    for moment in ["control/ready", "state/windows/demo.json"] {
        for signal in [Signal::INT, Signal::TERM, Signal::KILL] {
            let (home, outcome) = ended_at(moment, signal);
            if signal == Signal::KILL {
                assert_eq!(outcome.signal(), Some(9));
            } else {
                let outcome = outcome.expect(130);
                assert_eq!(fs::read_dir(home.path("tmp")).unwrap().count(), 0, "{outcome}");
            }
            expect_no_process(&home);
        }
    }
}

/// A demonstration that got a signal when a file of its appeared. Whether it is caught there is luck: tried until it is.
fn ended_at(file: &str, signal: Signal) -> (Home, Outcome) {
    for _ in 0..20 {
        let home = Home::new();
        let mut running = Running::start(home.command(["demo"]));
        while !running.has_ended() {
            if directory(&home.path("tmp")).is_some_and(|directory| directory.join(file).exists()) {
                running.signal(signal);
                return (home, running.finish());
            }
            thread::sleep(Duration::from_micros(200));
        }
    }
    panic!("{file} was never seen");
}

fn directory(temporary: &Path) -> Option<PathBuf> {
    fs::read_dir(temporary).ok()?.next()?.ok().map(|entry| entry.path())
}

fn expect_nothing_left(home: &Home) {
    assert_eq!(fs::read_dir(home.path("tmp")).unwrap().count(), 0);
    expect_no_process(home);
}

/// Every process of a demonstration names its directory.
fn expect_no_process(home: &Home) {
    let place = home.path("tmp");
    eventually("no process is left", || {
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let mut lines = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
        !lines.any(|line| String::from_utf8_lossy(&line).contains(place.to_str().unwrap()))
    });
}
