//! Every kind of death at every step of the window: one confirmed thaw for each freeze, whoever is left to ask for it.

use std::cell::Cell;
use std::fs;
use std::thread;

use icecore_testkit::live::{State, eventually};
use rustix::process::{Signal, kill_process};

use super::hold::{STEPS, Step};
use super::{Site, receipt, snapshot};

/// Plays a death at some steps, each on an instance of its own, and then a whole night.
fn at_each(steps: &[Step], more: &str, death: impl Fn(&Site<State>, Step) + Sync) {
    thread::scope(|scope| {
        for step in steps {
            let death = &death;
            thread::Builder::new()
                .name(format!("{step:?}"))
                .spawn_scoped(scope, move || {
                    let Some(site) = Site::stepwise(more) else { return };
                    death(&site, *step);
                    assert!(!site.home.ok(["snapshots"]).err().contains("thawed"), "{step:?}: nothing was left to do");
                    site.live.controls().forget_log();
                    let outcome = site.night().expect(0);
                    assert_eq!(snapshot(&outcome)["verdict"], "application", "{step:?}: {outcome}");
                    site.expect_restored(&outcome, &site.live.record());
                    site.expect_awake(1, 1);
                })
                .unwrap();
        }
    });
}

/// The engine was killed at a step; whoever thaws for it first ends the program that it left waiting.
fn let_others_thaw(site: &Site<State>, step: Step) {
    if step == Step::Thawing {
        site.wait_for("thaw", 2);
    }
    site.release();
}

/// Until the journal says so, whoever thaws is still at it.
fn wait_until_thaw_is_noted(site: &Site<State>) {
    eventually("thawed", || fs::read_to_string(site.journal()).unwrap().contains(r#""record":"thawed""#));
}

#[test]
fn an_engine_killed_at_any_step_is_thawed_for() {
    at_each(&STEPS, "", |site, step| {
        let engine = site.hold(step);
        engine.signal(Signal::KILL);
        let_others_thaw(site, step);
        assert_eq!(engine.finish().signal(), Some(9));
        // Without a guardian nothing was frozen yet, and this command thaws to be sure.
        let told = site.home.ok(["snapshots"]);
        assert_eq!(told.err().contains("by its recovery"), step == Step::Journal, "{step:?}: {told}");
        site.expect_awake(step.freezes(), 1);
    });
}

#[test]
fn an_engine_told_to_end_at_any_step_thaws_first() {
    at_each(&STEPS, "", |site, step| {
        for signal in [Signal::TERM, Signal::INT] {
            site.live.controls().forget_log();
            let engine = site.hold(step);
            engine.signal(signal);
            let outcome = engine.go_on();
            // It looks ten times a second whether it was told: it may be done before.
            assert!(matches!(outcome.code(), Some(130 | 0)), "{step:?}: {outcome}");
            site.expect_awake(1, 1);
        }
    });
}

#[test]
fn a_guardian_killed_at_any_step_is_not_needed() {
    at_each(&STEPS[1..], "", |site, step| {
        let engine = site.hold(step);
        if step < Step::Closed {
            kill_process(site.guardian(), Signal::KILL).unwrap();
        }
        let outcome = engine.go_on().expect(0);
        let snapshot = snapshot(&outcome);
        assert_eq!((&snapshot["verdict"], &receipt(&snapshot)["thawed_by"]), (&"application".into(), &"engine".into()));
        site.expect_restored(&outcome, &site.live.record());
        site.expect_awake(1, 1);
    });
}

#[test]
fn what_both_left_at_any_step_the_next_command_thaws() {
    at_each(&STEPS[1..Step::Closed as usize], "", |site, step| {
        let engine = site.hold(step);
        kill_process(site.guardian(), Signal::KILL).unwrap();
        engine.signal(Signal::KILL);
        // As long as it dies it looks as if it lived.
        engine.finish();
        assert!(site.journal().exists());
        let told = thread::scope(|scope| {
            let next = scope.spawn(|| site.home.ok(["snapshots"]));
            let_others_thaw(site, step);
            next.join().unwrap()
        });
        let by = if step == Step::Thawed { "thawed by its engine" } else { "thawed by its recovery" };
        told.said(&["instance live was in the freeze window", by]);
        site.expect_awake(step.freezes(), 1);
    });
}

#[test]
fn a_guardian_killed_while_it_thaws_leaves_it_to_the_next_command() {
    at_each(&[Step::Securing], "", |site, step| {
        let engine = site.hold(step);
        let guardian = site.guardian();
        site.set("hold-thaw", "");
        engine.signal(Signal::KILL);
        site.wait_for("thaw", 1);
        kill_process(guardian, Signal::KILL).unwrap();
        thread::scope(|scope| {
            let next = scope.spawn(|| site.home.ok(["snapshots"]));
            site.wait_for("thaw", 2);
            site.release();
            next.join().unwrap().said(&["thawed by its recovery"]);
        });
        engine.finish();
        site.expect_awake(1, 1);
    });
}

/// Stopped until the deadline has passed, and then let go on.
#[test]
fn an_engine_that_hangs_at_any_step_is_thawed_for_at_the_deadline() {
    at_each(&STEPS, "max-freeze = \"4s\"", |site, step| {
        let thawed = |times| {
            site.wait_for("thawed", times);
            site.live.expect_awake();
        };
        let log = site.journal().with_extension("log");
        let logged = |sentence: &str| {
            eventually(sentence, || fs::read_to_string(&log).unwrap_or_default().contains(sentence));
        };
        let engine = site.hold(step);
        match step {
            // Nobody watches over it yet, and nothing is frozen.
            Step::Journal => {
                engine.go_on().expect(0);
                site.expect_awake(1, 1);
            }
            // The thaw comes before the freeze, so that there is another one after it.
            Step::Guarded => {
                let outcome = engine.go_on_after(|_| wait_until_thaw_is_noted(site));
                outcome.expect(1).said(&["could not freeze", "deadline"]);
                site.expect_awake(1, 2);
            }
            Step::Freezing => {
                engine.go_on_after(|_| thawed(1)).expect(1).said(&["could not freeze", "freeze.sh"]);
                site.expect_awake(1, 1);
            }
            Step::Frozen => {
                engine.go_on_after(thawed).expect(0);
                site.expect_awake(2, 2);
            }
            // In the second window other threads do it, and are stopped too; but for the main one, which also lists.
            Step::Listing | Step::Securing => {
                let stopped = Cell::new(0);
                let outcome = engine.go_on_after(|times| {
                    stopped.set(times);
                    thawed(times);
                });
                match stopped.get() {
                    1 => outcome.expect(0),
                    _ => outcome.expect(1).said(&["instance live", "max-freeze"]),
                };
                site.expect_awake(2, 2);
            }
            // Its turn is waited for; then its program is ended, and thawing repeated by both.
            Step::Thawing => {
                let outcome = engine.go_on_after(|_| {
                    site.wait_for("thaw", 2);
                    site.release();
                    thawed(1);
                });
                let (freezes, thaws) = (site.said("freeze"), site.said("thawed"));
                assert!((freezes..=freezes + 1).contains(&thaws), "{outcome}");
                site.expect_awake(freezes, thaws);
            }
            Step::Thawed => {
                engine.go_on_after(|_| logged("seems to hang")).expect(0);
                site.expect_awake(1, 1);
            }
            Step::Closed => {
                engine.go_on_after(|_| logged("nothing to thaw")).expect(0);
                site.expect_awake(1, 1);
            }
        }
    });
}

/// It goes on after the deadline, freezes what was thawed by then, and dies: the guardian thaws again.
#[test]
fn an_engine_that_freezes_too_late_and_dies_is_thawed_for_again() {
    at_each(&[Step::Guarded], "max-freeze = \"4s\"", |site, step| {
        let engine = site.hold(step);
        wait_until_thaw_is_noted(site);
        site.set("hold-freeze", "");
        engine.signal(Signal::CONT);
        eventually("frozen", || site.live.controls().has("frozen"));
        engine.signal(Signal::KILL);
        site.wait_for("thawed", 2);
        site.release();
        engine.finish();
        site.home.ok(["snapshots"]);
        site.expect_awake(1, 2);
    });
}
