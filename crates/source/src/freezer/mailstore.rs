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
//! | `client` | calls, tokens, polling |
//! | `envelope` | what replies consist of |
//! | `http` | one request, one bounded reply |
//! | `trust` | which certificate is accepted |
//! | `endpoint`, `password` | where the server is, and who asks |

mod client;
mod discover;
mod endpoint;
mod envelope;
mod http;
mod password;
#[cfg(test)]
mod tests;
mod trust;

use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use self::client::{Client, Overdue};
pub use self::discover::{DiscoveredInstance, DiscoveredStore, discover};
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
    let id = &config.instance_id;
    // The API's filters know wildcards, and nobody knows which else: an id with any of these is not one.
    if id.is_empty() || id.contains(|c: char| c.is_whitespace() || c.is_control() || "*?,;|%".contains(c)) {
        let message = format!("instance-id must be the exact id of one instance, and is {id:?}");
        return Err(FreezeError::new(FreezeErrorKind::NotOneInstance { matched: Vec::new() }, message));
    }
    let client = Client::open(config)?;
    Ok(Box::new(MailstoreFreezer { client, config: config.clone(), process: None, frozen: false, awake: None }))
}

#[derive(Debug)]
struct MailstoreFreezer {
    client: Client,
    config: MailstoreConfig,
    /// The process of the instance before the freeze, if the server tells it.
    process: Option<Value>,
    /// This very object froze, and has not tried to thaw yet.
    frozen: bool,
    /// What the server said of a thaw that came too late.
    awake: Option<String>,
}

/// An instance as `GetInstances` lists it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    #[serde(rename = "instanceID")]
    instance_id: String,
    #[serde(default)]
    display_name: Option<String>,
    #[serde(default)]
    status: Option<String>,
    #[serde(default, rename = "processID")]
    process: Option<Value>,
}

impl Listed {
    fn status(&self) -> &str {
        self.status.as_deref().unwrap_or("unknown")
    }

    fn is(&self, status: &str) -> bool {
        self.status().eq_ignore_ascii_case(status)
    }
}

impl MailstoreFreezer {
    fn error(&self, kind: FreezeErrorKind, what: &str) -> FreezeError {
        self.client.endpoint().error(kind, what)
    }

    /// The instance, once the server has said that the filter means it alone.
    fn instance(&mut self, deadline: Instant) -> Result<Listed, FreezeError> {
        let id = self.config.instance_id.clone();
        let mut found: Vec<Listed> = self.client.ask("GetInstances", &[("instanceFilter", &id)], deadline)?;
        match found.pop() {
            Some(only) if found.is_empty() && only.instance_id == id => Ok(only),
            last => {
                found.extend(last);
                let matched: Vec<String> = found.into_iter().map(|one| one.instance_id).collect();
                let what = match matched.as_slice() {
                    [] => format!("has no instance {id:?}; check instance-id"),
                    [one] => format!("takes {id:?} for {one:?}; configure the exact instance-id"),
                    several => format!("takes {id:?} for {} instances: {}", several.len(), several.join(", ")),
                };
                Err(self.error(FreezeErrorKind::NotOneInstance { matched }, &what))
            }
        }
    }

    /// The sign of health: a frozen instance has closed its stores.
    fn stores_answer(&mut self, deadline: Instant) -> Result<(), FreezeError> {
        let arguments = [("instanceID", self.config.instance_id.as_str()), ("includeSize", "false")];
        self.client.ask::<Vec<IgnoredAny>>("GetStores", &arguments, deadline).map(drop)
    }

    /// Operates on the one instance.
    fn operate(&mut self, function: &str, deadline: Instant, overdue: Overdue) -> Result<(), FreezeError> {
        let arguments = [("instanceFilter", self.config.instance_id.as_str())];
        self.client.invoke(function, &arguments, deadline, overdue).map(drop)
    }

    /// Restarts the instance and waits until it is at work again.
    fn restart(&mut self, deadline: Instant) -> Result<(), FreezeError> {
        self.operate(RESTART, deadline, Overdue::Leave)?;
        keep_trying(deadline, || {
            let instance = self.instance(deadline)?;
            if !instance.is("running") {
                let what = format!("says that {} is {:?} after its restart", instance.instance_id, instance.status());
                return Err(self.error(FreezeErrorKind::Failed, &what));
            }
            self.stores_answer(deadline)
        })
    }
}

impl Freezer for MailstoreFreezer {
    fn check(&mut self) -> Result<(), FreezeError> {
        let deadline = self.client.request_deadline();
        self.client.invoke("Ping", &[], deadline, Overdue::Leave)?;
        let known = self.client.functions(deadline)?;
        let needed = NEEDED.into_iter().chain(self.config.restart_after_failed_thaw.then_some(RESTART));
        let missing: Vec<&str> = needed.filter(|needed| !known.iter().any(|known| known == needed)).collect();
        if !missing.is_empty() {
            let what = format!("does not know {}: it is too old", missing.join(", "));
            return Err(self.error(FreezeErrorKind::Refused, &what));
        }
        let instance = self.instance(deadline)?;
        let id = &instance.instance_id;
        if instance.is("frozen") {
            let what = format!("says that {id} is frozen already, by somebody else; thaw it first");
            return Err(self.error(FreezeErrorKind::Refused, &what));
        }
        if !instance.is("running") {
            let what = format!("says that {id} is {:?}; only a running instance can be frozen", instance.status());
            return Err(self.error(FreezeErrorKind::Refused, &what));
        }
        self.process = instance.process;
        self.stores_answer(deadline).map_err(|e| match e.kind {
            FreezeErrorKind::Refused | FreezeErrorKind::TimedOut => {
                let hint = format!("runs {id}, but its stores do not answer; has somebody else frozen it?");
                self.error(FreezeErrorKind::Refused, &hint).with_output(e.to_string())
            }
            _ => e,
        })
    }

    fn freeze(&mut self, limit: Duration) -> Result<(), FreezeError> {
        self.operate("FreezeInstances", deadline(limit), Overdue::Cancel)?;
        self.frozen = true;
        Ok(())
    }

    fn thaw(&mut self, limit: Duration) -> Result<(), FreezeError> {
        let deadline = deadline(limit);
        // Only the first attempt tells: a later one may find what an earlier one has done after all.
        let froze = std::mem::take(&mut self.frozen);
        match self.operate("ThawInstances", deadline, Overdue::Leave) {
            Err(e) if was_not_frozen(&e) => self.awake = froze.then_some(e.message),
            thawed => thawed?,
        }
        // The stores take a moment to open.
        keep_trying(deadline, || self.stores_answer(deadline)).map_err(|e| {
            let what = format!("thawed {}, but its stores do not answer", self.config.instance_id);
            self.error(e.kind.clone(), &what).with_output(e.to_string())
        })
    }

    fn status(&mut self, limit: Duration) -> Result<Status, FreezeError> {
        let deadline = deadline(limit);
        let instance = self.instance(deadline)?;
        if instance.is("frozen") {
            return Ok(Status::Frozen);
        }
        if !instance.is("running") {
            return Ok(Status::Unknown);
        }
        match self.stores_answer(deadline) {
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
        let now = self.instance(deadline(limit)).ok()?.process?;
        (now != before).then(|| format!("its process was {before} before the freeze, and {now} after the thaw"))
    }

    fn last_resort(&mut self, limit: Duration) -> Option<Result<(), FreezeError>> {
        self.config.restart_after_failed_thaw.then(|| self.restart(deadline(limit)))
    }

    fn describe(&self) -> String {
        let file = &self.config.password_file;
        let warning = if password::is_open_to_others(file) {
            format!(" (others may read its password: chmod 600 {})", file.display())
        } else {
            String::new()
        };
        format!("MailStore instance {} at {}{warning}", self.config.instance_id, self.client.endpoint())
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
