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
use crate::error::{Error, Result, reason, survive_block};
use crate::progress::{Phase, Progress};
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
    if let Some((name, steps)) = text.rsplit_once('~') {
        match steps.parse() {
            Ok(steps) => return before(catalogue, name, steps),
            Err(_) if of_series(catalogue, name).is_empty() => {}
            Err(_) => {
                return Err(Error::NotFound(format!(
                    "\"{steps}\" is no number of snapshots: {name}~1 is the one before the newest of {name}"
                )));
            }
        }
    }
    if let Some((name, time)) = text.rsplit_once('@') {
        let time = time.trim_matches('"');
        return match parse_time(time) {
            Some(at) => at_or_before(catalogue, name, at, time),
            None if of_series(catalogue, name).is_empty() => Err(no_series(catalogue, name, text)),
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
        None => Err(match of_name.first() {
            None => no_series(catalogue, name, name),
            Some(first) => {
                let (count, first_is) = (of_name.len(), told(first));
                let number = count - 1;
                Error::NotFound(format!(
                    "{name} has {count} snapshot(s), so there is no {name}~{steps}; the first is {name}~{number}, {first_is}"
                ))
            }
        }),
    }
}

fn at_or_before<'c>(catalogue: &'c Catalogue, name: &str, at: Timestamp, typed: &str) -> Result<&'c Stored> {
    let of_name = of_series(catalogue, name);
    let Some(first) = of_name.first() else {
        return Err(no_series(catalogue, name, name));
    };
    of_name.iter().rfind(|stored| stored.snapshot.taken <= at).copied().ok_or_else(|| {
        Error::NotFound(format!("no snapshot of {name} at or before {typed}; the first is {}", told(first)))
    })
}

/// A snapshot in a sentence.
fn told(stored: &Stored) -> String {
    format!("{}, taken {}", stored.id.short(), utc(stored.snapshot.taken))
}

/// What stands before a `~` or `@`, and names no series; `text` is what is unknown if it names nothing else either.
fn no_series(catalogue: &Catalogue, name: &str, text: &str) -> Error {
    match by_id(catalogue, name) {
        _ if name.is_empty() => {
            Error::NotFound("~ and @ stand behind the name of a series, as in latest~1 or latest@2026-11-20".to_owned())
        }
        Ok(Stored { snapshot, .. }) => Error::NotFound(format!(
            "{name} is a single snapshot: ~ and @ stand behind the name of a series, and that of this one is {}",
            snapshot.instance
        )),
        Err(_) => unknown(catalogue, text),
    }
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
    if names.len() > SUGGESTIONS {
        // Of many, those that are most like it.
        let lower = text.to_lowercase();
        names.sort_by_key(|name| !name.to_lowercase().contains(&lower) && !lower.contains(&name.to_lowercase()));
    }
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

/// What a listing meets.
#[derive(Debug)]
pub enum Shown {
    /// An entry.
    Entry(Entry),
    /// A part that cannot be read, a sentence.
    Lost(String),
}

/// Shows what stands at `path`: a directory's children, or with `recursive` everything below it; anything else itself.
///
/// # Errors
/// [`Error::NotFound`], what `each` says, and what is no damage. Damage is shown, and costs what stands in the damaged block.
pub fn ls(
    archive: &Archive,
    stored: &Stored,
    path: &[u8],
    recursive: bool,
    progress: &Progress,
    each: &mut dyn FnMut(Shown) -> Result<()>,
) -> Result<()> {
    progress.enter(Phase::Searching);
    let reader = archive.reader()?;
    let manifest = ManifestReader::new(&reader, &stored.snapshot.manifest);
    match manifest.get(path) {
        Ok(None) if !path.is_empty() => return Err(nothing_at(stored, path)),
        Ok(Some(top)) if top.node != Node::Directory => return each(Shown::Entry(top)),
        Ok(_) => {}
        // Told below: whatever is at the path, the same block is met again.
        Err(error) => survive_block(error)?,
    }
    let mut show = |found: Found| {
        progress.done(0);
        progress.check()?;
        match found {
            Ok(entry) if entry.path == path && entry.node == Node::Directory => Ok(()),
            Ok(entry) => each(Shown::Entry(entry)),
            Err(error) => {
                let sentence = lost(&stored.id.short(), &error);
                survive_block(error)?;
                each(Shown::Lost(sentence))
            }
        }
    };
    if recursive {
        manifest.subtree(path).try_for_each(&mut show)
    } else {
        manifest.children(path).try_for_each(&mut show)
    }
}

/// What a damaged block costs, of the snapshots that are named. A block may reach beyond what was asked for.
fn lost(snapshots: &str, error: &ReadError<icecore_repo::Error>) -> String {
    let from = error.first.as_deref().map(|first| format!(", from \"{}\" on,", String::from_utf8_lossy(first)));
    format!("of {snapshots}, {} entries{} cannot be told: {}", error.items, from.unwrap_or_default(), reason(error))
}

type Found = std::result::Result<Entry, ReadError<icecore_repo::Error>>;

/// The entry at `path`. The empty path is there even if no entry says so.
pub(crate) fn find(
    manifest: &ManifestReader<'_, icecore_repo::ChunkReader>,
    stored: &Stored,
    path: &[u8],
) -> Result<Option<Entry>> {
    let unreadable = |source| Error::Manifest { snapshot: stored.id.short(), source };
    let found = manifest.get(path).map_err(unreadable)?;
    if found.is_none() && !path.is_empty() { Err(nothing_at(stored, path)) } else { Ok(found) }
}

fn nothing_at(stored: &Stored, path: &[u8]) -> Error {
    Error::NotFound(format!("snapshot {} holds no \"{}\"", stored.id.short(), String::from_utf8_lossy(path)))
}

#[cfg(test)]
pub(crate) mod tests;
