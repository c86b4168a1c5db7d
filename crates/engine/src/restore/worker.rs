//! Reads frames, each once, verifies what is needed of them and scatters it over the files.

use std::ops::Range;
use std::sync::Arc;

use crossbeam_channel::Receiver;
use icecore_repo::ChunkReader;
use icecore_repo::index::Location;

use super::Site;
use super::file::FileWork;
use super::plan::{FramePlan, Held, Write};
use super::segment::Task;
use super::tally::reason;
use crate::archive::Archive;
use crate::error::Result;

/// Bytes of an opened frame that no pack has, and why.
type Lost = (Range<u32>, String);

/// Does tasks until there are none or the restore is stopped.
pub(super) fn work(archive: &Archive, site: &Site<'_>, tasks: &Receiver<Task>) -> Result<()> {
    let reader = archive.reader()?;
    let mut plain = Vec::new();
    for Task { segment, frame } in tasks {
        site.check()?;
        let frame = &segment.frames[frame];
        let lost = read(&reader, frame, &mut plain)?;
        for writes in frame.files() {
            let file = &segment.files[writes[0].file as usize];
            scatter(site, file, writes, &plain, &lost)?;
            file.release(site)?;
        }
    }
    Ok(())
}

/// Opens a frame and verifies the chunks that are needed; what is damaged is taken from other packs that have it.
fn read(reader: &ChunkReader, frame: &FramePlan, plain: &mut Vec<u8>) -> Result<Vec<Lost>> {
    let (mut lost, mut mended) = (Vec::new(), false);
    let unopened = match reader.read_frame(&frame.frame, plain) {
        Ok(()) => None,
        Err(error) if error.is_damage() => {
            plain.clear();
            plain.resize(frame.frame.plain as usize, 0);
            Some(error)
        }
        Err(error) => return Err(error.into()),
    };
    for held in &frame.chunks {
        let at = Location { frame: frame.frame, offset: held.offset, len: held.len };
        let why = match &unopened {
            Some(error) => reason(error),
            None => match reader.verified(&held.chunk, &at, plain) {
                Ok(_) => continue,
                Err(error) => reason(&error),
            },
        };
        if mend(reader, held, plain)? {
            mended = true;
        } else {
            lost.push((held.offset..held.offset.saturating_add(held.len), why));
        }
    }
    if mended {
        // A damaged index may say that chunks overlap: then one was mended at the cost of another.
        for held in &frame.chunks {
            let at = Location { frame: frame.frame, offset: held.offset, len: held.len };
            if let Err(error) = reader.verified(&held.chunk, &at, plain) {
                lost.push((held.offset..held.offset.saturating_add(held.len), reason(&error)));
            }
        }
    }
    Ok(lost)
}

/// Puts a chunk's bytes from another pack into a frame's; false if there is none, or none that has it whole.
fn mend(reader: &ChunkReader, held: &Held, plain: &mut [u8]) -> Result<bool> {
    let range = held.offset as usize..held.offset as usize + held.len as usize;
    let Some(gap) = plain.get_mut(range) else { return Ok(false) };
    let found = reader.locate(&held.chunk).and_then(|places| match places.as_slice() {
        [] | [_] => Ok(None),
        _ => reader.chunk(&held.chunk).map(Some),
    });
    match found {
        Ok(Some(bytes)) if bytes.len() == gap.len() => {
            gap.copy_from_slice(&bytes);
            Ok(true)
        }
        Ok(_) => Ok(false),
        Err(error) if error.is_damage() => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Writes what one file gets from a frame, unless a part of it is lost.
fn scatter(site: &Site<'_>, file: &Arc<FileWork>, writes: &[Write], plain: &[u8], lost: &[Lost]) -> Result<()> {
    let touches = |write: &Write, range: &Range<u32>| {
        write.from < range.end && u64::from(range.start) < u64::from(write.from) + u64::from(write.len)
    };
    let hit = lost.iter().find(|(range, _)| writes.iter().any(|write| touches(write, range)));
    if let Some((_, why)) = hit {
        file.lose(why.clone());
        return Ok(());
    }
    // Verified above, so every range is inside the frame.
    let bytes = |write: &Write| plain.get(write.from as usize..write.from as usize + write.len as usize);
    file.write(site, writes.iter().filter_map(|write| Some((write.to, bytes(write)?))))
}
