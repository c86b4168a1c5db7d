//! What shows snapshots as files.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::values::{size, time_limit};
use crate::complete;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  icecore mount /mnt/ice                            every snapshot, until Ctrl-C or `fusermount3 -u /mnt/ice`
  icecore mount /mnt/ice --snapshot wiki~1          the content of one
  icecore mount /mnt/ice -i wiki --allow-other      those of one series, for every user as far as file modes let him

What is mounted is read-only:
  instances/NAME/TIME/…      a snapshot by its local time (2026-11-20_02-00-00; others of that second: …_ID8)
  instances/NAME/latest      leads to the newest
  snapshots/ID8              leads to the same snapshot by its id
With several roots, their names come next. Snapshots that are made or forgotten meanwhile appear and vanish.

In NAME, a slash, a percent sign and control characters are written as % and two hexadecimal digits (/srv/data is
%2Fsrv%2Fdata), and so are the dots of a name of nothing but dots.

A file with anything that cannot be read, or is not what was stored, gives an I/O error there, and one warning here. Device files
lead nowhere. Without --allow-other nobody but you may look, and you may read everything.")]
pub struct MountArgs {
    /// An empty directory
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
    /// Only the content of this snapshot, at the top: an id's first digits, latest, NAME, NAME~N or NAME@TIME
    #[arg(long, value_name = "SNAP", add = complete::snapshots())]
    pub snapshot: Option<String>,
    /// Only the snapshots of this series
    #[arg(long, short, value_name = "NAME", conflicts_with = "snapshot", add = complete::series())]
    pub instance: Option<String>,
    /// Let other users look too, as far as recorded modes and ACLs let them
    #[arg(long)]
    pub allow_other: bool,
    /// How much opened content is kept in memory
    #[arg(long, value_name = "SIZE", default_value = "256M", value_parser = size)]
    pub cache: u64,
    /// How often snapshots that appeared or were forgotten are looked for
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = time_limit)]
    pub refresh: Duration,
}
