//! `icecore rebuild-index`: makes the local index anew.

use std::io::Write;
use std::sync::atomic::Ordering::Relaxed;

use icecore_engine::Phase;
use serde_json::json;

use super::open;
use crate::error::Result;
use crate::exit::Code;
use crate::output::{Output, human, progress};
use crate::settings::Settings;

/// Runs the command.
pub fn run(settings: &Settings, output: &mut Output) -> Result<Code> {
    let opened = open(settings, output)?;
    let rebuilt = progress::attend(output.manner().progress, |progress| {
        progress.enter(Phase::Indexing);
        opened.archive.rebuild_index(|done, total| {
            progress.entries.store(done, Relaxed);
            progress.entries_total.store(total, Relaxed);
        })
    })??;
    rebuilt.damaged.iter().for_each(|damage| output.warn(damage));
    rebuilt.missing.iter().for_each(|pack| output.warn(format_args!("pack {pack} is missing from the repository")));
    let intact = rebuilt.damaged.is_empty() && rebuilt.missing.is_empty();
    if output.manner().json {
        let missing: Vec<_> = rebuilt.missing.iter().map(ToString::to_string).collect();
        output.document(json!({
            "index": opened.archive.index_path().to_string_lossy(),
            "packs": rebuilt.packs,
            "fragments": rebuilt.fragments,
            "adopted": rebuilt.adopted,
            "missing": missing,
            "damaged": rebuilt.damaged,
        }))?;
    } else {
        writeln!(output, "the index {} is made anew", opened.archive.index_path().display())?;
        let lines = [
            ("packs", human::count(rebuilt.packs)),
            ("fragments", human::count(rebuilt.fragments)),
            ("packs in no fragment", human::count(rebuilt.adopted)),
        ];
        human::fields(output, lines)?;
    }
    Ok(if intact { Code::Done } else { Code::Failed })
}
