//! Which part of a snapshot goes to which directory: pure.

use std::path::PathBuf;

use icecore_format::entry::PathBytes;
use icecore_format::snapshot::{Root, Snapshot};
use icecore_source::target::beneath;

use super::Mode;
use crate::error::{Error, Result};

/// Where roots go.
#[derive(Debug, Clone, Default)]
pub struct Destination {
    /// What is restored goes here; several roots into directories of their names.
    pub to: Option<PathBuf>,
    /// These roots, by name, stand elsewhere than recorded.
    pub roots: Vec<(String, PathBuf)>,
}

/// A part of a snapshot and the directory that takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Errand {
    /// A directory, whose content goes into the target, or one entry, which goes into it under its name.
    pub base: PathBytes,
    /// The target.
    pub directory: PathBuf,
    /// The directory at or above it that a person named, or that stood for the whole root.
    pub named: PathBuf,
}

/// Says where everything at and below `path` goes. `is_dir`: a directory stands there, and not a single entry.
pub(super) fn errands(
    snapshot: &Snapshot,
    path: &[u8],
    is_dir: bool,
    destination: &Destination,
    mode: Mode,
) -> Result<Vec<Errand>> {
    for (name, _) in &destination.roots {
        if !snapshot.roots.iter().any(|root| root.name == *name) {
            let names: Vec<_> = snapshot.roots.iter().map(|root| root.name.as_str()).collect();
            return Err(Error::NotFound(format!("the snapshot has no root \"{name}\"; it has {}", names.join(", "))));
        }
    }
    if let (Mode::New, [], Some(to)) = (mode, destination.roots.as_slice(), &destination.to) {
        return Ok(vec![Errand { base: path.to_vec(), directory: to.clone(), named: to.clone() }]);
    }
    let found = match snapshot.roots.as_slice() {
        [only] => vec![of_root(only, b"", path, is_dir, destination, mode)?],
        all if path.is_empty() => {
            let to = |root: &Root| destination.to.as_ref().map(|to| to.join(&root.name));
            // In the order of the manifest, so that the first name of a file comes before its others.
            let mut all: Vec<_> = all.iter().collect();
            all.sort_by(|a, b| a.name.cmp(&b.name));
            all.into_iter()
                .map(|root| {
                    let own = Destination { to: to(root), roots: destination.roots.clone() };
                    of_root(root, root.name.as_bytes(), b"", true, &own, mode)
                })
                .collect::<Result<_>>()?
        }
        all => {
            let (name, rest) = match path.iter().position(|byte| *byte == b'/') {
                Some(slash) => (&path[..slash], &path[slash + 1..]),
                None => (path, &b""[..]),
            };
            let root = all.iter().find(|root| root.name.as_bytes() == name);
            let root = root.ok_or_else(|| {
                Error::NotFound(format!("the snapshot has no root \"{}\"", String::from_utf8_lossy(name)))
            })?;
            vec![of_root(root, name, rest, is_dir, destination, mode)?]
        }
    };
    for (at, errand) in found.iter().enumerate() {
        let apart = |other: &Errand| {
            !other.directory.starts_with(&errand.directory) && !errand.directory.starts_with(&other.directory)
        };
        if let Some(other) = found[..at].iter().find(|other| !apart(other)) {
            let (one, two) = (other.directory.display(), errand.directory.display());
            return Err(Error::NotFound(format!("two roots cannot go to {one} and {two}, one inside the other")));
        }
    }
    Ok(found)
}

/// `rest` is the path below the root, whose own path in the snapshot is `prefix`.
fn of_root(
    root: &Root,
    prefix: &[u8],
    rest: &[u8],
    is_dir: bool,
    destination: &Destination,
    mode: Mode,
) -> Result<Errand> {
    let base = [prefix, rest].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(&b'/');
    let elsewhere = destination.roots.iter().find(|(name, _)| *name == root.name).map(|(_, path)| path.clone());
    let recorded = || beneath(&PathBuf::new(), &root.path);
    // What stands for the whole root leads on to the part of it; what was named for the part is it.
    let (named, rest) = match (elsewhere, &destination.to) {
        (Some(path), _) => (path, part(rest, is_dir)),
        (None, Some(to)) => (to.clone(), &b""[..]),
        (None, None) if mode != Mode::New && recorded().is_absolute() => (recorded(), part(rest, is_dir)),
        (None, None) => {
            return Err(Error::NotFound(format!(
                "nothing says where the root {0} goes: add --root {0}=DIR",
                root.name
            )));
        }
    };
    Ok(Errand { base, directory: beneath(&named, rest), named })
}

/// The directory that `rest` is, or the one that holds it.
fn part(rest: &[u8], is_dir: bool) -> &[u8] {
    match rest.iter().rposition(|byte| *byte == b'/') {
        _ if is_dir => rest,
        Some(slash) => &rest[..slash],
        None => b"",
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn snapshot(roots: &[(&str, &str)]) -> Snapshot {
        let root = |(name, path): &(&str, &str)| Root { name: (*name).to_owned(), path: path.as_bytes().to_vec() };
        Snapshot { roots: roots.iter().map(root).collect(), ..icecore_testkit::bare_snapshot("test", 0) }
    }

    fn found(
        snapshot: &Snapshot,
        path: &str,
        is_dir: bool,
        to: Option<&str>,
        roots: &[(&str, &str)],
        mode: Mode,
    ) -> Vec<String> {
        let roots = roots.iter().map(|(name, path)| ((*name).to_owned(), Path::new(path).to_owned())).collect();
        let destination = Destination { to: to.map(PathBuf::from), roots };
        match errands(snapshot, path.as_bytes(), is_dir, &destination, mode) {
            Ok(found) => found
                .iter()
                .map(|errand| format!("{} > {}", String::from_utf8_lossy(&errand.base), errand.directory.display()))
                .collect(),
            Err(error) => vec![error.to_string()],
        }
    }

    #[test]
    fn one_root_goes_where_it_stood_or_where_somebody_says() {
        let one = snapshot(&[("wiki", "/srv/wiki")]);
        let in_place = Mode::InPlace { delete: false };
        assert_eq!(found(&one, "", true, Some("/to"), &[], Mode::New), [" > /to"]);
        assert_eq!(found(&one, "", true, None, &[], in_place), [" > /srv/wiki"]);
        assert_eq!(found(&one, "a/b", true, None, &[], in_place), ["a/b > /srv/wiki/a/b"]);
        assert_eq!(found(&one, "a/f", false, None, &[], in_place), ["a/f > /srv/wiki/a"]);
        assert_eq!(found(&one, "f", false, None, &[], in_place), ["f > /srv/wiki"]);
        assert_eq!(found(&one, "a/f", false, Some("/to"), &[], in_place), ["a/f > /to"]);
        assert_eq!(found(&one, "a", true, None, &[("wiki", "/x")], Mode::Exchange), ["a > /x/a"]);
    }

    #[test]
    fn several_roots_each_go_their_way() {
        let two = snapshot(&[("base", "/srv/base"), ("mail", "/mnt/mail")]);
        assert_eq!(found(&two, "", true, Some("/to"), &[], Mode::New), [" > /to"]);
        assert_eq!(found(&two, "", true, None, &[], Mode::Exchange), ["base > /srv/base", "mail > /mnt/mail"]);
        assert_eq!(found(&two, "", true, Some("/to"), &[("mail", "/x")], Mode::New), ["base > /to/base", "mail > /x"]);
        assert_eq!(found(&two, "mail/a", true, None, &[], Mode::Exchange), ["mail/a > /mnt/mail/a"]);
        assert_eq!(found(&two, "mail", true, Some("/to"), &[], Mode::Exchange), ["mail > /to"]);
    }

    #[test]
    fn what_cannot_be_is_named() {
        let two = snapshot(&[("base", "/srv/base"), ("mail", "/mnt/mail")]);
        let said = |roots: &[(&str, &str)], word: &str| {
            let said = found(&two, "", true, None, roots, Mode::New).concat();
            assert!(said.contains(word), "{said}");
        };
        said(&[("base", "/x")], "--root mail=DIR");
        said(&[("bose", "/x")], "it has base, mail");
        said(&[("base", "/x"), ("mail", "/x/y")], "one inside the other");
    }
}
