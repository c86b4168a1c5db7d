//! What went wrong: operation + object + place + kind, with the operating system's word as the source.

use std::fmt;
use std::io;

/// The result of a store's operation.
pub type Result<T> = std::result::Result<T, Error>;

/// What was being done when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Making a new store.
    Create,
    /// Opening a store.
    Open,
    /// [`Store::put`](crate::Store::put).
    Put,
    /// [`Store::get`](crate::Store::get) and [`Store::get_range`](crate::Store::get_range).
    Get,
    /// [`Store::size`](crate::Store::size).
    Size,
    /// [`Store::list`](crate::Store::list).
    List,
    /// [`Store::delete`](crate::Store::delete).
    Delete,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Create => "create",
            Self::Open => "open",
            Self::Put => "write",
            Self::Get => "read",
            Self::Size => "look up",
            Self::List => "list",
            Self::Delete => "delete",
        })
    }
}

/// The kinds of failure that a caller treats differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The object, or the store itself, is not there.
    NotFound,
    /// The object ends before the range that was asked for.
    Truncated,
    /// The place is full, or a quota is used up.
    NoSpace,
    /// The place does not let this user do that.
    PermissionDenied,
    /// Everything else; the source says what.
    Other,
}

impl ErrorKind {
    /// Sorts an error of the operating system.
    pub fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::NotFound,
            io::ErrorKind::UnexpectedEof => Self::Truncated,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Self::PermissionDenied,
            _ => Self::Other,
        }
    }

    fn reason(self) -> &'static str {
        match self {
            Self::NotFound => "it is not there",
            Self::Truncated => "it is shorter than it should be",
            Self::NoSpace => "no space is left",
            Self::PermissionDenied => "permission denied",
            Self::Other => "the store failed",
        }
    }
}

/// A failed operation of a store.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {}{location}: {}", within(object), kind.reason())]
pub struct Error {
    /// What was being done.
    pub operation: Operation,
    /// The key or directory it was done to; empty for the store as a whole.
    pub object: String,
    /// Where the store is, for people.
    pub location: String,
    /// How to treat it.
    pub kind: ErrorKind,
    /// What the operating system or the library below said.
    pub source: io::Error,
}

impl Error {
    /// Wraps `source`, whose kind decides the [`ErrorKind`].
    pub fn new(
        operation: Operation,
        object: impl fmt::Display,
        location: impl fmt::Display,
        source: io::Error,
    ) -> Self {
        let kind = ErrorKind::of(&source);
        Self { operation, object: object.to_string(), location: location.to_string(), kind, source }
    }

    /// Whether the object (or the store) is simply not there.
    pub fn is_not_found(&self) -> bool {
        self.kind == ErrorKind::NotFound
    }
}

fn within(object: &str) -> String {
    if object.is_empty() { String::new() } else { format!("{object} in ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error as _;

    #[test]
    fn errors_say_what_where_and_why() {
        let full = Error::new(Operation::Put, "packs/3f/ab", "/srv/ice", io::ErrorKind::StorageFull.into());
        assert_eq!(full.kind, ErrorKind::NoSpace);
        assert_eq!(full.to_string(), "cannot write packs/3f/ab in /srv/ice: no space is left");
        assert!(full.source().is_some());
        let absent = Error::new(Operation::Open, "", "/srv/ice", io::ErrorKind::NotFound.into());
        assert_eq!(absent.to_string(), "cannot open /srv/ice: it is not there");
        assert!(absent.is_not_found());
    }
}
