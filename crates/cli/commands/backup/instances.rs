//! `icecore backup --instance`, `--all`: one instance after another, whatever becomes of the one before.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use icecore_engine::Archive;
use icecore_engine::backup::Report;
use icecore_source::claim::{Claim, Use};
use serde_json::{Map, Value, json};

use super::{Selection, code, document, open, summarise, take, tell};
use crate::args::BackupArgs;
use crate::config::{Configuration, Instance};
use crate::error::Result;
use crate::exit::{self, Code, Sorted};
use crate::output::{Output, human, json, say};
use crate::settings::Settings;

/// Runs the command for instances; its exit code is the worst of theirs.
pub fn run(args: &BackupArgs, settings: &Settings, output: &mut Output) -> Result<Code> {
    let begun = Instant::now();
    let configuration = settings.configuration()?;
    let chosen = configuration.chosen(&args.instances, args.all)?;
    let (opened, created) = open(settings, output)?;
    let mut nights = Vec::with_capacity(chosen.len());
    for instance in chosen {
        let night = Night::spend(args, instance, configuration, settings, &opened.archive, output.manner().progress);
        night.tell(output);
        night.summarise(output)?;
        let code = night.code();
        nights.push(night);
        if code == Code::Interrupted {
            break;
        }
    }
    let failed = nights.iter().filter(|night| night.outcome.is_err()).count();
    if failed > 0 && nights.len() > 1 {
        say(format_args!("icecore: {failed} of {} instances have no new snapshot", nights.len()));
    }
    if output.manner().json {
        let instances: Vec<Value> = nights.iter().map(|night| night.document(&opened.archive)).collect();
        output.document(json!({
            "repository": opened.archive.location(),
            "instances": instances,
            "seconds": begun.elapsed().as_secs_f64(),
            "created": created.as_ref().map(json::created),
        }))?;
    }
    Ok(nights.iter().map(Night::code).fold(Code::Done, Code::worst))
}

/// What became of one instance.
pub struct Night<'a> {
    instance: &'a str,
    elapsed: Duration,
    /// Its snapshot, or what failed.
    pub outcome: std::result::Result<Report, Sorted>,
}

impl<'a> Night<'a> {
    /// Takes its snapshot.
    pub fn spend(
        args: &BackupArgs,
        instance: &'a Instance,
        configuration: &Configuration,
        settings: &Settings,
        archive: &Archive,
        show: bool,
    ) -> Self {
        let begun = Instant::now();
        let outcome = Selection::of_instance(args, instance, configuration, settings)
            .and_then(|selection| {
                // Nobody restores into the directories meanwhile.
                let roots: Vec<_> = selection.roots.iter().map(|root| (root.path.clone(), Use::Read)).collect();
                let _claim = Claim::take(&settings.claims(), &roots, &format!("a backup of {}", instance.name))?;
                take(args, selection, settings, archive, show)
            })
            .map_err(|error| exit::sort(&error));
        Self { instance: &instance.name, elapsed: begun.elapsed(), outcome }
    }

    /// How the program would end if this were all.
    pub fn code(&self) -> Code {
        match &self.outcome {
            Ok(report) => code(&report.snapshot),
            Err(failure) => failure.code,
        }
    }

    /// Tells what went wrong, at once: the next may take hours.
    pub fn tell(&self, output: &Output) {
        match &self.outcome {
            Ok(report) => tell(report, output),
            Err(failure) => {
                tracing::error!(instance = self.instance, code = failure.code as u8, "{}", failure.message);
                say(format_args!("icecore: instance {}: {}", human::printable(self.instance), failure.message));
                if let Some(hint) = &failure.hint {
                    say(format_args!("  {hint}"));
                }
            }
        }
    }

    /// Tells of its snapshot.
    fn summarise(&self, output: &mut Output) -> io::Result<()> {
        match &self.outcome {
            Ok(report) if !output.manner().json && !output.manner().quiet => {
                summarise(report, self.elapsed, output)?;
                output.flush()
            }
            _ => Ok(()),
        }
    }

    fn document(&self, archive: &Archive) -> Value {
        let mut object = Map::new();
        object.insert("instance".to_owned(), self.instance.into());
        object.insert("code".to_owned(), (self.code() as u8).into());
        match &self.outcome {
            Ok(report) => {
                object.extend(document(report, archive, self.elapsed));
                object.remove("repository");
            }
            Err(failure) => {
                object.extend([("snapshot".to_owned(), Value::Null)]);
                if let Value::Object(error) = json::error(failure) {
                    object.extend(error);
                }
            }
        }
        object.into()
    }
}
