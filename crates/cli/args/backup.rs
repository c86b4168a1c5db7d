//! What makes repositories and snapshots.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::values::{tag, threads};
use crate::complete;

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
    #[arg(long = "instance", short, value_name = "NAME", num_args = 1.., add = complete::instances())]
    #[arg(conflicts_with_all = ["paths", "name"])]
    pub instances: Vec<String>,
    /// Back up all configured instances
    #[arg(long, conflicts_with_all = ["paths", "name", "instances"])]
    pub all: bool,
    /// What the series of snapshots is called, instead of its paths
    #[arg(long, value_name = "NAME", add = complete::series())]
    pub name: Option<String>,
    /// The host to record, instead of this one
    #[arg(long, value_name = "NAME")]
    pub host: Option<String>,
    /// A tag to record; may be given several times
    #[arg(long = "tag", value_name = "TEXT", value_parser = tag, add = complete::tags())]
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
