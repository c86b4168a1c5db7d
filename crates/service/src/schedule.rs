//! When something is due.
//!
//! ```text
//! schedule = "never" | rule (";" rule)*
//! rule     = "daily" TIME | DAYS TIME | "monthly" DAY TIME | "hourly" | "every" SPAN
//! DAYS     = DAY-NAME or DAY-NAME..DAY-NAME, several with commas: sat,sun  mon..fri  fri..mon,wed
//! DAY      = 1 to 31; a shorter month has it on its last day
//! TIME     = HH:MM, local        SPAN = a number and s, m, h or d
//! ```
//! A local time that a change of clocks skips is taken as much later as was skipped; one that comes twice is taken the first
//! time. `hourly` is each full hour of UTC, so that no change of clocks doubles or skips one. `every` counts from the last time.
//!
//! A rule names *slots*, moments in time. Whoever did something at *t* is due again at the first slot after *t*: slots that were
//! missed meanwhile are caught up once.

use std::fmt;
use std::str::FromStr;

use jiff::civil::{Date, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Timestamp};
use serde::{Deserialize, Serialize};

/// How long after a failure something is tried again, if no new slot comes before: long enough not to freeze an application all
/// the time, short enough for the same night.
pub const RETRY: SignedDuration = SignedDuration::from_hours(1);

/// The days that surely hold a slot of every calendar rule: two months, and two more days around changes of clocks.
const DAYS_AHEAD: i64 = 64;

const WEEKDAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];

/// When something is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    text: String,
    /// Any of them; none: never.
    rules: Vec<Rule>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// At a local time of some days.
    At(Days, Time),
    /// At each full hour.
    Hourly,
    /// So long after the last time.
    Every(SignedDuration),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Days {
    /// Of the week, from Monday on.
    Week([bool; 7]),
    /// Of the month, from 1.
    Month(i8),
}

/// A text that is no schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not a schedule: {reason}; write, for example, \"daily 02:00\", \"mon..fri 22:30; sat,sun 03:00\", \
     \"monthly 1 04:00\", \"hourly\", \"every 4h\" or \"never\""
)]
pub struct ScheduleError {
    text: String,
    reason: String,
}

/// When something was last done. What lies in the future is left out of account: a clock was set back since.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Last {
    /// Well.
    pub success: Option<Timestamp>,
    /// In vain.
    pub failure: Option<Timestamp>,
    /// Done, but what it tried was not well, as a snapshot that failed a drill.
    #[serde(default)]
    pub bad: Option<Timestamp>,
    /// Not at all, although it was due: the first time since it was done well.
    pub put_off: Option<Timestamp>,
}

impl Last {
    /// Without what lies after `now`.
    #[must_use]
    pub fn past(self, now: Timestamp) -> Self {
        let past = |time: &Timestamp| *time <= now;
        let [success, failure, bad, put_off] =
            [self.success, self.failure, self.bad, self.put_off].map(|time| time.filter(past));
        Self { success, failure, bad, put_off }
    }

    /// When it was last done, well or not: its schedule goes on from there.
    pub fn done(self) -> Option<Timestamp> {
        self.success.max(self.bad)
    }

    /// The last failure, unless it was done after it: it is to be tried again soon.
    pub fn open_failure(self) -> Option<Timestamp> {
        self.failure.filter(|failure| self.done().is_none_or(|done| *failure > done))
    }

    /// When it last was not well, unless it succeeded after that: then it says nothing about the present.
    pub fn trouble(self) -> Option<Timestamp> {
        self.failure.max(self.bad).filter(|trouble| self.success.is_none_or(|success| *trouble > success))
    }
}

/// Whether something is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Now.
    Due {
        /// The first slot since the last success; `None` if there is none.
        since: Option<Timestamp>,
    },
    /// Not before this time.
    Next(Timestamp),
    /// At no time.
    Never,
}

impl Schedule {
    /// At no time.
    pub fn never() -> Self {
        Self { text: "never".to_owned(), rules: Vec::new() }
    }

    /// Whether it has no slot.
    pub fn is_never(&self) -> bool {
        self.rules.is_empty()
    }

    /// The first slot after a time; `None` without one before the end of the calendar.
    pub fn after(&self, time: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        self.rules.iter().filter_map(|rule| rule.after(time, zone)).min()
    }

    /// Whether it is due at `now`.
    pub fn due(&self, last: Last, now: Timestamp, zone: &TimeZone) -> Due {
        if self.is_never() {
            return Due::Never;
        }
        let last = last.past(now);
        let since = match last.done() {
            None => None,
            Some(done) => match self.after(done, zone) {
                None => return Due::Never,
                Some(slot) if slot > now => return Due::Next(slot),
                slot => slot,
            },
        };
        match last.open_failure().filter(|failure| since.is_none_or(|since| *failure >= since)) {
            None => Due::Due { since },
            Some(failure) => {
                let retry = failure.checked_add(RETRY).unwrap_or(Timestamp::MAX);
                let again = self.after(failure, zone).map_or(retry, |slot| slot.min(retry));
                if again <= now { Due::Due { since } } else { Due::Next(again) }
            }
        }
    }
}

impl Rule {
    fn after(self, time: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        match self {
            Self::Every(span) => time.checked_add(span).ok(),
            Self::Hourly => Timestamp::from_second((time.as_second().div_euclid(3600) + 1) * 3600).ok(),
            Self::At(days, at) => {
                let today = time.to_zoned(zone.clone()).date();
                // A slot may be moved past the next one by a change of clocks, so the first day is not yet the answer.
                let slots = (-2..=DAYS_AHEAD).filter_map(|ahead| {
                    let date = today.checked_add(Span::new().days(ahead)).ok().filter(|date| days.hold(*date))?;
                    zone.to_timestamp(date.to_datetime(at)).ok()
                });
                slots.filter(|slot| *slot > time).min()
            }
        }
    }
}

impl Days {
    fn hold(self, date: Date) -> bool {
        match self {
            Self::Week(days) => days.get(date.weekday().to_monday_zero_offset() as usize).copied().unwrap_or(false),
            Self::Month(day) => date.day() == day.min(date.days_in_month()),
        }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Schedule {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Self, ScheduleError> {
        let wrong = |reason: String| ScheduleError { text: text.to_owned(), reason };
        let lower = text.trim().to_ascii_lowercase();
        if lower == "never" {
            return Ok(Self::never());
        }
        let rules = lower.split(';').map(|rule| read_rule(rule).map_err(wrong)).collect::<Result<_, _>>()?;
        Ok(Self { text: text.trim().to_owned(), rules })
    }
}

fn read_rule(text: &str) -> Result<Rule, String> {
    let words: Vec<_> = text.split_whitespace().collect();
    match words[..] {
        [] => Err("a rule is empty".to_owned()),
        ["hourly"] => Ok(Rule::Hourly),
        ["every", span] => read_span(span).map(Rule::Every),
        ["daily", time] => Ok(Rule::At(Days::Week([true; 7]), read_time(time)?)),
        ["monthly", day, time] => match day.parse() {
            Ok(day @ 1..=31) => Ok(Rule::At(Days::Month(day), read_time(time)?)),
            _ => Err(format!("{day:?} is no day of a month, from 1 to 31")),
        },
        ["daily"] | ["monthly", ..] | ["every", ..] => Err(format!("{:?} is not complete", text.trim())),
        [days, time] => Ok(Rule::At(Days::Week(read_days(days)?), read_time(time)?)),
        _ => Err(format!("{:?} is not understood", text.trim())),
    }
}

fn read_days(text: &str) -> Result<[bool; 7], String> {
    let number = |name: &str| {
        WEEKDAYS
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, day)| day.to_monday_zero_offset() as usize)
            .ok_or_else(|| format!("{name:?} is no day of the week: they are mon, tue, wed, thu, fri, sat and sun"))
    };
    let mut days = [false; 7];
    for part in text.split(',') {
        let (first, last) = part.split_once("..").unwrap_or((part, part));
        let (first, last) = (number(first)?, number(last)?);
        for (day, is_in) in days.iter_mut().enumerate() {
            // fri..mon goes over the end of the week.
            *is_in |= if first <= last { (first..=last).contains(&day) } else { day >= first || day <= last };
        }
    }
    Ok(days)
}

fn read_time(text: &str) -> Result<Time, String> {
    let wrong = || format!("{text:?} is no time of day from 00:00 to 23:59");
    let (hour, minute) = text.split_once(':').ok_or_else(wrong)?;
    let number = |digits: &str| (digits.len() == 2).then(|| digits.parse::<i8>().ok()).flatten();
    let (hour, minute) = number(hour).zip(number(minute)).ok_or_else(wrong)?;
    Time::new(hour, minute, 0, 0).map_err(|_| wrong())
}

fn read_span(text: &str) -> Result<SignedDuration, String> {
    let wrong = || format!("{text:?} is no span of time such as 30m, 4h or 2d");
    let unit = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3600,
        Some('d') => 24 * 3600,
        _ => return Err(wrong()),
    };
    match text[..text.len() - 1].parse::<u16>() {
        Ok(number @ 1..) => Ok(SignedDuration::from_secs(i64::from(number) * unit)),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests;
