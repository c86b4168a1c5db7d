//! How much of each pack something needs: one pass over the index in the order of ids, beside the counts in the same order.
//!
//! It reads no object. In memory stand 24 bytes for each frame, which is 24 MiB for a TiB.

use icecore_format::id::{ChunkId, PackId};
use icecore_format::pack::PackKind;
use rusqlite::Connection;

use super::{Reach, fail_at};
use crate::error::Result;

/// A pack that the index names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackUse {
    /// Its name.
    pub id: PackId,
    /// Data or manifest blocks.
    pub kind: PackKind,
    /// Bytes of the object.
    pub size: u64,
    /// Bytes of `size` that nothing needs: what nobody names, and copies of what stands in another pack.
    pub dead: u64,
    /// Whether it holds anything that is needed, and that is not counted in another pack.
    pub is_live: bool,
    /// Whether it holds anything that is needed, wherever that is counted.
    pub is_needed: bool,
    /// A mark names it.
    pub is_marked: bool,
    /// When a prune met it first, in seconds since 1970.
    pub seen: Option<i64>,
}

/// All packs, and whether they hold all that is needed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// In the order of the index.
    pub packs: Vec<PackUse>,
    /// Something that is needed and stands in no pack that the index names, and how many there are.
    pub missing: Option<(ChunkId, u64)>,
}

/// What is told of a frame while the index is gone through.
struct FrameUse {
    row: i64,
    pack: u32,
    stored: u32,
    plain: u32,
    dead: u32,
}

/// The places of one chunk.
#[derive(Default)]
struct Places {
    id: Option<ChunkId>,
    is_needed: bool,
    /// Frame and length.
    at: Vec<(usize, u32)>,
}

impl Reach {
    /// Tells of every pack what of it is needed. A chunk that stands in several packs counts as live in one: of those
    /// without a mark in the one with the smallest name, so that every host chooses the same.
    pub fn usage(&self) -> Result<Usage> {
        survey(&self.connection).map_err(fail_at(&self.path))
    }

    /// Whether some snapshot needs a chunk or block.
    pub(crate) fn is_needed(&self, id: &ChunkId) -> Result<bool> {
        let sql =
            "SELECT EXISTS(SELECT 1 FROM main.chunks WHERE id = ?1) OR EXISTS(SELECT 1 FROM main.blocks WHERE id = ?1)";
        let needed =
            self.connection.prepare_cached(sql).and_then(|mut find| find.query_row([id.as_bytes()], |row| row.get(0)));
        needed.map_err(fail_at(&self.path))
    }
}

fn survey(connection: &Connection) -> rusqlite::Result<Usage> {
    let (mut packs, mut rows) = (Vec::new(), Vec::new());
    let sql = "SELECT pack, id, kind, size, seen, EXISTS(SELECT 1 FROM idx.marked m WHERE m.pack = p.id)
        FROM idx.packs p ORDER BY pack";
    let mut statement = connection.prepare(sql)?;
    let mut found = statement.query([])?;
    while let Some(row) = found.next()? {
        rows.push(row.get::<_, i64>(0)?);
        packs.push(PackUse {
            id: crate::index::id(row, 1, PackId::from_slice)?,
            kind: crate::index::kind(row, 2)?,
            size: row.get(3)?,
            dead: 0,
            is_live: false,
            is_needed: false,
            is_marked: row.get(5)?,
            seen: row.get(4)?,
        });
    }
    let mut frames = Vec::new();
    let mut statement = connection.prepare("SELECT frame, pack, stored, plain FROM idx.frames ORDER BY frame")?;
    let mut found = statement.query([])?;
    while let Some(row) = found.next()? {
        let Ok(pack) = rows.binary_search(&row.get(1)?) else { continue };
        let pack = pack as u32;
        frames.push(FrameUse { row: row.get(0)?, pack, stored: row.get(2)?, plain: row.get(3)?, dead: 0 });
    }
    let mut usage = Usage { packs, missing: None };
    let mut places = Places::default();
    let sql = "SELECT c.id, c.frame, c.len, EXISTS(SELECT 1 FROM main.chunks l WHERE l.id = c.id)
        OR EXISTS(SELECT 1 FROM main.blocks b WHERE b.id = c.id) FROM idx.chunks c ORDER BY c.id";
    let mut statement = connection.prepare(sql)?;
    let mut found = statement.query([])?;
    while let Some(row) = found.next()? {
        let id = crate::index::id(row, 0, ChunkId::from_slice)?;
        if places.id != Some(id) {
            places.settle(&mut usage.packs, &mut frames);
            places = Places { id: Some(id), is_needed: row.get(3)?, at: std::mem::take(&mut places.at) };
            places.at.clear();
        }
        if let Ok(frame) = frames.binary_search_by_key(&row.get(1)?, |frame| frame.row) {
            places.at.push((frame, row.get(2)?));
        }
    }
    places.settle(&mut usage.packs, &mut frames);
    for frame in frames {
        let share = (u64::from(frame.stored) * u64::from(frame.dead)).checked_div(u64::from(frame.plain));
        usage.packs[frame.pack as usize].dead += share.unwrap_or(0);
    }
    for pack in usage.packs.iter_mut().filter(|pack| !pack.is_live) {
        pack.dead = pack.size;
    }
    usage.missing = missing(connection)?;
    Ok(usage)
}

impl Places {
    /// Counts the chunk in one place, and as dead in the others.
    fn settle(&self, packs: &mut [PackUse], frames: &mut [FrameUse]) {
        let keeper = |(frame, _): &&(usize, u32)| {
            let pack = &packs[frames[*frame].pack as usize];
            (pack.is_marked, pack.id, *frame)
        };
        let kept = if self.is_needed { self.at.iter().min_by_key(keeper).copied() } else { None };
        for (frame, len) in &self.at {
            let frame_use = &mut frames[*frame];
            packs[frame_use.pack as usize].is_needed |= self.is_needed;
            if kept.is_some_and(|(kept, _)| kept == *frame) {
                packs[frame_use.pack as usize].is_live = true;
            } else {
                frame_use.dead = frame_use.dead.saturating_add(*len);
            }
        }
    }
}

/// What is needed and stands nowhere.
fn missing(connection: &Connection) -> rusqlite::Result<Option<(ChunkId, u64)>> {
    // Not UNION, which would make a tree of all ids in memory.
    let sql = "SELECT min(id), count(*) FROM (SELECT id FROM main.chunks UNION ALL
            SELECT b.id FROM main.blocks b WHERE NOT EXISTS(SELECT 1 FROM main.chunks m WHERE m.id = b.id)) n
        WHERE NOT EXISTS(SELECT 1 FROM idx.chunks c JOIN idx.frames f ON f.frame = c.frame WHERE c.id = n.id)";
    connection.query_row(sql, [], |row| match row.get(1)? {
        0_u64 => Ok(None),
        count => Ok(Some((crate::index::id(row, 0, ChunkId::from_slice)?, count))),
    })
}
