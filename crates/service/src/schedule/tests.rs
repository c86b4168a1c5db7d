use jiff::civil;
use proptest::prelude::*;

use super::*;

fn schedule(text: &str) -> Schedule {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

fn berlin() -> TimeZone {
    TimeZone::get("Europe/Berlin").unwrap()
}

/// A local time in Berlin, the first of two.
fn at(text: &str) -> Timestamp {
    berlin().to_timestamp(text.parse::<civil::DateTime>().unwrap()).unwrap()
}

fn slots(text: &str, from: &str, count: usize) -> Vec<String> {
    let (schedule, zone) = (schedule(text), berlin());
    let next = |time: &Timestamp| schedule.after(*time, &zone);
    let slots = std::iter::successors(next(&at(from)), next);
    slots.take(count).map(|slot| slot.to_zoned(zone.clone()).strftime("%a %m-%d %H:%M%:z").to_string()).collect()
}

#[test]
fn each_rule_names_its_slots() {
    for (text, expected) in [
        ("daily 02:00", ["Fri 11-20 02:00+01:00", "Sat 11-21 02:00+01:00", "Sun 11-22 02:00+01:00"]),
        ("mon..fri 22:30", ["Thu 11-19 22:30+01:00", "Fri 11-20 22:30+01:00", "Mon 11-23 22:30+01:00"]),
        ("fri..mon,wed 01:00", ["Fri 11-20 01:00+01:00", "Sat 11-21 01:00+01:00", "Sun 11-22 01:00+01:00"]),
        ("Sat,SUN 03:00", ["Sat 11-21 03:00+01:00", "Sun 11-22 03:00+01:00", "Sat 11-28 03:00+01:00"]),
        ("monthly 31 04:00", ["Mon 11-30 04:00+01:00", "Thu 12-31 04:00+01:00", "Sun 01-31 04:00+01:00"]),
        ("monthly 1 04:00", ["Tue 12-01 04:00+01:00", "Fri 01-01 04:00+01:00", "Mon 02-01 04:00+01:00"]),
        ("hourly", ["Thu 11-19 13:00+01:00", "Thu 11-19 14:00+01:00", "Thu 11-19 15:00+01:00"]),
        ("every 4h", ["Thu 11-19 16:00+01:00", "Thu 11-19 20:00+01:00", "Fri 11-20 00:00+01:00"]),
        ("daily 02:00; thu 14:00", ["Thu 11-19 14:00+01:00", "Fri 11-20 02:00+01:00", "Sat 11-21 02:00+01:00"]),
    ] {
        assert_eq!(slots(text, "2026-11-19 12:00", 3), expected, "{text}");
    }
}

#[test]
fn a_time_that_is_skipped_comes_once_after_and_one_that_comes_twice_once() {
    let skipped = ["Sat 03-28 02:30+01:00", "Sun 03-29 03:30+02:00", "Mon 03-30 02:30+02:00"];
    assert_eq!(slots("daily 02:30", "2026-03-28 00:00", 3), skipped);
    let twice = ["Sat 10-24 02:30+02:00", "Sun 10-25 02:30+02:00", "Mon 10-26 02:30+01:00"];
    assert_eq!(slots("daily 02:30", "2026-10-24 00:00", 3), twice);
    // Both rules mean the same moment on that night.
    let joined = ["Sun 03-29 03:30+02:00", "Mon 03-30 02:30+02:00", "Mon 03-30 03:30+02:00"];
    assert_eq!(slots("daily 02:30; daily 03:30", "2026-03-28 12:00", 3), joined);
    let hours = ["Sun 10-25 02:00+02:00", "Sun 10-25 02:00+01:00", "Sun 10-25 03:00+01:00"];
    assert_eq!(slots("hourly", "2026-10-25 01:30", 3), hours);
    // A whole day that an island skipped.
    let apia = TimeZone::get("Pacific/Apia").unwrap();
    let before = apia.to_timestamp(civil::date(2011, 12, 29).at(3, 0, 0, 0)).unwrap();
    let first = schedule("daily 02:00").after(before, &apia).unwrap();
    assert_eq!(first.to_zoned(apia.clone()).date(), civil::date(2011, 12, 31));
    let second = schedule("daily 02:00").after(first, &apia).unwrap();
    assert_eq!(second.to_zoned(apia).date(), civil::date(2012, 1, 1));
}

#[test]
fn what_is_no_schedule_is_told_why() {
    for (text, reason) in [
        ("", "empty"),
        ("daily", "not complete"),
        ("daily 2:00", "no time of day"),
        ("daily 24:00", "no time of day"),
        ("daily 02:00;", "empty"),
        ("mo 02:00", "no day of the week"),
        ("mon.fri 02:00", "no day of the week"),
        ("monthly 32 02:00", "no day of a month"),
        ("monthly 02:00", "not complete"),
        ("every 0h", "no span"),
        ("every ä", "no span"),
        ("every", "not complete"),
        ("at noon or so", "not understood"),
        ("never; daily 02:00", "not understood"),
    ] {
        let error = text.parse::<Schedule>().expect_err(text).to_string();
        assert!(error.contains(reason) && error.contains("write, for example"), "{text}: {error}");
    }
    assert_eq!(schedule(" daily 02:00 ").to_string(), "daily 02:00");
}

#[test]
fn what_was_missed_is_caught_up_once_and_a_failure_is_tried_again() {
    let (daily, zone) = (schedule("daily 02:00"), berlin());
    let due = |success: Option<&str>, failure: Option<&str>, now: &str| {
        daily.due(Last { success: success.map(at), failure: failure.map(at), ..Last::default() }, at(now), &zone)
    };
    let since = |text: &str| Due::Due { since: Some(at(text)) };
    assert_eq!(due(None, None, "2026-11-20 12:00"), Due::Due { since: None });
    assert_eq!(due(Some("2026-11-20 02:03"), None, "2026-11-20 12:00"), Due::Next(at("2026-11-21 02:00")));
    assert_eq!(due(Some("2026-11-20 02:03"), None, "2026-11-21 02:00"), since("2026-11-21 02:00"));
    // Four nights: one run.
    assert_eq!(due(Some("2026-11-20 02:03"), None, "2026-11-24 12:00"), since("2026-11-21 02:00"));
    assert_eq!(due(Some("2026-11-24 12:00"), None, "2026-11-24 12:00"), Due::Next(at("2026-11-25 02:00")));
    let (success, failed) = (Some("2026-11-20 02:03"), Some("2026-11-21 02:10"));
    assert_eq!(due(success, failed, "2026-11-21 02:15"), Due::Next(at("2026-11-21 03:10")));
    assert_eq!(due(success, failed, "2026-11-21 03:10"), since("2026-11-21 02:00"));
    assert_eq!(due(None, failed, "2026-11-21 02:15"), Due::Next(at("2026-11-21 03:10")));
    // The next slot does not wait for the end of that hour.
    let late = Some("2026-11-21 01:30");
    assert_eq!(due(success, late, "2026-11-21 02:00"), since("2026-11-21 02:00"));
    // An old failure, and what a clock that was set back left.
    assert_eq!(due(Some("2026-11-21 02:20"), failed, "2026-11-21 02:30"), Due::Next(at("2026-11-22 02:00")));
    assert_eq!(due(Some("2030-01-01 00:00"), Some("2030-01-01 00:00"), "2026-11-21 02:30"), Due::Due { since: None });
    assert_eq!(Schedule::never().due(Last::default(), at("2026-11-21 02:30"), &zone), Due::Never);
}

const TEXTS: [&str; 9] = [
    "daily 02:30",
    "daily 03:00",
    "mon..fri 22:30; sat,sun 03:00",
    "hourly",
    "every 4h",
    "every 90s",
    "monthly 31 01:59",
    "sun 02:00; monthly 1 00:00",
    "daily 00:00; daily 12:00; every 5h",
];

const ZONES: [&str; 5] = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "Asia/Kolkata"];

proptest! {
    /// Somebody looks at random times, and does what is due: every slot is followed by a run before the next look, none
    /// is run for twice.
    #[test]
    fn every_slot_is_run_for_once(
        text in prop::sample::select(&TEXTS[..]),
        zone in prop::sample::select(&ZONES[..]),
        start in 1_300_000_000_i64..1_900_000_000,
        steps in prop::collection::vec(1_i64..40_000, 1..60),
    ) {
        let (schedule, zone) = (schedule(text), TimeZone::get(zone).unwrap());
        let mut now = Timestamp::from_second(start).unwrap();
        let mut last = now;
        for step in steps {
            let before = now;
            now = now.checked_add(SignedDuration::from_secs(step)).unwrap();
            let slot = schedule.after(last, &zone).unwrap();
            prop_assert!(slot > last);
            prop_assert!(schedule.after(now, &zone).unwrap() > now);
            match schedule.due(Last { success: Some(last), ..Last::default() }, now, &zone) {
                Due::Due { since } => {
                    // The slot had not come at the look before, or it would have been run for.
                    prop_assert!(since == Some(slot) && slot <= now && slot > before);
                    last = now;
                }
                Due::Next(at) => prop_assert!(at == slot && at > now),
                Due::Never => prop_assert!(false),
            }
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in "[a-z0-9:;., ]{0,24}|\\PC{0,12}") {
        if let Ok(schedule) = text.parse::<Schedule>() {
            let _ = schedule.after(Timestamp::MAX, &TimeZone::UTC);
            let _ = schedule.due(Last::default(), Timestamp::MIN, &TimeZone::UTC);
        }
    }
}
