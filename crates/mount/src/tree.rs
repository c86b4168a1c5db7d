//! What stands above the snapshots.
//!
//! ```text
//! instances/NAME/TIME/…     a snapshot, by the local time at which it was taken
//! instances/NAME/latest     -> TIME of the newest
//! snapshots/ID8             -> ../instances/NAME/TIME
//! ```
//! Ids are links, so that whoever walks through everything meets each snapshot once. A name stays a snapshot's as long as the
//! tree is mounted, whatever appears or is forgotten beside it.

use std::collections::hash_map::Entry as Place;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use icecore_engine::entry::Timestamp;
use icecore_engine::id::SnapshotId;
use icecore_engine::{ManifestRoot, Stored};

use crate::inode::{Inode, SNAPSHOTS};
use crate::names::escape;

/// The inode number of the directory that is mounted.
pub const ROOT: u64 = 1;

/// The newest snapshot of an instance.
const LATEST: &str = "latest";

/// A snapshot that is, or was, shown.
#[derive(Debug)]
pub struct Shown {
    /// Its number in inode numbers.
    pub number: u32,
    /// Its name.
    pub id: SnapshotId,
    /// Its entries.
    pub root: ManifestRoot,
    /// When it was taken.
    pub taken: Timestamp,
}

/// What stands above the snapshots.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Node {
    Root,
    Instances,
    Snapshots,
    Instance(String),
    Latest(String),
    Id(String),
}

/// A name in a directory above the snapshots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Child {
    /// Its name.
    pub name: String,
    /// Its inode number.
    pub inode: u64,
    /// It is a link, and not a directory.
    pub is_link: bool,
}

/// All directories and links above the snapshots, and the snapshots.
#[derive(Debug)]
pub struct Tree {
    /// Only this series.
    only: Option<String>,
    name: fn(Timestamp) -> String,
    /// Nodes have inode numbers from [`ROOT`] on; none is ever given to another.
    nodes: Vec<Node>,
    inodes: HashMap<Node, u64>,
    /// Snapshots by instance (as its directory is called) and time.
    instances: BTreeMap<String, BTreeMap<String, Arc<Shown>>>,
    /// The instance and time of each id.
    ids: BTreeMap<String, (String, String)>,
    /// The newest of each instance, by its time.
    latest: HashMap<String, String>,
    /// Everything that was ever shown, as small as it is: what is open stays readable.
    known: HashMap<u32, Arc<Shown>>,
    present: HashMap<SnapshotId, (String, String)>,
    /// The snapshot that stands for the root.
    top: Option<u32>,
    changed: Timestamp,
}

impl Tree {
    /// A tree without a snapshot; `name` gives those of times.
    pub fn new(only: Option<String>, name: fn(Timestamp) -> String) -> Self {
        let mut tree = Self {
            only,
            name,
            nodes: Vec::new(),
            inodes: HashMap::new(),
            instances: BTreeMap::new(),
            ids: BTreeMap::new(),
            latest: HashMap::new(),
            known: HashMap::new(),
            present: HashMap::new(),
            top: None,
            changed: Timestamp::default(),
        };
        for node in [Node::Root, Node::Instances, Node::Snapshots] {
            tree.inode(node);
        }
        tree
    }

    /// The content of one snapshot, and nothing above it.
    pub fn of_one(stored: &Stored) -> Self {
        let mut tree = Self::new(None, |_| String::new());
        tree.top = Some(tree.number(stored).number);
        tree
    }

    /// Shows what is there now, the oldest first.
    pub fn update(&mut self, snapshots: &[Stored]) {
        if self.top.is_some() {
            return;
        }
        let is_wanted = |stored: &&Stored| self.only.as_ref().is_none_or(|only| *only == stored.snapshot.instance);
        let wanted: Vec<_> = snapshots.iter().filter(is_wanted).collect();
        let ids: HashSet<_> = wanted.iter().map(|stored| stored.id).collect();
        let gone: Vec<_> = self.present.keys().filter(|id| !ids.contains(id)).copied().collect();
        gone.iter().for_each(|id| self.remove(id));
        for stored in &wanted {
            if !self.present.contains_key(&stored.id) {
                self.add(stored);
            }
        }
        self.latest.clear();
        for stored in &wanted {
            if let Some((instance, time)) = self.present.get(&stored.id) {
                self.latest.insert(instance.clone(), time.clone());
            }
        }
        self.changed = wanted.last().map_or(self.changed, |newest| newest.snapshot.taken);
    }

    fn add(&mut self, stored: &Stored) {
        let shown = self.number(stored);
        let instance = escape(&stored.snapshot.instance);
        self.inode(Node::Instance(instance.clone()));
        self.inode(Node::Latest(instance.clone()));
        let (short, long) = (stored.id.short(), stored.id.to_string());
        let time = (self.name)(stored.snapshot.taken);
        let times = self.instances.entry(instance.clone()).or_default();
        let names = [time.clone(), format!("{time}_{short}"), format!("{time}_{long}")];
        let time = free(names, |name| times.contains_key(name));
        times.insert(time.clone(), shown);
        let id = free([short, long], |name| self.ids.contains_key(name));
        self.inode(Node::Id(id.clone()));
        self.ids.insert(id, (instance.clone(), time.clone()));
        self.present.insert(stored.id, (instance, time));
    }

    fn remove(&mut self, id: &SnapshotId) {
        let Some(place) = self.present.remove(id) else { return };
        self.ids.retain(|_, standing| *standing != place);
        let (instance, time) = place;
        if let Some(times) = self.instances.get_mut(&instance) {
            times.remove(&time);
            if times.is_empty() {
                self.instances.remove(&instance);
            }
        }
    }

    /// Gives a snapshot its number: from its id, so that it is the same at the next mount, unless another one has it.
    fn number(&mut self, stored: &Stored) -> Arc<Shown> {
        let id = stored.id.as_bytes();
        let mut number = u32::from_be_bytes([0, id[0], id[1], id[2]]) % SNAPSHOTS;
        loop {
            number = number.max(1);
            match self.known.entry(number) {
                Place::Occupied(taken) if taken.get().id == stored.id => {
                    return Arc::clone(taken.get());
                }
                Place::Occupied(_) => number = (number + 1) % SNAPSHOTS,
                Place::Vacant(free) => {
                    let (root, taken) = (stored.snapshot.manifest, stored.snapshot.taken);
                    let shown = Arc::new(Shown { number, id: stored.id, root, taken });
                    return Arc::clone(free.insert(shown));
                }
            }
        }
    }

    fn inode(&mut self, node: Node) -> u64 {
        let next = ROOT + self.nodes.len() as u64;
        match self.inodes.entry(node) {
            Place::Occupied(known) => *known.get(),
            Place::Vacant(new) => {
                self.nodes.push(new.key().clone());
                *new.insert(next)
            }
        }
    }

    /// What an inode number stands for.
    pub fn resolve(&self, inode: u64) -> Inode {
        match (inode, self.top) {
            (ROOT, Some(top)) => Inode::Top(top),
            _ => Inode::of(inode),
        }
    }

    /// A snapshot that is, or was, shown.
    pub fn snapshot(&self, number: u32) -> Option<Arc<Shown>> {
        self.known.get(&number).map(Arc::clone)
    }

    /// When something above the snapshots changed last: the time of the newest snapshot.
    pub fn changed(&self) -> Timestamp {
        self.changed
    }

    /// The names in a directory above the snapshots, sorted; `None` if it is none, or gone.
    pub fn children(&self, inode: u64) -> Option<Vec<Child>> {
        let directory = |name: &str, node: Node| self.child(name, node, false);
        match self.node(inode)? {
            Node::Root => {
                Some(vec![directory("instances", Node::Instances)?, directory("snapshots", Node::Snapshots)?])
            }
            Node::Instances => {
                self.instances.keys().map(|name| directory(name, Node::Instance(name.clone()))).collect()
            }
            Node::Snapshots => self.ids.keys().map(|id| self.child(id, Node::Id(id.clone()), true)).collect(),
            Node::Instance(name) => {
                let times = self.instances.get(name)?;
                let latest = self.child(LATEST, Node::Latest(name.clone()), true);
                times.iter().map(|(time, shown)| top(time, shown)).chain([latest]).collect()
            }
            Node::Latest(_) | Node::Id(_) => None,
        }
    }

    /// What stands under a name in a directory above the snapshots.
    pub fn lookup(&self, inode: u64, name: &str) -> Option<Child> {
        match self.node(inode)? {
            Node::Root => self.children(inode)?.into_iter().find(|child| child.name == name),
            Node::Instances if self.instances.contains_key(name) => {
                self.child(name, Node::Instance(name.to_owned()), false)
            }
            Node::Snapshots if self.ids.contains_key(name) => self.child(name, Node::Id(name.to_owned()), true),
            Node::Instance(instance) if name == LATEST && self.instances.contains_key(instance) => {
                self.child(name, Node::Latest(instance.clone()), true)
            }
            Node::Instance(instance) => top(name, self.instances.get(instance)?.get(name)?),
            _ => None,
        }
    }

    /// Where a link leads; `None` if it is none, or gone.
    pub fn target(&self, inode: u64) -> Option<String> {
        match self.node(inode)? {
            Node::Latest(instance) => self.instances.get(instance).and_then(|_| self.latest.get(instance)).cloned(),
            Node::Id(id) => self.ids.get(id).map(|(instance, time)| format!("../instances/{instance}/{time}")),
            _ => None,
        }
    }

    fn node(&self, inode: u64) -> Option<&Node> {
        self.nodes.get(usize::try_from(inode.checked_sub(ROOT)?).ok()?)
    }

    fn child(&self, name: &str, node: Node, is_link: bool) -> Option<Child> {
        Some(Child { name: name.to_owned(), inode: *self.inodes.get(&node)?, is_link })
    }
}

fn top(name: &str, shown: &Shown) -> Option<Child> {
    Some(Child { name: name.to_owned(), inode: Inode::Top(shown.number).number()?, is_link: false })
}

/// The first name that is not taken. Full ids are unlike each other, so that there is one.
fn free<const N: usize>(names: [String; N], is_taken: impl Fn(&str) -> bool) -> String {
    let at = names.iter().position(|name| !is_taken(name)).unwrap_or(N - 1);
    names.into_iter().nth(at).unwrap_or_default()
}

#[cfg(test)]
mod tests;
