//! What practises restores.

use clap::{ArgGroup, Args};

#[derive(Debug, Clone, Default, Args)]
#[command(
    group = ArgGroup::new("which").required(true).multiple(true).args(["instances", "all", "snapshot"]),
    after_help = "\
A snapshot is restored into a directory of its own, read back, and tested by the `verify` of its
instance, where `{ROOT}` is the restored copy of a root; then the directory is removed. Nothing is
asked of the application, and its live files are not touched. What came of it is recorded beside the
snapshot, and `snapshots` and `show` tell it: verified, restored (nothing tests it), or failed. There
must be room for a copy: below the state directory, or where `scratch` of [drill] says.

Examples:
  icecore drill -i wiki                        its newest snapshot
  icecore drill --all --random                 one snapshot of each configured instance, whichever
  icecore drill --snapshot wiki@2026-11-20     this one
  icecore run                                  does it by the schedule of [drill]

Exit codes: 0 everything was restored and found sound, 1 something was not, or could not be tried."
)]
pub struct DrillArgs {
    /// The newest snapshots of these configured instances
    #[arg(long = "instance", short, value_name = "NAME", num_args = 1..)]
    pub instances: Vec<String>,
    /// Those of all configured instances
    #[arg(long, conflicts_with = "instances")]
    pub all: bool,
    /// This snapshot of a configured instance: its id's first digits, latest, NAME~N or NAME@TIME
    #[arg(long, value_name = "SNAP", conflicts_with = "all")]
    pub snapshot: Option<String>,
    /// Not the newest, but any one of them, each with the same probability
    #[arg(long, conflicts_with = "snapshot")]
    pub random: bool,
}
