//! What only a user without root's powers meets. Run by root, the program is started as nobody.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use icecore_testkit::SmallDisk;

use crate::common::{Home, Outcome, Running, args, assert_same, noise, settle, text, write};

/// The user and group that own nothing, by convention.
const NOBODY: &str = "65534";

/// Gives everything that stands there to the user that [`run`] uses.
fn give(path: &Path) {
    if rustix::process::geteuid().is_root() {
        assert!(
            Command::new("chown").args(["-R", &format!("{NOBODY}:{NOBODY}")]).arg(path).status().unwrap().success()
        );
    }
}

/// Runs the program as a user without powers; `None` if that cannot be done here, which has then been said.
fn run<A: AsRef<OsStr>>(home: &Home, arguments: impl IntoIterator<Item = A>) -> Option<Outcome> {
    let program = home.command(arguments);
    if !rustix::process::geteuid().is_root() {
        return Some(Running::start(program).finish());
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "--"]);
    command.arg(program.get_program()).args(program.get_args()).env_clear();
    command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.current_dir(home.path("home"));
    let reachable = Command::new("setpriv")
        .args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "--"])
        .arg(program.get_program())
        .arg("--version")
        .output();
    match reachable {
        Ok(output) if output.status.success() => Some(Running::start(command).finish()),
        _ => {
            icecore_testkit::skip("the program cannot be run as nobody here");
            None
        }
    }
}

fn set_mode(path: impl AsRef<Path>, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A home that is nobody's, with a repository and a tree.
fn home() -> Home {
    let home = Home::with_repository();
    let live = home.make_dir("live");
    write(live.join("readable"), noise(1, 200_000));
    write(live.join("secret"), "nobody reads this");
    write(live.join("closed/inside"), "nor this");
    write(live.join("open/inside"), text(2, 1000));
    give(&home.path(""));
    home
}

#[test]
fn what_cannot_be_read_is_backed_up_around_and_named() {
    let home = home();
    let live = home.path("live");
    set_mode(live.join("secret"), 0o000);
    set_mode(live.join("closed"), 0o000);
    settle();
    let Some(outcome) = run(&home, args!["backup", &live, "--name", "live", "--json"]) else { return };
    let outcome = outcome.expect(3).said(&["secret", "closed", "ermission denied"]);
    let snapshot = &outcome.json()["snapshot"];
    assert_eq!(snapshot["problem_count"], 2, "{outcome}");
    for problem in snapshot["problems"].as_array().unwrap() {
        assert_eq!(problem["kind"], "unreadable");
        assert!(["secret", "closed"].contains(&problem["path"].as_str().unwrap()));
    }
    let to = home.path("restored");
    let restored = run(&home, args!["restore", "live", "--to", &to]).unwrap().expect(3).said(&["secret"]);
    assert_eq!(fs::read(to.join("readable")).unwrap(), noise(1, 200_000), "{restored}");
    assert_eq!(fs::read(to.join("open/inside")).unwrap(), text(2, 1000));
    assert!(!to.join("secret").exists() && to.join("closed").is_dir());
    run(&home, ["check", "--read-data"]).unwrap().expect(0);

    // Once they can be read they are.
    set_mode(live.join("secret"), 0o600);
    set_mode(live.join("closed"), 0o700);
    settle();
    run(&home, args!["backup", &live, "--name", "live"]).unwrap().expect(0);
    let to = home.path("whole");
    run(&home, args!["restore", "live", "--to", &to]).unwrap().expect(0);
    assert_same(&live, &to);
}

#[test]
fn a_root_that_cannot_be_read_is_no_empty_snapshot() {
    let home = home();
    let live = home.path("live/closed");
    set_mode(&live, 0o000);
    let Some(outcome) = run(&home, args!["backup", &live]) else { return };
    assert_ne!(outcome.code(), Some(0), "{outcome}");
    outcome.said(&[live.to_str().unwrap(), "ermission denied"]);
}

#[test]
fn a_repository_that_may_not_be_used_is_named() {
    let home = home();
    let (live, repository) = (home.path("live"), home.repository());
    settle();
    let Some(outcome) = run(&home, args!["backup", &live, "--name", "live"]) else { return };
    outcome.expect(0);
    let said = ["ermission denied", repository.to_str().unwrap()];

    // It can be read, not written.
    let objects = Command::new("chmod").args(["-R", "a-w"]).arg(&repository).status().unwrap();
    assert!(objects.success());
    run(&home, ["snapshots"]).unwrap().expect(0);
    run(&home, ["check", "--read-data"]).unwrap().expect(0);
    let to = home.path("restored");
    run(&home, args!["restore", "live", "--to", &to]).unwrap().expect(0);
    write(live.join("new"), noise(9, 1000));
    give(&live);
    run(&home, args!["backup", &live, "--name", "live"]).unwrap().expect(1).said(&said);

    // It cannot even be read.
    set_mode(&repository, 0o000);
    for command in [args!["snapshots"].to_vec(), args!["backup", &live].to_vec()] {
        run(&home, command).unwrap().expect(1).said(&said);
    }
    assert!(Command::new("chmod").args(["-R", "u+rwX"]).arg(&repository).status().unwrap().success());
    run(&home, args!["backup", &live, "--name", "live"]).unwrap().expect(0);
    run(&home, ["check", "--read-data"]).unwrap().expect(0);
}

#[test]
fn a_read_only_file_system_can_be_restored_from() {
    let home = home();
    let live = home.path("live");
    home.backup(&live, &["--name", "live"]);
    let Some(disk) = SmallDisk::mount(8 << 20) else { return };
    assert!(Command::new("cp").arg("-a").arg(home.repository()).arg(disk.path()).status().unwrap().success());
    let place = disk.path().join("repository");
    assert!(Command::new("mount").args(["-o", "remount,ro"]).arg(disk.path()).status().unwrap().success());
    let with = |command: Vec<std::ffi::OsString>| home.run(command.into_iter().chain(args!["--repo", &place]));
    with(args!["check", "--read-data"].into()).expect(0);
    with(args!["restore", "live", "--to", home.path("restored")].into()).expect(0);
    assert_same(&live, &home.path("restored"));
    write(live.join("new"), noise(9, 1000));
    with(args!["backup", &live, "--name", "live"].into()).expect(1).said(&[place.to_str().unwrap(), "ead-only"]);
}

#[test]
fn places_that_may_not_be_written_are_named() {
    let home = home();
    let locked = home.make_dir("locked");
    write(home.path("hidden"), "password");
    give(&home.path(""));
    set_mode(&locked, 0o500);
    set_mode(home.path("hidden"), 0o000);
    let state = locked.join("state");
    let Some(outcome) = run(&home, args!["snapshots", "--state-dir", &state]) else { return };
    outcome.expect(1).said(&[state.to_str().unwrap(), "ermission denied", "--state-dir"]);
    run(&home, args!["snapshots", "--password-file", home.path("hidden")])
        .unwrap()
        .expect(1)
        .said(&["hidden", "ermission"]);
    run(&home, args!["backup", home.path("live"), "--name", "live"]).unwrap().expect(0);
    let to = locked.join("to");
    run(&home, args!["restore", "live", "--to", &to])
        .unwrap()
        .expect(1)
        .said(&[to.to_str().unwrap(), "ermission denied"]);
    let repository = locked.join("repository");
    let init = args!["init", "--repo", &repository, "--generate-password", home.path("new")];
    run(&home, init).unwrap().expect(1).said(&["locked", "ermission denied"]);
}
