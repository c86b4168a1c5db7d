//! Reads frames, each once, verifies what is needed of them and scatters it over the files; and copies what stands already.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crossbeam_channel::Receiver;
use icecore_repo::ChunkReader;
use icecore_repo::index::{FrameLocation, Location};
use icecore_source::target::TargetFile;

use super::examine::holds;
use super::file::FileWork;
use super::plan::{FramePlan, Held, Write};
use super::segment::{Copy, Source, Task, Work};
use super::site::Site;
use crate::archive::Archive;
use crate::error::{Result, reason};

/// Bytes of an opened frame that no pack has, and why.
type Lost = (Range<u32>, String);

/// Does tasks until there are none or the restore is stopped.
pub(super) fn work(archive: &Archive, site: &Site<'_>, tasks: &Receiver<Task>) -> Result<()> {
    let reader = archive.reader()?;
    let (mut plain, mut copier) = (Vec::new(), Copier::default());
    for Task { segment, work } in tasks {
        site.check()?;
        match work {
            Work::Frame(frame) => {
                let frame = &segment.frames[frame];
                let lost = read(&reader, frame, &mut plain)?;
                site.tally.fetched(frame.frame.stored.into());
                for writes in frame.files() {
                    let file = &segment.files[writes[0].file as usize];
                    scatter(site, file, writes, &plain, &lost)?;
                    file.release(site)?;
                }
            }
            Work::Copies(range) => {
                let file = &segment.files[segment.copies[range.start].file as usize];
                for copy in &segment.copies[range] {
                    copier.copy(site, &reader, file, copy)?;
                }
                file.release(site)?;
            }
        }
    }
    Ok(())
}

/// Copies chunks that stand in a tree; one for each thread.
#[derive(Debug, Default)]
pub(super) struct Copier {
    buffer: Vec<u8>,
    /// The file that was read last.
    source: Option<(Source, TargetFile)>,
}

impl Copier {
    /// Takes a chunk from where it should stand, if it does, and fetches it otherwise.
    pub fn copy(&mut self, site: &Site<'_>, reader: &ChunkReader, file: &Arc<FileWork>, copy: &Copy) -> Result<()> {
        if site.rehearsal {
            site.tally.reused(copy.len.into());
            return Ok(());
        }
        // What cannot be opened or read does not hold it.
        let stands = match &copy.from {
            None => {
                let holds = |own: &TargetFile| holds(site.key, own, copy.at, &copy.chunk, copy.len, &mut self.buffer);
                file.inspect(site, holds).unwrap_or(false)
            }
            Some(from) => {
                if self.source.as_ref().is_none_or(|(known, _)| known != from) {
                    let tree = site.trees.get(from.0).and_then(Option::as_ref);
                    let opened = tree.and_then(|tree| tree.open_standing(&from.1).ok());
                    self.source = opened.map(|opened| (from.clone(), opened));
                }
                let source = self.source.as_ref();
                source.is_some_and(|(_, source)| {
                    holds(site.key, source, copy.at, &copy.chunk, copy.len, &mut self.buffer).unwrap_or(false)
                })
            }
        };
        if stands {
            site.tally.reused(copy.len.into());
            if copy.from.is_none() {
                site.progress.bytes.fetch_add(copy.len.into(), Ordering::Relaxed);
                return Ok(());
            }
            return file.write(site, std::iter::once((copy.to, &self.buffer[..copy.len as usize])));
        }
        match reader.locate(&copy.chunk).and_then(|places| Ok((places, reader.chunk(&copy.chunk)?))) {
            Ok((places, bytes)) if bytes.len() == copy.len as usize => {
                site.tally.fetched(places.first().map_or(0, |at| at.frame.stored.into()));
                file.write(site, std::iter::once((copy.to, &bytes[..])))
            }
            Ok(_) => {
                file.lose(format!("chunk {} is not {} bytes", copy.chunk, copy.len));
                Ok(())
            }
            Err(error) if error.is_damage() => {
                file.lose(reason(&error));
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Opens a frame and verifies the chunks that are needed; what is damaged is taken from other packs that have it.
pub(super) fn read(reader: &ChunkReader, frame: &FramePlan, plain: &mut Vec<u8>) -> Result<Vec<Lost>> {
    let (mut lost, mut mended) = (Vec::new(), false);
    let unopened = match reader.read_frame(&frame.frame, plain) {
        Ok(()) => None,
        Err(error) if error.is_damage() => {
            reader.look_again(&error, &frame.frame.pack)?;
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
        if mend(reader, &frame.frame, held, plain)? {
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

/// Puts a chunk's bytes from another place into a frame's; false if there is none, or none that has it whole.
fn mend(reader: &ChunkReader, frame: &FrameLocation, held: &Held, plain: &mut [u8]) -> Result<bool> {
    let range = held.offset as usize..held.offset as usize + held.len as usize;
    let Some(gap) = plain.get_mut(range) else { return Ok(false) };
    let found = reader.locate(&held.chunk).and_then(|places| {
        let elsewhere = places.iter().any(|at| at.frame != *frame);
        if elsewhere { reader.chunk(&held.chunk).map(Some) } else { Ok(None) }
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
