//! The kernel freezes a whole file system.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use super::{FreezeError, FreezeErrorKind, Freezer, FsfreezeConfig, Status};
use crate::os::window::{self as os, Turn};

/// Freezes and thaws the file system of a mount point.
#[derive(Debug)]
pub(super) struct FilesystemFreezer {
    config: FsfreezeConfig,
    /// This very object found it frozen by somebody else, whose freeze is not ours to end.
    foreign: bool,
    /// This very object froze it, and has not thawed it yet.
    frozen: bool,
    /// It was not frozen any more when this object came to thaw it.
    awake: bool,
}

impl FilesystemFreezer {
    pub(super) fn open(config: &FsfreezeConfig) -> Self {
        Self { config: config.clone(), foreign: false, frozen: false, awake: false }
    }

    /// Lets the kernel do `what` in a thread of its own: it cannot be interrupted while it writes out
    /// everything or waits for a device.
    fn ask(&self, verb: &str, limit: Duration, what: fn(&File) -> io::Result<Turn>) -> Result<Turn, FreezeError> {
        let failed = |error: io::Error| self.error(kind_of(&error), format!("could not be {verb}: {error}"));
        let directory = File::open(&self.config.mount).map_err(failed)?;
        let (answer, answered) = mpsc::channel();
        let asking = move || {
            // Nobody listens any more if it took too long.
            let _ = answer.send(what(&directory));
        };
        std::thread::Builder::new().name(format!("{verb}-filesystem")).spawn(asking).map_err(failed)?;
        match answered.recv_timeout(limit) {
            Ok(answer) => answer.map_err(failed),
            Err(_) => {
                Err(self
                    .error(FreezeErrorKind::TimedOut, format!("was not {verb} within {:.1} s", limit.as_secs_f64())))
            }
        }
    }

    fn error(&self, kind: FreezeErrorKind, what: impl AsRef<str>) -> FreezeError {
        FreezeError::new(kind, format!("{} {}", self.describe(), what.as_ref()))
    }
}

impl Freezer for FilesystemFreezer {
    fn check(&mut self) -> Result<(), FreezeError> {
        let refused = |what: String| self.error(FreezeErrorKind::Refused, what);
        let unknown = |error: io::Error| refused(format!("cannot be looked at: {error}"));
        let (device, is_mount_point) = os::filesystem_of(&self.config.mount).map_err(unknown)?;
        if !is_mount_point {
            return Err(refused("is no mount point; name the one of the file system to be frozen".to_owned()));
        }
        for path in &self.config.avoid {
            let existing = path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
            if os::filesystem_of(existing).map_err(unknown)?.0 == device {
                return Err(refused(format!(
                    "must not be frozen: {} lies on it, and is written to while it is; move one of them",
                    path.display()
                )));
            }
        }
        if !os::is_administrator() {
            return Err(self.error(FreezeErrorKind::Unauthorized, "can be frozen by root only (CAP_SYS_ADMIN)"));
        }
        Ok(())
    }

    fn freeze(&mut self, limit: Duration) -> Result<(), FreezeError> {
        match self.ask("frozen", limit, os::freeze_filesystem)? {
            Turn::Done => {
                self.frozen = true;
                Ok(())
            }
            Turn::Already => {
                self.foreign = true;
                let sentence = "was frozen already, by somebody else; find out by whom, or `fsfreeze --unfreeze` it";
                Err(self.error(FreezeErrorKind::Refused, sentence))
            }
        }
    }

    fn thaw(&mut self, limit: Duration) -> Result<(), FreezeError> {
        if self.foreign {
            return Ok(());
        }
        // Only the first attempt tells: a later one may find what an earlier one has done at last.
        let froze = std::mem::take(&mut self.frozen);
        let turn = self.ask("thawed", limit, os::thaw_filesystem)?;
        self.awake |= froze && turn == Turn::Already;
        Ok(())
    }

    /// The kernel has no such question.
    fn status(&mut self, _: Duration) -> Result<Status, FreezeError> {
        Ok(Status::Unknown)
    }

    fn was_awake(&mut self, _: Duration) -> Option<String> {
        self.awake.then(|| format!("{} was not frozen any more when it was to be thawed", self.describe()))
    }

    fn last_resort(&mut self, _: Duration) -> Option<Result<(), FreezeError>> {
        None
    }

    fn describe(&self) -> String {
        format!("the file system at {}", self.config.mount.display())
    }

    /// The kernel may still be writing out, and freezes when it is done.
    fn may_freeze_late(&self) -> bool {
        true
    }
}

fn kind_of(error: &io::Error) -> FreezeErrorKind {
    match error.kind() {
        io::ErrorKind::PermissionDenied => FreezeErrorKind::Unauthorized,
        io::ErrorKind::Unsupported => FreezeErrorKind::Refused,
        _ => FreezeErrorKind::Failed,
    }
}

#[cfg(test)]
mod tests;
