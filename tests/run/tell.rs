//! Who is told of a run: Prometheus, a webhook, a dead man's switch, people by mail, the log.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use icecore_testkit::live::eventually;
use icecore_testkit::{Answer, SmallDisk, WebServer};
use rustix::process::Signal;
use serde_json::Value;

use super::{Site, tasks};
use crate::common::{Running, args, schema, write};

const CARE: &str = "[prune]\nschedule = \"never\"\n[check]\nschedule = \"never\"\n";

/// The value of the only series of a metric that holds all of `labels`.
pub fn metric(text: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let is_it =
        |line: &&str| line.starts_with(&format!("icecore_{name}{{")) && labels.iter().all(|label| line.contains(label));
    let found: Vec<_> = text.lines().filter(is_it).collect();
    assert!(found.len() <= 1, "{found:?}");
    found.first().map(|line| line.rsplit_once(' ').unwrap().1.parse().unwrap())
}

#[test]
fn metrics_tell_of_every_instance_also_of_those_that_were_not_due() {
    let site = Site::new("", &[]);
    let file = site.home.path("icecore.prom");
    let top = format!("{CARE}[metrics]\nfile = {file:?}");
    for name in ["a", "b"] {
        write(site.home.path("live").join(name).join("file"), "content");
    }
    site.configure(&top, &[("a", ""), ("b", "[instance.hooks]\nbefore = [\"/bin/false\"]")]);
    // As the systemd unit has it: the metrics are for another user all the same.
    let direct = site.home.command(["run", "--json"]);
    let mut masked = Command::new("sh");
    masked.args(["-c", "umask 077; exec \"$0\" \"$@\""]).arg(direct.get_program()).args(direct.get_args()).env_clear();
    masked.envs(direct.get_envs().filter_map(|(name, value)| Some((name, value?)))).current_dir(site.home.path("home"));
    let report = Running::start(masked).finish().expect(1).json();
    let text = fs::read_to_string(&file).unwrap();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o644);
    assert_eq!(metric(&text, "run_exit_code", &[]), Some(1.0));
    assert_eq!(metric(&text, "task_exit_code", &["\"backup\"", "name=\"a\""]), Some(0.0));
    assert_eq!(metric(&text, "task_exit_code", &["\"backup\"", "name=\"b\""]), Some(1.0));
    assert_eq!(metric(&text, "task_last_success_timestamp_seconds", &["name=\"b\""]), None);
    let entries = report["tasks"][0]["backup"]["entries"].as_f64();
    assert_eq!(metric(&text, "backup_entries", &["name=\"a\""]), entries);
    assert!(metric(&text, "repository_size_bytes", &[]).unwrap() >= site.home.stored() as f64, "{text}");
    let success = metric(&text, "task_last_success_timestamp_seconds", &["name=\"a\""]);

    site.configure(&top, &[("a", ""), ("b", "")]);
    site.home.ok(["run", "--now", "-i", "b"]);
    let text = fs::read_to_string(&file).unwrap();
    assert_eq!(metric(&text, "run_exit_code", &[]), Some(0.0));
    assert_eq!(metric(&text, "backup_entries", &["name=\"a\""]), entries, "it keeps its values");
    assert_eq!(metric(&text, "task_last_success_timestamp_seconds", &["name=\"a\""]), success);
    assert!(metric(&text, "task_last_success_timestamp_seconds", &["name=\"b\""]).is_some(), "{text}");
    assert_eq!(metric(&text, "backup_proved_timestamp_seconds", &["name=\"a\""]), None);

    // It is gone, as after a start of the host, and nothing is due.
    fs::remove_file(&file).unwrap();
    site.home.ok(["run"]).said(&["nothing is due"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
}

#[test]
fn whoever_is_configured_hears_of_a_failure_with_the_report() {
    let site = Site::new("", &[("a", "")]);
    let server = WebServer::start_secure();
    let (ca, secret, mails) = (site.home.path("ca.pem"), site.home.path("secret"), site.home.path("mails"));
    fs::write(&ca, server.ca_pem()).unwrap();
    fs::write(&secret, "uuid-1234\n").unwrap();
    let url = server.url();
    let top = format!(
        "{CARE}[notify]\nca-file = {ca:?}\nwebhook = {{ url = \"{url}/hook\", headers = {{ X-Key = \"{{secret}}\" }}, secret-file = {secret:?} }}\n\
         ping = {{ url = \"{url}/{{secret}}\", secret-file = {secret:?} }}\n\
         mail = {{ to = [\"ann@example.com\"], command = [\"/bin/sh\", \"-c\", \"cat >> {}\"] }}\n",
        mails.display()
    );
    site.configure(&top, &[("a", "[instance.hooks]\nbefore = [\"/bin/false\"]")]);
    let outcome = site.home.run(["run", "--json"]).expect(1);
    let report = outcome.json();
    let posted = server.posted();
    let hooks: Vec<_> = posted.iter().filter(|one| one.path == "/hook").collect();
    assert!(hooks.len() == 1 && posted.len() == 3, "{posted:?}");
    let document: Value = serde_json::from_slice(&hooks[0].body).unwrap();
    schema::check(&document);
    assert_eq!((&document["tasks"], &document["code"]), (&report["tasks"], &report["code"]));
    assert_eq!(hooks[0].header("x-key"), Some("uuid-1234"));
    let pings: Vec<_> = posted.iter().filter(|one| one.path.starts_with("/uuid-1234")).collect();
    assert_eq!((pings[0].path.as_str(), pings[1].path.as_str()), ("/uuid-1234/start", "/uuid-1234/fail"));
    assert!(pings[1].text().contains("backup a  failed") && pings[1].text().contains("hook `before`"), "{pings:?}");
    let mail = fs::read_to_string(&mails).unwrap();
    assert!(mail.starts_with("From: icecore@") && mail.contains("To: ann@example.com\n"), "{mail}");
    assert!(mail.contains("backup a failed") && mail.contains("backup a  failed"), "{mail}");
    assert!(report["warnings"].as_array().unwrap().is_empty() && !outcome.err().contains("uuid"), "{outcome}");

    // A run that is well: only the dead man's switch hears of it.
    site.configure(&top, &[("a", "")]);
    site.home.ok(["run", "--now", "-i", "a"]);
    let posted = server.posted();
    let paths: Vec<_> = posted[3..].iter().map(|one| one.path.as_str()).collect();
    assert_eq!(paths, ["/uuid-1234/start", "/uuid-1234"]);
    assert_eq!(fs::read_to_string(&mails).unwrap(), mail);
    // Nothing due: nobody is told. But of what may be frozen somebody must hear, again and again.
    site.home.ok(["run"]).said(&["nothing is due"]);
    assert_eq!(server.posted().len(), 5);
    write(site.state().join("windows/gone.json"), "no journal\n");
    let code = site.home.run(["run"]).code();
    assert!(code != Some(0) && server.posted()[5..].iter().any(|one| one.path == "/hook"), "{code:?}");
}

#[test]
fn who_cannot_be_told_is_a_warning_and_never_more() {
    let site = Site::new("", &[("a", "")]);
    let server = WebServer::start();
    server.answer([Answer::Hang; 4]);
    let url = server.url();
    let top = format!(
        "{CARE}[metrics]\nfile = \"/no/such/icecore.prom\"\n[notify]\ntimeout = \"1s\"\nwebhook = {{ url = \"{url}/\", on = \"always\" }}\n\
         ping.url = \"{url}/ping\"\nmail = {{ to = [\"a@b\"], command = [\"/bin/false\"], on = \"always\" }}\n"
    );
    site.configure(&top, &[("a", "")]);
    let outcome = site.home.run(["run", "--json"]).expect(0);
    let outcome = outcome.said(&["webhook was not told", "switch was not told", "mail was not sent", "icecore.prom"]);
    let report = outcome.json();
    assert_eq!((report["warnings"].as_array().unwrap().len(), tasks(&report)), (4, vec!["backup a".to_owned()]));
    assert_eq!(site.snapshots("a"), 1);
}

#[test]
fn the_log_has_everything_and_may_be_moved_away_while_it_is_written() {
    let site = Site::new("", &[]);
    let (log, old, wait) = (site.home.path("log.jsonl"), site.home.path("log.1"), site.home.path("wait"));
    let hook = site.hook("before", "", &format!("while [ -e {} ]; do sleep 0.01; done", wait.display()));
    write(site.home.path("live/a/file"), "content");
    write(&wait, "");
    let freezer = "[instance.freezer]\nkind = \"command\"\nfreeze = [\"/bin/true\"]\nthaw = [\"/bin/true\"]\n";
    site.configure(
        &format!("{CARE}[log]\nfile = {log:?}\nformat = \"json\"\n"),
        &[("a", &format!("keep = {{ last = 1 }}\n[instance.hooks]\nbefore = {hook}\n{freezer}"))],
    );
    let night = Running::start(site.home.command(args!["run", "--json"]));
    eventually("the hook runs", || site.log().len() == 1);
    eventually("the log has begun", || log.exists());
    fs::rename(&log, &old).unwrap();
    fs::remove_file(&wait).unwrap();
    let report = night.finish().expect(0).json();
    let events = |file| -> Vec<Value> {
        let text = fs::read_to_string(file).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
    };
    let messages = |events: &[Value]| -> Vec<String> {
        events.iter().map(|event| event["message"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(messages(&events(&old)), ["command begins", "run begins"]);
    let events = events(&log);
    let expected = [
        "backup begins",
        "backup frozen",
        "backup thawed",
        "backup committed",
        "task ends",
        "task ends",
        "run ends",
        "command ends",
    ];
    assert_eq!(messages(&events), expected);
    assert!(events[..6].iter().all(|event| event["instance"] == "a"), "{events:#?}");
    assert_eq!(events[3]["snapshot"], report["tasks"][0]["backup"]["snapshot"]);
    assert!(events[2]["window_ms"].is_u64() && events[7]["code"] == 0, "{events:#?}");

    // Any command, and errors; the option outranks the configuration.
    let text = site.home.path("log.txt");
    site.home.run(args!["restore", "nothing", "--to", site.home.path("to"), "--log-file", &text]).expect(1);
    let text = fs::read_to_string(&text).unwrap();
    assert!(text.contains("\"error\"") && text.contains("\"code\":1"), "{text}");
    // Also where the configuration cannot be read.
    write(site.home.path("config.toml"), "x = ");
    let text = site.home.path("broken.txt");
    site.home.run(args!["run", "--log-file", &text]).expect(2);
    let text = fs::read_to_string(&text).unwrap();
    assert!(text.contains(" ERROR ") && text.contains("command ends command=run code=2"), "{text}");
}

#[test]
fn a_full_disk_takes_the_log_and_the_metrics_and_nothing_else() {
    let Some(disk) = SmallDisk::mount(64 << 10) else { return };
    let site = Site::new("", &[("a", "")]);
    let _ = fs::write(disk.path().join("full"), vec![0; 128 << 10]);
    let (log, metrics) = (disk.path().join("log"), disk.path().join("icecore.prom"));
    site.configure(&format!("{CARE}[log]\nfile = {log:?}\n[metrics]\nfile = {metrics:?}"), &[("a", "")]);
    let outcome = site.home.run(["run", "--json"]).expect(0);
    let told = outcome.err().matches("the log ").count();
    assert_eq!((told, site.snapshots("a")), (1, 1), "{outcome}");
    assert!(outcome.err().contains("cannot be written") && outcome.json()["warnings"].as_array().unwrap().len() == 1);
    assert!(!metrics.exists());
}

#[test]
fn a_run_under_nohup_lives_through_the_end_of_its_session() {
    let site = Site::new("", &[]);
    let wait = site.home.path("wait");
    let hook = site.hook("before", "", &format!("while [ -e {} ]; do sleep 0.01; done", wait.display()));
    write(site.home.path("live/a/file"), "content");
    write(&wait, "");
    site.configure(CARE, &[("a", &format!("[instance.hooks]\nbefore = {hook}\n"))]);
    let direct = site.home.command(args!["run", "--json"]);
    let mut nohup = Command::new("nohup");
    nohup.arg(direct.get_program()).args(direct.get_args()).env_clear();
    nohup.envs(direct.get_envs().filter_map(|(name, value)| Some((name, value?)))).current_dir(site.home.path("home"));
    let night = Running::start(nohup);
    eventually("the hook runs", || site.log().len() == 1);
    night.signal(Signal::HUP);
    night.signal(Signal::HUP);
    fs::remove_file(&wait).unwrap();
    assert_eq!(tasks(&night.finish().expect(0).json()), ["backup a"]);
}

/// A named pipe that nobody reads stands for a file system that hangs.
#[test]
fn a_log_that_hangs_keeps_nobody_from_backing_up() {
    let site = Site::new("", &[]);
    write(site.home.path("live/a/file"), "content");
    let log = site.home.path("pipe");
    assert!(Command::new("mkfifo").arg(&log).status().unwrap().success());
    let freezer = "[instance.freezer]\nkind = \"command\"\nfreeze = [\"/bin/true\"]\nthaw = [\"/bin/true\"]\n";
    site.configure(CARE, &[("a", freezer)]);
    let outcome = site.home.run(args!["run", "--json", "--log-file", &log]).expect(0);
    let report = outcome.said(&["the log was not written to its end"]).json();
    assert_eq!(report["tasks"][0]["backup"]["verdict"], "application");
}

/// Threads that read outside of windows give way; those in windows, and whatever freezes and thaws, do not.
#[test]
fn who_works_while_an_instance_is_frozen_does_not_give_way() {
    if Command::new("strace").arg("-V").output().is_err() {
        return icecore_testkit::skip("strace is not installed");
    }
    let site = Site::new("", &[]);
    write(site.home.path("live/a/file"), "content");
    let (log, trace) = (site.home.path("log"), site.home.path("trace"));
    let tell = |word: &str| format!("[\"/bin/sh\", \"-c\", \"echo {word} $(nice) >> {}\"]", log.display());
    let freezer = format!(
        "always-read = [\"file\"]\n[instance.freezer]\nkind = \"command\"\nfreeze = {}\nthaw = {}\n",
        tell("freeze"),
        tell("thaw")
    );
    site.configure(&format!("{CARE}[limits]\nnice = 19\nio-priority = \"idle\"\n"), &[("a", &freezer)]);
    let program = site.home.command(args!["run"]);
    let mut strace = Command::new("strace");
    strace.args(["-f", "-s", "200", "-e", "trace=setpriority,ioprio_set,execve", "-o"]).arg(&trace);
    strace.arg(program.get_program()).args(program.get_args()).env_clear().current_dir(site.home.path("home"));
    strace.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let outcome = Running::start(strace).finish().expect(0);
    assert!(!outcome.err().contains("warning"), "{outcome}");
    let ours = rustix::process::getpriority_process(None).unwrap();
    assert_eq!(site.log(), [format!("freeze {ours}"), format!("thaw {ours}")]);
    let trace = fs::read_to_string(&trace).unwrap();
    let place = |words: &str| trace.lines().position(|line| line.contains("execve(") && line.contains(words));
    let (freeze, thaw) = (place("echo freeze").unwrap(), place("echo thaw").unwrap());
    for call in ["setpriority(", "ioprio_set("] {
        let places: Vec<_> =
            trace.lines().enumerate().filter(|(_, line)| line.contains(call)).map(|(at, _)| at).collect();
        // One of them only tries whether it may.
        assert!(places.iter().filter(|at| **at < freeze).count() > 1, "{trace}");
        assert!(!places.iter().any(|at| (freeze..thaw).contains(at)), "{trace}");
    }
}
