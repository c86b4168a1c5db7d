//! Freezes an instance of MailStore Service Provider Edition through its Management API.
//!
//! ```text
//! check   Ping · get-metadata · GetInstances(ID) is exactly this one and runs · GetStores answers
//! freeze  FreezeInstances(ID)
//! thaw    ThawInstances(ID), "not frozen" is a success · GetStores answers again
//! resort  RestartInstances(ID), if permitted · GetInstances says that it runs · GetStores answers
//! ```
//!
//! The server may confirm at once or give a token to ask with; either is waited for until the limit. A reply
//! that did not arrive says nothing: the request may have been heard.
//!
//! | module | what it holds |
//! |---|---|
//! | [`discover()`] | the instances of a server, for whoever writes a configuration |
//! | [`NewInstance`] | one that is made to be restored into |
//! | `service` | stop, start, verify |
//! | `instance` | one instance: what is asked and done by everybody |
//! | `client` | calls, tokens, polling |
//! | `envelope` | what replies consist of |
//! | `trust` | which certificate is accepted |
//! | `endpoint`, `password` | where the server is, and who asks |

mod client;
mod discover;
mod endpoint;
mod envelope;
mod instance;
mod new;
mod password;
mod service;
#[cfg(test)]
mod tests;
mod trust;

use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use self::client::Overdue;
pub use self::discover::{DiscoveredInstance, DiscoveredStore, discover};
use self::instance::Remote;
pub use self::new::NewInstance;
use super::service::Service;
use super::{FreezeError, FreezeErrorKind, Freezer, MailstoreConfig, Status};

/// What the freezer cannot do without.
const NEEDED: [&str; 4] = ["FreezeInstances", "ThawInstances", "GetInstances", "GetStores"];

/// Its stronger means.
const RESTART: &str = "RestartInstances";

/// Time between two looks at an instance that should be well again.
const PAUSE: Duration = Duration::from_millis(200);

/// Longer than any limit is meant to be; keeps instants from overflowing.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Opens the freezer of one instance; asks nobody.
///
/// # Errors
/// A configuration that can never work: an endpoint that is none, an id that could mean several
/// instances, a fingerprint that is none, a CA file that cannot be read.
pub fn open(config: &MailstoreConfig) -> Result<Box<dyn Freezer>, FreezeError> {
    let remote = Remote::open(config)?;
    Ok(Box::new(MailstoreFreezer { remote, config: config.clone(), process: None, frozen: false, awake: None }))
}

/// Opens what stops and starts one instance; asks nobody.
///
/// # Errors
/// As [`open`].
pub fn service(config: &MailstoreConfig) -> Result<Box<dyn Service>, FreezeError> {
    Ok(Box::new(service::MailstoreService::open(config)?))
}

#[derive(Debug)]
struct MailstoreFreezer {
    remote: Remote,
    config: MailstoreConfig,
    /// The process of the instance before the freeze, if the server tells it.
    process: Option<Value>,
    /// This very object froze, and has not tried to thaw yet.
    frozen: bool,
    /// What the server said of a thaw that came too late.
    awake: Option<String>,
}

impl MailstoreFreezer {
    /// Restarts the instance and waits until it is at work again.
    fn restart(&mut self, deadline: Instant) -> Result<(), FreezeError> {
        self.remote.operate(RESTART, deadline, Overdue::Leave)?;
        keep_trying(deadline, || {
            let instance = self.remote.listed(deadline)?;
            if !instance.is("running") {
                let what = format!("says that {} is {:?} after its restart", instance.instance_id, instance.status());
                return Err(self.remote.error(FreezeErrorKind::Failed, &what));
            }
            self.remote.stores_answer(deadline)
        })
    }
}

impl Freezer for MailstoreFreezer {
    fn check(&mut self) -> Result<(), FreezeError> {
        let deadline = self.remote.client.request_deadline();
        self.remote.client.invoke("Ping", &[], deadline, Overdue::Leave)?;
        let needed: Vec<_> =
            NEEDED.into_iter().chain(self.config.restart_after_failed_thaw.then_some(RESTART)).collect();
        self.remote.need(&needed, deadline)?;
        let instance = self.remote.listed(deadline)?;
        let id = &instance.instance_id;
        if instance.is("frozen") {
            let what = format!("says that {id} is frozen already, by somebody else; thaw it first");
            return Err(self.remote.error(FreezeErrorKind::Refused, &what));
        }
        if !instance.is("running") {
            let what = format!("says that {id} is {:?}; only a running instance can be frozen", instance.status());
            return Err(self.remote.error(FreezeErrorKind::Refused, &what));
        }
        self.process = instance.process;
        self.remote.stores_answer(deadline).map_err(|e| match e.kind {
            FreezeErrorKind::Refused | FreezeErrorKind::TimedOut => {
                let hint = format!("runs {id}, but its stores do not answer; has somebody else frozen it?");
                self.remote.error(FreezeErrorKind::Refused, &hint).with_output(e.to_string())
            }
            _ => e,
        })
    }

    fn freeze(&mut self, limit: Duration) -> Result<(), FreezeError> {
        self.remote.operate("FreezeInstances", deadline(limit), Overdue::Cancel)?;
        self.frozen = true;
        Ok(())
    }

    fn thaw(&mut self, limit: Duration) -> Result<(), FreezeError> {
        let deadline = deadline(limit);
        // Only the first attempt tells: a later one may find what an earlier one has done after all.
        let froze = std::mem::take(&mut self.frozen);
        match self.remote.operate("ThawInstances", deadline, Overdue::Leave) {
            Err(e) if was_not_frozen(&e) => self.awake = froze.then_some(e.message),
            thawed => thawed?,
        }
        // The stores take a moment to open.
        keep_trying(deadline, || self.remote.stores_answer(deadline)).map_err(|e| {
            let what = format!("thawed {}, but its stores do not answer", self.config.instance_id);
            self.remote.error(e.kind.clone(), &what).with_output(e.to_string())
        })
    }

    fn status(&mut self, limit: Duration) -> Result<Status, FreezeError> {
        let deadline = deadline(limit);
        let instance = self.remote.listed(deadline)?;
        if instance.is("frozen") {
            return Ok(Status::Frozen);
        }
        if !instance.is("running") {
            return Ok(instance.state());
        }
        match self.remote.stores_answer(deadline) {
            Ok(()) => Ok(Status::Running),
            Err(e) if says(&e, &["is frozen", "been frozen"]) => Ok(Status::Frozen),
            // A running instance whose stores keep silent is frozen, or ill.
            Err(_) => Ok(Status::Unknown),
        }
    }

    /// A new process was never frozen. (What the server says of a frozen instance otherwise is no proof: it may answer the
    /// same as of one at work.)
    fn was_awake(&mut self, limit: Duration) -> Option<String> {
        if self.awake.is_some() {
            return self.awake.take();
        }
        let before = self.process.take()?;
        let now = self.remote.listed(deadline(limit)).ok()?.process?;
        (now != before).then(|| format!("its process was {before} before the freeze, and {now} after the thaw"))
    }

    fn last_resort(&mut self, limit: Duration) -> Option<Result<(), FreezeError>> {
        self.config.restart_after_failed_thaw.then(|| self.restart(deadline(limit)))
    }

    fn describe(&self) -> String {
        self.remote.describe()
    }

    /// A request whose reply was lost may stand in the server's queue.
    fn may_freeze_late(&self) -> bool {
        true
    }
}

/// Whether a thaw was refused because there was nothing to thaw. The wording is not public.
fn was_not_frozen(error: &FreezeError) -> bool {
    says(error, &["not frozen", "isn't frozen", "not been frozen", "not currently frozen", "nicht eingefroren"])
}

/// Whether the server refused with one of these words.
fn says(error: &FreezeError, words: &[&str]) -> bool {
    let said = error.to_string().to_lowercase();
    error.kind == FreezeErrorKind::Refused && words.iter().any(|words| said.contains(words))
}

/// Tries until it works, or cannot work by waiting, or the time is up.
fn keep_trying(deadline: Instant, mut attempt: impl FnMut() -> Result<(), FreezeError>) -> Result<(), FreezeError> {
    loop {
        let result = attempt();
        let hopeful = matches!(&result, Err(e) if matches!(
            e.kind,
            FreezeErrorKind::Refused | FreezeErrorKind::Failed | FreezeErrorKind::Unreachable
        ));
        if !hopeful || left(deadline) <= PAUSE {
            return result;
        }
        thread::sleep(PAUSE);
    }
}

/// The instant at which a limit that begins now ends.
fn deadline(limit: Duration) -> Instant {
    Instant::now() + limit.min(LONGEST)
}

/// The time until an instant, if it is not past.
fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}
