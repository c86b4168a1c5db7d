//! `icecore backup`: takes a snapshot.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use icecore_engine::Archive;
use icecore_engine::backup::{Job, Report, backup};
use icecore_engine::entry::PathBytes;
use icecore_engine::snapshot::Snapshot;
use icecore_source::{ExcludeFile, Excludes, Root, Rules};
use serde_json::{Map, Value, json};

use super::{NAMED, init, threads, warn_problems};
use crate::args::{BackupArgs, Compression};
use crate::error::{Error, Result};
use crate::exit::Code;
use crate::output::{Output, human, json, progress};
use crate::repository;
use crate::settings::Settings;
use crate::{time, world};

/// What stands in a snapshot's record as the program that took it.
const PROGRAM: &str = concat!("icecore ", env!("CARGO_PKG_VERSION"));

/// Runs the command.
pub fn run(args: &BackupArgs, settings: &Settings, output: &mut Output) -> Result<Code> {
    let begun = Instant::now();
    // First: a slip of the finger must not create the default repository.
    let selection = Selection::read(args)?;
    let (opened, created) = repository::open_or_create(settings)?;
    if let Some(created) = &created {
        output.always(format_args!("no repository is configured: created one in {}", created.place.display()));
        init::advise(created, output);
    }
    opened.warnings.iter().for_each(|warning| output.warn(warning));
    let report = take(args, selection, settings, &opened.archive, output.manner().progress)?;
    tell(&report, output);
    if output.manner().json {
        let mut document = document(&report, &opened.archive, begun.elapsed());
        document.insert("created".to_owned(), created.as_ref().map(json::created).into());
        output.document(document.into())?;
    } else if !output.manner().quiet {
        summarise(&report, begun.elapsed(), output)?;
    }
    Ok(Code::partial_if(report.snapshot.problem_count > 0))
}

/// What is to be backed up, found to be there.
#[derive(Debug)]
pub struct Selection {
    instance: String,
    roots: Vec<Root>,
    excludes: Excludes,
    /// As they were typed, those of files included.
    patterns: Vec<String>,
}

impl Selection {
    /// Looks at the paths and patterns.
    pub fn read(args: &BackupArgs) -> Result<Self> {
        let roots = args.paths.iter().map(|path| root(path)).collect::<Result<Vec<_>>>()?;
        let paths: Vec<_> = roots.iter().map(|root| root.path.to_string_lossy()).collect();
        let instance = args.name.clone().unwrap_or_else(|| paths.join(" + "));
        Snapshot::check_instance(&instance).map_err(|_| {
            Error::Misuse(format!(
                "\"{}\" cannot name a series: choose another with --name NAME",
                human::printable(&instance)
            ))
        })?;
        let files = args.exclude_files.iter().map(|file| exclude_file(file)).collect::<Result<Vec<_>>>()?;
        let excludes = Excludes::new(&args.excludes, &files)?;
        let lines = files.iter().flat_map(|file| file.text.lines());
        let listed = lines.filter(|line| !line.trim().is_empty() && !line.starts_with('#')).map(str::to_owned);
        let patterns = args.excludes.iter().cloned().chain(listed).collect();
        Ok(Self { instance, roots, excludes, patterns })
    }
}

/// A directory by the name that it has without links, so that its series is the same however it is typed.
fn root(path: &Path) -> Result<Root> {
    let path = fs::canonicalize(path).map_err(Error::file("back up", path))?;
    let name = path.file_name().map_or_else(|| "root".to_owned(), |name| name.to_string_lossy().into_owned());
    Ok(Root { name, path })
}

fn exclude_file(file: &Path) -> Result<ExcludeFile> {
    let bytes = fs::read(file).map_err(Error::file("read the exclude file", file))?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Error::Misuse(format!("the exclude file {} is not UTF-8 text", file.display())))?;
    Ok(ExcludeFile { name: file.display().to_string(), text })
}

/// Takes a snapshot of the selection.
pub fn take(
    args: &BackupArgs,
    selection: Selection,
    settings: &Settings,
    archive: &Archive,
    show: bool,
) -> Result<Report> {
    let threads = threads(args.threads);
    let index = archive.index_path().parent().map(Path::to_owned);
    let mut ours = vec![settings.place.directory()];
    ours.extend(index.clone());
    let rules = Rules {
        excludes: selection.excludes,
        one_file_system: args.one_file_system,
        exclude_caches: args.exclude_caches,
        leave_out: leave_out(&ours, &selection.roots)?,
        threads,
        spool: index,
        ..Rules::default()
    };
    let job = Job {
        instance: selection.instance,
        host: args.host.clone().unwrap_or_else(world::host_name),
        user: world::user_name(),
        program: PROGRAM.to_owned(),
        tags: args.tags.clone(),
        roots: selection.roots,
        rules,
        excludes: selection.patterns,
        ignore_inode: args.ignore_inode,
        ignore_ctime: args.ignore_ctime,
        rehash: args.rehash,
        level: level(args.compression),
        threads,
        clock: &time::now,
    };
    Ok(progress::attend(show, |progress| backup(archive, &job, progress))??)
}

/// zstd levels: the fastest that is worth it, zstd's own default, and the last before time explodes.
fn level(compression: Compression) -> i32 {
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
    warn_problems(&report.snapshot.problems, report.snapshot.problem_count, output);
}

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
    if snapshot.problem_count > 0 {
        lines.push(("problems", human::count(snapshot.problem_count)));
    }
    human::fields(out, lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_is_named_by_its_canonical_paths_unless_it_has_a_name() {
        let directory = tempfile::tempdir().unwrap();
        let base = fs::canonicalize(directory.path()).unwrap();
        fs::create_dir(base.join("a")).unwrap();
        fs::create_dir(base.join("b")).unwrap();
        let paths = vec![base.join("a/../a"), base.join("b")];
        let args = BackupArgs { paths, ..BackupArgs::default() };
        let selection = Selection::read(&args).unwrap();
        assert_eq!(selection.instance, format!("{0}/a + {0}/b", base.display()));
        assert_eq!(selection.roots[0].name, "a");
        let named = BackupArgs { name: Some("wiki".into()), ..args.clone() };
        assert_eq!(Selection::read(&named).unwrap().instance, "wiki");
        let bad = BackupArgs { name: Some("wi\nki".into()), ..args };
        assert!(matches!(Selection::read(&bad), Err(Error::Misuse(_))));
    }

    #[test]
    fn what_is_not_there_is_named() {
        let missing = BackupArgs { paths: vec!["/no/such/place".into()], ..BackupArgs::default() };
        assert!(Selection::read(&missing).unwrap_err().to_string().contains("/no/such/place"));
        let args = BackupArgs { paths: vec!["/".into()], excludes: vec!["[z-a]".into()], ..BackupArgs::default() };
        assert!(matches!(Selection::read(&args), Err(Error::Exclude(_))));
    }

    #[test]
    fn patterns_of_files_stand_in_the_record() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("list");
        fs::write(&file, "# words\n*.bak\n\n").unwrap();
        let args = BackupArgs {
            paths: vec![directory.path().into()],
            excludes: vec!["*.tmp".into()],
            exclude_files: vec![file],
            ..BackupArgs::default()
        };
        assert_eq!(Selection::read(&args).unwrap().patterns, ["*.tmp", "*.bak"]);
    }

    #[test]
    fn the_repository_is_not_its_own_content() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root { name: "r".into(), path: directory.path().into() };
        assert!(leave_out(&[directory.path().into()], &[root]).is_err());
    }
}
