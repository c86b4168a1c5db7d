//! `icecore find`: files in all nights at once.

use icecore_engine::browse::{self, Met, Scope};
use icecore_engine::entry::{Entry, Node, Timestamp};
use icecore_engine::{Catalogue, Stored};
use icecore_source::Excludes;
use regex::bytes::{RegexSet, RegexSetBuilder};
use serde_json::{Map, json};

use super::filter::{self, chosen, moment};
use super::versions::{self, Nights};
use super::{catalogue, find as select, open};
use crate::args::{FindArgs, KindArg, values};
use crate::error::{Error, Result};
use crate::exit::Code;
use crate::output::stream::Stream;
use crate::output::{Output, human, progress};
use crate::settings::Settings;
use crate::time;

/// Runs the command.
pub fn run(args: &FindArgs, settings: &Settings, output: &mut Output) -> Result<Code> {
    let wanted = Wanted::read(args)?;
    let opened = open(settings, output)?;
    let catalogue = catalogue(&opened.archive, output)?;
    let nights = nights(args, &catalogue)?;
    if nights.is_empty() {
        output.note(filter::nothing(&args.filter, &catalogue));
    }
    let count = nights.len();
    let all = browse::series(nights);
    let base = args.path.as_ref().map_or(Vec::new(), |path| browse::clean(path.as_encoded_bytes()));
    let mut stream = Stream::new(output, "files");
    stream.miss(&catalogue.damaged);
    if !args.filter.series.tags.is_empty() {
        stream.miss(&catalogue.unclear);
    }
    let searched = progress::attend(stream.shows_progress(), |progress| {
        all.iter().try_for_each(|series| {
            let (scope, is_wanted) =
                (Scope::Beneath(&base), |entry: &Entry| wanted.admits(entry) && wanted.names(entry));
            let nights = Nights::of(series);
            browse::walk(&opened.archive, &series.nights, scope, &is_wanted, progress, &mut |met| match met {
                Met::Lost(_, sentence) => {
                    stream.lose(&sentence);
                    Ok(())
                }
                Met::Path(step) => {
                    let runs = browse::runs(step, series.nights.len(), &is_wanted);
                    let lines = || versions::lines(series, &nights, step.path(), &runs);
                    stream.push(lines, || versions::object(series, &nights, step.path(), &runs, step.unknown.count()))
                }
            })
        })
    })?;
    if stream.printed() == 0 && searched.is_ok() {
        stream.note(format_args!("nothing was found in {}", human::counted(count as u64, "snapshot", "snapshots")));
    }
    let tail = json!({ "snapshots": count });
    let tail = tail.as_object().cloned().unwrap_or_else(Map::new);
    stream.close(searched, tail, "")
}

fn nights<'c>(args: &FindArgs, catalogue: &'c Catalogue) -> Result<Vec<&'c Stored>> {
    if args.snapshots.is_empty() {
        return chosen(&args.filter, catalogue);
    }
    let named: Vec<&Stored> = args.snapshots.iter().map(|text| select(catalogue, text)).collect::<Result<_>>()?;
    // In the order of the catalogue, each once.
    Ok(catalogue.snapshots.iter().filter(|stored| named.iter().any(|named| named.id == stored.id)).collect())
}

/// What is searched for.
struct Wanted {
    names: Names,
    kinds: Vec<KindArg>,
    least: u64,
    most: u64,
    has_size: bool,
    newer: Option<Timestamp>,
    older: Option<Timestamp>,
}

/// Patterns as they mean something when they are searched for: what is taken back by the first is taken from everything, and no
/// pattern is a comment or has an end that does not count, as lines of an exclude file have.
fn globs(patterns: &[String]) -> Result<Vec<String>> {
    let mut globs = Vec::with_capacity(patterns.len() + 1);
    if patterns.first().is_some_and(|first| first.starts_with('!')) {
        globs.push("*".to_owned());
    }
    for pattern in patterns {
        globs.push(match (pattern.strip_suffix(' '), pattern.as_str()) {
            (_, "" | "!") => {
                return Err(Error::Misuse(format!(
                    "{pattern:?} matches nothing: without a pattern, everything is found"
                )));
            }
            (_, comment) if comment.starts_with('#') => format!("\\{comment}"),
            (Some(front), _) if !front.ends_with('\\') => format!("{front}\\ "),
            (_, other) => other.to_owned(),
        });
    }
    Ok(globs)
}

enum Names {
    All,
    Globs(Excludes),
    Regexes(RegexSet),
}

impl Wanted {
    fn read(args: &FindArgs) -> Result<Self> {
        let names = match args.patterns.as_slice() {
            [] => Names::All,
            patterns if args.regex => {
                let set = RegexSetBuilder::new(patterns).case_insensitive(args.ignore_case).build();
                Names::Regexes(set.map_err(|error| Error::Misuse(error.to_string()))?)
            }
            patterns if args.ignore_case => Names::Globs(Excludes::ignoring_case(&globs(patterns)?)?),
            patterns => Names::Globs(Excludes::new(&globs(patterns)?, &[])?),
        };
        let mut wanted = Self {
            names,
            kinds: args.kinds.clone(),
            least: 0,
            most: u64::MAX,
            has_size: !args.size.is_empty(),
            newer: args.newer.as_deref().map(|text| moment("--newer", text, time::parse_start)).transpose()?,
            older: args.older.as_deref().map(|text| moment("--older", text, time::parse_start)).transpose()?,
        };
        for text in &args.size {
            let read = |number: &str| {
                let wrong = |why| Error::Misuse(format!("--size {text:?}: {why}"));
                values::size(number.strip_suffix('B').unwrap_or(number)).map_err(wrong)
            };
            match (text.strip_prefix('+'), text.strip_prefix('-')) {
                (Some(least), _) => wanted.least = read(least)?,
                (_, Some(most)) => wanted.most = read(most)?,
                _ => (wanted.least, wanted.most) = (read(text)?, read(text)?),
            }
        }
        Ok(wanted)
    }

    /// Whether its path is meant.
    fn names(&self, entry: &Entry) -> bool {
        match &self.names {
            Names::All => !entry.path.is_empty(),
            Names::Globs(globs) => globs.matches(&entry.path, entry.node == Node::Directory),
            Names::Regexes(regexes) => regexes.is_match(&entry.path),
        }
    }

    /// Whether a version is meant.
    fn admits(&self, entry: &Entry) -> bool {
        let kind = match &entry.node {
            Node::File(_) => Some(KindArg::F),
            Node::Directory => Some(KindArg::D),
            Node::Symlink { .. } => Some(KindArg::L),
            _ => None,
        };
        let mtime = entry.meta.mtime;
        (self.kinds.is_empty() || kind.is_some_and(|kind| self.kinds.contains(&kind)))
            && (!self.has_size || kind == Some(KindArg::F) && (self.least..=self.most).contains(&entry.size()))
            && self.newer.is_none_or(|newer| mtime >= newer)
            && self.older.is_none_or(|older| mtime < older)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_is_searched_for() {
        let names = |patterns: &[&str]| {
            let patterns: Vec<_> = patterns.iter().map(ToString::to_string).collect();
            let globs = Excludes::new(&globs(&patterns).unwrap(), &[]).unwrap();
            ["a.txt", "dir/b.txt", "#x", "!c", "d "].map(|path| globs.matches(path.as_bytes(), false))
        };
        assert_eq!(names(&["*.txt"]), [true, true, false, false, false]);
        assert_eq!(names(&["!*.txt"]), [false, false, true, true, true]);
        assert_eq!(names(&["*.txt", "!b.txt"]), [true, false, false, false, false]);
        assert_eq!(names(&["#x"]), [false, false, true, false, false]);
        assert_eq!(names(&["\\!c"]), [false, false, false, true, false]);
        assert_eq!(names(&["d "]), [false, false, false, false, true]);
        assert_eq!(names(&["d\\ "]), [false, false, false, false, true]);
        assert!(globs(&[String::new()]).is_err() && globs(&["!".to_owned()]).is_err());
    }
}
