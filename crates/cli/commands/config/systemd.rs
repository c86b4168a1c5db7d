//! `icecore config systemd`: a service and a timer that run what is due.
//!
//! What the service must be able to do decides what is sandboxed:
//!
//! | setting | why so |
//! |---|---|
//! | `KillMode=process` | the guardian is a process of the service: it must outlive an engine that dies, or nobody thaws |
//! | `OOMPolicy=continue` | the same: a process that runs out of memory must not take the guardian with it |
//! | no `PrivateDevices`, `ProtectClock` (which limits devices) | programs that make snapshots use the device mapper |
//! | no `NoNewPrivileges`, `SystemCallFilter`, `CapabilityBoundingSet` | freezers use `sudo`, `mount`, `FIFREEZE`, `nsenter` |
//! | no `PrivateTmp`, `ProtectHome`, `ProtectSystem`, `ProtectKernelModules`, `ProtectKernelLogs`, `ProtectHostname` | each gives the service mounts of its own: what hooks mount stays hidden, `/usr/lib/modules` is empty in the backup of `/`, clones below `/usr` fail |
//! | no `ProtectControlGroups`, `ProtectKernelTunables` | a freezer may freeze a control group, which stands in `/sys` |
//! | no `Nice`, `IOSchedulingClass` | the window and the guardian would be slow too |

use std::ffi::OsStr;
use std::io::Write;
use std::path::Path;
use std::{fs, io};

use serde_json::json;

use crate::args::SystemdArgs;
use crate::error::{Error, Result};
use crate::exit::Code;
use crate::output::Output;
use crate::settings::{PasswordSource, Settings, local_directory};
use crate::world;

const TIMER: &str = "\
[Unit]
Description=Wakes icecore, whose configuration says what is due

[Timer]
OnCalendar=*:00/15
Persistent=true
AccuracySec=1s

[Install]
WantedBy=timers.target
";

/// Runs the command.
pub fn run(args: &SystemdArgs, settings: &Settings, output: &mut Output) -> Result<Code> {
    let configuration = settings.configuration()?;
    let file = std::path::absolute(&configuration.file).map_err(Error::file("find", &*configuration.file))?;
    let state = std::path::absolute(&settings.state).map_err(Error::file("find", &settings.state))?;
    let place = place(settings, output)?;
    let service = service(&world::program()?, &file, &state, &place);
    let units = [("icecore.service", service.as_str()), ("icecore.timer", TIMER)];
    if let Some(directory) = &args.dir {
        let paths = units.map(|(name, _)| directory.join(name));
        if let Some(standing) = paths.iter().find(|path| path.exists()) {
            return Err(Error::Exists(standing.clone()));
        }
        for (path, (_, text)) in paths.iter().zip(units) {
            write_new(path, text).map_err(Error::file("write", path))?;
        }
    }
    if output.manner().json {
        output.document(json!({ "units": units.map(|(name, text)| json!({ "name": name, "text": text })) }))?;
    } else if args.dir.is_none() {
        units.iter().try_for_each(|(name, text)| writeln!(output, "# {name}\n{text}"))?;
    } else {
        output.note("now: systemctl daemon-reload && systemctl enable --now icecore.timer");
    }
    Ok(Code::Done)
}

/// The options that name the repository and its password as they hold now, where the configuration does not: the service has
/// neither this environment nor this home.
fn place(settings: &Settings, output: &Output) -> Result<String> {
    let repository = settings.place.directory();
    let configured = settings.configuration()?.repository.as_ref();
    let configured = configured.filter(|configured| {
        local_directory(OsStr::new(&configured.url)).is_ok_and(|directory| directory == repository)
    });
    let mut options = String::new();
    if configured.is_none() {
        options.push_str(&format!(" --repo {}", quoted(&repository)));
    }
    let next = "write `password-file` into [repository]";
    match &settings.password {
        PasswordSource::File(file) | PasswordSource::Embedded(file) => {
            if configured.and_then(|configured| configured.password_file.as_ref()) != Some(file) {
                let file = std::path::absolute(file).map_err(Error::file("find", file))?;
                options.push_str(&format!(" --password-file {}", quoted(&file)));
            }
        }
        PasswordSource::Given(_) => {
            return Err(Error::Misuse(format!("a service does not have the password of this environment: {next}")));
        }
        PasswordSource::Ask => output.warn(format_args!("a service has nobody to ask for the password: {next}")),
    }
    Ok(options)
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn service(program: &Path, configuration: &Path, state: &Path, place: &str) -> String {
    let [program, configuration, state] = [program, configuration, state].map(quoted);
    format!(
        "\
[Unit]
Description=icecore: everything that is due
Wants=network-online.target
After=network-online.target local-fs.target

[Service]
Type=oneshot
ExecStart={program} run --config {configuration}{place} --state-dir {state} --progress never
# The first signal asks it to end in order; it thaws, and what was stored is used by the next run.
KillSignal=SIGTERM
TimeoutStartSec=infinity
TimeoutStopSec=10min
# The guardian, a process of its own, must live on when icecore dies: it is what thaws.
KillMode=process
OOMPolicy=continue
UMask=0077
# More would keep freezers, snapshots and hooks from working.
LockPersonality=yes
RestrictRealtime=yes
"
    )
}

/// A word of a command line, as systemd reads it.
fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy().replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%").replace('$', "$$");
    format!("\"{text}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_one_word() {
        assert_eq!(quoted(Path::new("/a b/50%\"$x\\")), "\"/a b/50%%\\\"$$x\\\\\"");
    }
}
