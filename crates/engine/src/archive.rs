//! An opened repository with its synchronised index, and what can be asked of it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use icecore_format::entry::Timestamp;
use icecore_format::id::{RepositoryId, SlotId};
use icecore_format::keys::{Role, Secret};
use icecore_repo::check::names::{self, NamesReport};
use icecore_repo::check::{self, CheckOptions, CheckReport, CheckStep};
use icecore_repo::index::{IndexTotals, Rebuilt};
use icecore_repo::{Annotations, Catalogue, ChunkReader, Index, Repository, Store, slots};

use crate::error::{Error, Result};
use crate::progress::{Phase, Progress};

/// Compares every object of a store with its name, without any key.
pub fn check_names(store: &dyn Store, threads: usize, progress: &Progress) -> Result<NamesReport> {
    progress.enter(Phase::Checking);
    interruptible(names::check_names(store, threads, &|step| watch(step, progress)))
}

pub(crate) fn watch(step: CheckStep, progress: &Progress) -> icecore_repo::Result<()> {
    match step {
        CheckStep::Packs { bytes, .. } => progress.expect(0, bytes),
        CheckStep::Pack { bytes } => drop(progress.bytes.fetch_add(bytes, Relaxed)),
        CheckStep::Snapshots(count) => progress.expect(count, 0),
        CheckStep::Block => {}
        CheckStep::Snapshot => progress.done(0),
    }
    progress.check().map_err(|_| icecore_repo::Error::Interrupted)
}

/// The user's wish to end is no failure of the repository.
pub(crate) fn interruptible<T>(result: icecore_repo::Result<T>) -> Result<T> {
    result.map_err(|error| match error {
        icecore_repo::Error::Interrupted => Error::Interrupted,
        error => error.into(),
    })
}

/// An opened repository and its index.
#[derive(Debug, Clone)]
pub struct Archive {
    pub(crate) repository: Arc<Repository>,
    pub(crate) index: Arc<Index>,
}

impl Archive {
    /// Creates a repository in an empty store; gives its id.
    pub fn create(store: Arc<dyn Store>, secret: &Secret, label: &str, now: Timestamp) -> Result<RepositoryId> {
        Ok(Repository::create(store, secret, label, now)?.id())
    }

    /// Whether a store holds a repository.
    pub fn exists(store: &dyn Store) -> Result<bool> {
        Ok(Repository::exists(store)?)
    }

    /// Whether a store holds what is left of a repository whose configuration is gone.
    pub fn has_lost_its_config(store: &dyn Store) -> Result<bool> {
        Ok(Repository::has_lost_its_config(store)?)
    }

    /// Opens a repository and brings its index below `state` up to date. The sentences are what could not be read on the
    /// way without keeping the archive from being used.
    pub fn open(store: Arc<dyn Store>, secret: &Secret, state: &Path) -> Result<(Self, Vec<String>)> {
        let archive = Self::unsynchronised(store, secret, state)?;
        let synced = archive.index.sync(&archive.repository)?;
        Ok((archive, synced.damaged))
    }

    /// The same, `now`: a backup that knows how old its knowledge is need not synchronise again.
    pub fn open_at(
        store: Arc<dyn Store>,
        secret: &Secret,
        state: &Path,
        now: Timestamp,
    ) -> Result<(Self, Vec<String>)> {
        let archive = Self::unsynchronised(store, secret, state)?;
        let synced = archive.index.sync_at(&archive.repository, now)?;
        Ok((archive, synced.damaged))
    }

    /// The same, while `progress` is told how far it is.
    pub fn open_watched(
        store: Arc<dyn Store>,
        secret: &Secret,
        state: &Path,
        now: Timestamp,
        progress: &Progress,
    ) -> Result<(Self, Vec<String>)> {
        progress.enter(Phase::Opening);
        let archive = Self::unsynchronised(store, secret, state)?;
        let synced = interruptible(archive.index.sync_watched(&archive.repository, now, &mut |done, total| {
            progress.entries.store(done, Relaxed);
            progress.entries_total.store(total, Relaxed);
            progress.check().map_err(|_| icecore_repo::Error::Interrupted)
        }))?;
        Ok((archive, synced.damaged))
    }

    fn unsynchronised(store: Arc<dyn Store>, secret: &Secret, state: &Path) -> Result<Self> {
        let repository = Arc::new(Repository::open(store, secret)?);
        let index = Arc::new(Index::open(state, repository.id())?);
        Ok(Self { repository, index })
    }

    /// Where the repository is, for people.
    pub fn location(&self) -> String {
        self.repository.location()
    }

    /// The repository's id.
    pub fn id(&self) -> RepositoryId {
        self.repository.id()
    }

    /// Where the index is.
    pub fn index_path(&self) -> &Path {
        self.index.path()
    }

    /// Every snapshot, the oldest first.
    pub fn catalogue(&self) -> Result<Catalogue> {
        let annotations = Annotations::load(&self.repository, &self.index)?;
        let mut catalogue = Catalogue::load(&self.repository, &self.index)?;
        annotations.apply(&mut catalogue);
        Ok(catalogue)
    }

    /// Snapshots, the oldest first, without what annotations say, as far as this key lets them be known: all of them
    /// for who can read, those of this host for who can only write.
    pub fn known_snapshots(&self) -> Result<Catalogue> {
        Ok(Catalogue::known(&self.repository, &self.index)?)
    }

    /// Whether the key opens what is stored, or can only write.
    pub fn can_read(&self) -> bool {
        self.repository.role() == Role::Reader
    }

    /// Totals of what is stored.
    pub fn totals(&self) -> Result<IndexTotals> {
        Ok(self.index.totals()?)
    }

    /// Bytes of all packs.
    pub fn stored_bytes(&self) -> Result<u64> {
        Ok(self.index.pack_bytes()?)
    }

    /// Makes the index anew; `progress` is told packs done and packs in all.
    pub fn rebuild_index(&self, progress: impl FnMut(u64, u64)) -> Result<Rebuilt> {
        Ok(self.index.rebuild(&self.repository, progress)?)
    }

    /// Checks that everything that was promised is there. The index forgets what is missing or damaged, so that the next
    /// backup stores it again.
    pub fn check(&self, options: CheckOptions, progress: &Progress) -> Result<CheckReport> {
        progress.enter(Phase::Checking);
        interruptible(check::check(&self.repository, &self.index, options, &|step| watch(step, progress)))
    }

    /// The key slots; the second list names objects among them that are unusable.
    pub fn keys(&self) -> Result<slots::Slots> {
        Ok(slots::list(&self.repository)?)
    }

    /// Adds a key slot.
    pub fn add_key(&self, role: Role, secret: &Secret, label: &str, now: Timestamp) -> Result<SlotId> {
        Ok(slots::add(&self.repository, role, secret, label, now)?)
    }

    /// Removes the key slot whose id begins with `prefix`, unless it is the last one that can read.
    pub fn remove_key(&self, prefix: &str) -> Result<SlotId> {
        let (id, _) = slots::find(&self.repository, prefix)?;
        slots::remove(&self.repository, &id)?;
        Ok(id)
    }

    /// Replaces every slot that `old` opens by one for `new`: the new one is durable before an old one goes. Gives the new
    /// slot and how many were removed.
    pub fn change_key(&self, old: &Secret, new: &Secret, now: Timestamp) -> Result<(SlotId, usize)> {
        Ok(slots::change(&self.repository, old, new, now)?)
    }

    pub(crate) fn reader(&self) -> Result<ChunkReader> {
        Ok(ChunkReader::looking_again(&self.repository, &self.index)?)
    }

    /// A reader for a walk over the manifests of so many nights. What each night changed stands in frames of its own, and the
    /// walk goes through all of them at once, in the order in which they were filled.
    pub(crate) fn browser(&self, nights: usize) -> Result<ChunkReader> {
        Ok(self.reader()?.keeping(nights.saturating_mul(2)))
    }
}
