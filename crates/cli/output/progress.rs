//! A story at work: its progress is shown, and the user's wish to end is handed to it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use icecore_engine::{Phase, Progress};
use indicatif::{ProgressBar, ProgressStyle};

use crate::error::Result;
use crate::interrupt;
use crate::output::human;

/// How often the counters are looked at.
const TICK: Duration = Duration::from_millis(100);

/// Runs `work`, while another thread shows its progress on stderr (if `show`) and watches for signals.
pub fn attend<T>(show: bool, work: impl FnOnce(&Progress) -> T) -> Result<T> {
    interrupt::install()?;
    let progress = Progress::default();
    Ok(thread::scope(|scope| {
        let (end, ended) = mpsc::channel::<()>();
        scope.spawn(|| watch(&progress, show, ended));
        let result = work(&progress);
        drop(end);
        result
    }))
}

fn watch(progress: &Progress, show: bool, ended: Receiver<()>) {
    let mut bar = None;
    while ended.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
        if interrupt::is_raised() {
            progress.stop();
        }
        if show {
            Bar::show(&mut bar, progress);
        }
    }
}

/// The line of one phase; it goes when the phase ends.
struct Bar {
    phase: Phase,
    measure: Measure,
    line: ProgressBar,
}

/// What a line counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Measure {
    /// Bytes of a known total.
    Bytes,
    /// Entries of a known total.
    Entries,
    /// Whatever comes.
    Open,
}

impl Bar {
    fn show(bar: &mut Option<Self>, progress: &Progress) {
        let (phase, measure) = (progress.phase(), Measure::of(progress));
        if bar.as_ref().is_none_or(|bar| bar.phase != phase || bar.measure != measure) {
            drop(bar.take());
            *bar = Some(Self { phase, measure, line: line(phase, measure) });
        }
        let Some(Self { line, .. }) = bar else { return };
        match measure {
            Measure::Bytes => {
                line.set_length(value(&progress.bytes_total));
                line.set_position(value(&progress.bytes));
            }
            Measure::Entries => {
                line.set_length(value(&progress.entries_total));
                line.set_position(value(&progress.entries));
            }
            Measure::Open => {}
        }
        line.set_message(message(progress, measure, line.elapsed()));
        line.tick();
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.line.finish_and_clear();
    }
}

impl Measure {
    fn of(progress: &Progress) -> Self {
        match progress.phase() {
            Phase::Warming | Phase::Storing | Phase::Restoring | Phase::Checking | Phase::Copying | Phase::Pruning
                if value(&progress.bytes_total) > 0 =>
            {
                Self::Bytes
            }
            Phase::Warming | Phase::Storing | Phase::Restoring | Phase::Checking | Phase::Copying | Phase::Pruning
                if value(&progress.entries_total) > 0 =>
            {
                Self::Entries
            }
            _ => Self::Open,
        }
    }

    fn template(self) -> &'static str {
        match self {
            Self::Bytes => "{prefix} {bar:24} {percent:>3} %  {binary_bytes} of {binary_total_bytes}{msg}",
            Self::Entries => "{prefix} {bar:24} {percent:>3} %  {human_pos} of {human_len}{msg}",
            Self::Open => "{spinner} {prefix}  {elapsed}{msg}",
        }
    }
}

fn line(phase: Phase, measure: Measure) -> ProgressBar {
    // The templates are tested; should one be wrong all the same, the library's own line serves.
    let style = ProgressStyle::with_template(measure.template()).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(0).with_style(style.progress_chars("=> ")).with_prefix(name(phase))
}

fn name(phase: Phase) -> &'static str {
    match phase {
        Phase::Opening => "opening",
        Phase::Listing => "listing",
        Phase::Warming => "warming",
        Phase::Frozen => "frozen",
        Phase::Storing => "storing",
        Phase::Committing => "committing",
        Phase::Restoring => "restoring",
        Phase::Verifying => "verifying",
        Phase::Checking => "checking",
        Phase::Counting => "counting",
        Phase::Repairing => "repairing",
        Phase::Copying => "copying",

        Phase::Pruning => "pruning",
        Phase::Done => "finishing",
    }
}

/// What stands behind the bar: rate and time left, by the average since the phase began, because a momentary rate says
/// nothing while one large file follows a thousand small ones.
fn message(progress: &Progress, measure: Measure, elapsed: Duration) -> String {
    let (entries, stored) = (value(&progress.entries), value(&progress.stored));
    let seconds = elapsed.as_secs_f64();
    let mut parts = Vec::new();
    let done = match measure {
        Measure::Bytes => Some((value(&progress.bytes), value(&progress.bytes_total))),
        Measure::Entries => Some((entries, value(&progress.entries_total))),
        Measure::Open => None,
    };
    if let Some((done, total)) = done.filter(|(done, total)| seconds >= 1.0 && *done > total / 100) {
        if measure == Measure::Bytes {
            parts.push(format!("{}/s", human::bytes((done as f64 / seconds) as u64)));
        }
        let left = seconds * total.saturating_sub(done) as f64 / done as f64;
        parts.push(format!("{} left", human::duration(Duration::from_secs(left.round() as u64))));
    }
    if measure != Measure::Entries && entries > 0 {
        parts.push(human::counted(entries, "entry", "entries"));
    }
    if stored > 0 {
        parts.push(format!("{} stored", human::bytes(stored)));
    }
    parts.iter().map(|part| format!("  {part}")).collect()
}

fn value(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_template_is_understood() {
        for measure in [Measure::Bytes, Measure::Entries, Measure::Open] {
            assert!(ProgressStyle::with_template(measure.template()).is_ok(), "{measure:?}");
        }
    }

    #[test]
    fn what_is_shown_follows_the_phase_and_the_totals() {
        let progress = Progress::default();
        assert_eq!(Measure::of(&progress), Measure::Open);
        progress.enter(Phase::Storing);
        progress.entries_total.store(10, Ordering::Relaxed);
        assert_eq!(Measure::of(&progress), Measure::Entries);
        progress.bytes_total.store(1, Ordering::Relaxed);
        assert_eq!(Measure::of(&progress), Measure::Bytes);
        progress.done(5);
        progress.stored.store(2048, Ordering::Relaxed);
        let at_once = Duration::ZERO;
        assert_eq!(message(&progress, Measure::Bytes, at_once), "  1 entry  2.00 KiB stored");
        assert_eq!(message(&progress, Measure::Entries, at_once), "  2.00 KiB stored");
        progress.bytes_total.store(20, Ordering::Relaxed);
        let later = Duration::from_secs(60);
        assert_eq!(message(&progress, Measure::Bytes, later), "  0 B/s  3 min 00 s left  1 entry  2.00 KiB stored");
    }

    #[test]
    fn the_result_of_the_work_comes_back() {
        assert_eq!(attend(false, |_| 7).unwrap(), 7);
    }
}
