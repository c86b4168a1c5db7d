//! `icecore config`: the configuration file.

pub mod check;
pub mod systemd;

use std::io::Write;

use crate::config::EXAMPLE;
use crate::error::{Error, Result};
use crate::exit::Code;
use crate::output::Output;
use crate::settings::Settings;

/// Prints what holds in the end.
pub fn show(settings: &Settings, output: &mut Output) -> Result<Code> {
    let configuration = settings.configuration()?;
    let shown = configuration.show();
    if output.manner().json {
        let file = configuration.file.to_string_lossy();
        output.document(serde_json::json!({ "file": file, "configuration": shown }))?;
    } else {
        let text =
            toml::to_string(&shown).map_err(|error| Error::Misuse(format!("cannot be shown as TOML: {error}")))?;
        writeln!(output, "# {}\n{text}", configuration.file.display())?;
    }
    Ok(Code::Done)
}

/// Prints the example.
pub fn example(output: &mut Output) -> Result<Code> {
    if output.manner().json {
        output.document(serde_json::json!({ "toml": EXAMPLE }))?;
    } else {
        output.write_all(EXAMPLE.as_bytes())?;
    }
    Ok(Code::Done)
}
