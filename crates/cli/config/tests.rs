mod whole;

use std::os::unix::fs::symlink;

use icecore_source::capture::SnapshotPath;
use icecore_source::freezer::CommandConfig;

use super::*;

const FILE: &str = "/etc/icecore/config.toml";

fn parse(text: &str) -> std::result::Result<Configuration, ConfigErrors> {
    Configuration::parse(Path::new(FILE), text.as_bytes())
}

/// An instance with some more lines, from line 4 on.
fn instance(lines: &str) -> String {
    format!("[[instance]]\nname = 'a'\nroots = {{ base = '/srv/a' }}\n{lines}")
}

/// A command freezer with some more lines, from line 5 on.
fn command(lines: &str) -> String {
    instance(&format!("[instance.freezer]\n{lines}"))
}

const MAILSTORE: &str = "{ kind = 'mailstore', endpoint = 'https://h', user = 'u', password-file = '/p', \
                         instance-id = 'i', ca-file = '/ca' }";
const FSFREEZE: &str = "{ kind = 'fsfreeze', mount = '/srv' }";

/// An instance with one more line, line 4, and a freezer on line 5.
fn with_freezer(line: &str, freezer: &str) -> String {
    instance(&format!("{line}\nfreezer = {freezer}"))
}

/// An instance with one more line, line 4, a freezer on line 5, and programs for snapshots from line 6 on.
fn snapshot(line: &str, more: &str) -> String {
    let line = if line.contains("freezer") { line.to_owned() } else { format!("{line}\nfreezer = {MAILSTORE}") };
    instance(&format!(
        "{line}\n[instance.snapshot]\ncreate = ['/c']\ndestroy = ['/d', 'x']\npath = '/mnt{{root}}'\n{more}"
    ))
}

#[test]
fn captures_are_what_is_written_and_snapshots_come_with_their_programs() {
    for choice in [Choice::Auto, Choice::Hold, Choice::Clone, Choice::Snapshot] {
        let read = parse(&with_freezer(&format!("capture = '{}'", choice.name()), MAILSTORE)).unwrap();
        assert_eq!((read.instances[0].freezing.capture, &read.instances[0].freezing.snapshot), (choice, &None));
    }
    let read = parse(&snapshot("capture = 'snapshot'", "timeout = '5s'")).unwrap();
    let expected = SnapshotPrograms {
        create: vec!["/c".into()],
        destroy: vec!["/d".into(), "x".into()],
        path: SnapshotPath::Template("/mnt{root}".into()),
        timeout_ms: 5_000,
    };
    assert_eq!(read.instances[0].freezing.snapshot, Some(expected));
    let read = parse(&snapshot("", "").replace("'/mnt{root}'", "['/p', '{x}']")).unwrap();
    let programs = read.instances[0].freezing.snapshot.as_ref().unwrap();
    assert_eq!(programs.path, SnapshotPath::Program(vec!["/p".into(), "{x}".into()]));
    // Programs may make snapshots where the kernel lets nobody write.
    assert!(parse(&snapshot(&format!("capture = 'snapshot'\nfreezer = {FSFREEZE}"), "")).is_ok());
    assert!(parse(&with_freezer("capture = 'auto'", FSFREEZE)).is_ok());
}

fn refuse(text: &str) -> String {
    parse(text).expect_err(text).to_string()
}

#[test]
fn the_whole_of_it_is_understood() {
    let text = r#"
[repository]
url = "/srv/icecore"
password-file = "/etc/icecore/password"

[[instance]]
name = "cust01"
roots = { base = "/srv/mailstore/cust01", archive = "/mnt/slow/cust01" }
exclude = ["*.tmp"]
always-read = ["*.fdb"]
capture = "hold"
max-freeze = "1m 30s"
warm-rounds = 2
on-window-failure = "keep-fuzzy"
schedule = "daily 02:00"
keep = { daily = 14, weekly = 8, monthly = 12 }
verify = ["/usr/bin/gfix", "-v", "-full", "{base}/MailStoreMaster.fdb"]

[instance.freezer]
kind = "command"
freeze = ["/usr/local/bin/app-freeze", "cust01"]
thaw = ["/usr/local/bin/app-thaw", "cust01"]
timeout = "5s"

[[instance]]
name = "wiki"
roots.base = "/srv/wiki"
freezer = { kind = "fsfreeze", mount = "/srv" }

[[instance]]
name = "mail"
roots = { base = "/srv/mail" }
freezer = { kind = "mailstore", endpoint = "https://h", user = "u", password-file = "/p", instance-id = "i", ca-file = "/ca" }
"#;
    let read = parse(text).unwrap();
    let repository = read.repository.as_ref().unwrap();
    assert_eq!(repository.url, "/srv/icecore");
    assert_eq!(repository.password_file.as_deref(), Some(Path::new("/etc/icecore/password")));
    let first = read.instance("cust01").unwrap();
    let roots: Vec<_> = first.roots.iter().map(|root| (root.name.as_str(), root.at.line)).collect();
    assert_eq!(roots, [("archive", 8), ("base", 8)]);
    assert_eq!(first.exclude, ["*.tmp"]);
    assert_eq!(first.schedule.to_string(), "daily 02:00");
    assert_eq!(first.keep.rules, [("daily", 14), ("weekly", 8), ("monthly", 12)]);
    assert_eq!(first.verify.as_ref().unwrap()[0], "/usr/bin/gfix");
    let freezing = &first.freezing;
    assert_eq!(freezing.always_read, ["*.fdb"]);
    assert!(matches!(freezing.capture, Choice::Hold));
    assert!(matches!(freezing.on_failure, OnWindowFailure::KeepFuzzy));
    assert_eq!((freezing.max_freeze, freezing.warm_rounds), (Duration::from_secs(90), 2));
    let expected = CommandConfig {
        freeze: vec!["/usr/local/bin/app-freeze".into(), "cust01".into()],
        thaw: vec!["/usr/local/bin/app-thaw".into(), "cust01".into()],
        status: None,
        stop: None,
        start: None,
        timeout_ms: 5_000,
    };
    assert_eq!(freezing.freezer, FreezerConfig::Command(expected));
    let second = &read.instance("wiki").unwrap().freezing;
    assert!(matches!(&second.freezer, FreezerConfig::Fsfreeze(config) if config.mount == Path::new("/srv")));
    let third = &read.instance("mail").unwrap().freezing;
    assert!(matches!(&third.freezer, FreezerConfig::Mailstore(config) if config.timeout_ms == 60_000));
}

#[test]
fn what_is_not_said_is_careful() {
    let read = parse(&format!("\u{feff}{}", instance(""))).unwrap();
    let freezing = &read.instances[0].freezing;
    assert_eq!(freezing.freezer, FreezerConfig::None);
    assert!(matches!((&freezing.capture, freezing.on_failure), (Choice::Auto, OnWindowFailure::Fail)));
    assert_eq!((freezing.max_freeze, freezing.warm_rounds), (Duration::from_secs(30), 3));
    assert!(parse("").unwrap().instances.is_empty());
}

#[test]
fn every_error_names_file_line_and_key() {
    let cases = [
        // Text that is no TOML.
        ("[repository]\nurl = ".to_owned(), 2, "", ""),
        (instance("name = 'b'"), 4, "", "duplicate key"),
        // Keys.
        ("[repositry]".into(), 1, "repositry", "did you mean \"repository\"?"),
        ("xyz = 1".into(), 1, "xyz", "the keys here are repository, instance"),
        (instance("max-freze = '1s'"), 4, "instance.max-freze", "did you mean \"max-freeze\"?"),
        ("[repository]\npassword-file = '/p'".into(), 1, "repository.url", "is missing: write"),
        ("\n[[instance]]\nroots = { a = '/a' }".into(), 2, "instance.name", "is missing: write"),
        ("[[instance]]\nname = 'a'".into(), 1, "instance.roots", "is missing: write"),
        (format!("{}{}", instance(""), instance("")), 5, "instance.name", "choose another name"),
        // Types.
        ("repository = 'x'".into(), 1, "repository", "must be a table, as in repository = {"),
        ("[instance]\nname = 'a'".into(), 1, "instance", "each below a line [[instance]], and is a table"),
        ("instance = ['a']".into(), 1, "instance", "each below a line [[instance]], and is a text"),
        ("[[instance]]\nname = 7".into(), 2, "instance.name", "must be a text in quotes, and is a number"),
        ("[[instance]]\nname = ''".into(), 2, "instance.name", "is empty"),
        ("[[instance]]\nname = \"a\\nb\"".into(), 2, "instance.name", "cannot name an instance"),
        (instance("exclude = 'x'"), 4, "instance.exclude", "must be a list of texts"),
        (instance("exclude = ['x',\n 5]"), 5, "instance.exclude", "must be a text in quotes, and is a number"),
        (instance("exclude = ['[z-a]']"), 4, "instance.exclude", "is not a pattern"),
        (instance("always-read = ['[z-a]']"), 4, "instance.always-read", "is not a pattern"),
        // Places.
        ("[repository]\nurl = 'ice'".into(), 2, "repository.url", "is not an absolute path"),
        ("[repository]\nurl = 'x9://ice'".into(), 2, "repository.url", "are not supported by this version"),
        ("[[instance]]\nname = 'a'\nroots = {}".into(), 3, "instance.roots", "names no directory"),
        ("[[instance]]\nname = 'a'\nroots = '/a'".into(), 3, "instance.roots", "must be a table"),
        ("[[instance]]\nname = 'a'\n[instance.roots]\n\nb = 'c'".into(), 5, "instance.roots.b", "absolute path"),
        ("[[instance]]\nname = 'a'\nroots = { '..' = '/c' }".into(), 3, "instance.roots...", "cannot name a root"),
        // Words, numbers, durations.
        (instance("capture = 'snapshoot'"), 4, "instance.capture", "did you mean \"snapshot\"?"),
        (instance("capture = 'x'"), 4, "instance.capture", "write one of auto, hold, clone, snapshot"),
        (with_freezer("capture = 'clone'", FSFREEZE), 4, "instance.capture", "fsfreeze, which stops all writing"),
        (with_freezer("capture = 'snapshot'", FSFREEZE), 4, "instance.capture", "[instance.snapshot]"),
        (snapshot("capture = 'clone'", ""), 4, "instance.capture", "needs no [instance.snapshot]"),
        (snapshot("", "kreate = ['/c']"), 10, "instance.snapshot.kreate", "did you mean \"create\"?"),
        (snapshot("", "timeout = '0s'"), 10, "instance.snapshot.timeout", "is out of bounds"),
        (
            with_freezer("", &format!("{MAILSTORE}\n[instance.snapshot]\ncreate = ['/c']")),
            6,
            "instance.snapshot.destroy",
            "is missing",
        ),
        (instance("capture = 'clone'"), 4, "instance.capture", "without a freezer"),
        (instance("[instance.snapshot]"), 4, "instance.snapshot", "without a freezer"),
        (snapshot("", "").replace("'/mnt{root}'", "'mnt'"), 9, "instance.snapshot.path", "not an absolute path"),
        (snapshot("", "").replace("{root}", "/{nmae}"), 9, "instance.snapshot.path", "{root} and {name} are known"),
        (snapshot("", "").replace("'/mnt{root}'", "['p']"), 9, "instance.snapshot.path", "by its absolute path"),
        (snapshot("", "").replace("['/c']", "'/c'"), 7, "instance.snapshot.create", "must be a list of texts"),
        (instance("on-window-failure = 'keep'"), 4, "instance.on-window-failure", "did you mean \"keep-fuzzy\"?"),
        (instance("warm-rounds = 11"), 4, "instance.warm-rounds", "from 0 to 10"),
        (instance("warm-rounds = -1"), 4, "instance.warm-rounds", "from 0 to 10"),
        (instance("max-freeze = 30"), 4, "instance.max-freeze", "a duration in quotes"),
        (instance("max-freeze = 'soon'"), 4, "instance.max-freeze", "is not a duration"),
        (instance("max-freeze = '-3s'"), 4, "instance.max-freeze", "is not a duration"),
        (instance("max-freeze = '0s'"), 4, "instance.max-freeze", "is out of bounds"),
        (instance("max-freeze = '9h'"), 4, "instance.max-freeze", "is out of bounds"),
        (instance("keep = { dayly = 1 }"), 4, "instance.keep.dayly", "did you mean \"daily\"?"),
        (instance("keep = { daily = 0 }"), 4, "instance.keep.daily", "from 1 to"),
        (instance("verify = 'gfix'"), 4, "instance.verify", "must be a list of texts"),
        (instance("schedule = 2"), 4, "instance.schedule", "must be a text in quotes"),
        (instance("schedule = 'daily'"), 4, "instance.schedule", "is not a schedule"),
        (instance("[instance.hooks]\nbefor = ['/b']"), 5, "instance.hooks.befor", "did you mean \"before\"?"),
        (instance("[instance.hooks]\nafter = ['b']"), 5, "instance.hooks.after", "by its absolute path"),
        // Tables that are not of an instance.
        ("[limits]\nread-rate = '50MB'".into(), 2, "limits.read-rate", "is not a rate"),
        ("[limits]\nupload-rate = '0MiB/s'".into(), 2, "limits.upload-rate", "is not a rate"),
        ("[limits]\nnice = 20".into(), 2, "limits.nice", "from 0 to 19"),
        ("[limits]\nio-priority = 'best-effort:8'".into(), 2, "limits.io-priority", "is no priority"),
        ("[metrics]\nfile = '/x.txt'".into(), 2, "metrics.file", "must end with .prom"),
        ("[metrics]\nfile = 'x.prom'".into(), 2, "metrics.file", "is not an absolute path"),
        ("[notify.webhook]\non = 'always'".into(), 1, "notify.webhook.url", "is missing"),
        ("[notify]\nping.url = 'x'".into(), 2, "notify.ping.url", "is not an address"),
        (
            "[notify]\nwebhook.url = 'http://a/{secret}'".into(),
            2,
            "notify.webhook.url",
            "secret-file, which is missing",
        ),
        (
            "[notify]\nwebhook = { url = 'https://a', on = 'never' }".into(),
            2,
            "notify.webhook.on",
            "write one of failure",
        ),
        ("[notify]\nmail.to = ['x']".into(), 2, "notify.mail.to", "is no mail address"),
        ("[log]\nlevel = 'loud'".into(), 2, "log.level", "write one of error"),
        ("[limits]\nthreads = 0".into(), 2, "limits.threads", "from 1 to"),
        ("[run]\nparallel = 0".into(), 2, "run.parallel", "from 1 to"),
        ("[run]\nparallel-windows = 1".into(), 2, "run.parallel-windows", "true or false"),
        ("[prune]\nmax-unused = '101%'".into(), 2, "prune.max-unused", "share from 0% to 100%"),
        ("[check]\nread-data = '101%'".into(), 2, "check.read-data", "share from 1% to 100%"),
        ("[check]\ntime-limit = 'soon'".into(), 2, "check.time-limit", "a time such as"),
        ("[drill]\nschedule = 'x'".into(), 2, "drill.schedule", "is not a schedule"),
        (instance("verify = ['/t']\ndrill = { schedule = 'hourly' }"), 4, "instance.verify", "write {base} where"),
        ("[drill]\nsnapshot = 'newst'".into(), 2, "drill.snapshot", "did you mean \"newest\"?"),
        ("[drill]\nscratch = 'x'".into(), 2, "drill.scratch", "not an absolute path"),
        ("[drill]\ntimeout = '200h'".into(), 2, "drill.timeout", "out of bounds"),
        (instance("[instance.drill]\nshedule = 'never'"), 5, "instance.drill.shedule", "did you mean \"schedule\"?"),
        ("[defaults]\nname = 'x'".into(), 2, "defaults.name", "it belongs to [[instance]]"),
        ("[defaults.keep]\ndaily = 0".into(), 2, "defaults.keep.daily", "from 1 to"),
        (command("kind = 'none'\nmax-freeze = '1s'"), 6, "instance.freezer.max-freeze", "it belongs to [[instance]]"),
        // Freezers.
        (instance("freezer = 'command'"), 4, "instance.freezer", "must be a table"),
        (command(""), 4, "instance.freezer.kind", "is missing"),
        (command("kind = 'comand'"), 5, "instance.freezer.kind", "did you mean \"command\"?"),
        (
            command("kind = 'command'\nfreeze = ['/f']\nthaw = ['/t']\nstop = ['/s']\nstart = ['/s']"),
            4,
            "instance.freezer.status",
            "is missing",
        ),
        (
            command("kind = 'command'\nfreeze = ['/f']\nthaw = ['/t']\nstatus = ['/s']\nstart = ['/s']"),
            4,
            "instance.freezer.stop",
            "is missing",
        ),
        (command("kind = 'none'\nmount = '/'"), 6, "instance.freezer.mount", "unknown key"),
        (command("kind = 'command'\nfreeze = ['/f']"), 4, "instance.freezer.thaw", "is missing"),
        (command("kind = 'command'\nfreeze = []"), 6, "instance.freezer.freeze", "is empty"),
        (command("kind = 'command'\nfreeze = ['f']"), 6, "instance.freezer.freeze", "by its absolute path"),
        (command("kind = 'command'\nthow = ['/f']"), 6, "instance.freezer.thow", "did you mean \"thaw\"?"),
        (command("kind = 'fsfreeze'"), 4, "instance.freezer.mount", "is missing"),
        (command("kind = 'mailstore'\nendpoint = 'h:1'"), 6, "instance.freezer.endpoint", "write https://HOST:8474"),
        (command("kind = 'mailstore'\nendpoint = 'https://h'"), 4, "instance.freezer", "certificate-sha256 or ca-file"),
    ];
    for (text, line, key, says) in cases {
        let errors = parse(&text).expect_err(&text);
        let found = errors.0.iter().find(|error| (error.at.line, error.at.key.as_str()) == (line, key));
        let error = found.unwrap_or_else(|| panic!("{text}\n{errors}"));
        let (told, column) = (error.to_string(), error.at.column);
        assert!(told.starts_with(&format!("{FILE}:{line}:{column}: {key}")) && told.contains(says), "{text}\n{told}");
    }
}

#[test]
fn a_mailstore_needs_its_credentials_and_a_whole_fingerprint() {
    let whole = "kind = 'mailstore'\nendpoint = 'https://h'\nuser = 'u'\npassword-file = '/p'\ninstance-id = 'i'";
    let with = |pin: &str| command(&format!("{whole}\ncertificate-sha256 = '{pin}'"));
    let colons = ["4F"; 32].join(":");
    assert!(parse(&with(&colons)).is_ok());
    for pin in ["4F".repeat(31), "4F".repeat(33), format!("{}xy", "4F".repeat(31)), "sha256".into()] {
        assert!(refuse(&with(&pin)).contains(":10:1: instance.freezer.certificate-sha256: "), "{pin}");
    }
    for key in ["user", "password-file", "instance-id"] {
        let lines: Vec<_> = whole.lines().filter(|line| !line.starts_with(key)).collect();
        let text = command(&format!("{}\nca-file = '/ca'", lines.join("\n")));
        assert!(refuse(&text).contains(&format!("instance.freezer.{key}: is missing")));
    }
}

#[test]
fn what_is_not_text_is_told_with_its_line() {
    let error = Configuration::parse(Path::new(FILE), b"# one\n# t\xff").unwrap_err();
    assert_eq!(error.to_string(), format!("{FILE}:2:4: is not UTF-8 text: save the file in that encoding"));
}

#[test]
fn an_unknown_instance_is_told_with_those_that_are_known() {
    let read = parse(&instance("")).unwrap();
    let told = |name: &str| read.instance(name).unwrap_err().to_string();
    assert!(told("zz").contains("it configures a"), "{}", told("zz"));
    let long = parse(&instance("").replace("'a'", "'customer'")).unwrap();
    assert!(long.instance("custommer").unwrap_err().to_string().contains("did you mean \"customer\"?"));
    assert_eq!(long.chosen(&["customer".into(), "customer".into()], false).unwrap().len(), 1);
    assert!(matches!(parse("").unwrap().chosen(&[], true), Err(Error::Misuse(_))));
}

#[test]
fn the_first_file_that_is_there_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let places = ["missing", "first", "second"].map(|name| directory.path().join(name));
    assert!(Configuration::find(None, &places).unwrap().is_none());
    fs::write(&places[1], instance("")).unwrap();
    fs::write(&places[2], "broken").unwrap();
    assert_eq!(&*Configuration::find(None, &places).unwrap().unwrap().file, places[1]);
    assert!(matches!(Configuration::find(Some(&places[2]), &places), Err(Error::Config(_))));
    assert!(matches!(Configuration::find(Some(&places[0]), &places), Err(Error::File { .. })));
}

/// A place with directories, and the configuration of instances with their roots, a line each.
struct Ground {
    directory: tempfile::TempDir,
}

impl Ground {
    fn new(directories: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        directories.iter().for_each(|name| fs::create_dir_all(directory.path().join(name)).unwrap());
        Self { directory }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().canonicalize().unwrap().join(name)
    }

    fn find(&self, instances: &[&[&str]]) -> std::result::Result<Vec<PathBuf>, ConfigError> {
        let mut text = String::new();
        for (number, roots) in instances.iter().enumerate() {
            text.push_str(&format!("[[instance]]\nname = 'i{number}'\n[instance.roots]\n"));
            for (number, root) in roots.iter().enumerate() {
                text.push_str(&format!("r{number} = '{}'\n", self.at(root).display()));
            }
        }
        let read = parse(&text).unwrap();
        let (repository, state) = (self.at("repository"), self.at("state"));
        let ours =
            [Ours { what: "the repository", path: &repository }, Ours { what: "the state directory", path: &state }];
        let roots = read.roots(&read.instances[0], &ours)?;
        Ok(roots.into_iter().map(|root| root.path).collect())
    }
}

#[test]
fn roots_are_found_by_their_own_names() {
    let ground = Ground::new(&["a", "b/repository"]);
    symlink(ground.at("a"), ground.at("link")).unwrap();
    assert_eq!(ground.find(&[&["link", "b"]]).unwrap(), [ground.at("a"), ground.at("b")]);
    // Another's missing root may be mounted later.
    assert!(ground.find(&[&["a"], &["missing"]]).is_ok());
}

#[test]
fn a_root_that_cannot_be_one_is_told_with_its_line() {
    let ground = Ground::new(&["a/in", "b", "repository/packs", "state"]);
    fs::write(ground.at("file"), "").unwrap();
    symlink(ground.at("a"), ground.at("link")).unwrap();
    let cases: [(&[&[&str]], usize, &str, &str); 10] = [
        (&[&["missing"]], 4, "r0", "is missing: mount it, or correct the path"),
        (&[&["b", "file"]], 5, "r1", "is not a directory"),
        (&[&["file/x"]], 4, "r0", "cannot be used"),
        (&[&["repository/packs"]], 4, "r0", "is in the repository"),
        (&[&["state"]], 4, "r0", "is in the state directory"),
        (&[&["a", "link"]], 5, "r1", "is the root r0 of this instance"),
        (&[&["a", "a/in"]], 5, "r1", "is inside the root r0 of this instance"),
        (&[&["a"], &["b", "link"]], 4, "r0", "is the root r1 of instance i1 (line 9)"),
        (&[&["a/in"], &["a"]], 4, "r0", "is inside the root r0 of instance i1 (line 8)"),
        (&[&["b", "a"], &["a/in/deeper"]], 5, "r1", "contains the root r0 of instance i1 (line 9)"),
    ];
    for (instances, line, root, says) in cases {
        let error = ground.find(instances).expect_err(says);
        assert_eq!((error.at.line, error.at.key.as_str()), (line, &*format!("instance.roots.{root}")), "{error}");
        assert!(error.to_string().contains(says), "{error}");
    }
}
