//! `icecore instance list`: what is configured.

use icecore_engine::backup::OnWindowFailure;
use serde_json::{Map, Value, json};

use crate::config::Instance;
use crate::error::Result;
use crate::exit::Code;
use crate::output::human::{self, Align, Table};
use crate::output::{Output, json};
use crate::settings::Settings;

/// Runs the command.
pub fn run(settings: &Settings, output: &mut Output) -> Result<Code> {
    let configuration = settings.configuration()?;
    if output.manner().json {
        let instances: Vec<Value> = configuration.instances.iter().map(document).collect();
        let file = configuration.file.to_string_lossy();
        output.document(json!({ "configuration": file, "instances": instances }))?;
        return Ok(Code::Done);
    }
    output.detail(format_args!("configuration: {}", configuration.file.display()));
    if configuration.instances.is_empty() {
        output.note(format_args!("no instance is configured in {}", configuration.file.display()));
        return Ok(Code::Done);
    }
    let mut table = Table::new([
        ("instance", Align::Left),
        ("freezer", Align::Left),
        ("capture", Align::Left),
        ("max freeze", Align::Right),
        ("schedule", Align::Left),
        ("roots", Align::Left),
    ]);
    for instance in &configuration.instances {
        let roots: Vec<_> =
            instance.roots.iter().map(|root| format!("{} = {}", root.name, root.path.display())).collect();
        table.row([
            human::printable(&instance.name),
            instance.freezing.freezer.name().to_owned(),
            instance.freezing.capture.name().to_owned(),
            human::duration(instance.freezing.max_freeze),
            instance.schedule.to_string(),
            human::printable(&roots.join(", ")),
        ]);
    }
    table.print("", output)?;
    Ok(Code::Done)
}

fn document(instance: &Instance) -> Value {
    let freezing = &instance.freezing;
    let roots = instance.roots.iter().map(|root| {
        let mut object = Map::new();
        object.insert("name".to_owned(), root.name.clone().into());
        json::put_path(&mut object, "path", root.path.as_os_str().as_encoded_bytes());
        Value::Object(object)
    });
    let keep: Map<_, _> =
        instance.keep.rules.iter().map(|(kind, number)| ((*kind).to_owned(), (*number).into())).collect();
    json!({
        "name": instance.name,
        "roots": roots.collect::<Vec<_>>(),
        "exclude": instance.exclude,
        "always_read": freezing.always_read,
        "freezer": freezing.freezer.name(),
        "capture": freezing.capture.name(),
        "max_freeze_ms": freezing.max_freeze.as_millis() as u64,
        "warm_rounds": freezing.warm_rounds,
        "on_window_failure": match freezing.on_failure {
            OnWindowFailure::Fail => "fail",
            OnWindowFailure::KeepFuzzy => "keep-fuzzy",
        },
        "schedule": instance.schedule.to_string(),
        "keep": keep,
        "verify": instance.verify,
    })
}
