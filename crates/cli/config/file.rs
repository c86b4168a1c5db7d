//! The keys of the configuration file, and what they mean.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use icecore_engine::backup::OnWindowFailure;
use icecore_engine::snapshot::Snapshot;
use icecore_source::Excludes;
use icecore_source::freezer::FreezerConfig;
use toml::de::DeTable;

use super::error::ConfigError;
use super::section::{Item, Section, Source};
use super::{Configuration, Freezing, Instance, InstanceRoot, KEEP_KINDS, Keep, Repository};
use super::{capture, freezer};

type Result<T> = std::result::Result<T, ConfigError>;

const INSTANCE_KEYS: [&str; 13] = [
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
];

/// The longest window without a word in the file. An application of many users bears it.
const MAX_FREEZE: Duration = Duration::from_secs(30);

/// Outside of these a window is a slip of the finger.
const MAX_FREEZE_LIMITS: std::ops::RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(60 * 60);

/// Warm passes without a word in the file: few files are still hot after the third.
const WARM_ROUNDS: u8 = 3;

/// The longest name of an instance: it names files as well.
const NAME_LEN: usize = 60;

impl Configuration {
    /// Reads the text of a configuration file.
    pub fn parse(file: &Path, bytes: &[u8]) -> Result<Self> {
        let file: Arc<Path> = file.into();
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text.strip_prefix('\u{feff}').unwrap_or(text),
            Err(error) => {
                let valid = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
                let source = Source { file, text: &valid };
                let at = source.mark(&(valid.len()..valid.len()), String::new());
                return Err(at.error("is not UTF-8 text: save the file in that encoding"));
            }
        };
        let source = Source { file: Arc::clone(&file), text };
        let document = DeTable::parse(text).map_err(|error| {
            let span = error.span().unwrap_or(0..0);
            source.mark(&span, String::new()).error(error.message())
        })?;
        let at = source.mark(&(0..0), String::new());
        let top = Section::new(&source, document.get_ref(), at, &["repository", "instance"])?;
        let repository = top.get("repository").map(|item| repository(&item)).transpose()?;
        let sections = top.get("instance").map_or(Ok(Vec::new()), |item| item.sections(&INSTANCE_KEYS))?;
        let mut instances: Vec<Instance> = Vec::with_capacity(sections.len());
        for section in &sections {
            let instance = instance(section)?;
            if instances.iter().any(|other| other.name == instance.name) {
                let name = section.need("name", "")?;
                return Err(name
                    .at
                    .error(format!("another instance is named {:?} already: choose another name", instance.name)));
            }
            instances.push(instance);
        }
        Ok(Self { file, repository, instances })
    }
}

fn repository(item: &Item<'_>) -> Result<Repository> {
    let section = item.section(&["url", "password-file"])?;
    let url = section.need("url", "\"/srv/icecore\"")?;
    let text = url.text()?;
    if !text.contains("://") {
        url.path()?;
    }
    let password_file = section.get("password-file").map(|item| item.path()).transpose()?;
    Ok(Repository { url: text.to_owned(), password_file })
}

fn instance(section: &Section<'_>) -> Result<Instance> {
    let name = section.need("name", "\"cust01\"")?;
    let text = name.text()?;
    if Snapshot::check_instance(text).is_err() || text.len() > NAME_LEN {
        return Err(name.at.error(format!(
            "{text:?} cannot name an instance: write at most {NAME_LEN} bytes without control characters"
        )));
    }
    let limit = section.get("max-freeze").map(|item| item.duration(MAX_FREEZE_LIMITS)).transpose()?;
    let rounds = section.get("warm-rounds").map(|item| item.number(0..=10)).transpose()?;
    let failure = [("fail", OnWindowFailure::Fail), ("keep-fuzzy", OnWindowFailure::KeepFuzzy)];
    let freezer = section.get("freezer").map_or(Ok(FreezerConfig::None), |item| freezer::read(&item))?;
    let (capture, snapshot) = capture::read(section, &freezer)?;
    let freezing = Freezing {
        freezer,
        capture,
        snapshot,
        max_freeze: limit.unwrap_or(MAX_FREEZE),
        // Its limits make it fit.
        warm_rounds: rounds.map_or(WARM_ROUNDS, |rounds| rounds as u8),
        always_read: patterns(section, "always-read")?,
        on_failure: section.get("on-window-failure").map_or(Ok(OnWindowFailure::Fail), |item| item.word(&failure))?,
    };
    Ok(Instance {
        name: text.to_owned(),
        roots: roots(&section.need("roots", "{ base = \"/srv/cust01\" }")?)?,
        exclude: patterns(section, "exclude")?,
        freezing,
        schedule: section.get("schedule").map(|item| item.text().map(str::to_owned)).transpose()?,
        keep: section.get("keep").map_or(Ok(Keep::default()), |item| keep(&item))?,
        verify: section.get("verify").map(|item| item.texts()).transpose()?,
    })
}

/// Patterns that were tried: each can be compiled.
fn patterns(section: &Section<'_>, key: &str) -> Result<Vec<String>> {
    let Some(item) = section.get(key) else { return Ok(Vec::new()) };
    let patterns = item.texts()?;
    match Excludes::new(&patterns, &[]) {
        Ok(_) => Ok(patterns),
        Err(error) => {
            let (pattern, reason) = (error.pattern, error.reason);
            Err(item.at.error(format!("{pattern:?} is not a pattern as in .gitignore: {reason}")))
        }
    }
}

fn roots(item: &Item<'_>) -> Result<Vec<InstanceRoot>> {
    let mut roots = Vec::new();
    for root in item.open_section()?.items() {
        if root.name.is_empty() || matches!(root.name, "." | "..") || root.name.contains(['/', '\0']) {
            return Err(root.at.error(format!("{:?} cannot name a root: write one component of a path", root.name)));
        }
        roots.push(InstanceRoot { name: root.name.to_owned(), path: root.path()?, at: root.at.clone() });
    }
    match roots.is_empty() {
        true => Err(item.at.error("names no directory: write, for example, roots = { base = \"/srv/cust01\" }")),
        false => Ok(roots),
    }
}

fn keep(item: &Item<'_>) -> Result<Keep> {
    let section = item.section(&KEEP_KINDS)?;
    let mut rules = Vec::new();
    for kind in KEEP_KINDS {
        if let Some(item) = section.get(kind) {
            rules.push((kind, item.number(1..=100_000)?));
        }
    }
    Ok(Keep { rules })
}
