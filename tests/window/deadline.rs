//! The window takes longer than it may.

use icecore_testkit::live::State;
use rustix::process::Signal;

use super::racy::Rest;
use super::{Site, receipt, snapshot};
use crate::common::{Home, Running, noise, number, write};

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

/// Also where no warm round reads what is hot, the prediction knows that the window will.
#[test]
fn what_is_left_to_the_window_is_predicted() {
    let home = Home::with_repository();
    home.make_dir("live/store");
    write(home.path("live/base/large"), noise(7, 48 << 20));
    let site = Site::new(home, Rest, "always-read = [\"large\"]\nwarm-rounds = 0");
    // Without anything to compare with, two rounds are made whatever is allowed.
    site.night().expect(0);
    let outcome = site.night().expect(0);
    let receipt = receipt(&snapshot(&outcome));
    assert_eq!((number(&receipt["hot_files"]), number(&receipt["hot_bytes"])), (1, 48 << 20), "{outcome}");
    // What requests to the freezer take is taken for 50 ms; no machine reads and hashes 48 MiB in less than one more.
    assert!(number(&receipt["predicted_ms"]) > 50, "{outcome}");

    site.configure(&format!(
        "always-read = [\"large\"]\nwarm-rounds = 0\nmax-freeze = \"50ms\"\n[instance.freezer]\n{}",
        site.live.controls().freezer()
    ));
    let before = site.said("freeze");
    site.night().expect(1).said(&["instance live", "max-freeze", "50331648 bytes"]);
    assert_eq!(site.said("freeze"), before);
}
