//! The instances of a Management Server, for whoever writes a configuration.

use serde::Deserialize;

use super::client::Client;
use super::instance::Listed;
use crate::freezer::{FreezeError, MailstoreConfig};

/// An instance that a Management Server knows, with the paths of that server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiscoveredInstance {
    /// Its id.
    pub id: String,
    /// Its name for people; may be empty.
    pub display_name: String,
    /// Its base directory.
    pub base_directory: String,
    /// Its stores.
    pub stores: Vec<DiscoveredStore>,
    /// Why the stores could not be asked for, as when the instance is stopped: roots may be missing.
    pub problem: Option<String>,
}

/// A store of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DiscoveredStore {
    /// Its name.
    pub name: String,
    /// Where its database stands.
    #[serde(default)]
    pub database_path: Option<String>,
    /// Where its content stands.
    #[serde(default)]
    pub content_path: Option<String>,
    /// Where its full-text index stands.
    #[serde(default)]
    pub index_path: Option<String>,
}

impl DiscoveredInstance {
    /// The directories of stores that do not stand in the base directory: beside it, the roots of the
    /// instance. Sorted; none stands in another.
    pub fn outside_roots(&self) -> Vec<String> {
        let paths = self.stores.iter().flat_map(|store| [&store.database_path, &store.content_path, &store.index_path]);
        let mut outside: Vec<&str> = paths.flatten().map(|path| trim(path)).filter(|path| !path.is_empty()).collect();
        outside.retain(|path| !stands_in(path, &self.base_directory));
        outside.sort_by_key(|path| components(path));
        // A directory sorts before whatever stands in it.
        outside.dedup_by(|later, kept| stands_in(later, kept));
        outside.into_iter().map(str::to_owned).collect()
    }
}

/// Asks a Management Server for all its instances, their base directories and their stores.
///
/// The configuration's instance id is not looked at.
///
/// # Errors
/// If the server cannot be asked. An instance whose stores alone keep silent is reported with a
/// [`problem`](DiscoveredInstance::problem).
pub fn discover(config: &MailstoreConfig) -> Result<Vec<DiscoveredInstance>, FreezeError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Configuration {
        base_directory: String,
    }
    let mut client = Client::open(config)?;
    let deadline = client.request_deadline();
    let listed: Vec<Listed> = client.ask("GetInstances", &[("instanceFilter", "*")], deadline)?;
    let mut instances = Vec::with_capacity(listed.len());
    for Listed { instance_id: id, display_name, .. } in listed {
        let deadline = client.request_deadline();
        let configuration: Configuration = client.ask("GetInstanceConfiguration", &[("instanceID", &id)], deadline)?;
        let arguments = [("instanceID", id.as_str()), ("includeSize", "false")];
        let deadline = client.request_deadline();
        let (stores, problem) = match client.ask("GetStores", &arguments, deadline) {
            Ok(stores) => (stores, None),
            Err(e) => (Vec::new(), Some(e.message)),
        };
        instances.push(DiscoveredInstance {
            display_name: display_name.unwrap_or_default(),
            base_directory: configuration.base_directory,
            id,
            stores,
            problem,
        });
    }
    Ok(instances)
}

/// Without the separators at its end.
fn trim(path: &str) -> &str {
    path.trim_end_matches(['\\', '/'])
}

/// The names that a path goes through, as Windows compares them.
fn components(path: &str) -> Vec<String> {
    path.split(['\\', '/']).filter(|name| !matches!(*name, "" | ".")).map(str::to_lowercase).collect()
}

/// Whether a path is a directory or stands in it.
fn stands_in(path: &str, directory: &str) -> bool {
    components(path).starts_with(&components(directory))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roots(base: &str, paths: &[&str]) -> Vec<String> {
        let store = |path: &&str| DiscoveredStore {
            name: "store".into(),
            database_path: Some(format!(r"{base}\Data")),
            content_path: Some((*path).into()),
            index_path: None,
        };
        DiscoveredInstance {
            id: "cust01".into(),
            display_name: String::new(),
            base_directory: base.into(),
            stores: paths.iter().map(store).collect(),
            problem: None,
        }
        .outside_roots()
    }

    #[test]
    fn only_what_stands_outside_is_a_further_root() {
        assert_eq!(roots(r"E:\CUST01", &[r"E:\CUST01\Data\x", r"e:\cust01\Data\y", r"E:/CUST01/z"]), [""; 0]);
        assert_eq!(roots(r"E:\CUST01", &[r"E:\CUST010\x", r"F:\CUST01\x\"]), [r"E:\CUST010\x", r"F:\CUST01\x"]);
        assert_eq!(roots(r"\\nas\mail\cust01\", &[r"\\nas\mail\cust01\x", r"\\nas\slow\x"]), [r"\\nas\slow\x"]);
    }

    #[test]
    fn no_root_stands_in_another() {
        let found = roots(r"E:\C", &[r"F:\a\b", r"F:\a", r"F:\A\c", r"F:\a b", r"F:\a-b\c", r"F:\a"]);
        assert_eq!(found, [r"F:\a", r"F:\a b", r"F:\a-b\c"]);
    }
}
