//! Which snapshots a command means, by the options that several commands have.

use std::collections::{BTreeSet, HashMap};

use icecore_engine::{Catalogue, Error as EngineError, Stored};

use crate::args::{SeriesFilter, SnapshotFilter};
use crate::error::{Error, Result};
use crate::output::human;
use crate::time;

/// The snapshots that the options mean, the oldest first.
///
/// # Errors
/// A name that no series has, and a text that is no time.
pub fn chosen<'c>(filter: &SnapshotFilter, catalogue: &'c Catalogue) -> Result<Vec<&'c Stored>> {
    for name in &filter.series.instances {
        if !catalogue.snapshots.iter().any(|stored| stored.snapshot.instance == *name) {
            return Err(unknown(catalogue, name));
        }
    }
    let since = filter.times.since.as_deref().map(|text| moment("--since", text, time::parse_start)).transpose()?;
    let until = filter.times.until.as_deref().map(|text| moment("--until", text, time::parse)).transpose()?;
    let is_meant = |stored: &&Stored| {
        let snapshot = &stored.snapshot;
        filter.series.passes(snapshot)
            && since.is_none_or(|since| snapshot.taken >= since)
            && until.is_none_or(|until| snapshot.taken <= until)
    };
    let mut chosen: Vec<&Stored> = catalogue.snapshots.iter().filter(is_meant).collect();
    if let Some(last) = filter.times.last {
        keep_last(&mut chosen, last);
    }
    Ok(chosen)
}

/// The newest of each series.
pub fn keep_last(chosen: &mut Vec<&Stored>, last: u32) {
    let mut left: HashMap<(&str, &str), u32> = HashMap::new();
    let mut kept: Vec<&Stored> = Vec::new();
    for stored in chosen.iter().rev() {
        let left = left.entry((&stored.snapshot.instance, &stored.snapshot.host)).or_insert(last);
        if *left > 0 {
            *left -= 1;
            kept.push(stored);
        }
    }
    kept.reverse();
    *chosen = kept;
}

/// Why nothing is meant, for people: of which times there are snapshots.
pub fn nothing(filter: &SnapshotFilter, catalogue: &Catalogue) -> String {
    let whenever = SnapshotFilter { series: filter.series.clone(), ..SnapshotFilter::default() };
    let all = chosen(&whenever, catalogue).unwrap_or_default();
    let (Some(first), Some(last)) = (all.first(), all.last()) else {
        return none(filter, catalogue);
    };
    let tell = |stored: &Stored| format!("{}, taken {}", stored.id.short(), time::local(stored.snapshot.taken));
    format!("no snapshot of that time; the first is {}, the last {}", tell(first), tell(last))
}

/// The same where it is not the time.
fn none(filter: &SnapshotFilter, catalogue: &Catalogue) -> String {
    let of_series = SeriesFilter { instances: filter.series.instances.clone(), ..SeriesFilter::default() };
    let of_host = SeriesFilter { host: filter.series.host.clone(), ..of_series.clone() };
    let listed = |words: BTreeSet<&str>| words.into_iter().map(human::printable).collect::<Vec<_>>().join(", ");
    let those = |filter: &SeriesFilter| -> Vec<&Stored> {
        catalogue.snapshots.iter().filter(|stored| filter.passes(&stored.snapshot)).collect()
    };
    let (all, of_host) = (those(&of_series), those(&of_host));
    if all.is_empty() {
        "there is no snapshot yet".to_owned()
    } else if of_host.is_empty() {
        let hosts = all.iter().map(|stored| stored.snapshot.host.as_str()).collect();
        format!("no snapshot is of that host; there are those of {}", listed(hosts))
    } else {
        let tags: BTreeSet<&str> =
            of_host.iter().flat_map(|stored| &stored.snapshot.tags).map(String::as_str).collect();
        let there = if tags.is_empty() { "there are none".to_owned() } else { format!("there are {}", listed(tags)) };
        format!("no snapshot has such a tag; {there}")
    }
}

/// Reads a time that stands behind an option.
pub fn moment<T>(option: &str, text: &str, parse: impl FnOnce(&str) -> Option<T>) -> Result<T> {
    let wrong = || format!("{option} {text:?} is no time: expected one like 2026-11-20 or \"2026-11-20 02:00\"");
    parse(text).ok_or_else(|| Error::Misuse(wrong()))
}

fn unknown(catalogue: &Catalogue, name: &str) -> Error {
    let mut names: Vec<_> = catalogue.snapshots.iter().map(|stored| stored.snapshot.instance.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let sentence = match names.as_slice() {
        [] => "the repository holds no snapshot yet".to_owned(),
        names => format!("no series is called \"{name}\"; there are {}", names.join(", ")),
    };
    EngineError::NotFound(sentence).into()
}
