//! The index of a large repository: what opening, look-ups, claims, synchronising, checking and pruning take, and how much memory.
//!
//! ```text
//! cargo bench -p icecore-repo --bench index -- [CHUNKS [DIRECTORY]]       20,000,000 and a temporary one, unless said otherwise
//! ```
//! The repository is made of fragments: sealed and put as merges leave them, read by the index's own synchronisation. Its packs are
//! only named: a store says that they are there, as its listing goes. Each step is a process of its own, whose peak memory is told.
//! Two snapshots name them: one the chunks of every twentieth pack, which is forgotten then, the other one the rest. Without a number,
//! and not by `cargo bench`, a few chunks are all.

#![allow(clippy::print_stdout, missing_docs, reason = "a program for the terminal")]

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use icecore_format::entry::{Class, Entry, File, Meta, Node, Piece, Timestamp};
use icecore_format::fragment::Fragment;
use icecore_format::frame::{Encoding, FrameChunk};
use icecore_format::id::{ChunkId, PackId};
use icecore_format::keys::Secret;
use icecore_format::manifest::{ManifestWriter, PieceWriter, Root};
use icecore_format::pack::{FrameInfo, PackInfo, PackKind};
use icecore_format::seal::{Entropy, ObjectKind, seal_object};
use icecore_format::snapshot::Snapshot;
use icecore_repo::catalogue::forget;
use icecore_repo::check::{CheckOptions, check};
use icecore_repo::prune::{MaxUnused, PruneOptions, outlook, prune};
use icecore_repo::{Catalogue, Index, Repository, Session, objects};
use icecore_store::{Key, Listed, LocalStore, Put, Result, Store};
use icecore_testkit::bare_snapshot;

/// 16 KiB each, as database pages are cut: 64 to a frame, 1,280 to a pack of 20 MiB.
const CHUNK: u32 = 16 << 10;
const FRAME: u64 = 64;
const PACK: u64 = 1280;

/// Packs in a fragment: 8 MiB, as merging leaves them.
const FRAGMENT: u64 = 256;

/// Of so many packs one is forgotten.
const FORGOTTEN: u64 = 20;

/// What is asked for in one step.
const LOOKED_UP: u64 = 200_000;
const CLAIMED: u64 = 1_000_000;

fn hash(space: u8, number: u64) -> [u8; 32] {
    *blake3::keyed_hash(&[space; 32], &number.to_le_bytes()).as_bytes()
}

fn chunk(number: u64) -> ChunkId {
    ChunkId::from_slice(&hash(1, number)[..ChunkId::LEN]).expect("so many bytes are an id")
}

fn pack(number: u64) -> PackInfo {
    let first = number * PACK;
    let frames = (first..first + PACK).step_by(FRAME as usize).map(|first| FrameInfo {
        encoding: Encoding::Raw,
        plain_len: CHUNK * FRAME as u32,
        stored_len: CHUNK * FRAME as u32 + 16,
        chunks: (first..first + FRAME).map(|number| FrameChunk { id: chunk(number), len: CHUNK }).collect(),
    });
    let id = PackId::from_bytes(hash(2, number));
    let mut info = PackInfo { id, kind: PackKind::Data, size: 0, frames: frames.collect() };
    info.size = info.footer_offset() + 40_000;
    info
}

/// A store that says of packs which exist only as rows that they are there.
#[derive(Debug)]
struct Named {
    inner: LocalStore,
    packs: u64,
    size: u64,
}

impl Named {
    fn key(number: u64) -> Key {
        let id = PackId::from_bytes(hash(2, number)).to_string();
        Key::new(&format!("packs/{}/{id}", &id[..2])).expect("a valid key")
    }
}

impl Store for Named {
    fn put(&self, key: &Key, parts: &[&[u8]]) -> Result<Put> {
        self.inner.put(key, parts)
    }

    fn get(&self, key: &Key) -> Result<Vec<u8>> {
        self.inner.get(key)
    }

    fn get_range(&self, key: &Key, range: Range<u64>, buffer: &mut Vec<u8>) -> Result<()> {
        self.inner.get_range(key, range, buffer)
    }

    fn size(&self, key: &Key) -> Result<Option<u64>> {
        self.inner.size(key)
    }

    fn list(&self, directory: &str, each: &mut dyn FnMut(Listed) -> Result<()>) -> Result<()> {
        if directory == "packs" {
            (0..self.packs).try_for_each(|number| each(Listed { key: Self::key(number), size: self.size }))?;
        }
        self.inner.list(directory, each)
    }

    fn delete(&self, key: &Key) -> Result<()> {
        self.inner.delete(key)
    }

    fn location(&self) -> String {
        self.inner.location()
    }
}

fn secret() -> Secret {
    Secret::generate(Entropy([7; 32]))
}

fn at(hours: i64) -> Timestamp {
    Timestamp { seconds: 1_700_000_000 + hours * 3600, nanos: 0 }
}

fn record(instance: &str, manifest: Root) -> Snapshot {
    Snapshot { manifest, ..bare_snapshot(instance, at(0).seconds) }
}

/// What a step works with.
struct Bench {
    chunks: u64,
    place: PathBuf,
}

type Outcome = std::result::Result<Vec<String>, Box<dyn std::error::Error>>;

impl Bench {
    fn packs(&self) -> u64 {
        self.chunks / PACK
    }

    fn store(&self) -> Arc<dyn Store> {
        let inner = LocalStore::open(self.place.join("repository")).expect("a local store");
        Arc::new(Named { inner, packs: self.packs(), size: pack(0).size })
    }

    fn open(&self) -> std::result::Result<(Arc<Repository>, Arc<Index>), Box<dyn std::error::Error>> {
        let repository = Arc::new(Repository::open(self.store(), &secret())?);
        let index = Arc::new(Index::open(&self.place.join("state"), repository.id())?);
        Ok((repository, index))
    }

    /// Puts a fragment that names packs.
    fn put(&self, repository: &Repository, packs: Range<u64>) -> std::result::Result<Key, Box<dyn std::error::Error>> {
        let fragment = Fragment::of(packs.map(pack).collect());
        let plain = fragment.encode();
        let object = seal_object(&repository.seal_key(), ObjectKind::Fragment, objects::entropy()?, &plain);
        let key = Key::new(&format!("index/{}", blake3::hash(&object).to_hex()))?;
        self.store().put(&key, &[&object])?;
        Ok(key)
    }

    fn step(&self, name: &str) -> Outcome {
        let began = Instant::now();
        let took = || format!("{:.2} s", began.elapsed().as_secs_f64());
        let rate = |count: u64| format!("{:.0}/s", count as f64 / began.elapsed().as_secs_f64());
        match name {
            "fragments" => {
                let store = Arc::new(LocalStore::create(self.place.join("repository"))?);
                let repository = Repository::create(store, &secret(), "bench", at(0))?;
                for first in (0..self.packs()).step_by(FRAGMENT as usize) {
                    self.put(&repository, first..(first + FRAGMENT).min(self.packs()))?;
                }
                Ok(vec![took()])
            }
            "fill the index" => {
                let (repository, index) = self.open()?;
                let synced = index.sync(&repository)?;
                let file = std::fs::metadata(index.path())?.len() >> 20;
                Ok(vec![took(), rate(self.chunks), format!("{} fragments, file of {file} MiB", synced.fragments)])
            }
            "snapshots" => {
                let (repository, index) = self.open()?;
                index.sync(&repository)?;
                self.commit(&repository, &index, "rest", |pack| pack % FORGOTTEN != 0)?;
                self.commit(&repository, &index, "old", |pack| pack % FORGOTTEN == 0)?;
                Ok(vec![took(), rate(self.chunks)])
            }
            "open" => {
                let (_, index) = self.open()?;
                index.lookup()?.contains(&chunk(0))?;
                Ok(vec![took()])
            }
            "synchronise, nothing new" => {
                let (repository, index) = self.open()?;
                index.sync(&repository)?;
                Ok(vec![took()])
            }
            "look up what is there" | "look up what is not" => {
                let lookup = self.open()?.1.lookup()?;
                let offset = if name == "look up what is there" { 0 } else { 1 << 40 };
                let count = LOOKED_UP.min(self.chunks);
                for number in 0..count {
                    // All over: the odd number is the golden ratio's, of 64 bits.
                    let spread = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) % (self.packs() * PACK);
                    assert_eq!(lookup.contains(&chunk(offset + spread))?, offset == 0);
                }
                Ok(vec![took(), rate(count)])
            }
            "claim and store new chunks" => {
                let (repository, index) = self.open()?;
                index.sync(&repository)?;
                let session = Session::begin(repository, index, 1)?;
                let mut writer = session.writer()?;
                let mut bytes = [0; 256];
                let count = CLAIMED.min(self.chunks);
                for number in 0..count {
                    for (part, bytes) in bytes.chunks_mut(32).enumerate() {
                        bytes.copy_from_slice(&hash(3, number << 3 | part as u64));
                    }
                    writer.store(&bytes)?;
                }
                writer.finish()?;
                let written = session.close()?.written;
                Ok(vec![took(), rate(count), format!("{} packs", written.packs)])
            }
            "read one new fragment" => {
                let (repository, index) = self.open()?;
                index.sync(&repository)?;
                self.put(&repository, self.packs()..self.packs() + FRAGMENT)?;
                let began = Instant::now();
                index.sync(&repository)?;
                let seconds = began.elapsed().as_secs_f64();
                let rate = (FRAGMENT * PACK) as f64 / seconds;
                Ok(vec![format!("{seconds:.2} s"), format!("{rate:.0}/s"), format!("{FRAGMENT} packs")])
            }
            "drop a pack" => {
                let (_, index) = self.open()?;
                let began = Instant::now();
                index.drop_pack(&PackId::from_bytes(hash(2, 1)))?;
                Ok(vec![format!("{:.2} s", began.elapsed().as_secs_f64())])
            }
            "forget" => {
                let (repository, index) = self.open()?;
                let catalogue = Catalogue::load(&repository, &index)?;
                let old = catalogue.snapshots.iter().find(|stored| stored.snapshot.instance == "old");
                forget(&repository, &old.ok_or("there is no old snapshot")?.id)?;
                Ok(vec![took()])
            }
            "check" => {
                let (repository, index) = self.open()?;
                let options = CheckOptions { read_percent: 0, until: None, now: at(0), threads: 2 };
                let report = check(&repository, &index, options, &|_| Ok(()))?;
                Ok(vec![took(), String::new(), format!("{} packs, {} findings", report.packs, report.finding_count)])
            }
            "prune: first look" | "prune: look" | "prune: look again" => {
                let (repository, index) = self.open()?;
                let plan = outlook(&repository, &index, &self.options(), &|| at(0), &mut |_| Ok(()))?;
                Ok(vec![took(), String::new(), format!("{} packs to mark", plan.mark.len())])
            }
            "prune: mark" | "prune: delete" => {
                let (repository, index) = self.open()?;
                let now = if name == "prune: mark" { at(0) } else { at(30) };
                let done = prune(&repository, &index, &self.options(), &|| now, &mut |_| Ok(()))?;
                Ok(vec![took(), String::new(), format!("{} marked, {} deleted", done.marked, done.deleted)])
            }
            other => Err(format!("there is no step {other}").into()),
        }
    }

    /// Commits a snapshot that names the chunks of some packs, a file for each.
    fn commit(
        &self,
        repository: &Arc<Repository>,
        index: &Arc<Index>,
        instance: &str,
        has: impl Fn(u64) -> bool,
    ) -> std::result::Result<(), Box<dyn std::error::Error>> {
        let session = Session::begin(Arc::clone(repository), Arc::clone(index), 1)?;
        let (mut writer, mut manifest) = (session.writer()?, ManifestWriter::new());
        for number in (0..self.packs()).filter(|pack| has(*pack)) {
            let mut pieces = PieceWriter::new();
            for number in number * PACK..(number + 1) * PACK {
                pieces.push(Piece::Chunk { id: chunk(number), len: CHUNK }, &mut writer)?;
            }
            let content = pieces.finish(&mut writer)?;
            let file = File { size: PACK * u64::from(CHUNK), class: Class::default(), content, racy: false };
            let path = format!("{number:08}").as_str().into();
            let entry = Entry { path, meta: Meta::default(), node: Node::File(file), link_of: None };
            manifest.push(&entry, &mut writer)?;
        }
        let root = manifest.finish(&mut writer)?;
        writer.finish()?;
        session.close()?.commit(&record(instance, root), &|| at(0))?;
        Ok(())
    }

    fn options(&self) -> PruneOptions {
        PruneOptions { max_unused: MaxUnused::Bytes(0), ..PruneOptions::new("bench") }
    }
}

const STEPS: [&str; 17] = [
    "fragments",
    "fill the index",
    "snapshots",
    "open",
    "synchronise, nothing new",
    "look up what is there",
    "look up what is not",
    "claim and store new chunks",
    "read one new fragment",
    "check",
    "prune: first look",
    "prune: look again",
    "forget",
    "prune: look",
    "prune: mark",
    "prune: delete",
    "drop a pack",
];

/// The most memory that this process has had, MiB.
fn peak() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.map_or_else(|| "?".to_owned(), |kib| (kib >> 10).to_string())
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let all = arguments.len();
    arguments.retain(|argument| argument != "--bench");
    let usual = if arguments.len() < all { 20_000_000 } else { 10_000 };
    if let [flag, chunks, place, name] = &arguments[..]
        && flag == "--step"
    {
        let bench = Bench { chunks: chunks.parse()?, place: place.into() };
        let told = bench.step(name)?;
        let column = |number: usize| told.get(number).map_or("", String::as_str);
        println!("{name:28} {:>10} {:>12} {:>6} MiB  {}", column(0), column(1), peak(), column(2));
        return Ok(());
    }
    let chunks: u64 = arguments.first().map_or(Ok(usual), |chunks| chunks.parse())?;
    let temporary = tempfile::tempdir()?;
    let place = arguments.get(1).map_or(temporary.path(), Path::new);
    println!("{chunks} chunks in {}", place.display());
    for name in STEPS {
        let mut step = Command::new(std::env::current_exe()?);
        let ended = step.arg("--step").arg(chunks.to_string()).arg(place).arg(name).status()?;
        if !ended.success() {
            return Err(io::Error::other(format!("{name}: {ended}")).into());
        }
    }
    Ok(())
}
