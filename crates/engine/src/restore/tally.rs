//! What a restore did and could not do, counted in one place by all of its threads.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry::{Occupied, Vacant};
use std::io;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use icecore_format::entry::{Entry, Node};
use icecore_format::snapshot::{Problem, ProblemKind};
use icecore_source::target::{Fault, FaultKind};

use super::table::{PathKeys, Table};
use super::{Deed, FaultSummary, RestoreReport};

/// Entries named in a report at most; they are all counted.
pub(super) const NAMED: usize = 1000;

/// Kinds of faults told apart at most: extended attributes may have any number of names.
const KINDS: usize = 100;

#[derive(Debug)]
pub(super) struct Tally {
    counts: Mutex<Counts>,
    keys: PathKeys,
    /// By paths: entries that do not stand.
    lost: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Counts {
    report: RestoreReport,
    faults: BTreeMap<FaultKind, FaultSummary>,
    /// Entries counted as deleted that still stand.
    doomed: u64,
}

impl Tally {
    /// Nothing yet; a large number of lost entries goes to a file in `spool`.
    pub fn new(spool: Option<&Path>) -> Self {
        Self { counts: Mutex::default(), keys: PathKeys::default(), lost: Mutex::new(Table::new(spool)) }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The directories that are restored into.
    pub fn targets(&self, targets: Vec<PathBuf>) {
        self.counts().report.targets = targets;
    }

    /// Something is done with an entry.
    pub fn deed(&self, deed: &Deed) {
        let deeds = &mut self.counts().report.deeds;
        let count = match deed {
            Deed::Create { .. } => &mut deeds.create,
            Deed::Replace { .. } => &mut deeds.replace,
            Deed::Rewrite { .. } => &mut deeds.rewrite,
            Deed::Link => &mut deeds.link,
            Deed::Metadata(_) => &mut deeds.metadata,
            Deed::Keep => &mut deeds.keep,
            Deed::Delete => &mut deeds.delete,
            Deed::Extra => &mut deeds.extra,
        };
        *count += 1;
    }

    /// An entry will be deleted in the end.
    pub fn doomed(&self) {
        self.counts().doomed += 1;
    }

    /// What was to be deleted in the end stays after all.
    pub fn spare(&self) {
        let Counts { report, doomed, .. } = &mut *self.counts();
        report.deeds.delete -= *doomed;
        report.deeds.extra += std::mem::take(doomed);
    }

    /// Bytes were read from packs.
    pub fn fetched(&self, bytes: u64) {
        self.counts().report.fetched += bytes;
    }

    /// Bytes were found in a target.
    pub fn reused(&self, bytes: u64) {
        self.counts().report.reused += bytes;
    }

    /// A file was read back and is exact.
    pub fn verified(&self) {
        *self.counts().report.verified.get_or_insert(0) += 1;
    }

    /// Files are going to be read back.
    pub fn verifies(&self) {
        self.counts().report.verified.get_or_insert(0);
    }

    /// A directory was exchanged, and what stood there is kept.
    pub fn exchanged(&self, directory: PathBuf, kept: Option<PathBuf>) {
        self.counts().report.exchanged.push((directory, kept));
    }

    /// Whether every entry stands so far.
    pub fn is_whole(&self) -> bool {
        self.counts().report.missing_count == 0
    }

    /// An entry stands in the target, exact.
    pub fn restored(&self, entry: &Entry) {
        let report = &mut self.counts().report;
        match &entry.node {
            Node::Directory => report.directories += 1,
            Node::File(file) => {
                report.files += 1;
                report.bytes += file.size;
            }
            Node::Symlink { .. } => report.symlinks += 1,
            Node::Fifo | Node::Socket | Node::CharDevice { .. } | Node::BlockDevice { .. } => report.others += 1,
        }
    }

    /// A further name of an entry stands in the target.
    pub fn linked(&self) {
        self.linked_all(1);
    }

    /// So many further names stand in the target.
    pub fn linked_all(&self, names: u64) {
        self.counts().report.links += names;
    }

    /// Remembers that an entry does not stand, for those that are the same file or are looked at again.
    pub fn lose(&self, path: &[u8]) -> io::Result<()> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).insert(self.keys.key(path), NonZeroU64::MIN)
    }

    /// Whether an entry was [lost](Self::lose), in any target.
    pub fn is_lost(&self, path: &[u8]) -> io::Result<bool> {
        Ok(self.lost.lock().unwrap_or_else(PoisonError::into_inner).get(self.keys.key(path))?.is_some())
    }

    /// So many entries from `path` on do not stand in the target.
    pub fn missing(&self, path: &[u8], count: u64, message: String) {
        let report = &mut self.counts().report;
        report.missing_count += count;
        if report.missing.len() < NAMED {
            report.missing.push(Problem { path: path.to_vec(), kind: ProblemKind::Unreadable, message });
        }
    }

    /// Metadata of an entry could not be set.
    pub fn faults(&self, faults: Vec<Fault>) {
        if faults.is_empty() {
            return;
        }
        let known = &mut self.counts().faults;
        for fault in faults {
            let full = known.len() >= KINDS;
            match known.entry(fault.kind.clone()) {
                Occupied(mut summary) => summary.get_mut().count += 1,
                Vacant(_) if full => {}
                Vacant(vacant) => {
                    let example = format!("{}: {}", String::from_utf8_lossy(&fault.path), fault.error);
                    vacant.insert(FaultSummary { kind: fault.kind.to_string(), count: 1, example });
                }
            }
        }
    }

    pub fn into_report(self) -> RestoreReport {
        let Counts { mut report, faults, .. } = self.counts.into_inner().unwrap_or_else(PoisonError::into_inner);
        report.faults = faults.into_values().collect();
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(path: &str, kind: FaultKind) -> Fault {
        Fault { path: path.into(), kind, error: io::ErrorKind::PermissionDenied.into() }
    }

    #[test]
    fn faults_are_summed_up_by_kind_with_the_first_as_example() {
        let tally = Tally::new(None);
        tally.faults(vec![fault("a", FaultKind::Owner), fault("a", FaultKind::Times)]);
        tally.faults(vec![fault("b", FaultKind::Owner)]);
        let report = tally.into_report();
        let found: Vec<_> = report.faults.iter().map(|f| (f.kind.as_str(), f.count, f.example.as_str())).collect();
        assert_eq!(
            found,
            [("the owner", 2, "a: permission denied"), ("the modification time", 1, "a: permission denied")]
        );
    }

    #[test]
    fn everything_missing_counts_and_the_first_are_named() {
        let tally = Tally::new(None);
        for n in 0..NAMED + 5 {
            tally.missing(n.to_string().as_bytes(), 2, String::new());
        }
        let report = tally.into_report();
        assert_eq!((report.missing.len(), report.missing_count), (NAMED, 2 * (NAMED as u64 + 5)));
    }
}
