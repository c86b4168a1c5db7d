//! `icecore config check`: everything that is wrong with the configuration file.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use serde_json::{Value, json};

use crate::args::Global;
use crate::config::{self, ConfigError, Configuration, Ours, Reference};
use crate::error::{Error, Result};
use crate::exit::Code;
use crate::output::{Output, human};
use crate::settings::{self, Settings};
use crate::world::World;

/// Runs the command. The file is found as any other command finds it, and read by the same parser.
pub fn run(global: &Global, world: &World, output: &mut Output) -> Result<Code> {
    let (named, places) = settings::configuration_places(global, world);
    let Some((file, bytes)) = config::find_text(named, &places)? else {
        let places: Vec<_> = places.iter().map(|place| place.display().to_string()).collect();
        let next = "`icecore config example` prints one to begin with";
        return Err(Error::Misuse(format!("there is no configuration file: none in {}; {next}", places.join(", "))));
    };
    let (problems, warnings) = match Configuration::parse(&file, &bytes) {
        Ok(configuration) => (misplaced(&configuration, global, world)?, warnings(&configuration)),
        Err(errors) => (errors.0, Vec::new()),
    };
    if output.manner().json {
        output.document(json!({
            "file": file.to_string_lossy(),
            "problems": problems.iter().map(document).collect::<Value>(),
            "warnings": warnings.iter().map(document).collect::<Value>(),
        }))?;
    } else {
        problems.iter().try_for_each(|problem| writeln!(output, "{problem}"))?;
        warnings.iter().for_each(|warning| output.warn(warning));
        if !output.manner().quiet {
            let found = match (problems.len() as u64, warnings.len() as u64) {
                (0, 0) => "nothing is wrong".to_owned(),
                (0, some) => format!("can be used; {}", human::counted(some, "warning", "warnings")),
                (some, _) => human::counted(some, "problem", "problems"),
            };
            writeln!(output, "{}: {found}", file.display())?;
        }
    }
    Ok(if problems.is_empty() { Code::Done } else { Code::Failed })
}

fn document(error: &ConfigError) -> Value {
    let at = &error.at;
    json!({ "line": at.line, "column": at.column, "key": at.key, "message": error.message })
}

/// Roots that no run would take, each as a run says it. One that is missing is only a warning.
fn misplaced(configuration: &Configuration, global: &Global, world: &World) -> Result<Vec<ConfigError>> {
    // Without a home nobody knows where the default ones stand: then no root is in them.
    let (repository, state) = Settings::places(global, world, configuration)?;
    let ours = Ours::of(repository.as_deref(), state.as_deref());
    let refused = configuration.instances.iter().filter_map(|instance| {
        let error = configuration.roots(instance, &ours).err()?;
        let is_missing = instance.roots.iter().any(|root| root.at == error.at && !root.path.exists());
        (!is_missing).then_some(error)
    });
    Ok(refused.collect())
}

/// What may be well some other time, and is not now.
fn warnings(configuration: &Configuration) -> Vec<ConfigError> {
    let absent = configuration.references.iter().filter_map(|reference| {
        let why = missing(reference)?;
        Some(reference.at.error(format!("{} {why}", human::printable(&reference.path.to_string_lossy()))))
    });
    absent.collect()
}

/// Why something on the disk cannot be used now.
fn missing(reference: &Reference) -> Option<String> {
    match fs::metadata(&reference.path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Some("is not there".to_owned()),
        Err(error) => Some(format!("cannot be looked at: {error}")),
        Ok(found) if reference.is_program && !(found.is_file() && may_be_run(&reference.path)) => {
            Some("is not a program that may be run: see its mode".to_owned())
        }
        Ok(_) => None,
    }
}

#[cfg(unix)]
fn may_be_run(program: &Path) -> bool {
    rustix::fs::access(program, rustix::fs::Access::EXEC_OK).is_ok()
}

#[cfg(not(unix))]
fn may_be_run(_: &Path) -> bool {
    true
}
