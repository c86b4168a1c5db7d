use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

/// A program that is unlike any other test's: freezers of the same program take each other's for orphans.
fn shell(script: &str) -> Vec<String> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let script = format!("{script}\n# {}", COUNT.fetch_add(1, Ordering::Relaxed));
    ["/bin/sh", "-c", &script].map(str::to_owned).to_vec()
}

fn freezer(freeze: &str, thaw: &str, status: Option<&str>) -> CommandFreezer {
    CommandFreezer::open(&CommandConfig {
        freeze: shell(freeze),
        thaw: shell(thaw),
        status: status.map(shell),
        timeout_ms: 10_000,
        stop: None,
        start: None,
    })
}

const LIMIT: Duration = Duration::from_secs(5);

#[test]
fn what_cannot_be_run_is_told_before_anything_is_frozen() {
    let directory = tempfile::tempdir().unwrap();
    let plain = directory.path().join("plain");
    std::fs::write(&plain, "#!/bin/sh\n").unwrap();
    let plain = plain.to_str().unwrap();
    for (argv, said) in [
        (vec![], "empty"),
        (vec!["thaw"], "absolute"),
        (vec!["/nowhere/thaw"], "/nowhere/thaw cannot be found"),
        (vec![plain], "not an executable file"),
        (vec!["/"], "not an executable file"),
    ] {
        let mut freezer = freezer("true", "true", None);
        freezer.config.thaw = argv.into_iter().map(str::to_owned).collect();
        let error = freezer.check().unwrap_err();
        assert_eq!(error.kind, FreezeErrorKind::NotExecutable);
        assert!(error.message.contains(said), "{error}");
    }
    assert_eq!(freezer("true", "true", None).check(), Ok(()));
}

#[test]
fn an_instance_that_is_frozen_already_is_refused() {
    assert_eq!(freezer("true", "true", Some("exit 3")).check().unwrap_err().kind, FreezeErrorKind::Refused);
    assert_eq!(freezer("true", "true", Some("exit 0")).check(), Ok(()));
    assert_eq!(freezer("true", "true", Some("exit 9")).check(), Ok(()));
}

#[test]
fn a_thaw_that_the_status_contradicts_has_failed() {
    assert_eq!(freezer("true", "true", Some("exit 3")).thaw(LIMIT).unwrap_err().kind, FreezeErrorKind::Failed);
    assert_eq!(freezer("true", "true", Some("exit 1")).thaw(LIMIT), Ok(()));
}

#[test]
fn an_instance_that_was_at_work_before_its_thaw_is_noticed_by_whoever_froze_it() {
    let at_work = "its status program said, before the thaw, that it was at work";
    for (status, noticed) in [(Some("exit 0"), Some(at_work)), (Some("exit 9"), None), (None, None)] {
        let mut freezer = freezer("true", "true", status);
        freezer.freeze(LIMIT).unwrap();
        freezer.thaw(LIMIT).unwrap();
        // Awake by now, as it should be.
        freezer.thaw(LIMIT).unwrap();
        assert_eq!(freezer.was_awake(LIMIT).as_deref(), noticed);
    }
    let mut other = freezer("true", "true", Some("exit 0"));
    other.thaw(LIMIT).unwrap();
    assert_eq!(other.was_awake(LIMIT), None);
}

#[test]
fn a_failure_shows_status_and_the_end_of_the_output() {
    let script = "head -c 200000 /dev/zero | tr '\\0' a; echo; echo last words >&2; exit 7";
    let error = freezer(script, "true", None).freeze(LIMIT).unwrap_err();
    assert_eq!(error.kind, FreezeErrorKind::Failed);
    assert!(error.message.contains("exit status: 7"), "{}", error.message);
    let output = error.output.unwrap();
    assert!(output.ends_with("a\nlast words\n"));
    assert_eq!(output.len(), 64 * 1024);
}

#[test]
fn a_program_that_takes_too_long_is_killed_with_all_that_it_started() {
    let directory = tempfile::tempdir().unwrap();
    let mark = directory.path().join("mark");
    let script = format!("(sleep 0.6; touch {}) & echo waiting; wait", mark.display());
    let begun = Instant::now();
    let error = freezer(&script, "true", None).freeze(Duration::from_millis(200)).unwrap_err();
    assert_eq!(error.kind, FreezeErrorKind::TimedOut);
    assert_eq!(error.output.as_deref(), Some("waiting\n"));
    assert!(begun.elapsed() < Duration::from_millis(550), "{:?}", begun.elapsed());
    std::thread::sleep(Duration::from_millis(700));
    assert!(!mark.exists());
}

#[test]
fn what_a_freeze_leaves_in_the_background_lives_and_is_not_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let mark = directory.path().join("mark");
    let begun = Instant::now();
    let mut freezer = freezer(&format!("(sleep 0.5; touch {}) & true", mark.display()), "true", None);
    freezer.freeze(LIMIT).unwrap();
    assert!(begun.elapsed() < Duration::from_millis(400), "{:?}", begun.elapsed());
    freezer.thaw(LIMIT).unwrap();
    std::thread::sleep(Duration::from_millis(700));
    assert!(mark.exists());
}

#[test]
fn programs_have_no_input_and_stand_in_the_root() {
    assert_eq!(freezer("read line && exit 1; [ \"$PWD\" = / ]", "true", None).freeze(LIMIT), Ok(()));
}

#[test]
fn a_freeze_that_outlived_its_engine_is_ended_before_the_thaw() {
    let directory = tempfile::tempdir().unwrap();
    let frozen = directory.path().join("frozen");
    let mut mine = freezer(&format!("sleep 1; touch {}", frozen.display()), "true", None);
    let mut orphan = Command::new("/bin/sh");
    orphan.args(&mine.config.freeze[1..]).env(MARK, mine.mark()).stdout(Stdio::null());
    let mut orphan = os::in_own_group(&mut orphan).spawn().unwrap();
    // Until its environment is its own.
    while os::groups_with_environment(MARK, &mine.mark()).is_empty() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let others = freezer("true", "true", None);
    assert!(os::groups_with_environment(MARK, &others.mark()).is_empty());
    mine.thaw(LIMIT).unwrap();
    assert!(!orphan.wait().unwrap().success());
    assert!(!Path::new(&frozen).exists());
}
