//! A whole tree of blocks, read in every way there is. The form of the input stands in `src/tree.rs`.
#![no_main]

use icecore_format::entry::{Content, Entry, Node, compare_paths};
use icecore_format::manifest::{ManifestReader, Root, pieces};
use icecore_fuzz::tree::Blocks;
use libfuzzer_sys::fuzz_target;

/// Pieces read of one list: two blocks that name one child often enough stand for more than anyone can read.
const PIECES: usize = 2000;

/// Paths that are looked for again.
const PATHS: usize = 8;

fuzz_target!(|data: &[u8]| {
    let Some((root, blocks)) = Blocks::parse(data) else { return };
    read_pieces(&blocks, &Content::Tree { root: root.id, height: root.height, pieces: root.entries });
    read_entries(&blocks, &root);
});

fn read_pieces(blocks: &Blocks, content: &Content) {
    let mut read = 0;
    let mut whole = true;
    for piece in pieces(blocks, content).take(PIECES) {
        read += 1;
        whole &= piece.is_ok_and(|piece| !piece.is_empty());
    }
    if let Content::Tree { pieces, .. } = content
        && whole
        && read < PIECES
    {
        assert_eq!(*pieces, read as u64);
    }
}

fn read_entries(blocks: &Blocks, root: &Root) {
    let reader = ManifestReader::new(blocks, root);
    let mut entries = Vec::new();
    let mut whole = true;
    for entry in reader.entries() {
        match entry {
            Ok(entry) => entries.push(entry),
            Err(_) => whole = false,
        }
    }
    assert!(entries.is_sorted_by(|a, b| compare_paths(&a.path, &b.path).is_lt()), "entries out of order");
    if whole {
        assert_eq!(root.entries, entries.len() as u64);
    }

    let step = entries.len().div_ceil(PATHS).max(1);
    for (at, entry) in entries.iter().enumerate().step_by(step) {
        let path = &entry.path;
        assert_eq!(reader.get(path).ok().flatten().as_ref(), Some(entry), "not found where it stands");
        if let Node::File(file) = &entry.node {
            read_pieces(blocks, &file.content);
        }
        // What is damaged is damaged whichever way it is met; only whole trees must agree in everything.
        if whole {
            let parent = path.iter().rposition(|&byte| byte == b'/').map_or(&[][..], |slash| &path[..slash]);
            let is_below = |entry: &&Entry, top: &[u8]| below(top, &entry.path).is_some();
            assert!(reader.entries_from(path).flatten().eq(entries[at..].iter().cloned()));
            let expected = entries.iter().filter(|entry| entry.path == *path || is_below(entry, path));
            assert!(reader.subtree(path).flatten().eq(expected.cloned()));
            let expected =
                entries.iter().filter(|entry| below(parent, &entry.path).is_some_and(|rest| !rest.contains(&b'/')));
            assert!(reader.children(parent).flatten().eq(expected.cloned()));
        }
    }
}

/// The part of `path` below the directory `top`.
fn below<'p>(top: &[u8], path: &'p [u8]) -> Option<&'p [u8]> {
    match top {
        [] => Some(path).filter(|path| !path.is_empty()),
        _ => path.strip_prefix(top)?.strip_prefix(b"/"),
    }
}
