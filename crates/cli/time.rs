//! The clock, and times as people write and read them: local.

use std::sync::OnceLock;

use icecore_engine::entry::Timestamp;
use jiff::civil;
use jiff::tz::TimeZone;

/// The zone that times are told and read in.
static ZONE: OnceLock<TimeZone> = OnceLock::new();

/// Decides once in which zone times are told and read: UTC or the local one.
pub fn tell_in(utc: bool) {
    // Whoever comes second finds it decided.
    let _ = ZONE.set(if utc { TimeZone::UTC } else { TimeZone::system() });
}

fn told() -> &'static TimeZone {
    ZONE.get_or_init(TimeZone::system)
}

/// The time now.
pub fn now() -> Timestamp {
    from_jiff(jiff::Timestamp::now())
}

/// Reads a time: a date (its end is meant, so that a snapshot of that day counts), a date and a time in the local zone, or
/// RFC 3339 with an offset.
pub fn parse(text: &str) -> Option<Timestamp> {
    parse_in(text, told(), civil::Time::MAX)
}

/// The same, where a date means its beginning.
pub fn parse_start(text: &str) -> Option<Timestamp> {
    parse_in(text, told(), civil::Time::MIN)
}

/// The zone in which days and weeks begin.
pub fn zone() -> TimeZone {
    TimeZone::system()
}

fn parse_in(text: &str, zone: &TimeZone, of_date: civil::Time) -> Option<Timestamp> {
    let text = text.trim();
    if let Ok(instant) = text.parse::<jiff::Timestamp>() {
        return Some(from_jiff(instant));
    }
    let is_date = text.len() <= "2026-11-20".len();
    let local = if is_date {
        text.parse::<civil::Date>().ok()?.to_datetime(of_date)
    } else {
        text.parse::<civil::DateTime>().ok()?
    };
    Some(from_jiff(zone.to_timestamp(local).ok()?))
}

/// A time as people read it: local, to the second.
pub fn local(time: Timestamp) -> String {
    local_in(time, told())
}

/// A time as a name of a file: local, to the second.
pub fn file_name(time: Timestamp) -> String {
    local(time).replace(' ', "_").replace(':', "-")
}

/// From one time to a later one, in milliseconds; negative if a clock was set back in between.
pub fn milliseconds_between(earlier: Timestamp, later: Timestamp) -> i64 {
    let nanos = |time: Timestamp| i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos);
    let milliseconds = (nanos(later) - nanos(earlier)).div_euclid(1_000_000);
    milliseconds.clamp(i64::MIN.into(), i64::MAX.into()) as i64
}

fn local_in(time: Timestamp, zone: &TimeZone) -> String {
    match to_jiff(time) {
        Some(instant) => {
            let local = zone.to_datetime(instant);
            // Lists have one for each line, and a format that is read each time costs more than what it formats.
            let (date, clock) = (local.date(), local.time());
            let (year, month, day) = (date.year(), date.month(), date.day());
            let (hour, minute, second) = (clock.hour(), clock.minute(), clock.second());
            format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
        }
        None => format!("@{}", time.seconds),
    }
}

/// A time as programs read it: RFC 3339 in UTC; `None` beyond the years that it can say.
pub fn rfc3339(time: Timestamp) -> Option<String> {
    to_jiff(time).map(|instant| instant.to_string())
}

/// For those who reckon with the calendar; `None` beyond its years.
pub fn to_jiff(time: Timestamp) -> Option<jiff::Timestamp> {
    let whole = jiff::Timestamp::from_second(time.seconds).ok()?;
    whole.checked_add(jiff::SignedDuration::from_nanos(i64::from(time.nanos))).ok()
}

/// As it is recorded.
pub fn from_jiff(time: jiff::Timestamp) -> Timestamp {
    let nanoseconds = time.as_nanosecond();
    // Both fit: jiff's range is the years -9999 to 9999.
    Timestamp {
        seconds: nanoseconds.div_euclid(1_000_000_000) as i64,
        nanos: nanoseconds.rem_euclid(1_000_000_000) as u32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two hours east of UTC.
    fn zone() -> TimeZone {
        TimeZone::fixed(jiff::tz::offset(2))
    }

    fn parsed(text: &str) -> Option<String> {
        parse_in(text, &zone(), civil::Time::MAX).and_then(rfc3339)
    }

    #[test]
    fn times_are_local_unless_they_say_otherwise() {
        for (text, meant) in [
            ("2026-11-20 02:00", "2026-11-20T00:00:00Z"),
            ("2026-11-20T02:00:30", "2026-11-20T00:00:30Z"),
            ("2026-11-20T02:00:00Z", "2026-11-20T02:00:00Z"),
            ("2026-11-20T02:00:00-05:00", "2026-11-20T07:00:00Z"),
            (" 2026-11-20 ", "2026-11-20T21:59:59.999999999Z"),
        ] {
            assert_eq!(parsed(text).as_deref(), Some(meant), "{text}");
        }
        for text in ["", "yesterday", "2026-13-01", "2026-11-20 25:00", "20", "3f2a"] {
            assert_eq!(parsed(text), None, "{text}");
        }
    }

    #[test]
    fn milliseconds_count_both_ways() {
        let time = |seconds, nanos| Timestamp { seconds, nanos };
        assert_eq!(milliseconds_between(time(1, 999_000_000), time(2, 1_500_000)), 2);
        assert_eq!(milliseconds_between(time(2, 0), time(1, 0)), -1_000);
        assert_eq!(milliseconds_between(time(i64::MIN, 0), time(i64::MAX, 0)), i64::MAX);
    }

    #[test]
    fn times_are_shown_in_the_local_zone_and_none_panics() {
        let time = Timestamp { seconds: 1_795_140_000, nanos: 999_999_999 };
        assert_eq!(local_in(time, &zone()), "2026-11-20 04:00:00");
        assert_eq!(local_in(Timestamp { seconds: -1, nanos: 500_000_000 }, &zone()), "1970-01-01 01:59:59");
        assert_eq!(rfc3339(Timestamp { seconds: -1, nanos: 500_000_000 }).unwrap(), "1969-12-31T23:59:59.5Z");
        assert_eq!(local_in(Timestamp { seconds: i64::MAX, nanos: 0 }, &zone()), "@9223372036854775807");
        assert_eq!(rfc3339(Timestamp { seconds: i64::MIN, nanos: 0 }), None);
    }
}
