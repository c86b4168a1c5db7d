//! What is to be done now: tasks and their schedules, when each was last done, the time → what is due, in order.

use std::fmt;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::records::History;
use crate::schedule::{Due, Last, Schedule};

/// How long a prune waits for backups that fail. It would mark what they have stored so far, which they go on from.
pub const PATIENCE: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Something that is done time and again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "task", rename_all = "lowercase")]
pub enum Task {
    /// An instance is backed up.
    Backup {
        /// Its name.
        instance: String,
    },
    /// Its snapshots that nothing keeps are forgotten; has no schedule, because it follows each backup.
    Forget {
        /// Its name.
        instance: String,
    },
    /// What nothing needs is deleted.
    Prune,
    /// The repository is checked.
    Check,
    /// The restore of an instance is practised.
    Drill {
        /// Its name.
        instance: String,
    },
}

impl Task {
    /// The instance that it is for, if it is for one.
    pub fn instance(&self) -> Option<&str> {
        match self {
            Self::Backup { instance } | Self::Forget { instance } | Self::Drill { instance } => Some(instance),
            Self::Prune | Self::Check => None,
        }
    }

    /// Whether it takes a key that can read.
    pub fn needs_reader(&self) -> bool {
        !matches!(self, Self::Backup { .. })
    }

    /// What is done, in one word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Backup { .. } => "backup",
            Self::Forget { .. } => "forget",
            Self::Prune => "prune",
            Self::Check => "check",
            Self::Drill { .. } => "drill",
        }
    }

    /// Whether an instance is backed up.
    pub fn is_backup(&self) -> bool {
        matches!(self, Self::Backup { .. })
    }
}

impl fmt::Display for Task {
    /// As in `backup wiki`; also its name in records.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())?;
        self.instance().map_or(Ok(()), |instance| write!(f, " {instance}"))
    }
}

/// What is wanted of a run.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Backups of these instances alone; none: everything.
    pub instances: Vec<String>,
    /// Also what is not due.
    pub now: bool,
}

/// A task, and how it stands with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The task.
    pub task: Task,
    /// When it is done.
    pub schedule: Schedule,
    /// When it was done last, without times in the future.
    pub last: Last,
    /// Whether it is done now.
    pub standing: Standing,
    /// It is due, and waits for backups that failed.
    pub is_put_off: bool,
}

/// Whether a task is done now, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is due.
    Due {
        /// Since when; `None`: it was never done.
        since: Option<Timestamp>,
    },
    /// It is done although it is not due.
    Asked,
    /// It waits for a time.
    Waits {
        /// When it is due.
        until: Timestamp,
    },
    /// Its schedule has no time.
    Never,
    /// It is due by default, and this host cannot do it: its key can only write.
    Impossible,
}

impl Standing {
    /// Whether it is done now.
    pub fn is_now(self) -> bool {
        matches!(self, Self::Due { .. } | Self::Asked)
    }
}

impl Item {
    /// Whether it must not wait for backups that fail: it succeeded last more than [`PATIENCE`] ago, or if it never
    /// did, was put off first so long ago.
    pub fn is_urgent(&self, now: Timestamp) -> bool {
        let since = self.last.success.or(self.last.put_off);
        since.is_some_and(|since| now.duration_since(since) > PATIENCE)
    }
}

/// Decides about each task, in their order. What is not wanted is left out. A prune that is not urgent waits until backups that
/// failed are tried again.
pub fn agenda<'s>(
    tasks: impl IntoIterator<Item = (Task, &'s Schedule)>,
    history: &History,
    wanted: &Wanted,
    now: Timestamp,
    zone: &TimeZone,
) -> Vec<Item> {
    let is_named =
        |task: &Task| task.is_backup() && wanted.instances.iter().any(|name| Some(name.as_str()) == task.instance());
    let tasks = tasks.into_iter().filter(|(task, _)| wanted.instances.is_empty() || is_named(task));
    let decide = |(task, schedule): (Task, &Schedule)| {
        let last = history.last(&task).past(now);
        let standing = match schedule.due(last, now, zone) {
            Due::Due { since } => Standing::Due { since },
            // "never" is lifted only by name.
            Due::Never if wanted.now && is_named(&task) => Standing::Asked,
            Due::Next(_) if wanted.now => Standing::Asked,
            Due::Next(until) => Standing::Waits { until },
            Due::Never => Standing::Never,
        };
        Item { task, schedule: schedule.clone(), last, standing, is_put_off: false }
    };
    let mut items: Vec<_> = tasks.map(decide).collect();
    let again = items.iter().filter(|item| item.task.is_backup() && item.last.open_failure().is_some());
    let again = again.filter_map(|item| match item.standing {
        Standing::Waits { until } => Some(until),
        _ => None,
    });
    if let Some(until) = again.max() {
        let is_held = |item: &&mut Item| item.task == Task::Prune && matches!(item.standing, Standing::Due { .. });
        for item in items.iter_mut().filter(is_held).filter(|item| !item.is_urgent(now)) {
            item.standing = Standing::Waits { until };
            item.is_put_off = true;
        }
    }
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backup(instance: &str) -> Task {
        Task::Backup { instance: instance.to_owned() }
    }

    fn standings(wanted: &Wanted, now: &str, history: &History) -> Vec<(String, Standing)> {
        let text = ["daily 02:00", "every 4h", "never", "sun 04:00"];
        let schedules = text.map(|text| text.parse::<Schedule>().unwrap());
        let tasks = [backup("a"), backup("b"), backup("c"), Task::Prune];
        let items = agenda(tasks.into_iter().zip(&schedules), history, wanted, now.parse().unwrap(), &TimeZone::UTC);
        items.into_iter().map(|item| (item.task.to_string(), item.standing)).collect()
    }

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_due_is_told_in_order_with_its_reason() {
        let mut history = History::default();
        history.succeeded(&backup("a"), time("2026-11-20T02:00:10Z"));
        history.succeeded(&backup("b"), time("2026-11-20T02:00:20Z"));
        let names = ["backup a", "backup b", "backup c", "prune"];
        let expect = |wanted: &Wanted, now: &str, expected: [Standing; 4]| {
            let found = standings(wanted, now, &history);
            assert!(found.iter().map(|(name, _)| name.as_str()).eq(names), "{found:?}");
            assert!(found.iter().map(|(_, standing)| *standing).eq(expected), "{found:?}");
        };
        let (noon, due) = ("2026-11-20T12:00:00Z", |since| Standing::Due { since });
        let waits = Standing::Waits { until: time("2026-11-21T02:00:00Z") };
        let since = Some(time("2026-11-20T06:00:20Z"));
        expect(&Wanted::default(), noon, [waits, due(since), Standing::Never, due(None)]);
        let now = Wanted { now: true, ..Wanted::default() };
        expect(&now, noon, [Standing::Asked, due(since), Standing::Never, due(None)]);
    }

    #[test]
    fn names_choose_backups_and_now_lifts_never() {
        let mut history = History::default();
        history.succeeded(&backup("a"), time("2026-11-20T02:00:10Z"));
        let wanted = |now| Wanted { instances: vec!["a".into(), "c".into()], now };
        let standing = |now| standings(&wanted(now), "2026-11-20T12:00:00Z", &history);
        let waits = Standing::Waits { until: time("2026-11-21T02:00:00Z") };
        assert_eq!(standing(false), [("backup a".to_owned(), waits), ("backup c".to_owned(), Standing::Never)]);
        assert!(standing(true).iter().all(|(_, standing)| *standing == Standing::Asked));
    }

    #[test]
    fn names_and_failures_of_backups_are_not_those_of_drills() {
        let schedule: Schedule = "daily 02:00".parse().unwrap();
        let drill = Task::Drill { instance: "a".into() };
        let mut history = History::default();
        history.succeeded(&drill, time("2026-11-18T02:00:10Z"));
        history.failed(&drill, time("2026-11-20T02:00:10Z"));
        let items = |wanted: &Wanted| {
            let tasks = [(backup("a"), &schedule), (Task::Prune, &schedule), (drill.clone(), &schedule)];
            agenda(tasks, &history, wanted, time("2026-11-20T02:15:00Z"), &TimeZone::UTC)
        };
        let [_, prune, drill] = &items(&Wanted::default())[..] else { panic!() };
        assert_eq!((prune.standing, prune.task.is_backup()), (Standing::Due { since: None }, false));
        assert_eq!(drill.standing, Standing::Waits { until: time("2026-11-20T03:00:10Z") });
        assert_eq!((drill.task.to_string().as_str(), drill.task.instance()), ("drill a", Some("a")));
        let named = items(&Wanted { instances: vec!["a".into()], now: true });
        assert!(named.iter().map(|item| &item.task).eq([&backup("a")]));
    }

    #[test]
    fn a_prune_waits_for_a_backup_that_failed_but_not_for_ever() {
        let schedule: Schedule = "daily 02:00".parse().unwrap();
        let mut history = History::default();
        history.succeeded(&backup("a"), time("2026-11-18T02:00:10Z"));
        history.failed(&backup("a"), time("2026-11-20T02:00:10Z"));
        history.succeeded(&Task::Prune, time("2026-11-18T02:00:20Z"));
        let prune = |history: &History, now: &str| {
            let tasks = [(backup("a"), &schedule), (Task::Prune, &schedule)];
            agenda(tasks, history, &Wanted::default(), time(now), &TimeZone::UTC)[1].standing
        };
        let until = time("2026-11-20T03:00:10Z");
        assert_eq!(prune(&history, "2026-11-20T02:15:00Z"), Standing::Waits { until });
        assert!(prune(&history, "2026-11-20T03:15:00Z").is_now());
        let mut urgent = history.clone();
        urgent.succeeded(&Task::Prune, time("2026-11-12T02:00:20Z"));
        assert!(prune(&urgent, "2026-11-20T02:15:00Z").is_now());
        history.succeeded(&backup("a"), time("2026-11-20T02:05:00Z"));
        assert!(prune(&history, "2026-11-20T02:15:00Z").is_now());
    }

    /// Two instances whose backups never succeed, and of which one or the other always waits to be tried again: a prune
    /// waits for them for a week at a time.
    #[test]
    fn a_prune_that_was_never_done_waits_for_a_week_at_most() {
        let schedules = ["daily 02:00", "daily 02:30", "daily 02:00"].map(|text| text.parse::<Schedule>().unwrap());
        let (mut history, mut done) = (History::default(), Vec::new());
        let begun = time("2026-11-01T02:00:00Z");
        history.succeeded(&backup("b"), time("2026-10-31T02:30:00Z"));
        for half_hour in 0..2 * 16 * 24 {
            let now = begun.checked_add(SignedDuration::from_mins(30 * half_hour)).unwrap();
            let tasks = [backup("a"), backup("b"), Task::Prune].into_iter().zip(&schedules);
            let items = agenda(tasks, &history, &Wanted::default(), now, &TimeZone::UTC);
            let [a, b, prune] = &items[..] else { panic!("{items:?}") };
            let fails = [a, b]
                .into_iter()
                .filter(|item| item.standing.is_now())
                .inspect(|item| history.failed(&item.task, now));
            let has_failed = fails.count() > 0;
            if prune.is_put_off || prune.standing.is_now() && has_failed && !prune.is_urgent(now) {
                history.put_off(&Task::Prune, now);
            } else if prune.standing.is_now() {
                history.succeeded(&Task::Prune, now);
                done.push(half_hour);
            }
        }
        assert_eq!(done, [7 * 48 + 1, 2 * (7 * 48 + 1)]);
    }

    /// The clock was set back behind what was noted: that counts for nothing, and everything is due again.
    #[test]
    fn what_was_done_in_the_future_was_not_done() {
        let mut history = History::default();
        for task in [backup("a"), backup("b"), Task::Prune] {
            history.succeeded(&task, time("2027-01-01T00:00:00Z"));
            history.failed(&task, time("2027-01-02T00:00:00Z"));
        }
        let standing = standings(&Wanted::default(), "2026-11-20T12:00:00Z", &history);
        let due = Standing::Due { since: None };
        assert!(standing.iter().map(|(_, standing)| *standing).eq([due, due, Standing::Never, due]), "{standing:?}");
    }

    /// Thirty nights, two of which the host slept through, and one on which an instance failed.
    #[test]
    fn thirty_nights() {
        let schedule: Schedule = "daily 02:00".parse().unwrap();
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let (mut history, mut done) = (History::default(), Vec::new());
        let mut now = time("2026-10-10T12:00:00Z");
        history.succeeded(&backup("a"), now);
        for quarter in 0..30 * 96 {
            now = now.checked_add(SignedDuration::from_mins(15)).unwrap();
            let night = quarter / 96;
            if matches!(night, 7 | 8) {
                continue;
            }
            let items = agenda([(backup("a"), &schedule)], &history, &Wanted::default(), now, &zone);
            if items[0].standing.is_now() {
                match night == 20 && items[0].last.failure.is_none() {
                    true => history.failed(&items[0].task, now),
                    false => history.succeeded(&items[0].task, now),
                }
                done.push(now.to_zoned(zone.clone()).strftime("%d %H:%M").to_string());
            }
        }
        assert_eq!(
            done[..8],
            ["11 02:00", "12 02:00", "13 02:00", "14 02:00", "15 02:00", "16 02:00", "17 02:00", "19 14:15"]
        );
        // Clocks went back on the 25th; the failure was on the 31st.
        assert_eq!(done[13..16], ["25 02:00", "26 02:00", "27 02:00"]);
        assert!(done.contains(&"31 02:00".to_owned()) && done.contains(&"31 03:00".to_owned()), "{done:?}");
        assert_eq!(done.len(), 30 - 1 + 1);
    }
}
