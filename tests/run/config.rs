//! The configuration file: checked, shown, begun; the units that run what it says.

use std::fs;
use std::process::Command;

use super::Site;
use crate::common::{Home, Running, args, write};

#[test]
fn everything_that_is_wrong_is_told_at_once_with_its_place() {
    let home = Home::new();
    let file = home.path("c.toml");
    write(
        &file,
        "[repositry]\n[[instance]]\nname = \"a\"\nroots = { r = \"x\" }\nschedule = \"daily 2\"\n[limits]\nthreads = 0\n",
    );
    let told = home.run(args!["config", "check", "--config", &file]).expect(1);
    for (place, words) in [
        ("1:2: repositry", "did you mean \"repository\""),
        ("4:11: instance.roots.r", "not an absolute path"),
        ("5:1: instance.schedule", "\"daily 02:00\""),
        ("7:1: limits.threads", "from 1 to 1024"),
    ] {
        let line =
            told.out().lines().find(|line| line.starts_with(&format!("{}:{place}", file.display()))).map(str::to_owned);
        assert!(line.is_some_and(|line| line.contains(words)), "{place}: {told}");
    }
    assert!(told.out().ends_with("4 problems\n"), "{told}");
    let document = home.run(args!["config", "check", "--config", &file, "--json"]).expect(1).json();
    let problems = document["problems"].as_array().unwrap();
    assert_eq!(problems.len(), 4);
    assert_eq!((&problems[1]["line"], &problems[1]["column"]), (&4.into(), &11.into()));
    // Every command refuses it, with all that is wrong.
    home.run(args!["run", "--config", &file]).expect(2).said(&["instance.schedule", "limits.threads"]);
    home.run(["config", "check"]).expect(2).said(&["there is no configuration file", "icecore config example"]);
}

#[test]
fn what_is_not_there_is_a_warning() {
    let site = Site::new("[hooks]\nbefore = [\"/no/such/hook\"]\nafter = [\"/etc/passwd\"]", &[("a", "")]);
    fs::rename(site.home.path("live/a"), site.home.path("live/b")).unwrap();
    let told = site.home.ok(["config", "check"]);
    let told = told.said(&["hooks.before: /no/such/hook is not there", "hooks.after: /etc/passwd is not a program"]);
    assert!(told.out().ends_with("3 warnings\n") && told.err().contains("instance.roots.r"), "{told}");
    let document = site.home.json(["config", "check"]);
    assert_eq!(document["warnings"].as_array().unwrap().len(), 3);
}

/// As a service may be started: what the file names by absolute paths can be judged all the same.
#[test]
fn it_is_checked_without_a_home() {
    let site = Site::new("", &[("a", "")]);
    let (ice, file) = (site.home.repository(), site.home.path("config.toml"));
    let check = |environment: &[(&str, &str)]| {
        let mut command = site.home.command(args!["config", "check", "--config", &file]);
        // Set to nothing: without it the system's list of users would be asked.
        command.env("HOME", "").env_remove("ICECORE_REPOSITORY").envs(environment.iter().copied());
        Running::start(command).finish()
    };
    let told = check(&[]).expect(0);
    assert!(told.out().ends_with("nothing is wrong\n"), "{told}");
    // What is known is looked at still.
    site.configure(&format!("[repository]\nurl = {ice:?}"), &[("../repository", "")]);
    let told = check(&[]).expect(1);
    assert!(told.out().contains("is in the repository"), "{told}");
    let state = site.home.path("live");
    site.configure("", &[("a", "")]);
    let told = check(&[("ICECORE_STATE_DIR", state.to_str().unwrap())]).expect(1);
    assert!(told.out().contains("is in the state directory"), "{told}");
}

#[test]
fn what_is_shown_is_a_configuration_that_means_the_same() {
    let site =
        Site::new("[defaults]\nmax-freeze = \"5s\"\nexclude = [\"*.tmp\"]", &[("a", ""), ("b", "exclude = [\"x\"]")]);
    let shown = site.home.ok(["config", "show"]).out();
    assert!(shown.contains("schedule = \"daily 02:00\"") && shown.contains("exclude = [\"*.tmp\", \"x\"]"), "{shown}");
    let before = site.home.json(["config", "show"]);
    assert_eq!(before["configuration"]["instance"][1]["max-freeze"], "5s");
    write(site.home.path("config.toml"), shown);
    assert_eq!(site.home.json(["config", "show"])["configuration"], before["configuration"]);
}

/// What README.md says leads from nothing to a nightly job, in ten lines.
#[test]
fn the_job_of_the_readme_works() {
    let readme = include_str!("../../README.md");
    let block =
        |text: &str| readme.split_once(text).and_then(|(_, rest)| rest.split_once("\n```")).unwrap().0.to_owned();
    let (job, freezer) = (block("```toml\n[repository]"), block("```toml\n[instance.freezer]"));
    assert!(job.lines().count() < 10, "{job}");
    let home = Home::new();
    write(home.path("wiki/page"), "text");
    let [repository, key, wiki] = ["ice", "etc/key", "wiki"].map(|name| home.path(name).to_str().unwrap().to_owned());
    home.make_dir("etc");
    let mut text = format!("[repository]{job}\n[instance.freezer]{freezer}");
    for (path, place) in [
        ("/mnt/backup/icecore", repository.as_str()),
        ("/etc/icecore/password", &key),
        ("/srv/wiki", &wiki),
        ("/usr/local/bin/wiki-freeze", "/bin/true"),
        ("/usr/local/bin/wiki-thaw", "/bin/true"),
    ] {
        assert_eq!(text.matches(path).count(), 1, "{path}: {text}");
        text = text.replace(path, place);
    }
    write(home.path("home/.config/icecore/config.toml"), text);
    // Its commands, one by one.
    for command in ["icecore init --generate-password", "icecore config check", "icecore run --dry-run", "icecore run "]
    {
        assert!(readme.contains(&format!("\n{command}")), "{command}");
    }
    home.ok(args!["init", "--generate-password", &key]);
    let ready = home.ok(["config", "check"]);
    assert!(ready.out().ends_with("nothing is wrong\n"), "{ready}");
    assert!(home.ok(["run", "--dry-run"]).out().contains("backup wiki"));
    let night = home.ok(["run"]);
    assert!(night.out().contains("backup wiki  done"), "{night}");
    assert!(night.out().contains("application"), "{night}");
}

#[test]
fn the_example_becomes_a_working_job() {
    let home = Home::new();
    write(home.path("wiki/page"), "text");
    let text = home.ok(["config", "example"]).out();
    let (repository, password, wiki) = (home.path("ice"), home.path("key"), home.path("wiki"));
    let text = text.replace("/srv/icecore\"", &format!("{}\"", repository.display()));
    let text = text.replace("\"/etc/icecore/password\"", &format!("{password:?}"));
    let text = text.replacen("\"/srv/wiki\"", &format!("{wiki:?}"), 1);
    write(home.path("home/.config/icecore/config.toml"), text);
    home.ok(args!["config", "check"]).said(&["password-file", "is not there"]);
    home.ok(args!["init", "--generate-password", &password]);
    let ready = home.ok(["config", "check"]);
    assert!(ready.out().ends_with("nothing is wrong\n"), "{ready}");
    let night = home.ok(["run"]);
    assert!(night.out().contains("backup wiki  done"), "{night}");
    home.check(&[]);
}

#[test]
fn the_units_are_what_systemd_understands() {
    let site = Site::new("", &[("a", "")]);
    let printed = site.home.ok(["config", "systemd"]).out();
    assert!(printed.contains("# icecore.service") && printed.contains("KillMode=process"), "{printed}");
    let units = site.home.make_dir("units");
    site.home.ok(args!["config", "systemd", "--dir", &units]);
    site.home.run(args!["config", "systemd", "--dir", &units]).expect(1).said(&["exists already"]);
    let mut verify = Command::new("systemd-analyze");
    verify.arg("verify").args(["icecore.service", "icecore.timer"].map(|name| units.join(name)));
    let verified = match verify.env("SYSTEMD_UNIT_PATH", format!("{}:", units.display())).output() {
        Err(error) => return icecore_testkit::skip(&format!("systemd-analyze cannot be run: {error}")),
        Ok(verified) => verified,
    };
    let said = String::from_utf8_lossy(&verified.stderr);
    // Other units of the machine are not ours.
    assert!(!said.contains("icecore"), "{said}");
}

#[test]
fn a_root_that_a_run_refuses_is_a_problem() {
    let site = Site::new("", &[("a", ""), ("b", ""), ("c", "")]);
    let (shared, ice, file) = (site.home.path("live/a"), site.home.repository(), site.home.path("live/b/file"));
    let instance =
        |name: &str, root: &std::path::Path| format!("[[instance]]\nname = {name:?}\nroots = {{ r = {root:?} }}\n");
    let text = [instance("a", &shared), instance("b", &shared), instance("c", &ice), instance("d", &file)].concat();
    write(site.home.path("config.toml"), text);
    let told = site.home.run(["config", "check"]).expect(1);
    for words in ["of instance b", "of instance a", "is in the repository", "is not a directory"] {
        assert!(told.out().contains(words), "{words}: {told}");
    }
    assert!(told.out().ends_with("4 problems\n"), "{told}");
    site.configure("", &[("a", "verify = [\"gfix\"]")]);
    let told = site.home.run(["config", "check"]).expect(1);
    assert!(told.out().contains("instance.verify") && told.out().contains("absolute path"), "{told}");
}

#[test]
fn the_unit_carries_what_held() {
    let mut site = Site::new("", &[("a", "")]);
    let (ice, key) = (site.home.path("ice"), site.home.path("key"));
    site.home.set("ICECORE_REPOSITORY", &ice);
    site.home.set("ICECORE_PASSWORD_FILE", &key);
    let unit = site.home.ok(["config", "systemd"]).out();
    assert!(unit.contains(&format!(" --repo {ice:?} --password-file {key:?} ")), "{unit}");
    assert!(!unit.contains("Protect"), "{unit}");
    site.configure(&format!("[repository]\nurl = {ice:?}\npassword-file = {key:?}"), &[("a", "")]);
    let unit = site.home.ok(["config", "systemd"]).out();
    assert!(!unit.contains("--repo") && !unit.contains("--password-file"), "{unit}");
}
