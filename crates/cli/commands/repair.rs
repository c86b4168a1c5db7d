//! `icecore repair`: mends what can be mended, and names what is lost.

use std::io::{self, Write};
use std::time::Instant;

use icecore_engine::repair::{DamagedPack, Lacking, Plan, RepairOptions, Repaired};
use icecore_engine::snapshot::Problem;
use icecore_store::LocalStore;
use serde_json::{Map, Value, json};

use super::{NAMED, open, threads};
use crate::args::RepairArgs;
use crate::error::Result;
use crate::exit::Code;
use crate::output::{Output, human, json, progress};
use crate::settings::Settings;
use crate::{time, world};

/// Runs the command.
pub fn run(args: RepairArgs, settings: &Settings, output: &mut Output) -> Result<Code> {
    let begun = Instant::now();
    let opened = open(settings, output)?;
    let host = world::host_name();
    let options = RepairOptions { read_data: !args.quick, threads: threads(None), host: &host, clock: time::now };
    let show = output.manner().progress;
    let plan = progress::attend(show, |progress| opened.archive.plan_repair(options, progress))??;
    let leftovers = LocalStore::open(settings.place.directory())?.leftovers()?;
    let text = !output.manner().json;
    if text {
        print_plan(&plan, leftovers, output)?;
        output.flush()?;
    }
    let repaired = if args.dry_run {
        None
    } else {
        Some(progress::attend(show, |progress| opened.archive.repair(&plan, options, progress))??)
    };
    if text {
        summarise(&plan, repaired.as_ref(), output)?;
    } else {
        let mut document = document(&plan, leftovers);
        document.insert("dry_run".to_owned(), args.dry_run.into());
        document.insert("repaired".to_owned(), repaired.as_ref().map(done).into());
        document.insert("seconds".to_owned(), json!(begun.elapsed().as_secs_f64()));
        output.document(document.into())?;
    }
    Ok(match args.dry_run {
        true if !plan.is_sound() => Code::Failed,
        _ => Code::partial_if(plan.leaves_damage()),
    })
}

fn print_plan(plan: &Plan, (files, bytes): (u64, u64), output: &mut Output) -> io::Result<()> {
    for pack in &plan.damaged {
        let DamagedPack { id, chunks_whole, chunks_lost, .. } = pack;
        let (whole, lost) = (human::counted(*chunks_whole, "chunk", "chunks"), human::count(*chunks_lost));
        writeln!(output, "pack {id}: {}", human::printable(&pack.reason))?;
        writeln!(output, "  to do: store {whole} again ({lost} lost here), and set the pack aside below damaged/")?;
    }
    for id in &plan.missing {
        writeln!(output, "pack {id}: it is missing")?;
        writeln!(output, "  to do: name it no more; if a copy of the repository has it, put it back instead")?;
    }
    for id in plan.adopted.iter().take(NAMED) {
        writeln!(output, "pack {id}: it is whole, and no fragment names it")?;
    }
    if !plan.adopted.is_empty() {
        let packs = human::counted(plan.adopted.len() as u64, "such pack", "such packs");
        writeln!(output, "  to do: name {packs} in a fragment")?;
    }
    for (id, reason) in &plan.damaged_fragments {
        writeln!(output, "index/{id}: {}", human::printable(reason))?;
        writeln!(output, "  to do: set it aside below damaged/; what it named is named anew")?;
    }
    for record in &plan.records {
        writeln!(output, "snapshots/{}: {}", record.id, human::printable(&record.reason))?;
        let next = match record.is_known() {
            true => "to do: write it again as this host read it before, and set the damaged one aside below damaged/",
            false => "not mended: nobody knows what stood in it; if a copy of the repository has it, put it back",
        };
        writeln!(output, "  {next}")?;
    }
    for lacking in &plan.lacking {
        let Lacking { id, instance, taken, missing, .. } = lacking;
        let missing = human::counted(*missing, "entry is", "entries are");
        let (instance, taken) = (human::printable(instance), time::local(*taken));
        writeln!(output, "snapshot {} of {instance}, taken {taken}: {missing} lost", id.short())?;
        print_problems(&lacking.problems, lacking.missing, output)?;
        let next = match (lacking.hopeless, lacking.corrected_by) {
            (true, _) => "not mended: nothing of it can be had".to_owned(),
            (false, Some(corrected)) => format!("done before: snapshot {} has the rest", corrected.short()),
            (false, None) => "to do: write a corrected snapshot beside it".to_owned(),
        };
        writeln!(output, "  {next}")?;
    }
    for finding in &plan.left {
        writeln!(output, "{}: {}", human::printable(&finding.object), human::printable(&finding.message))?;
        writeln!(output, "  not mended: {}", finding.next)?;
    }
    if files > 0 {
        let files = human::counted(files, "temporary file", "temporary files");
        output.note(format_args!("{files} of runs that go on or were interrupted, {}: no damage", human::bytes(bytes)));
    }
    Ok(())
}

fn print_problems(problems: &[Problem], count: u64, out: &mut dyn Write) -> io::Result<()> {
    for problem in problems.iter().take(NAMED) {
        writeln!(out, "    {}: {}", human::path(&problem.path), human::printable(&problem.message))?;
    }
    match problems.len().saturating_sub(NAMED) as u64 {
        0 => Ok(()),
        _ => writeln!(out, "    and more: {} in all", human::count(count)),
    }
}

fn summarise(plan: &Plan, repaired: Option<&Repaired>, output: &mut Output) -> io::Result<()> {
    let packs = human::counted(plan.packs_read, "pack", "packs");
    let Some(repaired) = repaired else {
        let verdict = if plan.is_sound() { "nothing is wrong" } else { "this is what would be done" };
        return writeln!(output, "{packs} of {} read; {verdict}; nothing was changed", human::count(plan.packs));
    };
    for corrected in &repaired.corrected {
        let (id, original) = (corrected.id.short(), corrected.original.short());
        let missing = human::counted(corrected.missing, "entry", "entries");
        writeln!(output, "snapshot {id} corrects {original}, without {missing}")?;
    }
    if let Some(corrected) = repaired.corrected.first() {
        let id = corrected.original.short();
        output.note(format_args!(
            "the damaged originals stay; `icecore forget {id}` takes one away when it is not wanted"
        ));
    }
    for aside in &repaired.set_aside {
        writeln!(output, "set aside: {aside}")?;
    }
    if !output.manner().quiet {
        let stored = human::counted(repaired.salvaged.packs, "pack", "packs");
        writeln!(
            output,
            "{packs} of {} read; {} adopted, {} written anew, {stored} stored, {} corrected; the index is made anew",
            human::count(plan.packs),
            human::counted(repaired.adopted, "pack", "packs"),
            human::counted(repaired.fragments, "fragment", "fragments"),
            human::counted(repaired.corrected.len() as u64, "snapshot", "snapshots"),
        )?;
    }
    match (plan.is_sound(), plan.leaves_damage()) {
        (true, _) => writeln!(output, "nothing was wrong"),
        (false, true) => writeln!(output, "something is lost or left, as told above"),
        (false, false) => writeln!(output, "mended; nothing is lost"),
    }
}

fn document(plan: &Plan, (files, bytes): (u64, u64)) -> Map<String, Value> {
    let damaged = plan.damaged.iter().map(|pack| {
        json!({
            "id": pack.id.to_string(),
            "size": pack.size,
            "reason": pack.reason,
            "frames": pack.frames,
            "frames_lost": pack.frames_lost,
            "chunks_whole": pack.chunks_whole,
            "chunks_lost": pack.chunks_lost,
        })
    });
    let lacking = plan.lacking.iter().map(|lacking| {
        json!({
            "id": lacking.id.to_string(),
            "instance": lacking.instance,
            "taken": json::time(lacking.taken),
            "missing": lacking.missing,
            "problems": json::problems(&lacking.problems),
            "hopeless": lacking.hopeless,
            "corrected_by": lacking.corrected_by.map(|id| id.to_string()),
        })
    });
    let records = plan
        .records
        .iter()
        .map(|record| json!({ "id": record.id.to_string(), "reason": record.reason, "known": record.is_known() }));
    let fragments = plan.damaged_fragments.iter();
    let fragments = fragments.map(|(id, reason)| json!({ "id": id.to_string(), "reason": reason }));
    let left = plan
        .left
        .iter()
        .map(|finding| json!({ "object": finding.object, "message": finding.message, "next": finding.next }));
    let fields: [(&str, Value); 12] = [
        ("sound", plan.is_sound().into()),
        ("leaves_damage", plan.leaves_damage().into()),
        ("packs", plan.packs.into()),
        ("packs_read", plan.packs_read.into()),
        ("damaged_packs", damaged.collect()),
        ("missing_packs", plan.missing.iter().map(ToString::to_string).collect()),
        ("unnamed_packs", plan.adopted.iter().map(ToString::to_string).collect()),
        ("damaged_fragments", fragments.collect()),
        ("damaged_records", records.collect()),
        ("lacking", lacking.collect()),
        ("left", left.collect()),
        ("temporary", json!({ "files": files, "bytes": bytes })),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn done(repaired: &Repaired) -> Value {
    let corrected = repaired.corrected.iter().map(|corrected| {
        json!({
            "original": corrected.original.to_string(),
            "id": corrected.id.to_string(),
            "missing": corrected.missing,
        })
    });
    json!({
        "stored_bytes": repaired.salvaged.stored_bytes,
        "packs": repaired.salvaged.packs,
        "adopted": repaired.adopted,
        "fragments": repaired.fragments,
        "records": repaired.records.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "set_aside": repaired.set_aside,
        "corrected": corrected.collect::<Vec<_>>(),
    })
}
