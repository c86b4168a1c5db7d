//! The opened roots of an instance.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use icecore_format::entry::{Xattr, is_valid_path};

use crate::listing::{ListProgress, Listing, Rules};
use crate::live_file::LiveFile;
use crate::os::Dir;
use crate::stat::{Kind, Stat};

/// A named directory of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// What the snapshot calls it: one component of a path.
    pub name: String,
    /// Where it stands.
    pub path: PathBuf,
}

/// Why an instance's roots cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// There is nothing to back up.
    #[error("no directory was given")]
    NoRoots,
    /// The name cannot stand in a path.
    #[error("{name:?} cannot be the name of a root: it must be one component of a path")]
    InvalidName {
        /// As it was given.
        name: String,
    },
    /// Two roots would stand at the same place in the snapshot.
    #[error("two roots are named {name:?}: {} and {}", first.display(), second.display())]
    DuplicateName {
        /// What both are called.
        name: String,
        /// One of them.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// Entries would stand in the snapshot twice.
    #[error("the root {} is inside the root {}", inner.display(), outer.display())]
    Nested {
        /// The root that contains the other, or is the same directory.
        outer: PathBuf,
        /// The root inside it.
        inner: PathBuf,
    },
    /// A root is missing, is no directory, or may not be read.
    #[error("cannot open {}", path.display())]
    Unusable {
        /// The root.
        path: PathBuf,
        /// What the OS says.
        source: io::Error,
    },
    /// The listing outgrew its memory and could not be put aside.
    #[error("cannot put the listing aside in {}", directory.display())]
    Spool {
        /// Where temporary files go.
        directory: PathBuf,
        /// What the OS says.
        source: io::Error,
    },
}

/// One or more opened roots. Shared by threads.
///
/// With one root, paths are relative to it and the empty path is the root. With several, paths begin
/// with a root's name, and no entry has the empty path. No path leads through a link, nor out of its
/// root.
#[derive(Debug)]
pub struct Tree {
    roots: Vec<Root>,
    /// By prefix, in manifest order.
    opened: Vec<Opened>,
}

/// A root with its place in the snapshot.
#[derive(Debug)]
pub(crate) struct Opened {
    /// The path of the root's own entry: empty if it is the only one, else its name.
    pub(crate) prefix: Vec<u8>,
    path: PathBuf,
    dir: Dir,
}

impl Opened {
    /// The stat of the root itself, as it is now.
    pub(crate) fn stat(&self) -> Result<Stat, SourceError> {
        self.dir.stat(c"").map_err(|source| SourceError::Unusable { path: self.path.clone(), source })
    }

    pub(crate) fn dir(&self) -> &Dir {
        &self.dir
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Tree {
    /// The devices that the roots stand on; without those that cannot be told.
    pub fn devices(&self) -> Vec<u64> {
        self.opened.iter().filter_map(|root| Some(root.stat().ok()?.device)).collect()
    }

    /// Opens `roots`; a link in place of a root is followed.
    ///
    /// # Errors
    /// Every reason why the roots cannot stand side by side in one snapshot, or cannot be read.
    pub fn open(roots: Vec<Root>) -> Result<Self, SourceError> {
        if roots.is_empty() {
            return Err(SourceError::NoRoots);
        }
        check_names(&roots)?;
        let mut opened = Vec::with_capacity(roots.len());
        for root in &roots {
            let dir =
                Dir::open(&root.path).map_err(|source| SourceError::Unusable { path: root.path.clone(), source })?;
            let prefix = if roots.len() == 1 { Vec::new() } else { root.name.clone().into_bytes() };
            opened.push(Opened { prefix, path: root.path.clone(), dir });
        }
        check_places(&roots)?;
        opened.sort_by(|a, b| a.prefix.cmp(&b.prefix));
        Ok(Self { roots, opened })
    }

    /// The roots in the order in which they were given.
    pub fn roots(&self) -> &[Root] {
        &self.roots
    }

    /// Lists everything beneath the roots with its stat, on `rules.threads` threads.
    ///
    /// What cannot be listed is among the listing's problems.
    ///
    /// # Errors
    /// [`SourceError::Unusable`] if a root is gone, [`SourceError::Spool`].
    pub fn list(&self, rules: &Rules, progress: &ListProgress) -> Result<Listing, SourceError> {
        Listing::take(self, rules, progress)
    }

    /// The stat of an entry as it is now.
    ///
    /// # Errors
    /// "Invalid input" if `path` belongs to no root; otherwise as the OS says.
    pub fn stat(&self, path: &[u8]) -> io::Result<Stat> {
        let (dir, rest) = self.resolve(path)?;
        dir.stat_beneath(rest)
    }

    /// Opens a regular file for reading without touching its access time, where that is permitted.
    ///
    /// # Errors
    /// "Unsupported" if it is no regular file, "invalid input" if `path` belongs to no root; otherwise as
    /// the OS says.
    pub fn open_file(&self, path: &[u8]) -> io::Result<LiveFile> {
        let (dir, rest) = self.resolve(path)?;
        dir.open_file(rest).map(LiveFile::new)
    }

    /// The bytes of a symbolic link.
    ///
    /// # Errors
    /// "Invalid input" if it is no link or `path` belongs to no root; otherwise as the OS says.
    pub fn read_link(&self, path: &[u8]) -> io::Result<Vec<u8>> {
        let (dir, rest) = self.resolve(path)?;
        dir.read_link(rest)
    }

    /// The extended attributes of an entry that is of the given kind, sorted by name; none where the
    /// file system has none.
    ///
    /// # Errors
    /// "Invalid input" if `path` belongs to no root; otherwise as the OS says.
    pub fn xattrs(&self, path: &[u8], kind: Kind) -> io::Result<Vec<Xattr>> {
        let (dir, rest) = self.resolve(path)?;
        dir.xattrs(rest, kind)
    }

    pub(crate) fn opened(&self) -> &[Opened] {
        &self.opened
    }

    /// The root that `path` belongs to, and the path beneath it.
    pub(crate) fn resolve<'p>(&self, path: &'p [u8]) -> io::Result<(&Dir, &'p [u8])> {
        if let [only] = self.opened.as_slice() {
            return Ok((&only.dir, path));
        }
        let (name, rest) = match path.iter().position(|&b| b == b'/') {
            Some(slash) => (&path[..slash], &path[slash + 1..]),
            None => (path, &b""[..]),
        };
        match self.opened.binary_search_by(|opened| opened.prefix.as_slice().cmp(name)) {
            Ok(found) => Ok((&self.opened[found].dir, rest)),
            Err(_) => Err(io::Error::new(io::ErrorKind::InvalidInput, "the path begins with no root's name")),
        }
    }
}

fn check_names(roots: &[Root]) -> Result<(), SourceError> {
    for (at, root) in roots.iter().enumerate() {
        let name = root.name.as_bytes();
        if name.is_empty() || name.contains(&b'/') || !is_valid_path(name) {
            return Err(SourceError::InvalidName { name: root.name.clone() });
        }
        if let Some(first) = roots[..at].iter().find(|other| other.name == root.name) {
            return Err(SourceError::DuplicateName {
                name: root.name.clone(),
                first: first.path.clone(),
                second: root.path.clone(),
            });
        }
    }
    Ok(())
}

fn check_places(roots: &[Root]) -> Result<(), SourceError> {
    let mut places = Vec::with_capacity(roots.len());
    for root in roots {
        let place =
            fs::canonicalize(&root.path).map_err(|source| SourceError::Unusable { path: root.path.clone(), source })?;
        places.push((place, root));
    }
    // Sorted by components, a directory stands directly before what is in it.
    places.sort_by(|a, b| a.0.cmp(&b.0));
    match places.windows(2).find(|pair| pair[1].0.starts_with(&pair[0].0)) {
        Some(pair) => Err(SourceError::Nested { outer: pair[0].1.path.clone(), inner: pair[1].1.path.clone() }),
        None => Ok(()),
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn root(name: &str, path: impl Into<PathBuf>) -> Root {
        Root { name: name.into(), path: path.into() }
    }

    fn temp(directories: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for directory in directories {
            fs::create_dir_all(dir.path().join(directory)).unwrap();
        }
        dir
    }

    #[test]
    fn roots_that_cannot_stand_side_by_side_are_refused() {
        let dir = temp(&["a/in", "ab"]);
        fs::write(dir.path().join("file"), "").unwrap();
        symlink(dir.path().join("a/in"), dir.path().join("link")).unwrap();
        let at = |name: &str| dir.path().join(name);
        let refused = |roots: &[Root]| Tree::open(roots.to_vec()).unwrap_err();

        assert!(matches!(refused(&[]), SourceError::NoRoots));
        for bad in ["", ".", "..", "a/b", "/", "a\0"] {
            assert!(matches!(refused(&[root(bad, at("a"))]), SourceError::InvalidName { name } if name == bad));
        }
        assert!(matches!(
            refused(&[root("x", at("a")), root("x", at("ab"))]),
            SourceError::DuplicateName { name, .. } if name == "x"
        ));
        for inner in ["a/in", "link", "a", "a/../a/in/."] {
            assert!(
                matches!(
                    refused(&[root("x", at(inner)), root("y", at("ab")), root("z", at("a"))]),
                    SourceError::Nested { .. }
                ),
                "{inner}"
            );
        }
        for (missing, kind) in [("missing", io::ErrorKind::NotFound), ("file", io::ErrorKind::NotADirectory)] {
            let error = refused(&[root("x", at("a")), root("y", at(missing))]);
            assert!(
                matches!(&error, SourceError::Unusable { path, source } if *path == at(missing) && source.kind() == kind),
                "{error:?}"
            );
        }
        let tree = Tree::open(vec![root("x", at("ab")), root("y", at("a"))]).unwrap();
        assert_eq!(tree.roots()[0].name, "x");
        assert!(Tree::open(vec![root("x", at("link"))]).is_ok());
    }

    #[test]
    fn no_path_leads_out_of_the_root() {
        let dir = temp(&["root/sub", "outside"]);
        let at = |name: &str| dir.path().join(name);
        fs::write(at("outside/secret"), "secret").unwrap();
        fs::write(at("root/sub/file"), "file").unwrap();
        symlink(at("outside"), at("root/absolute")).unwrap();
        symlink("../outside", at("root/relative")).unwrap();
        symlink("sub", at("root/within")).unwrap();
        symlink("sub/file", at("root/to-file")).unwrap();
        let tree = Tree::open(vec![root("root", at("root"))]).unwrap();

        assert!(tree.open_file(b"sub/file").is_ok());
        assert_eq!(tree.read_link(b"within").unwrap(), b"sub");
        for path in ["absolute/secret", "relative/secret", "within/file"] {
            assert!(tree.open_file(path.as_bytes()).is_err(), "{path}");
            assert!(tree.xattrs(path.as_bytes(), Kind::File).is_err(), "{path}");
        }
        assert!(tree.xattrs(b"within", Kind::Directory).is_err());
        assert_eq!(tree.open_file(b"to-file").unwrap_err().kind(), io::ErrorKind::Unsupported);
        for path in ["../outside/secret", "/etc/passwd", "sub/../sub/file", "sub//file", "", "sub/", "./sub/file"] {
            assert_eq!(tree.open_file(path.as_bytes()).unwrap_err().kind(), io::ErrorKind::InvalidInput, "{path}");
            assert_eq!(tree.read_link(path.as_bytes()).unwrap_err().kind(), io::ErrorKind::InvalidInput, "{path}");
        }
        assert_eq!(tree.read_link(b"sub/file").unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(tree.open_file(b"sub/none").unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    fn set_xattr(path: &Path, name: &str, value: &[u8]) -> bool {
        rustix::fs::lsetxattr(path, name, value, rustix::fs::XattrFlags::empty()).is_ok()
    }

    #[test]
    fn attributes_of_every_kind_of_entry_are_read() {
        /// Version 2, then owner rwx, user 12345 r-x, group r-x, mask r-x, others none.
        const ACL: &[u8] = b"\x02\0\0\0\
            \x01\0\x07\0\xff\xff\xff\xff\
            \x02\0\x05\0\x39\x30\0\0\
            \x04\0\x05\0\xff\xff\xff\xff\
            \x10\0\x05\0\xff\xff\xff\xff\
            \x20\0\0\0\xff\xff\xff\xff";
        let dir = temp(&["dir"]);
        let at = |name: &str| dir.path().join(name);
        fs::write(at("file"), "").unwrap();
        symlink("file", at("link")).unwrap();
        let tree = Tree::open(vec![root("root", dir.path())]).unwrap();
        assert_eq!(tree.xattrs(b"file", Kind::File).unwrap(), []);
        if !set_xattr(&at("file"), "user.z", b"last") {
            return crate::skip("no extended attributes here");
        }
        let long = vec![7; 1_000];
        assert!(set_xattr(&at("file"), "user.long", &long));
        assert!(set_xattr(&at("file"), "user.empty", b""));
        assert!(set_xattr(&at("dir"), "user.a", b"\0\xff"));
        let xattr = |name: &str, value: &[u8]| Xattr { name: name.into(), value: value.into() };
        let mut expected = vec![xattr("user.empty", b""), xattr("user.long", &long), xattr("user.z", b"last")];
        if set_xattr(&at("file"), "system.posix_acl_access", ACL) {
            expected.insert(0, xattr("system.posix_acl_access", ACL));
        } else {
            crate::skip("no access control lists here");
        }
        assert_eq!(tree.xattrs(b"file", Kind::File).unwrap(), expected);
        assert_eq!(tree.open_file(b"file").unwrap().xattrs().unwrap(), expected);
        assert_eq!(tree.xattrs(b"dir", Kind::Directory).unwrap(), [xattr("user.a", b"\0\xff")]);
        if set_xattr(&at("link"), "trusted.link", b"of the link itself") {
            let expected = [xattr("trusted.link", b"of the link itself")];
            assert_eq!(tree.xattrs(b"link", Kind::Symlink).unwrap(), expected);
        } else {
            assert_eq!(tree.xattrs(b"link", Kind::Symlink).unwrap(), []);
        }
        assert!(set_xattr(dir.path(), "user.root", b"1"));
        assert_eq!(tree.xattrs(b"", Kind::Directory).unwrap(), [xattr("user.root", b"1")]);

        // Several hundred names take more room than is tried first.
        for number in 0..40 {
            assert!(set_xattr(&at("dir"), &format!("user.of some length {number:03}"), b"x"));
        }
        assert_eq!(tree.xattrs(b"dir", Kind::Directory).unwrap().len(), 41);
    }
}
