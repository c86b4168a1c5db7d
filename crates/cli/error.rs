//! What can go wrong at the edge; [`exit`](crate::exit) sorts it for people.

use std::io;
use std::path::PathBuf;

use icecore_source::ExcludeError;
use icecore_source::claim::ClaimError;
use icecore_source::freezer::FreezeError;
use icecore_source::target::scratch::ScratchError;
use icecore_source::window::{GuardianError, ThawError};

use crate::config::{ConfigError, ConfigErrors};

/// The result of a command.
pub type Result<T> = std::result::Result<T, Error>;

/// A failed command.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A story failed.
    #[error(transparent)]
    Engine(#[from] icecore_engine::Error),
    /// The store could not be opened or made.
    #[error(transparent)]
    Store(#[from] icecore_store::Error),
    /// The repository is not there.
    #[error("there is no repository at {}", place.display())]
    NoRepository {
        /// Where it was looked for.
        place: PathBuf,
        /// It is the default one.
        embedded: bool,
    },
    /// A repository would be created among other things.
    #[error("{} is not empty", .0.display())]
    NotEmpty(PathBuf),
    /// The embedded repository stands there without the file that opens it.
    #[error("the repository {} is there, but its password file {} is missing", repository.display(), file.display())]
    PasswordFileMissing {
        /// The repository.
        repository: PathBuf,
        /// Where its password should be.
        file: PathBuf,
    },
    /// A password is needed, and nothing says where it is.
    #[error("a password is needed, and there is no terminal to ask for it")]
    NoPassword,
    /// A password that is no password.
    #[error("the password {0} is empty")]
    EmptyPassword(String),
    /// Two different passwords were typed.
    #[error("the two passwords differ")]
    PasswordsDiffer,
    /// A file that would be written is there already.
    #[error("{} exists already", .0.display())]
    Exists(PathBuf),
    /// A file or directory of the user could not be used.
    #[error("cannot {doing} {}: {source}", path.display())]
    File {
        /// What was being done.
        doing: &'static str,
        /// To which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A pattern means nothing.
    #[error(transparent)]
    Exclude(#[from] ExcludeError),
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// The freezer of an instance could not be asked.
    #[error("instance {instance}: {source}")]
    Freezer {
        /// The instance.
        instance: String,
        /// Why.
        source: Box<FreezeError>,
    },
    /// Somebody else is at work with a directory.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// There is no directory to restore into for a while, or it stays.
    #[error(transparent)]
    Scratch(#[from] ScratchError),
    /// The application that owns directories which a restore would write to is, or may be, at work.
    #[error("instance {instance} {state}; the restore would write to its directories, and has touched nothing")]
    AtWork {
        /// The instance.
        instance: String,
        /// What it is, as a verb with its object.
        state: String,
        /// The command that stops it first, if one would.
        stopping: Option<String>,
    },
    /// An application was to be stopped for a restore.
    #[error(
        "instance {instance} could not be stopped, and nothing was restored{}: {source}",
        if before.is_empty() { String::new() } else { format!(" (stopped before, and left so: {})", before.join(", ")) }
    )]
    NotStopped {
        /// The instance.
        instance: String,
        /// Other instances that had been stopped.
        before: Vec<String>,
        /// Why.
        source: Box<FreezeError>,
    },
    /// A restore failed after its application had been stopped, or made.
    #[error("{cause}\n{stands}")]
    Left {
        /// What stands where, and in which state.
        stands: String,
        /// How to go on.
        next: String,
        /// What failed.
        #[source]
        cause: Box<Self>,
    },
    /// Somebody started an application while its directories were written.
    #[error(
        "instance {0} was started by somebody while its directories were restored: what stands there may be mixed with what \
         it wrote"
    )]
    Restarted(String),
    /// A server could not be asked for its instances.
    #[error(transparent)]
    Discover(FreezeError),
    /// An instance was to be thawed, and may still be frozen.
    #[error("instance {instance} MAY STILL BE FROZEN: {freezer} could not be thawed: {source}")]
    NotThawed {
        /// The instance.
        instance: String,
        /// What has to be thawed, for people.
        freezer: String,
        /// Why it was not.
        source: Box<FreezeError>,
    },
    /// The same, of an instance whose window was open.
    #[error(transparent)]
    Thaw(#[from] Box<ThawError>),
    /// The guardian could not take up its post.
    #[error(transparent)]
    Guardian(#[from] GuardianError),
    /// What was typed makes no sense together.
    #[error("{0}")]
    Misuse(String),
    /// What was asked for would lose what must not be lost by the way.
    #[error("{0}")]
    Refused(String),
    /// The terminal or a pipe failed.
    #[error("writing the result failed: {0}")]
    Output(#[from] io::Error),
    /// The system's random source failed.
    #[error("the system's random source failed: {0}")]
    Random(getrandom::Error),
    /// The demonstration did not show what it should.
    #[error("{0}")]
    Demo(String),
    /// Snapshots could not be shown as a file system.
    #[error(transparent)]
    Mount(#[from] icecore_mount::Error),
    /// The user ended it.
    #[error("interrupted")]
    Interrupted,
}

impl From<ConfigError> for Error {
    fn from(error: ConfigError) -> Self {
        Self::Config(error.into())
    }
}

impl Error {
    /// Wraps an error of the file system.
    pub fn file(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { doing, path, source }
    }
}
