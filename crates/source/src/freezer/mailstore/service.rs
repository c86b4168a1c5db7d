//! Stops and starts an instance, and lets it verify its stores.
//!
//! ```text
//! stop    StopInstances(ID)  · GetInstances says that it is stopped
//! start   StartInstances(ID) · GetInstances says that it runs · GetStores answers
//! verify  VerifyStores(ID)   · GetStores tells no error
//! ```

use std::thread;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::client::Overdue;
use super::instance::Remote;
use super::{PAUSE, deadline, keep_trying, left};
use crate::freezer::service::{Service, TESTING};
use crate::freezer::{FreezeError, FreezeErrorKind, MailstoreConfig, Status};

/// What cannot be done without.
const NEEDED: [&str; 3] = ["GetInstances", "StopInstances", "StartInstances"];

/// To stop an instance, which closes its databases first, or to start it, takes as long as so many requests at most.
const REQUESTS: u32 = 10;

/// Stops and starts one instance.
#[derive(Debug)]
pub(super) struct MailstoreService {
    remote: Remote,
    limit: Duration,
}

/// What tells whether a store is well.
#[derive(Debug, Deserialize)]
struct Store {
    name: String,
    #[serde(default)]
    error: Option<Value>,
}

impl MailstoreService {
    /// Prepares for it; asks nobody.
    pub(super) fn open(config: &MailstoreConfig) -> Result<Self, FreezeError> {
        let limit = Duration::from_millis(config.timeout_ms).saturating_mul(REQUESTS);
        Ok(Self { remote: Remote::open(config)?, limit })
    }

    /// Asks for a state, and waits for it.
    fn bring(&mut self, function: &str, wanted: Status) -> Result<(), FreezeError> {
        let deadline = deadline(self.limit);
        // A reply that did not arrive says nothing: the state does.
        let asked = match self.remote.operate(function, deadline, Overdue::Leave) {
            Err(error) if !is_unclear(&error) && self.state()? != wanted => return Err(error),
            asked => asked,
        };
        loop {
            let found = self.remote.listed(self.remote.client.request_deadline());
            match found {
                Ok(found) if found.state() == wanted => return Ok(()),
                Ok(_) | Err(_) if left(deadline) > PAUSE => thread::sleep(PAUSE),
                Ok(found) => {
                    let (id, status, wanted) = (&self.remote.id, found.status(), wanted.word());
                    let what = format!("was asked for {function}, and says that {id} is {status:?}, not {wanted}");
                    let said = found.start_stop_error.or_else(|| asked.err().map(|error| error.to_string()));
                    let error = self.remote.error(FreezeErrorKind::TimedOut, &what);
                    return Err(error.with_output(said.unwrap_or_default()));
                }
                Err(error) => return Err(error),
            }
        }
    }
}

impl Service for MailstoreService {
    fn state(&mut self) -> Result<Status, FreezeError> {
        Ok(self.remote.listed(self.remote.client.request_deadline())?.state())
    }

    fn check(&mut self) -> Result<(), FreezeError> {
        let deadline = self.remote.client.request_deadline();
        self.remote.need(&NEEDED, deadline)
    }

    fn stop(&mut self) -> Result<(), FreezeError> {
        self.bring("StopInstances", Status::Stopped)
    }

    fn start(&mut self) -> Result<(), FreezeError> {
        self.bring("StartInstances", Status::Running)?;
        // The stores take a moment to open.
        let deadline = deadline(self.limit);
        keep_trying(deadline, || self.remote.stores_answer(deadline)).map_err(|error| {
            let what = format!("started {}, but its stores do not answer", self.remote.id);
            self.remote.error(error.kind.clone(), &what).with_output(error.to_string())
        })
    }

    fn verify(&mut self) -> Result<Option<Vec<String>>, FreezeError> {
        let id = self.remote.id.clone();
        let arguments = [("instanceID", id.as_str()), ("includeIndexes", "false")];
        let mut findings = Vec::new();
        match self.remote.client.invoke("VerifyStores", &arguments, deadline(TESTING), Overdue::Leave) {
            Err(error) if error.kind == FreezeErrorKind::Refused => findings.push(error.to_string()),
            verified => drop(verified?),
        }
        let stores: Vec<Store> = self.remote.stores(self.remote.client.request_deadline())?;
        for Store { name, error } in stores {
            match error {
                None | Some(Value::Null) => {}
                Some(Value::String(text)) => findings.push(format!("store {name}: {text}")),
                Some(other) => findings.push(format!("store {name}: {other}")),
            }
        }
        Ok(Some(findings))
    }

    fn describe(&self) -> String {
        self.remote.describe()
    }
}

/// Whether a request that failed may have been heard.
fn is_unclear(error: &FreezeError) -> bool {
    matches!(error.kind, FreezeErrorKind::TimedOut | FreezeErrorKind::Unreachable | FreezeErrorKind::Failed)
}

#[cfg(test)]
mod tests {
    use icecore_testkit::spe::{Instance, Options, Reply, Simulator, Switches};

    use super::*;

    fn served() -> (Simulator, MailstoreService, tempfile::TempDir) {
        let spe = Simulator::start(Options::new(vec![Instance::new("cust01"), Instance::new("cust010")]));
        let directory = tempfile::tempdir().unwrap();
        let password_file = directory.path().join("password");
        std::fs::write(&password_file, "secret\n").unwrap();
        let config = MailstoreConfig {
            endpoint: spe.endpoint(),
            user: "admin".into(),
            password_file,
            instance_id: "cust01".into(),
            certificate_sha256: Some(spe.certificate_sha256().into()),
            ca_file: None,
            timeout_ms: 500,
            restart_after_failed_thaw: false,
        };
        (spe, MailstoreService::open(&config).unwrap(), directory)
    }

    #[test]
    fn a_stop_and_a_start_count_when_the_state_says_so() {
        let (spe, mut service, _directory) = served();
        service.check().unwrap();
        for (reply, lose_reply_of) in [
            (Reply::Immediate, None),
            (Reply::Token, None),
            (Reply::Immediate, Some("StopInstances")),
            (Reply::Token, Some("StartInstances")),
        ] {
            // Longer than one request may take.
            let stop_delay = Duration::from_millis(800);
            spe.set(|switches| *switches = Switches { reply, lose_reply_of, stop_delay, ..Switches::default() });
            assert_eq!(service.state(), Ok(Status::Running));
            service.stop().unwrap();
            assert_eq!(service.state(), Ok(Status::Stopped));
            service.stop().unwrap();
            service.start().unwrap();
            service.start().unwrap();
            assert_eq!(service.verify(), Ok(Some(Vec::new())));
        }
        spe.set(|switches| *switches = Switches { odd_status: true, ..Switches::default() });
        assert_eq!(service.state(), Ok(Status::Unknown));
        // The other instance was never meant.
        assert!(spe.requests().iter().all(|request| request.arguments.iter().all(|(_, value)| value != "cust010")));
        assert_eq!(spe.status("cust010"), Some(icecore_testkit::spe::Status::Running));
    }

    #[test]
    fn what_does_not_come_about_is_told() {
        let (spe, mut service, _directory) = served();
        spe.set(|switches| switches.refuse_stops = 1);
        assert_eq!(service.stop().unwrap_err().kind, FreezeErrorKind::Refused);
        spe.set(|switches| switches.without = vec!["StopInstances"]);
        assert!(service.check().unwrap_err().message.contains("does not know StopInstances"));
        assert_eq!(service.stop().unwrap_err().kind, FreezeErrorKind::Protocol);
        spe.set(|switches| *switches = Switches { dies_at_start: true, ..Switches::default() });
        service.stop().unwrap();
        let error = service.start().unwrap_err();
        assert!(
            error.kind == FreezeErrorKind::TimedOut && error.message.contains("\"stopped\", not running"),
            "{error}"
        );
        spe.set(|switches| *switches = Switches { damage: Some("3 messages are lost."), ..Switches::default() });
        service.start().unwrap();
        let found = service.verify().unwrap().unwrap();
        assert!(found.len() == 1 && found[0].contains("3 messages"), "{found:?}");
        spe.set(|switches| switches.reachable = false);
        assert_eq!(service.state().unwrap_err().kind, FreezeErrorKind::Unreachable);
        assert_eq!(service.verify().unwrap_err().kind, FreezeErrorKind::Unreachable);
    }
}
