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

/// Reads a freezer.
pub fn read(item: &Item<'_>) -> Result<FreezerConfig> {
    match item.open_section()?.need("kind", "\"command\"")?.word(&KINDS)? {
        Kind::None => item.section(&["kind"]).map(|_| FreezerConfig::None),
        Kind::Command => command(&item.section(&["kind", "freeze", "thaw", "status", "stop", "start", "timeout"])?),
        Kind::Fsfreeze => fsfreeze(&item.section(&["kind", "mount"])?),
        Kind::Mailstore => mailstore(&item.section(&[
            "kind",
            "endpoint",
            "user",
            "password-file",
            "instance-id",
            "certificate-sha256",
            "ca-file",
            "timeout",
            "restart-after-failed-thaw",
        ])?),
    }
}

fn command(section: &Section<'_>) -> Result<FreezerConfig> {
    let program = |key: &str| section.get(key).map(|item| item.program()).transpose();
    let config = CommandConfig {
        freeze: section.need("freeze", "[\"/usr/local/bin/app-freeze\", \"cust01\"]")?.program()?,
        thaw: section.need("thaw", "[\"/usr/local/bin/app-thaw\", \"cust01\"]")?.program()?,
        status: program("status")?,
        stop: program("stop")?,
        start: program("start")?,
        timeout_ms: timeout_ms(section)?,
    };
    // A stop that nothing confirms is none, and what is stopped is started again.
    if config.stop.is_some() || config.start.is_some() {
        for key in ["status", "stop", "start"] {
            section.need(key, &format!("[\"/usr/local/bin/app-{key}\", \"cust01\"]"))?;
        }
    }
    Ok(FreezerConfig::Command(config))
}

fn fsfreeze(section: &Section<'_>) -> Result<FreezerConfig> {
    let mount = section.need("mount", "\"/srv\"")?.path()?;
    Ok(FreezerConfig::Fsfreeze(FsfreezeConfig { mount, avoid: Vec::new() }))
}

fn mailstore(section: &Section<'_>) -> Result<FreezerConfig> {
    let endpoint = section.need("endpoint", "\"https://spe.example.com:8474\"")?;
    if !endpoint.text()?.starts_with("https://") {
        return Err(endpoint.at.error(format!("{:?} is not an address: write https://HOST:8474", endpoint.text()?)));
    }
    let pin = section.get("certificate-sha256");
    let ca_file = section.get("ca-file");
    if pin.is_none() && ca_file.is_none() {
        let step = "nothing says which server may be told the password: write certificate-sha256 or ca-file";
        return Err(section.at.error(step));
    }
    Ok(FreezerConfig::Mailstore(MailstoreConfig {
        endpoint: endpoint.text()?.to_owned(),
        user: section.need("user", "\"admin\"")?.text()?.to_owned(),
        password_file: section.need("password-file", "\"/etc/icecore/mailstore-password\"")?.path()?,
        instance_id: section.need("instance-id", "\"cust01\"")?.text()?.to_owned(),
        certificate_sha256: pin.map(|item| fingerprint(&item)).transpose()?,
        ca_file: ca_file.map(|item| item.path()).transpose()?,
        timeout_ms: timeout_ms(section)?,
        restart_after_failed_thaw: section.get("restart-after-failed-thaw").map_or(Ok(false), |item| item.truth())?,
    }))
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
pub fn timeout_ms(section: &Section<'_>) -> Result<u64> {
    let timeout = section.get("timeout").map(|item| item.duration(TIMEOUT_LIMITS)).transpose()?;
    // Its limits make it fit.
    Ok(timeout.unwrap_or(TIMEOUT).as_millis() as u64)
}
