//! Tags of snapshots, changed after they were taken.

use icecore_format::annotation::{Annotation, Proof, TagChange};
use icecore_format::entry::Timestamp;
use icecore_repo::annotations;

use crate::Stored;
use crate::archive::Archive;
use crate::error::Result;

/// Who says something of a snapshot, and when.
#[derive(Debug, Clone)]
pub struct Author {
    /// Name of this host.
    pub host: String,
    /// Name of the user.
    pub user: String,
    /// The time now.
    pub now: Timestamp,
}

impl Archive {
    /// Changes the tags of a snapshot, durably; its tags afterwards. Nothing is written if they are so already.
    pub fn tag(&self, stored: &Stored, change: &TagChange, author: &Author) -> Result<Vec<String>> {
        let mut tags = stored.snapshot.tags.clone();
        change.apply(&mut tags);
        if tags != stored.snapshot.tags {
            self.annotate(stored, Some(change.clone()), None, author)?;
        }
        Ok(tags)
    }

    /// Records what came of trying a snapshot, durably.
    pub fn record_proof(&self, stored: &Stored, proof: Proof, author: &Author) -> Result<()> {
        self.annotate(stored, None, Some(proof), author)
    }

    fn annotate(&self, stored: &Stored, tags: Option<TagChange>, proof: Option<Proof>, author: &Author) -> Result<()> {
        // What is said last counts, whatever the clock of who said something before.
        let after = stored.notes.latest.map(|latest| Timestamp { seconds: latest.seconds.saturating_add(1), nanos: 0 });
        let at = after.filter(|after| *after > author.now).unwrap_or(author.now);
        let (host, user) = (author.host.clone(), author.user.clone());
        annotations::put(&self.repository, &Annotation { snapshot: stored.id, at, host, user, tags, proof })?;
        Ok(())
    }
}
