use std::time::Instant;

use super::*;

const NOW: Timestamp = Timestamp { seconds: 7, nanos: 0 };

/// A program that appends what it is told to a file, and then exits with a status.
fn destroyer(log: &Path, status: i32) -> Made {
    let script = format!("echo \"$ICECORE_INSTANCE $ICECORE_SNAPSHOT\" >>'{}'; exit {status}", log.display());
    Made::Programs { destroy: ["/bin/sh", "-c", &script].map(str::to_owned).to_vec(), timeout_ms: 10_000 }
}

fn write(directory: &Path, token: &str, made: Made) -> Record {
    Record::write(directory, "a/b", token, made, NOW).unwrap()
}

/// What comes of recovering `count` snapshots. A program that another test is starting may hold a lock for a moment longer.
fn recovered(directory: &Path, count: usize) -> Vec<Result<Leftover, CaptureError>> {
    let begun = Instant::now();
    loop {
        let recovered = recover(directory, Duration::MAX);
        if recovered.len() == count || begun.elapsed() > Duration::from_secs(20) {
            return recovered;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_dead_run_is_cleared_away_after_and_a_living_one_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let (captures, log) = (directory.path().join("captures"), directory.path().join("log"));
    assert!(recover(&captures, Duration::MAX).is_empty());
    let living = write(&captures, "t1", destroyer(&log, 0));
    drop(write(&captures, "t2", destroyer(&log, 0)));
    let recovered = recovered(&captures, 1);
    assert_eq!(recovered.len(), 1);
    assert!(recovered[0].as_ref().unwrap().what.contains("t2"));
    assert_eq!(fs::read_to_string(&log).unwrap(), "a/b t2\n");
    assert!(recover(&captures, Duration::MAX).is_empty(), "it is done once");
    living.destroy(Duration::MAX).unwrap();
    assert_eq!(fs::read_to_string(&log).unwrap(), "a/b t2\na/b t1\n");
    assert_eq!(fs::read_dir(&captures).unwrap().count(), 0);
}

#[test]
fn what_cannot_be_destroyed_stays_recorded_and_is_told_with_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let (captures, log) = (directory.path().join("captures"), directory.path().join("log"));
    let told = write(&captures, "t3", destroyer(&log, 9)).destroy(Duration::MAX).unwrap_err().to_string();
    for part in ["t3", "instance a/b", "exit status: 9", "ICECORE_SNAPSHOT=t3 /bin/sh -c", "a%2fb.t3.json"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    for _ in 0..2 {
        assert!(matches!(recovered(&captures, 1).as_slice(), [Err(CaptureError::Destroy { .. })]));
    }
    assert_eq!(fs::read_to_string(&log).unwrap(), "a/b t3\n".repeat(3));
}

#[test]
fn records_that_cannot_be_read_are_left_alone_and_told() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("torn.json"), "{\"version\":1,").unwrap();
    drop(write(directory.path(), "t4", Made::Btrfs { snapshots: vec![] }));
    let newer = directory.path().join("a%2fb.t4.json");
    fs::write(&newer, fs::read_to_string(&newer).unwrap().replace("\"version\":1", "\"version\":2")).unwrap();
    let told: Vec<_> = recovered(directory.path(), 2).into_iter().map(|it| it.unwrap_err().to_string()).collect();
    assert!(told.len() == 2 && told[0].contains("newer icecore") && told[1].contains("torn.json"), "{told:?}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
}

#[test]
fn only_what_is_named_as_ours_is_destroyed() {
    let directory = tempfile::tempdir().unwrap();
    let theirs = directory.path().join("data");
    fs::create_dir(&theirs).unwrap();
    let record = write(directory.path(), "t5", Made::Btrfs { snapshots: vec![theirs.clone()] });
    assert!(record.destroy(Duration::MAX).unwrap_err().to_string().contains("not named as a snapshot of icecore"));
    assert!(theirs.exists());
}

#[test]
fn programs_of_a_dead_run_are_ended_first() {
    let directory = tempfile::tempdir().unwrap();
    let (captures, log) = (directory.path().join("captures"), directory.path().join("log"));
    drop(write(&captures, "t6orphan", destroyer(&log, 0)));
    let mut orphan = std::process::Command::new("/bin/sleep");
    let mut orphan = os::in_own_group(orphan.arg("600").env(SNAPSHOT, "t6orphan")).spawn().unwrap();
    while os::groups_with_environment(SNAPSHOT, "t6orphan").is_empty() {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(matches!(recovered(&captures, 1).as_slice(), [Ok(_)]));
    assert!(!orphan.wait().unwrap().success());
}
