//! A tree that does not hold still.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::common::{Home, args, assert_same, noise, settle, write};

/// Files that come late in the listing change once the first pack is there: they have been listed and not yet read. The
/// log in front grows all the time.
#[test]
fn files_that_change_while_they_are_read_are_named_and_read_again() {
    let home = Home::with_repository();
    let live = home.make_dir("live");
    write(live.join("a-log"), noise(1, 8 << 20));
    // Enough that one thread is busy with it when the first pack has been put.
    write(live.join("b-bulk"), noise(2, 40 << 20));
    for name in ["z/gone", "z/grown", "z/rewritten", "z/shrunk", "z/still"] {
        write(live.join(name), noise(3, 300_000));
    }
    fs::create_dir(live.join("z/removed")).unwrap();
    write(live.join("z/removed/inside"), "inside");
    settle();

    let ended = AtomicBool::new(false);
    let outcome = thread::scope(|scope| {
        scope.spawn(|| disturb(&home, &live, &ended));
        let outcome = home.run(args!["backup", &live, "--name", "live", "--threads", "1", "--json"]);
        ended.store(true, Ordering::Relaxed);
        outcome
    });
    let outcome =
        outcome.expect(3).said(&["a-log", "z/gone", "z/grown", "z/rewritten", "z/shrunk", "z/removed/inside"]);
    let snapshot = &outcome.json()["snapshot"];
    assert_eq!(snapshot["verdict"], "fuzzy");
    let mut problems: Vec<_> = snapshot["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|problem| (problem["path"].as_str().unwrap(), problem["kind"].as_str().unwrap()))
        .filter(|(path, _)| *path != "z/removed")
        .collect();
    problems.sort();
    let expected = [
        ("a-log", "changed"),
        ("z/gone", "vanished"),
        ("z/grown", "changed"),
        ("z/removed/inside", "vanished"),
        ("z/rewritten", "changed"),
        ("z/shrunk", "changed"),
    ];
    assert_eq!(problems, expected, "{outcome}");
    home.check(&["--read-data"]);
    // Each file is what it was at some moment: its own bytes, at most as many as were listed.
    let restored = home.path("fuzzy");
    home.run(args!["restore", "live", "--to", &restored]);
    for name in ["a-log", "b-bulk", "z/grown", "z/shrunk", "z/still"] {
        let (listed, now) = (fs::read(restored.join(name)).unwrap(), fs::read(live.join(name)).unwrap());
        let length = listed.len().min(now.len());
        assert!(listed[..length] == now[..length], "{name} holds what was never in it");
    }

    settle();
    let again = home.backup(&live, &["--name", "live"]);
    assert_eq!(again["snapshot"]["verdict"], "stable", "{again}");
    let read = again["snapshot"]["totals"]["bytes_read"].as_u64().unwrap();
    assert!(read < 30 << 20, "only what had changed is read again: {read}");
    assert_same(&live, &home.restore("live", "exact"));
    home.check(&["--read-data"]);
}

fn disturb(home: &Home, live: &Path, ended: &AtomicBool) {
    let mut log = OpenOptions::new().append(true).open(live.join("a-log")).unwrap();
    let mut done = false;
    while !ended.load(Ordering::Relaxed) {
        log.write_all(&[7; 1000]).unwrap();
        if !done && !home.objects("packs").is_empty() {
            done = true;
            fs::remove_file(live.join("z/gone")).unwrap();
            fs::remove_dir_all(live.join("z/removed")).unwrap();
            OpenOptions::new().append(true).open(live.join("z/grown")).unwrap().write_all(&noise(4, 10_000)).unwrap();
            let rewritten = OpenOptions::new().write(true).open(live.join("z/rewritten")).unwrap();
            rewritten.write_all_at(&noise(5, 10_000), 100_000).unwrap();
            OpenOptions::new().write(true).open(live.join("z/shrunk")).unwrap().set_len(100_000).unwrap();
        }
        thread::sleep(Duration::from_millis(1));
    }
    assert!(done, "the backup was over before anything could change");
}
