//! `icecore forget`: deletes snapshots by rules or by name.

use std::io::{self, Write};

use icecore_engine::entry::Timestamp;
use icecore_engine::id::SnapshotId;
use icecore_engine::retention::{self, Decision, Policy, Reason};
use icecore_engine::{Archive, Catalogue, Outlook, Stored};
use serde_json::{Value, json};

use super::{catalogue, find, open, prune};
use crate::args::ForgetArgs;
use crate::config::{Instance, Keep};
use crate::error::{Error, Result};
use crate::exit::{self, Code};
use crate::output::human::{self, Align, Table};
use crate::output::{Output, json, progress};
use crate::settings::Settings;
use crate::{time, world};

/// Runs the command.
pub fn run(args: &ForgetArgs, settings: &Settings, output: &mut Output) -> Result<Code> {
    let opened = open(settings, output)?;
    let catalogue = catalogue(&opened.archive, output)?;
    let decisions = decide(args, settings, &catalogue, time::now())?;
    let mut going: Vec<SnapshotId> =
        decisions.iter().filter(|decision| !decision.keeps()).map(|decision| decision.id).collect();
    let show = output.manner().progress;
    let outlook = progress::attend(show, |progress| opened.archive.outlook(&catalogue, &going, progress))??;
    outlook.damaged.iter().for_each(|damage| output.warn(damage));
    if !args.dry_run && !going.is_empty() {
        // To count took a while, and tags may have come that keep some of them.
        let again = decide(args, settings, &opened.archive.catalogue()?, time::now())?;
        going.retain(|id| again.iter().any(|decision| decision.id == *id && !decision.keeps()));
        progress::attend(show, |progress| opened.archive.forget(&going, progress))??;
    }
    let json = output.manner().json;
    if !json && decisions.is_empty() {
        output.note("no snapshot is meant");
    } else if !json {
        print(&decisions, &catalogue, output)?;
        summarise(args, &decisions, &outlook, output)?;
    }
    let pruned = args.prune.then(|| prune::after_forget(&opened.archive, output));
    if json {
        let mut document = document(args, &decisions, &catalogue, &outlook);
        if let (Some(report), Value::Object(fields)) = (&pruned, &mut document) {
            // What was forgotten is told also if the prune was refused.
            let said = report.as_ref().map_or_else(|error| json::error(&exit::sort(error)), prune::document);
            fields.insert("prune".to_owned(), said);
        }
        output.document(document)?;
    }
    let code = Code::partial_if(!catalogue.damaged.is_empty());
    Ok(pruned.transpose()?.map_or(code, |report| code.worst(prune::code(&report))))
}

/// What becomes of which snapshot.
fn decide(args: &ForgetArgs, settings: &Settings, catalogue: &Catalogue, now: Timestamp) -> Result<Vec<Decision>> {
    let zone = time::zone();
    if !args.snapshots.is_empty() {
        return named(args, catalogue, now);
    }
    let policy = policy(args)?;
    if !(policy.tags.is_empty() && args.filter.tags.is_empty())
        && let Some(damage) = catalogue.unclear.first()
    {
        return Err(Error::Refused(format!(
            "nothing was forgotten: {damage}, and it may be what gives a snapshot a tag of --keep-tag or takes one of --tag \
             away; `icecore check` tells what to do"
        )));
    }
    if !policy.is_empty() {
        let chosen = filter(args, catalogue, |_| true);
        return Ok(retention::plan(&policy, &chosen, &catalogue.snapshots, now, &zone, args.force));
    }
    if rules_given(args) {
        return Err(Error::Misuse("these rules would keep nothing: keep at least one snapshot".to_owned()));
    }
    let configuration = settings.configuration().map_err(|_| {
        Error::Misuse("say what is kept (as in --keep-daily 14), or name the snapshots to forget".to_owned())
    })?;
    let chosen = configuration.chosen(&args.filter.instances, args.filter.instances.is_empty())?;
    let host = args.filter.host.clone().unwrap_or_else(world::host_name);
    let mut decisions = Vec::new();
    for instance in chosen.iter().filter(|instance| !instance.keep.rules.is_empty()) {
        decisions.extend(of_instance(args, instance, &host, catalogue, now));
    }
    if chosen.iter().all(|instance| instance.keep.rules.is_empty()) {
        let file = configuration.file.display();
        return Err(Error::Misuse(format!(
            "{file} says of none of these instances what to `keep`, and no rule was given (as in --keep-daily 14)"
        )));
    }
    Ok(decisions)
}

/// What becomes of the snapshots of an instance by its `keep`.
fn of_instance(
    args: &ForgetArgs,
    instance: &Instance,
    host: &str,
    catalogue: &Catalogue,
    now: Timestamp,
) -> Vec<Decision> {
    let of_instance =
        filter(args, catalogue, |stored| stored.snapshot.instance == instance.name && stored.snapshot.host == host);
    retention::plan(&configured(&instance.keep), &of_instance, &catalogue.snapshots, now, &time::zone(), args.force)
}

/// Forgets what the configuration does not keep of an instance on this host; gives how many went and how many stay. Without
/// a rule all stay.
pub fn by_configuration(instance: &Instance, archive: &Archive, show: bool) -> Result<(u64, u64)> {
    let catalogue = archive.catalogue()?;
    let args = ForgetArgs::default();
    let decisions = of_instance(&args, instance, &world::host_name(), &catalogue, time::now());
    let all = decisions.len() as u64;
    if instance.keep.rules.is_empty() {
        return Ok((0, all));
    }
    let going: Vec<SnapshotId> =
        decisions.iter().filter(|decision| !decision.keeps()).map(|decision| decision.id).collect();
    if !going.is_empty() {
        progress::attend(show, |progress| archive.forget(&going, progress))??;
    }
    Ok((going.len() as u64, all - going.len() as u64))
}

/// Snapshots that were named: all go, or none.
fn named(args: &ForgetArgs, catalogue: &Catalogue, now: Timestamp) -> Result<Vec<Decision>> {
    let mut chosen: Vec<&Stored> = Vec::with_capacity(args.snapshots.len());
    for text in &args.snapshots {
        let stored = find(catalogue, text)?;
        if !chosen.iter().any(|other| other.id == stored.id) {
            chosen.push(stored);
        }
    }
    let decisions = retention::plan_named(&chosen, &catalogue.snapshots, now, args.force);
    for decision in &decisions {
        let id = decision.id.short();
        let why = match decision.reasons.first() {
            None => continue,
            Some(Reason::Protected(until)) => {
                format!("nothing was forgotten: snapshot {id} is protected until {}", time::local(*until))
            }
            Some(_) => format!(
                "nothing was forgotten: without snapshot {id} its instance has no application-consistent one left; \
                 --force forgets it all the same"
            ),
        };
        return Err(Error::Refused(why));
    }
    Ok(decisions)
}

fn filter<'c>(args: &ForgetArgs, catalogue: &'c Catalogue, also: impl Fn(&Stored) -> bool) -> Vec<&'c Stored> {
    let is_meant = |stored: &&Stored| args.filter.passes(&stored.snapshot) && also(stored);
    catalogue.snapshots.iter().filter(is_meant).collect()
}

fn rules_given(args: &ForgetArgs) -> bool {
    let counts =
        [args.keep_last, args.keep_hourly, args.keep_daily, args.keep_weekly, args.keep_monthly, args.keep_yearly];
    counts.iter().any(Option::is_some) || args.keep_within.is_some() || !args.keep_tags.is_empty()
}

fn policy(args: &ForgetArgs) -> Result<Policy> {
    let within = args.keep_within.as_deref().map(|text| {
        retention::parse_within(text).ok_or_else(|| {
            Error::Misuse(format!("--keep-within {text:?} is no span of time: write it as in 36h, 14d, 8w, 6m or 1y6m"))
        })
    });
    Ok(Policy {
        last: args.keep_last.unwrap_or(0),
        hourly: args.keep_hourly.unwrap_or(0),
        daily: args.keep_daily.unwrap_or(0),
        weekly: args.keep_weekly.unwrap_or(0),
        monthly: args.keep_monthly.unwrap_or(0),
        yearly: args.keep_yearly.unwrap_or(0),
        within: within.transpose()?,
        tags: args.keep_tags.clone(),
    })
}

/// What the configuration file keeps.
fn configured(keep: &Keep) -> Policy {
    let number = |kind: &str| keep.rules.iter().find(|(name, _)| *name == kind).map_or(0, |(_, number)| *number);
    Policy {
        last: number("last"),
        hourly: number("hourly"),
        daily: number("daily"),
        weekly: number("weekly"),
        monthly: number("monthly"),
        yearly: number("yearly"),
        ..Policy::default()
    }
}

fn stored_of<'c>(catalogue: &'c Catalogue, id: &SnapshotId) -> Option<&'c Stored> {
    catalogue.snapshots.iter().find(|stored| stored.id == *id)
}

fn print(decisions: &[Decision], catalogue: &Catalogue, out: &mut dyn Write) -> io::Result<()> {
    let mut table = Table::new([
        ("", Align::Left),
        ("id", Align::Left),
        ("instance", Align::Left),
        ("host", Align::Left),
        ("taken", Align::Left),
        ("verdict", Align::Left),
        ("why", Align::Left),
    ]);
    for decision in decisions {
        let Some(stored) = stored_of(catalogue, &decision.id) else { continue };
        let snapshot = &stored.snapshot;
        let why: Vec<_> = decision.reasons.iter().map(why).collect();
        table.row([
            if decision.keeps() { "keep" } else { "forget" }.to_owned(),
            decision.id.short(),
            human::printable(&snapshot.instance),
            human::printable(&snapshot.host),
            time::local(snapshot.taken),
            json::verdict(snapshot.verdict).to_owned(),
            human::printable(&why.join(", ")),
        ]);
    }
    table.print("", out)
}

fn why(reason: &Reason) -> String {
    match reason {
        Reason::Protected(until) => format!("protected until {}", time::local(*until)),
        reason => reason.to_string(),
    }
}

fn summarise(args: &ForgetArgs, decisions: &[Decision], outlook: &Outlook, out: &mut dyn Write) -> io::Result<()> {
    let going = decisions.iter().filter(|decision| !decision.keeps()).count() as u64;
    let kept = decisions.len() as u64 - going;
    let snapshots = human::counted(going, "snapshot", "snapshots");
    let verb = if args.dry_run { "would be forgotten" } else { "forgotten" };
    writeln!(out, "{snapshots} {verb}, {} kept", human::count(kept))?;
    if going == 0 {
        return Ok(());
    }
    let freed = &outlook.freed;
    let about = if freed.exact { "" } else { "as far as can be told, " };
    writeln!(
        out,
        "no longer needed: {about}{} in {}, {} as stored",
        human::bytes(freed.plain_bytes),
        human::counted(freed.chunks + freed.blocks, "chunk", "chunks"),
        human::bytes(freed.stored_bytes)
    )
}

fn document(args: &ForgetArgs, decisions: &[Decision], catalogue: &Catalogue, outlook: &Outlook) -> Value {
    let snapshots = decisions.iter().filter_map(|decision| {
        let mut object = json::stored(stored_of(catalogue, &decision.id)?);
        object.insert("keep".to_owned(), decision.keeps().into());
        object.insert("reasons".to_owned(), decision.reasons.iter().map(ToString::to_string).collect());
        Some(Value::Object(object))
    });
    let freed = &outlook.freed;
    json!({
        "dry_run": args.dry_run,
        "snapshots": snapshots.collect::<Vec<_>>(),
        "forgotten": decisions.iter().filter(|decision| !decision.keeps()).count(),
        "kept": decisions.iter().filter(|decision| decision.keeps()).count(),
        "unneeded": {
            "chunks": freed.chunks,
            "blocks": freed.blocks,
            "plain_bytes": freed.plain_bytes,
            "stored_bytes": freed.stored_bytes,
            "exact": freed.exact,
        },
        "damaged": outlook.damaged,
    })
}
