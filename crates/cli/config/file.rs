//! The keys of the configuration file: its tables, the repository, the instances.

use std::path::Path;
use std::sync::Arc;

use icecore_engine::snapshot::Snapshot;
use icecore_source::capture::Choice;
use icecore_source::freezer::FreezerConfig;
use toml::de::DeTable;

use super::error::{ConfigError, ConfigErrors};
use super::section::{Item, Section, Source};
use super::{Configuration, Freezing, Instance, InstanceRoot, Repository};
use super::{DrillJob, capture, drill, freezer, hooks, jobs, tell, terms, verify};
use crate::settings::local_directory;

type Result<T> = std::result::Result<T, ConfigError>;

const TOP: &[&str] = &[
    "repository",
    "instance",
    "defaults",
    "hooks",
    "limits",
    "run",
    "prune",
    "check",
    "drill",
    "metrics",
    "notify",
    "log",
];
const REPOSITORY: &[&str] = &["url", "password-file"];
const INSTANCE: &[&str] = &[
    "name",
    "roots",
    "exclude",
    "always-read",
    "capture",
    "max-freeze",
    "warm-rounds",
    "on-window-failure",
    "freezer",
    "snapshot",
    "schedule",
    "keep",
    "verify",
    "hooks",
    "drill",
];

/// Every table of the file, by its path, and its keys. `[instance.freezer]` has some for each kind. (`roots` has names of
/// one's own.)
pub const TABLES: &[(&str, &[&str])] = &[
    ("", TOP),
    ("repository", REPOSITORY),
    ("instance", INSTANCE),
    ("instance.keep", &terms::KEEP_KINDS),
    ("instance.hooks", hooks::KEYS),
    ("instance.drill", drill::KEYS),
    ("instance.snapshot", capture::KEYS),
    ("instance.freezer", freezer::COMMAND),
    ("instance.freezer", freezer::FSFREEZE),
    ("instance.freezer", freezer::MAILSTORE),
    ("defaults", terms::KEYS),
    ("defaults.keep", &terms::KEEP_KINDS),
    ("defaults.hooks", hooks::KEYS),
    ("hooks", hooks::KEYS),
    ("limits", jobs::LIMITS),
    ("run", jobs::RUN),
    ("prune", jobs::PRUNE),
    ("check", jobs::CHECK),
    ("drill", drill::KEYS),
    ("metrics", tell::METRICS),
    ("notify", tell::NOTIFY),
    ("notify.webhook", tell::WEBHOOK),
    ("notify.ping", tell::PING),
    ("notify.mail", tell::MAIL),
    ("log", tell::LOG),
];

/// The longest name of an instance: it names files as well.
const NAME_LEN: usize = 60;

impl Configuration {
    /// Reads the text of a configuration file.
    ///
    /// # Errors
    /// Everything that is wrong with it, at once.
    pub fn parse(file: &Path, bytes: &[u8]) -> std::result::Result<Self, ConfigErrors> {
        let file: Arc<Path> = file.into();
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text.strip_prefix('\u{feff}').unwrap_or(text),
            Err(error) => {
                let valid = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
                let source = Source::new(file, &valid);
                let at = source.mark(&(valid.len()..valid.len()), String::new());
                return Err(at.error("is not UTF-8 text: save the file in that encoding").into());
            }
        };
        let source = Source::new(Arc::clone(&file), text);
        let (document, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            source.note(source.mark(&error.span().unwrap_or(0..0), String::new()).error(error.message()));
        }
        if !errors.is_empty() {
            // What the rest means is anybody's guess.
            source.finish()?;
        }
        let at = source.mark(&(0..0), String::new());
        let top = Section::new(&source, document.get_ref(), at, TOP);
        let drill = drill::read(&top, &DrillJob::default());
        let read = Self {
            file,
            repository: top.find("repository", repository),
            instances: instances(&top, &drill),
            hooks: hooks::read(&top, &hooks::Hooks::default()),
            limits: jobs::limits(&top),
            run: jobs::run(&top),
            prune: jobs::prune(&top),
            check: jobs::check(&top),
            drill,
            tell: tell::read(&top),
            references: Vec::new(),
        };
        Ok(Self { references: source.finish()?, ..read })
    }
}

fn repository(item: &Item<'_>) -> Result<Repository> {
    let section = item.section(REPOSITORY)?;
    let password_file = section.find("password-file", Item::path);
    let url = section.need("url", "\"/srv/icecore\"")?;
    let text = url.text()?;
    match text.contains("://") {
        true => drop(url.parsed(|text| local_directory(text.as_ref()))?),
        false => drop(url.path()?),
    }
    Ok(Repository { url: text.to_owned(), password_file })
}

fn instances(top: &Section<'_>, drill: &DrillJob) -> Vec<Instance> {
    let defaults = terms::defaults(top);
    let mut instances: Vec<Instance> = Vec::new();
    for section in top.read("instance", Vec::new(), |item| item.sections(INSTANCE)) {
        let Some(instance) = instance(&section, &defaults, drill) else { continue };
        match section.get("name") {
            Some(name) if instances.iter().any(|other| other.name == instance.name) => {
                let said = format!("another instance is named {:?} already: choose another name", instance.name);
                section.take::<()>(Err(name.at.error(said)));
            }
            _ => instances.push(instance),
        }
    }
    instances
}

/// `None` if something that must be there is not; all of it is looked at in any case.
fn instance(section: &Section<'_>, defaults: &terms::Terms, drill: &DrillJob) -> Option<Instance> {
    let name = section.require("name", "\"cust01\"", name);
    let roots = section.require("roots", "{ base = \"/srv/cust01\" }", roots);
    let freezer = section.read("freezer", FreezerConfig::None, freezer::read);
    let (capture, snapshot) = section.take(capture::read(section, &freezer)).unwrap_or((Choice::Auto, None));
    let terms = terms::read(section, defaults);
    let verify = section.find("verify", |item| verify::read(item, roots.as_deref().unwrap_or_default()));
    let drill = drill::read(section, drill);
    let freezing = Freezing {
        freezer,
        capture,
        snapshot,
        max_freeze: terms.max_freeze,
        warm_rounds: terms.warm_rounds,
        always_read: terms.always_read,
        on_failure: terms.on_failure,
    };
    let instance = Instance {
        name: name?,
        roots: roots?,
        exclude: terms.exclude,
        freezing,
        schedule: terms.schedule,
        keep: terms.keep,
        hooks: terms.hooks,
        verify,
        drill,
    };
    if let Some(verify) = section.get("verify")
        && instance.verify.is_some()
        && !instance.drill.schedule.is_never()
        && instance.tested_roots().next().is_none()
    {
        let said =
            format!("is not told where a drill's copy is, and would test something else: {}", instance.stand_ins());
        section.take::<()>(Err(verify.at.error(said)));
    }
    Some(instance)
}

fn name(item: &Item<'_>) -> Result<String> {
    let text = item.text()?;
    if Snapshot::check_instance(text).is_err() || text.len() > NAME_LEN {
        return Err(item.at.error(format!(
            "{text:?} cannot name an instance: write at most {NAME_LEN} bytes without control characters"
        )));
    }
    Ok(text.to_owned())
}

fn roots(item: &Item<'_>) -> Result<Vec<InstanceRoot>> {
    let section = item.open_section()?;
    let mut roots = Vec::new();
    for root in section.items() {
        if root.name.is_empty() || matches!(root.name, "." | "..") || root.name.contains(['/', '\0']) {
            let said = format!("{:?} cannot name a root: write one component of a path", root.name);
            section.take::<()>(Err(root.at.error(said)));
        }
        let path = section.take(root.path());
        roots.extend(path.map(|path| InstanceRoot { name: root.name.to_owned(), path, at: root.at.clone() }));
    }
    match section.items().next().is_none() {
        true => Err(item.at.error("names no directory: write, for example, roots = { base = \"/srv/cust01\" }")),
        false => Ok(roots),
    }
}
