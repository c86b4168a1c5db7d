//! `icecore restore`: brings back a snapshot or a part of it.

mod application;
pub(super) mod command_line;
mod drop_old;
mod new_instance;
mod rehearsal;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use icecore_engine::restore::{Deeds, Destination, Filter, Mode, RestoreJob, RestoreReport, restore, targets};
use icecore_engine::{Archive, Catalogue, Error as EngineError, Stored, browse};
use icecore_source::Excludes;
use icecore_source::claim::{Claim, Use};
use icecore_source::target::{Beside, identity};
use serde_json::{Value, json};

use self::application::Applications;
use super::{NAMED, catalogue, find, open, threads};
use crate::args::RestoreArgs;
use crate::error::{Error, Result};
use crate::exit::{self, Code};
use crate::output::{Output, human, json, progress};
use crate::settings::Settings;
use crate::{interrupt, time};

/// A name beside a target that nothing has, and nothing is given.
const PROBE: &str = "probe";

/// Runs the command.
pub fn run(args: &RestoreArgs, settings: &Settings, output: &mut Output) -> Result<Code> {
    if let Some(directory) = &args.drop_old {
        return drop_old::run(directory, args.dry_run, settings, output);
    }
    let begun = Instant::now();
    let opened = open(settings, output)?;
    let archive = &opened.archive;
    let catalogue = catalogue(archive, output)?;
    let ours = ours(settings, archive);
    if let Some(id) = &args.into_new_instance {
        return new_instance::run(id, args, settings, archive, &catalogue, &ours, output);
    }
    if args.stop_start && !args.in_place && !args.exchange {
        let message =
            "--stop-start goes with --in-place or --exchange: an application is not stopped for a new directory";
        return Err(Error::Misuse(message.to_owned()));
    }
    let job = job(args, archive, &catalogue, &ours)?;
    let targets = targets(archive, &job)?;
    if args.exchange {
        // What can never be exchanged is told before anything is stopped.
        targets.iter().try_for_each(|target| Beside::find(target, PROBE).map(drop)).map_err(EngineError::from)?;
    }
    let mut applications = Applications::find(args, settings, &targets)?;
    if args.dry_run {
        applications.rehearse(output);
        return rehearsal::run(archive, &job, &applications, output);
    }
    let _claim = claim(settings, &applications.claims(&targets), &job)?;
    applications.admit(output)?;
    // From here on the user's wish to end must not leave an application stopped without a word.
    interrupt::install()?;
    applications.stop(output)?;
    if interrupt::is_raised() {
        return Err(applications.failed(Error::Interrupted));
    }
    let restored = progress::attend(output.manner().progress, |progress| restore(archive, &job, progress));
    let report = match restored.and_then(|restored| Ok(restored?)) {
        Ok(report) => report,
        Err(error) => return Err(applications.failed(error)),
    };
    tell(&report, output);
    let swapped = !args.exchange || !report.exchanged.is_empty();
    if !swapped {
        output.warn("nothing was exchanged, because not everything could be restored: what stood still stands");
    }
    // An application is not let loose on half of its files, nor on files that it may not open.
    let ended = match is_whole(&report) {
        true => applications.finish(output),
        false => Ok(applications.give_up(output)),
    };
    finish(&job, &report, &applications, ended, begun, output)
        .map(|code| code.worst(if swapped { Code::partial_if(!is_whole(&report)) } else { Code::Failed }))
}

/// Prints what was done, whatever came of the applications afterwards; tells how that ended.
fn finish(
    job: &RestoreJob<'_>,
    report: &RestoreReport,
    applications: &Applications<'_>,
    ended: Result<Code>,
    begun: Instant,
    output: &mut Output,
) -> Result<Code> {
    let failure = ended.as_ref().err().map(exit::sort);
    let told = (|| -> Result<()> {
        if output.manner().json {
            let mut fields = fields(job.stored, report);
            fields["seconds"] = begun.elapsed().as_secs_f64().into();
            fields["applications"] = applications.document();
            if let (Some(failure), Value::Object(fields)) = (&failure, &mut fields)
                && let Value::Object(error) = json::error(failure)
            {
                fields.extend(error);
            }
            output.document(fields)?;
        } else if !output.manner().quiet {
            let targets: Vec<_> = report.targets.iter().map(|target| target.display().to_string()).collect();
            writeln!(output, "restored snapshot {} to {}", job.stored.id.short(), targets.join(", "))?;
            summarise(report, begun.elapsed(), output)?;
            for (directory, kept) in &report.exchanged {
                if let Some(kept) = kept {
                    writeln!(output, "what stood at {} is now {}", directory.display(), kept.display())?;
                }
            }
        }
        Ok(())
    })();
    // How it stands with the applications is said whatever became of the result.
    let code = ended?;
    told?;
    Ok(code)
}

/// Claims what is written, and whatever else is stopped for it.
fn claim(settings: &Settings, directories: &[(PathBuf, Use)], job: &RestoreJob<'_>) -> Result<Claim> {
    let purpose = format!("a restore of snapshot {} of {}", job.stored.id.short(), job.stored.snapshot.instance);
    Ok(Claim::take(&settings.claims(), directories, &purpose)?)
}

/// Restores what was asked for, and never touches what is `ours`; asks no application.
pub fn perform(
    args: &RestoreArgs,
    archive: &Archive,
    catalogue: &Catalogue,
    ours: &[PathBuf],
    show: bool,
) -> Result<RestoreReport> {
    let job = job(args, archive, catalogue, ours)?;
    Ok(progress::attend(show, |progress| restore(archive, &job, progress))??)
}

/// What the engine is to do.
fn job<'c>(
    args: &RestoreArgs,
    archive: &Archive,
    catalogue: &'c Catalogue,
    ours: &[PathBuf],
) -> Result<RestoreJob<'c>> {
    let target = args.target.as_deref().unwrap_or_default();
    let (snapshot, path) = browse::split_path(target.as_encoded_bytes());
    let mode = match (args.in_place, args.exchange) {
        (true, _) => Mode::InPlace { delete: args.delete },
        (false, true) => Mode::Exchange,
        (false, false) => Mode::New,
    };
    let include = Some(Excludes::new(&args.includes, &[])?).filter(|include| !include.is_empty());
    Ok(RestoreJob {
        stored: find(catalogue, &String::from_utf8_lossy(snapshot))?,
        path,
        filter: Filter { include, exclude: Excludes::new(&args.excludes, &[])? },
        destination: Destination { to: args.to.clone(), roots: args.roots.clone() },
        mode,
        rehash: args.rehash,
        verify: args.verify,
        numeric_ids: args.numeric_ids,
        threads: threads(args.threads),
        spool: archive.index_path().parent().map(Path::to_owned),
        scratch: false,
        leave_out: identities(ours)?,
        now: time::now(),
    })
}

/// The repository and its index, which a restore must not touch.
pub(super) fn ours(settings: &Settings, archive: &Archive) -> Vec<PathBuf> {
    let index = archive.index_path().parent().map(Path::to_owned);
    [settings.place.directory()].into_iter().chain(index).collect()
}

/// Device and inode of each.
pub(super) fn identities(paths: &[PathBuf]) -> Result<Vec<(u64, u64)>> {
    paths.iter().map(|path| identity(path).map_err(Error::file("look at", path))).collect()
}

/// Whether nothing is missing, metadata included.
pub fn is_whole(report: &RestoreReport) -> bool {
    report.missing_count == 0 && report.faults.is_empty()
}

/// The report as programs read it.
fn fields(stored: &Stored, report: &RestoreReport) -> Value {
    let Deeds { create, replace, rewrite, link, metadata, keep, delete, extra } = report.deeds;
    let exchanged = report.exchanged.iter().map(|(directory, kept)| {
        json!({ "directory": directory.to_string_lossy(), "old": kept.as_ref().map(|kept| kept.to_string_lossy()) })
    });
    json!({
        "snapshot": stored.id.to_string(),
        "target": report.targets.first().map(|target| target.to_string_lossy()),
        "targets": report.targets.iter().map(|target| target.to_string_lossy()).collect::<Vec<_>>(),
        "files": report.files,
        "directories": report.directories,
        "symlinks": report.symlinks,
        "others": report.others,
        "links": report.links,
        "bytes": report.bytes,
        "actions_count": {
            "create": create, "replace": replace, "rewrite": rewrite, "link": link,
            "metadata": metadata, "keep": keep, "delete": delete, "extra": extra,
        },
        "bytes_fetched": report.fetched,
        "bytes_reused": report.reused,
        "verified": report.verified,
        "exchanged": exchanged.collect::<Vec<_>>(),
        "missing": json::problems(&report.missing),
        "missing_count": report.missing_count,
        "faults": report.faults.iter().map(|fault| {
            json!({ "kind": fault.kind, "count": fault.count, "example": fault.example })
        }).collect::<Vec<_>>(),
    })
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
    let mut lines = lines(report);
    lines.insert(2, ("time", human::duration(elapsed)));
    human::fields(out, lines)
}

/// What stands in the end, and what it took.
fn lines(report: &RestoreReport) -> Vec<(&'static str, String)> {
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
    let mut lines = vec![("entries", kinds.join(", ")), ("size", human::bytes(report.bytes))];
    lines.push(("fetched", human::bytes(report.fetched)));
    let Deeds { create, replace, rewrite, link, metadata, keep, delete, extra } = report.deeds;
    let changed = [
        (create, "created"),
        (replace, "replaced"),
        (rewrite, "rewritten"),
        (link, "linked"),
        (metadata, "with other metadata"),
        (delete, "deleted"),
        (keep, "as they were"),
    ];
    // Into a new directory, all are created.
    if changed.iter().any(|(number, what)| *number > 0 && !["created", "linked"].contains(what)) {
        let parts = changed.iter().filter(|(number, _)| *number > 0);
        let parts: Vec<_> = parts.map(|(number, what)| format!("{} {what}", human::count(*number))).collect();
        lines.push(("changes", parts.join(", ")));
    }
    for (what, number) in [("reused", report.reused)] {
        if number > 0 {
            lines.push((what, human::bytes(number)));
        }
    }
    if let Some(verified) = report.verified {
        lines.push(("verified", human::counted(verified, "file", "files")));
    }
    if extra > 0 {
        let entries = human::counted(extra, "entry", "entries");
        lines.push(("not in it", format!("{entries} that the snapshot does not have stayed")));
    }
    if report.missing_count > 0 {
        lines.push(("missing", human::count(report.missing_count)));
    }
    lines
}
