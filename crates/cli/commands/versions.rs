//! Versions of one path over many nights, as `find` and `history` show them.

use icecore_engine::browse::{Run, Series, content_name};
use icecore_engine::entry::Node;
use serde_json::{Map, Value, json};

use crate::output::{human, json};
use crate::time;

/// The lines of a path: its name, then one for each run.
pub fn lines(series: &Series<'_>, path: &[u8], runs: &[Run<'_>]) -> String {
    let mut text = format!("{}:{}", human::printable(series.instance), human::path(path));
    for run in runs {
        text.push_str("\n  ");
        text.push_str(&line(series, run));
    }
    text
}

fn line(series: &Series<'_>, run: &Run<'_>) -> String {
    let (first, last) = (series.nights[run.first], series.nights[run.last]);
    let until = match run.nights() {
        1 => String::new(),
        _ => format!("to {}", minute(&time::local(last.snapshot.taken))),
    };
    let nights = human::counted(run.nights() as u64, "night", "nights");
    let from = minute(&time::local(first.snapshot.taken)).to_owned();
    let (id, what, changed) = (last.id.short(), what(run), minute(&time::local(run.entry.meta.mtime)).to_owned());
    let content = content_name(run.entry).unwrap_or_default();
    let line = format!("{from:<16} {until:<19}  {nights:>10}  in {id}  {what:>10}  changed {changed}  {content}");
    line.trim_end().to_owned()
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
pub fn object(series: &Series<'_>, path: &[u8], runs: &[Run<'_>], unknown: usize) -> Value {
    let night = |number: usize| {
        let stored = series.nights[number];
        json!({ "id": stored.id.to_string(), "taken": json::time(stored.snapshot.taken) })
    };
    let run = |run: &Run<'_>| {
        let mut object = json::entry(run.entry);
        object.shift_remove("path");
        object.shift_remove("path_hex");
        object.insert("content".to_owned(), content_name(run.entry).into());
        object.insert("nights".to_owned(), run.nights().into());
        object.insert("first".to_owned(), night(run.first));
        object.insert("last".to_owned(), night(run.last));
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
