//! `icecore stats`: how much is stored, and what each snapshot costs.

use std::fs;
use std::io::{self, Write};

use icecore_engine::stats::Stats;
use icecore_engine::{Archive, Freed, Stored};
use serde_json::{Value, json};

use super::{catalogue, open};
use crate::args::StatsArgs;
use crate::error::Result;
use crate::exit::Code;
use crate::output::human::{self, Align, Table};
use crate::output::{Output, json, progress};
use crate::settings::Settings;
use crate::time;

/// Runs the command.
pub fn run(args: &StatsArgs, settings: &Settings, output: &mut Output) -> Result<Code> {
    let opened = open(settings, output)?;
    let archive = &opened.archive;
    let catalogue = catalogue(archive, output)?;
    let is_meant = |stored: &&Stored| args.instances.is_empty() || args.instances.contains(&stored.snapshot.instance);
    let meant: Vec<&Stored> = catalogue.snapshots.iter().filter(is_meant).collect();
    let ids: Vec<_> = meant.iter().map(|stored| stored.id).collect();
    let show = output.manner().progress;
    let stats = progress::attend(show, |progress| archive.stats(&catalogue, &ids, progress))??;
    stats.damaged.iter().for_each(|damage| output.warn(damage));
    // It is derived: what cannot be told of it is no failure.
    let index_bytes = fs::metadata(archive.index_path()).map_or(0, |found| found.len());
    let logical = catalogue.snapshots.iter().map(|stored| stored.snapshot.totals.bytes).sum();
    if output.manner().json {
        output.document(document(archive, &meant, &stats, catalogue.snapshots.len(), logical, index_bytes))?;
    } else {
        print_snapshots(&meant, &stats, output)?;
        print_totals(archive, &stats, catalogue.snapshots.len() as u64, logical, index_bytes, output)?;
    }
    Ok(Code::partial_if(!catalogue.damaged.is_empty() || !stats.damaged.is_empty()))
}

fn print_snapshots(meant: &[&Stored], stats: &Stats, out: &mut dyn Write) -> io::Result<()> {
    if meant.is_empty() {
        return Ok(());
    }
    let mut table = Table::new([
        ("id", Align::Left),
        ("instance", Align::Left),
        ("taken", Align::Left),
        ("size", Align::Right),
        ("new", Align::Right),
        ("added", Align::Right),
        ("dedup", Align::Right),
        ("compression", Align::Right),
        ("unique", Align::Right),
    ]);
    let ratio = |large, small| human::ratio(large, small).unwrap_or_else(|| "-".to_owned());
    for (stored, (_, unique)) in meant.iter().zip(&stats.unique) {
        let (snapshot, totals) = (&stored.snapshot, &stored.snapshot.totals);
        table.row([
            stored.id.short(),
            human::printable(&snapshot.instance),
            time::local(snapshot.taken),
            human::bytes(totals.bytes),
            human::bytes(totals.bytes_new),
            human::bytes(totals.bytes_added),
            ratio(totals.bytes, totals.bytes_new),
            ratio(totals.bytes_new, totals.bytes_added),
            about(unique),
        ]);
    }
    table.print("", out)
}

/// Stored bytes; with a `~` where something could not be read.
fn about(freed: &Freed) -> String {
    let mark = if freed.exact { "" } else { "~" };
    format!("{mark}{}", human::bytes(freed.stored_bytes))
}

fn print_totals(
    archive: &Archive,
    stats: &Stats,
    snapshots: u64,
    logical: u64,
    index_bytes: u64,
    out: &mut dyn Write,
) -> io::Result<()> {
    let totals = &stats.index;
    let with_ratio = |text: String, what: &str, ratio: Option<String>| match ratio {
        Some(ratio) => format!("{text}, {what} {ratio}"),
        None => text,
    };
    let content = format!(
        "{} in {} and {}",
        human::bytes(totals.plain_bytes),
        human::counted(totals.chunks, "chunk", "chunks"),
        human::counted(totals.frames, "frame", "frames")
    );
    let packs = totals.data_packs + totals.manifest_packs;
    let stored = format!("{} in {}", human::bytes(totals.pack_bytes), human::counted(packs, "pack", "packs"));
    writeln!(out, "repository {} in {}", archive.id().short(), archive.location())?;
    let (fragments, fragment_bytes) = stats.fragments;
    let mut lines = vec![
        ("snapshots", format!("{}, {} in all their files", human::count(snapshots), human::bytes(logical))),
        ("content", with_ratio(content, "dedup", human::ratio(logical, totals.plain_bytes))),
        ("stored", with_ratio(stored, "compression", human::ratio(totals.plain_bytes, totals.pack_bytes))),
        ("unneeded", format!("{} that no snapshot needs", about(&stats.dead))),
        (
            "fragments",
            format!("{} in {}", human::bytes(fragment_bytes), human::counted(fragments, "fragment", "fragments")),
        ),
        ("index", format!("{} in {}", human::bytes(index_bytes), archive.index_path().display())),
    ];
    let (aside, aside_bytes) = stats.set_aside;
    if aside > 0 {
        let aside = human::counted(aside, "damaged object", "damaged objects");
        lines.push(("set aside", format!("{} in {aside}", human::bytes(aside_bytes))));
    }
    human::fields(out, lines)
}

fn document(
    archive: &Archive,
    meant: &[&Stored],
    stats: &Stats,
    snapshots: usize,
    logical: u64,
    index_bytes: u64,
) -> Value {
    let nights = meant.iter().zip(&stats.unique).map(|(stored, (_, unique))| {
        let totals = &stored.snapshot.totals;
        json!({
            "id": stored.id.to_string(),
            "instance": stored.snapshot.instance,
            "host": stored.snapshot.host,
            "taken": json::time(stored.snapshot.taken),
            "bytes": totals.bytes,
            "bytes_new": totals.bytes_new,
            "bytes_added": totals.bytes_added,
            "unique": freed(unique),
        })
    });
    let totals = &stats.index;
    json!({
        "repository": archive.location(),
        "id": archive.id().to_string(),
        "snapshots": snapshots,
        "snapshot_bytes": logical,
        "data_packs": totals.data_packs,
        "manifest_packs": totals.manifest_packs,
        "pack_bytes": totals.pack_bytes,
        "plain_bytes": totals.plain_bytes,
        "frames": totals.frames,
        "chunks": totals.chunks,
        "index": archive.index_path().to_string_lossy(),
        "index_bytes": index_bytes,
        "fragments": stats.fragments.0,
        "fragment_bytes": stats.fragments.1,
        "set_aside": stats.set_aside.0,
        "set_aside_bytes": stats.set_aside.1,
        "unneeded": freed(&stats.dead),
        "nights": nights.collect::<Vec<_>>(),
        "damaged": stats.damaged,
    })
}

fn freed(freed: &Freed) -> Value {
    json!({
        "chunks": freed.chunks,
        "blocks": freed.blocks,
        "plain_bytes": freed.plain_bytes,
        "stored_bytes": freed.stored_bytes,
        "exact": freed.exact,
    })
}
