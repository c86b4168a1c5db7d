//! What keeps a directory from being mounted or unmounted.

use std::io;
use std::path::PathBuf;

/// The result of mounting.
pub type Result<T> = std::result::Result<T, Error>;

/// A failed mount.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The archive failed.
    #[error(transparent)]
    Engine(#[from] icecore_engine::Error),
    /// This system has no FUSE, or none that this program knows.
    #[error("icecore can mount snapshots on Linux only; `icecore restore` works everywhere")]
    Unsupported,
    /// The kernel's side of FUSE is not there.
    #[error("cannot open /dev/fuse: {0}")]
    Device(io::Error),
    /// The program that mounts for users who are not root is not there.
    #[error("without the right to mount, the program fusermount3 is needed, which is not installed")]
    NoHelper,
    /// The directory could not be looked at.
    #[error("cannot mount at {}: {source}", path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Something stands there already.
    #[error("cannot mount at {}: it is not an empty directory", .0.display())]
    NotEmpty(PathBuf),
    /// A file system stands there whose program has gone, and it is not one of ours or cannot be taken away.
    #[error("cannot mount at {}: a file system whose program has ended is still mounted there", .0.display())]
    Dead(PathBuf),
    /// The mount failed.
    #[error("cannot mount at {}: {source}", path.display())]
    Mount {
        /// Where.
        path: PathBuf,
        /// What the system, or fusermount3, says.
        source: io::Error,
    },
    /// The mount could not be taken away.
    #[error("cannot unmount {}: {source}", path.display())]
    Unmount {
        /// Where.
        path: PathBuf,
        /// What the system, or fusermount3, says.
        source: io::Error,
    },
    /// Answering the kernel failed.
    #[error("the mounted file system failed: {0}")]
    Session(io::Error),
}

impl Error {
    /// The next step, if there is a likely one.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Device(error) if error.kind() == io::ErrorKind::NotFound => {
                "load the kernel's module with `modprobe fuse` (in a container, give it the device /dev/fuse)"
                    .to_owned()
            }
            Self::Device(_) => "/dev/fuse must be readable and writable for you".to_owned(),
            Self::NoHelper => "install the package fuse3".to_owned(),
            Self::NotEmpty(_) => "name an empty directory".to_owned(),
            Self::Dead(path) | Self::Unmount { path, .. } => {
                format!("`fusermount3 -u -z {}` takes it away", path.display())
            }
            Self::Mount { source, .. } if source.to_string().contains("user_allow_other") => {
                "let root add the line `user_allow_other` to /etc/fuse.conf, or leave out --allow-other".to_owned()
            }
            _ => return None,
        };
        Some(text)
    }
}
