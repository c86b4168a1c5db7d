//! What looks after the configuration file.

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
#[command(after_help = CONFIG_HELP)]
pub enum ConfigCommand {
    /// Tell everything that is wrong with the configuration file, each with line, column and key
    #[command(after_help = CHECK_HELP)]
    Check,
    /// Show what holds in the end: the file with every default filled in, and no secret
    #[command(after_help = "\
Examples:
  icecore config show
  icecore config show --json --config ./new.toml")]
    Show,
    /// Print a commented configuration file with every key and its default
    #[command(after_help = "\
Example:
  icecore config example > /etc/icecore/config.toml")]
    Example,
    /// Print a systemd service and timer that run what is due
    Systemd(SystemdArgs),
}

const CONFIG_HELP: &str = "\
Example, from nothing to a nightly job:
  icecore config example > /etc/icecore/config.toml   then name your repository and directories
  icecore config check
  icecore init --generate-password /etc/icecore/password
  icecore run --now                                   the first night
  icecore config systemd --dir /etc/systemd/system    then: systemctl enable --now icecore.timer";

const CHECK_HELP: &str = "\
Files, directories and programs that the file names and that are not there are told as warnings: they may come later.

Exit codes: 0 nothing is wrong (there may be warnings), 1 something is.

Examples:
  icecore config check
  icecore config check --config ./new.toml";

#[derive(Debug, Args)]
#[command(after_help = "\
The timer wakes icecore every 15 minutes; what is due then is decided by the schedules of the configuration.

Examples:
  icecore config systemd                                both units, to look at
  icecore config systemd --dir /etc/systemd/system      writes icecore.service and icecore.timer there")]
pub struct SystemdArgs {
    /// Write the two units into DIR instead; files that stand there are not replaced
    #[arg(long, value_name = "DIR")]
    pub dir: Option<std::path::PathBuf>,
}
