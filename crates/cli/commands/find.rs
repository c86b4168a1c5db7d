//! `icecore find`: files in all nights at once.

use icecore_engine::browse::{self, Met, Scope};
use icecore_engine::entry::{Entry, Node, Timestamp};
use icecore_engine::{Catalogue, Stored};
use icecore_source::Excludes;
use regex::bytes::{RegexSet, RegexSetBuilder};
use serde_json::{Map, json};

use super::filter::{self, chosen, moment};
use super::{catalogue, find as select, open, versions};
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
    let searched = progress::attend(false, |progress| {
        all.iter().try_for_each(|series| {
            browse::walk(&opened.archive, &series.nights, Scope::Beneath(&base), progress, &mut |met| match met {
                Met::Lost(_, sentence) => {
                    stream.lose(&sentence);
                    Ok(())
                }
                Met::Path(step)
                    if wanted.names(step.path(), step.versions.iter().any(|(entry, _)| is_directory(entry))) =>
                {
                    let runs = browse::runs(step, series.nights.len(), &|entry| wanted.admits(entry));
                    if runs.is_empty() {
                        return Ok(());
                    }
                    let lines = || versions::lines(series, step.path(), &runs);
                    stream.push(lines, || versions::object(series, step.path(), &runs, step.unknown.count()))
                }
                Met::Path(_) => Ok(()),
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

fn is_directory(entry: &Entry) -> bool {
    entry.node == Node::Directory
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
            patterns if args.ignore_case => Names::Globs(Excludes::ignoring_case(patterns)?),
            patterns => Names::Globs(Excludes::new(patterns, &[])?),
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

    /// Whether a path may be meant.
    fn names(&self, path: &[u8], is_directory: bool) -> bool {
        match &self.names {
            Names::All => !path.is_empty(),
            Names::Globs(globs) => globs.matches(path, is_directory),
            Names::Regexes(regexes) => regexes.is_match(path),
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
