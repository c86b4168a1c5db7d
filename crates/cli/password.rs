//! Passwords: where they are read, asked for, generated and kept.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use icecore_engine::Entropy;
use icecore_engine::keys::Secret;
use tempfile::NamedTempFile;

use crate::args::NewPassword;
use crate::error::{Error, Result};
use crate::settings::PasswordSource;

/// Gets the password of a repository that is there.
pub fn obtain(source: &PasswordSource, can_ask: bool, repository: &Path) -> Result<Secret> {
    match source {
        PasswordSource::File(file) => read(file),
        PasswordSource::Given(secret) => Ok(secret.clone()),
        PasswordSource::Embedded(file) => match read(file) {
            Err(Error::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Err(Error::PasswordFileMissing { repository: repository.to_owned(), file: file.clone() })
            }
            read => read,
        },
        PasswordSource::Ask if can_ask => ask(&format!("password of {}: ", repository.display())),
        PasswordSource::Ask => Err(Error::NoPassword),
    }
}

/// Gets a password for something new: if it must be asked for, it is asked for twice.
pub fn obtain_new(source: &PasswordSource, can_ask: bool) -> Result<Secret> {
    match source {
        PasswordSource::File(file) | PasswordSource::Embedded(file) => read(file),
        PasswordSource::Given(secret) => Ok(secret.clone()),
        PasswordSource::Ask if can_ask => {
            let first = ask("new password: ")?;
            let second = ask("the same again: ")?;
            if first.expose() == second.expose() { Ok(first) } else { Err(Error::PasswordsDiffer) }
        }
        PasswordSource::Ask => Err(Error::NoPassword),
    }
}

impl NewPassword {
    /// Gets the new password: from a file, into a new file, or from the terminal.
    pub fn obtain(&self, can_ask: bool) -> Result<Secret> {
        match (&self.generate_password, &self.new_password_file) {
            (Some(file), _) => generate(file),
            (None, Some(file)) => read(file),
            (None, None) => match obtain_new(&PasswordSource::Ask, can_ask) {
                Err(Error::NoPassword) => {
                    Err(Error::Misuse("give --new-password-file FILE or --generate-password FILE".to_owned()))
                }
                obtained => obtained,
            },
        }
    }
}

/// Reads a password file; a line end behind the password does not count.
pub fn read(file: &Path) -> Result<Secret> {
    let secret = Secret::new(fs::read(file).map_err(Error::file("read the password file", file))?);
    if secret.expose().is_empty() {
        return Err(Error::EmptyPassword(format!("in {}", file.display())));
    }
    Ok(secret)
}

/// Generates a password and writes it to a new file, durable before this returns.
pub fn generate(file: &Path) -> Result<Secret> {
    let mut entropy = Entropy([0; 32]);
    getrandom::fill(&mut entropy.0).map_err(Error::Random)?;
    let secret = Secret::generate(entropy);
    match written(file, &secret)?.persist_noclobber(file) {
        Ok(_) => {}
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => return Err(Error::Exists(file.to_owned())),
        Err(error) => return Err(Error::file("write the password file", file)(error.error)),
    }
    sync_directory_of(file)?;
    Ok(secret)
}

/// Puts another password into a password file, wholly or not at all.
pub fn replace(file: &Path, secret: &Secret) -> Result<()> {
    written(file, secret)?.persist(file).map_err(|error| Error::file("write the password file", file)(error.error))?;
    sync_directory_of(file)
}

/// The password in a durable file beside `file` that only this user can read.
fn written(file: &Path, secret: &Secret) -> Result<NamedTempFile> {
    let write = || {
        let mut temporary = NamedTempFile::new_in(directory_of(file))?;
        temporary.write_all(secret.expose())?;
        temporary.write_all(b"\n")?;
        temporary.as_file().sync_all()?;
        Ok(temporary)
    };
    write().map_err(Error::file("write the password file", file))
}

fn sync_directory_of(file: &Path) -> Result<()> {
    let directory = directory_of(file);
    File::open(&directory).and_then(|opened| opened.sync_all()).map_err(Error::file("write to", directory))
}

fn directory_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn ask(prompt: &str) -> Result<Secret> {
    let typed = rpassword::prompt_password(prompt).map_err(|error| match error.kind() {
        io::ErrorKind::Interrupted => Error::Interrupted,
        _ => Error::file("read a password from", "the terminal")(error),
    })?;
    if typed.is_empty() { Err(Error::EmptyPassword("that was typed".to_owned())) } else { Ok(Secret::new(typed)) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_generated_password_is_private_and_never_replaces_a_file() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("password");
        let secret = generate(&file).unwrap();
        assert!(secret.is_generated());
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(read(&file).unwrap().expose(), secret.expose());
        assert!(matches!(generate(&file), Err(Error::Exists(_))));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);

        replace(&file, &Secret::new("another")).unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"another\n");
    }

    #[test]
    fn an_empty_or_missing_file_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("password");
        assert!(read(&file).unwrap_err().to_string().contains("password"));
        fs::write(&file, "\n").unwrap();
        assert!(matches!(read(&file), Err(Error::EmptyPassword(_))));
        let missing = PasswordSource::Embedded(directory.path().join("gone"));
        assert!(matches!(obtain(&missing, false, Path::new("/r")), Err(Error::PasswordFileMissing { .. })));
        assert!(matches!(obtain(&PasswordSource::Ask, false, Path::new("/r")), Err(Error::NoPassword)));
    }
}
