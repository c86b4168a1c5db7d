//! What a freezer needs to know.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Which freezer an instance has. Holds no secret, only where secrets are read from: it stands in the
/// journal, for the guardian and for whoever comes after a crash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum FreezerConfig {
    /// Nothing is frozen.
    None,
    /// Programs freeze and thaw.
    Command(CommandConfig),
    /// The kernel freezes the file system.
    Fsfreeze(FsfreezeConfig),
    /// MailStore Service Provider Edition freezes through its Management API.
    Mailstore(MailstoreConfig),
}

impl FreezerConfig {
    /// The word for this freezer in configuration files and receipts.
    pub fn name(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Command(_) => "command",
            Self::Fsfreeze(_) => "fsfreeze",
            Self::Mailstore(_) => "mailstore",
        }
    }
}

/// Programs that freeze and thaw: each the absolute path of a program and its arguments; no shell
/// reads them. They run in `/`, without input, and are done when they exit with 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct CommandConfig {
    /// Freezes, and exits once that is confirmed.
    pub freeze: Vec<String>,
    /// Thaws. Must take an instance that is not frozen for a success.
    pub thaw: Vec<String>,
    /// Exits with 0 if the instance is at work, with [`FROZEN`](crate::freezer::command::FROZEN) if it
    /// is frozen, with [`STOPPED`](crate::freezer::command::STOPPED) if it is stopped; with anything else it could
    /// not tell. Run before the freeze and after the thaw, and before a restore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Vec<String>>,
    /// Stops the application for a restore. Must take one that is stopped for a success. No window needs it, so it does
    /// not stand in the journal.
    #[serde(skip)]
    pub stop: Option<Vec<String>>,
    /// Starts it again; the same holds.
    #[serde(skip)]
    pub start: Option<Vec<String>>,
    /// How long one program may run, in milliseconds.
    #[serde(default = "one_minute")]
    pub timeout_ms: u64,
}

/// A file system that the kernel freezes as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct FsfreezeConfig {
    /// Its mount point.
    pub mount: PathBuf,
    /// What is written to while it is frozen (the repository, the state directory), and so must not
    /// lie on it. Asked by the check before the freeze alone, so it does not stand in the journal.
    #[serde(skip)]
    pub avoid: Vec<PathBuf>,
}

/// An instance of MailStore Service Provider Edition, and how its Management API is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct MailstoreConfig {
    /// The Management Server, as in `https://host:8474`.
    pub endpoint: String,
    /// A system administrator of the Management Server.
    pub user: String,
    /// The file that holds the administrator's password.
    pub password_file: PathBuf,
    /// The instance, by its exact id.
    pub instance_id: String,
    /// The fingerprint that the server's certificate must have, in hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_sha256: Option<String>,
    /// The certificates (PEM) that may have signed the server's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// How long one request may take, in milliseconds.
    #[serde(default = "one_minute")]
    pub timeout_ms: u64,
    /// Permission to restart the instance if it cannot be thawed otherwise.
    #[serde(default)]
    pub restart_after_failed_thaw: bool,
}

fn one_minute() -> u64 {
    60_000
}
