//! What manages keys.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  icecore key list
  icecore key add --role writer --label web1 --generate-password web1.key
  icecore key remove 3f2a9c1e")]
pub enum KeyCommand {
    /// List the keys
    #[command(after_help = "Example:\n  icecore key list")]
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
