//! What a host cannot do whose key can only write: it backs up, and others take care of the repository.
//!
//! What the configuration asks for fails, with the place where it does. What is only done by default is told to be left
//! out, once, and is not due on this host until a key is used that can read.

use icecore_service::{Records, Task};

use crate::config::{Configuration, Instance, Mark};
use crate::exit::{Code, Sorted};

/// `keep` of an instance cannot be had.
pub fn keep(instance: &Instance, configuration: &Configuration) -> Sorted {
    let place = format!("{}: `keep` of instance {}", configuration.file.display(), instance.name);
    refusal(&place, "take it out here")
}

/// A schedule cannot be kept.
pub fn schedule(asked: &Mark) -> Sorted {
    refusal(&asked.to_string(), "write \"never\" here")
}

fn refusal(place: &str, instead: &str) -> Sorted {
    Sorted {
        message: format!("{place}: the key of this host can only write"),
        hint: Some(format!("{instead}, and let a host do it whose key can read")),
        code: Code::Misuse,
    }
}

/// Notes that something is left out from now on; gives what is to be told of it.
pub fn skip(task: &Task, records: &Records) -> Vec<String> {
    let told = format!(
        "{task}: left out, now and from now on, because the key of this host can only write: let a host do it whose key \
         can read"
    );
    let noted = records.note(|history| history.only_writes = true).err();
    let unnoted = noted.map(|error| format!("{task}: this cannot be noted in the state directory: {error}"));
    [told].into_iter().chain(unnoted).collect()
}
