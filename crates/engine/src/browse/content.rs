//! The content of files: whether two have the same, what it is called, and its bytes.

use std::sync::atomic::Ordering::Relaxed;

use icecore_format::entry::{Content, Entry, Node, Piece};
use icecore_format::manifest::{self, BlockSource, ManifestReader, ReadError};

use super::find;
use crate::Stored;
use crate::archive::Archive;
use crate::error::{Error, Result, reason, survive_block};
use crate::progress::{Phase, Progress};

/// Zeros that stand for a hole are handed out in parts of so many bytes.
const ZEROS: usize = 64 << 10;

/// A word for the content of a file that equal content, cut alike, has too: the first digits of a hash of its pieces, or of
/// the name of their tree. `None` for what has no content, or lost it.
pub fn content_name(entry: &Entry) -> Option<String> {
    let Node::File(file) = &entry.node else { return None };
    match &file.content {
        Content::Missing => None,
        Content::Tree { root, .. } => Some(root.short()),
        Content::Inline(pieces) => match pieces.as_slice() {
            [] => None,
            [Piece::Chunk { id, .. }] => Some(id.short()),
            pieces => {
                let mut hasher = blake3::Hasher::new();
                for piece in pieces {
                    hasher.update(&piece.len().to_le_bytes());
                    if let Piece::Chunk { id, .. } = piece {
                        hasher.update(id.as_bytes());
                    }
                }
                Some(hasher.finalize().to_hex()[..8].to_owned())
            }
        },
    }
}

/// Whether two entries have the same content, by the lists of their pieces: no data is read. What was cut otherwise counts
/// as different, and so does lost content.
///
/// # Errors
/// A block of a list that cannot be read before a difference is found.
pub fn same_content<S: BlockSource + ?Sized>(
    source: &S,
    before: &Entry,
    after: &Entry,
) -> std::result::Result<bool, ReadError<S::Error>> {
    let (Node::File(old), Node::File(new)) = (&before.node, &after.node) else { return Ok(true) };
    if old.content == Content::Missing || new.content == Content::Missing || old.size != new.size {
        return Ok(false);
    }
    if old.content == new.content {
        return Ok(true);
    }
    let (mut old, mut new) = (manifest::pieces(source, &old.content), manifest::pieces(source, &new.content));
    loop {
        match (old.next().transpose()?, new.next().transpose()?) {
            (None, None) => return Ok(true),
            (a, b) if a != b => return Ok(false),
            _ => {}
        }
    }
}

/// What of a file could be printed.
#[derive(Debug, PartialEq, Eq)]
pub struct Printed {
    /// Bytes handed out: the beginning of the file, and nothing that it does not have.
    pub bytes: u64,
    /// The size of the file, if it is known.
    pub size: Option<u64>,
    /// Why they are not all, a sentence.
    pub lost: Option<String>,
}

/// Hands out the bytes of the file at `path` in order, each chunk compared with its id before. A hole is zeros. It ends before
/// the first byte that cannot be had.
///
/// # Errors
/// [`Error::NotFound`] if there is nothing, or no file; what `each` says, and what is no damage.
pub fn cat(
    archive: &Archive,
    stored: &Stored,
    path: &[u8],
    progress: &Progress,
    each: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<Printed> {
    let reader = archive.reader()?;
    let found = match find(&ManifestReader::new(&reader, &stored.snapshot.manifest), stored, path) {
        Err(Error::Manifest { source, .. }) => {
            let lost = Some(format!("the part of the manifest that may hold it is lost: {}", reason(&source)));
            survive_block(source)?;
            return Ok(Printed { bytes: 0, size: None, lost });
        }
        found => found?,
    };
    let shown = String::from_utf8_lossy(path);
    let entry = found.ok_or_else(|| Error::NotFound(format!("{} is a directory", stored.id.short())))?;
    let file = match entry.node {
        Node::File(file) => file,
        Node::Directory => return Err(Error::NotFound(format!("\"{shown}\" is a directory: `icecore ls` lists it"))),
        Node::Symlink { target } => {
            let target = String::from_utf8_lossy(&target);
            return Err(Error::NotFound(format!("\"{shown}\" is a symbolic link to \"{target}\"")));
        }
        _ => return Err(Error::NotFound(format!("\"{shown}\" is no file"))),
    };
    progress.expect(0, file.size);
    progress.enter(Phase::Reading);
    let mut printed = Printed { bytes: 0, size: Some(file.size), lost: None };
    if file.content == Content::Missing {
        printed.lost = Some("the snapshot does not have its content: it could not be read, or was lost".to_owned());
        return Ok(printed);
    }
    let zeros = vec![0; ZEROS];
    for piece in manifest::pieces(&reader, &file.content) {
        progress.check()?;
        match piece {
            Err(error) => {
                printed.lost = Some(format!("a part of its list of pieces is lost: {}", reason(&error)));
                survive_block(error)?;
            }
            Ok(Piece::Hole { mut len }) => {
                while len > 0 {
                    progress.check()?;
                    let part = len.min(ZEROS as u64);
                    each(&zeros[..part as usize])?;
                    (printed.bytes, len) = (printed.bytes + part, len - part);
                    progress.bytes.store(printed.bytes, Relaxed);
                }
            }
            Ok(Piece::Chunk { id, len }) => match reader.chunk(&id) {
                Ok(bytes) if bytes.len() as u64 == u64::from(len) => {
                    each(&bytes)?;
                    printed.bytes += u64::from(len);
                    progress.bytes.store(printed.bytes, Relaxed);
                }
                Ok(bytes) => {
                    printed.lost = Some(format!("chunk {id} has {} bytes, and should have {len}", bytes.len()))
                }
                Err(error) if error.is_loss() => printed.lost = Some(error.to_string()),
                Err(error) => return Err(error.into()),
            },
        }
        if printed.lost.is_some() {
            break;
        }
    }
    Ok(printed)
}
