//! `icecore history`: every version of one file.

use std::path::Path;

use icecore_engine::Error as EngineError;
use icecore_engine::browse::{self, Met, Scope};
use serde_json::Map;

use super::filter::{self, chosen};
use super::versions::{self, Nights};
use super::{catalogue, find, open};
use crate::args::{HistoryArgs, SeriesFilter, SnapshotFilter};
use crate::error::{Error, Result};
use crate::exit::Code;
use crate::output::stream::Stream;
use crate::output::{Output, human, progress};
use crate::settings::Settings;

/// Runs the command.
pub fn run(args: &HistoryArgs, settings: &Settings, output: &mut Output) -> Result<Code> {
    let (name, path) = browse::split_path(args.target.as_encoded_bytes());
    let name = String::from_utf8_lossy(name).into_owned();
    if path.is_empty() {
        let shown = Path::new(&args.target).display();
        return Err(Error::Misuse(format!("\"{shown}\" names no file: expected NAME:PATH, as in wiki:config.php")));
    }
    let opened = open(settings, output)?;
    let catalogue = catalogue(&opened.archive, output)?;
    let series = SeriesFilter { instances: vec![name.clone()], ..SeriesFilter::default() };
    let filter = SnapshotFilter { series, times: args.times.clone() };
    let is_series = catalogue.snapshots.iter().any(|stored| stored.snapshot.instance == name);
    if !is_series && let Ok(stored) = find(&catalogue, &name) {
        let (series, path) = (human::printable(&stored.snapshot.instance), human::path(&path));
        return Err(EngineError::NotFound(format!(
            "\"{name}\" names a single snapshot, and history looks at a whole series: `icecore history '{series}:{path}'`"
        ))
        .into());
    }
    let nights = chosen(&filter, &catalogue)?;
    if nights.is_empty() {
        return Err(EngineError::NotFound(filter::nothing(&filter, &catalogue)).into());
    }
    let count = nights.len();
    let all = browse::series(nights);
    let mut stream = Stream::new(output, "files");
    stream.miss(&catalogue.damaged);
    let searched = progress::attend(stream.shows_progress(), |progress| {
        all.iter().try_for_each(|series| {
            let nights = Nights::of(series);
            browse::walk(&opened.archive, &series.nights, Scope::At(&path), &|_| true, progress, &mut |met| match met {
                Met::Lost(_, sentence) => {
                    stream.lose(&sentence);
                    Ok(())
                }
                Met::Path(step) => {
                    let runs = browse::runs(step, series.nights.len(), &|_| true);
                    let unknown = step.unknown.count();
                    let lines = || versions::lines(series, &nights, step.path(), &runs);
                    stream.push(lines, || versions::object(series, &nights, step.path(), &runs, unknown))
                }
            })
        })
    })?;
    if stream.printed() == 0 && searched.is_ok() && !stream.has_lost() {
        let (path, count) = (human::path(&path), human::counted(count as u64, "night", "nights"));
        let next = format!("`icecore find '{path}' -i {name}` looks for it anywhere");
        return Err(EngineError::NotFound(format!("none of {count} of {name} holds \"{path}\"; {next}")).into());
    }
    stream.close(searched, Map::new(), "")
}
