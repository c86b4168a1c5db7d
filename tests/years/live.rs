//! What an instance of the simulation holds, on disk and in memory.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::dice::Dice;
use crate::common::{noise, write};

/// Small files that a host has about.
const FILES: usize = 24;

/// Bytes of a block of a container.
const BLOCK: usize = 16 << 10;

/// Blocks of the container of each host.
const BLOCKS: usize = 12;

/// Content, by what makes it: consecutive noise, a seed and a length each.
type Content = Vec<(u64, usize)>;

/// What a directory holds, by path.
pub type Files = BTreeMap<String, Content>;

/// One host's instance.
pub struct Live {
    pub directory: PathBuf,
    pub files: Files,
}

fn bytes(content: &Content) -> Vec<u8> {
    content.iter().flat_map(|(seed, len)| noise(*seed, *len)).collect()
}

/// A new small file; one in four is among a few that other hosts get too.
fn small(dice: &mut Dice) -> Content {
    let seed = if dice.roll(4) == 0 { dice.roll(40) } else { dice.roll(u64::MAX) };
    vec![(seed, 1000 + (seed % 9000) as usize)]
}

impl Live {
    pub fn make(directory: PathBuf, dice: &mut Dice) -> Self {
        let mut live = Self { directory, files: Files::new() };
        live.put("container".to_owned(), (0..BLOCKS).map(|_| (dice.roll(u64::MAX), BLOCK)).collect());
        for _ in 0..FILES {
            live.add(dice);
        }
        live
    }

    fn put(&mut self, path: String, content: Content) {
        write(self.directory.join(&path), bytes(&content));
        self.files.insert(path, content);
    }

    fn add(&mut self, dice: &mut Dice) {
        let path = format!("{}/{:08x}", dice.roll(5), dice.roll(1 << 32));
        self.put(path, small(dice));
    }

    /// A small file of those there are.
    fn any(&self, dice: &mut Dice) -> Option<String> {
        let small = self.files.len() - 1;
        let chosen = dice.roll(small.max(1) as u64) as usize;
        self.files.keys().filter(|path| *path != "container").nth(chosen).cloned()
    }

    /// What happens in a day: files come, change, go and get other names, and a part of the container is written anew.
    pub fn change(&mut self, dice: &mut Dice) {
        for _ in 0..1 + dice.roll(3) {
            self.add(dice);
        }
        for _ in 0..dice.roll(3) {
            let Some(path) = self.any(dice) else { break };
            // Another length, so that no clock has to tell that it changed.
            let len = self.files[&path].iter().map(|(_, len)| len).sum::<usize>();
            let content = vec![(dice.roll(u64::MAX), len + 1 + dice.roll(500) as usize)];
            self.put(path, content);
        }
        while self.files.len() > FILES + dice.roll(5) as usize {
            let Some(path) = self.any(dice) else { break };
            fs::remove_file(self.directory.join(&path)).unwrap();
            self.files.remove(&path);
        }
        if let Some(path) = self.any(dice).filter(|_| dice.roll(2) == 0) {
            let to = format!("{}/renamed-{:08x}", dice.roll(5), dice.roll(1 << 32));
            fs::create_dir_all(self.directory.join(&to).parent().unwrap()).unwrap();
            fs::rename(self.directory.join(&path), self.directory.join(&to)).unwrap();
            let content = self.files.remove(&path).unwrap();
            self.files.insert(to, content);
        }
        let mut container = self.files["container"].clone();
        container[dice.roll(BLOCKS as u64) as usize] = (dice.roll(u64::MAX), BLOCK);
        self.put("container".to_owned(), container);
    }
}

/// Fails unless a directory holds exactly these files.
#[track_caller]
pub fn compare(directory: &Path, files: &Files) {
    let (mut found, mut pending) = (0, vec![directory.to_owned()]);
    while let Some(below) = pending.pop() {
        for entry in fs::read_dir(below).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                pending.push(entry.path());
                continue;
            }
            found += 1;
            let path = entry.path().strip_prefix(directory).unwrap().to_str().unwrap().to_owned();
            let content = files.get(&path).unwrap_or_else(|| panic!("{path} was not there"));
            assert!(fs::read(entry.path()).unwrap() == bytes(content), "{path} is wrong");
        }
    }
    assert_eq!(found, files.len(), "files are missing");
}
