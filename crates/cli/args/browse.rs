//! What looks at snapshots.

use std::ffi::OsString;

use clap::Args;

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
