//! What is wrong with a configuration, and where.

use std::path::Path;
use std::sync::Arc;

/// A place in a configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// The file.
    pub file: Arc<Path>,
    /// The line, from 1.
    pub line: usize,
    /// The key with the tables that it stands in, as in `instance.roots.base`; empty where no key is meant.
    pub key: String,
}

impl Mark {
    /// An error at this place.
    pub fn error(&self, message: impl Into<String>) -> ConfigError {
        ConfigError { at: self.clone(), message: message.into() }
    }
}

/// Something in a configuration file that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}:{}: {}{}{message}", at.file.display(), at.line, at.key, if at.key.is_empty() { "" } else { ": " })]
pub struct ConfigError {
    /// Where.
    pub at: Mark,
    /// What is wrong with it, and what to do.
    pub message: String,
}
