//! What captures ask of Linux: files without a name, content shared between files, snapshots of btrfs.

use std::ffi::{OsStr, c_char};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, Mode, OFlags, StatxFlags};
use rustix::io::Errno;
use rustix::ioctl::{Opcode, Setter, opcode};

/// `struct file_clone_range` of `linux/fs.h`.
#[repr(C)]
struct CloneRange {
    src_fd: i64,
    src_offset: u64,
    src_length: u64,
    dest_offset: u64,
}

/// `_IOW(0x94, 13, struct file_clone_range)` of `linux/fs.h`.
const FICLONERANGE: Opcode = opcode::write::<CloneRange>(0x94, 13);

/// `struct btrfs_ioctl_vol_args_v2` of `linux/btrfs.h`, without what nobody here needs of its unions.
#[repr(C)]
struct SnapshotArgs {
    fd: i64,
    transid: u64,
    flags: u64,
    unused: [u64; 4],
    name: [c_char; 4040],
}

/// `struct btrfs_ioctl_vol_args` of `linux/btrfs.h`.
#[repr(C)]
struct DestroyArgs {
    fd: i64,
    name: [c_char; 4088],
}

/// `_IOW(0x94, 23, struct btrfs_ioctl_vol_args_v2)` of `linux/btrfs.h`.
const SNAP_CREATE_V2: Opcode = opcode::write::<SnapshotArgs>(0x94, 23);

/// `_IOW(0x94, 15, struct btrfs_ioctl_vol_args)` of `linux/btrfs.h`.
const SNAP_DESTROY: Opcode = opcode::write::<DestroyArgs>(0x94, 15);

/// `BTRFS_SUBVOL_RDONLY` of `linux/btrfs.h`.
const READ_ONLY: u64 = 1 << 1;

/// `BTRFS_SUPER_MAGIC` of `linux/magic.h`.
const BTRFS_MAGIC: u64 = 0x9123_683e;

/// Makes a file without a name on the file system of `directory`. It is gone with its last descriptor, also after a
/// power cut.
pub(crate) fn unnamed_file(directory: impl AsFd) -> io::Result<File> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(directory, ".", flags, Mode::RUSR | Mode::WUSR)?.into())
}

/// The size of the blocks of the file system of `file`.
pub(crate) fn block_size(file: &File) -> io::Result<u64> {
    Ok(rustix::fs::fstatvfs(file)?.f_bsize.max(1))
}

/// Lets `to` share the first `len` bytes of `from` (not 0) from the offset `at` on; both must be multiples of the block
/// size. Writes to `from` are held off meanwhile: what is shared is one instant of it.
pub(crate) fn clone_start(from: &File, len: u64, to: &File, at: u64) -> io::Result<()> {
    let range = CloneRange { src_fd: i64::from(from.as_raw_fd()), src_offset: 0, src_length: len, dest_offset: at };
    // SAFETY: FICLONERANGE reads one `file_clone_range`, which names an open descriptor, and nothing else.
    let cloned = unsafe { rustix::ioctl::ioctl(to, Setter::<FICLONERANGE, _>::new(range)) };
    Ok(cloned?)
}

/// Writes out everything that waits on the file system of `file`.
pub(crate) fn sync_filesystem(file: &File) -> io::Result<()> {
    Ok(rustix::fs::syncfs(file)?)
}

/// Tells whether `directory` is on btrfs.
pub(crate) fn is_btrfs(directory: impl AsFd) -> io::Result<bool> {
    Ok(rustix::fs::fstatfs(directory)?.f_type as u64 & 0xffff_ffff == BTRFS_MAGIC)
}

/// Makes a read-only snapshot of the subvolume whose root directory is at `subvolume`, named `name` in `directory`.
pub(crate) fn create_snapshot(subvolume: &Path, directory: &Path, name: &OsStr) -> io::Result<()> {
    let (subvolume, directory) = (open_directory(subvolume)?, open_directory(directory)?);
    let fd = i64::from(subvolume.as_raw_fd());
    let arguments = SnapshotArgs { fd, transid: 0, flags: READ_ONLY, unused: [0; 4], name: c_name(name)? };
    // SAFETY: SNAP_CREATE_V2 reads one `btrfs_ioctl_vol_args_v2` with a name that ends with NUL; without the flag for
    // it, the pointer among what is unused here is not looked at.
    let created = unsafe { rustix::ioctl::ioctl(&directory, Setter::<SNAP_CREATE_V2, _>::new(arguments)) };
    Ok(created?)
}

/// Destroys the snapshot named `name` in `directory`; that there is none is a success.
pub(crate) fn destroy_snapshot(directory: &Path, name: &OsStr) -> io::Result<()> {
    let directory = match open_directory(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    let arguments = DestroyArgs { fd: 0, name: c_name(name)? };
    // SAFETY: SNAP_DESTROY reads one `btrfs_ioctl_vol_args` with a name that ends with NUL.
    match unsafe { rustix::ioctl::ioctl(&directory, Setter::<SNAP_DESTROY, _>::new(arguments)) } {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Tells whether this user may write to `directory`.
pub(crate) fn may_write(directory: &Path) -> bool {
    rustix::fs::access(directory, Access::WRITE_OK).is_ok()
}

/// Which mount a path belongs to.
pub(crate) fn mount_of(path: &Path) -> io::Result<u64> {
    Ok(rustix::fs::statx(CWD, path, AtFlags::empty(), StatxFlags::MNT_ID)?.stx_mnt_id)
}

/// Where something is mounted.
pub(crate) fn mount_points() -> io::Result<Vec<PathBuf>> {
    let mounts = std::fs::read("/proc/self/mountinfo")?;
    // "36 35 98:0 /subvolume /mount/point options …"
    let points = mounts.split(|&byte| byte == b'\n').filter_map(|line| line.split(|&byte| byte == b' ').nth(4));
    Ok(points.map(|point| PathBuf::from(OsStr::from_bytes(&unescaped(point)))).collect())
}

/// Undoes what `mountinfo` does to blanks and backslashes, which stand there as three octal digits.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|digits| byte == b'\\' && digits.iter().all(|d| (b'0'..=b'7').contains(d)));
        (rest, _) = match octal {
            Some(digits) => {
                let value = digits.iter().fold(0_u8, |value, digit| value.wrapping_mul(8).wrapping_add(digit - b'0'));
                (&after[3..], plain.push(value))
            }
            None => (after, plain.push(byte)),
        };
    }
    plain
}

fn open_directory(path: &Path) -> io::Result<File> {
    Ok(rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?.into())
}

/// A name as the kernel wants it: in an array, ended by NUL.
fn c_name<const LEN: usize>(name: &OsStr) -> io::Result<[c_char; LEN]> {
    let bytes = name.as_bytes();
    if bytes.is_empty() || bytes.len() >= LEN || bytes.contains(&0) || bytes.contains(&b'/') {
        return Err(io::ErrorKind::InvalidFilename.into());
    }
    let mut array = [0; LEN];
    for (to, from) in array.iter_mut().zip(bytes) {
        *to = *from as c_char;
    }
    Ok(array)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_what_their_numbers_say() {
        assert_eq!((size_of::<SnapshotArgs>(), size_of::<DestroyArgs>(), size_of::<CloneRange>()), (4096, 4096, 32));
        assert_eq!((SNAP_CREATE_V2, SNAP_DESTROY, FICLONERANGE), (0x5000_9417, 0x5000_940f, 0x4020_940d));
    }

    #[test]
    fn names_that_are_none_are_not_passed_on() {
        for bad in ["", "a/b", "a\0b", &"x".repeat(4088)] {
            assert!(c_name::<4088>(OsStr::new(bad)).is_err(), "{bad:?}");
        }
        let name: [c_char; 8] = c_name(OsStr::new("abc")).unwrap();
        assert_eq!(name, [97, 98, 99, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn mount_points_are_read_with_their_blanks() {
        assert_eq!(unescaped(br"/a\040b\134c\011"), b"/a b\\c\t");
        assert_eq!(unescaped(br"/a\04"), br"/a\04");
        assert!(mount_points().unwrap().contains(&PathBuf::from("/proc")));
    }
}
