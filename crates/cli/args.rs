//! What was typed. What it means is decided by [`settings`](crate::settings).

mod backup;
mod browse;
mod care;
mod config;
mod drill;
mod instance;
mod key;
mod mount;
mod other;
mod restore;
mod run;
pub mod values;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};

pub use self::backup::{BackupArgs, Compression, InitArgs};
pub use self::browse::{
    CatArgs, DiffArgs, FindArgs, HistoryArgs, KindArg, LsArgs, SeriesFilter, ShowArgs, SnapshotFilter, SnapshotsArgs,
    TagArgs, TimeFilter,
};
pub use self::care::{CheckArgs, CopyArgs, ForgetArgs, PruneArgs, RepairArgs, StatsArgs};
pub use self::config::{ConfigCommand, SystemdArgs};
pub use self::drill::DrillArgs;
pub use self::instance::{DiscoverArgs, InstanceCommand, InstanceStatusArgs, InstanceThawArgs, TestFreezeArgs};
pub use self::key::{KeyAddArgs, KeyChangeArgs, KeyCommand, KeyRemoveArgs, NewPassword, RoleArg};
pub use self::mount::MountArgs;
pub use self::other::{CompletionsArgs, DemoArgs, DemoPart, DemoPartArgs, GuardianArgs, ManArgs};
pub use self::restore::RestoreArgs;
pub use self::run::RunArgs;

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
    #[arg(long, short, global = true, value_name = "DIR", value_hint = ValueHint::DirPath)]
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
    /// Write what happens into a file, line by line [default: `file` below `log` in the configuration]
    #[arg(long, global = true, value_name = "FILE")]
    pub log_file: Option<PathBuf>,
    /// Print one JSON document instead of text
    #[arg(long, global = true)]
    pub json: bool,
    /// Say nothing but results that were asked for, warnings and errors
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// Say more
    #[arg(long, short, global = true, conflicts_with = "quiet")]
    pub verbose: bool,
    /// Tell and read times in UTC, not in the local zone
    #[arg(long, global = true)]
    pub utc: bool,
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
    /// Print the content of one file of a snapshot
    Cat(CatArgs),
    /// Find files in all snapshots at once, and tell in which nights each version stands
    Find(FindArgs),
    /// Tell what changed from one snapshot to another, or since a snapshot
    Diff(DiffArgs),
    /// List every version of one file
    History(HistoryArgs),
    /// Change the tags of snapshots
    Tag(TagArgs),
    /// Bring back a snapshot or a part of it: elsewhere, in place, or by exchange
    Restore(RestoreArgs),
    /// Show snapshots as a read-only file system
    Mount(MountArgs),
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
    /// Practise restores: test what comes back, and record what each snapshot is worth
    Drill(DrillArgs),
    /// Do everything that is due: back up, forget, prune, check, practise restores
    Run(RunArgs),
    /// Check, show and begin a configuration file
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Make the local index anew from the repository
    #[command(
        after_help = "Example:\n  icecore rebuild-index                            when the index is wrong or was lost"
    )]
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
            Self::Cat(_) => "cat",
            Self::Find(_) => "find",
            Self::Diff(_) => "diff",
            Self::History(_) => "history",
            Self::Tag(_) => "tag",
            Self::Restore(_) => "restore",
            Self::Mount(_) => "mount",
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
            Self::Drill(_) => "drill",
            Self::Run(_) => "run",
            Self::Config(ConfigCommand::Check) => "config check",
            Self::Config(ConfigCommand::Show) => "config show",
            Self::Config(ConfigCommand::Example) => "config example",
            Self::Config(ConfigCommand::Systemd(_)) => "config systemd",
            Self::RebuildIndex => "rebuild-index",
            Self::Completions(_) => "completions",
            Self::Man(_) => "man",
            Self::Guardian(_) => GUARDIAN,
            Self::DemoPart(_) => DEMO_PART,
        }
    }

    /// Whether it may be asked to clear up after an interrupted run: not what touches nothing of this host.
    pub fn recovers(&self) -> bool {
        let stays_away = matches!(self, Self::Completions(_) | Self::Man(_) | Self::Guardian(_) | Self::Config(_));
        !stays_away && !matches!(self, Self::Demo(_) | Self::DemoPart(_))
    }
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
            "icecore drill",
            "icecore drill --random",
            "icecore drill --all -i a",
            "icecore drill --all --snapshot a",
            "icecore drill --snapshot a --random",
            "icecore mount",
            "icecore mount /x --snapshot a -i b",
            "icecore mount /x --cache much",
            "icecore init --generate-password f --password-file g",
        ] {
            assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }
}
