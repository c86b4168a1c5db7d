//! What the simulated server knows at an instant.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::model::{Instance, Status};
use super::switches::{Filter, Switches};

/// A request that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// When it was read.
    pub at: Instant,
    /// What was called: a function, or `get-status` and its like.
    pub function: String,
    /// The arguments, in their order.
    pub arguments: Vec<(String, String)>,
    /// The HTTP status it was answered with.
    pub status: u16,
}

/// An instance as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceState {
    /// How it was set up.
    pub instance: Instance,
    /// Whether it runs.
    pub status: Status,
    /// Whether it is frozen.
    pub frozen: bool,
    /// How often its process was started; part of its process ids.
    pub starts: u32,
}

/// What an operation does to its instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    Freeze,
    Thaw,
    Start,
    Stop,
    Restart,
    Verify,
}

/// Work that was asked for.
#[derive(Debug)]
pub(super) struct Operation {
    pub effect: Effect,
    pub instances: Vec<String>,
    /// When it takes effect; `None` once the clockwork has it.
    pub due: Option<Instant>,
    /// Rises with each change.
    pub version: u64,
    /// `None` while it runs.
    pub outcome: Option<Result<(), String>>,
}

#[derive(Debug)]
pub(super) struct State {
    pub instances: Vec<InstanceState>,
    pub switches: Switches,
    pub operations: BTreeMap<String, Operation>,
    pub requests: Vec<Request>,
    /// How often an instance became frozen, and ceased to be.
    pub freezes: u32,
    pub thaws: u32,
    pub listening: bool,
    pub stopping: bool,
}

impl State {
    pub fn new(instances: Vec<Instance>) -> Self {
        let instances = instances
            .into_iter()
            .map(|instance| InstanceState { status: instance.status, frozen: false, starts: 1, instance })
            .collect();
        Self {
            instances,
            switches: Switches::default(),
            operations: BTreeMap::new(),
            requests: Vec::new(),
            freezes: 0,
            thaws: 0,
            listening: true,
            stopping: false,
        }
    }

    /// The instances that a filter matches.
    pub fn matching(&self, filter: &str) -> Vec<&InstanceState> {
        let matches = |id: &str| match self.switches.filter {
            _ if filter == "*" => true,
            Filter::Exact => id == filter,
            Filter::Prefix => id.starts_with(filter),
        };
        self.instances.iter().filter(|one| matches(&one.instance.id)).collect()
    }

    pub fn instance(&mut self, id: &str) -> Option<&mut InstanceState> {
        self.instances.iter_mut().find(|one| one.instance.id == id)
    }

    pub fn set_status(&mut self, id: &str, status: Status) {
        if let Some(live) = self.instance(id) {
            live.status = status;
        }
    }

    /// Takes up an operation and returns its token. `refused` ends it before it begins.
    pub fn begin(
        &mut self,
        effect: Effect,
        instances: Vec<String>,
        delay: Duration,
        refused: Option<String>,
    ) -> String {
        let token = format!("{:010x}", 0x00c1_f5a3_f0b7_u64 + self.operations.len() as u64);
        let operation = Operation {
            effect,
            instances,
            due: refused.is_none().then(|| Instant::now() + delay),
            version: if refused.is_some() { 2 } else { 1 },
            outcome: refused.map(Err),
        };
        self.operations.insert(token.clone(), operation);
        token
    }
}

/// The state, and a bell that rings at each change of it.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    pub fn new(state: State) -> Self {
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state and rings.
    pub fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let answer = change(&mut self.lock());
        self.changed.notify_all();
        answer
    }

    /// Waits until `ready`, the time is up, or the simulator ends; returns the state as it is then.
    pub fn wait(&self, limit: Duration, mut ready: impl FnMut(&State) -> bool) -> MutexGuard<'_, State> {
        let waiting = |state: &mut State| !state.stopping && !ready(state);
        self.changed.wait_timeout_while(self.lock(), limit, waiting).unwrap_or_else(PoisonError::into_inner).0
    }
}
