//! Reading chunks and manifest blocks. Every chunk is compared with its id before it is handed out (I5).

use std::cell::RefCell;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use icecore_format::frame::Decoder;
use icecore_format::id::{ChunkId, PackId};
use icecore_format::manifest::BlockSource;
use icecore_format::pack::{FrameInfo, PackInfo, PackKind, PackOpener, TRAILER_LEN};
use icecore_format::seal::{HEADER_LEN, OpenKey};

use crate::error::{Error, Result};
use crate::index::{ChunkSet, FrameLocation, Index, Location, Lookup};
use crate::layout;
use crate::objects::get_verified;
use crate::repository::Repository;

/// Opened frames that a reader of single chunks keeps: manifest frames are 256 KiB, data frames 1 MiB.
const FRAMES_KEPT: usize = 16;

/// The most that a reader keeps: of manifest frames 64 MiB.
const MOST_KEPT: usize = 256;

/// Opened pack headers kept; each saves a read and a key agreement.
const OPENERS_KEPT: usize = 512;

/// Reads chunks; one for each thread.
pub struct ChunkReader {
    repository: Arc<Repository>,
    open_key: OpenKey,
    lookup: Lookup,
    kept: usize,
    /// Brought up to date before anything is called lost.
    again: Option<Arc<Index>>,
    state: RefCell<State>,
}

struct State {
    openers: HashMap<PackId, Arc<PackOpener>>,
    decoder: Decoder,
    sealed: Vec<u8>,
    frames: VecDeque<(FrameLocation, Arc<[u8]>)>,
    /// Packs for which the index was brought up to date.
    gone: HashSet<PackId>,
    /// The same was done for a chunk that it did not name.
    searched: bool,
}

impl std::fmt::Debug for ChunkReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChunkReader").field("repository", &self.repository).finish_non_exhaustive()
    }
}

impl ChunkReader {
    /// A reader over a synchronised index.
    pub fn new(repository: &Arc<Repository>, index: &Index) -> Result<Self> {
        Ok(Self {
            open_key: repository.open_key()?,
            repository: Arc::clone(repository),
            lookup: index.lookup()?,
            kept: FRAMES_KEPT,
            again: None,
            state: RefCell::new(State {
                openers: HashMap::new(),
                decoder: Decoder::new()?,
                sealed: Vec::new(),
                frames: VecDeque::new(),
                gone: HashSet::new(),
                searched: false,
            }),
        })
    }

    /// Keeps so many opened frames, within bounds.
    pub fn keeping(self, frames: usize) -> Self {
        Self { kept: frames.clamp(FRAMES_KEPT, MOST_KEPT), ..self }
    }

    /// The same, for whoever reads snapshots that came after the fragments were listed, or for longer than packs wait before a prune
    /// deletes what it copied: the index is brought up to date before anything is called lost.
    pub fn looking_again(repository: &Arc<Repository>, index: &Arc<Index>) -> Result<Self> {
        Ok(Self { again: Some(Arc::clone(index)), ..Self::new(repository, index)? })
    }

    /// After an error: whether a pack that it came from is gone and the index has now been brought up to date. Once for each pack.
    pub fn look_again(&self, error: &Error, pack: &PackId) -> Result<bool> {
        let is_gone = matches!(error, Error::Store(error) if error.is_not_found());
        if is_gone && self.state.borrow_mut().gone.insert(*pack) { self.renew() } else { Ok(false) }
    }

    fn renew(&self) -> Result<bool> {
        self.again.as_ref().map_or(Ok(false), |index| index.sync(&self.repository).map(|_| true))
    }

    /// Every place where the chunk stands; [`Error::MissingChunk`] if there is none.
    pub fn locate(&self, chunk: &ChunkId) -> Result<Vec<Location>> {
        let mut locations = self.lookup.locate(chunk)?;
        if locations.is_empty() && !std::mem::replace(&mut self.state.borrow_mut().searched, true) && self.renew()? {
            locations = self.lookup.locate(chunk)?;
        }
        if locations.is_empty() { Err(self.missing(chunk)) } else { Ok(locations) }
    }

    /// Whether a chunk of this length stands in a pack.
    pub(crate) fn holds(&self, chunk: &ChunkId, len: u32) -> Result<bool> {
        self.lookup.holds(chunk, len)
    }

    /// All chunks that stand somewhere, with their lengths, if those are not more than `most`.
    pub(crate) fn all(&self, most: u64) -> Result<Option<ChunkSet>> {
        self.lookup.all(most)
    }

    /// Whether a chunk stands in a pack that no mark names. An index that cannot tell says no.
    pub fn counts_as_stored(&self, chunk: &ChunkId) -> bool {
        self.lookup.contains(chunk).unwrap_or(false)
    }

    /// Reads and opens a frame into `plain`. Its chunks still have to be verified.
    pub fn read_frame(&self, frame: &FrameLocation, plain: &mut Vec<u8>) -> Result<()> {
        let state = &mut *self.state.borrow_mut();
        let key = layout::pack(&frame.pack);
        let damaged = |reason: String| Error::Damaged { object: key.to_string(), reason };
        let opener = match state.openers.get(&frame.pack) {
            Some(opener) => Arc::clone(opener),
            None => {
                self.repository.store().get_range(&key, 0..HEADER_LEN as u64, &mut state.sealed)?;
                let opener = PackOpener::new(&self.open_key, frame.kind, &state.sealed);
                let opener = Arc::new(opener.map_err(|error| damaged(error.to_string()))?);
                if state.openers.len() >= OPENERS_KEPT {
                    state.openers.clear();
                }
                state.openers.insert(frame.pack, Arc::clone(&opener));
                opener
            }
        };
        let range = frame.offset..frame.offset.saturating_add(frame.stored.into());
        let read = self.repository.store().get_range(&key, range, &mut state.sealed).map_err(Error::from);
        let opened = read.and_then(|()| {
            let stored = opener
                .open_frame(frame.ordinal, &mut state.sealed)
                .map_err(|error| damaged(format!("frame {}: {error}", frame.ordinal)))?;
            state
                .decoder
                .decode(frame.encoding, stored, frame.plain, plain)
                .map_err(|error| damaged(format!("frame {}: {error}", frame.ordinal)))
        });
        match opened {
            Err(error) if error.is_loss() && self.is_contradicted(frame, |_| true) => Err(self.wrong_index(frame)),
            opened => opened,
        }
    }

    /// The chunk's bytes out of an opened frame, compared with its id.
    pub fn verified<'p>(&self, chunk: &ChunkId, at: &Location, plain: &'p [u8]) -> Result<&'p [u8]> {
        let range = at.offset as usize..at.offset as usize + at.len as usize;
        match plain.get(range) {
            Some(bytes) if self.repository.id_key().id(bytes) == *chunk => Ok(bytes),
            _ if self.is_contradicted(&at.frame, |says| stands_at(says, chunk, at)) => Err(self.wrong_index(&at.frame)),
            _ => Err(Error::DamagedChunk {
                chunk: *chunk,
                pack: at.frame.pack,
                reason: "its bytes do not hash to its id".to_owned(),
            }),
        }
    }

    /// Whether a pack whose every byte is as it was put says something else of a frame than the index. Asked when something
    /// could not be read: a wrong index looks like damage, and so does another pack in its place.
    fn is_contradicted(&self, frame: &FrameLocation, agrees: impl Fn(&FrameInfo) -> bool) -> bool {
        let key = layout::pack(&frame.pack);
        let Ok(Some(size)) = self.repository.store().size(&key) else { return false };
        let Ok(info) = read_footer(&self.repository, &self.open_key, &frame.pack, size) else { return false };
        let confirmed = info.frames.get(frame.ordinal as usize).is_some_and(|says| {
            (says.stored_len, says.plain_len, says.encoding) == (frame.stored, frame.plain, frame.encoding)
                && info.frame_offset(frame.ordinal) == frame.offset
                && agrees(says)
        });
        !confirmed && get_verified(self.repository.store(), &key, frame.pack.as_bytes()).is_ok()
    }

    fn wrong_index(&self, frame: &FrameLocation) -> Error {
        Error::WrongIndex { path: self.lookup.path().to_owned(), object: layout::pack(&frame.pack).to_string() }
    }

    /// Reads one chunk, from any pack that has it whole.
    pub fn chunk(&self, chunk: &ChunkId) -> Result<Arc<[u8]>> {
        let (mut failure, mut renewed) = (self.missing(chunk), true);
        while std::mem::take(&mut renewed) {
            for location in self.locate(chunk)? {
                match self.chunk_at(chunk, &location) {
                    Ok(bytes) => return Ok(bytes),
                    Err(error) => {
                        renewed |= self.look_again(&error, &location.frame.pack)?;
                        failure = error;
                    }
                }
            }
        }
        Err(failure)
    }

    /// Reads one chunk from this place and no other.
    pub(crate) fn chunk_at(&self, chunk: &ChunkId, at: &Location) -> Result<Arc<[u8]>> {
        let frame = self.frame(&at.frame)?;
        self.verified(chunk, at, &frame).map(Arc::from)
    }

    /// That no pack holds the chunk.
    pub fn missing(&self, chunk: &ChunkId) -> Error {
        Error::MissingChunk { chunk: *chunk, index: self.lookup.path().to_owned() }
    }

    /// An opened frame, from the ones kept if it is among them.
    fn frame(&self, location: &FrameLocation) -> Result<Arc<[u8]>> {
        if let Some((_, plain)) = self.state.borrow().frames.iter().find(|(kept, _)| kept == location) {
            return Ok(Arc::clone(plain));
        }
        let mut plain = Vec::new();
        self.read_frame(location, &mut plain)?;
        let plain: Arc<[u8]> = plain.into();
        let frames = &mut self.state.borrow_mut().frames;
        if frames.len() >= self.kept {
            frames.pop_front();
        }
        frames.push_back((*location, Arc::clone(&plain)));
        Ok(plain)
    }
}

impl BlockSource for ChunkReader {
    type Error = Error;

    fn block(&self, id: &ChunkId) -> Result<Arc<[u8]>> {
        self.chunk(id)
    }
}

/// Whether a frame holds the chunk where the index says.
fn stands_at(frame: &FrameInfo, chunk: &ChunkId, at: &Location) -> bool {
    let mut offset = 0;
    frame.chunks.iter().any(|held| {
        let stands = (held.id, offset, held.len) == (*chunk, at.offset, at.len);
        offset += held.len;
        stands
    })
}

/// Reads what a pack says of itself, without opening its frames.
pub(crate) fn read_footer(repository: &Repository, open_key: &OpenKey, id: &PackId, size: u64) -> Result<PackInfo> {
    let key = layout::pack(id);
    let damaged = |reason: String| Error::Damaged { object: key.to_string(), reason };
    let trailer_from = size.checked_sub(TRAILER_LEN as u64).filter(|from| *from >= HEADER_LEN as u64);
    let Some(trailer_from) = trailer_from else {
        return Err(damaged(format!("{size} bytes are too few for a pack")));
    };
    let store = repository.store();
    let mut header = Vec::new();
    store.get_range(&key, 0..HEADER_LEN as u64, &mut header)?;
    let opener = PackOpener::new(open_key, PackKind::Data, &header)
        .or_else(|_| PackOpener::new(open_key, PackKind::Manifest, &header))
        .map_err(|error| damaged(error.to_string()))?;
    let mut bytes = Vec::new();
    store.get_range(&key, trailer_from..size, &mut bytes)?;
    let range = opener.footer_range(size, &mut bytes).map_err(|error| damaged(error.to_string()))?;
    store.get_range(&key, range, &mut bytes)?;
    opener.read_footer(*id, size, &mut bytes).map_err(|error| damaged(error.to_string()))
}
