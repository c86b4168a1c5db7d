//! Which frame holds what, and where it goes: pure, so that it can be looked at without doing it.

use std::collections::HashMap;

use icecore_format::id::{ChunkId, PackId};
use icecore_repo::index::{FrameLocation, Location};

/// A chunk that a file needs, and a place where it stands.
#[derive(Debug, Clone)]
pub(super) struct Need {
    /// The file's number in its segment.
    pub file: u32,
    /// Where the chunk begins in the file, bytes.
    pub to: u64,
    /// The chunk.
    pub chunk: ChunkId,
    /// Where it stands.
    pub at: Location,
}

/// A chunk inside a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Held {
    /// First byte in the plain frame.
    pub offset: u32,
    /// Bytes.
    pub len: u32,
    /// Its id.
    pub chunk: ChunkId,
}

/// Consecutive bytes that go from a frame into a file in one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Write {
    /// The file's number in its segment.
    pub file: u32,
    /// First byte in the file.
    pub to: u64,
    /// First byte in the plain frame.
    pub from: u32,
    /// Bytes.
    pub len: u32,
}

/// What is done with one frame, which is read and opened once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FramePlan {
    /// The frame.
    pub frame: FrameLocation,
    /// What has to be verified in it, sorted, each once.
    pub chunks: Vec<Held>,
    /// Sorted by file and place, so that the parts of a file stand together.
    pub writes: Vec<Write>,
}

impl FramePlan {
    /// The writes of each file.
    pub fn files(&self) -> impl Iterator<Item = &[Write]> {
        self.writes.chunk_by(|a, b| a.file == b.file)
    }
}

/// Orders what a segment needs by pack (the one that is needed first comes first) and frame.
pub(super) fn plan(mut needs: Vec<Need>) -> Vec<FramePlan> {
    let mut ranks: HashMap<PackId, usize> = HashMap::new();
    for need in &needs {
        let next = ranks.len();
        ranks.entry(need.at.frame.pack).or_insert(next);
    }
    needs.sort_by_cached_key(|need| (ranks[&need.at.frame.pack], need.at.frame.ordinal, need.file, need.to));
    needs.chunk_by(|a, b| a.at.frame == b.at.frame).map(plan_frame).collect()
}

fn plan_frame(needs: &[Need]) -> FramePlan {
    let mut chunks: Vec<_> =
        needs.iter().map(|need| Held { offset: need.at.offset, len: need.at.len, chunk: need.chunk }).collect();
    chunks.sort_unstable();
    chunks.dedup();
    let mut writes: Vec<Write> = Vec::new();
    for &Need { file, to, at, .. } in needs {
        match writes.last_mut() {
            Some(last)
                if (last.file, last.to + u64::from(last.len)) == (file, to)
                    && last.from.checked_add(last.len) == Some(at.offset)
                    && last.len.checked_add(at.len).is_some() =>
            {
                last.len += at.len;
            }
            _ => writes.push(Write { file, to, from: at.offset, len: at.len }),
        }
    }
    FramePlan { frame: needs[0].at.frame, chunks, writes }
}

#[cfg(test)]
mod tests {
    use icecore_format::frame::Encoding;
    use icecore_format::pack::PackKind;

    use super::*;

    fn frame(pack: u8, ordinal: u32) -> FrameLocation {
        let offset = 40 + u64::from(ordinal) * 1000;
        let pack = PackId::from_bytes([pack; 32]);
        FrameLocation { pack, ordinal, kind: PackKind::Data, offset, stored: 1000, plain: 984, encoding: Encoding::Raw }
    }

    fn need(file: u32, to: u64, chunk: u8, frame: FrameLocation, offset: u32) -> Need {
        let at = Location { frame, offset, len: 10 };
        Need { file, to, chunk: ChunkId::from_bytes([chunk; 20]), at }
    }

    fn write(file: u32, to: u64, from: u32, len: u32) -> Write {
        Write { file, to, from, len }
    }

    #[test]
    fn frames_come_once_in_pack_order_and_packs_as_they_are_needed() {
        let needs = vec![
            need(0, 0, 1, frame(9, 3), 0),
            need(0, 10, 2, frame(2, 1), 0),
            need(1, 0, 3, frame(9, 0), 0),
            need(2, 0, 1, frame(9, 3), 0),
        ];
        let plans = plan(needs);
        let frames: Vec<_> = plans.iter().map(|plan| plan.frame).collect();
        assert_eq!(frames, [frame(9, 0), frame(9, 3), frame(2, 1)]);
        assert_eq!(plans[1].chunks.len(), 1, "a chunk that two files need is verified once");
        assert_eq!(plans[1].writes, [write(0, 0, 0, 10), write(2, 0, 0, 10)]);
        assert_eq!(plans[1].files().count(), 2);
    }

    #[test]
    fn neighbours_in_file_and_frame_become_one_write() {
        let needs = vec![
            need(0, 20, 3, frame(1, 0), 20),
            need(0, 0, 1, frame(1, 0), 0),
            need(0, 10, 2, frame(1, 0), 10),
            // The same chunk again, elsewhere in the file: behind the others, but from another place.
            need(0, 30, 1, frame(1, 0), 0),
            // Behind a hole.
            need(0, 50, 2, frame(1, 0), 10),
            // Next in the frame, but of another file.
            need(1, 60, 3, frame(1, 0), 20),
        ];
        let [only] = plan(needs).try_into().unwrap();
        assert_eq!(only.writes, [write(0, 0, 0, 30), write(0, 30, 0, 10), write(0, 50, 10, 10), write(1, 60, 20, 10)]);
        assert_eq!(only.chunks.iter().map(|held| held.offset).collect::<Vec<_>>(), [0, 10, 20]);
    }

    #[test]
    fn nothing_is_planned_for_nothing() {
        assert!(plan(Vec::new()).is_empty());
    }
}
