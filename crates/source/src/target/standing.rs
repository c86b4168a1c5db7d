//! What stands in a target already: looked at, replaced, removed.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use icecore_format::entry::{Entry, PathBytes, Xattr};

use super::{FaultKind, Owners, Target, TargetFile, beneath, metadata, split};
use crate::os::{self, Subject, capture};
use crate::stat::{Kind, Stat};

impl Target {
    /// The stat of what stands at `path`, links not followed; `None` if nothing does.
    pub fn stat(&self, path: &[u8]) -> io::Result<Option<Stat>> {
        let stat = match path {
            b"" => self.parents.open(b"").and_then(|root| root.stat(OsStr::new(""))),
            _ => self.at(path, |parent, name| parent.stat(OsStr::from_bytes(name))),
        };
        match stat {
            Ok(stat) => Ok(Some(stat)),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The bytes of the symbolic link at `path`.
    pub fn read_link(&self, path: &[u8]) -> io::Result<Vec<u8>> {
        self.at(path, |parent, name| parent.read_link(name))
    }

    /// The extended attributes of what stands at `path`, sorted by name.
    pub fn xattrs(&self, path: &[u8]) -> io::Result<Vec<Xattr>> {
        match path {
            b"" => Subject::of_dir(&self.open_dir(b"")?).xattrs(),
            _ => self.at(path, |parent, name| Subject::Named(parent, name).xattrs()),
        }
    }

    /// What [`finish`](Self::finish) would change of what stands at `path` with this stat.
    pub fn differences(&self, path: &[u8], stat: &Stat, entry: &Entry, owners: &Owners) -> io::Result<Vec<FaultKind>> {
        match path {
            b"" => Ok(metadata::differences(Subject::of_dir(&self.open_dir(b"")?), stat, entry, owners)),
            _ => self
                .at(path, |parent, name| Ok(metadata::differences(Subject::Named(parent, name), stat, entry, owners))),
        }
    }

    /// Opens the regular file at `path` for reading only.
    pub fn open_standing(&self, path: &[u8]) -> io::Result<TargetFile> {
        self.at(path, |parent, name| parent.open_file(name)).map(TargetFile::new)
    }

    /// Opens the regular file at `path` for reading what the medium holds: past the page cache where that is possible, which
    /// the second value tells; otherwise after the kernel was asked to forget it.
    pub fn open_uncached(&self, path: &[u8]) -> io::Result<(TargetFile, bool)> {
        let direct = self.at(path, |parent, name| parent.open_uncached(name))?;
        match direct {
            Some(file) => Ok((TargetFile::new(file), true)),
            None => {
                let file = self.open_standing(path)?;
                file.forget_cached();
                Ok((file, false))
            }
        }
    }

    /// Lets the owner change the file or what is in the directory at `path`, where the mode forbids it.
    pub fn unlock(&self, path: &[u8]) -> io::Result<()> {
        match path {
            // The root has no name in a directory of ours; its owner restores into it, or cannot.
            b"" => Ok(()),
            _ => self.at(path, |parent, name| parent.unlock(name)),
        }
    }

    /// Puts the entry `from`, which was made beside, in the place of `to`, in one step. Both stand in one directory.
    pub fn replace(&self, from: &[u8], to: &[u8]) -> io::Result<()> {
        let (_, old) = split(from);
        self.at(to, |parent, name| parent.rename(old, name))
    }

    /// Removes an empty directory.
    pub fn remove_dir(&self, path: &[u8]) -> io::Result<()> {
        self.at(path, |parent, name| parent.remove_dir(name))?;
        self.parents.forget(path);
        Ok(())
    }

    /// Deletes the directory at `path` with everything in it that nobody has mounted there, and tells `failed` what stays and why:
    /// of directories that stay only for what stays in them nothing is told.
    pub fn remove_all(&self, path: &[u8], failed: &mut dyn FnMut(&[u8], io::Error)) {
        let mut failures = 0_u64;
        let mut tell = |path: &[u8], error: io::Error| {
            if failures == 0 || error.kind() != io::ErrorKind::DirectoryNotEmpty {
                failures += 1;
                failed(path, error);
            }
        };
        let home = match self.deletable(path) {
            Ok(home) => home,
            Err(error) => return tell(path, error),
        };
        // Directories, and whether everything in them was tried.
        let mut pending = vec![(path.to_vec(), false)];
        while let Some((path, tried)) = pending.pop() {
            if tried {
                self.unlocking(&path, || self.remove_dir(&path)).unwrap_or_else(|error| tell(&path, error));
                continue;
            }
            // Right before it is listed: others may mount at any time.
            if let Err(error) = self.expect_own(&path, home) {
                tell(&path, error);
                continue;
            }
            let names = match self.unlocking(&path, || self.open_dir(&path)?.names_with(b"")) {
                Ok(names) => names,
                Err(error) => {
                    tell(&path, error);
                    continue;
                }
            };
            pending.push((path.clone(), true));
            for name in names {
                let below = [&path, &b"/"[..], &name].concat();
                match self.stat(&below) {
                    Ok(Some(stat)) if stat.kind == Kind::Directory => pending.push((below, false)),
                    // The system removes no file that something is mounted on.
                    Ok(_) => {
                        self.unlocking(&below, || self.remove_file(&below)).unwrap_or_else(|error| tell(&below, error))
                    }
                    Err(error) => tell(&below, error),
                }
            }
        }
    }

    /// The device of the directory at `path`, of which all may be deleted that nobody has mounted there.
    fn deletable(&self, path: &[u8]) -> io::Result<u64> {
        let home = self.stat(path)?.ok_or(io::ErrorKind::NotFound)?.device;
        if self.is_mount_point(path)?.is_none() {
            expect_no_mounts(&fs::canonicalize(beneath(&self.path, path))?)?;
        }
        Ok(home)
    }

    /// Fails if what stands at `path` is on another device than `home`, or is mounted there.
    fn expect_own(&self, path: &[u8], home: u64) -> io::Result<()> {
        let device = self.stat(path)?.ok_or(io::ErrorKind::NotFound)?.device;
        let message = match self.is_mount_point(path)? {
            _ if device != home => "another file system is mounted there, which is not touched",
            Some(true) => "another directory is mounted there, which is not touched",
            _ => return Ok(()),
        };
        Err(io::Error::new(io::ErrorKind::CrossesDevices, message))
    }

    fn is_mount_point(&self, path: &[u8]) -> io::Result<Option<bool>> {
        self.at(path, |parent, name| parent.is_mount_point(OsStr::from_bytes(name)))
    }

    /// Does what the mode of the directory above may forbid, or that of the entry itself, after lifting that.
    fn unlocking<T>(&self, path: &[u8], act: impl Fn() -> io::Result<T>) -> io::Result<T> {
        match act() {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                match self.unlock(split(path).0).and_then(|()| self.unlock(path)) {
                    Ok(()) => act(),
                    Err(_) => Err(error),
                }
            }
            done => done,
        }
    }

    /// Whether both stand on one file system, by the number of its device.
    pub fn is_beside(&self, other: &Self) -> bool {
        let device = |target: &Self| target.stat(b"").ok().flatten().map(|stat| stat.device);
        device(self).is_some_and(|own| device(other) == Some(own))
    }

    /// The names directly in the target that begin with `prefix`.
    pub fn names_with(&self, prefix: &[u8]) -> io::Result<Vec<PathBytes>> {
        self.parents.open(b"")?.names_with(prefix)
    }

    /// Bytes that may still be written; `None` where nobody can say, because the file system compresses.
    pub fn free(&self) -> io::Result<Option<u64>> {
        self.parents.open(b"")?.free()
    }

    /// Bytes that its file system says to have left, which compression may make more of; `None` where it does not say.
    pub fn free_at_least(&self) -> io::Result<Option<u64>> {
        self.parents.open(b"")?.free_at_least()
    }

    /// Whether its files can share their bytes until one of them is changed.
    pub fn can_clone(&self) -> bool {
        self.parents.open(b"").is_ok_and(|root| root.can_clone())
    }

    /// Returns when everything that was written to its file system is durable.
    pub fn sync(&self) -> io::Result<()> {
        self.parents.open(b"")?.sync_file_system()
    }

    /// Returns when the target's own entries are durable.
    pub fn sync_top(&self) -> io::Result<()> {
        self.parents.open(b"")?.sync()
    }
}

/// Fails if something is mounted at a path without links, or below it.
fn expect_no_mounts(path: &Path) -> io::Result<()> {
    match capture::mount_points()?.into_iter().find(|point| point.starts_with(path)) {
        None => Ok(()),
        Some(point) => {
            let message = format!("something is mounted at {}, which is not touched", point.display());
            Err(io::Error::new(io::ErrorKind::CrossesDevices, message))
        }
    }
}

/// What tells this start of the machine from every other: what was written since then is there, whoever was killed. Empty
/// where nothing tells.
pub fn this_boot() -> String {
    os::boot()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use icecore_testkit::may_act_as_root;

    use super::*;

    /// Mounted, until this is dropped.
    struct Bound(std::path::PathBuf);

    impl Bound {
        fn mount(from: &Path, to: &Path) -> Self {
            assert!(Command::new("mount").arg("--bind").args([from, to]).status().unwrap().success());
            Self(to.to_owned())
        }
    }

    impl Drop for Bound {
        fn drop(&mut self) {
            assert!(Command::new("umount").arg(&self.0).status().unwrap().success());
        }
    }

    #[test]
    fn what_is_bound_from_the_same_file_system_is_not_deleted() {
        if !may_act_as_root("a directory is mounted") {
            return;
        }
        let ground = tempfile::tempdir().unwrap();
        let [live, tree] = ["live", "tree"].map(|name| ground.path().join(name));
        for directory in [live.join("below"), tree.join("a/mounted"), tree.join("b")] {
            fs::create_dir_all(directory).unwrap();
        }
        fs::write(live.join("below/file"), "the only one").unwrap();
        fs::write(tree.join("b/file"), "a copy").unwrap();
        fs::write(tree.join("file"), "a copy").unwrap();
        let remove = |path: &[u8]| {
            let mut told = Vec::new();
            let tell = &mut |path: &[u8], error: io::Error| {
                told.push(format!("{}: {error}", String::from_utf8_lossy(path)));
            };
            Target::open(ground.path()).unwrap().remove_all(path, tell);
            told
        };
        let stays = "another directory is mounted there, which is not touched";
        {
            let _bound = Bound::mount(&live, &tree.join("a/mounted"));
            let _file = Bound::mount(&live.join("below/file"), &tree.join("file"));
            let told = remove(b"tree");
            assert!(told.contains(&format!("tree/a/mounted: {stays}")), "{told:?}");
            assert!(told.iter().any(|told| told.starts_with("tree/file: ")) && told.len() == 2, "{told:?}");
            assert!(!tree.join("b").exists());
            assert!(expect_no_mounts(&fs::canonicalize(&tree).unwrap()).is_err());
        }
        {
            let _bound = Bound::mount(&live, &tree);
            assert_eq!(remove(b"tree"), [format!("tree: {stays}")]);
        }
        assert_eq!(fs::read(live.join("below/file")).unwrap(), b"the only one");
        expect_no_mounts(&fs::canonicalize(&tree).unwrap()).unwrap();
        assert_eq!(remove(b"tree"), [""; 0]);
        assert!(!tree.exists());
        // What cannot be looked at is not deleted blindly.
        assert_eq!(remove(b"tree").len(), 1);
    }
}
