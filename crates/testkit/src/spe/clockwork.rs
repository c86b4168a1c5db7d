//! The one thread that freezes and thaws: whatever takes effect does so here, when it is due, in that order, whether or
//! not anybody still waits for it.

use std::time::{Duration, Instant};

use super::model::{Hook, Status};
use super::state::{Effect, Shared, State};

/// Longest sleep between two looks.
const IDLE: Duration = Duration::from_secs(1);

/// Something that happens to the live instance.
enum Event {
    Quiet(String),
    Awake(String),
    Stopped(String),
    Started(String),
}

/// What is called when something happens to a live instance.
pub(super) struct Hooks {
    pub on_freeze: Hook,
    pub on_thaw: Hook,
    pub on_stop: Hook,
    pub on_start: Hook,
}

/// Works until the simulator ends.
pub(super) fn run(shared: &Shared, mut hooks: Hooks) {
    loop {
        let mut state = shared.lock();
        if state.stopping {
            return;
        }
        let Some((due, token)) = next(&state) else {
            drop(state);
            drop(shared.wait(IDLE, |state| next(state).is_some()));
            continue;
        };
        let now = Instant::now();
        if due > now {
            drop(state);
            drop(shared.wait((due - now).min(IDLE), |state| next(state).is_none_or(|(earlier, _)| earlier < due)));
            continue;
        }
        let (events, outcome) = apply(&mut state, &token);
        drop(state);
        // Without the lock: a hook may take its time, and ask the simulator.
        for event in &events {
            match event {
                Event::Quiet(id) => (hooks.on_freeze)(id),
                Event::Awake(id) => (hooks.on_thaw)(id),
                Event::Stopped(id) => (hooks.on_stop)(id),
                Event::Started(id) => (hooks.on_start)(id),
            }
        }
        shared.change(|state| {
            for event in &events {
                match event {
                    Event::Quiet(_) => state.freezes += 1,
                    Event::Awake(_) => state.thaws += 1,
                    Event::Stopped(id) => state.set_status(id, Status::Stopped),
                    Event::Started(id) => state.set_status(id, Status::Running),
                }
            }
            if let Some(operation) = state.operations.get_mut(&token) {
                operation.version += 1;
                operation.outcome = Some(outcome);
            }
        });
    }
}

fn next(state: &State) -> Option<(Instant, String)> {
    state.operations.iter().filter_map(|(token, one)| Some((one.due?, token.clone()))).min()
}

/// Lets an operation take effect: what happens to the live instances, and how it ends.
fn apply(state: &mut State, token: &str) -> (Vec<Event>, Result<(), String>) {
    let Some(operation) = state.operations.get_mut(token) else { return (Vec::new(), Ok(())) };
    operation.due = None;
    let (effect, ids) = (operation.effect, operation.instances.clone());
    let mut events = Vec::new();
    let mut outcome = Ok(());
    for id in &ids {
        match step(state, effect, id) {
            Ok(happened) => events.extend(happened),
            Err(reason) => outcome = Err(reason),
        }
    }
    if let (Effect::Freeze, Ok(()), Some(after)) = (effect, &outcome, state.switches.auto_thaw) {
        state.begin(Effect::Thaw, ids, after, None);
    }
    (events, outcome)
}

fn step(state: &mut State, effect: Effect, id: &str) -> Result<Vec<Event>, String> {
    let (refuse_repeated, damage) = (state.switches.refuse_repeated, state.switches.damage);
    let dies = state.switches.dies_at_start;
    let Some(live) = state.instance(id) else { return Err(format!("Instance {id} does not exist.")) };
    let (was_frozen, was) = (live.frozen, live.status);
    let mut events = Vec::new();
    match effect {
        Effect::Freeze if was == Status::Stopped => return Err(format!("Instance {id} is not running.")),
        Effect::Freeze if was_frozen && refuse_repeated => return Err(format!("Instance {id} is already frozen.")),
        Effect::Thaw if !was_frozen && refuse_repeated => return Err(format!("Instance {id} is not frozen.")),
        Effect::Freeze => live.frozen = true,
        Effect::Thaw => live.frozen = false,
        Effect::Verify => return damage.map_or(Ok(events), |damage| Err(damage.to_owned())),
        Effect::Restart => {
            live.starts += 1;
            live.status = Status::Running;
            live.frozen = false;
        }
        Effect::Start if was == Status::Running || dies => {}
        Effect::Start => {
            live.starts += 1;
            events.push(Event::Started(id.into()));
        }
        Effect::Stop => {
            live.frozen = false;
            if was == Status::Running {
                events.push(Event::Stopped(id.into()));
            }
        }
    }
    match (was_frozen, live.frozen) {
        (false, true) => events.push(Event::Quiet(id.into())),
        // Whoever is stopped while it is frozen wakes for it.
        (true, false) => events.insert(0, Event::Awake(id.into())),
        _ => {}
    }
    Ok(events)
}
