//! `icecore __guardian`: the process that thaws if the backup which started it cannot.

use std::io;

use icecore_source::window::guardian;

use crate::args::GuardianArgs;
use crate::error::Result;
use crate::exit::Code;
use crate::output::Output;
use crate::time;

/// Stands guard until a thaw is confirmed. The backup speaks on stdin and hears on stdout.
pub fn run(args: &GuardianArgs, output: &mut Output) -> Result<Code> {
    guardian::run(&args.journal, io::stdin(), output, &time::now)?;
    Ok(Code::Done)
}
