//! What the steps of a backup and of a restore cost, each alone.
//!
//! ```text
//! cargo bench -p icecore-engine --bench micro -- [PART OF A NAME]
//! ```
//! The data follow from fixed seeds: `text`, 16 MiB of 4,096 made-up words; `pages`, 16 MiB of database pages of 8 KiB, half of each filled;
//! `noise`, 16 MiB that no compression shortens; trees of 20,000 small files in 200 directories; manifests of 100,000 entries. Each step is
//! repeated for a third of a second, five times; the median is told, the fastest and the slowest. Not by `cargo bench`, it runs each step once.

#![allow(clippy::print_stdout, missing_docs, reason = "a program for the terminal")]

use std::collections::HashMap;
use std::convert::Infallible;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use icecore_engine::backup::{Job, backup};
use icecore_engine::restore::{RestoreJob, rehearse};
use icecore_engine::{Archive, Progress};
use icecore_format::chunk::IdKey;
use icecore_format::cut::{CutParams, Cutter, detect, looks_incompressible};
use icecore_format::entry::{Class, Content, Entry, File, Meta, Node, Piece, Timestamp};
use icecore_format::frame::{Decoder, Encoder};
use icecore_format::id::{ChunkId, RepositoryId};
use icecore_format::keys::Credentials;
use icecore_format::manifest::{
    BlockSink, BlockSource, Lockstep, ManifestReader, ManifestWriter, Root as ManifestRoot, decode_block,
};
use icecore_format::seal::{Entropy, ObjectKind, open_object, seal_object};
use icecore_repo::{Index, Repository, Session};
use icecore_source::{ListProgress, Root, Rules, Tree};

use icecore_testkit::MemoryStore;
use icecore_testkit::small_repository::{secret, small_repository};

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Bytes of each kind of data.
const SIZE: usize = 16 << 20;

/// Plain bytes of a frame, as a repository has them by default.
const FRAME: usize = 1 << 20;

const ENTRIES: u64 = 100_000;
const DIRECTORIES: u64 = 200;
const FILES: u64 = 100;

const SAMPLES: usize = 5;
const SAMPLE: Duration = Duration::from_millis(333);

/// Says what takes how long.
struct Stopwatch {
    /// Of the names to run.
    part: String,
    is_bench: bool,
}

impl Stopwatch {
    fn wants(&self, name: &str) -> bool {
        name.contains(&self.part)
    }

    /// Times `run`, which does so many `units` of work.
    fn time(&self, name: &str, units: f64, unit: &str, mut run: impl FnMut() -> Outcome) -> Outcome {
        if !self.wants(name) {
            return Ok(());
        }
        run()?;
        if !self.is_bench {
            return Ok(());
        }
        let mut rates = Vec::with_capacity(SAMPLES);
        for _ in 0..SAMPLES {
            let (began, mut times) = (Instant::now(), 0);
            while times == 0 || began.elapsed() < SAMPLE {
                run()?;
                times += 1;
            }
            rates.push(f64::from(times) * units / began.elapsed().as_secs_f64());
        }
        rates.sort_by(f64::total_cmp);
        let (slowest, median, fastest) = (rates[0], rates[SAMPLES / 2], rates[SAMPLES - 1]);
        println!("{name:40} {median:>12.0} {unit:10} {slowest:>12.0} … {fastest:.0}");
        Ok(())
    }
}

/// Pseudo-random bytes of a seed.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn text() -> Vec<u8> {
    let letters = noise(1, 1 << 20);
    let words: Vec<Vec<u8>> = letters.chunks(12).take(4096).map(word).collect();
    let mut bytes = Vec::with_capacity(SIZE + 16);
    let mut choices = noise(2, SIZE).into_iter();
    while bytes.len() < SIZE {
        let choice = usize::from(choices.next().unwrap_or(0)) | usize::from(choices.next().unwrap_or(0)) << 8;
        bytes.extend_from_slice(&words[choice % words.len()]);
    }
    bytes.truncate(SIZE);
    bytes
}

fn word(letters: &[u8]) -> Vec<u8> {
    let len = 2 + usize::from(letters[0]) % (letters.len() - 2);
    letters[1..len].iter().map(|letter| b'a' + letter % 26).chain([b' ']).collect()
}

fn pages() -> Vec<u8> {
    let mut bytes = noise(3, SIZE);
    for (number, page) in bytes.chunks_mut(8 << 10).enumerate() {
        page[..8].copy_from_slice(&(number as u64).to_le_bytes());
        let filled = page.len() / 2;
        page[filled..].fill(0);
        // Rows resemble each other.
        page[8..filled].iter_mut().step_by(3).for_each(|byte| *byte = b' ');
    }
    bytes
}

fn cut(cutter: &Cutter, data: &[u8]) -> usize {
    let (mut at, mut count) = (0, 0);
    while let Some(len) = cutter.next(&data[at..], at as u64, true) {
        at += len;
        count += 1;
    }
    count
}

fn bytes(watch: &Stopwatch) -> Outcome {
    let mib = (SIZE >> 20) as f64;
    let params = CutParams::default();
    let kinds = [("text", text()), ("pages", pages()), ("noise", noise(4, SIZE))];
    let classes =
        [("pages", Class::Pages { page: 8 << 10 }), ("structured", Class::Structured), ("opaque", Class::Opaque)];
    for (kind, data) in &kinds {
        for (class, of) in classes {
            let cutter = Cutter::new(of, &params);
            watch.time(&format!("cut {kind} as {class}"), mib, "MiB/s", || {
                black_box(cut(&cutter, data));
                Ok(())
            })?;
        }
    }
    let key = IdKey::from_bytes([7; 32]);
    for len in [16 << 10, 64 << 10, 256 << 10] {
        watch.time(&format!("name chunks of {} KiB", len >> 10), mib, "MiB/s", || {
            for chunk in kinds[2].1.chunks(len) {
                black_box(key.id(chunk));
            }
            Ok(())
        })?;
    }
    for (kind, data) in &kinds {
        watch.time(&format!("probe {kind}, 64 KiB each"), (SIZE >> 16) as f64, "chunks/s", || {
            for chunk in data.chunks(64 << 10) {
                black_box(looks_incompressible(chunk));
            }
            Ok(())
        })?;
        for (name, level) in [("1", 1), ("3", 3), ("12", 12)] {
            let mut encoder = Encoder::new(level)?;
            let mut buffer = Vec::new();
            watch.time(&format!("compress {kind}, level {name}"), mib, "MiB/s", || {
                for frame in data.chunks(FRAME) {
                    buffer = black_box(encoder.encode(frame, true, std::mem::take(&mut buffer))).1;
                }
                Ok(())
            })?;
        }
        let mut encoder = Encoder::new(3)?;
        let frames: Vec<_> = data.chunks(FRAME).map(|frame| encoder.encode(frame, true, Vec::new())).collect();
        let (mut decoder, mut plain) = (Decoder::new()?, Vec::new());
        watch.time(&format!("decompress {kind}"), mib, "MiB/s", || {
            for (encoding, stored) in &frames {
                decoder.decode(*encoding, stored, FRAME as u32, &mut plain)?;
            }
            Ok(())
        })?;
    }
    watch.time("tell the class of a file by its head", 3.0, "files/s", || {
        for (_, data) in &kinds {
            black_box(detect(&data[..4096], &data[..64 << 10]));
        }
        Ok(())
    })?;
    sealing(watch, &kinds[2].1)
}

fn sealing(watch: &Stopwatch, data: &[u8]) -> Outcome {
    let repository = RepositoryId::from_bytes([4; 32]);
    let credentials = Credentials::generate([Entropy([1; 32]), Entropy([2; 32]), Entropy([3; 32])]);
    let (seal, open) = (credentials.seal_key(repository), credentials.open_key(repository).ok_or("a reader opens")?);
    let mib = (data.len() >> 20) as f64;
    let object = seal_object(&seal, ObjectKind::Fragment, Entropy([8; 32]), data);
    watch.time("seal an object", mib, "MiB/s", || {
        black_box(seal_object(&seal, ObjectKind::Fragment, Entropy([8; 32]), data));
        Ok(())
    })?;
    watch.time("open an object", mib, "MiB/s", || {
        black_box(open_object(&open, ObjectKind::Fragment, &object)?);
        Ok(())
    })
}

/// Blocks in memory.
#[derive(Default)]
struct Blocks(HashMap<ChunkId, Arc<[u8]>>);

impl BlockSink for Blocks {
    type Error = Infallible;

    fn put_block(&mut self, bytes: &[u8]) -> Result<ChunkId, Infallible> {
        let id = IdKey::from_bytes([7; 32]).id(bytes);
        self.0.entry(id).or_insert_with(|| bytes.into());
        Ok(id)
    }
}

impl BlockSource for Blocks {
    type Error = Infallible;

    fn block(&self, id: &ChunkId) -> Result<Arc<[u8]>, Infallible> {
        Ok(self.0.get(id).map_or_else(|| Arc::from([]), Arc::clone))
    }
}

fn entry(number: u64, version: u64) -> Entry {
    let id = IdKey::from_bytes([9; 32]).id(&[number.to_le_bytes(), version.to_le_bytes()].concat());
    let content = Content::Inline(vec![Piece::Chunk { id, len: 4096 }]);
    let file = File { size: 4096, class: Class::default(), content, racy: false };
    let path = format!("root/directory {:04}/file {number:08}.dat", number / 100).into_bytes();
    Entry { path, meta: Meta::default(), node: Node::File(file), link_of: None }
}

fn write(blocks: &mut Blocks, entries: &[Entry]) -> Result<ManifestRoot, Box<dyn std::error::Error>> {
    let mut writer = ManifestWriter::new();
    for entry in entries {
        writer.push(entry, blocks)?;
    }
    Ok(writer.finish(blocks)?)
}

fn manifests(watch: &Stopwatch) -> Outcome {
    let first: Vec<Entry> = (0..ENTRIES).map(|number| entry(number, 0)).collect();
    let second: Vec<Entry> = (0..ENTRIES).map(|number| entry(number, u64::from(number % 10_000 == 5))).collect();
    let mut blocks = Blocks::default();
    let roots = [write(&mut blocks, &first)?, write(&mut blocks, &second)?];
    let count = ENTRIES as f64;
    watch.time("write a manifest", count, "entries/s", || write(&mut Blocks::default(), &first).map(drop))?;
    watch.time("read a manifest", count, "entries/s", || {
        ManifestReader::new(&blocks, &roots[0]).entries().try_for_each(|entry| entry.map(drop))?;
        Ok(())
    })?;
    watch.time("find one entry", 100.0, "entries/s", || {
        for number in (0..ENTRIES).step_by(ENTRIES as usize / 100) {
            black_box(ManifestReader::new(&blocks, &roots[0]).get(&first[number as usize].path)?);
        }
        Ok(())
    })?;
    watch.time("decode blocks", blocks.0.len() as f64, "blocks/s", || {
        blocks.0.values().try_for_each(|block| decode_block(block).map(drop))?;
        Ok(())
    })?;
    watch.time("compare nights that differ in 10 entries", 1.0, "nights/s", || {
        let walk = Lockstep::new(&blocks, &roots).differing();
        let mut met = 0;
        for step in walk {
            step.map_err(|_| "a block is lost")?;
            met += 1;
        }
        black_box(met);
        Ok(())
    })
}

fn claims(watch: &Stopwatch) -> Outcome {
    const CLAIMS: u64 = 50_000;
    let begin = || -> Result<_, Box<dyn std::error::Error>> {
        let (store, state) = (Arc::new(MemoryStore::new()), tempfile::tempdir()?);
        small_repository(&*store, &secret(1));
        let repository = Arc::new(Repository::open(store, &secret(1))?);
        let index = Arc::new(Index::open(state.path(), repository.id())?);
        Ok((Session::begin(repository, index, 1)?, state))
    };
    let data = noise(5, CLAIMS as usize * 64);
    if !watch.wants("claim") {
        return Ok(());
    }
    watch.time("claim and store chunks of 64 B", CLAIMS as f64, "chunks/s", || {
        let (session, _state) = begin()?;
        let mut writer = session.writer()?;
        data.chunks(64).try_for_each(|chunk| writer.store(chunk).map(drop))?;
        writer.finish()?;
        session.close()?;
        Ok(())
    })?;
    let (session, _state) = begin()?;
    let mut writer = session.writer()?;
    data.chunks(64).try_for_each(|chunk| writer.store(chunk).map(drop))?;
    watch.time("claim chunks that were claimed", CLAIMS as f64, "chunks/s", || {
        data.chunks(64).try_for_each(|chunk| writer.store(chunk).map(drop))?;
        Ok(())
    })?;
    writer.finish()?;
    session.close()?;
    Ok(())
}

fn make_tree(root: &Path) -> std::io::Result<()> {
    for directory in 0..DIRECTORIES {
        let directory_path = root.join(format!("directory {directory:04}"));
        std::fs::create_dir(&directory_path)?;
        for file in 0..FILES {
            std::fs::write(directory_path.join(format!("file {file:04}")), noise(directory << 32 | file, 512))?;
        }
    }
    Ok(())
}

fn trees(watch: &Stopwatch) -> Outcome {
    let names = ["list", "back up", "plan"];
    if !names.iter().any(|name| watch.part.contains(name) || name.contains(&watch.part)) {
        return Ok(());
    }
    let place = tempfile::tempdir()?;
    let tree = place.path().join("tree");
    std::fs::create_dir(&tree)?;
    make_tree(&tree)?;
    let roots = || vec![Root { name: "tree".to_owned(), path: PathBuf::from(&tree) }];
    let count = (DIRECTORIES * (FILES + 1) + 1) as f64;
    for threads in [1, 2] {
        let rules = Rules { threads, ..Rules::default() };
        watch.time(&format!("list a tree, {threads} threads"), count, "entries/s", || {
            black_box(Tree::open(roots())?.list(&rules, &ListProgress::default())?.entries());
            Ok(())
        })?;
    }
    let store = Arc::new(MemoryStore::new());
    small_repository(&*store, &secret(1));
    let (archive, _) = Archive::open(store, &secret(1), &place.path().join("state"))?;
    let clock = || Timestamp { seconds: 4_000_000_000, nanos: 0 };
    let job = || Job {
        instance: "bench".to_owned(),
        host: "bench".to_owned(),
        user: "bench".to_owned(),
        program: "bench".to_owned(),
        tags: Vec::new(),
        protected_until: None,
        roots: roots(),
        rules: Rules::default(),
        excludes: Vec::new(),
        ignore_inode: false,
        ignore_ctime: false,
        rehash: false,
        level: 3,
        threads: 1,
        pace: None,
        priority: Default::default(),
        clock: &clock,
        freeze: None,
    };
    backup(&archive, &job(), &Progress::default())?;
    watch.time("back up a tree that has not changed", count, "entries/s", || {
        backup(&archive, &job(), &Progress::default())?;
        Ok(())
    })?;
    let catalogue = archive.catalogue()?;
    let stored = catalogue.snapshots.first().ok_or("there is no snapshot")?;
    watch.time("plan a restore", count, "entries/s", || {
        let job = RestoreJob::new(stored, Vec::new(), place.path().join("restored"));
        rehearse(&archive, &job, &Progress::default(), &mut |action| {
            black_box(action);
            Ok(())
        })?;
        Ok(())
    })
}

fn main() -> Outcome {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let all = arguments.len();
    arguments.retain(|argument| argument != "--bench");
    let is_bench = arguments.len() < all;
    let watch = Stopwatch { part: arguments.pop().unwrap_or_default(), is_bench };
    println!("{:40} {:>12} {:10} {:>12}", "step", "median", "", "slowest … fastest");
    bytes(&watch)?;
    manifests(&watch)?;
    claims(&watch)?;
    trees(&watch)
}
