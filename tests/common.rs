//! What the integration tests share: a user with an empty home who runs the built program, and trees to compare.

mod compare;
mod content;
pub mod schema;

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use std::{fmt, fs};

use serde_json::Value;
use tempfile::TempDir;

pub use self::compare::{assert_same, differences, rsync_differences};
pub use self::content::{noise, text, write};

/// A command that takes longer hangs. Generous: debug builds run beside other work.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// A step of the coarsest clock that kernels stamp files with, and some more: what was written before it is not racy.
const TICK: Duration = Duration::from_millis(40);

/// Arguments of several types: strings, paths, bytes of the system.
macro_rules! args {
    ($($argument:expr),* $(,)?) => {
        [$(std::ffi::OsString::from($argument)),*]
    };
}
pub(crate) use args;

/// Waits until nothing that was written before looks as if it could still change unseen.
pub fn settle() {
    thread::sleep(TICK);
}

/// A user on a machine of her own: home, data, state and temporary files stand in one directory, which goes with this.
#[derive(Debug)]
pub struct Home {
    directory: TempDir,
    environment: Vec<(OsString, OsString)>,
}

impl Home {
    /// A user who has configured nothing.
    pub fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("icecore-test-").tempdir().expect("a temporary directory");
        for name in ["home", "tmp"] {
            fs::create_dir(directory.path().join(name)).unwrap();
        }
        Self { directory, environment: Vec::new() }
    }

    /// A user with a repository at [`Self::repository`], which the environment names with its password.
    pub fn with_repository() -> Self {
        let mut home = Self::new();
        let (repository, password) = (home.path("repository"), home.path("password"));
        home.ok(args!["init", "--repo", &repository, "--generate-password", &password]);
        home.set("ICECORE_REPOSITORY", repository);
        home.set("ICECORE_PASSWORD_FILE", password);
        home
    }

    /// Sets a variable of the environment for all commands that follow.
    pub fn set(&mut self, name: &str, value: impl Into<OsString>) {
        self.environment.push((name.into(), value.into()));
    }

    /// A place in the directory.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The place of a directory that is made.
    pub fn make_dir(&self, name: impl AsRef<Path>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(&path).unwrap();
        path
    }

    /// The repository of [`Self::with_repository`].
    pub fn repository(&self) -> PathBuf {
        self.path("repository")
    }

    /// The objects of the repository whose keys begin with `kind/`, sorted: `packs`, `index`, `snapshots`, `keys`.
    pub fn objects(&self, kind: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut pending = vec![self.repository().join(kind)];
        while let Some(directory) = pending.pop() {
            for entry in fs::read_dir(&directory).into_iter().flatten() {
                let entry = entry.unwrap();
                if entry.file_type().unwrap().is_dir() { pending.push(entry.path()) } else { found.push(entry.path()) }
            }
        }
        found.sort();
        found
    }

    /// The bytes of all packs of the repository.
    pub fn stored(&self) -> u64 {
        self.objects("packs").iter().map(|pack| fs::metadata(pack).unwrap().len()).sum()
    }

    /// The program with arguments, in this user's environment and no other.
    pub fn command<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_icecore"));
        command.args(arguments).env_clear().current_dir(self.path("home"));
        command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("HOME", self.path("home")).env("TMPDIR", self.path("tmp")).env("TZ", "UTC");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs the program to its end.
    pub fn run<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Outcome {
        Running::start(self.command(arguments)).finish()
    }

    /// Runs the program, which must end well.
    pub fn ok<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Outcome {
        self.run(arguments).expect(0)
    }

    /// Runs the program with `--json`, which must end well, for its document.
    pub fn json<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Value {
        let arguments = arguments.into_iter().map(|argument| argument.as_ref().to_owned());
        self.ok(arguments.chain(["--json".into()])).json()
    }

    /// Takes a snapshot of `path` with more arguments; its JSON document.
    pub fn backup(&self, path: &Path, more: &[&str]) -> Value {
        self.json(args!["backup", path].into_iter().chain(more.iter().map(OsString::from)))
    }

    /// Restores what `target` (`SNAP[:PATH]`) names into a new directory of that name, whole.
    pub fn restore(&self, target: impl AsRef<OsStr>, name: &str) -> PathBuf {
        let to = self.path(name);
        self.ok(args!["restore", target.as_ref(), "--to", &to]);
        to
    }

    /// Fails unless `check` with these arguments finds the repository sound.
    pub fn check(&self, more: &[&str]) {
        self.ok(["check"].iter().chain(more));
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // Only root removes what stands in a directory that nobody may write to.
        if !rustix::process::geteuid().is_root() {
            let _ = Command::new("chmod").args(["-R", "u+rwx"]).arg(self.directory.path()).output();
        }
    }
}

/// A program that was started, with its output being collected.
#[derive(Debug)]
pub struct Running {
    child: Child,
    stdout: Option<thread::JoinHandle<io::Result<Vec<u8>>>>,
    stderr: Option<thread::JoinHandle<io::Result<Vec<u8>>>>,
    line: String,
}

impl Running {
    /// Starts it, with nothing to read from stdin.
    pub fn start(mut command: Command) -> Self {
        let line = format!("{command:?}");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{line}: {error}"));
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        Self { child, stdout: stdout.map(collect), stderr: stderr.map(collect), line }
    }

    /// Its process, for signals.
    pub fn id(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.child)
    }

    /// Sends it a signal; one that has ended does not mind.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let _ = rustix::process::kill_process(self.id(), signal);
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits until it ends. One that does not is killed, and the test fails.
    pub fn finish(mut self) -> Outcome {
        let status = self.wait(PATIENCE);
        let stdout = self.stdout.take().map(gather).unwrap_or_default();
        let stderr = self.stderr.take().map(gather).unwrap_or_default();
        let outcome = |status| Outcome { status, stdout, stderr, line: self.line.clone() };
        match status {
            Some(status) => outcome(status),
            None => panic!("did not end within {PATIENCE:?}: {}", outcome(ExitStatus::default())),
        }
    }

    fn wait(&mut self, patience: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return Some(status);
            }
            if Instant::now() > deadline {
                self.child.kill().unwrap();
                self.child.wait().unwrap();
                return None;
            }
            thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A test that failed half-way leaves nothing running.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(mut from: impl Read + Send + 'static) -> thread::JoinHandle<io::Result<Vec<u8>>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).map(|_| bytes)
    })
}

fn gather(collected: thread::JoinHandle<io::Result<Vec<u8>>>) -> Vec<u8> {
    collected.join().unwrap().unwrap()
}

/// How a program ended and what it said.
#[derive(Debug, Clone)]
pub struct Outcome {
    status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    line: String,
}

impl Outcome {
    /// The exit code; `None` after a signal.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// The signal that ended it.
    pub fn signal(&self) -> Option<i32> {
        self.status.signal()
    }

    /// What it printed, as text.
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// What it said, as text.
    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// Fails the test if it ended with another code, or panicked on the way.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code(), Some(code), "{self}");
        assert!(!self.err().contains("panicked at"), "{self}");
        self
    }

    /// Fails the test unless it said each of these on stderr.
    #[track_caller]
    pub fn said(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(self.err().contains(text), "{text:?} was not said: {self}");
        }
        self
    }

    /// Its stdout as one JSON document with a version, which is as documented.
    #[track_caller]
    pub fn json(&self) -> Value {
        let document: Value = serde_json::from_slice(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self}"));
        assert_eq!(document["version"], 1, "{self}");
        schema::check(&document);
        document
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}\n--- stdout\n{}\n--- stderr\n{}", self.line, self.status, self.out(), self.err())
    }
}

/// A number of a JSON document.
#[track_caller]
pub fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}
