//! Restores that are killed at random moments, and run again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::common::{Home, Running, args, assert_same, differences, noise, settle, text, write};

/// Kills of each mode: with three modes about 60 in under a minute.
const KILLS: u64 = 20;

/// A tree that takes a while: small files, a large one, links.
fn make(tree: &Path) {
    for n in 0..600 {
        write(tree.join(format!("{}/{n}", n % 20)), text(n, 200 + 17 * n as usize));
    }
    write(tree.join("large"), noise(1, 24 << 20));
    write(tree.join("zz/last"), noise(2, 3 << 20));
    fs::hard_link(tree.join("large"), tree.join("zz/linked")).unwrap();
}

/// Changes a third of it.
fn ruin(tree: &Path) {
    for n in (0..600).step_by(3) {
        write(tree.join(format!("{}/{n}", n % 20)), text(n + 1, 150 + 19 * n as usize));
    }
    fs::remove_file(tree.join("zz/linked")).unwrap();
    let large = fs::File::options().write(true).open(tree.join("large")).unwrap();
    for at in 0..6 {
        std::os::unix::fs::FileExt::write_all_at(&large, b"ruined", at * (4 << 20)).unwrap();
    }
    fs::remove_dir_all(tree.join("7")).unwrap();
    write(tree.join("7"), "a file");
    write(tree.join("extra/file"), "extra");
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).output().unwrap();
    assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
}

struct Scene {
    home: Home,
    tree: PathBuf,
    exact: PathBuf,
    old: PathBuf,
}

fn scene() -> Scene {
    let home = Home::with_repository();
    let tree = home.make_dir("srv/tree");
    make(&tree);
    settle();
    home.backup(&tree, &["--name", "tree"]);
    let (exact, old) = (home.path("exact"), home.path("old"));
    copy(&tree, &exact);
    ruin(&tree);
    copy(&tree, &old);
    Scene { home, tree, exact, old }
}

/// Kills the restore at moments spread over its run, each time from the beginning or from where the last one stopped.
fn kill_again_and_again(scene: &Scene, line: &[std::ffi::OsString], mut between: impl FnMut(&Scene, bool)) {
    let (mut killed, mut whole) = (0, Duration::from_millis(400));
    for (n, byte) in (0..).zip(noise(std::process::id().into(), KILLS as usize)) {
        let moment = (n as f64 + f64::from(byte) / 255.0) / (KILLS as f64 + 1.0);
        let begun = Instant::now();
        let running = Running::start(scene.home.command(line));
        thread::sleep(whole.mul_f64(moment));
        running.signal(Signal::KILL);
        let outcome = running.finish();
        let ended = outcome.signal().is_none();
        match outcome.signal() {
            Some(_) => killed += 1,
            None => {
                drop(outcome.expect(0));
                // Faster than was thought.
                whole = whole.min(begun.elapsed());
            }
        }
        between(scene, ended);
    }
    assert!(killed >= 5, "{killed}");
}

/// Puts the ruined tree back.
fn reset(scene: &Scene) {
    fs::remove_dir_all(&scene.tree).unwrap();
    copy(&scene.old, &scene.tree);
}

#[test]
fn a_new_directory_is_filled_in_the_end() {
    let scene = scene();
    let to = scene.home.path("to");
    let line = args!["restore", "tree", "--to", &to];
    kill_again_and_again(&scene, &line, |scene, ended| {
        // Killed after its end was recorded, the next run finds a directory that is not empty, and whole.
        if ended || (to.exists() && differences(&scene.exact, &to).is_empty()) {
            assert_same(&scene.exact, &to);
            fs::remove_dir_all(&to).unwrap();
        }
    });
    scene.home.ok(line);
    assert_same(&scene.exact, &to);
}

#[test]
fn a_tree_in_place_is_exact_in_the_end() {
    let scene = scene();
    let line = args!["restore", "tree", "--in-place", "--delete"];
    let mut turn = 0;
    kill_again_and_again(&scene, &line, |scene, _| {
        // Whatever stands under a name that is no temporary one is wholly old or wholly new, but for the large file.
        for name in (0..600).filter(|n| n % 20 != 7).map(|n| format!("{}/{n}", n % 20)) {
            let bytes = fs::read(scene.tree.join(&name)).unwrap();
            let whole = [&scene.exact, &scene.old].iter().any(|side| fs::read(side.join(&name)).unwrap() == bytes);
            assert!(whole, "{name} is half old and half new");
        }
        turn += 1;
        if turn % 2 == 0 {
            scene.home.ok(args!["restore", "tree", "--in-place", "--delete"]);
            assert_same(&scene.exact, &scene.tree);
            reset(scene);
        }
    });
    scene.home.ok(line);
    assert_same(&scene.exact, &scene.tree);
}

#[test]
fn an_exchanged_tree_is_wholly_old_or_wholly_new_at_every_moment() {
    let scene = scene();
    let line = args!["restore", "tree", "--exchange"];
    let (mut old, mut new) = (0, 0);
    kill_again_and_again(&scene, &line, |scene, _| {
        if differences(&scene.old, &scene.tree).is_empty() {
            old += 1;
        } else {
            let found = differences(&scene.exact, &scene.tree);
            assert!(found.is_empty(), "neither old nor new: {found:#?}");
            new += 1;
            // What stood is there until it is dropped, named or to be named.
            scene.home.ok(&line);
            let named = scene.home.ok(args!["restore", "--drop-old", &scene.tree]).out();
            assert!(named.contains("before-restore"), "{named}");
            reset(scene);
        }
    });
    assert!(old > 0, "{old} old, {new} new");
    scene.home.ok(&line);
    assert_same(&scene.exact, &scene.tree);
    assert!(fs::read_dir(scene.home.path("srv")).unwrap().all(|entry| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        name == "tree" || name.starts_with("tree.before-restore-")
    }));
}
