//! `icecore snapshots`: lists the snapshots, the oldest first.

use std::io::{self, Write};

use icecore_engine::annotation::ProofVerdict;
use icecore_engine::snapshot::{Snapshot, Verdict};
use icecore_engine::{Stored, browse};
use serde_json::{Value, json};

use super::{catalogue, filter, open};
use crate::args::{SnapshotFilter, SnapshotsArgs, TimeFilter};
use crate::error::Result;
use crate::exit::Code;
use crate::output::human::{self, Align, Table};
use crate::output::{Output, json};
use crate::settings::{Manner, Settings};
use crate::time;

/// Runs the command.
pub fn run(args: &SnapshotsArgs, settings: &Settings, output: &mut Output) -> Result<Code> {
    let opened = open(settings, output)?;
    let catalogue = catalogue(&opened.archive, output)?;
    let by_verdict = |stored: &&Stored| {
        args.verdicts.is_empty() || args.verdicts.iter().any(|verdict| verdict.is(stored.snapshot.verdict))
    };
    let SnapshotFilter { series, times } = args.filter.clone();
    let all = SnapshotFilter { series, times: TimeFilter { last: None, ..times } };
    let mut chosen: Vec<_> = filter::chosen(&all, &catalogue)?;
    let others = chosen.len();
    chosen.retain(by_verdict);
    if let Some(last) = args.filter.times.last {
        filter::keep_last(&mut chosen, last);
    }
    if output.manner().json {
        let snapshots: Vec<Value> = chosen.iter().map(|stored| json::stored(stored).into()).collect();
        output.document(json!({
            "snapshots": snapshots,
            "damaged": catalogue.damaged,
            "unclear": catalogue.unclear,
        }))?;
    } else if chosen.is_empty() && others > 0 {
        output.note(format_args!(
            "none of {} has such a verdict",
            human::counted(others as u64, "snapshot", "snapshots")
        ));
    } else if chosen.is_empty() {
        output.note(filter::nothing(&args.filter, &catalogue));
    } else if args.tree {
        tree(&chosen, output)?;
    } else {
        let manner = output.manner();
        print(&chosen, manner, output)?;
    }
    Ok(Code::partial_if(!catalogue.damaged.is_empty() || !catalogue.unclear.is_empty()))
}

/// Prints the snapshots below their series and months.
fn tree(snapshots: &[&Stored], out: &mut dyn Write) -> io::Result<()> {
    for series in browse::series(snapshots.iter().copied()) {
        let size = human::counted(series.nights.len() as u64, "snapshot", "snapshots");
        writeln!(out, "{} on {}: {size}", human::printable(series.instance), human::printable(series.host))?;
        let month = |stored: &Stored| time::local(stored.snapshot.taken).get(..7).unwrap_or_default().to_owned();
        for nights in series.nights.chunk_by(|a, b| month(a) == month(b)) {
            let added = nights.iter().map(|stored| stored.snapshot.totals.bytes_added).fold(0, u64::saturating_add);
            let count = human::counted(nights.len() as u64, "snapshot", "snapshots");
            writeln!(
                out,
                "  {}: {count}, {} added",
                nights.first().map_or_else(String::new, |first| month(first)),
                human::bytes(added)
            )?;
            let mut table = Table::bare([Align::Left, Align::Left, Align::Right, Align::Left, Align::Left]);
            for Stored { id, snapshot, .. } in nights {
                table.row([
                    time::local(snapshot.taken),
                    id.short(),
                    human::bytes(snapshot.totals.bytes),
                    verdict(snapshot),
                    human::printable(&snapshot.tags.join(", ")),
                ]);
            }
            table.print("    ", out)?;
        }
    }
    Ok(())
}

/// Prints a table of snapshots.
pub fn print(snapshots: &[&Stored], manner: Manner, out: &mut dyn Write) -> io::Result<()> {
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
    for stored in snapshots {
        let Stored { id, snapshot, .. } = stored;
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
        match &stored.notes.proof {
            Some((proof, _)) if proof.verdict == ProofVerdict::Failed => table.mark(human::BAD),
            _ if snapshot.verdict == Verdict::Fuzzy || snapshot.problem_count > 0 => table.mark(human::DOUBTFUL),
            _ => {}
        }
    }
    if snapshots.iter().any(|stored| stored.notes.proof.is_some()) {
        table.column("proved", Align::Left, snapshots.iter().map(|stored| proved(stored)));
    }
    table.fit(manner.width).coloured(manner.colour).print("", out)
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

/// When it was last tried, and what nothing has tested, or failed.
fn proved(stored: &Stored) -> String {
    stored.notes.proof.as_ref().map_or_else(String::new, |(proof, _)| match proof.verdict {
        ProofVerdict::Ok if proof.test_seconds.is_none() => format!("restored {}", time::local(proof.began)),
        ProofVerdict::Ok => time::local(proof.began),
        ProofVerdict::Failed => format!("failed {}", time::local(proof.began)),
    })
}

/// How long it was frozen.
fn window(snapshot: &Snapshot) -> String {
    let window = snapshot.receipt.as_ref().map(|receipt| format!("{} ms", human::count(receipt.window_ms)));
    window.unwrap_or_else(|| "-".to_owned())
}
