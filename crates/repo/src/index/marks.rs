//! Prune marks as this host knows them: what stands in the packs that they name counts as not stored.

use std::collections::{BTreeSet, HashSet};
use std::sync::PoisonError;

use icecore_format::entry::Timestamp;
use icecore_format::id::{MarkId, PackId};
use icecore_format::mark::Mark;
use rusqlite::{OptionalExtension, Transaction, params};

use super::sync::drop_packs;
use super::{Index, id};
use crate::error::{Error, Result};
use crate::repository::Repository;
use crate::{layout, objects};

/// What listing the marks showed.
#[derive(Debug, Default)]
pub(crate) struct Learned {
    /// Marks that could not be read, a sentence each. Nobody can delete by them either.
    pub(crate) damaged: Vec<String>,
    /// Marks that this key cannot open.
    pub(crate) closed: bool,
}

impl Index {
    /// When the fragments were last listed by this process, if that was told.
    pub(crate) fn known(&self) -> Option<Timestamp> {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn date(&self, now: Option<Timestamp>) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }

    /// Lists the marks and reads all of them: nobody may delete by a mark that others cannot read (any more). A mark that names
    /// packs of the index begins a new generation. The fragments must have been listed before, and not long before
    /// (`docs/invariants.md`, "Prune beside backups").
    pub(crate) fn learn_marks(&self, repository: &Repository) -> Result<Learned> {
        self.learn(repository, true)
    }

    /// The same for whoever deletes nothing: reads only those that are new here.
    pub(crate) fn learn_new_marks(&self, repository: &Repository) -> Result<Learned> {
        self.learn(repository, false)
    }

    fn learn(&self, repository: &Repository, again: bool) -> Result<Learned> {
        let mut learned = Learned::default();
        #[cfg(test)]
        if self.weak.ignore_marks {
            return Ok(learned);
        }
        // What is known now was durable before the listing begins: if it is not listed, it is gone.
        let known: HashSet<MarkId> = self.marks()?.into_iter().map(|(id, _)| id).collect();
        let mut present = HashSet::new();
        repository.store().list(layout::MARKS, &mut |listed| {
            present.extend(layout::id_of::<MarkId>(&listed.key));
            Ok(())
        })?;
        if repository.open_key().is_err() {
            learned.closed = !present.is_empty();
            return Ok(learned);
        }
        let mut gone: Vec<MarkId> = known.difference(&present).copied().collect();
        for id in present.iter().filter(|id| again || !known.contains(id)) {
            match objects::get_mark(repository, id).and_then(|plain| read(id, &plain).map(|mark| (mark, plain))) {
                Ok((mark, plain)) => self.write(|transaction| insert(transaction, id, &mark, &plain))?,
                // Undone, or overtaken by a mark of the next stage, which was there long before this one went.
                Err(Error::Store(error)) if error.kind == icecore_store::ErrorKind::NotFound => gone.push(*id),
                Err(error @ Error::Damaged { .. }) => learned.damaged.push(error.to_string()),
                Err(error) => return Err(error),
            }
        }
        if !gone.is_empty() {
            self.write(|transaction| {
                for mark in &gone {
                    transaction.execute("DELETE FROM marks WHERE id = ?", [mark.as_bytes()])?;
                    transaction.execute("DELETE FROM marked WHERE mark = ?", [mark.as_bytes()])?;
                }
                Ok(())
            })?;
        }
        Ok(learned)
    }

    /// The marks that were read.
    pub(crate) fn marks(&self) -> Result<Vec<(MarkId, Mark)>> {
        let records: Vec<(MarkId, Vec<u8>)> = self.read(|connection| {
            let mut statement = connection.prepare("SELECT id, record FROM marks ORDER BY id")?;
            let rows = statement.query_map([], |row| Ok((id(row, 0, MarkId::from_slice)?, row.get(1)?)))?;
            rows.collect()
        })?;
        records.into_iter().map(|(id, plain)| read(&id, &plain).map(|mark| (id, mark))).collect()
    }

    /// Every pack that a mark names.
    pub(crate) fn marked(&self) -> Result<HashSet<PackId>> {
        self.read(|connection| {
            let mut statement = connection.prepare("SELECT DISTINCT pack FROM marked")?;
            let rows = statement.query_map([], |row| id(row, 0, PackId::from_slice))?;
            rows.collect()
        })
    }

    /// Packs whose rows went although a fragment may still name them.
    pub(crate) fn dropped(&self) -> Result<BTreeSet<PackId>> {
        self.read(|connection| {
            let mut statement = connection.prepare("SELECT DISTINCT pack FROM dropped")?;
            statement.query_map([], |row| id(row, 0, PackId::from_slice))?.collect()
        })
    }

    /// Drops the rows of packs that are about to be deleted.
    pub(crate) fn unindex(&self, packs: &BTreeSet<PackId>) -> Result<()> {
        self.write(|transaction| {
            let mut rows: Vec<i64> = Vec::new();
            for pack in packs {
                let mut find = transaction.prepare_cached("SELECT pack FROM packs WHERE id = ?")?;
                rows.extend(find.query_row([pack.as_bytes()], |row| row.get::<_, i64>(0)).optional()?);
            }
            drop_packs(transaction, &rows)
        })
    }

    /// Remembers of packs that a prune has not met before that it meets them `now`, in seconds since 1970.
    pub(crate) fn meet_packs(&self, now: i64) -> Result<()> {
        self.write(|transaction| transaction.execute("UPDATE packs SET seen = ? WHERE seen IS NULL", [now]).map(drop))
    }
}

fn read(id: &MarkId, plain: &[u8]) -> Result<Mark> {
    Mark::decode(plain)
        .map_err(|error| Error::Damaged { object: layout::mark(id).to_string(), reason: error.to_string() })
}

fn insert(transaction: &Transaction<'_>, id: &MarkId, mark: &Mark, plain: &[u8]) -> rusqlite::Result<()> {
    transaction.execute("INSERT OR REPLACE INTO marks VALUES(?, ?)", params![id.as_bytes(), plain])?;
    let mut add = transaction.prepare_cached("INSERT OR IGNORE INTO marked VALUES(?, ?)")?;
    let mut named = transaction
        .prepare_cached("SELECT 1 FROM packs WHERE id = ?1 AND NOT EXISTS(SELECT 1 FROM marked WHERE pack = ?1)")?;
    let mut news = false;
    for pack in &mark.packs {
        news |= named.exists([pack.as_bytes()])?;
        add.execute(params![pack.as_bytes(), id.as_bytes()])?;
    }
    if news {
        transaction.execute("UPDATE meta SET value = value + 1 WHERE key = 'generation'", [])?;
    }
    Ok(())
}
