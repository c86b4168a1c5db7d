//! How stubbornly an instance is thawed.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How stubbornly an instance is thawed. Stands in the journal, for the guardian.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// The pause after the first attempt; each further one is twice as long.
    pub first_pause: Duration,
    /// The longest pause between two attempts.
    pub longest_pause: Duration,
    /// How long is spent on attempts and pauses before the stronger means is taken and the failure reported.
    pub patience: Duration,
    /// How long one attempt may take.
    pub attempt: Duration,
    /// How long after a freeze request that got no answer a late freeze is looked out for, with
    /// freezers that [may freeze late](crate::freezer::Freezer::may_freeze_late).
    pub settle: Duration,
    /// How long whoever is thawing already is let go on before it is taken for hung (a stopped process
    /// keeps its lock) and the instance thawed all the same: twice is better than never.
    pub turn: Duration,
    /// Whether [`last_resort`](crate::freezer::Freezer::last_resort) may be taken in the end.
    pub last_resort: bool,
}

impl Default for Retry {
    /// At once, then after 0.1 s, 0.2 s … 10 s, for five minutes: longer than a service takes to
    /// restart, short enough that somebody is told while it matters.
    fn default() -> Self {
        Self {
            first_pause: Duration::from_millis(100),
            longest_pause: Duration::from_secs(10),
            patience: Duration::from_secs(300),
            attempt: Duration::from_secs(60),
            settle: Duration::from_secs(15),
            turn: Duration::from_secs(10),
            last_resort: true,
        }
    }
}

impl Retry {
    /// The pauses between attempts, without end.
    pub(super) fn pauses(&self) -> impl Iterator<Item = Duration> + use<> {
        let longest = self.longest_pause;
        std::iter::successors(Some(self.first_pause), move |pause| Some(pause.saturating_mul(2)))
            .map(move |pause| pause.min(longest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let pauses: Vec<_> = Retry::default().pauses().map(|pause| pause.as_millis()).take(10).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000, 10_000]);
    }
}
