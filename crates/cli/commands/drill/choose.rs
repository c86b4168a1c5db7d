//! Which snapshot of an instance is tried.

use icecore_engine::id::SnapshotId;
use icecore_engine::{Catalogue, Error as EngineError, Stored};

use crate::config::DrillChoice;
use crate::error::{Error, Result};
use crate::time;

/// What a person or the configuration wants to be tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// The newest.
    Newest,
    /// Any, each with the same probability.
    Random,
    /// This one.
    Named(SnapshotId),
}

impl From<DrillChoice> for Which {
    fn from(choice: DrillChoice) -> Self {
        match choice {
            DrillChoice::Newest => Self::Newest,
            DrillChoice::Random => Self::Random,
        }
    }
}

/// Chooses among the snapshots of an instance that this host took, or, where it took none, among all of the instance.
pub fn choose<'c>(catalogue: &'c Catalogue, instance: &str, host: &str, which: Which) -> Result<&'c Stored> {
    let missing = |what: String| Error::Engine(EngineError::NotFound(what));
    if let Which::Named(id) = which {
        let named = catalogue.snapshots.iter().find(|stored| stored.id == id);
        return named.ok_or_else(|| missing(format!("snapshot {} is gone: somebody has forgotten it", id.short())));
    }
    let all = || catalogue.snapshots.iter().filter(|stored| stored.snapshot.instance == instance);
    // A clock that was wrong makes no snapshot newer than those that were taken since.
    let now = time::now();
    let mut candidates: Vec<&Stored> = all().filter(|stored| stored.snapshot.host == host).collect();
    if candidates.is_empty() {
        candidates = all().collect();
    }
    let chosen = match which {
        Which::Random => even(candidates.len(), &mut random)?.and_then(|place| candidates.get(place)),
        _ => candidates.iter().rev().find(|stored| stored.snapshot.taken <= now).or(candidates.last()),
    };
    let next = "there is nothing to practise with before its first backup";
    chosen.copied().ok_or_else(|| missing(format!("instance {instance} has no snapshot: {next}")))
}

/// A number below `count`, each as likely as any other; `None` if there is none. Numbers at the end that do not fill a round are
/// drawn again: they would make some likelier.
fn even(count: usize, random: &mut dyn FnMut() -> Result<u64>) -> Result<Option<usize>> {
    let count = count as u64;
    let Some(rest) = u64::MAX.checked_rem(count).map(|rest| (rest + 1) % count) else { return Ok(None) };
    loop {
        let drawn = random()?;
        if drawn <= u64::MAX - rest {
            return Ok(Some((drawn % count) as usize));
        }
    }
}

fn random() -> Result<u64> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(Error::Random)?;
    Ok(u64::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_as_likely_as_any_other() {
        assert_eq!(even(0, &mut || panic!()).unwrap(), None);
        // All numbers but those at the end that do not fill a round.
        for count in [1, 2, 3, 5, 7, 1000] {
            let rest = (u64::MAX % count + 1) % count;
            let mut last = u64::MAX - rest;
            assert_eq!(even(count as usize, &mut || Ok(last)).unwrap(), Some(count as usize - 1));
            last = 0;
            assert_eq!(even(count as usize, &mut || Ok(last)).unwrap(), Some(0));
            if rest > 0 {
                let mut draws = [u64::MAX, u64::MAX - rest + 1, 4].into_iter();
                let drawn = even(count as usize, &mut || Ok(draws.next().unwrap())).unwrap();
                assert_eq!((drawn, draws.next()), (Some((4 % count) as usize), None));
            }
        }
        let mut seen = [0_u32; 5];
        (0..2000).for_each(|_| seen[even(5, &mut random).unwrap().unwrap()] += 1);
        // 400 each are expected, give or take 18: six times that.
        assert!(seen.iter().all(|count| (290..=510).contains(count)), "{seen:?}");
    }
}
