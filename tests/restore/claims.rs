//! Two processes at one directory.

use std::path::{Path, PathBuf};

use icecore_testkit::live::eventually;
use rustix::process::Signal;

use crate::common::{Home, Running, args, assert_same, noise, settle, text, write};

fn make(tree: &Path) {
    for number in 0..400 {
        write(tree.join(format!("{}/{number}", number % 9)), text(number, 3000));
    }
    write(tree.join("large"), noise(1, 24 << 20));
}

/// Claims of processes that live, or died without giving them up.
fn claims(home: &Home) -> Vec<PathBuf> {
    let directory = home.path("home/.local/state/icecore/claims");
    let entries = directory.read_dir().into_iter().flatten().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == "json")).collect()
}

/// Starts a command, and halts it once it has claimed its directories.
fn halted(home: &Home, line: &[std::ffi::OsString]) -> Running {
    let mut running = Running::start(home.command(line));
    // Not while it holds the registry, for which others wait.
    let lock = home.path("home/.local/state/icecore/claims/lock");
    let is_free = || std::fs::File::open(&lock).is_ok_and(|lock| lock.try_lock().is_ok());
    eventually("it claims its directories", || !claims(home).is_empty() && is_free());
    running.signal(Signal::STOP);
    assert!(!running.has_ended() && claims(home).len() == 1);
    running
}

#[test]
fn a_target_belongs_to_one_restore() {
    let home = Home::with_repository();
    let tree = home.make_dir("srv/tree");
    make(&tree);
    settle();
    home.backup(&tree, &["--name", "tree"]);
    let exact = home.restore("tree", "exact");
    let fresh = home.path("srv/fresh");
    std::os::unix::fs::symlink(&tree, home.path("link")).unwrap();
    let (into, linked) = (args!["restore", "tree", "--to", &fresh], home.path("link"));
    let in_place = args!["restore", "tree", "--in-place"];
    let exchange = args!["restore", "tree", "--exchange"];
    let below = args!["restore", "tree:3", "--in-place", "--to", tree.join("3")];
    let above = args!["restore", "tree:3", "--in-place", "--to", home.path("srv")];
    let by_link = args!["restore", "tree", "--in-place", "--to", &linked];
    let drop_old = args!["restore", "--drop-old", &tree];
    for (first, others) in [
        (&in_place[..], vec![&in_place[..], &exchange, &below, &above, &by_link, &drop_old]),
        (&exchange, vec![&exchange, &in_place, &below, &by_link, &drop_old]),
        (&into, vec![&into, &above]),
    ] {
        std::fs::remove_dir_all(tree.join("5")).unwrap();
        let first = halted(&home, first);
        for other in others {
            let outcome = home.run(other).expect(11);
            let process = first.id().as_raw_nonzero().to_string();
            outcome.said(&["is in use: a restore of snapshot", " of tree", &process, "try again"]);
        }
        // What touches nothing, and another directory, are free.
        home.ok(args!["restore", "tree", "--in-place", "--dry-run"]);
        let elsewhere = home.restore("tree:3", "elsewhere");
        std::fs::remove_dir_all(elsewhere).unwrap();
        first.signal(Signal::CONT);
        first.finish().expect(0);
        assert!(claims(&home).is_empty());
        home.ok(&in_place);
        assert_same(&exact, &tree);
    }
    assert_same(&exact, &fresh);

    // A claim goes with its process.
    std::fs::remove_dir_all(tree.join("5")).unwrap();
    let first = halted(&home, &exchange);
    home.run(&in_place).expect(11);
    first.signal(Signal::KILL);
    first.finish();
    assert_eq!(claims(&home).len(), 1);
    home.ok(&exchange);
    assert_same(&exact, &tree);
    assert!(claims(&home).is_empty());
}

#[test]
fn a_backup_of_an_instance_and_a_restore_into_it_wait_for_each_other() {
    let mut home = Home::with_repository();
    let tree = home.make_dir("srv/tree");
    make(&tree);
    settle();
    home.set("ICECORE_CONFIG", home.path("config.toml"));
    write(home.path("config.toml"), format!("[[instance]]\nname = \"tree\"\nroots = {{ base = {tree:?} }}\n"));
    home.ok(["backup", "-i", "tree"]);
    let exact = home.restore("tree", "exact");

    std::fs::remove_file(tree.join("large")).unwrap();
    let restore = halted(&home, &args!["restore", "tree", "--in-place"]);
    let outcome = home.run(["backup", "--all"]).expect(11);
    outcome.said(&["instance tree", "is in use: a restore of snapshot", "try again"]);
    restore.signal(Signal::CONT);
    restore.finish().expect(0);
    assert_same(&exact, &tree);

    write(tree.join("more"), noise(2, 24 << 20));
    let backup = halted(&home, &args!["backup", "-i", "tree"]);
    for mode in ["--in-place", "--exchange"] {
        home.run(["restore", "tree", mode]).expect(11).said(&["is in use: a backup of tree", "try again"]);
    }
    // Elsewhere it is free, and so is another backup.
    home.restore("tree", "elsewhere");
    home.ok(["backup", "-i", "tree"]);
    backup.signal(Signal::CONT);
    backup.finish().expect(0);
    home.ok(["restore", "tree~2", "--exchange"]);
    assert_same(&exact, &tree);
}
