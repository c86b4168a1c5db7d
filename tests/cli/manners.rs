//! How commands talk: help, JSON, streams.

use super::*;

#[test]
fn every_command_speaks_json() {
    let home = Home::with_repository();
    make_tree(&home);
    let mut second_key = String::new();
    for mut line in every_command(&home) {
        if let Some(id) = line.iter_mut().find(|argument| *argument == "KEY") {
            *id = second_key.clone().into();
        }
        if line[0] == "cat" {
            home.run(line.into_iter().chain(["--json".into()])).expect(2).said(&["no JSON"]).json();
            continue;
        }
        let document = home.json(&line);
        if line.ends_with(&args!["list"]) || line.contains(&"change".into()) {
            assert!(document["keys"][0]["id"].is_string() || document["id"].is_string(), "{document:#}");
        }
        if line.contains(&"change".into()) {
            second_key = document["id"].as_str().unwrap().to_owned();
        }
        let command = document["command"].as_str().unwrap_or_else(|| panic!("{document:#}"));
        assert_eq!(Some(OsStr::new(command.split(' ').next().unwrap())), line.first().map(AsRef::as_ref));
    }
    for (line, code) in [(vec!["show", "nothing"], 1), (vec!["snapshots", "--repo", "/no/such/place"], 10)] {
        let failed = home.run(line.into_iter().chain(["--json"])).expect(code).json();
        assert_eq!(failed["error"]["code"], code);
        assert!(!failed["error"]["message"].as_str().unwrap().is_empty());
    }
}

#[test]
fn every_command_has_help_a_manual_page_and_completions() {
    let home = Home::with_repository();
    let help = home.ok(["--help"]).out();
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let named: Vec<_> =
        lines.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help").collect();
    let mut known: Vec<_> = every_command(&home).into_iter().map(|line| line[0].clone()).collect();
    known.dedup();
    // It goes on until it is ended: tests/mount.rs.
    let restore = known.iter().position(|name| *name == "restore").unwrap();
    known.insert(restore + 1, "mount".into());
    assert_eq!(named, known, "this file must know every command");

    let keys = ["list", "add", "remove", "change"].map(|name| vec!["key", name]);
    let instances = ["list", "status", "thaw", "test-freeze", "discover"].map(|name| vec!["instance", name]);
    let configs = ["check", "show", "example", "systemd"].map(|name| vec!["config", name]);
    for line in named.iter().map(|name| vec![*name]).chain(keys).chain(instances).chain(configs) {
        let asked = home.ok(line.iter().copied().chain(["--help"]));
        let out = asked.out();
        let usage = out.lines().find(|line| line.starts_with("Usage: icecore")).unwrap_or_else(|| panic!("{asked}"));
        let is_bare = usage.ends_with("[OPTIONS]") && !out.contains("\nOptions:\n      --");
        assert!(is_bare || out.contains("Example"), "each shows how it is used: {asked}");
    }
    assert!(home.ok(["--version"]).out().starts_with("icecore "));

    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(home.ok(["completions", shell]).out().contains("ICECORE_COMPLETE"), "{shell}");
        // What the script asks when nothing but the program's name was typed.
        let mut asks = home.command(["--", "icecore", ""]);
        asks.env("ICECORE_COMPLETE", shell).env("_CLAP_COMPLETE_INDEX", "1").env("_CLAP_IFS", "\n");
        let offered = Running::start(asks).finish().expect(0).out();
        let words: Vec<_> = offered.lines().map(|line| line.split(['\t', ':']).next().unwrap()).collect();
        assert!(named.iter().all(|name| words.contains(name)), "{shell}: {offered}");
    }
    assert!(home.ok(["man"]).out().contains(".TH icecore"));
    let pages = home.make_dir("pages");
    home.ok(args!["man", "--dir", &pages]);
    for name in ["icecore.1", "icecore-backup.1", "icecore-key-add.1"] {
        assert!(fs::read_to_string(pages.join(name)).unwrap().contains(".TH"), "{name}");
    }
}

#[test]
fn results_go_to_stdout_and_nothing_else_does() {
    let home = Home::with_repository();
    let tree = make_tree(&home);
    for line in [args!["backup", &tree].to_vec(), args!["restore", "latest", "--to", home.path("to")].to_vec()] {
        let outcome = home.ok(&line);
        assert_eq!(outcome.err(), "", "no progress in a pipe: {outcome}");
        assert!(!outcome.out().is_empty() && !outcome.out().contains(['\r', '\x1b']), "{outcome}");
    }
    let quiet = home.ok(args!["backup", &tree, "-q"]);
    assert_eq!((quiet.out(), quiet.err()), (String::new(), String::new()));
    home.ok(args!["check", "-v"]).said(&["index: "]);
}

#[test]
fn a_reader_who_leaves_is_no_failure() {
    let home = Home::with_repository();
    let tree = home.make_dir("tree");
    (0..4000).for_each(|number| write(tree.join(format!("a name of some length {number}")), ""));
    home.backup(&tree, &[]);
    let program = home.command([""; 0]).get_program().to_owned();
    let mut shell = Command::new("sh");
    let line = format!("'{}' ls latest | head -n 1; exit 0", program.to_str().unwrap());
    shell.args(["-c", &line]).env("ICECORE_REPOSITORY", home.repository());
    shell.env("ICECORE_PASSWORD_FILE", home.path("password")).env("HOME", home.path("home"));
    let outcome = Running::start(shell).finish().expect(0);
    assert_eq!((outcome.out().lines().count(), outcome.err()), (1, String::new()));
}

#[test]
fn the_demonstration_ends_well_within_a_minute() {
    let home = Home::new();
    let begun = Instant::now();
    let told = home.ok(["demo"]);
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    for part in ["The first night", "The second night", "no difference in", "no damage found", "Everything was removed"]
    {
        assert!(told.out().contains(part), "{part}: {told}");
    }
    assert_eq!(told.out().matches("no difference in").count(), 2, "{told}");
    assert_eq!(told.err(), "");
    assert_eq!(fs::read_dir(home.path("tmp")).unwrap().count(), 0, "nothing is left behind");
    assert_eq!(fs::read_dir(home.path("home")).unwrap().count(), 0, "and nothing of the user's is touched");
}
