//! `icecore copy`: snapshots into another repository.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Instant;

use icecore_engine::copy::{Copied, CopyJob, Copying};
use icecore_engine::{Archive, Catalogue, Stored};
use icecore_store::{LocalStore, Store};
use serde_json::{Map, Value, json};

use super::{catalogue, find, open, threads, warn_problems};
use crate::args::CopyArgs;
use crate::commands::backup::level;
use crate::error::{Error, Result};
use crate::exit::Code;
use crate::output::{Output, human, json, progress};
use crate::settings::{PasswordSource, Place, Settings};
use crate::{repository, time, world};

/// Runs the command.
pub fn run(args: &CopyArgs, settings: &Settings, output: &mut Output) -> Result<Code> {
    let begun = Instant::now();
    let opened = open(settings, output)?;
    let source = catalogue(&opened.archive, output)?;
    let chosen = choose(args, &source)?;
    let target = open_target(args, settings, output)?;
    let mut copying = Copying::begin(&opened.archive, &source, &target)?;
    copying.damaged().iter().for_each(|damage| output.warn(damage));
    let host = world::host_name();
    let (level, threads) = (level(args.compression), threads(args.threads));
    let job = CopyJob { level, threads, host: &host, clock: time::now };
    let (mut copied, mut standing, mut planned) = (Vec::new(), 0_u64, Vec::new());
    for stored in &chosen {
        if copying.copy_of(stored).is_some() {
            standing += 1;
        } else if args.dry_run {
            planned.push(*stored);
        } else {
            let show = output.manner().progress;
            if let Some(copy) = progress::attend(show, |progress| copying.copy(stored, job, progress))?? {
                if !output.manner().json {
                    tell(&copy, output)?;
                    output.flush()?;
                }
                copied.push(copy);
            }
        }
    }
    let missing = copied.iter().map(|copy| copy.missing_count).sum::<u64>();
    if output.manner().json {
        let planned = planned.iter().map(|stored| Value::Object(json::stored(stored)));
        output.document(json!({
            "to": target.location(),
            "dry_run": args.dry_run,
            "copied": copied.iter().map(document).collect::<Vec<_>>(),
            "planned": planned.collect::<Vec<_>>(),
            "standing": standing,
            "missing_count": missing,
            "damaged_records": source.damaged,
            "seconds": begun.elapsed().as_secs_f64(),
        }))?;
    } else {
        for Stored { id, snapshot, .. } in planned.iter().copied() {
            let (instance, taken) = (human::printable(&snapshot.instance), time::local(snapshot.taken));
            writeln!(output, "snapshot {} of {instance}, taken {taken}: would be copied", id.short())?;
        }
        let done = match args.dry_run {
            true => format!("{} would be copied", human::counted(planned.len() as u64, "snapshot", "snapshots")),
            false => format!("{} copied", human::counted(copied.len() as u64, "snapshot", "snapshots")),
        };
        output.note(format_args!("{done} to {}, {} there already", target.location(), human::count(standing)));
    }
    Ok(Code::partial_if(missing > 0 || !source.damaged.is_empty()))
}

/// The snapshots that are meant, the oldest first, so that each finds the one before it copied.
fn choose<'c>(args: &CopyArgs, catalogue: &'c Catalogue) -> Result<Vec<&'c Stored>> {
    let named = args.snapshots.iter().map(|text| Ok(find(catalogue, text)?.id)).collect::<Result<Vec<_>>>()?;
    let is_meant = |stored: &&Stored| {
        if named.is_empty() { args.filter.passes(&stored.snapshot) } else { named.contains(&stored.id) }
    };
    let mut chosen: Vec<_> = catalogue.snapshots.iter().filter(is_meant).collect();
    // A correction behind what it corrects, so that it can name it.
    chosen.sort_by_key(|stored| (stored.snapshot.taken, stored.snapshot.corrects.is_some()));
    Ok(chosen)
}

/// Opens the other repository, which must be there, with a password of its own.
fn open_target(args: &CopyArgs, settings: &Settings, output: &Output) -> Result<Archive> {
    let password = args.to_password_file.clone().map_or(PasswordSource::Ask, PasswordSource::File);
    let place = Place::Named(crate::settings::local_directory(&args.to)?);
    let target = Settings { place, password, ..settings.clone() };
    let secret = match repository::secret(&target) {
        Err(Error::NoPassword) => {
            return Err(Error::Misuse(
                "the other repository needs its password: give --to-password-file FILE".to_owned(),
            ));
        }
        secret => secret?,
    };
    let store: Arc<dyn Store> = Arc::new(LocalStore::open(target.place.directory())?);
    let (archive, warnings) = progress::display(output.manner().progress, |progress| {
        Archive::open_watched(store, &secret, &target.state, time::now(), progress)
    })?;
    warnings.iter().for_each(|warning| output.warn(warning));
    Ok(archive)
}

fn tell(copy: &Copied, output: &mut Output) -> io::Result<()> {
    let (from, id, instance) = (copy.source.short(), copy.id.short(), human::printable(&copy.snapshot.instance));
    let taken = time::local(copy.snapshot.taken);
    let added = human::bytes(copy.written.stored_bytes);
    writeln!(output, "snapshot {from} of {instance}, taken {taken}: copied as {id}, {added} added")?;
    if copy.missing_count > 0 {
        warn_problems(&copy.missing, copy.missing_count, output);
    }
    Ok(())
}

fn document(copy: &Copied) -> Value {
    let mut object = Map::new();
    object.insert("source".to_owned(), copy.source.to_string().into());
    object.extend(json::snapshot(&copy.id, &copy.snapshot));
    object.insert("stored_bytes".to_owned(), copy.written.stored_bytes.into());
    object.insert("missing_count".to_owned(), copy.missing_count.into());
    object.insert("missing".to_owned(), json::problems(&copy.missing));
    Value::Object(object)
}
