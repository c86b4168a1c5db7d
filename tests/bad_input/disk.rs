//! A disk that is full, at every place where that can happen.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use icecore_testkit::SmallDisk;
use rustix::fs::{FallocateFlags, fallocate, statvfs};

use crate::common::{Home, args, assert_same, differences, noise, number, settle, text, write};

const MIB: u64 = 1 << 20;

/// What the small file system allocates at once, bytes.
const PAGE: u64 = 4096;

fn resize(disk: &SmallDisk, size: u64) {
    let options = format!("remount,size={size}");
    assert!(Command::new("mount").args(["-o", &options]).arg(disk.path()).status().unwrap().success());
}

/// Fills all of the disk but so many pages.
fn fill(disk: &SmallDisk, left: u64) {
    let free = statvfs(disk.path()).unwrap();
    let file = File::create(disk.path().join("filler")).unwrap();
    let size = (free.f_bfree * free.f_frsize).saturating_sub(left * PAGE);
    if size > 0 {
        fallocate(&file, FallocateFlags::empty(), 0, size).unwrap();
    }
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
}

#[test]
fn a_disk_that_fills_up_with_packs_ends_the_backup_clearly() {
    let Some(disk) = SmallDisk::mount(40 * MIB) else { return };
    let mut home = Home::new();
    let (live, repository) = (home.make_dir("live"), disk.path().join("repository"));
    for file in 0..4 {
        write(live.join(file.to_string()), noise(file, 14 << 20));
    }
    home.ok(args!["init", "--repo", &repository, "--generate-password", home.path("password")]);
    home.set("ICECORE_REPOSITORY", &repository);
    home.set("ICECORE_PASSWORD_FILE", home.path("password"));
    settle();
    let told = ["no space is left", repository.to_str().unwrap(), "packs/", "make room and run it again"];
    home.run(args!["backup", &live, "--name", "live"]).expect(1).said(&told);
    home.check(&["--read-data"]);
    assert_eq!(home.json(["snapshots"])["snapshots"].as_array().unwrap().len(), 0);
    assert_eq!(fs::read_dir(repository.join("tmp")).unwrap().count(), 0, "nothing half-written is left");

    resize(&disk, 200 * MIB);
    let done = home.backup(&live, &["--name", "live"]);
    let new = number(&done["snapshot"]["totals"]["bytes_new"]);
    assert!(new < 44 * MIB, "what had been stored is not stored again: {new}");
    home.check(&["--read-data"]);
    assert_same(&live, &home.restore("live", "restored"));
}

/// With one page more each time, the disk is full for one object after the other.
#[test]
fn a_disk_may_be_full_for_any_object() {
    let Some(disk) = SmallDisk::mount(4 * MIB) else { return };
    let mut home = Home::with_repository();
    let live = home.make_dir("live");
    write(live.join("old"), text(1, 10_000));
    settle();
    home.backup(&live, &["--name", "live"]);
    let (whole, place) = (home.repository(), disk.path().join("repository"));
    let state = home.path("home/.local/state");
    copy(&state, &home.path("state-kept"));
    home.set("ICECORE_REPOSITORY", &place);
    write(live.join("new"), noise(2, 3000));
    settle();

    let mut full = BTreeSet::new();
    for left in 0..40 {
        copy(&whole, &place);
        fs::remove_dir_all(&state).unwrap();
        copy(&home.path("state-kept"), &state);
        fill(&disk, left);
        let outcome = home.run(args!["backup", &live, "--name", "live"]);
        if outcome.code() == Some(0) {
            break;
        }
        let outcome = outcome.expect(1).said(&["no space is left", place.to_str().unwrap(), "make room"]);
        full.extend(
            ["packs", "index", "snapshots"].into_iter().filter(|kind| outcome.err().contains(&format!("{kind}/"))),
        );

        fs::remove_file(disk.path().join("filler")).unwrap();
        home.ok(args!["backup", &live, "--name", "live"]);
        home.check(&["--read-data"]);
        let target = home.restore("live", "restored");
        assert!(differences(&live, &target).is_empty(), "with {left} pages left");
        fs::remove_dir_all(target).unwrap();
        fs::remove_dir_all(&place).unwrap();
    }
    assert_eq!(full, BTreeSet::from(["packs", "index", "snapshots"]));
}

#[test]
fn a_full_disk_of_the_index_is_named() {
    // Too small to make an index, and too small to fill it.
    for size in [8 * PAGE, 48 * PAGE] {
        let home = Home::with_repository();
        let live = home.make_dir("live");
        for file in 0..1500 {
            write(live.join(format!("{}/{file}", file / 100)), text(file, 200));
        }
        settle();
        let Some(disk) = SmallDisk::mount(size) else { return };
        let backup = || home.run(args!["backup", &live, "--name", "live", "--state-dir", disk.path()]);
        backup().expect(1).said(&[disk.path().to_str().unwrap(), "full", "--state-dir"]);
        resize(&disk, 64 * MIB);
        backup().expect(0);
        home.ok(args!["check", "--read-data", "--state-dir", disk.path()]);
        assert_same(&live, &home.restore("live", "restored"));
    }
}

#[test]
fn a_target_that_fills_up_leaves_nothing_wrong_behind() {
    let home = Home::with_repository();
    let live = home.make_dir("live");
    for file in 0..12 {
        write(live.join(format!("{file:02}")), noise(file, 1 << 20));
    }
    settle();
    home.backup(&live, &["--name", "live"]);
    let Some(disk) = SmallDisk::mount(6 * MIB) else { return };
    let target = disk.path().join("restored");
    let outcome = home.run(args!["restore", "live", "--to", &target]).expect(1).said(&["No space left"]);
    for entry in fs::read_dir(&target).unwrap().map(Result::unwrap) {
        // A file that was not finished is recognised by its mode; those that look finished are.
        let finished = entry.metadata().unwrap().modified().unwrap()
            == fs::metadata(live.join(entry.file_name())).unwrap().modified().unwrap();
        let same = fs::read(entry.path()).unwrap() == fs::read(live.join(entry.file_name())).unwrap();
        assert!(same || !finished, "{:?} looks whole: {outcome}", entry.path());
    }
    home.run(args!["restore", "live", "--to", &target]).expect(1).said(&["empty"]);
    resize(&disk, 40 * MIB);
    home.ok(args!["restore", "live", "--to", disk.path().join("again")]);
    assert_same(&live, &disk.path().join("again"));
}
