//! `icecore restore --dry-run`: every action and the totals.

use std::io::{self, Write};

use icecore_engine::restore::{Action, Deed, RestoreJob, rehearse};
use icecore_engine::{Archive, Error as EngineError};
use serde_json::{Map, Value};

use super::application::Applications;
use super::{fields, lines, tell};
use crate::error::Result;
use crate::exit::Code;
use crate::output::{Output, human, json, progress};

/// Shows what the restore would do.
pub fn run(
    archive: &Archive,
    job: &RestoreJob<'_>,
    applications: &Applications<'_>,
    output: &mut Output,
) -> Result<Code> {
    let mut printer = Printer { output, printed: 0 };
    let mut failed = None;
    let rehearsed = progress::attend(printer.output.manner().progress, |progress| {
        rehearse(archive, job, progress, &mut |action| {
            failed = printer.print(action).err();
            if failed.is_some() { Err(EngineError::Interrupted) } else { Ok(()) }
        })
    })?;
    let Printer { output, printed } = printer;
    if let Some(error) = failed {
        return Err(error.into());
    }
    let report = match rehearsed {
        Ok(report) => report,
        Err(error) => {
            if output.manner().json && printed > 0 {
                writeln!(output, "],\"complete\":false}}")?;
            }
            return Err(error.into());
        }
    };
    tell(&report, output);
    if output.manner().json {
        if printed == 0 {
            open_list(output)?;
        }
        let mut rest = fields(job.stored, &report);
        rest["applications"] = applications.document();
        let rest = rest.to_string();
        writeln!(output, "],\"complete\":true,{}", rest.trim_start_matches('{'))?;
    } else {
        let targets: Vec<_> = report.targets.iter().map(|target| target.display().to_string()).collect();
        writeln!(output, "snapshot {} would go to {}; nothing was changed", job.stored.id.short(), targets.join(", "))?;
        human::fields(output, lines(&report))?;
    }
    Ok(Code::partial_if(report.missing_count > 0))
}

/// Prints actions as lines, or as one JSON document that is never in memory as a whole.
struct Printer<'a> {
    output: &'a mut Output,
    printed: u64,
}

impl Printer<'_> {
    fn print(&mut self, action: &Action) -> io::Result<()> {
        if self.output.manner().json {
            if self.printed == 0 {
                open_list(self.output)?;
            } else {
                self.output.write_all(b",\n")?;
            }
            serde_json::to_writer(&mut *self.output, &object(action))?;
        } else if action.deed != Deed::Keep || self.output.manner().verbose {
            writeln!(self.output, "{}", line(action))?;
        }
        self.printed += 1;
        self.output.show()
    }
}

fn open_list(output: &mut Output) -> io::Result<()> {
    let head = Value::Object(output.head()).to_string();
    let open = head.trim_end_matches('}');
    writeln!(output, "{open},\"dry_run\":true,\"actions\":[")
}

fn line(action: &Action) -> String {
    let path = if action.path.is_empty() { ".".to_owned() } else { human::path(&action.path) };
    let detail = match &action.deed {
        Deed::Create { bytes: 0 } | Deed::Replace { bytes: 0 } => String::new(),
        Deed::Create { bytes } | Deed::Replace { bytes } => format!("  ({})", human::bytes(*bytes)),
        Deed::Rewrite { ranges, bytes } => {
            format!("  ({} in {})", human::bytes(*bytes), human::counted(*ranges, "range", "ranges"))
        }
        Deed::Metadata(kinds) => {
            let kinds: Vec<_> = kinds.iter().map(|kind| human::printable(&kind.to_string())).collect();
            format!("  ({})", kinds.join(", "))
        }
        Deed::Link | Deed::Keep | Deed::Delete | Deed::Extra => String::new(),
    };
    format!("{:<8}  {path}{detail}", word(&action.deed))
}

fn word(deed: &Deed) -> &'static str {
    match deed {
        Deed::Create { .. } => "create",
        Deed::Replace { .. } => "replace",
        Deed::Rewrite { .. } => "rewrite",
        Deed::Link => "link",
        Deed::Metadata(_) => "metadata",
        Deed::Keep => "keep",
        Deed::Delete => "delete",
        Deed::Extra => "extra",
    }
}

fn object(action: &Action) -> Value {
    let mut object = Map::new();
    object.insert("action".to_owned(), word(&action.deed).into());
    json::put_path(&mut object, "path", &action.path);
    let mut put = |name: &str, value: Value| drop(object.insert(name.to_owned(), value));
    match &action.deed {
        Deed::Create { bytes } | Deed::Replace { bytes } => put("bytes", (*bytes).into()),
        Deed::Rewrite { ranges, bytes } => {
            put("ranges", (*ranges).into());
            put("bytes", (*bytes).into());
        }
        Deed::Metadata(kinds) => put("what", kinds.iter().map(ToString::to_string).collect()),
        Deed::Link | Deed::Keep | Deed::Delete | Deed::Extra => {}
    }
    Value::Object(object)
}

#[cfg(test)]
mod tests {
    use icecore_engine::restore::FaultKind;

    use super::*;

    #[test]
    fn actions_are_told_in_a_line_and_as_an_object() {
        for (deed, text, value) in [
            (Deed::Create { bytes: 0 }, "create    a", r#"{"action":"create","path":"a","bytes":0}"#),
            (Deed::Keep, "keep      a", r#"{"action":"keep","path":"a"}"#),
            (
                Deed::Rewrite { ranges: 2, bytes: 2048 },
                "rewrite   a  (2.00 KiB in 2 ranges)",
                r#"{"action":"rewrite","path":"a","ranges":2,"bytes":2048}"#,
            ),
            (
                Deed::Metadata(vec![FaultKind::Owner, FaultKind::Mode]),
                "metadata  a  (the owner, the permissions)",
                r#"{"action":"metadata","path":"a","what":["the owner","the permissions"]}"#,
            ),
        ] {
            let action = Action { path: b"a".to_vec(), deed };
            assert_eq!((line(&action).as_str(), object(&action).to_string().as_str()), (text, value));
        }
    }
}
