//! Kills, interruptions, and others at the same instance.

use std::fs;
use std::sync::atomic::Ordering;
use std::time::Duration;

use icecore_testkit::live::{eventually, state};
use icecore_testkit::spe::{Status, Switches};
use rustix::process::Signal;

use super::{ORDER, Scene};
use crate::common::{Running, args};

#[test]
fn a_killed_restore_goes_on_and_ends_running_with_exact_data() {
    let scene = Scene::new();
    let line = ["--exchange", "--stop-start"];
    let kill = |scene: &Scene, running: Running| {
        running.signal(Signal::KILL);
        assert!(running.finish().signal().is_some());
        scene.simulator.set(|switches| *switches = Switches::default());
    };
    fs::remove_dir_all(scene.base.join("Data/2018-11/Content")).unwrap();

    // While it stops: the server goes on with that.
    scene.simulator.set(|switches| switches.stop_delay = Duration::from_millis(300));
    let running = scene.start(&line);
    eventually("it is to be stopped", || !scene.deeds().is_empty());
    kill(&scene, running);
    eventually("it is stopped", || !scene.resident.runs());
    let old = state(&scene.base);

    // While the tree is built.
    let mut running = scene.start(&line);
    scene.pause_while_building(&mut running);
    kill(&scene, running);
    scene.expect_stopped(&old);

    // Interrupted by a person, from the beginning on; what follows takes over what was built.
    scene.home.ok(args!["restore", "--drop-old", &scene.base]);
    let mut running = scene.start(&line);
    scene.pause_while_building(&mut running);
    running.signal(Signal::INT);
    running.signal(Signal::CONT);
    running.finish().expect(130).said(&["cust01 is left stopped, with its old data", "--stop-start`, run again"]);
    scene.expect_stopped(&old);

    // While it starts: the server goes on with that too.
    scene.held.store(true, Ordering::Relaxed);
    let running = scene.start(&line);
    eventually("it is to be started", || scene.deeds().iter().any(|deed| deed == "StartInstances"));
    kill(&scene, running);
    scene.held.store(false, Ordering::Relaxed);
    eventually("it is started", || scene.simulator.status("cust01") == Some(Status::Running));
    scene.expect_back(1);

    scene.run(&line).expect(0);
    assert_eq!(scene.deeds()[2..], ORDER);
    scene.expect_back(2);
}

#[test]
fn an_instance_that_somebody_starts_meanwhile_is_told() {
    let scene = Scene::new();
    scene.simulator.operate("cust01", Status::Stopped);
    for line in [&["--exchange", "--json"][..], &["--exchange", "--stop-start", "--json"]] {
        // Nothing to take over: the restore takes a while.
        fs::remove_dir_all(scene.base.join("Data/2018-11/Content")).unwrap();
        let mut running = scene.start(line);
        scene.pause_while_building(&mut running);
        scene.simulator.operate("cust01", Status::Running);
        running.signal(Signal::CONT);
        let outcome = running.finish().expect(1);
        outcome.said(&["cust01 was started by somebody", "may be mixed"]);
        scene.simulator.operate("cust01", Status::Stopped);
    }
}

#[test]
fn a_frozen_instance_is_woken_first() {
    let scene = Scene::new();
    scene.simulator.set(|switches| (switches.shows_frozen, switches.auto_thaw) = (true, None));
    // As another host's backup freezes it.
    scene.simulator.freeze("cust01");
    for line in [&["--in-place"][..], &["--in-place", "--stop-start"]] {
        scene.run(line).expect(1).said(&["cust01 is frozen", "icecore instance thaw cust01"]);
    }
    assert!(scene.simulator.is_frozen("cust01") && scene.deeds().is_empty());
    scene.home.ok(["instance", "thaw", "cust01"]);
    scene.run(&["--in-place", "--stop-start"]).expect(0);
    assert!(scene.resident.runs());
}
