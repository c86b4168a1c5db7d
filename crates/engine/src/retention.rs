//! Which snapshots are kept: a pure plan from a policy, the snapshots and the time.
//!
//! A series is what one instance has on one host; each is judged by itself, the newest snapshot first. Calendar rules keep the
//! newest snapshot of each of the last N hours, days, ISO weeks, months or years *that have one*, in local time. An hour that
//! comes twice when clocks are set back counts as two.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use icecore_format::entry::Timestamp;
use icecore_format::id::SnapshotId;
use icecore_format::snapshot::Verdict;
use jiff::tz::TimeZone;
use jiff::{Span, Zoned};

use crate::Stored;

/// What is kept. All rules count together: a snapshot stays if any of them keeps it.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// The newest of a series.
    pub last: u32,
    /// The newest of each of this many hours, and so on.
    pub hourly: u32,
    /// Days.
    pub daily: u32,
    /// ISO weeks, which begin on Mondays.
    pub weekly: u32,
    /// Months.
    pub monthly: u32,
    /// Years.
    pub yearly: u32,
    /// Everything at most so much older than the newest of its series. Not than now: of a series that has ended the same stays.
    pub within: Option<Span>,
    /// Everything that has one of these tags.
    pub tags: Vec<String>,
}

impl Policy {
    /// Whether it would keep nothing.
    pub fn is_empty(&self) -> bool {
        let counts = [self.last, self.hourly, self.daily, self.weekly, self.monthly, self.yearly];
        counts == [0; 6] && self.within.is_none() && self.tags.is_empty()
    }
}

/// Why a snapshot is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// By a rule that counts: its name, and this snapshot's number among those that it keeps, from 1.
    Counted(&'static str, u32),
    /// It is young enough.
    Within,
    /// It has this tag.
    Tag(String),
    /// Nothing may forget it before this time.
    Protected(Timestamp),
    /// It is the newest of its series that the application itself was frozen for, and no other of those is kept.
    LastApplication,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Counted(rule, number) => write!(f, "{rule} {number}"),
            Self::Within => f.write_str("within"),
            Self::Tag(tag) => write!(f, "tag {tag}"),
            Self::Protected(_) => f.write_str("protected"),
            Self::LastApplication => f.write_str("last application snapshot"),
        }
    }
}

/// What becomes of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The snapshot.
    pub id: SnapshotId,
    /// Why it is kept; without a reason it is forgotten.
    pub reasons: Vec<Reason>,
}

impl Decision {
    /// Whether it is kept.
    pub fn keeps(&self) -> bool {
        !self.reasons.is_empty()
    }
}

/// Decides about each of `snapshots`, in their order. `everything` is the whole catalogue, by which the last `application`
/// snapshot of a series is told; `force` gives that one up as well.
pub fn plan(
    policy: &Policy,
    snapshots: &[&Stored],
    everything: &[Stored],
    now: Timestamp,
    zone: &TimeZone,
    force: bool,
) -> Vec<Decision> {
    let mut reasons: BTreeMap<SnapshotId, Vec<Reason>> = BTreeMap::new();
    for series in series(snapshots.iter().copied()) {
        keep_of_series(policy, &series, zone, &mut reasons);
    }
    finish(snapshots, everything, now, force, reasons)
}

/// The same for snapshots that were named to be forgotten: only protection keeps one.
pub fn plan_named(snapshots: &[&Stored], everything: &[Stored], now: Timestamp, force: bool) -> Vec<Decision> {
    finish(snapshots, everything, now, force, BTreeMap::new())
}

/// What a person may not lose by a rule.
fn finish(
    snapshots: &[&Stored],
    everything: &[Stored],
    now: Timestamp,
    force: bool,
    mut reasons: BTreeMap<SnapshotId, Vec<Reason>>,
) -> Vec<Decision> {
    for stored in snapshots {
        if let Some(until) = stored.snapshot.protected_until.filter(|until| *until > now) {
            reasons.entry(stored.id).or_default().push(Reason::Protected(until));
        }
    }
    if !force {
        let leaving: HashSet<SnapshotId> =
            snapshots.iter().map(|stored| stored.id).filter(|id| !reasons.contains_key(id)).collect();
        for series in series(everything.iter()) {
            let mut proved = series.iter().filter(|stored| stored.snapshot.verdict == Verdict::Application);
            let newest = proved.clone().next();
            if let Some(newest) = newest.filter(|_| proved.all(|stored| leaving.contains(&stored.id))) {
                reasons.entry(newest.id).or_default().push(Reason::LastApplication);
            }
        }
    }
    let decide = |stored: &&Stored| Decision { id: stored.id, reasons: reasons.remove(&stored.id).unwrap_or_default() };
    snapshots.iter().map(decide).collect()
}

/// The snapshots by instance and host, each series' newest first.
fn series<'s>(snapshots: impl Iterator<Item = &'s Stored>) -> Vec<Vec<&'s Stored>> {
    let mut all: BTreeMap<(&str, &str), Vec<&Stored>> = BTreeMap::new();
    for stored in snapshots {
        all.entry((&stored.snapshot.instance, &stored.snapshot.host)).or_default().push(stored);
    }
    let mut all: Vec<_> = all.into_values().collect();
    for series in &mut all {
        series.sort_by_key(|stored| std::cmp::Reverse((stored.snapshot.taken, stored.id)));
    }
    all
}

fn keep_of_series(
    policy: &Policy,
    newest_first: &[&Stored],
    zone: &TimeZone,
    reasons: &mut BTreeMap<SnapshotId, Vec<Reason>>,
) {
    let local: Vec<(&Stored, Option<Zoned>)> =
        newest_first.iter().map(|stored| (*stored, zoned(stored.snapshot.taken, zone))).collect();
    let mut keep = |stored: &Stored, reason| reasons.entry(stored.id).or_default().push(reason);
    for (number, stored) in (1..=policy.last).zip(newest_first) {
        keep(stored, Reason::Counted("last", number));
    }
    let rules: [Rule; 5] = [
        ("hourly", policy.hourly, |at| (day(at), i32::from(at.hour()), at.offset().seconds())),
        ("daily", policy.daily, |at| (day(at), 0, 0)),
        ("weekly", policy.weekly, |at| {
            let week = at.date().iso_week_date();
            (i32::from(week.year()), i32::from(week.week()), 0)
        }),
        ("monthly", policy.monthly, |at| (i32::from(at.year()), i32::from(at.month()), 0)),
        ("yearly", policy.yearly, |at| (i32::from(at.year()), 0, 0)),
    ];
    for (rule, count, period) in rules {
        let mut number = 0;
        let mut before = None;
        for (stored, at) in &local {
            // A time beyond the calendar is in a period of its own.
            let this = at.as_ref().map(period);
            if number == count {
                break;
            }
            if this.is_none() || this != before {
                number += 1;
                keep(stored, Reason::Counted(rule, number));
                before = this;
            }
        }
    }
    let newest = local.first().and_then(|(_, at)| at.clone());
    let oldest = policy.within.zip(newest).and_then(|(within, newest)| newest.checked_sub(within).ok());
    for (stored, at) in &local {
        if policy.within.is_some() && (oldest.is_none() || *at >= oldest) {
            keep(stored, Reason::Within);
        }
        if let Some(tag) = policy.tags.iter().find(|tag| stored.snapshot.tags.contains(tag)) {
            keep(stored, Reason::Tag(tag.clone()));
        }
    }
}

/// A rule that counts periods: its name, how many of them, and the period of a time.
type Rule = (&'static str, u32, fn(&Zoned) -> Period);

/// What tells one hour, day, week, month or year from another.
type Period = (i32, i32, i32);

fn day(at: &Zoned) -> i32 {
    i32::from(at.year()) * 400 + i32::from(at.day_of_year())
}

fn zoned(time: Timestamp, zone: &TimeZone) -> Option<Zoned> {
    let nanos = i32::try_from(time.nanos).ok()?;
    Some(jiff::Timestamp::new(time.seconds, nanos).ok()?.to_zoned(zone.clone()))
}

/// Reads how long `--keep-within` reaches: `14d`, `8w`, `1y6m`, `36h`; `m` are months.
pub fn parse_within(text: &str) -> Option<Span> {
    let mut span = Span::new();
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: i64 = rest[..digits].parse().ok()?;
        let unit = rest[digits..].chars().next()?;
        span = match unit {
            'y' => span.try_years(number),
            'm' => span.try_months(number),
            'w' => span.try_weeks(number),
            'd' => span.try_days(number),
            'h' => span.try_hours(number),
            _ => return None,
        }
        .ok()?;
        rest = &rest[digits + unit.len_utf8()..];
    }
    Some(span)
}

#[cfg(test)]
mod tests;
