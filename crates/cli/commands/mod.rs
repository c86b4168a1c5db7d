//! The commands, a file each. `run` is what the command line does; what it does it with is public to `demo` as well.

pub mod backup;
pub mod cat;
pub mod check;
pub mod completions;
pub mod config;
pub mod copy;
pub mod demo;
pub mod diff;
pub mod drill;
mod filter;
pub mod find;
pub mod forget;
pub mod guardian;
pub mod history;
pub mod init;
pub mod instance;
pub mod key;
pub mod ls;
pub mod man;
pub mod mount;
pub mod prune;
pub mod rebuild_index;
pub mod repair;
pub mod restore;
pub mod run;
pub mod show;
pub mod snapshots;
pub mod stats;
pub mod tag;
mod versions;

use std::num::NonZero;
use std::thread;

use icecore_engine::snapshot::Problem;
use icecore_engine::{Archive, Catalogue, Stored, browse};

use crate::error::Result;
use crate::output::{Output, human, json};
use crate::repository::{self, Opened};
use crate::settings::Settings;
use crate::time;

/// Entries named one by one; the rest is only counted. `--json` has all that is recorded.
const NAMED: usize = 20;

/// Opens the repository and says what was found damaged on the way.
fn open(settings: &Settings, output: &Output) -> Result<Opened> {
    let opened = repository::open_shown(settings, output.manner().progress)?;
    opened.warnings.iter().for_each(|warning| output.warn(warning));
    output.detail(format_args!("index: {}", opened.archive.index_path().display()));
    Ok(opened)
}

/// Lists the snapshots and says which records are damaged: one of them may be the one that is meant.
fn catalogue(archive: &Archive, output: &Output) -> Result<Catalogue> {
    let catalogue = archive.catalogue()?;
    catalogue.damaged.iter().for_each(|damage| output.warn(damage));
    catalogue.unclear.iter().for_each(|damage| output.warn(format_args!("{damage}; tags may be missing")));
    Ok(catalogue)
}

/// Finds the snapshot that the user named.
fn find<'c>(catalogue: &'c Catalogue, text: &str) -> Result<&'c Stored> {
    Ok(browse::select(catalogue, text, &time::parse)?)
}

/// Damaged records that may be what `text` meant, so that what was found may be of an older night; an id is what it is.
fn doubts<'c>(catalogue: &'c Catalogue, found: &Stored, text: &str) -> &'c [String] {
    let is_id = found.snapshot.instance != text && found.id.to_string().starts_with(&text.to_ascii_lowercase());
    if is_id { &[] } else { &catalogue.damaged }
}

/// The number of threads that was asked for, or of processors.
fn threads(asked: Option<usize>) -> usize {
    asked.unwrap_or_else(|| thread::available_parallelism().map_or(1, NonZero::get))
}

/// Names the first problems on stderr and counts the others.
fn warn_problems(problems: &[Problem], count: u64, output: &Output) {
    for problem in problems.iter().take(NAMED) {
        let (path, kind) = (human::path(&problem.path), json::problem_kind(problem.kind));
        let path = if path.is_empty() { "." } else { &path };
        output.warn(format_args!("{path}: {kind}: {}", human::printable(&problem.message)));
    }
    let more = count.saturating_sub(problems.len().min(NAMED) as u64);
    if more > 0 {
        output.warn(format_args!("and {} more", human::count(more)));
    }
}
