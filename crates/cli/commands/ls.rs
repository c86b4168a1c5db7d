//! `icecore ls`: what is in a snapshot, printed while it is read.

use std::collections::BTreeMap;
use std::io::{self, Write};

use icecore_engine::entry::{Entry, Node};
use icecore_engine::snapshot::Snapshot;
use icecore_engine::{Error as EngineError, browse};

use super::{catalogue, find, open};
use crate::args::LsArgs;
use crate::error::Result;
use crate::exit::Code;
use crate::output::{Output, human, json};
use crate::settings::Settings;
use crate::time;

/// Runs the command.
pub fn run(args: &LsArgs, settings: &Settings, output: &mut Output) -> Result<Code> {
    let opened = open(settings, output)?;
    let catalogue = catalogue(&opened.archive, output)?;
    let (snapshot, path) = browse::split_path(args.target.as_encoded_bytes());
    let stored = find(&catalogue, &String::from_utf8_lossy(snapshot))?;
    let mut printer = Printer::new(args, &stored.snapshot, output);
    let mut failed = None;
    let listed = browse::ls(&opened.archive, stored, &path, args.recursive, &mut |entry| {
        failed = printer.print(&entry).err();
        // Nobody reads on, or nothing can be written: the rest need not be looked up.
        if failed.is_some() || printer.output.is_unread() { Err(EngineError::Interrupted) } else { Ok(()) }
    });
    match (failed, listed) {
        (Some(error), _) => Err(error.into()),
        (None, Err(EngineError::Interrupted)) if printer.output.is_unread() => Ok(Code::Done),
        (None, Err(error)) => {
            printer.abandon()?;
            Err(error.into())
        }
        (None, Ok(())) => {
            printer.finish(&stored.id.to_string())?;
            Ok(Code::Done)
        }
    }
}

/// Prints entries as lines, or as one JSON document that is never in memory as a whole.
struct Printer<'a> {
    args: &'a LsArgs,
    snapshot: &'a Snapshot,
    output: &'a mut Output,
    printed: u64,
}

impl<'a> Printer<'a> {
    fn new(args: &'a LsArgs, snapshot: &'a Snapshot, output: &'a mut Output) -> Self {
        Self { args, snapshot, output, printed: 0 }
    }

    fn print(&mut self, entry: &Entry) -> io::Result<()> {
        if self.output.manner().json {
            self.open_list()?;
            serde_json::to_writer(&mut *self.output, &json::entry(entry))?;
        } else {
            let line = if self.args.long { long(entry, self.snapshot) } else { short(entry) };
            writeln!(self.output, "{line}")?;
        }
        self.printed += 1;
        Ok(())
    }

    /// Writes what stands before an entry.
    fn open_list(&mut self) -> io::Result<()> {
        if self.printed > 0 {
            return self.output.write_all(b",\n");
        }
        let head = serde_json::Value::Object(self.output.head()).to_string();
        let open = head.trim_end_matches('}');
        writeln!(self.output, "{open},\"entries\":[")
    }

    fn finish(mut self, snapshot: &str) -> io::Result<()> {
        if !self.output.manner().json {
            return Ok(());
        }
        if self.printed == 0 {
            self.open_list()?;
        }
        writeln!(self.output, "],\"snapshot\":\"{snapshot}\",\"complete\":true}}")
    }

    /// Ends a document that was begun; the error says why it is not complete.
    fn abandon(self) -> io::Result<()> {
        if self.output.manner().json && self.printed > 0 {
            writeln!(self.output, "],\"complete\":false}}")?;
        }
        Ok(())
    }
}

fn short(entry: &Entry) -> String {
    let mark = if entry.node == Node::Directory { "/" } else { "" };
    format!("{}{mark}", human::path(&entry.path))
}

fn long(entry: &Entry, snapshot: &Snapshot) -> String {
    let meta = &entry.meta;
    let owner = name(meta.uid, &snapshot.users);
    let group = name(meta.gid, &snapshot.groups);
    let size = match &entry.node {
        Node::File(file) => human::count(file.size),
        Node::CharDevice { major, minor } | Node::BlockDevice { major, minor } => format!("{major},{minor}"),
        _ => "-".to_owned(),
    };
    let target = match (&entry.node, &entry.link_of) {
        (Node::Symlink { target }, _) => format!(" -> {}", human::path(target)),
        (_, Some(first)) => format!(" = {}", human::path(first)),
        _ => String::new(),
    };
    let (mode, taken) = (permissions(entry), time::local(meta.mtime));
    format!("{mode}  {owner:<8} {group:<8} {size:>15}  {taken}  {}{target}", short(entry))
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
