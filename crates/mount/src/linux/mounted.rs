//! A mount from its beginning to its end.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use fuser::{BackgroundSession, Config, MountOption, Session, SessionACL};
use icecore_engine::Archive;
use icecore_engine::access::Access;

use super::ahead::Ahead;
use super::attributes::Owner;
use super::point;
use super::snapshots::{Complaints, Snapshots};
use crate::tree::Tree;
use crate::{Choice, Ended, Error, Options, Result};

/// Threads that read ahead.
const AHEAD: usize = 2;

/// A mounted directory.
#[derive(Debug)]
pub struct Mounted {
    directory: PathBuf,
    session: BackgroundSession,
    /// Its going ends the thread that looks for snapshots.
    _stop: Sender<()>,
}

/// Mounts the snapshots of an archive at an empty directory.
///
/// # Errors
/// Says why the directory, or this system, cannot be used; [`Error::hint`] says what may help.
pub fn mount(archive: &Archive, directory: &Path, options: Options) -> Result<Mounted> {
    let directory = point::prepare(directory)?;
    let access = Arc::new(Access::new(archive, options.cache));
    let mut tree = match &options.choice {
        Choice::Series(only) => Tree::new(only.clone(), options.name),
        Choice::One(stored) => Tree::of_one(stored),
    };
    if matches!(options.choice, Choice::Series(_)) {
        tree.update(&access.snapshots()?.snapshots);
    }
    let tree = Arc::new(RwLock::new(tree));
    let failed = |source: io::Error| match source.kind() {
        // Root without the right to mount needs the helper as others do.
        io::ErrorKind::NotFound => Error::NoHelper,
        _ => Error::Mount { path: directory.clone(), source },
    };
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    let snapshots = Snapshots {
        ahead: Ahead::start(&access, options.cache, AHEAD).map_err(failed)?,
        access: Arc::clone(&access),
        tree: Arc::clone(&tree),
        owner: Owner { uid: uid.as_raw(), gid: gid.as_raw() },
        enforce: options.allow_other,
        files: Default::default(),
        directories: Default::default(),
        complaints: Complaints::new(Arc::clone(&options.warn)),
    };
    let session = Session::new(snapshots, &directory, &config(&options)).map_err(failed)?;
    let (stop, stopped) = bounded(0);
    let renewal = Renewal { access, tree, every: options.refresh, warn: options.warn };
    thread::Builder::new().name("renew".to_owned()).spawn(move || renewal.run(&stopped)).map_err(failed)?;
    let session = session.spawn().map_err(Error::Session)?;
    Ok(Mounted { directory, session, _stop: stop })
}

fn config(options: &Options) -> Config {
    let mut config = Config::default();
    let source = || point::SOURCE.to_owned();
    config.mount_options = vec![
        MountOption::RO,
        MountOption::NoDev,
        MountOption::NoSuid,
        MountOption::NoAtime,
        MountOption::FSName(source()),
        MountOption::Subtype(source()),
    ];
    // Who may read the repository may read all of it, so modes bind others only.
    if options.allow_other {
        config.mount_options.push(MountOption::DefaultPermissions);
        config.acl = SessionACL::All;
    }
    config.n_threads = Some(options.threads.max(1));
    config
}

impl Mounted {
    /// Where it is mounted.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Whether the mount is gone: taken away, by whomever, and not used any more.
    pub fn has_ended(&self) -> bool {
        self.session.guard.is_finished()
    }

    /// Takes the mount away. It has ended when nobody uses it any more.
    pub fn unmount(&mut self) -> Result<Ended> {
        point::unmount(&self.directory)
    }

    /// Waits until the mount is gone.
    pub fn finish(self) -> Result<()> {
        self.session.join().map_err(Error::Session)
    }
}

/// Looks for snapshots that appeared or were forgotten.
struct Renewal {
    access: Arc<Access>,
    tree: Arc<RwLock<Tree>>,
    every: Duration,
    warn: Arc<dyn Fn(&str) + Send + Sync>,
}

impl Renewal {
    /// Goes on until the other end of `stopped` goes.
    fn run(&self, stopped: &Receiver<()>) {
        let mut failed = false;
        while stopped.recv_timeout(self.every) == Err(RecvTimeoutError::Timeout) {
            match self.access.snapshots() {
                Ok(catalogue) => {
                    self.tree.write().unwrap_or_else(PoisonError::into_inner).update(&catalogue.snapshots);
                    failed = false;
                }
                // Once, until it is better: what is shown stays.
                Err(error) if !failed => {
                    (self.warn)(&format!("cannot look for further snapshots: {error}"));
                    failed = true;
                }
                Err(_) => {}
            }
        }
    }
}
