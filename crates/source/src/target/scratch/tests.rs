use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::fs::symlink;
use std::time::Instant;

use super::*;

const HOST: &str = "here";

struct Ground {
    directory: tempfile::TempDir,
}

impl Ground {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("parent")).unwrap();
        Self { directory }
    }

    fn registry(&self) -> PathBuf {
        self.directory.path().join("state/scratch")
    }

    fn parent(&self) -> PathBuf {
        self.directory.path().join("parent")
    }

    fn make(&self) -> Scratch {
        Scratch::make(&self.registry(), &self.parent(), HOST).unwrap()
    }

    /// What a run leaves that is killed: its lock goes, nothing else.
    fn kill(scratch: Scratch) -> PathBuf {
        let path = scratch.path();
        let copy = scratch.record.with_extension("kept");
        fs::copy(&scratch.record, &copy).unwrap();
        let record = scratch.record.clone();
        let aside = path.with_extension("aside");
        fs::rename(&path, &aside).unwrap();
        drop(scratch);
        fs::rename(&aside, &path).unwrap();
        fs::rename(copy, record).unwrap();
        path
    }

    /// What comes of clearing away `count` directories. A program that another test is starting may hold a lock for a moment
    /// longer.
    fn cleared(&self, count: usize) -> Vec<Result<PathBuf, ScratchError>> {
        let begun = Instant::now();
        loop {
            let cleared = clear_away(&self.registry(), HOST);
            if cleared.len() >= count || begun.elapsed() > Duration::from_secs(30) {
                return cleared;
            }
        }
    }

    fn counts(&self) -> (usize, usize) {
        let count = |path: &Path| path.read_dir().map_or(0, Iterator::count);
        (count(&self.parent()), count(&self.registry()))
    }
}

#[test]
fn it_is_private_and_goes_with_everything_in_it() {
    let ground = Ground::new();
    let scratch = ground.make();
    assert_eq!(fs::metadata(scratch.path()).unwrap().permissions().mode() & 0o777, 0o700);
    fs::create_dir_all(scratch.path().join("a/b")).unwrap();
    fs::write(scratch.path().join("a/b/file"), "content").unwrap();
    fs::set_permissions(scratch.path().join("a"), fs::Permissions::from_mode(0o500)).unwrap();
    symlink(ground.directory.path(), scratch.path().join("link")).unwrap();
    scratch.remove().unwrap();
    assert_eq!(ground.counts(), (0, 0));
    drop(ground.make());
    assert_eq!(ground.counts(), (0, 0));
}

#[test]
fn what_a_dead_run_left_is_deleted_and_what_a_living_one_uses_is_not() {
    let ground = Ground::new();
    let living = ground.make();
    fs::write(living.path().join("file"), "content").unwrap();
    let dead = Ground::kill(ground.make());
    fs::write(dead.join("file"), "content").unwrap();
    fs::create_dir(ground.parent().join("icecore-scratch-0123456789abcdef")).unwrap();
    let cleared: Vec<_> = ground.cleared(1).into_iter().map(Result::unwrap).collect();
    assert_eq!(cleared, std::slice::from_ref(&dead));
    assert!(!dead.exists() && living.path().join("file").exists());
    assert!(clear_away(&ground.registry(), HOST).is_empty());
    // What no record names is not ours.
    assert_eq!(ground.counts(), (2, 1));
    living.remove().unwrap();
}

#[test]
fn a_record_leads_to_nothing_but_a_name_of_ours() {
    let ground = Ground::new();
    drop(ground.make());
    let victim = ground.parent().join("victim");
    fs::create_dir(&victim).unwrap();
    let parent = ground.parent().into_os_string().into_vec();
    for (stem, token) in [("0123456789abcdef", "fedcba9876543210"), ("../victim", "../victim"), ("x", "x")] {
        let record = ground.registry().join(format!("{}.json", stem.replace('/', "_")));
        let (host, parent_inode) = (HOST.to_owned(), identity(&ground.parent()).unwrap().1);
        let place = Place { host, parent: parent.clone(), parent_inode, token: token.into() };
        fs::write(&record, serde_json::to_vec(&place).unwrap()).unwrap();
        let [Err(ScratchError::Record { .. })] = &ground.cleared(1)[..] else { panic!("{token}") };
        fs::remove_file(record).unwrap();
    }
    fs::write(ground.registry().join("0123456789abcdef.json"), "torn").unwrap();
    assert!(matches!(&ground.cleared(1)[..], [Err(ScratchError::Record { .. })]));
    assert!(victim.exists());
}

#[test]
fn one_whose_disk_is_away_waits_for_it() {
    let ground = Ground::new();
    let dead = Ground::kill(ground.make());
    let away = ground.directory.path().join("away");
    fs::rename(ground.parent(), &away).unwrap();
    assert!(clear_away(&ground.registry(), HOST).is_empty());
    // Its mount point, empty as it is without the disk.
    fs::create_dir(ground.parent()).unwrap();
    assert!(clear_away(&ground.registry(), HOST).is_empty());
    assert_eq!(ground.counts(), (0, 1));
    fs::remove_dir(ground.parent()).unwrap();
    fs::rename(&away, ground.parent()).unwrap();
    // A state directory on a network, seen by another host.
    assert!(clear_away(&ground.registry(), "elsewhere").is_empty());
    assert_eq!(ground.counts(), (1, 1));
    assert_eq!(ground.cleared(1).len(), 1);
    assert!(!dead.exists());
    // Killed before it was made, or after it was deleted.
    let dead = Ground::kill(ground.make());
    fs::remove_dir(dead).unwrap();
    let begun = Instant::now();
    while ground.counts() != (0, 0) {
        assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", ground.counts());
        assert!(clear_away(&ground.registry(), HOST).is_empty());
    }
    assert!(matches!(
        Scratch::make(&ground.registry(), &ground.directory.path().join("missing"), HOST),
        Err(ScratchError::Unusable { .. })
    ));
}

#[cfg(target_os = "linux")]
#[test]
fn programs_that_work_with_it_are_ended_whoever_leads_them() {
    use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
    use std::process::Command;

    for dies in [false, true] {
        let ground = Ground::new();
        let scratch = ground.make();
        let token = scratch.place.token.clone();
        let mut scratch = Some(scratch);
        if dies {
            scratch.take().map(Ground::kill).unwrap();
        }
        let sleep = |program: &str, token: &str| {
            let mut command = Command::new(program);
            command.args(["/bin/sleep", "600"]).env(MARK, token);
            command
        };
        let mut children = [
            sleep("/usr/bin/env", &token).process_group(0).spawn().unwrap(),
            // In a session of its own, and not the leader of a group.
            sleep("/usr/bin/setsid", &token).spawn().unwrap(),
            sleep("/usr/bin/env", &token).spawn().unwrap(),
        ];
        let mut other = sleep("/usr/bin/env", "another").spawn().unwrap();
        match scratch {
            Some(scratch) => scratch.remove().unwrap(),
            None => assert_eq!(ground.cleared(1).len(), 1),
        }
        for child in &mut children {
            assert_eq!(child.wait().unwrap().signal(), Some(9));
        }
        assert!(other.try_wait().unwrap().is_none());
        other.kill().unwrap();
        other.wait().unwrap();
    }
}
