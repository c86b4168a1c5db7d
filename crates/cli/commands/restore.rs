//! `icecore restore`: writes the content of a snapshot into an empty directory.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use icecore_engine::restore::{RestoreJob, RestoreReport, restore};
use icecore_engine::{Archive, Catalogue, Stored, browse};
use serde_json::json;

use super::{NAMED, catalogue, find, open, threads};
use crate::args::RestoreArgs;
use crate::error::Result;
use crate::exit::Code;
use crate::output::{Output, human, json, progress};
use crate::settings::Settings;

/// Runs the command.
pub fn run(args: &RestoreArgs, settings: &Settings, output: &mut Output) -> Result<Code> {
    let begun = Instant::now();
    let opened = open(settings, output)?;
    let catalogue = catalogue(&opened.archive, output)?;
    let Restored { stored, report } = perform(args, &opened.archive, &catalogue, output.manner().progress)?;
    tell(&report, output);
    if output.manner().json {
        output.document(json!({
            "snapshot": stored.id.to_string(),
            "target": args.to.to_string_lossy(),
            "files": report.files,
            "directories": report.directories,
            "symlinks": report.symlinks,
            "others": report.others,
            "links": report.links,
            "bytes": report.bytes,
            "missing": json::problems(&report.missing),
            "missing_count": report.missing_count,
            "faults": report.faults.iter().map(|fault| {
                json!({ "kind": fault.kind, "count": fault.count, "example": fault.example })
            }).collect::<Vec<_>>(),
            "seconds": begun.elapsed().as_secs_f64(),
        }))?;
    } else if !output.manner().quiet {
        writeln!(output, "restored snapshot {} to {}", stored.id.short(), args.to.display())?;
        summarise(&report, begun.elapsed(), output)?;
    }
    Ok(Code::partial_if(!is_whole(&report)))
}

/// What was restored, and how it went.
#[derive(Debug)]
pub struct Restored {
    /// The snapshot.
    pub stored: Stored,
    /// What was done.
    pub report: RestoreReport,
}

/// Restores what was asked for.
pub fn perform(args: &RestoreArgs, archive: &Archive, catalogue: &Catalogue, show: bool) -> Result<Restored> {
    let (snapshot, path) = browse::split_path(args.target.as_encoded_bytes());
    let stored = find(catalogue, &String::from_utf8_lossy(snapshot))?;
    let job = RestoreJob {
        stored,
        path,
        target: args.to.clone(),
        numeric_ids: args.numeric_ids,
        threads: threads(args.threads),
    };
    let report = progress::attend(show, |progress| restore(archive, &job, progress))??;
    Ok(Restored { stored: stored.clone(), report })
}

/// Whether nothing is missing, metadata included.
pub fn is_whole(report: &RestoreReport) -> bool {
    report.missing_count == 0 && report.faults.is_empty()
}

/// Names on stderr what was not restored.
fn tell(report: &RestoreReport, output: &Output) {
    for problem in report.missing.iter().take(NAMED) {
        output.warn(format_args!(
            "not restored: {}: {}",
            human::path(&problem.path),
            human::printable(&problem.message)
        ));
    }
    let more = report.missing_count.saturating_sub(report.missing.len().min(NAMED) as u64);
    if more > 0 {
        output.warn(format_args!("not restored: {} more", human::count(more)));
    }
    for fault in &report.faults {
        let entries = human::counted(fault.count, "entry", "entries");
        let (kind, example) = (human::printable(&fault.kind), human::printable(&fault.example));
        output.warn(format_args!("{kind} of {entries} could not be set, the first: {example}"));
    }
}

/// Prints what a person wants to know of a restore.
pub fn summarise(report: &RestoreReport, elapsed: Duration, out: &mut dyn Write) -> io::Result<()> {
    let mut kinds = vec![human::counted(report.files, "file", "files")];
    for (number, one, many) in [
        (report.directories, "directory", "directories"),
        (report.symlinks, "symbolic link", "symbolic links"),
        (report.links, "hard link", "hard links"),
        (report.others, "special file", "special files"),
    ] {
        if number > 0 {
            kinds.push(human::counted(number, one, many));
        }
    }
    let mut lines =
        vec![("entries", kinds.join(", ")), ("size", human::bytes(report.bytes)), ("time", human::duration(elapsed))];
    if report.missing_count > 0 {
        lines.push(("missing", human::count(report.missing_count)));
    }
    human::fields(out, lines)
}
