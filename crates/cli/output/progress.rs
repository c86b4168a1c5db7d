//! A story at work: its progress is shown, and the user's wish to end is handed to it.

use std::io::stderr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use icecore_engine::{Phase, Progress};
use indicatif::{ProgressBar, ProgressStyle};

use crate::error::Result;
use crate::interrupt;
use crate::output::human;

/// How often the counters are looked at.
const TICK: Duration = Duration::from_millis(100);

/// Columns of a terminal that does not say how many it has.
const COLUMNS: usize = 80;

/// Characters of the bar.
const BAR: usize = 24;

/// A time left that is longer says nothing.
const FORESEEABLE: f64 = 100.0 * 3600.0;

/// The line that stands on the terminal. The terminal is of the process, and so is this.
static LINE: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Runs `work`, while another thread shows its progress on stderr (if `show`) and watches for signals.
pub fn attend<T>(show: bool, work: impl FnOnce(&Progress) -> T) -> Result<T> {
    interrupt::install()?;
    Ok(display(show, work))
}

/// The same where signals are not taken over: before somebody may be asked for something, the first one ends the program.
pub fn display<T>(show: bool, work: impl FnOnce(&Progress) -> T) -> T {
    let progress = Progress::default();
    thread::scope(|scope| {
        let (end, ended) = mpsc::channel::<()>();
        scope.spawn(|| watch(&progress, show, ended));
        let result = work(&progress);
        drop(end);
        result
    })
}

/// Writes whole lines to the terminal while the line of the progress is out of the way.
pub fn beside<T>(write: impl FnOnce() -> T) -> T {
    let line = standing().clone();
    match line {
        Some(line) => line.suspend(write),
        None => write(),
    }
}

fn standing() -> MutexGuard<'static, Option<ProgressBar>> {
    LINE.lock().unwrap_or_else(PoisonError::into_inner)
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
            let line = line();
            *standing() = Some(line.clone());
            *bar = Some(Self { phase, measure, line });
        }
        let Some(Self { line, .. }) = bar else { return };
        let mut look = Look::at(progress, line.elapsed());
        // The rate is a moving average that the library keeps.
        line.set_position(look.done);
        look.rate = line.per_sec();
        line.set_message(look.line(width()));
        line.tick();
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        // Before it is taken away, so that nobody writes behind what is left of it.
        self.line.finish_and_clear();
        *standing() = None;
    }
}

fn line() -> ProgressBar {
    // The template is tested; should it be wrong all the same, the library's own line serves.
    let style = ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(0).with_style(style)
}

const TEMPLATE: &str = "{msg}";

/// Columns of the terminal that stderr is, as it is now.
fn width() -> usize {
    terminal_size::terminal_size_of(stderr()).map_or(COLUMNS, |(columns, _)| usize::from(columns.0))
}

impl Measure {
    fn of(progress: &Progress) -> Self {
        let counts = match progress.phase() {
            Phase::Opening | Phase::Indexing | Phase::Warming | Phase::Storing | Phase::Restoring => true,
            Phase::Verifying | Phase::Checking | Phase::Repairing | Phase::Copying | Phase::Forgetting => true,
            Phase::Pruning | Phase::Reading | Phase::Searching | Phase::Comparing => true,
            Phase::Listing | Phase::Frozen | Phase::Committing | Phase::Counting | Phase::Done => false,
        };
        match () {
            () if counts && value(&progress.bytes_total) > 0 => Self::Bytes,
            () if counts && value(&progress.entries_total) > 0 => Self::Entries,
            () => Self::Open,
        }
    }
}

fn name(phase: Phase) -> &'static str {
    match phase {
        Phase::Opening => "opening",
        Phase::Indexing => "indexing",
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
        Phase::Forgetting => "forgetting",
        Phase::Pruning => "pruning",
        Phase::Reading => "reading",
        Phase::Searching => "searching",
        Phase::Comparing => "comparing",
        Phase::Done => "finishing",
    }
}

/// What a phase calls entries: one, and several.
fn unit(phase: Phase) -> (&'static str, &'static str) {
    match phase {
        Phase::Opening => ("fragment", "fragments"),
        Phase::Checking | Phase::Repairing | Phase::Forgetting => ("snapshot", "snapshots"),
        Phase::Counting => ("block", "blocks"),
        Phase::Indexing | Phase::Pruning => ("pack", "packs"),
        _ => ("entry", "entries"),
    }
}

/// What the counters say at one moment.
#[derive(Debug, Clone, Copy)]
struct Look {
    phase: Phase,
    measure: Measure,
    /// Bytes or entries, as the measure says; of what is open, bytes if any are counted.
    done: u64,
    total: u64,
    entries: u64,
    bytes: u64,
    stored: u64,
    elapsed: Duration,
    /// Of what is done, in a second.
    rate: f64,
}

impl Look {
    fn at(progress: &Progress, elapsed: Duration) -> Self {
        let measure = Measure::of(progress);
        let (entries, bytes) = (value(&progress.entries), value(&progress.bytes));
        let (done, total) = match measure {
            Measure::Bytes => (bytes, value(&progress.bytes_total)),
            Measure::Entries => (entries, value(&progress.entries_total)),
            Measure::Open if bytes > 0 => (bytes, 0),
            Measure::Open => (entries, 0),
        };
        let stored = value(&progress.stored);
        Self { phase: progress.phase(), measure, done, total, entries, bytes, stored, elapsed, rate: 0.0 }
    }

    /// One line that leaves the last column free: of a narrow terminal, what matters least gives way first.
    fn line(&self, width: usize) -> String {
        let mut parts = self.parts();
        loop {
            let line = parts.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>().join("  ");
            let least = (1..parts.len()).max_by_key(|at| parts[*at].0);
            match least {
                Some(least) if line.chars().count() >= width => drop(parts.remove(least)),
                _ => return line.chars().take(width.saturating_sub(1)).collect(),
            }
        }
    }

    /// What there is to say in the order in which it is said, each with its rank: the first matters most.
    fn parts(&self) -> Vec<(u8, String)> {
        let mut parts = vec![(0, name(self.phase).to_owned())];
        let (one, several) = unit(self.phase);
        let entries = human::counted(self.entries, one, several);
        let is_settled = self.elapsed >= Duration::from_secs(1) && self.rate > 0.0;
        let rate = (is_settled && (self.measure == Measure::Bytes || self.total == 0 && self.bytes > 0))
            .then(|| (4, format!("{}/s", human::bytes(self.rate as u64))));
        if self.measure == Measure::Open {
            parts.push((1, clock(self.elapsed.as_secs())));
            parts.extend((self.bytes > 0).then(|| (2, human::bytes(self.bytes))));
            parts.extend(rate);
            parts.extend((self.entries > 0).then_some((3, entries)));
        } else {
            let done = self.done.min(self.total);
            let share = done as f64 / self.total as f64;
            let filled = ((share * BAR as f64) as usize).min(BAR);
            let head = if filled < BAR { ">" } else { "" };
            parts.push((5, format!("{:<BAR$}", format!("{}{head}", "=".repeat(filled)))));
            parts.push((1, format!("{:>3} %", (share * 100.0) as u64)));
            parts.push((
                3,
                match self.measure {
                    Measure::Bytes => format!("{} of {}", human::bytes(done), human::bytes(self.total)),
                    _ => format!("{} of {}", human::count(done), human::counted(self.total, one, several)),
                },
            ));
            parts.extend(rate);
            let left = (self.total - done) as f64 / self.rate;
            if is_settled && done > self.total / 100 && left < FORESEEABLE {
                parts.push((2, format!("{} left", clock(left.round() as u64))));
            }
            parts.extend((self.measure == Measure::Bytes && self.entries > 0).then_some((6, entries)));
        }
        parts.extend((self.stored > 0).then(|| (7, format!("{} stored", human::bytes(self.stored)))));
        parts
    }
}

/// Whole seconds as people read them.
fn clock(seconds: u64) -> String {
    if seconds < 60 { format!("{seconds} s") } else { human::duration(Duration::from_secs(seconds)) }
}

fn value(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_template_is_understood() {
        assert!(ProgressStyle::with_template(TEMPLATE).is_ok());
    }

    /// What is shown after so many seconds at a rate.
    fn shown(progress: &Progress, seconds: u64, rate: f64, width: usize) -> String {
        Look { rate, ..Look::at(progress, Duration::from_secs(seconds)) }.line(width)
    }

    #[test]
    fn what_is_shown_follows_the_phase_and_the_totals() {
        let progress = Progress::default();
        assert_eq!(shown(&progress, 3, 0.0, 80), "opening  3 s");
        progress.enter(Phase::Storing);
        progress.entries_total.store(10, Ordering::Relaxed);
        assert_eq!(Measure::of(&progress), Measure::Entries);
        assert_eq!(shown(&progress, 0, 0.0, 80), "storing  >                           0 %  0 of 10 entries");
        progress.bytes_total.store(1, Ordering::Relaxed);
        assert_eq!(Measure::of(&progress), Measure::Bytes);
        progress.bytes_total.store(20 << 20, Ordering::Relaxed);
        progress.done(5 << 20);
        progress.stored.store(2048, Ordering::Relaxed);
        let begun = "storing  ======>                    25 %  5.00 MiB of 20.0 MiB";
        assert_eq!(
            shown(&progress, 0, 9.0, 120),
            format!("{begun}  1 entry  2.00 KiB stored"),
            "too early to foretell"
        );
        let later = format!("{begun}  85.3 KiB/s  3 min 00 s left  1 entry  2.00 KiB stored");
        assert_eq!(shown(&progress, 60, (5 << 20) as f64 / 60.0, 120), later);
        assert_eq!(shown(&progress, 60, 0.0, 120), format!("{begun}  1 entry  2.00 KiB stored"), "nothing moves");
        // Whatever is left of totals, a phase without one shows what it counts.
        progress.enter(Phase::Listing);
        assert_eq!(Measure::of(&progress), Measure::Open);
        assert_eq!(shown(&progress, 2, 0.0, 80), "listing  2 s  5.00 MiB  1 entry  2.00 KiB stored");
        progress.expect(3, 0);
        progress.enter(Phase::Checking);
        progress.done(0);
        progress.done(0);
        let checking = shown(&progress, 2, 1.0, 100);
        assert!(checking.contains("66 %  2 of 3 snapshots  1 s left"), "{checking}");
        // More than was expected is no more than all of it.
        (0..3).for_each(|_| progress.done(0));
        assert!(shown(&progress, 2, 1.0, 100).contains("100 %  3 of 3 snapshots  0 s left"));
    }

    #[test]
    fn a_narrow_terminal_has_what_matters_most() {
        let progress = Progress::default();
        progress.enter(Phase::Restoring);
        progress.expect(1000, 20 << 30);
        progress.done(5 << 30);
        progress.stored.store(1 << 30, Ordering::Relaxed);
        let shown = |width| shown(&progress, 60, (5_u64 << 30) as f64 / 60.0, width);
        for width in 0..200 {
            assert!(shown(width).chars().count() <= width.saturating_sub(1), "{width}: {}", shown(width));
        }
        for (width, expected) in [
            (4, "res"),
            (17, "restoring   25 %"),
            (40, "restoring   25 %  3 min 00 s left"),
            (60, "restoring   25 %  5.00 GiB of 20.0 GiB  3 min 00 s left"),
            (75, "restoring   25 %  5.00 GiB of 20.0 GiB  85.3 MiB/s  3 min 00 s left"),
        ] {
            assert_eq!(shown(width), expected, "{width}");
        }
    }

    #[test]
    fn the_result_of_the_work_comes_back() {
        assert_eq!(attend(false, |_| 7).unwrap(), 7);
        assert_eq!(beside(|| 8), 8);
    }
}
