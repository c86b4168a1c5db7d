//! `icecore backup`: takes snapshots.

mod instances;
mod selection;

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use icecore_engine::Archive;
use icecore_engine::backup::{Freeze, Job, Report, backup};
use icecore_engine::entry::{PathBytes, Timestamp};
use icecore_engine::snapshot::{Receipt, Snapshot};
use icecore_source::capture::CapturePlan;
use icecore_source::freezer::FreezerConfig;
use icecore_source::window::{Retry, WindowPlan};
use icecore_source::{Excludes, Root, Rules};
use serde_json::{Map, Value, json};

pub use self::instances::Night;
pub use self::selection::Selection;
use super::{NAMED, init, threads, warn_problems};
use crate::args::{BackupArgs, Compression, GUARDIAN};
use crate::config::Freezing;
use crate::error::{Error, Result};
use crate::exit::Code;
use crate::output::{Output, human, json, progress};
use crate::repository::{self, Created, Opened};
use crate::settings::Settings;
use crate::{time, world};

/// What stands in a snapshot's record as the program that took it.
const PROGRAM: &str = concat!("icecore ", env!("CARGO_PKG_VERSION"));

/// Content that is held in memory until the thaw, in bytes; more of it goes to a spool file.
const HOLD_MEMORY: u64 = 256 << 20;

/// Runs the command.
pub fn run(args: &BackupArgs, settings: &Settings, output: &mut Output) -> Result<Code> {
    if args.all || !args.instances.is_empty() {
        return instances::run(args, settings, output);
    }
    let begun = Instant::now();
    // First: a slip of the finger must not create the default repository.
    let selection = Selection::read(args)?;
    let (opened, created) = open(settings, output)?;
    let report = take(args, selection, settings, &opened.archive, output.manner().progress)?;
    tell(&report, output);
    if output.manner().json {
        let mut document = document(&report, &opened.archive, begun.elapsed());
        document.insert("created".to_owned(), created.as_ref().map(json::created).into());
        output.document(document.into())?;
    } else if !output.manner().quiet {
        summarise(&report, begun.elapsed(), output)?;
    }
    Ok(code(&report.snapshot))
}

/// Opens the repository, or makes the default one, and says so.
fn open(settings: &Settings, output: &Output) -> Result<(Opened, Option<Created>)> {
    let (opened, created) = repository::open_or_create(settings, output.manner().progress)?;
    if let Some(created) = &created {
        output.always(format_args!("no repository is configured: created one in {}", created.place.display()));
        init::advise(created, output);
    }
    opened.warnings.iter().for_each(|warning| output.warn(warning));
    Ok((opened, created))
}

/// How the backup of a snapshot ends.
fn code(snapshot: &Snapshot) -> Code {
    let moved = |receipt: &Receipt| !receipt.violations.is_empty() || receipt.awake.is_some();
    Code::partial_if(snapshot.receipt.as_ref().is_some_and(moved) || snapshot.problem_count > 0)
}

/// Takes a snapshot of the selection.
pub fn take(
    args: &BackupArgs,
    selection: Selection,
    settings: &Settings,
    archive: &Archive,
    show: bool,
) -> Result<Report> {
    let job = job(args, selection, settings, archive)?;
    Ok(progress::attend(show, |progress| backup(archive, &job, progress))??)
}

/// What the engine is to do.
pub fn job(args: &BackupArgs, selection: Selection, settings: &Settings, archive: &Archive) -> Result<Job<'static>> {
    let configuration = settings.configuration.as_ref();
    let limits = configuration.map(|configuration| configuration.limits).unwrap_or_default();
    let threads = threads(args.threads.or(limits.threads));
    let index = archive.index_path().parent().map(Path::to_owned);
    let mut ours = vec![settings.place.directory()];
    ours.extend(index.clone());
    let freeze = match selection.freezing {
        Some(freezing) => Some(freeze(freezing, &selection.instance, settings, &ours)?),
        None => None,
    };
    let rules = Rules {
        excludes: selection.excludes,
        one_file_system: args.one_file_system,
        exclude_caches: args.exclude_caches,
        leave_out: leave_out(&ours, &selection.roots)?,
        threads,
        spool: index,
        ..Rules::default()
    };
    Ok(Job {
        instance: selection.instance,
        host: args.host.clone().unwrap_or_else(world::host_name),
        user: world::user_name(),
        program: PROGRAM.to_owned(),
        tags: args.tags.clone(),
        protected_until: args.keep_until.as_deref().map(protected_until).transpose()?,
        roots: selection.roots,
        rules,
        excludes: selection.patterns,
        ignore_inode: args.ignore_inode,
        ignore_ctime: args.ignore_ctime,
        rehash: args.rehash,
        level: level(args.compression),
        threads,
        pace: settings.pace.clone(),
        priority: limits.priority,
        freeze,
        clock: &time::now,
    })
}

fn protected_until(text: &str) -> Result<Timestamp> {
    time::parse(text).ok_or_else(|| {
        Error::Misuse(format!("--keep-until {text:?} is no time: write it as in 2027-12-31 or \"2027-12-31 18:00\""))
    })
}

/// How an instance is frozen, in this place. What is written meanwhile (`ours`: the repository and the index) must not
/// be frozen too.
fn freeze(freezing: Freezing, instance: &str, settings: &Settings, ours: &[PathBuf]) -> Result<Freeze> {
    let Freezing { mut freezer, capture, snapshot, max_freeze, warm_rounds, always_read, on_failure } = freezing;
    let capture = CapturePlan {
        instance: instance.to_owned(),
        choice: capture,
        programs: snapshot,
        filesystem_is_frozen: matches!(freezer, FreezerConfig::Fsfreeze(_)),
        directory: settings.captures(),
    };
    if let FreezerConfig::Fsfreeze(config) = &mut freezer {
        config.avoid = ours.iter().cloned().chain([settings.state.clone()]).chain(settings.log.clone()).collect();
    }
    let plan = WindowPlan {
        instance: instance.to_owned(),
        freezer,
        max_freeze,
        alone: !settings.configuration.as_ref().is_some_and(|configuration| configuration.run.windows),
        directory: settings.windows(),
        guardian: vec![world::program()?.into(), GUARDIAN.into()],
        retry: Retry::default(),
    };
    let always_read = Excludes::new(&always_read, &[])?;
    let spool = settings.state.clone();
    Ok(Freeze { plan, capture, warm_rounds, always_read, on_failure, hold_memory: HOLD_MEMORY, spool })
}

/// zstd levels: the fastest that is worth it, zstd's own default, and the last before time explodes.
pub(super) fn level(compression: Compression) -> i32 {
    match compression {
        Compression::Fast => 1,
        Compression::Default => 3,
        Compression::Max => 12,
    }
}

/// Device and inode of what is never backed up: the repository would grow by itself.
fn leave_out(ours: &[PathBuf], roots: &[Root]) -> Result<Vec<(u64, u64)>> {
    let identity = |path: &Path| {
        let found = fs::metadata(path).map_err(Error::file("look at", path))?;
        Ok((found.dev(), found.ino()))
    };
    let ours = ours.iter().map(|path| identity(path)).collect::<Result<Vec<_>>>()?;
    for root in roots {
        if ours.contains(&identity(&root.path)?) {
            return Err(Error::Misuse(format!("{} is the repository itself or its index", root.path.display())));
        }
    }
    Ok(ours)
}

/// Says on stderr what is not in the snapshot.
fn tell(report: &Report, output: &Output) {
    report.warnings.iter().for_each(|warning| output.warn(warning));
    let left_out: Vec<&PathBytes> = report.left_out.iter().collect();
    for path in left_out.iter().take(NAMED) {
        output.note(format_args!("left out: {}", human::path(path)));
    }
    if left_out.len() > NAMED {
        output.note(format_args!("left out: {} more", human::count((left_out.len() - NAMED) as u64)));
    }
    if let Some(receipt) = &report.snapshot.receipt {
        if let Some(why) = &receipt.awake {
            output.warn(format_args!("the instance was awake before it was thawed: {}", human::printable(why)));
        }
        // Each is named: a freezer that does not freeze makes the backup worth less than its owner thinks.
        warn_problems(&receipt.violations, receipt.violations.len() as u64, output);
    }
    warn_problems(&report.snapshot.problems, report.snapshot.problem_count, output);
}

/// What a program wants to know of a backup.
fn document(report: &Report, archive: &Archive, elapsed: Duration) -> Map<String, Value> {
    let left_out = report.left_out.iter().map(|path| {
        let mut object = Map::new();
        json::put_path(&mut object, "path", path);
        Value::Object(object)
    });
    let mut document = Map::new();
    document.insert("repository".to_owned(), archive.location().into());
    document.insert("snapshot".to_owned(), json::full(&report.id, &report.snapshot).into());
    document.insert("left_out".to_owned(), left_out.collect());
    document.insert("warnings".to_owned(), report.warnings.clone().into());
    document.insert("seconds".to_owned(), json!(elapsed.as_secs_f64()));
    document
}

/// Prints what a person wants to know of a backup.
pub fn summarise(report: &Report, elapsed: Duration, out: &mut dyn Write) -> io::Result<()> {
    let Report { snapshot, id, .. } = report;
    let totals = &snapshot.totals;
    let verdict = json::verdict(snapshot.verdict);
    writeln!(out, "snapshot {} of {}: {verdict}", id.short(), human::printable(&snapshot.instance))?;
    let files = [
        (totals.files_new, "new"),
        (totals.files_changed, "changed"),
        (totals.files_unchanged, "unchanged"),
        (totals.files_renamed, "renamed"),
    ];
    let mut files: Vec<_> = files.iter().map(|(number, what)| format!("{} {what}", human::count(*number))).collect();
    if totals.files_renamed == 0 {
        files.pop();
    }
    if totals.entries_removed > 0 {
        files.push(format!("{} removed", human::counted(totals.entries_removed, "entry", "entries")));
    }
    let entries = human::counted(totals.entries, "entry", "entries");
    let dedup = human::ratio(totals.bytes_read, totals.bytes_new).map_or_else(String::new, |r| format!(", dedup {r}"));
    let compression =
        human::ratio(totals.bytes_new, totals.bytes_added).map_or_else(String::new, |r| format!(", compression {r}"));
    let mut lines = vec![
        ("files", files.join(", ")),
        ("in all", format!("{entries}, {}", human::bytes(totals.bytes))),
        ("read", human::bytes(totals.bytes_read)),
        (
            "new",
            format!(
                "{} in {}{dedup}",
                human::bytes(totals.bytes_new),
                human::counted(totals.chunks_new, "chunk", "chunks")
            ),
        ),
        ("added", format!("{}{compression}", human::bytes(totals.bytes_added))),
        ("time", human::duration(elapsed)),
    ];
    if let Some(receipt) = &snapshot.receipt {
        lines.insert(0, ("window", human::window(receipt)));
        if !receipt.violations.is_empty() {
            lines.push(("violations", human::count(receipt.violations.len() as u64)));
        }
    }
    if snapshot.problem_count > 0 {
        lines.push(("problems", human::count(snapshot.problem_count)));
    }
    human::fields(out, lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_is_not_its_own_content() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root { name: "r".into(), path: directory.path().into() };
        assert!(leave_out(&[directory.path().into()], &[root]).is_err());
    }
}
