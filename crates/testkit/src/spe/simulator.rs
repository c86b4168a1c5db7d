//! What a test holds.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use base64ct::{Base64, Encoding as _};

use super::certificate::Identity;
use super::clockwork::{self, Hooks};
use super::model::{Options, Status};
use super::server::{Server, listen};
use super::state::{Effect, InstanceState, Request, Shared, State};
use super::switches::Switches;

/// How long a changed switch may take to show.
const PATIENCE: Duration = Duration::from_secs(10);

/// A running Management Server; it ends when this is dropped.
#[derive(Debug)]
pub struct Simulator {
    shared: Arc<Shared>,
    address: SocketAddr,
    sha256: String,
    ca_pem: String,
    threads: Vec<JoinHandle<()>>,
}

impl Simulator {
    /// Starts a server on a free port of the loopback device, with certificates of its own.
    ///
    /// # Panics
    /// If there is no loopback device.
    pub fn start(options: Options) -> Self {
        let Options { instances, user, password, on_freeze, on_thaw, on_stop, on_start } = options;
        let hooks = Hooks { on_freeze, on_thaw, on_stop, on_start };
        let listener = listen((Ipv4Addr::LOCALHOST, 0).into()).expect("a free port");
        let address = listener.local_addr().expect("a bound port");
        let shared = Arc::new(Shared::new(State::new(instances)));
        let Identity { tls, sha256, ca_pem } = Identity::generate();
        let server = Arc::new(Server {
            shared: Arc::clone(&shared),
            tls,
            address,
            authorization: format!("Basic {}", Base64::encode_string(format!("{user}:{password}").as_bytes())),
            open: Mutex::default(),
        });
        let clock = Arc::clone(&shared);
        let threads =
            vec![thread::spawn(move || server.run(listener)), thread::spawn(move || clockwork::run(&clock, hooks))];
        Self { shared, address, sha256, ca_pem, threads }
    }

    /// Where it listens, as in `https://127.0.0.1:8474`.
    pub fn endpoint(&self) -> String {
        format!("https://{}", self.address)
    }

    /// The fingerprint of its certificate, in lower-case hexadecimal digits.
    pub fn certificate_sha256(&self) -> &str {
        &self.sha256
    }

    /// The authority that signed its certificate.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// Changes how it behaves, from the next request on.
    pub fn set(&self, change: impl FnOnce(&mut Switches)) {
        self.shared.change(|state| change(&mut state.switches));
        drop(self.shared.wait(PATIENCE, |state| state.listening == state.switches.reachable));
    }

    /// Every request so far, in the order of arrival.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.lock().requests.clone()
    }

    /// How often a function was called.
    pub fn calls(&self, function: &str) -> usize {
        self.shared.lock().requests.iter().filter(|request| request.function == function).count()
    }

    /// The functions that operated on instances, in the order of arrival: what only asks is left out.
    pub fn deeds(&self) -> Vec<String> {
        let asks = |function: &str| function.starts_with("Get") || function.starts_with("get-") || function == "Ping";
        let requests = self.requests().into_iter().map(|request| request.function);
        requests.filter(|function| !asks(function)).collect()
    }

    /// Starts or stops an instance as somebody else would, and waits until it is so.
    pub fn operate(&self, id: &str, status: Status) {
        let effect = if status == Status::Running { Effect::Start } else { Effect::Stop };
        self.shared.change(|state| state.begin(effect, vec![id.into()], Duration::ZERO, None));
        let is_so = |state: &State| state.instances.iter().any(|one| one.instance.id == id && one.status == status);
        assert!(is_so(&self.shared.wait(PATIENCE, is_so)), "{id} did not become {status:?}");
    }

    /// Freezes an instance as somebody else would, and waits until it is so.
    pub fn freeze(&self, id: &str) {
        self.shared.change(|state| state.begin(Effect::Freeze, vec![id.into()], Duration::ZERO, None));
        assert!(self.wait_for(id, true), "{id} was not frozen");
    }

    /// Whether the instance of this id is there, and runs.
    pub fn status(&self, id: &str) -> Option<Status> {
        self.shared.lock().instance(id).map(|instance| instance.status)
    }

    /// How often an instance became frozen.
    pub fn freezes(&self) -> u32 {
        self.shared.lock().freezes
    }

    /// How often an instance ceased to be frozen, by whatever means.
    pub fn thaws(&self) -> u32 {
        self.shared.lock().thaws
    }

    /// The instances as they are now.
    pub fn state(&self) -> Vec<InstanceState> {
        self.shared.lock().instances.clone()
    }

    /// Whether the instance of this id is frozen now.
    pub fn is_frozen(&self, id: &str) -> bool {
        self.shared.lock().instance(id).is_some_and(|instance| instance.frozen)
    }

    /// Waits until an instance of this id is frozen or not; tells whether it came to that within ten seconds.
    pub fn wait_for(&self, id: &str, frozen: bool) -> bool {
        let is_so = |state: &State| state.instances.iter().any(|one| one.instance.id == id && one.frozen == frozen);
        is_so(&self.shared.wait(PATIENCE, is_so))
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.shared.change(|state| state.stopping = true);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Instance;
    use super::*;

    #[test]
    fn it_ends_when_it_is_dropped() {
        let simulator = Simulator::start(Options::new(vec![Instance::new("cust01")]));
        let address = simulator.address;
        // A client that connects and never says a word does not hold it up.
        let idle = std::net::TcpStream::connect(address).unwrap();
        drop(simulator);
        std::net::TcpStream::connect(address).unwrap_err();
        drop(idle);
    }
}
