//! What a run tells: what will be done and why, what was done.

use std::io;
use std::time::Duration;

use icecore_service::report::{Outcome, Work, Worth};
use icecore_service::{Item, RunReport, Standing};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::exit::Code;
use crate::output::Output;
use crate::output::human::{self, Align, Table};
use crate::time;

/// Prints what would be done, when each task is due next, and why.
pub fn agenda(items: &[Item], output: &mut Output) -> io::Result<()> {
    if output.manner().json {
        let items: Vec<Value> = items.iter().map(document).collect();
        return output.document(json!({ "dry_run": true, "tasks": items }));
    }
    let mut table = Table::new([
        ("", Align::Left),
        ("task", Align::Left),
        ("schedule", Align::Left),
        ("last done", Align::Left),
        ("why", Align::Left),
    ]);
    for item in items {
        table.row([
            if item.standing.is_now() { "now" } else { "-" }.to_owned(),
            human::printable(&item.task.to_string()),
            item.schedule.to_string(),
            item.last.done().map_or_else(|| "never".to_owned(), local),
            why(item),
        ]);
    }
    table.print("", output)
}

fn why(item: &Item) -> String {
    let failed = item.last.trouble().map_or_else(String::new, |failure| format!(", failed at {}", local(failure)));
    match item.standing {
        Standing::Due { since: Some(since) } => format!("due since {}{failed}", local(since)),
        Standing::Due { since: None } => format!("was never done{failed}"),
        Standing::Asked => format!("not due, but asked for{failed}"),
        Standing::Waits { until } => format!("due at {}{failed}", local(until)),
        Standing::Never => "only if it is named with --now".to_owned(),
        Standing::Impossible => "not possible: the key of this host can only write".to_owned(),
    }
}

fn document(item: &Item) -> Value {
    let mut object = json!(item.task);
    if let Value::Object(fields) = &mut object {
        let (standing, time) = match item.standing {
            Standing::Due { since } => ("due", since),
            Standing::Asked => ("asked", None),
            Standing::Waits { until } => ("waits", Some(until)),
            Standing::Never => ("never", None),
            Standing::Impossible => ("impossible", None),
        };
        fields.insert("schedule".to_owned(), item.schedule.to_string().into());
        fields.insert("now".to_owned(), item.standing.is_now().into());
        fields.insert("standing".to_owned(), standing.into());
        fields.insert("since_or_until".to_owned(), json!(time));
        fields.insert("last_success".to_owned(), json!(item.last.success));
        fields.insert("last_failure".to_owned(), json!(item.last.failure.max(item.last.bad)));
    }
    object
}

/// Tells that nothing is due, how the program ends, and what is next.
pub fn nothing_due(items: &[Item], code: Code, output: &mut Output) -> io::Result<()> {
    let until = |item: &Item| match item.standing {
        Standing::Waits { until } => Some(until),
        _ => None,
    };
    let next = items.iter().filter_map(|item| Some((until(item)?, item))).min_by_key(|(until, _)| *until);
    if output.manner().json {
        let items: Vec<Value> = items.iter().map(document).collect();
        return output.document(json!({ "code": code as u8, "tasks": [], "waiting": items }));
    }
    match next {
        Some((until, item)) => {
            let task = human::printable(&item.task.to_string());
            output.note(format_args!("nothing is due; next: {task} at {}", local(until)));
        }
        None => output.note("nothing is due, and nothing will be: every schedule is \"never\""),
    }
    Ok(())
}

/// Prints what was done.
pub fn report(report: &RunReport, output: &mut Output) -> io::Result<()> {
    if output.manner().json {
        return output.document(serde_json::to_value(report)?);
    }
    if output.manner().quiet {
        return Ok(());
    }
    if report.tasks.is_empty() {
        match report.code {
            code if code == Code::Done as u8 => {
                output.note(
                    "nothing was due after all: it was done meanwhile, by another run or another state directory",
                );
            }
            code if code == Code::Interrupted as u8 => output.note("interrupted before anything was begun"),
            // Why was said.
            _ => {}
        }
        return Ok(());
    }
    table(report).print("", output)
}

/// What was done, one task a row.
pub fn table(report: &RunReport) -> Table {
    let mut table = Table::new([
        ("task", Align::Left),
        ("result", Align::Left),
        ("snapshot", Align::Left),
        ("verdict", Align::Left),
        ("window", Align::Right),
        ("added", Align::Right),
        ("time", Align::Right),
        ("", Align::Left),
    ]);
    for task in &report.tasks {
        let (mut snapshot, mut verdict, mut window, mut added) = Default::default();
        let more = match &task.work {
            Some(Work::Backup(taken)) => {
                snapshot = taken.snapshot.get(..8).unwrap_or_default().to_owned();
                verdict = taken.verdict.clone();
                window = taken.window_ms.map_or_else(String::new, |ms| format!("{} ms", human::count(ms)));
                added = human::bytes(taken.bytes_added);
                String::new()
            }
            Some(Work::Forget(done)) => format!("{} forgotten, {} kept", done.forgotten, done.kept),
            Some(Work::Prune(done)) => {
                let [deleted, marked] = [done.deleted_bytes, done.marked_bytes].map(human::bytes);
                format!("{deleted} deleted, {marked} marked")
            }
            Some(Work::Check(done)) => format!("{} of data read", human::bytes(done.bytes_read)),
            Some(Work::Drill(done)) => {
                snapshot = done.snapshot.get(..8).unwrap_or_default().to_owned();
                let worth = if done.result == Worth::Failed { "tried" } else { done.result.word() };
                format!("{} {worth}", human::bytes(done.bytes))
            }
            None if task.result == Outcome::Skipped => "not possible with this key".to_owned(),
            None => String::new(),
        };
        table.row([
            human::printable(&task.task.to_string()),
            task.result.word().to_owned(),
            snapshot,
            verdict,
            window,
            added,
            human::duration(Duration::from_secs_f64(task.seconds)),
            more,
        ]);
    }
    table
}

/// A time in the local zone, to the second.
fn local(at: Timestamp) -> String {
    time::local(time::from_jiff(at))
}
