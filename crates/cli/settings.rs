//! What the global options mean in the world that the program was started in.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use icecore_engine::keys::Secret;
use icecore_engine::pace::Pace;

use crate::args::{Global, ProgressWhen};
use crate::config::{Configuration, Repository};
use crate::error::{Error, Result};
use crate::world::World;

/// The directory of this program below a user's data or state directory.
const OURS: &str = "icecore";

/// The configuration file in that directory.
const CONFIG: &str = "config.toml";

/// Where the repository is, how it is opened, and what is configured.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Which repository.
    pub place: Place,
    /// What opens it.
    pub password: PasswordSource,
    /// Where the index is kept.
    pub state: PathBuf,
    /// Somebody can be asked for a password.
    pub can_ask: bool,
    /// The configuration file, if there is one.
    pub configuration: Option<Configuration>,
    /// How fast content is read, by all threads of all instances together.
    pub pace: Option<Arc<Pace>>,
    /// Where the log is written, if it is.
    pub log: Option<PathBuf>,
}

/// Which repository is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// One that the user named.
    Named(PathBuf),
    /// The default one below the user's data directory, made at first use.
    Embedded {
        /// The directory that holds the repository and its password file.
        home: PathBuf,
    },
}

/// Where a password comes from.
#[derive(Debug, Clone)]
pub enum PasswordSource {
    /// A file that the user named.
    File(PathBuf),
    /// The environment.
    Given(Secret),
    /// The file of the embedded default.
    Embedded(PathBuf),
    /// The user at the terminal.
    Ask,
}

/// Who listens, and how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Manner {
    /// Results are one JSON document.
    pub json: bool,
    /// Nothing but results that were asked for, warnings and errors.
    pub quiet: bool,
    /// More than usual.
    pub verbose: bool,
    /// Progress is shown.
    pub progress: bool,
    /// Results go to a terminal.
    pub terminal: bool,
    /// They may be coloured.
    pub colour: bool,
    /// Columns of that terminal.
    pub width: Option<usize>,
}

impl Manner {
    /// Decides how to talk.
    pub fn decide(global: &Global, world: &World) -> Self {
        let progress = global.progress == ProgressWhen::Auto && world.watched && !global.quiet && !global.json;
        Self {
            json: global.json,
            quiet: global.quiet,
            verbose: global.verbose,
            progress,
            terminal: world.terminal,
            colour: world.terminal && world.colour && !global.json,
            width: world.width.filter(|_| world.terminal),
        }
    }
}

impl Place {
    /// Decides which repository is meant; `None` if none is named, and no home is known for the default one.
    fn find(global: &Global, world: &World, configured: Option<&Self>) -> Result<Option<Self>> {
        let named = global.repo.as_deref().or(world.repository.as_deref());
        let named = named.map(|text| local_directory(text).map(Self::Named)).transpose()?;
        let embedded = || world.data_home.as_ref().map(|home| Self::Embedded { home: home.join(OURS) });
        Ok(named.or_else(|| configured.cloned()).or_else(embedded))
    }

    fn configured(repository: &Repository) -> Result<Self> {
        local_directory(OsStr::new(&repository.url)).map(Self::Named)
    }

    /// The repository's directory.
    pub fn directory(&self) -> PathBuf {
        match self {
            Self::Named(directory) => directory.clone(),
            Self::Embedded { home } => home.join("repository"),
        }
    }
}

impl Settings {
    /// Decides: an option outranks the environment, that the configuration, and all of them the embedded default.
    pub fn resolve(global: &Global, world: &World) -> Result<Self> {
        let configuration = find_configuration(global, world)?;
        let configured = configuration.as_ref().and_then(|configuration| configuration.repository.as_ref());
        let configured_place = configured.map(Place::configured).transpose()?;
        let place = Place::find(global, world, configured_place.as_ref())?.ok_or_else(|| {
            Error::Misuse("no repository was named, and no home directory is known: give --repo DIR".to_owned())
        })?;
        let state = Self::state_directory(global, world).ok_or_else(|| {
            Error::Misuse("no home directory is known for the index: give --state-dir DIR".to_owned())
        })?;
        // The configured password is that of the configured repository.
        let configured_file = configured.and_then(|repository| repository.password_file.clone());
        let configured_file = configured_file.filter(|_| configured_place.as_ref() == Some(&place));
        let password = password_source(global, world, configured_file, &place);
        let rate = configuration.as_ref().and_then(|configuration| configuration.limits.read_rate);
        let pace = rate.map(|rate| Arc::new(Pace::new(rate)));
        let configured_log = || configuration.as_ref().and_then(|configuration| configuration.tell.log.file.clone());
        let log = global.log_file.clone().or_else(configured_log);
        Ok(Self { place, password, state, can_ask: world.can_ask, configuration, pace, log })
    }

    /// Where this host keeps what it knows; needs no configuration, so that a frozen instance can be thawed whatever
    /// stands there. `None` without a home.
    pub fn state_directory(global: &Global, world: &World) -> Option<PathBuf> {
        let named = global.state_dir.as_ref().or(world.state.as_ref()).cloned();
        named.or_else(|| Some(world.state_home.as_ref()?.join(OURS)))
    }

    /// The repository's directory and that of this host's state with a configuration, as far as they are known.
    pub fn places(
        global: &Global,
        world: &World,
        configuration: &Configuration,
    ) -> Result<(Option<PathBuf>, Option<PathBuf>)> {
        let configured = configuration.repository.as_ref().map(Place::configured).transpose()?;
        let place = Place::find(global, world, configured.as_ref())?;
        Ok((place.map(|place| place.directory()), Self::state_directory(global, world)))
    }

    /// Where the journals of freeze windows stand.
    pub fn windows(&self) -> PathBuf {
        windows(&self.state)
    }

    /// Where the records of file system snapshots stand.
    pub fn captures(&self) -> PathBuf {
        captures(&self.state)
    }

    /// Where it is noted who works with which directory.
    pub fn claims(&self) -> PathBuf {
        self.state.join("claims")
    }

    /// Where the records of scratch directories stand.
    pub fn scratch(&self) -> PathBuf {
        self.state.join("scratch")
    }

    /// The configuration, which must be there.
    pub fn configuration(&self) -> Result<&Configuration> {
        self.configuration.as_ref().ok_or_else(|| {
            let next = "write one and name it with --config FILE (`icecore config example` prints one)";
            Error::Misuse(format!("no instance is configured, because there is no configuration file: {next}"))
        })
    }
}

/// Where the journals of freeze windows stand below a state directory.
pub fn windows(state: &Path) -> PathBuf {
    state.join("windows")
}

/// Where the records of file system snapshots stand below a state directory.
pub fn captures(state: &Path) -> PathBuf {
    state.join("captures")
}

fn find_configuration(global: &Global, world: &World) -> Result<Option<Configuration>> {
    let (named, places) = configuration_places(global, world);
    Configuration::find(named, &places)
}

/// The configuration file that was named, and where one is looked for if none was.
pub fn configuration_places<'a>(global: &'a Global, world: &'a World) -> (Option<&'a Path>, Vec<PathBuf>) {
    let named = global.config.as_deref().or(world.config.as_deref());
    let users = world.config_home.as_ref().map(|home| home.join(OURS).join(CONFIG));
    (named, users.into_iter().chain(world.system_config.clone()).collect())
}

fn password_source(global: &Global, world: &World, configured: Option<PathBuf>, place: &Place) -> PasswordSource {
    if let Some(file) = global.password_file.as_ref().or(world.password_file.as_ref()) {
        return PasswordSource::File(file.clone());
    }
    if let Some(password) = &world.password {
        return PasswordSource::Given(Secret::new(password.as_encoded_bytes()));
    }
    match (configured, place) {
        (Some(file), _) => PasswordSource::File(file),
        (None, Place::Named(_)) => PasswordSource::Ask,
        (None, Place::Embedded { home }) => PasswordSource::Embedded(home.join("password")),
    }
}

/// Reads the name of a repository: a directory, perhaps as a `file:` URL.
pub(crate) fn local_directory(text: &OsStr) -> Result<PathBuf> {
    let Some(readable) = text.to_str() else { return Ok(PathBuf::from(text)) };
    let directory = readable.strip_prefix("file://").unwrap_or(readable);
    match directory.split_once("://") {
        _ if directory.is_empty() => Err(Error::Misuse("the name of the repository is empty".to_owned())),
        Some((scheme, _)) if scheme.bytes().all(|c| c.is_ascii_alphanumeric()) => Err(Error::Misuse(format!(
            "repositories at {scheme}:// are not supported by this version: name a directory with --repo DIR"
        ))),
        // Absolute, because messages and documents are read elsewhere.
        _ => Ok(std::path::absolute(directory).unwrap_or_else(|_| PathBuf::from(directory))),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn world() -> World {
        World {
            data_home: Some("/home/ann/.local/share".into()),
            state_home: Some("/home/ann/.local/state".into()),
            ..World::default()
        }
    }

    fn global(repo: &str) -> Global {
        Global { repo: Some(repo.into()), ..Global::default() }
    }

    #[test]
    fn with_nothing_configured_the_embedded_default_is_meant() {
        let settings = Settings::resolve(&Global::default(), &world()).unwrap();
        assert_eq!(settings.place.directory(), Path::new("/home/ann/.local/share/icecore/repository"));
        assert_eq!(settings.state, Path::new("/home/ann/.local/state/icecore"));
        let PasswordSource::Embedded(file) = settings.password else { panic!("{:?}", settings.password) };
        assert_eq!(file, Path::new("/home/ann/.local/share/icecore/password"));
    }

    #[test]
    fn an_option_outranks_the_environment() {
        let world = World {
            repository: Some("/env".into()),
            password: Some("secret\n".into()),
            state: Some("/state".into()),
            ..world()
        };
        let settings = Settings::resolve(&Global::default(), &world).unwrap();
        assert_eq!(settings.place, Place::Named("/env".into()));
        assert_eq!(settings.state, Path::new("/state"));
        assert!(matches!(settings.password, PasswordSource::Given(secret) if secret.expose() == b"secret"));

        let typed = Global { password_file: Some("/key".into()), ..global("/typed") };
        let settings = Settings::resolve(&typed, &world).unwrap();
        assert_eq!(settings.place, Place::Named("/typed".into()));
        assert!(matches!(settings.password, PasswordSource::File(file) if file == Path::new("/key")));
    }

    #[test]
    fn a_named_repository_without_a_password_is_asked_for_one() {
        let settings = Settings::resolve(&global("file:///srv/ice"), &world()).unwrap();
        assert_eq!(settings.place, Place::Named("/srv/ice".into()));
        assert!(matches!(settings.password, PasswordSource::Ask));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for repo in ["", "file://", "s3://bucket/x", "sftp://host/x"] {
            assert!(matches!(Settings::resolve(&global(repo), &world()), Err(Error::Misuse(_))), "{repo}");
        }
        assert!(matches!(Settings::resolve(&Global::default(), &World::default()), Err(Error::Misuse(_))));
        assert!(Settings::resolve(&global("/odd://name"), &world()).is_ok());
    }

    #[test]
    fn the_configuration_outranks_the_default_alone_and_keeps_its_password_to_itself() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("icecore/config.toml");
        fs::create_dir(home.path().join("icecore")).unwrap();
        fs::write(&file, "repository = { url = '/srv/ice', password-file = '/etc/key' }").unwrap();
        let world = World { config_home: Some(home.path().into()), ..world() };
        let settings = Settings::resolve(&Global::default(), &world).unwrap();
        assert_eq!(settings.place, Place::Named("/srv/ice".into()));
        assert!(matches!(settings.password, PasswordSource::File(file) if file == Path::new("/etc/key")));

        let settings = Settings::resolve(&global("/typed"), &world).unwrap();
        assert_eq!(settings.place, Place::Named("/typed".into()));
        assert!(matches!(settings.password, PasswordSource::Ask));
        let with_secret = World { password: Some("secret".into()), ..world.clone() };
        let settings = Settings::resolve(&Global::default(), &with_secret).unwrap();
        assert!(matches!(settings.password, PasswordSource::Given(_)));

        let named = Global { config: Some(home.path().join("other.toml")), ..Global::default() };
        assert!(matches!(Settings::resolve(&named, &world), Err(Error::File { .. })));
        fs::write(home.path().join("other.toml"), "").unwrap();
        let settings = Settings::resolve(&named, &world).unwrap();
        assert!(matches!(settings.place, Place::Embedded { .. }));
        fs::write(&file, "repository = 7").unwrap();
        assert!(matches!(Settings::resolve(&Global::default(), &world), Err(Error::Config(_))));
        assert!(Settings::state_directory(&Global::default(), &world).is_some());
    }

    #[test]
    fn progress_is_for_people_who_watch() {
        let watched = World { watched: true, ..world() };
        let decide = |global: Global, world: &World| Manner::decide(&global, world).progress;
        assert!(decide(Global::default(), &watched));
        assert!(!decide(Global::default(), &world()));
        assert!(!decide(Global { json: true, ..Global::default() }, &watched));
        assert!(!decide(Global { quiet: true, ..Global::default() }, &watched));
        assert!(!decide(Global { progress: ProgressWhen::Never, ..Global::default() }, &watched));
    }
}
