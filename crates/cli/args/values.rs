//! Values as they are typed: numbers, shares, spans of time, sizes.

use std::path::PathBuf;
use std::time::Duration;

use icecore_engine::annotation::is_tag;
use icecore_engine::prune::MaxUnused;

/// Reads a tag.
pub fn tag(text: &str) -> Result<String, String> {
    match is_tag(text) {
        true => Ok(text.to_owned()),
        false => Err("1 to 255 bytes without control characters are needed".to_owned()),
    }
}

/// Reads a number of threads. The limit only catches slips of the finger.
pub fn threads(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..=1024) => Ok(number),
        _ => Err("a number from 1 to 1024 is needed".to_owned()),
    }
}

/// Reads a share: `10%` or `10`.
pub fn percent(text: &str) -> Result<u8, String> {
    match text.trim_end_matches('%').parse() {
        Ok(number @ 1..=100) => Ok(number),
        _ => Err("a share from 1% to 100% is needed".to_owned()),
    }
}

/// Reads a span of time: `90s`, `30m`, `2h`.
pub fn time_limit(text: &str) -> Result<Duration, String> {
    let wrong = || "a time such as 90s, 30m or 2h is needed".to_owned();
    let unit = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3600,
        _ => return Err(wrong()),
    };
    let number: u32 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    Ok(Duration::from_secs(u64::from(number) * unit))
}

/// Reads a size: `1000`, `500M`, `20G`; a unit is 1024 of the one before.
pub fn size(text: &str) -> Result<u64, String> {
    let wrong = || "a size such as 500M, 20G or 1T is needed".to_owned();
    let digits = text.trim_end_matches(|last: char| last.is_ascii_alphabetic());
    let unit: u64 = match &text[digits.len()..] {
        "" => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        "T" => 1 << 40,
        _ => return Err(wrong()),
    };
    digits.parse::<u64>().ok().and_then(|number| number.checked_mul(unit)).ok_or_else(wrong)
}

pub fn max_unused(text: &str) -> Result<MaxUnused, String> {
    match text.strip_suffix('%') {
        Some(percent) => match percent.parse() {
            Ok(percent @ 0..=100) => Ok(MaxUnused::Percent(percent)),
            _ => Err("a share from 0% to 100%, or a size, is needed".to_owned()),
        },
        None => size(text).map(MaxUnused::Bytes),
    }
}

/// Reads NAME=DIR.
pub fn root(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, path)) if !name.is_empty() && !path.is_empty() => Ok((name.to_owned(), path.into())),
        _ => Err("a root's name and its directory are needed, as in data=/srv/data".to_owned()),
    }
}
