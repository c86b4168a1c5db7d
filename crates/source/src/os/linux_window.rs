//! What the freeze window asks of Linux: whole file systems frozen, programs ended with everything
//! they started, processes that outlive the one that started them.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{AtFlags, CWD, StatxFlags};
use rustix::io::{Errno, FdFlags};
use rustix::ioctl::{NoArg, Opcode, opcode};
use rustix::process::{Pid, PidfdFlags, Signal};
use rustix::thread::CapabilitySet;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// `_IOWR('X', 119, int)` and `_IOWR('X', 120, int)` of `linux/fs.h`.
const FIFREEZE: Opcode = opcode::read_write::<i32>(b'X', 119);
const FITHAW: Opcode = opcode::read_write::<i32>(b'X', 120);

/// What came of asking the kernel to freeze or thaw a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It is as wished, by this call.
    Done,
    /// It was so before.
    Already,
}

/// Freezes the file system that `directory` is on; returns when everything is on disk.
pub(crate) fn freeze_filesystem(directory: &File) -> io::Result<Turn> {
    // SAFETY: the kernel takes no notice of FIFREEZE's argument.
    let answer = unsafe { rustix::ioctl::ioctl(directory, NoArg::<FIFREEZE>::new()) };
    turn(answer, Errno::BUSY)
}

/// Thaws the file system that `directory` is on.
pub(crate) fn thaw_filesystem(directory: &File) -> io::Result<Turn> {
    // SAFETY: the kernel takes no notice of FITHAW's argument.
    let answer = unsafe { rustix::ioctl::ioctl(directory, NoArg::<FITHAW>::new()) };
    turn(answer, Errno::INVAL)
}

fn turn(answer: rustix::io::Result<()>, already: Errno) -> io::Result<Turn> {
    match answer {
        Ok(()) => Ok(Turn::Done),
        Err(errno) if errno == already => Ok(Turn::Already),
        Err(errno) => Err(errno.into()),
    }
}

/// Tells whether this thread may freeze file systems, and destroy snapshots of them.
pub(crate) fn is_administrator() -> bool {
    rustix::thread::capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_ADMIN))
}

/// The device of the whole file system that `path` is on, and whether `path` is a mount point.
///
/// The device of a stat would not do: subvolumes of one btrfs have different ones.
pub(crate) fn filesystem_of(path: &Path) -> io::Result<(String, bool)> {
    let path = fs::canonicalize(path)?;
    let mount_id = rustix::fs::statx(CWD, &path, AtFlags::empty(), StatxFlags::MNT_ID)?.stx_mnt_id.to_string();
    // "36 35 98:0 /subvolume /mount/point options …", where blanks in the mount point are written \040.
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let mut fields = mounts.lines().map(|line| line.split(' ')).filter_map(|mut fields| {
        let id = fields.next()?;
        Some((id, fields.nth(1)?, fields.nth(1)?))
    });
    let (_, device, mount_point) =
        fields.find(|(id, ..)| *id == mount_id).ok_or_else(|| io::Error::other("not among the mounts"))?;
    let written = path.to_string_lossy().replace('\\', "\\134").replace(' ', "\\040").replace('\t', "\\011");
    Ok((device.to_owned(), mount_point == written.replace('\n', "\\012")))
}

/// Tells whether `path` is a file that somebody may run.
pub(crate) fn is_executable(path: &Path) -> io::Result<bool> {
    let found = fs::metadata(path)?;
    Ok(found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// Gives a program a process group of its own, out of reach of the terminal's Ctrl-C and easily ended.
pub(crate) fn in_own_group(command: &mut Command) -> &mut Command {
    command.process_group(0)
}

/// Ends a process group at once. `leader` must be a child that was not waited for yet, or otherwise be
/// known to live: else its number may be somebody else's by now.
pub(crate) fn end_group(leader: u32) -> io::Result<()> {
    Ok(rustix::process::kill_process_group(pid(leader)?, Signal::KILL)?)
}

/// Processes that have the entry `name=value` in their environment, as far as this user may look; never this one.
pub(crate) fn processes_with_environment(name: &str, value: &str) -> Vec<u32> {
    let wanted = format!("{name}={value}").into_bytes();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.filter(|number| *number != std::process::id() && has_environment(*number, &wanted)).collect()
}

/// Ends a process at once, if it has the entry `name=value` in its environment: its number may be somebody else's by now.
pub(crate) fn end_process_with(number: u32, name: &str, value: &str) -> io::Result<()> {
    let process = rustix::process::pidfd_open(pid(number)?, PidfdFlags::empty());
    // Behind the descriptor, which is of whoever has the number now, and nobody else ever.
    if !has_environment(number, format!("{name}={value}").as_bytes()) {
        return Ok(());
    }
    match process {
        Ok(process) => Ok(rustix::process::pidfd_send_signal(process, Signal::KILL)?),
        // Kernels before 5.3, and sandboxes.
        Err(_) => Ok(rustix::process::kill_process(pid(number)?, Signal::KILL)?),
    }
}

fn has_environment(number: u32, wanted: &[u8]) -> bool {
    fs::read(format!("/proc/{number}/environ"))
        .is_ok_and(|environment| environment.split(|&byte| byte == 0).any(|entry| entry == wanted))
}

/// Leaders of process groups, daemons of their own session excepted, that live and have the entry
/// `name=value` in their environment, as far as this user may look.
pub(crate) fn groups_with_environment(name: &str, value: &str) -> Vec<u32> {
    let wanted = format!("{name}={value}").into_bytes();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|&number| leads_group_only(number).unwrap_or(false))
        .filter(|number| has_environment(*number, &wanted))
        .collect()
}

/// Whether a process leads its group, but not its session; `None` if it is gone.
fn leads_group_only(number: u32) -> Option<bool> {
    // "812 (name) S parent group session …"; the name may hold anything, also parentheses. (To ask by
    // getpgid would not do: threads of the kernel and processes outside the container have group 0.)
    let stat = fs::read_to_string(format!("/proc/{number}/stat")).ok()?;
    let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(2);
    let (group, session) = (fields.next()?, fields.next()?);
    let number = number.to_string();
    Some(group == number && session != number)
}

fn pid(number: u32) -> io::Result<Pid> {
    let number = i32::try_from(number).map_err(|_| io::ErrorKind::InvalidInput)?;
    Pid::from_raw(number).ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

/// Waits until there is something to read from `pipe` or its other end is closed; false after `limit`.
pub(crate) fn wait_readable(pipe: impl AsFd, limit: Duration) -> io::Result<bool> {
    let limit = Timespec::try_from(limit).map_err(|_| io::ErrorKind::InvalidInput)?;
    match rustix::event::poll(&mut [PollFd::new(&pipe, PollFlags::IN)], Some(&limit)) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::INTR) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// Leaves the session and its terminal, and from now on lives through SIGINT, SIGTERM and SIGHUP.
///
/// They are caught, not ignored: to be ignored would be handed on to programs started later.
pub(crate) fn live_on_alone() -> io::Result<()> {
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))?;
    }
    match rustix::process::setsid() {
        // Whoever leads its process group got one of its own already: by that it is alone enough.
        Ok(_) | Err(Errno::PERM) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Keeps whatever this process got from its parent beyond the three standard streams (locks, pipes,
/// sockets) from the programs that it starts.
pub(crate) fn keep_descriptors_private() {
    let open = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let numbers: Vec<RawFd> = open.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    for number in numbers.into_iter().filter(|&number| number > 2) {
        // SAFETY: it was open a moment ago. If another thread has closed it since, the kernel refuses, or
        // the flag meets a successor, which wants it as well; nothing else is done with it.
        let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
        if let Ok(flags) = rustix::io::fcntl_getfd(descriptor) {
            // Fails only for a descriptor that is gone.
            let _ = rustix::io::fcntl_setfd(descriptor, flags | FdFlags::CLOEXEC);
        }
    }
}

/// Makes names in `directory` that were created, renamed or removed outlive a power cut.
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Creates a directory for this user alone, with its parents, durably; one that exists is fine.
pub(crate) fn create_private_directory(directory: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    if directory.is_dir() {
        return Ok(());
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    directory.ancestors().skip(1).take(2).filter(|parent| !parent.as_os_str().is_empty()).try_for_each(sync_directory)
}
