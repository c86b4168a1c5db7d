//! A snapshot of all roots, from its record to its end.
//!
//! ```text
//! check against a live listing → record (durable) → trial (btrfs) → freeze → create → thaw
//!       → views: listed, read, stored → destroy → record removed
//! ```

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use icecore_format::entry::{PathBytes, Timestamp};

use super::btrfs::{self, Subvolume, Subvolumes};
use super::record::{Made, Record};
use super::{CaptureError, CapturePlan, SnapshotPrograms};
use crate::listing::{Listing, Rules};
use crate::os::capture;
use crate::stat::Kind;
use crate::tree::{Root, Tree};
use crate::window::place;

/// How long whoever has made a snapshot tries to destroy it: as long as its program may take.
const PATIENCE: Duration = Duration::MAX;

/// A snapshot of all roots, to be made or made. Dropped, it is destroyed.
#[derive(Debug)]
pub struct Snapshot {
    instance: String,
    /// Tells it from every other.
    token: String,
    directory: PathBuf,
    roots: Vec<Root>,
    means: Means,
    /// Stands as long as the snapshot may.
    record: Option<Record>,
    /// There may be something to destroy.
    begun: bool,
}

#[derive(Debug)]
enum Means {
    Btrfs(Subvolumes),
    Programs(SnapshotPrograms),
}

impl Snapshot {
    /// A snapshot of the subvolumes that the roots are in.
    pub(super) fn of_subvolumes(plan: &CapturePlan, tree: &Tree, now: Timestamp) -> Result<Self, CaptureError> {
        let token = token(now);
        let label = format!("{}-{token}", place::file_name(&plan.instance));
        let subvolumes = Subvolumes::find(tree.roots(), &label)?;
        Ok(Self::new(plan, tree, token, Means::Btrfs(subvolumes)))
    }

    /// A snapshot that programs make.
    pub(super) fn by_programs(plan: &CapturePlan, programs: &SnapshotPrograms, tree: &Tree, now: Timestamp) -> Self {
        Self::new(plan, tree, token(now), Means::Programs(programs.clone()))
    }

    fn new(plan: &CapturePlan, tree: &Tree, token: String, means: Means) -> Self {
        let (instance, directory) = (plan.instance.clone(), plan.directory.clone());
        Self { instance, token, directory, roots: tree.roots().to_vec(), means, record: None, begun: false }
    }

    /// Makes sure that a snapshot holds what a live listing shows: whatever is mounted below a root, and every nested
    /// subvolume, would be missing from it.
    ///
    /// # Errors
    /// [`CaptureError::Elsewhere`] for the first of them, unless the rules leave it out.
    pub fn check(&self, tree: &Tree, listing: &Listing, rules: &Rules) -> Result<(), CaptureError> {
        let mounted = self.mounted(tree)?;
        let mut roots = tree.opened().iter().peekable();
        let mut device = 0;
        for listed in listing {
            let listed = listed.map_err(|source| CaptureError::Unknown { what: "the listing", source })?;
            if roots.peek().is_some_and(|root| root.prefix == listed.path) {
                roots.next();
                device = listed.stat.device;
                continue;
            }
            let elsewhere = listed.stat.device != device;
            // Directories alone: files may have devices of their own, as on overlays.
            let begins = elsewhere && listed.stat.kind == Kind::Directory || mounted.contains(&listed.path);
            // What is mounted from the same file system (a bind mount) is not left out with other file systems.
            if begins && !(elsewhere && rules.one_file_system) {
                return Err(CaptureError::Elsewhere { path: String::from_utf8_lossy(&listed.path).into_owned() });
            }
        }
        Ok(())
    }

    /// What is mounted below the roots, as listings name it.
    fn mounted(&self, tree: &Tree) -> Result<HashSet<PathBytes>, CaptureError> {
        let mounts = capture::mount_points();
        let mounts = mounts.map_err(|source| CaptureError::Unknown { what: "the table of mounts", source })?;
        let mut below = HashSet::new();
        for root in tree.opened() {
            let path = fs::canonicalize(root.path()).unwrap_or_else(|_| root.path().to_owned());
            for inside in mounts.iter().filter_map(|mount| mount.strip_prefix(&path).ok()) {
                let inside = inside.as_os_str().as_encoded_bytes();
                let separator: &[u8] = if root.prefix.is_empty() || inside.is_empty() { b"" } else { b"/" };
                below.insert([&root.prefix, separator, inside].concat());
            }
        }
        Ok(below)
    }

    /// Makes everything ready that can be before the freeze, and tells how long making the snapshot will take, as far
    /// as that is known. A btrfs snapshot is made and destroyed once: that proves that it may be, and writes out what
    /// waits, so that the window does not have to.
    ///
    /// # Errors
    /// Everything that stands in the way.
    pub fn prepare(&mut self, now: Timestamp) -> Result<Duration, CaptureError> {
        let made = match &self.means {
            Means::Btrfs(subvolumes) => Made::Btrfs { snapshots: subvolumes.snapshots() },
            Means::Programs(programs) => {
                programs.check()?;
                Made::Programs { destroy: programs.destroy.clone(), timeout_ms: programs.timeout_ms }
            }
        };
        self.record = Some(Record::write(&self.directory, &self.instance, &self.token, made, now)?);
        let Means::Btrfs(subvolumes) = &self.means else { return Ok(Duration::ZERO) };
        self.begun = true;
        let impossible =
            |subvolume: &Subvolume, why: String| CaptureError::Snapshot { root: subvolume.path.clone(), why };
        let mut took = Duration::ZERO;
        for subvolume in &subvolumes.all {
            took += subvolume.create().map_err(|error| impossible(subvolume, error.to_string()))?;
            let destroyed = btrfs::destroy(&subvolume.snapshot());
            destroyed.map_err(|error| impossible(subvolume, format!("the trial could not be destroyed: {error}")))?;
        }
        Ok(took)
    }

    /// Makes it, in the window.
    ///
    /// # Errors
    /// If it was not made, or not within `limit`, as far as a limit can be kept.
    pub fn create(&mut self, tree: &Tree, limit: Duration) -> Result<(), CaptureError> {
        if matches!(self.means, Means::Btrfs(_)) {
            super::expect_writable(tree, limit)?;
        }
        self.begun = true;
        match &self.means {
            Means::Btrfs(subvolumes) => subvolumes.all.iter().try_for_each(|subvolume| subvolume.create().map(drop)),
            Means::Programs(programs) => programs.create(&self.instance, &self.token, limit),
        }
    }

    /// The roots as they stand in the snapshot that was made.
    ///
    /// # Errors
    /// [`CaptureError::View`] and those of the program that says where they are.
    pub fn views(&self) -> Result<Vec<Root>, CaptureError> {
        let view = |(number, root): (usize, &Root)| {
            let path = match &self.means {
                Means::Btrfs(subvolumes) => subvolumes.view(number),
                Means::Programs(programs) => programs.path_of(root, &self.instance, &self.token)?,
            };
            Ok(Root { name: root.name.clone(), path })
        };
        self.roots.iter().enumerate().map(view).collect()
    }

    /// Destroys it.
    ///
    /// # Errors
    /// [`CaptureError::Destroy`]; then the next command tries again.
    pub fn destroy(mut self) -> Result<(), CaptureError> {
        self.end()
    }

    fn end(&mut self) -> Result<(), CaptureError> {
        match self.record.take() {
            Some(record) if self.begun => record.destroy(PATIENCE),
            Some(record) => {
                record.forget();
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        // What could not be destroyed stays recorded: the next command tries again, and says so.
        let _ = self.end();
    }
}

/// The rules by which the views of roots are listed: what is left out by device and inode has other devices there.
/// `left_out` is what a live listing has left out.
pub fn rules_of_view(rules: &Rules, live: &Tree, left_out: &[PathBytes], view: &Tree) -> Rules {
    let mut leave_out = Vec::new();
    for (here, there) in live.opened().iter().zip(view.opened()) {
        let (Ok(here), Ok(there)) = (here.stat(), there.stat()) else { continue };
        let inodes = rules.leave_out.iter().filter(|(device, _)| *device == here.device).map(|(_, inode)| *inode);
        leave_out.extend(inodes.map(|inode| (there.device, inode)));
    }
    // By their paths, too: what a program has copied has other inodes.
    for path in left_out {
        let ours = live.stat(path).is_ok_and(|stat| rules.leave_out.contains(&(stat.device, stat.inode)));
        if let Ok(stat) = view.stat(path)
            && ours
        {
            leave_out.push((stat.device, stat.inode));
        }
    }
    Rules { leave_out, ..rules.clone() }
}

/// Tells one snapshot from every other of this host, and when it was made.
fn token(now: Timestamp) -> String {
    format!("{:x}x{:x}x{:x}", now.seconds, now.nanos, std::process::id())
}

#[cfg(all(test, target_os = "linux"))]
mod tests;
