//! The subvolumes that roots stand in.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{CaptureError, SNAPSHOT_PREFIX};
use crate::os::{Dir, capture, window as os};
use crate::tree::Root;

/// `BTRFS_FIRST_FREE_OBJECTID`: the inode number of the root directory of every subvolume, and of nothing else on
/// btrfs.
const SUBVOLUME_INODE: u64 = 256;

/// `BTRFS_EMPTY_SUBVOL_DIR_OBJECTID`: that of the empty directory which a snapshot has in place of a nested subvolume.
const EMPTY_INODE: u64 = 2;

/// A subvolume, and the snapshot that is made of it.
#[derive(Debug)]
pub(super) struct Subvolume {
    pub(super) path: PathBuf,
    /// The directory that the snapshot stands in: the one that the subvolume is in, if that is possible, else the
    /// subvolume.
    place: PathBuf,
    name: String,
}

impl Subvolume {
    pub(super) fn snapshot(&self) -> PathBuf {
        self.place.join(&self.name)
    }

    /// Makes the snapshot, and tells how long that took.
    pub(super) fn create(&self) -> Result<Duration, CaptureError> {
        let began = Instant::now();
        capture::create_snapshot(&self.path, &self.place, self.name.as_ref()).map_err(|source| {
            CaptureError::Create { subvolume: self.path.clone(), snapshot: self.snapshot(), source }
        })?;
        Ok(began.elapsed())
    }
}

/// The subvolumes that all roots are in, each once.
#[derive(Debug)]
pub(super) struct Subvolumes {
    pub(super) all: Vec<Subvolume>,
    /// For each root, which of them it is in, and where in it.
    places: Vec<(usize, PathBuf)>,
}

impl Subvolumes {
    /// Finds them; `label` tells their snapshots from all others.
    pub(super) fn find(roots: &[Root], label: &str) -> Result<Self, CaptureError> {
        let mut all: Vec<Subvolume> = Vec::new();
        let mut places = Vec::with_capacity(roots.len());
        for root in roots {
            let impossible =
                |error: io::Error| CaptureError::Snapshot { root: root.path.clone(), why: error.to_string() };
            let (path, inside) = above(&root.path).map_err(impossible)?;
            let number = match all.iter().position(|known| known.path == path) {
                Some(number) => number,
                None => {
                    let (place, name) =
                        (place(&path).map_err(impossible)?, format!("{SNAPSHOT_PREFIX}{label}-{}", all.len()));
                    all.push(Subvolume { path, place, name });
                    all.len() - 1
                }
            };
            places.push((number, inside));
        }
        Ok(Self { all, places })
    }

    /// The snapshots, made or not.
    pub(super) fn snapshots(&self) -> Vec<PathBuf> {
        self.all.iter().map(Subvolume::snapshot).collect()
    }

    /// Where the root of a number stands in them.
    pub(super) fn view(&self, root: usize) -> PathBuf {
        let (subvolume, inside) = &self.places[root];
        self.all[*subvolume].snapshot().join(inside)
    }
}

/// The root directory of the subvolume that a directory is in, and the way from there.
fn above(path: &Path) -> io::Result<(PathBuf, PathBuf)> {
    let path = fs::canonicalize(path)?;
    if !capture::is_btrfs(&Dir::open(&path)?)? {
        return Err(io::Error::other("it is not on btrfs"));
    }
    // Others may make snapshots, but not destroy them again.
    if !os::is_administrator() {
        return Err(io::Error::other("only root (CAP_SYS_ADMIN) may make btrfs snapshots and destroy them"));
    }
    let device = Dir::open(&path)?.stat(c"")?.device;
    for above in path.ancestors() {
        let stat = Dir::open(above)?.stat(c"")?;
        if stat.device != device {
            break;
        }
        if stat.inode == SUBVOLUME_INODE {
            // A directory that is mounted elsewhere by itself has another place in the subvolume than its path says.
            if capture::mount_of(above)? != capture::mount_of(&path)? {
                break;
            }
            let inside = path.strip_prefix(above).unwrap_or(Path::new("")).to_owned();
            return Ok((above.to_owned(), inside));
        }
    }
    Err(io::Error::other("the root directory of its subvolume cannot be seen from here, only a part that is mounted"))
}

/// Where the snapshot of a subvolume stands: beside it, or in it if that is another file system or may not be written
/// to.
fn place(subvolume: &Path) -> io::Result<PathBuf> {
    let Some(parent) = subvolume.parent() else { return Ok(subvolume.to_owned()) };
    let is_beside = Dir::open(parent).and_then(|parent| capture::is_btrfs(&parent)).unwrap_or(false)
        && os::filesystem_of(parent)?.0 == os::filesystem_of(subvolume)?.0
        && capture::may_write(parent);
    Ok(if is_beside { parent.to_owned() } else { subvolume.to_owned() })
}

/// Destroys a snapshot; that it is gone is a success.
pub(super) fn destroy(snapshot: &Path) -> io::Result<()> {
    match (snapshot.parent(), snapshot.file_name()) {
        (Some(place), Some(name)) if name.to_string_lossy().starts_with(SNAPSHOT_PREFIX) => {
            capture::destroy_snapshot(place, name)
        }
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not named as a snapshot of icecore")),
    }
}

/// Whether a listed directory is a snapshot of this program, or what another snapshot has in its place.
pub(crate) fn is_snapshot(name: &[u8], inode: u64) -> bool {
    name.starts_with(SNAPSHOT_PREFIX.as_bytes()) && matches!(inode, SUBVOLUME_INODE | EMPTY_INODE)
}
