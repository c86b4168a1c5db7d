//! What users and their scripts rely on: the embedded default, exit codes, JSON, keys, signals.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::common::{Home, Outcome, Running, args, assert_same, noise, number, settle, text, write};

/// Every command, with arguments that make it work in [`Home::with_repository`] with a `tree`, in this order.
fn every_command(home: &Home) -> Vec<Vec<std::ffi::OsString>> {
    let at = |name: &str| home.path(name);
    let config = at("config.toml");
    let root = at("tree");
    write(&config, format!("[[instance]]\nname = 'app'\nroots = {{ base = '{}' }}\n", root.display()));
    vec![
        args!["demo"].into(),
        args!["init", "--repo", at("other"), "--generate-password", at("other password")].into(),
        args!["backup", at("tree")].into(),
        args!["backup", "-i", "app", "--config", &config].into(),
        args!["snapshots"].into(),
        args!["show", "latest"].into(),
        args!["ls", "latest"].into(),
        args!["cat", "latest:large"].into(),
        args!["find", "large"].into(),
        args!["diff", "latest", "latest"].into(),
        args!["history", format!("{}:large", root.display())].into(),
        args!["tag", "latest", "--add", "tried"].into(),
        args!["restore", "latest", "--to", at("to")].into(),
        args!["forget", "--keep-last", "1", "--dry-run"].into(),
        args!["prune", "--dry-run"].into(),
        args!["check"].into(),
        args!["check", "--read-data"].into(),
        args!["check", "--no-key"].into(),
        args!["repair", "--dry-run"].into(),
        args!["copy", "--to", at("other"), "--to-password-file", at("other password")].into(),
        args!["stats"].into(),
        args!["key", "list"].into(),
        args!["key", "add", "--generate-password", at("second password")].into(),
        args!["key", "change", "--generate-password", at("new password"), "--password-file", at("second password")]
            .into(),
        args!["key", "remove", "KEY"].into(),
        args!["instance", "list", "--config", &config].into(),
        args!["instance", "status", "--config", &config].into(),
        args!["instance", "thaw", "app", "--config", &config].into(),
        args!["drill", "-i", "app", "--config", &config].into(),
        args!["run", "--dry-run", "--config", &config].into(),
        args!["config", "check", "--config", &config].into(),
        args!["config", "show", "--config", &config].into(),
        args!["config", "example"].into(),
        args!["config", "systemd", "--config", &config].into(),
        args!["rebuild-index"].into(),
        args!["completions", "bash"].into(),
        args!["man"].into(),
    ]
}

/// A small tree in which nothing is racy.
fn make_tree(home: &Home) -> PathBuf {
    let tree = home.make_dir("tree");
    for number in 0..20 {
        write(tree.join(format!("{}/{number}", number % 3)), text(number, 2000));
    }
    write(tree.join("large"), noise(1, 400_000));
    settle();
    tree
}

mod embedded_default {
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
}

mod manners {
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
            let usage =
                out.lines().find(|line| line.starts_with("Usage: icecore")).unwrap_or_else(|| panic!("{asked}"));
            let is_bare = usage.ends_with("[OPTIONS]") && !out.contains("\nOptions:\n      --");
            assert!(is_bare || out.contains("Example"), "each shows how it is used: {asked}");
        }
        assert!(home.ok(["--version"]).out().starts_with("icecore "));

        for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
            let script = home.ok(["completions", shell]).out();
            assert!(named.iter().all(|name| script.contains(name)), "{shell}: {script}");
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

    /// Runs a command line on a terminal of its own, which `script` makes.
    fn on_a_terminal(home: &Home, line: &str, environment: &[(&str, &str)]) -> Option<Outcome> {
        if !Path::new("/usr/bin/script").exists() {
            icecore_testkit::skip("there is no `script` to make a terminal");
            return None;
        }
        let mut command = home.command([""; 0]);
        let line = format!("'{}' {line}", command.get_program().to_str().unwrap());
        let (variables, directory) = (command.get_envs(), command.get_current_dir().unwrap().to_owned());
        let mut script = Command::new("script");
        script.env_clear().envs(variables.filter_map(|(name, value)| Some((name, value?)))).current_dir(directory);
        script.envs(environment.iter().copied()).env("SHELL", "/bin/sh").env("TERM", "xterm-256color");
        script.args(["-q", "-e", "-c", &line, "/dev/null"]);
        command = script;
        Some(Running::start(command).finish())
    }

    #[test]
    fn a_terminal_shows_progress_and_colours_unless_told_not_to() {
        let home = Home::with_repository();
        let tree = home.make_dir("tree");
        (0..8).for_each(|number| write(tree.join(number.to_string()), noise(number, 12 << 20)));
        let line = format!("backup '{}'", tree.display());
        let Some(shown) = on_a_terminal(&home, &line, &[]) else { return };
        assert!(shown.clone().expect(0).out().contains("\x1b["), "a line that goes again: {shown}");
        let never = on_a_terminal(&home, &format!("{line} --rehash --progress never"), &[]).unwrap().expect(0);
        assert!(!never.out().contains('\x1b'), "{never}");

        let is_coloured = |text: &str| text.contains("\x1b[1m") || text.contains("\x1b[4m") || text.contains("\x1b[3");
        let coloured = on_a_terminal(&home, "--help", &[]).unwrap().expect(0);
        assert!(is_coloured(&coloured.out()), "{coloured}");
        for line in ["--help", &format!("{line} --rehash"), "no-such-command"] {
            let plain = on_a_terminal(&home, line, &[("NO_COLOR", "1")]).unwrap();
            assert!(!is_coloured(&plain.out()), "{plain}");
        }
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
        for part in
            ["The first night", "The second night", "no difference in", "no damage found", "Everything was removed"]
        {
            assert!(told.out().contains(part), "{part}: {told}");
        }
        assert_eq!(told.out().matches("no difference in").count(), 2, "{told}");
        assert_eq!(told.err(), "");
        assert_eq!(fs::read_dir(home.path("tmp")).unwrap().count(), 0, "nothing is left behind");
        assert_eq!(fs::read_dir(home.path("home")).unwrap().count(), 0, "and nothing of the user's is touched");
    }
}

mod browsing {
    use super::*;

    #[test]
    fn a_series_is_a_directory_however_it_is_called_or_a_name() {
        let home = Home::with_repository();
        let tree = make_tree(&home);
        std::os::unix::fs::symlink(&tree, home.path("home/other")).unwrap();
        fs::create_dir(home.path("home/sub")).unwrap();
        let canonical = fs::canonicalize(&tree).unwrap();
        for path in [tree.as_os_str(), "other".as_ref(), "sub/../other/.".as_ref(), "../tree".as_ref()] {
            let report = home.json(args!["backup", path]);
            assert_eq!(report["snapshot"]["instance"], canonical.to_str().unwrap());
        }
        let unchanged = home.json(["snapshots"]);
        let all = unchanged["snapshots"].as_array().unwrap();
        assert!(all.iter().skip(1).all(|snapshot| snapshot["parent"].is_string()), "{unchanged:#}");
        let named = home.backup(&tree, &["--name", "mine", "--tag", "a", "--tag", "b", "--host", "elsewhere"]);
        let named = &named["snapshot"];
        assert_eq!((&named["instance"], &named["host"]), (&"mine".into(), &"elsewhere".into()));
        assert_eq!((&named["tags"], &named["parent"]), (&serde_json::json!(["a", "b"]), &Value::Null));
        let mine = home.json(["snapshots", "--instance", "mine"]);
        assert_eq!(mine["snapshots"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn a_snapshot_is_found_by_each_kind_of_name() {
        let home = Home::with_repository();
        let tree = make_tree(&home);
        let mut ids = Vec::new();
        for night in 0..3 {
            write(tree.join("night"), night.to_string());
            ids.push(home.backup(&tree, &["--name", "n"])["snapshot"]["id"].as_str().unwrap().to_owned());
        }
        let taken = home.json(["show", &ids[1]])["snapshot"]["taken"].as_str().unwrap().to_owned();
        let at = format!("n@{taken}");
        for (name, night) in
            [("latest", 2), ("n", 2), ("n~1", 1), ("n~2", 0), (&at, 1), (&ids[0][..12], 0), ("n@2999-01-01", 2)]
        {
            assert_eq!(home.json(["show", name])["snapshot"]["id"], *ids[night], "{name}");
            let restored = home.restore(format!("{name}:night"), &format!("restored {name}"));
            assert_eq!(fs::read_to_string(restored.join("night")).unwrap(), night.to_string(), "{name}");
        }
        home.run(["show", "n~3"]).expect(1).said(&["n has 3"]);
        home.run(["show", "n@2001-01-01"]).expect(1).said(&["2001"]);
    }

    #[test]
    fn a_list_shows_what_there_is() {
        let home = Home::with_repository();
        let tree = make_tree(&home);
        fs::set_permissions(tree.join("large"), PermissionsExt::from_mode(0o4750)).unwrap();
        fs::hard_link(tree.join("large"), tree.join("link to large")).unwrap();
        write(tree.join("new\nline"), "");
        home.backup(&tree, &["--name", "n"]);
        let names = home.ok(["ls", "n"]).out();
        assert_eq!(names.lines().collect::<Vec<_>>(), ["0/", "1/", "2/", "large", "link to large", "new\\nline"]);
        let long = home.ok(["ls", "-l", "n:large"]).out();
        assert!(long.contains("rwsr-x---") && long.contains("400,000"), "{long}");
        let entries = home.json(["ls", "-R", "n"]);
        let entries = entries["entries"].as_array().unwrap();
        assert_eq!(entries.len(), 3 + 20 + 3);
        let entry = |path: &str| entries.iter().find(|entry| entry["path"] == path).unwrap();
        assert_eq!((&entry("large")["size"], &entry("large")["mode"]), (&400_000.into(), &"4750".into()));
        assert_eq!(entry("link to large")["link_of"], "large");
        assert_eq!(entry("1")["kind"], "directory");
    }

    #[test]
    fn a_summary_tells_what_was_done() {
        let home = Home::with_repository();
        let tree = make_tree(&home);
        let first = home.ok(args!["backup", &tree]).out();
        for part in
            ["21 new", "0 changed", "0 unchanged", "read", "chunk", "added", "dedup", "compression", "time", "stable"]
        {
            assert!(first.contains(part), "{part}: {first}");
        }
        write(tree.join("0/0"), "changed");
        fs::remove_file(tree.join("1/1")).unwrap();
        settle();
        let second = home.ok(args!["backup", &tree]).out();
        for part in ["0 new", "1 changed", "19 unchanged", "1 entry removed"] {
            assert!(second.contains(part), "{part}: {second}");
        }
        let stats = home.json(["stats"]);
        assert_eq!(stats["snapshots"], 2);
        let ids: Vec<_> = home.objects("packs").iter().map(|pack| pack.file_name().unwrap().to_owned()).collect();
        assert_eq!(number(&stats["data_packs"]) + number(&stats["manifest_packs"]), ids.len() as u64);
        assert_eq!(number(&stats["pack_bytes"]), home.stored());
    }
}

mod exit_codes {
    use super::*;

    #[test]
    fn done_failed_misuse_partial_no_repository_wrong_password() {
        let home = Home::with_repository();
        let tree = make_tree(&home);
        home.run(args!["backup", &tree]).expect(0);

        home.run(args!["restore", "latest", "--to", &tree]).expect(1).said(&["tree"]);
        home.run(args!["restore", "nobody", "--to", home.path("to")]).expect(1).said(&["nobody", "tree"]);
        home.run(args!["ls", "latest:none"]).expect(1).said(&["none"]);
        home.run(args!["init", "--password-file", home.path("password")]).expect(1).said(&["already"]);

        home.run([""; 0]).expect(2);
        home.run(["no-such-command"]).expect(2);
        home.run(["backup"]).expect(2);
        home.run(["restore", "latest"]).expect(2);
        home.run(["stats", "--repo", "s3://bucket"]).expect(2).said(&["s3"]);

        home.run(args!["stats", "--repo", home.path("nothing")]).expect(10).said(&["nothing", "init"]);
        home.run(args!["stats", "--repo", &tree]).expect(10);

        write(home.path("wrong"), "not it\n");
        home.run(args!["stats", "--password-file", home.path("wrong")]).expect(12).said(&["password"]);
        write(home.path("empty"), "\n");
        home.run(args!["stats", "--password-file", home.path("empty")]).expect(2).said(&["empty"]);

        // Without its data the rest is restored, and what is missing is named.
        write(tree.join("later"), noise(7, 300_000));
        let before = home.objects("packs");
        home.backup(&tree, &[]);
        let mut added = home.objects("packs");
        added.retain(|pack| !before.contains(pack));
        let data = added.iter().max_by_key(|pack| fs::metadata(pack).unwrap().len()).unwrap();
        fs::remove_file(data).unwrap();
        home.run(args!["restore", "latest", "--to", home.path("partial")]).expect(3).said(&["not restored: later"]);
        assert!(home.path("partial/large").is_file() && !home.path("partial/later").exists());
        home.run(["check"]).expect(1);
    }

    #[test]
    fn an_existing_directory_is_not_made_a_repository() {
        let home = Home::new();
        let tree = make_tree(&home);
        let line = args!["init", "--repo", &tree, "--generate-password", home.path("key")];
        home.run(&line).expect(1).said(&["not empty"]);
        assert!(!tree.join("config").exists());
    }
}

mod keys {
    use super::*;

    fn ids(home: &Home) -> Vec<(String, String)> {
        let listed = home.json(["key", "list"]);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        listed["keys"].as_array().unwrap().iter().map(|key| (text(&key["id"]), text(&key["role"]))).collect()
    }

    #[test]
    fn come_and_go() {
        let home = Home::with_repository();
        let tree = make_tree(&home);
        home.backup(&tree, &[]);
        let [(first, role)] = ids(&home).try_into().unwrap();
        assert_eq!(role, "reader");
        home.run(["key", "remove", &first]).expect(1).said(&["last"]);

        // A second reader, with a password of a person.
        let second = home.path("second");
        write(&second, "correct horse battery staple\n");
        home.ok(args!["key", "add", "--label", "zweiter", "--new-password-file", &second]);
        assert_eq!(ids(&home).len(), 2);
        home.ok(args!["snapshots", "--password-file", &second]);
        assert!(home.ok(["key", "list"]).out().contains("zweiter"));

        // It changes its password: the old one is worth nothing, the other key everything.
        let third = home.path("third");
        home.ok(args!["key", "change", "--generate-password", &third, "--password-file", &second]);
        home.run(args!["snapshots", "--password-file", &second]).expect(12);
        home.ok(args!["snapshots", "--password-file", &third]);
        home.ok(["snapshots"]);
        assert_eq!(ids(&home).len(), 2);

        // The first one goes, and what it backed up is still there for the other.
        home.ok(args!["key", "remove", &first[..8], "--password-file", &third]);
        home.run(["snapshots"]).expect(12);
        let mut home = home;
        home.set("ICECORE_PASSWORD_FILE", third);
        assert_same(&tree, &home.restore("latest", "restored"));
        home.check(&["--read-data"]);
        home.run(["key", "remove", "0000"]).expect(1);

        // The environment can hold the password itself.
        let bare = fs::read_to_string(home.path("third")).unwrap();
        home.set("ICECORE_PASSWORD_FILE", "");
        home.set("ICECORE_PASSWORD", bare);
        home.ok(["stats"]);
    }

    #[test]
    fn a_writer_reads_nothing() {
        let home = Home::with_repository();
        let tree = make_tree(&home);
        home.backup(&tree, &["--name", "secrets"]);
        let writer = home.path("writer");
        home.ok(args!["key", "add", "--role", "writer", "--label", "web1", "--generate-password", &writer]);
        assert_eq!(fs::metadata(&writer).unwrap().permissions().mode() & 0o777, 0o600);
        let mut roles: Vec<_> = ids(&home).into_iter().map(|(_, role)| role).collect();
        roles.sort();
        assert_eq!(roles, ["reader", "writer"]);

        // On a host of its own, which holds no index that a reader made.
        let reads: [&[&str]; 5] = [
            &["restore", "secrets", "--to", "restored"],
            &["ls", "secrets"],
            &["show", "secrets"],
            &["snapshots"],
            &["check", "--read-data"],
        ];
        for line in reads {
            let as_writer = args!["--password-file", &writer, "--state-dir", home.path("another host")];
            let refused = home.run(line.iter().map(Into::into).chain(as_writer)).expect(1).said(&["reader"]);
            assert_eq!(refused.out(), "", "{refused}");
        }
        assert!(!home.path("home/restored").exists());
        // Nor where a reader works too.
        home.run(args!["restore", "secrets", "--to", "restored", "--password-file", &writer])
            .expect(1)
            .said(&["reader"]);
        assert!(!home.path("home/restored").exists());
    }
}

mod index {
    use super::*;

    #[test]
    fn losing_the_state_directory_loses_nothing() {
        let home = Home::with_repository();
        let tree = make_tree(&home);
        home.backup(&tree, &[]);
        let lose = || fs::remove_dir_all(home.path("home/.local")).unwrap();
        lose();
        assert_same(&tree, &home.restore("latest", "restored"));
        lose();
        home.ok(["rebuild-index"]);
        home.check(&["--read-data"]);
        lose();
        let again = home.backup(&tree, &[]);
        assert_eq!(again["snapshot"]["totals"]["bytes_read"], 0);
        assert_eq!(again["snapshot"]["totals"]["bytes_added"], 0);

        // A damaged one is as good as none.
        let database = home.json(["stats"])["index"].as_str().unwrap().to_owned();
        write(&database, noise(1, 5000));
        home.ok(["rebuild-index"]);
        assert_same(&tree, &home.restore("latest", "restored again"));
    }

    #[test]
    fn losing_the_fragments_costs_one_command() {
        let home = Home::with_repository();
        let tree = make_tree(&home);
        home.backup(&tree, &[]);
        for keep_state in [true, false] {
            let fragments = home.objects("index");
            assert!(!fragments.is_empty());
            fragments.iter().for_each(|fragment| fs::remove_file(fragment).unwrap());
            if !keep_state {
                fs::remove_dir_all(home.path("home/.local")).unwrap();
            }
            let rebuilt = home.json(["rebuild-index"]);
            assert_eq!(rebuilt["missing"], serde_json::json!([]));
            assert_eq!(rebuilt["packs"], home.objects("packs").len());
            assert!(!home.objects("index").is_empty(), "other hosts read them");
            assert_same(&tree, &home.restore("latest", &format!("restored {keep_state}")));
            home.check(&["--read-data"]);
        }
        fs::remove_dir_all(home.path("home/.local")).unwrap();
        assert_eq!(home.backup(&tree, &[])["snapshot"]["totals"]["bytes_added"], 0);
    }
}

mod endings {
    use super::*;

    /// Bytes in containers that no compression makes smaller: several packs.
    const LARGE_TREE: u64 = 120 << 20;

    /// A tree that takes a while.
    fn make_large_tree(home: &Home) -> PathBuf {
        let tree = home.make_dir("tree");
        for number in 0..24 {
            write(tree.join(format!("container {number}")), noise(number, LARGE_TREE as usize / 24));
        }
        for number in 0..1500 {
            write(tree.join(format!("mail/{}/{number}", number % 20)), text(number, 4000));
        }
        settle();
        tree
    }

    /// A backup that has put a pack and still runs.
    fn start_backup(home: &Home, tree: &Path, more: &[&str]) -> Running {
        let before = home.objects("packs").len();
        let line = args!["backup", tree].into_iter().chain(more.iter().map(Into::into));
        let running = Running::start(home.command(line));
        let deadline = Instant::now() + Duration::from_secs(60);
        while home.objects("packs").len() == before {
            assert!(Instant::now() < deadline, "no pack was put");
            thread::sleep(Duration::from_millis(3));
        }
        running
    }

    fn added(report: &Value) -> u64 {
        number(&report["snapshot"]["totals"]["bytes_added"])
    }

    #[test]
    fn an_interrupted_backup_commits_nothing_and_goes_on_later() {
        for signal in [Signal::INT, Signal::TERM] {
            let home = Home::with_repository();
            let tree = make_large_tree(&home);
            let running = start_backup(&home, &tree, &[]);
            let asked = Instant::now();
            running.signal(signal);
            running.finish().expect(130).said(&["interrupted"]);
            assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
            assert_eq!(home.objects("snapshots"), [""; 0].map(PathBuf::from));
            assert_eq!(home.objects("tmp"), [""; 0].map(PathBuf::from));
            assert!(!home.objects("index").is_empty(), "what was stored is named");
            home.check(&["--read-data"]);

            // Also on a host that does not have the index of the first attempt.
            fs::remove_dir_all(home.path("home/.local")).unwrap();
            let stored: u64 = home.stored();
            let report = home.backup(&tree, &[]);
            assert!(added(&report) < LARGE_TREE - stored / 2, "{report:#}");
            assert_same(&tree, &home.restore("latest", "restored"));
        }
    }

    #[test]
    fn an_interrupted_restore_says_so() {
        let home = Home::with_repository();
        let tree = make_large_tree(&home);
        home.backup(&tree, &[]);
        let to = home.path("to");
        let running = Running::start(home.command(args!["restore", "latest", "--to", &to]));
        let deadline = Instant::now() + Duration::from_secs(60);
        while !to.exists() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
        running.signal(Signal::INT);
        running.finish().expect(130).said(&["interrupted"]);
    }

    #[test]
    fn a_backup_that_is_killed_again_and_again_goes_on() {
        let home = Home::with_repository();
        let tree = make_large_tree(&home);
        // How long it takes here, and what it stores, where nothing disturbs it.
        let fresh = Home::with_repository();
        let begun = Instant::now();
        let fresh_added = added(&fresh.backup(&tree, &[]));
        let whole = begun.elapsed();
        drop(fresh);

        let mut killed = 0;
        // Random moments, the early ones first: a run that ends before it is killed leaves less to do to the next one.
        let random = noise(std::process::id().into(), 10);
        let moments: Vec<_> = (0u8..).zip(random).map(|(n, byte)| f64::from(n) + f64::from(byte) / 255.0).collect();
        for moment in &moments {
            let running = Running::start(home.command(args!["backup", &tree, "--name", "killed"]));
            thread::sleep(whole.mul_f64(moment / 10.0));
            running.signal(Signal::KILL);
            let outcome = running.finish();
            match outcome.signal() {
                Some(signal) => {
                    assert_eq!(signal, Signal::KILL.as_raw());
                    killed += 1;
                }
                None => drop(outcome.expect(0)),
            }
            home.check(&[]);
        }
        assert!(killed >= 2, "{killed} of {moments:?} in {whole:?}");

        // One more, certain to have stored something that no snapshot names.
        write(tree.join("container 0"), noise(100, 90 << 20));
        let running = start_backup(&home, &tree, &["--name", "killed"]);
        running.signal(Signal::KILL);
        running.finish();
        let last = added(&home.backup(&tree, &["--name", "killed"]));
        let all = fresh_added + (90 << 20) - LARGE_TREE / 24;
        assert!(last < all - (8 << 20), "{last} bytes added, {all} if nothing had been there");
        // Nothing is stored over and over: at most what was in flight at each kill.
        let bound = fresh_added + (90 << 20) + killed * (32 << 20);
        assert!(home.stored() < bound, "{} stored, {bound} expected at most", home.stored());
        assert_same(&tree, &home.restore("killed", "restored"));
        home.check(&["--read-data"]);
    }
}
