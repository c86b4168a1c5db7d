//! Freezes and thaws that are refused, late, or never confirmed.

use rustix::process::{Signal, kill_process};

use super::{Site, snapshot};

#[test]
fn a_thaw_that_is_refused_five_times_is_asked_for_a_sixth_time() {
    let site = Site::usual("");
    site.set("refuse-thaw", "5");
    let outcome = site.night().expect(0);
    assert_eq!(snapshot(&outcome)["verdict"], "application", "{outcome}");
    site.expect_restored(&outcome, &site.live.record());
    assert_eq!(site.said("thaw"), 6);
    site.expect_awake(1, 1);
}

/// The engine alone would try for five minutes before it says so; whatever recovers says it in half of one.
#[test]
fn a_thaw_that_is_never_confirmed_is_said_with_what_to_do() {
    let site = Site::slow("");
    site.set("refuse-thaw", "1000");
    let engine = site.start();
    site.wait_until_open();
    kill_process(site.guardian(), Signal::KILL).unwrap();
    engine.signal(Signal::KILL);
    engine.finish();
    let outcome = site.home.run(["snapshots"]).expect(4);
    outcome.said(&["MAY STILL BE FROZEN", "by hand", "icecore instance thaw live", "the application refuses to thaw"]);
    assert!(site.journal().exists() && site.live.controls().has("frozen"));
    site.set("refuse-thaw", "0");
    site.home.ok(["instance", "thaw", "live"]);
    site.expect_awake(1, 1);
    site.night().expect(0);
    site.expect_awake(2, 2);
}

#[test]
fn a_freeze_that_is_refused_is_thawed_all_the_same() {
    let site = Site::usual("");
    site.set("refuse-freeze", "1");
    site.night().expect(1).said(&["instance live", "could not freeze", "the application refuses to freeze"]);
    site.expect_awake(1, 1);
    site.night().expect(0);
    site.expect_awake(2, 2);
}

#[test]
fn a_freeze_that_takes_too_long_is_ended_and_thawed() {
    let site = Site::usual("max-freeze = \"2s\"");
    site.set("freeze-takes", "600");
    site.night().expect(1).said(&["instance live", "freeze.sh"]);
    site.expect_awake(1, 1);
    assert_eq!(site.said("frozen"), 0);
    assert_eq!(site.home.objects("snapshots").len(), 0);
}

#[test]
fn a_freeze_whose_reply_is_lost_is_thawed() {
    let site = Site::usual("");
    site.set("lose-freeze", "");
    site.night().expect(1).said(&["instance live", "could not freeze", "freeze.sh", "SIGKILL"]);
    assert_eq!(site.live.records().len(), 1, "it had taken effect");
    site.expect_awake(1, 1);
    site.night().expect(0);
    site.expect_awake(2, 2);
}

#[test]
fn a_thaw_whose_reply_is_lost_or_late_is_asked_for_again() {
    let site = Site::usual("");
    site.set("lose-thaw", "");
    site.night().expect(0);
    assert_eq!(site.said("thaw"), 2);
    site.expect_awake(1, 1);

    site.configure(&format!("[instance.freezer]\n{}timeout = \"1s\"", site.live.controls().freezer()));
    site.set("hold-thaw", "");
    let engine = site.start();
    site.wait_for("thaw", 4);
    site.live.controls().unset("hold-thaw");
    engine.finish().expect(0);
    site.expect_awake(2, 2);
}

#[test]
fn an_instance_that_somebody_else_has_frozen_is_left_alone() {
    let site = Site::usual("");
    site.live.controls().freeze();
    site.night().expect(1).said(&["instance live", "nothing was frozen", "is frozen already"]);
    assert!(site.live.controls().has("frozen"), "that freeze is not ours to end");
    site.live.controls().thaw();
    assert_eq!(site.live.controls().log(), Vec::<String>::new());
}
