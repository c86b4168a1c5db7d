//! The functions of the API: arguments in, JSON out.

use std::time::Duration;

use serde_json::{Value, json};

use super::model::{Instance, Status, Store};
use super::state::{Effect, InstanceState, Shared, State};
use super::switches::{Reply, WhileFrozen};

/// Longest wait for anything; clients give up long before.
const FOREVER: Duration = Duration::from_secs(120);

/// An argument: its name, its type, whether it is required.
type Parameter = (&'static str, &'static str, bool);

/// Every function and its arguments.
const FUNCTIONS: &[(&str, &[Parameter])] = &[
    ("CreateInstance", &[("config", "json", true)]),
    ("FreezeInstances", &[("instanceFilter", "string", true)]),
    ("GetInstanceConfiguration", &[("instanceID", "string", true)]),
    ("GetInstanceHosts", &[("serverNameFilter", "string", false)]),
    ("GetInstanceProcessLiveStatistics", &[("instanceID", "string", true)]),
    ("GetInstances", &[("instanceFilter", "string", true)]),
    ("GetStores", &[("instanceID", "string", true), ("includeSize", "bool", false)]),
    ("Ping", &[]),
    ("RestartInstances", &[("instanceFilter", "string", true)]),
    ("StartInstances", &[("instanceFilter", "string", true)]),
    ("StopInstances", &[("instanceFilter", "string", true)]),
    ("ThawInstances", &[("instanceFilter", "string", true)]),
    ("VerifyStores", &[("instanceID", "string", true), ("includeIndexes", "bool", true)]),
];

/// An answer: HTTP status and body.
pub(super) type Answer = (u16, Value);

/// The arguments of a call.
pub(super) struct Arguments<'a>(pub &'a [(String, String)]);

impl Arguments<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    fn number(&self, name: &str) -> u64 {
        self.text(name).parse().unwrap_or(0)
    }
}

/// Calls what a path names; `None` if the API has no such path.
pub(super) fn call(shared: &Shared, path: &str, arguments: &Arguments<'_>) -> Option<Answer> {
    Some(match path.strip_prefix("/api/")? {
        "get-metadata" => (200, metadata(&shared.lock())),
        "get-status" => get_status(shared, arguments),
        "cancel-async" => cancel(shared, arguments),
        other => invoke(shared, other.strip_prefix("invoke/")?, arguments)?,
    })
}

fn metadata(state: &State) -> Value {
    let known = FUNCTIONS.iter().filter(|(name, _)| !state.switches.without.contains(name));
    let described = known.map(|(name, arguments)| {
        let arguments =
            arguments.iter().map(|(name, kind, required)| json!({ "name": name, "type": kind, "nullable": !required }));
        json!({ "name": name, "args": arguments.collect::<Vec<_>>() })
    });
    described.collect()
}

fn invoke(shared: &Shared, function: &str, arguments: &Arguments<'_>) -> Option<Answer> {
    let known = FUNCTIONS.iter().find(|(name, _)| *name == function)?;
    if shared.lock().switches.without.contains(&function) {
        return None;
    }
    for (name, _, required) in known.1 {
        // An optional argument that is there but empty is refused, as the real server does.
        let given = arguments.get(name);
        if given == Some("") || (given.is_none() && *required) {
            return Some((200, failure(&format!("Argument {name} is missing or invalid."))));
        }
    }
    let effect = match function {
        "FreezeInstances" => Effect::Freeze,
        "ThawInstances" => Effect::Thaw,
        "StartInstances" => Effect::Start,
        "StopInstances" => Effect::Stop,
        "RestartInstances" => Effect::Restart,
        "CreateInstance" => return Some((200, create(shared, arguments.text("config")))),
        "VerifyStores" => return Some((200, verify(shared, arguments.text("instanceID")))),
        _ => return Some((200, ask(shared, function, arguments))),
    };
    Some((200, operate(shared, effect, arguments.text("instanceFilter"))))
}

/// Functions that only ask.
fn ask(shared: &Shared, function: &str, arguments: &Arguments<'_>) -> Value {
    match function {
        "Ping" => return success(Value::Null),
        "GetInstanceHosts" => {
            let certificate = json!({ "thumbprint": "A612" });
            return success(json!([
                { "serverName": "ih1", "port": 8472, "serverCertificate": certificate, "baseDirectory": null }
            ]));
        }
        "GetInstances" => {
            let state = shared.lock();
            let matching = state.matching(arguments.text("instanceFilter"));
            return success(matching.into_iter().map(|one| in_list(&state, one)).collect());
        }
        _ => {}
    }
    let id = arguments.text("instanceID");
    let unavailable = |state: &State| state.instances.iter().any(|one| one.instance.id == id && one.frozen);
    let mut state = shared.lock();
    // Configuration belongs to the management server, which is never frozen.
    if function != "GetInstanceConfiguration" && unavailable(&state) {
        match state.switches.while_frozen {
            WhileFrozen::Answer => {}
            WhileFrozen::Refuse => return failure(&format!("Instance {id} does not respond.")),
            WhileFrozen::Hang => {
                drop(state);
                state = shared.wait(FOREVER, |state| !unavailable(state));
            }
        }
    }
    match state.instances.iter().find(|one| one.instance.id == id) {
        None => failure(&format!("Instance {id} does not exist.")),
        Some(one) if function == "GetInstanceConfiguration" => success(configuration(one)),
        Some(one) if one.status == Status::Stopped => failure(&format!("Instance {id} is not running.")),
        Some(one) if function == "GetStores" => success(stores(one, state.switches.stores_below.as_deref())),
        Some(one) => success(json!({ "processUniqueID": format!("7d019ba8-0000-4000-8000-{:012}", one.starts) })),
    }
}

/// Functions that freeze, thaw, start and stop.
fn operate(shared: &Shared, effect: Effect, filter: &str) -> Value {
    let (token, reply) = shared.change(|state| {
        let ids = state.matching(filter).into_iter().map(|one| one.instance.id.clone()).collect();
        let switches = &mut state.switches;
        let (refusals, delay) = match effect {
            Effect::Freeze => (Some(&mut switches.refuse_freezes), switches.freeze_delay),
            Effect::Thaw => (Some(&mut switches.refuse_thaws), switches.thaw_delay),
            Effect::Restart => (Some(&mut switches.refuse_restarts), Duration::ZERO),
            Effect::Stop => (Some(&mut switches.refuse_stops), switches.stop_delay),
            Effect::Start => (Some(&mut switches.refuse_starts), Duration::ZERO),
            Effect::Verify => (None, switches.verify_delay),
        };
        let refused = refusals.filter(|left| **left > 0).map(|left| {
            *left -= 1;
            "The operation was refused by the simulator.".to_owned()
        });
        let reply = switches.reply;
        (state.begin(effect, ids, delay, refused), reply)
    });
    match reply {
        Reply::Token => envelope(&shared.lock(), &token, true),
        Reply::Immediate => envelope(&shared.wait(FOREVER, |state| is_done(state, &token)), &token, false),
    }
}

/// Makes an instance as the real server is thought to: with a directory that holds an empty archive, and running.
fn create(shared: &Shared, config: &str) -> Value {
    let config: Value = serde_json::from_str(config).unwrap_or_default();
    let text = |key: &str| config[key].as_str().unwrap_or_default().to_owned();
    let (id, base) = (text("instanceID"), text("baseDirectory"));
    if [&id, &base, &text("instanceHost")].iter().any(|value| value.is_empty()) {
        return failure("Argument config is missing or invalid.");
    }
    let refused = shared.change(|state| {
        if state.instance(&id).is_some() {
            return Some(format!("Instance {id} already exists."));
        }
        let base = state.switches.creates_in.clone().unwrap_or(base);
        let mut instance = Instance::new(&id);
        instance.stores = vec![Store::below(&base, "2026-11")];
        instance.base_directory = base;
        state.instances.push(InstanceState { instance, status: Status::Stopped, frozen: false, starts: 0 });
        None
    });
    match refused {
        Some(message) => failure(&message),
        // It is filled and started by whoever starts instances.
        None => operate(shared, Effect::Start, &id),
    }
}

/// Tests the stores of a running instance.
fn verify(shared: &Shared, id: &str) -> Value {
    let running = shared.lock().instance(id).map(|one| one.status == Status::Running && !one.frozen);
    match running {
        None => failure(&format!("Instance {id} does not exist.")),
        Some(false) => failure(&format!("Instance {id} is not running.")),
        Some(true) => operate(shared, Effect::Verify, id),
    }
}

fn is_done(state: &State, token: &str) -> bool {
    state.operations.get(token).is_none_or(|operation| operation.outcome.is_some())
}

fn get_status(shared: &Shared, arguments: &Arguments<'_>) -> Answer {
    let token = arguments.text("token");
    let (known, limit) = (arguments.number("lastKnownStatusVersion"), arguments.number("millisecondsTimeout"));
    let changed = |state: &State| state.operations.get(token).is_none_or(|operation| operation.version > known);
    let state = shared.wait(Duration::from_millis(limit).min(FOREVER), changed);
    if state.switches.forget_tokens || !state.operations.contains_key(token) {
        return (404, Value::Null);
    }
    (200, envelope(&state, token, true))
}

fn cancel(shared: &Shared, arguments: &Arguments<'_>) -> Answer {
    let token = arguments.text("token");
    shared.change(|state| match state.operations.get_mut(token) {
        None => (404, Value::Null),
        Some(operation) => {
            if state.switches.cancellable && operation.due.take().is_some() {
                operation.version += 1;
                operation.outcome = Some(Err("The operation was cancelled.".into()));
            }
            (200, success(Value::Null))
        }
    })
}

fn in_list(state: &State, one: &InstanceState) -> Value {
    let running = one.status == Status::Running;
    let status = match one.status {
        Status::Stopped => "stopped",
        Status::Running if state.switches.odd_status => "starting",
        Status::Running if one.frozen && state.switches.shows_frozen => "frozen",
        Status::Running => "running",
    };
    json!({
        "instanceID": one.instance.id, "alias": null, "displayName": one.instance.display_name, "instanceHost": "ih1",
        "startMode": "automatic", "processID": running.then_some(5000 + one.starts), "status": status,
        "startStopError": null,
    })
}

fn configuration(one: &InstanceState) -> Value {
    json!({
        "instanceID": one.instance.id, "alias": null, "displayName": one.instance.display_name, "instanceHost": "ih1",
        "startMode": "automatic", "baseDirectory": one.instance.base_directory, "debugLogEnabled": false,
        "imapServerConnectionLogEnabled": false, "vssWriterEnabled": true, "vssWriterExcludeIndexes": false,
    })
}

fn stores(one: &InstanceState, elsewhere: Option<&str>) -> Value {
    let described = one.instance.stores.iter().zip(1..).map(|(store, id)| {
        let moved = elsewhere.map(|directory| Store::below(directory, &store.name));
        let store = moved.as_ref().unwrap_or(store);
        json!({
            "id": id, "name": store.name, "requestedState": "current", "error": null, "statisticsCount": 1,
            "statisticsSize": 1, "needsUpgrade": false, "searchIndexesNeedRebuild": false,
            "databasePath": store.database_path, "contentPath": store.content_path, "indexPath": store.index_path,
        })
    });
    described.collect()
}

fn success(result: Value) -> Value {
    json!({
        "error": null, "token": null, "statusVersion": 2, "statusCode": "succeeded", "percentProgress": null,
        "statusText": null, "result": result, "logOutput": null,
    })
}

/// What is answered to whatever is refused.
pub(super) fn failure(message: &str) -> Value {
    json!({
        "error": { "message": message, "details": format!("System.InvalidOperationException: {message}") },
        "token": null, "statusVersion": 2, "statusCode": "failed", "percentProgress": null, "statusText": null,
        "result": null, "logOutput": null,
    })
}

fn envelope(state: &State, token: &str, shows_token: bool) -> Value {
    let operation = state.operations.get(token);
    let mut envelope = match operation.and_then(|operation| operation.outcome.as_ref()) {
        Some(Ok(())) => success(Value::Null),
        Some(Err(message)) => failure(message),
        None => {
            let mut running = success(Value::Null);
            running["statusCode"] = "running".into();
            running
        }
    };
    envelope["statusVersion"] = operation.map_or(0, |operation| operation.version).into();
    if shows_token {
        envelope["token"] = token.into();
    }
    envelope
}
