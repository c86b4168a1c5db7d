//! The process of an instance: it holds its databases open as long as it runs, and writes to them all the time.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::live::{State, state};

/// Between two writes.
const REST: Duration = Duration::from_millis(1);

/// What a write covers.
const PAGE: usize = 4096;

/// The process of an instance; clones are the same one. For the hooks that start and stop an instance.
#[derive(Debug, Clone)]
pub struct Resident {
    directory: PathBuf,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    writer: Option<(Arc<AtomicBool>, JoinHandle<()>)>,
    /// The databases that it has open, by name and inode.
    open: Vec<(PathBuf, u64)>,
    /// What stood there at each start.
    found: Vec<State>,
}

impl Resident {
    /// One that does not run yet, of the instance in a directory.
    pub fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), inner: Arc::default() }
    }

    /// Records what stands in the directory, opens every `.fdb` there, and writes to each from now on.
    ///
    /// # Panics
    /// If it runs, or the directory cannot be read.
    pub fn start(&self) {
        let mut inner = self.lock();
        assert!(inner.writer.is_none(), "it runs already");
        let found = state(&self.directory);
        let databases: Vec<File> = found
            .keys()
            .filter(|path| is_database(path))
            .map(|path| OpenOptions::new().write(true).open(self.directory.join(path)).expect("a database"))
            .collect();
        let inode = |path: &PathBuf| fs::metadata(self.directory.join(path)).map_or(0, |found| found.ino());
        inner.open = found.keys().filter(|path| is_database(path)).map(|path| (path.clone(), inode(path))).collect();
        inner.found.push(found);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let writer = thread::spawn(move || {
            let mut number = 0_u64;
            while !stopped.load(Ordering::Relaxed) {
                for database in &databases {
                    let page = [number.to_le_bytes().as_slice(), &[number as u8; PAGE - 8]].concat();
                    database.write_all_at(&page, (number % 16) * PAGE as u64).expect("a page");
                }
                number += 1;
                thread::sleep(REST);
            }
        });
        inner.writer = Some((stop, writer));
    }

    /// Ends it: nothing is open any more. That it does not run is no error.
    ///
    /// # Panics
    /// If it panicked.
    pub fn stop(&self) {
        if let Some((stop, writer)) = self.lock().writer.take() {
            stop.store(true, Ordering::Relaxed);
            writer.join().expect("the process did not panic");
        }
    }

    /// Whether it runs.
    pub fn runs(&self) -> bool {
        self.lock().writer.is_some()
    }

    /// Whether each database that it has open is the one that stands under its name.
    pub fn has_what_stands(&self) -> bool {
        let stands = |path: &Path| fs::metadata(self.directory.join(path)).map(|found| found.ino()).ok();
        self.lock().open.iter().all(|(path, inode)| stands(path) == Some(*inode))
    }

    /// What stood in the directory at each start, before the first write.
    pub fn found(&self) -> Vec<State> {
        self.lock().found.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_database(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "fdb")
}
