//! Configurations that cannot work are told, with their place, before anything is frozen.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::{Site, State};
use crate::common::{args, write};

/// One more instance beneath the usual one.
fn configure(site: &Site<State>, sections: &str) {
    site.configure(&format!("[instance.freezer]\n{}\n{sections}", site.live.controls().freezer()));
}

/// The line of the configuration, from 1, that begins with some words.
fn line(site: &Site<State>, words: &str) -> usize {
    let text = fs::read_to_string(site.home.path("config.toml")).unwrap();
    1 + text.lines().position(|line| line.starts_with(words)).unwrap_or_else(|| panic!("{words:?} in\n{text}"))
}

#[track_caller]
fn expect_untouched(site: &Site<State>) {
    assert_eq!((site.live.controls().log(), site.live.records().len()), (Vec::new(), 0));
    assert!(!site.journal().exists() && site.home.objects("snapshots").is_empty());
}

#[test]
fn a_configuration_error_names_file_line_and_key() {
    let site = Site::usual("");
    let file = site.home.path("config.toml").display().to_string();
    for (mistake, at, words) in [
        ("max-freez = \"3s\"", "instance.max-freez", "did you mean \"max-freeze\""),
        ("max-freeze = \"3 parsecs\"", "instance.max-freeze", "is not a duration"),
        ("max-freeze = 30", "instance.max-freeze", "must be a duration"),
        ("warm-rounds = 77", "instance.warm-rounds", "out of bounds"),
        ("on-window-failure = \"ignore\"", "instance.on-window-failure", "keep-fuzzy"),
        ("always-read = [\"[z-a]\"]", "instance.always-read", "is not a pattern"),
        ("capture = \"photo\"", "instance.capture", "auto"),
        ("freezer = { kind = \"comand\" }", "instance.freezer.kind", "did you mean \"command\""),
        ("freezer = { kind = \"command\", thaw = [\"/bin/true\"] }", "instance.freezer.freeze", "is missing"),
        (
            "freezer = { kind = \"command\", freeze = [\"freeze\"], thaw = [\"/bin/true\"] }",
            "instance.freezer.freeze",
            "absolute path",
        ),
    ] {
        site.configure(mistake);
        let key = mistake.split(' ').next().unwrap();
        let place = format!("{file}:{}:", line(&site, key));
        site.night().expect(2).said(&[&place, &format!(": {at}: "), words]);
    }
    site.configure("max-freeze = = 3");
    site.night().expect(2).said(&[&format!("{file}:{}:", line(&site, "max-freeze"))]);
    expect_untouched(&site);
}

#[test]
fn an_unknown_instance_is_told_with_those_that_are_known() {
    let site = Site::usual("");
    for command in [args!["backup", "-i", "lives"].to_vec(), args!["instance", "test-freeze", "lives"].to_vec()] {
        site.home.run(command).expect(2).said(&["\"lives\"", "config.toml", "did you mean \"live\""]);
    }
    site.home.run(["backup", "-i", "somebody"]).expect(2).said(&["\"somebody\"", "it configures live"]);
    let none = site.home.path("none.toml");
    site.home.run(args!["backup", "-i", "live", "--config", &none]).expect(1).said(&["none.toml"]);
    write(&none, "");
    site.home.run(args!["backup", "--all", "--config", &none]).expect(2).said(&["no instance is configured"]);
    expect_untouched(&site);
}

#[test]
fn a_root_that_cannot_be_one_is_told_with_its_line() {
    let site = Site::usual("");
    let path = |name: &str| site.home.path(name).display().to_string();
    write(path("file"), "a file");
    symlink(path("live/base"), path("link")).unwrap();
    fs::create_dir_all(path("repository/inside")).unwrap();
    for (root, words) in [
        (path("missing"), "is missing: mount it"),
        (path("file"), "is not a directory"),
        (path("live/base"), "a directory belongs to one instance"),
        (path("live/base/index"), "is inside the root base"),
        (path("link"), "is the root base"),
        (path("live"), "contains the root base"),
        (path("repository"), "the repository"),
        (path("repository/inside"), "the repository"),
    ] {
        configure(&site, &format!("[[instance]]\nname = \"other\"\nroots.data = {root:?}\n"));
        let place = format!("config.toml:{}:7: instance.roots.data", line(&site, "roots.data"));
        site.home.run(["backup", "-i", "other"]).expect(2).said(&["instance other", &place, words]);
    }
    expect_untouched(&site);
    // The other instance is none the worse for it.
    configure(&site, &format!("[[instance]]\nname = \"other\"\nroots.data = {:?}\n", path("missing")));
    site.home.run(["backup", "--all"]).expect(2).said(&["instance other", "is missing", "1 of 2 instances"]);
    site.expect_awake(1, 1);
}

#[test]
fn a_freezer_s_program_that_cannot_be_run_is_told_before_anything_is_frozen() {
    let site = Site::usual("");
    let program = site.home.path("control/thaw.sh");
    for command in [args!["backup", "-i", "live"].to_vec(), args!["instance", "test-freeze", "live"].to_vec()] {
        fs::set_permissions(&program, fs::Permissions::from_mode(0o644)).unwrap();
        let told = site.home.run(command.clone()).expect(1);
        told.said(&["nothing was frozen", program.to_str().unwrap(), "not an executable file"]);
        fs::rename(&program, site.home.path("aside")).unwrap();
        let told = site.home.run(command).expect(1);
        told.said(&["nothing was frozen", program.to_str().unwrap(), "cannot be found"]);
        fs::rename(site.home.path("aside"), &program).unwrap();
    }
    expect_untouched(&site);
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    site.night().expect(0);
    site.expect_awake(1, 1);
}
