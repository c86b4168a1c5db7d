//! One run of a user's program: within a time limit, with the end of what it said.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io::{self, PipeReader, Read, Write as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::{FreezeError, FreezeErrorKind};
use crate::os::window as os;

/// How much of a program's output is kept: the end of it.
const OUTPUT_LEN: usize = 64 * 1024;

/// How often a program that says nothing is looked at. One that closes its output, as by ending, is
/// noticed at once.
const LOOK: Duration = Duration::from_millis(10);

/// How long a killed program is waited for. Only one that hangs in the kernel takes longer.
const KILL_LIMIT: Duration = Duration::from_secs(5);

/// How long a program that a dead run has left running may take to be gone once it is killed.
const END_LIMIT: Duration = Duration::from_secs(5);

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Exit {
    /// Its exit status; `None` if a signal ended it.
    pub(crate) code: Option<i32>,
    status: ExitStatus,
    /// The end of what it said, on both of its outputs.
    pub(crate) output: String,
}

impl Exit {
    /// Takes everything but status 0 for a failure. Gives what the program said.
    pub(crate) fn expect_success(self, argv: &[String]) -> Result<String, FreezeError> {
        if self.status.success() {
            return Ok(self.output);
        }
        let sentence = format!("`{}` failed ({})", argv.join(" "), self.status);
        Err(FreezeError::new(FreezeErrorKind::Failed, sentence).with_output(self.output))
    }
}

/// Finds out whether a program could be run at all.
pub(crate) fn check(argv: &[String]) -> Result<(), FreezeError> {
    let refuse = |sentence| Err(FreezeError::new(FreezeErrorKind::NotExecutable, sentence));
    let Some(program) = argv.first() else {
        return refuse("a program is empty; name its absolute path and its arguments".to_owned());
    };
    // Looking along a search path would find other programs in the guardian or after a crash.
    if !Path::new(program).is_absolute() {
        return refuse(format!("the program `{program}` must be given by its absolute path"));
    }
    match os::is_executable(Path::new(program)) {
        Ok(true) => Ok(()),
        Ok(false) => refuse(format!("the program {program} is not an executable file; see its mode")),
        Err(error) => refuse(format!("the program {program} cannot be found: {error}")),
    }
}

/// Runs a program without input; after `limit` it is killed with everything in its process group.
///
/// What it leaves running in the background when it ends in time is left alone: a lock may be held so.
pub(crate) fn run(argv: &[String], environment: &[(&str, &OsStr)], limit: Duration) -> Result<Exit, FreezeError> {
    run_as(argv, environment, None, limit, &|| true)
}

/// The same, as long as somebody wants it to go on.
pub(crate) fn run_while(
    argv: &[String],
    environment: &[(&str, &OsStr)],
    limit: Duration,
    go_on: &dyn Fn() -> bool,
) -> Result<Exit, FreezeError> {
    run_as(argv, environment, None, limit, go_on)
}

/// The same with something to read, if there is anything. Whether it was read is the program's business.
pub(crate) fn run_fed(
    argv: &[String],
    environment: &[(&str, &OsStr)],
    input: Option<&[u8]>,
    limit: Duration,
) -> Result<Exit, FreezeError> {
    run_as(argv, environment, input, limit, &|| true)
}

fn run_as(
    argv: &[String],
    environment: &[(&str, &OsStr)],
    input: Option<&[u8]>,
    limit: Duration,
    go_on: &dyn Fn() -> bool,
) -> Result<Exit, FreezeError> {
    check(argv)?;
    let started = Instant::now();
    let cannot = |error: io::Error| {
        FreezeError::new(FreezeErrorKind::NotExecutable, format!("`{}` cannot be run: {error}", argv.join(" ")))
    };
    let (output, mut child) = start(argv, environment, input).map_err(cannot)?;
    let mut output = Output { pipe: Some(output), kept: VecDeque::new() };
    let end = loop {
        if let Some(status) = child.try_wait().map_err(cannot)? {
            output.read_rest();
            return Ok(Exit { code: status.code(), status, output: output.into_text() });
        }
        let left = limit.saturating_sub(started.elapsed());
        if left.is_zero() {
            break format!("took longer than {:.1} s", limit.as_secs_f64());
        }
        if !go_on() {
            break "was to end before it was done".to_owned();
        }
        output.read_within(left.min(LOOK));
    };
    let gone = kill(&mut child);
    output.read_rest();
    let fate = if gone { "and was killed" } else { "and cannot be killed: it hangs in the kernel" };
    let sentence = format!("`{}` {end} {fate}", argv.join(" "));
    Err(FreezeError::new(FreezeErrorKind::TimedOut, sentence).with_output(output.into_text()))
}

/// Ends the programs of a dead run that have the entry `name=value` in their environment, but no daemon.
pub(crate) fn end_orphans(name: &str, value: &str) {
    end_all(|| os::groups_with_environment(name, value), os::end_group);
}

/// Ends every process that has the entry `name=value` in its environment, whatever session it went to.
pub(crate) fn end_every_one(name: &str, value: &str) {
    end_all(|| os::processes_with_environment(name, value), |number| os::end_process_with(number, name, value));
}

fn end_all(find: impl Fn() -> Vec<u32>, end: impl Fn(u32) -> io::Result<()>) {
    let given_up = Instant::now() + END_LIMIT;
    while Instant::now() < given_up {
        let found = find();
        if found.is_empty() {
            return;
        }
        for number in found {
            // Gone already, or somebody else's: nothing more can be done about it.
            let _ = end(number);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn start(argv: &[String], environment: &[(&str, &OsStr)], input: Option<&[u8]>) -> io::Result<(PipeReader, Child)> {
    let (output, stdout) = io::pipe()?;
    let stderr = stdout.try_clone()?;
    let mut command = Command::new(&argv[0]);
    command.args(&argv[1..]).envs(environment.iter().copied()).current_dir("/");
    command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() }).stdout(stdout).stderr(stderr);
    let mut child = os::in_own_group(&mut command).spawn()?;
    if let (Some(input), Some(mut stdin)) = (input, child.stdin.take()) {
        let input = input.to_vec();
        // Beside the look at what it says: neither may wait for the other. It ends with the program, and with what that left
        // running.
        std::thread::Builder::new().spawn(move || drop(stdin.write_all(&input)))?;
    }
    Ok((output, child))
}

/// Kills a child's process group; tells whether the child is gone.
fn kill(child: &mut Child) -> bool {
    // Not waited for yet, so the number is still its own. Fails only if everything in it has ended.
    let _ = os::end_group(child.id());
    let killed = Instant::now();
    while killed.elapsed() < KILL_LIMIT {
        if !matches!(child.try_wait(), Ok(None)) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    false
}

/// The end of what a program says.
struct Output {
    /// `None` once nobody writes to it any more.
    pipe: Option<PipeReader>,
    kept: VecDeque<u8>,
}

impl Output {
    /// Waits for output, and takes what there is.
    fn read_within(&mut self, limit: Duration) {
        match &self.pipe {
            None => std::thread::sleep(limit.min(Duration::from_millis(1))),
            Some(pipe) if os::wait_readable(pipe, limit).unwrap_or(true) => self.read_once(),
            Some(_) => {}
        }
    }

    /// Takes what has been said; somebody in the background may go on to hold the pipe.
    fn read_rest(&mut self) {
        // A background writer must not keep us here: no more than the pipe and the tail can hold.
        for _ in 0..4 {
            match &self.pipe {
                Some(pipe) if os::wait_readable(pipe, Duration::ZERO).unwrap_or(false) => self.read_once(),
                _ => return,
            }
        }
    }

    fn read_once(&mut self) {
        let mut buffer = [0; OUTPUT_LEN];
        match self.pipe.as_mut().map(|pipe| pipe.read(&mut buffer)) {
            Some(Ok(0) | Err(_)) | None => self.pipe = None,
            Some(Ok(len)) => {
                self.kept.extend(&buffer[..len]);
                self.kept.drain(..self.kept.len().saturating_sub(OUTPUT_LEN));
            }
        }
    }

    fn into_text(self) -> String {
        String::from_utf8_lossy(&Vec::from(self.kept)).into_owned()
    }
}
