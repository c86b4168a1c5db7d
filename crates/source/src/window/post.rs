//! The guardian as the engine sees it.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::guardian::{BEGIN, READY, THAWED};
use super::place::Place;
use crate::os::window as os;

/// How long a guardian may take to be ready.
const START_LIMIT: Duration = Duration::from_secs(20);

/// How long one that is told to leave is waited for, to leave no zombie. It ends in any case.
const LEAVE_LIMIT: Duration = Duration::from_secs(2);

/// A guardian at its post. Dropped without [`relieve`](Self::relieve), it thaws.
#[derive(Debug)]
pub(super) struct Post {
    child: Child,
    /// The pipe whose end tells of the engine's.
    input: Option<ChildStdin>,
}

impl Post {
    /// Starts the guardian of a journal, and returns once it is ready; or says why it is not.
    pub(super) fn start(program: &[OsString], place: &Place) -> Result<Self, String> {
        let (name, arguments) = program.split_first().ok_or("no program is given for it")?;
        let log = File::create(&place.log).map_err(|error| format!("{}: {error}", place.log.display()))?;
        // Locks and pipes that this process was given must not live as long as the guardian.
        os::keep_descriptors_private();
        let mut command = Command::new(name);
        command.args(arguments).arg(&place.journal).current_dir("/");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().map_err(|error| format!("{}: {error}", name.display()))?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let mut post = Self { child, input };
        let ready = output.is_some_and(|output| is_ready(BufReader::new(output)));
        if ready {
            return Ok(post);
        }
        // Nothing is frozen yet. It may have ended by itself.
        let _ = post.child.kill();
        post.relieve();
        let said = fs::read_to_string(&place.log).unwrap_or_default();
        Err(if said.trim().is_empty() { "it said nothing".to_owned() } else { said.trim().to_owned() })
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Starts the deadline.
    pub(super) fn begin(&mut self) -> io::Result<()> {
        self.say(BEGIN)
    }

    /// Lets the guardian go: the thaw is confirmed, or nothing was frozen.
    pub(super) fn relieve(mut self) {
        // One that is gone needs no word.
        let _ = self.say(THAWED);
        self.input = None;
        let told = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && told.elapsed() < LEAVE_LIMIT {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn say(&mut self, word: &str) -> io::Result<()> {
        let input = self.input.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        input.write_all(format!("{word}\n").as_bytes())
    }
}

/// Waits for the word; whatever a wrapper around the guardian says before it does not matter.
fn is_ready(output: impl BufRead + Send + 'static) -> bool {
    let (heard, ready) = mpsc::channel();
    let listen = move || {
        let ready = output.lines().map_while(Result::ok).any(|line| line == READY);
        // Nobody listens any more if it took too long.
        let _ = heard.send(ready);
    };
    let listening = std::thread::Builder::new().name("guardian-ready".to_owned()).spawn(listen);
    listening.is_ok() && ready.recv_timeout(START_LIMIT).unwrap_or(false)
}
