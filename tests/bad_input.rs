//! Bad input and bad luck: each has its sentence, its next step and its exit code, and work goes on afterwards.

mod disk;
mod live;
mod user;

use std::fs;

use crate::common::{Home, args, assert_same, noise, settle, text, write};

/// A repository with one snapshot of a small tree.
fn with_snapshot() -> Home {
    let home = Home::with_repository();
    let live = home.make_dir("live");
    write(live.join("letters/one"), text(1, 3000));
    write(live.join("two"), noise(2, 5000));
    settle();
    home.backup(&live, &["--name", "live"]);
    home
}

#[test]
fn a_wrong_password_ends_with_12() {
    let mut home = with_snapshot();
    write(home.path("wrong"), "not it\n");
    home.run(args!["snapshots", "--password-file", home.path("wrong")]).expect(12).said(&[
        "wrong password",
        home.repository().to_str().unwrap(),
        "--password-file",
    ]);
    home.ok(["snapshots"]);
    home.set("ICECORE_PASSWORD_FILE", home.path("wrong"));
    let live = home.path("live");
    home.run(args!["backup", live]).expect(12).said(&["wrong password"]);
    let told = home.run(["check", "--json"]).expect(12).json();
    assert_eq!(told["error"]["code"], 12);
}

#[test]
fn a_password_file_that_is_none_is_named() {
    let home = with_snapshot();
    let missing = home.path("missing");
    home.run(args!["snapshots", "--password-file", &missing])
        .expect(1)
        .said(&[missing.to_str().unwrap(), "No such file"]);
    let empty = home.path("empty");
    write(&empty, "\n");
    home.run(args!["snapshots", "--password-file", &empty]).expect(2).said(&[empty.to_str().unwrap(), "empty"]);
    home.run(args!["snapshots", "--password-file", home.path("live")]).expect(1).said(&["live", "directory"]);
}

#[test]
fn where_no_repository_is_the_program_ends_with_10() {
    let home = with_snapshot();
    write(home.path("file"), "a file");
    home.make_dir("hollow");
    for place in ["missing", "missing/below", "hollow", "file"] {
        let place = home.path(place);
        for command in ["snapshots", "check", "stats", "rebuild-index"] {
            home.run(args![command, "--repo", &place]).expect(10).said(&[
                "there is no repository at",
                place.to_str().unwrap(),
                "icecore init",
            ]);
        }
        home.run(args!["backup", home.path("live"), "--repo", &place]).expect(10);
    }
    assert!(!home.path("missing").exists(), "nothing is made by looking");
    let file = home.path("file");
    home.run(args!["init", "--repo", &file]).expect(1).said(&[file.to_str().unwrap()]);
    assert_eq!(fs::read(file).unwrap(), b"a file");
    home.run(args!["init", "--repo", home.path("live")]).expect(1).said(&["is not empty"]);
    home.run(["init"]).expect(1).said(&["already holds a repository"]);
}

#[test]
fn a_repository_of_a_later_version_is_refused() {
    let home = with_snapshot();
    let config = home.repository().join("config");
    // CBOR maps of version and features, as every version to come begins.
    for (map, told) in [(&b"\xa2\x00\x02\x01\x80"[..], "format version 2"), (b"\xa2\x00\x01\x01\x81\x64worm", "worm")] {
        fs::remove_file(&config).unwrap();
        write(&config, [b"ICECORE\n", map].concat());
        for command in [args!["snapshots"], args!["check"], args!["backup"]] {
            let mut command = command.to_vec();
            if command[0] == "backup" {
                command.push(home.path("live").into());
            }
            home.run(command).expect(1).said(&[told, home.repository().to_str().unwrap()]);
        }
    }
}

#[test]
fn roots_that_are_none_are_named() {
    let home = Home::new();
    let missing = home.path("missing");
    home.run(args!["backup", &missing]).expect(1).said(&[missing.to_str().unwrap(), "No such file"]);
    write(home.path("file"), "a file");
    home.run(args!["backup", home.path("file")]).expect(1).said(&["file", "directory"]);
    assert!(!home.path("home/.local/share/icecore/repository/snapshots").exists(), "no snapshot came of it");

    let home = with_snapshot();
    home.run(args!["backup", home.path("live"), home.path("missing")]).expect(1).said(&["missing"]);
    home.run(args!["backup", home.path("live"), home.path("live/letters")]).expect(1).said(&["letters"]);
    home.run(args!["backup", home.repository()]).expect(2).said(&["repository"]);
    let listed = home.json(["snapshots"]);
    assert_eq!(listed["snapshots"].as_array().unwrap().len(), 1);
}

#[test]
fn an_exclude_that_means_nothing_is_named() {
    let home = with_snapshot();
    let live = home.path("live");
    home.run(args!["backup", &live, "--exclude", "[z-a]"]).expect(2).said(&["[z-a]"]);
    write(home.path("list"), "*.tmp\n[b-a]\n");
    home.run(args!["backup", &live, "--exclude-file", home.path("list")]).expect(2).said(&["[b-a]", "list"]);
    home.run(args!["backup", &live, "--exclude-file", home.path("gone")]).expect(1).said(&["gone"]);
}

#[test]
fn a_snapshot_that_is_not_there_is_asked_for_in_vain() {
    let home = with_snapshot();
    let to = home.path("to");
    for name in ["nobody", "0000000000", "live~7", "live@1999-01-01", "live@never", ""] {
        home.run(args!["restore", name, "--to", &to]).expect(1);
        home.run(args!["ls", name]).expect(1);
        home.run(args!["show", name]).expect(1).said(&["icecore: "]);
    }
    home.run(args!["ls", "live:no/such"]).expect(1).said(&["no/such"]);
    home.run(args!["restore", "live:no/such", "--to", &to]).expect(1).said(&["no/such"]);
    assert!(!to.exists());
}

#[test]
fn a_target_with_something_in_it_is_left_alone() {
    let home = with_snapshot();
    let full = home.make_dir("full");
    write(full.join("mine"), "precious");
    home.run(args!["restore", "live", "--to", &full]).expect(1).said(&[full.to_str().unwrap(), "empty"]);
    assert_eq!(fs::read_dir(&full).unwrap().count(), 1);
    let file = home.path("file");
    write(&file, "precious");
    home.run(args!["restore", "live", "--to", &file]).expect(1).said(&[file.to_str().unwrap()]);
    assert_eq!(fs::read(&file).unwrap(), b"precious");
    home.run(args!["restore", "live", "--to", file.join("below")]).expect(1).said(&["below"]);
    home.ok(args!["restore", "live", "--to", home.make_dir("hollow")]);
    assert_same(&home.path("live"), &home.path("hollow"));
}

#[test]
fn a_state_directory_that_cannot_be_used_is_named() {
    let home = with_snapshot();
    let file = home.path("file");
    write(&file, "no directory");
    for command in [args!["snapshots"].to_vec(), args!["backup", home.path("live")].to_vec()] {
        let command = command.into_iter().chain(args!["--state-dir", &file]);
        home.run(command).expect(1).said(&[file.to_str().unwrap(), "--state-dir"]);
    }
}

#[test]
fn a_repository_inside_the_tree_is_left_out_and_that_is_said() {
    let mut home = Home::new();
    let live = home.make_dir("live");
    write(live.join("file"), noise(1, 100_000));
    let (repository, state) = (live.join("backup/repository"), live.join("state"));
    home.ok(args!["init", "--repo", &repository, "--generate-password", home.path("password")]);
    home.set("ICECORE_REPOSITORY", &repository);
    home.set("ICECORE_PASSWORD_FILE", home.path("password"));
    home.set("ICECORE_STATE_DIR", &state);
    for _ in 0..2 {
        home.run(args!["backup", &live, "--name", "live"]).expect(0).said(&["left out: backup/repository"]);
    }
    let restored = home.restore("live", "restored");
    assert_eq!(fs::read(restored.join("file")).unwrap(), noise(1, 100_000));
    assert!(restored.join("backup").is_dir() && !restored.join("backup/repository/config").exists());
    assert!(!home.ok(args!["ls", "-R", "live"]).out().contains("index.sqlite"));
    home.check(&["--read-data"]);
}
