//! What looks after configured instances.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::values::threads;
use crate::complete;

#[derive(Debug, Subcommand)]
#[command(after_help = INSTANCE_HELP)]
pub enum InstanceCommand {
    /// List the configured instances
    #[command(after_help = "Example:\n  icecore instance list --json")]
    List,
    /// Ask whether instances are frozen; all of them if none is named
    Status(InstanceStatusArgs),
    /// Thaw an instance, and close the window that an interrupted backup left
    Thaw(InstanceThawArgs),
    /// Freeze, list and thaw an instance as a backup would, and store nothing
    TestFreeze(TestFreezeArgs),
    /// Ask a MailStore Management Server for its instances and print a configuration for them
    Discover(DiscoverArgs),
}

const INSTANCE_HELP: &str = "\
Example of a configuration file, in TOML (--config FILE, ICECORE_CONFIG, else
~/.config/icecore/config.toml, else /etc/icecore/config.toml):

  [repository]
  url = \"/srv/icecore\"
  password-file = \"/etc/icecore/password\"

  [[instance]]
  name = \"cust01\"
  roots = { base = \"/srv/app/cust01\", archive = \"/mnt/slow/cust01\" }
  exclude = [\"*.tmp\"]
  max-freeze = \"30s\"                # after that it is thawed, done or not
  on-window-failure = \"fail\"        # or keep-fuzzy
  capture = \"auto\"                  # or hold, clone, snapshot

  [instance.snapshot]               # only if programs make snapshots; btrfs needs none
  create = [\"/usr/local/bin/snap\", \"create\"]
  destroy = [\"/usr/local/bin/snap\", \"destroy\"]
  path = \"/mnt/snap{root}\"          # or a program that prints it

  [instance.freezer]
  kind = \"command\"                  # or none, fsfreeze, mailstore
  freeze = [\"/usr/local/bin/app-freeze\", \"cust01\"]
  thaw = [\"/usr/local/bin/app-thaw\", \"cust01\"]
  status = [\"/usr/local/bin/app-status\", \"cust01\"]    # exits with 0: running, 3: frozen, 5: stopped
  stop = [\"/usr/local/bin/app-stop\", \"cust01\"]        # with start: for restore --stop-start
  start = [\"/usr/local/bin/app-start\", \"cust01\"]";

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  icecore instance status
  icecore instance status cust01 --json")]
pub struct InstanceStatusArgs {
    /// Which instances
    #[arg(value_name = "NAME", add = complete::instances())]
    pub names: Vec<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  icecore instance thaw cust01     that it was not frozen is no error")]
pub struct InstanceThawArgs {
    /// Which instance
    #[arg(value_name = "NAME", add = complete::instances())]
    pub name: String,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  icecore instance test-freeze cust01     tells how long a real night would freeze it")]
pub struct TestFreezeArgs {
    /// Which instance
    #[arg(value_name = "NAME", add = complete::instances())]
    pub name: String,
    /// Threads that list; as many as there are processors if not given
    #[arg(long, value_name = "N", value_parser = threads)]
    pub threads: Option<usize>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
The administrator's password is read from the file that --password-file names.

Example:
  icecore instance discover --endpoint https://spe.example.com:8474 --user admin \\
      --password-file /etc/icecore/mailstore-password --certificate-sha256 4F:2A:… >> config.toml")]
pub struct DiscoverArgs {
    /// The Management Server, as in https://HOST:8474
    #[arg(long, value_name = "URL")]
    pub endpoint: String,
    /// A system administrator of the Management Server
    #[arg(long, value_name = "NAME")]
    pub user: String,
    /// The SHA-256 fingerprint that the server's certificate must have
    #[arg(long, value_name = "HEX", required_unless_present = "ca_file")]
    pub certificate_sha256: Option<String>,
    /// The certificates (PEM) that may have signed the server's
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
}
