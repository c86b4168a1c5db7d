//! Forgetting what is missing or damaged, so that what stands only there counts as not stored.

use std::collections::HashMap;

use icecore_format::id::{ChunkId, PackId};
use rusqlite::{OptionalExtension, Transaction, params};

use super::sync::{drop_packs, lose_frames};
use super::{FrameLocation, Index, encoding, id, kind};
use crate::error::Result;

/// Parts in which the chunks of lost frames are swept; a divisor of 256. Of 20 million rows that is 1.3 million, 50 MiB at most.
const SWEPT_IN: usize = 16;

/// From now on nobody may go by what was told of the rows.
pub(super) const RENEW: &str = "UPDATE meta SET value = randomblob(16) WHERE key = 'identity'";

/// Bytes of an id.
const ID_LEN: usize = 20;

/// A chunk in a plain frame.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Held {
    pub(crate) id: ChunkId,
    pub(crate) offset: u32,
    pub(crate) len: u32,
}

impl Index {
    /// The frames of a pack that the index knows, in order.
    pub(crate) fn frames(&self, pack: &PackId) -> Result<Vec<FrameLocation>> {
        self.read(|connection| {
            let sql = "SELECT f.ordinal, p.kind, f.offset, f.stored, f.plain, f.encoding
                FROM packs p JOIN frames f ON f.pack = p.pack WHERE p.id = ? ORDER BY f.ordinal";
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map([pack.as_bytes()], |row| {
                Ok(FrameLocation {
                    pack: *pack,
                    ordinal: row.get(0)?,
                    kind: kind(row, 1)?,
                    offset: row.get(2)?,
                    stored: row.get(3)?,
                    plain: row.get(4)?,
                    encoding: encoding(row, 5)?,
                })
            })?;
            rows.collect()
        })
    }

    /// What each frame of a pack holds, in no order. A scan over all chunks: only for packs that are damaged.
    pub(crate) fn held(&self, pack: &PackId) -> Result<HashMap<u32, Vec<Held>>> {
        self.read(|connection| {
            let sql = "SELECT f.ordinal, c.id, c.offset, c.len FROM chunks c JOIN frames f ON f.frame = c.frame
                WHERE f.pack = (SELECT pack FROM packs WHERE id = ?)";
            let mut statement = connection.prepare(sql)?;
            let mut rows = statement.query([pack.as_bytes()])?;
            let mut held: HashMap<u32, Vec<Held>> = HashMap::new();
            while let Some(row) = rows.next()? {
                let chunk = Held { id: id(row, 1, ChunkId::from_slice)?, offset: row.get(2)?, len: row.get(3)? };
                held.entry(row.get(0)?).or_default().push(chunk);
            }
            Ok(held)
        })
    }

    /// When packs were last verified, in seconds since 1970. A rebuild keeps it: it is about the store.
    pub(crate) fn verified(&self) -> Result<HashMap<PackId, i64>> {
        self.read(|connection| {
            let mut statement = connection.prepare("SELECT id, at FROM verified")?;
            let rows = statement.query_map([], |row| Ok((id(row, 0, PackId::from_slice)?, row.get(1)?)))?;
            rows.collect()
        })
    }

    /// Remembers that packs were verified, and forgets it of those that the index does not name any more.
    pub(crate) fn mark_verified(&self, packs: &[PackId], at: i64) -> Result<()> {
        self.write(|transaction| {
            let mut mark = transaction.prepare_cached("INSERT OR REPLACE INTO verified VALUES(?, ?)")?;
            for pack in packs {
                mark.execute(params![pack.as_bytes(), at])?;
            }
            transaction.execute("DELETE FROM verified WHERE id NOT IN (SELECT id FROM packs)", []).map(drop)
        })
    }

    /// Begins a survey of the rows: from now on they have another identity. Gives the one before, the one from now on, and the last frame.
    pub(crate) fn survey(&self) -> Result<(Vec<u8>, Vec<u8>, i64)> {
        self.write(|transaction| {
            let identity = || {
                let sql = "SELECT value FROM meta WHERE key = 'identity'";
                transaction.query_row(sql, [], |row| row.get(0))
            };
            let before = identity()?;
            transaction.execute(RENEW, [])?;
            let last = "SELECT ifnull(max(frame), 0) FROM frames";
            Ok((before, identity()?, transaction.query_row(last, [], |row| row.get(0))?))
        })
    }

    /// Forgets packs that the store does not have (I3).
    pub(crate) fn forget_packs(&self, packs: &[PackId]) -> Result<()> {
        self.write(|transaction| {
            let mut rows = Vec::new();
            for pack in packs {
                rows.extend(pack_row(transaction, pack)?);
            }
            drop_packs(transaction, &rows)
        })
    }

    /// Forgets every place of a chunk that is damaged or missing, so that it counts as not stored. A pack that no fragment
    /// names goes as a whole, because a fragment would be made of its rows.
    pub fn forget_chunk(&self, chunk: &ChunkId) -> Result<()> {
        self.write(|transaction| {
            let sql = "SELECT DISTINCT f.pack FROM chunks c JOIN frames f ON f.frame = c.frame
                WHERE c.id = ? AND f.pack NOT IN (SELECT pack FROM listed)";
            let mut unlisted = transaction.prepare_cached(sql)?;
            let unlisted: Vec<i64> =
                unlisted.query_map([chunk.as_bytes()], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
            drop_packs(transaction, &unlisted)?;
            transaction.execute("DELETE FROM chunks WHERE id = ?", [chunk.as_bytes()])?;
            transaction.execute(RENEW, [])?;
            transaction.execute("UPDATE meta SET value = value + 1 WHERE key = 'generation'", []).map(drop)
        })
    }

    /// Forgets damaged frames. The pack itself stays known: its other frames are good, and an unknown pack would be
    /// adopted again. A pack that no fragment names goes as a whole, because one would be made of its rows.
    pub(crate) fn forget_frames(&self, frames: &[(PackId, u32)]) -> Result<()> {
        if frames.is_empty() {
            return Ok(());
        }
        self.write(|transaction| {
            let (mut unpublished, mut lost) = (Vec::new(), 0);
            for (pack, ordinal) in frames {
                let Some(row) = pack_row(transaction, pack)? else { continue };
                let mut listed = transaction.prepare_cached("SELECT 1 FROM listed WHERE pack = ? LIMIT 1")?;
                if !listed.exists([row])? {
                    unpublished.push(row);
                    continue;
                }
                let sql = "DELETE FROM frames WHERE pack = ? AND ordinal = ?";
                lost += transaction.prepare_cached(sql)?.execute(params![row, ordinal])?;
            }
            lose_frames(transaction, lost)?;
            drop_packs(transaction, &unpublished)
        })
    }

    /// Deletes the chunks of frames that are gone, if those are more than a quarter: what stays of them costs only room, and a look at
    /// them in each survey.
    pub(crate) fn sweep_if_many(&self) -> Result<()> {
        let many =
            "SELECT ifnull((SELECT value FROM meta WHERE key = 'unswept'), 0) * 4 > (SELECT count(*) FROM frames)";
        if self.read(|connection| connection.query_row(many, [], |row| row.get(0)))? { self.sweep() } else { Ok(()) }
    }

    /// Deletes the chunks of frames that are gone: one pass over all, if there are any, in parts, because SQLite keeps in memory what a
    /// statement deletes, and others of this host wait meanwhile.
    pub(crate) fn sweep(&self) -> Result<()> {
        let unswept = "SELECT ifnull((SELECT value FROM meta WHERE key = 'unswept'), 0)";
        let unswept: i64 = self.read(|connection| connection.query_row(unswept, [], |row| row.get(0)))?;
        if unswept == 0 {
            return Ok(());
        }
        for part in (0..=u8::MAX).step_by(256 / SWEPT_IN) {
            let last = [&[part + (256 / SWEPT_IN - 1) as u8][..], &[u8::MAX; ID_LEN]].concat();
            let sql = "DELETE FROM chunks WHERE id BETWEEN ?1 AND ?2
                AND NOT EXISTS(SELECT 1 FROM frames WHERE frames.frame = chunks.frame)";
            self.write(|transaction| {
                transaction.execute(sql, params![&[part][..], last])?;
                transaction.execute(RENEW, []).map(drop)
            })?;
        }
        // What was lost meanwhile stays to be swept.
        self.write(|transaction| {
            transaction.execute("UPDATE meta SET value = value - ? WHERE key = 'unswept'", [unswept])?;
            transaction.execute("DELETE FROM meta WHERE key = 'unswept' AND value <= 0", []).map(drop)
        })
    }
}

fn pack_row(transaction: &Transaction<'_>, pack: &PackId) -> rusqlite::Result<Option<i64>> {
    let mut find = transaction.prepare_cached("SELECT pack FROM packs WHERE id = ?")?;
    find.query_row([pack.as_bytes()], |row| row.get(0)).optional()
}
