//! `icecore instance thaw`: wakes an instance by hand.

use std::io::Write;

use icecore_engine::snapshot::ThawedBy;
use icecore_source::window::{OpenWindow, Retry, ThawError, open_windows, thaw_once};
use serde_json::json;

use super::ANSWER;
use crate::args::InstanceThawArgs;
use crate::config::Instance;
use crate::error::{Error, Result};
use crate::exit::Code;
use crate::output::{Output, human};
use crate::recovery::Recovery;
use crate::settings::Settings;
use crate::time;

/// Runs the command. What an interrupted run left was thawed already; that needs no configuration.
pub fn run(
    args: &InstanceThawArgs,
    recovery: &Recovery,
    settings: impl Fn() -> Result<Settings>,
    output: &mut Output,
) -> Result<Code> {
    let name = &args.name;
    let recovered = recovery.recovered.iter().any(|window| window.instance == *name);
    if !recovered {
        let settings = settings()?;
        let windows = open_windows(&settings.windows());
        match windows.iter().find(|window| window.instance == *name && !window.thawed) {
            Some(window) => close(window, output)?,
            None => thaw(settings.configuration()?.instance(name)?)?,
        }
    }
    if output.manner().json {
        output.document(json!({ "instance": name, "thawed": true }))?;
    } else {
        writeln!(output, "instance {} is awake", human::printable(name))?;
    }
    Ok(Code::Done)
}

/// Thaws in the window of a run that goes on or hangs, which learns of it: its snapshot claims less.
fn close(window: &OpenWindow, output: &Output) -> Result<()> {
    let mut log = |line: &str| output.note(line);
    match thaw_once(&window.journal, ThawedBy::Recovery, &time::now, &Retry::default(), &mut log) {
        // Closed meanwhile, by whom it belongs to.
        Err(ThawError::Journal(_)) if !window.journal.exists() => Ok(()),
        thawed => Ok(thawed.map(drop).map_err(Box::new)?),
    }
}

/// Thaws outside of any window.
fn thaw(instance: &Instance) -> Result<()> {
    let config = &instance.freezing.freezer;
    let opened = config.open();
    let mut freezer =
        opened.map_err(|source| Error::Freezer { instance: instance.name.clone(), source: source.into() })?;
    freezer.thaw(ANSWER).map_err(|source| Error::NotThawed {
        instance: instance.name.clone(),
        freezer: freezer.describe(),
        source: source.into(),
    })
}
