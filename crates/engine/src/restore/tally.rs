//! What a restore did and could not do, counted in one place by all of its threads.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry::{Occupied, Vacant};
use std::error::Error;
use std::fmt::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};

use icecore_format::entry::{Entry, Node};
use icecore_format::snapshot::{Problem, ProblemKind};
use icecore_source::target::{Fault, FaultKind};

use super::{FaultSummary, RestoreReport};

/// Entries named in a report at most; they are all counted.
const NAMED: usize = 1000;

/// Kinds of faults told apart at most: extended attributes may have any number of names.
const KINDS: usize = 100;

#[derive(Debug, Default)]
pub(super) struct Tally(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    report: RestoreReport,
    faults: BTreeMap<FaultKind, FaultSummary>,
}

impl Tally {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
        self.counts().report.links += 1;
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
        let Counts { mut report, faults } = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        report.faults = faults.into_values().collect();
        report
    }
}

/// An error with its causes, each said once.
pub(super) fn reason(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            // Writing to a string does not fail.
            let _ = write!(text, ": {more}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn fault(path: &str, kind: FaultKind) -> Fault {
        Fault { path: path.into(), kind, error: io::ErrorKind::PermissionDenied.into() }
    }

    #[test]
    fn faults_are_summed_up_by_kind_with_the_first_as_example() {
        let tally = Tally::default();
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
        let tally = Tally::default();
        for n in 0..NAMED + 5 {
            tally.missing(n.to_string().as_bytes(), 2, String::new());
        }
        let report = tally.into_report();
        assert_eq!((report.missing.len(), report.missing_count), (NAMED, 2 * (NAMED as u64 + 5)));
    }
}
