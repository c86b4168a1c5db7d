//! What brings them back.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use super::values::{root, threads};
use crate::complete;

#[derive(Debug, Clone, Default, Args)]
#[command(after_help = "\
Examples:
  icecore restore latest --to /srv/restored                         into a new directory
  icecore restore wiki~1:attachments/2025 --to /tmp/attachments     a part of it
  icecore restore wiki --in-place --delete --dry-run                what would be done, and nothing else
  icecore restore wiki --in-place --delete                          back to what it was last night
  icecore restore 'wiki@2026-11-20 02:00' --exchange                built beside, verified, swapped in one step
  icecore restore --drop-old /srv/wiki                              delete what stood there before the swap
  icecore restore cust01 --in-place --root archive=/mnt/new         one root stands elsewhere now
  icecore restore cust01 --exchange --stop-start                    stops the application, swaps, starts and verifies it
  icecore restore cust01 --into-new-instance cust01b --root archive=/mnt/b    beside the one that runs (MailStore)
  icecore restore wiki:uploads --to /tmp/u --include '*.pdf' --exclude /uploads/tmp

Where nothing else is said, --in-place and --exchange restore to the directories that were backed up. An interrupted
restore goes on when the same command is run again.

A restore into the directories of a configured instance is refused while its application runs, or may run: --stop-start stops
it before, and starts it when everything stands. If anything fails it is left stopped; the same command goes on.")]
pub struct RestoreArgs {
    /// Which snapshot, and which directory or file of it
    #[arg(value_name = "SNAP[:PATH]", required_unless_present = "drop_old", add = complete::snapshots())]
    pub target: Option<OsString>,
    /// A new or empty directory to write to; with --in-place or --exchange, the one to change
    #[arg(long, value_name = "DIR", required_unless_present_any = ["in_place", "exchange", "roots", "drop_old", "into_new_instance"])]
    pub to: Option<PathBuf>,
    /// Where the root NAME goes; may be given several times
    #[arg(long = "root", value_name = "NAME=DIR", value_parser = root)]
    pub roots: Vec<(String, PathBuf)>,
    /// Change what stands there: write only what differs
    #[arg(long, conflicts_with = "exchange")]
    pub in_place: bool,
    /// With --in-place: delete what the snapshot does not have
    #[arg(long, requires = "in_place")]
    pub delete: bool,
    /// Build the whole tree beside, read it back, then swap it in one step; what stood is kept beside
    #[arg(long)]
    pub exchange: bool,
    /// With --in-place or --exchange: stop the instances whose directories are written, restore, start and verify them
    ///
    /// They stand still for the whole restore, also while --exchange builds the tree. One that was stopped before is started
    /// too. After a failure they are left stopped, and the same command, run again, goes on.
    #[arg(long)]
    pub stop_start: bool,
    /// Make a new MailStore instance and restore into it; --to names its base directory, else it stands beside the old one
    #[arg(long, value_name = "ID", conflicts_with_all = ["in_place", "exchange", "stop_start"])]
    pub into_new_instance: Option<String>,
    /// Restore only what matches a pattern, as in .gitignore; may be given several times
    #[arg(long = "include", value_name = "PATTERN")]
    pub includes: Vec<String>,
    /// Leave out what matches a pattern, and never delete it; may be given several times
    #[arg(long = "exclude", value_name = "PATTERN")]
    pub excludes: Vec<String>,
    /// Show every action and the totals, and change nothing; with -v also what stays as it is
    #[arg(long)]
    pub dry_run: bool,
    /// Read and hash every file that stands there, whatever its size and time say
    #[arg(long)]
    pub rehash: bool,
    /// Read everything back from the disk and compare it
    #[arg(long)]
    pub verify: bool,
    /// Restore owners by number, not by name
    #[arg(long)]
    pub numeric_ids: bool,
    /// Delete the trees that exchanges of DIR left beside it, after naming them (with --dry-run: only name them)
    #[arg(long, value_name = "DIR", conflicts_with_all = ["target", "to", "roots", "in_place", "exchange", "stop_start", "into_new_instance", "includes", "excludes", "rehash", "verify"])]
    pub drop_old: Option<PathBuf>,
    /// Threads that read and write; as many as there are processors if not given
    #[arg(long, value_name = "N", value_parser = threads)]
    pub threads: Option<usize>,
}
