//! Stops, starts, verifications and restores that fail.

use std::fs;
use std::time::Duration;

use icecore_testkit::live::state;
use icecore_testkit::spe::{Status, Switches};

use super::{Scene, steps};
use crate::common::write;

#[test]
fn a_stop_that_fails_leaves_everything_as_it_is() {
    let scene = Scene::with("timeout = \"300ms\"");
    scene.simulator.set(|switches| switches.refuse_stops = 1);
    let outcome = scene.run(&["--exchange", "--stop-start"]).expect(1);
    outcome.said(&[
        "could not be stopped, and nothing was restored",
        "refuses StopInstances",
        "instance status cust01",
    ]);
    assert!(scene.resident.runs() && scene.beside().is_empty());
    scene.simulator.set(|switches| switches.stop_delay = Duration::from_secs(600));
    scene.run(&["--exchange", "--stop-start"]).expect(1).said(&["could not be stopped", "\"running\", not stopped"]);
    assert!(scene.resident.runs() && scene.beside().is_empty());
    scene.simulator.set(|switches| switches.without = vec!["StartInstances"]);
    scene.run(&["--exchange", "--stop-start"]).expect(1).said(&["does not know StartInstances"]);
    assert_eq!(scene.deeds(), ["StopInstances", "StopInstances"]);
    // A reply that is lost is none: the state tells.
    scene.simulator.set(|switches| {
        *switches = Switches { lose_reply_of: Some("StopInstances"), ..Switches::default() };
    });
    scene.run(&["--exchange", "--stop-start"]).expect(0);
    scene.expect_back(1);
}

#[test]
fn a_start_that_fails_is_told_with_the_command_that_goes_on() {
    let scene = Scene::with("timeout = \"300ms\"");
    let changes = [|s: &mut Switches| s.refuse_starts = 1, |s: &mut Switches| s.dies_at_start = true];
    for change in changes {
        scene.simulator.set(change);
        let outcome = scene.run(&["--exchange", "--stop-start", "--json"]).expect(1);
        let document = outcome.json();
        assert_eq!((&document["error"]["code"], steps(&document)), (&1.into(), vec!["stop".to_owned()]));
        assert_eq!(document["exchanged"].as_array().unwrap().len(), 1, "what was restored is told too");
        let next = "restore cust01 --exchange --stop-start --json`, run again";
        outcome.said(&["StartInstances", "cust01 is left stopped, with the restored data", next]);
        scene.expect_stopped(&scene.exact);
        scene.simulator.set(|switches| *switches = Switches::default());
        scene.run(&["--exchange", "--stop-start"]).expect(0);
        scene.simulator.operate("cust01", Status::Running);
    }
    scene.expect_back(2);
}

#[test]
fn what_a_verification_finds_is_told() {
    let scene = Scene::new();
    scene.simulator.set(|switches| switches.damage = Some("Store 2018-11 is damaged: 3 messages."));
    let outcome = scene.run(&["--in-place", "--stop-start", "--json"]).expect(1);
    let document = outcome.json();
    let verify = &document["applications"][0]["steps"][2];
    assert!(verify["findings"][0].as_str().unwrap().contains("3 messages"), "{document:#}");
    outcome.said(&["cust01 runs with the restored data, but", "3 messages"]);
    scene.expect_back(1);
    scene.simulator.set(|switches| (switches.damage, switches.without) = (None, vec!["VerifyStores"]));
    scene.run(&["--in-place", "--stop-start"]).expect(1).said(&["cust01 runs with the restored data, but", "404"]);
    scene.expect_back(2);
}

#[test]
fn a_restore_that_fails_leaves_the_instance_stopped() {
    let scene = Scene::new();
    let packs = scene.home.objects("packs");
    let hide = |back: bool| {
        for pack in &packs {
            let hidden = pack.with_extension("hidden");
            if back { fs::rename(&hidden, pack).unwrap() } else { fs::rename(pack, &hidden).unwrap() }
        }
    };
    scene.resident.stop();
    for number in 0..6 {
        write(scene.base.join(format!("Data/2018-11/Content/{number:08x}.dat")), "ruined");
    }
    let old = state(&scene.base);
    hide(false);
    // Everything that the index names is gone: the restore has nothing to begin with, or misses all.
    let outcome = scene.run(&["--exchange", "--stop-start"]);
    assert!(outcome.code() == Some(1), "{outcome}");
    outcome.said(&["cust01 is left stopped, with its old data"]);
    scene.expect_stopped(&old);
    hide(true);
    scene.run(&["--exchange", "--stop-start"]).expect(0);
    scene.expect_back(1);

    // One pack: some files come back, and that is not enough to start on.
    write(scene.base.join("Data/2018-11/Content/00000000.dat"), "ruined");
    let largest = packs.iter().max_by_key(|pack| fs::metadata(pack).unwrap().len()).unwrap();
    fs::rename(largest, largest.with_extension("hidden")).unwrap();
    for number in 0..6 {
        let _ = fs::remove_file(scene.base.join(format!("Data/2018-11/Content/{number:08x}.dat")));
    }
    let outcome = scene.run(&["--in-place", "--stop-start", "--json"]).expect(1);
    assert_eq!(outcome.json()["applications"][0]["state"], "stopped", "{outcome}");
    outcome.said(&["cust01 is left stopped, with its directories partly", "by hand"]);
    assert!(!scene.resident.runs());
    fs::rename(largest.with_extension("hidden"), largest).unwrap();
    scene.run(&["--in-place", "--stop-start"]).expect(0);
    scene.expect_back(2);
}
