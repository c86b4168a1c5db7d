//! What looks after a repository.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueHint};
use icecore_engine::prune::MaxUnused;

use super::values::{max_unused, percent, size, threads, time_limit};
use super::{Compression, SeriesFilter};
use crate::complete;

#[derive(Debug, Clone, Default, Args)]
#[command(after_help = "\
Rules count together: a snapshot stays if any of them keeps it. Each instance on each host is judged by itself. Without
a rule, the `keep` of the configured instances counts, for the snapshots of this host.

Examples:
  icecore forget --keep-daily 14 --keep-weekly 8 --keep-monthly 12 --dry-run
  icecore forget --instance wiki --keep-within 30d --keep-tag release
  icecore forget 3f2a9c1e                          this one snapshot
  icecore forget                                   what the configuration says")]
pub struct ForgetArgs {
    /// Snapshots to forget: ids' first digits, latest, NAME, NAME~N or NAME@TIME
    #[arg(value_name = "SNAP", conflicts_with_all = CHOICES, add = complete::snapshots())]
    pub snapshots: Vec<String>,
    #[command(flatten)]
    pub filter: SeriesFilter,
    /// Keep the newest N
    #[arg(long, value_name = "N")]
    pub keep_last: Option<u32>,
    /// Keep the newest of each of the last N hours that have one
    #[arg(long, value_name = "N")]
    pub keep_hourly: Option<u32>,
    /// The same for days
    #[arg(long, value_name = "N")]
    pub keep_daily: Option<u32>,
    /// The same for weeks, which begin on Mondays
    #[arg(long, value_name = "N")]
    pub keep_weekly: Option<u32>,
    /// The same for months
    #[arg(long, value_name = "N")]
    pub keep_monthly: Option<u32>,
    /// The same for years
    #[arg(long, value_name = "N")]
    pub keep_yearly: Option<u32>,
    /// Keep what is at most so much older than the newest, as in 36h, 14d, 8w, 6m (months) or 1y6m
    #[arg(long, value_name = "TIME")]
    pub keep_within: Option<String>,
    /// Keep what has this tag; may be given several times
    #[arg(long = "keep-tag", value_name = "TEXT", add = complete::tags())]
    pub keep_tags: Vec<String>,
    /// Forget an instance's last application-consistent snapshot too
    #[arg(long)]
    pub force: bool,
    /// Say what would be forgotten and freed, and change nothing
    #[arg(long, short = 'n')]
    pub dry_run: bool,
    /// Then prune, as `icecore prune` does without options
    #[arg(long, conflicts_with = "dry_run")]
    pub prune: bool,
}

#[derive(Debug, Clone, Default, Args)]
#[command(after_help = "\
A prune marks what nothing needs; a prune after the grace period deletes it, unless somebody needs it by then. Backups may
run all the time.

Examples:
  icecore prune                    run it nightly, behind forget
  icecore prune --dry-run          what would be marked, copied and deleted
  icecore prune --max-unused 0 --max-repack 20G --time-limit 1h
                                   free as much as can be, a piece each night
  icecore prune --undo             what was marked counts as stored again
  icecore prune --now              delete at once, on a repository that nothing else uses")]
pub struct PruneArgs {
    /// Say what would be done, and change nothing
    #[arg(long, short = 'n')]
    pub dry_run: bool,
    /// Let so much stay that nothing needs: a share of all bytes, or bytes, as in 5%, 0 or 10G
    #[arg(long, value_name = "SHARE|SIZE", value_parser = max_unused)]
    pub max_unused: Option<MaxUnused>,
    /// Copy at most so many bytes to free others, as in 500M or 20G
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub max_repack: Option<u64>,
    /// Begin no further copy after this time, as in 90s, 30m or 2h
    #[arg(long, value_name = "TIME", value_parser = time_limit)]
    pub time_limit: Option<Duration>,
    /// How long what is marked now waits, 4h at least [default: 24h]
    #[arg(long, value_name = "TIME", value_parser = time_limit, conflicts_with_all = ["now", "undo"])]
    pub grace: Option<Duration>,
    /// Wait for nothing; refused while a backup is running anywhere
    #[arg(long)]
    pub now: bool,
    /// Take marks back whose grace period is not over
    #[arg(long, conflicts_with_all = ["now", "dry_run", "max_unused", "max_repack", "time_limit"])]
    pub undo: bool,
}

/// The options of `forget` that choose snapshots, or make rules.
const CHOICES: [&str; 11] = [
    "instances",
    "host",
    "tags",
    "keep_last",
    "keep_hourly",
    "keep_daily",
    "keep_weekly",
    "keep_monthly",
    "keep_yearly",
    "keep_within",
    "keep_tags",
];

#[derive(Debug, Clone, Copy, Default, Args)]
#[command(after_help = "\
Examples:
  icecore check                    tests names, links and sizes; reads no data
  icecore check --read-data        reads everything, as a restore of all snapshots would
  icecore check --read-data=10% --time-limit 30m
                                   what was not verified for the longest time: run it nightly
  icecore check --no-key           compares each object with its name; needs no password")]
pub struct CheckArgs {
    /// Read and verify data too: all of it, or the given share, the longest-unverified first
    #[arg(long, value_name = "PERCENT", num_args = 0..=1, require_equals = true, default_missing_value = "100%",
        value_parser = percent)]
    pub read_data: Option<u8>,
    /// Begin no further pack after this time, as in 90s, 30m or 2h
    #[arg(long, value_name = "TIME", value_parser = time_limit, requires = "read_data")]
    pub time_limit: Option<Duration>,
    /// Compare each object with its name, and nothing else: needs no key
    #[arg(long, conflicts_with_all = ["read_data", "time_limit"])]
    pub no_key: bool,
}

#[derive(Debug, Clone, Copy, Default, Args)]
#[command(after_help = "\
First everything is looked at, and what would be done is told. Then
  * packs that no fragment names are named by one, and fragments that cannot be read are replaced;
  * of damaged packs, every chunk that is whole is stored again; the packs are kept below `damaged/`;
  * beside each snapshot that has lost something, a corrected one is written that names what is missing;
  * the local index is made anew.
What the live files still have of lost content is had again by a backup: run `check --read-data` and a backup first.
When only the local index is wrong, `rebuild-index` is enough.

Examples:
  icecore repair --dry-run         tells what would be done, and changes nothing
  icecore repair                   does it
  icecore repair --quick           reads only packs of a wrong size and those that no fragment names

Exit codes: 0 sound or mended, 3 mended as far as possible, but something is lost or left; with --dry-run 1 if
anything is wrong.")]
pub struct RepairArgs {
    /// Say what would be done, and change nothing
    #[arg(long, short = 'n')]
    pub dry_run: bool,
    /// Do not read packs that seem to be whole
    #[arg(long)]
    pub quick: bool,
}

#[derive(Debug, Clone, Default, Args)]
#[command(after_help = "\
A snapshot that was copied before is not copied again. Content is verified on the way, and stored under the keys of the
other repository, only where that lacks it. An interrupted copy goes on when the same command is run again.

Examples:
  icecore copy --to /mnt/usb/icecore --to-password-file ~/usb.key          everything that it lacks
  icecore copy --to /mnt/usb/icecore --to-password-file ~/usb.key latest
  icecore copy --to /mnt/usb/icecore --to-password-file ~/usb.key -i wiki --tag monthly")]
pub struct CopyArgs {
    /// Snapshots to copy: ids' first digits, latest, NAME, NAME~N or NAME@TIME; all if none is named
    #[arg(value_name = "SNAP", conflicts_with_all = ["instances", "host", "tags"], add = complete::snapshots())]
    pub snapshots: Vec<String>,
    /// The directory of the other repository
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub to: OsString,
    /// A file with the other repository's password; it is asked for if not given
    #[arg(long, value_name = "FILE")]
    pub to_password_file: Option<PathBuf>,
    #[command(flatten)]
    pub filter: SeriesFilter,
    /// Say which snapshots would be copied, and copy nothing
    #[arg(long, short = 'n')]
    pub dry_run: bool,
    /// How hard to compress
    #[arg(long, value_name = "LEVEL", default_value = "default")]
    pub compression: Compression,
    /// Threads that read, verify and compress; as many as there are processors if not given
    #[arg(long, value_name = "N", value_parser = threads)]
    pub threads: Option<usize>,
}

#[derive(Debug, Clone, Default, Args)]
#[command(after_help = "\
`unique` is what nothing would need any more if this snapshot alone were forgotten, as it is stored.

Examples:
  icecore stats
  icecore stats --instance wiki --json")]
pub struct StatsArgs {
    /// Only the snapshots of this series; may be given several times
    #[arg(long = "instance", short, value_name = "NAME", add = complete::series())]
    pub instances: Vec<String>,
}
