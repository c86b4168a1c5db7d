//! `icecore check`: whether everything that was stored is there and sound.

use std::io::{self, Write};
use std::time::Instant;

use icecore_engine::archive::check_names;
use icecore_engine::entry::Timestamp;
use icecore_engine::{Archive, CheckOptions, CheckReport};
use serde_json::{Map, Value, json};

use super::{NAMED, open, threads};
use crate::args::CheckArgs;
use crate::error::Result;
use crate::exit::Code;
use crate::output::{Output, human, json, progress};
use crate::settings::Settings;
use crate::{repository, time};

/// Runs the command.
pub fn run(args: CheckArgs, settings: &Settings, output: &mut Output) -> Result<Code> {
    if args.no_key {
        return names(settings, output);
    }
    let begun = Instant::now();
    let opened = open(settings, output)?;
    let report = perform(args, &opened.archive, output.manner().progress)?;
    if output.manner().json {
        let mut document = document(&report);
        document.insert("read_data".to_owned(), args.read_data.is_some().into());
        document.insert("opening".to_owned(), opened.warnings.clone().into());
        document.insert("seconds".to_owned(), json!(begun.elapsed().as_secs_f64()));
        output.document(document.into())?;
    } else {
        print_damage(&report, output)?;
        if !output.manner().quiet {
            summarise(&report, output)?;
        }
    }
    let sound = report.is_clean() && opened.warnings.is_empty();
    Ok(if sound { Code::Done } else { Code::Failed })
}

/// Checks the repository.
pub fn perform(args: CheckArgs, archive: &Archive, show: bool) -> Result<CheckReport> {
    let options = CheckOptions {
        read_percent: args.read_data.unwrap_or(0),
        until: args.time_limit.and_then(|limit| Instant::now().checked_add(limit)),
        now: time::now(),
        threads: threads(None),
    };
    Ok(progress::attend(show, |progress| archive.check(options, progress))??)
}

/// Compares objects with their names.
fn names(settings: &Settings, output: &mut Output) -> Result<Code> {
    let begun = Instant::now();
    let store = repository::store(settings)?;
    let show = output.manner().progress;
    let report = progress::attend(show, |progress| check_names(&store, threads(None), progress))??;
    let misnamed = report.misnamed.iter();
    if output.manner().json {
        let misnamed = misnamed.map(|wrong| json!({ "object": wrong.object, "message": wrong.message }));
        output.document(json!({
            "clean": report.misnamed.is_empty(),
            "objects": report.objects,
            "bytes_read": report.bytes,
            "misnamed": misnamed.collect::<Vec<_>>(),
            "seconds": begun.elapsed().as_secs_f64(),
        }))?;
    } else {
        for wrong in misnamed {
            writeln!(output, "{}: {}", human::printable(&wrong.object), human::printable(&wrong.message))?;
        }
        let objects = human::counted(report.objects, "object", "objects");
        let verdict = match report.misnamed.len() as u64 {
            0 => "each is what its name says".to_owned(),
            wrong => format!("{} not what they are named", human::counted(wrong, "is", "are")),
        };
        if !output.manner().quiet {
            writeln!(output, "read {objects}, {}: {verdict}", human::bytes(report.bytes))?;
        }
    }
    Ok(if report.misnamed.is_empty() { Code::Done } else { Code::Failed })
}

/// Prints what does not hold, what to do about it, and which files suffer.
fn print_damage(report: &CheckReport, out: &mut dyn Write) -> io::Result<()> {
    for finding in &report.findings {
        writeln!(out, "{}: {}: {}", finding.invariant, finding.object, human::printable(&finding.message))?;
        writeln!(out, "  {}", finding.next)?;
    }
    more(report.finding_count, report.findings.len(), out)?;
    if report.damaged_count > 0 {
        writeln!(out, "files that cannot be restored whole:")?;
    }
    for file in report.damaged_files.iter().take(NAMED) {
        let (snapshot, path) = (file.snapshot.short(), human::path(&file.path));
        writeln!(out, "  {snapshot}:{path}: {}", human::printable(&file.reason))?;
    }
    more(report.damaged_count, report.damaged_files.len().min(NAMED), out)
}

fn more(count: u64, named: usize, out: &mut dyn Write) -> io::Result<()> {
    match count.saturating_sub(named as u64) {
        0 => Ok(()),
        more => writeln!(out, "  and {} more", human::count(more)),
    }
}

/// Prints what was checked, and the verdict.
pub fn summarise(report: &CheckReport, out: &mut dyn Write) -> io::Result<()> {
    let what = [
        human::counted(report.snapshots, "snapshot", "snapshots"),
        human::counted(report.entries, "entry", "entries"),
        human::counted(report.chunks, "chunk", "chunks"),
        human::counted(report.packs, "pack", "packs"),
    ];
    writeln!(out, "checked {}; {} of data read", what.join(", "), human::bytes(report.bytes_read))?;
    if report.packs_read > 0 {
        let since = report.verified_since.map(|seconds| time::local(Timestamp { seconds, nanos: 0 }));
        match (report.never_verified, since) {
            (0, Some(since)) => writeln!(out, "every pack was verified since {since}")?,
            (never, _) => writeln!(out, "{} never verified yet", human::counted(never, "pack was", "packs were"))?,
        }
    }
    if !report.orphans.is_empty() {
        let orphans = human::counted(report.orphans.len() as u64, "pack is", "packs are");
        writeln!(out, "{orphans} in no index yet: of a backup that runs or was interrupted; no damage")?;
    }
    if report.marked_packs.0 > 0 {
        let (packs, bytes) = report.marked_packs;
        let packs = human::counted(packs, "pack is", "packs are");
        writeln!(
            out,
            "{packs} marked to be deleted, {}; `icecore prune` goes on when their time is up",
            human::bytes(bytes)
        )?;
        if report.needed_of_marked > 0 {
            let times = human::counted(report.needed_of_marked, "time", "times");
            writeln!(
                out,
                "snapshots need what stands there alone {times}: the prune that deletes it copies that first"
            )?;
        }
    }
    if report.is_clean() {
        return writeln!(out, "no damage found");
    }
    let (findings, files) = (
        human::counted(report.finding_count, "promise does", "promises do"),
        human::counted(report.damaged_count, "file cannot", "files cannot"),
    );
    writeln!(out, "damage found: {findings} not hold, {files} be restored whole")?;
    writeln!(out, "first back up again, which heals what the live files still have; then: icecore repair --dry-run")
}

fn marked(report: &CheckReport) -> Value {
    let ((packs, bytes), needed) = (report.marked_packs, report.needed_of_marked);
    json!({ "packs": packs, "bytes": bytes, "needed": needed })
}

fn document(report: &CheckReport) -> Map<String, Value> {
    let findings = report.findings.iter().map(|finding| {
        json!({
            "invariant": finding.invariant,
            "object": finding.object,
            "message": finding.message,
            "next": finding.next,
        })
    });
    let damaged_files = report.damaged_files.iter().map(|file| {
        let mut object = Map::new();
        object.insert("snapshot".to_owned(), file.snapshot.to_string().into());
        json::put_path(&mut object, "path", &file.path);
        object.insert("reason".to_owned(), file.reason.clone().into());
        Value::Object(object)
    });
    let fields: [(&str, Value); 17] = [
        ("clean", report.is_clean().into()),
        ("snapshots", report.snapshots.into()),
        ("blocks", report.blocks.into()),
        ("entries", report.entries.into()),
        ("chunks", report.chunks.into()),
        ("packs", report.packs.into()),
        ("packs_read", report.packs_read.into()),
        ("bytes_read", report.bytes_read.into()),
        ("never_verified", report.never_verified.into()),
        ("verified_since", report.verified_since.map(|seconds| json::time(Timestamp { seconds, nanos: 0 })).into()),
        ("findings", findings.collect()),
        ("finding_count", report.finding_count.into()),
        ("damaged_files", damaged_files.collect()),
        ("damaged_count", report.damaged_count.into()),
        ("orphans", report.orphans.iter().map(ToString::to_string).collect()),
        ("marked", marked(report)),
        ("forgotten", json!({ "packs": report.forgotten_packs, "frames": report.forgotten_frames })),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
