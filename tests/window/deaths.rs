//! Somebody dies, or is stopped, at some step of the window: the instance is thawed once, and the next night works.

use std::thread;
use std::time::Duration;

use icecore_testkit::live::State;
use rustix::process::{Signal, kill_process};

use super::{Site, receipt, snapshot};
use crate::common::Running;

/// A step of the window.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Step {
    Freezing,
    Open,
    Thawing,
}

const STEPS: [Step; 3] = [Step::Freezing, Step::Open, Step::Thawing];

/// An instance in the window of a backup that has come to a step.
fn at(step: Step, more: &str) -> (Site<State>, Running) {
    let site = Site::slow(more);
    match step {
        Step::Freezing => site.set("freeze-takes", "2"),
        Step::Open => {}
        Step::Thawing => site.set("thaw-takes", "2"),
    }
    let running = site.start();
    match step {
        Step::Freezing => site.wait_for("freeze", 1),
        Step::Open => site.wait_until_open(),
        Step::Thawing => site.wait_for("thaw", 1),
    }
    (site, running)
}

/// Whatever took time does so no more, and a whole night works.
fn expect_next_night(site: &Site<State>, before: usize) {
    site.live.controls().unset("freeze-takes");
    site.live.controls().unset("thaw-takes");
    let outcome = site.night().expect(0);
    assert_eq!(snapshot(&outcome)["verdict"], "application", "{outcome}");
    site.expect_restored(&outcome, &site.live.record());
    site.expect_awake(before + 1, before + 1);
}

#[test]
fn an_engine_that_is_killed_is_thawed_for_by_its_guardian() {
    for step in STEPS {
        let (site, engine) = at(step, "");
        engine.signal(Signal::KILL);
        assert_eq!(engine.finish().signal(), Some(9), "{step:?}");
        site.wait_for("thawed", 1);
        let told = site.home.ok(["snapshots"]);
        assert!(!told.err().contains("by its recovery"), "{told}");
        site.expect_awake(1, 1);
        expect_next_night(&site, 1);
    }
}

#[test]
fn an_engine_that_is_told_to_end_thaws_at_once() {
    for (step, signal) in STEPS.into_iter().zip([Signal::TERM, Signal::INT, Signal::TERM]) {
        let (site, engine) = at(step, "");
        engine.signal(signal);
        // It has heard, and looks ten times a second whether it has: stopped, it cannot be done before it looks.
        thread::sleep(Duration::from_millis(3));
        engine.signal(Signal::STOP);
        thread::sleep(Duration::from_millis(200));
        engine.signal(Signal::CONT);
        let outcome = engine.finish();
        // What was complete when the signal came is kept or not.
        let allowed: &[i32] = if step == Step::Thawing { &[130, 0] } else { &[130] };
        assert!(outcome.code().is_some_and(|code| allowed.contains(&code)), "{step:?}: {outcome}");
        site.expect_awake(1, 1);
        expect_next_night(&site, 1);
    }
}

/// (In the open window: see `deadline`.)
#[test]
fn an_engine_that_hangs_while_it_freezes_is_thawed_for_at_the_deadline() {
    let (site, engine) = at(Step::Freezing, "max-freeze = \"4s\"");
    engine.signal(Signal::STOP);
    site.wait_for("thawed", 1);
    site.live.expect_awake();
    engine.signal(Signal::CONT);
    engine.finish().expect(1).said(&["instance live", "could not freeze", "deadline"]);
    site.expect_awake(1, 1);
    expect_next_night(&site, 1);
}

#[test]
fn an_engine_does_not_need_its_guardian() {
    let (site, engine) = at(Step::Open, "");
    kill_process(site.guardian(), Signal::KILL).unwrap();
    let outcome = engine.finish().expect(0);
    let snapshot = snapshot(&outcome);
    assert_eq!((&snapshot["verdict"], &receipt(&snapshot)["thawed_by"]), (&"application".into(), &"engine".into()));
    site.expect_restored(&outcome, &site.live.record());
    site.expect_awake(1, 1);
}

#[test]
fn what_both_left_the_next_command_thaws() {
    for step in STEPS {
        let (site, engine) = at(step, "");
        kill_process(site.guardian(), Signal::KILL).unwrap();
        engine.signal(Signal::KILL);
        engine.finish();
        assert_eq!(site.said("thawed"), 0, "{step:?}");
        assert!(site.journal().exists());
        site.home.ok(["snapshots"]).said(&["instance live was in the freeze window", "thawed by its recovery"]);
        site.expect_awake(1, 1);
        assert!(!site.home.ok(["snapshots"]).err().contains("thawed"), "it is said once");
        expect_next_night(&site, 1);
    }
}
