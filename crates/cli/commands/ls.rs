//! `icecore ls`: what is in a snapshot, printed while it is read.

use std::collections::BTreeMap;

use icecore_engine::browse::{self, Shown};
use icecore_engine::entry::{Entry, Node};
use icecore_engine::snapshot::Snapshot;
use serde_json::Map;

use super::{catalogue, doubts, find, open};
use crate::args::LsArgs;
use crate::error::Result;
use crate::exit::Code;
use crate::output::stream::Stream;
use crate::output::{Output, human, json, progress};
use crate::settings::Settings;
use crate::time;

/// Runs the command.
pub fn run(args: &LsArgs, settings: &Settings, output: &mut Output) -> Result<Code> {
    let opened = open(settings, output)?;
    let catalogue = catalogue(&opened.archive, output)?;
    let (snapshot, path) = browse::split_path(args.target.as_encoded_bytes());
    let name = String::from_utf8_lossy(snapshot);
    let stored = find(&catalogue, &name)?;
    let mut stream = Stream::new(output, "entries");
    stream.miss(doubts(&catalogue, stored, &name));
    let listed = progress::attend(stream.shows_progress(), |progress| {
        browse::ls(&opened.archive, stored, &path, args.recursive, progress, &mut |shown| match shown {
            Shown::Lost(sentence) => {
                stream.lose(&sentence);
                Ok(())
            }
            Shown::Entry(entry) => {
                let line = || if args.long { long(&entry, &stored.snapshot, args.human) } else { short(&entry) };
                stream.push(line, || json::entry(&entry).into())
            }
        })
    })?;
    let mut tail = Map::new();
    tail.insert("snapshot".to_owned(), stored.id.to_string().into());
    stream.close(listed, tail, "")
}

fn short(entry: &Entry) -> String {
    let mark = if entry.node == Node::Directory { "/" } else { "" };
    format!("{}{mark}", human::path(&entry.path))
}

fn long(entry: &Entry, snapshot: &Snapshot, human: bool) -> String {
    let meta = &entry.meta;
    let owner = name(meta.uid, &snapshot.users);
    let group = name(meta.gid, &snapshot.groups);
    let size = match &entry.node {
        Node::File(file) if !human => human::count(file.size),
        Node::File(file) => human::bytes(file.size),
        Node::CharDevice { major, minor } | Node::BlockDevice { major, minor } => format!("{major},{minor}"),
        _ => "-".to_owned(),
    };
    let target = match (&entry.node, &entry.link_of) {
        (Node::Symlink { target }, _) => format!(" -> {}", human::path(target)),
        (_, Some(first)) => format!(" = {}", human::path(first)),
        _ => String::new(),
    };
    let (mode, taken) = (permissions(entry), time::local(meta.mtime));
    let width = if human { 10 } else { 15 };
    format!("{mode}  {owner:<8} {group:<8} {size:>width$}  {taken}  {}{target}", short(entry))
}

fn name(id: u32, names: &BTreeMap<u32, String>) -> String {
    names.get(&id).map_or_else(|| id.to_string(), |name| human::printable(name))
}

/// Kind and permissions as `ls -l` shows them.
fn permissions(entry: &Entry) -> String {
    let kind = match &entry.node {
        Node::Directory => 'd',
        Node::File(_) => '-',
        Node::Symlink { .. } => 'l',
        Node::Fifo => 'p',
        Node::Socket => 's',
        Node::CharDevice { .. } => 'c',
        Node::BlockDevice { .. } => 'b',
    };
    let mode = entry.meta.mode;
    let mut text = String::from(kind);
    // Each class of users with the special bit that is shown in the place of its `x`.
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (mode & special != 0, bits & 1 != 0) {
            (true, true) => letter,
            (true, false) => letter.to_ascii_uppercase(),
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use icecore_engine::entry::Meta;

    use super::*;

    fn entry(node: Node, mode: u32) -> Entry {
        Entry { path: b"a/b".to_vec(), meta: Meta { mode, ..Meta::default() }, node, link_of: None }
    }

    #[test]
    fn permissions_look_as_everybody_knows_them() {
        for (node, mode, text) in [
            (Node::Directory, 0o1777, "drwxrwxrwt"),
            (Node::Fifo, 0o640, "prw-r-----"),
            (Node::Socket, 0o4755, "srwsr-xr-x"),
            (Node::CharDevice { major: 1, minor: 3 }, 0o2666, "crw-rwSrw-"),
        ] {
            assert_eq!(permissions(&entry(node, mode)), text);
        }
    }

    #[test]
    fn directories_end_with_a_slash_and_links_say_where_they_lead() {
        assert_eq!(short(&entry(Node::Directory, 0o755)), "a/b/");
        assert_eq!(short(&entry(Node::Fifo, 0o755)), "a/b");
        assert_eq!(name(7, &BTreeMap::from([(7, "ann".to_owned())])), "ann");
        assert_eq!(name(8, &BTreeMap::new()), "8");
    }
}
