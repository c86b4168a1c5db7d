//! `[metrics]`, `[notify]`, `[log]`: who is told of runs, and how.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use icecore_service::log::Format;
use icecore_service::notify::{Address, On, is_address};
use serde_json::{Map, Value};
use tracing::Level;

use super::error::ConfigError;
use super::section::{Item, Section};
use super::show::{Table, path, span};

type Result<T> = std::result::Result<T, ConfigError>;

pub const METRICS: &[&str] = &["file"];
pub const NOTIFY: &[&str] = &["timeout", "ca-file", "webhook", "ping", "mail"];
pub const WEBHOOK: &[&str] = &["url", "headers", "secret-file", "on"];
pub const PING: &[&str] = &["url", "secret-file"];
pub const MAIL: &[&str] = &["to", "from", "command", "on"];
pub const LOG: &[&str] = &["file", "format", "level"];

/// How long telling may take without a word in the file: long enough for a server that is started anew.
const TIMEOUT: Duration = Duration::from_secs(30);

const TIMEOUT_LIMITS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(10 * 60);

/// What takes mail on most systems: recipients are read from the message, and a line with a dot does not end it.
const SENDMAIL: [&str; 3] = ["/usr/sbin/sendmail", "-t", "-i"];

const ONS: [(&str, On); 2] = [("failure", On::Failure), ("always", On::Always)];
const FORMATS: [(&str, Format); 2] = [("text", Format::Text), ("json", Format::Json)];
const LEVELS: [(&str, Level); 4] =
    [("error", Level::ERROR), ("warn", Level::WARN), ("info", Level::INFO), ("debug", Level::DEBUG)];

/// Who is told of runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tell {
    /// The file that Prometheus' node exporter reads.
    pub metrics: Option<PathBuf>,
    pub notify: Notify,
    pub log: Log,
}

/// `[notify]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notify {
    /// How long all of it may take at the end of a run.
    pub timeout: Duration,
    /// Who vouches for servers; `None`: whom the system trusts.
    pub ca_file: Option<PathBuf>,
    pub webhook: Option<(Address, On)>,
    pub ping: Option<Address>,
    pub mail: Option<Mail>,
}

/// `[notify.mail]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    pub to: Vec<String>,
    /// `None`: icecore at this host.
    pub from: Option<String>,
    pub command: Vec<String>,
    pub on: On,
}

/// `[log]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    pub file: Option<PathBuf>,
    pub format: Format,
    pub level: Level,
}

impl Default for Log {
    fn default() -> Self {
        Self { file: None, format: Format::Text, level: Level::INFO }
    }
}

pub fn read(top: &Section<'_>) -> Tell {
    let metrics = top.table("metrics", METRICS).and_then(|section| section.find("file", prometheus));
    Tell { metrics, notify: notify(top), log: log(top) }
}

fn notify(top: &Section<'_>) -> Notify {
    let silent = Notify { timeout: TIMEOUT, ca_file: None, webhook: None, ping: None, mail: None };
    let Some(section) = top.table("notify", NOTIFY) else { return silent };
    Notify {
        timeout: section.read("timeout", silent.timeout, |item| item.duration(TIMEOUT_LIMITS)),
        ca_file: section.find("ca-file", Item::path),
        webhook: section.table("webhook", WEBHOOK).and_then(|section| Some((address(&section)?, on(&section)))),
        ping: section.table("ping", PING).and_then(|section| address(&section)),
        mail: section.table("mail", MAIL).and_then(|section| mail(&section)),
    }
}

fn address(section: &Section<'_>) -> Option<Address> {
    let headers = |item: &Item<'_>| {
        let section = item.open_section()?;
        let values = section.items().map(|header| Ok((header.name.to_owned(), header.text()?.to_owned())));
        values.collect::<Result<Vec<_>>>()
    };
    let url = section.require("url", "\"https://example.com/hook\"", |item| Ok(item.text()?.to_owned()));
    let headers = section.read("headers", Vec::new(), headers);
    let secret_file = section.find("secret-file", Item::path);
    let address = Address { url: url?, headers, secret_file };
    let at = section.get("url").map_or(section.at.clone(), |item| item.at);
    section.take(address.check().map_err(|why| at.error(why)))?;
    Some(address)
}

fn mail(section: &Section<'_>) -> Option<Mail> {
    let to = section.require("to", "[\"admin@example.com\"]", |item| {
        let addresses = item.texts()?;
        match addresses.iter().find(|address| !is_address(address)) {
            Some(wrong) => Err(no_address(item, wrong)),
            None if addresses.is_empty() => Err(item.at.error("names nobody: write [\"admin@example.com\"]")),
            None => Ok(addresses),
        }
    });
    let from = section.find("from", |item| match item.text()? {
        text if is_address(text) => Ok(text.to_owned()),
        text => Err(no_address(item, text)),
    });
    let command = section.read("command", SENDMAIL.map(str::to_owned).to_vec(), Item::program);
    if let (None, Some(item)) = (section.get("command"), section.get("to")) {
        item.refer(SENDMAIL[0], true);
    }
    Some(Mail { to: to?, from, command, on: on(section) })
}

fn no_address(item: &Item<'_>, text: &str) -> ConfigError {
    item.at.error(format!("{text:?} is no mail address: write it as name@example.com, in ASCII"))
}

fn on(section: &Section<'_>) -> On {
    section.read("on", On::Failure, |item| item.word(&ONS))
}

fn log(top: &Section<'_>) -> Log {
    let Some(section) = top.table("log", LOG) else { return Log::default() };
    let Log { format, level, .. } = Log::default();
    Log {
        file: section.find("file", made),
        format: section.read("format", format, |item| item.word(&FORMATS)),
        level: section.read("level", level, |item| item.word(&LEVELS)),
    }
}

fn prometheus(item: &Item<'_>) -> Result<PathBuf> {
    let file = made(item)?;
    match file.extension().is_some_and(|extension| extension == "prom") {
        true => Ok(file),
        false => Err(item.at.error("must end with .prom: the node exporter reads no other files")),
    }
}

/// The absolute path of a file that is made, and need not be there.
fn made(item: &Item<'_>) -> Result<PathBuf> {
    match item.text()? {
        text if Path::new(text).is_absolute() && !text.contains('\0') => Ok(PathBuf::from(text)),
        text => Err(item.at.error(format!("{text:?} is not an absolute path: write it from / on"))),
    }
}

/// The three tables, as they are shown.
pub fn show(tell: &Tell) -> [(&'static str, Value); 3] {
    let Tell { metrics, notify, log } = tell;
    let webhook = notify.webhook.as_ref().map(|(address, on)| show_address(address, Some(on)));
    let mail = notify.mail.as_ref().map(|mail| {
        Table::default()
            .put("to", mail.to.clone())
            .maybe("from", mail.from.clone())
            .put("command", mail.command.clone())
            .put("on", word(&ONS, &mail.on))
            .end()
    });
    let notify = Table::default()
        .put("timeout", span(notify.timeout))
        .maybe("ca-file", notify.ca_file.as_deref().map(path))
        .maybe("webhook", webhook)
        .maybe("ping", notify.ping.as_ref().map(|address| show_address(address, None)))
        .maybe("mail", mail);
    let log = Table::default()
        .maybe("file", log.file.as_deref().map(path))
        .put("format", word(&FORMATS, &log.format))
        .put("level", word(&LEVELS, &log.level));
    let metrics = Table::default().maybe("file", metrics.as_deref().map(path));
    [("metrics", metrics.end()), ("notify", notify.end()), ("log", log.end())]
}

fn show_address(address: &Address, on: Option<&On>) -> Value {
    let headers: Map<_, _> =
        address.headers.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
    Table::default()
        .put("url", address.url.clone())
        .maybe("secret-file", address.secret_file.as_deref().map(path))
        .maybe("on", on.map(|on| word(&ONS, on)))
        .maybe("headers", (!headers.is_empty()).then_some(headers))
        .end()
}

fn word<T: PartialEq>(words: &[(&'static str, T)], meaning: &T) -> &'static str {
    words.iter().find(|(_, known)| known == meaning).map_or("", |(word, _)| word)
}
