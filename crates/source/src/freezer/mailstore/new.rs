//! An instance that is made to be restored into.

use serde::Deserialize;
use serde_json::json;

use super::client::Overdue;
use super::instance::{Listed, Remote};
use super::{DiscoveredStore, deadline};
use crate::freezer::service::TESTING;
use crate::freezer::{FreezeError, FreezeErrorKind, MailstoreConfig};

/// What it takes.
const NEEDED: [&str; 6] =
    ["GetInstances", "CreateInstance", "GetInstanceConfiguration", "StopInstances", "StartInstances", "GetStores"];

/// An instance that does not exist yet, or was just made.
#[derive(Debug)]
pub struct NewInstance {
    remote: Remote,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Configuration {
    base_directory: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Host {
    server_name: String,
}

impl NewInstance {
    /// Prepares for making the instance of the configuration's id; asks nobody.
    ///
    /// # Errors
    /// A configuration that can never work.
    pub fn open(config: &MailstoreConfig) -> Result<Self, FreezeError> {
        Ok(Self { remote: Remote::open(config)? })
    }

    /// The base directory of the instance, as a path of the server, if the server has the instance already.
    ///
    /// # Errors
    /// If the server cannot be asked, or lacks what it takes to make an instance.
    pub fn standing(&mut self) -> Result<Option<String>, FreezeError> {
        let deadline = self.remote.client.request_deadline();
        self.remote.need(&NEEDED, deadline)?;
        // Windows, and so its directories, tell no case.
        let is_same = |listed: &Listed, id: &str| listed.instance_id.eq_ignore_ascii_case(id);
        let same = self.all()?.into_iter().find(|listed| is_same(listed, &self.remote.id));
        same.map(|listed| self.base_directory_of(&listed.instance_id)).transpose()
    }

    /// Makes it, with this base directory of the server, on the host of the instance `like`, or the only one. It may run
    /// then.
    ///
    /// # Errors
    /// If it cannot be told where to make it, or the server refuses. A reply that was lost may have been a success.
    pub fn create(&mut self, like: &str, base_directory: &str) -> Result<(), FreezeError> {
        let host = self.host(like)?;
        let id = &self.remote.id;
        let config = json!({
            "instanceID": id, "alias": id, "displayName": id, "instanceHost": host, "startMode": "automatic",
            "baseDirectory": base_directory, "debugLogEnabled": false, "vssWriterEnabled": true,
        });
        let config = config.to_string();
        let arguments = [("config", config.as_str())];
        self.remote.client.invoke("CreateInstance", &arguments, deadline(TESTING), Overdue::Leave).map(drop)
    }

    /// Where the server says that its base directory is, as a path of the server.
    ///
    /// # Errors
    /// If it cannot be asked.
    pub fn base_directory(&mut self) -> Result<String, FreezeError> {
        let id = self.remote.id.clone();
        self.base_directory_of(&id)
    }

    fn base_directory_of(&mut self, id: &str) -> Result<String, FreezeError> {
        let arguments = [("instanceID", id)];
        let deadline = self.remote.client.request_deadline();
        let found: Configuration = self.remote.client.ask("GetInstanceConfiguration", &arguments, deadline)?;
        Ok(found.base_directory)
    }

    /// Its stores, once it runs.
    ///
    /// # Errors
    /// If it cannot be asked.
    pub fn stores(&mut self) -> Result<Vec<DiscoveredStore>, FreezeError> {
        self.remote.stores(self.remote.client.request_deadline())
    }

    fn all(&mut self) -> Result<Vec<Listed>, FreezeError> {
        let deadline = self.remote.client.request_deadline();
        self.remote.client.ask("GetInstances", &[("instanceFilter", "*")], deadline)
    }

    /// The host to make it on.
    fn host(&mut self, like: &str) -> Result<String, FreezeError> {
        let same = self.all()?.into_iter().find(|listed| listed.instance_id == like);
        if let Some(host) = same.and_then(|listed| listed.instance_host) {
            return Ok(host);
        }
        let deadline = self.remote.client.request_deadline();
        let mut hosts: Vec<Host> =
            self.remote.client.ask("GetInstanceHosts", &[("serverNameFilter", "*")], deadline)?;
        match (hosts.pop(), hosts.len()) {
            (Some(only), 0) => Ok(only.server_name),
            _ => {
                let what = format!(
                    "does not say on which host {} should be made: there is no instance {like} any more, and not one \
                     host alone; make it by hand, and restore into its base directory",
                    self.remote.id
                );
                Err(self.remote.error(FreezeErrorKind::Refused, &what))
            }
        }
    }
}
