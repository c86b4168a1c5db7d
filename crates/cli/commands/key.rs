//! `icecore key`: who can open the repository.

use std::io::Write;

use icecore_engine::keys::Role;
use serde_json::{Value, json};

use super::open;
use crate::args::{KeyAddArgs, KeyChangeArgs, KeyRemoveArgs, RoleArg};
use crate::error::Result;
use crate::exit::Code;
use crate::output::human::{self, Align, Table};
use crate::output::{Output, json};
use crate::settings::{PasswordSource, Settings};
use crate::{password, repository, time};

/// Lists the keys.
pub fn list(settings: &Settings, output: &mut Output) -> Result<Code> {
    let opened = open(settings, output)?;
    let (keys, unusable) = opened.archive.keys()?;
    unusable.iter().for_each(|sentence| output.warn(sentence));
    if output.manner().json {
        let keys: Vec<Value> = keys
            .iter()
            .map(|(id, slot)| {
                let created = json::time(slot.created());
                json!({ "id": id.to_string(), "role": role(slot.role()), "label": slot.label(), "created": created })
            })
            .collect();
        output.document(json!({ "keys": keys, "unusable": unusable }))?;
    } else {
        let mut table =
            Table::new([("id", Align::Left), ("role", Align::Left), ("created", Align::Left), ("label", Align::Left)]);
        for (id, slot) in &keys {
            let (created, label) = (time::local(slot.created()), human::printable(slot.label()));
            table.row([id.short(), role(slot.role()).to_owned(), created, label]);
        }
        table.print("", output)?;
    }
    Ok(Code::partial_if(!unusable.is_empty()))
}

/// Adds a key.
pub fn add(args: &KeyAddArgs, settings: &Settings, output: &mut Output) -> Result<Code> {
    let opened = open(settings, output)?;
    let wanted = match args.role {
        RoleArg::Reader => Role::Reader,
        RoleArg::Writer => Role::Writer,
    };
    let secret = args.new.obtain(settings.can_ask)?;
    let label = args.label.clone().unwrap_or_else(repository::default_label);
    let id = opened.archive.add_key(wanted, &secret, &label, time::now())?;
    if output.manner().json {
        output.document(json!({ "id": id.to_string(), "role": role(wanted), "label": label }))?;
    } else {
        writeln!(output, "added key {} ({}, {})", id.short(), role(wanted), human::printable(&label))?;
    }
    Ok(Code::Done)
}

/// Removes a key.
pub fn remove(args: &KeyRemoveArgs, settings: &Settings, output: &mut Output) -> Result<Code> {
    let opened = open(settings, output)?;
    let id = opened.archive.remove_key(&args.id.to_ascii_lowercase())?;
    if output.manner().json {
        output.document(json!({ "id": id.to_string() }))?;
    } else {
        writeln!(output, "removed key {}", id.short())?;
    }
    Ok(Code::Done)
}

/// Replaces the password that was given.
pub fn change(args: &KeyChangeArgs, settings: &Settings, output: &mut Output) -> Result<Code> {
    let old = repository::secret(settings)?;
    let opened = repository::open_with(settings, &old)?;
    opened.warnings.iter().for_each(|warning| output.warn(warning));
    let new = args.new.obtain(settings.can_ask)?;
    let (id, removed) = opened.archive.change_key(&old, &new, time::now())?;
    match &settings.password {
        // The next night reads it there.
        PasswordSource::Embedded(file) => {
            password::replace(file, &new)?;
            output
                .note(format_args!("wrote the new password to {}: keep a copy of it in another place", file.display()));
        }
        PasswordSource::File(file) => output.note(format_args!("{} still holds the old password", file.display())),
        PasswordSource::Given(_) | PasswordSource::Ask => {}
    }
    if output.manner().json {
        output.document(json!({ "id": id.to_string(), "removed": removed }))?;
    } else {
        let removed = human::counted(removed as u64, "key", "keys");
        writeln!(output, "key {} replaces {removed} that the old password opened", id.short())?;
    }
    Ok(Code::Done)
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Reader => "reader",
        Role::Writer => "writer",
    }
}
