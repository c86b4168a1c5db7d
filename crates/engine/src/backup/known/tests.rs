use std::sync::Arc;

use icecore_format::entry::{Content, Entry, File, Meta, Node, PathBytes, Piece, Timestamp};
use icecore_format::manifest::{ManifestWriter, PieceWriter};
use icecore_format::snapshot::{Root, Snapshot};
use icecore_repo::Session;
use icecore_repo::prune::{PruneOptions, prune};
use icecore_testkit::small_repository::{secret, small_repository};
use icecore_testkit::{MemoryStore, bare_snapshot};
use tempfile::TempDir;

use super::{is_stored, pieces};
use crate::Archive;

fn at(seconds: i64) -> Timestamp {
    Timestamp { seconds: 1_700_000_000 + seconds, nanos: 0 }
}

/// Commits a snapshot of files with these chunks; gives their contents, each with a list of its own if it is long.
fn commit(archive: &Archive, files: &[&[u64]]) -> (Vec<Content>, Snapshot) {
    let session = Session::begin(Arc::clone(&archive.repository), Arc::clone(&archive.index), 1).unwrap();
    let (mut writer, mut manifest) = (session.writer().unwrap(), ManifestWriter::new());
    let mut contents = Vec::new();
    for (name, chunks) in files.iter().enumerate() {
        let mut list = PieceWriter::new();
        for chunk in *chunks {
            let bytes = chunk.to_le_bytes().repeat(400);
            let id = writer.store(&bytes).unwrap();
            list.push(Piece::Chunk { id, len: bytes.len() as u32 }, &mut writer).unwrap();
        }
        let content = list.finish(&mut writer).unwrap();
        let file =
            File { size: chunks.len() as u64 * 3200, class: Default::default(), content: content.clone(), racy: false };
        let path: PathBytes = name.to_string().into_bytes();
        let entry = Entry { path, meta: Meta::default(), node: Node::File(file), link_of: None };
        manifest.push(&entry, &mut writer).unwrap();
        contents.push(content);
    }
    let manifest = manifest.finish(&mut writer).unwrap();
    writer.finish().unwrap();
    let roots = vec![Root { name: "root".to_owned(), path: b"/srv".to_vec() }];
    let record = Snapshot { manifest, taken: at(0), roots, ..bare_snapshot("test", 0) };
    session.close().unwrap().commit(&record, &|| at(0)).unwrap();
    (contents, record)
}

#[test]
fn a_list_of_pieces_that_stands_in_marked_packs_alone_is_not_carried_over() {
    let (store, state) = (Arc::new(MemoryStore::new()), TempDir::new().unwrap());
    small_repository(&*store, &secret(1));
    let (archive, _) = Archive::open_at(store, &secret(1), state.path(), at(0)).unwrap();
    let chunks: Vec<u64> = (0..40).collect();
    let long = commit(&archive, &[&chunks]).0.remove(0);
    assert!(matches!(long, Content::Tree { .. }));
    let reader = archive.reader().unwrap();
    assert!(is_stored(&archive.index, &reader, &long));

    let first = archive.catalogue().unwrap().snapshots[0].id;
    icecore_repo::catalogue::forget(&archive.repository, &first).unwrap();
    let options = PruneOptions::new("host");
    assert!(prune(&archive.repository, &archive.index, &options, &|| at(1), &mut |_| Ok(())).unwrap().marked > 0);
    // The chunks are stored again, by files whose lists stand in their entries.
    commit(&archive, &[&chunks[..20], &chunks[20..]]);
    let again = pieces(&reader, &long)
        .all(|piece| matches!(piece, Ok(Piece::Chunk { id, .. }) if reader.counts_as_stored(&id)));
    assert!(again, "the list can be read, and all that it names stands where it may be relied on");
    assert!(!is_stored(&archive.index, &reader, &long), "the list itself does not");
    assert!(commit(&archive, &[&chunks]).0.contains(&long));
    assert!(is_stored(&archive.index, &reader, &long));
}
