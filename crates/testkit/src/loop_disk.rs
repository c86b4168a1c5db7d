//! A file system of a chosen kind.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// A file system in an image, mounted in a temporary directory as long as this lives.
#[derive(Debug)]
pub struct LoopDisk {
    directory: TempDir,
}

impl LoopDisk {
    /// Makes one of `size` bytes by a program of the `mkfs` family with its options, and mounts it. `None` without
    /// root's powers, which has then been [said](crate::skip).
    ///
    /// # Panics
    /// If it cannot be made although it should.
    pub fn mount(mkfs: &[&str], size: u64) -> Option<Self> {
        if !crate::may_act_as_root(&format!("{} makes a file system that is mounted", mkfs.join(" "))) {
            return None;
        }
        let directory = tempfile::Builder::new().prefix("icecore-disk-").tempdir().expect("a temporary directory");
        let disk = Self { directory };
        fs::File::create(disk.image()).and_then(|image| image.set_len(size)).expect("an image");
        fs::create_dir(disk.directory.path().join("mount")).expect("a directory");
        run(Command::new(mkfs[0]).args(&mkfs[1..]).arg(disk.image())).expect("mkfs");
        run(Command::new("mount").args(["-o", "loop"]).arg(disk.image()).arg(disk.path())).expect("a mount");
        Some(disk)
    }

    /// XFS, which can clone.
    pub fn xfs() -> Option<Self> {
        Self::mount(&["mkfs.xfs", "-q", "-m", "reflink=1"], 512 << 20)
    }

    /// btrfs, which can clone, and make snapshots.
    pub fn btrfs() -> Option<Self> {
        Self::mount(&["mkfs.btrfs", "-q"], 512 << 20)
    }

    /// Its root directory.
    pub fn path(&self) -> PathBuf {
        self.directory.path().join("mount")
    }

    /// The image that it is in.
    pub fn image(&self) -> PathBuf {
        self.directory.path().join("image")
    }

    /// A place beside the image, on another file system.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Makes a subvolume of btrfs.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn subvolume(&self, name: &str) -> PathBuf {
        let path = self.path().join(name);
        run(Command::new("btrfs").args(["-q", "subvolume", "create"]).arg(&path)).expect("a subvolume");
        path
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        // Lazily, because a test that panics may still hold files open there.
        let _ = run(Command::new("umount").args(["-l"]).arg(self.path()));
    }
}

/// Runs a program to its end.
///
/// # Errors
/// What it said if it failed.
pub fn run(command: &mut Command) -> io::Result<()> {
    let output = command.stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(io::Error::other(format!("{command:?}: {said}"))) }
}

/// The names in a directory, sorted.
///
/// # Panics
/// If it cannot be read.
pub fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("a directory");
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
