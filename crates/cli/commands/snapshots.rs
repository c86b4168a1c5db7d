//! `icecore snapshots`: lists the snapshots, the oldest first.

use std::io::{self, Write};

use icecore_engine::Stored;
use icecore_engine::snapshot::Snapshot;
use serde_json::{Value, json};

use super::{catalogue, open};
use crate::args::SnapshotsArgs;
use crate::error::Result;
use crate::exit::Code;
use crate::output::human::{self, Align, Table};
use crate::output::{Output, json};
use crate::settings::Settings;
use crate::time;

/// Runs the command.
pub fn run(args: &SnapshotsArgs, settings: &Settings, output: &mut Output) -> Result<Code> {
    let opened = open(settings, output)?;
    let catalogue = catalogue(&opened.archive, output)?;
    let wanted = |stored: &&Stored| args.instance.as_ref().is_none_or(|name| *name == stored.snapshot.instance);
    let chosen: Vec<_> = catalogue.snapshots.iter().filter(wanted).collect();
    if output.manner().json {
        let snapshots: Vec<Value> = chosen.iter().map(|stored| json::stored(stored).into()).collect();
        output.document(json!({ "snapshots": snapshots, "damaged": catalogue.damaged }))?;
    } else if chosen.is_empty() {
        output.note("there is no snapshot yet");
    } else {
        print(&chosen, output)?;
    }
    Ok(Code::partial_if(!catalogue.damaged.is_empty()))
}

/// Prints a table of snapshots.
pub fn print(snapshots: &[&Stored], out: &mut dyn Write) -> io::Result<()> {
    let mut table = Table::new([
        ("id", Align::Left),
        ("instance", Align::Left),
        ("taken", Align::Left),
        ("entries", Align::Right),
        ("size", Align::Right),
        ("added", Align::Right),
        ("verdict", Align::Left),
        ("window", Align::Right),
        ("tags", Align::Left),
    ]);
    for Stored { id, snapshot } in snapshots {
        table.row([
            id.short(),
            human::printable(&snapshot.instance),
            time::local(snapshot.taken),
            human::count(snapshot.totals.entries),
            human::bytes(snapshot.totals.bytes),
            human::bytes(snapshot.totals.bytes_added),
            verdict(snapshot),
            window(snapshot),
            human::printable(&snapshot.tags.join(", ")),
        ]);
    }
    table.print("", out)
}

fn verdict(snapshot: &Snapshot) -> String {
    let violations = snapshot.receipt.as_ref().map_or(0, |receipt| receipt.violations.len() as u64);
    let mut parts = vec![json::verdict(snapshot.verdict).to_owned()];
    if violations > 0 {
        parts.push(human::counted(violations, "violation", "violations"));
    }
    if snapshot.receipt.as_ref().is_some_and(|receipt| receipt.awake.is_some()) {
        parts.push("awake".to_owned());
    }
    if snapshot.problem_count > 0 {
        parts.push(human::counted(snapshot.problem_count, "problem", "problems"));
    }
    parts.join(", ")
}

/// How long it was frozen.
fn window(snapshot: &Snapshot) -> String {
    let window = snapshot.receipt.as_ref().map(|receipt| format!("{} ms", human::count(receipt.window_ms)));
    window.unwrap_or_else(|| "-".to_owned())
}
