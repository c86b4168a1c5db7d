//! `icecore tag`: changes the tags of snapshots.

use std::io::Write;

use icecore_engine::Stored;
use icecore_engine::annotate::Author;
use icecore_engine::annotation::{TagChange, is_tag};
use serde_json::{Value, json};

use super::{catalogue, find, open};
use crate::args::TagArgs;
use crate::error::{Error, Result};
use crate::exit::Code;
use crate::output::{Output, human};
use crate::settings::Settings;
use crate::{time, world};

/// Runs the command.
pub fn run(args: &TagArgs, settings: &Settings, output: &mut Output) -> Result<Code> {
    let add = if args.set.is_empty() { &args.add } else { &args.set };
    let change = TagChange { clear: args.clear || !args.set.is_empty(), remove: args.remove.clone(), add: add.clone() };
    if change == TagChange::default() {
        return Err(Error::Misuse("say what to change: --add TAG, --remove TAG, --set TAG or --clear".to_owned()));
    }
    if let Some(tag) = change.add.iter().chain(&change.remove).find(|tag| !is_tag(tag)) {
        return Err(Error::Misuse(format!("{tag:?} is no tag: 1 to 255 bytes without control characters are needed")));
    }
    let opened = open(settings, output)?;
    let catalogue = catalogue(&opened.archive, output)?;
    let mut chosen: Vec<&Stored> = Vec::new();
    for text in &args.snapshots {
        let stored = find(&catalogue, text)?;
        if !chosen.iter().any(|other| other.id == stored.id) {
            chosen.push(stored);
        }
    }
    let author = Author { host: world::host_name(), user: world::user_name(), now: time::now() };
    let mut snapshots: Vec<Value> = Vec::new();
    for stored in chosen {
        let tags = opened.archive.tag(stored, &change, &author)?;
        if output.manner().json {
            let changed = tags != stored.snapshot.tags;
            snapshots.push(json!({ "id": stored.id.to_string(), "tags": tags, "changed": changed }));
        } else {
            let tags = if tags.is_empty() { "no tags".to_owned() } else { human::printable(&tags.join(", ")) };
            writeln!(output, "{}  {}: {tags}", stored.id.short(), human::printable(&stored.snapshot.instance))?;
        }
    }
    if output.manner().json {
        output.document(json!({ "snapshots": snapshots }))?;
    }
    Ok(Code::partial_if(!catalogue.damaged.is_empty()))
}
