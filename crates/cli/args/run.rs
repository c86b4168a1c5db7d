//! What does what is due.

use clap::Args;

use crate::complete;

#[derive(Debug, Clone, Default, Args)]
#[command(after_help = "\
What is due is told by the schedules of the configuration, the snapshots, and what the state
directory remembers. One instance after another: hooks, backup; then what `keep` does not keep is
forgotten, and the repository is pruned and checked, and restores are practised, when that is due. What
fails keeps nothing else from being done; the exit code is the worst of all.

Examples:
  icecore run                      from a timer, every quarter of an hour or every night
  icecore run --dry-run            what would be done, when what is due next, and why
  icecore run --now                everything, due or not
  icecore run --now -i wiki        the backup of one instance, with its hooks and its `keep`")]
pub struct RunArgs {
    /// Only the backups of these instances, with what follows them
    #[arg(long = "instance", short, value_name = "NAME", num_args = 1.., add = complete::instances())]
    pub instances: Vec<String>,
    /// Also what is not due
    #[arg(long)]
    pub now: bool,
    /// Say what would be done, and do nothing
    #[arg(long, short = 'n')]
    pub dry_run: bool,
    /// Back up so many instances at a time [default: `parallel` of the configuration, else 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub parallel: Option<u16>,
}
