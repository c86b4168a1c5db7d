//! Reads back every file that was restored, from the medium where that is possible, and compares each chunk with its hash.

use std::io;
use std::sync::atomic::Ordering::Relaxed;

use crossbeam_channel::{Receiver, bounded};
use icecore_format::entry::{Content, Entry, File, Node, Piece};
use icecore_format::manifest::pieces;
use icecore_repo::ChunkReader;
use icecore_source::target::TargetFile;

use super::examine::MAX_CHUNK;
use super::merge::{Merge, Met, Standing};
use super::site::Site;
use super::{RestoreJob, survive_block};
use crate::archive::Archive;
use crate::error::{Error, Result};

/// What reading past the page cache is aligned to, bytes: no medium has larger sectors.
const SECTOR: u64 = 4096;

/// Files on their way to the threads that read them.
const WAITING: usize = 64;

/// Names what differs among what is missing.
pub(super) fn verify(archive: &Archive, job: &RestoreJob<'_>, site: &Site<'_>) -> Result<()> {
    site.tally.verifies();
    std::thread::scope(|scope| {
        let (sender, files) = bounded::<Entry>(WAITING);
        let mut threads = Vec::new();
        for _ in 0..job.threads.max(1) {
            let files = files.clone();
            threads.push(scope.spawn(move || work(archive, site, &files)));
        }
        drop(files);
        let walked = walk(archive, job, site, |entry| {
            // Fails only when every thread stopped, and then one of them says why.
            let _ = sender.send(entry);
        });
        drop(sender);
        let mut ends = vec![walked];
        for thread in threads {
            ends.push(thread.join().unwrap_or(Err(Error::WorkerPanicked)));
        }
        ends.into_iter().collect()
    })
}

fn walk(archive: &Archive, job: &RestoreJob<'_>, site: &Site<'_>, mut file: impl FnMut(Entry)) -> Result<()> {
    let reader = archive.reader()?;
    let mut merge = Merge::new(&reader, &job.stored.snapshot.manifest, site.selection, &Standing::Nothing);
    while let Some(met) = merge.next()? {
        site.check()?;
        let Met::Entry(entry, _) = met else { continue };
        let has_content = matches!(&entry.node, Node::File(file) if file.content != Content::Missing);
        // A further name is the same file; and what is missing was told already.
        let is_name = entry.link_of.as_ref().is_some_and(|first| site.selection.restores(first));
        if has_content && !is_name && !site.is_lost(&entry.path) {
            file(entry);
        }
    }
    Ok(())
}

fn work(archive: &Archive, site: &Site<'_>, files: &Receiver<Entry>) -> Result<()> {
    let reader = archive.reader()?;
    let mut window = Window::default();
    for entry in files {
        site.check()?;
        let Node::File(File { size, content, .. }) = &entry.node else { continue };
        let read = site.target.open_uncached(site.place(&entry.path));
        let compared = match read {
            Ok((file, direct)) => compare(&reader, site, content, *size, &file, direct, &mut window)?,
            Err(error) => Ok(Some(format!("it could not be opened: {error}"))),
        };
        match compared {
            Ok(None) => {
                site.tally.verified();
                site.progress.done(0);
            }
            Ok(Some(differs)) => site.lose(&entry.path, format!("read back, {differs}")),
            Err(error) => site.lose(&entry.path, format!("it could not be read back: {error}")),
        }
    }
    Ok(())
}

/// Tells where a file differs. The inner error concerns this file alone.
fn compare(
    reader: &ChunkReader,
    site: &Site<'_>,
    content: &Content,
    size: u64,
    file: &TargetFile,
    direct: bool,
    window: &mut Window,
) -> Result<io::Result<Option<String>>> {
    let len = match file.stat() {
        Ok(stat) => stat.size,
        Err(error) => return Ok(Err(error)),
    };
    if len != size {
        return Ok(Ok(Some(format!("it has {len} bytes instead of {size}"))));
    }
    let mut at = 0_u64;
    for piece in pieces(reader, content) {
        site.check()?;
        let piece = match piece {
            Ok(piece) => piece,
            Err(error) => return survive_block(error).map(|()| Ok(Some("its list of chunks is damaged".to_owned()))),
        };
        let same = match piece {
            Piece::Hole { len } => zeros(file, at..at.saturating_add(len).min(size), direct, window),
            Piece::Chunk { len, .. } if len > MAX_CHUNK => Ok(false),
            Piece::Chunk { id, len } => {
                window.read(file, at, len as usize, direct).map(|bytes| site.key.id(bytes) == id)
            }
        };
        match same {
            Ok(true) => {
                at = at.saturating_add(piece.len());
                site.progress.bytes.fetch_add(piece.len(), Relaxed);
            }
            Ok(false) => return Ok(Ok(Some(format!("it differs from byte {at} on")))),
            Err(error) => return Ok(Err(error)),
        }
    }
    Ok(Ok(None))
}

/// Whether a hole reads as zeros. Holes are passed over where the file system knows them.
fn zeros(file: &TargetFile, range: std::ops::Range<u64>, direct: bool, window: &mut Window) -> io::Result<bool> {
    if !direct {
        return file.is_zero(range, window.room(256 << 10));
    }
    let mut at = range.start;
    while let Some(data) = file.next_data(at, range.end)? {
        at = data.start.max(at);
        while at < data.end {
            let len = (data.end - at).min(1 << 20) as usize;
            let bytes = window.read(file, at, len, true)?;
            if bytes.is_empty() || bytes.iter().any(|byte| *byte != 0) {
                return Ok(bytes.is_empty());
            }
            at += bytes.len() as u64;
        }
    }
    Ok(true)
}

/// A buffer that is aligned as the medium wants it.
#[derive(Debug, Default)]
struct Window(Vec<u8>);

impl Window {
    fn room(&mut self, len: usize) -> &mut [u8] {
        let sector = SECTOR as usize;
        if self.0.len() < len + sector {
            self.0.resize(len + sector, 0);
        }
        let from = self.0.as_ptr().align_offset(sector).min(sector);
        &mut self.0[from..from + len]
    }

    /// The bytes of the file from `at` on, fewer at its end.
    fn read(&mut self, file: &TargetFile, at: u64, len: usize, direct: bool) -> io::Result<&[u8]> {
        let start = if direct { at - at % SECTOR } else { at };
        let skip = (at - start) as usize;
        let want = if direct { (skip + len).next_multiple_of(SECTOR as usize) } else { len };
        let room = self.room(want);
        let mut filled = 0;
        while filled < skip + len {
            match file.read_at(start + filled as u64, &mut room[filled..]) {
                Ok(0) => break,
                // Reading on from elsewhere than a sector's begin is only done at the end, where nothing follows.
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) if direct && filled > 0 && !filled.is_multiple_of(SECTOR as usize) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(room.get(skip..filled.min(skip + len)).unwrap_or_default())
    }
}
