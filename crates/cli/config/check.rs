//! Whether the roots of an instance stand where the configuration says.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use icecore_source::Root;

use super::error::ConfigError;
use super::{Configuration, Instance, InstanceRoot};

/// A directory of this program that no root may stand in.
#[derive(Debug, Clone, Copy)]
pub struct Ours<'a> {
    /// What it is, for people.
    pub what: &'static str,
    /// Where it is, or will be.
    pub path: &'a Path,
}

impl<'a> Ours<'a> {
    /// Those of one repository on this host, as far as they are known.
    pub fn of(repository: Option<&'a Path>, state: Option<&'a Path>) -> Vec<Self> {
        let known = [("the repository", repository), ("the state directory", state)];
        known.into_iter().filter_map(|(what, path)| Some(Self { what, path: path? })).collect()
    }
}

impl Configuration {
    /// Finds the roots of an instance by the names that they have without links.
    ///
    /// # Errors
    /// A root that is missing, no directory, shared with itself or another instance, or one of `ours`. That one of `ours`
    /// stands *in* a root is well: it is left out.
    pub fn roots(&self, instance: &Instance, ours: &[Ours<'_>]) -> Result<Vec<Root>, ConfigError> {
        let mut found: Vec<(&InstanceRoot, PathBuf)> = Vec::with_capacity(instance.roots.len());
        for root in &instance.roots {
            let path = standing(root)?;
            for our in ours {
                let place = fs::canonicalize(our.path).unwrap_or_else(|_| our.path.to_owned());
                if path.starts_with(&place) {
                    let message =
                        format!("{} is in {}, {}: move one of them", path.display(), our.what, place.display());
                    return Err(root.at.error(message));
                }
            }
            if let Some((other, place)) = found.iter().find(|(_, other)| meet(other, &path)) {
                let message = format!(
                    "{} {} of this instance: name each directory once",
                    path.display(),
                    shared(&path, place, &other.name)
                );
                return Err(root.at.error(message));
            }
            found.push((root, path));
        }
        for other in self.instances.iter().filter(|other| other.name != instance.name) {
            for theirs in &other.roots {
                // One that is missing now may be mounted later.
                let place = fs::canonicalize(&theirs.path).unwrap_or_else(|_| theirs.path.clone());
                if let Some((root, path)) = found.iter().find(|(_, path)| meet(path, &place)) {
                    let shared = shared(path, &place, &theirs.name);
                    let message = format!(
                        "{} {shared} of instance {} (line {}): a directory belongs to one instance",
                        path.display(),
                        other.name,
                        theirs.at.line
                    );
                    return Err(root.at.error(message));
                }
            }
        }
        Ok(found.into_iter().map(|(root, path)| Root { name: root.name.clone(), path }).collect())
    }
}

/// The directory of a root by the name that it has without links, so that a series survives a changed link.
fn standing(root: &InstanceRoot) -> Result<PathBuf, ConfigError> {
    let shown = root.path.display();
    let path = fs::canonicalize(&root.path).map_err(|error| {
        root.at.error(match error.kind() {
            io::ErrorKind::NotFound => format!("{shown} is missing: mount it, or correct the path"),
            _ => format!("{shown} cannot be used: {error}"),
        })
    })?;
    match fs::metadata(&path) {
        Ok(found) if found.is_dir() => Ok(path),
        Ok(_) => Err(root.at.error(format!("{shown} is not a directory: name the one that it stands in"))),
        Err(error) => Err(root.at.error(format!("{shown} cannot be used: {error}"))),
    }
}

fn meet(one: &Path, other: &Path) -> bool {
    one.starts_with(other) || other.starts_with(one)
}

/// How a path and the place of a root meet.
fn shared(path: &Path, place: &Path, name: &str) -> String {
    if path == place {
        format!("is the root {name}")
    } else if path.starts_with(place) {
        format!("is inside the root {name}")
    } else {
        format!("contains the root {name}")
    }
}
