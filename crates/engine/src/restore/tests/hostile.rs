//! A repository whose writer has the keys and is evil: nothing outside of the target is ever touched.

use std::io::Read;

use icecore_format::id::ChunkId;
use icecore_format::manifest::{self, BlockSink};
use icecore_format::snapshot::Snapshot;
use icecore_repo::Session;
use icecore_testkit::bare_snapshot;
use icecore_testkit::evil::{EvilEntry, leaf};

use super::*;

impl Place {
    /// Stores blocks and chunks as they are, and gives the snapshot whose manifest is the leaf of these entries.
    fn plant(&self, entries: &[EvilEntry], chunks: &[&[u8]]) -> Stored {
        let session = Session::begin(self.archive.repository.clone(), self.archive.index.clone(), 1).unwrap();
        let mut writer = session.writer().unwrap();
        for chunk in chunks {
            writer.store(chunk).unwrap();
        }
        let id = writer.put_block(&leaf(entries)).unwrap();
        writer.finish().unwrap();
        session.close().unwrap();
        let root = manifest::Root { id, height: 0, entries: entries.len() as u64 };
        let roots = vec![icecore_format::snapshot::Root { name: "live".into(), path: b"/nowhere".to_vec() }];
        Stored {
            id: icecore_format::id::SnapshotId::from_bytes([7; 32]),
            snapshot: Snapshot { manifest: root, roots, ..bare_snapshot("test", 0) },
            notes: Default::default(),
        }
    }

    /// Restores in every mode to targets that stand full of traps; everything beside them must stay as it is.
    fn attack(&self, what: &str, entries: &[EvilEntry], chunks: &[&[u8]]) -> Vec<RestoreReport> {
        let stored = self.plant(entries, chunks);
        let arena = TempDir::new_in(self.room.path()).unwrap();
        fs::create_dir(arena.path().join("outside")).unwrap();
        fs::write(arena.path().join("outside/secret"), "secret").unwrap();
        fs::write(arena.path().join("secret"), "secret").unwrap();
        let outside = || contents(&arena.path().join("outside"));
        let before = (outside(), fs::read(arena.path().join("secret")).unwrap());
        let mut reports = Vec::new();
        for (name, mode) in [
            ("new", Mode::New),
            ("in place", Mode::InPlace { delete: true }),
            ("kept", Mode::InPlace { delete: false }),
            ("exchanged", Mode::Exchange),
        ] {
            let target = arena.path().join(name);
            if mode != Mode::New {
                fs::create_dir(&target).unwrap();
                symlink("../outside", target.join("d")).unwrap();
                symlink("../secret", target.join("f")).unwrap();
                fs::hard_link(arena.path().join("secret"), target.join("h")).unwrap();
            }
            let mut job = self.job(&stored, "", "", mode);
            job.destination.to = Some(target);
            // Refusing is as good as restoring what is harmless.
            reports.extend(restore(&self.archive, &job, &Progress::default()).ok());
            let after = (outside(), fs::read(arena.path().join("secret")).unwrap());
            assert_eq!(before, after, "{what}, {name}");
            let mut beside: Vec<_> =
                fs::read_dir(arena.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            beside.retain(|name| !name.to_str().unwrap().contains("exchanged"));
            assert!(beside.len() <= 5, "{what}, {name}: {beside:?}");
        }
        reports
    }
}

#[test]
fn nothing_outside_is_touched() {
    let place = Place::new();
    let key = place.archive.repository.id_key();
    let file = |path: &[u8]| EvilEntry::file(path, key, b"evil");
    let top = || EvilEntry::directory(b"");
    let cases: Vec<(&str, Vec<EvilEntry>)> = vec![
        ("up", vec![top(), file(b"../secret")]),
        ("up and down", vec![top(), EvilEntry::directory(b"x"), file(b"x/../../secret")]),
        ("absolute", vec![top(), file(b"/secret")]),
        ("a NUL", vec![top(), file(b"secret\0")]),
        ("an empty component", vec![top(), file(b"d//secret")]),
        ("here", vec![top(), file(b"./secret")]),
        ("twice", vec![top(), EvilEntry::symlink(b"d", b"../outside"), EvilEntry::directory(b"d"), file(b"d/secret")]),
        ("out of order", vec![top(), file(b"d/secret"), EvilEntry::symlink(b"d", b"../outside")]),
        ("below a link", vec![top(), EvilEntry::symlink(b"d", b"../outside"), file(b"d/secret")]),
        (
            "below a link, a directory",
            vec![top(), EvilEntry::symlink(b"d", b"../outside"), EvilEntry::directory(b"d/x")],
        ),
        (
            "below a link, a link",
            vec![top(), EvilEntry::symlink(b"d", b"../outside"), EvilEntry::symlink(b"d/secret", b"elsewhere")],
        ),
        ("below a file", vec![top(), file(b"d"), file(b"d/secret")]),
        ("over a link", vec![top(), file(b"d"), file(b"f"), file(b"h")]),
        (
            "a directory over a link",
            vec![top(), EvilEntry::directory(b"d"), file(b"d/secret"), EvilEntry::directory(b"f")],
        ),
        (
            "linked to a link",
            vec![top(), EvilEntry::symlink(b"a", b"../secret"), EvilEntry::link(b"b", b"a", key, b"evil")],
        ),
        (
            "linked below a link",
            vec![top(), EvilEntry::symlink(b"d", b"../outside"), EvilEntry::link(b"e", b"d/secret", key, b"evil")],
        ),
        ("linked to nothing", vec![top(), EvilEntry::link(b"e", b"a", key, b"evil")]),
        ("no top", vec![file(b"d/secret")]),
        ("a top that is a link", vec![EvilEntry::symlink(b"", b"../outside"), file(b"secret")]),
        ("a top that is a file", vec![file(b""), file(b"secret")]),
    ];
    for (what, entries) in cases {
        place.attack(what, &entries, &[b"evil"]);
    }
}

#[test]
fn lies_about_sizes_cost_neither_memory_nor_room() {
    let place = Place::new();
    let key = place.archive.repository.id_key();
    let chunk = key.id(b"evil");
    let good = EvilEntry::file(b"z", key, b"evil");
    let top = || EvilEntry::directory(b"");
    for (what, entry) in [
        ("a chunk of 4 GiB", EvilEntry::sized(b"a", u64::from(u32::MAX), &[u32::MAX.into()], chunk)),
        ("a chunk that is longer", EvilEntry::sized(b"a", 4000, &[4000], chunk)),
        ("a hole of 8 EiB", EvilEntry::sized(b"a", i64::MAX as u64 + 3, &[-i64::MAX, 4], chunk)),
        ("a tree that is no tree", EvilEntry::treed(b"a", 1 << 40, chunk, 0, 1 << 30)),
        ("a tree that is missing", EvilEntry::treed(b"a", 1 << 40, ChunkId::from_bytes([9; 20]), 15, u64::MAX)),
    ] {
        for report in place.attack(what, &[top(), entry, good.clone()], &[b"evil"]) {
            // The manifest's own rules may refuse the block; what is read of it is exact.
            let named =
                report.missing.iter().any(|problem| problem.path == b"a" || problem.message.contains("manifest"));
            assert!(named, "{what}: {report:?}");
        }
    }
}

#[test]
fn an_evil_entry_costs_only_itself() {
    let place = Place::new();
    let key = place.archive.repository.id_key();
    let entries = [
        EvilEntry::directory(b""),
        EvilEntry::symlink(b"d", b"../outside"),
        EvilEntry::file(b"d/secret", key, b"evil"),
        EvilEntry::file(b"good", key, b"good"),
    ];
    for report in place.attack("below a link", &entries, &[b"evil", b"good"]) {
        assert_eq!((missing(&report), report.files), (vec!["d/secret".to_owned()], 1), "{report:?}");
    }
    let stored = place.plant(&entries, &[b"evil", b"good"]);
    place.restore(&stored, "", "one").unwrap();
    let mut content = String::new();
    File::open(place.at("one/good")).unwrap().read_to_string(&mut content).unwrap();
    assert_eq!(content, "good");
}
