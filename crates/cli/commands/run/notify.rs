//! Who is told of a run, by what the configuration says.

use std::sync::Arc;

use icecore_service::notify::{
    Channels, Client, Ending, Envelope, Mail, Notifier, Trust, Undelivered, Verdict, mail_host,
};
use icecore_service::report::Outcome;
use icecore_service::{RunReport, TaskReport};
use icecore_source::freezer::{FreezeErrorKind, feed_program};
use serde_json::Value;

use super::tell;
use crate::config::{self, Notify};
use crate::exit::Code;
use crate::output::{human, json};
use crate::{time, world};

/// What requests say of the program that sends them.
const AGENT: &str = concat!("icecore/", env!("CARGO_PKG_VERSION"));

/// Tells of the beginning, if anybody is to be told of anything.
pub fn begin(notify: &Notify) -> Option<Notifier> {
    let Notify { timeout, ca_file, webhook, ping, mail } = notify.clone();
    if webhook.is_none() && ping.is_none() && mail.is_none() {
        return None;
    }
    let trust = ca_file.map_or(Trust::System, Trust::File);
    let mail = mail.map(|mail| (channel(mail.clone()), mail.on));
    Some(Notifier::begin(Channels { client: Client::new(trust, AGENT), patience: timeout, webhook, ping, mail }))
}

fn channel(mail: config::Mail) -> Mail {
    let config::Mail { to, from, command, .. } = mail;
    let from = from.unwrap_or_else(|| format!("icecore@{}", mail_host(&world::host_name())));
    let deliver = Arc::new(move |message: &[u8], limit| {
        feed_program(&command, message, limit).map(drop).map_err(|error| Undelivered {
            is_for_now: error.kind != FreezeErrorKind::NotExecutable,
            why: error.to_string(),
        })
    });
    Mail { to, from, deliver }
}

/// What is told of the end.
pub fn ending(report: &RunReport, code: Code, still_failing: bool) -> Ending {
    // Whoever is at what was busy tells of that, and of nothing else.
    let is_else_well = |task: &TaskReport| matches!(task.result, Outcome::Done | Outcome::Busy | Outcome::Skipped);
    let verdict = match code {
        Code::Done => Verdict::Well,
        Code::Busy if report.tasks.iter().all(is_else_well) => Verdict::Busy,
        _ => Verdict::Failed,
    };
    let envelope = Envelope {
        subject: subject(report, verdict),
        date: report.finished,
        zone: time::zone(),
        id: format!("{}.{}.icecore", report.finished.as_nanosecond(), std::process::id()),
        host: report.host.clone(),
    };
    Ending { verdict, still_failing, document: document(report), text: text(report), envelope }
}

/// The document that `icecore run --json` prints.
fn document(report: &RunReport) -> Vec<u8> {
    let head = [("version", Value::from(json::VERSION)), ("command", "run".into())];
    let mut document: serde_json::Map<_, _> = head.map(|(name, value)| (name.to_owned(), value)).into_iter().collect();
    // A report can be written as JSON.
    if let Ok(Value::Object(fields)) = serde_json::to_value(report) {
        document.extend(fields);
    }
    serde_json::to_vec_pretty(&document).unwrap_or_default()
}

/// In a few words: who, and what went wrong.
fn subject(report: &RunReport, verdict: Verdict) -> String {
    let wrong = report.tasks.iter().filter(|task| !matches!(task.result, Outcome::Done | Outcome::Busy));
    let mut wrong: Vec<_> = wrong.map(|task| format!("{} {}", task.task, task.result.word())).collect();
    if wrong.len() > 3 {
        wrong.splice(2.., [format!("{} more", wrong.len() - 2)]);
    }
    let (host, code) = (&report.host, report.code);
    match verdict {
        _ if code == Code::Unthawed as u8 => format!("icecore on {host}: AN INSTANCE MAY STILL BE FROZEN"),
        Verdict::Well => {
            format!("icecore on {host}: {}", human::counted(report.tasks.len() as u64, "task done", "tasks done"))
        }
        Verdict::Busy => format!("icecore on {host}: another run is at it"),
        Verdict::Failed if wrong.is_empty() => format!("icecore on {host}: exit code {code}"),
        Verdict::Failed => format!("icecore on {host}: {}", wrong.join(", ")),
    }
}

/// The report in words: what went wrong, then the table.
fn text(report: &RunReport) -> String {
    let mut text = format!("icecore run on {}, repository {}\n", report.host, report.repository);
    let (finished, seconds) = (time::local(time::from_jiff(report.finished)), report.seconds);
    text.push_str(&format!("ended at {finished} after {seconds:.1} s with exit code {}\n", report.code));
    let tasks = report.tasks.iter().map(|task| (task.task.to_string(), &task.error, &task.warnings));
    for (who, error, warnings) in [("run".to_owned(), &report.error, &report.warnings)].into_iter().chain(tasks) {
        let who = human::printable(&who);
        if let Some(error) = error {
            text.push_str(&format!("\n{who}: {}\n", error.message));
            text.extend(error.hint.iter().map(|hint| format!("  {hint}\n")));
        }
        text.extend(warnings.iter().map(|warning| format!("\n{who}: warning: {warning}\n")));
    }
    let mut table = Vec::new();
    // Memory takes everything.
    if !report.tasks.is_empty() && tell::table(report).print("", &mut table).is_ok() {
        text.push('\n');
        text.push_str(&String::from_utf8_lossy(&table));
    }
    text
}
