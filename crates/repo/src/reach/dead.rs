//! What nothing needs: the difference between what stands in packs and what is named.

use super::{Freed, Reach, fail_at};
use crate::error::Result;

impl Reach {
    /// What the index knows and no counted snapshot names. `exact` only if every block could be read.
    pub fn unneeded(&self) -> Result<Freed> {
        let fail = fail_at(&self.path);
        let sql = "SELECT f.kind, count(*), ifnull(sum(f.len), 0), ifnull(sum(f.stored * f.len / f.plain), 0) FROM
            (SELECT p.kind AS kind, c.len AS len, r.stored AS stored, r.plain AS plain FROM idx.chunks c
                JOIN idx.frames r ON r.frame = c.frame JOIN idx.packs p ON p.pack = r.pack
                WHERE NOT EXISTS (SELECT 1 FROM main.chunks m WHERE m.id = c.id)
                AND NOT EXISTS (SELECT 1 FROM main.blocks m WHERE m.id = c.id)) f GROUP BY f.kind";
        let run = || -> rusqlite::Result<Freed> {
            let unopened = "SELECT NOT EXISTS(SELECT 1 FROM main.blocks WHERE opened = 0)";
            let exact = self.connection.query_row(unopened, [], |row| row.get(0))?;
            let mut freed = Freed { exact, ..Freed::default() };
            let mut statement = self.connection.prepare(sql)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                match row.get::<_, i64>(0)? {
                    0 => freed.chunks += row.get::<_, u64>(1)?,
                    _ => freed.blocks += row.get::<_, u64>(1)?,
                }
                freed.plain_bytes += row.get::<_, u64>(2)?;
                freed.stored_bytes += row.get::<_, u64>(3)?;
            }
            Ok(freed)
        };
        run().map_err(fail)
    }
}
