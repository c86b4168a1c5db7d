//! `verify`: the program that tests a restored copy of an instance.

use std::path::PathBuf;

use super::error::ConfigError;
use super::section::Item;
use super::{Instance, InstanceRoot};

/// The program and its arguments. It stands at an absolute path, or in one of the roots, named as `{ROOT}/path`.
pub fn read(item: &Item<'_>, roots: &[InstanceRoot]) -> Result<Vec<String>, ConfigError> {
    let program = item.texts()?;
    if program.first().is_some_and(|first| roots.iter().any(|root| is_in(first, root))) {
        return Ok(program);
    }
    item.program()
}

impl Instance {
    /// The program with its arguments, in which `{ROOT}` stands for the place of a root; `None` if nothing tests a copy.
    pub fn test_program(&self, place: impl Fn(&InstanceRoot) -> PathBuf) -> Option<Vec<String>> {
        let places: Vec<_> = self.roots.iter().map(|root| (stand_in(root), place(root))).collect();
        let fill = |word: &String| {
            places.iter().fold(word.clone(), |word, (name, path)| word.replace(name, &path.to_string_lossy()))
        };
        Some(self.verify.as_ref()?.iter().map(fill).collect())
    }

    /// Whether the program stands in a root itself, and may be there only once that is restored.
    pub fn is_test_in_a_root(&self) -> bool {
        let program = self.verify.iter().flatten().next();
        program.is_some_and(|program| self.roots.iter().any(|root| is_in(program, root)))
    }

    /// The paths that the program is told by `{ROOT}`. Where one ends in a longer text is not known: with all that follows, and as
    /// far as a word goes.
    pub fn tested_places(&self, place: impl Fn(&InstanceRoot) -> PathBuf) -> Vec<PathBuf> {
        let ends = |c: char| c.is_whitespace() || "\"'`,:;|&<>()[]{}$*?=".contains(c);
        let mut places = Vec::new();
        for (word, root) in
            self.verify.iter().flatten().flat_map(|word| self.roots.iter().map(move |root| (word, root)))
        {
            for (_, rest) in word.match_indices(&stand_in(root)).map(|(at, name)| word.split_at(at + name.len())) {
                let short = rest.find(ends).map_or(rest, |end| &rest[..end]);
                for rest in [rest, short] {
                    places.push(PathBuf::from(format!("{}{rest}", place(root).display())));
                }
            }
        }
        places
    }

    /// The roots that the program is told the places of.
    pub fn tested_roots(&self) -> impl Iterator<Item = &InstanceRoot> {
        let is_named = |root: &&InstanceRoot| self.verify.iter().flatten().any(|word| word.contains(&stand_in(root)));
        self.roots.iter().filter(is_named)
    }

    /// How to tell the program where a copy is.
    pub fn stand_ins(&self) -> String {
        let names: Vec<_> = self.roots.iter().map(stand_in).collect();
        format!("write {} where it names a directory", names.join(" or "))
    }
}

fn is_in(program: &str, root: &InstanceRoot) -> bool {
    program.strip_prefix(&stand_in(root)).is_some_and(|rest| rest.starts_with('/'))
}

/// What stands for the place of a root.
fn stand_in(root: &InstanceRoot) -> String {
    format!("{{{}}}", root.name)
}
