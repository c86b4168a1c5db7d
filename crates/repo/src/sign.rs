//! A sign of life: the record of a running session, for others who want to know. Nothing's safety rests on it but that of
//! `prune --now`.

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use icecore_format::entry::Timestamp;
use icecore_format::id::SessionId;
use icecore_format::session::SessionRecord;

use crate::error::{Error, Result};
use crate::repository::Repository;
use crate::{layout, objects};

/// How often a session shows that it lives.
const RENEWED: Duration = Duration::from_secs(3600);

/// A record whose last sign is older says nothing, in seconds: longer than a session relies on what it knows.
pub(crate) const LIFE: i64 = 4 * 3600;

/// Longest name in a record, bytes.
const NAME: usize = 255;

/// Who writes.
#[derive(Debug, Clone)]
pub struct Who {
    /// Name of this host.
    pub host: String,
    /// What is backed up, or what else is done.
    pub instance: String,
    /// The time now.
    pub now: Timestamp,
}

/// Keeps the record of a session in the store for as long as it lives itself. What fails here fails nobody.
pub(crate) struct Sign {
    stop: Option<Sender<()>>,
    renewer: Option<JoinHandle<()>>,
}

impl Sign {
    /// Puts the record; from the return on others can know.
    pub(crate) fn put(repository: &Arc<Repository>, who: &Who) -> Self {
        let mut record = SessionRecord {
            host: short(&who.host),
            pid: std::process::id(),
            started: who.now,
            seen: who.now,
            instance: short(&who.instance),
        };
        let begun = Instant::now();
        let mut last = objects::put_session(repository, &record.encode()).ok();
        let (stop, stopped) = channel::<()>();
        let repository = Arc::clone(repository);
        let renewer = std::thread::spawn(move || {
            while stopped.recv_timeout(RENEWED) == Err(RecvTimeoutError::Timeout) {
                record.seen.seconds = record.started.seconds.saturating_add(begun.elapsed().as_secs() as i64);
                // The next record stands before the last one goes.
                if let Ok(next) = objects::put_session(&repository, &record.encode()) {
                    remove(&repository, last.replace(next));
                }
            }
            remove(&repository, last);
        });
        Self { stop: Some(stop), renewer: Some(renewer) }
    }
}

impl Drop for Sign {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(renewer) = self.renewer.take() {
            let _ = renewer.join();
        }
    }
}

fn remove(repository: &Repository, id: Option<SessionId>) {
    if let Some(id) = id {
        let _ = repository.store().delete(&layout::session(&id));
    }
}

fn short(name: &str) -> String {
    let end = (0..=name.len().min(NAME)).rev().find(|at| name.is_char_boundary(*at));
    name[..end.unwrap_or(0)].to_owned()
}

/// Session records.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    /// Those that can be read, of sessions that live and of others, the first begun first.
    pub(crate) records: Vec<(SessionId, SessionRecord)>,
    /// Those that cannot, with a sentence each.
    pub(crate) damaged: Vec<(SessionId, String)>,
}

/// Reads every session record.
pub(crate) fn all(repository: &Repository) -> Result<Sessions> {
    let mut ids = Vec::new();
    repository.store().list(layout::SESSIONS, &mut |listed| {
        ids.extend(layout::id_of::<SessionId>(&listed.key));
        Ok(())
    })?;
    let mut sessions = Sessions::default();
    for id in ids {
        let object = || layout::session(&id).to_string();
        let read = objects::get_session(repository, &id).and_then(|plain| {
            SessionRecord::decode(&plain)
                .map_err(|error| Error::Damaged { object: object(), reason: error.to_string() })
        });
        match read {
            Ok(record) => sessions.records.push((id, record)),
            Err(Error::Store(error)) if error.kind == icecore_store::ErrorKind::NotFound => {}
            Err(error @ Error::Damaged { .. }) => sessions.damaged.push((id, error.to_string())),
            Err(error) => return Err(error),
        }
    }
    sessions.records.sort_by_key(|(_, record)| record.started);
    Ok(sessions)
}

/// Whether a session may still live at `now`: clocks differ in both directions.
pub(crate) fn lives(record: &SessionRecord, now: Timestamp) -> bool {
    now.seconds.saturating_sub(record.seen.seconds).abs() <= LIFE
}
