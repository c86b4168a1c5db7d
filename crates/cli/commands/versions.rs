//! Versions of one path over many nights, as `find` and `history` show them.

use std::fmt::Write;

use icecore_engine::Stored;
use icecore_engine::browse::{Run, Series, content_name};
use icecore_engine::entry::Node;
use serde_json::{Map, Value, json};

use crate::output::{human, json};
use crate::time;

/// The nights of a series as every path of it is told with them.
pub struct Nights {
    taken: Vec<String>,
    ids: Vec<String>,
    objects: Vec<Value>,
}

impl Nights {
    /// Those of a series.
    pub fn of(series: &Series<'_>) -> Self {
        let taken = series.nights.iter().map(|stored| minute(&time::local(stored.snapshot.taken)).to_owned());
        let object =
            |stored: &&Stored| json!({ "id": stored.id.to_string(), "taken": json::time(stored.snapshot.taken) });
        let ids = series.nights.iter().map(|stored| stored.id.short()).collect();
        Self { taken: taken.collect(), ids, objects: series.nights.iter().map(object).collect() }
    }
}

/// The lines of a path: its name, then one for each run.
pub fn lines(series: &Series<'_>, nights: &Nights, path: &[u8], runs: &[Run<'_>]) -> String {
    let mut text = format!("{}:{}", human::printable(series.instance), human::path(path));
    for run in runs {
        let from = &nights.taken[run.first];
        let until = match run.nights() {
            1 => String::new(),
            _ => format!("to {}", nights.taken[run.last]),
        };
        let count = human::counted(run.nights() as u64, "night", "nights");
        let (id, what) = (&nights.ids[run.last], what(run));
        let changed = time::local(run.entry.meta.mtime);
        let (changed, content) = (minute(&changed), content_name(run.entry).unwrap_or_default());
        // Writing to a string does not fail.
        let _ =
            write!(text, "\n  {from:<16} {until:<19}  {count:>10}  in {id}  {what:>10}  changed {changed}  {content}");
        text.truncate(text.trim_end().len());
    }
    text
}

/// A local time without its seconds; one that no calendar has stays as it is.
fn minute(time: &str) -> &str {
    if time.starts_with('@') { time } else { time.rsplit_once(':').map_or(time, |(minute, _)| minute) }
}

fn what(run: &Run<'_>) -> String {
    match &run.entry.node {
        Node::File(file) => human::bytes(file.size),
        Node::Symlink { .. } => "link".to_owned(),
        Node::Directory => "directory".to_owned(),
        _ => "special".to_owned(),
    }
}

/// The same as programs read it.
pub fn object(series: &Series<'_>, nights: &Nights, path: &[u8], runs: &[Run<'_>], unknown: usize) -> Value {
    let run = |run: &Run<'_>| {
        let mut object = json::entry(run.entry);
        object.shift_remove("path");
        object.shift_remove("path_hex");
        object.insert("content".to_owned(), content_name(run.entry).into());
        object.insert("nights".to_owned(), run.nights().into());
        object.insert("first".to_owned(), nights.objects[run.first].clone());
        object.insert("last".to_owned(), nights.objects[run.last].clone());
        Value::Object(object)
    };
    let mut object = Map::new();
    object.insert("instance".to_owned(), series.instance.into());
    object.insert("host".to_owned(), series.host.into());
    json::put_path(&mut object, "path", path);
    object.insert("versions".to_owned(), runs.iter().map(run).collect());
    object.insert("nights".to_owned(), series.nights.len().into());
    object.insert("nights_unknown".to_owned(), unknown.into());
    Value::Object(object)
}
