//! Captures `hold` and `clone`: listed in the window; what is hot is read there, or cloned.

use std::time::Duration;

use icecore_format::entry::{Entry, Node, Timestamp};
use icecore_format::snapshot::{Problem, ProblemKind};
use icecore_repo::{ChunkWriter, Session};
use icecore_source::capture::{Cloner, expect_writable};
use icecore_source::{Kind, Listing, Stat};

use super::super::night::Night;
use super::super::pass::{Captured, Pass, Secured};
use super::super::{Report, Story, Written, close};
use super::{Attempt, Capture, capture, until};
use crate::error::Result;
use crate::progress::Phase;

/// What the window gave.
struct Given {
    listing: Listing,
    listed: Timestamp,
    captured: Captured,
    violations: Vec<Problem>,
}

impl Attempt<'_> {
    /// Reads what is hot in the window, or clones it by `cloners` as far as it can be cloned.
    pub(super) fn by_reading(&self, cloners: Option<Vec<Cloner>>, night: &mut Night) -> Result<Report> {
        let Self { story, freeze, base, .. } = *self;
        let name = if cloners.is_some() { "clone" } else { "hold" };
        let session = story.session()?;
        let parking = session.parking(freeze.hold_memory, &freeze.spool);
        // Whatever can be made ready before the window is.
        cloners.iter().flatten().take(1).for_each(Cloner::write_out);
        let mut cloners = cloners.into_iter().flatten();
        let workers = (0..story.job.threads.max(1)).map(|_| Ok((session.parked_writer(&parking)?, cloners.next())));
        let workers = workers.collect::<Result<Vec<_>>>()?;
        let (given, window) = self.in_window(|limit| self.secure(&session, workers, limit))?;
        story.progress.enter(Phase::Storing);
        let stored = given.and_then(|given| {
            session.unpark(&parking, story.job.threads)?;
            let Given { listing, listed, captured, violations } = given;
            let capture = Capture { name, taken: listed, hot: (captured.files, captured.bytes), violations };
            let finished = story.pass(&listing, &session, base).store(Some(captured), std::mem::take(night))?;
            Ok((finished, listing, capture))
        });
        drop(parking);
        story.progress.enter(Phase::Committing);
        let ((finished, listing, capture), closed) = close(session, stored)?;
        let taken = capture.taken;
        let (verdict, receipt) = self.judge(&window, capture, &finished);
        let left_out = listing.left_out().to_vec();
        story.commit(closed, Written { finished, taken, verdict, receipt: Some(receipt), left_out })
    }

    /// In the window: the point-in-time list, and the content of what is hot.
    fn secure(&self, session: &Session, workers: Vec<(ChunkWriter, Option<Cloner>)>, limit: Duration) -> Result<Given> {
        let deadline = until(limit);
        if workers.iter().any(|(_, cloner)| cloner.is_some()) {
            expect_writable(&self.story.tree, limit).map_err(capture)?;
        }
        let listing = self.story.list()?;
        let listed = (self.story.job.clock)();
        let pass = Pass { calm: self.calm, ..self.story.pass(&listing, session, self.base) };
        let captured = pass.capture(workers, deadline)?;
        let violations = look_again(self.story, &captured);
        Ok(Given { listing, listed, captured, violations })
    }
}

/// Compares what was secured with what stands there now, still frozen: a difference means that somebody wrote.
fn look_again(story: &Story<'_>, captured: &Captured) -> Vec<Problem> {
    let mut violations: Vec<Problem> = Vec::new();
    for (path, secured) in &captured.entries {
        let (problem, expected) = match secured {
            Secured::Cloned(cloned) => (&cloned.problem, Some(state(&cloned.stat))),
            Secured::Read(outcome) => (&outcome.problem, outcome.entry.as_ref().and_then(recorded_state)),
        };
        if let Some(problem) = problem {
            violations.extend((problem.kind != ProblemKind::Unreadable).then(|| problem.clone()));
            continue;
        }
        let Some(expected) = expected else { continue };
        let now = story.tree.stat(path);
        if !now.is_ok_and(|now| now.kind == Kind::File && state(&now) == expected) {
            let message = "changed while the instance was frozen".to_owned();
            violations.push(Problem { path: path.clone(), kind: ProblemKind::Changed, message });
        }
    }
    violations
}

/// What a change of a file changes.
type State = (u64, u64, Timestamp, Timestamp);

fn state(stat: &Stat) -> State {
    (stat.inode, stat.size, stat.mtime, stat.ctime)
}

/// As it was when it was listed, if it is a regular file.
fn recorded_state(entry: &Entry) -> Option<State> {
    let meta = &entry.meta;
    matches!(entry.node, Node::File(_)).then(|| (meta.inode, entry.size(), meta.mtime, meta.ctime))
}
