//! Hot content that is cloned, or stands in a snapshot, and is read after the thaw.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use icecore_testkit::LoopDisk;
use icecore_testkit::live::{State, differences, state};
use icecore_testkit::loop_disk::{names, run};
use rustix::process::{Signal, kill_process};
use serde_json::Value;

use super::racy::Rest;
use super::{Site, receipt, snapshot};
use crate::common::{Home, Outcome, noise, number, settle, write};

const NIGHTS: usize = 4;

/// A home in which `live` is the root directory of a disk.
pub fn home_on(disk: &LoopDisk) -> Home {
    let home = Home::with_repository();
    symlink(disk.path(), home.path("live")).unwrap();
    home
}

/// A home in which the roots of the instance are subvolumes, beside each other; `store` is a directory in one.
fn home_in_subvolumes(disk: &LoopDisk) -> Home {
    let home = Home::with_repository();
    let live = home.make_dir("live");
    symlink(disk.subvolume("@base"), live.join("base")).unwrap();
    let store = disk.subvolume("@store").join("deep/inside");
    fs::create_dir_all(&store).unwrap();
    symlink(store, live.join("store")).unwrap();
    home
}

/// The receipt of a night that went well, by a capture.
#[track_caller]
pub fn expect_capture(outcome: &Outcome, capture: &str) -> Value {
    let snapshot = snapshot(outcome);
    assert_eq!(snapshot["verdict"], "application", "{outcome}");
    let receipt = receipt(&snapshot);
    assert_eq!(receipt["capture"], capture, "{outcome}");
    receipt
}

/// Nights under constant writing: each is the instance at its freeze, and nothing is left behind.
fn nights(site: &Site<State>, capture: &str, expect_clean: impl Fn()) {
    for night in 1..=NIGHTS {
        site.live.expect_awake();
        let outcome = site.night().expect(0);
        let receipt = expect_capture(&outcome, capture);
        assert!(number(&receipt["hot_bytes"]) >= 48 << 20, "{outcome}");
        site.expect_restored(&outcome, &site.live.record());
        site.expect_awake(night, night);
        expect_clean();
    }
    site.home.check(&["--read-data"]);
    for shown in [site.home.ok(["show", "live"]).out(), site.home.ok(["snapshots"]).out()] {
        assert!(shown.contains("application"), "{shown}");
    }
    assert_eq!(site.home.json(["show", "live"])["snapshot"]["receipt"]["capture"], capture);
}

/// The configuration of the usual scripts, where the thaw is followed at once by another script.
fn configure_with_thaw(site: &Site<()>, capture: &str, then: &str) {
    let control = site.home.path("control");
    let thaw = format!("'{0}/thaw.sh' && . '{0}/then.sh'", control.display());
    fs::write(control.join("then.sh"), then).unwrap();
    site.configure(&format!(
        "{capture}\n[instance.freezer]\nkind = \"command\"\nfreeze = [{:?}]\nthaw = [\"/bin/sh\", \"-ec\", {thaw:?}]\n",
        control.join("freeze.sh"),
    ));
}

/// Files of many sizes, one with holes.
fn fill(live: &Path) {
    for (name, size) in [("base/db", 5_000_001), ("base/small", 11), ("base/empty", 0), ("store/a", 65_536)] {
        write(live.join(name), noise(1, size));
    }
    write(live.join("store/gone/file"), noise(2, 100_000));
    write(live.join("store/short"), noise(3, 1_000_000));
    let sparse = File::create(live.join("base/sparse")).unwrap();
    sparse.write_all_at(&[7; 5000], 0).unwrap();
    sparse.write_all_at(&[8; 5000], 20 << 20).unwrap();
    sparse.set_len((30 << 20) + 17).unwrap();
    sparse.sync_all().unwrap();
    settle();
}

/// What spoils every file that [`fill`] makes.
fn spoil(live: &Path) -> String {
    format!(
        "cd '{}'; rm -r store/gone; : >store/short; echo more >>store/a\n\
         for file in base/db base/small base/sparse; do head -c 4000000 /dev/urandom >$file; done\n\
         echo something >base/empty; echo new >base/new\n",
        live.display()
    )
}

/// Whatever happens to the files as soon as the instance is awake, the snapshot shows it frozen.
fn spoiled_after_the_thaw(home: Home, capture: &str) -> Site<()> {
    fill(&home.path("live"));
    let site = Site::new(home, Rest, "");
    let live = site.home.path("live");
    for always in ["", "always-read = [\"*\"]\n"] {
        configure_with_thaw(&site, &format!("capture = {capture:?}\n{always}"), &spoil(&live));
        let frozen = state(&live);
        let outcome = site.night().expect(0);
        let receipt = expect_capture(&outcome, capture);
        assert_ne!(state(&live), frozen, "the script has spoilt it");
        if !always.is_empty() {
            assert_eq!(number(&receipt["hot_files"]), frozen.values().filter(|it| *it != "directory").count() as u64);
        }
        let id = snapshot(&outcome)["id"].as_str().unwrap().to_owned();
        let restored = site.home.restore(&id, &id);
        let differing = differences(&frozen, &state(&restored));
        assert!(differing.is_empty(), "{}\n{outcome}", differing.join("\n"));
        let sparse = fs::metadata(restored.join("base/sparse")).unwrap();
        assert!(sparse.blocks() * 512 < sparse.size() / 10, "{} blocks", sparse.blocks());
        fs::remove_dir_all(live.join("base")).unwrap();
        fs::remove_dir_all(live.join("store")).unwrap();
        fill(&live);
    }
    site
}

#[test]
fn clones_are_the_instance_at_its_freeze() {
    let Some(disk) = LoopDisk::xfs() else { return };
    let site = Site::at(home_on(&disk), "capture = \"clone\"");
    nights(&site, "clone", || assert_eq!(names(&disk.path()), ["base", "store"]));
    drop(site);
}

#[test]
fn clones_keep_what_is_spoilt_right_after_the_thaw() {
    for disk in [LoopDisk::xfs(), LoopDisk::btrfs()] {
        let Some(disk) = disk else { return };
        drop(spoiled_after_the_thaw(home_on(&disk), "clone"));
        assert_eq!(names(&disk.path()), ["base", "store"]);
    }
}

#[test]
fn who_writes_while_files_are_cloned_is_found_out() {
    let Some(disk) = LoopDisk::xfs() else { return };
    let home = home_on(&disk);
    fill(&home.path("live"));
    let site = Site::new(home, Rest, "");
    let (control, base) = (site.home.path("control"), site.home.path("live/base"));
    // One that is cloned, and one that is too small for it.
    let (control_, base_) = (control.display(), base.display());
    let writer = format!("while [ -e {control_}/frozen ]; do echo x >>{base_}/db; echo x >>{base_}/small; done");
    let freeze = format!("{}/freeze.sh; ({writer}) >/dev/null 2>&1 &", control.display());
    site.configure(&format!(
        "capture = \"clone\"\nalways-read = [\"*\"]\n[instance.freezer]\nkind = \"command\"\n\
         freeze = [\"/bin/sh\", \"-ec\", {freeze:?}]\nthaw = [{:?}]\n",
        control.join("thaw.sh"),
    ));
    for _ in 0..5 {
        let outcome = site.night();
        let snapshot = snapshot(&outcome);
        let receipt = receipt(&snapshot);
        assert_eq!(receipt["capture"], "clone", "{outcome}");
        let violations: Vec<_> =
            receipt["violations"].as_array().unwrap().iter().map(|it| it["path"].clone()).collect();
        // On a busy machine the writer may not have had its turn.
        if violations.len() < 2 {
            continue;
        }
        assert_eq!(violations, ["base/db", "base/small"], "{outcome}");
        assert_eq!(snapshot["verdict"], "fuzzy", "{outcome}");
        outcome.expect(3).said(&["base/db", "base/small"]);
        return;
    }
    panic!("five windows in which somebody wrote, and nobody noticed");
}

#[test]
fn what_is_on_another_file_system_is_read_in_the_window_beside_clones() {
    let (Some(disk), Some(other)) = (LoopDisk::xfs(), LoopDisk::mount(&["mkfs.ext4", "-q"], 64 << 20)) else { return };
    let home = home_on(&disk);
    fill(&home.path("live"));
    let mount = home.make_dir("live/store/other");
    write(other.path().join("there"), noise(9, 3_000_000));
    run(Command::new("mount").arg("--bind").arg(other.path()).arg(&mount)).unwrap();
    let site = Site::new(home, Rest, "");
    let live = site.home.path("live");
    let then = spoil(&live) + "head -c 100 /dev/urandom >store/other/there\n";
    configure_with_thaw(&site, "capture = \"clone\"\nalways-read = [\"*\"]\nexclude = [\"lost+found\"]", &then);
    let mut frozen = state(&live);
    frozen.remove(Path::new("store/other/lost+found"));
    let outcome = site.night().expect(0);
    expect_capture(&outcome, "clone");
    let id = snapshot(&outcome)["id"].as_str().unwrap().to_owned();
    let differing = differences(&frozen, &state(&site.home.restore(&id, &id)));
    run(Command::new("umount").arg(&mount)).unwrap();
    assert!(differing.is_empty(), "{}\n{outcome}", differing.join("\n"));
}

#[test]
fn what_cannot_be_cloned_or_snapshotted_is_told_before_the_freeze() {
    let Some(disk) = LoopDisk::mount(&["mkfs.ext4", "-q"], 64 << 20) else { return };
    let home = home_on(&disk);
    fs::create_dir_all(disk.path().join("base")).unwrap();
    fs::create_dir_all(disk.path().join("store")).unwrap();
    let site = Site::new(home, Rest, "");
    for (capture, words) in [("clone", "cannot be cloned"), ("snapshot", "not on btrfs")] {
        site.configure(&format!("capture = {capture:?}\n[instance.freezer]\n{}", site.live.controls().freezer()));
        let root = disk.path().join("base");
        site.night().expect(1).said(&["nothing was frozen", words, root.to_str().unwrap(), "hold", "auto"]);
    }
    assert_eq!(site.live.controls().log(), Vec::<String>::new());
}

/// Where a run is killed.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Phase {
    Freezing,
    Thawing,
    Reading,
}

/// A run that is killed with its guardian; the next command thaws and clears away.
fn killed(site: &Site<State>, phase: Phase) {
    match phase {
        Phase::Freezing => site.set("freeze-takes", "2"),
        Phase::Thawing => site.set("thaw-takes", "2"),
        Phase::Reading => {}
    }
    let (freezes, thaws, thawed) = (site.said("freeze"), site.said("thaw"), site.said("thawed"));
    let engine = site.start();
    match phase {
        Phase::Freezing => site.wait_for("freeze", freezes + 1),
        Phase::Thawing => site.wait_for("thaw", thaws + 1),
        Phase::Reading => site.wait_for("thawed", thawed + 1),
    }
    if phase != Phase::Reading {
        kill_process(site.guardian(), Signal::KILL).unwrap();
    }
    engine.signal(Signal::KILL);
    assert_eq!(engine.finish().signal(), Some(9), "{phase:?}");
    site.live.controls().unset("freeze-takes");
    site.live.controls().unset("thaw-takes");
}

const PHASES: [Phase; 3] = [Phase::Freezing, Phase::Thawing, Phase::Reading];

#[test]
fn a_killed_run_leaves_no_clone() {
    let Some(disk) = LoopDisk::xfs() else { return };
    let site = Site::at(home_on(&disk), "capture = \"clone\"");
    for phase in PHASES {
        killed(&site, phase);
        site.home.ok(["snapshots"]);
        assert_eq!(names(&disk.path()), ["base", "store"], "{phase:?}");
        let outcome = site.night().expect(0);
        expect_capture(&outcome, "clone");
        site.expect_restored(&outcome, &site.live.record());
    }
}

/// No snapshot on the disk, and no record of one.
fn expect_no_snapshot(site_home: &Home, places: &[PathBuf]) {
    for place in places {
        let left: Vec<_> = names(place).into_iter().filter(|name| name.starts_with(".icecore")).collect();
        assert!(left.is_empty(), "{left:?}");
    }
    let records = site_home.path("home/.local/state/icecore/captures");
    assert!(!records.exists() || names(&records).is_empty(), "{:?}", names(&records));
}

#[test]
fn a_snapshot_of_one_subvolume_is_the_instance_at_its_freeze() {
    let Some(disk) = LoopDisk::btrfs() else { return };
    // The roots are directories of the subvolume that is mounted: its snapshot can only stand in itself.
    let site = Site::at(home_on(&disk), "capture = \"snapshot\"");
    nights(&site, "snapshot", || {
        expect_no_snapshot(&site.home, &[disk.path()]);
        assert_eq!(names(&disk.path()), ["base", "store"]);
    });
    let roots = site.home.json(["show", "live"])["snapshot"]["roots"].clone();
    assert_eq!(roots[0]["path"], disk.path().join("base").to_str().unwrap(), "{roots}");
}

#[test]
fn a_snapshot_of_two_subvolumes_is_the_instance_at_its_freeze() {
    let Some(disk) = LoopDisk::btrfs() else { return };
    let site = Site::at(home_in_subvolumes(&disk), "");
    nights(&site, "snapshot", || {
        expect_no_snapshot(&site.home, &[disk.path(), disk.path().join("@base"), disk.path().join("@store")]);
        assert_eq!(names(&disk.path()), ["@base", "@store"]);
    });
}

#[test]
fn a_root_that_is_the_mounted_subvolume_itself_is_snapshotted_inside() {
    let Some(disk) = LoopDisk::btrfs() else { return };
    let home = Home::with_repository();
    let base = home.make_dir("live/base");
    disk.subvolume("@data");
    run(Command::new("mount").args(["-o", "subvol=@data"]).arg(loop_device(&disk)).arg(&base)).unwrap();
    write(home.path("live/store/file"), "on another file system");
    write(base.join("file"), noise(1, 100_000));
    let site = Site::new(home, Rest, "");
    let roots = format!("[[instance]]\nname = \"live\"\nroots = {{ base = {base:?} }}\ncapture = \"snapshot\"\n");
    let freezer = format!("[instance.freezer]\n{}", site.live.controls().freezer());
    write(site.home.path("config.toml"), format!("{roots}{freezer}"));
    for _ in 0..2 {
        let outcome = site.night().expect(0);
        expect_capture(&outcome, "snapshot");
        assert_eq!(outcome.json()["instances"][0]["left_out"], serde_json::json!([]), "{outcome}");
        let id = snapshot(&outcome)["id"].as_str().unwrap().to_owned();
        assert_eq!(state(&site.home.restore(&id, &id)), state(&base));
        expect_no_snapshot(&site.home, &[base.clone(), disk.path()]);
    }
    run(Command::new("umount").arg(&base)).unwrap();
}

fn loop_device(disk: &LoopDisk) -> String {
    let found = Command::new("losetup").args(["-n", "-O", "NAME", "-j"]).arg(disk.image()).output().unwrap();
    String::from_utf8(found.stdout).unwrap().trim().to_owned()
}

#[test]
fn snapshots_keep_what_is_spoilt_right_after_the_thaw() {
    let Some(disk) = LoopDisk::btrfs() else { return };
    let site = spoiled_after_the_thaw(home_on(&disk), "snapshot");
    expect_no_snapshot(&site.home, &[disk.path()]);
}

#[test]
fn the_next_command_destroys_the_snapshot_of_a_killed_run() {
    let Some(disk) = LoopDisk::btrfs() else { return };
    let site = Site::at(home_in_subvolumes(&disk), "capture = \"snapshot\"");
    for phase in PHASES {
        killed(&site, phase);
        if phase != Phase::Freezing {
            assert_eq!(names(&disk.path()).len(), 4, "{phase:?}");
        }
        let told = site.home.ok(["snapshots"]);
        assert_eq!(
            told.err().matches("which an interrupted run had left, is destroyed").count(),
            1,
            "{phase:?}: {told}"
        );
        expect_no_snapshot(&site.home, &[disk.path()]);
        let outcome = site.night().expect(0);
        expect_capture(&outcome, "snapshot");
        site.expect_restored(&outcome, &site.live.record());
        expect_no_snapshot(&site.home, &[disk.path()]);
    }
}

#[test]
fn the_snapshot_of_a_run_that_lives_is_left_alone() {
    let Some(disk) = LoopDisk::btrfs() else { return };
    let site = Site::at(home_in_subvolumes(&disk), "capture = \"snapshot\"");
    site.set("thaw-takes", "2");
    let engine = site.start();
    site.wait_for("thaw", 1);
    assert_eq!(names(&disk.path()).len(), 4);
    let told = site.home.ok(["snapshots"]);
    assert!(!told.err().contains("destroyed"), "{told}");
    assert_eq!(names(&disk.path()).len(), 4);
    let outcome = engine.finish().expect(0);
    expect_capture(&outcome, "snapshot");
    site.expect_restored(&outcome, &site.live.record());
    expect_no_snapshot(&site.home, &[disk.path()]);
}

#[test]
fn what_a_snapshot_would_lack_is_told_before_the_freeze() {
    let Some(disk) = LoopDisk::btrfs() else { return };
    let home = home_on(&disk);
    fill(&home.path("live"));
    let nested = disk.subvolume("store/nested");
    write(nested.join("file"), "x");
    let bound = home.make_dir("live/base/bound");
    let site = Site::new(home, Rest, "");
    let configure = |more: &str| {
        let freezer = site.live.controls().freezer();
        site.configure(&format!("{more}\n[instance.freezer]\n{freezer}"));
    };
    configure("capture = \"snapshot\"");
    site.night().expect(1).said(&["nothing was frozen", "store/nested", "exclude", "--one-file-system", "hold"]);
    run(Command::new("mount").arg("--bind").arg(disk.path().join("store/gone")).arg(&bound)).unwrap();
    configure("capture = \"snapshot\"\nexclude = [\"nested\"]");
    let refused = site.night();
    configure("capture = \"snapshot\"\nexclude = [\"nested\", \"bound\"]");
    let left_out = site.night();
    // Whoever has not asked for a snapshot gets the next best, and all of it.
    configure("");
    let cloned = site.night();
    run(Command::new("umount").arg(&bound)).unwrap();
    refused.expect(1).said(&["nothing was frozen", "base/bound"]);
    expect_capture(&left_out.expect(0), "snapshot");
    let cloned = cloned.expect(0);
    expect_capture(&cloned, "clone");
    let id = snapshot(&cloned)["id"].as_str().unwrap().to_owned();
    assert_eq!(fs::read(site.home.restore(&id, &id).join("store/nested/file")).unwrap(), b"x");
    assert_eq!(site.said("freeze"), 2);
    // With other file systems left out, what is missing is said.
    configure("capture = \"snapshot\"");
    let outcome = site.home.run(["backup", "-i", "live", "--json", "--one-file-system"]).expect(0);
    expect_capture(&outcome, "snapshot");
    assert_eq!(outcome.json()["instances"][0]["left_out"][0]["path"], "store/nested", "{outcome}");
    expect_no_snapshot(&site.home, &[disk.path()]);
}

/// A freezer's program may freeze the file system, which then takes neither clones nor snapshots.
#[test]
fn a_file_system_that_takes_no_writes_in_the_window_is_noticed() {
    for (disk, best) in [(LoopDisk::xfs(), "clone"), (LoopDisk::btrfs(), "snapshot")] {
        let Some(disk) = disk else { return };
        let home = home_on(&disk);
        fill(&home.path("live"));
        let site = Site::new(home, Rest, "");
        let (control, mount) = (site.home.path("control"), disk.path());
        let script = |name: &str, option: &str| {
            let both = format!("{}/{name}.sh; fsfreeze {option} {}", control.display(), mount.display());
            format!("[\"/bin/sh\", \"-c\", {both:?}]")
        };
        let configure = |capture: &str| {
            site.configure(&format!(
                "capture = {capture:?}\n[instance.freezer]\nkind = \"command\"\nfreeze = {}\nthaw = {}\n",
                script("freeze", "-f"),
                script("thaw", "-u"),
            ));
        };
        configure(best);
        site.night().expect(1).said(&["stops all writing", mount.to_str().unwrap(), "set capture to \"hold\""]);
        configure("auto");
        let outcome = site.night().expect(0).said(&["warning: ", "stops all writing", "set capture to \"hold\""]);
        expect_capture(&outcome, "hold");
        site.expect_awake(3, 3);
        expect_no_snapshot(&site.home, &[mount]);
    }
}

#[test]
fn auto_takes_the_best_that_there_is() {
    for (disk, best) in [
        (LoopDisk::btrfs(), "snapshot"),
        (LoopDisk::xfs(), "clone"),
        (LoopDisk::mount(&["mkfs.ext4", "-q"], 64 << 20), "hold"),
    ] {
        let Some(disk) = disk else { return };
        let home = home_on(&disk);
        fill(&home.path("live"));
        let site = Site::new(home, Rest, "");
        let rehearsal = site.home.json(["instance", "test-freeze", "live"]);
        assert_eq!((&rehearsal["capture"], &rehearsal["thawed_by"]), (&best.into(), &"engine".into()), "{rehearsal}");
        assert!(number(&rehearsal["entries"]) > 8, "{rehearsal}");
        expect_no_snapshot(&site.home, &[disk.path()]);
        expect_capture(&site.night().expect(0), best);
        // What the kernel has frozen takes neither clones nor snapshots.
        site.configure(&format!("[instance.freezer]\nkind = \"fsfreeze\"\nmount = {:?}\n", disk.path()));
        expect_capture(&site.night().expect(0), "hold");
    }
}
