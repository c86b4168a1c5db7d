//! Opened frames, shared by all threads. Each is read once by whoever comes first; the others wait for it.

use std::collections::HashSet;
use std::ops::{Deref, Range};
use std::sync::{Arc, Mutex};

use icecore_format::id::{ChunkId, PackId};
use icecore_repo::index::{FrameLocation, Location};
use icecore_repo::{ChunkReader, Result};

use super::kept::Kept;
use super::lock;

/// Buffers that wait for the next frames. They go round: frames of many sizes that come and go would leave the heap in pieces.
const SPARE: usize = 8;

/// The frames that are kept.
#[derive(Debug)]
pub(super) struct Frames {
    kept: Mutex<Kept<(PackId, u32), Arc<Slot>>>,
    spare: Arc<Spare>,
}

/// Buffers of frames that were let go.
type Spare = Mutex<Vec<Vec<u8>>>;

/// The place of a frame; locked while it is read.
#[derive(Debug, Default)]
struct Slot(Mutex<Option<Arc<Frame>>>);

/// An opened frame.
#[derive(Debug)]
struct Frame {
    plain: Vec<u8>,
    /// Chunks in it that were compared with their ids.
    verified: Mutex<HashSet<ChunkId>>,
    spare: Arc<Spare>,
}

impl Drop for Frame {
    fn drop(&mut self) {
        let mut spare = lock(&self.spare);
        if spare.len() < SPARE {
            spare.push(std::mem::take(&mut self.plain));
        }
    }
}

/// The bytes of a chunk, which hash to its id.
#[derive(Debug)]
pub(super) struct Held {
    frame: Arc<Frame>,
    range: Range<usize>,
}

impl Deref for Held {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.frame.plain[self.range.clone()]
    }
}

impl Frames {
    /// Keeps about `limit` bytes.
    pub fn new(limit: u64) -> Self {
        Self { kept: Mutex::new(Kept::new(limit)), spare: Arc::default() }
    }

    /// A chunk from any pack that has it whole (I5).
    pub fn chunk(&self, reader: &ChunkReader, id: &ChunkId) -> Result<Held> {
        let mut failure = reader.missing(id);
        for location in reader.locate(id)? {
            match self.at(reader, id, &location) {
                Ok(held) => return Ok(held),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    fn at(&self, reader: &ChunkReader, id: &ChunkId, location: &Location) -> Result<Held> {
        let frame = self.frame(reader, &location.frame)?;
        if !lock(&frame.verified).contains(id) {
            reader.verified(id, location, &frame.plain)?;
            lock(&frame.verified).insert(*id);
        }
        let range = location.offset as usize..location.offset as usize + location.len as usize;
        Ok(Held { frame, range })
    }

    fn frame(&self, reader: &ChunkReader, location: &FrameLocation) -> Result<Arc<Frame>> {
        let slot = self.slot(location);
        let mut place = lock(&slot.0);
        if let Some(frame) = &*place {
            return Ok(Arc::clone(frame));
        }
        let mut plain = lock(&self.spare).pop().unwrap_or_default();
        reader.read_frame(location, &mut plain)?;
        let room = plain.capacity() as u64;
        let frame = Arc::new(Frame { plain, verified: Mutex::default(), spare: Arc::clone(&self.spare) });
        *place = Some(Arc::clone(&frame));
        drop(place);
        lock(&self.kept).insert((location.pack, location.ordinal), slot, room);
        Ok(frame)
    }

    fn slot(&self, location: &FrameLocation) -> Arc<Slot> {
        let key = (location.pack, location.ordinal);
        let mut kept = lock(&self.kept);
        kept.get(&key).unwrap_or_else(|| {
            let slot = Arc::<Slot>::default();
            kept.insert(key, Arc::clone(&slot), location.plain.into());
            slot
        })
    }
}
