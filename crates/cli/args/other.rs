//! The demonstration, the shell, and the commands that icecore starts itself.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use clap_complete::Shell;

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
The script asks icecore itself at each completion, also for series, snapshots, tags and configured instances: as far as this host
knows them. No password is needed, and nothing is changed.

Examples:
  source <(icecore completions bash)               in ~/.bashrc; zsh: the same in ~/.zshrc
  icecore completions fish | source                in ~/.config/fish/config.fish
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
