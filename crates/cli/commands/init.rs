//! `icecore init`: creates a repository.

use std::io::Write;

use crate::args::InitArgs;
use crate::error::{Error, Result};
use crate::exit::Code;
use crate::output::{Output, json};
use crate::password;
use crate::repository::{self, Created};
use crate::settings::{Place, Settings};

/// Runs the command.
pub fn run(args: &InitArgs, settings: &Settings, output: &mut Output) -> Result<Code> {
    let created = create(args, settings)?;
    if output.manner().json {
        output.document(json::created(&created))?;
    } else {
        writeln!(output, "created repository {} in {}", created.id.short(), created.place.display())?;
    }
    output.flush()?;
    advise(&created, output);
    Ok(Code::Done)
}

/// Creates the repository that is meant.
pub fn create(args: &InitArgs, settings: &Settings) -> Result<Created> {
    let place = settings.place.directory();
    // Before anybody types or generates a password for nothing.
    if repository::is_repository(&place)? {
        let location = place.display().to_string();
        return Err(Error::Engine(icecore_engine::RepositoryError::AlreadyExists { location }.into()));
    }
    let label = args.label.as_deref();
    match (&args.generate_password, &settings.place) {
        (Some(_), Place::Embedded { home }) => Err(Error::Misuse(format!(
            "the default repository keeps its generated password in {}: leave --generate-password out, or give --repo DIR",
            home.join("password").display()
        ))),
        (Some(file), Place::Named(_)) => {
            repository::create(settings, &password::generate(file)?, label, Some(file.clone()))
        }
        (None, Place::Embedded { home }) => repository::create_embedded(home, settings, label),
        (None, Place::Named(_)) => {
            let secret = password::obtain_new(&settings.password, settings.can_ask)?;
            repository::create(settings, &secret, label, repository::password_file(&settings.password))
        }
    }
}

/// Says what must be kept. Said even when quiet: it is said once, and all depends on it.
pub fn advise(created: &Created, output: &Output) {
    if let Some(file) = &created.password_file {
        output.always(format_args!("its password is in {}", file.display()));
        output.always("keep a copy of that file in another place: without it nothing can ever be restored");
    } else {
        output.always("without its password nothing can ever be restored: keep it safe");
    }
}
