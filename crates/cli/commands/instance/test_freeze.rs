//! `icecore instance test-freeze`: a window as a backup's, of which nothing is stored.

use std::io::{self, Write};
use std::time::Duration;

use icecore_engine::backup::{Rehearsal, rehearse};
use icecore_source::claim::{Claim, Use};
use serde_json::json;

use crate::args::{BackupArgs, TestFreezeArgs};
use crate::commands::backup::{self, Selection};
use crate::commands::open;
use crate::error::Result;
use crate::exit::Code;
use crate::output::{Output, human, json, progress};
use crate::settings::Settings;

/// Runs the command.
pub fn run(args: &TestFreezeArgs, settings: &Settings, output: &mut Output) -> Result<Code> {
    let configuration = settings.configuration()?;
    let instance = configuration.instance(&args.name)?;
    let as_backup = BackupArgs { threads: args.threads, ..BackupArgs::default() };
    let selection = Selection::of_instance(&as_backup, instance, configuration, settings)?;
    let roots: Vec<_> = selection.roots.iter().map(|root| (root.path.clone(), Use::Read)).collect();
    let _claim = Claim::take(&settings.claims(), &roots, &format!("a rehearsal of the freeze of {}", instance.name))?;
    // Without it nobody knows what is hot.
    let opened = open(settings, output)?;
    let job = backup::job(&as_backup, selection, settings, &opened.archive)?;
    let show = output.manner().progress;
    let rehearsal = progress::attend(show, |progress| rehearse(&opened.archive, &job, progress))??;
    if output.manner().json {
        output.document(json!({
            "instance": instance.name,
            "capture": rehearsal.capture,
            "window_ms": milliseconds(rehearsal.window),
            "listing_ms": milliseconds(rehearsal.listing),
            "entries": rehearsal.entries,
            "hot_files": rehearsal.hot.0,
            "hot_bytes": rehearsal.hot.1,
            "overhead_ms": milliseconds(rehearsal.overhead()),
            "bytes_per_second": rehearsal.rate,
            "reading_ms": milliseconds(rehearsal.securing),
            "longest_ms": milliseconds(rehearsal.longest()),
            "thawed_by": json::thawed_by(rehearsal.thawed_by),
            "in_time": rehearsal.in_time,
        }))?;
    } else {
        print(&instance.name, &rehearsal, output)?;
    }
    rehearsal.warnings.iter().for_each(|warning| output.warn(warning));
    if !rehearsal.in_time {
        output.warn("the window was longer than max-freeze allows: allow more");
    }
    Ok(Code::partial_if(!rehearsal.in_time))
}

fn print(instance: &str, rehearsal: &Rehearsal, out: &mut dyn Write) -> io::Result<()> {
    let Rehearsal { capture, entries, hot: (files, bytes), window, listing, rate, thawed_by, .. } = rehearsal;
    let part = if *capture == "snapshot" { "after it" } else { "of it" };
    let ms = |duration| format!("{} ms", human::count(milliseconds(duration)));
    let files = human::counted(*files, "file", "files");
    let [overhead, securing] = [rehearsal.overhead(), rehearsal.securing].map(ms);
    let mut parts = match *capture {
        "snapshot" => vec![format!("{overhead} freezing, making the snapshot and thawing")],
        _ => vec![format!("{overhead} freezing and thawing"), format!("{} listing", ms(*listing))],
    };
    let mut changed = format!("{files}, {}", human::bytes(*bytes));
    if let Some(rate) = rate {
        changed.push_str(&format!(": {securing} at {}/s", human::bytes(*rate)));
        parts.push(format!("{securing} reading what has changed, less what the warm pass reads before"));
    } else if *capture == "clone" {
        parts.push(format!("{securing} cloning what has changed, less what the warm pass reads before"));
    }
    let longest = format!("at most {}: {}", ms(rehearsal.longest()), parts.join(" + "));
    writeln!(out, "instance {} froze and thawed; nothing was stored", human::printable(instance))?;
    human::fields(
        out,
        [
            ("window", format!("{}, thawed by the {}", ms(*window), json::thawed_by(*thawed_by))),
            ("capture", (*capture).to_owned()),
            ("listing", format!("{} {part}, for {}", ms(*listing), human::counted(*entries, "entry", "entries"))),
            ("changed", changed),
            ("a real night", longest),
        ],
    )
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
