//! What looks at snapshots.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use icecore_engine::snapshot::{Snapshot, Verdict};

use super::values::{root, threads};
use crate::complete;

/// Which snapshots are meant, whenever they were taken.
#[derive(Debug, Clone, Default, Args)]
pub struct SeriesFilter {
    /// Only those of this series; may be given several times
    #[arg(long = "instance", short, value_name = "NAME", add = complete::series())]
    pub instances: Vec<String>,
    /// Only those of this host
    #[arg(long, value_name = "NAME")]
    pub host: Option<String>,
    /// Only those with this tag; may be given several times, and then any of them counts
    #[arg(long = "tag", value_name = "TEXT", add = complete::tags())]
    pub tags: Vec<String>,
}

impl SeriesFilter {
    /// Whether it lets a snapshot pass.
    pub fn passes(&self, snapshot: &Snapshot) -> bool {
        (self.instances.is_empty() || self.instances.contains(&snapshot.instance))
            && self.host.as_ref().is_none_or(|host| *host == snapshot.host)
            && (self.tags.is_empty() || self.tags.iter().any(|tag| snapshot.tags.contains(tag)))
    }
}

/// Which snapshots of a series are meant.
#[derive(Debug, Clone, Default, Args)]
pub struct TimeFilter {
    /// Only those that were taken at this time or later
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Only those that were taken at this time or before; a date means its end
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Only the newest N of each series
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub last: Option<u32>,
}

/// Which snapshots are meant.
#[derive(Debug, Clone, Default, Args)]
pub struct SnapshotFilter {
    #[command(flatten)]
    pub series: SeriesFilter,
    #[command(flatten)]
    pub times: TimeFilter,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  icecore snapshots
  icecore snapshots -i wiki -i cust01 --since 2026-11-01 --verdict application
  icecore snapshots --tree                         by month
  icecore snapshots --last 1 --json                the newest of each series")]
pub struct SnapshotsArgs {
    #[command(flatten)]
    pub filter: SnapshotFilter,
    /// Only those with this verdict; may be given several times
    #[arg(long = "verdict", value_name = "VERDICT")]
    pub verdicts: Vec<VerdictArg>,
    /// Show them below their series and months
    #[arg(long)]
    pub tree: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum VerdictArg {
    /// The application was frozen, and nothing changed
    Application,
    /// As after a power cut
    Crash,
    /// Nothing changed while it was read
    Stable,
    /// Something changed while it was read
    Fuzzy,
}

impl VerdictArg {
    /// Whether it is this verdict.
    pub fn is(self, verdict: Verdict) -> bool {
        verdict
            == match self {
                Self::Application => Verdict::Application,
                Self::Crash => Verdict::Crash,
                Self::Stable => Verdict::Stable,
                Self::Fuzzy => Verdict::Fuzzy,
            }
    }
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  icecore show latest
  icecore show wiki~1
  icecore show 3f2a9c1e")]
pub struct ShowArgs {
    /// Which snapshot: an id's first digits, latest, NAME, NAME~N or NAME@TIME
    #[arg(value_name = "SNAP", add = complete::snapshots())]
    pub snapshot: String,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  icecore ls latest
  icecore ls -l wiki:attachments/2025
  icecore ls -l --human wiki:attachments/2025      sizes in binary units
  icecore ls -R \"wiki@2026-11-20 02:00\"")]
pub struct LsArgs {
    /// Which snapshot, and which directory or file of it
    #[arg(value_name = "SNAP[:PATH]", add = complete::snapshots())]
    pub target: OsString,
    /// Show permissions, owner, size and time too
    #[arg(long, short)]
    pub long: bool,
    /// Show everything below too
    #[arg(long, short = 'R')]
    pub recursive: bool,
    /// Show sizes in binary units, as in 12.3 MiB
    #[arg(long, requires = "long")]
    pub human: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Every byte was compared with what was stored before it is printed. Where a part of the file is lost, printing ends before it, the
error says where, and the exit code is 3. A terminal gets text only.

Examples:
  icecore cat wiki:config.php
  icecore cat wiki~3:data/wiki.db > wiki.db
  icecore cat \"cust01@2026-11-20:Data/log.txt\" | less")]
pub struct CatArgs {
    /// Which file of which snapshot
    #[arg(value_name = "SNAP:PATH", add = complete::snapshots())]
    pub target: OsString,
}

#[derive(Debug, Args)]
#[command(after_help = "\
A pattern without a slash is compared with names, one with a slash with whole paths, as in .gitignore: * and ? stay within a
name, ** goes across, and ! in front takes back what the patterns before it have found (\\! is a name that begins so). Blocks that many nights share are read once, so all nights cost little more than one.

Examples:
  icecore find invoice-4711.pdf                    in all snapshots
  icecore find '*.fdb' -i cust01 --size +1G        large ones, of one series
  icecore find '!*.jpg' --newer 2026-11-01         everything but these
  icecore find 'uploads/**/*.png' --newer 2026-11-01 --last 7
  icecore find --regex '(?i)\\.docx?$' --path Data/2018
  icecore find --type l --snapshot latest          symbolic links of one snapshot")]
pub struct FindArgs {
    /// What is searched for; of several, any counts; everything if none is given
    #[arg(value_name = "PATTERN")]
    pub patterns: Vec<String>,
    /// The patterns are regular expressions, and match anywhere in a path
    #[arg(long)]
    pub regex: bool,
    /// Upper and lower case are the same
    #[arg(long)]
    pub ignore_case: bool,
    /// Only at this path and below it
    #[arg(long, value_name = "PATH")]
    pub path: Option<OsString>,
    /// Only files of at least (+) or at most (-) this size, as in +1M or -10K; may be given twice
    #[arg(long, value_name = "+|-SIZE", allow_hyphen_values = true)]
    pub size: Vec<String>,
    /// Only what was changed last at this time or later
    #[arg(long, value_name = "TIME")]
    pub newer: Option<String>,
    /// Only what was changed last before this time
    #[arg(long, value_name = "TIME")]
    pub older: Option<String>,
    /// Only this kind; may be given several times
    #[arg(long = "type", value_name = "KIND")]
    pub kinds: Vec<KindArg>,
    /// Only in this snapshot (SNAP); may be given several times
    #[arg(long = "snapshot", value_name = "SNAP", add = complete::snapshots())]
    #[arg(conflicts_with_all = ["instances", "host", "tags", "since", "until", "last"])]
    pub snapshots: Vec<String>,
    #[command(flatten)]
    pub filter: SnapshotFilter,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum KindArg {
    /// Files
    F,
    /// Directories
    D,
    /// Symbolic links
    L,
}

#[derive(Debug, Args)]
#[command(after_help = "\
+ added  - removed  M changed content  m changed metadata  T another type. Of a directory whose time alone changed nothing is
said. The exit code is 0 whether there are differences or not, and 3 if a part could not be compared.

Examples:
  icecore diff wiki~1 wiki                         what the last night brought
  icecore diff wiki~7 wiki uploads --stat
  icecore diff wiki --live                         what changed since, in the directories that were backed up
  icecore diff wiki --live --rehash                the same by content, not by size and time
  icecore diff wiki --live --root data=/mnt/moved  one of them stands elsewhere now")]
pub struct DiffArgs {
    /// The earlier snapshot
    #[arg(value_name = "SNAP", add = complete::snapshots())]
    pub before: String,
    /// The later snapshot
    #[arg(value_name = "SNAP", required_unless_present = "live", add = complete::snapshots())]
    pub after: Option<OsString>,
    /// Only at this path and below it
    #[arg(value_name = "PATH")]
    pub path: Option<OsString>,
    /// Compare with the live directories; what stands behind SNAP is the path then
    #[arg(long, conflicts_with = "path")]
    pub live: bool,
    /// Read live files whose size and time are as recorded, too
    #[arg(long, requires = "live")]
    pub rehash: bool,
    /// A root stands in this directory now; may be given several times
    #[arg(long = "root", value_name = "NAME=DIR", value_parser = root, requires = "live")]
    pub roots: Vec<(String, PathBuf)>,
    /// Print only how much changed
    #[arg(long)]
    pub stat: bool,
    /// Print only paths
    #[arg(long, conflicts_with = "stat")]
    pub name_only: bool,
    /// Threads that list live directories; as many as there are processors if not given
    #[arg(long, value_name = "N", value_parser = threads, requires = "live")]
    pub threads: Option<usize>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Nights one behind the other that have the same version are one line.

Examples:
  icecore history wiki:config.php
  icecore history cust01:Data/2018-11/store.fdb --since 2026-10-01")]
pub struct HistoryArgs {
    /// Which file of which series
    #[arg(value_name = "NAME:PATH", add = complete::series())]
    pub target: OsString,
    #[command(flatten)]
    pub times: TimeFilter,
}

#[derive(Debug, Args)]
#[command(after_help = "\
A tag is kept beside the snapshot, whose record never changes. Retention (--keep-tag) and every --tag see it at once.

Examples:
  icecore tag wiki --add release-4.2
  icecore tag wiki~1 3f2a9c1e --remove draft --add checked
  icecore tag latest --set monthly                 this tag and no other")]
pub struct TagArgs {
    /// Which snapshots: ids' first digits, latest, NAME, NAME~N or NAME@TIME
    #[arg(value_name = "SNAP", required = true, add = complete::snapshots())]
    pub snapshots: Vec<String>,
    /// Add this tag; may be given several times
    #[arg(long, value_name = "TAG", add = complete::tags())]
    pub add: Vec<String>,
    /// Remove this tag; may be given several times
    #[arg(long, value_name = "TAG", add = complete::tags())]
    pub remove: Vec<String>,
    /// Leave this tag alone of all; may be given several times
    #[arg(long, value_name = "TAG", conflicts_with_all = ["add", "remove", "clear"], add = complete::tags())]
    pub set: Vec<String>,
    /// Remove every tag
    #[arg(long, conflicts_with = "remove")]
    pub clear: bool,
}
