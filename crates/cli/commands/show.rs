//! `icecore show`: everything that is recorded of one snapshot.

use std::io::{self, Write};

use icecore_engine::Stored;
use icecore_engine::snapshot::{Problem, Receipt, Totals};
use serde_json::json;

use super::{catalogue, doubts, find, open};
use crate::args::ShowArgs;
use crate::error::Result;
use crate::exit::Code;
use crate::output::{Output, human, json};
use crate::settings::Settings;
use crate::time;

/// Runs the command.
pub fn run(args: &ShowArgs, settings: &Settings, output: &mut Output) -> Result<Code> {
    let opened = open(settings, output)?;
    let catalogue = catalogue(&opened.archive, output)?;
    let stored = find(&catalogue, &args.snapshot)?;
    if output.manner().json {
        let mut document = json::full(&stored.id, &stored.snapshot);
        document.insert("proof".to_owned(), json::proof(&stored.notes));
        output.document(json!({ "snapshot": document }))?;
    } else {
        print(stored, output)?;
    }
    Ok(Code::partial_if(!doubts(&catalogue, stored, &args.snapshot).is_empty()))
}

fn print(stored: &Stored, out: &mut dyn Write) -> io::Result<()> {
    let Stored { id, snapshot, notes } = stored;
    writeln!(out, "snapshot {id}")?;
    let mut lines = vec![
        ("instance", human::printable(&snapshot.instance)),
        ("verdict", json::verdict(snapshot.verdict).to_owned()),
        ("taken", time::local(snapshot.taken)),
        ("started", time::local(snapshot.started)),
        ("finished", time::local(snapshot.finished)),
        ("host", human::printable(&snapshot.host)),
        ("user", human::printable(&snapshot.user)),
        ("program", human::printable(&snapshot.program)),
        ("parent", snapshot.parent.map_or_else(|| "none".to_owned(), |parent| parent.short())),
        ("manifest", snapshot.manifest.id.to_string()),
    ];
    let roots = snapshot.roots.iter();
    lines.extend(roots.map(|root| ("root", format!("{} = {}", human::printable(&root.name), human::path(&root.path)))));
    lines.extend(snapshot.tags.iter().map(|tag| ("tag", human::printable(tag))));
    lines.extend(notes.proof.as_ref().map(|(proof, host)| {
        let result = json::proof_result(proof);
        let (began, host) = (time::local(proof.began), human::printable(host));
        (
            "proved",
            format!("{result} on {host} at {began}, in {} s: {}", proof.seconds, human::printable(&proof.message)),
        )
    }));
    lines.extend(snapshot.excludes.iter().map(|pattern| ("left out", human::printable(pattern))));
    let rules = [
        (snapshot.exclude_caches, "content of directories with a CACHEDIR.TAG"),
        (snapshot.one_file_system, "what is mounted below"),
    ];
    lines.extend(rules.into_iter().filter(|(holds, _)| *holds).map(|(_, what)| ("left out", what.to_owned())));
    lines.extend(snapshot.protected_until.map(|until| ("protected until", time::local(until))));
    lines.extend(snapshot.corrects.map(|id| ("corrects", format!("the damaged snapshot {}", id.short()))));
    lines.extend(snapshot.origin.map(|origin| {
        ("copy of", format!("snapshot {} of repository {}", origin.snapshot.short(), origin.repository.short()))
    }));
    human::fields(out, lines)?;
    writeln!(out, "totals")?;
    human::fields(out, totals(&snapshot.totals))?;
    if let Some(receipt) = &snapshot.receipt {
        writeln!(out, "receipt")?;
        human::fields(out, window(receipt))?;
        problems("violations", &receipt.violations, receipt.violations.len() as u64, out)?;
    }
    problems("problems", &snapshot.problems, snapshot.problem_count, out)
}

fn totals(totals: &Totals) -> [(&'static str, String); 8] {
    [
        ("entries", human::count(totals.entries)),
        (
            "files",
            format!(
                "{}: {} new, {} changed, {} unchanged, {} renamed",
                human::count(totals.files),
                human::count(totals.files_new),
                human::count(totals.files_changed),
                human::count(totals.files_unchanged),
                human::count(totals.files_renamed),
            ),
        ),
        ("directories", human::count(totals.directories)),
        ("others", human::count(totals.others)),
        ("removed", human::counted(totals.entries_removed, "entry", "entries")),
        ("size", human::bytes(totals.bytes)),
        (
            "new",
            format!(
                "{} in {}, of {} read",
                human::bytes(totals.bytes_new),
                human::counted(totals.chunks_new, "chunk", "chunks"),
                human::bytes(totals.bytes_read)
            ),
        ),
        ("added", human::bytes(totals.bytes_added)),
    ]
}

/// What happened in a window: its first time as people read it, the others in milliseconds after that.
fn window(receipt: &Receipt) -> Vec<(&'static str, String)> {
    let after = |time| format!("{:+} ms", time::milliseconds_between(receipt.requested, time));
    let mut lines = vec![
        ("freezer", human::printable(&receipt.freezer)),
        ("window", human::window(receipt)),
        ("requested", time::local(receipt.requested)),
        ("frozen", after(receipt.frozen)),
        ("listed", after(receipt.listed)),
        ("thawed", format!("{} by the {}", after(receipt.thawed), json::thawed_by(receipt.thawed_by))),
    ];
    lines.extend(receipt.awake.as_ref().map(|why| ("awake", human::printable(why))));
    lines
}

fn problems(title: &str, problems: &[Problem], count: u64, out: &mut dyn Write) -> io::Result<()> {
    if count == 0 {
        return Ok(());
    }
    writeln!(out, "{title}: {}", human::count(count))?;
    for problem in problems {
        let (path, kind) = (human::path(&problem.path), json::problem_kind(problem.kind));
        writeln!(out, "  {path}: {kind}: {}", human::printable(&problem.message))?;
    }
    match count.saturating_sub(problems.len() as u64) {
        0 => Ok(()),
        more => writeln!(out, "  and {} more that were only counted", human::count(more)),
    }
}
