//! Why a freezer could not do what it was asked to.

use std::fmt;

/// Why a freezer could not do what it was asked to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FreezeError {
    /// For programs.
    pub kind: FreezeErrorKind,
    /// For people: a sentence that names the thing and the next step.
    pub message: String,
    /// The end of what the program or the server said, where there is some.
    pub output: Option<String>,
}

/// What went wrong with a freezer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FreezeErrorKind {
    /// It was understood, and will not be done.
    Refused,
    /// It took too long.
    TimedOut,
    /// Nobody answers.
    Unreachable,
    /// Wrong or insufficient credentials or privileges.
    Unauthorized,
    /// The server shows another certificate; both as SHA-256 fingerprints.
    Certificate {
        /// The configured one.
        expected: String,
        /// The server's.
        found: String,
    },
    /// The filter names no instance, or several.
    NotOneInstance {
        /// Those that it matched.
        matched: Vec<String>,
    },
    /// The answer cannot be understood.
    Protocol,
    /// A program is missing or may not be run.
    NotExecutable,
    /// Anything else.
    Failed,
}

impl FreezeError {
    /// An error without output.
    pub fn new(kind: FreezeErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), output: None }
    }

    /// Adds what was said; blank output is none.
    pub fn with_output(mut self, output: impl Into<String>) -> Self {
        let output = output.into();
        self.output = (!output.trim().is_empty()).then_some(output);
        self
    }
}

impl fmt::Display for FreezeError {
    /// The sentence, then the output line by line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        for line in self.output.iter().flat_map(|output| output.trim_end().lines()) {
            write!(f, "\n  | {line}")?;
        }
        Ok(())
    }
}

impl std::error::Error for FreezeError {}
