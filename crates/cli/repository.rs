//! Opening the repository that is meant, and making it.
//!
//! The embedded default is made at first use, in an order that any interruption leaves resumable: its password file is
//! durable before the repository is begun, and the next run goes on with the password that it finds.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use icecore_engine::id::RepositoryId;
use icecore_engine::keys::Secret;
use icecore_engine::pace::Pace;
use icecore_engine::{Archive, Error as EngineError, Progress, RepositoryError};
use icecore_store::{LocalStore, Store};

use crate::error::{Error, Result};
use crate::output::progress;
use crate::paced::PacedStore;
use crate::password;
use crate::settings::{PasswordSource, Place, Settings};
use crate::time;
use crate::world;

/// What an interrupted creation leaves behind; a repository may be made among it. A fresh file system brings the last.
const NO_OBSTACLES: [&str; 3] = ["keys", "tmp", "lost+found"];

/// A repository that was just made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// Its id.
    pub id: RepositoryId,
    /// Its directory.
    pub place: PathBuf,
    /// The file that opens it, if there is one.
    pub password_file: Option<PathBuf>,
    /// It is the embedded default.
    pub embedded: bool,
}

/// An opened repository.
#[derive(Debug)]
pub struct Opened {
    /// The repository with its index.
    pub archive: Archive,
    /// What was found damaged on the way, a sentence each.
    pub warnings: Vec<String>,
}

/// Opens the repository, which must be there.
pub fn open(settings: &Settings) -> Result<Opened> {
    open_shown(settings, false)
}

/// The same, and shows on the way how far it is, if `show`: a new host has an index to make.
pub fn open_shown(settings: &Settings, show: bool) -> Result<Opened> {
    let secret = secret(settings)?;
    progress::display(show, |progress| open_watched(settings, &secret, progress))
}

/// Gets the password of the repository, which must be there.
pub fn secret(settings: &Settings) -> Result<Secret> {
    let place = settings.place.directory();
    // Nobody should type a password for what is not there.
    refuse_absent(settings, &place)?;
    password::obtain(&settings.password, settings.can_ask, &place)
}

/// The store of the repository, which must be there; needs no password.
pub fn store(settings: &Settings) -> Result<Arc<dyn Store>> {
    let place = settings.place.directory();
    refuse_absent(settings, &place)?;
    Ok(Arc::new(LocalStore::open(place)?))
}

/// Opens the repository with a password that is known.
pub fn open_with(settings: &Settings, secret: &Secret) -> Result<Opened> {
    open_watched(settings, secret, &Progress::default())
}

fn open_watched(settings: &Settings, secret: &Secret, progress: &Progress) -> Result<Opened> {
    let local = LocalStore::open(settings.place.directory())?;
    let rate = settings.configuration.as_ref().and_then(|configuration| configuration.limits.upload_rate);
    let store: Arc<dyn Store> = match rate {
        Some(rate) => Arc::new(PacedStore::new(local, Pace::new(rate))),
        None => Arc::new(local),
    };
    let (archive, warnings) = Archive::open_watched(store, secret, &settings.state, time::now(), progress)?;
    Ok(Opened { archive, warnings })
}

/// Opens the repository; the embedded default is made if it is not there yet.
pub fn open_or_create(settings: &Settings, show: bool) -> Result<(Opened, Option<Created>)> {
    let Place::Embedded { home } = &settings.place else { return Ok((open_shown(settings, show)?, None)) };
    let place = settings.place.directory();
    if is_repository(&place)? || has_lost_its_config(&place)? {
        return Ok((open_shown(settings, show)?, None));
    }
    let created = create_embedded(home, settings, None)?;
    Ok((open_shown(settings, show)?, Some(created)))
}

/// Makes the embedded default, or goes on making it.
pub fn create_embedded(home: &Path, settings: &Settings, label: Option<&str>) -> Result<Created> {
    make_private_directory(home)?;
    let (secret, password_file) = match &settings.password {
        PasswordSource::Embedded(file) => match password::generate(file) {
            Err(Error::Exists(_)) => (password::read(file)?, Some(file.clone())),
            generated => (generated?, Some(file.clone())),
        },
        other => (password::obtain_new(other, settings.can_ask)?, password_file(other)),
    };
    create(settings, &secret, label, password_file)
}

/// Makes a repository where nothing else stands.
pub fn create(
    settings: &Settings,
    secret: &Secret,
    label: Option<&str>,
    password_file: Option<PathBuf>,
) -> Result<Created> {
    let place = settings.place.directory();
    refuse_obstacles(&place)?;
    let label = label.map_or_else(default_label, str::to_owned);
    let store = Arc::new(LocalStore::create(&place)?);
    let id = Archive::create(store, secret, &label, time::now())?;
    Ok(Created { id, place, password_file, embedded: matches!(settings.place, Place::Embedded { .. }) })
}

/// The file that a password came from.
pub fn password_file(source: &PasswordSource) -> Option<PathBuf> {
    match source {
        PasswordSource::File(file) | PasswordSource::Embedded(file) => Some(file.clone()),
        PasswordSource::Given(_) | PasswordSource::Ask => None,
    }
}

/// What a key is called whose owner did not say: who made it, and where.
pub fn default_label() -> String {
    format!("{}@{}", world::user_name(), world::host_name())
}

fn refuse_absent(settings: &Settings, place: &Path) -> Result<()> {
    if is_repository(place)? {
        return Ok(());
    }
    if has_lost_its_config(place)? {
        let lost = RepositoryError::ConfigMissing { location: place.display().to_string() };
        return Err(EngineError::from(lost).into());
    }
    Err(Error::NoRepository { place: place.to_owned(), embedded: matches!(settings.place, Place::Embedded { .. }) })
}

/// Whether packs stand in a directory, and no configuration with them.
fn has_lost_its_config(place: &Path) -> Result<bool> {
    match LocalStore::open(place) {
        Ok(store) => Ok(Archive::has_lost_its_config(&store)?),
        Err(error) if error.is_not_found() => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Whether a repository stands in a directory.
pub fn is_repository(place: &Path) -> Result<bool> {
    match LocalStore::open(place) {
        Ok(store) => Ok(Archive::exists(&store)?),
        Err(error) if error.is_not_found() => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// A repository is not scattered over a directory that holds something else.
fn refuse_obstacles(place: &Path) -> Result<()> {
    if is_repository(place)? || has_lost_its_config(place)? {
        return Ok(()); // which the creation itself refuses, with a better sentence
    }
    let entries = match fs::read_dir(place) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(Error::file("use", place))?,
    };
    for entry in entries {
        let name = entry.map_err(Error::file("read", place))?.file_name();
        if !NO_OBSTACLES.iter().any(|known| name == *known) {
            return Err(Error::NotEmpty(place.to_owned()));
        }
    }
    Ok(())
}

/// Makes a directory for this user alone, with its parents, durably.
fn make_private_directory(directory: &Path) -> Result<()> {
    let missing: Vec<_> = directory.ancestors().take_while(|ancestor| !ancestor.exists()).collect();
    let make = || {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        missing.iter().filter_map(|made| made.parent()).try_for_each(|parent| File::open(parent)?.sync_all())
    };
    make().map_err(Error::file("make the directory", directory))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn embedded(directory: &Path) -> Settings {
        let home = directory.join("data/icecore");
        Settings {
            password: PasswordSource::Embedded(home.join("password")),
            place: Place::Embedded { home },
            state: directory.join("state"),
            can_ask: false,
            configuration: None,
            pace: None,
            log: None,
        }
    }

    #[test]
    fn the_embedded_default_is_made_once_and_then_found() {
        let directory = tempfile::tempdir().unwrap();
        let settings = embedded(directory.path());
        assert!(matches!(open(&settings), Err(Error::NoRepository { embedded: true, .. })));
        let (_, created) = open_or_create(&settings, false).unwrap();
        assert!(created.unwrap().password_file.unwrap().is_file());
        let (_, created) = open_or_create(&settings, false).unwrap();
        assert_eq!(created, None);
    }

    #[test]
    fn an_interrupted_creation_goes_on_with_the_password_that_is_there() {
        let directory = tempfile::tempdir().unwrap();
        let settings = embedded(directory.path());
        let Place::Embedded { home } = &settings.place else { unreachable!() };
        make_private_directory(home).unwrap();
        let secret = password::generate(&home.join("password")).unwrap();
        fs::create_dir_all(home.join("repository/keys")).unwrap();
        assert!(open_or_create(&settings, false).unwrap().1.is_some());
        assert_eq!(password::read(&home.join("password")).unwrap().expose(), secret.expose());
    }

    #[test]
    fn a_lost_password_file_is_named_and_not_made_anew() {
        let directory = tempfile::tempdir().unwrap();
        let settings = embedded(directory.path());
        open_or_create(&settings, false).unwrap();
        let file = directory.path().join("data/icecore/password");
        fs::remove_file(&file).unwrap();
        assert!(matches!(open_or_create(&settings, false), Err(Error::PasswordFileMissing { .. })));
        assert!(!file.exists());
    }

    #[test]
    fn a_repository_is_not_scattered_over_something_else() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("diary"), "").unwrap();
        let settings = Settings { place: Place::Named(directory.path().into()), ..embedded(directory.path()) };
        let made = create(&settings, &Secret::new("secret"), None, None);
        assert!(matches!(made, Err(Error::NotEmpty(_))));
    }
}
