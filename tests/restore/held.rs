//! Entries that nobody may change (`chattr +i`, `+a`): named with what lifts that, and nothing else is lost.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use icecore_testkit::SmallDisk;

use crate::common::{Home, args, assert_same, number, settle, text, write};

fn chattr(change: &str, path: &Path) {
    let done = Command::new("chattr").arg(change).arg(path).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// A file system that knows the flags, with a tree that was backed up as `tree`, and an exact copy of it.
fn scene() -> Option<(SmallDisk, Home, PathBuf, PathBuf)> {
    let disk = SmallDisk::of_kind("ext4", 32 << 20)?;
    let home = Home::with_repository();
    let tree = disk.path().join("srv/tree");
    for n in 0..20 {
        write(tree.join(format!("{n:02}")), text(n, 3000));
    }
    write(tree.join("in it/file"), "file");
    write(tree.join("log"), "log");
    settle();
    home.backup(&tree, &["--name", "tree"]);
    let exact = home.path("exact");
    assert!(Command::new("cp").arg("-a").arg(&tree).arg(&exact).status().unwrap().success());
    Some((disk, home, tree, exact))
}

#[test]
fn in_place_names_what_is_held_and_restores_the_rest() {
    let Some((_disk, home, tree, exact)) = scene() else { return };
    for n in 0..20 {
        write(tree.join(format!("{n:02}")), "changed");
    }
    write(tree.join("in it/file"), "changed");
    write(tree.join("log"), "changed");
    write(tree.join("it's extra"), "extra");
    let held = [("+i", "03"), ("+a", "log"), ("+i", "in it"), ("+i", "it's extra")];
    held.iter().for_each(|(change, name)| chattr(change, &tree.join(name)));

    let outcome = home.run(["restore", "tree", "--in-place"]).expect(3);
    for (letter, name) in [("i", "03"), ("a", "log"), ("i", "'in it")] {
        let quoted = name
            .strip_prefix('\'')
            .map_or_else(|| tree.join(name).display().to_string(), |name| format!("'{}'", tree.join(name).display()));
        assert!(outcome.err().contains(&format!("chattr -{letter} {quoted}")), "{outcome}");
    }
    for n in (0..20).filter(|n| *n != 3) {
        assert_eq!(fs::read(tree.join(format!("{n:02}"))).unwrap(), text(n, 3000));
    }
    for name in ["03", "in it/file", "log"] {
        assert_eq!(fs::read(tree.join(name)).unwrap(), b"changed", "{name}");
    }
    let report = home.run(["restore", "tree", "--in-place", "--json"]).expect(3).json();
    assert_eq!(number(&report["missing_count"]), 3, "{report:#}");

    // What is one too many, once nothing is missing.
    held[..3].iter().for_each(|(change, name)| chattr(&change.replace('+', "-"), &tree.join(name)));
    let quoted = tree.join("it's extra").display().to_string().replace('\'', r"'\''");
    home.run(["restore", "tree", "--in-place", "--delete"]).expect(3).said(&[&format!("chattr -i '{quoted}'")]);
    chattr("-i", &tree.join("it's extra"));
    home.ok(["restore", "tree", "--in-place", "--delete"]);
    assert_same(&exact, &tree);

    // Only metadata that cannot be set.
    assert!(Command::new("chmod").arg("600").arg(tree.join("05")).status().unwrap().success());
    chattr("+i", &tree.join("05"));
    home.run(["restore", "tree", "--in-place"]).expect(3).said(&["the permissions", "chattr -i"]);
    chattr("-i", &tree.join("05"));
}

#[test]
fn an_exchange_is_refused_before_anything_is_built_and_old_trees_go_as_far_as_they_can() {
    let Some((disk, home, tree, exact)) = scene() else { return };
    write(tree.join("00"), "changed");
    let above = disk.path().join("srv");
    for held in [&tree, &above] {
        chattr("+i", held);
        let said = format!("chattr -i {}", held.display());
        home.run(["restore", "tree", "--exchange"]).expect(1).said(&[&said]);
        assert_eq!(fs::read_dir(&above).unwrap().count(), 1, "nothing was built");
        chattr("-i", held);
    }
    // What is held in the old tree does not matter to the new one.
    chattr("+i", &tree.join("00"));
    home.ok(["restore", "tree", "--exchange"]);
    assert_same(&exact, &tree);
    let outcome = home.run(args!["restore", "--drop-old", &tree]).expect(3).said(&["not deleted", "00", "chattr -i"]);
    assert_eq!(outcome.err().matches("not deleted").count(), 1, "{outcome}");
    let kept: Vec<_> =
        fs::read_dir(&above).unwrap().map(|entry| entry.unwrap().path()).filter(|at| *at != tree).collect();
    let [kept] = &kept[..] else { panic!("{kept:?}") };
    assert_eq!(fs::read_dir(kept).unwrap().count(), 1, "all but what is held is gone");
    chattr("-i", &kept.join("00"));
    home.ok(args!["restore", "--drop-old", &tree]);
    assert_eq!(fs::read_dir(&above).unwrap().count(), 1);
}
