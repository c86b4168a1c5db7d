//! One block of a manifest or of a file's list of pieces.
#![no_main]

use icecore_format::entry::{Content, Entry, Node, Piece};
use icecore_format::manifest::{
    Block, EntryFault, ManifestReader, ManifestWriter, PieceWriter, WriteError, block_links, decode_block, pieces,
};
use icecore_fuzz::meter::{justified, within};
use icecore_fuzz::tree::Blocks;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(block) = within(justified(data), || decode_block(data)) else {
        assert!(block_links(data).is_err());
        return;
    };
    let links = block_links(data).expect("a block that decodes");
    match block {
        Block::Inner { branches, .. } => {
            assert!(branches.iter().map(|branch| branch.id).eq(links.blocks));
            assert!(links.chunks.is_empty());
        }
        Block::Pieces(list) => {
            assert!(chunks(&list).eq(links.chunks));
            same_pieces(list);
        }
        Block::Entries(entries) => {
            assert_eq!(entries.iter().filter(|entry| has_tree(entry)).count(), links.blocks.len());
            same_entries(&entries);
        }
    }
});

fn chunks(list: &[Piece]) -> impl Iterator<Item = (icecore_format::id::ChunkId, u32)> {
    list.iter().filter_map(|piece| match *piece {
        Piece::Chunk { id, len } => Some((id, len)),
        Piece::Hole { .. } => None,
    })
}

fn has_tree(entry: &Entry) -> bool {
    matches!(&entry.node, Node::File(file) if matches!(file.content, Content::Tree { .. }))
}

/// What a block says can be written again and reads the same.
fn same_entries(entries: &[Entry]) {
    let mut blocks = Blocks::default();
    let mut writer = ManifestWriter::new();
    for entry in entries {
        match writer.push(entry, &mut blocks) {
            Ok(()) => {}
            // A writer keeps a little room in its largest blocks.
            Err(WriteError::Entry { fault: EntryFault::TooLarge, .. } | WriteError::Sink(_)) => return,
            Err(error) => panic!("{error}"),
        }
    }
    let Ok(root) = writer.finish(&mut blocks) else { return };
    let read: Vec<_> = ManifestReader::new(&blocks, &root).entries().collect::<Result<_, _>>().expect("its own blocks");
    assert_eq!(read, entries);
}

fn same_pieces(list: Vec<Piece>) {
    let mut blocks = Blocks::default();
    let mut writer = PieceWriter::new();
    for piece in &list {
        writer.push(*piece, &mut blocks).expect("decoded pieces are not empty");
    }
    let content = writer.finish(&mut blocks).expect("a block has at most 512 pieces");
    let read: Vec<_> = pieces(&blocks, &content).collect::<Result<_, _>>().expect("its own blocks");
    assert_eq!(read, list);
}
