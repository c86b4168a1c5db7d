//! `[instance.freezer]`.

use std::ops::RangeInclusive;
use std::time::Duration;

use icecore_source::freezer::{CommandConfig, FreezerConfig, FsfreezeConfig, MailstoreConfig};

use super::error::ConfigError;
use super::section::{Item, Section};

type Result<T> = std::result::Result<T, ConfigError>;

/// How long one program or request may take without a word in the file.
const TIMEOUT: Duration = Duration::from_secs(60);

const TIMEOUT_LIMITS: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(60 * 60);

/// Which freezer is meant.
#[derive(Debug, Clone, Copy)]
enum Kind {
    None,
    Command,
    Fsfreeze,
    Mailstore,
}

const KINDS: [(&str, Kind); 4] =
    [("none", Kind::None), ("command", Kind::Command), ("fsfreeze", Kind::Fsfreeze), ("mailstore", Kind::Mailstore)];

pub const COMMAND: &[&str] = &["kind", "freeze", "thaw", "status", "stop", "start", "timeout"];
pub const FSFREEZE: &[&str] = &["kind", "mount"];
pub const MAILSTORE: &[&str] = &[
    "kind",
    "endpoint",
    "user",
    "password-file",
    "instance-id",
    "certificate-sha256",
    "ca-file",
    "timeout",
    "restart-after-failed-thaw",
];

/// Reads a freezer.
pub fn read(item: &Item<'_>) -> Result<FreezerConfig> {
    // What is missing or wrong in it is noted; another then stands for it, and is never seen.
    let read = match item.open_section()?.need("kind", "\"command\"")?.word(&KINDS)? {
        Kind::None => item.section(&["kind"]).map(|_| None)?,
        Kind::Command => command(&item.section(COMMAND)?),
        Kind::Fsfreeze => fsfreeze(&item.section(FSFREEZE)?),
        Kind::Mailstore => mailstore(&item.section(MAILSTORE)?),
    };
    Ok(read.unwrap_or(FreezerConfig::None))
}

fn command(section: &Section<'_>) -> Option<FreezerConfig> {
    let freeze = section.require("freeze", "[\"/usr/local/bin/app-freeze\", \"cust01\"]", Item::program);
    let thaw = section.require("thaw", "[\"/usr/local/bin/app-thaw\", \"cust01\"]", Item::program);
    let [status, stop, start] = ["status", "stop", "start"].map(|key| section.find(key, Item::program));
    // A stop that nothing confirms is none, and what is stopped is started again.
    if stop.is_some() || start.is_some() {
        for key in ["status", "stop", "start"] {
            section.take(section.need(key, &format!("[\"/usr/local/bin/app-{key}\", \"cust01\"]")));
        }
    }
    let timeout_ms = timeout_ms(section);
    Some(FreezerConfig::Command(CommandConfig { freeze: freeze?, thaw: thaw?, status, stop, start, timeout_ms }))
}

fn fsfreeze(section: &Section<'_>) -> Option<FreezerConfig> {
    let mount = section.require("mount", "\"/srv\"", Item::path)?;
    Some(FreezerConfig::Fsfreeze(FsfreezeConfig { mount, avoid: Vec::new() }))
}

fn mailstore(section: &Section<'_>) -> Option<FreezerConfig> {
    let endpoint = section.require("endpoint", "\"https://spe.example.com:8474\"", endpoint);
    let user = section.require("user", "\"admin\"", Item::text);
    let password_file = section.require("password-file", "\"/etc/icecore/mailstore-password\"", Item::path);
    let instance_id = section.require("instance-id", "\"cust01\"", Item::text);
    if section.get("certificate-sha256").is_none() && section.get("ca-file").is_none() {
        let step = "nothing says which server may be told the password: write certificate-sha256 or ca-file";
        section.take::<()>(Err(section.at.error(step)));
    }
    let certificate_sha256 = section.find("certificate-sha256", fingerprint);
    let ca_file = section.find("ca-file", Item::path);
    let restart_after_failed_thaw = section.read("restart-after-failed-thaw", false, Item::truth);
    Some(FreezerConfig::Mailstore(MailstoreConfig {
        endpoint: endpoint?,
        user: user?.to_owned(),
        password_file: password_file?,
        instance_id: instance_id?.to_owned(),
        certificate_sha256,
        ca_file,
        timeout_ms: timeout_ms(section),
        restart_after_failed_thaw,
    }))
}

fn endpoint(item: &Item<'_>) -> Result<String> {
    match item.text()? {
        text if text.starts_with("https://") => Ok(text.to_owned()),
        text => Err(item.at.error(format!("{text:?} is not an address: write https://HOST:8474"))),
    }
}

/// 32 bytes in hexadecimal digits, as programs show them: with or without colons.
fn fingerprint(item: &Item<'_>) -> Result<String> {
    let text = item.text()?;
    let digits = text.chars().filter(|c| *c != ':').filter(char::is_ascii_hexdigit).count();
    let all = text.chars().filter(|c| *c != ':').count();
    if digits == 64 && all == 64 {
        return Ok(text.to_owned());
    }
    Err(item.at.error(format!("is not a SHA-256 fingerprint: it has {digits} hexadecimal digits and must have 64")))
}

/// How long one program or request may take, in milliseconds.
pub fn timeout_ms(section: &Section<'_>) -> u64 {
    // Its limits make it fit.
    section.read("timeout", TIMEOUT, |item| item.duration(TIMEOUT_LIMITS)).as_millis() as u64
}
