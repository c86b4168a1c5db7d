//! Choosing snapshots and reading their manifests.
//!
//! ```text
//! 3f2a…            the snapshot whose id begins so (at least 4 digits)
//! latest           the newest of all
//! NAME             the newest of a series
//! NAME~2           two before the newest
//! NAME@TIME        the newest at or before a time; TIME may stand in double quotes
//! ```
//! A series' name goes before an id that begins alike: digits can be added to an id, not to a name.

mod content;
mod diff;
mod live;
mod versions;

use icecore_format::entry::{Entry, Node, PathBytes, Timestamp};
use icecore_format::manifest::{ManifestReader, ReadError};

use crate::archive::Archive;
use crate::error::{Error, Result};
use crate::{Catalogue, Stored};

pub use content::{Printed, cat, content_name, same_content};
pub use diff::{Change, Differs, Field, diff};
pub use live::{Job as LiveJob, Live, diff_live};
pub use versions::{Met, Run, Scope, Series, is_same_version, runs, series, walk};

/// Digits of an id that are enough to try it.
const MIN_PREFIX: usize = 4;

/// Names and ids listed in an answer at most.
const SUGGESTIONS: usize = 8;

/// Finds the snapshot that a text names. `parse_time` says what a person's TIME means; a bare date should mean its end.
///
/// # Errors
/// [`Error::NotFound`] with a sentence that helps to ask better.
pub fn select<'c>(
    catalogue: &'c Catalogue,
    text: &str,
    parse_time: &dyn Fn(&str) -> Option<Timestamp>,
) -> Result<&'c Stored> {
    if catalogue.snapshots.is_empty() {
        return Err(Error::NotFound("the repository holds no snapshot yet".to_owned()));
    }
    if let Some(newest) = of_series(catalogue, text).last() {
        return Ok(newest);
    }
    if let Some((name, steps)) = text.rsplit_once('~')
        && let Ok(steps) = steps.parse()
    {
        return before(catalogue, name, steps);
    }
    if let Some((name, time)) = text.rsplit_once('@') {
        let time = time.trim_matches('"');
        return match parse_time(time) {
            Some(at) => at_or_before(catalogue, name, at, time),
            None if of_series(catalogue, name).is_empty() => Err(unknown(catalogue, text)),
            None => Err(Error::NotFound(format!(
                "\"{time}\" is no time: expected one like 2026-11-20 or \"2026-11-20 02:00\""
            ))),
        };
    }
    by_id(catalogue, text)
}

/// The snapshots of a series, the oldest first.
fn of_series<'c>(catalogue: &'c Catalogue, name: &str) -> Vec<&'c Stored> {
    let of_name = |stored: &&Stored| name == "latest" || stored.snapshot.instance == name;
    catalogue.snapshots.iter().filter(of_name).collect()
}

fn before<'c>(catalogue: &'c Catalogue, name: &str, steps: usize) -> Result<&'c Stored> {
    let of_name = of_series(catalogue, name);
    match of_name.iter().rev().nth(steps) {
        Some(stored) => Ok(stored),
        None if of_name.is_empty() => Err(unknown(catalogue, name)),
        None => {
            let count = of_name.len();
            Err(Error::NotFound(format!("{name} has {count} snapshot(s), so there is no {name}~{steps}")))
        }
    }
}

fn at_or_before<'c>(catalogue: &'c Catalogue, name: &str, at: Timestamp, typed: &str) -> Result<&'c Stored> {
    let of_name = of_series(catalogue, name);
    let Some(first) = of_name.first() else {
        return Err(unknown(catalogue, name));
    };
    of_name.iter().rfind(|stored| stored.snapshot.taken <= at).copied().ok_or_else(|| {
        let (id, taken) = (first.id.short(), utc(first.snapshot.taken));
        Error::NotFound(format!("no snapshot of {name} at or before {typed}; the first is {id}, taken {taken}"))
    })
}

fn by_id<'c>(catalogue: &'c Catalogue, text: &str) -> Result<&'c Stored> {
    let is_hex = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_hex {
        return Err(unknown(catalogue, text));
    }
    let prefix = text.to_ascii_lowercase();
    let hits: Vec<_> = catalogue.snapshots.iter().filter(|stored| stored.id.to_string().starts_with(&prefix)).collect();
    match hits.as_slice() {
        [] => Err(unknown(catalogue, text)),
        [..] if prefix.len() < MIN_PREFIX => {
            Err(Error::NotFound(format!("\"{text}\" is too short for an id: give at least {MIN_PREFIX} digits")))
        }
        [only] => Ok(only),
        several => {
            // More digits than are typed, so that the list shows how they differ.
            let ids = several.iter().map(|stored| stored.id.to_string()[..(prefix.len() + 4).clamp(8, 64)].to_owned());
            Err(Error::NotFound(format!("several snapshots begin with {text}: {}; give more digits", list(ids))))
        }
    }
}

fn unknown(catalogue: &Catalogue, text: &str) -> Error {
    let mut names: Vec<_> = catalogue.snapshots.iter().map(|stored| stored.snapshot.instance.clone()).collect();
    names.sort();
    names.dedup();
    Error::NotFound(format!("no snapshot or series is called \"{text}\"; there are {}", list(names.into_iter())))
}

/// The first of some names, and how many more there are.
fn list(names: impl ExactSizeIterator<Item = String>) -> String {
    let more = names.len().saturating_sub(SUGGESTIONS);
    let shown = names.take(SUGGESTIONS).collect::<Vec<_>>().join(", ");
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}

/// A time as people read it.
fn utc(time: Timestamp) -> String {
    let readable = i32::try_from(time.nanos).ok().and_then(|nanos| jiff::Timestamp::new(time.seconds, nanos).ok());
    readable.map_or_else(|| format!("@{}", time.seconds), |time| time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
}

/// Splits `SNAP:PATH`; without a `:` the path is empty, the whole snapshot. Slashes around the path do not count.
///
/// The separator is the first `:` that stands neither between double quotes nor in a time after an `@`: of
/// `cust01@2026-11-20 02:00:Data/x` the path is `Data/x`. Two digits that could be seconds are.
pub fn split_path(text: &[u8]) -> (&[u8], PathBytes) {
    let mut quoted = false;
    let mut skip_to = 0;
    for (at, byte) in text.iter().enumerate() {
        match byte {
            b'"' => quoted = !quoted,
            b'@' if !quoted => skip_to = at + 1 + time_len(&text[at + 1..]),
            b':' if !quoted && at >= skip_to => return (&text[..at], clean(&text[at + 1..])),
            _ => {}
        }
    }
    (text, PathBytes::new())
}

/// A path without empty and `.` components.
pub fn clean(path: &[u8]) -> PathBytes {
    let parts: Vec<_> = path.split(|&byte| byte == b'/').filter(|part| !part.is_empty() && *part != b".").collect();
    parts.join(&b'/')
}

/// The bytes of a time that `text` begins with: a date, then perhaps ` HH:MM`, `:SS`, a fraction, `Z` or `+HH:MM`.
fn time_len(text: &[u8]) -> usize {
    let is_digit = |at: usize| text.get(at).is_some_and(u8::is_ascii_digit);
    // Two digits behind a byte of `marks`, and no third one.
    let two = |at: usize, marks: &[u8]| {
        text.get(at).is_some_and(|mark| marks.contains(mark))
            && is_digit(at + 1)
            && is_digit(at + 2)
            && !is_digit(at + 3)
    };
    let mut at = text.iter().take_while(|byte| byte.is_ascii_digit() || **byte == b'-').count();
    if at == 0 || !two(at, b" T") || !two(at + 3, b":") {
        return at;
    }
    at += 6;
    // A path may begin with two digits, but seconds end with the time.
    if two(at, b":") && text.get(at + 3).is_none_or(|end| b":.Z+-".contains(end)) {
        at += 3;
        if text.get(at) == Some(&b'.') {
            at += 1 + text[at + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        }
    }
    if text.get(at) == Some(&b'Z') {
        at + 1
    } else if two(at, b"+-") {
        at + if two(at + 3, b":") { 6 } else { 3 }
    } else {
        at
    }
}

/// Shows what stands at `path`: a directory's children, or with `recursive` everything below it; anything else itself.
///
/// # Errors
/// What the manifest still holds is shown before [`Error::Manifest`] tells of its damage.
pub fn ls(
    archive: &Archive,
    stored: &Stored,
    path: &[u8],
    recursive: bool,
    each: &mut dyn FnMut(Entry) -> Result<()>,
) -> Result<()> {
    let reader = archive.reader()?;
    let manifest = ManifestReader::new(&reader, &stored.snapshot.manifest);
    if let Some(top) = find(&manifest, stored, path)?
        && top.node != Node::Directory
    {
        return each(top);
    }
    let mut damage = None;
    let mut show = |found: Found| match found {
        Ok(entry) if entry.path == path => Ok(()),
        Ok(entry) => each(entry),
        Err(error) => {
            damage.get_or_insert(error);
            Ok(())
        }
    };
    if recursive {
        manifest.subtree(path).try_for_each(&mut show)?;
    } else {
        manifest.children(path).try_for_each(&mut show)?;
    }
    damage.map_or(Ok(()), |error| Err(unreadable(stored, error)))
}

type Found = std::result::Result<Entry, ReadError<icecore_repo::Error>>;

/// The entry at `path`. The empty path is there even if no entry says so.
pub(crate) fn find(
    manifest: &ManifestReader<'_, icecore_repo::ChunkReader>,
    stored: &Stored,
    path: &[u8],
) -> Result<Option<Entry>> {
    let found = manifest.get(path).map_err(|error| unreadable(stored, error))?;
    if found.is_none() && !path.is_empty() {
        let path = String::from_utf8_lossy(path);
        return Err(Error::NotFound(format!("snapshot {} holds no \"{path}\"", stored.id.short())));
    }
    Ok(found)
}

fn unreadable(stored: &Stored, source: ReadError<icecore_repo::Error>) -> Error {
    Error::Manifest { snapshot: stored.id.short(), source }
}

#[cfg(test)]
pub(crate) mod tests;
