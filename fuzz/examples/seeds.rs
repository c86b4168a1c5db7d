//! Writes `seeds/TARGET/NAME`: a valid input or a few for each target, from which the fuzzer goes on.
//!
//! The seeds are committed. They change only when the format or the form of an input does.

use std::collections::BTreeMap;
use std::path::Path;

use icecore_format::annotation::{Annotation, Proof, ProofVerdict, TagChange};
use icecore_format::config::Config;
use icecore_format::entry::{Class, Content, Entry, File, Meta, Node, Piece, Timestamp, Xattr};
use icecore_format::fragment::Fragment;
use icecore_format::frame::{Encoder, Encoding, Frame, FrameChunk};
use icecore_format::id::{ChunkId, FragmentId, PackId, SnapshotId};
use icecore_format::keys::{Kdf, Secret, Slot};
use icecore_format::manifest::{self, Block, ManifestWriter, PieceWriter, decode_block};
use icecore_format::mark::{Mark, Stage};
use icecore_format::pack::{PackBuilder, PackInfo, PackKind, TRAILER_LEN};
use icecore_format::seal::{Entropy, ObjectKind, Segment, seal_object};
use icecore_format::session::SessionRecord;
use icecore_format::snapshot::{Problem, ProblemKind, Receipt, Root, Snapshot, ThawedBy, Totals, Verdict};
use icecore_fuzz::keys::{REPOSITORY, STRANGER};
use icecore_fuzz::tree::Blocks;

const TIME: Timestamp = Timestamp { seconds: 1_700_000_000, nanos: 5 };

fn main() {
    configuration();
    objects();
    packs();
    manifests();
    restores();
    records();
    let text = b"lorem ipsum dolor sit amet ".repeat(60);
    save("cut", "pages", &[&[0, 0, 2, 0, 0, 100], &b"SQLite format 3\0\x10\0"[..], &text].concat());
    save("cut", "structured", &[&[1, 0, 0, 0, 0, 7], &text[..]].concat());
    save("cut", "opaque", &[&[2, 0, 0, 0, 0, 255], &noise(3000)[..]].concat());
    let packs = [1, 2].map(|byte| PackId::from_bytes([byte; 32])).to_vec();
    let until = Timestamp { seconds: TIME.seconds + 86_400, ..TIME };
    save("mark", "waiting", &Mark { packs, stage: Stage::Waiting, at: TIME, until, host: "host".into() }.encode());
    let record = SessionRecord { host: "host".into(), pid: 1, started: TIME, seen: until, instance: "cust01".into() };
    save("session", "record", &record.encode());
    let tags = TagChange { clear: false, remove: vec!["draft".into()], add: vec!["release".into()] };
    let proof =
        Proof { began: TIME, verdict: ProofVerdict::Ok, seconds: 60, message: "gfix".into(), test_seconds: Some(20) };
    let (host, user) = ("host".into(), "user".into());
    let snapshot = SnapshotId::from_bytes([1; 32]);
    let said = Annotation { snapshot, at: until, host, user, tags: Some(tags), proof: Some(proof) };
    save("annotation", "tags-and-proof", &said.encode());
    save("key", "pack", b"packs/3f/3f5a0c");
    save("key", "config", b"config");
}

fn save(target: &str, name: &str, bytes: &[u8]) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target);
    std::fs::create_dir_all(&directory).expect("a directory for the seeds");
    std::fs::write(directory.join(name), bytes).expect("room for a seed");
}

/// Bytes that look random: zeros, sealed.
fn noise(len: usize) -> Vec<u8> {
    let (_, key) = STRANGER.seal_key(REPOSITORY).begin(ObjectKind::Session, Entropy([3; 32]));
    let mut bytes = vec![0; len];
    key.seal(Segment::Body, 0, &mut bytes, 0);
    bytes
}

fn configuration() {
    let object = Config::new(REPOSITORY, TIME).encode(&STRANGER);
    save("config", "whole", &object);
    save("config", "map", &object[8..object.len() - 32]);
    for (name, kdf) in [("direct", Kdf::Direct), ("argon2id", Kdf::Argon2id { memory_kib: 8, passes: 1, lanes: 1 })] {
        let secret = Secret::generate(Entropy([9; 32]));
        let slot = Slot::create(&STRANGER, &secret, kdf, "seed", TIME, REPOSITORY, Entropy([4; 32]));
        save("slot", name, &slot.expect("a slot").encode());
    }
}

fn objects() {
    let sealed = seal_object(&STRANGER.seal_key(REPOSITORY), ObjectKind::Snapshot, Entropy([2; 32]), b"plain");
    for action in 0..4u8 {
        save("object", &format!("action-{action}"), &[&[3, action, 50, 0, 0, 0], &sealed[..]].concat());
    }
}

fn packs() {
    let plain = b"lorem ipsum dolor sit amet ".repeat(40);
    let (encoding, stored) = Encoder::new(3).expect("level 3").encode(&plain, true, Vec::new());
    assert_eq!(encoding, Encoding::Zstd);
    let head = |encoding: Encoding, len: usize| [&[encoding as u8], &(len as u32).to_le_bytes()[..]].concat();
    save("frame", "zstd", &[&head(encoding, plain.len()), &stored[..]].concat());
    save("frame", "raw", &[&head(Encoding::Raw, plain.len()), &plain[..]].concat());

    let chunk = |byte: u8, len| FrameChunk { id: ChunkId::from_bytes([byte; 20]), len };
    let mut builder = PackBuilder::new(PackKind::Data, &STRANGER.seal_key(REPOSITORY), Entropy([5; 32]), Vec::new());
    builder.push(Frame { encoding, plain_len: 1080, stored, chunks: vec![chunk(1, 80), chunk(2, 1000)] });
    let raw = Frame { encoding: Encoding::Raw, plain_len: 3, stored: b"raw".to_vec(), chunks: vec![chunk(3, 3)] };
    builder.push(raw);
    let info = builder.finish().info;
    save("footer", "pack", &footer(&info));
    let supersedes = vec![FragmentId::from_bytes([6; 32])];
    let fragment = Fragment { packs: vec![info.clone(), info], supersedes, made: None };
    save("fragment", "packs", &fragment.encode());
    save("fragment", "merged", &Fragment { made: Some(TIME), ..fragment }.encode());
    save("fragment", "empty", &Fragment::default().encode());
}

/// What the target `footer` takes. The plain footer has the fields 1 and 3 of a pack's description under the keys 0
/// and 1.
fn footer(info: &PackInfo) -> Vec<u8> {
    let mut plain = Vec::new();
    let mut e = minicbor::Encoder::new(&mut plain);
    e.map(2).and_then(|e| e.u8(0)?.encode(info.kind)?.u8(1)?.encode(&info.frames)).expect("a Vec takes every byte");
    let length = info.size - info.footer_offset() - TRAILER_LEN as u64;
    [&[0], &info.size.to_le_bytes()[..], &length.to_le_bytes(), &plain].concat()
}

fn chunk(number: u32) -> Piece {
    let mut id = [0; 20];
    id[16..].copy_from_slice(&number.to_be_bytes());
    Piece::Chunk { id: ChunkId::from_bytes(id), len: 1 + number }
}

fn manifests() {
    // A list of pieces that needs a tree, and a manifest whose last blocks name it.
    let mut blocks = Blocks::default();
    let mut writer = PieceWriter::new();
    for number in 0..100 {
        let piece = if number % 50 == 0 { Piece::Hole { len: 1 << 33 } } else { chunk(number) };
        writer.push(piece, &mut blocks).expect("a piece");
    }
    let content = writer.finish(&mut blocks).expect("a list of pieces");
    let Content::Tree { height, pieces, .. } = content else { panic!("100 pieces need a tree") };
    save("manifest", "pieces", &blocks.to_bytes(height, pieces));

    let mut blocks = Blocks::default();
    let root = write(&mut blocks, &kinds());
    save("manifest", "kinds", &blocks.to_bytes(root.height, root.entries));
    let mut blocks = Blocks::default();
    let many: Vec<_> = (0..200).map(|n| entry(&format!("d{}/f{:03}", n / 80, n), Node::Fifo)).collect();
    let root = write(&mut blocks, &many);
    assert!(root.height > 0, "200 entries need a tree");
    save("manifest", "many", &blocks.to_bytes(root.height, root.entries));

    let mut blocks = Blocks::default();
    write(&mut blocks, &kinds());
    let mut writer = PieceWriter::new();
    (0..40).for_each(|number| writer.push(chunk(number), &mut blocks).expect("a piece"));
    writer.finish(&mut blocks).expect("a list of pieces");
    write(&mut blocks, &many);
    let mut saved = BTreeMap::new();
    for block in blocks.iter() {
        let name = match decode_block(block).expect("a block that was written") {
            Block::Entries(entries) if entries[0].node == Node::Fifo => "entries-same",
            Block::Entries(_) => "entries-kinds",
            Block::Pieces(_) => "pieces",
            Block::Inner { .. } => "inner",
        };
        saved.entry(name).or_insert(block);
    }
    saved.into_iter().for_each(|(name, block)| save("block", name, block));
}

/// A leaf for each mode of a restore: links and what stands below them, and names that lead to the traps.
fn restores() {
    let link = |path: &str, target: &str| entry(path, Node::Symlink { target: target.into() });
    let empty = |path: &str| entry(path, file(Class::Structured, Content::Inline(Vec::new()), false));
    let mut entries = vec![
        entry("", Node::Directory),
        entry("a", Node::Directory),
        empty("a/secret"),
        empty("b"),
        link("c", "../outside"),
        empty("c/secret"),
        entry("d", Node::Fifo),
        link("e", "c/secret"),
        empty("f"),
    ];
    entries.last_mut().expect("there are entries").link_of = Some(b"c/secret".to_vec());
    let mut blocks = Blocks::default();
    write(&mut blocks, &entries);
    for (mode, name) in ["new", "kept", "deleted", "exchanged"].into_iter().enumerate() {
        let leaf = blocks.iter().next().expect("one leaf");
        save("restore", name, &[&[mode as u8], leaf].concat());
    }
}

fn write(blocks: &mut Blocks, entries: &[Entry]) -> manifest::Root {
    let mut writer = ManifestWriter::new();
    entries.iter().for_each(|entry| writer.push(entry, blocks).expect("a sorted entry"));
    writer.finish(blocks).expect("a manifest")
}

fn entry(path: &str, node: Node) -> Entry {
    let mtime = TIME;
    let meta = Meta { mode: 0o644, uid: 1000, gid: 100, mtime, ctime: mtime, inode: 77, links: 1, xattrs: Vec::new() };
    Entry { path: path.as_bytes().to_vec(), meta, node, link_of: None }
}

fn file(class: Class, content: Content, racy: bool) -> Node {
    let size = match &content {
        Content::Inline(pieces) => pieces.iter().map(Piece::len).sum(),
        _ => 9999,
    };
    Node::File(File { size, class, content, racy })
}

/// One entry of each kind.
fn kinds() -> Vec<Entry> {
    let inline = Content::Inline(vec![chunk(1), Piece::Hole { len: 1 << 40 }, chunk(2)]);
    let tree = Content::Tree { root: ChunkId::from_bytes([0; 20]), height: 0, pieces: 40 };
    let mut entries = vec![
        entry("", Node::Directory),
        entry("a", file(Class::Pages { page: 8192 }, inline, true)),
        entry("b", file(Class::Opaque, tree, false)),
        entry("c", file(Class::Structured, Content::Missing, false)),
        entry("d", Node::Directory),
        entry("d/char", Node::CharDevice { major: 1, minor: 3 }),
        entry("d/disk", Node::BlockDevice { major: 8, minor: 0 }),
        entry("e", Node::Symlink { target: b"d/char".to_vec() }),
        entry("f", Node::Socket),
        entry("g", file(Class::Structured, Content::Inline(Vec::new()), false)),
        entry("h", file(Class::Structured, Content::Inline(Vec::new()), false)),
    ];
    let last = entries.last_mut().expect("there are entries");
    last.link_of = Some(b"g".to_vec());
    last.meta.xattrs = vec![Xattr { name: b"user.a".to_vec(), value: b"1".to_vec() }];
    last.meta.ctime.seconds += 1;
    entries
}

fn records() {
    let problem = Problem { path: b"a/b".to_vec(), kind: ProblemKind::Changed, message: "it grew".to_owned() };
    let snapshot = Snapshot {
        instance: "cust01".to_owned(),
        host: "host".to_owned(),
        user: "user".to_owned(),
        program: "icecore".to_owned(),
        tags: vec!["tag".to_owned()],
        roots: vec![Root { name: "base".to_owned(), path: b"/srv/base".to_vec() }],
        started: TIME,
        taken: TIME,
        finished: TIME,
        manifest: manifest::Root { id: ChunkId::from_bytes([1; 20]), height: 2, entries: 12345 },
        parent: Some(SnapshotId::from_bytes([2; 32])),
        users: BTreeMap::from([(0, "root".to_owned()), (1000, "user".to_owned())]),
        groups: BTreeMap::from([(0, "root".to_owned())]),
        totals: Totals { entries: 12345, files: 12000, bytes: 1 << 33, ..Totals::default() },
        verdict: Verdict::Fuzzy,
        receipt: Some(Receipt {
            freezer: "command".to_owned(),
            requested: TIME,
            frozen: TIME,
            listed: TIME,
            thawed: TIME,
            window_ms: 812,
            predicted_ms: Some(700),
            hot_files: 3,
            hot_bytes: 70_000,
            capture: "hold".to_owned(),
            thawed_by: ThawedBy::Engine,
            violations: vec![problem.clone()],
            awake: Some("it said that it was at work".to_owned()),
        }),
        problems: vec![problem],
        problem_count: 1,
        excludes: vec!["*.tmp".to_owned()],
        protected_until: Some(TIME),
        corrects: None,
        origin: None,
        exclude_caches: false,
        one_file_system: false,
    };
    save("snapshot", "full", &snapshot.encode().expect("a valid record"));
    let least = Snapshot { receipt: None, parent: None, problems: Vec::new(), problem_count: 0, ..snapshot };
    save("snapshot", "least", &least.encode().expect("a valid record"));
}
