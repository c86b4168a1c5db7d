//! How much a thread gives way to others, in the processor and at disks.

use std::io;

use crate::os::priority as os;

/// Whether this system knows priorities of single threads.
pub const IS_SUPPORTED: bool = os::IS_SUPPORTED;

/// How much a thread gives way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Priority {
    /// As of `nice`: 0 to 19, the more the later it gets the processor.
    pub nice: Option<u8>,
    /// When it gets the disk, where the disk's scheduler heeds that.
    pub io: Option<IoPriority>,
}

/// When a thread gets the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IoPriority {
    /// When nobody else wants it.
    Idle,
    /// With everybody, from 0 (first) to 7 (last).
    BestEffort(u8),
}

impl Priority {
    /// Whether nothing is asked for.
    pub fn is_ordinary(self) -> bool {
        self == Self::default()
    }

    /// Makes the calling thread give way as much, for the rest of its life, and whatever it starts. One that gives way more
    /// already is left so. To take it back needs a privilege: so it is for threads that never work while an instance is
    /// frozen, and start no program.
    ///
    /// # Errors
    /// Those of the system.
    pub fn take(self) -> io::Result<()> {
        if let Some(nice) = self.nice {
            os::give_way(nice.min(19))?;
        }
        match self.io {
            None => Ok(()),
            Some(IoPriority::Idle) => os::give_way_at_disks(None),
            Some(IoPriority::BestEffort(level)) => os::give_way_at_disks(Some(level.min(7))),
        }
    }

    /// Tells why threads of this process cannot give way, without changing any that lives.
    ///
    /// # Errors
    /// Those of the system.
    pub fn probe(self) -> io::Result<()> {
        std::thread::scope(|scope| {
            let tried = std::thread::Builder::new().spawn_scoped(scope, || self.take())?;
            tried.join().unwrap_or_else(|_| Err(io::Error::other("a thread panicked")))
        })
    }
}
