//! One instance of a Management Server: what freezer and service ask and do alike.

use std::path::PathBuf;
use std::time::Instant;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::client::{Client, Overdue};
use super::password;
use crate::freezer::{FreezeError, FreezeErrorKind, MailstoreConfig, Status};

/// An instance as `GetInstances` lists it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Listed {
    #[serde(rename = "instanceID")]
    pub instance_id: String,
    #[serde(default)]
    pub display_name: Option<String>,
    #[serde(default)]
    pub instance_host: Option<String>,
    #[serde(default)]
    status: Option<String>,
    #[serde(default, rename = "processID")]
    pub process: Option<Value>,
    /// Why it last failed to start or stop.
    #[serde(default)]
    pub start_stop_error: Option<String>,
}

impl Listed {
    /// The server's word for its state.
    pub fn status(&self) -> &str {
        self.status.as_deref().unwrap_or("unknown")
    }

    pub fn is(&self, status: &str) -> bool {
        self.status().eq_ignore_ascii_case(status)
    }

    /// What the word means. (A running instance may be frozen all the same.)
    pub fn state(&self) -> Status {
        let known = [Status::Running, Status::Stopped, Status::Frozen];
        known.into_iter().find(|state| self.is(state.word())).unwrap_or(Status::Unknown)
    }
}

/// One instance, and the server that it is reached through.
#[derive(Debug)]
pub(super) struct Remote {
    pub client: Client,
    /// Its exact id.
    pub id: String,
    password_file: PathBuf,
}

impl Remote {
    /// Prepares for speaking; asks nobody.
    ///
    /// # Errors
    /// As [`open`](super::open).
    pub fn open(config: &MailstoreConfig) -> Result<Self, FreezeError> {
        let id = &config.instance_id;
        // The API's filters know wildcards, and nobody knows which else: an id with any of these is not one.
        if id.is_empty() || id.contains(|c: char| c.is_whitespace() || c.is_control() || "*?,;|%".contains(c)) {
            let message = format!("instance-id must be the exact id of one instance, and is {id:?}");
            return Err(FreezeError::new(FreezeErrorKind::NotOneInstance { matched: Vec::new() }, message));
        }
        Ok(Self { client: Client::open(config)?, id: id.clone(), password_file: config.password_file.clone() })
    }

    /// An error whose sentence begins with the server.
    pub fn error(&self, kind: FreezeErrorKind, what: &str) -> FreezeError {
        self.client.endpoint().error(kind, what)
    }

    /// The instance, once the server has said that the filter means it alone.
    pub fn listed(&mut self, deadline: Instant) -> Result<Listed, FreezeError> {
        let id = self.id.clone();
        let mut found: Vec<Listed> = self.client.ask("GetInstances", &[("instanceFilter", &id)], deadline)?;
        match found.pop() {
            Some(only) if found.is_empty() && only.instance_id == id => Ok(only),
            last => {
                found.extend(last);
                let matched: Vec<String> = found.into_iter().map(|one| one.instance_id).collect();
                let what = match matched.as_slice() {
                    [] => format!("has no instance {id:?}; check instance-id"),
                    [one] => format!("takes {id:?} for {one:?}; configure the exact instance-id"),
                    several => format!("takes {id:?} for {} instances: {}", several.len(), several.join(", ")),
                };
                Err(self.error(FreezeErrorKind::NotOneInstance { matched }, &what))
            }
        }
    }

    /// Refuses a server that lacks one of these functions.
    pub fn need(&mut self, needed: &[&str], deadline: Instant) -> Result<(), FreezeError> {
        let known = self.client.functions(deadline)?;
        let missing: Vec<&str> =
            needed.iter().copied().filter(|needed| !known.iter().any(|known| known == needed)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let what = format!("does not know {}: it is too old", missing.join(", "));
        Err(self.error(FreezeErrorKind::Refused, &what))
    }

    /// The sign of health: a frozen instance has closed its stores.
    pub fn stores_answer(&mut self, deadline: Instant) -> Result<(), FreezeError> {
        self.stores::<IgnoredAny>(deadline).map(drop)
    }

    /// The stores, as far as somebody wants to know them.
    pub fn stores<T: DeserializeOwned>(&mut self, deadline: Instant) -> Result<Vec<T>, FreezeError> {
        let arguments = [("instanceID", self.id.as_str()), ("includeSize", "false")];
        self.client.ask("GetStores", &arguments, deadline)
    }

    /// Operates on the one instance.
    pub fn operate(&mut self, function: &str, deadline: Instant, overdue: Overdue) -> Result<(), FreezeError> {
        let arguments = [("instanceFilter", self.id.as_str())];
        self.client.invoke(function, &arguments, deadline, overdue).map(drop)
    }

    /// Names the instance and its server, for people.
    pub fn describe(&self) -> String {
        let file = &self.password_file;
        let warning = if password::is_open_to_others(file) {
            format!(" (others may read its password: chmod 600 {})", file.display())
        } else {
            String::new()
        };
        format!("MailStore instance {} at {}{warning}", self.id, self.client.endpoint())
    }
}
