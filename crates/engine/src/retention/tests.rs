use icecore_format::snapshot::Snapshot;
use proptest::prelude::*;

use super::*;
use crate::browse::tests::stored as plain;

/// 2026-11-20 00:00 UTC, a Friday.
const DAY: i64 = 1_795_132_800;

const HOUR: i64 = 3600;

fn at(seconds: i64) -> Timestamp {
    Timestamp { seconds, nanos: 0 }
}

/// A snapshot of `cust01`, numbered by its place in time.
fn stored(number: usize, taken: i64, change: impl FnOnce(&mut Snapshot)) -> Stored {
    let mut stored = plain(&format!("{number:08x}"), "cust01", taken);
    change(&mut stored.snapshot);
    stored
}

fn taken(times: impl IntoIterator<Item = i64>) -> Vec<Stored> {
    times.into_iter().enumerate().map(|(number, time)| stored(number, time, |_| {})).collect()
}

/// The numbers of those that are kept.
fn kept(policy: &Policy, snapshots: &[Stored], zone: &TimeZone) -> Vec<usize> {
    let all: Vec<_> = snapshots.iter().collect();
    let decisions = plan(policy, &all, snapshots, at(DAY + 365 * 24 * HOUR), zone, false);
    let is_kept = |(number, decision): (usize, Decision)| decision.keeps().then_some(number);
    decisions.into_iter().enumerate().filter_map(is_kept).collect()
}

fn berlin() -> TimeZone {
    // Written out, so that no database of time zones is needed.
    TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
}

#[test]
fn the_newest_of_each_period_is_kept() {
    // Every six hours for 60 days, the last at 18:00 of the last day.
    let snapshots = taken((0..240).map(|number| DAY + number * 6 * HOUR));
    let utc = TimeZone::UTC;
    let daily = Policy { daily: 3, ..Policy::default() };
    assert_eq!(kept(&daily, &snapshots, &utc), [231, 235, 239]);
    let last = Policy { last: 2, ..Policy::default() };
    assert_eq!(kept(&last, &snapshots, &utc), [238, 239]);
    let hourly = Policy { hourly: 3, ..Policy::default() };
    assert_eq!(kept(&hourly, &snapshots, &utc), [237, 238, 239]);
    // 59 days after Friday the 20th of November is Monday the 18th of January 2027: its week has one day.
    let weekly = Policy { weekly: 2, ..Policy::default() };
    assert_eq!(kept(&weekly, &snapshots, &utc), [235, 239]);
    // November ends with day 10, December with day 41.
    let monthly = Policy { monthly: 12, ..Policy::default() };
    assert_eq!(kept(&monthly, &snapshots, &utc), [43, 167, 239]);
    let yearly = Policy { yearly: 5, ..Policy::default() };
    assert_eq!(kept(&yearly, &snapshots, &utc), [167, 239]);
    // What one rule keeps no other gives up.
    let both = Policy { last: 1, monthly: 2, ..Policy::default() };
    assert_eq!(kept(&both, &snapshots, &utc), [167, 239]);
}

#[test]
fn days_are_local_and_an_hour_that_comes_twice_counts_twice() {
    // 2026-10-25: at 03:00 CEST (01:00 UTC) clocks went back to 02:00 CET.
    let change = 1_792_890_000;
    let snapshots = taken([change - HOUR, change - 1, change, change + HOUR - 1, change + HOUR]);
    let hourly = Policy { hourly: 2, ..Policy::default() };
    // 03:xx CET, then 02:59:59 CET; before it would come 02:59:59 CEST.
    assert_eq!(kept(&hourly, &snapshots, &berlin()), [3, 4]);
    let hourly = Policy { hourly: 3, ..Policy::default() };
    assert_eq!(kept(&hourly, &snapshots, &berlin()), [1, 3, 4]);

    // Half past eleven in the evening of one day in UTC is the next day in Berlin.
    let snapshots = taken([DAY - HOUR - 1, DAY - HOUR / 2, DAY + HOUR]);
    let daily = Policy { daily: 2, ..Policy::default() };
    assert_eq!(kept(&daily, &snapshots, &TimeZone::UTC), [1, 2]);
    assert_eq!(kept(&daily, &snapshots, &berlin()), [0, 2]);
}

#[test]
fn within_reaches_back_from_the_newest_and_tags_keep() {
    let mut snapshots = taken((0..10).map(|number| DAY + number * 24 * HOUR));
    let within = Policy { within: parse_within("2d"), ..Policy::default() };
    assert_eq!(kept(&within, &snapshots, &TimeZone::UTC), [7, 8, 9]);
    snapshots[1].snapshot.tags = vec!["release".to_owned()];
    let tagged = Policy { tags: vec!["release".to_owned(), "other".to_owned()], ..within };
    assert_eq!(kept(&tagged, &snapshots, &TimeZone::UTC), [1, 7, 8, 9]);
}

#[test]
fn spans_are_read() {
    let newest = zoned(at(DAY), &TimeZone::UTC).unwrap();
    let back = |text: &str| newest.checked_sub(parse_within(text).unwrap()).unwrap().timestamp().as_second();
    assert_eq!(back("36h"), DAY - 36 * HOUR);
    assert_eq!(back("2w1d"), DAY - 15 * 24 * HOUR);
    // A month before the 20th of November is the 20th of October: 31 days.
    assert_eq!(back("1m"), DAY - 31 * 24 * HOUR);
    assert_eq!(back("1y"), DAY - 365 * 24 * HOUR);
    for bad in ["", "7", "d", "1d2", "-1d", "1.5d", "2 d", "1min", "99999999999999999999d", "1d\u{e4}"] {
        assert!(parse_within(bad).is_none(), "{bad}");
    }
}

#[test]
fn series_are_judged_by_themselves() {
    let mut snapshots = taken((0..6).map(|number| DAY + number * 24 * HOUR));
    snapshots[0].snapshot.host = "other".to_owned();
    snapshots[1].snapshot.instance = "cust02".to_owned();
    let last = Policy { last: 1, ..Policy::default() };
    assert_eq!(kept(&last, &snapshots, &TimeZone::UTC), [0, 1, 5]);
}

#[test]
fn protection_and_the_last_proved_one_stand_above_the_rules() {
    let prove = |snapshot: &mut Snapshot| snapshot.verdict = Verdict::Application;
    let mut snapshots = taken((0..6).map(|number| DAY + number * 24 * HOUR));
    prove(&mut snapshots[1].snapshot);
    prove(&mut snapshots[2].snapshot);
    snapshots[0].snapshot.protected_until = Some(at(DAY + 100 * HOUR));
    let policy = Policy { last: 1, ..Policy::default() };
    let all: Vec<_> = snapshots.iter().collect();
    let decide = |now, force| {
        let decisions = plan(&policy, &all, &snapshots, at(now), &TimeZone::UTC, force);
        decisions.into_iter().map(|decision| decision.reasons).collect::<Vec<_>>()
    };
    let newest = vec![Reason::Counted("last", 1)];
    let proved = vec![Reason::LastApplication];
    let protected = vec![Reason::Protected(at(DAY + 100 * HOUR))];
    assert_eq!(decide(DAY, false), [protected.clone(), vec![], proved.clone(), vec![], vec![], newest.clone()]);
    assert_eq!(decide(DAY + 100 * HOUR, false), [vec![], vec![], proved.clone(), vec![], vec![], newest.clone()]);
    // Force gives up the proof, never the protection.
    assert_eq!(decide(DAY, true), [protected.clone(), vec![], vec![], vec![], vec![], newest]);

    // Named one by one: as long as another proved one stays, either may go.
    let named = |numbers: &[usize]| {
        let named: Vec<_> = numbers.iter().map(|number| &snapshots[*number]).collect();
        let decisions = plan_named(&named, &snapshots, at(DAY), false);
        decisions.into_iter().map(|decision| decision.reasons).collect::<Vec<_>>()
    };
    assert_eq!(named(&[2, 5]), [vec![], vec![]]);
    assert_eq!(named(&[1, 2]), [vec![], proved]);
    assert_eq!(named(&[0]), [protected]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn more_is_kept_by_larger_numbers_and_each_rule_keeps_as_many_as_it_may(
        hours in prop::collection::btree_set(0..20_000_i64, 1..80),
        counts in prop::array::uniform6(0..6_u32),
    ) {
        let snapshots = taken(hours.iter().map(|hour| DAY + hour * HOUR));
        let [last, hourly, daily, weekly, monthly, yearly] = counts;
        let policy = Policy { last, hourly, daily, weekly, monthly, yearly, ..Policy::default() };
        let larger = Policy { last: last + 1, hourly: hourly + 2, daily: daily + 1, weekly: weekly + 1, ..policy.clone() };
        let zone = berlin();
        let (few, many) = (kept(&policy, &snapshots, &zone), kept(&larger, &snapshots, &zone));
        prop_assert!(few.iter().all(|number| many.contains(number)));
        // The newest is kept by any rule.
        prop_assert_eq!(few.contains(&(snapshots.len() - 1)), !policy.is_empty());
        let most: u32 = counts.iter().sum();
        prop_assert!(few.len() <= most as usize);
        let days: HashSet<_> = snapshots.iter().filter_map(|s| Some(zoned(s.snapshot.taken, &zone)?.date())).collect();
        let of_days = kept(&Policy { daily, ..Policy::default() }, &snapshots, &zone);
        prop_assert_eq!(of_days.len(), days.len().min(daily as usize));
    }
}
