//! What is to be made, and where everything goes.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use icecore_engine::restore::{Destination, RestoreJob};
use icecore_engine::snapshot::Snapshot;
use icecore_source::freezer::{FreezeError, FreezerConfig, MailstoreConfig};

use crate::args::RestoreArgs;
use crate::commands::restore::command_line::{quoted, without};
use crate::error::{Error, Result};
use crate::settings::Settings;
use crate::world;

/// The root that is an instance's base directory, unless there is only one.
const BASE: &str = "base";

/// What is to be made.
pub struct Plan<'a> {
    pub id: &'a str,
    /// The configured instance that the snapshot is of.
    pub like: MailstoreConfig,
    /// The same server, the new id.
    pub config: MailstoreConfig,
    /// The root that is the base directory.
    pub root: String,
    /// The base directory, as a path of the server.
    pub base: String,
    /// Where it stands on this host.
    pub directory: PathBuf,
    /// The command line says where the base directory is on this host.
    is_named: bool,
    /// Where the other roots go.
    pub others: Vec<(String, PathBuf)>,
}

impl<'a> Plan<'a> {
    pub fn make(id: &'a str, args: &RestoreArgs, settings: &Settings, job: &RestoreJob<'_>) -> Result<Self> {
        let snapshot = &job.stored.snapshot;
        if !job.path.is_empty() {
            let message = "--into-new-instance restores whole snapshots: name one without a path";
            return Err(Error::Misuse(message.to_owned()));
        }
        let instance = settings.configuration()?.instance(&snapshot.instance)?;
        let FreezerConfig::Mailstore(like) = &instance.freezing.freezer else {
            return Err(Error::Misuse(format!(
                "instance {} has the freezer {}: only a mailstore server makes instances",
                instance.name,
                instance.freezing.freezer.name()
            )));
        };
        let root = match snapshot.roots.as_slice() {
            [only] => only,
            several => several.iter().find(|root| root.name == BASE).ok_or_else(|| {
                Error::Misuse(format!("the snapshot has no root {BASE}, so nobody knows which is the base directory"))
            })?,
        };
        let place = |name: &str| args.roots.iter().find(|(root, _)| root == name).map(|(_, path)| path.clone());
        let mut others = Vec::new();
        for other in snapshot.roots.iter().filter(|other| other.name != root.name) {
            let path = place(&other.name).ok_or_else(|| {
                Error::Misuse(format!("nothing says where the root {0} goes: add --root {0}=DIR", other.name))
            })?;
            others.push((other.name.clone(), path));
        }
        let recorded = String::from_utf8_lossy(&root.path).into_owned();
        let beside = Path::new(&recorded).parent().map(|above| above.join(id));
        let base =
            args.to.clone().or(beside).ok_or_else(|| {
                Error::Misuse("nothing says where the new base directory is: add --to DIR".to_owned())
            })?;
        let named = place(&root.name);
        let is_named = named.is_some();
        let directory = named.unwrap_or_else(|| base.clone());
        let config = MailstoreConfig { instance_id: id.to_owned(), ..like.clone() };
        let base = base.to_string_lossy().into_owned();
        Ok(Self { id, like: like.clone(), config, root: root.name.clone(), base, directory, is_named, others })
    }

    /// Where the roots go, with the base directory here.
    pub fn destination(&self, base: &Path, snapshot: &Snapshot) -> Destination {
        if snapshot.roots.len() == 1 {
            return Destination { to: Some(base.to_owned()), roots: Vec::new() };
        }
        let mut roots = self.others.clone();
        roots.push((self.root.clone(), base.to_owned()));
        Destination { to: None, roots }
    }

    /// The command that goes on with an instance that was made.
    pub fn next(&self, base: &Path) -> String {
        let typed = world::command_line();
        let mut words = without(&typed, &["--into-new-instance", "--to"]);
        if !self.is_named {
            words.extend(["--root".into(), root_option(&self.root, base)]);
        }
        words.push("--in-place".into());
        quoted(&words)
    }

    pub fn failed(&self, source: FreezeError) -> Error {
        Error::Freezer { instance: self.id.to_owned(), source: source.into() }
    }
}

fn root_option(name: &str, path: &Path) -> OsString {
    let mut option = OsString::from(format!("{name}="));
    option.push(path);
    option
}
