//! What was marked counts as stored again, while nobody can have begun to delete it.

use std::collections::{BTreeSet, HashMap, HashSet};

use icecore_format::entry::Timestamp;
use icecore_format::id::PackId;
use icecore_format::mark::Stage;

use crate::error::Result;
use crate::index::Index;
use crate::layout;
use crate::marks::{SKEW, later};
use crate::repository::Repository;

/// Takes marks back whose packs may still wait for long enough that nobody can have begun to delete them. Gives how many packs no
/// mark names any more, and how many that may still be there it is too late for.
pub fn undo(repository: &Repository, index: &Index, clock: &dyn Fn() -> Timestamp) -> Result<(u64, u64)> {
    index.sync_at(repository, clock())?;
    index.learn_marks(repository)?;
    let marks = index.marks()?;
    // Until when a pack surely stands.
    let mut stands: HashMap<PackId, Timestamp> = HashMap::new();
    for (_, mark) in marks.iter().filter(|(_, mark)| mark.stage != Stage::Announced) {
        let until = if mark.stage == Stage::Gone { Timestamp { seconds: i64::MIN, nanos: 0 } } else { mark.until };
        for pack in &mark.packs {
            let stands = stands.entry(*pack).or_insert(until);
            *stands = until.min(*stands);
        }
    }
    let mut back = BTreeSet::new();
    // Waiting ones first: what is announced alone would wait again from the next prune on.
    for stage in [Stage::Waiting, Stage::Announced] {
        for (id, mark) in marks.iter().filter(|(_, mark)| mark.stage == stage) {
            // Asked anew for each: the ones before may have taken hours.
            let now = later(clock(), 2 * SKEW);
            if mark.packs.iter().any(|pack| stands.get(pack).is_some_and(|until| *until <= now)) {
                continue;
            }
            repository.store().delete(&layout::mark(id))?;
            back.extend(mark.packs.iter().copied());
        }
    }
    index.learn_marks(repository)?;
    let mut left = index.marked()?;
    back.retain(|pack| !left.contains(pack));
    let gone = index.marks()?.into_iter().filter(|(_, mark)| mark.stage == Stage::Gone);
    let gone: HashSet<PackId> = gone.flat_map(|(_, mark)| mark.packs).collect();
    left.retain(|pack| !gone.contains(pack));
    Ok((back.len() as u64, left.len() as u64))
}
