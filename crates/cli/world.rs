//! The one look at the world: environment, user, host, terminal. Nothing else of the program asks for them.

use std::ffi::OsString;
use std::io::{IsTerminal, stderr, stdin, stdout};
use std::path::PathBuf;

use icecore_source::Names;

use crate::error::{Error, Result};

/// The configuration of a host, by the Filesystem Hierarchy Standard.
const SYSTEM_CONFIG: &str = "/etc/icecore/config.toml";

/// What the program was started in.
#[derive(Debug, Clone, Default)]
pub struct World {
    /// `ICECORE_REPOSITORY`.
    pub repository: Option<OsString>,
    /// `ICECORE_PASSWORD_FILE`.
    pub password_file: Option<PathBuf>,
    /// `ICECORE_PASSWORD`.
    pub password: Option<OsString>,
    /// `ICECORE_STATE_DIR`.
    pub state: Option<PathBuf>,
    /// `ICECORE_CONFIG`.
    pub config: Option<PathBuf>,
    /// Where programs look for a user's configuration.
    pub config_home: Option<PathBuf>,
    /// The configuration of this host.
    pub system_config: Option<PathBuf>,
    /// Where programs keep a user's data.
    pub data_home: Option<PathBuf>,
    /// Where programs keep what is worth keeping on this host only.
    pub state_home: Option<PathBuf>,
    /// Somebody can be asked.
    pub can_ask: bool,
    /// Somebody may be watching stderr.
    pub watched: bool,
    /// Stdout is a terminal.
    pub terminal: bool,
    /// Nobody forbids colours: `NO_COLOR` is not set, and the terminal is not a dumb one.
    pub colour: bool,
    /// Columns of the terminal.
    pub width: Option<usize>,
}

impl World {
    /// Looks.
    pub fn look() -> Self {
        let home = std::env::home_dir().filter(|home| home.is_absolute());
        let below_home = |directory: &str| home.as_ref().map(|home| home.join(directory));
        Self {
            repository: variable("ICECORE_REPOSITORY"),
            password_file: variable("ICECORE_PASSWORD_FILE").map(PathBuf::from),
            password: variable("ICECORE_PASSWORD"),
            state: variable("ICECORE_STATE_DIR").map(PathBuf::from),
            config: variable("ICECORE_CONFIG").map(PathBuf::from),
            config_home: base_directory("XDG_CONFIG_HOME").or_else(|| below_home(".config")),
            system_config: Some(PathBuf::from(SYSTEM_CONFIG)),
            data_home: base_directory("XDG_DATA_HOME").or_else(|| below_home(".local/share")),
            state_home: base_directory("XDG_STATE_HOME").or_else(|| below_home(".local/state")),
            can_ask: stdin().is_terminal() && stderr().is_terminal(),
            watched: stderr().is_terminal(),
            terminal: stdout().is_terminal(),
            colour: variable("NO_COLOR").is_none() && variable("TERM").is_some_and(|term| term != "dumb"),
            width: terminal_size::terminal_size().map(|(columns, _)| usize::from(columns.0)),
        }
    }
}

/// A variable that is set to something.
#[expect(clippy::disallowed_methods, reason = "this is the edge")]
fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// A variable that names a base directory; the XDG specification says to ignore relative ones.
fn base_directory(name: &str) -> Option<PathBuf> {
    variable(name).map(PathBuf::from).filter(|path| path.is_absolute())
}

/// The name of this host, for the record.
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The name of the user who runs the program, for the record; the number where there is none.
pub fn user_name() -> String {
    let uid = rustix::process::geteuid().as_raw();
    Names::new().user(uid).unwrap_or_else(|| uid.to_string())
}

/// The command as it was typed.
pub fn command_line() -> Vec<OsString> {
    std::env::args_os().collect()
}

/// The absolute path of this program, for processes that it starts of itself.
pub fn program() -> Result<PathBuf> {
    std::env::current_exe().map_err(Error::file("find", "the program itself"))
}

/// Lets the process open as many files as it may: many threads hold many files open.
pub fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // Failing costs at most speed.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}
