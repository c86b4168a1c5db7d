//! `icecore mount`: the snapshots as a read-only file system, as long as the program runs.

use std::io::Write;
use std::num::NonZero;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use icecore_engine::{Catalogue, Error as EngineError};
use icecore_mount::{Choice, Ended, Options, mount};

use super::{catalogue, find, open};
use crate::args::MountArgs;
use crate::error::Result;
use crate::exit::Code;
use crate::output::{Output, human, say};
use crate::settings::Settings;
use crate::{interrupt, time};

/// How soon the user's wish to end is noticed.
const TICK: Duration = Duration::from_millis(50);

/// Threads that answer the kernel at least: some wait for the store while others go on.
const THREADS: usize = 4;

/// Runs the command.
pub fn run(args: &MountArgs, settings: &Settings, output: &mut Output) -> Result<Code> {
    let opened = open(settings, output)?;
    let options = Options {
        choice: choice(args, &catalogue(&opened.archive, output)?)?,
        allow_other: args.allow_other,
        cache: args.cache,
        threads: thread::available_parallelism().map_or(THREADS, NonZero::get).max(THREADS),
        refresh: args.refresh,
        name: time::file_name,
        warn: Arc::new(|text| say(format_args!("warning: {}", human::printable(text)))),
    };
    // From here on no signal may leave a mount without its program.
    interrupt::install()?;
    let mut mounted = mount(&opened.archive, &args.directory, options)?;
    let told = tell(mounted.directory(), output);
    let mut asked = false;
    while !mounted.has_ended() {
        if (interrupt::is_raised() || told.is_err()) && !asked {
            asked = true;
            if mounted.unmount()? == Ended::InUse {
                output.warn(format_args!(
                    "{} is unmounted, but somebody still uses what was there: it is served until he is done; a second \
                     Ctrl-C ends it at once",
                    mounted.directory().display()
                ));
            }
        }
        thread::sleep(TICK);
    }
    mounted.finish()?;
    told?;
    Ok(Code::Done)
}

fn choice(args: &MountArgs, catalogue: &Catalogue) -> Result<Choice> {
    if let Some(snapshot) = &args.snapshot {
        return Ok(Choice::One(Box::new(find(catalogue, snapshot)?.clone())));
    }
    if let Some(name) = &args.instance
        && !catalogue.snapshots.iter().any(|stored| stored.snapshot.instance == *name)
    {
        return Err(EngineError::NotFound(format!("there is no snapshot of {name}")).into());
    }
    Ok(Choice::Series(args.instance.clone()))
}

/// Says that it is mounted: one line, also of JSON.
fn tell(directory: &std::path::Path, output: &mut Output) -> Result<()> {
    let shown = directory.display();
    if output.manner().json {
        let mut line = output.head();
        line.insert("mounted".to_owned(), shown.to_string().into());
        serde_json::to_writer(&mut *output, &line).map_err(std::io::Error::from)?;
        writeln!(output)?;
    } else if !output.manner().quiet {
        writeln!(output, "mounted at {shown}; Ctrl-C, or `fusermount3 -u {shown}`, ends it")?;
    }
    Ok(output.flush()?)
}
