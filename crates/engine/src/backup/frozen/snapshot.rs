//! Capture `snapshot`: the window holds nothing but the making of it.

use std::time::{Duration, Instant};

use icecore_format::entry::{PathBytes, Timestamp, compare_paths};
use icecore_source::capture::{CaptureError, CapturePlan, Snapshot, rules_of_view};
use icecore_source::{ListProgress, Listing, Tree};

use super::super::night::Night;
use super::super::pass::Pass;
use super::super::{Report, Story, Written, close};
use super::{Attempt, Capture, capture};
use crate::error::{Error, Result};
use crate::progress::Phase;

/// A snapshot that can be made at once.
pub(super) struct Prepared {
    snapshot: Snapshot,
    /// Entries below the roots shortly before.
    pub(super) entries: u64,
    /// What was left out of them.
    left_out: Vec<PathBytes>,
    /// How long making it will take, as far as that is known.
    pub(super) takes: Duration,
}

impl Prepared {
    /// The snapshot that this instance is captured by, if it is.
    pub(super) fn choose(story: &Story<'_>, plan: &CapturePlan) -> Result<Option<Self>> {
        let Some(snapshot) = plan.snapshot(&story.tree, (story.job.clock)()).map_err(capture)? else { return Ok(None) };
        match Self::make(story, snapshot) {
            Err(Error::Capture(_)) if plan.can_do_without_snapshot() => Ok(None),
            made => made.map(Some),
        }
    }

    /// Makes sure that nothing below the roots would be missing from it, and that it can be made.
    fn make(story: &Story<'_>, mut snapshot: Snapshot) -> Result<Self> {
        story.progress.enter(Phase::Warming);
        let live = story.list()?;
        snapshot.check(&story.tree, &live, &story.job.rules).map_err(capture)?;
        let takes = snapshot.prepare((story.job.clock)()).map_err(capture)?;
        Ok(Self { snapshot, entries: live.entries(), left_out: live.left_out().to_vec(), takes })
    }

    /// Makes it. Gives a time that it is not older than, and one that it is not younger than.
    pub(super) fn create(&mut self, story: &Story<'_>, limit: Duration) -> Result<(Timestamp, Timestamp)> {
        let began = Instant::now();
        let fixed = (story.job.clock)();
        self.snapshot.create(&story.tree, limit).map_err(|error| match began.elapsed() < limit {
            true => capture(error),
            false => Error::WindowExceeded,
        })?;
        Ok((fixed, (story.job.clock)()))
    }

    /// The roots in the snapshot that was made, and what stands below them there.
    pub(super) fn view(&self, story: &Story<'_>) -> Result<(Tree, Listing)> {
        let view = Tree::open(self.snapshot.views().map_err(capture)?)?;
        let rules = rules_of_view(&story.job.rules, &story.tree, &self.left_out, &view);
        let listing = view.list(&rules, &ListProgress::default())?;
        story.progress.check()?;
        story.progress.expect(listing.entries(), listing.bytes());
        Ok((view, listing))
    }

    pub(super) fn destroy(self) -> std::result::Result<(), CaptureError> {
        self.snapshot.destroy()
    }
}

impl Attempt<'_> {
    /// Makes the snapshot in the window; everything else is read from it after the thaw.
    pub(super) fn by_snapshot(&self, mut prepared: Prepared, night: &mut Night) -> Result<Report> {
        let (created, window) = self.in_window(|limit| prepared.create(self.story, limit))?;
        let (fixed, taken) = created?;
        let story = self.story;
        story.progress.enter(Phase::Listing);
        let (view, listing) = prepared.view(story)?;
        story.progress.enter(Phase::Storing);
        let session = story.session()?;
        let pass = Pass { tree: &view, fixed: Some(fixed), ..story.pass(&listing, &session, self.base) };
        let stored = pass.store(None, std::mem::take(night));
        story.progress.enter(Phase::Committing);
        let (finished, closed) = close(session, stored)?;
        let capture = Capture { name: "snapshot", taken, hot: finished.hot, violations: Vec::new() };
        let (verdict, receipt) = self.judge(&window, capture, &finished);
        let left_out = union(&prepared.left_out, listing.left_out());
        let mut report =
            story.commit(closed, Written { finished, taken, verdict, receipt: Some(receipt), left_out })?;
        drop(view);
        report.warnings.extend(prepared.destroy().err().map(|error| error.to_string()));
        Ok(report)
    }
}

/// What either listing has left out: a mount or a nested subvolume is an ordinary, empty directory in the snapshot.
fn union(one: &[PathBytes], other: &[PathBytes]) -> Vec<PathBytes> {
    let mut all = [one, other].concat();
    all.sort_by(|a, b| compare_paths(a, b));
    all.dedup();
    all
}
