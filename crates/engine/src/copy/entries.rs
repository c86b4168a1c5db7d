//! The entries of one snapshot on their way into another repository.

use std::collections::HashMap;

use icecore_format::entry::{Content, Entry, File, Node, PathBytes, Piece};
use icecore_format::manifest::{ManifestReader, ManifestWriter, PieceWriter, ReadError, ReadFault, Root, pieces};
use icecore_format::snapshot::{PROBLEMS_NAMED, Problem, ProblemKind, Totals};
use icecore_repo::{ChunkReader, ChunkWriter, Session, Stored};

use super::base::{Base, Said};
use crate::archive::Archive;
use crate::error::{Error, Result};
use crate::in_order::in_order;
use crate::progress::Progress;

/// A batch is full with so many bytes to read: a few frames, so that each is opened by one thread,
const BATCH_BYTES: u64 = 4 << 20;
/// or so many parts and pieces.
const BATCH_ITEMS: usize = 4096;

/// What became of the entries.
pub(super) struct Moved {
    pub root: Root,
    pub totals: Totals,
    pub missing_count: u64,
    pub missing: Vec<Problem>,
}

/// A piece of a file on its way.
enum Item {
    /// As the source names it.
    Source(Piece),
    /// As the copy names it.
    Named(Piece),
    /// Why it cannot be had.
    Lost(String),
}

/// A part of the manifest on its way.
enum Part {
    /// An entry that is as it should be.
    Ready(Entry),
    /// A further name of a file that came before.
    Link(Entry),
    /// Pieces of the file that follows.
    Items(Vec<Item>),
    /// A file whose pieces came before it, and why there are not all of them.
    File(Entry, Option<String>),
    /// Entries of the source that are lost.
    Gap(PathBytes, u64, String),
}

#[derive(Default)]
struct Batch {
    parts: Vec<Part>,
    items: usize,
    bytes: u64,
}

/// Copies every entry of `stored`, in order.
pub(super) fn copy(
    from: &Archive,
    to: &Archive,
    stored: &Stored,
    base: Option<(&Stored, &Stored)>,
    session: &Session,
    threads: usize,
    progress: &Progress,
) -> Result<Moved> {
    let workers = (0..threads.max(1)).map(|_| Ok((from.reader()?, session.writer()?)));
    let workers = workers.collect::<Result<Vec<_>>>()?;
    let (source, copies) = (from.reader()?, to.reader()?);
    let base = match base {
        Some((before, copied)) => {
            let root = &copied.snapshot.manifest;
            let intact = to.index.intact_at(&root.id)? == Some(session.generation());
            Some(Base::new((&source, &before.snapshot.manifest), (&copies, root), &to.index, intact))
        }
        None => None,
    };
    let mut taker = Taker::new(session.writer()?, progress);
    let moved = in_order(
        workers,
        |(reader, writer), batch| translate(reader, writer, batch, progress),
        |(_, writer)| Ok(writer.finish()?),
        |give| Feeder::new(&source, base, give).feed(stored),
        |batch: Batch| batch.parts.into_iter().try_for_each(|part| taker.take(part)),
    );
    moved.and_then(|()| taker.finish())
}

/// Reads the chunks of a batch, verified, and stores those that are not there.
fn translate(reader: &ChunkReader, writer: &mut ChunkWriter, mut batch: Batch, progress: &Progress) -> Result<Batch> {
    progress.check()?;
    for part in &mut batch.parts {
        let Part::Items(items) = part else { continue };
        for item in items {
            let Item::Source(Piece::Chunk { id, len }) = *item else { continue };
            *item = match reader.chunk(&id) {
                Ok(bytes) if bytes.len() == len as usize => {
                    Item::Named(Piece::Chunk { id: writer.store(&bytes)?, len })
                }
                Ok(bytes) => Item::Lost(format!("chunk {id} has {} bytes instead of {len}", bytes.len())),
                Err(error) if error.is_loss() => Item::Lost(error.loss()),
                Err(error) => return Err(error.into()),
            };
        }
    }
    Ok(batch)
}

/// Walks the source's manifest and gives batches.
struct Feeder<'a, 'g> {
    reader: &'a ChunkReader,
    base: Option<Base<'a>>,
    batch: Batch,
    give: &'g mut dyn FnMut(Batch) -> Result<()>,
    /// Names that further links still have to come of, with how many.
    firsts: HashMap<PathBytes, u32>,
    /// First names that are lost, and what took their place.
    stand_ins: HashMap<PathBytes, PathBytes>,
}

impl<'a, 'g> Feeder<'a, 'g> {
    fn new(reader: &'a ChunkReader, base: Option<Base<'a>>, give: &'g mut dyn FnMut(Batch) -> Result<()>) -> Self {
        let (firsts, stand_ins) = Default::default();
        Self { reader, base, batch: Batch::default(), give, firsts, stand_ins }
    }

    fn feed(mut self, stored: &Stored) -> Result<()> {
        for found in ManifestReader::new(self.reader, &stored.snapshot.manifest).entries() {
            match found {
                Ok(entry) => self.entry(entry)?,
                Err(error) => {
                    let (entries, first) = (error.items, error.first.clone().unwrap_or_default());
                    let why = loss(error)?;
                    self.push(Part::Gap(first, entries, why))?;
                }
            }
        }
        (self.give)(self.batch)
    }

    fn push(&mut self, part: Part) -> Result<()> {
        self.batch.items += if let Part::Items(items) = &part { items.len() } else { 1 };
        self.batch.parts.push(part);
        if self.batch.items >= BATCH_ITEMS || self.batch.bytes >= BATCH_BYTES {
            (self.give)(std::mem::take(&mut self.batch))?;
        }
        Ok(())
    }

    fn entry(&mut self, mut entry: Entry) -> Result<()> {
        let file = match &entry.node {
            Node::File(file) if file.content != Content::Missing => file.clone(),
            _ => return self.push(Part::Ready(entry)),
        };
        if let Some(named) = entry.link_of.take() {
            let first = self.stand_ins.get(&named).unwrap_or(&named).clone();
            if let Some(left) = self.firsts.get_mut(&first) {
                *left -= 1;
                if *left == 0 {
                    self.firsts.remove(&first);
                }
                entry.link_of = Some(first);
                return self.push(Part::Link(entry));
            }
            // The first name is lost: this one takes its place.
            self.stand_ins.insert(named, entry.path.clone());
        }
        if entry.link_of.is_none() && entry.meta.links > 1 {
            self.firsts.insert(entry.path.clone(), entry.meta.links - 1);
        }
        let said = self.base.as_mut().map_or(Said::Nothing, |base| base.of(&entry, &file));
        let names = match said {
            Said::Same(content) => {
                entry.node = Node::File(File { content, ..file });
                return self.push(Part::Ready(entry));
            }
            Said::Pairs(names) => names,
            Said::Nothing => HashMap::new(),
        };
        let (reader, mut items) = (self.reader, Vec::new());
        let mut why = None;
        for piece in pieces(reader, &file.content) {
            match piece {
                Ok(piece @ Piece::Hole { .. }) => items.push(Item::Named(piece)),
                Ok(Piece::Chunk { id, len }) => match names.get(&id) {
                    Some(name) => items.push(Item::Named(Piece::Chunk { id: *name, len })),
                    None => {
                        self.batch.bytes += u64::from(len);
                        items.push(Item::Source(Piece::Chunk { id, len }));
                    }
                },
                Err(error) => {
                    why = Some(format!("the list of its chunks: {}", loss(error)?));
                    break;
                }
            }
            if items.len() >= BATCH_ITEMS || self.batch.bytes >= BATCH_BYTES {
                self.push(Part::Items(std::mem::take(&mut items)))?;
            }
        }
        if !items.is_empty() {
            self.push(Part::Items(items))?;
        }
        self.push(Part::File(entry, why))
    }
}

/// Why a block is lost; what only keeps it from being read is an error.
fn loss(error: ReadError<icecore_repo::Error>) -> Result<String> {
    match *error.fault {
        ReadFault::Source(source) if !source.is_loss() => Err(source.into()),
        ReadFault::Source(source) => Ok(source.loss()),
        ReadFault::Block(error) => Ok(error.to_string()),
    }
}

/// A file that further names are to come of.
struct Linked {
    node: Node,
    left: u32,
}

/// Takes parts in order and writes the manifest.
struct Taker<'a> {
    manifest: ManifestWriter,
    writer: ChunkWriter,
    /// Of the file whose pieces come.
    pieces: PieceWriter,
    lost: Option<String>,
    linked: HashMap<PathBytes, Linked>,
    totals: Totals,
    missing_count: u64,
    missing: Vec<Problem>,
    progress: &'a Progress,
}

impl<'a> Taker<'a> {
    fn new(writer: ChunkWriter, progress: &'a Progress) -> Self {
        Self {
            manifest: ManifestWriter::new(),
            writer,
            pieces: PieceWriter::new(),
            lost: None,
            linked: HashMap::new(),
            totals: Totals::default(),
            missing_count: 0,
            missing: Vec::new(),
            progress,
        }
    }

    fn take(&mut self, part: Part) -> Result<()> {
        match part {
            Part::Ready(entry) => self.push(entry),
            Part::Items(items) => items.into_iter().try_for_each(|item| self.item(item)),
            Part::File(mut entry, why) => {
                let whole = std::mem::take(&mut self.pieces);
                let lost = self.lost.take().or(why);
                if let Node::File(file) = &mut entry.node {
                    file.content = match lost {
                        None => whole.finish(&mut self.writer).map_err(Error::WriteManifest)?,
                        Some(why) => {
                            self.lose(entry.path.clone(), 1, why);
                            Content::Missing
                        }
                    };
                }
                self.push(entry)
            }
            Part::Link(mut entry) => {
                let first = entry.link_of.clone().unwrap_or_default();
                match self.linked.get_mut(&first) {
                    Some(linked) => {
                        entry.node = linked.node.clone();
                        linked.left = linked.left.saturating_sub(1);
                        if linked.left == 0 {
                            self.linked.remove(&first);
                        }
                    }
                    // Never what the source says: its names mean nothing here.
                    None => return Err(Error::WorkerPanicked),
                }
                if matches!(&entry.node, Node::File(File { content: Content::Missing, .. })) {
                    self.lose(entry.path.clone(), 1, "a hard link to what is lost".to_owned());
                }
                self.push(entry)
            }
            Part::Gap(first, entries, why) => {
                let message = format!("a block of the manifest with {entries} entries from here on: {why}");
                self.lose(first, entries, message);
                Ok(())
            }
        }
    }

    fn item(&mut self, item: Item) -> Result<()> {
        match item {
            Item::Named(piece) if self.lost.is_none() => {
                self.pieces.push(piece, &mut self.writer).map_err(Error::WriteManifest)
            }
            Item::Lost(why) => {
                self.lost.get_or_insert(why);
                Ok(())
            }
            Item::Named(_) | Item::Source(_) => Ok(()),
        }
    }

    fn lose(&mut self, path: PathBytes, entries: u64, why: String) {
        self.missing_count += entries;
        if self.missing.len() < PROBLEMS_NAMED {
            let message = format!("lost where it was copied from: {why}");
            self.missing.push(Problem { path, kind: ProblemKind::Unreadable, message });
        }
    }

    fn push(&mut self, entry: Entry) -> Result<()> {
        self.totals.entries += 1;
        match &entry.node {
            Node::Directory => self.totals.directories += 1,
            Node::File(file) => {
                self.totals.files += 1;
                self.totals.bytes = self.totals.bytes.saturating_add(file.size);
            }
            _ => self.totals.others += 1,
        }
        if entry.link_of.is_none() && entry.meta.links > 1 && matches!(entry.node, Node::File(_)) {
            let linked = Linked { node: entry.node.clone(), left: entry.meta.links - 1 };
            self.linked.insert(entry.path.clone(), linked);
        }
        self.progress.done(entry.size());
        self.manifest.push(&entry, &mut self.writer).map_err(Error::WriteManifest)
    }

    fn finish(mut self) -> Result<Moved> {
        let root = self.manifest.finish(&mut self.writer).map_err(Error::WriteManifest)?;
        self.writer.finish()?;
        let Self { totals, missing_count, missing, .. } = self;
        Ok(Moved { root, totals, missing_count, missing })
    }
}
