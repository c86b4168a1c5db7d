//! `--into-new-instance`: an instance is made, emptied, restored, started.

use std::fs;

use icecore_testkit::live::{differences, state};
use icecore_testkit::spe::Status;

use super::application::Scene;
use crate::common::{args, write};

const ORDER: [&str; 4] = ["CreateInstance", "StopInstances", "StartInstances", "VerifyStores"];

#[test]
fn an_instance_is_made_beside_the_one_that_runs() {
    let scene = Scene::new();
    let rehearsed = scene.run(&["--into-new-instance", "cust02", "--dry-run"]).expect(0);
    rehearsed.said(&["cust02 would be made", "srv/cust02"]);
    assert!(scene.deeds().is_empty() && !scene.home.path("srv/cust02").exists());

    let document = scene.run(&["--into-new-instance", "cust02", "--json"]).expect(0).json();
    assert_eq!(scene.deeds(), ORDER);
    let steps = document["new_instance"]["steps"].as_array().unwrap();
    let steps: Vec<_> = steps.iter().map(|step| step["step"].as_str().unwrap()).collect();
    assert_eq!(steps, ["create", "stop", "empty", "start", "verify"]);
    assert!(differences(&scene.exact, &state(&scene.home.path("srv/cust02"))).is_empty());
    assert_eq!(scene.simulator.status("cust02"), Some(Status::Running));
    // The one that it was made of was not disturbed.
    assert!(scene.resident.runs() && scene.resident.found().len() == 2);

    // A named directory; and where the old one is gone.
    let to = scene.home.path("srv/cust03");
    let outcome = scene.home.run(args!["restore", "cust01", "--into-new-instance", "cust03", "--to", &to]).expect(0);
    outcome.said(&["cust03 is made, and stopped", "cust03 is running"]);
    assert!(differences(&scene.exact, &state(&to)).is_empty());
}

#[test]
fn nothing_that_was_there_before_is_touched() {
    let scene = Scene::new();
    let line = |id: &str| scene.run(&["--into-new-instance", id]);
    line("cust01").expect(1).said(&["there is an instance cust01 already", "choose another id"]);
    line("CUST01").expect(1).said(&["already"]);
    line("cust*").expect(1).said(&["exact id"]);
    let kept = scene.home.path("srv/cust02/somebody's");
    write(&kept, "data");
    line("cust02").expect(1).said(&["srv/cust02 is not empty"]);
    // Into what a running instance has.
    let below = scene.base.join("new");
    let outcome = scene.home.run(args!["restore", "cust01", "--into-new-instance", "cust03", "--to", &below]).expect(1);
    outcome.said(&["cust01 is running", "has touched nothing"]);
    scene.run(&["--into-new-instance", "cust03", "--in-place"]).expect(2);
    let part = scene.home.run(["restore", "cust01:Data", "--into-new-instance", "cust03"]).expect(2);
    part.said(&["whole snapshots"]);
    assert!(scene.deeds().is_empty() && !below.exists());

    // The server has its own mind about the place, where something stands.
    let place = scene.home.path("srv/cust02").display().to_string();
    scene.simulator.set(|switches| switches.creates_in = Some(place));
    let outcome = line("cust03").expect(1);
    outcome.said(&["nothing was deleted there", "cust03 was made, and is running", "srv/cust02", "--in-place"]);
    assert_eq!(fs::read_to_string(&kept).unwrap(), "data");
    assert_eq!(scene.deeds(), ["CreateInstance"]);
}

#[test]
fn a_failure_names_what_stands_and_the_command_that_goes_on() {
    let scene = Scene::new();
    let packs = scene.home.objects("packs");
    for pack in &packs {
        fs::rename(pack, pack.with_extension("hidden")).unwrap();
    }
    let outcome = scene.run(&["--into-new-instance", "cust02"]);
    assert!(outcome.code() == Some(1), "{outcome}");
    let base = scene.home.path("srv/cust02");
    let next = format!("restore cust01 --root base={} --in-place`", base.display());
    outcome.said(&["cust02 was made, and is stopped", base.to_str().unwrap(), &next]);
    for pack in &packs {
        fs::rename(pack.with_extension("hidden"), pack).unwrap();
    }
    scene.run(&["--into-new-instance", "cust02"]).expect(1).said(&["already", &next]);
    scene.home.ok(args!["restore", "cust01", "--root", format!("base={}", base.display()), "--in-place"]);
    assert!(differences(&scene.exact, &state(&base)).is_empty());
    assert_eq!(scene.simulator.status("cust02"), Some(Status::Stopped));

    // The start fails: everything stands.
    scene.simulator.set(|switches| switches.damage = Some("Store 2018-11 is damaged."));
    scene
        .run(&["--into-new-instance", "cust04"])
        .expect(1)
        .said(&["cust04 runs with the restored data, but", "damaged"]);
    assert_eq!(scene.simulator.status("cust04"), Some(Status::Running));
}

#[test]
fn every_root_goes_where_it_is_told() {
    let scene = Scene::new();
    let archive = scene.home.path("slow/archive");
    write(archive.join("2015.dat"), "old mail");
    let config = scene.home.path("config.toml");
    let text = fs::read_to_string(&config).unwrap();
    write(&config, text.replace("roots = { ", &format!("roots = {{ archive = {archive:?}, ")));
    scene.home.ok(["backup", "-i", "cust01"]);
    let exact = scene.resident.found().pop().unwrap();

    scene.run(&["--into-new-instance", "cust02"]).expect(2).said(&["the root archive goes: add --root archive=DIR"]);
    let new = scene.home.path("slow/new");
    let root = format!("archive={}", new.display());
    // Where its own databases say that the store stands, nobody knows before it runs.
    let old = scene.base.display().to_string();
    scene.simulator.set(|switches| switches.stores_below = Some(old));
    let line = ["--into-new-instance", "cust02", "--root", &root];
    let outcome = scene.run(&line).expect(1);
    outcome.said(&["stores 2026-11 outside of what was restored", "stopped at once", "SetStorePath"]);
    assert_eq!(scene.simulator.status("cust02"), Some(Status::Stopped));
    assert!(differences(&exact, &state(&scene.home.path("srv/cust02"))).is_empty());
    assert_eq!(fs::read_to_string(new.join("2015.dat")).unwrap(), "old mail");

    // The server sees the base directory by another path than this host.
    scene.simulator.set(|switches| switches.stores_below = None);
    std::os::unix::fs::symlink(scene.home.path("srv"), scene.home.path("mounted")).unwrap();
    let other = format!("archive={}", scene.home.path("slow/other").display());
    let here = format!("base={}", scene.home.path("mounted/cust03").display());
    scene.run(&["--into-new-instance", "cust03", "--root", &other, "--root", &here]).expect(0);
    assert!(differences(&exact, &state(&scene.home.path("srv/cust03"))).is_empty());
}
