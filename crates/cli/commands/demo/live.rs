//! The application as the demonstration sees it: a child process, and a configuration that says how it is frozen.

use std::fmt;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::application::Places;
use crate::args::{DEMO_PART, DemoPart};
use crate::error::{Error, Result};
use crate::{interrupt, world};

/// How long the application may take to begin: it makes all its files first.
const BEGIN_LIMIT: Duration = Duration::from_secs(120);

/// How long one that was told to end is waited for before it is killed.
const END_LIMIT: Duration = Duration::from_secs(10);

/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// The running application; it ends when this is dropped.
pub struct Application {
    child: Child,
}

impl fmt::Debug for Application {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Application").field("id", &self.id()).finish()
    }
}

impl Application {
    /// Starts it and waits until it works.
    pub fn start(base: &Path, places: &Places) -> Result<Self> {
        let program = world::program()?;
        let mut command = Command::new(&program);
        command.args([DEMO_PART, DemoPart::Application.name()]).arg(base);
        // Its input is what tells it of our end, however we end; Ctrl-C is for us alone.
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut application = Self { child: command.spawn().map_err(Error::file("start", program))? };
        let begun = Instant::now();
        while !places.is_ready() {
            if interrupt::is_raised() {
                return Err(Error::Interrupted);
            }
            if !matches!(application.child.try_wait(), Ok(None)) || begun.elapsed() > BEGIN_LIMIT {
                return Err(Error::Demo("the application did not begin to work".to_owned()));
            }
            thread::sleep(LOOK);
        }
        Ok(application)
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let told = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) {
            if told.elapsed() > END_LIMIT {
                // It has ended, or hangs in the kernel: nothing more can be done.
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            thread::sleep(LOOK);
        }
    }
}

/// Writes a configuration that names the repository, the application, and the programs that freeze and thaw it.
pub fn configure(file: &Path, name: &str, base: &Path, places: &Places, repository: &Path, key: &Path) -> Result<()> {
    let program = world::program()?;
    // A text in JSON is one in TOML too.
    let text = |path: &Path| {
        let text = path.to_str().map(|text| json!(text).to_string());
        text.ok_or_else(|| Error::Demo(format!("{} is not Unicode, as a configuration must be", path.display())))
    };
    let part = |part: DemoPart| {
        Ok::<_, Error>(format!("[{}, \"{DEMO_PART}\", \"{}\", {}]", text(&program)?, part.name(), text(base)?))
    };
    let lines = [
        "[repository]".to_owned(),
        format!("url = {}", text(repository)?),
        format!("password-file = {}", text(key)?),
        "\n[[instance]]".to_owned(),
        format!("name = \"{name}\""),
        format!("roots = {{ application = {} }}", text(&places.instance)?),
        "max-freeze = \"30s\"".to_owned(),
        "\n[instance.freezer]\nkind = \"command\"".to_owned(),
        format!("freeze = {}", part(DemoPart::Freeze)?),
        format!("thaw = {}", part(DemoPart::Thaw)?),
        format!("status = {}\n", part(DemoPart::Status)?),
    ];
    fs::write(file, lines.join("\n")).map_err(Error::file("write", file))
}
