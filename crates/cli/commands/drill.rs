//! `icecore drill`: restores that are practised, and what they prove.
//!
//! ```text
//! choose a snapshot ─▶ scratch directory ─▶ room? ─▶ restore, read back ─▶ `verify` of the instance on the copy
//!                      ─▶ proof beside the snapshot ─▶ the directory goes
//! ```
//! What was tried has a result, which is recorded; what could not be tried (no room, no snapshot, a signal) is a failure of
//! the drill and says nothing of the snapshot.
//!
//! | module | what it holds |
//! |---|---|
//! | [`choose`] | which snapshot |
//! | [`mod@attempt`] | one snapshot, from its choice to its proof |

mod attempt;
mod choose;

use std::io;
use std::time::Duration;

use icecore_service::report::Work;
use icecore_service::{Standing, TaskReport};
use icecore_source::target::scratch;
use serde_json::json;

pub use self::attempt::attempt;
pub use self::choose::Which;
use super::run::Tasks;
use super::{find, open};
use crate::args::DrillArgs;
use crate::error::{Error, Result};
use crate::exit::Code;
use crate::interrupt;
use crate::output::Output;
use crate::output::human::{self, Align, Table};
use crate::settings::Settings;
use crate::world;

/// Runs the command.
pub fn run(args: &DrillArgs, settings: &Settings, output: &mut Output) -> Result<Code> {
    let configuration = settings.configuration()?;
    let mut instances = configuration.chosen(&args.instances, args.all)?;
    let left = clear_away(settings, output);
    left.iter().for_each(|warning| output.warn(warning));
    let opened = open(settings, output)?;
    let which = match &args.snapshot {
        Some(text) => {
            let catalogue = opened.archive.catalogue()?;
            let stored = find(&catalogue, text)?;
            let name = stored.snapshot.instance.as_str();
            if let Some(other) = instances.iter().find(|instance| instance.name != name) {
                let id = stored.id.short();
                return Err(Error::Misuse(format!("snapshot {id} is one of {name:?}, and not of {:?}", other.name)));
            }
            instances = vec![configuration.instance(name)?];
            Which::Named(stored.id)
        }
        None if args.random => Which::Random,
        None => Which::Newest,
    };
    interrupt::install()?;
    let tasks = Tasks::new(settings, configuration, output.manner().progress);
    let (mut reports, mut code) = (Vec::with_capacity(instances.len()), Code::Done);
    for instance in instances {
        if interrupt::is_raised() {
            break;
        }
        if let Some(done) = tasks.drill(instance, which, Standing::Asked, &opened.archive, || false) {
            done.tell(output);
            code = code.worst(done.code);
            reports.push(done.report);
        }
    }
    if interrupt::is_raised() {
        code = code.worst(Code::Interrupted);
    }
    if output.manner().json {
        output.document(json!({ "code": code as u8, "tasks": reports }))?;
    } else if !output.manner().quiet {
        print(&reports, output)?;
    }
    Ok(code)
}

/// Removes what drills that were killed have left, and says so. The sentences are what stays, and why.
pub fn clear_away(settings: &Settings, output: &Output) -> Vec<String> {
    let mut left = Vec::new();
    for cleared in scratch::clear_away(&settings.scratch(), &world::host_name()) {
        match cleared {
            Ok(path) => {
                let path = human::printable(&path.to_string_lossy());
                output.always(format_args!("{path}, which an interrupted drill had left, is removed"));
            }
            Err(error) => left.push(error.to_string()),
        }
    }
    left
}

fn print(reports: &[TaskReport], output: &mut Output) -> io::Result<()> {
    let mut table = Table::new([
        ("instance", Align::Left),
        ("result", Align::Left),
        ("snapshot", Align::Left),
        ("size", Align::Right),
        ("restored in", Align::Right),
        ("tested in", Align::Right),
    ]);
    let span = |seconds| human::duration(Duration::from_secs_f64(seconds));
    for report in reports {
        let instance = human::printable(report.task.instance().unwrap_or_default());
        match &report.work {
            Some(Work::Drill(done)) => table.row([
                instance,
                done.result.word().to_owned(),
                done.snapshot.get(..8).unwrap_or_default().to_owned(),
                human::bytes(done.bytes),
                span(done.restore_seconds),
                done.test_seconds.map_or_else(|| "-".to_owned(), span),
            ]),
            _ => {
                let [snapshot, size, restored, tested] = Default::default();
                table.row([instance, format!("not tried: {}", report.result.word()), snapshot, size, restored, tested]);
            }
        }
    }
    table.print("", output)
}
