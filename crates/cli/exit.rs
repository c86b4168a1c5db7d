//! How the program ends. The one place that sorts errors: what to say, what to do next, which exit code.

use std::error::Error as _;

use icecore_engine::{Error as EngineError, RepositoryError};
use icecore_source::SourceError;
use icecore_source::claim::ClaimError;
use icecore_source::target::scratch::ScratchError;
use icecore_source::window::WindowError;
use icecore_store::ErrorKind;

use crate::error::Error;

/// The exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    /// Done.
    Done = 0,
    /// Failed, or damage was found.
    Failed = 1,
    /// What was typed makes no sense.
    Misuse = 2,
    /// Done, but some entries could not be read or restored.
    Partial = 3,
    /// **An instance may still be frozen.**
    Unthawed = 4,
    /// There is no repository.
    NoRepository = 10,
    /// Another process is at it.
    Busy = 11,
    /// The password does not open it.
    WrongPassword = 12,
    /// The user ended it.
    Interrupted = 130,
}

impl Code {
    /// [`Code::Partial`] if something is missing.
    pub fn partial_if(missing: bool) -> Self {
        if missing { Self::Partial } else { Self::Done }
    }

    /// The one of two that matters more.
    pub fn worst(self, other: Self) -> Self {
        if other.weight() > self.weight() { other } else { self }
    }

    fn weight(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Partial => 1,
            Self::Busy => 2,
            Self::Failed | Self::Misuse | Self::NoRepository | Self::WrongPassword => 3,
            Self::Interrupted => 4,
            Self::Unthawed => 5,
        }
    }
}

/// SQLite's primary result codes for a database that another process holds: SQLITE_BUSY and SQLITE_LOCKED.
const SQLITE_HELD: [i32; 2] = [5, 6];

/// SQLite's primary result codes for a disk without room: SQLITE_FULL, and SQLITE_IOERR, which the file in shared memory
/// gives instead.
const SQLITE_NO_ROOM: [i32; 2] = [13, 10];

/// An error as people see it.
#[derive(Debug, PartialEq, Eq)]
pub struct Sorted {
    /// What is wrong, with its causes.
    pub message: String,
    /// The next step, if there is a likely one.
    pub hint: Option<String>,
    /// How the program ends.
    pub code: Code,
}

/// Sorts an error.
pub fn sort(error: &Error) -> Sorted {
    let (code, mut hint) = code_and_hint(error);
    if hint.is_none() {
        hint = blames_index(error).map(str::to_owned);
    }
    Sorted { message: message(error), hint, code }
}

/// What may be done about a chunk that the index does not know.
const MISSING: &str = "either the repository lost it (`icecore check` lists what suffers), or the index is damaged: it can be \
     deleted, and `icecore rebuild-index` makes it anew";

/// What may be done about an index that contradicts the repository.
const WRONG_INDEX: &str = "nothing is lost: the index can be deleted, and `icecore rebuild-index` makes it anew";

/// What may be done if somewhere below, the index is wrong or does not know a chunk.
fn blames_index(error: &Error) -> Option<&'static str> {
    let mut cause = error.source();
    while let Some(error) = cause {
        match error.downcast_ref() {
            Some(RepositoryError::MissingChunk { .. }) => return Some(MISSING),
            Some(RepositoryError::WrongIndex { .. }) => return Some(WRONG_INDEX),
            _ => cause = error.source(),
        }
    }
    None
}

/// The error and its causes, each said once: many messages repeat their cause.
fn message(error: &Error) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !message.contains(&text) {
            message.push_str(": ");
            message.push_str(&text);
        }
        cause = error.source();
    }
    message
}

fn code_and_hint(error: &Error) -> (Code, Option<String>) {
    let hint = |text: &str| Some(text.to_owned());
    match error {
        Error::Engine(error) => of_engine(error),
        Error::Store(error) => of_store(error),
        Error::NoRepository { embedded: true, .. } => {
            (Code::NoRepository, hint("`icecore backup DIR` creates it, or name another with --repo DIR"))
        }
        Error::NoRepository { place, embedded: false } => {
            (Code::NoRepository, Some(init_hint(&place.display().to_string())))
        }
        Error::Refused(_) => (Code::Failed, None),
        Error::Claim(ClaimError::Busy { .. }) => (Code::Busy, None),
        Error::Claim(_) => (Code::Failed, None),
        Error::Scratch(ScratchError::Unusable { .. }) => {
            (Code::Failed, hint("mount or make it, or name another with `scratch` of [drill] in the configuration"))
        }
        Error::Scratch(_) => (Code::Failed, None),
        Error::AtWork { stopping, .. } => (Code::Failed, Some(choices(stopping.as_deref()))),
        Error::NotStopped { instance, .. } => (
            Code::Failed,
            Some(format!(
                "it may still stop: `icecore instance status {instance}` tells; the same command can be run again"
            )),
        ),
        // The cause says how it ends; what comes next is to bring the application back.
        Error::Left { next, cause, .. } => {
            let (code, hint) = code_and_hint(cause);
            (code, Some(hint.map_or_else(|| next.clone(), |hint| format!("{hint}; then {next}"))))
        }
        Error::Restarted(_) => (Code::Failed, hint("see that nothing starts it, and run the same command again")),
        Error::NotEmpty(_) => (Code::Failed, hint("name a new or empty directory")),
        Error::PasswordFileMissing { .. } => (
            Code::WrongPassword,
            hint("put the copy that you kept back in its place, or name it with --password-file FILE"),
        ),
        Error::NoPassword => {
            (Code::Misuse, hint("give --password-file FILE, or set ICECORE_PASSWORD_FILE or ICECORE_PASSWORD"))
        }
        Error::EmptyPassword(_) | Error::PasswordsDiffer | Error::Exclude(_) | Error::Config(_) | Error::Misuse(_) => {
            (Code::Misuse, None)
        }
        Error::NotThawed { .. } => (Code::Unthawed, hint("thaw it by hand; that it was not frozen is no error")),
        Error::Thaw(_) => (Code::Unthawed, None),
        Error::Freezer { .. } | Error::Discover(_) | Error::Guardian(_) => (Code::Failed, None),
        Error::Exists(_) => (Code::Failed, hint("name a file that does not exist yet")),
        Error::Mount(icecore_mount::Error::Engine(error)) => of_engine(error),
        Error::Mount(error) => (Code::Failed, error.hint()),
        Error::Interrupted => (Code::Interrupted, None),
        Error::File { .. } | Error::Output(_) | Error::Random(_) | Error::Demo(_) => (Code::Failed, None),
    }
}

/// What may be done about an application that is at work.
fn choices(stopping: Option<&str>) -> String {
    let others = "stop it by hand; or restore elsewhere with --to DIR (if it is gone for good, take it out of the \
                  configuration)";
    match stopping {
        Some(command) => format!("`{command}` stops it before and starts it afterwards; or {others}"),
        None => others.to_owned(),
    }
}

fn of_engine(error: &EngineError) -> (Code, Option<String>) {
    match error {
        EngineError::Repository(error) => of_repository(error),
        EngineError::Source(SourceError::DuplicateName { .. }) => {
            (Code::Failed, Some("back them up one by one, each as a series of its own".to_owned()))
        }
        EngineError::Window(error) => of_window(error),
        EngineError::Predicted { .. } => {
            (Code::Failed, Some("nothing was frozen: allow more with max-freeze".to_owned()))
        }
        EngineError::WindowExceeded => {
            (Code::Failed, Some("allow more with max-freeze, or keep what was read with on-window-failure".to_owned()))
        }
        EngineError::Interrupted => {
            (Code::Interrupted, Some("run it again: what was done already is not done twice".to_owned()))
        }
        _ => (Code::Failed, None),
    }
}

fn of_window(error: &WindowError) -> (Code, Option<String>) {
    match error {
        // Its sentence says what to do by hand.
        WindowError::ThawUnconfirmed { .. } => (Code::Unthawed, None),
        WindowError::Busy(_) => (Code::Busy, None),
        WindowError::Crowded(_) => {
            (Code::Busy, Some("allow several at once with parallel-windows, or try again later".to_owned()))
        }
        WindowError::Open { instance, .. } => {
            (Code::Busy, Some(format!("`icecore instance thaw {instance}` closes it")))
        }
        _ => (Code::Failed, None),
    }
}

fn of_repository(error: &RepositoryError) -> (Code, Option<String>) {
    let hint = |text: &str| Some(text.to_owned());
    match error {
        RepositoryError::NoRepository { location } => (Code::NoRepository, Some(init_hint(location))),
        RepositoryError::ConfigMissing { location } => (Code::NoRepository, Some(config_hint(location))),
        RepositoryError::WrongIndex { .. } => (Code::Failed, hint(WRONG_INDEX)),
        RepositoryError::AlreadyExists { .. } => (Code::Failed, hint("it can be used as it is")),
        RepositoryError::WrongPassword { .. } => (
            Code::WrongPassword,
            hint("another can be given with --password-file FILE, ICECORE_PASSWORD_FILE or ICECORE_PASSWORD"),
        ),
        RepositoryError::WriteOnly => (Code::Failed, hint("use the password of a key with role reader")),
        RepositoryError::Damaged { .. } | RepositoryError::DamagedChunk { .. } | RepositoryError::Manifest(_) => {
            (Code::Failed, hint("`icecore check --read-data` lists everything that is damaged"))
        }
        RepositoryError::MissingChunk { .. } => (Code::Failed, hint(MISSING)),
        RepositoryError::Store(error) => of_store(error),
        RepositoryError::Index { source, .. } => match source.sqlite_error().map(|error| error.extended_code & 0xff) {
            Some(code) if SQLITE_HELD.contains(&code) => {
                (Code::Busy, hint("another icecore is at work with the same index: try again when it is done"))
            }
            Some(code) if SQLITE_NO_ROOM.contains(&code) => (
                Code::Failed,
                hint(
                    "if its disk is full, make room and run it again, or choose another directory with --state-dir DIR; \
                     if not, it can be deleted: `icecore rebuild-index` makes it anew",
                ),
            ),
            _ => (Code::Failed, hint("it can be deleted: `icecore rebuild-index` makes it anew")),
        },
        RepositoryError::Overtaken { .. } => {
            (Code::Failed, hint("what was stored is kept; run it again: only what is gone is read again"))
        }
        RepositoryError::State { .. } => (Code::Failed, hint("choose another directory with --state-dir DIR")),
        RepositoryError::Interrupted => (Code::Interrupted, None),
        _ => (Code::Failed, None),
    }
}

fn of_store(error: &icecore_store::Error) -> (Code, Option<String>) {
    let hint = match error.kind {
        ErrorKind::NoSpace => Some("make room and run it again: what is stored already is not stored twice"),
        ErrorKind::PermissionDenied => Some("run it as a user who may use that directory"),
        _ => None,
    };
    (Code::Failed, hint.map(str::to_owned))
}

fn config_hint(place: &str) -> String {
    format!(
        "its packs are there, and cannot be read without it: put the file {place}/config back from a copy of the repository; \
         it never changes after `icecore init`, so any copy will do"
    )
}

fn init_hint(place: &str) -> String {
    format!("`icecore init --repo {place}` creates one")
}

#[cfg(test)]
mod tests {
    use icecore_source::freezer::{FreezeError, FreezeErrorKind};
    use icecore_source::window::ThawError;

    use super::*;

    fn repository(error: RepositoryError) -> Error {
        Error::Engine(EngineError::Repository(error))
    }

    fn window(error: WindowError) -> Error {
        Error::Engine(EngineError::Window(Box::new(error)))
    }

    fn frozen() -> FreezeError {
        FreezeError::new(FreezeErrorKind::Refused, "the app is frozen already")
    }

    fn lost() -> ThawError {
        let (instance, freezer, journal) = ("a".into(), "the app".into(), "/state/windows/a.json".into());
        ThawError::Unconfirmed { instance, freezer, journal, attempts: 9, last: Box::new(frozen()) }
    }

    fn unconfirmed() -> WindowError {
        WindowError::ThawUnconfirmed { cause: None, error: Box::new(lost()) }
    }

    #[test]
    fn an_instance_that_may_be_frozen_outweighs_everything() {
        use Code::{Busy, Done, Failed, Interrupted, Partial, Unthawed};
        let rising = [Done, Partial, Busy, Failed, Interrupted, Unthawed];
        for (at, low) in rising.iter().enumerate() {
            for high in &rising[at..] {
                assert_eq!((low.worst(*high), high.worst(*low)), (*high, *high));
            }
        }
        let said = sort(&window(unconfirmed())).message;
        assert!(said.contains("MAY STILL BE FROZEN") && said.contains("icecore instance thaw a"), "{said}");
    }

    #[test]
    fn each_error_has_its_code() {
        let location = || "/srv/ice".to_owned();
        let wrong = RepositoryError::WrongPassword { location: location(), slots: 1, unusable: Vec::new() };
        for (error, code) in [
            (repository(RepositoryError::NoRepository { location: location() }), Code::NoRepository),
            (repository(wrong), Code::WrongPassword),
            (repository(RepositoryError::Interrupted), Code::Interrupted),
            (repository(RepositoryError::WriteOnly), Code::Failed),
            (Error::Engine(EngineError::Interrupted), Code::Interrupted),
            (Error::NoRepository { place: "/x".into(), embedded: false }, Code::NoRepository),
            (Error::NoPassword, Code::Misuse),
            (Error::Misuse("no".into()), Code::Misuse),
            (window(WindowError::Busy("a".into())), Code::Busy),
            (window(WindowError::Check(Box::new(frozen()))), Code::Failed),
            (window(unconfirmed()), Code::Unthawed),
            (Error::Thaw(lost().into()), Code::Unthawed),
            (Error::NotThawed { instance: "a".into(), freezer: "b".into(), source: frozen().into() }, Code::Unthawed),
        ] {
            assert_eq!(sort(&error).code, code, "{error}");
        }
    }

    #[test]
    fn a_missing_repository_comes_with_the_command_that_makes_it() {
        let sorted = sort(&Error::NoRepository { place: "/srv/ice".into(), embedded: false });
        assert_eq!(sorted.message, "there is no repository at /srv/ice");
        assert_eq!(sorted.hint.unwrap(), "`icecore init --repo /srv/ice` creates one");
    }

    #[test]
    fn causes_are_said_once() {
        let source = std::io::Error::other("the disk is on fire");
        let error = Error::File { doing: "read", path: "/key".into(), source };
        assert_eq!(sort(&error).message, "cannot read /key: the disk is on fire");
        let source = std::io::Error::other("the disk is on fire");
        let store = icecore_store::Error::new(icecore_store::error::Operation::Get, "config", "/srv/ice", source);
        let sorted = sort(&repository(RepositoryError::Store(store)));
        assert_eq!(sorted.message, "cannot read config in /srv/ice: the store failed: the disk is on fire");
    }
}
