//! `icecore stats`: how much is stored.

use std::fs;
use std::io::Write;

use serde_json::json;

use super::open;
use crate::error::Result;
use crate::exit::Code;
use crate::output::{Output, human};
use crate::settings::Settings;

/// Runs the command.
pub fn run(settings: &Settings, output: &mut Output) -> Result<Code> {
    let opened = open(settings, output)?;
    let archive = &opened.archive;
    let catalogue = archive.catalogue()?;
    catalogue.damaged.iter().for_each(|damage| output.warn(damage));
    let totals = archive.totals()?;
    let snapshots = catalogue.snapshots.len() as u64;
    let protected: u64 = catalogue.snapshots.iter().map(|stored| stored.snapshot.totals.bytes).sum();
    // It is derived: what cannot be told of it is no failure.
    let index_bytes = fs::metadata(archive.index_path()).map_or(0, |found| found.len());
    if output.manner().json {
        output.document(json!({
            "repository": archive.location(),
            "id": archive.id().to_string(),
            "snapshots": snapshots,
            "snapshot_bytes": protected,
            "data_packs": totals.data_packs,
            "manifest_packs": totals.manifest_packs,
            "pack_bytes": totals.pack_bytes,
            "plain_bytes": totals.plain_bytes,
            "frames": totals.frames,
            "chunks": totals.chunks,
            "index": archive.index_path().to_string_lossy(),
            "index_bytes": index_bytes,
        }))?;
        return Ok(Code::partial_if(!catalogue.damaged.is_empty()));
    }
    let with_ratio = |text: String, what: &str, ratio: Option<String>| match ratio {
        Some(ratio) => format!("{text}, {what} {ratio}"),
        None => text,
    };
    let packs = totals.data_packs + totals.manifest_packs;
    writeln!(output, "repository {} in {}", archive.id().short(), archive.location())?;
    let lines = [
        ("snapshots", format!("{}, {} in all their files", human::count(snapshots), human::bytes(protected))),
        (
            "content",
            with_ratio(
                format!("{} in {}", human::bytes(totals.plain_bytes), human::counted(totals.chunks, "chunk", "chunks")),
                "dedup",
                human::ratio(protected, totals.plain_bytes),
            ),
        ),
        (
            "stored",
            with_ratio(
                format!("{} in {}", human::bytes(totals.pack_bytes), human::counted(packs, "pack", "packs")),
                "compression",
                human::ratio(totals.plain_bytes, totals.pack_bytes),
            ),
        ),
        ("index", format!("{} in {}", human::bytes(index_bytes), archive.index_path().display())),
    ];
    human::fields(output, lines)?;
    Ok(Code::partial_if(!catalogue.damaged.is_empty()))
}
