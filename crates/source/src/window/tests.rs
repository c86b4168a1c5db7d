//! Windows with real parts: programs that freeze and thaw, guardians and engines that are processes of
//! their own (this test program, started again) and are killed and stopped.

use std::fs;
use std::mem::ManuallyDrop;
use std::path::Path;
use std::process::{Child, Command};

use rustix::process::{Pid, Signal, kill_process};

use super::*;
use crate::freezer::CommandConfig;

const GUARDIAN: &str = "window::tests::guardian_body";
const ENGINE: &str = "window::tests::engine_body";

fn clock() -> Timestamp {
    Timestamp { seconds: 1_795_000_000, nanos: 0 }
}

/// The guardian's process.
#[test]
#[ignore = "started by other tests"]
fn guardian_body() {
    let Some(journal) = last_argument().filter(|path| path.extension().is_some_and(|it| it == "json")) else { return };
    guardian::run(&journal, io::stdin(), io::stdout(), &clock).unwrap();
}

/// The engine's process: a window that stays open until a file says "close".
#[test]
#[ignore = "started by other tests"]
fn engine_body() {
    let Some(directory) = last_argument().filter(|path| path.is_dir()) else { return };
    // The directory is the other process's to remove.
    let scene = ManuallyDrop::new(Scene { directory });
    match Window::freeze(&scene.plan(), &clock, &|| false) {
        Err(error) => scene.write("engine", &format!("failed: {error}")),
        Ok(window) => {
            scene.write("engine", "open");
            eventually("told to close", || scene.has("close"));
            scene.write("engine", &format!("{:?}", window.thaw()));
        }
    }
}

fn last_argument() -> Option<PathBuf> {
    std::env::args_os().next_back().map(PathBuf::from)
}

fn myself(body: &str) -> Vec<OsString> {
    let program = std::env::current_exe().unwrap().into_os_string();
    let arguments = ["--ignored", "--nocapture", "--test-threads=2", "--exact", body];
    std::iter::once(program).chain(arguments.map(OsString::from)).collect()
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(20), "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// An application that freezes and thaws by scripts, in a directory. Files there say how they behave:
///
/// | file | is |
/// |---|---|
/// | `log` | what the scripts did |
/// | `state` | `frozen` or `running` |
/// | `freeze-takes`, `thaw-takes` | seconds |
/// | `freeze-fails` | if it exists, the freeze takes effect, and fails |
/// | `refusals` | how many thaws are refused before one is done |
/// | `guardian-takes` | seconds until the guardian is started |
/// | `max-freeze` | milliseconds |
struct Scene {
    directory: PathBuf,
}

impl Drop for Scene {
    fn drop(&mut self) {
        // Releases a guardian that still tries.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

const FREEZE: &str = r#"cd "$0"; echo freeze >>log; [ -f freeze-takes ] && sleep "$(cat freeze-takes)"
echo frozen >state; echo frozen >>log; [ ! -f freeze-fails ]"#;

const THAW: &str = r#"cd "$0"; left=$(cat refusals 2>/dev/null || echo 0)
if [ "$left" -gt 0 ]; then echo $((left - 1)) >refusals; echo refused >>log; echo not now; exit 1; fi
[ -f thaw-takes ] && { takes=$(cat thaw-takes); echo thawing >>log; sleep "$takes"; }
echo running >state; echo thaw >>log"#;

const STATUS: &str = r#"cd "$0"; grep -q frozen state 2>/dev/null && exit 3; exit 0"#;

const GUARDIAN_LATER: &str = r#"directory=$0; [ -f "$directory/guardian-takes" ] && { echo guardian >>"$directory/log"; sleep "$(cat "$directory/guardian-takes")"; }; exec "$@""#;

impl Scene {
    fn new(files: &[(&str, &str)]) -> Self {
        let scene = Self { directory: tempfile::tempdir().unwrap().keep() };
        files.iter().for_each(|(name, content)| scene.write(name, content));
        scene
    }

    fn plan(&self) -> WindowPlan {
        let script =
            |script: &str| ["/bin/sh", "-c", script, self.directory.to_str().unwrap()].map(str::to_owned).to_vec();
        let guardian = script(GUARDIAN_LATER).into_iter().map(OsString::from).chain(myself(GUARDIAN));
        WindowPlan {
            instance: "cust01".to_owned(),
            freezer: FreezerConfig::Command(CommandConfig {
                freeze: script(FREEZE),
                thaw: script(THAW),
                status: Some(script(STATUS)),
                timeout_ms: 30_000,
                stop: None,
                start: None,
            }),
            max_freeze: Duration::from_millis(self.read("max-freeze").trim().parse().unwrap_or(30_000)),
            alone: false,
            directory: self.directory.join("windows"),
            guardian: guardian.collect(),
            retry: quick(),
        }
    }

    fn write(&self, name: &str, content: &str) {
        let path = self.directory.join(name);
        fs::write(path.with_extension("part"), content).unwrap();
        fs::rename(path.with_extension("part"), path).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.directory.join(name)).unwrap_or_default()
    }

    fn has(&self, name: &str) -> bool {
        self.directory.join(name).exists()
    }

    fn log(&self) -> Vec<String> {
        self.read("log").lines().map(str::to_owned).collect()
    }

    fn said(&self, what: &str) -> usize {
        self.log().iter().filter(|line| *line == what).count()
    }

    fn journal(&self) -> PathBuf {
        self.directory.join("windows/cust01.json")
    }

    /// The windows' own log, for when a test fails.
    fn report(&self) -> String {
        format!("{:?}\n{}", self.log(), self.read("windows/cust01.log"))
    }

    fn recover(&self) -> Result<Vec<Recovered>, RecoverError> {
        recover(&self.directory.join("windows"), &clock, &quick(), &mut |_| {})
    }

    /// Starts an engine, and waits until the scripts' log or the engine says `until`.
    fn engine(&self, until: &str) -> Engine {
        let program = myself(ENGINE);
        let mut command = Command::new(&program[0]);
        command.args(&program[1..]).arg(&self.directory).stdout(std::process::Stdio::null());
        let engine = Engine { child: command.spawn().unwrap() };
        eventually(until, || self.said(until) > 0 || self.read("engine").starts_with(until));
        engine
    }

    fn guardian(&self) -> Pid {
        let pid = Journal::open(&self.journal()).unwrap().read().unwrap().guardian.unwrap();
        Pid::from_raw(pid.try_into().unwrap()).unwrap()
    }

    /// One thaw, after everything, and recovery says by whom; then nothing is left to do.
    fn expect_one_thaw_by(&self, by: ThawedBy) {
        let recovered = self.recover().unwrap();
        assert_eq!(recovered.iter().map(|it| it.by).collect::<Vec<_>>(), [by], "{}", self.report());
        self.expect_one_thaw();
        assert_eq!(self.recover().unwrap(), []);
    }

    fn expect_one_thaw(&self) {
        // Whatever somebody left running would show itself.
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(self.said("thaw"), 1, "{}", self.report());
        assert_eq!(self.read("state").trim(), "running");
        assert!(!self.journal().exists());
    }
}

struct Engine {
    child: Child,
}

impl Engine {
    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.child.id().try_into().unwrap()).unwrap(), signal).unwrap();
    }

    fn kill(mut self) {
        self.signal(Signal::KILL);
        self.child.wait().unwrap();
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn quick() -> Retry {
    Retry {
        first_pause: Duration::from_millis(5),
        longest_pause: Duration::from_millis(50),
        patience: Duration::from_secs(3),
        attempt: Duration::from_secs(2),
        turn: Duration::from_millis(500),
        ..Retry::default()
    }
}

#[test]
fn a_window_opens_and_closes() {
    let scene = Scene::new(&[]);
    let window = Window::freeze(&scene.plan(), &clock, &|| false).unwrap();
    assert_eq!(scene.log(), ["freeze", "frozen"]);
    assert!(window.remaining() < Duration::from_secs(30) && window.remaining() > Duration::from_secs(20));
    let story = Journal::open(&scene.journal()).unwrap().read().unwrap();
    assert!(story.frozen && story.guardian.is_some() && story.thawed.is_none());
    assert_eq!(scene.recover().unwrap(), [], "a living engine is left alone");
    assert!(matches!(Window::freeze(&scene.plan(), &clock, &|| false), Err(WindowError::Busy(_))));
    let closed = window.thaw().unwrap();
    assert_eq!((closed.by, closed.in_time, closed.attempts), (ThawedBy::Engine, true, 1));
    assert!(closed.window > Duration::ZERO && closed.window < Duration::from_secs(10));
    scene.expect_one_thaw();
    assert_eq!(scene.recover().unwrap(), []);
    assert!(
        lock_file(&Place::at(&scene.journal()).log, Duration::from_secs(5)).unwrap().is_some(),
        "a guardian stayed"
    );
    Window::freeze(&scene.plan(), &clock, &|| false).unwrap().thaw().unwrap();
}

#[test]
fn who_gives_up_while_it_waits_for_its_turn_freezes_nothing() {
    let scene = Scene::new(&[]);
    let plan = WindowPlan { alone: true, ..scene.plan() };
    fs::create_dir_all(&plan.directory).unwrap();
    let turn = plan.directory.with_extension(turn::EXTENSION);
    let held = lock_file(&turn, Duration::ZERO).unwrap().unwrap();
    let asked = std::cell::Cell::new(0);
    // Over only after it was asked a few times, and the turn is free by then.
    let is_over = || {
        asked.set(asked.get() + 1);
        asked.get() > 2
    };
    assert!(matches!(Window::freeze(&plan, &clock, &is_over), Err(WindowError::GivenUp)));
    assert_eq!(asked.get(), 4);
    drop(held);
    assert!(matches!(Window::freeze(&plan, &clock, &|| true), Err(WindowError::GivenUp)));
    assert_eq!(scene.said("frozen"), 0);
    assert!(!scene.journal().exists());
    Window::freeze(&plan, &clock, &|| false).unwrap().thaw().unwrap();
}

#[test]
fn others_may_freeze_as_soon_as_the_guardian_has_thawed() {
    let scene = Scene::new(&[("max-freeze", "300")]);
    let plan = WindowPlan { alone: true, ..scene.plan() };
    let window = Window::freeze(&plan, &clock, &|| false).unwrap();
    let turn = plan.directory.with_extension(turn::EXTENSION);
    assert!(lock_file(&turn, Duration::ZERO).unwrap().is_none());
    assert!(lock_file(&turn, Duration::from_secs(20)).unwrap().is_some());
    assert!(!window.thaw().unwrap().in_time);
    scene.expect_one_thaw();
}

#[test]
fn a_panic_thaws() {
    let scene = Scene::new(&[]);
    let plan = scene.plan();
    let panicked = std::thread::spawn(move || {
        let _window = Window::freeze(&plan, &clock, &|| false).unwrap();
        panic!("as told");
    });
    assert!(panicked.join().is_err());
    scene.expect_one_thaw();
}

#[test]
fn a_thaw_that_is_refused_five_times_is_done_at_last() {
    let scene = Scene::new(&[("refusals", "5")]);
    let closed = Window::freeze(&scene.plan(), &clock, &|| false).unwrap().thaw().unwrap();
    assert_eq!((closed.attempts, closed.in_time), (6, true));
    scene.expect_one_thaw();
    assert!(scene.read("windows/cust01.log").contains("not now"), "{}", scene.report());
}

#[test]
fn a_freeze_that_fails_is_thawed_all_the_same() {
    let scene = Scene::new(&[("freeze-fails", "")]);
    let error = Window::freeze(&scene.plan(), &clock, &|| false).unwrap_err();
    assert!(matches!(&error, WindowError::Freeze { thaw, .. } if thaw.by == ThawedBy::Engine), "{error}");
    scene.expect_one_thaw();
}

#[test]
fn a_freeze_that_takes_longer_than_the_window_is_ended_and_thawed() {
    let scene = Scene::new(&[("freeze-takes", "1"), ("max-freeze", "300")]);
    let error = Window::freeze(&scene.plan(), &clock, &|| false).unwrap_err();
    // Who ended the program first, the engine or the guardian, only time tells.
    let ended = |error: &FreezeError| error.kind == FreezeErrorKind::TimedOut || error.to_string().contains("SIGKILL");
    assert!(matches!(&error, WindowError::Freeze { cause, .. } if ended(cause)), "{error}");
    scene.expect_one_thaw();
    std::thread::sleep(Duration::from_millis(1000));
    assert_eq!(scene.said("frozen"), 0);
}

#[test]
fn a_thaw_that_cannot_be_confirmed_is_said_loudly_and_the_guardian_goes_on() {
    let scene = Scene::new(&[("refusals", "1000000")]);
    let error = Window::freeze(&scene.plan(), &clock, &|| false).unwrap().thaw().unwrap_err();
    assert!(matches!(error, WindowError::ThawUnconfirmed { .. }));
    assert!(error.to_string().contains("MAY STILL BE FROZEN"), "{error}");
    assert!(matches!(Window::freeze(&scene.plan(), &clock, &|| false), Err(WindowError::Open { .. })));
    scene.write("refusals", "0");
    scene.expect_one_thaw_by(ThawedBy::Guardian);
}

#[test]
fn what_cannot_work_freezes_nothing() {
    let scene = Scene::new(&[]);
    let mut plan = scene.plan();
    plan.guardian = vec!["/bin/echo".into(), "no guardian".into()];
    let error = Window::freeze(&plan, &clock, &|| false).unwrap_err();
    assert!(matches!(error, WindowError::Guardian(_)), "{error}");
    plan.guardian = vec!["/nowhere/icecore".into()];
    assert!(
        matches!(Window::freeze(&plan, &clock, &|| false), Err(WindowError::Guardian(said)) if said.contains("/nowhere"))
    );
    plan = scene.plan();
    plan.instance = String::new();
    assert!(matches!(Window::freeze(&plan, &clock, &|| false), Err(WindowError::Name(_))));
    plan = scene.plan();
    plan.freezer = FreezerConfig::Command(CommandConfig {
        freeze: vec!["/nowhere/freeze".to_owned()],
        thaw: vec!["/bin/true".to_owned()],
        status: None,
        timeout_ms: 1_000,
        stop: None,
        start: None,
    });
    assert!(matches!(Window::freeze(&plan, &clock, &|| false), Err(WindowError::Check(_))));
    plan = scene.plan();
    plan.directory = scene.directory.join("file");
    scene.write("file", "");
    assert!(matches!(Window::freeze(&plan, &clock, &|| false), Err(WindowError::Directory { .. })));
    assert_eq!(scene.log(), Vec::<String>::new());
    assert!(!scene.journal().exists());
}

#[test]
fn the_deadline_thaws_for_a_late_engine() {
    let scene = Scene::new(&[("max-freeze", "300")]);
    let window = Window::freeze(&scene.plan(), &clock, &|| false).unwrap();
    eventually("thawed", || scene.said("thaw") == 1);
    assert_eq!(window.remaining(), Duration::ZERO);
    let closed = window.thaw().unwrap();
    assert_eq!((closed.by, closed.in_time), (ThawedBy::Guardian, false));
    scene.expect_one_thaw();
}

#[test]
fn an_engine_killed_before_the_freeze_leaves_nothing_frozen() {
    let scene = Scene::new(&[("guardian-takes", "0.3")]);
    scene.engine("guardian").kill();
    eventually("released", || scene.recover().is_ok());
    std::thread::sleep(Duration::from_millis(600));
    assert_eq!((scene.said("freeze"), scene.said("frozen")), (0, 0));
    assert!(scene.said("thaw") <= 2 && !scene.journal().exists(), "{}", scene.report());
}

#[test]
fn an_engine_killed_while_freezing_is_thawed_for_and_its_freeze_ended() {
    let scene = Scene::new(&[("freeze-takes", "0.5")]);
    scene.engine("freeze").kill();
    scene.expect_one_thaw_by(ThawedBy::Guardian);
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(scene.said("frozen"), 0);
    assert_eq!(scene.read("state").trim(), "running");
}

#[test]
fn an_engine_killed_in_the_window_is_thawed_for() {
    let scene = Scene::new(&[]);
    scene.engine("open").kill();
    eventually("thawed", || scene.said("thaw") == 1);
    scene.expect_one_thaw_by(ThawedBy::Guardian);
}

#[test]
fn an_engine_killed_while_thawing_is_thawed_for() {
    let scene = Scene::new(&[("thaw-takes", "0.5")]);
    let engine = scene.engine("open");
    scene.write("close", "");
    eventually("thawing", || scene.said("thawing") == 1);
    engine.kill();
    scene.expect_one_thaw_by(ThawedBy::Guardian);
}

#[test]
fn an_engine_stopped_while_freezing_is_thawed_for_at_the_deadline() {
    let scene = Scene::new(&[("freeze-takes", "1"), ("max-freeze", "300")]);
    let engine = scene.engine("freeze");
    engine.signal(Signal::STOP);
    eventually("thawed", || scene.said("thaw") == 1);
    engine.signal(Signal::CONT);
    eventually("told", || scene.read("engine").starts_with("failed: could not freeze"));
    scene.expect_one_thaw();
    assert_eq!(scene.said("frozen"), 0);
}

#[test]
fn an_engine_stopped_in_the_window_is_thawed_for_at_the_deadline() {
    let scene = Scene::new(&[("max-freeze", "500")]);
    let engine = scene.engine("open");
    engine.signal(Signal::STOP);
    eventually("thawed", || scene.said("thaw") == 1);
    engine.signal(Signal::CONT);
    scene.write("close", "");
    eventually("told", || scene.read("engine").contains("by: Guardian, in_time: false"));
    scene.expect_one_thaw();
}

#[test]
fn an_engine_stopped_while_thawing_is_thawed_for_at_the_deadline() {
    let scene = Scene::new(&[("thaw-takes", "1"), ("max-freeze", "500")]);
    let engine = scene.engine("open");
    scene.write("close", "");
    eventually("thawing", || scene.said("thawing") == 1);
    engine.signal(Signal::STOP);
    scene.write("thaw-takes", "0");
    eventually("thawed", || scene.said("thaw") == 1);
    engine.signal(Signal::CONT);
    eventually("told", || scene.read("engine").starts_with("Ok"));
    // The engine, whose program was ended, may try once more: twice does no harm.
    assert_eq!(scene.read("state").trim(), "running");
    assert!((1..=2).contains(&scene.said("thaw")) && !scene.journal().exists(), "{}", scene.report());
}

#[test]
fn a_guardian_that_is_killed_is_not_needed_by_a_living_engine() {
    let scene = Scene::new(&[]);
    let window = Window::freeze(&scene.plan(), &clock, &|| false).unwrap();
    kill_process(scene.guardian(), Signal::KILL).unwrap();
    let closed = window.thaw().unwrap();
    assert_eq!((closed.by, closed.in_time), (ThawedBy::Engine, true));
    scene.expect_one_thaw();
}

#[test]
fn a_guardian_lives_through_polite_signals() {
    let scene = Scene::new(&[]);
    let engine = scene.engine("open");
    let guardian = scene.guardian();
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        kill_process(guardian, signal).unwrap();
    }
    assert_eq!(rustix::process::getsid(Some(guardian)).unwrap(), guardian);
    std::thread::sleep(Duration::from_millis(100));
    engine.kill();
    eventually("thawed", || scene.said("thaw") == 1);
    scene.expect_one_thaw_by(ThawedBy::Guardian);
}

#[test]
fn what_both_left_frozen_the_next_run_thaws() {
    for (files, step) in [
        (&[("freeze-takes", "0.5")][..], "freeze"),
        (&[], "open"),
        (&[("thaw-takes", "0.5"), ("close", "")], "thawing"),
    ] {
        let scene = Scene::new(files);
        let engine = scene.engine(step);
        kill_process(scene.guardian(), Signal::KILL).unwrap();
        engine.kill();
        scene.expect_one_thaw_by(ThawedBy::Recovery);
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(scene.read("state").trim(), "running", "after {step}");
    }
}

#[test]
fn a_window_that_cannot_be_recovered_does_not_hide_the_others() {
    let scene = Scene::new(&[]);
    scene.engine("open").kill();
    eventually("thawed", || scene.said("thaw") == 1);
    let strange = scene.directory.join("windows/another.json");
    fs::write(&strange, "?").unwrap();
    let error = scene.recover().unwrap_err();
    assert_eq!((error.recovered.len(), error.failures.len()), (1, 1));
    assert!(error.to_string().contains("another.json"), "{error}");
    assert!(strange.exists() && !scene.journal().exists());
}

#[test]
fn nothing_to_recover_is_nothing() {
    assert_eq!(recover(Path::new("/nowhere/windows"), &clock, &quick(), &mut |_| {}).unwrap(), []);
}
