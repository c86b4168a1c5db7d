//! The window takes longer than it may.

use icecore_testkit::live::State;
use rustix::process::Signal;

use super::{Site, receipt, snapshot};
use crate::common::Running;

/// Lets a backup hang in its window past the deadline, for the `times`th time.
fn hang(site: &Site<State>, engine: &Running, times: usize) {
    site.wait_for("frozen", times);
    site.wait_until_open();
    engine.signal(Signal::STOP);
    site.wait_for("thawed", times);
    site.live.expect_awake();
    engine.signal(Signal::CONT);
}

#[test]
fn a_window_that_was_too_long_is_tried_once_more() {
    let site = Site::slow("max-freeze = \"4s\"");
    let engine = site.start();
    hang(&site, &engine, 1);
    let outcome = engine.finish().expect(0);
    let snapshot = snapshot(&outcome);
    assert_eq!((&snapshot["verdict"], &receipt(&snapshot)["thawed_by"]), (&"application".into(), &"engine".into()));
    site.expect_restored(&outcome, &site.live.record());
    site.expect_awake(2, 2);
}

#[test]
fn twice_too_long_is_a_failure() {
    let site = Site::slow("max-freeze = \"4s\"");
    let engine = site.start();
    hang(&site, &engine, 1);
    hang(&site, &engine, 2);
    engine.finish().expect(1).said(&["instance live", "max-freeze"]);
    site.expect_awake(2, 2);
    assert_eq!(site.home.objects("snapshots").len(), 0);
}

#[test]
fn twice_too_long_may_be_kept_for_what_it_is() {
    let site = Site::slow("max-freeze = \"4s\"\non-window-failure = \"keep-fuzzy\"");
    let engine = site.start();
    hang(&site, &engine, 1);
    hang(&site, &engine, 2);
    let outcome = engine.finish();
    assert!(matches!(outcome.code(), Some(0 | 3)), "{outcome}");
    let snapshot = snapshot(&outcome);
    assert_eq!((&snapshot["verdict"], &snapshot["receipt"]["thawed_by"]), (&"fuzzy".into(), &"guardian".into()));
    site.expect_awake(2, 2);
    site.home.check(&["--read-data"]);
}

#[test]
fn a_window_that_cannot_be_short_enough_is_not_opened() {
    let site = Site::slow("max-freeze = \"50ms\"");
    site.night().expect(1).said(&["instance live", "max-freeze"]);
    assert_eq!(site.live.controls().log(), Vec::<String>::new());
    assert!(!site.journal().exists());
}
