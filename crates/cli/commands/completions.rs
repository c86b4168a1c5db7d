//! `icecore completions`: a script for the shell.

use std::io::Write;

use serde_json::json;

use crate::args::CompletionsArgs;
use crate::complete;
use crate::error::Result;
use crate::exit::Code;
use crate::output::Output;

/// Runs the command.
pub fn run(args: &CompletionsArgs, output: &mut Output) -> Result<Code> {
    let script = complete::script(&args.shell.to_string())?;
    if output.manner().json {
        output.document(json!({ "shell": args.shell.to_string(), "script": String::from_utf8_lossy(&script) }))?;
    } else {
        output.write_all(&script)?;
    }
    Ok(Code::Done)
}
