//! What Linux does better than other Unixes: resolution beneath a directory, `statx`, `O_NOATIME`.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::OnceLock;

use icecore_format::entry::Timestamp;
use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, RawDir, ResolveFlags, Statx, StatxAttributes, StatxFlags, StatxTimestamp,
};
use rustix::io::Errno;
use rustix::path::Arg;

use crate::os::NameList;
use crate::stat::{Kind, Stat};

/// Opens a directory only to go through it: needs search permission, not read permission.
pub(super) const PASS: OFlags = OFlags::PATH;

/// Leaves access times alone. Only the owner and root may: the kernel says EPERM to everybody else.
pub(super) const NOATIME: OFlags = OFlags::NOATIME;

/// Beneath the starting directory, and through nothing that points elsewhere.
const BENEATH: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

/// An entry itself, never what it links to or what would be mounted there.
const ITSELF: AtFlags = AtFlags::SYMLINK_NOFOLLOW.union(AtFlags::NO_AUTOMOUNT).union(AtFlags::EMPTY_PATH);

/// Opens `path` beneath `dir` in one call; `None` where the kernel (before 5.6) or a sandbox has no
/// `openat2`.
pub(super) fn open_beneath(dir: impl AsFd, path: impl Arg, flags: OFlags) -> Option<io::Result<OwnedFd>> {
    static SUPPORTED: OnceLock<bool> = OnceLock::new();
    let supported = *SUPPORTED.get_or_init(|| {
        let probe = rustix::fs::openat2(CWD, "/", PASS | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::NO_SYMLINKS);
        // Sandboxes that do not know the call answer EPERM.
        !matches!(probe, Err(Errno::NOSYS | Errno::PERM))
    });
    supported.then(|| Ok(rustix::fs::openat2(dir, path, flags, Mode::empty(), BENEATH)?))
}

/// The stat of `name` in `dir` (of `dir` itself if the name is empty), never following a link and
/// never triggering a mount.
pub(super) fn stat(dir: impl AsFd, name: impl Arg) -> io::Result<Stat> {
    let found = rustix::fs::statx(dir, name, ITSELF, StatxFlags::BASIC_STATS)?;
    Ok(from_statx(&found))
}

/// The letter with which `chattr` set a flag that keeps `name` in `dir` (`dir` itself if the name is empty) from being
/// changed by anybody.
pub(super) fn held(dir: impl AsFd, name: impl Arg) -> Option<char> {
    let flags = rustix::fs::statx(dir, name, ITSELF, StatxFlags::empty()).ok()?.stx_attributes;
    [(StatxAttributes::IMMUTABLE, 'i'), (StatxAttributes::APPEND, 'a')]
        .into_iter()
        .find_map(|(flag, letter)| flags.contains(flag).then_some(letter))
}

/// Whether something is mounted at `name` in `dir` (at `dir` itself if the name is empty), if only another directory of the same
/// file system; `None` where the kernel (before 5.8) does not say.
pub(super) fn is_mount_point(dir: impl AsFd, name: impl Arg) -> io::Result<Option<bool>> {
    let found = rustix::fs::statx(dir, name, ITSELF, StatxFlags::empty())?;
    let is_told = found.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT);
    Ok(is_told.then(|| found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)))
}

fn from_statx(found: &Statx) -> Stat {
    let mode = u32::from(found.stx_mode);
    Stat {
        kind: Kind::from_mode(mode),
        mode: mode & 0o7777,
        uid: found.stx_uid,
        gid: found.stx_gid,
        size: found.stx_size,
        mtime: timestamp(&found.stx_mtime),
        ctime: timestamp(&found.stx_ctime),
        inode: found.stx_ino,
        device: rustix::fs::makedev(found.stx_dev_major, found.stx_dev_minor),
        links: found.stx_nlink,
        rdev: (found.stx_rdev_major, found.stx_rdev_minor),
        blocks: found.stx_blocks,
    }
}

fn timestamp(time: &StatxTimestamp) -> Timestamp {
    Timestamp { seconds: time.tv_sec, nanos: time.tv_nsec }
}

/// Appends the names in `dir`, which must have been opened for reading, without `.` and `..`.
///
/// `buffer` is for the kernel; a call fills it as far as names go.
pub(super) fn read_names(dir: impl AsFd, buffer: &mut Vec<u8>, names: &mut NameList) -> io::Result<()> {
    /// Large enough for every name there is; directories of a few hundred entries need one call.
    const BUFFER_LEN: usize = 32 * 1024;
    buffer.clear();
    buffer.reserve(BUFFER_LEN);
    let mut entries = RawDir::new(dir, buffer.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        let entry = entry?;
        names.push(entry.file_name());
    }
    Ok(())
}

/// A random number that the kernel draws when it starts.
pub(super) fn boot_id() -> io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}
