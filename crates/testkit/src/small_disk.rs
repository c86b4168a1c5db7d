//! A file system that is soon full.

use std::io;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

/// A small file system of its own, mounted in a temporary directory as long as this lives.
#[derive(Debug)]
pub struct SmallDisk {
    directory: TempDir,
    /// What a loop device shows.
    _image: Option<TempDir>,
}

impl SmallDisk {
    /// Mounts one of `size` bytes, which needs Linux and the right to mount. `None` if that is not to be had, which has
    /// then been [said](crate::skip).
    pub fn mount(size: u64) -> Option<Self> {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let options = format!("size={size},mode=0700");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "none"]).arg(directory.path()).output();
        let refusal = match mount {
            Ok(output) if output.status.success() => return Some(Self { directory, _image: None }),
            Ok(output) => io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
            Err(e) => e,
        };
        crate::skip(&format!("no small file system can be mounted here: {refusal}"));
        None
    }

    /// Makes and mounts one of a kind that `mkfs.KIND` knows, which needs root and loop devices; the image is sparse. `None`
    /// if that is not to be had, which has then been [said](crate::skip).
    pub fn of_kind(kind: &str, size: u64) -> Option<Self> {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let image = tempfile::tempdir().expect("a temporary directory");
        let file = image.path().join("image");
        let made = std::fs::File::create(&file).and_then(|file| file.set_len(size));
        let run = |command: &mut Command| match command.output() {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
            Err(error) => Err(error.to_string()),
        };
        let mounted = made
            .map_err(|error| error.to_string())
            .and_then(|()| run(Command::new(format!("mkfs.{kind}")).arg("-q").arg(&file)))
            .and_then(|()| run(Command::new("mount").args(["-o", "loop"]).arg(&file).arg(directory.path())));
        match mounted {
            Ok(()) => Some(Self { directory, _image: Some(image) }),
            Err(why) => {
                crate::skip(&format!("no {kind} can be mounted here: {why}"));
                None
            }
        }
    }

    /// Its root directory.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily, because a test that panics may still hold files open there.
        let _ = Command::new("umount").arg("-l").arg(self.path()).output();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key;
    use icecore_store::error::Operation;
    use icecore_store::{ErrorKind, LocalStore, Put, Store};
    use std::fs;

    const MIB: usize = 1 << 20;

    #[test]
    fn a_full_disk_leaves_a_local_store_whole() {
        let Some(disk) = SmallDisk::mount(4 * MIB as u64) else { return };
        let root = disk.path().join("store");
        let store = LocalStore::create(&root).unwrap();
        store.put(&key("packs/00/kept"), &[&vec![7; MIB]]).unwrap();

        let large = vec![1; 2 * MIB];
        let full = store.put(&key("packs/00/large"), &[&large, &large]).unwrap_err();
        assert_eq!((full.kind, full.operation, &*full.object), (ErrorKind::NoSpace, Operation::Put, "packs/00/large"));
        assert_eq!(store.size(&key("packs/00/large")).unwrap(), None);
        assert_eq!(fs::read_dir(root.join("tmp")).unwrap().count(), 0, "the temporary file is removed");

        assert_eq!(store.put(&key("packs/00/large"), &[&large]).unwrap(), Put::Created, "its space was given back");
        assert_eq!(store.get(&key("packs/00/kept")).unwrap(), vec![7; MIB]);
    }
}
