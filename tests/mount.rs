//! `icecore mount`, through the kernel: needs root or fusermount3, and /dev/fuse.

mod damage;
mod life;
mod same;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::common::{Home, PATIENCE, args};

/// How often something is looked at that is waited for.
const STEP: Duration = Duration::from_millis(20);

/// Whether something can be mounted here; said loudly if not.
fn can_mount() -> bool {
    if fs::File::open("/dev/fuse").is_err() {
        icecore_testkit::skip("there is no /dev/fuse");
        return false;
    }
    rustix::process::geteuid().is_root() || icecore_testkit::may_act_as_root("mounting")
}

/// A mount that is taken away in the end.
struct Mount {
    directory: PathBuf,
    child: Child,
    stderr: Option<BufReader<ChildStderr>>,
}

impl Mount {
    /// Mounts at a directory of the home, and waits until it stands.
    fn new(home: &Home, options: &[&str]) -> Self {
        let directory = home.path("mnt");
        // One that a killed mount has left cannot be looked at.
        if !is_mounted(&directory) {
            fs::create_dir_all(&directory).unwrap();
        }
        let mut command = home.command(args!["mount", &directory, "--json"]);
        let mut child = command.args(options).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = child.stderr.take().map(BufReader::new);
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let mut mount = Self { directory, child, stderr };
        if line.is_empty() {
            mount.child.wait().unwrap();
            panic!("not mounted: {}", mount.said());
        }
        let document: Value = serde_json::from_str(&line).unwrap();
        crate::common::schema::check(&document);
        assert_eq!(document["mounted"], mount.directory.to_str().unwrap());
        mount
    }

    /// A place below the mount.
    fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.directory.join(path)
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end; the exit code, `None` after a signal.
    fn wait(&mut self) -> Option<i32> {
        until("it ends", || self.child.try_wait().unwrap().is_some());
        self.child.wait().unwrap().code()
    }

    /// What it said on stderr, to the end.
    fn said(&mut self) -> String {
        let stderr = self.stderr.take().unwrap();
        stderr.lines().map(|line| line.unwrap() + "\n").collect()
    }

    /// Ends it as a user does; what it said.
    fn end(mut self) -> String {
        self.signal(Signal::INT);
        assert_eq!(self.wait(), Some(0));
        assert!(!is_mounted(&self.directory));
        self.said()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if is_mounted(&self.directory) {
            let _ = rustix::mount::unmount(&self.directory, rustix::mount::UnmountFlags::DETACH);
        }
    }
}

fn is_mounted(directory: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    mounts.lines().any(|line| line.split(' ').nth(4) == directory.to_str())
}

/// Waits for what must come.
#[track_caller]
fn until(what: &str, is_so: impl FnMut() -> bool) {
    let mut is_so = is_so;
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        thread::sleep(STEP);
    }
}
