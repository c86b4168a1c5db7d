//! `icecore diff`: what changed between two snapshots, or since one.

use std::path::Path;

use anstyle::Style;
use icecore_engine::browse::{self, Change, Differs, Field, Live, LiveJob};
use icecore_engine::entry::{Entry, Node};
use icecore_engine::{Archive, Result as EngineResult, Stored};
use icecore_source::target::beneath;
use icecore_source::tree::Root;
use icecore_source::{Excludes, Kind, Stat};
use serde_json::{Map, Value, json};

use super::restore::{identities, ours};
use super::{catalogue, doubts, find, open, threads};
use crate::args::DiffArgs;
use crate::error::{Error, Result};
use crate::exit::Code;
use crate::output::stream::Stream;
use crate::output::{Output, human, json, progress};
use crate::settings::Settings;

/// Runs the command.
pub fn run(args: &DiffArgs, settings: &Settings, output: &mut Output) -> Result<Code> {
    let opened = open(settings, output)?;
    let archive = &opened.archive;
    let catalogue = catalogue(archive, output)?;
    let before = find(&catalogue, &args.before)?;
    let mut tail = Map::new();
    tail.insert("before".to_owned(), before.id.to_string().into());
    let quiet = args.stat && !output.manner().json;
    let colour = output.manner().colour;
    let mut report = Report { args, quiet, colour, stat: Sum::default(), stream: Stream::new(output, "changes") };
    report.stream.miss(doubts(&catalogue, before, &args.before));
    let show = report.stream.shows_progress();
    let compared = if args.live {
        let path = browse::clean(args.after.as_deref().unwrap_or_default().as_encoded_bytes());
        let job = live_job(args, before, settings, archive)?;
        tail.insert("after".to_owned(), Value::Null);
        progress::attend(show, |progress| {
            browse::diff_live(archive, before, &path, job, progress, &mut |met| report.live(met))
        })?
    } else {
        let name = args.after.as_deref().unwrap_or_default().to_string_lossy();
        let after = find(&catalogue, &name)?;
        // Once, if both are in doubt.
        if doubts(&catalogue, before, &args.before).is_empty() {
            report.stream.miss(doubts(&catalogue, after, &name));
        }
        let path = args.path.as_ref().map_or(Vec::new(), |path| browse::clean(path.as_encoded_bytes()));
        tail.insert("after".to_owned(), after.id.to_string().into());
        progress::attend(show, |progress| {
            browse::diff(archive, before, after, &path, progress, &mut |met| report.stored(met))
        })?
    };
    let Report { stat, stream, .. } = report;
    tail.insert("stat".to_owned(), stat.object());
    let sum = if args.name_only { String::new() } else { stat.line() };
    stream.close(compared, tail, &sum)
}

fn live_job(args: &DiffArgs, stored: &Stored, settings: &Settings, archive: &Archive) -> Result<LiveJob> {
    let recorded = &stored.snapshot.roots;
    if let Some((name, _)) = args.roots.iter().find(|(name, _)| !recorded.iter().any(|root| root.name == *name)) {
        let names: Vec<_> = recorded.iter().map(|root| root.name.as_str()).collect();
        let sentence = format!("the snapshot has no root \"{name}\"; it has {}", names.join(", "));
        return Err(Error::Misuse(sentence));
    }
    let roots = recorded.iter().map(|root| {
        let moved = args.roots.iter().find(|(name, _)| *name == root.name).map(|(_, directory)| directory.clone());
        Root { name: root.name.clone(), path: moved.unwrap_or_else(|| beneath(Path::new(""), &root.path)) }
    });
    Ok(LiveJob {
        roots: roots.collect(),
        excludes: Excludes::new(&stored.snapshot.excludes, &[])?,
        leave_out: identities(&ours(settings, archive))?,
        rehash: args.rehash,
        threads: threads(args.threads),
        spool: archive.index_path().parent().map(Into::into),
    })
}

/// What was found, on its way out.
struct Report<'a, 'o> {
    args: &'a DiffArgs,
    quiet: bool,
    colour: bool,
    stat: Sum,
    stream: Stream<'o>,
}

/// How much changed.
#[derive(Debug, Default)]
struct Sum {
    added: u64,
    added_bytes: u64,
    removed: u64,
    removed_bytes: u64,
    content: u64,
    metadata: u64,
    types: u64,
}

impl Sum {
    fn line(&self) -> String {
        format!(
            "{} added ({}), {} removed ({}), {} with changed content, {} with changed metadata, {} of another type",
            human::count(self.added),
            human::bytes(self.added_bytes),
            human::count(self.removed),
            human::bytes(self.removed_bytes),
            human::count(self.content),
            human::count(self.metadata),
            human::count(self.types),
        )
    }

    fn object(&self) -> Value {
        json!({
            "added": self.added, "added_bytes": self.added_bytes,
            "removed": self.removed, "removed_bytes": self.removed_bytes,
            "content": self.content, "metadata": self.metadata, "type": self.types,
        })
    }

    /// Counts a change and gives its mark.
    fn count(&mut self, fields: &[Field]) -> char {
        let (count, mark) = if fields.contains(&Field::Type) {
            (&mut self.types, 'T')
        } else if fields.iter().any(|field| matches!(field, Field::Content | Field::Target | Field::Device)) {
            (&mut self.content, 'M')
        } else {
            (&mut self.metadata, 'm')
        };
        *count += 1;
        mark
    }
}

impl Report<'_, '_> {
    fn stored(&mut self, met: Differs) -> EngineResult<()> {
        match met {
            Differs::Lost(sentence) => {
                self.stream.lose(&sentence);
                Ok(())
            }
            Differs::Change(change) => match *change {
                Change::Added(entry) => self.added(&entry.path.clone(), &json::entry(&entry), entry.size()),
                Change::Removed(entry) => self.removed(&entry),
                Change::Changed { before, after, fields } => {
                    let sizes = (before.size() != after.size()).then(|| (before.size(), after.size()));
                    self.changed(&before, &json::entry(&after), &fields, sizes)
                }
            },
        }
    }

    fn live(&mut self, met: Live) -> EngineResult<()> {
        match met {
            Live::Lost(sentence) => {
                self.stream.lose(&sentence);
                Ok(())
            }
            Live::Added(listed) => {
                let size = if listed.stat.kind == Kind::File { listed.stat.size } else { 0 };
                self.added(&listed.path, &live_entry(&listed.path, &listed.stat), size)
            }
            Live::Removed(entry) => self.removed(&entry),
            Live::Changed(before, stat, fields) => {
                let is_file = matches!(before.node, Node::File(_)) && stat.kind == Kind::File;
                let sizes = (is_file && before.size() != stat.size).then(|| (before.size(), stat.size));
                self.changed(&before, &live_entry(&before.path, &stat), &fields, sizes)
            }
        }
    }

    fn added(&mut self, path: &[u8], entry: &Map<String, Value>, size: u64) -> EngineResult<()> {
        (self.stat.added, self.stat.added_bytes) = (self.stat.added + 1, self.stat.added_bytes + size);
        let line = self.line('+', path, String::new);
        self.stream.push(|| line, || object("added", path, None, Some(entry), &[]))
    }

    fn removed(&mut self, entry: &Entry) -> EngineResult<()> {
        (self.stat.removed, self.stat.removed_bytes) = (self.stat.removed + 1, self.stat.removed_bytes + entry.size());
        let line = self.line('-', &entry.path, String::new);
        self.stream.push(|| line, || object("removed", &entry.path, Some(&json::entry(entry)), None, &[]))
    }

    fn changed(
        &mut self,
        before: &Entry,
        after: &Map<String, Value>,
        fields: &[Field],
        sizes: Option<(u64, u64)>,
    ) -> EngineResult<()> {
        let mark = self.stat.count(fields);
        let line = self.line(mark, &before.path, || {
            let names: Vec<_> = fields.iter().map(|field| field.name()).collect();
            let sizes = sizes.map(|(old, new)| format!("; {} -> {}", human::bytes(old), human::bytes(new)));
            format!("  ({}{})", names.join(", "), sizes.unwrap_or_default())
        });
        self.stream.push(|| line, || object("changed", &before.path, Some(&json::entry(before)), Some(after), fields))
    }

    /// Nothing where only the sum is wanted.
    fn line(&self, mark: char, path: &[u8], more: impl FnOnce() -> String) -> String {
        match () {
            () if self.quiet => String::new(),
            () if self.args.name_only => human::path(path),
            () => {
                let style = match mark {
                    '+' => human::GOOD,
                    '-' => human::BAD,
                    'm' => Style::new(),
                    _ => human::DOUBTFUL,
                };
                human::paint(&format!("{mark} {}{}", human::path(path), more()), style, self.colour).into_owned()
            }
        }
    }
}

fn object(
    change: &str,
    path: &[u8],
    before: Option<&Map<String, Value>>,
    after: Option<&Map<String, Value>>,
    fields: &[Field],
) -> Value {
    let mut object = Map::new();
    object.insert("change".to_owned(), change.into());
    json::put_path(&mut object, "path", path);
    object.insert("fields".to_owned(), fields.iter().map(|field| field.name()).collect());
    object.insert("before".to_owned(), before.cloned().into());
    object.insert("after".to_owned(), after.cloned().into());
    Value::Object(object)
}

/// What is known of a live entry.
fn live_entry(path: &[u8], stat: &Stat) -> Map<String, Value> {
    let kind = match stat.kind {
        Kind::Directory => "directory",
        Kind::File => "file",
        Kind::Symlink => "symlink",
        Kind::Fifo => "fifo",
        Kind::Socket => "socket",
        Kind::CharDevice => "char-device",
        Kind::BlockDevice => "block-device",
    };
    let size = (stat.kind == Kind::File).then_some(stat.size);
    json::entry_head(path, kind, (stat.mode, stat.uid, stat.gid), stat.mtime, stat.links, size)
}
