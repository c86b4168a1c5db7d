//! Packs: those that the index names against those of the store, and what stands in them.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use icecore_format::frame::{Decoder, FrameChunk};
use icecore_format::id::PackId;
use icecore_format::pack::{FrameInfo, PackInfo, PackKind, PackOpener, TRAILER_LEN};
use icecore_format::seal::{HEADER_LEN, OpenKey};
use icecore_store::Key;

use super::{CheckOptions, CheckReport, CheckStep, Watch, foreign};
use crate::error::{Error, Result};
use crate::index::{FrameLocation, Held, Index};
use crate::layout;
use crate::objects;
use crate::reader::read_footer;
use crate::repository::Repository;

const HEALS: &str = "The index forgot what is lost; the next backup stores again what the live files still have of it. \
     If a copy of the repository has this object, put that back and run icecore rebuild-index.";

/// A pack that is to be read whole.
struct Suspect {
    id: PackId,
    kind: PackKind,
    /// As the index says.
    expected: u64,
    /// As the store says.
    size: u64,
    /// It was once opened to its last chunk. As long as its bytes hash to its name, that cannot end otherwise.
    opened_before: bool,
}

/// What reading a pack whole showed.
enum Examined {
    /// Nothing is wrong with what the index knows of it.
    Whole {
        /// That is all of it, and every frame was opened, now or before.
        opened: bool,
    },
    /// A sentence, the frames that are lost, and whether the index rather than the pack is wrong.
    Damaged { message: String, lost: Vec<u32>, index: bool },
    /// The store does not have it any more.
    Gone,
    /// Nothing is known of it, so nothing is forgotten.
    Unread(String),
}

pub(super) fn check(
    repository: &Repository,
    index: &Index,
    options: CheckOptions,
    watch: Watch<'_>,
    report: &mut CheckReport,
) -> Result<()> {
    let indexed = index.packs()?;
    let mut stored = HashMap::new();
    repository.store().list(layout::PACKS, &mut |listed| {
        match layout::id_of::<PackId>(&listed.key) {
            Some(id) => drop(stored.insert(id, listed.size)),
            None => foreign(report, &listed.key),
        }
        Ok(())
    })?;
    report.packs = indexed.len() as u64;
    let verified = index.verified()?;
    let (mut missing, mut present) = (Vec::new(), Vec::with_capacity(indexed.len()));
    // Once more: what a prune deleted meanwhile is marked.
    index.learn_marks(repository)?;
    let marked = index.marked()?;
    for (id, kind, expected) in indexed {
        match stored.remove(&id) {
            None if marked.contains(&id) => {}
            Some(size) if marked.contains(&id) => {
                report.marked_packs = (report.marked_packs.0 + 1, report.marked_packs.1 + size);
            }
            None => missing.push(id),
            Some(size) => {
                let opened_before = verified.contains_key(&id);
                present.push(Suspect { id, kind, expected, size, opened_before });
            }
        }
    }
    let suspects = choose(present, &verified, options.read_percent);
    report.orphans = stored.into_keys().collect();
    report.orphans.sort();
    let Examinations { lost, sound, gone } = examine_all(repository, index, options, &suspects, watch, report)?;
    missing.extend(gone);
    let missing = still_named(repository, index, missing)?;
    for id in &missing {
        let message = "the index names this pack, but the store does not have it".to_owned();
        report.find("I3", layout::pack(id), message, HEALS);
    }
    report.forgotten_packs = missing.len() as u64;
    index.forget_packs(&missing)?;
    report.forgotten_frames = lost.len() as u64;
    index.forget_frames(&lost)?;
    if options.read_percent == 0 {
        return Ok(());
    }
    index.mark_verified(&sound, options.now.seconds)?;
    let verified = index.verified()?;
    report.never_verified = index.packs()?.iter().filter(|(id, ..)| !verified.contains_key(id)).count() as u64;
    report.verified_since = verified.into_values().min();
    Ok(())
}

/// Of packs that the store does not have, those that no prune took since the fragments were listed.
fn still_named(repository: &Repository, index: &Index, gone: Vec<PackId>) -> Result<Vec<PackId>> {
    if gone.is_empty() {
        return Ok(gone);
    }
    index.sync(repository)?;
    index.learn_marks(repository)?;
    let marked = index.marked()?;
    let named: HashSet<PackId> = index.packs()?.into_iter().map(|(id, ..)| id).collect();
    Ok(gone.into_iter().filter(|id| named.contains(id) && !marked.contains(id)).collect())
}

/// The packs to read: those whose size is wrong, and of the others the longest-unverified until their bytes are the share
/// that is asked for.
fn choose(mut present: Vec<Suspect>, verified: &HashMap<PackId, i64>, percent: u8) -> Vec<Suspect> {
    let total: u64 = present.iter().map(|pack| pack.size).sum();
    let mut left = u128::from(total) * u128::from(percent.min(100));
    // Stable: of those never verified the oldest is first.
    present.sort_by_key(|pack| (pack.size == pack.expected, verified.get(&pack.id).copied().unwrap_or(i64::MIN)));
    present.retain(|pack| {
        let wanted = left > 0;
        if pack.size == pack.expected {
            left = left.saturating_sub(u128::from(pack.size) * 100);
        }
        wanted || pack.size != pack.expected
    });
    present
}

/// What reading packs whole showed.
#[derive(Default)]
struct Examinations {
    /// Frames, each by its pack and its number.
    lost: Vec<(PackId, u32)>,
    /// Packs in which nothing is wrong.
    sound: Vec<PackId>,
    /// Packs that the store does not have any more.
    gone: Vec<PackId>,
}

/// Reads packs whole, several at a time.
fn examine_all(
    repository: &Repository,
    index: &Index,
    options: CheckOptions,
    suspects: &[Suspect],
    watch: Watch<'_>,
    report: &mut CheckReport,
) -> Result<Examinations> {
    let bytes = suspects.iter().map(|suspect| suspect.size).sum();
    watch(CheckStep::Packs { count: suspects.len() as u64, bytes })?;
    let open_key = repository.open_key()?;
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    let run = || -> Result<()> {
        let mut examiner = Examiner::new(repository, &open_key)?;
        while let Some(suspect) = suspects.get(next.fetch_add(1, Ordering::Relaxed)) {
            // What has the wrong size is looked at in any case.
            if suspect.size == suspect.expected && options.until.is_some_and(|until| Instant::now() >= until) {
                break;
            }
            let examined = examiner.examine(suspect, index)?;
            results.lock().unwrap_or_else(PoisonError::into_inner).push((suspect, examined));
            watch(CheckStep::Pack { bytes: suspect.size })?;
        }
        Ok(())
    };
    let ended = thread::scope(|scope| {
        let threads: Vec<_> = (0..options.threads.max(1)).map(|_| scope.spawn(run)).collect();
        // Every thread is waited for, and the first failure counts.
        let ends: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
        ends.into_iter().try_for_each(|end| end.map_err(|_| Error::WorkerPanicked)?)
    });
    ended?;
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(suspect, _)| suspect.id);
    let mut all = Examinations::default();
    for (suspect, examined) in results {
        report.packs_read += 1;
        report.bytes_read += suspect.size;
        let object = layout::pack(&suspect.id);
        match examined {
            Examined::Whole { opened } => all.sound.extend(opened.then_some(suspect.id)),
            Examined::Damaged { message, index: true, .. } => {
                report.find("I9", object, message, "Run icecore rebuild-index.");
            }
            Examined::Damaged { message, lost, .. } => {
                report.find("I1", object, message, HEALS);
                all.lost.extend(lost.into_iter().map(|ordinal| (suspect.id, ordinal)));
            }
            Examined::Gone => all.gone.push(suspect.id),
            Examined::Unread(message) => {
                report.find("I1", object, message, "See to the store, then check again.");
            }
        }
    }
    Ok(all)
}

/// Reads packs on one thread.
struct Examiner<'a> {
    repository: &'a Repository,
    open_key: &'a OpenKey,
    decoder: Decoder,
    bytes: Vec<u8>,
    plain: Vec<u8>,
}

impl<'a> Examiner<'a> {
    fn new(repository: &'a Repository, open_key: &'a OpenKey) -> Result<Self> {
        Ok(Self { repository, open_key, decoder: Decoder::new()?, bytes: Vec::new(), plain: Vec::new() })
    }

    fn examine(&mut self, suspect: &Suspect, index: &Index) -> Result<Examined> {
        let key = layout::pack(&suspect.id);
        let frames = &index.frames(&suspect.id)?;
        if suspect.opened_before && self.is_as_it_was(suspect, &key, frames) {
            return Ok(Examined::Whole { opened: true });
        }
        if let Err(error) = self.repository.store().get_range(&key, 0..suspect.size, &mut self.bytes) {
            return Ok(if error.is_not_found() { Examined::Gone } else { Examined::Unread(error.to_string()) });
        }
        let is_whole = blake3::hash(&self.bytes).as_bytes() == suspect.id.as_bytes();
        let (lost, footer) =
            match PackOpener::new(self.open_key, suspect.kind, self.bytes.get(..HEADER_LEN).unwrap_or(&[])) {
                Ok(opener) => {
                    let footer = self.footer(suspect, &opener);
                    // What a damaged pack says of itself proves nothing: it may be another one.
                    let held = match &footer {
                        Some(footer) if is_whole => held(footer),
                        _ => index.held(&suspect.id)?,
                    };
                    let held = |frame: &FrameLocation| held.get(&frame.ordinal).map_or(&[][..], Vec::as_slice);
                    let lost = frames.iter().filter(|frame| !self.opens(&opener, frame, held(frame)));
                    (lost.map(|frame| frame.ordinal).collect(), footer)
                }
                Err(_) => (frames.iter().map(|frame| frame.ordinal).collect::<Vec<_>>(), None),
            };
        // Frames that were forgotten because they are damaged are not looked at again.
        let is_all = footer.as_ref().is_some_and(|footer| footer.frames.len() == frames.len());
        if is_whole && footer.is_some_and(|footer| !agrees(&footer, frames, suspect)) {
            let message = "the index says something else of this pack than the pack itself".to_owned();
            return Ok(Examined::Damaged { message, lost: Vec::new(), index: true });
        }
        let unopened = format!("{} of {} frames cannot be read", lost.len(), frames.len());
        let message = match (is_whole, lost.is_empty()) {
            (true, true) => return Ok(Examined::Whole { opened: is_all }),
            (true, false) => format!("its bytes are as they were put, yet {unopened}"),
            (false, _) if suspect.size != suspect.expected => {
                format!("it has {} bytes instead of {}; {unopened}", suspect.size, suspect.expected)
            }
            (false, _) => format!("its bytes do not hash to its name; {unopened}"),
        };
        Ok(Examined::Damaged { message, lost, index: false })
    }

    /// Whether the bytes hash to the name and say of the frames what the index says. Whatever keeps that from being told, reading
    /// the pack whole tells.
    fn is_as_it_was(&mut self, suspect: &Suspect, key: &Key, frames: &[FrameLocation]) -> bool {
        let hash = objects::hash(self.repository.store(), key, suspect.size, &mut self.bytes);
        hash.is_ok_and(|hash| hash.as_bytes() == suspect.id.as_bytes())
            && read_footer(self.repository, self.open_key, &suspect.id, suspect.size)
                .is_ok_and(|footer| footer.frames.len() == frames.len() && agrees(&footer, frames, suspect))
    }

    /// What the pack says of itself, if that can be read.
    fn footer(&self, suspect: &Suspect, opener: &PackOpener) -> Option<PackInfo> {
        let trailer_from = self.bytes.len().checked_sub(TRAILER_LEN)?;
        let mut trailer = self.bytes.get(trailer_from..)?.to_vec();
        let range = opener.footer_range(suspect.size, &mut trailer).ok()?;
        let mut footer = self.bytes.get(range.start as usize..range.end as usize)?.to_vec();
        opener.read_footer(suspect.id, suspect.size, &mut footer).ok()
    }

    /// Whether a frame can be opened, and every chunk in it is what its id says.
    fn opens(&mut self, opener: &PackOpener, frame: &FrameLocation, held: &[Held]) -> bool {
        let end = frame.offset.saturating_add(frame.stored.into());
        let Some(sealed) = self.bytes.get_mut(frame.offset as usize..end as usize) else { return false };
        let Ok(stored) = opener.open_frame(frame.ordinal, sealed) else { return false };
        if self.decoder.decode(frame.encoding, stored, frame.plain, &mut self.plain).is_err() {
            return false;
        }
        held.iter().all(|chunk| {
            let bytes = self.plain.get(chunk.offset as usize..chunk.offset as usize + chunk.len as usize);
            bytes.is_some_and(|bytes| self.repository.id_key().id(bytes) == chunk.id)
        })
    }
}

/// What a pack's footer says of its frames.
fn held(footer: &PackInfo) -> HashMap<u32, Vec<Held>> {
    let chunks_of = |frame: &FrameInfo| {
        let mut offset = 0;
        let held = |chunk: &FrameChunk| {
            let held = Held { id: chunk.id, offset, len: chunk.len };
            offset += chunk.len;
            held
        };
        frame.chunks.iter().map(held).collect()
    };
    (0..).zip(footer.frames.iter().map(chunks_of)).collect()
}

/// Whether every frame that the index knows is as the pack says. Frames that the index forgot do not count.
fn agrees(footer: &PackInfo, frames: &[FrameLocation], suspect: &Suspect) -> bool {
    suspect.size == suspect.expected
        && frames.iter().all(|frame| {
            footer.frames.get(frame.ordinal as usize).is_some_and(|said| {
                (said.stored_len, said.plain_len, said.encoding) == (frame.stored, frame.plain, frame.encoding)
                    && footer.frame_offset(frame.ordinal) == frame.offset
            })
        })
}
