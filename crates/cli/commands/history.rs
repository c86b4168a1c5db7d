//! `icecore history`: every version of one file.

use std::ffi::OsString;
use std::path::Path;

use icecore_engine::Error as EngineError;
use icecore_engine::browse::{self, Met, Scope};
use serde_json::Map;

use super::filter::{self, chosen};
use super::restore::command_line::quoted;
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
        let target = OsString::from(format!("{}:{}", stored.snapshot.instance, String::from_utf8_lossy(&path)));
        let next = human::printable(&quoted(&["icecore".into(), "history".into(), target]));
        return Err(EngineError::NotFound(format!(
            "\"{name}\" names a single snapshot, and history looks at a whole series: `{next}`"
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
        let pattern = pattern_of(&path);
        let (path, count) = (human::path(&path), human::counted(count as u64, "night", "nights"));
        let next = ["icecore".into(), "find".into(), pattern.into(), "-i".into(), OsString::from(&name)];
        let next = format!("`{}` looks for it anywhere", human::printable(&quoted(&next)));
        return Err(EngineError::NotFound(format!("none of {count} of {name} holds \"{path}\"; {next}")).into());
    }
    stream.close(searched, Map::new(), "")
}

/// What finds the last component of a path wherever it stands.
fn pattern_of(path: &[u8]) -> String {
    let name = String::from_utf8_lossy(path.rsplit(|byte| *byte == b'/').next().unwrap_or(path)).into_owned();
    let is_special = |c: char| "\\*?[]!#".contains(c);
    name.chars().flat_map(|c| is_special(c).then_some('\\').into_iter().chain([c])).collect()
}
