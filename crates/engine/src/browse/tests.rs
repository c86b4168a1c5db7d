use icecore_testkit::bare_snapshot;

use super::*;

/// 2026-11-20 00:00 UTC.
const DAY: i64 = 1_795_132_800;

pub(crate) fn stored(id: &str, instance: &str, taken: i64) -> Stored {
    let id = format!("{id:0<64}").parse().unwrap();
    Stored { id, snapshot: bare_snapshot(instance, taken), notes: Default::default() }
}

fn catalogue() -> Catalogue {
    Catalogue {
        snapshots: vec![
            stored("aaaa1", "cust01", DAY),
            stored("aaaa2", "cust02", DAY + 1),
            stored("bbbb", "cust01", DAY + 86_400),
            stored("cccc", "cust01", DAY + 2 * 86_400),
            stored("dddd", "bbbb", DAY + 3 * 86_400),
            stored("eeee", "me@host", DAY + 4 * 86_400),
        ],
        ..Catalogue::default()
    }
}

/// Days of November 2026, and "DD HH" for an hour of one.
fn parse(text: &str) -> Option<Timestamp> {
    let text = text.strip_prefix("2026-11-")?;
    let seconds = match text.split_once(' ') {
        Some((day, hour)) => day.parse::<i64>().ok()? * 86_400 + hour.strip_suffix(":00")?.parse::<i64>().ok()? * 3600,
        None => text.parse::<i64>().ok()? * 86_400 + 86_399,
    };
    Some(Timestamp { seconds: DAY - 20 * 86_400 + seconds, nanos: 0 })
}

fn chosen(text: &str) -> String {
    let catalogue = catalogue();
    match select(&catalogue, text, &parse) {
        Ok(stored) => stored.id.to_string().trim_end_matches('0').to_owned(),
        Err(Error::NotFound(sentence)) => sentence,
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn every_form_selects() {
    for (text, id) in [
        ("aaaa1", "aaaa1"),
        ("AAAA2", "aaaa2"),
        ("cccc", "cccc"),
        ("latest", "eeee"),
        ("latest~1", "dddd"),
        ("cust01", "cccc"),
        ("cust02", "aaaa2"),
        ("cust01~0", "cccc"),
        ("cust01~2", "aaaa1"),
        ("cust01@2026-11-20", "aaaa1"),
        ("cust01@2026-11-21", "bbbb"),
        ("cust01@2026-11-30", "cccc"),
        ("cust01@\"2026-11-21 00:00\"", "bbbb"),
        ("cust01@2026-11-20 23:00", "aaaa1"),
        ("latest@2026-11-22", "cccc"),
        // A name goes before an id, and may look like another form.
        ("bbbb", "dddd"),
        ("me@host", "eeee"),
        ("me@host@2026-11-29", "eeee"),
        ("me@host~0", "eeee"),
    ] {
        assert_eq!(chosen(text), id, "{text}");
    }
}

#[test]
fn failures_help() {
    let names = "there are bbbb, cust01, cust02, me@host";
    let single = |id: &str, series: &str| {
        format!(
            "{id} is a single snapshot: ~ and @ stand behind the name of a series, and that of this one is {series}"
        )
    };
    for (text, sentence) in [
        ("cust", format!("no snapshot or series is called \"cust\"; {names}")),
        ("", format!("no snapshot or series is called \"\"; {names}")),
        ("ffff", format!("no snapshot or series is called \"ffff\"; {names}")),
        ("cust~1", format!("no snapshot or series is called \"cust\"; {names}")),
        ("me@hots", format!("no snapshot or series is called \"me@hots\"; {names}")),
        ("ccc", "\"ccc\" is too short for an id: give at least 4 digits".to_owned()),
        ("aaaa", "several snapshots begin with aaaa: aaaa1000, aaaa2000; give more digits".to_owned()),
        (
            "cust01~3",
            "cust01 has 3 snapshot(s), so there is no cust01~3; the first is cust01~2, aaaa1000, taken 2026-11-20 00:00:00 UTC"
                .to_owned(),
        ),
        ("cust01~x", "\"x\" is no number of snapshots: cust01~1 is the one before the newest of cust01".to_owned()),
        ("cust~x", format!("no snapshot or series is called \"cust~x\"; {names}")),
        ("cccc~1", single("cccc", "cust01")),
        ("cccc@2026-11-22", single("cccc", "cust01")),
        ("eeee@noon", single("eeee", "me@host")),
        ("~1", "~ and @ stand behind the name of a series, as in latest~1 or latest@2026-11-20".to_owned()),
        ("@2026-11-20", "~ and @ stand behind the name of a series, as in latest~1 or latest@2026-11-20".to_owned()),
        (
            "cust01@2026-11-19",
            "no snapshot of cust01 at or before 2026-11-19; the first is aaaa1000, taken 2026-11-20 00:00:00 UTC"
                .to_owned(),
        ),
        ("cust01@noon", "\"noon\" is no time: expected one like 2026-11-20 or \"2026-11-20 02:00\"".to_owned()),
    ] {
        assert_eq!(chosen(text), sentence, "{text}");
    }
    let empty = Catalogue::default();
    assert!(matches!(select(&empty, "latest", &parse), Err(Error::NotFound(s)) if s.contains("no snapshot yet")));
}

#[test]
fn of_many_names_those_come_first_that_are_like_what_was_typed() {
    let names = (0..20).map(|number| stored(&format!("{number:04}"), &format!("cust{number:02}"), DAY));
    let catalogue = Catalogue { snapshots: names.collect(), ..Catalogue::default() };
    let Err(Error::NotFound(sentence)) = select(&catalogue, "CUST19", &parse) else { panic!() };
    assert!(
        sentence.contains("; there are cust19, cust00, cust01,") && sentence.ends_with("and 12 more"),
        "{sentence}"
    );
}

#[test]
fn many_names_are_cut_short() {
    let names = (0..11).map(|n| n.to_string()).collect::<Vec<_>>();
    assert_eq!(list(names.into_iter()), "0, 1, 2, 3, 4, 5, 6, 7 and 3 more");
}

#[test]
fn paths_are_split_off() {
    for (text, snap, path) in [
        ("cust01", "cust01", ""),
        ("cust01:", "cust01", ""),
        ("cust01:Data/2018-11", "cust01", "Data/2018-11"),
        ("cust01:/Data//./x/", "cust01", "Data/x"),
        ("cust01:a:b", "cust01", "a:b"),
        ("cust01~2:12:30", "cust01~2", "12:30"),
        ("latest:02:00", "latest", "02:00"),
        ("c@2026-11-20", "c@2026-11-20", ""),
        ("c@2026-11-20:12:30", "c@2026-11-20", "12:30"),
        ("c@2026-11-20 02:00", "c@2026-11-20 02:00", ""),
        ("c@2026-11-20 02:00:Data", "c@2026-11-20 02:00", "Data"),
        ("c@2026-11-20T02:00:15", "c@2026-11-20T02:00:15", ""),
        ("c@2026-11-20 02:00:15:x", "c@2026-11-20 02:00:15", "x"),
        ("c@2026-11-20 02:00:15.25Z:x", "c@2026-11-20 02:00:15.25Z", "x"),
        ("c@2026-11-20 02:00:15/x", "c@2026-11-20 02:00", "15/x"),
        ("c@2026-11-20 02:00:2018", "c@2026-11-20 02:00", "2018"),
        ("c@2026-11-20 02:00+01:00:x", "c@2026-11-20 02:00+01:00", "x"),
        ("c@\"2026-11-20 02:00\":x", "c@\"2026-11-20 02:00\"", "x"),
        ("me@host:x", "me@host", "x"),
        ("me@2026-11-20é:x", "me@2026-11-20é", "x"),
        (":x", "", "x"),
    ] {
        let (found_snap, found_path) = split_path(text.as_bytes());
        let found_snap = std::str::from_utf8(found_snap).unwrap();
        assert_eq!((found_snap, String::from_utf8(found_path).unwrap().as_str()), (snap, path), "{text}");
    }
}
