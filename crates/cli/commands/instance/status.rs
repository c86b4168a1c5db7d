//! `icecore instance status`: whether instances are frozen, and whether a freeze window is open.

use icecore_source::freezer::{FreezeError, Status};
use icecore_source::window::{OpenWindow, open_windows};
use serde_json::{Value, json};

use super::ANSWER;
use crate::args::InstanceStatusArgs;
use crate::config::Instance;
use crate::error::Result;
use crate::exit::Code;
use crate::output::human::{self, Align, Table};
use crate::output::{Output, json};
use crate::settings::Settings;
use crate::time;

/// Runs the command.
pub fn run(args: &InstanceStatusArgs, settings: &Settings, output: &mut Output) -> Result<Code> {
    let chosen = settings.configuration()?.chosen(&args.names, args.names.is_empty())?;
    let open = open_windows(&settings.windows());
    let looks: Vec<_> = chosen.iter().map(|instance| Look::at(instance, &open)).collect();
    for (look, error) in looks.iter().filter_map(|look| Some((look, look.state.as_ref().err()?))) {
        output.warn(format_args!("instance {}: {error}", human::printable(look.name)));
    }
    if output.manner().json {
        let instances: Vec<_> = looks.iter().map(Look::document).collect();
        output.document(json!({ "instances": instances }))?;
    } else {
        let mut table = Table::new([
            ("instance", Align::Left),
            ("state", Align::Left),
            ("window", Align::Left),
            ("freezer", Align::Left),
        ]);
        for look in &looks {
            let window = look.window.map_or_else(|| "-".to_owned(), window);
            table.row([human::printable(look.name), look.word().to_owned(), window, human::printable(&look.freezer)]);
        }
        table.print("", output)?;
    }
    Ok(if looks.iter().any(|look| look.state.is_err()) { Code::Failed } else { Code::Done })
}

/// What was found of one instance.
struct Look<'a> {
    name: &'a str,
    freezer: String,
    state: std::result::Result<Status, FreezeError>,
    window: Option<&'a OpenWindow>,
}

impl<'a> Look<'a> {
    fn at(instance: &'a Instance, open: &'a [OpenWindow]) -> Self {
        let window = open.iter().find(|window| window.instance == instance.name);
        let config = &instance.freezing.freezer;
        let (freezer, state) = match config.open() {
            Ok(mut freezer) => (freezer.describe(), freezer.status(ANSWER)),
            Err(error) => (config.name().to_owned(), Err(error)),
        };
        Self { name: &instance.name, freezer, state, window }
    }

    fn word(&self) -> &'static str {
        match &self.state {
            Ok(state) => state.word(),
            Err(_) => "no answer",
        }
    }

    fn document(&self) -> Value {
        json!({
            "instance": self.name,
            "state": if self.state.is_ok() { Some(self.word()) } else { None },
            "error": self.state.as_ref().err().map(ToString::to_string),
            "freezer": self.freezer,
            "window": self.window.map(|window| json!({
                "since": json::time(window.since),
                "engine_pid": window.engine_pid,
                "thawed": window.thawed,
            })),
        })
    }
}

fn window(window: &OpenWindow) -> String {
    let state = if window.thawed { "thawed, of" } else { "open, of" };
    format!("{state} process {} since {}", window.engine_pid, time::local(window.since))
}
