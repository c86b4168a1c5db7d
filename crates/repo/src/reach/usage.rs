//! How much of each pack something needs.
//!
//! Kept beside the counts is a note of every place in the index that is not counted as live: chunks that nothing needs, spare copies, and
//! what is needed and stands nowhere. A survey looks again only at what may have changed since the last one:
//!
//! ```text
//! touched   what came to be needed, or stopped (written by the counts, as they change)
//! spare     noted as a spare copy, or as standing nowhere: marks and lost packs decide which copy counts
//! moved     it stands in a frame that was not there the last time, or in one that is gone
//! ```
//! The last are found by reading the ids and frames of the whole index once, in order, without looking anything up.
//! Nothing is deleted on the word of a survey alone: the prune asks of every chunk of a pack whether it is needed before the pack goes.
//! Where so much is unneeded that notes of it would cost more than they save, none are kept, and the next survey is of everything again.
//!
//! It reads no object. In memory stand 36 bytes for each frame, which is 36 MiB for a TiB, and 20 for each chunk that is looked at again.

use icecore_format::id::{ChunkId, PackId};
use icecore_format::pack::PackKind;
use rusqlite::{Connection, OptionalExtension, Statement, Transaction, params};

use super::{Reach, begin, fail_at, is_exact};
use crate::catalogue::Stored;
use crate::error::Result;
use crate::index::Index;

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

/// So many times more chunks than were touched make it worth while to look only at those.
const FEW: u64 = 8;

/// So many chunks that were touched are kept in mind in any case.
const LITTLE: u64 = 10_000;

/// One note for so many chunks at most: where a survey of everything finds more, it keeps none.
const WORTH: u64 = 2;

/// What is told of a frame while the index is gone through.
struct FrameUse {
    row: i64,
    pack: u32,
    stored: u32,
    plain: u32,
    /// Bytes of the chunks that the index still names.
    held: u32,
    dead: u32,
}

/// The frames that are there, in the order of their rows.
struct Frames {
    all: Vec<FrameUse>,
    /// Where each stands, from the first row on: of chunks in the order of their ids every one asks for another frame, and a search
    /// would miss the processor's cache at each step. Empty if the rows are too scattered for that.
    places: Vec<u32>,
}

/// Rows for each frame that is there, at most: what prunes leave.
const SCATTERED: u64 = 8;

/// A frame that is not there.
const GONE: u32 = u32::MAX;

impl Frames {
    fn new(all: Vec<FrameUse>) -> Self {
        let first = all.first().map_or(0, |frame| frame.row);
        let span = all.last().map_or(0, |frame| frame.row.abs_diff(first) + 1);
        let mut places = Vec::new();
        if span <= all.len() as u64 * SCATTERED && all.len() < GONE as usize {
            places.resize(span as usize, GONE);
            for (place, frame) in all.iter().enumerate() {
                places[frame.row.abs_diff(first) as usize] = place as u32;
            }
        }
        Self { all, places }
    }

    /// The number of the frame with a row.
    fn find(&self, row: i64) -> Option<usize> {
        let first = self.all.first()?.row;
        if self.places.is_empty() {
            return self.all.binary_search_by_key(&row, |frame| frame.row).ok();
        }
        let place = *self.places.get(usize::try_from(row.checked_sub(first)?).ok()?)?;
        (place != GONE).then_some(place as usize)
    }
}

/// A place of a chunk, with the number of its frame in the list of those that are there.
#[derive(Clone, Copy)]
struct Spot {
    frame: usize,
    offset: u32,
    len: u32,
}

impl Reach {
    /// Tells of every pack what of it is needed, if the counts are exactly those of `present`: if not, [`Reach::update`] helps. A chunk
    /// that stands in several packs counts as live in one: of those without a mark in the one with the smallest name, so that every host
    /// chooses the same.
    pub fn usage(&mut self, index: &Index, present: &[Stored]) -> Result<Option<Usage>> {
        let fail = fail_at(&self.path);
        self.release()?;
        let (before, identity, last) = index.survey()?;
        let transaction = begin(&mut self.connection).map_err(&fail)?;
        if !is_exact(&transaction, present).map_err(&fail)? {
            return Ok(None);
        }
        let survey = |before| Survey::begin(&transaction, before, last).and_then(|survey| survey.finish(&identity));
        let usage = survey(Some(&before)).map_err(&fail)?;
        if cfg!(debug_assertions) {
            // What is noted stays what a survey of what has changed made of it.
            let whole = transaction.execute_batch("SAVEPOINT whole").and_then(|()| survey(None)).map_err(&fail)?;
            transaction.execute_batch("ROLLBACK TO whole; RELEASE whole").map_err(&fail)?;
            assert_eq!(usage, whole, "what is looked at again is all that has changed");
        }
        transaction.commit().map_err(&fail)?;
        Ok(Some(usage))
    }

    /// Whether some snapshot needs a chunk or block.
    pub(crate) fn is_needed(&self, id: &ChunkId) -> Result<bool> {
        let needed = self.connection.prepare_cached(NEEDED).and_then(|mut find| is_needed(&mut find, id));
        needed.map_err(fail_at(&self.path))
    }
}

const NEEDED: &str =
    "SELECT EXISTS(SELECT 1 FROM main.chunks WHERE id = ?1) OR EXISTS(SELECT 1 FROM main.blocks WHERE id = ?1)";

fn is_needed(find: &mut Statement<'_>, id: &ChunkId) -> rusqlite::Result<bool> {
    find.query_row([id.as_bytes()], |row| row.get(0))
}

/// One pass over the index.
struct Survey<'c> {
    connection: &'c Connection,
    /// Everything is looked at: there are no notes that hold.
    is_whole: bool,
    /// How many more notes are worth while.
    worth: u64,
    /// The last frame that the notes tell of.
    noted: i64,
    /// The last frame that they are to tell of from now on. Later ones may be lost when the power is, and their numbers used again.
    last: i64,
    /// Chunks to look at again, in order, as far as they have not been met.
    waiting: std::iter::Peekable<std::vec::IntoIter<ChunkId>>,
    packs: Vec<PackUse>,
    frames: Frames,
    needed: Statement<'c>,
    note: Statement<'c>,
    erase: Statement<'c>,
}

impl<'c> Survey<'c> {
    /// Begins one in a transaction. The notes hold if they were made when the index was what it was before this survey.
    fn begin(connection: &'c Connection, before: Option<&[u8]>, last: i64) -> rusqlite::Result<Self> {
        let (packs, frames) = packs_and_frames(connection)?;
        let sql = "SELECT frame FROM main.surveyed WHERE identity = ?";
        let noted: Option<i64> = connection.query_row(sql, [before], |row| row.get(0)).optional()?;
        let count = |sql| connection.query_row(sql, [], |row| row.get::<_, u64>(0));
        let known = count("SELECT count(*) FROM main.chunks")?;
        let is_whole = noted.is_none() || count("SELECT count(*) FROM main.touched")? > known / FEW;
        let mut waiting = Vec::new();
        if is_whole {
            connection.execute("DELETE FROM main.notes", [])?;
        } else {
            let sql = "SELECT id FROM main.touched UNION ALL SELECT id FROM main.notes WHERE needed";
            let mut statement = connection.prepare(sql)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                waiting.push(crate::index::id(row, 0, ChunkId::from_slice)?);
            }
            waiting.sort_unstable();
            waiting.dedup();
        }
        Ok(Self {
            connection,
            is_whole,
            worth: if is_whole { known / WORTH } else { u64::MAX },
            noted: noted.unwrap_or(0),
            last,
            waiting: waiting.into_iter().peekable(),
            packs,
            frames: Frames::new(frames),
            needed: connection.prepare(NEEDED)?,
            note: connection.prepare("INSERT INTO main.notes VALUES(?, ?, ?, ?, ?)")?,
            erase: connection.prepare("DELETE FROM main.notes WHERE id = ?")?,
        })
    }

    fn finish(mut self, identity: &[u8]) -> rusqlite::Result<Usage> {
        let mut statement = self.connection.prepare("SELECT id, frame, offset, len FROM idx.chunks ORDER BY id")?;
        let mut rows = statement.query([])?;
        let (mut current, mut has_moved, mut spots) = (None, false, Vec::<Spot>::new());
        while let Some(row) = rows.next()? {
            let id = crate::index::id(row, 0, ChunkId::from_slice)?;
            if current != Some(id) {
                if let Some(met) = current.replace(id) {
                    self.meet(&met, has_moved, &spots)?;
                }
                has_moved = false;
                spots.clear();
            }
            let (frame, len): (i64, u32) = (row.get(1)?, row.get(3)?);
            match self.frames.find(frame) {
                Some(at) => {
                    spots.push(Spot { frame: at, offset: row.get(2)?, len });
                    let held = &mut self.frames.all[at].held;
                    *held = held.saturating_add(len);
                    has_moved |= frame > self.noted;
                }
                None => has_moved = true,
            }
        }
        if let Some(met) = current {
            self.meet(&met, has_moved, &spots)?;
        }
        while let Some(id) = self.waiting.next() {
            self.settle(&id, &[])?;
        }
        if self.is_whole {
            self.note_missing()?;
        }
        self.conclude(identity)
    }

    /// Looks at a chunk again if it may count otherwise than it did.
    fn meet(&mut self, id: &ChunkId, has_moved: bool, spots: &[Spot]) -> rusqlite::Result<()> {
        // Those before it stand nowhere any more.
        while let Some(gone) = self.waiting.next_if(|waiting| waiting < id) {
            self.settle(&gone, &[])?;
        }
        let is_waiting = self.waiting.next_if_eq(id).is_some();
        if self.is_whole || has_moved || is_waiting { self.settle(id, spots) } else { Ok(()) }
    }

    /// Notes where a chunk is not counted as live.
    fn settle(&mut self, id: &ChunkId, spots: &[Spot]) -> rusqlite::Result<()> {
        if !self.is_whole {
            self.erase.execute([id.as_bytes()])?;
        }
        let is_needed = is_needed(&mut self.needed, id)?;
        let keeper = |spot: &&Spot| {
            let pack = &self.packs[self.frames.all[spot.frame].pack as usize];
            (pack.is_marked, pack.id, spot.frame, spot.offset)
        };
        let kept = if is_needed { spots.iter().min_by_key(keeper).copied() } else { None };
        for spot in spots {
            if kept.is_some_and(|kept| (kept.frame, kept.offset) == (spot.frame, spot.offset)) {
                continue;
            }
            if self.is_whole {
                self.add(spot.frame, spot.len, is_needed);
            }
            if self.worth > 0 {
                let frame = self.frames.all[spot.frame].row;
                self.note.execute(params![id.as_bytes(), frame, spot.offset, spot.len, is_needed])?;
                self.worth -= 1;
            }
        }
        // Everything that is missing is asked for at once if everything is looked at.
        if is_needed && spots.is_empty() && !self.is_whole {
            self.note.execute(params![id.as_bytes(), NOWHERE, 0, 0, true])?;
        }
        Ok(())
    }

    /// Adds a place that is not counted as live.
    fn add(&mut self, frame: usize, len: u32, is_needed: bool) {
        let frame = &mut self.frames.all[frame];
        frame.dead = frame.dead.saturating_add(len);
        self.packs[frame.pack as usize].is_needed |= is_needed;
    }

    /// Notes what is needed and stands in no frame that is there.
    fn note_missing(&mut self) -> rusqlite::Result<()> {
        // Not UNION, which would make a tree of all ids in memory.
        let sql = "INSERT INTO main.notes SELECT id, ?, 0, 0, 1 FROM (SELECT id FROM main.chunks UNION ALL
                SELECT b.id FROM main.blocks b WHERE NOT EXISTS(SELECT 1 FROM main.chunks m WHERE m.id = b.id)) n
            WHERE NOT EXISTS(SELECT 1 FROM idx.chunks c JOIN idx.frames f ON f.frame = c.frame WHERE c.id = n.id)";
        self.connection.execute(sql, [NOWHERE]).map(drop)
    }

    /// Adds the notes up, and lets them stand.
    fn conclude(mut self, identity: &[u8]) -> rusqlite::Result<Usage> {
        let connection = self.connection;
        let nowhere = "SELECT min(id), count(*) FROM main.notes WHERE frame = ?";
        let missing = connection.query_row(nowhere, [NOWHERE], |row| match row.get(1)? {
            0_u64 => Ok(None),
            count => Ok(Some((crate::index::id(row, 0, ChunkId::from_slice)?, count))),
        })?;
        if !self.is_whole {
            let stale = "DELETE FROM main.notes WHERE frame <> ?
                AND NOT EXISTS(SELECT 1 FROM idx.frames f WHERE f.frame = notes.frame)";
            connection.execute(stale, [NOWHERE])?;
            let mut statement = connection.prepare("SELECT frame, len, needed FROM main.notes")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                if let Some(at) = self.frames.find(row.get(0)?) {
                    self.add(at, row.get(1)?, row.get(2)?);
                }
            }
        }
        for frame in &self.frames.all {
            let pack = &mut self.packs[frame.pack as usize];
            pack.is_live |= frame.held > frame.dead;
            let share = (u64::from(frame.stored) * u64::from(frame.dead)).checked_div(u64::from(frame.plain));
            pack.dead += share.unwrap_or(0);
        }
        for pack in &mut self.packs {
            pack.is_needed |= pack.is_live;
            if !pack.is_live {
                pack.dead = pack.size;
            }
        }
        for table in ["surveyed", "touched"] {
            connection.execute(&format!("DELETE FROM main.{table}"), [])?;
        }
        // Not if rows went without a trace since this survey began: it may have seen them.
        let sql = "SELECT value = ? FROM idx.meta WHERE key = 'identity'";
        if self.worth > 0 && connection.query_row(sql, [identity], |row| row.get(0))? {
            connection.execute("INSERT INTO main.surveyed VALUES(?, ?)", params![identity, self.last])?;
        } else {
            connection.execute("DELETE FROM main.notes", [])?;
        }
        Ok(Usage { packs: self.packs, missing })
    }
}

/// Forgets the notes if so much was touched since that they save nothing any more: who counts and never surveys would keep it for ever.
pub(super) fn give_up_if_too_much(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    let sql = "SELECT count(*) FROM touched";
    let touched: u64 = transaction.query_row(sql, [], |row| row.get(0))?;
    if touched < LITTLE {
        return Ok(());
    }
    let known: u64 = transaction.query_row("SELECT count(*) FROM chunks", [], |row| row.get(0))?;
    if touched > known / FEW {
        transaction.execute_batch("DELETE FROM surveyed; DELETE FROM notes; DELETE FROM touched;")?;
    }
    Ok(())
}

/// The frame of what stands nowhere.
const NOWHERE: i64 = 0;

/// What the index names, packs and frames each in their order.
fn packs_and_frames(connection: &Connection) -> rusqlite::Result<(Vec<PackUse>, Vec<FrameUse>)> {
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
        let (row, stored, plain) = (row.get(0)?, row.get(2)?, row.get(3)?);
        frames.push(FrameUse { row, pack: pack as u32, stored, plain, held: 0, dead: 0 });
    }
    Ok((packs, frames))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_found_however_scattered_their_rows_are() {
        for rows in [vec![], vec![7], vec![3, 4, 5, 9, 12], vec![1, 2, 1_000_000], (100..200).step_by(7).collect()] {
            let all = rows.iter().map(|row| FrameUse { row: *row, pack: 0, stored: 0, plain: 0, held: 0, dead: 0 });
            let frames = Frames::new(all.collect());
            for row in [i64::MIN, -1, 0, i64::MAX].into_iter().chain(0..1_100).chain(999_990..1_000_010) {
                assert_eq!(frames.find(row), rows.binary_search(&row).ok(), "{row} of {rows:?}");
            }
        }
    }
}
