//! What happens where nothing is configured.

use super::*;

#[test]
fn two_nights_need_no_set_up() {
    let home = Home::new();
    let tree = make_tree(&home);
    let first = home.ok(args!["backup", &tree]);
    let (data, state) = (home.path("home/.local/share/icecore"), home.path("home/.local/state/icecore"));
    let (repository, password) = (data.join("repository"), data.join("password"));
    first.said(&[repository.to_str().unwrap(), password.to_str().unwrap(), "keep a copy of that file"]);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&password), mode(&repository), mode(&data)), (0o600, 0o700, 0o700));
    assert!(state.is_dir());

    let second = home.ok(args!["backup", &tree]);
    assert_eq!(second.err(), "", "nothing is left to be said");
    assert_eq!(home.json(["snapshots"])["snapshots"].as_array().unwrap().len(), 2);
    assert_same(&tree, &home.restore("latest", "restored"));
    home.check(&["--read-data"]);

    // Who changes the password finds the new one where the next night looks for it.
    let old = fs::read(&password).unwrap();
    home.ok(args!["key", "change", "--generate-password", home.path("new")]);
    assert_ne!(fs::read(&password).unwrap(), old);
    home.ok(args!["backup", &tree]);

    // A lost password is not made anew.
    fs::remove_file(&password).unwrap();
    home.run(args!["backup", &tree]).expect(12).said(&[password.to_str().unwrap()]);
    assert!(!password.exists());
}

#[test]
fn the_base_directories_are_those_of_the_user() {
    let mut home = Home::new();
    let tree = make_tree(&home);
    home.set("XDG_DATA_HOME", home.path("data"));
    home.set("XDG_STATE_HOME", home.path("state"));
    home.ok(args!["backup", &tree]);
    assert!(home.path("data/icecore/repository/config").is_file());
    assert!(home.path("state/icecore").is_dir());
    assert_eq!(fs::read_dir(home.path("home")).unwrap().count(), 0);
}

#[test]
fn a_slip_of_the_finger_makes_no_repository() {
    let home = Home::new();
    home.run(args!["backup", home.path("no such tree")]).expect(1).said(&["no such tree"]);
    home.run(args!["backup", home.path("home"), "--exclude", "[z-a]"]).expect(2);
    home.run(args!["snapshots"]).expect(10).said(&["backup"]);
    assert_eq!(fs::read_dir(home.path("home")).unwrap().count(), 0);
}
