#![expect(clippy::print_stderr, reason = "a test that cannot run here must say so")]

use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc::TryRecvError;

use super::*;

const LIMIT: Duration = Duration::from_secs(5);

/// An ext4 file system on a loop device, unmounted and thawed in the end.
struct Mounted {
    directory: tempfile::TempDir,
}

impl Mounted {
    /// `None`, with a word about it, where that is not possible.
    fn try_new() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let image = directory.path().join("image");
        std::fs::create_dir(directory.path().join("mount")).unwrap();
        File::create(&image).unwrap().set_len(16 << 20).unwrap();
        let mounted = Self { directory };
        let ready = run("mkfs.ext4", &["-q", image.to_str().unwrap()])
            && run("mount", &["-o", "loop", image.to_str().unwrap(), mounted.path().to_str().unwrap()]);
        if !ready {
            eprintln!("SKIPPED: no loop-mounted ext4 here (root, mkfs.ext4 and loop devices are needed)");
        }
        ready.then_some(mounted)
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("mount")
    }

    fn freezer(&self, avoid: Vec<PathBuf>) -> FilesystemFreezer {
        FilesystemFreezer::open(&FsfreezeConfig { mount: self.path(), avoid })
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = self.freezer(vec![]).thaw(LIMIT);
        run("umount", &[self.path().to_str().unwrap()]);
    }
}

fn run(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).stderr(std::process::Stdio::null()).status().is_ok_and(|end| end.success())
}

#[test]
fn a_frozen_file_system_lets_nobody_write() {
    let Some(mounted) = Mounted::try_new() else { return };
    let mut freezer = mounted.freezer(vec!["/proc".into()]);
    freezer.check().unwrap();
    freezer.freeze(LIMIT).unwrap();

    let (done, writes) = mpsc::channel();
    let file = mounted.path().join("file");
    std::thread::spawn(move || {
        std::fs::write(file, "x").unwrap();
        done.send(()).unwrap();
    });
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(writes.try_recv(), Err(TryRecvError::Empty));

    let mut second = mounted.freezer(vec![]);
    assert_eq!(second.freeze(LIMIT).unwrap_err().kind, FreezeErrorKind::Refused);
    second.thaw(LIMIT).unwrap();
    assert_eq!(writes.try_recv(), Err(TryRecvError::Empty), "the freeze of somebody else is not ours to end");

    freezer.thaw(LIMIT).unwrap();
    writes.recv_timeout(LIMIT).unwrap();
    freezer.thaw(LIMIT).unwrap();
}

#[test]
fn a_file_system_that_somebody_else_has_thawed_is_noticed_by_whoever_froze_it() {
    let Some(mounted) = Mounted::try_new() else { return };
    let mut freezer = mounted.freezer(vec![]);
    freezer.freeze(LIMIT).unwrap();
    freezer.thaw(LIMIT).unwrap();
    freezer.thaw(LIMIT).unwrap();
    assert_eq!(freezer.was_awake(LIMIT), None);
    freezer.freeze(LIMIT).unwrap();
    mounted.freezer(vec![]).thaw(LIMIT).unwrap();
    freezer.thaw(LIMIT).unwrap();
    assert!(freezer.was_awake(LIMIT).unwrap().contains("not frozen any more"));
    assert_eq!(mounted.freezer(vec![]).was_awake(LIMIT), None);
}

#[test]
fn what_is_written_to_must_not_lie_on_it() {
    let Some(mounted) = Mounted::try_new() else { return };
    let state = mounted.path().join("state/not/made/yet");
    let error = mounted.freezer(vec!["/proc".into(), state.clone()]).check().unwrap_err();
    assert_eq!(error.kind, FreezeErrorKind::Refused);
    assert!(error.message.contains(state.to_str().unwrap()), "{error}");
}

#[test]
fn only_mount_points_are_frozen() {
    let directory = tempfile::tempdir().unwrap();
    let check = |mount: PathBuf| FilesystemFreezer::open(&FsfreezeConfig { mount, avoid: vec![] }).check();
    let error = check(directory.path().to_owned()).unwrap_err();
    assert!(error.message.contains("no mount point"), "{error}");
    assert!(check(directory.path().join("missing")).is_err());
}

#[test]
fn a_file_system_that_cannot_be_frozen_says_so() {
    let mut proc = FilesystemFreezer::open(&FsfreezeConfig { mount: "/proc".into(), avoid: vec![] });
    let kind = proc.freeze(LIMIT).unwrap_err().kind;
    assert!(matches!(kind, FreezeErrorKind::Refused | FreezeErrorKind::Unauthorized), "{kind:?}");
}
