//! Which part of which snapshot, and where to.

use std::fs;

use crate::common::{Home, args, assert_same, text, write};

fn names(directory: &std::path::Path) -> Vec<String> {
    let mut names: Vec<_> = Vec::new();
    let mut pending = vec![directory.to_owned()];
    while let Some(at) = pending.pop() {
        for entry in fs::read_dir(at).unwrap().map(Result::unwrap) {
            names.push(entry.path().strip_prefix(directory).unwrap().to_str().unwrap().to_owned());
            if entry.file_type().unwrap().is_dir() {
                pending.push(entry.path());
            }
        }
    }
    names.sort();
    names
}

#[test]
fn patterns_choose_what_is_restored() {
    let home = Home::with_repository();
    let tree = home.make_dir("tree");
    for name in ["mail/a.eml", "mail/a.txt", "mail/tmp/b.eml", "docs/c.txt", "docs/deep/d.eml", "hollow/e.txt"] {
        write(tree.join(name), name);
    }
    home.backup(&tree, &["--name", "tree"]);
    let restored = |name: &str, more: &[&str]| {
        let to = home.path(name);
        home.ok(args!["restore", "tree", "--to", &to].into_iter().chain(more.iter().map(Into::into)));
        names(&to)
    };
    assert_eq!(
        restored("1", &["--include", "*.eml", "--exclude", "tmp"]),
        ["docs", "docs/deep", "docs/deep/d.eml", "mail", "mail/a.eml"]
    );
    assert_eq!(
        restored("2", &["--exclude", "/mail", "--exclude", "*.eml"]),
        ["docs", "docs/c.txt", "docs/deep", "hollow", "hollow/e.txt"]
    );
    assert_eq!(restored("3", &["--include", "/docs"]), ["docs", "docs/c.txt", "docs/deep", "docs/deep/d.eml"]);
    let time = |path: &str| fs::metadata(home.path(path)).unwrap().modified().unwrap();
    assert_eq!(time("1/docs"), time("tree/docs"), "a directory on the way is restored too");

    // What is left out is never one too many.
    write(tree.join("mail/tmp/extra.eml"), "");
    write(tree.join("mail/extra.eml"), "");
    write(tree.join("mail/extra.txt"), "");
    home.ok(["restore", "tree", "--in-place", "--delete", "--include", "*.eml", "--exclude", "tmp"]);
    assert!(tree.join("mail/tmp/extra.eml").exists() && tree.join("mail/extra.txt").exists());
    assert!(!tree.join("mail/extra.eml").exists());
}

#[test]
fn roots_go_where_they_are_told() {
    let home = Home::with_repository();
    let (base, archive) = (home.make_dir("srv/base"), home.make_dir("mnt/archive"));
    write(base.join("db"), text(1, 50_000));
    write(archive.join("2015/box"), text(2, 50_000));
    home.ok(args!["backup", &base, &archive, "--name", "app"]);
    let (fresh, new, other) = (home.path("fresh"), home.path("new"), home.path("other"));
    home.ok(args!["restore", "app", "--to", &fresh, "--root", format!("archive={}", new.display())]);
    assert_same(&base, &fresh.join("base"));
    assert_same(&archive, &new);
    home.run(args!["restore", "app", "--root", format!("archive={}", other.display())])
        .expect(1)
        .said(&["--root base="]);
    home.run(args!["restore", "app", "--in-place", "--root", "nothing=/x"]).expect(1).said(&["base, archive"]);
    assert!(!other.exists(), "a slip of the finger leaves nothing behind");

    // In place: each root at its own directory, and content of one serves the other.
    fs::rename(base.join("db"), archive.join("db")).unwrap();
    write(archive.join("2015/box"), "changed");
    let report = home.json(["restore", "app", "--in-place", "--delete"]);
    assert_eq!(report["targets"].as_array().unwrap().len(), 2);
    assert!(report["bytes_reused"].as_u64().unwrap() >= 50_000, "{report:#}");
    assert_same(&fresh.join("base"), &base);
    assert_same(&new, &archive);

    // One root, and a part of one, alone.
    write(base.join("db"), "changed");
    write(archive.join("2015/box"), "changed");
    home.ok(["restore", "app:archive/2015", "--in-place"]);
    assert_eq!(fs::read(base.join("db")).unwrap(), b"changed");
    assert_same(&new, &archive);
    home.ok(["restore", "app:base", "--in-place"]);
    assert_same(&fresh.join("base"), &base);
}

#[test]
fn a_snapshot_is_named_by_time_in_every_command() {
    let home = Home::with_repository();
    let tree = home.make_dir("tree");
    write(tree.join("file"), "first");
    let first = home.backup(&tree, &["--name", "tree"]);
    let taken = first["snapshot"]["taken"].as_str().unwrap().to_owned();
    std::thread::sleep(std::time::Duration::from_millis(1100));
    write(tree.join("file"), "second");
    home.backup(&tree, &["--name", "tree"]);
    // Local time is UTC here; the first snapshot was taken at or before the second after it.
    let second: i64 = taken[17..19].parse().unwrap();
    let at =
        if second == 59 { taken.clone() } else { format!("{} {}:{:02}", &taken[..10], &taken[11..16], second + 1) };
    for name in [format!("tree@{at}"), format!("tree@\"{at}\""), format!("latest@{at}")] {
        assert_eq!(home.json(args!["show", &name])["snapshot"]["id"], first["snapshot"]["id"], "{name}");
        home.ok(args!["ls", format!("{name}:file")]);
        let to = home.path(format!("to {name}"));
        home.ok(args!["restore", format!("{name}:file"), "--to", &to]);
        assert_eq!(fs::read(to.join("file")).unwrap(), b"first");
        home.ok(args!["restore", &name, "--in-place"]);
        assert_eq!(fs::read(tree.join("file")).unwrap(), b"first");
        write(tree.join("file"), "second");
    }
    home.run(["restore", "tree@2001-01-01", "--to", "x"]).expect(1).said(&["at or before 2001-01-01"]);
    home.run(["restore", "tree@some day", "--to", "x"]).expect(1).said(&["no time"]);
}

#[test]
fn a_target_that_is_not_empty_is_refused_with_the_choices() {
    let home = Home::with_repository();
    let tree = home.make_dir("tree");
    write(tree.join("file"), "file");
    home.backup(&tree, &["--name", "tree"]);
    home.run(args!["restore", "tree", "--to", &tree]).expect(1).said(&[
        "not empty",
        "--in-place",
        "--exchange",
        "choose an empty or new directory",
    ]);
    home.run(args!["restore", "tree", "--to", &tree, "--dry-run"]).expect(1).said(&["not empty"]);
    let new = home.path("new");
    let out = home.ok(args!["restore", "tree", "--to", &new, "--dry-run"]).out();
    assert!(out.contains("create    file") && out.contains("nothing was changed"), "{out}");
    assert!(!new.exists());
}
