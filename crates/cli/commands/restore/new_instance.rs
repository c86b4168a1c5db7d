//! `icecore restore --into-new-instance`: makes a MailStore instance, and restores into it.
//!
//! ```text
//! plan     the server of the snapshot's instance, every root's directory; all of them new or empty, the id free
//! create   CreateInstance · the base directory that the server tells · stopped · what the making put there is deleted
//! restore  as into new directories
//! start    StartInstances · VerifyStores · GetStores: no store stands elsewhere than what was restored
//! ```

mod made;
mod plan;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use icecore_engine::restore::{Mode, restore, targets};
use icecore_engine::{Archive, Catalogue};
use icecore_source::freezer::mailstore::NewInstance;
use serde_json::{Value, json};

use self::made::Made;
use self::plan::Plan;
use super::application::Applications;
use super::{claim, fields, is_whole, job, rehearsal, summarise, tell};
use crate::args::RestoreArgs;
use crate::error::{Error, Result};
use crate::exit::{self, Code};
use crate::interrupt;
use crate::output::{Output, json, progress};
use crate::settings::Settings;

/// Runs the command.
pub fn run(
    id: &str,
    args: &RestoreArgs,
    settings: &Settings,
    archive: &Archive,
    catalogue: &Catalogue,
    ours: &[PathBuf],
    output: &mut Output,
) -> Result<Code> {
    let begun = Instant::now();
    let mut job = job(args, archive, catalogue, ours)?;
    let plan = Plan::make(id, args, settings, &job)?;
    job.mode = Mode::New;
    job.destination = plan.destination(&plan.directory, &job.stored.snapshot);
    let written = targets(archive, &job)?;
    let mut others = Applications::find(args, settings, &written)?;
    let mut instance = NewInstance::open(&plan.config).map_err(|error| plan.failed(error))?;
    if let Some(base) = instance.standing().map_err(|error| plan.failed(error))? {
        let next = plan.next(Path::new(&base));
        return Err(Error::Refused(format!(
            "there is an instance {id} already, with the base directory {base}: choose another id. If an interrupted \
             restore made it, stop it, go on with `{next}`, and start it"
        )));
    }
    written.iter().try_for_each(|directory| expect_empty(directory))?;
    if args.dry_run {
        output.note(format_args!(
            "instance {id} would be made with the base directory {}, stopped, emptied, restored, started and verified",
            plan.base
        ));
        return rehearsal::run(archive, &job, &others, output);
    }
    let _claim = claim(settings, &others.claims(&written), &job)?;
    // Somebody may have filled them before they were claimed.
    written.iter().try_for_each(|directory| expect_empty(directory))?;
    others.admit(output)?;
    interrupt::install()?;
    let mut made = Made::plan(&plan, instance);
    made.create(&job, output)?;
    job.destination = plan.destination(&made.directory, &job.stored.snapshot);
    let restored = progress::attend(output.manner().progress, |progress| restore(archive, &job, progress));
    let report = restored.and_then(|restored| Ok(restored?)).map_err(|cause| made.left(cause))?;
    tell(&report, output);
    let ended = match report.missing_count {
        0 => made.start(output),
        _ => {
            let cause = Error::Refused("not everything could be restored".to_owned());
            Err(made.left(cause))
        }
    };
    let written = (|| -> Result<()> {
        if output.manner().json {
            let mut fields = fields(job.stored, &report);
            fields["seconds"] = begun.elapsed().as_secs_f64().into();
            fields["new_instance"] = json!({
                "id": id, "directory": made.directory.to_string_lossy(), "steps": made.steps,
            });
            if let (Err(error), Value::Object(fields)) = (&ended, &mut fields)
                && let Value::Object(error) = json::error(&exit::sort(error))
            {
                fields.extend(error);
            }
            output.document(fields)?;
        } else if !output.manner().quiet {
            let short = job.stored.id.short();
            writeln!(output, "restored snapshot {short} to {} as instance {id}", made.directory.display())?;
            summarise(&report, begun.elapsed(), output)?;
        }
        Ok(())
    })();
    // How it stands with the instance is said whatever became of the result.
    let code = ended?;
    written?;
    Ok(code.worst(Code::partial_if(!is_whole(&report))))
}

/// Refuses a directory that holds anything.
fn expect_empty(directory: &Path) -> Result<()> {
    let holds = match fs::read_dir(directory) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(Error::file("look into", directory)(error)),
    };
    match holds {
        true => Err(Error::NotEmpty(directory.to_owned())),
        false => Ok(()),
    }
}
