//! Priorities of single threads, as Linux has them: `PRIO_PROCESS` and `IOPRIO_WHO_PROCESS` with 0 mean the calling thread.

use std::io;

use libc::{SYS_ioprio_get, SYS_ioprio_set, c_int, c_long, syscall};

pub(crate) const IS_SUPPORTED: bool = true;

/// `IOPRIO_WHO_PROCESS`, the classes and the place of the class, of `linux/ioprio.h`.
const OF_THREAD: c_int = 1;
const BEST_EFFORT: c_int = 2;
const IDLE: c_int = 3;
const CLASS_SHIFT: c_int = 13;

/// Sets the niceness, unless it is more already.
pub(crate) fn give_way(nice: u8) -> io::Result<()> {
    let wanted = i32::from(nice);
    if rustix::process::getpriority_process(None)? < wanted {
        rustix::process::setpriority_process(None, wanted)?;
    }
    Ok(())
}

/// Sets the level among those that get the disk at all, or else the class that gets it when nobody else wants it. One of that
/// class stays in it.
pub(crate) fn give_way_at_disks(level: Option<u8>) -> io::Result<()> {
    // SAFETY: the call takes two numbers and touches no memory.
    let now = answer(unsafe { syscall(SYS_ioprio_get, OF_THREAD, 0) })?;
    if now >> CLASS_SHIFT == c_long::from(IDLE) {
        return Ok(());
    }
    let wanted = level.map_or(IDLE << CLASS_SHIFT, |level| BEST_EFFORT << CLASS_SHIFT | c_int::from(level));
    // SAFETY: the call takes three numbers and touches no memory.
    answer(unsafe { syscall(SYS_ioprio_set, OF_THREAD, 0, wanted) }).map(drop)
}

fn answer(answer: c_long) -> io::Result<c_long> {
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer) }
}

#[cfg(test)]
mod tests {
    use crate::priority::{IoPriority, Priority};

    /// Nice and I/O priority of the calling thread.
    fn now() -> (i32, i64) {
        let nice = rustix::process::getpriority_process(None).unwrap();
        // SAFETY: as above.
        (nice, unsafe { libc::syscall(libc::SYS_ioprio_get, 1, 0) })
    }

    #[test]
    fn one_thread_gives_way_and_no_other() {
        let before = now();
        let of_another = std::thread::spawn(|| {
            Priority { nice: Some(19), io: Some(IoPriority::BestEffort(6)) }.take().unwrap();
            let lowered = now();
            // Never back, also where root could.
            Priority { nice: Some(1), io: Some(IoPriority::Idle) }.take().unwrap();
            Priority { nice: None, io: Some(IoPriority::BestEffort(0)) }.take().unwrap();
            (lowered, now())
        });
        assert_eq!(of_another.join().unwrap(), ((19, 2 << 13 | 6), (19, 3 << 13)));
        Priority { nice: Some(19), io: Some(IoPriority::Idle) }.probe().unwrap();
        assert_eq!(now(), before);
    }
}
