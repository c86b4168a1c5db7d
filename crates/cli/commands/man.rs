//! `icecore man`: the manual.

use std::fs;
use std::io::Write;

use clap::CommandFactory;
use clap_mangen::Man;
use serde_json::json;

use crate::args::{Cli, ManArgs};
use crate::error::{Error, Result};
use crate::exit::Code;
use crate::output::Output;

/// Runs the command.
pub fn run(args: &ManArgs, output: &mut Output) -> Result<Code> {
    if let Some(directory) = &args.dir {
        fs::create_dir_all(directory).map_err(Error::file("make the directory", directory))?;
        clap_mangen::generate_to(Cli::command(), directory).map_err(Error::file("write pages to", directory))?;
        if output.manner().json {
            output.document(json!({ "directory": directory.to_string_lossy() }))?;
        }
        return Ok(Code::Done);
    }
    let mut page = Vec::new();
    Man::new(Cli::command()).render(&mut page)?;
    if output.manner().json {
        output.document(json!({ "page": String::from_utf8_lossy(&page) }))?;
    } else {
        output.write_all(&page)?;
    }
    Ok(Code::Done)
}
