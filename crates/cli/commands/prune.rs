//! `icecore prune`: deletes what no snapshot needs any more.

use std::io::{self, Write};
use std::time::Instant;

use icecore_engine::Archive;
use icecore_engine::prune::{GRACE, PruneOptions, PrunePlan, PruneReport};
use serde_json::{Value, json};

use super::open;
use crate::args::PruneArgs;
use crate::error::Result;
use crate::exit::Code;
use crate::output::human::{self, Align, Table};
use crate::output::{Output, json, progress};
use crate::settings::Settings;
use crate::{time, world};

/// Runs the command.
pub fn run(args: &PruneArgs, settings: &Settings, output: &mut Output) -> Result<Code> {
    let opened = open(settings, output)?;
    if args.undo {
        return undo(&opened.archive, output);
    }
    let options = options(args);
    if args.dry_run {
        let show = output.manner().progress;
        let plan = progress::attend(show, |progress| opened.archive.prune_outlook(&options, &time::now, progress))??;
        if output.manner().json {
            output.document(json!({ "dry_run": true, "plan": plan_document(&plan) }))?;
        } else {
            print_plan(&plan, output)?;
        }
        return Ok(Code::Done);
    }
    let report = perform(&options, &opened.archive, output)?;
    if output.manner().json {
        output.document(document(&report))?;
    }
    Ok(code(&report))
}

/// Prunes as the options say by themselves, and tells what was done.
pub fn after_forget(archive: &Archive, output: &mut Output) -> Result<PruneReport> {
    perform(&options(&PruneArgs::default()), archive, output)
}

/// How a prune ends.
pub fn code(report: &PruneReport) -> Code {
    if report.damaged.is_empty() { Code::Done } else { Code::Failed }
}

/// Prunes.
pub fn execute(options: &PruneOptions, archive: &Archive, show: bool) -> Result<PruneReport> {
    Ok(progress::attend(show, |progress| archive.prune(options, &time::now, progress))??)
}

fn perform(options: &PruneOptions, archive: &Archive, output: &mut Output) -> Result<PruneReport> {
    let report = execute(options, archive, output.manner().progress)?;
    report.damaged.iter().for_each(|damage| output.warn(format_args!("kept: {damage}")));
    if !output.manner().json && !output.manner().quiet {
        summarise(&report, options.now, output)?;
    }
    Ok(report)
}

/// What the options of the command mean.
pub fn options(args: &PruneArgs) -> PruneOptions {
    let mut options = PruneOptions::new(world::host_name());
    options.grace = args.grace.map_or(GRACE, |grace| i64::try_from(grace.as_secs()).unwrap_or(i64::MAX));
    options.max_unused = args.max_unused.unwrap_or(options.max_unused);
    options.max_repack = args.max_repack.unwrap_or(options.max_repack);
    options.until = args.time_limit.and_then(|limit| Instant::now().checked_add(limit));
    options.now = args.now;
    options
}

fn undo(archive: &Archive, output: &mut Output) -> Result<Code> {
    let (back, late) = archive.undo_prune(&time::now)?;
    if output.manner().json {
        output.document(json!({ "undone": back, "too_late": late }))?;
        return Ok(Code::Done);
    }
    writeln!(output, "{} no longer marked", human::counted(back, "pack is", "packs are"))?;
    if late > 0 {
        let late = human::counted(late, "pack stays", "packs stay");
        writeln!(output, "{late} marked: their time is up within two hours, somebody may be deleting them")?;
    }
    Ok(Code::Done)
}

fn print_plan(plan: &PrunePlan, out: &mut dyn Write) -> io::Result<()> {
    if plan.is_idle() && plan.waiting.is_empty() {
        writeln!(out, "nothing to prune")?;
    } else {
        let mut table = Table::new([
            ("", Align::Left),
            ("packs", Align::Right),
            ("size", Align::Right),
            ("unneeded", Align::Right),
        ]);
        let rows = [
            ("delete now", &plan.due),
            ("wait", &plan.waiting),
            ("mark", &plan.mark),
            ("copy from, then mark", &plan.repack),
        ];
        for (what, packs) in rows.into_iter().filter(|(_, packs)| !packs.is_empty()) {
            let (size, dead) = packs.iter().fold((0, 0), |(size, dead), pack| (size + pack.size, dead + pack.dead));
            table.row([what.to_owned(), human::count(packs.len() as u64), human::bytes(size), human::bytes(dead)]);
        }
        table.print("", out)?;
    }
    rest(plan, out)
}

/// What stays although nothing needs it.
fn rest(plan: &PrunePlan, out: &mut dyn Write) -> io::Result<()> {
    if plan.young > 0 {
        let packs = human::counted(plan.young, "pack that nothing needs", "packs that nothing needs");
        writeln!(out, "{packs} may belong to a backup that is running: looked at again by the next prune")?;
    }
    let (dead, all) = (human::bytes(plan.kept_dead), human::bytes(plan.pack_bytes));
    writeln!(out, "kept: {dead} of {all} that nothing needs, among what is needed")
}

fn summarise(report: &PruneReport, at_once: bool, out: &mut dyn Write) -> io::Result<()> {
    let plan = &report.plan;
    if report.deleted > 0 {
        let packs = human::counted(report.deleted, "pack", "packs");
        writeln!(out, "deleted {packs}: {} freed", human::bytes(report.freed))?;
    }
    if report.copied > 0 {
        writeln!(out, "copied {} that is needed out of packs that go", human::bytes(report.copied))?;
    }
    if report.marked > 0
        && !at_once
        && let Some(until) = report.marked_until
    {
        let packs = human::counted(report.marked, "pack", "packs");
        let (bytes, until) = (human::bytes(report.marked_bytes), time::local(until));
        writeln!(out, "marked {packs} of {bytes}: a prune after {until} deletes them")?;
    }
    if let Some(until) = plan.waiting_until {
        let packs = human::counted(plan.waiting.len() as u64, "pack", "packs");
        let bytes = human::bytes(plan.waiting.iter().map(|pack| pack.size).sum());
        writeln!(out, "waiting: {packs} of {bytes}, the first until {}", time::local(until))?;
    }
    if report.deleted == 0 && report.marked == 0 && plan.waiting.is_empty() {
        writeln!(out, "nothing to prune")?;
    }
    if report.cut_short {
        writeln!(out, "the time was over before everything was copied: the next prune goes on")?;
    }
    rest(plan, out)
}

fn plan_document(plan: &PrunePlan) -> Value {
    let sum = |packs: &[icecore_engine::prune::PackBytes]| {
        json!({
            "packs": packs.len(),
            "bytes": packs.iter().map(|pack| pack.size).sum::<u64>(),
            "unneeded": packs.iter().map(|pack| pack.dead).sum::<u64>(),
        })
    };
    json!({
        "delete": sum(&plan.due),
        "wait": sum(&plan.waiting),
        "wait_until": plan.waiting_until.map(json::time),
        "mark": sum(&plan.mark),
        "repack": sum(&plan.repack),
        "kept_unneeded": plan.kept_dead,
        "pack_bytes": plan.pack_bytes,
        "young_packs": plan.young,
    })
}

/// What `--json` says of a prune.
pub fn document(report: &PruneReport) -> Value {
    json!({
        "dry_run": false,
        "plan": plan_document(&report.plan),
        "deleted": { "packs": report.deleted, "bytes": report.freed },
        "marked": { "packs": report.marked, "bytes": report.marked_bytes, "until": report.marked_until.map(json::time) },
        "repacked": report.repacked,
        "copied": report.copied,
        "cut_short": report.cut_short,
        "damaged": report.damaged,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_marked_is_told_also_when_more_is_deleted() {
        let marked_until = Some(time::now());
        let report = PruneReport { deleted: 3, marked: 2, marked_until, ..PruneReport::default() };
        for (at_once, is_told) in [(false, true), (true, false)] {
            let mut out = Vec::new();
            summarise(&report, at_once, &mut out).unwrap();
            assert_eq!(String::from_utf8(out).unwrap().contains("marked 2 packs"), is_told);
        }
    }
}
