//! What was typed. What it means is decided by [`settings`](crate::settings).

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use icecore_engine::prune::MaxUnused;

const AFTER_HELP: &str = "\
Two commands to begin with:
  icecore demo                     show two nights of a live application, in a temporary place
  icecore backup /srv/data         back up a directory; with nothing configured, a repository is
                                   made below your data directory, and its place is told

A snapshot is named by the first digits of its id, by `latest`, by NAME (the newest of a series),
NAME~2 (two before it), NAME@2026-11-20 or \"NAME@2026-11-20 02:00\" (the newest at or before).

Exit codes: 0 done, 1 failed, 2 misuse, 3 done but some entries could not be read or restored,
4 an instance may still be frozen, 10 no repository, 11 busy, 12 wrong password, 130 interrupted.";

/// Freezes an application for a blink, keeps that instant for ever, and gives it back.
#[derive(Debug, Parser)]
#[command(name = "icecore", version, after_help = AFTER_HELP, max_term_width = 100, arg_required_else_help = true)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// The directory of the repository [env: ICECORE_REPOSITORY]
    #[arg(long, short, global = true, value_name = "DIR")]
    pub repo: Option<OsString>,
    /// A file with the repository's password [env: ICECORE_PASSWORD_FILE, or the password itself: ICECORE_PASSWORD]
    #[arg(long, global = true, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// Where the index is kept; on a disk of this host [env: ICECORE_STATE_DIR]
    #[arg(long, global = true, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// The configuration file [env: ICECORE_CONFIG; else yours, else that of the host in /etc/icecore]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print one JSON document instead of text
    #[arg(long, global = true)]
    pub json: bool,
    /// Say nothing but results that were asked for, warnings and errors
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// Say more
    #[arg(long, short, global = true, conflicts_with = "quiet")]
    pub verbose: bool,
    /// Whether to show progress on a terminal
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub progress: ProgressWhen,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum ProgressWhen {
    /// On a terminal
    #[default]
    Auto,
    /// Not at all
    Never,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show two nights of a live application in a temporary place
    Demo(DemoArgs),
    /// Create a repository
    Init(InitArgs),
    /// Take snapshots of directories or configured instances
    Backup(BackupArgs),
    /// List the snapshots, the oldest first
    Snapshots(SnapshotsArgs),
    /// Show everything that is recorded of one snapshot
    Show(ShowArgs),
    /// List what is in a snapshot
    Ls(LsArgs),
    /// Bring back a snapshot or a part of it: elsewhere, in place, or by exchange
    Restore(RestoreArgs),
    /// Delete snapshots by rules or by name; what only they needed becomes free
    Forget(ForgetArgs),
    /// Delete what no snapshot needs any more, beside backups and without a lock
    Prune(PruneArgs),
    /// Test whether everything that was stored is there and sound
    Check(CheckArgs),
    /// Mend what can be mended; nothing is destroyed, and what is lost is named
    Repair(RepairArgs),
    /// Copy snapshots into another repository
    Copy(CopyArgs),
    /// Show how much is stored, and what each snapshot costs
    Stats(StatsArgs),
    /// Manage the keys that open the repository
    #[command(subcommand)]
    Key(KeyCommand),
    /// Look after the configured instances: what they are, whether they are frozen
    #[command(subcommand)]
    Instance(InstanceCommand),
    /// Make the local index anew from the repository
    RebuildIndex,
    /// Print a script that completes icecore's command lines in a shell
    Completions(CompletionsArgs),
    /// Print the manual page
    Man(ManArgs),
    /// Thaw an instance if its backup cannot (started by the backup itself)
    #[command(name = GUARDIAN, hide = true)]
    Guardian(GuardianArgs),
    /// Play a part in the demonstration (started by the demonstration itself)
    #[command(name = DEMO_PART, hide = true)]
    DemoPart(DemoPartArgs),
}

/// The command that a demonstration starts beside itself, and names in its configuration.
pub const DEMO_PART: &str = "__demo";

/// The command that a backup starts beside itself for the time of a freeze window.
pub const GUARDIAN: &str = "__guardian";

impl Command {
    /// What the user calls it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Demo(_) => "demo",
            Self::Init(_) => "init",
            Self::Backup(_) => "backup",
            Self::Snapshots(_) => "snapshots",
            Self::Show(_) => "show",
            Self::Ls(_) => "ls",
            Self::Restore(_) => "restore",
            Self::Forget(_) => "forget",
            Self::Prune(_) => "prune",
            Self::Check(_) => "check",
            Self::Repair(_) => "repair",
            Self::Copy(_) => "copy",
            Self::Stats(_) => "stats",
            Self::Key(KeyCommand::List) => "key list",
            Self::Key(KeyCommand::Add(_)) => "key add",
            Self::Key(KeyCommand::Remove(_)) => "key remove",
            Self::Key(KeyCommand::Change(_)) => "key change",
            Self::Instance(InstanceCommand::List) => "instance list",
            Self::Instance(InstanceCommand::Status(_)) => "instance status",
            Self::Instance(InstanceCommand::Thaw(_)) => "instance thaw",
            Self::Instance(InstanceCommand::TestFreeze(_)) => "instance test-freeze",
            Self::Instance(InstanceCommand::Discover(_)) => "instance discover",
            Self::RebuildIndex => "rebuild-index",
            Self::Completions(_) => "completions",
            Self::Man(_) => "man",
            Self::Guardian(_) => GUARDIAN,
            Self::DemoPart(_) => DEMO_PART,
        }
    }

    /// Whether it may be asked to clear up after an interrupted run: not what touches nothing of this host.
    pub fn recovers(&self) -> bool {
        let stays_away = matches!(self, Self::Completions(_) | Self::Man(_) | Self::Guardian(_));
        !stays_away && !matches!(self, Self::Demo(_) | Self::DemoPart(_))
    }
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  icecore demo                     everything happens in a temporary directory, removed at the end
  icecore demo --keep              the same, and what was made can be looked at")]
pub struct DemoArgs {
    /// Keep the directory with the instance, the repository and the restored copies
    #[arg(long)]
    pub keep: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  icecore init --repo /srv/icecore                                  asks for a password, twice
  icecore init --repo /srv/icecore --generate-password ~/ice.key    writes a new password to a file
  icecore init                                                      the default one, below your data directory")]
pub struct InitArgs {
    /// Generate a password and write it to a new FILE that only you can read
    #[arg(long, value_name = "FILE", conflicts_with = "password_file")]
    pub generate_password: Option<PathBuf>,
    /// What the first key is called
    #[arg(long, value_name = "TEXT")]
    pub label: Option<String>,
}

#[derive(Debug, Clone, Default, Args)]
#[command(after_help = "\
Examples:
  icecore backup --all                                every configured instance, one after another
  icecore backup -i cust01 cust02 --tag nightly       these instances
  icecore backup /srv/data
  icecore backup /srv/wiki /var/lib/wiki --name wiki --tag nightly
  icecore backup ~ --exclude '*.tmp' --exclude /Downloads --exclude-caches --one-file-system")]
pub struct BackupArgs {
    /// Directories to back up
    #[arg(required_unless_present_any = ["instances", "all"], value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Configured instances to back up, each frozen as the configuration says
    #[arg(long = "instance", short, value_name = "NAME", num_args = 1.., conflicts_with_all = ["paths", "name"])]
    pub instances: Vec<String>,
    /// Back up all configured instances
    #[arg(long, conflicts_with_all = ["paths", "name", "instances"])]
    pub all: bool,
    /// What the series of snapshots is called, instead of its paths
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// The host to record, instead of this one
    #[arg(long, value_name = "NAME")]
    pub host: Option<String>,
    /// A tag to record; may be given several times
    #[arg(long = "tag", value_name = "TEXT")]
    pub tags: Vec<String>,
    /// A pattern to leave out, as in .gitignore; may be given several times
    #[arg(long = "exclude", value_name = "PATTERN")]
    pub excludes: Vec<String>,
    /// A file of such patterns, one a line; may be given several times
    #[arg(long = "exclude-file", value_name = "FILE")]
    pub exclude_files: Vec<PathBuf>,
    /// Leave out the content of directories that carry a CACHEDIR.TAG
    #[arg(long)]
    pub exclude_caches: bool,
    /// Do not go into other file systems that are mounted below
    #[arg(long)]
    pub one_file_system: bool,
    /// Take a file for unchanged although its inode number changed (some network file systems)
    #[arg(long)]
    pub ignore_inode: bool,
    /// Take a file for unchanged although its ctime changed (after a copy or a change of owners)
    #[arg(long)]
    pub ignore_ctime: bool,
    /// Read every file, whatever its times say
    #[arg(long)]
    pub rehash: bool,
    /// Let nothing forget the snapshot before this time, as in 2027-12-31 or "2027-12-31 18:00"
    #[arg(long, value_name = "TIME")]
    pub keep_until: Option<String>,
    /// How hard to compress
    #[arg(long, value_name = "LEVEL", default_value = "default")]
    pub compression: Compression,
    /// Threads that read and compress; as many as there are processors if not given
    #[arg(long, value_name = "N", value_parser = threads)]
    pub threads: Option<usize>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Compression {
    /// For fast disks and networks
    Fast,
    /// A good middle
    #[default]
    Default,
    /// For slow and dear ones
    Max,
}

/// Reads a number of threads. The limit only catches slips of the finger.
fn threads(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..=1024) => Ok(number),
        _ => Err("a number from 1 to 1024 is needed".to_owned()),
    }
}

/// Reads a share: `10%` or `10`.
fn percent(text: &str) -> Result<u8, String> {
    match text.trim_end_matches('%').parse() {
        Ok(number @ 1..=100) => Ok(number),
        _ => Err("a share from 1% to 100% is needed".to_owned()),
    }
}

/// Reads a span of time: `90s`, `30m`, `2h`.
fn time_limit(text: &str) -> Result<Duration, String> {
    let wrong = || "a time such as 90s, 30m or 2h is needed".to_owned();
    let unit = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3600,
        _ => return Err(wrong()),
    };
    let number: u32 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    Ok(Duration::from_secs(u64::from(number) * unit))
}

/// Reads a size: `1000`, `500M`, `20G`; a unit is 1024 of the one before.
fn size(text: &str) -> Result<u64, String> {
    let wrong = || "a size such as 500M, 20G or 1T is needed".to_owned();
    let digits = text.trim_end_matches(|last: char| last.is_ascii_alphabetic());
    let unit: u64 = match &text[digits.len()..] {
        "" => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        "T" => 1 << 40,
        _ => return Err(wrong()),
    };
    digits.parse::<u64>().ok().and_then(|number| number.checked_mul(unit)).ok_or_else(wrong)
}

fn max_unused(text: &str) -> Result<MaxUnused, String> {
    match text.strip_suffix('%') {
        Some(percent) => match percent.parse() {
            Ok(percent @ 0..=100) => Ok(MaxUnused::Percent(percent)),
            _ => Err("a share from 0% to 100%, or a size, is needed".to_owned()),
        },
        None => size(text).map(MaxUnused::Bytes),
    }
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  icecore snapshots
  icecore snapshots --instance wiki --json")]
pub struct SnapshotsArgs {
    /// Only those of this series
    #[arg(long, short, value_name = "NAME")]
    pub instance: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  icecore show latest
  icecore show wiki~1
  icecore show 3f2a9c1e")]
pub struct ShowArgs {
    /// Which snapshot: an id's first digits, latest, NAME, NAME~N or NAME@TIME
    #[arg(value_name = "SNAP")]
    pub snapshot: String,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  icecore ls latest
  icecore ls -l wiki:attachments/2025
  icecore ls -R \"wiki@2026-11-20 02:00\"")]
pub struct LsArgs {
    /// Which snapshot, and which directory or file of it
    #[arg(value_name = "SNAP[:PATH]")]
    pub target: OsString,
    /// Show permissions, owner, size and time too
    #[arg(long, short)]
    pub long: bool,
    /// Show everything below too
    #[arg(long, short = 'R')]
    pub recursive: bool,
}

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
    #[arg(value_name = "SNAP[:PATH]", required_unless_present = "drop_old")]
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

/// Reads NAME=DIR.
fn root(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, path)) if !name.is_empty() && !path.is_empty() => Ok((name.to_owned(), path.into())),
        _ => Err("a root's name and its directory are needed, as in data=/srv/data".to_owned()),
    }
}

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
    #[arg(value_name = "SNAP", conflicts_with_all = RULES)]
    pub snapshots: Vec<String>,
    /// Only those of this series; may be given several times
    #[arg(long = "instance", short, value_name = "NAME", conflicts_with = "snapshots")]
    pub instances: Vec<String>,
    /// Only those of this host
    #[arg(long, value_name = "NAME", conflicts_with = "snapshots")]
    pub host: Option<String>,
    /// Only those with this tag; may be given several times, and then any of them counts
    #[arg(long = "tag", value_name = "TEXT", conflicts_with = "snapshots")]
    pub tags: Vec<String>,
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
    #[arg(long = "keep-tag", value_name = "TEXT")]
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

/// The options of `forget` that make rules.
const RULES: [&str; 8] = [
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
    #[arg(value_name = "SNAP", conflicts_with_all = ["instances", "host", "tags"])]
    pub snapshots: Vec<String>,
    /// The directory of the other repository
    #[arg(long, value_name = "DIR")]
    pub to: OsString,
    /// A file with the other repository's password; it is asked for if not given
    #[arg(long, value_name = "FILE")]
    pub to_password_file: Option<PathBuf>,
    /// Only those of this series; may be given several times
    #[arg(long = "instance", short, value_name = "NAME")]
    pub instances: Vec<String>,
    /// Only those of this host
    #[arg(long, value_name = "NAME")]
    pub host: Option<String>,
    /// Only those with this tag; may be given several times, and then any of them counts
    #[arg(long = "tag", value_name = "TEXT")]
    pub tags: Vec<String>,
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
    #[arg(long = "instance", short, value_name = "NAME")]
    pub instances: Vec<String>,
}

#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  icecore key list
  icecore key add --role writer --label web1 --generate-password web1.key
  icecore key remove 3f2a9c1e")]
pub enum KeyCommand {
    /// List the keys
    List,
    /// Add a key with a password of its own
    Add(KeyAddArgs),
    /// Remove a key; the last one that can read stays
    Remove(KeyRemoveArgs),
    /// Replace the password that was given by a new one
    Change(KeyChangeArgs),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RoleArg {
    /// Can back up and restore
    Reader,
    /// Can back up and can read nothing
    Writer,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  icecore key add --label second
  icecore key add --role writer --label web1 --generate-password web1.key")]
pub struct KeyAddArgs {
    #[command(flatten)]
    pub new: NewPassword,
    /// What the key can do
    #[arg(long, default_value = "reader")]
    pub role: RoleArg,
    /// What the key is called
    #[arg(long, value_name = "TEXT")]
    pub label: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  icecore key remove 3f2a9c1e")]
pub struct KeyRemoveArgs {
    /// The first digits of the key's id
    #[arg(value_name = "ID")]
    pub id: String,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  icecore key change                                 asks for the new password, twice
  icecore key change --new-password-file new.key")]
pub struct KeyChangeArgs {
    #[command(flatten)]
    pub new: NewPassword,
}

/// Where a new password comes from; it is asked for if nothing says.
#[derive(Debug, Default, Args)]
pub struct NewPassword {
    /// A file with the new password
    #[arg(long, value_name = "FILE")]
    pub new_password_file: Option<PathBuf>,
    /// Generate the new password and write it to a new FILE that only you can read
    #[arg(long, value_name = "FILE", conflicts_with = "new_password_file")]
    pub generate_password: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
#[command(after_help = INSTANCE_HELP)]
pub enum InstanceCommand {
    /// List the configured instances
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
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  icecore instance thaw cust01     that it was not frozen is no error")]
pub struct InstanceThawArgs {
    /// Which instance
    #[arg(value_name = "NAME")]
    pub name: String,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  icecore instance test-freeze cust01     tells how long a real night would freeze it")]
pub struct TestFreezeArgs {
    /// Which instance
    #[arg(value_name = "NAME")]
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

#[derive(Debug, Args)]
pub struct DemoPartArgs {
    /// Which part
    pub part: DemoPart,
    /// The demonstration's directory
    pub directory: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DemoPart {
    /// The application that writes
    Application,
    /// The program that freezes it
    Freeze,
    /// The program that thaws it
    Thaw,
    /// The program that tells whether it is frozen
    Status,
}

impl DemoPart {
    /// How it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Application => "application",
            Self::Freeze => "freeze",
            Self::Thaw => "thaw",
            Self::Status => "status",
        }
    }
}

#[derive(Debug, Args)]
pub struct GuardianArgs {
    /// The journal of the window
    pub journal: PathBuf,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  icecore completions bash > ~/.local/share/bash-completion/completions/icecore")]
pub struct CompletionsArgs {
    /// Which shell
    pub shell: Shell,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  icecore man | man -l -
  icecore man --dir /usr/local/share/man/man1")]
pub struct ManArgs {
    /// Write a page for every command into DIR instead
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound_and_every_command_says_what_it_does() {
        Cli::command().debug_assert();
        for command in Cli::command().get_subcommands() {
            assert!(command.get_about().is_some(), "{}", command.get_name());
        }
    }

    #[test]
    fn global_options_stand_before_and_behind_the_command() {
        for line in ["icecore --repo /r --json snapshots", "icecore snapshots -r /r --json"] {
            let cli = Cli::try_parse_from(line.split(' ')).unwrap();
            assert!(cli.global.json);
            assert_eq!(cli.global.repo.unwrap(), "/r");
        }
    }

    #[test]
    fn instances_stand_behind_one_option() {
        let cli = Cli::try_parse_from("icecore backup -i a b --tag x -i c".split(' ')).unwrap();
        let Command::Backup(args) = cli.command else { panic!("{:?}", cli.command) };
        assert_eq!(args.instances, ["a", "b", "c"]);
        assert!(Cli::try_parse_from("icecore backup --all".split(' ')).is_ok());
    }

    #[test]
    fn misuse_is_refused() {
        for line in [
            "icecore",
            "icecore backup",
            "icecore backup /x --threads 0",
            "icecore backup /x -i a",
            "icecore backup /x --all",
            "icecore backup --all -i a",
            "icecore backup -i a --name b",
            "icecore instance discover --endpoint https://a --user b",
            "icecore -q -v stats",
            "icecore restore latest",
            "icecore restore --to /x",
            "icecore restore latest --to /x --delete",
            "icecore restore latest --in-place --exchange",
            "icecore restore latest --root x",
            "icecore restore latest --drop-old /x",
            "icecore init --generate-password f --password-file g",
        ] {
            assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }
}
