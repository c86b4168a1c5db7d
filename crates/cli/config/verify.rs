//! `verify`: the program that tests a restored copy of an instance.

use std::path::PathBuf;

use super::{Instance, InstanceRoot};

impl Instance {
    /// The program with its arguments, in which `{ROOT}` stands for the place of a root; `None` if nothing tests a copy.
    pub fn test_program(&self, place: impl Fn(&InstanceRoot) -> PathBuf) -> Option<Vec<String>> {
        let places: Vec<_> = self.roots.iter().map(|root| (stand_in(root), place(root))).collect();
        let fill = |word: &String| {
            places.iter().fold(word.clone(), |word, (name, path)| word.replace(name, &path.to_string_lossy()))
        };
        Some(self.verify.as_ref()?.iter().map(fill).collect())
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

/// What stands for the place of a root.
fn stand_in(root: &InstanceRoot) -> String {
    format!("{{{}}}", root.name)
}
