//! The real client against the simulated server, over TLS, for every way in which the server can behave.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use icecore_testkit::spe::{
    Body, Filter, Instance, Options, Reply, Simulator, Status as Setup, Store, Switches, WhileFrozen,
};
use tempfile::TempDir;

use super::discover;
use crate::freezer::{FreezeError, FreezeErrorKind, Freezer, FreezerConfig, MailstoreConfig, Status};

/// Longer than anything takes that succeeds, also on a busy machine.
const LIMIT: Duration = Duration::from_secs(20);

/// For what is meant to run out.
const SHORT: Duration = Duration::from_millis(800);

/// A simulated installation, and the configuration of one of its instances.
struct World {
    spe: Simulator,
    config: MailstoreConfig,
    directory: TempDir,
}

impl World {
    fn new() -> Self {
        Self::of(Options::new(vec![Instance::new("cust01"), Instance::new("cust010"), Instance::new("other")]))
    }

    fn of(options: Options) -> Self {
        let spe = Simulator::start(options);
        let directory = tempfile::tempdir().unwrap();
        let password_file = directory.path().join("password");
        fs::write(&password_file, "secret\n").unwrap();
        let config = MailstoreConfig {
            endpoint: spe.endpoint(),
            user: "admin".into(),
            password_file,
            instance_id: "cust01".into(),
            certificate_sha256: Some(spe.certificate_sha256().into()),
            ca_file: None,
            timeout_ms: 20_000,
            restart_after_failed_thaw: false,
        };
        Self { spe, config, directory }
    }

    fn with(change: impl FnOnce(&mut Switches)) -> Self {
        let world = Self::new();
        world.spe.set(change);
        world
    }

    fn open(&self) -> Box<dyn Freezer> {
        FreezerConfig::Mailstore(self.config.clone()).open().unwrap()
    }

    fn ca_file(&self) -> PathBuf {
        let file = self.directory.path().join("ca.pem");
        fs::write(&file, self.spe.ca_pem()).unwrap();
        file
    }

    /// Checks, and expects an error before anything was frozen.
    fn check_error(&self) -> FreezeError {
        let error = self.open().check().unwrap_err();
        assert_eq!(self.spe.calls("FreezeInstances"), 0, "a check froze");
        assert!(error.message.ends_with('.') || error.message.ends_with('?'), "no sentence: {error}");
        error
    }

    /// A whole night: check, freeze, thaw.
    fn night(&self) {
        let mut freezer = self.open();
        freezer.check().unwrap();
        assert_eq!(freezer.status(LIMIT).unwrap(), Status::Running);
        freezer.freeze(LIMIT).unwrap();
        assert!(self.spe.is_frozen("cust01"));
        assert!(!self.spe.is_frozen("cust010") && !self.spe.is_frozen("other"));
        freezer.thaw(LIMIT).unwrap();
        assert!(!self.spe.is_frozen("cust01"));
        assert_eq!((self.spe.freezes(), self.spe.thaws()), (1, 1));
    }
}

#[test]
fn a_night_with_immediate_replies() {
    World::new().night();
}

#[test]
fn a_night_with_tokens() {
    let world = World::with(|s| {
        s.reply = Reply::Token;
        s.freeze_delay = Duration::from_millis(300);
        s.thaw_delay = Duration::from_millis(300);
    });
    world.night();
    // The server holds the questions, so that few are needed.
    assert!((2..=4).contains(&world.spe.calls("get-status")), "{} polls", world.spe.calls("get-status"));
}

#[test]
fn a_night_with_every_form_of_reply() {
    for (bom, chunked) in [(true, false), (false, true), (true, true)] {
        World::with(|s| (s.bom, s.chunked) = (bom, chunked)).night();
    }
}

#[test]
fn a_night_with_a_server_that_takes_its_time() {
    World::with(|s| (s.freeze_delay, s.thaw_delay) = (Duration::from_millis(300), Duration::from_millis(300))).night();
}

#[test]
fn the_instance_is_quiet_between_the_calls_and_not_longer() {
    let calls = Arc::new(Mutex::new(Vec::new()));
    let (on_freeze, on_thaw) = (Arc::clone(&calls), Arc::clone(&calls));
    let mut options = Options::new(vec![Instance::new("cust01")]);
    options.on_freeze = Box::new(move |id| on_freeze.lock().unwrap().push(format!("quiet {id}")));
    options.on_thaw = Box::new(move |id| on_thaw.lock().unwrap().push(format!("awake {id}")));
    let world = World::of(options);
    let mut freezer = world.open();
    freezer.freeze(LIMIT).unwrap();
    assert_eq!(*calls.lock().unwrap(), ["quiet cust01"]);
    freezer.thaw(LIMIT).unwrap();
    assert_eq!(*calls.lock().unwrap(), ["quiet cust01", "awake cust01"]);
}

#[test]
fn an_instance_that_was_awake_before_its_thaw_is_noticed_by_whoever_froze_it() {
    let mut world = World::with(|s| s.refuse_repeated = true);
    let night = |world: &World, meanwhile: &dyn Fn()| {
        let mut freezer = world.open();
        freezer.check().unwrap();
        freezer.freeze(LIMIT).unwrap();
        meanwhile();
        freezer.thaw(LIMIT).unwrap();
        freezer.was_awake(LIMIT)
    };
    assert_eq!(night(&world, &|| {}), None);
    let thawed = night(&world, &|| world.open().thaw(LIMIT).unwrap()).unwrap();
    assert!(thawed.contains("not frozen"), "{thawed}");
    // Frozen again after a restart, so that the thaw finds nothing to complain about.
    world.config.restart_after_failed_thaw = true;
    let restarted = night(&world, &|| {
        world.open().last_resort(LIMIT).unwrap().unwrap();
        world.open().freeze(LIMIT).unwrap();
    });
    assert_eq!(restarted.unwrap(), "its process was 5001 before the freeze, and 5002 after the thaw");
}

#[test]
fn a_check_freezes_nothing_and_names_one_instance() {
    let world = World::new();
    world.open().check().unwrap();
    let functions: Vec<String> = world.spe.requests().into_iter().map(|request| request.function).collect();
    assert_eq!(functions, ["Ping", "get-metadata", "GetInstances", "GetStores"]);
    assert_eq!(world.spe.requests()[2].arguments, [("instanceFilter".to_owned(), "cust01".to_owned())]);
}

#[test]
fn a_check_refuses_what_cannot_be_frozen() {
    let mut stopped = Instance::new("cust01");
    stopped.status = Setup::Stopped;
    let error = World::of(Options::new(vec![stopped])).check_error();
    assert_eq!(error.kind, FreezeErrorKind::Refused);
    assert!(error.message.contains("\"stopped\""), "{error}");

    let error = World::with(|s| s.without = vec!["FreezeInstances", "ThawInstances"]).check_error();
    assert_eq!(error.kind, FreezeErrorKind::Refused);
    assert!(error.message.contains("FreezeInstances, ThawInstances"), "{error}");

    let mut world = World::with(|s| s.without = vec!["RestartInstances"]);
    world.open().check().unwrap();
    world.config.restart_after_failed_thaw = true;
    assert!(world.check_error().message.contains("RestartInstances"));
}

#[test]
fn a_filter_that_matches_not_exactly_one_instance_is_refused() {
    let mut world = World::new();
    world.config.instance_id = "nobody".into();
    assert_eq!(world.check_error().kind, FreezeErrorKind::NotOneInstance { matched: vec![] });

    let world = World::with(|s| s.filter = Filter::Prefix);
    let error = world.check_error();
    let matched = vec!["cust01".to_owned(), "cust010".to_owned()];
    assert_eq!(error.kind, FreezeErrorKind::NotOneInstance { matched });
    assert!(error.message.contains("cust01, cust010"), "{error}");

    // One instance, but another one.
    let mut world = World::with(|s| s.filter = Filter::Prefix);
    world.config.instance_id = "oth".into();
    assert_eq!(world.check_error().kind, FreezeErrorKind::NotOneInstance { matched: vec!["other".into()] });
}

#[test]
fn an_id_that_is_a_pattern_is_refused_at_once() {
    let mut world = World::new();
    for id in ["", "*", "cust0?", "cust01,other", "cust01 other", "cust01\n"] {
        world.config.instance_id = id.into();
        let error = FreezerConfig::Mailstore(world.config.clone()).open().err().expect(id);
        assert_eq!(error.kind, FreezeErrorKind::NotOneInstance { matched: vec![] });
    }
    assert_eq!(world.spe.requests(), []);
}

#[test]
fn an_instance_that_somebody_else_froze_is_told() {
    for change in [
        (|s: &mut Switches| s.shows_frozen = true) as fn(&mut Switches),
        |s| s.while_frozen = WhileFrozen::Refuse,
        |s| s.while_frozen = WhileFrozen::Hang,
    ] {
        let mut world = World::with(change);
        world.open().freeze(LIMIT).unwrap();
        world.config.timeout_ms = 800;
        let error = world.open().check().unwrap_err();
        assert_eq!(error.kind, FreezeErrorKind::Refused);
        assert!(error.message.contains("somebody else"), "{error}");
    }
}

#[test]
fn status_says_what_can_be_told() {
    let world = World::new();
    let mut freezer = world.open();
    assert_eq!(freezer.status(LIMIT).unwrap(), Status::Running);
    freezer.freeze(LIMIT).unwrap();
    assert_eq!(freezer.status(LIMIT).unwrap(), Status::Unknown);
    world.spe.set(|s| s.while_frozen = WhileFrozen::Hang);
    assert_eq!(freezer.status(SHORT).unwrap(), Status::Unknown);
    world.spe.set(|s| s.shows_frozen = true);
    assert_eq!(freezer.status(LIMIT).unwrap(), Status::Frozen);
    freezer.thaw(LIMIT).unwrap();
    assert_eq!(freezer.status(LIMIT).unwrap(), Status::Running);
    world.spe.set(|s| s.reachable = false);
    assert_eq!(freezer.status(LIMIT).unwrap_err().kind, FreezeErrorKind::Unreachable);
}

#[test]
fn a_refused_freeze_says_why() {
    for reply in [Reply::Immediate, Reply::Token] {
        let world = World::with(|s| (s.refuse_freezes, s.reply) = (1, reply));
        let mut freezer = world.open();
        let error = freezer.freeze(LIMIT).unwrap_err();
        assert_eq!(error.kind, FreezeErrorKind::Refused);
        assert!(error.message.contains("FreezeInstances: The operation was refused by the simulator"), "{error}");
        assert!(error.output.unwrap().contains("InvalidOperationException"));
        freezer.thaw(LIMIT).unwrap();
    }
}

#[test]
fn a_freeze_that_takes_too_long_times_out_and_a_late_one_is_thawed() {
    let delay = Duration::from_secs(3);
    for reply in [Reply::Immediate, Reply::Token] {
        let world = World::with(|s| (s.freeze_delay, s.reply) = (delay, reply));
        let mut freezer = world.open();
        assert!(freezer.may_freeze_late());
        let begun = Instant::now();
        assert_eq!(freezer.freeze(SHORT).unwrap_err().kind, FreezeErrorKind::TimedOut);
        assert!(begun.elapsed() < delay, "{:?} for {SHORT:?}", begun.elapsed());
        assert!(!world.spe.is_frozen("cust01"));
        assert_eq!(world.spe.calls("cancel-async"), usize::from(reply == Reply::Token));
        assert!(world.spe.wait_for("cust01", true), "no late success");
        freezer.thaw(LIMIT).unwrap();
        assert!(!world.spe.is_frozen("cust01"));
    }
}

#[test]
fn a_freeze_that_can_be_cancelled_never_comes() {
    let delay = Duration::from_secs(3);
    let world = World::with(|s| (s.freeze_delay, s.reply, s.cancellable) = (delay, Reply::Token, true));
    assert_eq!(world.open().freeze(SHORT).unwrap_err().kind, FreezeErrorKind::TimedOut);
    std::thread::sleep(delay);
    assert_eq!(world.spe.freezes(), 0);
}

#[test]
fn a_lost_reply_is_an_error_although_the_freeze_took_effect() {
    let world = World::with(|s| s.lose_reply_of = Some("FreezeInstances"));
    let mut freezer = world.open();
    let error = freezer.freeze(LIMIT).unwrap_err();
    assert_eq!(error.kind, FreezeErrorKind::Unreachable);
    assert!(error.message.contains("nobody knows"), "{error}");
    assert!(world.spe.is_frozen("cust01"));
    freezer.thaw(LIMIT).unwrap();
    assert!(!world.spe.is_frozen("cust01"));
}

#[test]
fn a_lost_reply_to_a_thaw_is_no_confirmation_but_the_next_thaw_is() {
    let world = World::with(|s| (s.lose_reply_of, s.refuse_repeated) = (Some("ThawInstances"), true));
    let mut freezer = world.open();
    freezer.freeze(LIMIT).unwrap();
    freezer.thaw(LIMIT).unwrap_err();
    world.spe.set(|s| s.lose_reply_of = None);
    freezer.thaw(LIMIT).unwrap();
    assert_eq!(world.spe.thaws(), 1);
}

#[test]
fn a_forgotten_token_leaves_the_outcome_unknown() {
    let world = World::with(|s| {
        (s.reply, s.forget_tokens, s.freeze_delay) = (Reply::Token, true, Duration::from_millis(200));
    });
    let mut freezer = world.open();
    let error = freezer.freeze(LIMIT).unwrap_err();
    assert_eq!(error.kind, FreezeErrorKind::Failed);
    assert!(error.message.contains("forgotten FreezeInstances"), "{error}");
    assert!(world.spe.wait_for("cust01", true));
    world.spe.set(|s| s.forget_tokens = false);
    freezer.thaw(LIMIT).unwrap();
    assert!(!world.spe.is_frozen("cust01"));
}

#[test]
fn thawing_what_is_not_frozen_is_a_success() {
    for refuse_repeated in [false, true] {
        let world = World::with(|s| s.refuse_repeated = refuse_repeated);
        world.open().thaw(LIMIT).unwrap();
        assert_eq!((world.spe.calls("ThawInstances"), world.spe.calls("GetStores")), (1, 1));
    }
}

#[test]
fn freezing_twice_is_as_the_server_has_it() {
    let world = World::with(|s| s.shows_frozen = true);
    let mut freezer = world.open();
    freezer.freeze(LIMIT).unwrap();
    freezer.freeze(LIMIT).unwrap();
    world.spe.set(|s| s.refuse_repeated = true);
    assert_eq!(freezer.freeze(LIMIT).unwrap_err().kind, FreezeErrorKind::Refused);
    freezer.thaw(LIMIT).unwrap();
    assert_eq!((world.spe.freezes(), world.spe.thaws()), (1, 1));
}

#[test]
fn a_thaw_that_was_refused_five_times_succeeds_the_sixth_time() {
    let world = World::with(|s| s.refuse_thaws = 5);
    let mut freezer = world.open();
    freezer.freeze(LIMIT).unwrap();
    for _ in 0..5 {
        assert_eq!(freezer.thaw(LIMIT).unwrap_err().kind, FreezeErrorKind::Refused);
        assert!(world.spe.is_frozen("cust01"));
    }
    freezer.thaw(LIMIT).unwrap();
    assert!(!world.spe.is_frozen("cust01"));
}

#[test]
fn a_thaw_whose_stores_stay_closed_is_not_confirmed() {
    let mut stopped = Instance::new("cust01");
    stopped.status = Setup::Stopped;
    let world = World::of(Options::new(vec![stopped]));
    let error = world.open().thaw(SHORT).unwrap_err();
    assert!(error.message.contains("stores do not answer"), "{error}");
    assert!(error.output.unwrap().contains("GetStores"));
}

#[test]
fn a_server_that_is_gone_is_unreachable_until_it_is_back() {
    let world = World::new();
    let mut freezer = world.open();
    freezer.freeze(LIMIT).unwrap();
    world.spe.set(|s| s.reachable = false);
    for _ in 0..2 {
        let error = freezer.thaw(LIMIT).unwrap_err();
        assert_eq!(error.kind, FreezeErrorKind::Unreachable);
        assert!(error.message.contains(&world.spe.endpoint()), "{error}");
    }
    world.spe.set(|s| s.reachable = true);
    freezer.thaw(LIMIT).unwrap();
    assert!(!world.spe.is_frozen("cust01"));
}

#[test]
fn a_restart_is_the_last_resort_if_it_is_permitted() {
    let mut world = World::with(|s| s.refuse_thaws = u32::MAX);
    let mut freezer = world.open();
    freezer.freeze(LIMIT).unwrap();
    freezer.thaw(LIMIT).unwrap_err();
    assert!(freezer.last_resort(LIMIT).is_none());
    assert_eq!(world.spe.calls("RestartInstances"), 0);

    world.config.restart_after_failed_thaw = true;
    let mut freezer = world.open();
    world.spe.set(|s| s.refuse_restarts = 1);
    assert_eq!(freezer.last_resort(LIMIT).unwrap().unwrap_err().kind, FreezeErrorKind::Refused);
    assert!(world.spe.is_frozen("cust01"));
    freezer.last_resort(LIMIT).unwrap().unwrap();
    let state = world.spe.state();
    assert_eq!((state[0].frozen, state[0].starts), (false, 2));
    assert_eq!(state[1].starts, 1, "another instance was restarted");
}

#[test]
fn an_instance_that_thaws_by_itself_is_thawed_without_complaint() {
    let world = World::with(|s| (s.auto_thaw, s.refuse_repeated) = (Some(Duration::from_millis(100)), true));
    let mut freezer = world.open();
    freezer.freeze(LIMIT).unwrap();
    assert!(world.spe.wait_for("cust01", false));
    freezer.thaw(LIMIT).unwrap();
}

#[test]
fn wrong_credentials_are_told() {
    let world = World::new();
    fs::write(&world.config.password_file, "wrong").unwrap();
    let error = world.check_error();
    assert_eq!(error.kind, FreezeErrorKind::Unauthorized);
    assert!(error.message.contains("(401)") && error.message.contains("password"), "{error}");
    assert!(!error.to_string().contains("wrong"), "{error}");

    // The file is read at each call.
    fs::write(&world.config.password_file, "secret").unwrap();
    let mut freezer = world.open();
    freezer.check().unwrap();
    fs::remove_file(&world.config.password_file).unwrap();
    let error = freezer.check().unwrap_err();
    assert_eq!(error.kind, FreezeErrorKind::Unauthorized);
    assert!(error.message.contains(world.config.password_file.to_str().unwrap()), "{error}");
}

#[test]
fn http_errors_are_told() {
    for (status, kind, says) in [
        (403, FreezeErrorKind::Unauthorized, "system administrator"),
        (404, FreezeErrorKind::Protocol, "Management API"),
        (411, FreezeErrorKind::Protocol, "proxy"),
        (302, FreezeErrorKind::Protocol, "302"),
        (500, FreezeErrorKind::Protocol, "500"),
    ] {
        let error = World::with(|s| s.http_status = Some(status)).check_error();
        assert_eq!(error.kind, kind);
        assert!(error.message.contains(says), "{error}");
    }
}

#[test]
fn bodies_that_are_no_json_are_told() {
    let error = World::with(|s| s.body = Body::Html).check_error();
    assert_eq!(error.kind, FreezeErrorKind::Protocol);
    assert!(error.message.contains("HTML") && error.output.unwrap().contains("proxy"));

    let begun = Instant::now();
    let error = World::with(|s| s.body = Body::Endless).check_error();
    assert_eq!(error.kind, FreezeErrorKind::Protocol);
    assert!(error.message.contains("longer than 1024 KiB"), "{error}");
    assert!(begun.elapsed() < LIMIT);
}

#[test]
fn a_server_that_accepts_and_says_nothing_times_out() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut world = World::new();
    world.config.endpoint = format!("https://{}", silent.local_addr().unwrap());
    let begun = Instant::now();
    assert_eq!(world.open().freeze(SHORT).unwrap_err().kind, FreezeErrorKind::TimedOut);
    assert!(begun.elapsed() < SHORT * 4, "{:?} for {SHORT:?}", begun.elapsed());
}

#[test]
fn another_certificate_is_refused_before_the_password_is_told() {
    let mut world = World::new();
    let expected = "ab".repeat(32);
    world.config.certificate_sha256 = Some(expected.clone());
    let error = world.check_error();
    let found = world.spe.certificate_sha256().to_owned();
    assert!(error.message.contains(&expected) && error.message.contains(&found), "{error}");
    assert_eq!(error.kind, FreezeErrorKind::Certificate { expected, found });
    assert_eq!(world.spe.requests(), []);
}

#[test]
fn a_server_is_known_by_its_authority() {
    let mut world = World::new();
    world.config.certificate_sha256 = None;
    world.config.ca_file = Some(world.ca_file());
    world.night();
    // Both, if both are configured.
    world.config.certificate_sha256 = Some("00".repeat(32));
    let error = world.open().check().unwrap_err();
    assert!(matches!(error.kind, FreezeErrorKind::Certificate { .. }));
}

#[test]
fn a_stranger_s_authority_does_not_vouch() {
    let (mut world, stranger) = (World::new(), World::new());
    world.config.ca_file = Some(stranger.ca_file());
    for pin in [None, world.config.certificate_sha256.clone()] {
        world.config.certificate_sha256 = pin;
        let error = world.check_error();
        assert!(error.message.contains(world.spe.certificate_sha256()), "{error}");
        assert!(matches!(error.kind, FreezeErrorKind::Certificate { .. }));
    }
    assert_eq!(world.spe.requests(), []);
}

#[test]
fn a_server_that_nothing_is_known_of_shows_what_to_configure() {
    let mut world = World::new();
    world.config.certificate_sha256 = None;
    let error = world.check_error();
    assert!(error.message.contains(world.spe.certificate_sha256()), "{error}");
    assert!(error.message.contains("certificate-sha256"), "{error}");
    assert_eq!(world.spe.requests(), []);
}

#[test]
fn a_configuration_that_can_never_work_is_refused_at_once() {
    let world = World::new();
    let empty = world.directory.path().join("empty.pem");
    fs::write(&empty, "no certificate").unwrap();
    let good = || world.config.clone();
    for (names, config) in [
        ("endpoint", MailstoreConfig { endpoint: "http://127.0.0.1".into(), ..good() }),
        ("certificate-sha256", MailstoreConfig { certificate_sha256: Some("a6".repeat(20)), ..good() }),
        ("user", MailstoreConfig { user: "a:b".into(), ..good() }),
        ("absent.pem", MailstoreConfig { ca_file: Some("/absent.pem".into()), ..good() }),
        ("empty.pem", MailstoreConfig { ca_file: Some(empty), ..good() }),
    ] {
        let error = FreezerConfig::Mailstore(config).open().err().expect(names);
        assert!(error.message.contains(names), "{error}");
    }
}

#[cfg(unix)]
#[test]
fn the_description_names_instance_and_server_and_an_open_password_file() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::new();
    let mode = |mode| fs::set_permissions(&world.config.password_file, fs::Permissions::from_mode(mode)).unwrap();
    mode(0o600);
    let private = world.open().describe();
    assert_eq!(private, format!("MailStore instance cust01 at {}", world.spe.endpoint()));
    mode(0o644);
    let open = world.open().describe();
    assert!(open.starts_with(&private) && open.contains("chmod 600"), "{open}");
}

#[test]
fn discover_finds_instances_and_roots_outside() {
    let mut moved = Instance::new("moved");
    moved.stores.push(Store::beneath(r"F:\slow\moved", "2015"));
    let mut stopped = Instance::new("stopped");
    stopped.status = Setup::Stopped;
    let mut world = World::of(Options::new(vec![Instance::new("cust01"), moved, stopped]));
    world.config.instance_id = String::new();
    let found = discover(&world.config).unwrap();
    let ids: Vec<&str> = found.iter().map(|one| one.id.as_str()).collect();
    assert_eq!(ids, ["cust01", "moved", "stopped"]);
    assert_eq!((found[0].base_directory.as_str(), found[0].display_name.as_str()), (r"E:\CUST01", "Customer cust01"));
    assert_eq!((found[0].outside_roots(), found[0].stores.len()), (vec![], 1));
    assert_eq!(found[1].outside_roots(), [r"F:\slow\moved\Data\2015"]);
    assert_eq!((found[0].problem.is_none(), found[1].problem.is_none()), (true, true));
    assert!(found[2].problem.as_ref().unwrap().contains("not running"));
    assert_eq!(world.spe.calls("FreezeInstances"), 0);
}
